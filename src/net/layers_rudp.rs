//! Reliable UDP below all layers, as the options want it.

#[cfg(feature = "server")]
use super::ListenerOptions;
use super::{Error, WaySettings};
use crate::stack::Recipe;

#[cfg(all(feature = "server", not(feature = "rudp")))]
pub(super) fn listener(_: Recipe, _: &ListenerOptions) -> Result<Recipe, Error> {
    Err(Error::Unsupported("rudp://"))
}

#[cfg(not(feature = "rudp"))]
pub(super) fn client(_: Recipe, _: &WaySettings, _: bool) -> Result<Recipe, Error> {
    Err(Error::Unsupported("rudp://"))
}

#[cfg(all(feature = "server", feature = "rudp"))]
pub(super) fn listener(recipe: Recipe, options: &ListenerOptions) -> Result<Recipe, Error> {
    Ok(over(recipe, &options.rudp, options.transport.tls))
}

#[cfg(feature = "rudp")]
pub(super) fn client(recipe: Recipe, way: &WaySettings, has_tls: bool) -> Result<Recipe, Error> {
    if way.proxy.is_some() || way.proxy_protocol.is_some() {
        return Err(Error::Unsupported("a proxy, or its header, on the way of reliable UDP"));
    }
    Ok(over(recipe, &way.rudp, has_tls))
}

/// TLS is a stream, which generation 1 has not.
#[cfg(feature = "rudp")]
fn over(recipe: Recipe, options: &crate::stack::rudp::Options, has_tls: bool) -> Recipe {
    use crate::stack::rudp::{Generation, Maker};
    let mut options = options.clone();
    if has_tls {
        (options.generation, options.is_plain) = (Generation::Two, false);
    }
    recipe.over(std::sync::Arc::new(Maker(options)))
}
