//! How the stacks of one listener, or of one server to connect to, are made.

use core::net::SocketAddr;
use std::sync::Arc;

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
pub struct Recipe(Vec<(Place, Arc<dyn Make>)>);

impl Recipe {
    /// One more layer; the order does not count.
    pub fn with(mut self, place: Place, make: Arc<dyn Make>) -> Self {
        self.0.push((place, make));
        self
    }

    /// No layer: plain.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The stack of a new connection; `None`: it is plain.
    ///
    /// # Errors
    /// As [`Make::make`].
    pub fn stack(&self, budget: &Budget, ends: &Ends<'_>) -> Result<Option<Box<Stack>>, Fault> {
        let mut stack: Option<Box<Stack>> = None;
        for (place, make) in &self.0 {
            if let Some(layer) = make.make(ends)? {
                stack.get_or_insert_with(|| Stack::new(budget)).set(*place, layer);
            }
        }
        Ok(stack)
    }
}

impl core::fmt::Debug for Recipe {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(place, _)| place)).finish()
    }
}
