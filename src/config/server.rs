//! The configuration of a server.

use super::entry::Entry;
use super::key::{find, unknown};
use super::{Error, Key, ListenerConfig, Problem, ServerUri, connection_string, is_client_key, is_server_key, listener_keys, own_variables, server_keys};
use crate::broker::Options;
use crate::net::{Endpoint, ListenerOptions, ListenerWebSocket, Underlay};
use crate::stack::{ClientCertificate, Identity, ProxyPolicy};

/// Options, and where to listen.
#[derive(Clone, Debug, Default)]
pub struct ServerConfig {
    /// Options; [`ServerConfig::options_in_force`] has what is not set filled in.
    pub options: Options,
    /// Where to listen.
    pub listeners: Vec<ListenerOptions>,
    pub(super) is_anonymous_set: bool,
}

/// What is different between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerDiff {
    /// Keys a running server takes.
    pub live: Vec<&'static str>,
    /// Keys that need a restart.
    pub restart: Vec<&'static str>,
    /// Where to listen besides.
    pub listeners_added: Vec<ListenerOptions>,
    /// Where not to listen any more.
    pub listeners_removed: Vec<ListenerOptions>,
}

/// What has to be there together.
fn check_tls(listener: &ListenerOptions) -> Result<(), Error> {
    let together = |text: &str| Err(Error::Together(format!("listener {}: {text}", listener.endpoint)));
    match &listener.tls {
        None if listener.transport.tls => together("TLS needs cert and key"),
        Some(_) if !listener.transport.tls => together("cert, key and the like need mqtts://"),
        Some(tls) if tls.cert.is_empty() || tls.key.is_empty() => together("TLS needs cert and key"),
        Some(tls) if tls.client_certificate != ClientCertificate::None && tls.ca.is_empty() => together("client_cert needs ca, to judge them by"),
        Some(tls) if tls.client_certificate == ClientCertificate::None && !tls.ca.is_empty() => together("ca is of no use without client_cert"),
        Some(tls) if tls.client_certificate != ClientCertificate::Require && tls.identity != Identity::None => {
            together("identity needs client_cert=require: without a certificate anybody could take its name")
        }
        Some(tls) if tls.ca.is_empty() && !tls.crl.is_empty() => together("crl needs ca and client_cert"),
        _ => Ok(()),
    }
}

/// As [`check_tls`], for the other layers.
fn check_layers(listener: &ListenerOptions) -> Result<(), Error> {
    let together = |text: &str| Err(Error::Together(format!("listener {}: {text}", listener.endpoint)));
    match listener {
        _ if !listener.transport.websocket && listener.websocket != ListenerWebSocket::default() => together("paths and origins need ws:// or wss://"),
        _ if listener.proxy != ProxyPolicy::Off && listener.proxy_trusted.is_empty() => together("proxy needs proxy_trusted: nobody else is believed"),
        _ if listener.proxy == ProxyPolicy::Off && !listener.transport.websocket && !listener.proxy_trusted.is_empty() => {
            together("proxy_trusted is of no use without proxy, or ws:// and its X-Forwarded-For")
        }
        _ => Ok(()),
    }
}

/// Only this host gets there: not through a proxy on it either.
fn is_local(listener: &ListenerOptions) -> bool {
    listener.endpoint.is_local() && listener.proxy_trusted.is_empty()
}

/// Keys of QUIC alone.
#[cfg(feature = "quic")]
const QUIC_KEYS: &[&str] = &["quic_max_connections", "quic_idle_timeout_s", "quic_keepalive_s", "quic_early_data", "quic_probe_bytes", "quic_congestion"];

/// Keys of generation 2 of reliable UDP alone.
#[cfg(feature = "rudp")]
const SECOND_KEYS: &[&str] = &[
    "rudp_idle_timeout_s",
    "rudp_window",
    "rudp_frame_bytes",
    "rudp_probe_bytes",
    "rudp_congestion",
    "rudp_redundancy",
    "rudp_reset_key",
    "rudp_max_half_open",
    "rudp_max_half_open_per_source",
    "rudp_rate_resets",
];

/// Keys of generation 1 that bare packets have, too.
#[cfg(feature = "rudp")]
const UNPROVEN_KEYS: &[&str] = &["rudp_max_unproven", "rudp_rate_newcomers", "rudp_silent_timeout_s"];

