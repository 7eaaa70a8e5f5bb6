//! The client under test: the product's client on a runtime of its own, over a real socket.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use nlmqtt::client::{Client, ClientParts, Publish};
use nlmqtt::codec::{self, PropertyId, PropertyList, Qos, Reason, Version};
use nlmqtt::config::ClientConfig;
use nlmqtt::net::{ClientHandler, Runtime, RuntimeOptions};
use nlmqtt::proto::client as machine;
use nlmqtt::proto::client::{Event as Told, Outcome, Token};

use crate::packet::Value;
use crate::property::PROPERTIES;
use crate::subject::*;

/// Hands every event on to the row.
struct Forward(Sender<Told>, Sender<Token>);

impl ClientHandler for Forward {
    fn event(&mut self, _: nlmqtt::base::Instant, event: Told) {
        let _ = self.0.send(event);
    }

    fn refused(&mut self, token: Token, _: nlmqtt::proto::Error) {
        let _ = self.1.send(token);
    }
}

pub struct Bound {
    options: Option<ConnectOptions>,
    client: Option<Client>,
    events: Receiver<Told>,
    refusals: Receiver<Token>,
    tags: BTreeMap<Token, String>,
    level: u8,
    stopped: bool,
}

impl Bound {
    pub fn new() -> Bound {
        Bound { options: None, client: None, events: channel().1, refusals: channel().1, tags: BTreeMap::new(), level: 4, stopped: false }
    }

    fn client(&self) -> Result<&Client, String> {
        self.client.as_ref().ok_or_else(|| "not connected yet".to_owned())
    }
}

fn show<E: std::fmt::Debug>(error: E) -> String {
    format!("{error:?}")
}

pub fn list(properties: &Properties, skip: &[&str]) -> Result<PropertyList, String> {
    let mut list = PropertyList::new();
    for (name, value) in properties {
        if skip.contains(&name.as_str()) {
            continue;
        }
        let (id, _, form, _) = PROPERTIES.iter().find(|entry| entry.1 == name).ok_or("no such property")?;
        let id = PropertyId::from_u8(*id).ok_or("no such property")?;
        let bytes = value.as_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let number = || value.as_number().map(|number| number as u32);
        use crate::property::Form;
        let value = match form {
            Form::Byte => codec::Value::Byte(number()? as u8),
            Form::Two => codec::Value::U16(number()? as u16),
            Form::Four => codec::Value::U32(number()?),
            Form::Varint => codec::Value::VarInt(number()?),
            Form::Text => codec::Value::Utf8(&text),
            Form::Binary => codec::Value::Binary(&bytes),
            Form::Pair => {
                let (k, v) = text.split_once(':').ok_or("pair")?;
                codec::Value::Pair(k, v)
            }
        };
        list.add(id, value).map_err(show)?;
    }
    Ok(list)
}

fn told(properties: codec::Properties<'_>, fields: &mut Vec<(String, Value)>) {
    for (id, value) in properties.iter() {
        let Some(entry) = PROPERTIES.iter().find(|entry| entry.0 == id as u8) else { continue };
        let value = match value {
            codec::Value::Byte(number) => Value::Number(number.into()),
            codec::Value::U16(number) => Value::Number(number.into()),
            codec::Value::U32(number) | codec::Value::VarInt(number) => Value::Number(number.into()),
            codec::Value::Utf8(text) => Value::Bytes(text.as_bytes().to_vec()),
            codec::Value::Binary(bytes) => Value::Bytes(bytes.to_vec()),
            codec::Value::Pair(k, v) => Value::Bytes(format!("{k}:{v}").into_bytes()),
        };
        fields.push((format!("prop.{}", entry.1), value));
    }
}

fn number(properties: &Properties, name: &str) -> Option<u64> {
    properties.iter().find(|pair| pair.0 == name).and_then(|pair| pair.1.as_number().ok())
}

