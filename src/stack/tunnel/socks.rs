//! SOCKS5.

use core::net::IpAddr;

use super::TunnelError;

const VERSION: u8 = 5;
/// Of the exchange of user name and password (RFC 1929).
const CREDENTIALS_VERSION: u8 = 1;
const METHOD_NONE: u8 = 0;
const METHOD_CREDENTIALS: u8 = 2;

/// The longest answer: its head, a name, a port (RFC 1928 §6).
const ANSWER_BYTES_MAX: usize = 5 + 255 + 2;

/// Which answer comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Method,
    Credentials,
    Reply,
}

/// What is asked, and the answer that is coming.
pub(super) struct Socks {
    step: Step,
    credentials: Option<(String, String)>,
    /// Address type, address and port (RFC 1928 §5).
    target: Vec<u8>,
    answer: Vec<u8>,
}

impl Socks {
    pub fn new(host: &str, port: u16, credentials: Option<(String, String)>) -> Result<Self, TunnelError> {
        let mut target = match host.parse() {
            Ok(IpAddr::V4(address)) => [&[1][..], &address.octets()].concat(),
            Ok(IpAddr::V6(address)) => [&[4][..], &address.octets()].concat(),
            Err(_) => {
                let length = u8::try_from(host.len()).ok().filter(|length| *length > 0).ok_or(TunnelError::Name)?;
                [&[3, length][..], host.as_bytes()].concat()
            }
        };
        target.extend_from_slice(&port.to_be_bytes());
        Ok(Self { step: Step::Method, credentials, target, answer: Vec::new() })
    }

    /// The methods we have.
    pub fn greet(&self, out: &mut Vec<u8>) {
        match self.credentials {
            None => out.extend_from_slice(&[VERSION, 1, METHOD_NONE]),
            Some(_) => out.extend_from_slice(&[VERSION, 2, METHOD_NONE, METHOD_CREDENTIALS]),
        }
    }

    /// `Some`: the way is made, and so many bytes were the answer's.
    pub fn handle_input(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, TunnelError> {
        for (index, &byte) in input.iter().enumerate() {
            self.answer.push(byte);
            debug_assert!(self.answer.len() <= ANSWER_BYTES_MAX);
            if self.is_wrong() {
                return Err(TunnelError::NotSocks);
            }
            if self.answer.len() < self.answer_bytes() {
                continue;
            }
            if self.take_answer(out)? {
                return Ok(Some(index + 1));
            }
        }
        Ok(None)
    }

    fn is_wrong(&self) -> bool {
        let version = if self.step == Step::Credentials { CREDENTIALS_VERSION } else { VERSION };
        self.answer[0] != version || self.step == Step::Reply && self.answer.get(3).is_some_and(|kind| ![1, 3, 4].contains(kind))
    }

    /// How long the answer that comes is, as far as one can say.
    fn answer_bytes(&self) -> usize {
        if self.step != Step::Reply {
            return 2;
        }
        match (self.answer.get(3), self.answer.get(4)) {
            (Some(1), _) => 4 + 4 + 2,
            (Some(4), _) => 4 + 16 + 2,
            (Some(3), Some(length)) => 5 + usize::from(*length) + 2,
            _ => 5,
        }
    }

    /// True: the way is made.
    fn take_answer(&mut self, out: &mut Vec<u8>) -> Result<bool, TunnelError> {
        let code = self.answer[1];
        self.answer.clear();
        match (self.step, code, &self.credentials) {
            (Step::Method, METHOD_NONE, _) => {}
            (Step::Method, METHOD_CREDENTIALS, Some((user, password))) => {
                self.step = Step::Credentials;
                out.extend_from_slice(&[CREDENTIALS_VERSION, user.len() as u8]);
                out.extend_from_slice(user.as_bytes());
                out.push(password.len() as u8);
                out.extend_from_slice(password.as_bytes());
                return Ok(false);
            }
            (Step::Method, ..) => return Err(TunnelError::Credentials),
            (Step::Credentials, 0, _) => {}
            (Step::Credentials, ..) => return Err(TunnelError::Credentials),
            (Step::Reply, 0, _) => return Ok(true),
            (Step::Reply, ..) => return Err(TunnelError::Reply(code)),
        }
        self.step = Step::Reply;
        out.extend_from_slice(&[VERSION, 1, 0]);
        out.extend_from_slice(&self.target);
        Ok(false)
    }

    pub fn memory_bytes(&self) -> usize {
        let credentials = self.credentials.as_ref().map_or(0, |(user, password)| user.capacity() + password.capacity());
        self.target.capacity() + self.answer.capacity() + credentials
    }
}

/// RFC 1928 §6.
pub(super) fn reply_text(code: u8) -> &'static str {
    match code {
        2 => "the way is not allowed",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "time to live expired",
        7 => "it does not know how to connect",
        8 => "it does not know this kind of address",
        _ => "a failure of its own",
    }
}
