//! One listener before it is one: what a `[[listener]]` table says line by line, and typed setters one by one.
//!
//! # Theory of operation
//! Where it listens (`uri`, or `protocol`, `address` and `port`) and its options by key, each looked at when it is set, so that
//! a wrong one is known by its line or its call. What cannot stand together is found when it is added to a server's configuration.
//!
//! mosquitto.conf has no URIs: `protocol` is `mqtt` or `websockets`, and a certificate makes it TLS. So it is here for whoever names no URI;
//! a URI, or the name of a transport in `protocol`, says for itself whether there is TLS.

use std::net::SocketAddr;

use super::key::unknown;
use super::{Error, ListenerKey, ServerUri, listener_keys, uri};
use crate::net::{ListenerOptions, Transport, Underlay};

/// Where to listen, and how, one option at a time.
#[derive(Clone)]
pub struct ListenerConfig {
    place: ServerUri,
    /// A certificate makes it TLS.
    is_tls_by_certificate: bool,
    options: Vec<(&'static ListenerKey, String)>,
}

impl core::fmt::Debug for ListenerConfig {
    /// Without what is secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let options = self.options.iter().map(|(key, value)| (key.name, if key.is_secret() { "..." } else { value }));
        f.debug_struct("ListenerConfig").field("place", &self.place).field("options", &options.collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

impl Default for ListenerConfig {
    /// MQTT over TCP, at every address, port 1883.
    fn default() -> Self {
        Self { place: ServerUri::default(), is_tls_by_certificate: true, options: Vec::new() }
    }
}

/// What says where, and mosquitto's other names for it.
const PLACE_KEYS: [&str; 6] = ["uri", "address", "port", "protocol", "host", "bind_address"];

/// What mosquitto says of a listener and this library otherwise, with what to look for here.
const ELSEWHERE: [(&str, &str); 6] = [
    ("require_certificate", "client_cert"),
    ("use_identity_as_username", "identity"),
    ("use_subject_as_username", "identity"),
    ("tls_version", "tls_min"),
    ("bind_interface", "address"),
    ("socket_domain", "address"),
];

/// The row of one option of a listener.
fn find(name: &str) -> Result<&'static ListenerKey, Error> {
    listener_keys().iter().find(|key| key.is_called(name)).ok_or_else(|| {
        let elsewhere = ELSEWHERE.iter().find(|(theirs, _)| theirs.eq_ignore_ascii_case(name));
        let names = listener_keys().iter().flat_map(|key| key.aliases.iter().copied().chain([key.name]));
        match elsewhere {
            Some((_, ours)) => Error::UnknownKey { key: name.to_owned(), nearest: Some(ours) },
            None => unknown(name, names.chain(PLACE_KEYS)),
        }
    })
}

/// Options that nothing has been set of.
fn nothing_set() -> ListenerOptions {
    ListenerOptions::at(SocketAddr::from(([0, 0, 0, 0], 0)))
}

impl ListenerConfig {
    /// What a URI says.
    pub fn of_uri(text: &str) -> Result<Self, Error> {
        let mut listener = Self::default();
        listener.set_uri(text)?;
        Ok(listener)
    }

    /// Sets one option, or says where: `uri`, `protocol`, `address`, `port`. Nothing changes on error.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        match name.to_ascii_lowercase().as_str() {
            "uri" => self.set_uri(value),
            "protocol" => self.set_protocol(value),
            "address" | "host" | "bind_address" => {
                value.clone_into(&mut self.place.host);
                Ok(())
            }
            "port" => {
                let (key, wrong, expected) = (name.to_owned(), value.to_owned(), "a port from 0 to 65535".to_owned());
                self.place.port = Some(value.parse().map_err(|_| Error::Value { key, value: wrong, expected })?);
                Ok(())
            }
            _ => self.set_option(name, value),
        }
    }

    /// The server's value holds again, or the default.
    pub fn unset(&mut self, name: &str) -> Result<(), Error> {
        let key = find(name)?;
        self.options.retain(|(set, _)| set.name != key.name);
        Ok(())
    }

    /// The value of an option as text; empty: not set. Of what says where, only what was said.
    pub fn print(&self, name: &str) -> Result<String, Error> {
        match name.to_ascii_lowercase().as_str() {
            "address" | "host" | "bind_address" => Ok(self.place.host.clone()),
            "port" => Ok(self.place.port.map(|port| port.to_string()).unwrap_or_default()),
            "protocol" => Ok(uri::scheme_name(self.transport()).to_owned()),
            _ => {
                let (key, mut options) = (find(name)?, nothing_set());
                self.write_options(&mut options)?;
                Ok(key.print(&options))
            }
        }
    }

