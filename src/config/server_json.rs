//! A server's configuration as JSON, as `load_json` takes it.

use serde_json::{Map, Value as Json};

use super::server::{CLIENT_CERTIFICATE_WORDS, IDENTITY_WORDS, PROXY_WORDS, TLS_VERSION_WORDS};
use super::uri::{encode, scheme_name};
use super::{Kind, ServerConfig, Value, server_keys};
use crate::net::{ListenerOptions, ListenerTls};

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
    let tls = listener.tls.as_deref().map(query_of_tls).unwrap_or_default();
    let list = |key: &str, words: &[String]| (!words.is_empty()).then(|| format!("{key}={}", encode(&words.join(","))));
    let websocket = [list("paths", &listener.websocket.paths), list("origins", &listener.websocket.origins)];
    let proxy = word(listener.proxy, &PROXY_WORDS).map(|word| format!("proxy={word}"));
    let trusted = Some(&listener.proxy_trusted).filter(|trusted| !trusted.is_empty()).map(|trusted| format!("proxy_trusted={trusted}"));
    let others = websocket.into_iter().chain([proxy, trusted]).flatten();
    let query: Vec<String> = anonymous.into_iter().chain(connections).chain(tls).chain(others).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{}://{}{mark}{}", scheme_name(listener.transport), listener.address, query.join("&"))
}

fn query_of_tls(tls: &ListenerTls) -> Vec<String> {
    let alpn = tls.alpn.join(",");
    let files = [("cert", &tls.cert), ("key", &tls.key), ("ca", &tls.ca), ("crl", &tls.crl), ("alpn", &alpn)];
    let files = files.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| format!("{key}={}", encode(value)));
    let choices = [
        ("client_cert", word(tls.client_certificate, &CLIENT_CERTIFICATE_WORDS)),
        ("identity", word(tls.identity, &IDENTITY_WORDS)),
        ("tls_min", word(tls.version_min, &TLS_VERSION_WORDS)),
    ];
    files.chain(choices.into_iter().filter_map(|(key, value)| value.map(|value| format!("{key}={value}")))).collect()
}

/// The word for a choice; `None` for the default.
fn word<T: Copy + PartialEq + Default>(value: T, words: &[(&'static str, T)]) -> Option<&'static str> {
    words.iter().find(|(_, choice)| *choice == value && value != T::default()).map(|(word, _)| *word)
}
