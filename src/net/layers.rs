//! What a connection runs over, and the layers that follow from it: the files of a layer are read here, on the thread
//! that asks.

#[cfg(feature = "tls")]
use std::sync::Arc;

#[cfg(feature = "server")]
use super::ListenerOptions;
use super::{Error, Remote, ServerAddress, layers_above, layers_below, layers_quic, layers_rudp};
use crate::stack::{ClientCertificate, Identity, ProxyVersion, Recipe, Sign, TlsVersion, TunnelKind};

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
    /// Bare packets of MQTT in datagrams.
    Udp,
}

impl Underlay {
    /// It has a UDP socket, and a machine of datagrams on it.
    pub fn is_datagrams(self) -> bool {
        matches!(self, Self::Quic | Self::Rudp | Self::Udp)
    }
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

/// TLS of a listener; files are PEM.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ListenerTls {
    /// The server's certificate, and the intermediate ones behind it.
    pub cert: String,
    /// Its private key.
    pub key: String,
    /// Who may sign clients' certificates; empty: none.
    pub ca: String,
    /// Certificates that were revoked; empty: none.
    pub crl: String,
    /// Whether clients show certificates.
    pub client_certificate: ClientCertificate,
    /// What of them is the user name.
    pub identity: Identity,
    /// The oldest version.
    pub version_min: TlsVersion,
    /// Protocols of ALPN, the dearest first.
    pub alpn: Vec<String>,
}

/// TLS of a client; files and texts are PEM. Without an authority, those of the system are trusted.
#[derive(Clone, Default)]
pub struct ClientTlsSettings {
    /// Whom it trusts: a file.
    pub ca_file: String,
    /// Whom it trusts: the text itself; a file and a text add up.
    pub ca_pem: Vec<u8>,
    /// Its own certificate, and the intermediate ones behind it: a file.
    pub cert_file: String,
    /// In place of `cert_file`, the text itself.
    pub cert_pem: Vec<u8>,
    /// The private key: a file.
    pub key_file: String,
    /// In place of `key_file`, the text itself.
    pub key_pem: Vec<u8>,
    /// In place of both, who signs.
    pub sign: Option<Sign>,
    /// The name in the server's certificate; empty: the host of its URI.
    pub server_name: String,
    /// Protocols of ALPN, the dearest first.
    pub alpn: Vec<String>,
    /// The oldest version.
    pub version_min: TlsVersion,
    /// SHA-256 of public keys, one of which the server has to have.
    pub pins: Vec<[u8; 32]>,
    /// Certificates that were revoked: a file; empty: none.
    pub crl_file: String,
    /// The clock is never taken to be before this second since 1970.
    pub clock_floor_s: u64,
    /// Trust everybody.
    pub danger_accept_any: bool,
    /// What QUIC has besides.
    #[cfg(feature = "quic")]
    pub quic: crate::stack::quic::QuicOptions,
}

/// WebSocket of a listener.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ListenerWebSocket {
    /// Paths that are served; empty: all.
    pub paths: Vec<String>,
    /// Origins whose pages are let in; empty: all.
    pub origins: Vec<String>,
}

/// The proxy a client goes through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TunnelProxy {
    /// What it speaks.
    pub kind: TunnelKind,
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// What else lies on a client's way to its servers.
#[derive(Clone, Default)]
pub struct WaySettings {
    /// The proxy, if there is one.
    pub proxy: Option<TunnelProxy>,
    /// User name and password for the proxy; an empty user name: none.
    pub proxy_username: String,
    /// See `proxy_username`.
    pub proxy_password: String,
    /// The header of the PROXY protocol that is sent.
    pub proxy_protocol: Option<ProxyVersion>,
    /// Fields of the request for a WebSocket.
    pub fields: Vec<(String, String)>,
    /// Reliable UDP, where that is the way.
    #[cfg(feature = "rudp")]
    pub rudp: crate::stack::rudp::Options,
}