    fn set_uri(&mut self, text: &str) -> Result<(), Error> {
        let mut next = Self { place: ServerUri::parse(text)?, is_tls_by_certificate: false, options: self.options.clone() };
        for (key, value) in core::mem::take(&mut next.place.query) {
            next.set_option(&key, &value)?;
        }
        *self = next;
        Ok(())
    }

    fn set_protocol(&mut self, word: &str) -> Result<(), Error> {
        let word = word.trim();
        let scheme = if word.eq_ignore_ascii_case("websockets") { "ws" } else { word };
        let transport = match uri::transport_named(scheme) {
            // What has neither address nor port has a URI.
            Ok(transport) if !matches!(transport.underlay, Underlay::Unix | Underlay::InProcess) => transport,
            Ok(_) | Err(Error::Uri { .. }) => {
                let (key, value, expected) = ("protocol".to_owned(), word.to_owned(), "mqtt, websockets, or a scheme such as mqtts or wss".to_owned());
                return Err(Error::Value { key, value, expected });
            }
            Err(error) => return Err(error),
        };
        self.place.transport = transport;
        self.is_tls_by_certificate = ["mqtt", "websockets"].iter().any(|theirs| theirs.eq_ignore_ascii_case(word));
        Ok(())
    }

    fn set_option(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let key = find(name)?;
        key.set(&mut nothing_set(), value)?;
        self.options.retain(|(set, _)| set.name != key.name);
        self.options.push((key, value.to_owned()));
        Ok(())
    }

    /// What MQTT runs over.
    fn transport(&self) -> Transport {
        let has_certificate = self.options.iter().any(|(key, _)| key.name == "cert");
        Transport { tls: self.place.transport.tls || (self.is_tls_by_certificate && has_certificate), ..self.place.transport }
    }

    /// Where it listens; the transport must be one of this build.
    pub(super) fn place(&self) -> Result<ServerUri, Error> {
        let transport = self.transport();
        uri::transport_named(uri::scheme_name(transport))?;
        Ok(ServerUri { transport, ..self.place.clone() })
    }

