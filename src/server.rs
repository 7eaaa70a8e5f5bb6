//! The broker, as a Rust caller sees it.

mod admin;
#[cfg(feature = "json")]
mod control;
mod posted;
mod reload;

#[cfg(feature = "json")]
pub use control::{changes_json, given_config, problems_json};
pub use reload::{Change, Listening};

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::base::{Duration, IdMap, Instant};
use crate::broker::{ClientSummary, Decision, HookToken, Hooks, Levels, LocalKey, Options, Shard, Stats};
use crate::codec::{Message, PAYLOAD_BYTES_MAX, Properties, Qos, Reason};
use crate::net::{self, Endpoint, Error, ListenerOptions, MioNet, Peers, Runtime, ServerKey, Worker};
use crate::route::{self, Router};

/// How long a call waits for the worker's answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// A broker on a runtime. Dropping it stops it without ceremony; [`Server::stop`] is the polite
/// way. Every method may be called from any thread; those that wait for an answer refuse to inside
/// a callback ([`Error::WouldDeadlock`]).
///
/// It has a shard on every worker of its runtime. A client lives on one of them; what its owner
/// publishes, subscribes and schedules is done by the first one, in order.
pub struct Server {
    /// Speaks to the first worker.
    runtime: Runtime,
    /// In the order of the workers, each with a handle that speaks to its worker.
    shards: Vec<(Runtime, ServerKey)>,
    router: Arc<RwLock<Router>>,
    /// A listener is one worker's, and the next one the next worker's.
    next_listener: AtomicUsize,
    /// It was told to stop: dropping it says no more.
    stopping: AtomicBool,
    posted: Arc<posted::Posted>,
    next_subscription: AtomicU64,
    subscriptions: Arc<Mutex<Subscriptions>>,
}

/// Names an in-process subscription of one server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Subscription(pub u64);

type Subscriptions = IdMap<u64, Subscribed>;

/// An in-process subscription that nobody has ended.
#[derive(Default)]
struct Subscribed {
    /// Once the worker has taken it in.
    key: Option<LocalKey>,
    /// Its end is posted.
    ending: bool,
}

/// A message to be published by the owner of the server.
#[derive(Clone, Copy, Default)]
#[allow(missing_docs)]
pub struct Publication<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: Qos,
    pub retain: bool,
    pub properties: Properties<'a>,
    pub expiry_s: Option<u32>,
}

impl Server {
    /// A broker that listens nowhere yet.
    ///
    /// # Errors
    /// `Invalid`: hooks, and more than one worker; see [`Server::with_hooks`]. Else as
    /// [`Runtime::request`].
    pub fn new(runtime: &Runtime, options: Options, hooks: Option<Box<dyn Hooks>>) -> Result<Self, Error> {
        if hooks.is_some() && runtime.workers() > 1 {
            return Err(Error::Invalid("hooks for one worker, and there are more".to_owned()));
        }
        let mut hooks = hooks;
        Self::with_hooks(runtime, options, |_| hooks.take())
    }

    /// As [`Server::new`], with hooks for each worker, by its number. Those of different workers are
    /// called at the same time, but in DISPATCH mode.
    ///
    /// # Errors
    /// As [`Runtime::request`].
    pub fn with_hooks(runtime: &Runtime, options: Options, mut make_hooks: impl FnMut(usize) -> Option<Box<dyn Hooks>>) -> Result<Self, Error> {
        let mut rng = runtime.rng();
        let posted = posted::Posted::new(&options, runtime.budget().clone());
        let router = Arc::new(RwLock::new(Router::new(router_options(&options), rng.fork())));
        let mut server = Self {
            runtime: runtime.at(0),
            shards: Vec::new(),
            router: router.clone(),
            next_listener: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            posted,
            next_subscription: AtomicU64::new(1),
            subscriptions: Arc::default(),
        };
        let count = runtime.workers();
        let peers = (count > 1).then(|| Peers::new(runtime.inboxes().iter().cloned()));
        let levels = Levels::default();
        for index in 0..count {
            let (options, router, budget, levels, peers) = (options.clone(), router.clone(), runtime.budget().clone(), levels.clone(), peers.clone());
            let (hooks, rng, runtime) = (make_hooks(index), rng.fork(), runtime.at(index));
            let number = index as u16;
            let key = runtime.request(ANSWER_WAIT, move |worker| {
                let make = |hooks| Shard::new(number, options, router, budget, rng, hooks).among(count as u16, &levels);
                let key = worker.add_server(hooks, make);
                if let Some(peers) = peers {
                    worker.join_peers(key, peers, number);
                }
                key
            })?;
            server.shards.push((runtime, key));
        }
        Ok(server)
    }

