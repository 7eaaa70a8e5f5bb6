//! What can go wrong between a caller's thread and a worker.

use core::fmt;
use std::io;

use crate::codec::Reason;

/// Errors of runtimes, clients and servers. None of them leaves anything half done.
#[derive(Debug)]
pub enum Error {
    /// Waiting here would wait for this very thread: the call came from a callback.
    WouldDeadlock,
    /// The answer did not come in time; what was asked for still happens.
    Timeout,
    /// The runtime, client or server is stopped.
    Gone,
    /// A fault of the library itself.
    Internal,
    /// An option or argument cannot be used; the text says which.
    Invalid(String),
    /// This build or mode has no such thing.
    Unsupported(&'static str),
    /// The system refused.
    Io(io::Error),
    /// A client machine refused the request.
    Client(crate::proto::Error),
    /// A server refused the request.
    Server(Reason),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WouldDeadlock => write!(f, "waiting inside a callback would never end"),
            Self::Timeout => write!(f, "no answer in time"),
            Self::Gone => write!(f, "stopped already"),
            Self::Internal => write!(f, "a fault of the library"),
            Self::Invalid(text) => write!(f, "{text}"),
            Self::Unsupported(what) => write!(f, "not supported: {what}"),
            Self::Io(error) => write!(f, "{error}"),
            Self::Client(error) => write!(f, "{error}"),
            Self::Server(reason) => write!(f, "{}", reason.text()),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<crate::proto::Error> for Error {
    fn from(error: crate::proto::Error) -> Self {
        Self::Client(error)
    }
}
