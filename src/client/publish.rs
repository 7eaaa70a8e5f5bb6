//! Publishing, on the caller's thread: a message is checked, admitted and left in the lane.
//!
//! It is refused at once when the queue has no room: what waits in the machine is read from its gauge, what is on its way there
//! is counted in the lane, so that neither grows without end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::lane::{self, Give, Lane};
use super::{Client, CompletionCallback, QueueTerms, RequestKind, Token, machine};
use crate::base::Budget;
use crate::codec::{Message, Properties, Qos};
use crate::net::Error;
use crate::proto;

/// Requests that are not done or not told yet, unless twice the queue is more: one more publish is refused.
const REQUESTS_MAX: usize = 65_536;
/// With a policy that pushes messages out, at least so much may be on its way to the worker, however small the queue is.
const POSTED_COUNT: usize = 256;
const POSTED_BYTES: usize = 1 << 20;

/// A message to publish. Everything is copied, but a `shared` payload, which then stands for
/// `payload`.
#[derive(Clone, Default)]
#[allow(missing_docs)]
pub struct Publish<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub shared: Option<Bytes>,
    pub qos: Qos,
    pub retain: bool,
    pub properties: Properties<'a>,
    pub expiry_s: Option<u32>,
    pub terms: QueueTerms,
}

impl Publish<'_> {
    /// The same with everything borrowed, for the machine.
    pub(super) fn as_request(&self) -> machine::PublishRequest<'_> {
        let Self { topic, payload, ref shared, qos, retain, properties, expiry_s, terms } = *self;
        machine::PublishRequest { topic, payload, shared: shared.as_ref(), qos, retain, properties, expiry_s, terms }
    }
}

impl Client {
    /// Publishes; the token's completion tells when it is done (QoS 0: sent; QoS 1 and 2:
    /// acknowledged).
    ///
    /// # Errors
    /// `Client`: topic or size cannot be sent at all, the queue is full, the client is stopped.
    /// Nothing was queued, no completion follows.
    pub fn publish(&self, publish: Publish<'_>, done: Option<CompletionCallback>) -> Result<Token, Error> {
        let (request, budget) = (publish.as_request(), self.runtime.budget());
        let bytes = lane::message_bytes(&request);
        if lane::is_small(&request) {
            request.check()?;
            self.check_started()?;
            return self.enter(RequestKind::Publish, bytes, request.terms, done, |lane, token, terms| lane.put_small(token, &request, terms, budget));
        }
        let (message, terms) = self.message(publish)?;
        self.enter_other(RequestKind::Publish, bytes, terms, done, move |token, terms| {
            Box::new(move |client, now| client.publish_own(now, token, message, terms))
        })
    }

    /// Publishes a message that exists already: nothing is copied.
    ///
    /// # Errors
    /// As [`Client::publish`].
    pub fn publish_message(&self, message: Arc<Message>, qos: Qos, retain: bool, done: Option<CompletionCallback>) -> Result<Token, Error> {
        self.check_started()?;
        self.enter_other(RequestKind::Publish, message.len_bytes(), QueueTerms::default(), done, move |token, terms| {
            Box::new(move |client, now| client.publish_message(now, token, message, qos, retain, terms))
        })
    }

    /// The message that is asked for; its interval to expiry begins now. Not even a reference to a shared payload stays
    /// behind: who drops the last one releases it.
    pub(super) fn message(&self, publish: Publish<'_>) -> Result<(Arc<Message>, QueueTerms), Error> {
        let request = publish.as_request();
        request.check()?;
        self.check_started()?;
        // Much is not copied in vain.
        self.admit(&self.tracker.lock().lane, lane::message_bytes(&request), request.terms)?;
        Ok((request.checked_message(self.runtime.budget(), self.runtime.now()), request.terms))
    }

    /// As `enter`, of what `give` makes to be given to the machine.
    pub(super) fn enter_other(
        &self,
        kind: RequestKind,
        bytes: usize,
        terms: QueueTerms,
        done: Option<CompletionCallback>,
        give: impl FnOnce(Token, QueueTerms) -> Give,
    ) -> Result<Token, Error> {
        let budget: &Budget = self.runtime.budget();
        self.enter(kind, bytes, terms, done, |lane, token, terms| lane.put_other(token, bytes, give(token, terms), budget))
    }

    /// Has `put` leave a message in the lane, if there is room for it.
    fn enter(
        &self,
        kind: RequestKind,
        bytes: usize,
        terms: QueueTerms,
        done: Option<CompletionCallback>,
        put: impl FnOnce(&mut Lane, Token, QueueTerms) -> bool,
    ) -> Result<Token, Error> {
        // What is over, but not told yet (DISPATCH mode), holds memory, too: its message until then.
        let untold_max = REQUESTS_MAX.max(self.queue.count_max.saturating_mul(2));
        let mut track = self.tracker.lock();
        let terms = self.admit(&track.lane, bytes, terms)?;
        if track.pending.len() >= untold_max {
            return Err(proto::Error::QueueFull.into());
        }
        let token = self.tracker.begin(&mut track, kind, done);
        let is_first = put(&mut track.lane, token, terms);
        drop(track);
        if is_first {
            self.announce();
        }
        Ok(token)
    }

    /// It was started, and its runtime has memory left.
    fn check_started(&self) -> Result<(), Error> {
        if !self.is_started.load(Ordering::SeqCst) {
            return Err(proto::Error::NotRunning.into());
        }
        if self.runtime.budget().is_exhausted() { Err(proto::Error::QueueFull.into()) } else { Ok(()) }
    }

    /// Room for one more message on its way to the worker, and how it waits.
    fn admit(&self, lane: &Lane, bytes: usize, terms: QueueTerms) -> Result<QueueTerms, Error> {
        let (mut count_all, mut bytes_all) = lane.waiting();
        let (mut count_max, mut bytes_max) = (self.queue.count_max, self.queue.bytes_max);
        // Who may push others out is not told by how full the queue is: the machine decides.
        let may_push_out = self.queue.overflow == machine::Overflow::DropOldest || self.queue.newest_only || terms.newest_only;
        if may_push_out {
            (count_max, bytes_max) = (count_max.max(POSTED_COUNT), bytes_max.max(POSTED_BYTES));
        } else {
            let (count, bytes) = self.gauge.queued();
            (count_all, bytes_all) = (count_all + count, bytes_all + bytes);
        }
        // One message is always let into an empty queue.
        let fits = count_all == 0 || (count_all < count_max && bytes_all + bytes <= bytes_max);
        if fits { Ok(QueueTerms { is_admitted: !may_push_out, ..terms }) } else { Err(proto::Error::QueueFull.into()) }
    }
}
