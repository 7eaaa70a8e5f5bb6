//! What the application asks for. A refused request has changed nothing; an accepted one has a
//! completion coming.

use std::sync::Arc;

use super::Client;
use super::connection::push_authentication;
use super::event::{AckHandle, Failure, Outcome, PublishRequest, QueueTerms, State, SubscribeRequest};
use super::event::{SubscriptionKey, Token};
use super::options::OfflineQos0;
use super::queue::Item;
use crate::base::Instant;
use crate::codec::{Auth, Message, PacketType, PropertyId, PropertyList, Qos, Reason};
use crate::codec::{RetainHandling, SubscribeOptions, Version};
use crate::proto::Error;
use crate::topic;

/// Subscribe and unsubscribe requests without an answer.
const REQUESTS_MAX: usize = 10_000;

impl Client {
    /// Queues a message. Completes with [`Event::Published`].
    pub fn publish(&mut self, now: Instant, token: Token, request: &PublishRequest<'_>) -> Result<(), Error> {
        request.check()?;
        self.publish_checked(now, token, request)
    }

    /// As [`Client::publish`], of what [`PublishRequest::check`] has found good.
    pub fn publish_checked(&mut self, now: Instant, token: Token, request: &PublishRequest<'_>) -> Result<(), Error> {
        if self.send_request(request) {
            self.publish_done(token, Outcome::Sent);
            return Ok(());
        }
        let message = request.checked_message(&self.budget, now);
        self.publish_own(now, token, message, request.terms)
    }

    /// Queues a message that was made of a request.
    pub fn publish_own(&mut self, now: Instant, token: Token, message: Arc<Message>, terms: QueueTerms) -> Result<(), Error> {
        if self.options.version != Version::V5 && !message.properties().is_empty() {
            return Err(Error::NotSupported("properties before MQTT 5"));
        }
        let (qos, retain) = (message.qos(), message.retain());
        self.publish_message(now, token, message, qos, retain, terms)
    }

    /// Queues a message that exists already: nothing is copied.
    pub fn publish_message(&mut self, now: Instant, token: Token, message: Arc<Message>, qos: Qos, retain: bool, terms: QueueTerms) -> Result<(), Error> {
        let item = self.item(now, token, message, (qos, retain), terms)?;
        if self.goes_at_once(&item) {
            if let Some(plan) = self.plan(&item.message, qos, retain, now) {
                self.send_item(item, plan, now);
                return Ok(());
            }
        }
        self.enqueue(now, item)
    }

    fn check_publish(&self, qos: Qos) -> Result<(), Error> {
        match self.state {
            State::Stopped | State::Stopping => Err(Error::NotRunning),
            State::Online => Ok(()),
            State::Waiting | State::Dialing | State::Connecting => {
                let refuse = self.options.offline_qos0 == OfflineQos0::Refuse && qos == Qos::AtMostOnce;
                if refuse { Err(Error::NotConnected) } else { Ok(()) }
            }
        }
    }

    /// What is known of a message from now on, if it may be published in this state.
    pub(super) fn item(&self, now: Instant, token: Token, message: Arc<Message>, (qos, retain): (Qos, bool), terms: QueueTerms) -> Result<Item, Error> {
        self.check_publish(qos)?;
        let age_max = self.options.queue.age_max;
        let too_old = (!age_max.is_zero()).then(|| now + age_max);
        Ok(Item {
            token: Some(token),
            expires: message.expires().into_iter().chain(too_old).min(),
            message,
            qos,
            retain,
            accepted: Reason::SUCCESS,
            priority: terms.priority,
            newest_only: terms.newest_only || self.options.queue.newest_only,
            is_admitted: terms.is_admitted,
        })
    }

    pub(super) fn enqueue(&mut self, now: Instant, item: Item) -> Result<(), Error> {
        // What is over must not stand in the way.
        self.expire_queue(now);
        let mut gone = Vec::new();
        self.queue.push(item, |item, failure| gone.push((item, failure)))?;
        gone.iter().for_each(|(item, failure)| self.publish_failed(item, *failure));
        self.note_level();
        Ok(())
    }

    /// Stores filters and subscribes to them, now or when connected, and again whenever the server
    /// has lost the session. Completes with [`Event::Subscribed`].
    pub fn subscribe(&mut self, token: Token, request: &SubscribeRequest<'_>) -> Result<Option<SubscriptionKey>, Error> {
        self.check_filters(request.filters.iter().map(|(filter, _)| *filter))?;
        for (filter, options) in request.filters {
            self.check_options(filter, options)?;
        }
        if !request.properties.is_empty() {
            let own = request.properties.iter().all(|(id, _)| id == PropertyId::UserProperty);
            if self.options.version != Version::V5 || !own {
                return Err(Error::OptionInvalid("properties"));
            }
        }
        let new = request.filters.iter().filter(|(filter, _)| !self.subscriptions.table.contains_key(*filter)).count();
        if new > 0 && self.subscriptions.len() + new > self.options.subscriptions_max {
            return Err(Error::QueueFull);
        }
        Ok(self.subscriptions.subscribe(token, request, &mut self.events))
    }

