//! What the owner of a server does itself: publish, subscribe, list, kick. These calls pass no
//! hook and no access control: they are the owner's.

use std::sync::Arc;

use crate::base::Instant;
use crate::codec::{Message, Qos, Reason, SubscribeOptions};
use crate::proto::{Receiver, Sender};

use super::session::{Outgoing, Receive, Session, SessionKey};
use super::shard::Shard;

/// Names an in-process subscriber.
pub type LocalKey = SessionKey;

/// One line of the list of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ClientSummary {
    pub client_id: String,
    /// Of the listener its session is of.
    pub mount_point: Option<String>,
    pub username: Option<String>,
    /// Empty while the client is away.
    pub peer: String,
    pub protocol_level: u8,
    pub connected: bool,
    pub subscriptions: usize,
    pub queued_messages: usize,
    pub queued_bytes: usize,
    pub in_flight_messages: usize,
    /// 0 while the client is away, or without keep-alive.
    pub keep_alive_s: u16,
    /// `u32::MAX`: never.
    pub session_expiry_s: u32,
    /// Bytes that wait for the socket.
    pub output_bytes: usize,
    /// Of a client that is connected over a Unix socket.
    pub process: Option<crate::base::PeerProcess>,
    /// Of a client that is connected over datagrams.
    pub datagrams: Option<crate::stack::DatagramStatistics>,
}

impl Shard {
    /// So many messages of the owner were refused before they came here.
    pub fn count_posts_refused(&mut self, count: u64) {
        self.stats.posts_refused += count;
    }

    /// The budget of this server, for messages made outside.
    pub fn budget(&self) -> &crate::base::Budget {
        &self.budget
    }

    /// Publishes a message of the owner's; how many subscriptions it met. `Err`: it is to be
    /// retained and there is no room (0x97).
    pub fn publish(&mut self, now: Instant, message: &Arc<Message>) -> Result<usize, Reason> {
        if !self.find_receivers(message.topic(), message, None) {
            return Err(Reason::QUOTA_EXCEEDED);
        }
        Ok(self.hand_out(now, message))
    }

    /// Sends a message to one client whatever it subscribed to; queued if it is away and its
    /// session lives. False: there is no such client.
    pub fn publish_to(&mut self, now: Instant, client_id: &str, message: &Arc<Message>) -> bool {
        let Some(key) = self.session_of(client_id) else { return false };
        let outgoing = Outgoing { message: message.clone(), qos: message.qos(), retain: false, subscription_ids: Box::default(), share: None, sent: now };
        match self.sessions[key].connection {
            Some(connection) if outgoing.qos == Qos::AtMostOnce => {
                self.write_qos0(now, key, connection, &[], message, false, false);
            }
            None if outgoing.qos == Qos::AtMostOnce && !self.options.queue_qos0_messages => {}
            _ => {
                self.send_or_queue(now, key, outgoing);
            }
        }
        true
    }

    /// A subscriber inside this process: `receive` is called with the shard borrowed, in the
    /// publisher's turn. Retained messages that match are handed over at once. `Err`: not a filter,
    /// or the router is full (0x97).
    pub fn subscribe_local(&mut self, now: Instant, filter: &str, receive: Receive) -> Result<LocalKey, Reason> {
        if !crate::topic::is_valid_filter(filter) {
            return Err(Reason::TOPIC_FILTER_INVALID);
        }
        let charge = self.budget.charge(Session::own_bytes());
        let key = self.sessions.insert(Session {
            client_id: Arc::from(""),
            publisher_number: 0,
            username: None,
            version: crate::codec::Version::V5,
            connection: None,
            expiry_s: u32::MAX,
            expires: None,
            timer: None,
            subscriptions: Default::default(),
            subscriptions_bytes: 0,
            sender: Sender::new(1),
            receiver: Receiver::new(1),
            queue: Default::default(),
            queue_bytes: 0,
            will: None,
            mount: None,
            local: Some(Box::new(receive)),
            charge,
        });
        let options = SubscribeOptions { qos: Qos::ExactlyOnce, retain_as_published: true, ..Default::default() };
        let mut cursor = match self.add_subscription(key, filter, options, None) {
            Ok((_, cursor)) => cursor,
            Err(reason) => {
                self.sessions.remove(key);
                return Err(reason);
            }
        };
        self.set_shares_available(key, true);
        if crate::topic::split_share(filter).is_none() {
            let mut messages = Vec::new();
            while self.router.read().expect("router lock").retained().collect(filter, &mut cursor, 64, now, &mut messages) {}
            if let Some(receive) = &mut self.sessions[key].local {
                messages.iter().for_each(receive);
            }
        }
        Ok(key)
    }

    /// Ends an in-process subscription; its callback is dropped. False: it is gone already.
    pub fn unsubscribe_local(&mut self, now: Instant, key: LocalKey) -> bool {
        let is_local = self.sessions.get(key).is_some_and(|session| session.local.is_some());
        if is_local {
            self.end_session(now, key);
        }
        is_local
    }

    /// Closes a client's connection with a reason; with `end_session` its session ends, too.
    /// False: there is no such client.
    pub fn kick(&mut self, now: Instant, client_id: &str, reason: Reason, end_session: bool) -> bool {
        let Some(key) = self.session_of(client_id) else { return false };
        if let Some(connection) = self.sessions[key].connection {
            self.disconnect(now, connection, reason, None);
        }
        if end_session && self.sessions.contains_key(key) {
            self.end_session(now, key);
        }
        true
    }

    /// Every client with a session, connected or away.
    pub fn clients(&self) -> impl Iterator<Item = ClientSummary> + '_ {
        self.sessions.values().filter(|session| session.local.is_none()).map(|session| self.summary(session))
    }

    /// Ends every connection with this reason; the host flushes and closes them.
    pub fn stop(&mut self, now: Instant, reason: Reason) {
        for key in self.connections.keys().collect::<Vec<_>>() {
            self.disconnect(now, key, reason, None);
        }
    }

    /// Connections open now, in whatever state.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// Ends every session and clears what is retained; nothing is charged to the budget then.
    pub fn clear(&mut self, now: Instant) {
        for key in self.connections.keys().collect::<Vec<_>>() {
            self.closed(now, key);
        }
        for session in self.sessions.values_mut() {
            session.will = None;
            // Nobody else is to get them.
            session.queue = Default::default();
            drop(session.sender.drain());
        }
        for key in self.sessions.keys().collect::<Vec<_>>() {
            self.end_session(now, key);
        }
        self.router.write().expect("router lock").retained_mut().clear_all();
    }
}