/// A key that says nothing here, and why.
#[cfg(feature = "rudp")]
fn check_rudp(listener: &ListenerOptions, is_set: impl Fn(&[&str]) -> Option<&'static str>) -> Option<(&'static str, &'static str)> {
    let (is_rudp, is_bare) = (listener.transport.underlay == Underlay::Rudp, listener.transport.underlay == Underlay::Udp);
    let (options, has_tls) = (&listener.rudp, listener.transport.tls);
    // TLS is a stream, which generation 1 has not.
    let (has_first, has_bare) = (is_rudp && !has_tls && options.has_first(), is_bare || options.bare);
    let all = [
        (SECOND_KEYS, is_rudp, "is of reliable UDP"),
        (&["rudp_generation", "rudp_gap_timeout_ms", "rudp_bare"][..], is_rudp, "is of reliable UDP"),
        (&["rudp_bare_trusted", "rudp_bare_grace_ms"][..], has_bare, "is of udp://, or goes with rudp_bare"),
        (UNPROVEN_KEYS, is_rudp || is_bare, "is of reliable UDP and udp://"),
        (&["rudp_bare"][..], !has_tls, "is without TLS"),
        (&["rudp_generation"][..], !has_tls || options.has_second(), "1 is without TLS"),
        (SECOND_KEYS, options.has_second(), "is of generation 2"),
        (&["rudp_gap_timeout_ms"][..], has_first, "is of generation 1"),
        (UNPROVEN_KEYS, has_first || has_bare, "is of generation 1 and udp://"),
    ];
    all.into_iter().find_map(|(keys, is_heard, what)| is_set(keys).filter(|_| !is_heard).map(|key| (key, what)))
}

/// No option is there in vain.
fn check_place(listener: &ListenerOptions) -> Result<(), Error> {
    let is_set = |names: &[&str]| {
        let defaults = ListenerOptions::on(listener.endpoint.clone());
        let set = listener_keys().iter().find(|key| names.contains(&key.name) && key.print(listener) != key.print(&defaults));
        set.map(|key| key.name)
    };
    let of_tcp = ["allow", "deny", "tcp_keepalive_s", "tcp_user_timeout_ms", "dscp", "proxy", "proxy_trusted"];
    let of_unix = ["mode", "owner"];
    let tcp = || is_set(&of_tcp).map(|key| (key, "is of TCP"));
    let unix = || is_set(&of_unix).map(|key| (key, "is of a Unix socket"));
    #[cfg(feature = "quic")]
    if let (Endpoint::Tcp(_) | Endpoint::Unix(_) | Endpoint::Memory(_), Some(key)) = (&listener.endpoint, is_set(QUIC_KEYS)) {
        return Err(Error::Together(format!("listener {}: {key} is of QUIC", listener.endpoint)));
    }
    #[cfg(feature = "rudp")]
    if let Some((key, what)) = check_rudp(listener, is_set) {
        return Err(Error::Together(format!("listener {}: {key} {what}", listener.endpoint)));
    }
    let in_vain = match listener.endpoint {
        Endpoint::Tcp(_) => unix(),
        Endpoint::Unix(_) => tcp(),
        Endpoint::Memory(_) => tcp().or_else(unix),
        #[cfg(feature = "datagram")]
        Endpoint::Udp(_) => is_set(&["tcp_keepalive_s", "tcp_user_timeout_ms", "dscp", "proxy", "proxy_trusted"]).map(|key| (key, "is of TCP")).or_else(unix),
    };
    in_vain.map_or(Ok(()), |(key, what)| Err(Error::Together(format!("listener {}: {key} {what}", listener.endpoint))))
}

