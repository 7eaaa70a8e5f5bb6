//! Layers below TLS: tunnels and the PROXY protocol, as the options want them.

#[cfg(feature = "server")]
use super::ListenerOptions;
use super::{Error, WaySettings};
use crate::stack::Recipe;

#[cfg(all(feature = "server", not(feature = "proxy")))]
pub(super) fn listener(recipe: Recipe, options: &ListenerOptions) -> Result<Recipe, Error> {
    if options.proxy == crate::stack::ProxyPolicy::Off { Ok(recipe) } else { Err(Error::Unsupported("the PROXY protocol")) }
}

#[cfg(not(feature = "proxy"))]
pub(super) fn client(recipe: Recipe, way: &WaySettings) -> Result<Recipe, Error> {
    match (&way.proxy, way.proxy_protocol) {
        (Some(_), _) => Err(Error::Unsupported("a proxy for clients")),
        (_, Some(_)) => Err(Error::Unsupported("the PROXY protocol")),
        (None, None) => Ok(recipe),
    }
}

#[cfg(all(feature = "server", feature = "proxy"))]
pub(super) fn listener(recipe: Recipe, options: &ListenerOptions) -> Result<Recipe, Error> {
    use crate::stack::proxy::Receive;
    use crate::stack::{Place, ProxyPolicy};
    match options.proxy {
        ProxyPolicy::Off => Ok(recipe),
        _ if options.proxy_trusted.is_empty() => Err(Error::Invalid("the PROXY protocol needs proxy_trusted: without it nobody is believed".to_owned())),
        policy => Ok(recipe.with(Place::Proxy, std::sync::Arc::new(Receive { policy, trusted: options.proxy_trusted.clone() }))),
    }
}

#[cfg(feature = "proxy")]
pub(super) fn client(mut recipe: Recipe, way: &WaySettings) -> Result<Recipe, Error> {
    use crate::stack::Place;
    use crate::stack::proxy::Send;
    use crate::stack::tunnel::Through;
    use std::sync::Arc;
    if let Some(proxy) = &way.proxy {
        let credentials = (!way.proxy_username.is_empty()).then(|| (way.proxy_username.clone(), way.proxy_password.clone()));
        let through = Through { kind: proxy.kind, credentials };
        if let Some(what) = through.fault_of_credentials() {
            return Err(Error::Invalid(format!("proxy: {what}")));
        }
        recipe = recipe.with(Place::Tunnel, Arc::new(through));
    }
    Ok(way.proxy_protocol.map_or(recipe.clone(), |version| recipe.with(Place::Proxy, Arc::new(Send(version)))))
}
