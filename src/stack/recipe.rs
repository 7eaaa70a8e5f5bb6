//! How the stacks of one listener, or of one server to connect to, are made.

use core::net::SocketAddr;
use std::sync::Arc;

#[cfg(feature = "datagram")]
use super::MakeDatagrams;
use super::{Fault, Layer, Place, Stack};
use crate::base::Budget;

/// The two ends of a connection, as far as a layer may want to know them.
#[derive(Clone, Copy, Default, Debug)]
pub struct Ends<'a> {
    /// The name a client dialled; empty on the side that was dialled.
    pub host: &'a str,
    /// The port it dialled; 0 on the side that was dialled.
    pub port: u16,
    /// Who dialled; `None` on the side that dials, and where links have no addresses.
    pub source: Option<SocketAddr>,
    /// Where it came in; as `source`.
    pub destination: Option<SocketAddr>,
    /// For what has to be unforeseeable, from the injected generator.
    pub seed: u64,
}

/// Makes a layer for each connection.
pub trait Make: Send + Sync {
    /// A new layer. `None`: this connection has none.
    ///
    /// # Errors
    /// It cannot be made for these ends: the connection ends.
    fn make(&self, ends: &Ends<'_>) -> Result<Option<Box<dyn Layer>>, Fault>;
}

/// Which layers there are, and how each is made. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Recipe {
    layers: Vec<(Place, Arc<dyn Make>)>,
    /// What is on the UDP socket, if it is one.
    #[cfg(feature = "datagram")]
    datagrams: Option<Arc<dyn MakeDatagrams>>,
}

impl Recipe {
    /// One more layer; the order does not count.
    pub fn with(mut self, place: Place, make: Arc<dyn Make>) -> Self {
        self.layers.push((place, make));
        self
    }

    /// Below all layers are the connections of such an endpoint.
    #[cfg(feature = "datagram")]
    pub fn over(mut self, make: Arc<dyn MakeDatagrams>) -> Self {
        self.datagrams = Some(make);
        self
    }

    /// What is below the layers, if that is no stream of the system.
    #[cfg(feature = "datagram")]
    pub fn datagrams(&self) -> Option<&Arc<dyn MakeDatagrams>> {
        self.datagrams.as_ref()
    }

    /// No layer: plain.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The stack of a new connection; `None`: it is plain.
    ///
    /// # Errors
    /// As [`Make::make`].
    pub fn stack(&self, budget: &Budget, ends: &Ends<'_>) -> Result<Option<Box<Stack>>, Fault> {
        let mut stack: Option<Box<Stack>> = None;
        for (place, make) in &self.layers {
            if let Some(layer) = make.make(ends)? {
                stack.get_or_insert_with(|| Stack::new(budget)).set(*place, layer);
            }
        }
        Ok(stack)
    }
}

impl core::fmt::Debug for Recipe {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.layers.iter().map(|(place, _)| place)).finish()
    }
}
