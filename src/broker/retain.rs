//! Retained messages for a new subscription, paced by the receiver (MQTT 5 §3.3.1.3, §3.8.3.1).
//!
//! A wildcard may match a hundred thousand topics. A job keeps a cursor; the router's read lock is
//! taken for at most 64 topics at a time, and a job rests while the out-buffer is over its mark or
//! messages wait for the in-flight window. `pump` wakes it when there is room, so nothing is cut
//! off at a queue length and no message is held in memory. What a job itself takes is charged to it.

use crate::base::Instant;
use crate::codec::{Qos, RetainHandling, SubscribeOptions};
use crate::route::{RetainedCursor, Subscribed};
use crate::topic;

use super::connection::{ConnKey, RetainedJob};
use super::session::Outgoing;
use super::shard::Shard;

/// Topics looked at under one read lock.
const TOPICS_PER_LOCK: usize = 64;
/// Locks taken for one connection in one turn.
const LOCKS_PER_TURN: usize = 16;

impl Shard {
    /// One turn of every connection that has retained messages to get and room for them.
    pub fn work(&mut self, now: Instant) {
        for key in core::mem::take(&mut self.working) {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.flags.working = false;
            for _ in 0..LOCKS_PER_TURN {
                if !self.retained_step(now, key) {
                    break;
                }
            }
            self.pump(now, key);
        }
    }

    /// A subscription was made: what it wants of the retained messages is on its way from now on.
    pub(super) fn begin_retained(
        &mut self,
        key: ConnKey,
        filter: &str,
        granted: Subscribed,
        options: SubscribeOptions,
        subscription_id: Option<u32>,
        cursor: RetainedCursor,
    ) {
        let is_wanted = match options.retain_handling {
            RetainHandling::SendAtSubscribe => true,
            RetainHandling::SendIfNew => granted == Subscribed::New,
            RetainHandling::DoNotSend => false,
        };
        let jobs = &mut self.connections[key].retained;
        if is_wanted && topic::split_share(filter).is_none() {
            let charge = self.budget.charge(job_bytes(filter, &cursor));
            jobs.get_or_insert_default().insert(filter.into(), RetainedJob { options, subscription_id, cursor, charge });
        } else if let Some(job) = jobs.as_mut().and_then(|jobs| jobs.get_mut(filter)) {
            // What is still to come of the subscription that was replaced comes as the new one says.
            (job.options, job.subscription_id) = (options, subscription_id);
        }
    }

    /// Sends what one look at the router gives. False: no room, or nothing left.
    fn retained_step(&mut self, now: Instant, key: ConnKey) -> bool {
        let output_max = self.options.max_output_bytes;
        let Some(connection) = self.connections.get_mut(key).filter(|connection| connection.is_open()) else { return false };
        let session = connection.session.expect("open");
        let own_number = self.sessions[session].publisher_number;
        if connection.out.len() > output_max || !self.sessions[session].queue.is_empty() {
            return false;
        }
        let Some(mut jobs) = connection.retained.take() else { return false };
        let Some(mut first) = jobs.first_entry() else { return false };
        let filter = first.key().clone();
        let job = first.get_mut();
        let mut messages = Vec::new();
        let more = self.router.read().expect("router lock").retained().collect(&filter, &mut job.cursor, TOPICS_PER_LOCK, now, &mut messages);
        job.charge.resize(job_bytes(&filter, &job.cursor));
        for message in messages {
            let is_hidden = self.sessions[session].mount.as_ref().is_some_and(|mount| mount.hides(message.topic()));
            if is_hidden || (job.options.no_local && message.publisher() == own_number) {
                continue;
            }
            let outgoing = outgoing_of(job, message, now);
            self.send_retained(now, session, key, outgoing);
        }
        if !more {
            jobs.remove(&filter);
        }
        if !jobs.is_empty() {
            self.connections[key].retained = Some(jobs);
        }
        true
    }

    /// Past the queue limit: at most one look's worth, 64 messages, waits because of this.
    fn send_retained(&mut self, now: Instant, session: super::SessionKey, key: ConnKey, outgoing: Outgoing) {
        if outgoing.qos == Qos::AtMostOnce || self.sessions[session].sender.can_send() {
            self.send_now(now, session, key, outgoing);
        } else {
            self.sessions[session].enqueue(outgoing);
        }
    }
}

/// One entry of the map, its filter and what its cursor remembers.
fn job_bytes(filter: &str, cursor: &RetainedCursor) -> usize {
    size_of::<(Box<str>, RetainedJob)>() + filter.len() + cursor.place_bytes()
}

fn outgoing_of(job: &RetainedJob, message: std::sync::Arc<crate::codec::Message>, now: Instant) -> Outgoing {
    let qos = message.qos().min(job.options.qos);
    let subscription_ids = job.subscription_id.into_iter().collect();
    Outgoing { message, qos, retain: true, subscription_ids, share: None, sent: now }
}
