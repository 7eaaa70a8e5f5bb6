//! One client on a worker: its machine, its link, and the handler that hears of it.
//!
//! The machine says "dial server 2"; this file looks the name up, tries its addresses one after
//! the other, and reports how it went. It reads and writes for the machine and hands its events to
//! the handler. Nothing here decides anything about MQTT.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::client_gauge::ClientGauge;
use super::client_path::PathMoved;
use super::datagram::{fault_of, is_of_address};
use super::dispatch::{Asked, CallbackSide, ClientSide, Owner as EventOwner};
use super::worker::{After, Owner, Worker};
use super::{CustomStream, DialOptions, Endpoint, LinkId, Net, Transport, Underlay, WORKERS_MAX};
use crate::base::{IdMap, Instant};
use crate::proto::client::{Cause, Client, Event, Incoming, Outcome, ReceiveRoom, State, StopRequest, SubscribeRequest, SubscriptionKey, Token};
use crate::stack::{DatagramProtocol, Recipe, Stack};

slotmap::new_key_type! {
    /// Names a client of a worker.
    pub struct ClientKey;
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    /// A name, or an IPv4 or IPv6 address; the path of a Unix socket; a name inside this process.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// What MQTT runs over on the way to it.
    pub transport: Transport,
    /// Of a WebSocket: the path asked for, with its slash; empty: the usual one.
    pub path: String,
}

impl ServerAddress {
    /// MQTT over plain TCP.
    pub fn plain(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, transport: Transport::default(), path: String::new() }
    }

    /// Where it is, if that is no affair of names and addresses.
    fn endpoint(&self) -> Option<Endpoint> {
        match self.transport.underlay {
            Underlay::Unix => Some(Endpoint::Unix(self.host.clone().into())),
            Underlay::InProcess => Some(Endpoint::Memory(self.host.clone())),
            _ => None,
        }
    }
}

/// A server to connect to, and the layers on the way there.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Where it is.
    pub address: ServerAddress,
    /// A proxy's name and port, which is dialled in its place.
    pub through: Option<(String, u16)>,
    /// Layers of each connection to it.
    pub recipe: Recipe,
}

impl From<ServerAddress> for Remote {
    /// A way without layers.
    fn from(address: ServerAddress) -> Self {
        Self { address, through: None, recipe: Recipe::default() }
    }
}

impl Remote {
    /// The name and port that are dialled.
    pub fn dialled(&self) -> (&str, u16) {
        self.through.as_ref().map_or((&self.address.host, self.address.port), |(name, port)| (name, *port))
    }

    /// What is dialled needs no look-up.
    pub fn is_literal(&self) -> bool {
        self.address.endpoint().is_some() || super::resolver::literal(self.dialled().0).is_some()
    }
}

/// What [`ClientHandler::before_connect`] may renew.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Vec<u8>>,
}

/// A message callback of one subscription.
pub type MessageCallback = Box<dyn FnMut(&Incoming) + Send>;

/// Hears what happens to a client; called on the worker's thread, in DISPATCH mode on the one that
/// dispatches, one call at a time. What it calls on the client happens after it returns.
#[allow(unused_variables)]
pub trait ClientHandler: Send {
    /// A connection to this server (index in the list) is about to be opened. `Some`: use these
    /// from now on.
    fn before_connect(&mut self, server: usize) -> Option<Credentials> {
        None
    }

    /// Something happened. Messages of subscriptions with a callback of their own come there.
    fn event(&mut self, now: Instant, event: Event) {}

    /// A publish is done: [`Event::Published`], of which there are many.
    fn published(&mut self, now: Instant, token: Token, outcome: Outcome) {
        self.event(now, Event::Published { token, outcome });
    }

    /// A request was refused before it was queued; it has no other completion.
    fn refused(&mut self, token: Token, error: crate::proto::Error) {}

    /// This server (index in the list) does not know the protocol it was asked for first; the connection is one of this older one.
    fn fell_back(&mut self, server: usize, protocol: DatagramProtocol) {}

