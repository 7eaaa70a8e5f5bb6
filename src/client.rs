//! The client, as a Rust caller sees it.
//!
//! Requests are posted to the worker; a token names each. A tracker knows which tokens are not
//! done, so that a caller can wait for one or for all, and calls a request's own completion.
//! A publish is refused at once when the queue has no room: what waits in the machine is read from
//! its gauge, what is on its way to the worker is counted here, so that neither grows without end.

mod diagnostics;
mod exchange;
mod receive;
mod tracker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::base::{Budget, Duration, Instant};
use crate::codec::{Message, Properties, PropertyList, Qos, Reason, SubscribeOptions};
use crate::net::{
    self, ClientGauge, ClientHandler, ClientKey, ClientTlsSettings, DialOptions, Error, MessageCallback, MessageIntake, Runtime, ServerAddress, WaySettings,
};
use crate::proto;
use crate::proto::client as machine;
use crate::stack::DatagramStatistics;
use bytes::Bytes;
use tracker::{Posted, Pulled, Reserved, Track, Tracker, Tracking, Wakes};

pub use crate::net::Credentials;
pub use diagnostics::{Diagnostics, LastDisconnect};
pub use machine::{
    AckHandle, Cause, Connected, Disconnected, Event, Failure, Incoming, Options, Outcome, QueueTerms, ReceiveOptions, State, Statistics, StopRequest, Token,
};

const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Beyond the drain, for the worker to come round.
const STOP_GRACE: Duration = Duration::from_millis(200);
/// Requests that are not done or not told yet, unless twice the queue is more: one more publish is refused.
const REQUESTS_MAX: usize = 65_536;
/// With a policy that pushes messages out, at least so much may be on its way to the worker, however small the queue is.
const POSTED_COUNT: usize = 256;
const POSTED_BYTES: usize = 1 << 20;
/// What a message holds in memory besides topic, properties and payload, about.
const MESSAGE_BYTES: usize = 128;

/// A client on a runtime. Every method may be called from any thread, callbacks included, and only
/// posts, unless it says that it waits. Dropping it stops it without ceremony.
pub struct Client {
    runtime: Runtime,
    key: ClientKey,
    next_token: AtomicU64,
    queue: machine::QueueOptions,
    receive: Option<ReceiveOptions>,
    has_method: bool,
    is_started: AtomicBool,
    gauge: Arc<ClientGauge>,
    posted: Arc<Posted>,
    tracker: Arc<Tracker>,
}

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
    /// What it will hold in memory, about.
    fn len_bytes(&self) -> usize {
        let payload = self.shared.as_ref().map_or(self.payload.len(), Bytes::len);
        self.topic.len() + payload + self.properties.as_bytes().len() + MESSAGE_BYTES
    }

    /// The same with everything borrowed, for the machine.
    fn as_request(&self) -> machine::PublishRequest<'_> {
        let Self { topic, payload, ref shared, qos, retain, properties, expiry_s, terms } = *self;
        machine::PublishRequest { topic, payload, shared: shared.as_ref(), qos, retain, properties, expiry_s, terms }
    }

    /// The message; not even a reference to a shared payload stays behind: who drops the last one releases it.
    fn message(self, budget: &Budget, now: Instant) -> Result<Arc<Message>, proto::Error> {
        self.as_request().message(budget, now)
    }
}

/// What a request asks for; its token tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum RequestKind {
    Publish = 0,
    Subscribe = 1,
    Unsubscribe = 2,
    Request = 3,
}

impl RequestKind {
    const BITS: u32 = 2;

    /// The kind of the request a token was given out for.
    pub fn of(token: Token) -> Self {
        match token.0 & ((1 << Self::BITS) - 1) {
            0 => Self::Publish,
            1 => Self::Subscribe,
            2 => Self::Unsubscribe,
            _ => Self::Request,
        }
    }
}

/// How a request ended.
#[derive(Clone, Debug)]
pub enum Completion {
    /// A publish is done.
    Published(Outcome),
    /// The response to a request came.
    Responded(Arc<Incoming>),
    /// There is no response to a request, and why; acknowledged: the server says that none can come.
    Unanswered(Outcome),
    /// A subscribe or unsubscribe is done; a reason for each filter.
    Answered(Outcome, Vec<Reason>),
    /// The machine refused it.
    Refused(proto::Error),
}

/// Called on the worker's thread when a request is done, before the handler hears of it.
pub type CompletionCallback = Box<dyn FnOnce(Token, &Completion) + Send>;

