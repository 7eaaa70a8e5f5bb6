//! What must hold on a connection whatever the row asks: the rules of the
//! standard that join a packet to earlier packets of the same connection.
//!
//! One watch per connection. `sent` sees what the judge sends, `seen` what
//! the product sends; every row therefore tests these rules as well as its
//! own. Sections are those of MQTT 5.

use std::collections::{BTreeMap, BTreeSet};

use crate::packet::{Packet, Value};

/// The watch of one connection.
#[derive(Default)]
pub struct Watch {
    product_is_server: bool,
    limits: Limits,
    connect: bool,
    accepted: bool,
    connacks: u32,
    /// The judge has sent something illegal, which the product may still
    /// answer instead of closing.
    lenient: bool,
    /// The connection is over for the product: it has said so.
    ended: bool,
    resumed: bool,
    auth_method: Option<Vec<u8>>,
    /// Product's topic aliases of this connection.
    aliases: BTreeMap<u64, Vec<u8>>,
    /// Product's PUBLISH packets without a final acknowledgement.
    inflight: BTreeSet<u64>,
    /// Product's SUBSCRIBE and UNSUBSCRIBE packets without an answer.
    requests: BTreeSet<u64>,
    /// Judge's packets the product may acknowledge: (kind of answer, id).
    owed: BTreeMap<(&'static str, u64), usize>,
}

/// What the judge has announced to the product.
struct Limits {
    maximum_packet: u64,
    alias_maximum: u64,
    receive_maximum: u64,
    maximum_qos: u64,
    retain_available: bool,
    problem_information: bool,
    response_information: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            maximum_packet: u64::MAX,
            alias_maximum: 0,
            receive_maximum: 65_535,
            maximum_qos: 2,
            retain_available: true,
            problem_information: true,
            response_information: false,
        }
    }
}

impl Watch {
    pub fn new(product_is_server: bool) -> Self {
        Watch { product_is_server, ..Watch::default() }
    }

    /// The judge sends a CONNECT, legal or not.
    pub fn connect_sent(&mut self) {
        self.connect = true;
    }

    /// The judge sends something illegal.
    pub fn illegal_sent(&mut self) {
        self.lenient = true;
    }

    /// The judge sends a packet.
    pub fn sent(&mut self, packet: &Packet) {
        let id = packet.number("id").unwrap_or(0);
        match packet.kind {
            "connect" => {
                self.announce(packet);
                self.connect = true;
                self.auth_method = packet.bytes("prop.auth_method");
                let number = |name, default| packet.number(name).unwrap_or(default);
                self.limits.problem_information = number("prop.request_problem", 1) == 1;
                self.limits.response_information = number("prop.request_response", 0) == 1;
            }
            "connack" => {
                self.announce(packet);
                self.accepted = packet.number("code") == Some(0);
                self.resumed = packet.number("sp") == Some(1);
            }
            "publish" => match packet.number("qos") {
                Some(1) => self.owe("puback", id, 1),
                Some(2) => self.owe("pubrec", id, 1),
                _ => {}
            },
            "pubrec" => {
                self.owe("pubrel", id, 1);
                if packet.number("reason").unwrap_or(0) >= 0x80 {
                    self.inflight.remove(&id);
                }
            }
            "pubrel" => self.owe("pubcomp", id, 1),
            "puback" | "pubcomp" => {
                self.inflight.remove(&id);
            }
            "subscribe" => self.owe("suback", id, packet.all("filter").len()),
            "unsubscribe" => self.owe("unsuback", id, packet.all("filter").len()),
            "suback" | "unsuback" => {
                self.requests.remove(&id);
            }
            _ => {}
        }
    }

    fn announce(&mut self, packet: &Packet) {
        let number = |name, default| packet.number(name).unwrap_or(default);
        self.limits.maximum_packet = number("prop.maximum_packet", u64::MAX);
        self.limits.alias_maximum = number("prop.alias_maximum", 0);
        self.limits.receive_maximum = number("prop.receive_maximum", 65_535);
        self.limits.maximum_qos = number("prop.maximum_qos", 2);
        self.limits.retain_available = number("prop.retain_available", 1) == 1;
    }

    fn owe(&mut self, kind: &'static str, id: u64, count: usize) {
        self.owed.insert((kind, id), count);
    }