    /// The runtime it lives on.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Starts to listen; answers with the place in use (port 0 takes a free one).
    ///
    /// # Errors
    /// `Io`: the address is taken or not allowed; `Invalid`: a file of its layers cannot be used; else as
    /// [`Runtime::request`].
    pub fn add_listener(&self, options: ListenerOptions) -> Result<Endpoint, Error> {
        let recipe = net::listener_recipe(&options)?;
        let (runtime, key) = self.shard_for(&options)?;
        Ok(runtime.request(ANSWER_WAIT, move |worker| worker.add_listener(key, &options, recipe))??)
    }

    /// Other rules for whoever connects there from now on, with the files of its layers as they are now. False: it did
    /// not listen there.
    ///
    /// # Errors
    /// As [`Server::add_listener`]; then nothing has changed.
    pub fn change_listener(&self, endpoint: Endpoint, options: ListenerOptions) -> Result<bool, Error> {
        let recipe = net::listener_recipe(&options)?;
        self.some_worker(move |worker, key| worker.change_listener(key, &endpoint, &options, recipe.clone()))
    }

    /// Stops listening there; connections stay. False: it did not listen there.
    ///
    /// # Errors
    /// As [`Runtime::request`].
    pub fn remove_listener(&self, endpoint: Endpoint) -> Result<bool, Error> {
        self.some_worker(move |worker, key| worker.remove_listener(key, &endpoint))
    }

    /// Publishes to whoever subscribed, past hooks and access control. Posted: it happens soon.
    ///
    /// # Errors
    /// `Invalid`: not a topic name; `Client(QueueFull)`: `max_posted_messages` or `max_posted_bytes` wait already, or
    /// memory is used up.
    pub fn publish(&self, publication: &Publication<'_>) -> Result<(), Error> {
        let message = self.owned(publication)?;
        let place = self.posted.admit(message.bytes())?;
        self.post(move |shard, now| {
            drop(place);
            // A retained message without room is counted by the shard.
            let _ = shard.publish(now, &message.into_message(shard, now));
        });
        Ok(())
    }

    /// Sends to one client, whatever it subscribed to; queued while it is away.
    ///
    /// # Errors
    /// As [`Server::publish`].
    pub fn publish_to(&self, client_id: &str, publication: &Publication<'_>) -> Result<(), Error> {
        let message = self.owned(publication)?;
        let place = self.posted.admit(message.bytes() + client_id.len())?;
        let home = self.home_of(client_id);
        let client_id = client_id.to_owned();
        self.post_to(home, move |shard, now| {
            drop(place);
            shard.publish_to(now, &client_id, &message.into_message(shard, now));
        });
        Ok(())
    }

