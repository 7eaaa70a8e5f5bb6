//! What this library is.

use std::ffi::c_char;

use super::{fence_or, string};

/// Major version of this header: raised when something is taken away or changes its meaning.
pub const NLMQTT_VERSION_MAJOR: u32 = 0;
/// Minor version of this header: raised when something is added.
pub const NLMQTT_VERSION_MINOR: u32 = 1;
/// Patch version of this header.
pub const NLMQTT_VERSION_PATCH: u32 = 0;

/// Features, and whether this build has them.
const FEATURES: [(&str, bool); 13] = [
    ("mqtt3.1", true),
    ("mqtt3.1.1", true),
    ("mqtt5", true),
    ("client", true),
    ("tcp", true),
    ("server", cfg!(feature = "server")),
    ("tls", cfg!(feature = "tls")),
    ("websocket", cfg!(feature = "websocket")),
    ("proxy", cfg!(feature = "proxy")),
    ("rudp", cfg!(feature = "rudp")),
    ("quic", cfg!(feature = "quic")),
    ("json", cfg!(feature = "json")),
    ("toml", cfg!(feature = "toml")),
];

/// The version of the library as text, such as "0.1.0". Lives as long as the library. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn nlmqtt_version_string() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The version of the library as major * 1,000,000 + minor * 1,000 + patch. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn nlmqtt_version_number() -> u32 {
    NLMQTT_VERSION_MAJOR * 1_000_000 + NLMQTT_VERSION_MINOR * 1_000 + NLMQTT_VERSION_PATCH
}

/// How the library was built: version, target, profile and features in one line. Lives as long as the library. Any
/// thread.
#[unsafe(no_mangle)]
pub extern "C" fn nlmqtt_build_info() -> *const c_char {
    use std::ffi::CString;
    use std::sync::OnceLock;
    static INFO: OnceLock<CString> = OnceLock::new();
    fence_or(c"nlmqtt".as_ptr(), || {
        let info = INFO.get_or_init(|| {
            let features: Vec<&str> = FEATURES.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
            let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
            let (version, features) = (env!("CARGO_PKG_VERSION"), features.join(" "));
            let text = format!("nlmqtt {version} {}-{} {profile} {features}", std::env::consts::ARCH, std::env::consts::OS);
            CString::new(text).unwrap_or_default()
        });
        Ok(info.as_ptr())
    })
}

/// True if this build has a feature: "mqtt3.1", "mqtt3.1.1", "mqtt5", "client" and "tcp", which every build has, or "server", "tls", "websocket",
/// "proxy", "rudp", "quic", "json", "toml". NULL and unknown names are false. `feature` is borrowed for the call. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_has_feature(feature: *const c_char) -> bool {
    fence_or(false, || {
        let feature = unsafe { string(feature, "feature") }?;
        Ok(FEATURES.iter().any(|(name, has)| *has && *name == feature))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn the_numbers_are_those_of_the_package() {
        let text = format!("{NLMQTT_VERSION_MAJOR}.{NLMQTT_VERSION_MINOR}.{NLMQTT_VERSION_PATCH}");
        assert_eq!(unsafe { CStr::from_ptr(nlmqtt_version_string()) }.to_str(), Ok(text.as_str()));
        assert_eq!(nlmqtt_version_number(), 1_000);
    }

    #[test]
    fn every_feature_of_the_package_can_be_asked_for() {
        let manifest = include_str!("../../Cargo.toml");
        let features = manifest.split("[features]\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("a table");
        let names = features.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
        let missing: Vec<_> = names.filter(|name| *name != "default" && *name != "datagram" && FEATURES.iter().all(|(known, _)| known != name)).collect();
        assert_eq!(missing, [""; 0]);
        let has = |name: &std::ffi::CStr| unsafe { nlmqtt_has_feature(name.as_ptr()) };
        assert_eq!((has(c"rudp"), has(c"quic")), (cfg!(feature = "rudp"), cfg!(feature = "quic")));
    }
}
