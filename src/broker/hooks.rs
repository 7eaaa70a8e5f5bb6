//! What the owner of a server may watch and decide.
//!
//! A deciding hook answers at once, or says [`Answer::Pending`] and completes its token later. A
//! connection that waits is parked: its packet is kept as bytes, nothing more is read from its
//! socket, keep-alive runs on, and everybody else goes on. When the answer comes the packet is
//! decoded again and goes on from the stage that had asked. A token names connection and serial,
//! so a late or second answer finds nothing and is counted.
//!
//! Hooks are called with the shard borrowed: what they call on the server is a post and happens
//! after they return.

use std::sync::Arc;

use slotmap::{Key, KeyData};

use super::connection::ConnKey;
use crate::codec::{Connect, Message, Properties, Qos, Reason, SubscribeOptions};

/// Names one question to a hook; `Copy`, may travel to any thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HookToken {
    pub(crate) connection: ConnKey,
    pub(crate) serial: u32,
}

impl HookToken {
    /// The two numbers it consists of, for those who cannot hold the type.
    pub fn to_numbers(self) -> (u64, u32) {
        (self.connection.data().as_ffi(), self.serial)
    }

    /// The token of two numbers. Any numbers are fine: those of no question find none.
    pub fn from_numbers(connection: u64, serial: u32) -> Self {
        Self { connection: KeyData::from_ffi(connection).into(), serial }
    }
}

/// A decision, or the promise of one.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Decided.
    Now(Decision),
    /// `complete(token, decision)` will be called within the hook time limit.
    Pending,
}

impl Answer {
    /// Yes, now.
    pub const ALLOW: Self = Self::Now(Decision::Allow);
}

/// What a hook wants to happen.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Go on.
    Allow,
    /// Refuse with this reason (mapped for 3.x).
    Deny(Reason),
    /// Publish in only: acknowledge as if accepted, deliver to nobody.
    Drop,
    /// Publish in only: go on with this in place of what came.
    Rewrite(Rewrite),
    /// Subscribe only: one entry per filter, in order: the filter to use, or why it is refused.
    Filters(Vec<Result<(String, SubscribeOptions), Reason>>),
    /// Subscribe only: other filters, lower QoS or refusals for some (by index); the others stay.
    EditFilters(Vec<(usize, Result<(String, Qos), Reason>)>),
    /// Authentication only: send AUTH 0x18 with this data and go on (MQTT 5 §4.12).
    Challenge(Vec<u8>),
    /// Authentication only: accepted, with this data in CONNACK or AUTH.
    AllowWith(Vec<u8>),
}

/// Fields that are `None` stay as they came.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// Another topic.
    pub topic: Option<String>,
    /// Another payload.
    pub payload: Option<Vec<u8>>,
    /// Another QoS.
    pub qos: Option<Qos>,
    /// Another retain flag.
    pub retain: Option<bool>,
}

/// Who a hook is asked about.
#[derive(Clone, Copy, Debug)]
pub struct ClientInfo<'a> {
    /// The client id (the assigned one, if the server chose it).
    pub client_id: &'a str,
    /// The user name of CONNECT.
    pub username: Option<&'a str>,
    /// Where it connects from, as text; empty for in-process sessions.
    pub peer: &'a str,
    /// 3, 4 or 5.
    pub protocol_level: u8,
}

/// What [`Hooks::authorize`] is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Access {
    Publish,
    Subscribe,
}

/// A PUBLISH before it becomes a message.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct PublishInfo<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: Qos,
    pub retain: bool,
    pub dup: bool,
    pub properties: Properties<'a>,
}

/// Which hooks are there; the others are not even prepared for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct Interest {
    pub authenticate: bool,
    pub authorize: bool,
    pub publish: bool,
    pub subscribe: bool,
    pub unsubscribe: bool,
    pub delivered: bool,
}

/// The hook table. Every method has a default that allows or ignores.
#[allow(unused_variables)]
pub trait Hooks: Send {
    /// Asked once.
    fn interest(&self) -> Interest {
        Interest::default()
    }

    /// A CONNECT came (credentials, will and properties are in `connect`).
    fn authenticate(&mut self, client: ClientInfo<'_>, connect: &Connect<'_>, token: HookToken) -> Answer {
        Answer::ALLOW
    }

    /// An AUTH came during connect or as re-authentication (MQTT 5 §4.12).
    fn auth_exchange(&mut self, client: ClientInfo<'_>, method: &str, data: &[u8], token: HookToken) -> Answer {
        Answer::Now(Decision::Deny(Reason::BAD_AUTHENTICATION_METHOD))
    }

    /// May this client publish to the topic, or subscribe to the filter?
    fn authorize(&mut self, client: ClientInfo<'_>, access: Access, topic: &str, qos: Qos, retain: bool, token: HookToken) -> Answer {
        Answer::ALLOW
    }

    /// A SUBSCRIBE came; only filters that were authorized are listed.
    fn subscribe(&mut self, client: ClientInfo<'_>, filters: &[(String, SubscribeOptions)], token: HookToken) -> Answer {
        Answer::ALLOW
    }

    /// An UNSUBSCRIBE came.
    fn unsubscribe(&mut self, client: ClientInfo<'_>, filters: &[&str], token: HookToken) -> Answer {
        Answer::ALLOW
    }

    /// A PUBLISH came and was authorized.
    fn publish(&mut self, client: ClientInfo<'_>, publish: &PublishInfo<'_>, token: HookToken) -> Answer {
        Answer::ALLOW
    }

    /// CONNACK with success was sent.
    fn connected(&mut self, client: ClientInfo<'_>, session_present: bool) {}

    /// The network connection of a connected client ended.
    fn disconnected(&mut self, client: ClientInfo<'_>, reason: Reason) {}

    /// A message reached a client: written (QoS 0) or acknowledged (QoS 1 and 2).
    fn delivered(&mut self, client: ClientInfo<'_>, message: &Arc<Message>, qos: Qos) {}

    /// One line of log, from 1 (error) to 5 (trace).
    fn log(&mut self, level: u8, text: &dyn Fn() -> String) {}
}

/// A server without hooks.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {}
