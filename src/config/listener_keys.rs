//! The options of one listener: the query of its URI, or its table in a file.
//!
//! A row is all there is to an option, as in the tables of servers and clients; but here most values may be missing, which
//! means that the server's hold.

use std::sync::Arc;

use super::key::words;
use super::{Error, Kind, Value};
use crate::broker::MountPoint;
use crate::net::{ListenerOptions, ListenerTls};
#[cfg(feature = "datagram")]
use crate::stack::CongestionControl;
#[cfg(feature = "rudp")]
use crate::stack::rudp::{Generation, ResetKey};
use crate::stack::{ClientCertificate, Identity, ProxyPolicy, TlsVersion, is_path};

/// One option of a listener.
#[derive(Debug)]
pub struct ListenerKey {
    /// Its name in URIs and files.
    pub name: &'static str,
    /// Other names it is known by: mosquitto's.
    pub aliases: &'static [&'static str],
    /// What values look like.
    pub expected: &'static str,
    /// What it does.
    pub doc: &'static str,
    read: fn(&ListenerOptions) -> String,
    write: fn(&mut ListenerOptions, &str) -> Option<()>,
}

impl ListenerKey {
    /// It has this name, or this is an alias of it.
    pub(super) fn is_called(&self, name: &str) -> bool {
        core::iter::once(&self.name).chain(self.aliases).any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Its value is not to be seen: not in an error, and not in what is told of a configuration.
    pub fn is_secret(&self) -> bool {
        self.name == "rudp_reset_key"
    }

    /// Parses `text` and puts it.
    pub fn set(&self, listener: &mut ListenerOptions, text: &str) -> Result<(), Error> {
        (self.write)(listener, text.trim()).ok_or_else(|| {
            let (key, value) = (self.name.to_owned(), if self.is_secret() { "..." } else { text }.to_owned());
            Error::Value { key, value, expected: self.expected.to_owned() }
        })
    }

    /// The value as text that [`ListenerKey::set`] takes; empty: not set.
    pub fn print(&self, listener: &ListenerOptions) -> String {
        (self.read)(listener)
    }
}

/// A number, or nothing.
macro_rules! optional {
    ($name:literal, $($field:ident).+, $min:literal, $max:literal, $doc:literal) => {
        ListenerKey {
            name: $name,
            aliases: &[],
            expected: concat!("a number from ", $min, " to ", $max),
            doc: $doc,
            read: |listener| listener.$($field).+.map(|number| number.to_string()).unwrap_or_default(),
            write: |listener, text| Some(listener.$($field).+ = Some(number($min, $max, text)?.try_into().ok()?)),
        }
    };
}
/// A number that is always there.
macro_rules! plain {
    ($name:literal, $($field:ident).+, $min:literal, $max:literal, $doc:literal) => {
        ListenerKey {
            name: $name,
            aliases: &[],
            expected: concat!("a number from ", $min, " to ", $max),
            doc: $doc,
            read: |listener| listener.$($field).+.to_string(),
            write: |listener, text| Some(listener.$($field).+ = number($min, $max, text)?.try_into().ok()?),
        }
    };
}
/// Networks, separated by commas.
macro_rules! networks {
    ($name:literal, $($field:ident).+, $doc:literal) => {
        ListenerKey {
            name: $name,
            aliases: &[],
            expected: "addresses or networks such as 10.0.0.0/8,::1",
            doc: $doc,
            read: |listener| listener.$($field).+.to_string(),
            write: |listener, text| Some(listener.$($field).+ = text.parse().ok()?),
        }
    };
}

/// A file or other text of TLS.
macro_rules! tls_text {
    ($name:literal, $alias:literal, $field:ident, $doc:literal) => {
        ListenerKey {
            name: $name,
            aliases: &[$alias],
            expected: "the name of a file",
            doc: $doc,
            read: |listener| listener.tls.as_ref().map(|tls| tls.$field.clone()).unwrap_or_default(),
            write: |listener, text| Some(text.clone_into(&mut tls(listener).$field)),
        }
    };
}

/// One of some words; the default is the first, and not printed.
macro_rules! tls_choice {
    ($name:literal, $field:ident, $words:ident, $expected:ident, $doc:literal) => {
        ListenerKey {
            name: $name,
            aliases: &[],
            expected: $expected,
            doc: $doc,
            read: |listener| {
                let value = listener.tls.as_ref().map(|tls| tls.$field);
                $words.iter().skip(1).find(|(_, choice)| Some(*choice) == value).map_or("", |(word, _)| *word).to_owned()
            },
            write: |listener, text| Some(tls(listener).$field = $words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text))?.1),
        }
    };
}