fn machine_options(options: &ConnectOptions) -> Result<machine::Options, String> {
    let mut out = machine::Options { servers: vec![0], ..machine::Options::default() };
    out.version = match options.level {
        3 => Version::V31,
        4 => Version::V311,
        _ => Version::V5,
    };
    out.client_id = options.client_id.clone();
    out.clean_start = options.clean;
    out.keep_alive_s = options.keep_alive_s;
    out.username = options.user.clone();
    out.password = options.password.clone();
    let own = ["session_expiry", "receive_maximum", "maximum_packet", "alias_maximum", "auth_method", "auth_data"];
    let p = &options.properties;
    out.session_expiry_s = number(p, "session_expiry").unwrap_or(0) as u32;
    if let Some(n) = number(p, "receive_maximum") {
        out.receive_maximum = n as u16;
    }
    if let Some(n) = number(p, "maximum_packet") {
        out.packet_bytes_max = n as usize;
    }
    if let Some(n) = number(p, "alias_maximum") {
        out.topic_alias_maximum = n as u16;
    }
    let text = |name: &str| p.iter().find(|pair| pair.0 == name).map(|pair| pair.1.as_bytes());
    if let Some(method) = text("auth_method") {
        out.authentication =
            Some(machine::Authentication { method: String::from_utf8_lossy(&method).into_owned(), data: text("auth_data").unwrap_or_default() });
    }
    out.connect_properties = list(p, &own)?;
    if let Some(will) = &options.will {
        out.will = Some(machine::Will {
            topic: will.topic.clone(),
            payload: will.payload.clone(),
            qos: Qos::try_from(will.qos).map_err(show)?,
            retain: will.retain,
            properties: list(&will.properties, &[])?,
        });
    }
    if !options.reconnect {
        out.reconnect.delay_min = Duration::from_secs(3000);
        out.reconnect.delay_max = Duration::from_secs(3600);
    }
    Ok(out)
}

impl Subject for Bound {
    fn connect(&mut self, options: ConnectOptions) -> Result<(), String> {
        self.level = options.level;
        let again = self.options.as_ref().is_some_and(|old| {
            old.clean == options.clean && old.client_id == options.client_id && old.user == options.user && old.password == options.password && !self.stopped
        });
        if again {
            let client = self.client()?;
            client.start();
            client.reconnect_now();
            return Ok(());
        }
        let mut config = ClientConfig::default();
        config.add_server(&options.url, 0).map_err(show)?;
        #[cfg(all(feature = "rudp", feature = "tls"))]
        if let Some(transport) = crate::carrier::transport() {
            crate::carrier::configure(&mut config, &transport);
        }
        let (told, events) = channel();
        let (refused, refusals) = channel();
        let runtime = Runtime::new(&RuntimeOptions::default()).map_err(show)?;
        let handler = Box::new(Forward(told, refused));
        let options_of_machine = machine_options(&options)?;
        let parts = ClientParts { options: options_of_machine, servers: config.servers, tls: config.tls, way: config.way, ..ClientParts::default() };
        let client = Client::new(&runtime, parts, handler).map_err(show)?;
        client.start();
        self.client = Some(client);
        self.events = events;
        self.refusals = refusals;
        self.stopped = false;
        self.options = Some(options);
        Ok(())
    }

    fn publish(&mut self, options: PublishOptions) -> Result<(), String> {
        let qos = Qos::try_from(options.qos).map_err(show)?;
        let expiry_s = number(&options.properties, "message_expiry").map(|n| n as u32);
        let properties = list(&options.properties, &["message_expiry", "alias"])?;
        let tag = options.tag.clone();
        let publish = Publish {
            topic: &options.topic,
            payload: &options.payload,
            qos,
            retain: options.retain,
            properties: properties.as_properties(),
            expiry_s,
            ..Publish::default()
        };
        let token = self.client()?.publish(publish, None).map_err(show)?;
        self.tags.insert(token, tag);
        Ok(())
    }

    fn subscribe(&mut self, options: SubscribeOptions) -> Result<(), String> {
        let mut filters = Vec::new();
        for (filter, byte) in &options.filters {
            filters.push((filter.clone(), codec::SubscribeOptions::from_byte(*byte).map_err(show)?));
        }
        let properties = list(&options.properties, &["sub_id"])?;
        let filters: Vec<_> = filters.iter().map(|(filter, options)| (filter.as_str(), *options)).collect();
        let token = self.client()?.subscribe(&filters, &properties, None, None).map_err(show)?;
        self.tags.insert(token, options.tag);
        Ok(())
    }

    fn unsubscribe(&mut self, options: UnsubscribeOptions) -> Result<(), String> {
        let filters: Vec<&str> = options.filters.iter().map(String::as_str).collect();
        let token = self.client()?.unsubscribe(&filters, None).map_err(show)?;
        self.tags.insert(token, options.tag);
        Ok(())
    }

