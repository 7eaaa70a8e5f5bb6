//! Telling hooks what happened to clients and messages. A hook that is not there costs one test.

use std::sync::Arc;

use crate::base::Instant;
use crate::codec::{Message, Qos, SubscribeOptions};

use super::connection::{ConnKey, Connection};
use super::hooks::{ClientInfo, DropReason, Hooks, Interest, SessionEvent};
use super::session::{Session, SessionKey};
use super::shard::{Shard, client_info};
use super::stats::Stats;

/// Expired retained messages looked for in one sweep.
const SWEEP_TOPICS_MAX: usize = 10_000;

/// What counts and tells: the parts of a shard that are left while its tables are borrowed.
pub(super) struct Tell<'a> {
    pub hooks: &'a mut (dyn Hooks + 'static),
    pub interest: Interest,
    pub stats: &'a mut Stats,
}

/// A [`Tell`] that borrows no table.
macro_rules! tell {
    ($shard:expr) => {
        super::tell::Tell { hooks: &mut *$shard.hooks, interest: $shard.interest, stats: &mut $shard.stats }
    };
}
pub(super) use tell;

/// The client of a session, which may be away.
#[inline(never)]
pub(super) fn session_info<'a>(session: &'a Session, connection: Option<&'a Connection>) -> ClientInfo<'a> {
    let (client_id, username) = (&*session.client_id, session.username.as_deref());
    match connection {
        Some(connection) => client_info(connection, client_id, username),
        None => {
            let (mount_point, protocol_level) = (session.mount.as_ref().map(|mount| mount.as_str()), session.version.level());
            ClientInfo { client_id, mount_point, username, peer: "", protocol_level, about: None, process: None }
        }
    }
}

impl Tell<'_> {
    /// A message will not reach a client.
    pub fn dropped(&mut self, session: &Session, connection: Option<&Connection>, message: &Arc<Message>, reason: DropReason) {
        *match reason {
            DropReason::QueueFull => &mut self.stats.dropped_queue_full,
            DropReason::OutputFull => &mut self.stats.dropped_output_full,
            DropReason::TooLarge => &mut self.stats.dropped_too_large,
            DropReason::SessionEnded => &mut self.stats.dropped_session_ended,
            DropReason::MemoryShort => &mut self.stats.dropped_memory,
        } += 1;
        if self.interest.dropped && session.local.is_none() {
            self.hooks.dropped(session_info(session, connection), message, reason);
        }
    }

    /// A message expired while it waited for a client.
    pub fn expired(&mut self, session: &Session, connection: &Connection, message: &Arc<Message>) {
        self.stats.dropped_expired += 1;
        if self.interest.expired {
            self.hooks.expired(Some(session_info(session, Some(connection))), message);
        }
    }

    /// A message goes out for the first time. Inlined: once for each delivery, and mostly nobody asks.
    #[inline(always)]
    pub fn publish_out(&mut self, session: &Session, connection: &Connection, message: &Arc<Message>, qos: Qos) {
        if self.interest.publish_out {
            self.hooks.publish_out(session_info(session, Some(connection)), message, qos);
        }
    }

    /// A will goes out.
    pub fn will(&mut self, session: &Session, message: &Arc<Message>) {
        if self.interest.will {
            self.hooks.will(session_info(session, None), message);
        }
    }

    /// Something became of a session.
    pub fn session(&mut self, session: &Session, connection: Option<&Connection>, event: SessionEvent) {
        if self.interest.session && session.local.is_none() {
            self.hooks.session(session_info(session, connection), event);
        }
    }
}

impl Shard {
    /// A limit turned somebody away who is not known yet.
    pub(super) fn tell_quota(&mut self, limit: &'static str) {
        if self.interest.quota {
            self.hooks.quota(None, limit);
        }
    }

    /// A limit refused something to the client of this session.
    pub(super) fn tell_client_quota(&mut self, key: SessionKey, limit: &'static str) {
        if self.interest.quota {
            let session = &self.sessions[key];
            let connection = session.connection.and_then(|connection| self.connections.get(connection));
            self.hooks.quota(Some(session_info(session, connection)), limit);
        }
    }

    pub(super) fn tell_slow(&mut self, key: ConnKey) {
        if !self.interest.slow_client {
            return;
        }
        let connection = &self.connections[key];
        if let Some(session) = connection.session.and_then(|session| self.sessions.get(session)) {
            self.hooks.slow_client(session_info(session, Some(connection)), connection.out.len());
        }
    }

    pub(super) fn tell_subscribed(&mut self, key: SessionKey, filter: &str, options: SubscribeOptions) {
        if self.interest.subscribed {
            let session = &self.sessions[key];
            let connection = session.connection.and_then(|connection| self.connections.get(connection));
            self.hooks.subscribed(session_info(session, connection), filter, options);
        }
    }

    pub(super) fn tell_unsubscribed(&mut self, key: SessionKey, filter: &str) {
        if self.interest.unsubscribed {
            let session = &self.sessions[key];
            let connection = session.connection.and_then(|connection| self.connections.get(connection));
            self.hooks.unsubscribed(session_info(session, connection), filter);
        }
    }

    /// Forgets what has expired: retained messages, bans, and matches of an older generation.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.bans.expire(now);
        let generation = self.router.read().expect("router lock").generation();
        self.matches.iter_mut().for_each(|matches| matches.forget_stale(generation));
        if self.id != 0 {
            return; // What is retained is all shards', and the first one looks after it.
        }
        let expired = self.router.write().expect("router lock").retained_mut().expire(now, SWEEP_TOPICS_MAX);
        if self.interest.expired {
            for message in &expired {
                self.hooks.expired(None, message);
            }
        }
        if self.interest.retained {
            for message in &expired {
                self.hooks.retained_cleared(message.topic());
            }
        }
    }
}