    /// Subscribes inside this process; `receive` runs where hooks do. Retained messages
    /// that match come first. Posted: what is published after this call is received.
    ///
    /// # Errors
    /// `Invalid`: not a topic filter; `Client(QueueFull)`: as many calls as `max_posted_messages` wait already.
    pub fn subscribe(&self, filter: &str, receive: impl FnMut(&Arc<Message>) + Send + 'static) -> Result<Subscription, Error> {
        if !crate::topic::is_valid_filter(filter) {
            return Err(Error::Invalid(format!("not a topic filter: {filter:?}")));
        }
        let place = self.posted.admit_order(filter.len())?;
        let id = self.next_subscription.fetch_add(1, Ordering::Relaxed);
        let (filter, keys) = (filter.to_owned(), self.subscriptions.clone());
        let (_, server) = self.shards[0];
        lock(&keys).insert(id, Subscribed::default());
        self.runtime.post(Box::new(move |worker| {
            drop(place);
            let receive = worker.receiver(server, Box::new(receive));
            let Some((shard, now)) = worker.shard(server) else { return };
            // The filter is legal; a router without room for it counts that (`subscriptions_refused`).
            let key = shard.subscribe_local(now, &filter, receive);
            let mut keys = lock(&keys);
            match key {
                Ok(key) => keys.entry(id).or_default().key = Some(key),
                Err(_) => drop(keys.remove(&id)),
            }
        }));
        Ok(Subscription(id))
    }

    /// Ends an in-process subscription. Posted, once for each: it is never refused.
    pub fn unsubscribe(&self, subscription: Subscription) {
        match lock(&self.subscriptions).get_mut(&subscription.0) {
            Some(subscribed) if !subscribed.ending => subscribed.ending = true,
            _ => return,
        }
        let keys = self.subscriptions.clone();
        self.post(move |shard, now| {
            let subscribed = lock(&keys).remove(&subscription.0);
            if let Some(key) = subscribed.and_then(|subscribed| subscribed.key) {
                shard.unsubscribe_local(now, key);
            }
        });
    }

    /// Closes a client's connection, and ends its session if wanted. Posted.
    ///
    /// # Errors
    /// `Client(QueueFull)`: as many calls as `max_posted_messages`, or as many bytes of them as `max_posted_bytes`, wait already.
    pub fn kick(&self, client_id: &str, reason: Reason, end_session: bool) -> Result<(), Error> {
        let place = self.posted.admit_order(client_id.len())?;
        let home = self.home_of(client_id);
        let client_id = client_id.to_owned();
        self.post_to(home, move |shard, now| {
            drop(place);
            shard.kick(now, &client_id, reason, end_session);
        });
        Ok(())
    }

    /// A hook's late answer. Posted; one that comes too late is counted.
    ///
    /// # Errors
    /// As [`Server::kick`]: the question is still open.
    pub fn complete(&self, token: HookToken, decision: Decision) -> Result<(), Error> {
        let shard = usize::from(token.shard());
        // Nobody of another number has asked.
        if shard < self.shards.len() {
            let place = self.posted.admit_order(decision.own_bytes())?;
            self.post_to(shard, move |shard, now| {
                drop(place);
                shard.complete(now, token, decision);
            });
        }
        Ok(())
    }

    /// Every client with a session.
    ///
    /// # Errors
    /// As [`Runtime::request`].
    pub fn clients(&self) -> Result<Vec<ClientSummary>, Error> {
        let lists = self.request_all(|shard, _| shard.clients().collect::<Vec<_>>())?;
        Ok(lists.into_iter().flatten().collect())
    }

    /// Counters and gauges.
    ///
    /// # Errors
    /// As [`Runtime::request`].
    pub fn stats(&self) -> Result<Stats, Error> {
        let mut all = self.request_all(|shard, _| shard.stats())?.into_iter();
        let mut stats = all.next().unwrap_or_default();
        all.for_each(|other| stats.add(&other));
        Ok(stats)
    }

    /// The statistics in Prometheus' text format, or as JSON.
    ///
    /// # Errors
    /// As [`Runtime::request`].
    pub fn metrics(&self, as_json: bool) -> Result<String, Error> {
        let write = if as_json { crate::service::metrics_json } else { crate::service::metrics_prometheus };
        Ok(write(&self.stats()?))
    }

