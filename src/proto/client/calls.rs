//! Request and response (MQTT 5 §4.10): who waits for which response, and until when.
//!
//! ```text
//!   request ---> queued ---> sent ---> response with its Correlation Data ---> Responded(Ok)
//!                  |          |          |
//!                  +----------+----------+--> refused, no subscriber, cancelled, stopped, time over:
//!                                             Responded(Err)
//! ```
//! All requests of a client share one Response Topic, chosen with the first of them, and one
//! subscription to it, which stands in front of everything else that is to be subscribed. No
//! message overtakes it: while it has not been asked for, the queue rests. Correlation Data are
//! eight bytes drawn from the generator. A response that nobody waits for (any more) is counted and
//! told as [`Event::Dropped`]; it never reaches the handlers of messages, unless the application
//! has subscribed to that topic itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Client;
use super::event::{Event, Failure, Incoming, Outcome, QueueTerms, Token};
use crate::base::{Duration, IdMap, Instant};
use crate::codec::{Message, Place, PropertyId, PropertyList, Reason, Value, Version};
use crate::proto::Error;
use crate::topic;

#[derive(Debug, Default)]
pub(super) struct Calls {
    topic: Option<Arc<str>>,
    open: BTreeMap<Token, Call>,
    by_correlation: IdMap<u64, Token>,
    deadlines: BTreeSet<(Instant, Token)>,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    correlation: u64,
    deadline: Instant,
}

impl Calls {
    fn begin(&mut self, token: Token, call: Call) {
        self.open.insert(token, call);
        self.by_correlation.insert(call.correlation, token);
        self.deadlines.insert((call.deadline, token));
    }

    /// False: it is over already.
    fn end(&mut self, token: Token) -> bool {
        let Some(call) = self.open.remove(&token) else { return false };
        self.by_correlation.remove(&call.correlation);
        self.deadlines.remove(&(call.deadline, token));
        true
    }

    pub(super) fn is_open(&self, token: Token) -> bool {
        self.open.contains_key(&token)
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// The topic responses come to.
    pub(super) fn topic(&self) -> Option<&str> {
        self.topic.as_deref()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    fn overdue(&self, now: Instant) -> Option<Token> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, token)| *token)
    }

    /// Who waits for a response with these Correlation Data.
    pub(super) fn waiting_for(&self, correlation: Option<&[u8]>) -> Option<Token> {
        let number = u64::from_be_bytes(correlation?.try_into().ok()?);
        self.by_correlation.get(&number).copied()
    }
}

impl Client {
    /// Publishes a message and waits at most `timeout` for the response to it. Completes with
    /// [`Event::Responded`]. Response Topic and Correlation Data are the library's affair.
    pub fn request(&mut self, now: Instant, token: Token, message: &Message, terms: QueueTerms, timeout: Duration) -> Result<(), Error> {
        if self.options.version != Version::V5 {
            return Err(Error::NotSupported("requests before MQTT 5"));
        }
        if timeout.is_zero() {
            return Err(Error::OptionInvalid("a time-out of 0"));
        }
        let own = [PropertyId::ResponseTopic, PropertyId::CorrelationData];
        if own.into_iter().any(|id| message.properties().contains(id)) {
            return Err(Error::OptionInvalid("properties of a request"));
        }
        let response_topic = self.response_topic();
        let subscribes = !self.subscriptions.is_usable(&response_topic);
        let full = subscribes && self.subscriptions.len() >= self.options.subscriptions_max;
        if full || self.calls.len() >= self.options.requests_max {
            return Err(Error::QueueFull);
        }
        let mut correlation = self.rng.u64();
        while self.calls.by_correlation.contains_key(&correlation) {
            correlation = self.rng.u64();
        }
        let mut properties = PropertyList::new();
        properties.extend_filtered(message.properties(), |_| true);
        properties.push(PropertyId::ResponseTopic, Value::Utf8(&response_topic));
        properties.push(PropertyId::CorrelationData, Value::Binary(&correlation.to_be_bytes()));
        let (qos, retain) = (message.qos(), message.retain());
        let item = self.item(now, token, message.renamed(message.topic(), properties.as_properties()), (qos, retain), terms)?;
        // Not at once: the subscription is to be asked for before.
        self.enqueue(now, item)?;
        self.calls.begin(token, Call { correlation, deadline: now + timeout });
        if subscribes {
            self.subscriptions.subscribe_own(response_topic);
        }
        Ok(())
    }