/// Words and what they mean, the default first; and how they are told of.
macro_rules! words {
    ($words:ident, $expected:ident, $type:ident, [$first:literal = $default:ident, $($word:literal = $choice:ident),+]) => {
        const $words: &[(&str, $type)] = &[($first, $type::$default), $(($word, $type::$choice)),+];
        const $expected: &str = concat!("one of ", $first, $(", ", $word),+);
    };
}
words!(CLIENT_CERTIFICATE_WORDS, CLIENT_CERTIFICATE_EXPECTED, ClientCertificate, ["none" = None, "request" = Request, "require" = Require]);
words!(IDENTITY_WORDS, IDENTITY_EXPECTED, Identity, ["none" = None, "cn" = CommonName, "san" = AlternativeName, "fingerprint" = Fingerprint]);
words!(PROXY_WORDS, PROXY_EXPECTED, ProxyPolicy, ["off" = Off, "optional" = Optional, "required" = Required]);
words!(TLS_VERSION_WORDS, TLS_VERSION_EXPECTED, TlsVersion, ["1.2" = V12, "1.3" = V13]);

/// Whole seconds of QUIC.
#[cfg(feature = "quic")]
macro_rules! quic_seconds {
    ($name:literal, $field:ident, $doc:literal) => {
        ListenerKey {
            name: $name,
            aliases: &[],
            expected: "a number from 0 to 86400",
            doc: $doc,
            read: |listener| listener.quic.$field.as_secs().to_string(),
            write: |listener, text| Some(listener.quic.$field = core::time::Duration::from_secs(number(0, 86_400, text)?)),
        }
    };
}

/// Yes or no.
#[cfg(feature = "datagram")]
macro_rules! flag {
    ($name:literal, $($field:ident).+, $doc:literal) => {
        ListenerKey {
            name: $name,
            aliases: &[],
            expected: "true or false",
            doc: $doc,
            read: |listener| listener.$($field).+.to_string(),
            write: |listener, text| match Kind::Bool.parse(text)? {
                Value::Bool(flag) => Some(listener.$($field).+ = flag),
                _ => None,
            },
        }
    };
}

/// One of some words.
#[cfg(feature = "datagram")]
macro_rules! choice {
    ($name:literal, $($field:ident).+, $words:ident, $expected:ident, $doc:literal) => {
        ListenerKey {
            name: $name,
            aliases: &[],
            expected: $expected,
            doc: $doc,
            read: |listener| $words.iter().find(|(_, choice)| *choice == listener.$($field).+).map_or("", |(word, _)| *word).to_owned(),
            write: |listener, text| Some(listener.$($field).+ = $words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text))?.1),
        }
    };
}

#[cfg(feature = "rudp")]
words!(GENERATION_WORDS, GENERATION_EXPECTED, Generation, ["auto" = Auto, "1" = One, "2" = Two]);
#[cfg(feature = "datagram")]
words!(CONGESTION_WORDS, CONGESTION_EXPECTED, CongestionControl, ["newreno" = NewReno, "cubic" = Cubic]);

fn tls(listener: &mut ListenerOptions) -> &mut ListenerTls {
    listener.tls.get_or_insert_default()
}

