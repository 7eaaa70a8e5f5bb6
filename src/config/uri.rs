//! `scheme://user:password@host:port?key=value&key=value`, for listeners and for servers; a Unix socket has a path in place of host and
//! port: `unix:///run/mqtt.sock`, and `inproc://NAME` has a name inside this process.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Error, Kind, client_keys};
use crate::net::{Transport, Underlay};
use crate::stack::is_path;

/// The port of MQTT over TCP.
pub const DEFAULT_PORT: u16 = 1883;

/// One transport by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Scheme {
    name: &'static str,
    transport: Transport,
    /// Where clients look for it, and where listeners listen.
    client_port: u16,
    listener_port: u16,
    /// This build has it.
    is_built: bool,
}

const fn scheme(name: &'static str, underlay: Underlay, (tls, websocket): (bool, bool), (client_port, listener_port): (u16, u16), is_built: bool) -> Scheme {
    Scheme { name, transport: Transport { underlay, tls, websocket }, client_port, listener_port, is_built }
}

const PLAIN: (bool, bool) = (false, false);
const TLS: (bool, bool) = (true, false);
const HAS_TLS: bool = cfg!(feature = "tls");
const HAS_WEBSOCKET: bool = cfg!(feature = "websocket");
const HAS_QUIC: bool = cfg!(feature = "quic");
const HAS_RUDP: bool = cfg!(feature = "rudp");
/// Every transport there is a name for; the first is meant where there is none.
const SCHEMES: [Scheme; 15] = [
    scheme("mqtt", Underlay::Tcp, PLAIN, (DEFAULT_PORT, DEFAULT_PORT), true),
    scheme("tcp", Underlay::Tcp, PLAIN, (DEFAULT_PORT, DEFAULT_PORT), true),
    scheme("mqtts", Underlay::Tcp, TLS, (8883, 8883), HAS_TLS),
    scheme("tls", Underlay::Tcp, TLS, (8883, 8883), HAS_TLS),
    scheme("ssl", Underlay::Tcp, TLS, (8883, 8883), HAS_TLS),
    scheme("ws", Underlay::Tcp, (false, true), (80, 8083), HAS_WEBSOCKET),
    scheme("wss", Underlay::Tcp, (true, true), (443, 8084), HAS_TLS && HAS_WEBSOCKET),
    scheme("unix", Underlay::Unix, PLAIN, (0, 0), true),
    scheme("mqtt+unix", Underlay::Unix, PLAIN, (0, 0), true),
    scheme("inproc", Underlay::InProcess, PLAIN, (0, 0), true),
    // QUIC has TLS inside.
    scheme("quic", Underlay::Quic, TLS, (14567, 14567), HAS_QUIC),
    scheme("mqtt+quic", Underlay::Quic, TLS, (14567, 14567), HAS_QUIC),
    scheme("rudp", Underlay::Rudp, PLAIN, (14567, 14567), HAS_RUDP),
    scheme("rudps", Underlay::Rudp, TLS, (14567, 14567), HAS_RUDP && HAS_TLS),
    scheme("udp", Underlay::Udp, PLAIN, (DEFAULT_PORT, DEFAULT_PORT), HAS_RUDP),
];

