//! How connections and sessions end: DISCONNECT, wills, expiry (MQTT 5 §3.14, §3.1.2.5, §4.1).

use crate::base::{Duration, Instant};
use crate::codec::{Disconnect, Message, PropertyId, PropertyList, Reason};
use crate::route::Target;

use super::connection::ConnKey;
use super::hooks::{DropReason, SessionEvent};
use super::session::{Outgoing, Session, SessionKey, Will};
use super::shard::{Fault, STALE_MAX, Shard, TimerKey, client_info, protocol_error};
use super::tell::tell;

/// Properties of a PUBLISH that travel to the receivers (§3.3.2.3).
pub(super) fn forwarded(id: PropertyId) -> bool {
    matches!(
        id,
        PropertyId::PayloadFormatIndicator | PropertyId::ContentType | PropertyId::ResponseTopic | PropertyId::CorrelationData | PropertyId::UserProperty
    )
}

impl Shard {
    pub(super) fn on_disconnect(&mut self, now: Instant, key: ConnKey, disconnect: &Disconnect<'_>) -> Result<(), Fault> {
        let cap = self.options.persistent_client_expiration_s;
        let connection = &mut self.connections[key];
        if let Some(session) = connection.session.and_then(|session| self.sessions.get_mut(session)) {
            if let Some(expiry_s) = disconnect.properties.u32(PropertyId::SessionExpiryInterval) {
                if session.expiry_s == 0 && expiry_s != 0 {
                    return Err(protocol_error("session expiry was 0 in CONNECT (§3.14.2.2.2)"));
                }
                session.expiry_s = expiry_s.min(cap);
            }
        }
        connection.flags.discard_will = disconnect.reason == Reason::NORMAL_DISCONNECTION;
        self.close(now, key, disconnect.reason);
        Ok(())
    }

    /// The connection lets go of its session; what the session does without it.
    pub(super) fn leave_session(&mut self, now: Instant, key: ConnKey, reason: Reason, was_connected: bool) {
        let connection = &mut self.connections[key];
        let Some(session_key) = connection.session.take() else { return };
        let discard_will = connection.flags.discard_will;
        let session = &mut self.sessions[session_key];
        if session.connection != Some(key) {
            return;
        }
        session.connection = None;
        if was_connected {
            self.stats.clients_connected -= 1;
            self.levels.clients.lower();
            self.hooks.disconnected(client_info(connection, &session.client_id, session.username.as_deref()), reason);
        }
        if discard_will {
            session.will = None;
        }
        if let Some(will) = &mut session.will {
            will.due = Some(now + will.delay);
        }
        session.expires = (session.expiry_s != u32::MAX).then(|| now + Duration::from_secs(u64::from(session.expiry_s)));
        if session.expiry_s == 0 {
            return self.end_session(now, session_key);
        }
        self.set_shares_available(session_key, false);
        self.reoffer_shared(now, session_key, |_| true);
        self.session_timeout(now, session_key);
    }

    /// What is due of a session whose client is away; arms the next timer.
    pub(super) fn session_timeout(&mut self, now: Instant, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.timer.is_some_and(|armed| armed <= now) {
            session.timer = None;
        }
        if session.connection.is_none() {
            if session.expires.is_some_and(|expires| expires <= now) {
                self.stats.sessions_expired += 1;
                return self.end_session(now, key);
            }
            if let Some(will) = session.will.take_if(|will| will.due.is_some_and(|due| due <= now)) {
                tell!(self).will(session, &will.message);
                self.publish_will(now, key, &will);
            }
        } else if let Some(limit) = self.share_deadline(key) {
            if limit <= now {
                let patience = self.options.shared_ack_timeout;
                self.reoffer_shared(now, key, |outgoing| outgoing.sent + patience <= now);
            }
        }
        self.arm_session(key);
    }

    pub(super) fn arm_session(&mut self, key: SessionKey) {
        let share = self.share_deadline(key);
        let Some(session) = self.sessions.get_mut(key) else { return };
        let away = session.connection.is_none();
        let will = session.will.as_ref().and_then(|will| will.due);
        let deadlines = [session.expires.filter(|_| away), will.filter(|_| away), share.filter(|_| !away)];
        let Some(deadline) = deadlines.into_iter().flatten().min() else { return };
        if session.timer.is_none_or(|armed| deadline < armed) {
            session.timer = Some(self.wheel.insert_within(deadline, STALE_MAX, TimerKey::Session(key)));
        }
    }

    /// A message of a shared subscription went out: its patience has a timer. Looks at the whole
    /// window only if no timer is near enough.
    pub(super) fn arm_share(&mut self, now: Instant, key: SessionKey) {
        let deadline = now + self.options.shared_ack_timeout;
        if self.sessions[key].timer.is_none_or(|armed| armed > deadline) {
            self.arm_session(key);
        }
    }

