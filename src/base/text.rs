//! A text that is mostly short, such as the address of a peer: up to 22 bytes live in it, which is room for any IPv4 address
//! and port, and cost no piece of the heap.

use core::ops::Deref;

const SHORT_BYTES_MAX: usize = 22;

/// The text; it does not change.
#[derive(Clone, Debug)]
pub struct ShortText(Kept);

#[derive(Clone, Debug)]
enum Kept {
    Short { len: u8, bytes: [u8; SHORT_BYTES_MAX] },
    Long(Box<str>),
}

impl ShortText {
    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Kept::Short { .. } => 0,
            Kept::Long(text) => text.len(),
        }
    }
}

impl From<&str> for ShortText {
    fn from(text: &str) -> Self {
        if text.len() > SHORT_BYTES_MAX {
            return Self(Kept::Long(text.into()));
        }
        let mut bytes = [0; SHORT_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Self(Kept::Short { len: text.len() as u8, bytes })
    }
}

impl Deref for ShortText {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Kept::Short { len, bytes } => core::str::from_utf8(&bytes[..usize::from(*len)]).expect("it was a text"),
            Kept::Long(text) => text,
        }
    }
}

impl core::fmt::Display for ShortText {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_come_back_and_short_ones_take_no_heap() {
        for len in 0..60 {
            let text: String = "äb1:[]".chars().cycle().take(len).collect();
            let kept = ShortText::from(&text[..]);
            assert_eq!((&*kept, kept.to_string()), (&text[..], text.clone()));
            assert_eq!(kept.heap_bytes(), if text.len() > SHORT_BYTES_MAX { text.len() } else { 0 });
        }
        assert_eq!(size_of::<ShortText>(), 24);
    }
}