    fn check_options(&self, filter: &str, options: &SubscribeOptions) -> Result<(), Error> {
        let plain = SubscribeOptions { qos: options.qos, ..SubscribeOptions::default() };
        if self.options.version != Version::V5 && *options != plain {
            return Err(Error::NotSupported("subscribe options before MQTT 5"));
        }
        let shared = topic::split_share(filter).is_some();
        // [MQTT-3.8.3-4]
        if shared && options.no_local {
            return Err(Error::OptionInvalid("no_local with a shared subscription"));
        }
        debug_assert!(options.retain_handling as u8 <= RetainHandling::DoNotSend as u8);
        Ok(())
    }

    fn check_filters<'f>(&self, mut filters: impl ExactSizeIterator<Item = &'f str>) -> Result<(), Error> {
        if self.state == State::Stopping {
            return Err(Error::NotRunning);
        }
        if filters.len() == 0 || !filters.all(topic::is_valid_filter) {
            return Err(Error::FilterInvalid);
        }
        if self.subscriptions.requests() >= REQUESTS_MAX { Err(Error::QueueFull) } else { Ok(()) }
    }

    /// Forgets filters and unsubscribes from them. Completes with [`Event::Unsubscribed`].
    pub fn unsubscribe(&mut self, token: Token, filters: &[&str]) -> Result<(), Error> {
        self.check_filters(filters.iter().copied())?;
        self.subscriptions.unsubscribe(token, filters, &mut self.events);
        Ok(())
    }

    /// Completes a request with [`Failure::Cancelled`]. What is on its way already cannot be
    /// called back: its answer will be ignored.
    pub fn cancel(&mut self, token: Token) -> Result<(), Error> {
        if let Some(item) = self.queue.remove(token) {
            self.publish_failed(&item, Failure::Cancelled);
            self.note_level();
            return Ok(());
        }
        let found = self.sender.iter().find(|(_, item)| item.token == Some(token)).map(|(id, _)| id);
        if let Some(item) = found.and_then(|id| self.sender.get_mut(id)) {
            item.token = None;
            self.publish_done(token, Outcome::Failed(Failure::Cancelled));
            return Ok(());
        }
        if self.calls.is_open(token) {
            self.end_call(token, Err(Outcome::Failed(Failure::Cancelled)));
            return Ok(());
        }
        if self.subscriptions.cancel(token, &mut self.events) { Ok(()) } else { Err(Error::Unknown) }
    }

    /// Manual acknowledgement: PUBACK or PUBREC goes out when everything before it was answered.
    /// A `reason` of 0x80 or above refuses the message (MQTT 5; 3.x has no refusal).
    pub fn acknowledge(&mut self, handle: AckHandle, reason: Reason) -> Result<(), Error> {
        if !reason.is_valid_for(PacketType::PubAck) {
            return Err(Error::OptionInvalid("reason"));
        }
        let Some(connection) = &mut self.connection else { return Err(Error::Unknown) };
        if connection.number != handle.connection || !connection.acks.answer(handle.serial, reason) {
            return Err(Error::Unknown);
        }
        self.send_ready_acks();
        Ok(())
    }

    /// Answers [`Event::Auth`] with 0x18 (§4.12).
    pub fn authenticate(&mut self, data: &[u8]) -> Result<(), Error> {
        let Some(connection) = &mut self.connection else { return Err(Error::NotConnected) };
        if !core::mem::take(&mut connection.auth_expected) {
            return Err(Error::Unknown);
        }
        self.send_auth(Reason::CONTINUE_AUTHENTICATION, data)
    }

    /// Begins a re-authentication with the method of CONNECT (§4.12.1).
    pub fn reauthenticate(&mut self, data: &[u8]) -> Result<(), Error> {
        if self.options.authentication.is_none() {
            return Err(Error::NotSupported("no authentication method"));
        }
        let online = self.state == State::Online;
        let Some(connection) = self.connection.as_mut().filter(|_| online) else {
            return Err(Error::NotConnected);
        };
        if core::mem::replace(&mut connection.reauthenticating, true) {
            return Err(Error::Busy);
        }
        self.send_auth(Reason::REAUTHENTICATE, data)
    }

    fn send_auth(&mut self, reason: Reason, data: &[u8]) -> Result<(), Error> {
        if data.len() > usize::from(u16::MAX) {
            return Err(Error::TooLarge);
        }
        let Some(authentication) = &self.options.authentication else {
            return Err(Error::NotSupported("no authentication method"));
        };
        let mut properties = PropertyList::new();
        push_authentication(&mut properties, authentication, data);
        let version = self.options.version;
        Auth { reason, properties: properties.as_properties() }.encode(version, self.tail());
        Ok(())
    }
}
