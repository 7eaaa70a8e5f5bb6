//! A server's configuration as JSON, as `load_json` takes it.

use serde_json::{Map, Value as Json};

use super::uri::{encode, scheme_name};
use super::{Kind, ServerConfig, Value, listener_keys, server_keys};
use crate::net::{Endpoint, ListenerOptions};

impl ServerConfig {
    /// Every key with its value, and the listeners. A secret is not shown.
    pub fn to_json(&self) -> String {
        let mut object = Map::new();
        for key in server_keys() {
            // What was not set follows the listeners, and is to go on doing so.
            if key.name == "allow_anonymous" && !self.is_anonymous_set {
                continue;
            }
            let value = match (key.kind, (key.read)(self)) {
                (_, Value::Bool(value)) => Json::from(value),
                (Kind::Number(..) | Kind::Bytes(..), Value::Number(value)) => Json::from(value),
                (Kind::Secret, _) => Json::from("..."),
                _ => Json::from(key.print(self)),
            };
            object.insert(key.name.to_owned(), value);
        }
        object.insert("listener".to_owned(), self.listeners.iter().map(|listener| Json::from(uri_of(listener))).collect());
        Json::Object(object).to_string()
    }
}

fn uri_of(listener: &ListenerOptions) -> String {
    let defaults = ListenerOptions::on(listener.endpoint.clone());
    let set = listener_keys().iter().filter(|key| key.print(listener) != key.print(&defaults));
    let query: Vec<String> = set.map(|key| format!("{}={}", key.name, if key.is_secret() { "...".to_owned() } else { encode(&key.print(listener)) })).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    let place = match &listener.endpoint {
        Endpoint::Tcp(address) => address.to_string(),
        Endpoint::Unix(path) => encode(&path.to_string_lossy()),
        Endpoint::Memory(name) => name.clone(),
        #[cfg(feature = "datagram")]
        Endpoint::Udp(place) => place.address.to_string(),
    };
    format!("{}://{place}{mark}{}", scheme_name(listener.transport), query.join("&"))
}