    /// The connection goes on over another path.
    fn path_moved(&mut self, moved: PathMoved) {}

    /// That was all for now, after one event or many.
    fn told(&mut self) {}
}

/// Takes messages of subscriptions without a callback in place of the handler, for an application
/// that pulls them. Called on the worker's thread in whatever mode, so that its room is never
/// overdrawn.
pub trait MessageIntake: Send {
    /// How many messages it takes now. Asked before every read.
    fn room(&self) -> ReceiveRoom;

    /// A message came.
    fn take(&mut self, incoming: Incoming);

    /// There was no room: reading rests until [`Worker::resume_client`]. False: there is room again,
    /// reading goes on.
    fn rest(&mut self) -> bool;
}

pub(super) struct ClientHost {
    // In this order: the handler is the last to go.
    pub machine: Client,
    callbacks: IdMap<SubscriptionKey, CallbackSide>,
    /// Takes messages in place of the handler, in whatever mode.
    intake: Option<Box<dyn MessageIntake>>,
    pub(super) handler: ClientSide,
    pub(super) servers: Vec<Remote>,
    /// The one that is dialled, or was last.
    pub(super) server: usize,
    dial_options: DialOptions,
    pub(super) connection: Connection,
    /// The layers of the connection, if it has any.
    pub(super) stack: Option<Box<Stack>>,
    /// The link took less than it was offered.
    pub(super) blocked: bool,
    /// The machine, or a layer, may have something to send.
    pub(super) dirty: bool,
    /// It is among the worker's `clock_waiters`.
    waits_for_clock: bool,
    pub(super) gauge: Arc<ClientGauge>,
    removing: Option<Box<dyn FnOnce() + Send>>,
    /// It has stopped, and waits with telling so: its good-bye has not arrived.
    pub(super) is_parting: bool,
}

/// How far the way to the server is.
pub(super) enum Connection {
    None,
    /// The application is asked for credentials for this server.
    Asking(u64, usize),
    /// Its name is being looked up; the port is the server's.
    Resolving(u64, u16),
    /// This link is being connected; these addresses are left to try.
    Dialing(LinkId, std::vec::IntoIter<Endpoint>),
    /// Connected; its layers shake hands.
    Opening(LinkId),
    Open(LinkId),
}

impl Connection {
    /// The link, once it is connected.
    pub(super) fn link(&self) -> Option<LinkId> {
        match *self {
            Self::Opening(link) | Self::Open(link) => Some(link),
            _ => None,
        }
    }
}

/// What the machine wants its host to do.
enum Duty {
    Dial(usize),
    HangUp,
}

impl ClientHost {
    /// Its good-bye has not arrived.
    pub fn is_parting(&self) -> bool {
        self.is_parting
    }