    fn auth(&mut self, reason: u8, properties: Properties) -> Result<(), String> {
        let data = properties.iter().find(|pair| pair.0 == "auth_data").map(|pair| pair.1.as_bytes()).unwrap_or_default();
        match reason {
            0x19 => self.client()?.reauthenticate(&data),
            _ => self.client()?.authenticate(&data),
        }
        .map_err(show)
    }

    fn disconnect(&mut self, reason: u8, properties: Properties) -> Result<(), String> {
        let session_expiry_s = number(&properties, "session_expiry").map(|n| n as u32);
        self.stopped = true;
        let request = machine::StopRequest {
            reason: if reason == 4 { Reason::DISCONNECT_WITH_WILL } else { Reason::NORMAL_DISCONNECTION },
            session_expiry_s,
            drain: Duration::ZERO,
        };
        self.client()?.stop(request);
        Ok(())
    }

    fn event(&mut self, timeout: Duration) -> Option<Event> {
        let deadline = std::time::Instant::now() + timeout;
        loop {
            if let Ok(token) = self.refusals.try_recv() {
                let tag = self.tags.remove(&token).unwrap_or_default();
                return Some(Event { kind: "failed", fields: vec![("tag".to_string(), Value::Bytes(tag.into_bytes()))] });
            }
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            let event = match self.events.recv_timeout(left) {
                Ok(event) => event,
                Err(_) => {
                    std::thread::sleep(left.min(Duration::from_millis(5)));
                    if left.is_zero() {
                        return None;
                    }
                    continue;
                }
            };
            if let Some(event) = self.translate(event) {
                return Some(event);
            }
        }
    }
}

impl Bound {
    fn done(&mut self, kind: &'static str, token: Token, outcome: Outcome, codes: Option<&[Reason]>) -> Event {
        let tag = self.tags.remove(&token).unwrap_or_default();
        let mut fields = vec![("tag".to_string(), Value::Bytes(tag.into_bytes()))];
        let reason = match outcome {
            Outcome::Sent => 0,
            Outcome::Acknowledged(reason) => reason.0,
            Outcome::Failed(failure) => {
                fields.push(("reason".into(), Value::Number(failure.reason().0.into())));
                return Event { kind: "failed", fields };
            }
        };
        match codes {
            None => fields.push(("reason".into(), Value::Number(reason.into()))),
            Some(codes) => fields.push(("codes".into(), Value::Codes(codes.iter().map(|r| r.0).collect()))),
        }
        Event { kind, fields }
    }

    fn translate(&mut self, event: Told) -> Option<Event> {
        let mut fields = Vec::new();
        Some(match event {
            Told::Connected(connected) => {
                fields.push(("sp".into(), Value::Number(connected.session_present.into())));
                fields.push(("code".into(), Value::Number(connected.reason.0.into())));
                told(connected.properties.as_properties(), &mut fields);
                Event { kind: "connected", fields }
            }
            Told::Disconnected(lost) => {
                let code = lost.reason.map_or(0, |reason| reason.0);
                if !lost.was_online && lost.reason.is_some() && lost.error.is_none() {
                    let code = if self.level < 5 { lost.reason.map_or(0, |r| r.to_v3_connack()) } else { code };
                    fields.push(("code".into(), Value::Number(code.into())));
                    return Some(Event { kind: "refused", fields });
                }
                fields.push(("reason".into(), Value::Number(code.into())));
                Event { kind: "disconnected", fields }
            }
            Told::Message(incoming) => {
                let message = &incoming.message;
                fields.push(("topic".into(), Value::Bytes(message.topic().as_bytes().to_vec())));
                fields.push(("payload".into(), Value::Bytes(message.payload().to_vec())));
                fields.push(("qos".into(), Value::Number(incoming.qos as u64)));
                fields.push(("retain".into(), Value::Number(incoming.retain.into())));
                fields.push(("dup".into(), Value::Number(incoming.dup.into())));
                told(message.properties(), &mut fields);
                Event { kind: "message", fields }
            }
            Told::Published { token, outcome } => self.done("published", token, outcome, None),
            Told::Subscribed { token, outcome, reasons } => self.done("subscribed", token, outcome, Some(&reasons)),
            Told::Unsubscribed { token, outcome, reasons } => self.done("unsubscribed", token, outcome, Some(&reasons)),
            Told::Auth { reason, data } => {
                fields.push(("reason".into(), Value::Number(reason.0.into())));
                if let Some(data) = data {
                    fields.push(("prop.auth_data".into(), Value::Bytes(data)));
                }
                Event { kind: "auth", fields }
            }
            _ => return None,
        })
    }
}
