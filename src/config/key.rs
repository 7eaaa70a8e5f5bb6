//! A row of a table, the kinds of values, and how a row is found by name.

use core::fmt;

use super::Error;
use super::uri::split_port;
use crate::net::TunnelProxy;
use crate::stack::{TunnelKind, is_field, is_path};

/// One option.
pub struct Key<T: 'static> {
    /// Its name in files and on command lines.
    pub name: &'static str,
    /// Other names it is known by.
    pub aliases: &'static [&'static str],
    /// What its values look like.
    pub kind: Kind,
    /// A running server or client takes a change.
    pub is_live: bool,
    /// What it does.
    pub doc: &'static str,
    /// The value in force.
    pub read: fn(&T) -> Value,
    /// Puts a value that is in range.
    pub write: fn(&mut T, Value),
}

/// What values look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `true` or `false`; also `yes`, `no`, `on`, `off`, `1`, `0`.
    Bool,
    /// A number from the first to the second.
    Number(u64, u64),
    /// Bytes, in the same way; `k`, `M`, `G` (1,024 each) may follow.
    Bytes(u64, u64),
    /// A life time: a number and `s`, `h`, `d`, `w`, `m` (30 days) or `y`; or `never`.
    Lifetime,
    /// Any text.
    Text,
    /// Text that is not to be shown.
    Secret,
    /// An IP address, or nothing.
    Address,
    /// Words, separated by commas.
    List,
    /// SHA-256 as 64 hexadecimal digits, separated by commas; colons and a `sha256:` in front are passed over.
    Hashes,
    /// Lines `Name: value`.
    Fields,
    /// A proxy's URI, or nothing.
    Proxy,
    /// A path of a URI, or nothing.
    Path,
    /// One of these words; its index is the value.
    Choice(&'static [&'static str]),
}

/// A value on its way between text and an option.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Value {
    Bool(bool),
    /// Also bytes, seconds (`u32::MAX`: never) and the index of a choice.
    Number(u64),
    Text(String),
}

impl Value {
    pub(super) fn into_bool(self) -> bool {
        matches!(self, Self::Bool(true))
    }

    /// The number; the row's range is one the option can hold.
    pub(super) fn into_number<N: TryFrom<u64> + Default>(self) -> N {
        let Self::Number(number) = self else { return N::default() };
        let fitted = N::try_from(number);
        debug_assert!(fitted.is_ok(), "the range of the row is larger than its option");
        fitted.unwrap_or_default()
    }

    pub(super) fn into_text(self) -> String {
        if let Self::Text(text) = self { text } else { String::new() }
    }
}

impl<T> Key<T> {
    /// Parses `text` and puts it.
    pub fn set(&self, config: &mut T, text: &str) -> Result<(), Error> {
        let value = self.kind.parse(text).ok_or_else(|| Error::Value {
            key: self.name.to_owned(),
            value: if self.kind == Kind::Secret { "..." } else { text }.to_owned(),
            expected: self.kind.to_string(),
        })?;
        (self.write)(config, value);
        Ok(())
    }

    /// The value in force, as text that [`Key::set`] takes.
    pub fn print(&self, config: &T) -> String {
        self.kind.print(&(self.read)(config))
    }

    fn is_called(&self, name: &str) -> bool {
        let mut names = self.aliases.iter().chain([&self.name]);
        names.any(|own| own.eq_ignore_ascii_case(name))
    }
}

/// The row called `name`, whatever its case.
pub(super) fn find<T>(keys: &'static [Key<T>], name: &str) -> Result<&'static Key<T>, Error> {
    keys.iter().find(|key| key.is_called(name)).ok_or_else(|| {
        let names = keys.iter().flat_map(|key| key.aliases.iter().copied().chain([key.name]));
        unknown(name, names)
    })
}

/// "No such key", with the nearest of `names` if one is near.
pub(super) fn unknown(name: &str, names: impl Iterator<Item = &'static str>) -> Error {
    let lower = name.to_ascii_lowercase();
    let ranked = names.map(|own| (distance(&lower, own), own)).min_by_key(|(far, _)| *far);
    let near = ranked.filter(|(far, own)| *far <= own.len() / 3 + 1);
    Error::UnknownKey { key: name.to_owned(), nearest: near.map(|(_, own)| own) }
}

/// How many letters must be put in, taken out, changed or swapped with the next one.
fn distance(left: &str, right: &str) -> usize {
    // Nobody's key is longer; the work is the product of both lengths.
    let left: Vec<char> = left.chars().take(64).collect();
    let right: Vec<char> = right.chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let change = row[j] + usize::from(a != b);
            let mut best = change.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            next.push(best);
        }
        before = core::mem::replace(&mut row, next);
    }
    row[right.len()]
}

/// The words of a list.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// SHA-256, as it is written.
pub(super) fn hash(word: &str) -> Option<[u8; 32]> {
    let word = word.strip_prefix("sha256:").unwrap_or(word).replace(':', "");
    let mut hash = [0; 32];
    if word.len() != 64 || !word.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&word[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lines `Name: value`, each of which a request for a WebSocket can have.
pub(super) fn fields(text: &str) -> Option<Vec<(String, String)>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        is_field(name, value).then(|| (name.to_owned(), value.to_owned()))
    };
    lines.map(field).collect()
}