    /// Where it stands for everybody else: not stopped before its link is given up, and its good-bye has arrived.
    fn state(&self) -> State {
        match self.machine.state() {
            State::Stopped if self.is_parting() || self.connection.link().is_some() => State::Stopping,
            state => state,
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        let parting = self.machine.stop_until().filter(|_| self.is_parting);
        [self.machine.poll_timeout(), parting].into_iter().flatten().min()
    }

    pub(super) fn note_queued(&self) {
        self.gauge.note_queued(&self.machine);
    }

    /// Hands on what the machine has to say, up to what changes the connection.
    fn tell(&mut self, now: Instant, has_told: &mut bool) -> Option<Duty> {
        loop {
            match self.machine.poll_event()? {
                Event::Dial { server } => return Some(Duty::Dial(server)),
                Event::HangUp => return Some(Duty::HangUp),
                Event::Published { token, outcome } => {
                    self.handler.published(now, token, outcome);
                    *has_told = true;
                }
                Event::HandlerReleased(key) => {
                    self.callbacks.remove(&key);
                }
                Event::Message(incoming) if !incoming.handlers.is_empty() => {
                    let incoming = Arc::new(incoming);
                    for key in &incoming.handlers {
                        if let Some(callback) = self.callbacks.get_mut(key) {
                            callback.call(&incoming);
                        }
                    }
                }
                Event::Message(incoming) if self.intake.is_some() => {
                    if let Some(intake) = &mut self.intake {
                        intake.take(incoming);
                    }
                }
                event => {
                    self.handler.event(now, event);
                    *has_told = true;
                }
            }
        }
    }

    /// Output waits for a link that takes it.
    pub fn has_work(&self) -> bool {
        self.dirty && !self.blocked && self.connection.link().is_some()
    }
}

impl<N: Net> Worker<N> {
    /// Takes a client in; it does nothing before it is started.
    pub fn add_client(
        &mut self,
        machine: Client,
        servers: Vec<Remote>,
        dial_options: DialOptions,
        gauge: Arc<ClientGauge>,
        intake: Option<Box<dyn MessageIntake>>,
        handler: Box<dyn ClientHandler>,
    ) -> ClientKey {
        let (queue, worker) = (self.events.clone(), self.index);
        self.clients.insert_with_key(|key| ClientHost {
            machine,
            handler: ClientSide::new(queue.as_ref(), EventOwner::Client(worker, key), handler, gauge.clone()),
            callbacks: IdMap::default(),
            intake,
            servers,
            server: 0,
            dial_options,
            connection: Connection::None,
            stack: None,
            blocked: false,
            dirty: false,
            waits_for_clock: false,
            gauge,
            removing: None,
            is_parting: false,
        })
    }

    /// Does something with a client's machine and what follows from it.
    pub fn with_client<R>(&mut self, client: ClientKey, act: impl FnOnce(&mut Client, Instant) -> R) -> Option<R> {
        let host = self.clients.get_mut(client)?;
        let result = act(&mut host.machine, self.now);
        self.drain_events(client);
        Some(result)
    }

    /// Calls something after everything the client has told so far was heard.
    pub fn tell_of_client(&self, client: ClientKey, what: Box<dyn FnOnce() + Send>) {
        self.tell(EventOwner::Client(self.index, client), what);
    }

    /// As `with_client`, for a request that completes with `token`: a refusal reaches the handler.
    pub fn request_of_client(&mut self, client: ClientKey, token: Token, act: impl FnOnce(&mut Client, Instant) -> Result<(), crate::proto::Error>) {
        let mut act = Some(act);
        self.requests_of_client(client, |machine, now| Some(act.take()?(machine, now).map_err(|error| (token, error))));
    }

    /// As `request_of_client`, for as many as `next` makes.
    pub fn requests_of_client(&mut self, client: ClientKey, mut next: impl FnMut(&mut Client, Instant) -> Option<Result<(), (Token, crate::proto::Error)>>) {
        let Some(host) = self.clients.get_mut(client) else { return };
        while let Some(result) = next(&mut host.machine, self.now) {
            if let Err((token, error)) = result {
                host.handler.refused(token, error);
            }
        }
        host.dirty = true;
        // What is flushed at the end of the turn is looked at then, once for all requests of the turn.
        if !host.has_work() {
            self.drain_events(client);
        }
    }

    /// Subscribes; messages of these filters go to `callback` if there is one.
    pub fn subscribe_client(&mut self, client: ClientKey, token: Token, request: &SubscribeRequest<'_>, callback: Option<MessageCallback>) {
        let Some(host) = self.clients.get_mut(client) else { return };
        match host.machine.subscribe(token, request) {
            Ok(Some(key)) => {
                let side =
                    callback.map(|callback| CallbackSide::new(self.events.as_ref(), EventOwner::Client(self.index, client), callback, host.gauge.clone()));
                side.map(|side| host.callbacks.insert(key, side));
            }
            Ok(None) => {}
            Err(error) => host.handler.refused(token, error),
        }
        self.drain_events(client);
    }