    /// The product sends a packet: an error is a breach of the standard. The
    /// topic of an aliased PUBLISH is filled in.
    pub fn seen(&mut self, packet: &mut Packet) -> Result<(), String> {
        if self.ended {
            return Err(format!("a {} after the end (§3.14.4)", packet.kind));
        }
        if packet.size as u64 > self.limits.maximum_packet {
            return Err(format!("{} bytes exceed the maximum packet size", packet.size));
        }
        if self.product_is_server {
            self.server_order(packet)?;
        } else {
            self.client_order(packet)?;
        }
        match packet.kind {
            "publish" => self.publish(packet)?,
            "subscribe" | "unsubscribe" => {
                let id = packet.number("id").unwrap_or(0);
                if self.inflight.contains(&id) || !self.requests.insert(id) {
                    return Err(format!("packet identifier {id} is in use (§2.2.1)"));
                }
            }
            "puback" | "pubrec" | "pubcomp" | "suback" | "unsuback" => self.answer(packet)?,
            "pubrel" => {
                let id = packet.number("id").unwrap_or(0);
                if self.owed.remove(&("pubrel", id)).is_none() && !self.resumed {
                    return Err(format!("PUBREL {id} without PUBREC (§4.3.3)"));
                }
                self.inflight.insert(id);
            }
            "disconnect" => self.ended = true,
            _ => {}
        }
        Ok(())
    }

    fn server_order(&mut self, packet: &Packet) -> Result<(), String> {
        let kind = packet.kind;
        if !self.accepted && !["connack", "auth"].contains(&kind) {
            return Err(format!("a {kind} before CONNACK (§3.2)"));
        }
        if kind == "connack" {
            self.connacks += 1;
            if self.connacks > 1 || !self.connect {
                return Err("a CONNACK that is not the answer to CONNECT (§3.2)".into());
            }
            self.accepted = packet.number("code") == Some(0);
            self.resumed = packet.number("sp") == Some(1);
            self.ended = !self.accepted;
            if packet.bytes("prop.response_info").is_some() && !self.limits.response_information {
                return Err("response information was not asked for (§3.1.2.11.6)".into());
            }
        }
        let method = packet.bytes("prop.auth_method");
        let success = kind == "connack" && packet.number("code") == Some(0);
        if (kind == "auth" || (success && packet.size > 4)) && method != self.auth_method {
            return Err("authentication method differs from CONNECT's (§4.12)".into());
        }
        let explains = packet.bytes("prop.reason_string").is_some() || packet.bytes("prop.user").is_some();
        if explains && !self.limits.problem_information && !["publish", "connack", "disconnect"].contains(&kind) {
            return Err("problem information was not asked for (§3.1.2.11.7)".into());
        }
        Ok(())
    }

    fn client_order(&mut self, packet: &Packet) -> Result<(), String> {
        let kind = packet.kind;
        if (kind == "connect") == self.connect {
            return Err(format!("CONNECT must be first and only once; here {kind} (§3.1)"));
        }
        if kind == "connect" {
            self.connect = true;
            self.auth_method = packet.bytes("prop.auth_method");
            return Ok(());
        }
        let early = !self.accepted && self.auth_method.is_some();
        if early && !["auth", "disconnect"].contains(&kind) {
            return Err(format!("a {kind} during authentication (§3.1.2.11.9)"));
        }
        if kind == "auth" && packet.bytes("prop.auth_method") != self.auth_method {
            return Err("authentication method differs from CONNECT's (§4.12)".into());
        }
        Ok(())
    }

    fn publish(&mut self, packet: &mut Packet) -> Result<(), String> {
        let number = |name| packet.number(name).unwrap_or(0);
        let (qos, id, dup, alias) = (number("qos"), number("id"), number("dup"), number("prop.alias"));
        if qos > self.limits.maximum_qos {
            return Err("QoS above Maximum QoS (§3.2.2.3.4)".into());
        }
        if number("retain") == 1 && !self.limits.retain_available {
            return Err("RETAIN though it is not available (§3.2.2.3.5)".into());
        }
        if alias > self.limits.alias_maximum {
            return Err(format!("topic alias {alias} above the maximum (§3.3.2.3.4)"));
        }
        let topic = packet.bytes("topic").unwrap_or_default();
        packet.fields.push(("wire_topic".into(), Value::Bytes(topic.clone())));
        if alias > 0 && topic.is_empty() {
            let known = self.aliases.get(&alias).ok_or(format!("unknown alias {alias}"))?.clone();
            for field in packet.fields.iter_mut().filter(|field| field.0 == "topic") {
                field.1 = Value::Bytes(known.clone());
            }
        } else if alias > 0 {
            self.aliases.insert(alias, topic);
        }
        if qos > 0 {
            if self.requests.contains(&id) || (!self.inflight.insert(id) && dup == 0) {
                return Err(format!("packet identifier {id} is in use (§2.2.1)"));
            }
            if self.inflight.len() as u64 > self.limits.receive_maximum {
                return Err("more than Receive Maximum in flight (§4.9)".into());
            }
        }
        Ok(())
    }

    fn answer(&mut self, packet: &Packet) -> Result<(), String> {
        let id = packet.number("id").unwrap_or(0);
        let Some(count) = self.owed.remove(&(packet.kind, id)) else {
            if self.lenient {
                return Ok(());
            }
            return Err(format!("{} {id} answers nothing (§2.2.1)", packet.kind));
        };
        if let Some(codes) = packet.bytes("codes") {
            if codes.len() != count {
                return Err(format!("{} codes for {count} filters", codes.len()));
            }
        }
        Ok(())
    }
}
