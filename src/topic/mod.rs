//! Topic names and topic filters as strings (MQTT 5 §4.7, §4.8.2; 3.1.1 §4.7).
//!
//! A *name* is what a message carries, a *filter* is what a subscriber asks for. Both are levels
//! separated by `/`; an empty level is a level. `+` stands for one whole level, `#` for the rest
//! and for the level before it too. A name that begins with `$` is not meant by a filter that
//! begins with a wildcard. A shared filter is `$share/GROUP/FILTER`.
//!
//! These functions are the definition; the router's trie must agree with [`matches`].

/// The most bytes a name or a filter has: its length is sent in 16 bits.
pub const TOPIC_BYTES_MAX: usize = 65_535;

const SHARE_PREFIX: &str = "$share/";

/// True for what a PUBLISH may carry (§4.7.3): 1 to 65,535 bytes, no U+0000, no wildcard.
pub fn is_valid_name(topic: &str) -> bool {
    !topic.is_empty() && topic.len() <= TOPIC_BYTES_MAX && !has_name_fault(topic.as_bytes())
}

/// True if `bytes` contain what no topic name may contain: U+0000, `+` or `#`.
///
/// Eight bytes at a time, because every PUBLISH passes here; the last step overlaps.
#[inline]
pub(crate) fn has_name_fault(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().any(|&byte| byte == 0 || byte & !PLUS_AND_HASH_DIFFER == b'#');
    };
    let faults = |word: u64| zero_bytes(word) | zero_bytes((word & !repeat(PLUS_AND_HASH_DIFFER)) ^ repeat(b'#'));
    let mut found = faults(u64::from_ne_bytes(*last));
    for chunk in bytes.chunks_exact(8) {
        if let Some(word) = chunk.first_chunk::<8>() {
            found |= faults(u64::from_ne_bytes(*word));
        }
    }
    found != 0
}

/// The one bit in which `+` (0x2B) and `#` (0x23) differ.
const PLUS_AND_HASH_DIFFER: u8 = b'+' ^ b'#';

const fn repeat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Not 0 if and only if a byte of `word` is 0.
#[inline]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(repeat(0x01)) & !word & repeat(0x80)
}

/// True for what a SUBSCRIBE may ask for (§4.7.1), `$share/GROUP/FILTER` included (§4.8.2).
pub fn is_valid_filter(filter: &str) -> bool {
    if filter.len() > TOPIC_BYTES_MAX {
        return false;
    }
    match filter.strip_prefix(SHARE_PREFIX) {
        None => is_valid_plain_filter(filter),
        Some(rest) => match rest.split_once('/') {
            Some((group, plain)) => is_valid_name(group) && is_valid_plain_filter(plain),
            None => false,
        },
    }
}

fn is_valid_plain_filter(filter: &str) -> bool {
    if filter.is_empty() || filter.as_bytes().contains(&0) {
        return false;
    }
    let mut levels = levels(filter);
    while let Some(level) = levels.next() {
        match level {
            "+" => {}
            "#" => return levels.next().is_none(),
            _ if level.bytes().any(|byte| byte == b'+' || byte == b'#') => return false,
            _ => {}
        }
    }
    true
}

/// `$share/GROUP/FILTER` is `Some((GROUP, FILTER))`, a plain filter is `None`. Only for filters
/// that [`is_valid_filter`] accepts.
pub fn split_share(filter: &str) -> Option<(&str, &str)> {
    filter.strip_prefix(SHARE_PREFIX)?.split_once('/')
}

/// `PREFIX/#CLIENT` is `Some((PREFIX/, CLIENT))`: how a client behind a mount point is named by who knows them all. A mount point is
/// the begin of a topic, in which there is no `#`.
pub fn split_mounted(client: &str) -> Option<(&str, &str)> {
    client.split_once('#').filter(|(prefix, _)| prefix.ends_with('/') && is_valid_name(prefix))
}

/// True if `filter` has a wildcard level.
pub fn has_wildcard(filter: &str) -> bool {
    filter.bytes().any(|byte| byte == b'+' || byte == b'#')
}