    /// Stops a client and forgets it; `done` is called when its handler was called for the last
    /// time and dropped.
    pub fn remove_client(&mut self, client: ClientKey, request: StopRequest, done: Box<dyn FnOnce() + Send>) {
        let now = self.now;
        let Some(host) = self.clients.get_mut(client) else { return done() };
        host.removing = Some(done);
        host.machine.stop(now, request);
        self.drain_events(client);
    }

    /// Delivers what the machine has to say until it has nothing more.
    pub(super) fn drain_events(&mut self, client: ClientKey) {
        let mut has_told = false;
        loop {
            let is_parting = self.goes_on_parting(client);
            let Some(host) = self.clients.get_mut(client) else { return };
            host.dirty = true;
            host.gauge.set(&host.machine, host.state());
            // Before it is told: the application may set the clock when it hears why.
            if host.waits_for_clock != host.machine.waits_for_clock() {
                host.waits_for_clock = !host.waits_for_clock;
                self.clock_waiters = if host.waits_for_clock { self.clock_waiters + 1 } else { self.clock_waiters - 1 };
                if host.waits_for_clock {
                    self.net.watch_clock(true);
                }
            }
            if is_parting {
                break;
            }
            match host.tell(self.now, &mut has_told) {
                None => break,
                Some(Duty::Dial(server)) => self.dial_server(client, server),
                Some(Duty::HangUp) => self.hang_up(client),
            }
        }
        if let Some(host) = self.clients.get_mut(client) {
            host.gauge.set_statistics(&host.machine);
            if has_told {
                host.handler.told();
            }
        }
        self.finish_removing(client);
    }

    fn finish_removing(&mut self, client: ClientKey) {
        let finished = self
            .clients
            .get(client)
            .is_some_and(|host| host.removing.is_some() && !host.is_parting() && host.machine.state() == State::Stopped && host.connection.link().is_none());
        if !finished {
            return;
        }
        self.let_go(client);
        if let Some(mut host) = self.clients.remove(client) {
            self.clock_waiters -= usize::from(host.waits_for_clock);
            let done = host.removing.take();
            drop(host);
            if let Some(done) = done {
                done();
            }
        }
    }

    fn dial_server(&mut self, client: ClientKey, server: usize) {
        self.lookup_serial += WORKERS_MAX as u64;
        let ticket = self.lookup_serial;
        let inbox = self.inbox().clone();
        let host = &mut self.clients[client];
        (host.connection, host.server) = (Connection::Asking(ticket, server), server);
        let asked = host.handler.before_connect(server, move |credentials| {
            inbox.post(Box::new(move |worker: &mut Self| worker.credentials_came(client, ticket, credentials)));
        });
        if let Asked::Answered(credentials) = asked {
            self.credentials_came(client, ticket, credentials);
        }
    }

    fn credentials_came(&mut self, client: ClientKey, ticket: u64, credentials: Option<Credentials>) {
        let Some(host) = self.clients.get_mut(client) else { return };
        let server = match host.connection {
            Connection::Asking(waiting, server) if waiting == ticket => server,
            _ => return, // Given up meanwhile.
        };
        if let Some(credentials) = credentials {
            if host.machine.set_credentials(credentials.username, credentials.password).is_err() {
                // They cannot be sent, and the old ones are not wanted any more.
                return self.client_lost(client, Cause::Credentials);
            }
        }
        if let Some(endpoint) = host.servers[server].address.endpoint() {
            return self.dial_next(client, vec![endpoint].into_iter());
        }
        let (name, port) = host.servers[server].dialled();
        let name = name.to_owned();
        if let Some(transport) = &host.dial_options.transport {
            let stream = transport.open(&name, port);
            return self.dial_through(client, stream);
        }
        host.connection = Connection::Resolving(ticket, port);
        self.lookups.insert(ticket, client);
        self.net.resolve(ticket, &name, port);
    }