/// Numbers that can be read without asking the worker.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Levels {
    pub queued_count: usize,
    pub queued_bytes: usize,
    pub in_flight: usize,
    pub requests_waiting: usize,
    pub received_count: usize,
    pub received_bytes: usize,
}

/// What a client is made of besides its handler.
#[derive(Clone, Default)]
#[allow(missing_docs)]
pub struct ClientParts {
    /// Must have one priority per address.
    pub options: Options,
    pub servers: Vec<ServerAddress>,
    pub dial: DialOptions,
    pub tls: ClientTlsSettings,
    pub way: WaySettings,
    /// `Some`: messages without a callback of their own wait for [`Client::next_message`].
    pub receive: Option<ReceiveOptions>,
}

/// What MQTT's options mean for reliable UDP. Stock peers of the first generation speak MQTT 3.1.1: whoever wants 5.0 does not fall back to
/// it. And without a keep-alive of its own, it may not give up before MQTT's does.
#[cfg(feature = "rudp")]
fn of_options(mut way: WaySettings, version: crate::codec::Version, keep_alive_s: u16) -> Result<WaySettings, Error> {
    use crate::stack::rudp::Generation;
    way.rudp.mqtt_silence = Duration::from_millis(u64::from(keep_alive_s) * 1_500);
    if way.rudp.keep_alive == Duration::ZERO {
        way.rudp.idle_timeout = way.rudp.idle_timeout.max(way.rudp.mqtt_silence);
    }
    match way.rudp.generation {
        _ if version != crate::codec::Version::V5 => {}
        Generation::Neither => {}
        Generation::One => return Err(Error::Invalid("rudp_generation=1 is spoken with MQTT 3.1.1 only".to_owned())),
        Generation::Auto | Generation::Two => way.rudp.generation = Generation::Two,
    }
    Ok(way)
}

impl Client {
    /// A client that is not started yet.
    ///
    /// # Errors
    /// `Client`: an option cannot be used; else as [`Runtime::request`].
    pub fn new(runtime: &Runtime, parts: ClientParts, handler: Box<dyn ClientHandler>) -> Result<Self, Error> {
        let ClientParts { options, servers, dial, tls, way, receive } = parts;
        #[cfg(feature = "rudp")]
        let (version, keep_alive_s) = (options.version, options.keep_alive_s);
        let queue = options.queue;
        let has_method = options.authentication.is_some();
        let machine = machine::Client::new(options, runtime.budget().clone(), runtime.rng())?;
        #[cfg(feature = "rudp")]
        let way = of_options(way, version, keep_alive_s)?;
        let remotes = net::remotes(servers, &tls, &way)?;
        if dial.transport.is_some() && remotes.iter().any(|remote| remote.address.transport.underlay.is_datagrams()) {
            return Err(Error::Invalid("quic://, rudp:// and udp:// go over UDP, and a transport of the application is a stream".to_owned()));
        }
        if let Some(remote) = remotes.iter().find(|remote| !remote.is_literal()).filter(|_| !runtime.can_resolve() && dial.transport.is_none()) {
            let name = remote.dialled().0;
            return Err(Error::Invalid(format!("{name} is a name, and this runtime can look up none: it has no helper threads and no resolver")));
        }
        let tracker = Arc::new(Tracker::default());
        let gauge = Arc::new(ClientGauge::default());
        let intake = receive.map(|options| Box::new(Pulled { tracker: tracker.clone(), options }) as Box<dyn MessageIntake>);
        let handler = Box::new(Tracking::new(tracker.clone(), handler));
        let hosted = gauge.clone();
        let runtime = runtime.at_next();
        let key = runtime.request(ANSWER_WAIT, move |worker| worker.add_client(machine, remotes, dial, hosted, intake, handler))?;
        Ok(Self {
            runtime,
            key,
            next_token: AtomicU64::new(1),
            queue,
            receive,
            has_method,
            is_started: AtomicBool::new(false),
            gauge,
            posted: Arc::new(Posted::default()),
            tracker,
        })
    }

    /// The runtime it lives on; the handle speaks to its worker.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Connects, and connects again whenever the connection is lost, until it is stopped.
    pub fn start(&self) {
        self.is_started.store(true, Ordering::SeqCst);
        // Refused only if it runs already.
        self.order(|client, now| {
            let _ = client.start(now);
        });
    }

