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
use super::peers::SHARDS_MAX;
use crate::base::PeerProcess;
use crate::codec::{Connect, Message, Properties, Qos, Reason, SubscribeOptions};
use crate::stack::About;

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

    /// Which shard of the server asked.
    pub fn shard(self) -> u16 {
        (self.serial % SHARDS_MAX as u32) as u16
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

impl Decision {
    /// Bytes on the heap that it brings along.
    pub(crate) fn own_bytes(&self) -> usize {
        let filter = |text: Option<&String>| text.map_or(0, String::len);
        match self {
            Self::Allow | Self::Deny(_) | Self::Drop => 0,
            Self::Rewrite(rewrite) => filter(rewrite.topic.as_ref()) + rewrite.payload.as_ref().map_or(0, Vec::len),
            Self::Filters(filters) => filters.iter().map(|one| size_of_val(one) + filter(one.as_ref().ok().map(|(text, _)| text))).sum(),
            Self::EditFilters(edits) => edits.iter().map(|one| size_of_val(one) + filter(one.1.as_ref().ok().map(|(text, _)| text))).sum(),
            Self::Challenge(data) | Self::AllowWith(data) => data.len(),
        }
    }
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
    /// Of its listener: the same client id at another one is another client.
    pub mount_point: Option<&'a str>,
    /// The user name of CONNECT.
    pub username: Option<&'a str>,
    /// Where it connects from, as text; empty for in-process sessions.
    pub peer: &'a str,
    /// 3, 4 or 5.
    pub protocol_level: u8,
    /// What the layers of its connection have learnt, if it has any.
    pub about: Option<&'a Arc<About>>,
    /// Of a client that is connected over a Unix socket.
    pub process: Option<PeerProcess>,
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
    pub accept: bool,
    pub connect: bool,
    pub authenticate: bool,
    pub session: bool,
    pub authorize: bool,
    pub subscribe: bool,
    pub subscribed: bool,
    pub unsubscribe: bool,
    pub unsubscribed: bool,
    pub publish: bool,
    pub publish_out: bool,
    pub delivered: bool,
    pub dropped: bool,
    pub expired: bool,
    pub retained: bool,
    pub will: bool,
    pub quota: bool,
    pub slow_client: bool,
    pub tick: bool,
    pub path_moved: bool,
}

/// What became of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionEvent {
    /// A client has a new one.
    Created,
    /// A client came back to the one it had.
    Resumed,
    /// It ended: its time is over, it was to end with its connection, a clean start replaced it, or
    /// the owner ended it.
    Expired,
    /// A newer connection of the same client id took it from the one that is told.
    TakenOver,
}

/// Why a message did not reach a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// The queue of the session was full.
    QueueFull,
    /// QoS 0, and the client reads too slowly.
    OutputFull,
    /// Larger than the client's Maximum Packet Size.
    TooLarge,
    /// The session ended while it waited.
    SessionEnded,
    /// The memory of the server was short.
    MemoryShort,
}

/// The hook table, in the order of a client's life. Every method has a default that allows or
/// ignores.
#[allow(unused_variables)]
pub trait Hooks: Send {
    /// Asked once.
    fn interest(&self) -> Interest {
        Interest::default()
    }

    /// So much waits to be told that no more should be made. Asked for every packet.
    fn is_full(&self) -> bool {
        false
    }

    /// A network connection came in through the listener at this address (empty: adopted). Behind a trusted proxy `peer` is whom that
    /// brings.
    fn accept(&mut self, peer: &str, listener: &str, token: HookToken) -> Answer {
        Answer::ALLOW
    }

    /// A CONNECT came; asked before [`Hooks::authenticate`], about everything but who it is.
    fn connect(&mut self, client: ClientInfo<'_>, connect: &Connect<'_>, token: HookToken) -> Answer {
        Answer::ALLOW
    }