    /// The application has looked a name up itself. Without effect if nobody waits for it.
    pub fn name_resolved(&mut self, ticket: u64, addresses: Vec<IpAddr>) {
        let host = self.lookups.get(&ticket).and_then(|client| self.clients.get(*client));
        let Some(&Connection::Resolving(_, port)) = host.map(|host| &host.connection) else { return };
        let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
        self.resolved(ticket, Ok(addresses));
    }

    pub(super) fn resolved(&mut self, ticket: u64, addresses: io::Result<Vec<SocketAddr>>) {
        let Some(client) = self.lookups.remove(&ticket) else { return };
        let Some(host) = self.clients.get_mut(client) else { return };
        if !matches!(host.connection, Connection::Resolving(waiting, _) if waiting == ticket) {
            return; // Given up meanwhile.
        }
        host.connection = Connection::None;
        match addresses {
            Ok(addresses) if !addresses.is_empty() => {
                let transport = host.servers[host.server].address.transport;
                let endpoints: Vec<_> = addresses.into_iter().map(|address| Endpoint::of(address, transport)).collect();
                self.dial_next(client, endpoints.into_iter());
            }
            _ => self.client_lost(client, Cause::Names),
        }
    }

    /// Tries the next address of a server; none left: the connection cannot be made.
    fn dial_next(&mut self, client: ClientKey, mut endpoints: std::vec::IntoIter<Endpoint>) {
        while let Some(endpoint) = endpoints.next() {
            match self.dial_one(client, &endpoint) {
                Ok(link) => {
                    let host = &mut self.clients[client];
                    host.connection = Connection::Dialing(link, endpoints);
                    host.blocked = true;
                    return self.own(link, Owner::Client(client));
                }
                Err(error) => {
                    if let Some(fault) = fault_of(&error) {
                        return self.client_layer_failed(client, fault);
                    }
                }
            }
        }
        self.client_lost(client, Cause::Network);
    }

    fn dial_one(&mut self, client: ClientKey, endpoint: &Endpoint) -> io::Result<LinkId> {
        let host = &mut self.clients[client];
        #[cfg(feature = "datagram")]
        if let Endpoint::Udp(super::UdpPlace { address: remote, .. }) = *endpoint {
            let server = &host.servers[host.server];
            let make = server.recipe.datagrams().ok_or(io::ErrorKind::Unsupported)?;
            let plan = super::DialPlan { remote, host: server.address.host.clone(), options: host.dial_options.clone() };
            let of_client = (host.machine.draw_seed(), host.machine.budget().charge(0));
            return self.net.dial_datagrams(plan, &**make, of_client);
        }
        self.net.dial(endpoint, &host.dial_options)
    }

    /// The application opens the connection.
    fn dial_through(&mut self, client: ClientKey, stream: io::Result<Box<dyn CustomStream>>) {
        match stream.and_then(|stream| self.net.take(stream)) {
            Ok(link) => {
                let host = &mut self.clients[client];
                host.connection = Connection::Dialing(link, Vec::new().into_iter());
                host.blocked = true;
                self.own(link, Owner::Client(client));
            }
            Err(_) => self.client_lost(client, Cause::Network),
        }
    }

    /// The link takes bytes, or its dial has ended.
    pub(super) fn client_writable(&mut self, client: ClientKey, link: LinkId) {
        let Some(host) = self.clients.get_mut(client) else { return };
        host.blocked = false;
        if !matches!(host.connection, Connection::Dialing(dialing, _) if dialing == link) {
            return;
        }
        match self.net.dialed(link) {
            None => {}
            Some(Ok(())) => {
                self.client_connected(client, link);
            }
            Some(Err(error)) => self.dial_failed(client, link, &error),
        }
    }

    fn dial_failed(&mut self, client: ClientKey, link: LinkId, error: &io::Error) {
        self.close(link);
        let connection = core::mem::replace(&mut self.clients[client].connection, Connection::None);
        let Connection::Dialing(_, addresses) = connection else { return };
        match fault_of(error) {
            // Who shows the wrong certificate at one address does so at the others.
            Some(fault) if addresses.len() == 0 || !is_of_address(fault.kind) => self.client_layer_failed(client, fault),
            _ => self.dial_next(client, addresses),
        }
    }

