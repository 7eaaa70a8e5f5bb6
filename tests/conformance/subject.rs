//! The client under test, as the rows drive it.
//!
//! The judge plays the server by bytes; the client is driven through this
//! trait and tells what happened through `event`. Names of properties and of
//! event fields are those of the table (`rows/README.md`).

use std::time::Duration;

use crate::packet::Value;

/// Names (without `prop.`) and values of MQTT 5 properties, in order. Numbers
/// come as `Value::Bytes` of their decimal text when they come from a row:
/// use `Value::as_number`.
pub type Properties = Vec<(String, Value)>;

#[derive(Clone, Debug, Default)]
pub struct Will {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub properties: Properties,
}

/// How to connect. A second `connect` on the same subject is the same client
/// again: with `clean` false it keeps the session state it has.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// `mqtt://127.0.0.1:PORT` or `ws://127.0.0.1:PORT/mqtt`.
    pub url: String,
    /// 3, 4 or 5.
    pub level: u8,
    pub client_id: String,
    pub clean: bool,
    pub keep_alive_s: u16,
    pub user: Option<String>,
    pub password: Option<Vec<u8>>,
    pub will: Option<Will>,
    pub properties: Properties,
    /// Whether the client connects again by itself after a loss, without
    /// waiting longer than a second the first time.
    pub reconnect: bool,
}

#[derive(Clone, Debug, Default)]
pub struct PublishOptions {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub properties: Properties,
    /// Comes back in the `published` event.
    pub tag: String,
}

#[derive(Clone, Debug, Default)]
pub struct SubscribeOptions {
    /// Filter and options byte as on the wire (MQTT 5 §3.8.3.1).
    pub filters: Vec<(String, u8)>,
    pub properties: Properties,
    pub tag: String,
}

#[derive(Clone, Debug, Default)]
pub struct UnsubscribeOptions {
    pub filters: Vec<String>,
    pub properties: Properties,
    pub tag: String,
}

/// Something the client tells.
///
/// | kind | fields |
/// |---|---|
/// | `connected` | `sp`, `code`, properties of CONNACK |
/// | `refused` | `code`: the server's CONNACK refused, or 0 if there was none |
/// | `message` | `topic` (alias resolved), `payload`, `qos`, `retain`, properties |
/// | `published` | `tag`, `reason` (0 in MQTT 3 and for QoS 0) |
/// | `subscribed`, `unsubscribed` | `tag`, `codes` |
/// | `auth` | `reason`, properties: the server's AUTH, to be answered by `auth` |
/// | `disconnected` | `reason`: that of the server's DISCONNECT, or 0 |
/// | `failed` | `tag`: a request that was refused locally, later than its call |
#[derive(Clone, Debug)]
pub struct Event {
    pub kind: &'static str,
    pub fields: Vec<(String, Value)>,
}

/// The client under test. A call returns once the request is accepted or
/// refused locally; it does not wait for the server.
pub trait Subject {
    fn connect(&mut self, options: ConnectOptions) -> Result<(), String>;
    fn publish(&mut self, options: PublishOptions) -> Result<(), String>;
    fn subscribe(&mut self, options: SubscribeOptions) -> Result<(), String>;
    fn unsubscribe(&mut self, options: UnsubscribeOptions) -> Result<(), String>;
    /// Sends AUTH with this reason and these properties (without the method,
    /// which is the one of CONNECT).
    fn auth(&mut self, reason: u8, properties: Properties) -> Result<(), String>;
    fn disconnect(&mut self, reason: u8, properties: Properties) -> Result<(), String>;
    /// The next event, or none within `timeout`.
    fn event(&mut self, timeout: Duration) -> Option<Event>;
}

/// Whether somebody else's client is judged: the command of a process that
/// speaks the lines of `process.rs`.
pub fn external() -> Option<String> {
    std::env::var("NLMQTT_TEST_CLIENT").ok()
}

/// A new client, or none while no client is bound to the table.
pub fn new_subject() -> Option<Box<dyn Subject>> {
    if crate::broker::is_external() && external().is_none() {
        return None;
    }
    if let Some(command) = external() {
        return Some(Box::new(crate::process::Process::start(&command)));
    }
    Some(Box::new(crate::bound::Bound::new()))
}
