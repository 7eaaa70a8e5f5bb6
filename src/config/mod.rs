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
//! | `server_keys`, `client_keys` | the tables |
//! | `server`, `client` | the configurations |
//! | `uri`, `file`, `connection_string` | the syntaxes |

mod client;
mod client_keys;
mod connection_string;
mod error;
mod file;
mod key;
mod server;
mod server_keys;
mod uri;

pub use client::ClientConfig;
pub use error::{Error, Problem};
pub use key::{Key, Kind, Value};
pub use server::{ServerConfig, ServerDiff};
pub use uri::{DEFAULT_PORT, ServerUri};

/// Put before an upper case key, it is the name of an environment variable.
pub const ENVIRONMENT_PREFIX: &str = "NLMQTT_";

/// The keys of a server.
pub fn server_keys() -> &'static [Key<ServerConfig>] {
    server_keys::KEYS
}

/// The keys of a client.
pub fn client_keys() -> &'static [Key<ClientConfig>] {
    client_keys::KEYS
}
