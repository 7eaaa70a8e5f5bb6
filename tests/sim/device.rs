//! A client's host: a worker with one client machine, and the application on it, which publishes,
//! subscribes, changes its mind and keeps book of what it was told.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};

use nlmqtt::base::{Budget, Duration, Instant, Rng};
use nlmqtt::codec::{PropertyId, PropertyList, Qos, RetainHandling, SubscribeOptions, Value, Version};
use nlmqtt::net::{ClientHandler, ClientKey, DialOptions, Remote, ServerAddress, Transport, Underlay, Worker};
use nlmqtt::proto::client::{
    Client, Event, Options, Outcome, PublishRequest, QueueOptions, ReconnectOptions, State, StopRequest, SubscribeRequest, Token, Will,
};
use nlmqtt::stack::ws::Ask;
use nlmqtt::stack::{Place, Recipe};

use crate::broker::{BROKER_NAME, BROKER_PORT, INPROC_NAME, SharedModel, id_of, lock, qos};
use crate::ledger::Arrival;
use crate::model::will_id;
use crate::net::SimNet;
use crate::trace::{Trace, trace};
use crate::world::World;

/// A device with its application. The book survives a crash; the client does not.
pub struct Device {
    pub name: &'static str,
    pub host: usize,
    options: Options,
    /// In the broker's process, on a runtime of its own.
    is_near: bool,
    pub life: Option<Life>,
    pub restart_at: Option<Instant>,
    book: Arc<Mutex<Book>>,
    serial: u64,
    rng: Rng,
    trace: Trace,
}

/// What ends with the device's power.
pub struct Life {
    pub worker: Worker<SimNet>,
    pub client: ClientKey,
    pub budget: Budget,
}

#[derive(Default)]
struct Book {
    token_last: u64,
    /// Requests without a completion.
    open: BTreeMap<Token, Request>,
    wanted: BTreeMap<String, Wanted>,
}

/// A filter the application wants.
#[derive(Clone, Copy)]
struct Wanted {
    /// The first request for it.
    since: Token,
    /// A broker has agreed to one of them.
    held: bool,
}

