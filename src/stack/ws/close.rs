//! Codes and reasons of a Close frame (RFC 6455 §7.4).

use core::fmt;

/// A status code of a Close frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The standard was broken.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// Data of a kind that is not taken: text.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// Text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);

    /// Whether a peer may send it: 1004, 1005, 1006 and 1015 never travel, what is not registered
    /// below 3000 is reserved, and from 5000 on nothing is defined. 1012 to 1014 were registered
    /// after the standard.
    pub fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The peer broke a rule: what is sent in the Close, and the rule as text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Violation {
    /// What the Close says.
    pub code: CloseCode,
    /// Which rule.
    pub what: &'static str,
}

impl Violation {
    pub(super) const fn protocol(what: &'static str) -> Self {
        Self { code: CloseCode::PROTOCOL_ERROR, what }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebSocket: {} (close code {})", self.what, self.code)
    }
}

/// The code in the body of a Close frame; `None`: it has none.
pub(super) fn parse(body: &[u8]) -> Result<Option<CloseCode>, Violation> {
    let (code, reason) = match body {
        [] => return Ok(None),
        [_] => return Err(Violation::protocol("a Close with one byte")),
        [high, low, reason @ ..] => (CloseCode(u16::from_be_bytes([*high, *low])), reason),
    };
    if !code.may_be_sent() {
        return Err(Violation::protocol("a close code that must not be sent"));
    }
    if core::str::from_utf8(reason).is_err() {
        return Err(Violation { code: CloseCode::INVALID_PAYLOAD, what: "a reason that is not UTF-8" });
    }
    Ok(Some(code))
}