    /// Given by the option, else below the server's Response Information (§3.2.2.3.15) if that is
    /// known by now, else of the library's own.
    fn response_topic(&mut self) -> Arc<str> {
        if let Some(topic) = &self.calls.topic {
            return topic.clone();
        }
        let own = format!("{:016x}", self.rng.u64());
        let below = self.response_information.as_deref().unwrap_or("response");
        let made = format!("{}/{own}", below.trim_end_matches('/'));
        let topic: Arc<str> = match self.options.response_topic.as_str() {
            "" if topic::is_valid_name(&made) => made.into(),
            "" => format!("response/{own}").into(),
            given => given.into(),
        };
        self.calls.topic = Some(topic.clone());
        topic
    }

    /// The publish of this token is done; of a request that is not the end, unless it failed.
    pub(super) fn publish_done(&mut self, token: Token, outcome: Outcome) {
        if !self.calls.is_open(token) {
            self.events.push_back(Event::Published { token, outcome });
            return;
        }
        let is_over = match outcome {
            Outcome::Sent => false,
            Outcome::Acknowledged(reason) => reason.is_error() || reason == Reason::NO_MATCHING_SUBSCRIBERS,
            Outcome::Failed(_) => true,
        };
        if is_over {
            self.end_call(token, Err(outcome));
        }
    }

    /// Completes a request. If its message is still under way, nobody waits for that any more.
    pub(super) fn end_call(&mut self, token: Token, response: Result<Arc<Incoming>, Outcome>) {
        if !self.calls.end(token) {
            return;
        }
        drop(self.queue.remove(token));
        let found = self.sender.iter().find(|(_, item)| item.token == Some(token)).map(|(id, _)| id);
        if let Some(item) = found.and_then(|id| self.sender.get_mut(id)) {
            item.token = None;
        }
        self.events.push_back(Event::Responded { token, response });
    }

    pub(super) fn fail_calls(&mut self, outcome: Outcome) {
        while let Some((token, _)) = self.calls.open.first_key_value() {
            self.end_call(*token, Err(outcome));
        }
    }

    /// Requests whose time is over.
    pub(super) fn expire_calls(&mut self, now: Instant) {
        while let Some(token) = self.calls.overdue(now) {
            self.statistics.requests_timed_out += 1;
            self.end_call(token, Err(Outcome::Failed(Failure::Unanswered)));
        }
    }

    /// The server does not let this client have its Response Topic: no response can come.
    pub(super) fn settle_refused_calls(&mut self) {
        if let Some(reason) = self.subscriptions.take_own_refusal() {
            self.fail_calls(Outcome::Acknowledged(reason));
        }
    }

    /// Requests without a response.
    pub fn requests_waiting(&self) -> usize {
        self.calls.len()
    }
}

/// Where the response to `request` goes (§4.10.1), and `properties` with its Correlation Data.
pub fn response_to<'m>(request: &'m Message, properties: &PropertyList) -> Result<(&'m str, PropertyList), Error> {
    let asked = request.properties();
    let response_topic = asked.utf8(PropertyId::ResponseTopic).filter(|name| topic::is_valid_name(name));
    let response_topic = response_topic.ok_or(Error::NotSupported("no response topic in the request"))?;
    let mut own = PropertyList::new();
    own.extend_filtered(properties.as_properties(), |id| id != PropertyId::CorrelationData);
    if let Some(correlation) = asked.binary(PropertyId::CorrelationData) {
        own.push(PropertyId::CorrelationData, Value::Binary(correlation));
    }
    let legal = own.validate(Place::Publish).is_ok();
    if legal { Ok((response_topic, own)) } else { Err(Error::OptionInvalid("properties")) }
}