/// Transports of this build, to be named in an error.
pub(super) fn schemes_built() -> String {
    let names: Vec<String> = SCHEMES.iter().filter(|scheme| scheme.is_built).map(|scheme| format!("{}://", scheme.name)).collect();
    match names.split_last() {
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// The transport of this build that has a name.
#[cfg(feature = "server")]
pub(super) fn transport_named(name: &str) -> Result<Transport, Error> {
    let name = name.to_ascii_lowercase();
    let Some(row) = SCHEMES.iter().find(|row| row.name == name) else {
        return Err(Error::Uri { uri: name, why: format!("unknown transport, expected {}", schemes_built()) });
    };
    if row.is_built { Ok(row.transport) } else { Err(Error::Scheme { scheme: name }) }
}

/// The name of a transport.
#[cfg(feature = "server")]
pub(super) fn scheme_name(transport: Transport) -> &'static str {
    SCHEMES.iter().find(|scheme| scheme.transport == transport).map_or(SCHEMES[0].name, |scheme| scheme.name)
}

/// A URI taken to pieces.
#[derive(Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct ServerUri {
    pub transport: Transport,
    pub username: Option<String>,
    pub password: Option<String>,
    /// Name or address, without the brackets of IPv6, may be empty; the path of a Unix socket; a name inside this process.
    pub host: String,
    pub port: Option<u16>,
    /// Of a WebSocket: with its slash, or empty.
    pub path: String,
    pub query: Vec<(String, String)>,
}

impl core::fmt::Debug for ServerUri {
    /// Without what is secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let query: Vec<_> = self.query.iter().map(|(key, value)| (key, if is_secret(key) { "..." } else { value })).collect();
        f.debug_struct("ServerUri")
            .field("transport", &self.transport)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "..."))
            .field("host", &self.host)
            .field("port", &self.port)
            .field("path", &self.path)
            .field("query", &query)
            .finish()
    }
}

impl ServerUri {
    /// Takes `text` to pieces; without a scheme it is plain MQTT.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fail = |why: &str| Error::Uri { uri: shown(text), why: why.to_owned() };
        let (scheme, rest) = text.split_once("://").unwrap_or(("mqtt", text));
        let scheme = scheme.to_ascii_lowercase();
        let Some(row) = SCHEMES.iter().find(|row| row.name == scheme) else {
            return Err(fail(&format!("unknown transport, expected {}", schemes_built())));
        };
        if !row.is_built {
            return Err(Error::Scheme { scheme });
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (place, path) = match place.find('/') {
            Some(at) if row.transport.websocket => place.split_at(at),
            _ => (place, ""),
        };
        if !path.is_empty() && !is_path(path) {
            return Err(fail("bad path"));
        }
        let (user, host, port) = match row.transport.underlay {
            Underlay::Unix => split_path(place).map(|(user, path)| (user, path, None)).ok_or_else(|| fail("expected an absolute path"))?,
            Underlay::InProcess => split_name(place).map(|(user, name)| (user, name, None)).ok_or_else(|| fail("expected a name"))?,
            _ => split_place(place).ok_or_else(|| fail("expected host:port"))?,
        };
        let mut uri = Self { transport: row.transport, host, port, path: path.to_owned(), ..Self::default() };
        if let Some(user) = user {
            let (name, password) = match user.split_once(':') {
                Some((name, password)) => (name, Some(password)),
                None => (user, None),
            };
            let decode = |part| decode(part).ok_or_else(|| fail("bad %-escape"));
            uri.username = Some(decode(name)?);
            uri.password = password.map(decode).transpose()?;
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| fail("expected ?key=value"))?;
            let value = decode(value).ok_or_else(|| fail("bad %-escape"))?;
            uri.query.push((key.to_owned(), value));
        }
        Ok(uri)
    }

    fn row(&self) -> &'static Scheme {
        SCHEMES.iter().find(|row| row.transport == self.transport).unwrap_or(&SCHEMES[0])
    }

    /// The port of a server: the one that is named, or the usual one of its transport.
    pub(super) fn server_port(&self) -> u16 {
        self.port.unwrap_or_else(|| self.row().client_port)
    }

    /// The addresses to listen at. No host or `*`: all; `localhost`: both of loopback.
    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    pub(super) fn listen_addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        let both = |four: Ipv4Addr, six: Ipv6Addr| vec![IpAddr::V4(four), IpAddr::V6(six)];
        let hosts = match self.host.as_str() {
            "" | "*" => both(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
            "localhost" => both(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
            host => {
                vec![host.parse().map_err(|_| Error::Uri { uri: host.to_owned(), why: "a listener needs an address, localhost, or * for all".to_owned() })?]
            }
        };
        let port = self.port.unwrap_or_else(|| self.row().listener_port);
        Ok(hosts.into_iter().map(|host| SocketAddr::new(host, port)).collect())
    }
}

