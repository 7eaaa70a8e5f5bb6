//! The layer above TLS: WebSocket, as the options want it.

#[cfg(feature = "server")]
use super::ListenerOptions;
use super::{Error, ServerAddress, WaySettings};
use crate::stack::Recipe;

#[cfg(all(feature = "server", not(feature = "websocket")))]
pub(super) fn listener(recipe: Recipe, options: &ListenerOptions) -> Result<Recipe, Error> {
    if options.transport.websocket { Err(Error::Unsupported("WebSocket")) } else { Ok(recipe) }
}

#[cfg(not(feature = "websocket"))]
pub(super) fn client(recipe: Recipe, address: &ServerAddress, _: &WaySettings) -> Result<Recipe, Error> {
    if address.transport.websocket { Err(Error::Unsupported("WebSocket")) } else { Ok(recipe) }
}

#[cfg(all(feature = "server", feature = "websocket"))]
pub(super) fn listener(recipe: Recipe, options: &ListenerOptions) -> Result<Recipe, Error> {
    use crate::stack::Place;
    use crate::stack::ws::{Accept, Acceptor};
    use std::sync::Arc;
    if !options.transport.websocket {
        return Ok(recipe);
    }
    let (paths, origins) = (options.websocket.paths.clone(), options.websocket.origins.clone());
    let acceptor = Acceptor { paths, origins, trusted: options.proxy_trusted.clone(), ..Acceptor::default() };
    Ok(recipe.with(Place::WebSocket, Arc::new(Accept(Arc::new(acceptor)))))
}

#[cfg(feature = "websocket")]
pub(super) fn client(recipe: Recipe, address: &ServerAddress, way: &WaySettings) -> Result<Recipe, Error> {
    use crate::stack::Place;
    use crate::stack::ws::Ask;
    /// What a server of MQTT serves if nobody says otherwise.
    const USUAL_PATH: &str = "/mqtt";
    if !address.transport.websocket {
        return Ok(recipe);
    }
    let path = if address.path.is_empty() { USUAL_PATH } else { &address.path }.to_owned();
    let ask = Ask { path, fields: way.fields.clone(), default_port: if address.transport.tls { 443 } else { 80 } };
    Ok(recipe.with(Place::WebSocket, std::sync::Arc::new(ask)))
}