    /// Starts or stops. Until the worker has done it, what is known of the state is of before.
    fn order(&self, act: impl FnOnce(&mut machine::Client, Instant) + Send + 'static) {
        let (tracker, gauge, key) = (self.tracker.clone(), self.gauge.clone(), self.key);
        tracker.lock().orders += 1;
        self.runtime.post(Box::new(move |worker| {
            // The machine may have stopped before its good-bye has arrived: what it is to everybody else counts.
            let state = worker.with_client(key, act).map(|()| gauge.state());
            // After the events of it have been told.
            worker.tell_of_client(
                key,
                Box::new(move || {
                    tracker.change(|track| {
                        track.orders -= 1;
                        track.is_stopped = state.is_none_or(|state| state == State::Stopped);
                    });
                }),
            );
        }));
    }

    /// Tries now instead of at the end of the back-off.
    pub fn reconnect_now(&self) {
        self.post(|client, now| client.reconnect_now(now));
    }

    /// Begins to stop; [`Event::StateChanged`] tells when it is over.
    pub fn stop(&self, request: StopRequest) {
        self.is_started.store(false, Ordering::SeqCst);
        self.order(move |client, now| client.stop(now, request));
    }

    /// As [`Client::stop`], and waits until it is over: for as long as it may drain, and a little
    /// more for the end itself.
    ///
    /// # Errors
    /// `WouldDeadlock` inside a callback: then it only begins. `Timeout`: the worker is busy with
    /// something else; it will stop.
    pub fn stop_and_wait(&self, request: StopRequest) -> Result<(), Error> {
        self.stop(request);
        self.wait_until(request.drain + STOP_GRACE, Track::has_stopped)
    }

    /// Waits until a session with a server is there.
    ///
    /// # Errors
    /// `Timeout`; `Gone` when it was stopped or has given up; `Client`: it was not started;
    /// `WouldDeadlock` inside a callback.
    pub fn wait_connected(&self, wait_max: Duration) -> Result<(), Error> {
        if !self.is_started.load(Ordering::SeqCst) {
            return Err(proto::Error::NotRunning.into());
        }
        self.wait_until(wait_max, |track| track.is_online || track.has_stopped())?;
        if self.tracker.lock().is_online { Ok(()) } else { Err(Error::Gone) }
    }

    /// Waits until every request made so far, and every one made meanwhile, is done.
    ///
    /// # Errors
    /// `Timeout`; `WouldDeadlock` inside a callback.
    pub fn flush(&self, wait_max: Duration) -> Result<(), Error> {
        self.wait_for(wait_max, Wakes::AllDone, |track| track.pending.is_empty())
    }

    /// Waits until a request is done. `None`: it succeeded, or its failure was pushed out of
    /// memory by the next 1,024.
    ///
    /// # Errors
    /// `Timeout`; `Invalid`: no such token was given out; `WouldDeadlock` inside a callback.
    pub fn wait(&self, token: Token, wait_max: Duration) -> Result<Option<Completion>, Error> {
        let number = token.0 >> RequestKind::BITS;
        if number == 0 || number >= self.next_token.load(Ordering::Relaxed) {
            return Err(Error::Invalid("no such token".to_owned()));
        }
        self.wait_until(wait_max, |track| !track.pending.contains_key(&token.0))?;
        let track = self.tracker.lock();
        let failed = track.failures.iter().find(|(failed, _)| *failed == token);
        Ok(failed.map(|(_, completion)| completion.clone()))
    }

    /// Publishes; the token's completion tells when it is done (QoS 0: sent; QoS 1 and 2:
    /// acknowledged).
    ///
    /// # Errors
    /// `Client`: topic or size cannot be sent at all, the queue is full, the client is stopped.
    /// Nothing was queued, no completion follows.
    pub fn publish(&self, publish: Publish<'_>, done: Option<CompletionCallback>) -> Result<Token, Error> {
        let terms = publish.terms;
        let (posted, terms) = self.reserve(publish.len_bytes(), terms)?;
        // Made here: what crosses to the worker is one reference.
        let message = publish.message(self.runtime.budget(), self.runtime.now())?;
        self.post_message(posted, RequestKind::Publish, done, move |client, now, token| client.publish_own(now, token, message, terms))
    }

    /// Publishes a message that exists already: nothing is copied.
    ///
    /// # Errors
    /// As [`Client::publish`].
    pub fn publish_message(&self, message: Arc<Message>, qos: Qos, retain: bool, done: Option<CompletionCallback>) -> Result<Token, Error> {
        let (posted, terms) = self.reserve(message.len_bytes(), QueueTerms::default())?;
        self.post_message(posted, RequestKind::Publish, done, move |client, now, token| client.publish_message(now, token, message, qos, retain, terms))
    }