/// True if `filter` (valid, without `$share`) means `topic` (valid), §4.7.1 and §4.7.2.
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut names = levels(topic);
    for level in levels(filter) {
        match (level, names.next()) {
            // Also the parent level: "a/#" means "a".
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

/// The levels of a name or a filter; an empty one is a level too.
#[inline]
pub fn levels(topic: &str) -> impl Iterator<Item = &str> {
    Levels { rest: Some(topic) }
}

/// `str::split` searches with a machinery made for long strings; levels are short.
struct Levels<'a> {
    rest: Option<&'a str>,
}

impl<'a> Iterator for Levels<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        let Some(end) = rest.bytes().position(|byte| byte == b'/') else {
            self.rest = None;
            return Some(rest);
        };
        self.rest = Some(&rest[end + 1..]);
        Some(&rest[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_character_and_no_wildcard_and_no_nul() {
        for good in ["a", "/", "//", "a/b", "a b", "$SYS/x", "\u{feff}x", "été/1", " "] {
            assert!(is_valid_name(good), "{good:?}");
        }
        for bad in ["", "+", "a/+", "a#", "#", "a\0b"] {
            assert!(!is_valid_name(bad), "{bad:?}");
        }
        assert!(is_valid_name(&"x".repeat(65_535)));
        assert!(!is_valid_name(&"x".repeat(65_536)));
    }

    #[test]
    fn filters_have_wildcards_only_as_whole_levels_and_the_hash_last() {
        for good in [
            "#",
            "+",
            "/",
            "/+",
            "+/",
            "+/+",
            "a/#",
            "+/tennis/#",
            "sport/+/player1",
            "a",
            "$SYS/#",
            "$share",
            "$share/g/a",
            "$share/g/#",
            "$share/g//",
            "$share/g/+/x",
            "$shared/x",
        ] {
            assert!(is_valid_filter(good), "{good:?}");
        }
        for bad in [
            "",
            "a#",
            "a/b#",
            "#/a",
            "a/#/b",
            "a+",
            "+a",
            "a/+b",
            "##",
            "++",
            "a\0",
            "$share/",
            "$share/g",
            "$share/g/",
            "$share//a",
            "$share/+/a",
            "$share/g#/a",
            "$share/g/a#",
        ] {
            assert!(!is_valid_filter(bad), "{bad:?}");
        }
        assert!(!is_valid_filter(&"x".repeat(65_536)));
    }

    #[test]
    fn a_shared_filter_falls_into_group_and_filter() {
        assert_eq!(split_share("$share/g/a/b"), Some(("g", "a/b")));
        assert_eq!(split_share("$share/g//b"), Some(("g", "/b")));
        assert_eq!(split_share("a/b"), None);
        assert_eq!(split_share("$share"), None);
        assert!(has_wildcard("a/#") && has_wildcard("+/a") && !has_wildcard("a/b"));
    }

    #[test]
    fn a_name_with_a_mount_point_falls_into_that_and_the_client_id() {
        assert_eq!(split_mounted("site/7/#pump#1"), Some(("site/7/", "pump#1")));
        assert_eq!(split_mounted("/#"), Some(("/", "")));
        assert!(["pump", "#pump", "a#pump", "a/pump", "+/#pump"].iter().all(|name| split_mounted(name).is_none()));
    }

    #[test]
    fn matching_follows_the_examples_of_the_standard() {
        let cases = [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/monitor/Clients", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/monitor/Clients", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("#", "a/b/c", true),
            ("#", "/", true),
            ("a/b", "a/b", true),
            ("a/b", "A/b", false),
            ("a/b", "a/b/", false),
            ("a/b/", "a/b", false),
            ("a//b", "a//b", true),
            ("a/+/b", "a//b", true),
            ("a/$x", "a/$x", true),
            ("a/+", "a/$x", true),
        ];
        for (filter, topic, expected) in cases {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn a_fault_is_found_at_every_place_and_nothing_else_is_a_fault() {
        for length in 1..40 {
            for position in 0..length {
                for byte in 0..=255 {
                    let mut bytes = vec![b'*'; length];
                    bytes[position] = byte;
                    assert_eq!(has_name_fault(&bytes), [0, b'+', b'#'].contains(&byte), "{bytes:x?}");
                }
            }
        }
        assert!(!has_name_fault(&[1; 9]) && !has_name_fault(&[0xff; 9]) && !has_name_fault(b""));
    }

    #[test]
    fn levels_are_what_lies_between_the_slashes() {
        for topic in ["", "/", "a", "a/", "/a", "a//b", "é/ü/", "a/b/c"] {
            assert!(levels(topic).eq(topic.split('/')), "{topic:?}");
        }
    }

    /// Slow and obviously right: tries to consume level by level.
    fn model(filter: &[&str], topic: &[&str]) -> bool {
        match (filter.first(), topic.first()) {
            (None, None) => true,
            (Some(&"#"), _) => true,
            (Some(&level), Some(&name)) => (level == "+" || level == name) && model(&filter[1..], &topic[1..]),
            _ => false,
        }
    }

    #[test]
    fn matching_agrees_with_a_recursive_model() {
        let mut rng = crate::base::Rng::with_seed(5);
        let mut hits = 0;
        for _ in 0..20_000 {
            let names = ["a", "b", "", "$s", "+", "#"];
            let mut make = |kinds: u64| -> String {
                let count = 1 + rng.below(4);
                (0..count).map(|_| names[rng.below(kinds) as usize]).collect::<Vec<_>>().join("/")
            };
            let (filter, topic) = (make(6), make(4));
            if !is_valid_filter(&filter) || !is_valid_name(&topic) {
                continue;
            }
            let (f, t): (Vec<_>, Vec<_>) = (levels(&filter).collect(), levels(&topic).collect());
            let hidden = t[0].starts_with('$') && (f[0] == "+" || f[0] == "#");
            assert_eq!(matches(&filter, &topic), model(&f, &t) && !hidden, "{filter} {topic}");
            hits += usize::from(matches(&filter, &topic));
        }
        assert!(hits > 500, "the test must see matches");
    }
}
