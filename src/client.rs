//! The client, as a Rust caller sees it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use crate::base::{Duration, Instant};
use crate::codec::{Properties, PropertyList, Qos, Reason, SubscribeOptions};
use crate::net::{
    ClientHandler, ClientKey, DialOptions, Error, MessageCallback, Runtime, ServerAddress,
};
use crate::proto::client as machine;

pub use crate::net::Credentials;
pub use machine::{
    AckHandle, Cause, Connected, Disconnected, Event, Failure, Incoming, Options, Outcome, State,
    Statistics, StopRequest, Token,
};

const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// A client on a runtime. Every method may be called from any thread, callbacks included, and only
/// posts, unless it says that it waits. Dropping it stops it without ceremony.
pub struct Client {
    runtime: Runtime,
    key: ClientKey,
    next_token: AtomicU64,
}

/// A message to publish. Everything is copied.
#[derive(Clone, Copy, Default)]
#[allow(missing_docs)]
pub struct Publish<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: Qos,
    pub retain: bool,
    pub properties: Properties<'a>,
    pub expiry_s: Option<u32>,
}

impl Client {
    /// A client that is not started yet. `options.servers` must have one priority per address.
    ///
    /// # Errors
    /// `Client`: an option cannot be used; else as [`Runtime::request`].
    pub fn new(runtime: &Runtime, options: Options, servers: Vec<ServerAddress>, dial: DialOptions, handler: Box<dyn ClientHandler>) -> Result<Self, Error> {
        let machine = machine::Client::new(options, runtime.budget().clone(), runtime.rng())?;
        let key = runtime.request(ANSWER_WAIT, move |worker| worker.add_client(machine, servers, dial, handler))?;
        Ok(Self { runtime: runtime.clone(), key, next_token: AtomicU64::new(1) })
    }