    /// Has `act` hand to the machine what there is a place for.
    fn post_message(
        &self,
        posted: Reserved,
        kind: RequestKind,
        done: Option<CompletionCallback>,
        act: impl FnOnce(&mut machine::Client, Instant, Token) -> Result<(), proto::Error> + Send + 'static,
    ) -> Result<Token, Error> {
        // What is over, but not told yet (DISPATCH mode), holds memory, too: its message until then.
        let untold_max = REQUESTS_MAX.max(self.queue.count_max.saturating_mul(2));
        let token = self.next_token(kind);
        if !self.tracker.begin(token, done, untold_max) {
            return Err(proto::Error::QueueFull.into());
        }
        let gauge = self.gauge.clone();
        self.ask(token, move |client, now| {
            let result = act(client, now, token);
            posted.arrived(&gauge, client);
            result
        });
        Ok(token)
    }

    /// Subscribes, now and after every reconnect; [`Event::Subscribed`] carries the token and the
    /// result per filter. Messages go to `callback` if there is one, else to the handler.
    ///
    /// # Errors
    /// `Client`: a filter is not legal, or there is none.
    pub fn subscribe(
        &self,
        filters: &[(&str, SubscribeOptions)],
        properties: &PropertyList,
        callback: Option<MessageCallback>,
        done: Option<CompletionCallback>,
    ) -> Result<Token, Error> {
        if filters.is_empty() || !filters.iter().all(|(filter, _)| crate::topic::is_valid_filter(filter)) {
            return Err(proto::Error::FilterInvalid.into());
        }
        let token = self.token(RequestKind::Subscribe, done);
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
    pub fn unsubscribe(&self, filters: &[&str], done: Option<CompletionCallback>) -> Result<Token, Error> {
        if filters.is_empty() || !filters.iter().all(|filter| crate::topic::is_valid_filter(filter)) {
            return Err(proto::Error::FilterInvalid.into());
        }
        let token = self.token(RequestKind::Unsubscribe, done);
        let filters: Vec<String> = filters.iter().map(|&filter| filter.to_owned()).collect();
        self.ask(token, move |client, _| {
            let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
            client.unsubscribe(token, &filters)
        });
        Ok(token)
    }

    /// Gives a request up; its completion says so, unless it is done already.
    pub fn cancel(&self, token: Token) {
        self.post(move |client, _| client.cancel(token));
    }

    /// Acknowledges a message (manual acknowledgement only).
    pub fn acknowledge(&self, handle: AckHandle, reason: Reason) {
        self.post(move |client, _| client.acknowledge(handle, reason));
    }

    /// Answers the server's AUTH (MQTT 5 §4.12). Without effect if the server did not ask.
    ///
    /// # Errors
    /// `Client`: the options name no method.
    pub fn authenticate(&self, data: &[u8]) -> Result<(), Error> {
        self.check_method()?;
        let data = data.to_vec();
        self.post(move |client, _| client.authenticate(&data));
        Ok(())
    }

    /// Begins to authenticate again (MQTT 5 §4.12.1). Without effect without a connection.
    ///
    /// # Errors
    /// `Client`: the options name no method.
    pub fn reauthenticate(&self, data: &[u8]) -> Result<(), Error> {
        self.check_method()?;
        let data = data.to_vec();
        self.post(move |client, _| client.reauthenticate(&data));
        Ok(())
    }

    /// AUTH needs the method CONNECT named (MQTT-4.12.0-6).
    fn check_method(&self) -> Result<(), Error> {
        let missing = proto::Error::NotSupported("no authentication method in the options");
        if self.has_method { Ok(()) } else { Err(missing.into()) }
    }

    /// Where it stands, or stood a moment ago.
    pub fn state(&self) -> State {
        self.gauge.state()
    }

    /// What it holds, or held a moment ago; what is on its way to the worker counts as queued.
    pub fn levels(&self) -> Levels {
        let (count, bytes) = self.gauge.queued();
        let (received_count, received_bytes) = self.tracker.lock().received();
        Levels {
            queued_count: count + self.posted.count.load(Ordering::Relaxed),
            queued_bytes: bytes + self.posted.bytes.load(Ordering::Relaxed),
            in_flight: self.gauge.in_flight(),
            requests_waiting: self.gauge.requests_waiting(),
            received_count,
            received_bytes,
        }
    }

    /// What happened on the connection there is, up to a second ago; `None`: there is none, or not over datagrams.
    pub fn datagram_statistics(&self) -> Option<DatagramStatistics> {
        self.gauge.datagrams()
    }

    /// Counters, as they were a moment ago.
    pub fn statistics(&self) -> Statistics {
        self.gauge.statistics()
    }

    /// Stops, forgets the client, and waits until its handler was called for the last time.
    ///
    /// # Errors
    /// `WouldDeadlock` inside a callback (then it is only posted); `Timeout`.
    pub fn close(&self, request: StopRequest, wait_max: Duration) -> Result<(), Error> {
        let (answerer, asker) = net::ask();
        let key = self.key;
        if self.runtime.is_turning() {
            self.gauge.close();
        }
        self.runtime.post(Box::new(move |worker| {
            worker.remove_client(key, request, Box::new(move || answerer.answer(())));
        }));
        if self.runtime.is_turning() {
            return Err(Error::WouldDeadlock);
        }
        // The worker calls nobody in DISPATCH mode: it is not waited for by dispatching.
        let result = match self.runtime.mode() {
            net::Mode::Dispatch if asker.wait(wait_max) == net::Waited::Timeout => Err(Error::Timeout),
            net::Mode::Dispatch => Ok(()),
            _ => self.runtime.wait_for(wait_max, || asker.wait(Duration::ZERO) != net::Waited::Timeout, |left| asker.wait(left) != net::Waited::Timeout),
        };
        self.runtime.settle_client(key);
        result
    }

    fn next_token(&self, kind: RequestKind) -> Token {
        Token(self.next_token.fetch_add(1, Ordering::Relaxed) << RequestKind::BITS | kind as u64)
    }

    fn token(&self, kind: RequestKind, done: Option<CompletionCallback>) -> Token {
        let token = self.next_token(kind);
        self.tracker.begin(token, done, usize::MAX);
        token
    }

    /// Room for one more message on its way to the worker.
    fn reserve(&self, bytes: usize, terms: QueueTerms) -> Result<(Reserved, QueueTerms), Error> {
        if !self.is_started.load(Ordering::SeqCst) {
            return Err(proto::Error::NotRunning.into());
        }
        if self.runtime.budget().is_exhausted() {
            return Err(proto::Error::QueueFull.into());
        }
        let arrivals = self.posted.hold_arrivals();
        let posted = Reserved::new(&self.posted, bytes);
        let (mut count_all, mut bytes_all) = (self.posted.count.load(Ordering::SeqCst), self.posted.bytes.load(Ordering::SeqCst));
        let (mut count_max, mut bytes_max) = (self.queue.count_max, self.queue.bytes_max);
        // Who may push others out is not told by how full the queue is: the machine decides.
        let may_push_out = self.queue.overflow == machine::Overflow::DropOldest || self.queue.newest_only || terms.newest_only;
        if may_push_out {
            (count_max, bytes_max) = (count_max.max(POSTED_COUNT), bytes_max.max(POSTED_BYTES));
        } else {
            let (count, bytes) = self.gauge.queued();
            (count_all, bytes_all) = (count_all + count, bytes_all + bytes);
        }
        drop(arrivals);
        // One message is always let into an empty queue.
        let fits = count_all <= count_max && bytes_all <= bytes_max;
        let terms = QueueTerms { is_admitted: !may_push_out, ..terms };
        if fits || count_all <= 1 { Ok((posted, terms)) } else { Err(proto::Error::QueueFull.into()) }
    }

    fn wait_until(&self, wait_max: Duration, is_done: impl Fn(&Track) -> bool) -> Result<(), Error> {
        self.wait_for(wait_max, Wakes::Each, is_done)
    }

    fn wait_for(&self, wait_max: Duration, wakes: Wakes, is_done: impl Fn(&Track) -> bool) -> Result<(), Error> {
        if self.runtime.is_turning() {
            return Err(Error::WouldDeadlock);
        }
        let tracker = &self.tracker;
        let over = |track: &Track| track.is_closed || is_done(track);
        self.runtime.wait_for(wait_max, || over(&tracker.lock()), |left| tracker.sleep(left, wakes, over))
    }

    fn post<R>(&self, act: impl FnOnce(&mut machine::Client, Instant) -> R + Send + 'static) {
        let key = self.key;
        self.runtime.post(Box::new(move |worker| {
            worker.with_client(key, act);
        }));
    }

    fn ask(&self, token: Token, act: impl FnOnce(&mut machine::Client, Instant) -> Result<(), proto::Error> + Send + 'static) {
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
