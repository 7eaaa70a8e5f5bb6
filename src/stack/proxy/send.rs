//! The header in front of a connection that goes out.

use core::net::SocketAddr;

use ppp::v2::{Builder, Command, Protocol};

use crate::stack::{Ends, Fault, Layer, Make, Progress, ProxyVersion};

impl ProxyVersion {
    /// Appends the header of a connection between these two; for a connection of our own, where
    /// there is nobody behind us, they are its ends. `None`: UNKNOWN, or LOCAL.
    pub fn write(self, ends: Option<(SocketAddr, SocketAddr)>, out: &mut Vec<u8>) {
        match self {
            Self::V1 => {
                let addresses = ends.map_or(ppp::v1::Addresses::Unknown, ppp::v1::Addresses::from);
                out.extend_from_slice(addresses.to_string().as_bytes());
            }
            Self::V2 => {
                let command = if ends.is_some() { Command::Proxy } else { Command::Local };
                let protocol = if ends.is_some() { Protocol::Stream } else { Protocol::Unspecified };
                let addresses = ends.map_or(ppp::v2::Addresses::Unspecified, ppp::v2::Addresses::from);
                let built = Builder::with_addresses(ppp::v2::Version::Two | command, protocol, addresses).build();
                // 16 bytes and two addresses: it cannot become too long.
                out.extend_from_slice(&built.unwrap_or_default());
            }
        }
    }
}

/// Writes a header in front of what a client sends.
#[derive(Clone, Copy, Debug)]
pub struct Send(pub ProxyVersion);

impl Make for Send {
    fn make(&self, ends: &Ends<'_>) -> Result<Option<Box<dyn Layer>>, Fault> {
        let ends = ends.source.zip(ends.destination).filter(|(source, destination)| source.is_ipv4() == destination.is_ipv4());
        Ok(Some(Box::new(SendLayer { version: self.0, ends })))
    }
}

struct SendLayer {
    version: ProxyVersion,
    ends: Option<(SocketAddr, SocketAddr)>,
}

impl Layer for SendLayer {
    fn begin(&mut self, below: &mut Vec<u8>) {
        self.version.write(self.ends, below);
    }

    fn open(&mut self, bytes: &[u8], above: &mut Vec<u8>, _: &mut Vec<u8>) -> Result<(), Fault> {
        above.extend_from_slice(bytes);
        Ok(())
    }

    fn progress(&self) -> Progress {
        Progress::Done
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>()
    }
}