    pub(super) fn read_client(&mut self, client: ClientKey, link: LinkId) -> After {
        let must_rest = self.must_rest();
        let Some(host) = self.clients.get_mut(client) else { return After::Closed };
        match host.connection {
            Connection::Opening(open) | Connection::Open(open) if open == link => {}
            // Readable before it is connected: the dial failed.
            Connection::Dialing(dialing, _) if dialing == link => {
                if let Some(Err(error)) = self.net.dialed(link) {
                    self.dial_failed(client, link, &error);
                    return After::Closed;
                }
                return After::Again;
            }
            _ => return After::Closed,
        }
        if let Some(room) = host.intake.as_ref().map(|intake| intake.room()) {
            // What was read already and rested comes first.
            host.machine.set_receive_room(room);
            host.machine.handle_input(self.now, &[]);
            self.drain_events(client);
        }
        let Some(host) = self.clients.get(client).filter(|host| host.connection.link() == Some(link)) else {
            return After::Closed;
        };
        if must_rest || host.stack.as_ref().is_some_and(|stack| stack.is_wire_full()) {
            return After::Pause;
        }
        if !host.machine.wants_input() {
            return self.pause_client(client);
        }
        let after = self.read_link(client, link);
        // What it keeps undecoded makes no socket readable: it is to be looked at again.
        let rests = self.clients.get(client).is_some_and(|host| host.connection.link() == Some(link) && !host.machine.wants_input());
        let after = match after {
            After::Drained | After::Again if rests => self.pause_client(client),
            after => after,
        };
        // The machine may have hung up meanwhile: then the link is not this client's any more.
        if self.owner(link) == Owner::Client(client) { after } else { After::Closed }
    }

    /// The machine wants no input: for want of room, or because its own output waits.
    fn pause_client(&mut self, client: ClientKey) -> After {
        let Some(host) = self.clients.get_mut(client) else { return After::Closed };
        let goes_on = host.machine.is_held() && host.intake.as_mut().is_some_and(|intake| !intake.rest());
        if goes_on { After::Again } else { After::Pause }
    }

    /// Its handler takes messages again: this turn reads what was paused.
    pub fn resume_client(&mut self, client: ClientKey) {
        self.with_client(client, |_, _| ());
    }

    /// The connection broke or was not made.
    pub(super) fn client_lost(&mut self, client: ClientKey, cause: Cause) {
        self.let_go(client);
        if let Some(host) = self.clients.get_mut(client) {
            host.machine.handle_closed(self.now, cause);
            self.drain_events(client);
        }
    }

    /// Closes whatever there is of a connection.
    pub(super) fn let_go(&mut self, client: ClientKey) {
        let host = &mut self.clients[client];
        host.stack = None;
        host.gauge.watch(None);
        match core::mem::replace(&mut host.connection, Connection::None) {
            Connection::None | Connection::Asking(..) => {}
            Connection::Resolving(ticket, _) => {
                self.lookups.remove(&ticket);
            }
            Connection::Dialing(link, _) | Connection::Opening(link) | Connection::Open(link) => self.close(link),
        }
    }

    /// As `drain_events`, after a flush that found nothing: without events there is nothing new to
    /// send either.
    pub(super) fn drain_quietly(&mut self, client: ClientKey) {
        if self.clients.get(client).is_some_and(|host| host.machine.has_events()) {
            self.drain_events(client);
        }
    }

    pub(super) fn client_timeout(&mut self, client: ClientKey) {
        if self.must_rest() {
            return;
        }
        let Some(host) = self.clients.get_mut(client) else { return };
        if host.machine.poll_timeout().is_some_and(|deadline| deadline <= self.now) {
            host.machine.handle_timeout(self.now);
            self.drain_events(client);
        } else if host.is_parting() {
            self.drain_events(client);
        }
    }
}
