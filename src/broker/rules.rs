//! What a listener says of the clients that come through it; what it does not say is the server's.
//!
//! The rules are shared by all connections of a listener, and travel with them to other workers.
//! A listener that takes new ones has them for whoever comes from then on.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;
use std::sync::Arc;

use super::mount::MountPoint;
use crate::codec::Version;
use crate::stack::Networks;

/// The rules of one listener.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    /// Clients without a user name are let in.
    pub allow_anonymous: Option<bool>,
    /// Protocol versions spoken here; another one is answered 0x84 (1 in 3.x).
    pub versions: Versions,
    /// In front of every topic and filter of these clients.
    pub mount_point: Option<Arc<MountPoint>>,
    /// Largest packet, at most the server's.
    pub max_packet_size: Option<usize>,
    /// QoS 1 and 2 messages on their way from one client, at most the server's.
    pub receive_maximum: Option<u16>,
    /// Longest keep-alive in seconds, at most the server's.
    pub max_keepalive_s: Option<u16>,
    /// PUBLISH packets of one connection in a second; `None`: any number.
    pub rate_messages: Option<u32>,
    /// Bytes of one connection in a second; `None`: any number.
    pub rate_bytes: Option<u32>,
    /// Only these addresses; empty: all.
    pub allow: Networks,
    /// Not these, even if they are allowed.
    pub deny: Networks,
}

impl Rules {
    /// Somebody may connect from this address; one of IPv4 in the clothes of IPv6 is one of IPv4.
    pub fn admits(&self, address: IpAddr) -> bool {
        !self.deny.contains(address) && (self.allow.is_empty() || self.allow.contains(address))
    }

    /// A connection needs to remember nothing of them.
    pub(super) fn are_plain(&self) -> bool {
        let plain = Self { allow_anonymous: self.allow_anonymous, ..Self::default() };
        *self == plain
    }
}

/// A set of protocol versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Versions(u8);

const VERSIONS: [(Version, &str); 3] = [(Version::V31, "3.1"), (Version::V311, "3.1.1"), (Version::V5, "5")];

impl Default for Versions {
    fn default() -> Self {
        Self(0b111)
    }
}

impl Versions {
    /// One of them.
    pub fn contains(self, version: Version) -> bool {
        VERSIONS.iter().position(|(own, _)| *own == version).is_some_and(|index| self.0 & (1 << index) != 0)
    }
}

/// `3.1,3.1.1,5`, at least one of them, in any order.
impl FromStr for Versions {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        text.split(',').try_fold(Self(0), |Self(set), word| {
            let index = VERSIONS.iter().position(|(_, name)| *name == word.trim()).ok_or(())?;
            Ok(Self(set | 1 << index))
        })
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = VERSIONS.iter().filter(|(version, _)| self.contains(*version)).map(|(_, name)| *name).collect();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_denied_is_not_allowed_either() {
        let networks = |text: &str| text.parse::<Networks>().expect("legal");
        let rules = Rules { allow: networks("10.0.0.0/8"), deny: networks("10.0.0.0/24"), ..Rules::default() };
        let admits = |address: &str| rules.admits(address.parse().expect("an address"));
        assert!(admits("10.0.1.1") && admits("::ffff:10.0.1.1"));
        assert!(!admits("10.0.0.1") && !admits("11.0.0.1") && !admits("::1"));
        assert!(Rules::default().admits([127, 0, 0, 1].into()));
    }

    #[test]
    fn versions_are_a_set() {
        let some: Versions = "5, 3.1.1".parse().expect("legal");
        assert!(some.contains(Version::V5) && some.contains(Version::V311) && !some.contains(Version::V31));
        assert_eq!(some.to_string(), "3.1.1,5");
        assert_eq!(Versions::default().to_string(), "3.1,3.1.1,5");
        assert!(["", "4", "5,", "3.1.1;5"].iter().all(|text| text.parse::<Versions>().is_err()));
    }
}
