//! QUIC below all layers, as the options want it.

#[cfg(feature = "server")]
use super::ListenerOptions;
use super::{ClientTlsSettings, Error, WaySettings};
use crate::stack::Recipe;

#[cfg(all(feature = "server", not(feature = "quic")))]
pub(super) fn listener(_: Recipe, _: &ListenerOptions) -> Result<Recipe, Error> {
    Err(Error::Unsupported("quic://"))
}

#[cfg(not(feature = "quic"))]
pub(super) fn client(_: &ClientTlsSettings, _: &WaySettings) -> Result<Recipe, Error> {
    Err(Error::Unsupported("quic://"))
}

#[cfg(all(feature = "server", feature = "quic"))]
pub(super) fn listener(recipe: Recipe, options: &ListenerOptions) -> Result<Recipe, Error> {
    use crate::stack::quic::ServerQuic;
    let tls = options.tls.as_deref().ok_or_else(|| Error::Invalid("QUIC needs cert and key".to_owned()))?;
    let made = super::layers::of_listener_tls(tls, |tls| ServerQuic::new(tls, &options.quic))?;
    Ok(recipe.over(std::sync::Arc::new(made)))
}

#[cfg(feature = "quic")]
pub(super) fn client(tls: &ClientTlsSettings, way: &WaySettings) -> Result<Recipe, Error> {
    use crate::stack::quic::ClientQuic;
    if way.proxy.is_some() || way.proxy_protocol.is_some() {
        return Err(Error::Unsupported("a proxy, or its header, on the way of QUIC"));
    }
    let made = super::layers::of_client_tls(tls, |options| ClientQuic::new(options, &tls.quic))?;
    Ok(Recipe::default().over(std::sync::Arc::new(made)))
}