/// `http://host:port` or `socks5://host:port` (`socks5h://` is the same: names are always the proxy's). `Some(None)`: none.
pub(super) fn proxy_of(text: &str) -> Option<Option<TunnelProxy>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(None);
    }
    let (scheme, place) = text.split_once("://")?;
    let (kind, usual_port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => (TunnelKind::Http, 8080),
        "socks5" | "socks5h" => (TunnelKind::Socks5, 1080),
        _ => return None,
    };
    let place = place.strip_suffix('/').unwrap_or(place);
    let (host, port) = split_port(place).filter(|(host, _)| !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']))?;
    Some(Some(TunnelProxy { kind, host: host.to_owned(), port: port.unwrap_or(usual_port) }))
}

impl Kind {
    /// `None`: not of this kind, or out of range.
    pub fn parse(self, text: &str) -> Option<Value> {
        match self {
            Self::Bool => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(Value::Bool(true)),
                "false" | "no" | "off" | "0" => Some(Value::Bool(false)),
                _ => None,
            },
            Self::Number(min, max) => within(number(text.trim())?, min, max),
            Self::Bytes(min, max) => within(bytes(text.trim())?, min, max),
            Self::Lifetime => lifetime(text.trim()).map(Value::Number),
            Self::Text | Self::Secret => Some(Value::Text(text.to_owned())),
            Self::Address => {
                let text = text.trim();
                let good = text.is_empty() || text.parse::<core::net::IpAddr>().is_ok();
                good.then(|| Value::Text(text.to_owned()))
            }
            Self::List => Some(Value::Text(words(text).collect::<Vec<_>>().join(","))),
            Self::Hashes => words(text).map(|word| hash(word).map(|hash| hexadecimal(&hash))).collect::<Option<Vec<_>>>().map(|all| Value::Text(all.join(","))),
            Self::Fields => fields(text).map(|_| Value::Text(text.to_owned())),
            Self::Proxy => proxy_of(text).map(|_| Value::Text(text.trim().to_owned())),
            Self::Path => Some(text.trim()).filter(|path| path.is_empty() || is_path(path)).map(|path| Value::Text(path.to_owned())),
            Self::Choice(words) => {
                let index = words.iter().position(|word| word.eq_ignore_ascii_case(text.trim()))?;
                Some(Value::Number(index as u64))
            }
        }
    }

    /// As [`Kind::parse`] takes it.
    pub fn print(self, value: &Value) -> String {
        match (self, value) {
            (_, Value::Bool(value)) => value.to_string(),
            (_, Value::Text(value)) => value.clone(),
            (Self::Choice(words), Value::Number(index)) => words.get(*index as usize).copied().unwrap_or_default().to_owned(),
            (Self::Lifetime, Value::Number(seconds)) => print_lifetime(*seconds),
            (_, Value::Number(value)) => value.to_string(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => write!(f, "true or false"),
            Self::Number(min, max) => write!(f, "a number from {min} to {max}"),
            Self::Bytes(min, max) => write!(f, "a number of bytes from {min} to {max}"),
            Self::Lifetime => write!(f, "a life time such as 90s, 12h, 3d, 2w, 6m, 1y or never"),
            Self::Text | Self::Secret => write!(f, "text"),
            Self::List => write!(f, "words separated by commas"),
            Self::Hashes => write!(f, "SHA-256 as 64 hexadecimal digits, separated by commas"),
            Self::Fields => write!(f, "lines 'Name: value', without the handshake's own fields"),
            Self::Proxy => write!(f, "http://host:port or socks5://host:port"),
            Self::Path => write!(f, "a path such as /mqtt"),
            Self::Address => write!(f, "an IP address"),
            Self::Choice(words) => write!(f, "one of {}", words.join(", ")),
        }
    }
}

fn within(number: u64, min: u64, max: u64) -> Option<Value> {
    (min..=max).contains(&number).then_some(Value::Number(number))
}

/// Digits, with `_` between them as TOML has it.
fn number(text: &str) -> Option<u64> {
    let digits: String = text.chars().filter(|&letter| letter != '_').collect();
    let good = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if good { digits.parse().ok() } else { None }
}

fn bytes(text: &str) -> Option<u64> {
    let (digits, factor) = match text.bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 1 << 10),
        b'm' | b'M' => (&text[..text.len() - 1], 1 << 20),
        b'g' | b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    number(digits)?.checked_mul(factor)
}

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 24 * HOUR_S;
/// mosquitto's units; `s` is ours.
const UNITS: [(u8, u64); 6] = [(b'y', 365 * DAY_S), (b'm', 30 * DAY_S), (b'w', 7 * DAY_S), (b'd', DAY_S), (b'h', HOUR_S), (b's', 1)];
const NEVER: u64 = u32::MAX as u64;

