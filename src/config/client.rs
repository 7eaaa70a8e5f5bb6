//! The configuration of a client.

use super::entry::Entry;
use super::key::{find, unknown};
use super::{Error, Problem, ServerUri, client_keys, connection_string, is_client_key, is_server_key, own_variables};
use crate::net::{ClientTlsSettings, DialOptions, ServerAddress, WaySettings};
use crate::proto::client::{Options, ReceiveOptions};

/// Options, and where the servers are.
#[derive(Clone, Default)]
pub struct ClientConfig {
    /// Options; `servers` in it has one priority for each of the addresses.
    pub options: Options,
    /// Where the servers are.
    pub servers: Vec<ServerAddress>,
    /// How to connect.
    pub dial: DialOptions,
    /// TLS of the servers that have it.
    pub tls: ClientTlsSettings,
    /// Proxies on the way to them, and what WebSocket asks besides.
    pub way: WaySettings,
    /// What WebSocket asks for at servers whose URI has no path; empty: the usual one.
    pub websocket_path: String,
    /// Messages wait for the application to take them.
    pub pull_receive: bool,
    /// Bounds of that.
    pub receive: ReceiveOptions,
}

/// Servers of one client.
const SERVERS_MAX: usize = 64;

impl ClientConfig {
    /// Sets one option; `server` adds a server by its URI.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        if key.eq_ignore_ascii_case("server") {
            return self.add_server(value, 0);
        }
        find(client_keys(), key)?.set(self, value)
    }

    /// The value of an option, as text.
    pub fn print(&self, key: &str) -> Result<String, Error> {
        Ok(find(client_keys(), key)?.print(self))
    }

    /// Adds `mqtt://user:password@host:port?key=value`: user, password and keys count for the
    /// whole client, but `priority`. The lowest priority is tried first. Nothing changes on error.
    pub fn add_server(&mut self, uri: &str, priority: u32) -> Result<(), Error> {
        let parts = ServerUri::parse(uri)?;
        if parts.host.is_empty() {
            return Err(Error::Uri { uri: uri.to_owned(), why: "no host".to_owned() });
        }
        if self.servers.len() >= SERVERS_MAX {
            return Err(Error::Together(format!("more than {SERVERS_MAX} servers")));
        }
        let mut next = self.clone();
        let mut priority = priority;
        let (port, transport) = (parts.server_port(), parts.transport);
        if let Some(username) = parts.username {
            next.options.username = Some(username);
            next.options.password = parts.password.map(String::into_bytes);
        }
        for (key, value) in &parts.query {
            if key == "priority" {
                priority = value.parse().map_err(|_| Error::Value { key: key.clone(), value: value.clone(), expected: "a priority".to_owned() })?;
            } else {
                find(client_keys(), key)?.set(&mut next, value)?;
            }
        }
        next.servers.push(ServerAddress { host: parts.host, port, transport, path: parts.path });
        next.options.servers.push(priority);
        *self = next;
        Ok(())
    }

    /// `Server=tcp://..;ClientId=..;UserName=..;Password=..;Timeout=..` (milliseconds), and any
    /// other key. Nothing changes on error.
    pub fn load_connection_string(&mut self, text: &str) -> Result<(), Error> {
        let is_key = |name: &str| name.eq_ignore_ascii_case("server") || find(client_keys(), name).is_ok();
        let mut next = self.clone();
        for (key, value) in connection_string::pairs(text, is_key)? {
            next.set(key, value)?;
        }
        *self = next;
        Ok(())
    }

    /// Reads a TOML file's text: what can be used is set, what cannot is reported. Servers are
    /// `server = "uri"` (or a list of them) or `[[server]]` tables of `uri` and `priority`.
    pub fn load_toml(&mut self, text: &str) -> Vec<Problem> {
        super::load_toml(text, &["server"], |entry| self.take(entry))
    }

    /// As [`ClientConfig::load_toml`], with JSON: one object; `server` is a URI, an object, or an
    /// array of them.
    pub fn load_json(&mut self, text: &str) -> Vec<Problem> {
        super::load_json(text, &["server"], |entry| self.take(entry))
    }

    fn take(&mut self, entry: Entry<'_>) -> Result<(), Problem> {
        match entry {
            Entry::Value(key, value) => self.set(key, &value).map_err(|error| Problem { line: 0, error }),
            Entry::Table("server", rows) => self.add_server_table(&rows),
            Entry::Table(name, _) => Err(Problem { line: 0, error: unknown(name, core::iter::once("server")) }),
        }
    }

    fn add_server_table(&mut self, rows: &[(String, String, usize)]) -> Result<(), Problem> {
        let (mut uri, mut priority) = (None, 0);
        for (key, value, line) in rows {
            let problem = |error| Problem { line: *line, error };
            match key.as_str() {
                "uri" => uri = Some((value, *line)),
                "priority" => {
                    priority = value.parse().map_err(|_| {
                        let (key, value) = (key.clone(), value.clone());
                        problem(Error::Value { key, value, expected: "a priority".to_owned() })
                    })?;
                }
                other => return Err(problem(unknown(other, ["uri", "priority"].into_iter()))),
            }
        }
        let missing = || Problem { line: 0, error: Error::Syntax("a server needs its uri".to_owned()) };
        let (uri, line) = uri.ok_or_else(missing)?;
        self.add_server(uri, priority).map_err(|error| Problem { line, error })
    }

    /// Sets what `NLMQTT_` variables say; the others, and a server's, are passed over.
    pub fn load_environment(&mut self, variables: impl Iterator<Item = (String, String)>) -> Vec<Error> {
        let own = own_variables(variables, |key| is_server_key(key) && !is_client_key(key));
        own.filter_map(|(key, value)| self.set(&key, &value).err()).collect()
    }

    /// Bounds of what waits to be taken, if the application takes its messages by itself.
    pub fn receive_in_force(&self) -> Option<ReceiveOptions> {
        self.pull_receive.then_some(self.receive)
    }

    /// What a client is made of. A will and an authentication that were begun must be whole.
    pub fn parts(&self) -> Result<(Options, Vec<ServerAddress>, DialOptions), Error> {
        let together = |text: &str| Err(Error::Together(text.to_owned()));
        if self.servers.is_empty() {
            return together("no server: add one");
        }
        let mut options = self.options.clone();
        if let Some(will) = options.will.take_if(|will| will.topic.is_empty()) {
            if !will.payload.is_empty() {
                return together("will_payload needs will_topic");
            }
        }
        if let Some(authentication) = options.authentication.take_if(|auth| auth.method.is_empty()) {
            if !authentication.data.is_empty() {
                return together("auth_data needs auth_method");
            }
        }
        options.validate().map_err(|error| Error::Together(error.to_string()))?;
        let mut servers = self.servers.clone();
        for server in servers.iter_mut().filter(|server| server.transport.websocket && server.path.is_empty()) {
            server.path.clone_from(&self.websocket_path);
        }
        Ok((options, servers, self.dial.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Duration;
    use crate::codec::{Qos, Version};
    use crate::proto::client::{Cause, Retry};

    fn address(host: &str, port: u16) -> ServerAddress {
        ServerAddress::plain(host, port)
    }

    #[test]
    fn every_key_prints_what_it_reads() {
        let mut config = ClientConfig::default();
        for key in client_keys() {
            let text = key.print(&config);
            key.set(&mut config, &text).unwrap_or_else(|error| panic!("{}: {error}", key.name));
            assert_eq!(key.print(&config), text, "{}", key.name);
        }
        config.set("server", "mqtt://x").expect("legal");
        config.parts().expect("defaults can be used");
    }

    const PIN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn every_key_changes_something_and_no_other_key() {
        let default = ClientConfig::default();
        for key in client_keys() {
            let others = [
                "true",
                "false",
                "1",
                "2",
                "5000",
                "2M",
                "soon",
                "stop",
                "drop_oldest",
                "always",
                "5",
                "x",
                "::1",
                "lo",
                "1.3",
                PIN,
                "v2",
                "X-A: b",
                "socks5://x:1",
                "/a",
                "cubic",
                "newreno",
            ];
            let mut config = default.clone();
            let changed = others.iter().any(|other| key.set(&mut config, other).is_ok() && key.print(&config) != key.print(&default));
            assert!(changed, "{}", key.name);
            let moved: Vec<_> = client_keys().iter().filter(|row| row.print(&config) != row.print(&default)).collect();
            assert_eq!(moved.len(), 1, "{}", key.name);
        }
    }

    #[test]
    fn every_cause_of_a_failure_has_a_key() {
        let keys = client_keys().iter().filter(|key| key.name.starts_with("reconnect_on_"));
        assert_eq!(keys.count(), Cause::COUNT - 1, "all but the application's own stop");
        let mut config = ClientConfig::default();
        config.set("reconnect_on_credentials", "stop").expect("legal");
        assert_eq!(config.options.reconnect.rule(Cause::Credentials), Retry::GiveUp);
    }

    #[test]
    fn the_original_connection_string_is_understood() {
        for text in [
            "Server=tcp://127.0.0.1:1884;ClientId=c1;UserName=u;Password=p,w=1;Timeout=5000",
            "server = tcp://127.0.0.1:1884 , CLIENTID = c1, username=u,password=\"p,w=1\",timeout=5000,",
            "Server=127.0.0.1:1884;ClientId=c1,UserName=u;Password=p,w=1,connect_timeout_ms=5000",
        ] {
            let mut config = ClientConfig::default();
            config.load_connection_string(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(config.servers, [address("127.0.0.1", 1884)]);
            let options = &config.options;
            assert_eq!((options.client_id.as_str(), options.username.as_deref()), ("c1", Some("u")));
            assert_eq!(options.password.as_deref(), Some(&b"p,w=1"[..]), "{text}");
            assert_eq!(options.connect_timeout, Duration::from_secs(5));
        }
    }

    #[test]
    fn a_connection_string_with_a_mistake_changes_nothing() {
        for text in ["Server=tcp://x;Passwort=1", "Server=tcp://x;Password=\"1", "Server=tcp://x;nothing", "Server=http://x"] {
            let mut config = ClientConfig::default();
            assert!(config.load_connection_string(text).is_err(), "{text}");
            assert!(config.servers.is_empty(), "{text}");
        }
        let error = ClientConfig::default().load_connection_string("ClientIdd=1").expect_err("misspelt");
        assert!(error.to_string().ends_with("did you mean 'clientid'?"), "{error}");
    }

    #[test]
    fn servers_carry_priorities_credentials_and_keys() {
        let mut config = ClientConfig::default();
        config.add_server("mqtt://me:secret@a:1?version=5&keepalive=7", 2).expect("legal");
        config.add_server("mqtt://b?priority=1", 9).expect("legal");
        assert_eq!(config.servers, [address("a", 1), address("b", 1883)]);
        assert_eq!(config.options.servers, [2, 1]);
        assert_eq!((config.options.version, config.options.keep_alive_s), (Version::V5, 7));
        assert_eq!(config.options.password.as_deref(), Some(&b"secret"[..]));
        for uri in ["mqtt://", "mqtt://c?priority=x", "mqtt://c?colour=1", "mqtt://c?keepalive=x", "http://c"] {
            assert!(config.add_server(uri, 0).is_err(), "{uri}");
        }
        assert_eq!(config.servers.len(), 2);
        let more = (0..SERVERS_MAX).filter(|_| config.add_server("mqtt://c", 0).is_ok()).count();
        assert_eq!(more, SERVERS_MAX - 2);
    }

    #[test]
    fn wills_and_authentication_must_be_whole() {
        let mut config = ClientConfig::default();
        assert!(config.parts().is_err(), "no server");
        config.set("server", "mqtt://x").expect("legal");
        config.set("will_qos", "1").expect("legal");
        assert!(config.parts().expect("no topic, no will").0.will.is_none());
        config.set("will_payload", "gone").expect("legal");
        assert!(matches!(config.parts(), Err(Error::Together(_))));
        config.set("will_topic", "status").expect("legal");
        let will = config.parts().expect("whole").0.will.expect("there");
        assert_eq!((will.topic.as_str(), will.qos), ("status", Qos::AtLeastOnce));
        config.set("auth_data", "x").expect("legal");
        assert!(config.parts().is_err());
        config.set("auth_method", "SCRAM").expect("legal");
        assert!(config.parts().is_err(), "not in 3.1.1");
        config.set("version", "mqttv5").expect("legal");
        config.set("will_delay_s", "30").expect("legal");
        config.parts().expect("whole");
    }

    #[test]
    fn a_file_has_servers_in_three_ways() {
        let mut config = ClientConfig::default();
        let problems = config.load_toml("client_id = \"c\"\nserver = [\"mqtt://a\", \"mqtt://b:2\"]\nkeepalive = 5\n");
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(config.servers, [address("a", 1883), address("b", 2)]);
        let problems = config.load_toml("[[server]]\nuri = \"mqtt://c\"\npriority = 3\n[[server]]\npriority = 1\n[[server]]\nurl = \"x\"\n");
        let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [4, 7], "{problems:?}");
        assert_eq!(config.options.servers, [0, 0, 3]);
    }
}
