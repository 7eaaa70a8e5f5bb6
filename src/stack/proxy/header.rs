//! A whole header, taken to pieces.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use std::borrow::Cow;

use ppp::v2::{Addresses, Command, Protocol, Type, TypeLengthValue, TypeLengthValues};

/// The longest unique id (§2.2.5).
const UNIQUE_ID_BYTES_MAX: usize = 128;

/// Who is at one end of the connection to the proxy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Peer {
    /// Over TCP.
    Tcp(SocketAddr),
    /// Over a Unix socket; the path may be empty.
    Unix(String),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

/// What the proxy knows of the client's TLS (§2.2.6).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tls {
    /// The client showed a certificate in this connection or its session, and the proxy found it good.
    pub is_verified: bool,
    /// "TLSv1.3".
    pub version: Option<String>,
    /// The common name in that certificate.
    pub common_name: Option<String>,
    /// Name of the cipher.
    pub cipher: Option<String>,
}

/// What a header says. Everything empty: the proxy speaks for itself (LOCAL), or does not know (UNKNOWN).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// Who connected to the proxy.
    pub source: Option<Peer>,
    /// Where it connected to.
    pub destination: Option<Peer>,
    /// The protocol agreed on by TLS.
    pub alpn: Option<Vec<u8>>,
    /// The name the client asked for.
    pub authority: Option<String>,
    /// The proxy's name for this connection.
    pub unique_id: Option<Vec<u8>>,
    /// The client spoke TLS to the proxy.
    pub tls: Option<Tls>,
}

impl Header {
    /// Memory it holds, about.
    pub fn memory_bytes(&self) -> usize {
        let texts = self.authority.as_ref().map_or(0, String::capacity) + self.alpn.as_ref().map_or(0, Vec::capacity);
        let path = |peer: &Option<Peer>| if let Some(Peer::Unix(path)) = peer { path.capacity() } else { 0 };
        let of_tls = self.tls.iter().flat_map(|tls| [&tls.version, &tls.common_name, &tls.cipher]).flatten().map(String::capacity);
        size_of::<Self>() + texts + path(&self.source) + path(&self.destination) + self.unique_id.as_ref().map_or(0, Vec::capacity) + of_tls.sum::<usize>()
    }