    /// The runtime it lives on.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn token(&self) -> Token {
        Token(self.next_token.fetch_add(1, Ordering::Relaxed))
    }

    /// Connects, and connects again whenever the connection is lost, until it is stopped.
    pub fn start(&self) {
        self.post(|client, now| client.start(now));
    }

    /// Tries now instead of at the end of the back-off.
    pub fn reconnect_now(&self) {
        self.post(|client, now| client.reconnect_now(now));
    }

    /// Begins to stop; [`Event::StateChanged`] tells when it is over.
    pub fn stop(&self, request: StopRequest) {
        self.post(move |client, now| client.stop(now, request));
    }

    /// Publishes; [`Event::Published`] carries the token when it is done (QoS 0: sent; QoS 1 and
    /// 2: acknowledged), `refused` if it could not even be queued.
    ///
    /// # Errors
    /// `Client`: topic or size cannot be sent at all; nothing was queued, no event follows.
    pub fn publish(&self, publish: &Publish<'_>) -> Result<Token, Error> {
        if !crate::topic::is_valid_name(publish.topic) {
            return Err(crate::proto::Error::TopicInvalid.into());
        }
        let token = self.token();
        let topic: Box<str> = publish.topic.into();
        let payload: Box<[u8]> = publish.payload.into();
        let properties: Box<[u8]> = publish.properties.as_bytes().into();
        let (qos, retain, expiry_s) = (publish.qos, publish.retain, publish.expiry_s);
        self.request(token, move |client, now| {
            let properties = Properties::parse(crate::codec::Place::Publish, &properties).unwrap_or_default();
            client.publish(now, token, &machine::PublishRequest { topic: &topic, payload: &payload, qos, retain, properties, expiry_s })
        });
        Ok(token)
    }

    /// Subscribes, now and after every reconnect; [`Event::Subscribed`] carries the token and the
    /// result per filter. Messages go to `callback` if there is one, else to the handler.
    ///
    /// # Errors
    /// `Client`: a filter is not legal, or there is none.
    pub fn subscribe(&self, filters: &[(&str, SubscribeOptions)], properties: &PropertyList, callback: Option<MessageCallback>) -> Result<Token, Error> {
        if filters.is_empty() || !filters.iter().all(|(filter, _)| crate::topic::is_valid_filter(filter)) {
            return Err(crate::proto::Error::FilterInvalid.into());
        }
        let token = self.token();
        let filters: Vec<(String, SubscribeOptions)> = filters.iter().map(|(filter, options)| ((*filter).to_owned(), *options)).collect();
        let (key, properties) = (self.key, properties.clone());
        self.runtime.post(Box::new(move |worker| {
            let filters: Vec<_> = filters.iter().map(|(filter, options)| (filter.as_str(), *options)).collect();
            let request = machine::SubscribeRequest { filters: &filters, handler: callback.is_some(), properties: properties.as_properties() };
            worker.subscribe_client(key, token, &request, callback);
        }));
        Ok(token)
    }

    /// Unsubscribes; [`Event::Unsubscribed`] carries the token.
    ///
    /// # Errors
    /// `Client`: a filter is not legal, or there is none.
    pub fn unsubscribe(&self, filters: &[&str]) -> Result<Token, Error> {
        if filters.is_empty() || !filters.iter().all(|filter| crate::topic::is_valid_filter(filter)) {
            return Err(crate::proto::Error::FilterInvalid.into());
        }
        let token = self.token();
        let filters: Vec<String> = filters.iter().map(|&filter| filter.to_owned()).collect();
        self.request(token, move |client, now| {
            let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
            client.unsubscribe(now, token, &filters, Properties::EMPTY)
        });
        Ok(token)
    }

    /// Gives a request up; its completion says so, unless it is done already.
    pub fn cancel(&self, token: Token) {
        self.post(move |client, now| client.cancel(now, token));
    }

    /// Acknowledges a message (manual acknowledgement only).
    pub fn acknowledge(&self, handle: AckHandle, reason: Reason) {
        self.post(move |client, now| client.acknowledge(now, handle, reason));
    }

    /// Answers the server's AUTH, or begins to authenticate again (MQTT 5 §4.12).
    pub fn authenticate(&self, reason: Reason, data: &[u8]) {
        let data = data.to_vec();
        self.post(move |client, now| client.authenticate(now, reason, &data));
    }

    /// Where the machine stands. Waits.
    ///
    /// # Errors
    /// As [`Runtime::request`].
    pub fn state(&self) -> Result<State, Error> {
        let key = self.key;
        let state = self.runtime.request(ANSWER_WAIT, move |worker| worker.with_client(key, |client, _| client.state()))?;
        state.ok_or(Error::Gone)
    }

    /// Counters. Waits.
    ///
    /// # Errors
    /// As [`Runtime::request`].
    pub fn statistics(&self) -> Result<Statistics, Error> {
        let key = self.key;
        let answer = self.runtime.request(ANSWER_WAIT, move |worker| worker.with_client(key, |client, _| client.statistics()))?;
        answer.ok_or(Error::Gone)
    }

    /// Stops, forgets the client, and waits until its handler was called for the last time.
    ///
    /// # Errors
    /// `WouldDeadlock` inside a callback (then it is only posted); `Timeout`.
    pub fn close(&self, request: StopRequest, wait_max: Duration) -> Result<(), Error> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let key = self.key;
        self.runtime.post(Box::new(move |worker| {
            worker.remove_client(key, request, Box::new(move || {
                let _ = sender.send(());
            }));
        }));
        if self.runtime.is_turning() {
            return Err(Error::WouldDeadlock);
        }
        self.runtime.wait_for(wait_max, || receiver.try_recv().is_ok(), |left| receiver.recv_timeout(left).is_ok())
    }

    fn post<R>(&self, act: impl FnOnce(&mut machine::Client, Instant) -> R + Send + 'static) {
        let key = self.key;
        self.runtime.post(Box::new(move |worker| {
            worker.with_client(key, act);
        }));
    }

    fn request(&self, token: Token, act: impl FnOnce(&mut machine::Client, Instant) -> Result<(), crate::proto::Error> + Send + 'static) {
        let key = self.key;
        self.runtime.post(Box::new(move |worker| worker.request_of_client(key, token, act)));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let key = self.key;
        self.runtime.post(Box::new(move |worker| worker.remove_client(key, StopRequest::default(), Box::new(|| {}))));
    }
}