    /// Puts what was set.
    pub(super) fn write_options(&self, options: &mut ListenerOptions) -> Result<(), Error> {
        self.options.iter().try_for_each(|(key, value)| key.set(options, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServerConfig;

    /// What listens after a file with one table.
    fn table(rows: &str) -> Result<Vec<String>, String> {
        let mut config = ServerConfig::default();
        let problems = config.load_toml(&format!("[[listener]]\n{rows}"));
        if let Some(problem) = problems.first() {
            return Err(problem.to_string());
        }
        let shown = |listener: &ListenerOptions| format!("{}://{}", uri::scheme_name(listener.transport), listener.endpoint);
        Ok(config.listeners.iter().map(shown).collect())
    }

    #[test]
    #[cfg(all(feature = "toml", feature = "tls", feature = "websocket"))]
    fn tables_say_it_in_mosquittos_words() {
        let certificate = "certfile = \"c\"\nkeyfile = \"k\"\n";
        for (rows, expected) in [
            ("port = 1\naddress = \"10.0.0.1\"\n", "mqtt://10.0.0.1:1"),
            ("protocol = \"mqtt\"\nbind_address = \"10.0.0.1\"\n", "mqtt://10.0.0.1:1883"),
            ("protocol = \"websockets\"\nhost = \"10.0.0.1\"\nport = 8080\n", "ws://10.0.0.1:8080"),
            ("protocol = \"websockets\"\nhost = \"10.0.0.1\"\norigins = \"https://x\"\n", "ws://10.0.0.1:8083"),
            (&format!("port = 8883\nhost = \"10.0.0.1\"\n{certificate}"), "mqtts://10.0.0.1:8883"),
            (&format!("{certificate}protocol = \"websockets\"\nhost = \"10.0.0.1\"\n"), "wss://10.0.0.1:8084"),
            (&format!("protocol = \"wss\"\nhost = \"::1\"\n{certificate}"), "wss://[::1]:8084"),
            ("protocol = \"TCP\"\nhost = \"10.0.0.1\"\n", "mqtt://10.0.0.1:1883"),
        ] {
            assert_eq!(table(rows), Ok(vec![expected.to_owned()]), "{rows}");
        }
        assert_eq!(table("protocol = \"ws\"\n").map(|all| all.len()), Ok(2), "both kinds of every address");
    }

    #[test]
    #[cfg(all(feature = "toml", feature = "tls", feature = "websocket"))]
    fn what_is_wrong_has_its_line_and_a_suggestion() {
        for (rows, line, text) in [
            ("port = 1\nprotocol = \"web\"\n", "line 3: ", "mqtt, websockets"),
            ("address = \"/run/x\"\nprotocol = \"unix\"\n", "line 3: ", "mqtt, websockets"),
            ("protocol = \"ws\"\nhost = \"10.0.0.1\"\ncert = \"c\"\nkey = \"k\"\n", "line 1: ", "cert"),
            ("uri = \"ws://10.0.0.1\"\nprotocol = \"ws\"\n", "line 3: ", "in the uri"),
            ("certfile = \"c\"\nhost = \"10.0.0.1\"\n", "line 1: ", "cert and key"),
            ("require_certificate = true\n", "line 2: ", "did you mean 'client_cert'?"),
            ("tls_version = \"tlsv1.3\"\n", "line 2: ", "did you mean 'tls_min'?"),
            ("protcol = \"mqtt\"\n", "line 2: ", "did you mean 'protocol'?"),
            ("certfil = \"c\"\n", "line 2: ", "did you mean 'certfile'?"),
            ("port = 70000\n", "line 2: ", "a port from 0 to 65535"),
        ] {
            let told = table(rows).expect_err(rows);
            assert!(told.starts_with(line) && told.contains(text), "{rows}: {told}");
        }
    }

    #[test]
    #[cfg(feature = "rudp")]
    fn the_key_of_resets_is_shown_nowhere() {
        let key = "00112233445566778899aabbccddeeff";
        let uri = format!("rudp://127.0.0.1:7?rudp_reset_key={key}");
        let listener = ListenerConfig::of_uri(&uri).expect("legal");
        let mut config = ServerConfig::default();
        config.add_listener_uri(&uri).expect("legal");
        let mut shown = vec![format!("{listener:?}"), format!("{config:?}")];
        #[cfg(feature = "json")]
        shown.push(config.to_json());
        // Half of it is as good as all.
        let wrong = format!("{}x", &key[..31]);
        shown.push(ListenerConfig::default().set("rudp_reset_key", &wrong).expect_err("no digit").to_string());
        shown.push(ListenerConfig::of_uri(&format!("rudp://127.0.0.1:7?rudp_reset_key={wrong}")).expect_err("no digit").to_string());
        shown.push(ListenerConfig::of_uri(&format!("{uri}&x")).expect_err("no value").to_string());
        for text in shown {
            let (high, low) = (0x0011_2233_4455_6677_u64, 0x8899_aabb_ccdd_eeff_u64);
            let secrets = [&key[..31], &key[..16], &key[16..], &high.to_string(), &low.to_string()];
            assert!(secrets.iter().all(|secret| !text.contains(*secret)) && text.contains("..."), "{text}");
        }
        assert_eq!(listener.print("rudp_reset_key").as_deref(), Ok(key), "who asks for it gets it, as with a password");
    }

    #[test]
    fn what_was_set_is_printed_and_taken_back() {
        let mut listener = ListenerConfig::of_uri("mqtt://10.0.0.1:7?rate_bytes=9").expect("legal");
        assert_eq!(listener.print("port"), Ok("7".to_owned()));
        assert_eq!((listener.print("host"), listener.print("protocol")), (Ok("10.0.0.1".to_owned()), Ok("mqtt".to_owned())));
        assert_eq!((listener.print("rate_bytes"), listener.print("backlog")), (Ok("9".to_owned()), Ok("4096".to_owned())));
        listener.set("rate_bytes", "10").expect("legal");
        assert!(listener.set("rate_bytes", "x").is_err() && listener.set("colour", "red").is_err() && listener.set("uri", "http://x").is_err());
        assert_eq!(listener.print("rate_bytes"), Ok("10".to_owned()), "nothing has changed");
        listener.unset("rate_bytes").expect("a key");
        assert_eq!(listener.print("rate_bytes"), Ok(String::new()));
        assert!(listener.unset("colour").is_err() && listener.print("colour").is_err());
    }
}
