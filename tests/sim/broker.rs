//! The broker's host: its workers with one server on all of them, hooks that feed the model, and answers that come
//! later.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use nlmqtt::base::{Budget, Duration, Instant, Rng};
use nlmqtt::broker::{Answer, ClientInfo, Decision, HookToken, Hooks, Interest, Levels, Options, PublishInfo, Rules, Shard, Stats};
use nlmqtt::codec::{self, PropertyId, Qos, Reason, SubscribeOptions};
use nlmqtt::net::{Endpoint, ListenerOptions, Peers, ServerKey, Worker};
use nlmqtt::route::{Options as RouterOptions, Router, ShareStrategy};
use nlmqtt::stack::ws::Accept;
use nlmqtt::stack::{Place, Recipe};

use crate::faults::Faults;
use crate::model::{Connect, Model, Publication, Will};
use crate::net::SimNet;
use crate::trace::{Trace, trace};
use crate::world::World;

/// The model, shared with hooks and applications: they are `Send`.
pub type SharedModel = Arc<Mutex<Model>>;

pub fn lock(model: &SharedModel) -> MutexGuard<'_, Model> {
    model.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

pub const BROKER_NAME: &str = "broker";
pub const BROKER_PORT: u16 = 1883;
/// Where it listens inside its process.
pub const INPROC_NAME: &str = "hub";

/// The broker while it lives.
pub struct Broker {
    pub workers: Vec<Worker<SimNet>>,
    servers: Vec<ServerKey>,
    peers: Arc<Peers<SimNet>>,
    pub budget: Budget,
    late: Arc<Mutex<Vec<LateAnswer>>>,
}

/// A question that was not answered at once.
struct LateAnswer {
    due: Instant,
    token: HookToken,
    /// Where the client that waits came from.
    peer: String,
    /// Its connection has ended: the answer must find nothing.
    is_void: bool,
    /// Of a PUBLISH: what the model is to know when it is accepted.
    publication: Option<Publication>,
}

/// Options of the broker for one run.
pub fn draw_options(rng: &mut Rng, faults: &Faults) -> Options {
    let mut of = |choices: &[u64]| choices[rng.below(choices.len() as u64) as usize];
    let strategies = [ShareStrategy::RoundRobin, ShareStrategy::Random, ShareStrategy::Sticky, ShareStrategy::HashClientId, ShareStrategy::HashTopic];
    let options = Options {
        max_inflight_messages: of(&[0, 1, 2, 20]) as u16,
        receive_maximum: of(&[1, 3, 1_000]) as u16,
        max_queued_messages: 0,
        max_queued_bytes: 0,
        queue_qos0_messages: of(&[0, 1]) == 1,
        max_topic_alias: of(&[0, 2, 10]) as u16,
        max_topic_alias_broker: of(&[0, 1, 10]) as u16,
        persistent_client_expiration_s: of(&[20, 3_600, u64::from(u32::MAX)]) as u32,
        shared_subscription_strategy: strategies[of(&[0, 1, 2, 3, 4]) as usize],
        shared_ack_timeout: Duration::from_secs(of(&[0, 3, 30])),
        max_output_bytes: of(&[100, 5_000, 262_144]) as usize,
        slow_consumer_grace: Duration::from_secs(of(&[20, 60])),
        max_inbox_posts: of(&[1, 3, 65_536]) as usize,
        max_inbox_bytes: of(&[1, 2_000, 8 << 20]) as usize,
        ..Options::default()
    };
    if !faults.tiny_limits {
        return options;
    }
    Options {
        max_queued_messages: of(&[1, 3, 10]) as usize,
        max_queued_bytes: of(&[0, 300, 20_000]) as usize,
        queue_drop_oldest: of(&[0, 1]) == 1,
        max_connections: of(&[6, 100]) as usize,
        ..options
    }
}

/// A listener with rates; what waits for them must still get through before the end.
fn draw_rates(rng: &mut Rng, address: SocketAddr) -> ListenerOptions {
    let mut of = |choices: [u32; 3]| Some(choices[rng.below(3) as usize]).filter(|rate| *rate > 0);
    let (rate_messages, rate_bytes) = (of([0, 5, 50]), of([0, 100_000, 1_000_000]));
    let rules = Rules { rate_messages, rate_bytes, ..Rules::default() };
    ListenerOptions { rate_connections: of([0, 1, 10]), rules, ..ListenerOptions::at(address) }
}

/// What lies under a connection of the broker in a world of WebSockets.
fn websocket() -> Recipe {
    Recipe::default().with(Place::WebSocket, Arc::new(Accept(Arc::default())))
}