impl ServerConfig {
    /// Sets one option; `listener` adds a listener by its URI.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        if key.eq_ignore_ascii_case("listener") {
            return self.add_listener_uri(value);
        }
        find(server_keys(), key)?.set(self, value)
    }

    /// The value of an option, as text.
    pub fn print(&self, key: &str) -> Result<String, Error> {
        Ok(find(server_keys(), key)?.print(self))
    }

    /// Adds `mqtt://host:port`; a name that has two addresses makes two listeners.
    pub fn add_listener_uri(&mut self, uri: &str) -> Result<(), Error> {
        self.add_listener(&ListenerConfig::of_uri(uri)?)
    }

    /// Adds what was put together by and by; a name that has two addresses makes two listeners. Nothing changes on error.
    pub fn add_listener(&mut self, listener: &ListenerConfig) -> Result<(), Error> {
        let uri = listener.place()?;
        if uri.username.is_some() {
            let why = "a listener has no user name".to_owned();
            return Err(Error::Uri { uri: uri.host.clone(), why });
        }
        let endpoints = match uri.transport.underlay {
            Underlay::Unix => vec![Endpoint::Unix(uri.host.clone().into())],
            Underlay::InProcess => vec![Endpoint::Memory(uri.host.clone())],
            _ => uri.listen_addresses()?.into_iter().map(|address| Endpoint::of(address, uri.transport)).collect(),
        };
        self.add_endpoints(endpoints, listener, &uri)
    }

    /// A listener at a socket that is there already: `options` is the query of a URI, or a whole one, whose address does not count.
    pub fn listener_of_socket(endpoint: Endpoint, options: &str) -> Result<ListenerOptions, Error> {
        let mut config = Self::default();
        let listener = match options.split_once("://") {
            // It begins with a scheme, not with a key.
            Some((scheme, _)) if !scheme.contains('=') => ListenerConfig::of_uri(options)?,
            // The socket says nothing of TLS; a certificate does.
            _ if options.split('&').any(|pair| pair.starts_with("cert=")) => ListenerConfig::of_uri(&format!("mqtts://?{options}"))?,
            _ => ListenerConfig::of_uri(&format!("mqtt://?{options}"))?,
        };
        config.add_endpoints(vec![endpoint], &listener, &listener.place()?)?;
        Ok(config.listeners.remove(0))
    }

    fn add_endpoints(&mut self, endpoints: Vec<Endpoint>, config: &ListenerConfig, uri: &ServerUri) -> Result<(), Error> {
        // Port 0 takes another port each time: it can be there twice.
        let is_one = |endpoint: &Endpoint| endpoint.socket_address().is_none_or(|address| address.port() != 0);
        let taken = endpoints.iter().find(|endpoint| is_one(endpoint) && self.listeners.iter().any(|listener| listener.endpoint == **endpoint));
        if let Some(endpoint) = taken {
            return Err(Error::Together(format!("listens at {endpoint} twice")));
        }
        let mut listeners = Vec::new();
        for endpoint in endpoints {
            let mut listener = ListenerOptions::on(endpoint);
            listener.transport = uri.transport;
            config.write_options(&mut listener)?;
            listener.websocket.paths.extend(Some(uri.path.clone()).filter(|path| path.len() > 1));
            check_tls(&listener)?;
            check_layers(&listener)?;
            check_place(&listener)?;
            listeners.push(listener);
        }
        self.listeners.extend(listeners);
        Ok(())
    }

    /// A listener with what it does not say itself: anonymous clients are let in by the option if that was set, else on
    /// loopback only.
    pub fn listener_in_force(&self, listener: &ListenerOptions) -> ListenerOptions {
        let default = if self.is_anonymous_set { self.options.allow_anonymous } else { is_local(listener) };
        let mut in_force = listener.clone();
        in_force.rules.allow_anonymous.get_or_insert(default);
        in_force
    }

    /// The value that was set, or whether every listener is on loopback.
    pub fn allows_anonymous(&self) -> bool {
        if self.is_anonymous_set {
            return self.options.allow_anonymous;
        }
        self.listeners.iter().all(is_local)
    }

    pub(super) fn set_allow_anonymous(&mut self, allow: bool) {
        self.options.allow_anonymous = allow;
        self.is_anonymous_set = true;
    }

    /// The options for the broker.
    pub fn options_in_force(&self) -> Options {
        Options { allow_anonymous: self.allows_anonymous(), ..self.options.clone() }
    }

    /// Reads a TOML file's text: what can be used is set, what cannot is reported.
    pub fn load_toml(&mut self, text: &str) -> Vec<Problem> {
        super::load_toml(text, &["listener"], |entry| self.take(entry))
    }

    /// As [`ServerConfig::load_toml`], with JSON: one object; `listener` is a URI, an object, or an
    /// array of them.
    pub fn load_json(&mut self, text: &str) -> Vec<Problem> {
        super::load_json(text, &["listener"], |entry| self.take(entry))
    }

    /// `listener=mqtt://127.0.0.1:1883;max_connections=100`, with any key. Nothing changes on error.
    pub fn load_connection_string(&mut self, text: &str) -> Result<(), Error> {
        let mut next = self.clone();
        for (key, value) in connection_string::pairs(text, is_server_key)? {
            next.set(key, value)?;
        }
        *self = next;
        Ok(())
    }

    fn take(&mut self, entry: Entry<'_>) -> Result<(), Problem> {
        match entry {
            Entry::Value(key, value) => self.set(key, &value).map_err(|error| Problem { line: 0, error }),
            Entry::Table("listener", rows) => self.add_listener_table(&rows),
            Entry::Table(name, _) => {
                let error = find(server_keys(), name)
                    .map_or_else(|_| unknown(name, core::iter::once("listener")), |key| Error::Syntax(format!("{name}: expected {}", key.kind)));
                Err(Problem { line: 0, error })
            }
        }
    }

    fn add_listener_table(&mut self, rows: &[(String, String, usize)]) -> Result<(), Problem> {
        let mut listener = ListenerConfig::default();
        // Where the whole is said, if it is said in one place. First: what the others say goes before its query.
        let whole = rows.iter().find(|(key, ..)| key == "uri");
        for (key, value, line) in whole.into_iter().chain(rows.iter().filter(|(key, ..)| key != "uri")) {
            let problem = |error| Problem { line: *line, error };
            if whole.is_some() && ["address", "host", "bind_address", "port", "protocol"].contains(&key.as_str()) {
                return Err(problem(Error::Together(format!("{key} is in the uri"))));
            }
            listener.set(key, value).map_err(problem)?;
        }
        self.add_listener(&listener).map_err(|error| Problem { line: whole.map_or(0, |(.., line)| *line), error })
    }

    /// Sets what `NLMQTT_` variables say; the others, and a client's, are passed over.
    pub fn load_environment(&mut self, variables: impl Iterator<Item = (String, String)>) -> Vec<Error> {
        let own = own_variables(variables, |key| is_client_key(key) && !is_server_key(key));
        own.filter_map(|(key, value)| self.set(&key, &value).err()).collect()
    }

    /// What has to happen to a server with this configuration to have the `new` one.
    pub fn diff(&self, new: &Self) -> ServerDiff {
        let changed = |is_live| -> Vec<&'static str> {
            let keys = server_keys().iter().filter(|key| key.is_live == is_live && key.print(self) != key.print(new));
            keys.map(|key: &Key<Self>| key.name).collect()
        };
        let missing =
            |from: &Self, of: &Self| -> Vec<ListenerOptions> { from.listeners.iter().filter(|listener| !of.listeners.contains(listener)).cloned().collect() };
        ServerDiff { live: changed(true), restart: changed(false), listeners_added: missing(new, self), listeners_removed: missing(self, new) }
    }

    /// Takes the live keys of `new`, and nothing else: what [`ServerConfig::diff`] promised.
    pub fn apply(&mut self, new: &Self) {
        let live = server_keys().iter().filter(|key| key.is_live && key.print(self) != key.print(new));
        for key in live.collect::<Vec<_>>() {
            (key.write)(self, (key.read)(new));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Qos;

    #[cfg(feature = "websocket")]
    #[test]
    fn listeners_carry_paths_origins_and_proxies() {
        let listener = |uri: &str| -> Result<ListenerOptions, Error> {
            let mut config = ServerConfig::default();
            config.add_listener_uri(uri)?;
            Ok(config.listeners[0].clone())
        };
        let whole = listener("ws://10.0.0.1/mqtt?paths=/a,/b&origins=https://x,https://y&proxy=required&proxy_trusted=10.0.0.0/8,::1").expect("legal");
        assert_eq!(whole.endpoint.port(), 8083);
        assert_eq!(whole.websocket.paths, ["/a", "/b", "/mqtt"]);
        assert_eq!(whole.websocket.origins, ["https://x", "https://y"]);
        assert_eq!((whole.proxy, whole.proxy_trusted.to_string()), (ProxyPolicy::Required, "10.0.0.0/8,::1/128".to_owned()));
        assert!(listener("ws://10.0.0.1/").expect("legal").websocket.paths.is_empty(), "no path: all of them");
        assert!(listener("mqtt://10.0.0.1?proxy=optional&proxy_trusted=10.0.0.1").is_ok());
        assert!(listener("ws://10.0.0.1?proxy_trusted=10.0.0.1").is_ok(), "for X-Forwarded-For");
        for uri in [
            "mqtt://10.0.0.1?paths=/a",
            "mqtt://10.0.0.1?origins=x",
            "ws://10.0.0.1?paths=a",
            "mqtt://10.0.0.1?proxy=required",
            "mqtt://10.0.0.1?proxy=sometimes&proxy_trusted=::1",
            "mqtt://10.0.0.1?proxy=required&proxy_trusted=10.0.0.0/40",
            "mqtt://10.0.0.1?proxy_trusted=10.0.0.0/8",
        ] {
            assert!(listener(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn every_key_prints_what_it_reads() {
        let mut config = ServerConfig::default();
        for key in server_keys() {
            let text = key.print(&config);
            key.set(&mut config, &text).unwrap_or_else(|error| panic!("{}: {error}", key.name));
            assert_eq!(key.print(&config), text, "{}", key.name);
            assert!(!key.doc.is_empty() && key.name == key.name.to_ascii_lowercase());
        }
    }

    #[test]
    fn listeners_have_options_of_their_own() {
        let mut config = ServerConfig::default();
        config.add_listener_uri("mqtt://127.0.0.1:1?max_connections=5&allow_anonymous=false").expect("legal");
        let problems = config.load_toml("[[listener]]\naddress = \"10.0.0.1\"\nport = 2\nallow_anonymous = true\n[[listener]]\nuri = \"mqtt://10.0.0.2\"\n");
        assert!(problems.is_empty(), "{problems:?}");
        let rules: Vec<_> = config.listeners.iter().map(|listener| config.listener_in_force(listener).rules.allow_anonymous).collect();
        assert_eq!(rules, [Some(false), Some(true), Some(false)]);
        assert_eq!(config.listeners[0].max_connections, Some(5));
        let table = "[[listener]]\nmode = \"0600\"\nuri = \"unix:///run/x?versions=5\"\nrate_bytes = 7\n";
        assert!(config.load_toml(table).is_empty());
        let unix = &config.listeners[3];
        assert_eq!((unix.endpoint.to_string().as_str(), unix.socket.mode, unix.rules.rate_bytes), ("unix:///run/x", Some(0o600), Some(7)));
        assert_eq!(unix.rules.versions.to_string(), "5");
        let problems = config.load_toml("[[listener]]\nuri = \"unix:///run/y\"\nport = 1\n[[listener]]\nuri = \"unix:///run/x\"\n");
        assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [3, 5], "{problems:?}");
        assert!(config.add_listener_uri("mqtt://127.0.0.1:9?max_connections=many").is_err());
    }

    #[test]
    #[cfg(all(feature = "json", feature = "websocket"))]
    fn layers_of_a_listener_are_printed_as_they_are_read() {
        let mut config = ServerConfig::default();
        for uri in [
            "ws://127.0.0.1:1/a/b?paths=/c&origins=https://x:8443,https://y&proxy=optional&proxy_trusted=10.0.0.0/8,::1",
            "ws://127.0.0.1",
            "mqtt://127.0.0.1:2?proxy=required&proxy_trusted=127.0.0.1",
        ] {
            config.add_listener_uri(uri).expect(uri);
        }
        let mut again = ServerConfig::default();
        assert!(again.load_json(&config.to_json()).is_empty(), "{}", config.to_json());
        assert_eq!(again.listeners, config.listeners);
    }

    #[test]
    #[cfg(feature = "proxy")]
    fn loopback_behind_a_proxy_is_not_open_to_the_world() {
        for (uri, lets_in) in [
            ("mqtt://127.0.0.1:1", true),
            ("mqtt://127.0.0.1:1?proxy=required&proxy_trusted=127.0.0.1", false),
            ("ws://127.0.0.1:1?proxy_trusted=127.0.0.1", false),
            ("mqtt://127.0.0.1:1?proxy=required&proxy_trusted=127.0.0.1&allow_anonymous=on", true),
        ] {
            let mut config = ServerConfig::default();
            config.add_listener_uri(uri).expect("legal");
            assert_eq!(config.listener_in_force(&config.listeners[0]).rules.allow_anonymous, Some(lets_in), "{uri}");
        }
    }

    #[test]
    fn unix_sockets_are_listened_at_with_mode_and_owner() {
        let mut config = ServerConfig::default();
        config.add_listener_uri("unix:///run/mqtt%20x.sock?mode=0660&owner=root:7&max_connections=3").expect("legal");
        let listener = &config.listeners[0];
        let socket = &listener.socket;
        assert_eq!((listener.endpoint.to_string().as_str(), socket.mode, socket.owner.as_str()), ("unix:///run/mqtt x.sock", Some(0o660), "root:7"));
        assert_eq!(config.listener_in_force(listener).rules.allow_anonymous, Some(true), "only this host gets there");
        for uri in [
            "unix:///run/mqtt%20x.sock",
            "unix:///x?dscp=5",
            "unix:///x?allow=::1",
            "unix:///x?mode=9",
            "unix:///x?mode=01777",
            "mqtt://127.0.0.1?mode=0600",
            "unix://u@/x",
        ] {
            assert!(config.add_listener_uri(uri).is_err(), "{uri}");
        }
        assert_eq!(config.listeners.len(), 1);
    }

    #[test]
    #[cfg(all(feature = "json", feature = "tls"))]
    fn tls_of_a_listener_is_printed_as_it_is_read() {
        let mut config = ServerConfig::default();
        for uri in [
            "mqtts://127.0.0.1:1?cert=/a%20b&key=/k%26&ca=/c&crl=/r&client_cert=require&identity=san&tls_min=1.3&alpn=mqtt,x&max_connections=2",
            "tls://127.0.0.1:2?cert=c&key=k&client_cert=require&ca=d&identity=fingerprint",
            "ssl://127.0.0.1?cert=c&key=k",
            "unix:///run/a%20b%3F?mode=0600&owner=:0",
            "inproc://hub?rate_bytes=3&mount_point=a%26b/&versions=5,3.1.1",
        ] {
            config.add_listener_uri(uri).expect(uri);
        }
        let first = config.listeners[0].tls.as_deref().expect("TLS");
        assert_eq!((first.cert.as_str(), first.key.as_str(), first.alpn.len()), ("/a b", "/k&", 2));
        assert_eq!(config.listeners[2].endpoint.port(), 8883);
        let mut again = ServerConfig::default();
        assert!(again.load_json(&config.to_json()).is_empty(), "{}", config.to_json());
        assert_eq!(again.listeners, config.listeners);
        let problems = again.load_toml("[[listener]]\naddress = \"127.0.0.1\"\nport = 7\ncert = \"c\"\n[[listener]]\nuri = \"mqtts://127.0.0.1:9\"\n");
        assert_eq!(problems.len(), 2, "no key, and TLS without a certificate: {problems:?}");
        assert!(problems.iter().all(|problem| problem.to_string().contains("cert")));
    }

    #[test]
    fn every_key_reaches_an_option_of_its_own() {
        let untouched = format!("{:?}", ServerConfig::default());
        let mut seen = Vec::new();
        for key in server_keys() {
            let mut config = ServerConfig::default();
            let before = key.print(&config);
            let others = ["true", "false", "1", "2", "5000", "2M", "1h", "random", "local_first"];
            let changed = others.iter().any(|other| key.set(&mut config, other).is_ok() && key.print(&config) != before);
            assert!(changed, "{}", key.name);
            let after = format!("{config:?}");
            assert!(after != untouched && !seen.contains(&after), "{}", key.name);
            seen.push(after);
        }
        // The struct has no field that no key sets.
        let fields = format!("{:?}", Options::default()).matches(": ").count();
        assert_eq!(server_keys().len(), fields);
    }

    #[test]
    fn keys_are_known_by_mosquittos_names() {
        let mut config = ServerConfig::default();
        config.set("max_qos", "1").expect("alias");
        config.set("Max_Packet_Size", "64k").expect("any case");
        config.set("persistent_client_expiration", "2w").expect("mosquitto's syntax");
        assert_eq!((config.options.maximum_qos, config.options.max_packet_size), (Qos::AtLeastOnce, 65_536));
        assert_eq!(config.options.persistent_client_expiration_s, 1_209_600);
        let error = config.set("max_inflight_mesages", "1").expect_err("misspelt").to_string();
        assert_eq!(error, "unknown key 'max_inflight_mesages': did you mean 'max_inflight_messages'?");
        let error = config.set("max_qos", "3").expect_err("out of range").to_string();
        assert_eq!(error, "maximum_qos: '3' is not a number from 0 to 2");
        assert_eq!(config.options.maximum_qos, Qos::AtLeastOnce);
    }

    #[test]
    fn anonymous_clients_are_let_in_on_loopback_only_unless_it_was_set() {
        let mut config = ServerConfig::default();
        config.set("listener", "mqtt://localhost:1883").expect("legal");
        assert!(config.options_in_force().allow_anonymous);
        config.add_listener_uri("mqtt://0.0.0.0:1884").expect("legal");
        assert!(!config.options_in_force().allow_anonymous);
        config.set("allow_anonymous", "true").expect("legal");
        assert!(config.options_in_force().allow_anonymous);
        assert!(config.add_listener_uri("mqtt://127.0.0.1:1883").is_err(), "twice");
        #[cfg(not(feature = "quic"))]
        assert!(matches!(config.add_listener_uri("quic://127.0.0.1"), Err(Error::Scheme { .. })));
        assert!(config.add_listener_uri("mqtt://127.0.0.1?colour=red").is_err());
    }

    #[cfg(feature = "quic")]
    #[test]
    fn a_listener_of_quic_is_at_a_udp_port_and_needs_a_certificate() {
        let mut config = ServerConfig::default();
        config
            .add_listener_uri(
                "quic://localhost?cert=c&key=k&quic_idle_timeout_s=90&quic_keepalive_s=30&quic_early_data=false&quic_probe_bytes=0&quic_congestion=newreno&quic_max_connections=7&max_connections=5",
            )
            .expect("legal");
        let places: Vec<_> = config.listeners.iter().map(|listener| listener.endpoint.to_string()).collect();
        assert_eq!(places, ["quic://127.0.0.1:14567", "quic://[::1]:14567"]);
        let quic = config.listeners[0].quic;
        assert_eq!((quic.idle_timeout.as_secs(), quic.keepalive.as_secs(), quic.early_data), (90, 30, false));
        assert_eq!((quic.probe_bytes_max, quic.congestion), (0, crate::stack::CongestionControl::NewReno));
        for uri in [
            "quic://127.0.0.1",
            "quic://*?cert=c",
            "quic://*?cert=c&key=k&dscp=4",
            "quic://*?cert=c&key=k&proxy=optional&proxy_trusted=::1",
            "quic://h?cert=c&key=k",
            "quic://*?cert=c&key=k&quic_probe_bytes=65528",
            "quic://*?cert=c&key=k&quic_congestion=reno",
        ] {
            assert!(config.add_listener_uri(uri).is_err(), "{uri}");
        }
        assert!(config.add_listener_uri("mqtts://*?cert=c&key=k&quic_early_data=false").is_err(), "in vain");
        config.add_listener_uri("mqtt://127.0.0.1:14567").expect("a port of TCP is another one");
        assert!(config.check().iter().all(|problem| !problem.to_string().contains("takes already")), "{:?}", config.check());
        assert!(config.to_json().contains("quic://127.0.0.1:14567?max_connections=5&cert=c"), "{}", config.to_json());
    }

    #[test]
    fn a_file_is_read_to_its_end_and_every_problem_has_its_line() {
        let text = "max_connections = 10\nmax_qos = 7\nallow_anonymus = true\nmax_packet_size = \"1M\"\n\
                    max_keepalive = 1.5\nbad line\n[[listener]]\naddress = \"127.0.0.1\"\nport = 0\n\
                    [[listener]]\nuri = \"mqtt://localhost:2000\"\n[[listener]]\nprot = 3\n[[lissener]]\nport = 1\n\
                    [[listener]]\nuri = \"wss://x\"\n";
        let mut config = ServerConfig::default();
        let problems = config.load_toml(text);
        let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [2, 3, 5, 6, 13, 14, 17], "{problems:?}");
        assert_eq!(problems[1].to_string(), "line 3: unknown key 'allow_anonymus': did you mean 'allow_anonymous'?");
        assert_eq!((config.options.max_connections, config.options.max_packet_size), (10, 1 << 20));
        let addresses: Vec<String> = config.listeners.iter().map(|listener| listener.endpoint.to_string()).collect();
        assert_eq!(addresses, ["127.0.0.1:0", "127.0.0.1:2000", "[::1]:2000"]);
        assert!(ServerConfig::default().load_toml("max_connections = 0x10\nmax_keepalive = 1_000\n").is_empty());
        assert_eq!(ServerConfig::default().load_toml("max_connections = [[[").first().map(|first| first.line), Some(1));
        assert_eq!(ServerConfig::default().load_toml("a.b = 1\nmax_keepalive = -1\nmax_qos = [1, 2]\n").len(), 3);
    }

    #[test]
    #[cfg(feature = "json")]
    fn json_says_the_same_as_toml_and_names_its_lines() {
        let text = "{\n \"max_connections\": 10,\n \"max_qos\": 7,\n \"allow_anonymus\": true,\n \"max_packet_size\": \"1M\",\n\
                    \"max_keepalive\": 1.5,\n \"listener\": [\"mqtt://127.0.0.1:1\",\n {\"address\": \"127.0.0.1\", \"port\": 2},\n\
                    {\"prot\": 3},\n \"wss://x\"],\n \"max_bans\": [1, 2]\n}";
        let mut config = ServerConfig::default();
        let problems = config.load_json(text);
        let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [3, 4, 6, 9, 10, 11], "{problems:?}");
        assert_eq!((config.options.max_connections, config.options.max_packet_size), (10, 1 << 20));
        assert_eq!(config.listeners.len(), 2);
        for text in ["", "[]", "{\"a\":", "7"] {
            assert_eq!(ServerConfig::default().load_json(text).len(), 1, "{text}");
        }
        let mut again = ServerConfig::default();
        assert!(again.load_json(&config.to_json()).is_empty());
        assert_eq!(config.diff(&again), ServerDiff::default());
    }

    #[test]
    fn a_connection_string_sets_keys_and_listeners() {
        let mut config = ServerConfig::default();
        config.load_connection_string("listener=mqtt://127.0.0.1:1;max_connections=3").expect("legal");
        assert_eq!((config.listeners.len(), config.options.max_connections), (1, 3));
        assert!(config.load_connection_string("max_connections=4;max_conections=5").is_err());
        assert_eq!(config.options.max_connections, 3, "nothing has changed");
    }

    #[test]
    fn the_environment_sets_keys_in_upper_case() {
        let variables = [("NLMQTT_MAX_KEEPALIVE", "7"), ("PATH", "x"), ("NLMQTT_CLIENT_ID", "a client's"), ("NLMQTT_MAX_KEEPALIV", "8")];
        let mut config = ServerConfig::default();
        let errors = config.load_environment(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        assert_eq!(config.options.max_keepalive_s, 7);
        assert!(matches!(errors[..], [Error::UnknownKey { nearest: Some("max_keepalive"), .. }]), "{errors:?}");
    }

    #[test]
    fn a_difference_tells_what_can_change_while_it_runs() {
        let mut old = ServerConfig::default();
        old.set("listener", "mqtt://127.0.0.1:1").expect("legal");
        let mut new = ServerConfig::default();
        new.set("listener", "mqtt://127.0.0.1:2").expect("legal");
        for (key, value) in [("max_keepalive", "9"), ("memory_limit", "2M"), ("allow_anonymous", "false")] {
            new.set(key, value).expect("legal");
        }
        let diff = old.diff(&new);
        assert_eq!(diff.live, ["allow_anonymous", "max_keepalive"]);
        assert_eq!(diff.restart, ["memory_limit"]);
        assert_eq!((diff.listeners_added.as_slice(), diff.listeners_removed.as_slice()), (&new.listeners[..], &old.listeners[..]));
        old.apply(&new);
        assert_eq!((old.options.max_keepalive_s, old.options.memory_limit), (9, Options::default().memory_limit));
        assert!(old.diff(&new).live.is_empty());
        assert!(!old.options_in_force().allow_anonymous);
    }
}