pub(super) static KEYS: &[ListenerKey] = &[
    ListenerKey {
        name: "allow_anonymous",
        aliases: &[],
        expected: "true or false",
        doc: "let clients without a user name in; not set: as the server's option, and without that on loopback only, and behind no proxy",
        read: |listener| listener.rules.allow_anonymous.map(|allow| allow.to_string()).unwrap_or_default(),
        write: |listener, text| match Kind::Bool.parse(text)? {
            Value::Bool(allow) => Some(listener.rules.allow_anonymous = Some(allow)),
            _ => None,
        },
    },
    ListenerKey {
        name: "versions",
        aliases: &[],
        expected: "some of 3.1,3.1.1,5",
        doc: "protocol versions spoken here; another one is answered 0x84, or 1 in 3.x",
        read: |listener| listener.rules.versions.to_string(),
        write: |listener, text| Some(listener.rules.versions = text.parse().ok()?),
    },
    ListenerKey {
        name: "mount_point",
        aliases: &[],
        expected: "the begin of a topic, with / at its end",
        doc: "put before every topic and filter of these clients, and taken off what they receive",
        read: |listener| listener.rules.mount_point.as_ref().map(|mount| mount.as_str().to_owned()).unwrap_or_default(),
        write: |listener, text| Some(listener.rules.mount_point = Some(Arc::new(MountPoint::new(text)?))),
    },
    optional!("max_connections", max_connections, 1, 10000000, "connections through this listener at one time"),
    ListenerKey {
        name: "max_packet_size",
        aliases: &[],
        expected: "a number of bytes from 128 to 268435460",
        doc: "largest packet a client may send, at most the server's",
        read: |listener| listener.rules.max_packet_size.map(|bytes| bytes.to_string()).unwrap_or_default(),
        write: |listener, text| match Kind::Bytes(128, crate::codec::PACKET_BYTES_MAX as u64).parse(text)? {
            Value::Number(bytes) => Some(listener.rules.max_packet_size = Some(bytes.try_into().ok()?)),
            _ => None,
        },
    },
    optional!("receive_maximum", rules.receive_maximum, 1, 65535, "QoS 1 and 2 messages on their way from one client, at most the server's"),
    optional!("max_keepalive", rules.max_keepalive_s, 1, 65535, "longest keep-alive in seconds, at most the server's"),
    optional!("rate_messages", rules.rate_messages, 1, 4294967295, "PUBLISH packets a client may send in a second; beyond, it is not read for a while"),
    optional!(
        "rate_bytes",
        rules.rate_bytes,
        1,
        4294967295,
        "bytes a client may send in a second, over TLS and WebSocket with what those add; beyond, it is not read for a while"
    ),
    optional!("rate_connections", rate_connections, 1, 4294967295, "connections accepted in a second; beyond, they wait to be accepted"),
    networks!("allow", rules.allow, "only clients from these addresses are let in"),
    networks!("deny", rules.deny, "clients from these addresses are not let in, even if `allow` has them"),
    tls_text!("cert", "certfile", cert, "TLS: the server's certificate and the intermediate ones behind it, a PEM file"),
    tls_text!("key", "keyfile", key, "TLS: its private key, a PEM file"),
    tls_text!("ca", "cafile", ca, "TLS: who may sign clients' certificates, a PEM file"),
    tls_text!("crl", "crlfile", crl, "TLS: certificates of clients that were revoked, a PEM file"),
    tls_choice!(
        "client_cert",
        client_certificate,
        CLIENT_CERTIFICATE_WORDS,
        CLIENT_CERTIFICATE_EXPECTED,
        "TLS: whether clients show certificates; not set: none"
    ),
    tls_choice!("identity", identity, IDENTITY_WORDS, IDENTITY_EXPECTED, "TLS: what of a client's certificate is its user name; not set: none"),
    tls_choice!("tls_min", version_min, TLS_VERSION_WORDS, TLS_VERSION_EXPECTED, "TLS: the oldest version; not set: 1.2"),
    ListenerKey {
        name: "alpn",
        aliases: &[],
        expected: "names of protocols, separated by commas",
        doc: "TLS: protocols of ALPN, the dearest first",
        read: |listener| listener.tls.as_ref().map(|tls| tls.alpn.join(",")).unwrap_or_default(),
        write: |listener, text| Some(tls(listener).alpn = words(text).map(str::to_owned).collect()),
    },
    ListenerKey {
        name: "paths",
        aliases: &[],
        expected: "paths such as /mqtt, separated by commas",
        doc: "WebSocket: paths that are served; not set: all, or the one in the URI",
        read: |listener| listener.websocket.paths.join(","),
        write: |listener, text| {
            let good = words(text).all(is_path);
            good.then(|| listener.websocket.paths.extend(words(text).map(str::to_owned)))
        },
    },
    ListenerKey {
        name: "origins",
        aliases: &["websockets_origin"],
        expected: "origins of pages, separated by commas",
        doc: "WebSocket: origins whose pages are let in; not set: all",
        read: |listener| listener.websocket.origins.join(","),
        write: |listener, text| Some(listener.websocket.origins = words(text).map(str::to_owned).collect()),
    },
    ListenerKey {
        name: "proxy",
        aliases: &[],
        expected: PROXY_EXPECTED,
        doc: "whether the header of the PROXY protocol is expected, from `proxy_trusted`",
        read: |listener| PROXY_WORDS.iter().skip(1).find(|(_, choice)| *choice == listener.proxy).map_or("", |(word, _)| *word).to_owned(),
        write: |listener, text| Some(listener.proxy = PROXY_WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text))?.1),
    },
    networks!("proxy_trusted", proxy_trusted, "who is believed about whom they connect: in that header, and in X-Forwarded-For"),
    #[cfg(feature = "quic")]
    plain!("quic_max_connections", quic_max_connections, 1, 10000000, "QUIC: connections through this listener at one time, half-made ones included"),
    #[cfg(feature = "quic")]
    quic_seconds!("quic_idle_timeout_s", idle_timeout, "QUIC: a client that is silent for so long is given up; 0: never, or as the client says"),
    #[cfg(feature = "quic")]
    quic_seconds!("quic_keepalive_s", keepalive, "QUIC: a client that is silent for so long is asked whether it is there; 0: it is not"),
    #[cfg(feature = "quic")]
    flag!("quic_early_data", quic.early_data, "QUIC: a client that comes back may send its CONNECT with its first datagram (0-RTT)"),
    #[cfg(feature = "quic")]
    plain!("quic_probe_bytes", quic.probe_bytes_max, 0, 65527, "QUIC: datagrams up to this size are tried; 0: none, all are of at most 1,200 bytes"),
    #[cfg(feature = "quic")]
    choice!("quic_congestion", quic.congestion, CONGESTION_WORDS, CONGESTION_EXPECTED, "QUIC: congestion control"),
    #[cfg(feature = "rudp")]
    choice!("rudp_generation", rudp.generation, GENERATION_WORDS, GENERATION_EXPECTED, "reliable UDP: the generations that are served; 2 on hostile networks"),
    #[cfg(feature = "rudp")]
    ListenerKey {
        name: "rudp_idle_timeout_s",
        aliases: &[],
        expected: "a number from 1 to 65535",
        doc: "reliable UDP: a client that is silent for so long is given up; the smaller value of both sides counts, unless the client shows itself by MQTT only",
        read: |listener| listener.rudp.idle_timeout.as_secs().to_string(),
        write: |listener, text| Some(listener.rudp.idle_timeout = core::time::Duration::from_secs(number(1, 65_535, text)?)),
    },
    #[cfg(feature = "rudp")]
    plain!("rudp_window", rudp.window_bytes_max, 8192, 16777216, "reliable UDP: bytes a client may send before the first of them was read"),
    #[cfg(feature = "rudp")]
    plain!("rudp_frame_bytes", rudp.frame_bytes, 576, 65507, "reliable UDP: the largest frame that is sent without a trial"),
    #[cfg(feature = "rudp")]
    plain!("rudp_probe_bytes", rudp.probe_bytes_max, 0, 65507, "reliable UDP: frames up to this size are tried; 0: none"),
    #[cfg(feature = "rudp")]
    choice!("rudp_congestion", rudp.congestion, CONGESTION_WORDS, CONGESTION_EXPECTED, "reliable UDP: congestion control"),
    #[cfg(feature = "rudp")]
    flag!("rudp_redundancy", rudp.redundancy, "reliable UDP: each frame repeats the small one before it, so that a single loss delays nothing"),
    #[cfg(feature = "rudp")]
    ListenerKey {
        name: "rudp_reset_key",
        aliases: &[],
        expected: "32 hexadecimal digits",
        doc: "reliable UDP: secret of this listener and no other, by which clients learn at once that it was restarted; without one they find out by silence",
        read: |listener| listener.rudp.reset_key.map(|ResetKey([high, low])| format!("{high:016x}{low:016x}")).unwrap_or_default(),
        write: |listener, text| {
            let is_key = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
            let key = u128::from_str_radix(text, 16).ok().filter(|_| is_key)?;
            Some(listener.rudp.reset_key = Some(ResetKey([(key >> 64) as u64, key as u64])))
        },
    },
    #[cfg(feature = "rudp")]
    plain!(
        "rudp_max_half_open",
        rudp.half_open_max,
        1,
        10000,
        "reliable UDP: clients of generation 2 at one time whose first packet is not there yet, at most max_handshakes"
    ),
    #[cfg(feature = "rudp")]
    plain!(
        "rudp_max_half_open_per_source",
        rudp.half_open_per_source_max,
        1,
        10000,
        "reliable UDP: such clients of one address, at most max_handshakes_per_address"
    ),
    #[cfg(feature = "rudp")]
    plain!("rudp_max_unproven", rudp.unproven_max, 1, 100000, "generation 1, and udp:// likewise: clients at one time whose address is not proved"),
    #[cfg(feature = "rudp")]
    plain!(
        "rudp_rate_newcomers",
        rudp.newcomers_per_source_per_second,
        1,
        1000000,
        "generation 1 and udp://: CONNECTs, those of MQTT and generation 1's own, of one address in a second; beyond, they are dropped"
    ),
    #[cfg(feature = "rudp")]
    plain!(
        "rudp_rate_resets",
        rudp.resets_per_second,
        0,
        1000000,
        "reliable UDP: answers in a second to who believes in a connection that is not there; beyond, they find out by silence"
    ),
    #[cfg(feature = "rudp")]
    ListenerKey {
        name: "rudp_gap_timeout_ms",
        aliases: &[],
        expected: "a number from 1 to 60000",
        doc: "generation 1: how long a missing packet is waited for before those behind it are handed on",
        read: |listener| listener.rudp.gap_timeout.as_millis().to_string(),
        write: |listener, text| Some(listener.rudp.gap_timeout = core::time::Duration::from_millis(number(1, 60_000, text)?)),
    },
    #[cfg(feature = "rudp")]
    ListenerKey {
        name: "rudp_silent_timeout_s",
        aliases: &[],
        expected: "a number from 1 to 86400",
        doc: "generation 1 and udp://: a client that is silent for so long is forgotten, unless 1.5 times its MQTT keep-alive is longer",
        read: |listener| listener.rudp.silent_timeout.as_secs().to_string(),
        write: |listener, text| Some(listener.rudp.silent_timeout = core::time::Duration::from_secs(number(1, 86_400, text)?)),
    },
    #[cfg(feature = "rudp")]
    ListenerKey {
        name: "rudp_bare_grace_ms",
        aliases: &[],
        expected: "a number from 1 to 86400000",
        doc: "udp:// and rudp_bare: when rudp_max_unproven is reached, a newcomer gets the place of who has said nothing but CONNECT for so long",
        read: |listener| listener.rudp.bare_grace.as_millis().to_string(),
        write: |listener, text| Some(listener.rudp.bare_grace = core::time::Duration::from_millis(number(1, 86_400_000, text)?)),
    },
    #[cfg(feature = "rudp")]
    flag!("rudp_bare", rudp.bare, "reliable UDP: bare packets are taken at this port, too (udp://), which anybody can forge"),
    #[cfg(feature = "rudp")]
    networks!(
        "rudp_bare_trusted",
        rudp.bare_trusted,
        "udp:// and rudp_bare: from there addresses are believed, as those of this host are; others get no more bytes than come from them"
    ),
    plain!("backlog", socket.backlog, 1, 65535, "connections that wait to be accepted; the kernel may allow fewer"),
    ListenerKey {
        name: "mode",
        aliases: &[],
        expected: "an octal number from 0000 to 0777",
        doc: "permissions of the file of a Unix socket, in octal; not set: as the process's mask says",
        read: |listener| listener.socket.mode.map(|mode| format!("{mode:04o}")).unwrap_or_default(),
        write: |listener, text| {
            let is_octal = !text.is_empty() && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
            let mode = u16::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= 0o777)?;
            Some(listener.socket.mode = Some(mode))
        },
    },
    ListenerKey {
        name: "owner",
        aliases: &[],
        expected: "USER, USER:GROUP or :GROUP",
        doc: "who is to own the file of a Unix socket: USER:GROUP, by name or number",
        read: |listener| listener.socket.owner.clone(),
        write: |listener, text| Some(text.clone_into(&mut listener.socket.owner)),
    },
    plain!("tcp_keepalive_s", socket.keepalive_s, 0, 32767, "silence before TCP asks whether the other side is there, three times; 0: it does not"),
    plain!("tcp_user_timeout_ms", socket.user_timeout_ms, 0, 86400000, "how long TCP may wait for an acknowledgement; 0: as the kernel says"),
    plain!("dscp", socket.dscp, 0, 63, "class of the packets that are sent (DSCP)"),
];