impl Broker {
    pub fn start(world: &Rc<RefCell<World>>, host: usize, count: usize, options: &Options, model: &SharedModel) -> Self {
        world.borrow_mut().set_workers(host, count);
        let mut rng = world.borrow_mut().rng.fork();
        let trace = world.borrow().trace.clone();
        let faults = world.borrow().faults.clone();
        let late: Arc<Mutex<Vec<LateAnswer>>> = Arc::default();
        let router_options = RouterOptions { share_strategy: options.shared_subscription_strategy, ..RouterOptions::default() };
        let router = Arc::new(RwLock::new(Router::new(router_options, rng.fork())));
        let budget = Budget::new(options.memory_limit);
        let mut workers: Vec<_> = (0..count).map(|index| SimNet::worker(world, host, index)).collect();
        let peers = Peers::new(workers.iter().map(|worker| worker.inbox().clone()));
        let levels = Levels::default();
        let mut servers = Vec::new();
        for (index, worker) in workers.iter_mut().enumerate() {
            let hooks = Recorder {
                model: model.clone(),
                late: late.clone(),
                rng: rng.fork(),
                faults: faults.clone(),
                trace: trace.clone(),
                hook_timeout: options.hook_timeout,
            };
            let (number, rng) = (index as u16, rng.fork());
            let make = |hooks| Shard::new(number, options.clone(), router.clone(), budget.clone(), rng, hooks).among(count as u16, &levels);
            let server = worker.add_server(Some(Box::new(hooks)), make);
            if count > 1 {
                worker.join_peers(server, peers.clone(), number);
            }
            servers.push(server);
        }
        let address = SocketAddr::new(world.borrow().hosts[host].ip, BROKER_PORT);
        let listening = rng.below(count as u64) as usize;
        let layers = if faults.has_websocket { websocket() } else { Recipe::default() };
        let listener = if faults.has_rates { draw_rates(&mut rng, address) } else { ListenerOptions::at(address) };
        workers[listening].add_listener(servers[listening], &listener, layers).expect("nobody else listens");
        if faults.has_inproc {
            let listening = rng.below(count as u64) as usize;
            let inproc = ListenerOptions { endpoint: Endpoint::Memory(INPROC_NAME.to_owned()), ..listener };
            workers[listening].add_listener(servers[listening], &inproc, Recipe::default()).expect("the name is free");
        }
        Self { workers, servers, peers, budget, late }
    }

    /// The shard on one of its workers.
    pub fn shard(&mut self, index: usize) -> Option<(&mut Shard, Instant)> {
        self.workers[index].shard(self.servers[index])
    }

    /// Says good-bye on every worker.
    pub fn stop(&mut self) {
        for (worker, server) in self.workers.iter_mut().zip(&self.servers) {
            worker.stop_server(*server, Reason::SERVER_SHUTTING_DOWN, Duration::from_secs(1), Box::new(|| {}));
        }
    }

    /// Counters and gauges of all its shards.
    pub fn stats(&mut self) -> Stats {
        let mut stats = Stats::default();
        for index in 0..self.workers.len() {
            if let Some((shard, _)) = self.shard(index) {
                stats.add(&shard.stats());
            }
        }
        stats
    }

    /// When an answer is due.
    pub fn next_answer(&self) -> Option<Instant> {
        self.late.lock().expect("no panic while locked").iter().map(|answer| answer.due).min()
    }

    /// Gives the answers that are due; the workers they are for.
    pub fn answer(&mut self, now: Instant, model: &SharedModel) -> Vec<usize> {
        let due: Vec<LateAnswer> = {
            let mut late = self.late.lock().expect("no panic while locked");
            let (due, rest) = late.drain(..).partition(|answer| answer.due <= now);
            *late = rest;
            due
        };
        let mut answered = Vec::new();
        for LateAnswer { token, publication, is_void, .. } in due {
            let worker = usize::from(token.shard());
            let Some((shard, now)) = self.shard(worker) else { continue };
            answered.push(worker);
            if is_void {
                assert!(!shard.complete(now, token, Decision::Allow), "an answer for a connection that has ended");
                continue;
            }
            // The model hears of it first: delivering calls hooks of what comes behind it.
            let before = lock(model).clone();
            if let Some(publication) = &publication {
                lock(model).published(publication);
            }
            if !shard.complete(now, token, Decision::Allow) {
                *lock(model) = before;
            }
        }
        answered
    }

    /// Messages that were dropped because a limit was reached.
    pub fn dropped(&mut self) -> u64 {
        let stats = self.stats();
        stats.dropped_output_full + stats.dropped_queue_full + stats.dropped_too_large + stats.retained_refused
    }

    /// Nothing waits for anybody who is connected.
    pub fn is_idle(&mut self) -> bool {
        let no_answer = self.late.lock().expect("no panic while locked").is_empty();
        let is_idle = |(shard, _): (&mut Shard, Instant)| {
            !shard.has_work()
                && !shard.has_posts()
                && shard.clients().filter(|client| client.connected).all(|client| client.queued_messages == 0 && client.in_flight_messages == 0)
        };
        no_answer && !self.peers.has_posts() && (0..self.workers.len()).all(|index| self.shard(index).is_none_or(is_idle))
    }
}

