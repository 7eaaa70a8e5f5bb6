//! Reliable UDP, and bare packets in datagrams, below all layers, as the options want it.

#[cfg(feature = "rudp")]
use std::sync::{Arc, OnceLock};

#[cfg(feature = "rudp")]
use super::Underlay;
use super::{ClientTlsSettings, Error, Transport, WaySettings};
#[cfg(feature = "server")]
use super::{ListenerOptions, ListenerTls};
use crate::stack::Recipe;
#[cfg(feature = "rudp")]
use crate::stack::rudp::{Generation, KnownServers, Maker};
#[cfg(all(feature = "rudp", feature = "tls"))]
use crate::stack::{Place, TlsVersion};

#[cfg(all(feature = "server", not(feature = "rudp")))]
pub(super) fn listener(_: Recipe, _: &ListenerOptions) -> Result<Recipe, Error> {
    Err(Error::Unsupported("rudp://"))
}

#[cfg(not(feature = "rudp"))]
pub(super) fn client(_: Recipe, _: &WaySettings, _: Transport) -> Result<Recipe, Error> {
    Err(Error::Unsupported("rudp://"))
}

#[cfg(all(feature = "server", feature = "rudp"))]
pub(super) fn listener(recipe: Recipe, options: &ListenerOptions) -> Result<Recipe, Error> {
    Ok(recipe.over(Arc::new(maker(&options.rudp, options.transport))))
}

#[cfg(feature = "rudp")]
pub(super) fn client(recipe: Recipe, way: &WaySettings, transport: Transport) -> Result<Recipe, Error> {
    if way.proxy.is_some() || way.proxy_protocol.is_some() {
        return Err(Error::Unsupported("a proxy, or its header, on the way of datagrams"));
    }
    if transport.tls && !way.rudp.has_second() {
        return Err(Error::Invalid("rudp_generation=1 is without TLS: rudps:// is generation 2".to_owned()));
    }
    // Who has heard a server speak generation 2 knows it for all clients of this process, and their next connections.
    static KNOWN: OnceLock<Arc<KnownServers>> = OnceLock::new();
    let maker = maker(&way.rudp, transport).knowing(KNOWN.get_or_init(Arc::default));
    Ok(recipe.over(Arc::new(maker)))
}

/// A record fits a frame: what is lost holds back no more than what it was.
#[cfg(all(feature = "rudp", feature = "tls"))]
const RECORD_BYTES_MAX: usize = 1_150;

/// TLS 1.3 inside of it, for a listener.
#[cfg(all(feature = "server", feature = "rudp", feature = "tls"))]
pub(super) fn listener_tls(recipe: Recipe, tls: &ListenerTls) -> Result<Recipe, Error> {
    let tls = ListenerTls { version_min: TlsVersion::V13, ..tls.clone() };
    let made = super::layers::of_listener_tls(&tls, |options| crate::stack::tls::ServerTls::new(options))?;
    Ok(recipe.with(Place::Tls, Arc::new(made.in_records_of(RECORD_BYTES_MAX))))
}

/// TLS 1.3 inside of it, for a client.
#[cfg(all(feature = "rudp", feature = "tls"))]
pub(super) fn client_tls(tls: &ClientTlsSettings) -> Result<Recipe, Error> {
    let tls = ClientTlsSettings { version_min: TlsVersion::V13, ..tls.clone() };
    let made = super::layers::of_client_tls(&tls, |options| crate::stack::tls::ClientTls::new(options))?;
    Ok(Recipe::default().with(Place::Tls, Arc::new(made.in_records_of(RECORD_BYTES_MAX))))
}

#[cfg(all(feature = "server", not(all(feature = "rudp", feature = "tls"))))]
pub(super) fn listener_tls(_: Recipe, _: &ListenerTls) -> Result<Recipe, Error> {
    Err(Error::Unsupported("rudps://"))
}

#[cfg(not(all(feature = "rudp", feature = "tls")))]
pub(super) fn client_tls(_: &ClientTlsSettings) -> Result<Recipe, Error> {
    Err(Error::Unsupported("rudps://"))
}

/// TLS is a stream, which generation 1 has not; and `udp://` is neither.
#[cfg(feature = "rudp")]
fn maker(options: &crate::stack::rudp::Options, transport: Transport) -> Maker {
    use std::collections::hash_map::RandomState;
    use std::hash::{BuildHasher as _, Hasher as _};

    let mut options = options.clone();
    if transport.tls {
        (options.generation, options.is_plain) = (Generation::Two, false);
    }
    if transport.underlay == Underlay::Udp {
        options.generation = Generation::Neither;
    }
    // The keys of the standard library's maps come from the system: what is hashed with one cannot be foreseen.
    let number = || RandomState::new().build_hasher().finish();
    let secret = [(); 3].map(|()| [number(), number()]);
    Maker::new(options, secret)
}