    /// The options in force.
    ///
    /// # Errors
    /// As [`Runtime::request`].
    pub fn options(&self) -> Result<Options, Error> {
        self.request(|shard, _| shard.options().clone())
    }

    /// Takes new options; connections and sessions keep what they negotiated. The share strategy
    /// and the limits of the router and of the retained store stay as they were made.
    ///
    /// # Errors
    /// As [`Runtime::request`].
    pub fn reload(&self, options: Options) -> Result<(), Error> {
        self.request_all(move |shard, _| shard.set_options(options.clone())).map(drop)
    }

    /// Begins to stop: no new connections, DISCONNECT with `reason` to every client (5.0), at most
    /// `drain` for that to go out. `done` is called where hooks are when all is over.
    pub fn stop(&self, reason: Reason, drain: Duration, done: impl FnOnce() + Send + 'static) {
        self.stopping.store(true, Ordering::Relaxed);
        // The last of the workers calls it.
        let done = Arc::new(Mutex::new(Some(done)));
        let left = Arc::new(AtomicUsize::new(self.shards.len()));
        for (runtime, key) in &self.shards {
            let (key, done, left) = (*key, done.clone(), left.clone());
            let ended = move || {
                if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                    let done = lock(&done).take();
                    done.into_iter().for_each(|done| done());
                }
            };
            runtime.post(Box::new(move |worker| worker.stop_server(key, reason, drain, Box::new(ended))));
        }
    }

    /// Ends it at once, without a word to its clients, and waits for a callback that is running:
    /// afterwards hooks and subscribers are dropped. Inside a callback it is only posted.
    pub fn end(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        for (runtime, key) in &self.shards {
            let key = *key;
            if runtime.is_turning() {
                runtime.post(Box::new(move |worker| worker.remove_server(key)));
                continue;
            }
            // The only failure is a worker that has ended already, and its servers with it.
            let _ = runtime.request(Duration::MAX, move |worker| worker.remove_server(key));
            runtime.settle_server(key);
        }
    }

    /// As [`Server::stop`], and waits until it is over.
    ///
    /// # Errors
    /// `WouldDeadlock` inside a callback; `Timeout` after `drain` and a second more.
    pub fn stop_and_wait(&self, reason: Reason, drain: Duration) -> Result<(), Error> {
        if self.runtime.is_turning() {
            return Err(Error::WouldDeadlock);
        }
        let (answerer, asker) = net::ask();
        self.stop(reason, drain, move || answerer.answer(()));
        let grace = Duration::from_secs(1);
        self.runtime.wait_for(drain + grace, || asker.wait(Duration::ZERO) != net::Waited::Timeout, |left| asker.wait(left) != net::Waited::Timeout)
    }

    fn owned(&self, publication: &Publication<'_>) -> Result<OwnedPublication, Error> {
        if !crate::topic::is_valid_name(publication.topic) {
            return Err(Error::Invalid(format!("not a topic name: {:?}", publication.topic)));
        }
        if publication.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(crate::proto::Error::TooLarge.into());
        }
        Ok(OwnedPublication {
            topic: publication.topic.to_owned(),
            payload: publication.payload.to_vec(),
            qos: publication.qos,
            retain: publication.retain,
            properties: publication.properties.as_bytes().to_vec(),
            expiry_s: publication.expiry_s,
        })
    }

    /// On which worker a client lives.
    fn home_of(&self, client_id: &str) -> usize {
        match self.shards.len() {
            0 | 1 => 0,
            count => self.router.read().expect("router lock").home_of(client_id, count),
        }
    }

    /// Whose turn it is to listen, or to take a stream.
    fn next_shard(&self) -> (&Runtime, ServerKey) {
        let (runtime, key) = &self.shards[self.next_listener.fetch_add(1, Ordering::Relaxed) % self.shards.len()];
        (runtime, *key)
    }

    /// Where a listener goes: the next one, unless one worker still has the UDP socket of a listener that was there before, with those
    /// who have stayed.
    fn shard_for(&self, options: &ListenerOptions) -> Result<(&Runtime, ServerKey), Error> {
        #[cfg(feature = "datagram")]
        if let Endpoint::Udp(net::UdpPlace { address, .. }) = options.endpoint {
            for (runtime, key) in &self.shards {
                if runtime.request(ANSWER_WAIT, move |worker| worker.keeps_socket_at(address))? {
                    return Ok((runtime, *key));
                }
            }
        }
        let _ = options;
        Ok(self.next_shard())
    }

    fn post(&self, act: impl FnOnce(&mut Shard, Instant) + Send + 'static) {
        self.post_to(0, act);
    }

    fn post_to(&self, shard: usize, act: impl FnOnce(&mut Shard, Instant) + Send + 'static) {
        let (runtime, key) = &self.shards[shard];
        let key = *key;
        runtime.post(Box::new(move |worker: &mut Worker<MioNet>| {
            if let Some((shard, now)) = worker.shard(key) {
                act(shard, now);
            }
        }));
    }

    fn request<R: Send + 'static>(&self, ask: impl FnOnce(&mut Shard, Instant) -> R + Send + 'static) -> Result<R, Error> {
        self.request_of(0, ask)
    }

    fn request_of<R: Send + 'static>(&self, shard: usize, ask: impl FnOnce(&mut Shard, Instant) -> R + Send + 'static) -> Result<R, Error> {
        let (runtime, key) = &self.shards[shard];
        let (key, posted) = (*key, self.posted.clone());
        let answer = runtime.request(ANSWER_WAIT, move |worker| {
            let (shard, now) = worker.shard(key)?;
            shard.count_posts_refused(posted.take_refused());
            Some(ask(shard, now))
        })?;
        answer.ok_or(Error::Gone)
    }

    /// What every shard answers, one after the other.
    fn request_all<R: Send + 'static>(&self, ask: impl Fn(&mut Shard, Instant) -> R + Clone + Send + 'static) -> Result<Vec<R>, Error> {
        (0..self.shards.len()).map(|shard| self.request_of(shard, ask.clone())).collect()
    }

    /// Asks the workers one after the other until one says yes.
    fn some_worker(&self, ask: impl Fn(&mut Worker<MioNet>, ServerKey) -> bool + Clone + Send + 'static) -> Result<bool, Error> {
        for (runtime, key) in &self.shards {
            let (key, ask) = (*key, ask.clone());
            if runtime.request(ANSWER_WAIT, move |worker| ask(worker, key))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.stopping.load(Ordering::Relaxed) {
            self.stop(Reason::SERVER_SHUTTING_DOWN, Duration::ZERO, || {});
        }
    }
}

struct OwnedPublication {
    topic: String,
    payload: Vec<u8>,
    qos: Qos,
    retain: bool,
    properties: Vec<u8>,
    expiry_s: Option<u32>,
}

impl OwnedPublication {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.topic.len() + self.payload.len() + self.properties.len()
    }

    fn into_message(self, shard: &Shard, now: Instant) -> Arc<Message> {
        let properties = Properties::parse(crate::codec::Place::Publish, &self.properties).unwrap_or_default();
        let expires = self.expiry_s.map(|seconds| now + Duration::from_secs(u64::from(seconds)));
        Message::new(shard.budget(), &self.topic, &self.payload, self.qos, self.retain, properties, expires, 0, now)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn router_options(options: &Options) -> route::Options {
    route::Options {
        retained: route::RetainedLimits { count_max: options.max_retained_messages, bytes_max: options.max_retained_bytes },
        share_strategy: options.shared_subscription_strategy,
        filters_max: options.max_filters,
        subscriptions_max: options.max_subscriptions,
    }
}