/// The hooks: each decision is told to the model.
struct Recorder {
    model: SharedModel,
    late: Arc<Mutex<Vec<LateAnswer>>>,
    rng: Rng,
    faults: Faults,
    trace: Trace,
    hook_timeout: Duration,
}

impl Recorder {
    /// Later? Then within the time limit, or never.
    fn answers_later(&mut self, peer: &str, token: HookToken, publication: Option<&Publication>) -> bool {
        if !self.rng.chance(self.faults.late_hook) {
            return false;
        }
        let model = lock(&self.model);
        if model.is_healed {
            return false;
        }
        let is_silent = self.rng.chance(self.faults.silent_hook);
        trace!(self.trace, "a hook answers {}", if is_silent { "never" } else { "later" });
        if is_silent {
            return true;
        }
        let within = self.hook_timeout.as_micros() as u64 / 2;
        let due = model.now + Duration::from_micros(self.rng.below(within));
        self.late.lock().expect("no panic while locked").push(LateAnswer {
            due,
            token,
            peer: peer.to_owned(),
            is_void: false,
            publication: publication.cloned(),
        });
        true
    }
}

impl Hooks for Recorder {
    fn interest(&self) -> Interest {
        Interest { authenticate: true, publish: true, subscribe: true, unsubscribe: true, will: true, ..Interest::default() }
    }

    fn authenticate(&mut self, client: ClientInfo<'_>, connect: &codec::Connect<'_>, token: HookToken) -> Answer {
        let is_v5 = connect.version == codec::Version::V5;
        let will = connect.will.as_ref().map(|will| Will {
            topic: will.topic.to_owned(),
            qos: will.qos,
            retain: will.retain,
            delay_s: will.properties.u32(PropertyId::WillDelayInterval).unwrap_or(0),
        });
        let expiry_s = match (is_v5, connect.clean_start) {
            (true, _) => connect.properties.u32(PropertyId::SessionExpiryInterval).unwrap_or(0),
            (false, true) => 0,
            (false, false) => u32::MAX,
        };
        let connect = Connect { client: connect.client_id.to_owned(), clean_start: connect.clean_start, expiry_s, will };
        lock(&self.model).connecting.insert(client.peer.to_owned(), connect);
        if self.answers_later(client.peer, token, None) { Answer::Pending } else { Answer::ALLOW }
    }

    fn publish(&mut self, client: ClientInfo<'_>, publish: &PublishInfo<'_>, token: HookToken) -> Answer {
        let publication = publication_of(client.client_id, publish);
        if self.answers_later(client.peer, token, Some(&publication)) {
            lock(&self.model).ledger.refused(&publication.id);
            return Answer::Pending;
        }
        lock(&self.model).published(&publication);
        Answer::ALLOW
    }

    fn subscribe(&mut self, client: ClientInfo<'_>, filters: &[(String, SubscribeOptions)], _: HookToken) -> Answer {
        lock(&self.model).subscribed(client.client_id, filters);
        Answer::ALLOW
    }

    fn unsubscribe(&mut self, client: ClientInfo<'_>, filters: &[&str], _: HookToken) -> Answer {
        lock(&self.model).unsubscribed(client.client_id, filters);
        Answer::ALLOW
    }

    fn connected(&mut self, client: ClientInfo<'_>, session_present: bool) {
        lock(&self.model).connected(client.client_id, client.peer, session_present);
    }

    fn disconnected(&mut self, client: ClientInfo<'_>, reason: Reason) {
        let mut late = self.late.lock().expect("no panic while locked");
        late.iter_mut().filter(|answer| answer.peer == client.peer).for_each(|answer| answer.is_void = true);
        drop(late);
        lock(&self.model).disconnected(client.client_id, reason == Reason::NORMAL_DISCONNECTION);
    }

    fn will(&mut self, _: ClientInfo<'_>, message: &Arc<codec::Message>) {
        lock(&self.model).will_seen(message.topic());
    }

    fn log(&mut self, level: u8, text: &dyn Fn() -> String) {
        trace!(self.trace, "broker log {level}: {}", text());
    }
}

fn publication_of(publisher: &str, publish: &PublishInfo<'_>) -> Publication {
    let id = match publish.payload {
        [] => format!("{publisher}.clear-{}", publish.topic),
        payload => id_of(payload),
    };
    Publication {
        id,
        publisher: publisher.to_owned(),
        topic: publish.topic.to_owned(),
        qos: publish.qos,
        retain: publish.retain,
        is_empty: publish.payload.is_empty(),
        expires: publish.properties.contains(PropertyId::MessageExpiryInterval),
    }
}

/// What a payload calls itself: the text before its padding.
pub fn id_of(payload: &[u8]) -> String {
    let end = payload.iter().position(|byte| *byte == b'|').unwrap_or(payload.len());
    String::from_utf8_lossy(&payload[..end]).into_owned()
}

/// QoS of a number.
pub fn qos(number: u64) -> Qos {
    [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][number as usize % 3]
}
