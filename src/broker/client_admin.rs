//! What the owner does with one client: look at it, subscribe for it, unsubscribe for it.

use crate::base::Instant;
use crate::codec::{Reason, SubscribeOptions};
use crate::topic;

use super::admin::ClientSummary;
use super::directory::Name;
use super::session::{Session, SessionKey};
use super::shard::Shard;

/// One subscription of a session.
pub type SubscriptionSummary = String;

impl Shard {
    pub(super) fn summary(&self, session: &Session) -> ClientSummary {
        let connection = session.connection.and_then(|connection| self.connections.get(connection));
        ClientSummary {
            client_id: session.client_id.to_string(),
            mount_point: session.mount.as_ref().map(|mount| mount.as_str().to_owned()),
            username: session.username.as_deref().map(str::to_owned),
            peer: connection.map(|connection| connection.peer.to_string()).unwrap_or_default(),
            protocol_level: session.version.level(),
            connected: connection.is_some(),
            subscriptions: session.subscriptions.len(),
            queued_messages: session.queue.len(),
            queued_bytes: session.queue_bytes,
            in_flight_messages: session.sender.in_flight(),
            keep_alive_s: connection.map_or(0, |connection| connection.keep_alive_s),
            session_expiry_s: session.expiry_s,
            output_bytes: connection.map_or(0, |connection| connection.out.len()),
            process: connection.and_then(|connection| connection.process()),
            datagrams: connection.and_then(|connection| connection.watch.as_ref()).map(|watch| watch.statistics()),
        }
    }

    /// The session of a client as its owner names it: by its id, behind a mount point by `PREFIX/#ID`.
    pub(super) fn session_of(&self, client: &str) -> Option<SessionKey> {
        let find = |name| self.directory.find(&self.sessions, name);
        Name::mounted(client).and_then(find).or_else(|| find(Name::plain(client)))
    }

    /// The client with this id (behind a mount point `PREFIX/#ID`, as in every call about one client), connected or away.
    pub fn client(&self, client_id: &str) -> Option<ClientSummary> {
        self.session_of(client_id).map(|key| self.summary(&self.sessions[key]))
    }

    /// The filters of a client, sorted. `None`: there is no such client.
    pub fn subscriptions(&self, client_id: &str) -> Option<Vec<SubscriptionSummary>> {
        let key = self.session_of(client_id)?;
        Some(self.sessions[key].subscriptions.iter().map(|filter| filter.to_string()).collect())
    }

    /// Subscribes for a client as if it had asked, past hooks; retained messages follow. `Err`: not
    /// a filter (0x8F), or a limit (0x97). `None`: there is no such client.
    pub fn subscribe_client(&mut self, now: Instant, client_id: &str, filter: &str, options: SubscribeOptions) -> Option<Result<(), Reason>> {
        let key = self.session_of(client_id)?;
        if !topic::is_valid_filter(filter) || topic::levels(filter).take(self.options.max_topic_levels + 1).count() > self.options.max_topic_levels {
            return Some(Err(Reason::TOPIC_FILTER_INVALID));
        }
        let options = SubscribeOptions { qos: options.qos.min(self.options.maximum_qos), ..options };
        let (granted, cursor) = match self.add_subscription(key, filter, options, None) {
            Ok(granted) => granted,
            Err(reason) => return Some(Err(reason)),
        };
        self.tell_subscribed(key, filter, options);
        if let Some(connection) = self.sessions[key].connection {
            self.begin_retained(connection, filter, granted, options, None, cursor);
            self.pump(now, connection);
        }
        Some(Ok(()))
    }

    /// Ends a subscription of a client. False: it had none like that. `None`: there is no such
    /// client.
    pub fn unsubscribe_client(&mut self, client_id: &str, filter: &str) -> Option<bool> {
        let key = self.session_of(client_id)?;
        Some(self.remove_subscription(key, filter) == Reason::SUCCESS)
    }
}
