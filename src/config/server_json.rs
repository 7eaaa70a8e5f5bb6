//! A server's configuration as JSON, as `load_json` takes it.

use serde_json::{Map, Value as Json};

use super::{Kind, ServerConfig, Value, server_keys};
use crate::net::ListenerOptions;

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
    let anonymous = listener.allow_anonymous.map(|allow| format!("allow_anonymous={allow}"));
    let connections = listener.max_connections.map(|max| format!("max_connections={max}"));
    let query: Vec<String> = anonymous.into_iter().chain(connections).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("mqtt://{}{mark}{}", listener.address, query.join("&"))
}
