//! What a file says, whatever its syntax.

use super::{Error, Problem};

/// What a file says, in its order.
pub enum Entry<'a> {
    /// `name = value`, once for each element of an array.
    Value(&'a str, String),
    /// `[[name]]` or `[name]`: keys and values with their lines.
    Table(&'a str, Vec<(String, String, usize)>),
}

pub(super) fn unusable(name: &str) -> Error {
    Error::Syntax(format!("{name}: expected text, a whole number, true or false"))
}

pub(super) fn line_of(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset.min(text.len())];
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

/// A syntax this build does not have.
#[allow(dead_code)] // not in a build that has all of them
pub(super) fn missing(feature: &'static str) -> Vec<Problem> {
    vec![Problem { line: 0, error: Error::Feature(feature) }]
}
