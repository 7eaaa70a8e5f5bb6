//! What can be wrong with a configuration. Always the caller's fault; nothing has changed.

use core::fmt;

/// Why a text cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// There is no such key.
    UnknownKey {
        /// What was asked for.
        key: String,
        /// The most similar one there is.
        nearest: Option<&'static str>,
    },
    /// The value is not of the key's kind, or out of its range.
    Value {
        /// Which key.
        key: String,
        /// What was given.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// Not a URI this library understands.
    Uri {
        /// What was given.
        uri: String,
        /// What is wrong with it.
        why: String,
    },
    /// A transport that exists, but not in this build.
    Scheme {
        /// Its name.
        scheme: String,
    },
    /// Neither `key=value` nor anything else that is understood.
    Syntax(String),
    /// Options that are good alone and not together.
    Together(String),
    /// Something about the whole that cannot work.
    Whole {
        /// What.
        text: String,
        /// What would be right.
        suggestion: String,
    },
    /// A feature this build does not have.
    Feature(&'static str),
}

impl Error {
    /// What would be right, where that is known.
    pub fn suggestion(&self) -> Option<String> {
        match self {
            Self::UnknownKey { nearest, .. } => nearest.map(|nearest| format!("did you mean '{nearest}'?")),
            Self::Value { expected, .. } => Some(format!("use {expected}")),
            Self::Scheme { .. } => Some(format!("use {}", super::uri::schemes_built())),
            Self::Whole { suggestion, .. } => Some(suggestion.clone()),
            Self::Feature(feature) => Some(format!("build with the feature '{feature}'")),
            Self::Uri { .. } | Self::Syntax(_) | Self::Together(_) => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { key, nearest: Some(nearest) } => {
                write!(f, "unknown key '{key}': did you mean '{nearest}'?")
            }
            Self::UnknownKey { key, nearest: None } => write!(f, "unknown key '{key}'"),
            Self::Value { key, value, expected } => write!(f, "{key}: '{value}' is not {expected}"),
            Self::Uri { uri, why } => write!(f, "'{uri}': {why}"),
            Self::Scheme { scheme } => {
                write!(f, "transport '{scheme}' is not supported by this build: use {}", super::uri::schemes_built())
            }
            Self::Syntax(text) | Self::Together(text) => f.write_str(text),
            Self::Whole { text, suggestion } => write!(f, "{text}: {suggestion}"),
            Self::Feature(feature) => write!(f, "this build does not have the feature '{feature}'"),
        }
    }
}

impl std::error::Error for Error {}

/// One thing that is wrong in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Line, from 1; 0: the whole.
    pub line: usize,
    /// What is wrong.
    pub error: Error,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => self.error.fmt(f),
            line => write!(f, "line {line}: {}", self.error),
        }
    }
}