fn number(min: u64, max: u64, text: &str) -> Option<u64> {
    match Kind::Number(min, max).parse(text)? {
        Value::Number(number) => Some(number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> ListenerOptions {
        ListenerOptions::at(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    #[test]
    fn every_key_prints_what_it_reads_and_changes_nothing_else() {
        let values = [
            "false",
            "true",
            "5",
            "m/",
            "10.0.0.0/8,::1/128",
            "2000",
            "require",
            "cn",
            "1.3",
            "0640",
            "/a,/b",
            "optional",
            "10.0.0.0/8",
            "1",
            "16384",
            "cubic",
            "newreno",
            "00112233445566778899aabbccddeeff",
        ];
        let mut seen = vec![format!("{:?}", listener())];
        for key in KEYS {
            let mut changed = listener();
            let default = key.print(&changed);
            let mut changes = |value: &str| value != default && key.set(&mut changed, value).is_ok() && key.print(&changed) == value;
            let value = values.iter().find(|value| changes(value)).unwrap_or_else(|| panic!("{}", key.name));
            assert_eq!(key.print(&changed), *value, "{}", key.name);
            let moved = KEYS.iter().filter(|other| other.print(&changed) != other.print(&listener()));
            assert_eq!(moved.count(), 1, "{}", key.name);
            let text = format!("{changed:?}");
            assert!(!seen.contains(&text) && !key.doc.is_empty(), "{}", key.name);
            seen.push(text);
        }
    }

    #[test]
    fn wrong_values_are_refused_and_change_nothing() {
        let wrong = [
            ("allow_anonymous", "maybe"),
            ("versions", "4"),
            ("mount_point", "a"),
            ("mount_point", "+/"),
            ("max_connections", "0"),
            ("max_packet_size", "127"),
            ("rate_bytes", "4294967296"),
            ("receive_maximum", "65536"),
            ("allow", "10.0.0.0/33"),
            ("deny", ""),
            ("dscp", "64"),
            ("backlog", "-1"),
        ];
        for (name, value) in wrong {
            let mut changed = listener();
            let key = KEYS.iter().find(|key| key.name == name).expect("a key");
            assert!(key.set(&mut changed, value).is_err() && changed == listener(), "{name}={value}");
        }
    }
}