fn lifetime(text: &str) -> Option<u64> {
    if text.eq_ignore_ascii_case("never") {
        return Some(NEVER);
    }
    let unit = text.bytes().last()?.to_ascii_lowercase();
    let (_, seconds) = UNITS.iter().find(|(letter, _)| *letter == unit)?;
    // 136 years and more are for ever.
    Some(number(&text[..text.len() - 1])?.saturating_mul(*seconds).min(NEVER))
}

fn print_lifetime(seconds: u64) -> String {
    if seconds == NEVER {
        return "never".to_owned();
    }
    let whole = UNITS.iter().find(|(_, unit)| seconds > 0 && seconds % unit == 0);
    let (letter, unit) = whole.copied().unwrap_or((b's', 1));
    format!("{}{}", seconds / unit, char::from(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_proxies_are_read() {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(fields("X-A: b: c\n\n Authorization:Bearer x "), Some(vec![field("X-A", "b: c"), field("Authorization", "Bearer x")]));
        assert_eq!((fields("Host: x"), fields("X A: b"), fields("nothing")), (None, None, None));
        let proxy = |text: &str| proxy_of(text).map(|proxy| proxy.map(|proxy| (proxy.kind, proxy.host, proxy.port)));
        assert_eq!(proxy(" "), Some(None));
        assert_eq!(proxy("http://p:3128/"), Some(Some((TunnelKind::Http, "p".to_owned(), 3128))));
        assert_eq!(proxy("SOCKS5h://[::1]"), Some(Some((TunnelKind::Socks5, "::1".to_owned(), 1080))));
        for text in ["p:3128", "https://p", "socks4://p", "http://", "http://u:p@x:1", "http://p/x", "http://p:99999"] {
            assert_eq!(proxy(text), None, "{text}");
        }
    }

    #[test]
    fn values_are_read_by_their_kind() {
        let number = |value| Some(Value::Number(value));
        let cases = [
            (Kind::Bool, "Yes", Some(Value::Bool(true))),
            (Kind::Bool, "0", Some(Value::Bool(false))),
            (Kind::Bool, "maybe", None),
            (Kind::Number(1, 10), "10", number(10)),
            (Kind::Number(1, 1_000), "1_000", number(1_000)),
            (Kind::Number(1, 10), "11", None),
            (Kind::Number(1, 10), "0", None),
            (Kind::Number(0, 10), "-1", None),
            (Kind::Number(0, 10), "+1", None),
            (Kind::Number(0, 10), "", None),
            (Kind::Number(0, u64::MAX), "18446744073709551616", None),
            (Kind::Bytes(0, 1 << 30), "64k", number(65_536)),
            (Kind::Bytes(0, 1 << 30), "1M", number(1 << 20)),
            (Kind::Bytes(0, 1 << 30), "1G", number(1 << 30)),
            (Kind::Bytes(0, 1 << 30), "2G", None),
            (Kind::Bytes(0, 1 << 30), "k", None),
            (Kind::Bytes(0, 1 << 30), "ü", None),
            (Kind::Bytes(0, u64::MAX), "99999999999999999G", None),
            (Kind::Lifetime, "1h", number(3_600)),
            (Kind::Lifetime, "2d", number(172_800)),
            (Kind::Lifetime, "3w", number(1_814_400)),
            (Kind::Lifetime, "4m", number(10_368_000)),
            (Kind::Lifetime, "5Y", number(157_680_000)),
            (Kind::Lifetime, "never", number(u64::from(u32::MAX))),
            (Kind::Lifetime, "999999y", number(u64::from(u32::MAX))),
            (Kind::Lifetime, "5", None),
            (Kind::Lifetime, "h", None),
            (Kind::Choice(&["a", "b"]), "B", number(1)),
            (Kind::Choice(&["a", "b"]), "c", None),
            (Kind::Text, " x ", Some(Value::Text(" x ".to_owned()))),
            (Kind::Path, "/a?b=c", Some(Value::Text("/a?b=c".to_owned()))),
            (Kind::Path, "a", None),
            (Kind::Path, "/a b", None),
        ];
        for (kind, text, expected) in cases {
            assert_eq!(kind.parse(text), expected, "{kind:?} {text:?}");
            if let Some(value) = expected {
                assert_eq!(kind.parse(&kind.print(&value)), Some(value), "{kind:?} {text:?} printed");
            }
        }
    }

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let names = ["max_connections", "max_keepalive", "retain_available"];
        let nearest = |name| match unknown(name, names.into_iter()) {
            Error::UnknownKey { nearest, .. } => nearest,
            other => panic!("{other:?}"),
        };
        assert_eq!(nearest("max_conections"), Some("max_connections"));
        assert_eq!(nearest("retian_available"), Some("retain_available"));
        assert_eq!(nearest("MAX_KEEPALIVES"), Some("max_keepalive"));
        assert_eq!(nearest("zzz"), None);
        assert_eq!(nearest(&"x".repeat(100_000)), None);
        assert_eq!((distance("ab", "ba"), distance("", "abc"), distance("abc", "abc")), (1, 3, 0));
    }
}