    /// A line, with its end.
    pub(super) fn of_version_1(line: &[u8]) -> Result<Self, &'static str> {
        // The one way of writing a number that a parser of the library takes and the standard does not.
        if line.starts_with(b"PROXY TCP") && line.contains(&b'+') {
            return Err("a sign in front of a port");
        }
        let header = ppp::v1::Header::try_from(line).map_err(|_| "version 1, malformed")?;
        Ok(match header.addresses {
            ppp::v1::Addresses::Unknown => Self::default(),
            ppp::v1::Addresses::Tcp4(of) => Self::between((of.source_address.into(), of.source_port), (of.destination_address.into(), of.destination_port)),
            ppp::v1::Addresses::Tcp6(of) => Self::between((of.source_address.into(), of.source_port), (of.destination_address.into(), of.destination_port)),
        })
    }

    /// All bytes of a binary header.
    pub(super) fn of_version_2(bytes: &[u8]) -> Result<Self, &'static str> {
        let header = ppp::v2::Header::try_from(bytes).map_err(|_| "version 2, malformed")?;
        // The receiver must take a LOCAL connection as it is, and ignore what else is said.
        if header.command == Command::Local {
            return Ok(Self::default());
        }
        let mut found = match (header.addresses, header.protocol) {
            (Addresses::Unspecified, Protocol::Unspecified) => return Ok(Self::default()),
            (Addresses::IPv4(of), Protocol::Stream) => {
                Self::between((of.source_address.into(), of.source_port), (of.destination_address.into(), of.destination_port))
            }
            (Addresses::IPv6(of), Protocol::Stream) => {
                Self::between((of.source_address.into(), of.source_port), (of.destination_address.into(), of.destination_port))
            }
            (Addresses::Unix(of), Protocol::Stream) => {
                Self { source: Some(Peer::Unix(path(&of.source))), destination: Some(Peer::Unix(path(&of.destination))), ..Self::default() }
            }
            _ => return Err("an address family or protocol that is no stream"),
        };
        for value in header.tlvs() {
            found.take(&value.map_err(|_| "a malformed TLV")?, bytes)?;
        }
        Ok(found)
    }

    fn between(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Self {
        let peer = |(address, port)| Some(Peer::Tcp(SocketAddr::new(address, port)));
        Self { source: peer(source), destination: peer(destination), ..Self::default() }
    }

    /// §2.2.1 to §2.2.7. Kinds that are unknown, and those about the proxy itself, are passed over.
    fn take(&mut self, tlv: &TypeLengthValue<'_>, bytes: &[u8]) -> Result<(), &'static str> {
        let value = &tlv.value;
        match tlv.kind {
            kind if kind == Type::ALPN as u8 => self.alpn = Some(value.to_vec()),
            kind if kind == Type::Authority as u8 => self.authority = Some(text(value)?),
            kind if kind == Type::UniqueId as u8 && value.len() > UNIQUE_ID_BYTES_MAX => return Err("a unique id of more than 128 bytes"),
            kind if kind == Type::UniqueId as u8 => self.unique_id = Some(value.to_vec()),
            kind if kind == Type::SSL as u8 => self.tls = tls(value)?,
            kind if kind == Type::CRC32C as u8 => check(value, bytes)?,
            _ => {}
        }
        Ok(())
    }
}

/// §2.2.3: the checksum is that of the header with zeros in the checksum's place.
fn check(value: &Cow<'_, [u8]>, bytes: &[u8]) -> Result<(), &'static str> {
    // The value is a part of `bytes`: its place follows from the kinds and lengths before it.
    let said: [u8; 4] = value.as_ref().try_into().map_err(|_| "a checksum that has not four bytes")?;
    let at = place_of_checksum(bytes).ok_or("a malformed TLV")?;
    let digest = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
    let mut computed = digest.digest();
    computed.update(&bytes[..at]);
    computed.update(&[0; 4]);
    computed.update(&bytes[at + 4..]);
    if computed.finalize() == u32::from_be_bytes(said) { Ok(()) } else { Err("the checksum does not fit") }
}

fn place_of_checksum(bytes: &[u8]) -> Option<usize> {
    let addresses = match bytes[13] >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    };
    let mut at = 16 + addresses;
    loop {
        let (kind, length) = (*bytes.get(at)?, u16::from_be_bytes([*bytes.get(at + 1)?, *bytes.get(at + 2)?]));
        if kind == Type::CRC32C as u8 {
            return Some(at + 3);
        }
        at += 3 + usize::from(length);
    }
}

/// `None`: the client spoke no TLS.
fn tls(value: &[u8]) -> Result<Option<Tls>, &'static str> {
    let [client, verify @ ..] = value else { return Err("a malformed SSL field") };
    let Some((verify, rest)) = verify.split_first_chunk::<4>() else { return Err("a malformed SSL field") };
    let has_certificate = client & 0b110 != 0;
    let mut found = Tls { is_verified: has_certificate && *verify == [0; 4], ..Tls::default() };
    for inner in TypeLengthValues::from(rest) {
        let inner = inner.map_err(|_| "a malformed SSL field")?;
        match inner.kind {
            kind if kind == Type::SSLVersion as u8 => found.version = Some(text(&inner.value)?),
            kind if kind == Type::SSLCommonName as u8 => found.common_name = Some(text(&inner.value)?),
            kind if kind == Type::SSLCipher as u8 => found.cipher = Some(text(&inner.value)?),
            _ => {}
        }
    }
    Ok((client & 1 != 0).then_some(found))
}

fn text(bytes: &[u8]) -> Result<String, &'static str> {
    let text = core::str::from_utf8(bytes).map_err(|_| "a text that is not UTF-8")?;
    if text.chars().any(char::is_control) { Err("a control character in a text") } else { Ok(text.to_owned()) }
}

/// Up to the first zero; an abstract name begins with one, which becomes `@`.
fn path(bytes: &[u8; 108]) -> String {
    let (first, rest) = if bytes[0] == 0 && bytes[1] != 0 { ("@", &bytes[1..]) } else { ("", &bytes[..]) };
    let end = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
    let name: String = String::from_utf8_lossy(&rest[..end]).chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect();
    format!("{first}{name}")
}
