//! `Server=tcp://broker:1883;ClientId=gateway;UserName=me;Password=hidden;Timeout=15000`.
//!
//! `;` separates. `,` does too, unless `;` is there as well: then only in front of a known key, so
//! that a password may contain it. A value in double quotes may contain both.

use super::Error;

/// The pairs of `text`, in order, trimmed. `is_key` knows the keys.
pub fn pairs(text: &str, is_key: impl Fn(&str) -> bool) -> Result<Vec<(&str, &str)>, Error> {
    let both = text.contains(';');
    let starts_pair = |rest: &str| rest.split_once('=').is_some_and(|(key, _)| is_key(key.trim()));
    let (mut pieces, mut start, mut quoted) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            ';' | ',' if quoted => {}
            ';' => {
                pieces.push(&text[start..at]);
                start = at + 1;
            }
            ',' if !both || starts_pair(&text[at + 1..]) => {
                pieces.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if quoted {
        return Err(Error::Syntax("a quotation mark is not closed".to_owned()));
    }
    pieces.push(&text[start..]);
    pieces.into_iter().filter(|piece| !piece.trim().is_empty()).map(pair).collect()
}

fn pair(piece: &str) -> Result<(&str, &str), Error> {
    // The piece may be a password torn apart: it is not shown.
    let wrong = || Error::Syntax("expected key=value;key=value".to_owned());
    let (key, value) = piece.split_once('=').ok_or_else(wrong)?;
    let value = value.trim();
    let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    Ok((key.trim(), bare.unwrap_or(value)))
}