/// User and password, host, port.
fn split_place(place: &str) -> Option<(Option<&str>, String, Option<u16>)> {
    let place = place.strip_suffix('/').unwrap_or(place);
    if place.contains(['/', '#', ' ']) {
        return None;
    }
    let (user, place) = place.rsplit_once('@').map_or((None, place), |(user, place)| (Some(user), place));
    let (host, port) = split_port(place)?;
    Some((user, host.to_owned(), port))
}

/// User and password, name inside this process: letters, digits, `-`, `_` and `.`.
fn split_name(place: &str) -> Option<(Option<&str>, String)> {
    let place = place.strip_suffix('/').unwrap_or(place);
    let (user, name) = place.rsplit_once('@').map_or((None, place), |(user, name)| (Some(user), name));
    let is_good = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    is_good.then(|| (user, name.to_owned()))
}

/// User and password, path: that may have any letters, escaped or not.
fn split_path(place: &str) -> Option<(Option<&str>, String)> {
    let (user, path) = match place.split_once("@/") {
        Some((user, _)) if !user.contains('/') => (Some(user), &place[user.len() + 1..]),
        _ => (None, place),
    };
    let path = decode(path)?;
    let is_good = path.starts_with('/') && !path.ends_with('/') && !path.contains('\0');
    is_good.then_some((user, path))
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`, `v6`.
pub(super) fn split_port(place: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        let port = rest.strip_prefix(':');
        return match port {
            Some(port) => Some((host, Some(digits(port)?))),
            None if rest.is_empty() => Some((host, None)),
            None => None,
        };
    }
    match place.split_once(':') {
        None => Some((place, None)),
        Some((_, port)) if port.contains(':') => place.parse::<Ipv6Addr>().ok().map(|_| (place, None)),
        Some((host, port)) => Some((host, Some(digits(port)?))),
    }
}

fn digits(port: &str) -> Option<u16> {
    let good = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if good { port.parse().ok() } else { None }
}

/// RFC 3986 §2.1.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            rest = after;
            let digits = core::str::from_utf8(digits).ok()?;
            let good = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            bytes.push(if good { u8::from_str_radix(digits, 16).ok()? } else { return None });
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// As [`decode`] takes it: what has a meaning in a query is escaped.
#[cfg(all(feature = "server", feature = "json"))]
pub(super) fn encode(text: &str) -> String {
    let escaped = |letter: char| match letter {
        '%' | '&' | '?' | '#' | ' ' | '+' => format!("%{:02X}", u32::from(letter)),
        other => other.to_string(),
    };
    text.chars().map(escaped).collect()
}

/// The value of a key of a client or of a listener that is not to be seen.
pub(super) fn is_secret(name: &str) -> bool {
    let of_client = client_keys().iter().filter(|key| key.kind == Kind::Secret).any(|key| key.name.eq_ignore_ascii_case(name));
    #[cfg(feature = "server")]
    let of_listener = super::listener_keys().iter().any(|key| key.is_secret() && key.is_called(name));
    #[cfg(not(feature = "server"))]
    let of_listener = false;
    of_client || of_listener
}

/// Without passwords and other secrets.
fn shown(text: &str) -> String {
    let Some((place, query)) = text.split_once('?') else { return shown_place(text) };
    match query.rsplit_once('@') {
        // A '?' in a password ought to be written %3F: where it may be one, nothing before the '@' is shown.
        Some((_, after)) => format!("{}...@{}", &place[..place.find("://").map_or(0, |at| at + 3)], shown_query(after)),
        None => format!("{}?{}", shown_place(place), shown_query(query)),
    }
}

fn shown_query(query: &str) -> String {
    let pair = |pair: &str| match pair.split_once('=') {
        Some((key, _)) if is_secret(key.rsplit('?').next().unwrap_or(key)) => format!("{key}=..."),
        _ => pair.to_owned(),
    };
    query.split('&').map(pair).collect::<Vec<_>>().join("&")
}

fn shown_place(text: &str) -> String {
    let Some((before, place)) = text.rsplit_once('@') else { return text.to_owned() };
    let start = before.find("://").map_or(0, |at| at + 3);
    let name = before[start..].split(':').next().unwrap_or_default();
    format!("{}{name}:...@{place}", &before[..start])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_taken_to_pieces() {
        let full = ServerUri::parse("mqtt://us%40er:p%3Aw:d@broker.example:8883/?keepalive=5&client_id=a%26b");
        let full = full.expect("legal");
        assert_eq!(full.username.as_deref(), Some("us@er"));
        assert_eq!(full.password.as_deref(), Some("p:w:d"));
        assert_eq!((full.host.as_str(), full.port), ("broker.example", Some(8883)));
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(full.query, [pair("keepalive", "5"), pair("client_id", "a&b")]);
        for (text, host, port) in [
            ("tcp://127.0.0.1", "127.0.0.1", None),
            ("MQTT://[::1]:99", "::1", Some(99)),
            ("mqtt://[::1]", "::1", None),
            ("::1", "::1", None),
            ("broker:1", "broker", Some(1)),
            ("mqtt://:0", "", Some(0)),
        ] {
            let uri = ServerUri::parse(text).expect(text);
            assert_eq!((uri.host.as_str(), uri.port), (host, port), "{text}");
        }
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn only_a_websocket_has_a_path() {
        let path = |text: &str| ServerUri::parse(text).map(|uri| (uri.host.clone(), uri.server_port(), uri.path));
        let of = |host: &str, port, path: &str| Ok((host.to_owned(), port, path.to_owned()));
        assert_eq!(path("ws://x"), of("x", 80, ""));
        assert_eq!(path("ws://u:p@x:81/a/b?keepalive=5"), of("x", 81, "/a/b"));
        assert_eq!(path("ws://[::1]/"), of("::1", 80, "/"));
        assert!(path("ws://x/a b").is_err() && path("mqtt://x/a").is_err());
        #[cfg(feature = "tls")]
        assert_eq!(path("wss://x/a"), of("x", 443, "/a"));
    }

    #[test]
    fn secrets_in_a_query_are_shown_nowhere() {
        let mut names = vec!["password", "PROXY_PASSWORD"];
        if cfg!(all(feature = "server", feature = "rudp")) {
            names.push("rudp_reset_key");
        }
        for name in names {
            let good = format!("mqtt://me:hidden@x?keepalive=5&{name}=hidden");
            let told = format!("{:?}", ServerUri::parse(&good).expect("legal"));
            assert!(!told.contains("hidden") && told.contains("keepalive"), "{told}");
            let told = ServerUri::parse(&format!("{good}&y")).expect_err("no value").to_string();
            assert!(!told.contains("hidden") && told.contains("keepalive=5") && told.contains("me:...@x"), "{told}");
        }
    }

    #[test]
    fn wrong_uris_are_refused_without_showing_the_password() {
        for text in [
            "http://x",
            "mqtt://x:",
            "mqtt://x:70000",
            "mqtt://x:+1",
            "mqtt://[::1",
            "mqtt://[x]:1",
            "mqtt://a:1:2",
            "mqtt://x/y",
            "mqtt://x?y",
            "mqtt://%zz@x",
            "mqtt://a:%f@x",
            "mqtt://%ff@x",
        ] {
            assert!(matches!(ServerUri::parse(text), Err(Error::Uri { .. })), "{text}");
        }
        let error = ServerUri::parse("mqtt://me:hidden@x:y").expect_err("bad port").to_string();
        assert!(error.contains("me:...@x:y") && !error.contains("hidden"), "{error}");
        // A password with a '?' that was not written %3F.
        for text in ["mqtt://me:hid?den@x", "mqtt://me:h@id?den@x?password=hidden&y", "me:hid?x://den@x"] {
            let error = ServerUri::parse(text).expect_err("no such port").to_string();
            assert!(error.contains("...@x") && !error.contains("hid") && !error.contains("den"), "{error}");
        }
    }

    #[test]
    fn unix_sockets_have_a_path() {
        for (text, user, path) in [
            ("unix:///run/mqtt.sock", None, "/run/mqtt.sock"),
            ("unix:///run/a%20b?mode=0600", None, "/run/a b"),
            ("mqtt+unix://me:secret@/run/x@y", Some("me"), "/run/x@y"),
            ("unix:///a@/b", None, "/a@/b"),
        ] {
            let uri = ServerUri::parse(text).expect(text);
            assert_eq!((uri.username.as_deref(), uri.host.as_str(), uri.port), (user, path, None), "{text}");
            assert_eq!(uri.transport.underlay, Underlay::Unix);
        }
        for text in ["unix://", "unix:///", "unix://run/x", "unix:///a%00", "unix:///a/", "unix:///%f"] {
            assert!(matches!(ServerUri::parse(text), Err(Error::Uri { .. })), "{text}");
        }
    }

    #[test]
    fn names_inside_this_process_are_plain_words() {
        let uri = ServerUri::parse("inproc://me@gateway-1?client_id=x").expect("legal");
        assert_eq!((uri.username.as_deref(), uri.host.as_str(), uri.transport.underlay), (Some("me"), "gateway-1", Underlay::InProcess));
        for text in ["inproc://", "inproc://a:1", "inproc://a/b", "inproc://a b"] {
            assert!(matches!(ServerUri::parse(text), Err(Error::Uri { .. })), "{text}");
        }
    }

    #[test]
    fn other_transports_are_named_as_unsupported() {
        for scheme in SCHEMES.iter().filter(|scheme| !scheme.is_built) {
            let error = ServerUri::parse(&format!("{}://x", scheme.name)).expect_err("not in this build");
            assert_eq!(error, Error::Scheme { scheme: scheme.name.to_owned() });
        }
    }

    #[test]
    fn every_transport_has_its_usual_ports() {
        for (text, client_port, listener_port) in [("mqtt://h", 1883, 1883), ("tcp://h", 1883, 1883), ("h", 1883, 1883), ("mqtts://h:5", 5, 5)] {
            let uri = ServerUri::parse(text).unwrap_or_default();
            assert!(uri.server_port() == client_port || !HAS_TLS);
            assert!(uri.port.unwrap_or(uri.row().listener_port) == listener_port || !HAS_TLS);
        }
        for (name, client_port, listener_port) in [("tls", 8883, 8883), ("ws", 80, 8083), ("wss", 443, 8084), ("quic", 14567, 14567)] {
            let row = SCHEMES.iter().find(|row| row.name == name).expect("there");
            assert_eq!((row.client_port, row.listener_port), (client_port, listener_port));
        }
        let mut names: Vec<_> = SCHEMES.iter().map(|scheme| scheme.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SCHEMES.len());
    }

    #[test]
    fn listeners_take_addresses_only() {
        let at = |text: &str| -> Result<Vec<String>, Error> {
            let addresses = ServerUri::parse(text)?.listen_addresses()?;
            Ok(addresses.iter().map(ToString::to_string).collect())
        };
        assert_eq!(at("mqtt://localhost:5").expect("legal"), ["127.0.0.1:5", "[::1]:5"]);
        assert_eq!(at("mqtt://*").expect("legal"), ["0.0.0.0:1883", "[::]:1883"]);
        assert_eq!(at("tcp://10.0.0.1:0").expect("legal"), ["10.0.0.1:0"]);
        assert!(at("mqtt://broker.example:5").is_err());
    }
}