    /// When the oldest unacknowledged message of a shared subscription loses its patience.
    fn share_deadline(&self, key: SessionKey) -> Option<Instant> {
        if self.options.shared_ack_timeout.is_zero() {
            return None;
        }
        let oldest = self.sessions.get(key)?.sender.iter().filter(|(_, outgoing)| outgoing.share.is_some()).map(|(_, outgoing)| outgoing.sent).min()?;
        Some(oldest + self.options.shared_ack_timeout)
    }

    /// Offers the unacknowledged QoS 1 messages of shared subscriptions to the other members, and
    /// what waits unsent for a member that is away (§4.8.2).
    fn reoffer_shared(&mut self, now: Instant, key: SessionKey, overdue: impl Fn(&Outgoing) -> bool) {
        let target = self.target(key);
        let session = &mut self.sessions[key];
        if session.subscriptions.iter().all(|filter| crate::topic::split_share(filter).is_none()) {
            return;
        }
        let has_another = |outgoing: &Outgoing| {
            let router = self.router.read().expect("router lock");
            outgoing.share.is_some_and(|share| router.has_other_online(share, target))
        };
        let mut moved = session.sender.take_unacknowledged(|outgoing| overdue(outgoing) && has_another(outgoing));
        if session.connection.is_none() {
            for outgoing in session.queue.drain() {
                if has_another(&outgoing) {
                    session.queue_bytes -= outgoing.queue_bytes();
                    moved.push(outgoing);
                } else {
                    session.queue.push_back(outgoing);
                }
            }
        }
        for outgoing in moved {
            if let Some(share) = outgoing.share {
                self.reoffer(now, share, vec![target], &outgoing.message);
            }
        }
    }

    /// Tells the router whether this session's shared subscriptions can take messages now.
    pub(super) fn set_shares_available(&mut self, key: SessionKey, available: bool) {
        let target = self.target(key);
        let session = &self.sessions[key];
        let mut shared = session.subscriptions.iter().filter(|filter| crate::topic::split_share(filter).is_some()).peekable();
        if shared.peek().is_none() {
            return;
        }
        let mut router = self.router.write().expect("router lock");
        for filter in shared {
            router.set_available(filter, target, available);
        }
    }

    /// The end of a session: its will goes out, its subscriptions and messages go.
    pub(super) fn end_session(&mut self, now: Instant, key: SessionKey) {
        let target = self.target(key);
        let Some(mut session) = self.sessions.remove(key) else { return };
        debug_assert!(session.connection.is_none(), "closed before its session ends");
        self.directory.remove(key, session.name());
        if !session.subscriptions.is_empty() {
            let mut router = self.router.write().expect("router lock");
            for filter in &session.subscriptions {
                router.unsubscribe(filter, target);
            }
        }
        self.pass_on_shared(now, target, &mut session);
        let mut tell = tell!(self);
        for outgoing in session.queue.iter().chain(session.sender.iter().map(|(_, outgoing)| outgoing)) {
            tell.dropped(&session, None, &outgoing.message, DropReason::SessionEnded);
        }
        tell.session(&session, None, SessionEvent::Expired);
        if let Some(will) = session.will.take() {
            tell.will(&session, &will.message);
            self.publish_will(now, key, &will);
        }
        if self.sessions.is_empty() {
            // Nobody publishes and nobody receives: what was found for them goes with them.
            self.matches = None;
        }
    }

    /// QoS 1 messages of shared subscriptions that the ended session did not acknowledge go to the
    /// other members; a QoS 2 message that was sent must not (§4.8.2).
    fn pass_on_shared(&mut self, now: Instant, target: Target, session: &mut Session) {
        let mut orphans = session.sender.take_unacknowledged(|outgoing| outgoing.share.is_some());
        for outgoing in session.queue.drain() {
            if outgoing.share.is_some() { orphans.push(outgoing) } else { session.queue.push_back(outgoing) }
        }
        for outgoing in orphans {
            if let Some(share) = outgoing.share {
                self.reoffer(now, share, vec![target], &outgoing.message);
            }
        }
    }

    /// The will is its client's message, also when the session has just ended.
    fn publish_will(&mut self, now: Instant, session: SessionKey, will: &Will) {
        let message = match will.expiry {
            None => will.message.clone(),
            Some(expiry) => {
                let mut properties = PropertyList::new();
                properties.extend_filtered(will.message.properties(), |_| true);
                let message = &will.message;
                Message::new(
                    &self.budget,
                    message.topic(),
                    message.payload(),
                    message.qos(),
                    message.retain(),
                    properties.as_properties(),
                    Some(now + expiry),
                    message.publisher(),
                    now,
                )
            }
        };
        self.stats.wills_published += 1;
        // One that cannot be kept goes out all the same.
        self.find_receivers(message.topic(), &message, Some(session));
        self.hand_out(now, &message);
    }
}