/// The layers under each connection of a listener.
///
/// # Errors
/// `Invalid`: a file cannot be read or used; the text says which and why. `Unsupported`: not in this build.
#[cfg(feature = "server")]
pub fn listener_recipe(options: &ListenerOptions) -> Result<Recipe, Error> {
    let recipe = layers_below::listener(Recipe::default(), options)?;
    let recipe = match &options.tls {
        _ if options.transport.underlay == Underlay::Quic => layers_quic::listener(recipe, options)?,
        Some(tls) if options.transport.tls && options.transport.underlay == Underlay::Rudp => layers_rudp::listener_tls(recipe, tls)?,
        Some(tls) if options.transport.tls => listener_tls(recipe, tls)?,
        _ => recipe,
    };
    let recipe = if matches!(options.transport.underlay, Underlay::Rudp | Underlay::Udp) { layers_rudp::listener(recipe, options)? } else { recipe };
    layers_above::listener(recipe, options)
}

/// Servers with the layers on the way to each. TLS is made once: a session with one server is not forgotten over another.
///
/// # Errors
/// As [`listener_recipe`].
pub fn remotes(servers: Vec<ServerAddress>, tls: &ClientTlsSettings, way: &WaySettings) -> Result<Vec<Remote>, Error> {
    let below = layers_below::client(Recipe::default(), way)?;
    let is_over = |server: &ServerAddress, underlay| server.transport.underlay == underlay;
    let is_quic = |server: &ServerAddress| is_over(server, Underlay::Quic);
    let is_rudp = |server: &ServerAddress| is_over(server, Underlay::Rudp);
    let with_tls = match servers.iter().any(|server| server.transport.tls && !is_quic(server) && !is_rudp(server)) {
        true => client_tls(below.clone(), tls)?,
        false => Recipe::default(),
    };
    let with_quic = match servers.iter().any(is_quic) {
        true => layers_quic::client(tls, way)?,
        false => Recipe::default(),
    };
    let with_rudps = match servers.iter().any(|server| is_rudp(server) && server.transport.tls) {
        true => layers_rudp::client(layers_rudp::client_tls(tls)?, way, Transport { underlay: Underlay::Rudp, tls: true, websocket: false })?,
        false => Recipe::default(),
    };
    let without_tls = |underlay| match servers.iter().any(|server| is_over(server, underlay) && !server.transport.tls) {
        true => layers_rudp::client(Recipe::default(), way, Transport { underlay, ..Transport::default() }),
        false => Ok(Recipe::default()),
    };
    let (with_rudp, with_udp) = (without_tls(Underlay::Rudp)?, without_tls(Underlay::Udp)?);
    // A proxy goes on over TCP; what is on this host is reached straight.
    let straight = layers_below::client(Recipe::default(), &WaySettings { proxy: None, ..way.clone() })?;
    let remote = |address: ServerAddress| {
        let is_tcp = address.transport.underlay == Underlay::Tcp;
        let recipe = match (address.transport.tls, is_tcp) {
            _ if is_quic(&address) => with_quic.clone(),
            (true, _) if is_rudp(&address) => with_rudps.clone(),
            (false, _) if is_rudp(&address) => with_rudp.clone(),
            _ if is_over(&address, Underlay::Udp) => with_udp.clone(),
            (true, _) => with_tls.clone(),
            (false, true) => below.clone(),
            (false, false) => straight.clone(),
        };
        let recipe = layers_above::client(recipe, &address, way)?;
        let through = way.proxy.as_ref().filter(|_| is_tcp).map(|proxy| (proxy.host.clone(), proxy.port));
        Ok(Remote { address, through, recipe })
    };
    servers.into_iter().map(remote).collect()
}

#[cfg(all(feature = "server", not(feature = "tls")))]
fn listener_tls(_: Recipe, _: &ListenerTls) -> Result<Recipe, Error> {
    Err(Error::Unsupported("TLS"))
}

#[cfg(not(feature = "tls"))]
fn client_tls(_: Recipe, _: &ClientTlsSettings) -> Result<Recipe, Error> {
    Err(Error::Unsupported("TLS"))
}

#[cfg(feature = "tls")]
fn file(name: &str) -> Result<Option<Vec<u8>>, Error> {
    if name.is_empty() {
        return Ok(None);
    }
    std::fs::read(name).map(Some).map_err(|error| Error::Invalid(format!("{name}: {error}")))
}