    /// Is the client of this CONNECT who it says it is?
    fn authenticate(&mut self, client: ClientInfo<'_>, connect: &Connect<'_>, token: HookToken) -> Answer {
        Answer::ALLOW
    }

    /// An AUTH came during connect or as re-authentication (MQTT 5 §4.12).
    fn auth_exchange(&mut self, client: ClientInfo<'_>, method: &str, data: &[u8], token: HookToken) -> Answer {
        Answer::Now(Decision::Deny(Reason::BAD_AUTHENTICATION_METHOD))
    }

    /// CONNACK with success was sent.
    fn connected(&mut self, client: ClientInfo<'_>, session_present: bool) {}

    /// The network connection of a connected client ended.
    fn disconnected(&mut self, client: ClientInfo<'_>, reason: Reason) {}

    /// A session began, went on, ended or changed hands.
    fn session(&mut self, client: ClientInfo<'_>, event: SessionEvent) {}

    /// May this client publish to the topic, or subscribe to the filter?
    fn authorize(&mut self, client: ClientInfo<'_>, access: Access, topic: &str, qos: Qos, retain: bool, token: HookToken) -> Answer {
        Answer::ALLOW
    }

    /// A SUBSCRIBE came; only filters that were authorized are listed.
    fn subscribe(&mut self, client: ClientInfo<'_>, filters: &[(String, SubscribeOptions)], token: HookToken) -> Answer {
        Answer::ALLOW
    }

    /// A client has a subscription, new or replaced.
    fn subscribed(&mut self, client: ClientInfo<'_>, filter: &str, options: SubscribeOptions) {}

    /// An UNSUBSCRIBE came.
    fn unsubscribe(&mut self, client: ClientInfo<'_>, filters: &[&str], token: HookToken) -> Answer {
        Answer::ALLOW
    }

    /// A client gave up a subscription, or lost it to the owner.
    fn unsubscribed(&mut self, client: ClientInfo<'_>, filter: &str) {}

    /// A PUBLISH came and was authorized.
    fn publish(&mut self, client: ClientInfo<'_>, publish: &PublishInfo<'_>, token: HookToken) -> Answer {
        Answer::ALLOW
    }

    /// A client over datagrams goes on from another address, which is the one `client` has; before it was at `previous_peer`.
    fn path_moved(&mut self, client: ClientInfo<'_>, previous_peer: &str) {}

    /// A message goes out to a client for the first time.
    fn publish_out(&mut self, client: ClientInfo<'_>, message: &Arc<Message>, qos: Qos) {}

    /// A message reached a client: written (QoS 0) or acknowledged (QoS 1 and 2).
    fn delivered(&mut self, client: ClientInfo<'_>, message: &Arc<Message>, qos: Qos) {}

    /// A message will not reach a client.
    fn dropped(&mut self, client: ClientInfo<'_>, message: &Arc<Message>, reason: DropReason) {}

    /// A message expired while it waited for a client; `None`: a retained one.
    fn expired(&mut self, client: Option<ClientInfo<'_>>, message: &Arc<Message>) {}

    /// A message is the retained one of its topic now.
    fn retained_set(&mut self, message: &Arc<Message>) {}

    /// A topic has no retained message any more.
    fn retained_cleared(&mut self, topic: &str) {}

    /// The will of a client goes out.
    fn will(&mut self, client: ClientInfo<'_>, message: &Arc<Message>) {}

    /// A limit turned somebody away; `limit` is its key.
    fn quota(&mut self, client: Option<ClientInfo<'_>>, limit: &'static str) {}

    /// A client does not read what waits for it.
    fn slow_client(&mut self, client: ClientInfo<'_>, waiting_bytes: usize) {}

    /// The tick interval went by.
    fn tick(&mut self) {}

    /// One line of log, from 1 (error) to 5 (trace).
    fn log(&mut self, level: u8, text: &dyn Fn() -> String) {}
}

/// A server without hooks.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {}