enum Request {
    /// A publish; its message, if what becomes of it can be told.
    Publish(Option<String>),
    /// A filter, and what the book said of it before.
    Subscribe(&'static str, Option<Wanted>),
    Unsubscribe(&'static str, Option<Wanted>),
}

fn book(shared: &Arc<Mutex<Book>>) -> MutexGuard<'_, Book> {
    shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

const TOPICS: [&str; 6] = ["n/0/0", "n/0/1", "n/1/0", "n/1/1", "s0/x", "s1/y"];
const FILTERS: [&str; 9] = ["n/0/0", "n/0/1", "n/+/1", "n/0/#", "n/#", "+/1/+", "$share/g0/s0/#", "$share/g1/+/y", "w/+"];

/// `sessions_last`: no broker forgets one. MQTT 3.1 does not say whether it has; a client of that
/// version that goes on with a session must trust.
fn draw_options(rng: &mut Rng, name: &str, sessions_last: bool) -> Options {
    let version = [Version::V31, Version::V311, Version::V5, Version::V5][rng.below(4) as usize];
    let mut of = |choices: &[u64]| choices[rng.below(choices.len() as u64) as usize];
    let is_v5 = version == Version::V5;
    let expiry_s = of(&[0, 5, 60, u64::from(u32::MAX)]) as u32;
    let mut properties = PropertyList::new();
    let delay_s = of(&[0, 2, 30]) as u32;
    if is_v5 && delay_s > 0 {
        properties.push(PropertyId::WillDelayInterval, Value::U32(delay_s));
    }
    let will = Will {
        topic: format!("w/{name}"),
        payload: format!("{}|", will_id(name)).into_bytes(),
        qos: qos(of(&[0, 1, 2])),
        retain: of(&[0, 1]) == 1,
        properties,
    };
    Options {
        servers: vec![0],
        version,
        client_id: name.to_owned(),
        clean_start: of(&[0, 1]) == 1 || (version == Version::V31 && !sessions_last),
        session_expiry_s: if is_v5 { expiry_s } else { 0 },
        keep_alive_s: of(&[2, 5, 20]) as u16,
        receive_maximum: of(&[1, 3, 100]) as u16,
        topic_alias_maximum: of(&[0, 2, 16]) as u16,
        topic_alias_out_max: of(&[0, 2, 16]) as u16,
        in_flight_max: of(&[1, 3, 100]) as u16,
        will: (of(&[0, 1]) == 1).then_some(will),
        connect_timeout: Duration::from_secs(of(&[5, 15])),
        ping_timeout: Duration::from_secs(5),
        reconnect: ReconnectOptions { delay_max: Duration::from_secs(of(&[2, 10])), stable_after: Duration::from_secs(5), ..ReconnectOptions::default() },
        subscription_ids: of(&[0, 1]) == 1,
        queue: QueueOptions { count_max: 100_000, bytes_max: 1 << 26, ..QueueOptions::default() },
        out_bytes_max: of(&[100, 2_000, 262_144]) as usize,
        ..Options::default()
    }
}

impl Device {
    pub fn new(world: &Rc<RefCell<World>>, name: &'static str, model: &SharedModel, sessions_last: bool) -> Self {
        let host = world.borrow_mut().add_host(name);
        let mut rng = world.borrow_mut().rng.fork();
        let trace = world.borrow().trace.clone();
        let options = draw_options(&mut rng, name, sessions_last);
        trace!(
            trace,
            "{name}: {:?} clean {} expiry {} keep-alive {} will {}",
            options.version,
            options.clean_start,
            options.session_expiry_s,
            options.keep_alive_s,
            options.will.is_some()
        );
        let is_near = world.borrow().faults.has_inproc && rng.chance(500);
        let mut device = Self { name, host, options, is_near, life: None, restart_at: None, book: Arc::default(), serial: 0, rng, trace };
        device.switch_on(world, model);
        device
    }

    /// A new life. A client without memory must not go on with a session: it would use packet
    /// identifiers that the broker still knows (§4.1 asks both sides to keep the session).
    pub fn switch_on(&mut self, world: &Rc<RefCell<World>>, model: &SharedModel) {
        let is_first = self.serial == 0 && self.restart_at.is_none();
        let options = Options { clean_start: self.options.clean_start || !is_first, ..self.options.clone() };
        self.restart_at = None;
        let budget = Budget::new(1 << 30);
        let machine = Client::new(options, budget.clone(), self.rng.fork()).expect("legal options");
        let mut worker = SimNet::worker(world, self.host, 0);
        let mut server = Remote::from(ServerAddress::plain(BROKER_NAME, BROKER_PORT));
        let mut dial = DialOptions::default();
        if self.is_near {
            server = near_server();
            dial.names = Some(world.borrow().names.clone());
        } else if world.borrow().faults.has_websocket {
            let ask = Ask { path: "/mqtt".to_owned(), fields: Vec::new(), default_port: 80 };
            server.recipe = Recipe::default().with(Place::WebSocket, Arc::new(ask));
        }
        let app = App { name: self.name, book: self.book.clone(), model: model.clone(), trace: self.trace.clone() };
        let client = worker.add_client(machine, vec![server], dial, Arc::default(), None, Box::new(app));
        worker.with_client(client, |client, now| client.start(now)).expect("there").expect("stopped");
        self.life = Some(Life { worker, client, budget });
    }

    /// The device loses its memory: nothing it asked for will be answered.
    pub fn switch_off(&mut self, restart_at: Instant) {
        self.life = None;
        self.restart_at = Some(restart_at);
        let mut book = book(&self.book);
        book.open.clear();
        book.wanted.clear();
    }

    fn token(&self, request: Request) -> Token {
        let mut book = book(&self.book);
        book.token_last += 1;
        let token = Token(book.token_last);
        book.open.insert(token, request);
        token
    }

    fn is_wanted(&self, filter: &str) -> Option<Wanted> {
        book(&self.book).wanted.get(filter).copied()
    }

    /// The application does something.
    pub fn act(&mut self) {
        if self.life.is_none() {
            return;
        }
        match self.rng.below(100) {
            0..60 => self.publish(),
            60..80 => self.subscribe(),
            80..88 => self.unsubscribe(),
            88..92 => self.cancel(),
            92..95 => self.stop_or_start(),
            _ => {}
        }
    }

    fn publish(&mut self) {
        let topic = TOPICS[self.rng.below(6) as usize];
        let is_shared = topic.starts_with('s');
        let retain = !is_shared && self.rng.chance(200);
        let quality = qos(self.rng.below(3));
        self.serial += 1;
        let id = format!("{}.{}", self.name, self.serial);
        let mut payload = format!("{id}|").into_bytes();
        let padding = [0, 10, 300, 3_000, 70_000][[0, 1, 1, 2, 2, 2, 3, 4][self.rng.below(8) as usize]];
        payload.resize(payload.len() + padding, b'.');
        if retain && self.rng.chance(200) {
            payload.clear();
        }
        let expiry_s = (self.options.version == Version::V5 && self.rng.chance(100)).then_some(1 + self.rng.below(5) as u32);
        let token = self.token(Request::Publish((quality != Qos::AtMostOnce && !payload.is_empty()).then_some(id)));
        let Some(Life { worker, client, .. }) = &mut self.life else { return };
        let request = PublishRequest { topic, payload: &payload, qos: quality, retain, expiry_s, ..PublishRequest::default() };
        worker.request_of_client(*client, token, |client, now| client.publish(now, token, &request));
    }

    fn subscribe(&mut self) {
        let filter = FILTERS[self.rng.below(9) as usize];
        let is_shared = filter.starts_with("$share");
        let mut options = SubscribeOptions { qos: qos(1 + self.rng.below(2)), ..SubscribeOptions::default() };
        if !is_shared {
            options.qos = qos(self.rng.below(3));
        }
        if self.options.version == Version::V5 {
            options.no_local = !is_shared && self.rng.chance(200);
            options.retain_as_published = self.rng.chance(300);
            options.retain_handling = [RetainHandling::SendAtSubscribe, RetainHandling::SendIfNew, RetainHandling::DoNotSend][self.rng.below(3) as usize];
        }
        let token = self.token(Request::Subscribe(filter, self.is_wanted(filter)));
        let Some(Life { worker, client, .. }) = &mut self.life else { return };
        trace!(self.trace, "{}: asks for {filter} {options:?}, {token:?}", self.name);
        book(&self.book).wanted.entry(filter.to_owned()).or_insert(Wanted { since: token, held: false });
        let filters = [(filter, options)];
        worker.subscribe_client(*client, token, &SubscribeRequest { filters: &filters, ..SubscribeRequest::default() }, None);
    }

    fn unsubscribe(&mut self) {
        let filter = FILTERS[self.rng.below(9) as usize];
        let token = self.token(Request::Unsubscribe(filter, self.is_wanted(filter)));
        let Some(Life { worker, client, .. }) = &mut self.life else { return };
        trace!(self.trace, "{}: gives up {filter}, {token:?}", self.name);
        book(&self.book).wanted.remove(filter);
        worker.request_of_client(*client, token, |client, _| client.unsubscribe(token, &[filter]));
    }

    fn cancel(&mut self) {
        let token = {
            let book = book(&self.book);
            let publishes: Vec<Token> = book.open.iter().filter(|(_, request)| matches!(request, Request::Publish(_))).map(|(token, _)| *token).collect();
            if publishes.is_empty() {
                return;
            }
            publishes[self.rng.below(publishes.len() as u64) as usize]
        };
        let Some(Life { worker, client, .. }) = &mut self.life else { return };
        worker.with_client(*client, |client, _| client.cancel(token));
    }

    fn stop_or_start(&mut self) {
        let drain = Duration::from_secs(self.rng.below(3));
        let Some(Life { worker, client, .. }) = &mut self.life else { return };
        trace!(self.trace, "{} stops or starts", self.name);
        worker.with_client(*client, |client, now| match client.state() {
            State::Stopped => client.start(now).expect("stopped"),
            _ => client.stop(now, StopRequest { drain, ..StopRequest::default() }),
        });
    }

    /// Starts it if it is stopped.
    pub fn ensure_started(&mut self) {
        let Some(Life { worker, client, .. }) = &mut self.life else { return };
        worker.with_client(*client, |client, now| {
            if client.state() == State::Stopped {
                client.start(now).expect("stopped");
            }
        });
    }

    /// What it still waits for; `None`: nothing.
    pub fn unfinished(&mut self) -> Option<String> {
        let Some(Life { worker, client, .. }) = &mut self.life else { return Some(format!("{} is off", self.name)) };
        let (state, queued, in_flight) = worker.with_client(*client, |client, _| (client.state(), client.queued(), client.in_flight()))?;
        let open = book(&self.book).open.len();
        let done = state == State::Online && queued.0 == 0 && in_flight == 0 && open == 0;
        (!done).then(|| format!("{}: {state:?}, queued {queued:?}, in flight {in_flight}, {open} requests open", self.name))
    }

    /// The filters the application asked for last.
    pub fn wanted(&self) -> BTreeSet<String> {
        book(&self.book).wanted.keys().cloned().collect()
    }

    /// Stops the client for good.
    pub fn remove(&mut self) {
        let Some(Life { worker, client, .. }) = &mut self.life else { return };
        worker.remove_client(*client, StopRequest::default(), Box::new(|| {}));
    }

    /// Requests without a completion.
    pub fn open_requests(&self) -> usize {
        book(&self.book).open.len()
    }
}

/// The broker, in the same process.
fn near_server() -> Remote {
    let transport = Transport { underlay: Underlay::InProcess, ..Transport::default() };
    Remote::from(ServerAddress { transport, ..ServerAddress::plain(INPROC_NAME, 0) })
}

/// The application's callbacks.
struct App {
    name: &'static str,
    book: Arc<Mutex<Book>>,
    model: SharedModel,
    trace: Trace,
}

impl App {
    fn done(&mut self, token: Token) -> Request {
        let request = book(&self.book).open.remove(&token);
        let Some(request) = request else { panic!("{}: {token:?} completed twice, or was never asked for", self.name) };
        request
    }

    fn published(&mut self, token: Token, outcome: Outcome) {
        let Request::Publish(message) = self.done(token) else { panic!("{}: {token:?} is no publish", self.name) };
        trace!(self.trace, "{}: published {message:?} {outcome:?}", self.name);
        if let (Some(id), Outcome::Acknowledged(reason)) = (message, outcome) {
            if !reason.is_error() {
                lock(&self.model).ledger.reported_done(&id);
            }
        }
    }

    /// A filter no broker has agreed to is forgotten when its request fails.
    fn answered(&mut self, token: Token, outcome: Outcome) {
        trace!(self.trace, "{}: {token:?} {outcome:?}", self.name);
        let Request::Subscribe(filter, _) = self.done(token) else { return };
        let wanted = &mut book(&self.book).wanted;
        match (outcome, wanted.get_mut(filter)) {
            (Outcome::Acknowledged(reason), Some(entry)) => entry.held |= !reason.is_error() && token >= entry.since,
            (Outcome::Failed(_), Some(entry)) if !entry.held => {
                wanted.remove(filter);
            }
            _ => {}
        }
    }
}

impl ClientHandler for App {
    fn event(&mut self, _: Instant, event: Event) {
        match event {
            Event::Message(incoming) => {
                let message = &incoming.message;
                let id = match message.payload() {
                    [] => return, // Clears are not forwarded as retained; live ones say nothing of who sent them.
                    payload => id_of(payload),
                };
                let arrival = Arrival { client: self.name, topic: message.topic(), id: &id, qos: incoming.qos, retain: incoming.retain, dup: incoming.dup };
                lock(&self.model).ledger.arrived(&arrival);
            }
            Event::Published { token, outcome } => self.published(token, outcome),
            Event::Subscribed { token, outcome, .. } | Event::Unsubscribed { token, outcome, .. } => self.answered(token, outcome),
            Event::Connected(connected) => trace!(self.trace, "{}: connected, session present {}", self.name, connected.session_present),
            Event::Disconnected(lost) => trace!(self.trace, "{}: disconnected, {:?} {:?} {:?}", self.name, lost.cause, lost.reason, lost.error),
            _ => {}
        }
    }

    fn refused(&mut self, token: Token, error: nlmqtt::proto::Error) {
        trace!(self.trace, "{}: refused {error:?}", self.name);
        let (Request::Subscribe(filter, before) | Request::Unsubscribe(filter, before)) = self.done(token) else { return };
        let wanted = &mut book(&self.book).wanted;
        match before {
            Some(entry) => wanted.insert(filter.to_owned(), entry),
            None => wanted.remove(filter),
        };
    }
}
