//! A way to the server through a proxy: HTTP CONNECT (RFC 9110 §9.3.6) and SOCKS5 (RFC 1928, RFC 1929).
//!
//! It is the lowest layer of a client: the proxy is what was dialled, and it is asked by name for the
//! server, so that names only the proxy can look up are reached. When it has made the way, the layer
//! is taken out, and whatever lies above speaks to the server itself.

mod connect;
mod socks;

use core::fmt;

use connect::Connect;
use socks::Socks;

use crate::stack::TunnelKind as Kind;
use crate::stack::http::HeadError;
use crate::stack::{Ends, Fault, FaultKind, Layer, Make, Progress};

/// Through which proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Through {
    /// What it speaks.
    pub kind: Kind,
    /// User name and password.
    pub credentials: Option<(String, String)>,
}

impl Through {
    /// Why the credentials cannot be used, if they cannot.
    pub fn fault_of_credentials(&self) -> Option<&'static str> {
        let (user, password) = self.credentials.as_ref()?;
        let sizes = [user.len(), password.len()];
        match self.kind {
            Kind::Http if user.contains(':') || user.chars().chain(password.chars()).any(char::is_control) => {
                Some("a user name of HTTP has no colon, and neither it nor the password a control character")
            }
            Kind::Socks5 if sizes.iter().any(|size| !(1..=255).contains(size)) => Some("user name and password of SOCKS5 have 1 to 255 bytes"),
            _ => None,
        }
    }
}

impl fmt::Debug for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Through").field("kind", &self.kind).field("has_credentials", &self.credentials.is_some()).finish()
    }
}

impl Make for Through {
    fn make(&self, ends: &Ends<'_>) -> Result<Option<Box<dyn Layer>>, Fault> {
        let machine = match self.kind {
            Kind::Http => Machine::Http(Connect::new(ends.host, ends.port, self.credentials.as_ref())),
            Kind::Socks5 => Machine::Socks5(Socks::new(ends.host, ends.port, self.credentials.clone()).map_err(Fault::from)?),
        };
        Ok(Some(Box::new(TunnelLayer { machine: Some(machine) })))
    }
}

/// Why there is no way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TunnelError {
    /// No answer of HTTP.
    Head(HeadError),
    /// The answer's status.
    Status(u16),
    /// A method of authentication that was not offered, or wrong credentials.
    Credentials,
    /// SOCKS5 says why.
    Reply(u8),
    /// It is not SOCKS5.
    NotSocks,
    /// The server's name has no place in a request.
    Name,
}

impl fmt::Display for TunnelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("proxy: ")?;
        match self {
            Self::Head(error) => error.fmt(f),
            Self::Status(status) => write!(f, "HTTP status {status}"),
            Self::Credentials => f.write_str("it wants other credentials"),
            Self::Reply(code) => f.write_str(socks::reply_text(*code)),
            Self::NotSocks => f.write_str("this is not SOCKS5"),
            Self::Name => f.write_str("a server's name has 1 to 255 bytes"),
        }
    }
}

impl From<TunnelError> for Fault {
    fn from(error: TunnelError) -> Self {
        let kind = match error {
            TunnelError::Credentials | TunnelError::Status(407) => FaultKind::TunnelCredentials,
            _ => FaultKind::TunnelRefused,
        };
        Self::new(kind, error.to_string())
    }
}

enum Machine {
    Http(Connect),
    Socks5(Socks),
}

struct TunnelLayer {
    /// `None`: the way is made.
    machine: Option<Machine>,
}

impl Layer for TunnelLayer {
    fn begin(&mut self, below: &mut Vec<u8>) {
        match &self.machine {
            Some(Machine::Http(connect)) => connect.ask(below),
            Some(Machine::Socks5(socks)) => socks.greet(below),
            None => {}
        }
    }

    fn open(&mut self, bytes: &[u8], above: &mut Vec<u8>, below: &mut Vec<u8>) -> Result<(), Fault> {
        let consumed = match &mut self.machine {
            Some(Machine::Http(connect)) => connect.handle_input(bytes)?,
            Some(Machine::Socks5(socks)) => socks.handle_input(bytes, below)?,
            None => Some(0),
        };
        if let Some(consumed) = consumed {
            self.machine = None;
            above.extend_from_slice(&bytes[consumed..]);
        }
        Ok(())
    }

    fn progress(&self) -> Progress {
        if self.machine.is_some() { Progress::Handshake } else { Progress::Done }
    }

    fn memory_bytes(&self) -> usize {
        let held = match &self.machine {
            Some(Machine::Http(connect)) => connect.memory_bytes(),
            Some(Machine::Socks5(socks)) => socks.memory_bytes(),
            None => 0,
        };
        size_of::<Self>() + held
    }
}

#[cfg(test)]
mod tests;