/// Seconds since 1970.
#[cfg(feature = "tls")]
fn wall_clock() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(all(feature = "server", feature = "tls"))]
fn listener_tls(recipe: Recipe, tls: &ListenerTls) -> Result<Recipe, Error> {
    let made = of_listener_tls(tls, crate::stack::tls::ServerTls::new)?;
    Ok(recipe.with(crate::stack::Place::Tls, Arc::new(made)))
}

/// What is made of TLS's options, whose files are read for it.
#[cfg(all(feature = "server", feature = "tls"))]
pub(super) fn of_listener_tls<R>(tls: &ListenerTls, make: impl FnOnce(&crate::stack::tls::ServerTlsOptions<'_>) -> Result<R, String>) -> Result<R, Error> {
    use crate::stack::tls::ServerTlsOptions;
    let (cert, key) = (file(&tls.cert)?.unwrap_or_default(), file(&tls.key)?.unwrap_or_default());
    let (ca, crl) = (file(&tls.ca)?, file(&tls.crl)?);
    let options = ServerTlsOptions {
        certificates: &cert,
        key: &key,
        ca: ca.as_deref(),
        client_certificate: tls.client_certificate,
        revoked: crl.as_deref(),
        identity: tls.identity,
        version_min: tls.version_min,
        alpn: &tls.alpn,
        clock: wall_clock,
    };
    make(&options).map_err(|why| Error::Invalid(format!("TLS of a listener: {why}")))
}

#[cfg(feature = "tls")]
fn client_tls(recipe: Recipe, tls: &ClientTlsSettings) -> Result<Recipe, Error> {
    let made = of_client_tls(tls, crate::stack::tls::ClientTls::new)?;
    Ok(recipe.with(crate::stack::Place::Tls, Arc::new(made)))
}

/// As `of_listener_tls`.
#[cfg(feature = "tls")]
pub(super) fn of_client_tls<R>(tls: &ClientTlsSettings, make: impl FnOnce(&crate::stack::tls::ClientTlsOptions<'_>) -> Result<R, String>) -> Result<R, Error> {
    use crate::stack::tls::{ClientTlsOptions, Roots};
    let text_or_file = |text: &[u8], name: &str| if text.is_empty() { file(name) } else { Ok(Some(text.to_vec())) };
    let mut ca = file(&tls.ca_file)?.unwrap_or_default();
    ca.extend_from_slice(&tls.ca_pem);
    let (cert, key, crl) = (text_or_file(&tls.cert_pem, &tls.cert_file)?, text_or_file(&tls.key_pem, &tls.key_file)?, file(&tls.crl_file)?);
    let roots = match (tls.danger_accept_any, ca.is_empty()) {
        (true, _) => Roots::DangerAnybody,
        (false, false) => Roots::Pem(&ca),
        (false, true) => Roots::System(rustls_native_certs::load_native_certs().certs.into_iter().map(|der| der.to_vec()).collect()),
    };
    let options = ClientTlsOptions {
        roots,
        certificates: cert.as_deref(),
        key: key.as_deref(),
        sign: tls.sign.clone(),
        server_name: Some(tls.server_name.as_str()).filter(|name| !name.is_empty()),
        pins: tls.pins.clone(),
        revoked: crl.as_deref(),
        version_min: tls.version_min,
        alpn: &tls.alpn,
        clock: wall_clock,
        clock_floor_s: tls.clock_floor_s,
    };
    make(&options).map_err(|why| Error::Invalid(format!("TLS of a client: {why}")))
}

#[cfg(all(test, feature = "proxy"))]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_on_the_way_to_servers_over_tcp_only() {
        let proxy = TunnelProxy { kind: TunnelKind::Http, host: "proxy".to_owned(), port: 3128 };
        let way = WaySettings { proxy: Some(proxy), ..WaySettings::default() };
        let on = |underlay| ServerAddress { transport: Transport { underlay, ..Transport::default() }, ..ServerAddress::plain("there", 1) };
        let servers = [Underlay::Tcp, Underlay::Unix, Underlay::InProcess].map(on);
        let remotes = remotes(servers.to_vec(), &ClientTlsSettings::default(), &way).expect("legal");
        let ways: Vec<_> = remotes.iter().map(|remote| (remote.through.is_some(), remote.recipe.is_empty())).collect();
        assert_eq!(ways, [(true, false), (false, true), (false, true)]);
    }
}
