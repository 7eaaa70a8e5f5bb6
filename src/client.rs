//! The client, as a Rust caller sees it.
//!
//! What it is asked for goes to the worker through its lane, in order; a token names each request. A
//! tracker knows which tokens are not done, so that a caller can wait for one or for all, and calls a
//! request's own completion.

mod diagnostics;
mod exchange;
mod lane;
mod publish;
mod receive;
mod tracker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::{Duration, Instant};
use crate::codec::{PropertyList, Reason, SubscribeOptions};
use crate::net::{
    self, ClientGauge, ClientHandler, ClientKey, ClientTlsSettings, Command, DialOptions, Error, MessageCallback, MessageIntake, MioNet, Runtime,
    ServerAddress, WaySettings,
};
use crate::proto;
use crate::proto::client as machine;
use crate::stack::DatagramStatistics;
use lane::Announcement;
use tracker::{Pulled, Track, Tracker, Tracking, Wakes};

pub use crate::net::Credentials;
pub use diagnostics::{Diagnostics, LastDisconnect};
pub use machine::{
    AckHandle, Cause, Connected, Disconnected, Event, Failure, Incoming, Options, Outcome, QueueTerms, ReceiveOptions, State, Statistics, StopRequest, Token,
};
pub use publish::Publish;

const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Beyond the drain, for the worker to come round.
const STOP_GRACE: Duration = Duration::from_millis(200);

/// A client on a runtime. Every method may be called from any thread, callbacks included, and only
/// posts, unless it says that it waits. Dropping it stops it without ceremony.
pub struct Client {
    runtime: Runtime,
    key: ClientKey,
    queue: machine::QueueOptions,
    receive: Option<ReceiveOptions>,
    has_method: bool,
    is_started: AtomicBool,
    gauge: Arc<ClientGauge>,
    tracker: Arc<Tracker>,
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

    /// The token of the request of this kind with this number.
    fn token(self, number: u64) -> Token {
        Token(number << Self::BITS | self as u64)
    }

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
        Ok(Self { runtime, key, queue, receive, has_method, is_started: AtomicBool::new(false), gauge, tracker })
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
        self.post(Box::new(move |worker| {
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
        self.post_act(|client, now| client.reconnect_now(now));
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
        if number == 0 || number > self.tracker.lock().token_last {
            return Err(Error::Invalid("no such token".to_owned()));
        }
        self.wait_until(wait_max, |track| !track.pending.contains_key(&token.0))?;
        let track = self.tracker.lock();
        let failed = track.failures.iter().find(|(failed, _)| *failed == token);
        Ok(failed.map(|(_, completion)| completion.clone()))
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
        self.post(Box::new(move |worker| {
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
        let key = self.key;
        self.post(Box::new(move |worker| {
            let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
            worker.request_of_client(key, token, |client, _| client.unsubscribe(token, &filters));
        }));
        Ok(token)
    }

    /// Gives a request up; its completion says so, unless it is done already.
    pub fn cancel(&self, token: Token) {
        self.post_act(move |client, _| client.cancel(token));
    }

    /// Acknowledges a message (manual acknowledgement only).
    pub fn acknowledge(&self, handle: AckHandle, reason: Reason) {
        self.post_act(move |client, _| client.acknowledge(handle, reason));
    }

    /// Answers the server's AUTH (MQTT 5 §4.12). Without effect if the server did not ask.
    ///
    /// # Errors
    /// `Client`: the options name no method.
    pub fn authenticate(&self, data: &[u8]) -> Result<(), Error> {
        self.check_method()?;
        let data = data.to_vec();
        self.post_act(move |client, _| client.authenticate(&data));
        Ok(())
    }

    /// Begins to authenticate again (MQTT 5 §4.12.1). Without effect without a connection.
    ///
    /// # Errors
    /// `Client`: the options name no method.
    pub fn reauthenticate(&self, data: &[u8]) -> Result<(), Error> {
        self.check_method()?;
        let data = data.to_vec();
        self.post_act(move |client, _| client.reauthenticate(&data));
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
        let track = self.tracker.lock();
        let (count, bytes) = self.gauge.queued();
        let (posted_count, posted_bytes) = track.lane.waiting();
        let (received_count, received_bytes) = track.received();
        Levels {
            queued_count: count + posted_count,
            queued_bytes: bytes + posted_bytes,
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
        self.post(Box::new(move |worker| {
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

    fn token(&self, kind: RequestKind, done: Option<CompletionCallback>) -> Token {
        self.tracker.begin(&mut self.tracker.lock(), kind, done)
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

    fn post_act<R>(&self, act: impl FnOnce(&mut machine::Client, Instant) -> R + Send + 'static) {
        let key = self.key;
        self.post(Box::new(move |worker| {
            worker.with_client(key, act);
        }));
    }

    /// Has the worker do something, after everything that was asked for before.
    fn post(&self, command: Command<MioNet>) {
        let is_first = self.tracker.lock().lane.put_command(command, self.runtime.budget());
        if is_first {
            self.announce();
        }
    }

    /// Tells the worker that something waits in the lane.
    fn announce(&self) {
        let (key, announcement) = (self.key, Announcement::new(self.tracker.clone(), self.gauge.clone()));
        self.runtime.post(Box::new(move |worker| announcement.hear(worker, key)));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let key = self.key;
        self.post(Box::new(move |worker| worker.remove_client(key, StopRequest::default(), Box::new(|| {}))));
    }
}
