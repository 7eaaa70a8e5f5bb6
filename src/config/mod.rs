//! From text to option structs: keys, files, connection strings, URIs, environment.
//!
//! # Theory of operation
//! One row per key ([`Key`]) is all there is to an option: its name (mosquitto's, where
//! mosquitto.conf has the same option), kind, range, whether a running server takes a change, a
//! line of documentation, and how it is read from and put into the options. Everything else walks
//! the table: `set`, printing, TOML, environment, the connection string, the difference of two
//! configurations. A value arrives as text whatever it came from, is parsed by its kind and
//! checked against its range once.
//!
//! A bad value changes nothing. A file is read to its end and reports every problem with its line.
//!
//! | file | subject |
//! |---|---|
//! | `key` | rows, kinds, values |
//! | `server_keys`, `listener_keys`, `client_keys` | the tables |
//! | `server`, `client` | the configurations |
//! | `listener` | one listener, put together option by option |
//! | `server_check`, `client_check` | what cannot work together |
//! | `describe` | the tables as documentation, values with a type |
//! | `uri`, `file`, `json`, `connection_string` | the syntaxes |

mod client;
mod client_check;
mod client_keys;
mod connection_string;
mod describe;
#[cfg_attr(not(any(feature = "toml", feature = "json")), allow(dead_code))]
mod entry;
mod error;
#[cfg(feature = "toml")]
mod file;
#[cfg(feature = "json")]
mod json;
mod key;
#[cfg(feature = "server")]
mod listener;
#[cfg(feature = "server")]
mod listener_keys;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "server")]
mod server_check;
#[cfg(all(feature = "server", feature = "json"))]
mod server_json;
#[cfg(feature = "server")]
mod server_keys;
mod uri;

pub use client::ClientConfig;
pub use describe::{KeyInfo, describe, set_value, value_of};
pub use error::{Error, Problem};
pub use key::{Key, Kind, Value};
#[cfg(feature = "server")]
pub use listener::ListenerConfig;
#[cfg(feature = "server")]
pub use listener_keys::ListenerKey;
#[cfg(feature = "server")]
pub use server::{ServerConfig, ServerDiff};
pub use uri::{DEFAULT_PORT, ServerUri};

/// Put before an upper case key, it is the name of an environment variable.
pub const ENVIRONMENT_PREFIX: &str = "NLMQTT_";

/// The keys of a server.
#[cfg(feature = "server")]
pub fn server_keys() -> &'static [Key<ServerConfig>] {
    server_keys::KEYS
}

fn load_toml(text: &str, lists: &[&str], take: impl FnMut(entry::Entry<'_>) -> Result<(), Problem>) -> Vec<Problem> {
    #[cfg(feature = "toml")]
    let problems = file::load(text, lists, take);
    #[cfg(not(feature = "toml"))]
    let problems = {
        let _ = (text, lists, take);
        entry::missing("toml")
    };
    problems
}

fn load_json(text: &str, lists: &[&str], take: impl FnMut(entry::Entry<'_>) -> Result<(), Problem>) -> Vec<Problem> {
    #[cfg(feature = "json")]
    let problems = json::load(text, lists, take);
    #[cfg(not(feature = "json"))]
    let problems = {
        let _ = (text, lists, take);
        entry::missing("json")
    };
    problems
}

/// What `NLMQTT_` variables say: keys in lower case. Those only `others` know are passed over: one
/// environment serves a client and a server.
fn own_variables(variables: impl Iterator<Item = (String, String)>, others: impl Fn(&str) -> bool) -> impl Iterator<Item = (String, String)> {
    variables.filter_map(move |(name, value)| {
        let key = name.strip_prefix(ENVIRONMENT_PREFIX)?.to_ascii_lowercase();
        (!others(&key)).then_some((key, value))
    })
}

fn is_client_key(name: &str) -> bool {
    name == "server" || key::find(client_keys(), name).is_ok()
}

fn is_server_key(name: &str) -> bool {
    #[cfg(feature = "server")]
    return name == "listener" || key::find(server_keys(), name).is_ok();
    #[cfg(not(feature = "server"))]
    {
        let _ = name;
        false
    }
}

/// The keys of a listener.
#[cfg(feature = "server")]
pub fn listener_keys() -> &'static [ListenerKey] {
    listener_keys::KEYS
}

/// The keys of a client.
pub fn client_keys() -> &'static [Key<ClientConfig>] {
    client_keys::KEYS
}
