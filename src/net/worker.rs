//! One thread's loop: its turn, and who owns which link.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use slotmap::SlotMap;

use super::client_host::{ClientHost, ClientKey};
use super::dispatch::{EventQueue, Owner as EventOwner};
use super::inbox::Inbox;
use super::last_words::{LOOK_INTERVAL, LastWords, Speaker};
use super::log::Log;
use super::server_host::{ConnKey, ServerHost, ServerKey};
use super::tasks::Tasks;
use super::{LinkId, ListenerId, Net, Ready};
use crate::base::{Duration, IdMap, Instant};

/// What other threads post to a worker.
pub type Command<N> = Box<dyn FnOnce(&mut Worker<N>) + Send>;

/// Bytes read from one connection in one turn.
pub(super) const READ_BYTES_MAX: usize = 65_536;
/// Payloads taken as they are from one connection in one turn.
pub(super) const PAYLOADS_PER_READ: usize = 16;
/// How long a closed link is read on, so that what we sent last is not destroyed by a reset.
const LINGER: Duration = Duration::from_secs(2);
/// Links that linger at one time; the oldest is closed when there are more.
const LINGERING_MAX: usize = 1_024;
/// How often a paused link is looked at again.
const PAUSE_INTERVAL: Duration = Duration::from_millis(50);
/// A host may make its own output dirty again while it is flushed (queues move on): so often.
const FLUSH_ROUNDS: usize = 4;

/// One loop with its servers and clients.
pub struct Worker<N: Net> {
    pub(super) net: N,
    pub(super) now: Instant,
    pub(super) scratch: Box<[u8]>,
    /// What layers have opened, while it is handed on; empty in between.
    pub(super) plain: Vec<u8>,
    pub(super) servers: SlotMap<ServerKey, ServerHost<N>>,
    pub(super) clients: SlotMap<ClientKey, ClientHost>,
    /// Clients that want to know when the wall clock is set.
    pub(super) clock_waiters: usize,
    /// Names being looked up, and for whom.
    pub(super) lookups: IdMap<u64, ClientKey>,
    pub(super) lookup_serial: u64,
    /// Which of the runtime's workers it is.
    pub(super) index: u16,
    /// DISPATCH mode: where callbacks wait for the application's thread.
    pub(super) events: Option<Arc<EventQueue>>,
    /// Where the hooks of servers are called, if not here.
    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    pub(super) hooks: Option<Arc<EventQueue>>,
    pub(super) log: Option<Arc<dyn Log>>,
    /// Some server has shards on other workers.
    pub(super) has_peers: bool,
    tasks: Arc<Tasks>,
    inbox: Arc<Inbox<Command<N>>>,
    commands: Vec<Command<N>>,
    ready: Vec<Ready>,
    links: Vec<LinkState>,
    listeners: IdMap<u32, ServerKey>,
    /// Whose the counters of a listener are, also when it is closed: its socket may stay for a while.
    #[cfg(feature = "datagram")]
    counted_for: IdMap<u32, ServerKey>,
    again: Vec<LinkId>,
    /// Listeners whose queue was not emptied, and when to go on: at once, or when they may, or descriptors may be there again.
    accept_again: Vec<(Instant, ListenerId)>,
    paused: Vec<LinkId>,
    lingering: VecDeque<(Instant, LinkId, u32)>,
    /// The number of the last link that began to linger.
    linger_serial: u32,
    pub(super) last_words: LastWords,
}

#[derive(Clone, Copy, Default, Debug)]
struct LinkState {
    owner: Owner,
    /// On the `again` or the `paused` list.
    listed: bool,
    /// The poll has reported the end of the stream, will not do so again, and nobody has looked for it since.
    ended: bool,
    /// It has done so at any time.
    has_ended: bool,
}

/// Who gets what a link says.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Owner {
    #[default]
    Nobody,
    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    Connection(ServerKey, ConnKey),
    Client(ClientKey),
    /// Closed by us, read on for a while, until the peer has seen it. With its number on the list of these.
    Lingering(u32),
}

/// What is to become of a link after a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum After {
    /// Read to its end; the poll will tell.
    Drained,
    /// There is more: next turn.
    Again,
    /// It must not be read now.
    Pause,
    /// It must not be read now, and whoever says so lists it when it may be.
    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    Elsewhere,
    /// The stream ended; the owner has been told.
    Closed,
}

impl<N: Net> Worker<N> {
    /// A worker without servers and clients. `inbox` wakes `net`.
    pub fn new(net: N, inbox: Arc<Inbox<Command<N>>>) -> Self {
        Self {
            now: net.now(),
            net,
            scratch: vec![0; READ_BYTES_MAX].into_boxed_slice(),
            plain: Vec::new(),
            servers: SlotMap::with_key(),
            clients: SlotMap::with_key(),
            clock_waiters: 0,
            lookups: IdMap::default(),
            lookup_serial: 0,
            index: 0,
            events: None,
            hooks: None,
            log: None,
            has_peers: false,
            tasks: Arc::default(),
            inbox,
            commands: Vec::new(),
            ready: Vec::new(),
            links: Vec::new(),
            listeners: IdMap::default(),
            #[cfg(feature = "datagram")]
            counted_for: IdMap::default(),
            again: Vec::new(),
            accept_again: Vec::new(),
            paused: Vec::new(),
            lingering: VecDeque::new(),
            linger_serial: 0,
            last_words: LastWords::default(),
        }
    }

    /// Adds what a runtime has around its workers.
    /// The second queue is of the hook thread.
    pub(super) fn furnish(
        &mut self,
        index: u16,
        tasks: Arc<Tasks>,
        (events, hooks): (Option<Arc<EventQueue>>, Option<Arc<EventQueue>>),
        log: Option<Arc<dyn Log>>,
    ) {
        self.index = index;
        // A ticket says whose it is.
        self.lookup_serial = index.into();
        self.tasks = tasks;
        self.hooks = hooks.or(events.clone());
        self.events = events;
        self.log = log;
    }

    /// One turn: waits at most `wait_max` (`None`: as long as nothing happens), then does what
    /// there is to do.
    ///
    /// # Errors
    /// The poll itself failed; this worker cannot go on.
    pub fn turn(&mut self, wait_max: Option<Duration>) -> io::Result<()> {
        self.run_commands();
        self.flush();
        let timeout = self.time_to_wait(wait_max);
        let sleeps = timeout != Some(Duration::ZERO) && self.inbox.may_sleep();
        let timeout = if sleeps { timeout } else { Some(Duration::ZERO) };
        for key in self.peered() {
            self.await_report(key);
        }
        let mut ready = core::mem::take(&mut self.ready);
        self.net.wait(timeout, &mut ready)?;
        self.inbox.awake();
        self.now = self.net.now();
        self.run_commands();
        self.exchange_posts();
        for server in self.servers.values_mut() {
            server.go_on(self.now);
        }
        // Those that had more in an earlier turn; what has more in this one waits for the next, when
        // its answers are out.
        let mut waiting = core::mem::take(&mut self.again);
        waiting.append(&mut self.paused);
        for event in ready.drain(..) {
            self.handle(event);
        }
        self.ready = ready;
        self.read_again(waiting);
        for key in self.peered() {
            self.welcome(key);
        }
        self.accept_again();
        self.run_timers();
        for server in self.servers.values_mut() {
            server.work(self.now);
        }
        self.run_commands();
        self.flush();
        Ok(())
    }

    /// When the next turn is due; `None`: when something happens. Zero work left: see `has_work`.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.has_work() {
            return Some(self.now);
        }
        let servers = self.servers.values().filter_map(ServerHost::deadline);
        let clients = self.clients.values().filter_map(ClientHost::deadline).filter(|_| !self.must_rest());
        let lingering = self.lingering.front().map(|(deadline, ..)| *deadline);
        let paused = (!self.paused.is_empty()).then(|| self.now + PAUSE_INTERVAL);
        let is_parting = self.servers.values().any(ServerHost::is_parting) || self.clients.values().any(ClientHost::is_parting);
        let parting = is_parting.then(|| self.now + LOOK_INTERVAL);
        servers
            .chain(clients)
            .chain(lingering)
            .chain(paused)
            .chain(parting)
            .chain(self.accept_again.iter().map(|(due, _)| *due))
            .chain(self.tasks.deadline())
            .min()
    }

    fn has_work(&self) -> bool {
        !self.again.is_empty()
            || self.accept_again.iter().any(|(due, _)| *due <= self.now)
            || self.servers.values().any(ServerHost::has_work)
            || (!self.must_rest() && self.clients.values().any(ClientHost::has_work))
    }

    /// The application does not dispatch what it was told: clients are not read, send nothing and
    /// their time stands still, so that they have nothing more to tell. Servers are not read.
    pub(super) fn must_rest(&self) -> bool {
        self.events.as_ref().is_some_and(|events| events.is_full())
    }

    /// Calls the application: here, or later on the thread that dispatches.
    pub(super) fn tell(&self, owner: EventOwner, what: Box<dyn FnOnce() + Send>) {
        match &self.events {
            Some(events) => events.push(owner, what),
            None => what(),
        }
    }

    fn time_to_wait(&self, wait_max: Option<Duration>) -> Option<Duration> {
        let until = self.next_deadline().map(|deadline| {
            // Rounded up: a wait that ends before its timer would spin.
            let wait = deadline.since(self.net.now());
            Duration::from_millis(u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX))
        });
        match (until, wait_max) {
            (Some(until), Some(max)) => Some(until.min(max)),
            (until, max) => until.or(max),
        }
    }

    pub(super) fn run_commands(&mut self) {
        let mut commands = core::mem::take(&mut self.commands);
        self.inbox.take(&mut commands);
        if !commands.is_empty() {
            self.now = self.net.now();
        }
        for command in commands.drain(..) {
            command(self);
        }
        self.commands = commands;
    }

    fn handle(&mut self, event: Ready) {
        match event {
            Ready::Listener(listener) => self.accept(listener),
            #[cfg(feature = "datagram")]
            Ready::Moved { link, peer } => match self.owner(link) {
                Owner::Client(client) => self.client_moved(client, link),
                _ => self.moved(link, peer),
            },
            #[cfg(feature = "datagram")]
            Ready::Counted { listener, counters } => {
                if let Some(&server) = self.counted_for.get(&listener.0) {
                    self.counted(server, listener, &counters);
                }
            }
            #[cfg(feature = "datagram")]
            Ready::Failed { listener, peer, fault } => {
                if let Some(&server) = self.listeners.get(&listener.0) {
                    self.came_to_nothing(server, peer, &fault);
                }
            }
            Ready::Resolved { ticket, addresses } => self.resolved(ticket, addresses),
            // Those who try again at once do so when the timers run, in this turn.
            Ready::ClockSet => self.clients.values_mut().for_each(|host| host.machine.clock_set(self.now)),
            Ready::Link { link, readable, writable, ended } => {
                if writable {
                    match self.owner(link) {
                        Owner::Connection(server, connection) => {
                            if let Some(server) = self.servers.get_mut(server) {
                                server.writable(connection);
                            }
                        }
                        Owner::Client(client) => self.client_writable(client, link),
                        Owner::Nobody | Owner::Lingering(_) => {}
                    }
                }
                if ended {
                    let state = &mut self.links[link.0 as usize];
                    (state.ended, state.has_ended) = (true, true);
                }
                if readable && !self.links[link.0 as usize].listed {
                    self.read(link);
                }
            }
        }
    }

    /// Reads one link once, and files it by what came of that.
    fn read(&mut self, link: LinkId) {
        let after = match self.owner(link) {
            Owner::Connection(server, connection) => self.read_connection(server, connection, link),
            Owner::Client(client) => self.read_client(client, link),
            Owner::Lingering(_) => self.read_lingering(link),
            Owner::Nobody => After::Drained,
        };
        match after {
            // A short read may have left the end, which came in the same report.
            After::Drained if core::mem::take(&mut self.links[link.0 as usize].ended) => self.list(link, false),
            After::Drained | After::Closed | After::Elsewhere => {}
            After::Again => self.list(link, false),
            After::Pause => self.list(link, true),
        }
    }

    pub(super) fn list(&mut self, link: LinkId, pause: bool) {
        self.links[link.0 as usize].listed = true;
        if pause { self.paused.push(link) } else { self.again.push(link) }
    }

    fn read_again(&mut self, waiting: Vec<LinkId>) {
        for link in waiting {
            // A link that was closed and given away since is simply not ours to read.
            if core::mem::take(&mut self.links[link.0 as usize].listed) {
                self.read(link);
            }
        }
    }

    fn accept_again(&mut self) {
        let now = self.now;
        let (due, later): (Vec<_>, Vec<_>) = core::mem::take(&mut self.accept_again).into_iter().partition(|(due, _)| *due <= now);
        self.accept_again = later;
        due.into_iter().for_each(|(_, listener)| self.accept(listener));
    }

    fn accept(&mut self, listener: ListenerId) {
        const PER_TURN: usize = 64;
        const RETRY: Duration = Duration::from_millis(100);
        let Some(&server) = self.listeners.get(&listener.0) else { return };
        if self.accept_again.iter().any(|(_, waiting)| *waiting == listener) {
            return;
        }
        if self.must_rest() {
            // Whoever comes has to be told of, too: he waits in the queue of the socket.
            return self.accept_again.push((self.now + RETRY, listener));
        }
        for _ in 0..PER_TURN {
            if let Some(until) = self.listener_rests(server, listener) {
                return self.accept_again.push((until, listener));
            }
            match self.net.accept(listener) {
                Ok(None) => return,
                Ok(Some((link, peer))) => {
                    self.accepted(server, listener, link, peer);
                }
                Err(_) => return self.accept_again.push((self.now + RETRY, listener)),
            }
        }
        self.accept_again.push((self.now, listener));
    }

    fn run_timers(&mut self) {
        for key in self.servers.keys().collect::<Vec<_>>() {
            self.server_timeout(key);
        }
        for key in self.clients.keys().collect::<Vec<_>>() {
            self.client_timeout(key);
        }
        for id in self.tasks.due(self.now) {
            self.tell(EventOwner::Task, self.tasks.runner(id));
        }
        while let Some(&(deadline, link, serial)) = self.lingering.front() {
            if deadline > self.now && self.lingering.len() <= LINGERING_MAX {
                break;
            }
            self.lingering.pop_front();
            // The link may be another one by now that lingers, too.
            if self.owner(link) == Owner::Lingering(serial) {
                self.close(link);
            }
        }
    }

    fn flush(&mut self) {
        for _ in 0..FLUSH_ROUNDS {
            let mut wrote = false;
            for key in self.peered() {
                self.see_off(key);
            }
            for key in self.servers.keys().collect::<Vec<_>>() {
                wrote |= self.flush_server(key);
            }
            for key in self.clients.keys().collect::<Vec<_>>() {
                wrote |= self.flush_client(key);
            }
            if !wrote {
                break;
            }
        }
        // Begun where the first of them came, at the latest here given up.
        self.net.watch_clock(self.clock_waiters != 0);
        // A connection that broke may have left a will.
        for key in self.peered() {
            self.hand_over(key);
        }
    }

    /// Takes what other workers have for this one, and tries to get rid of what they had no room for:
    /// before anything is read, because that depends on it.
    fn exchange_posts(&mut self) {
        for key in self.peered() {
            self.take_posts(key);
            self.hand_over(key);
        }
    }

    /// The servers that may have shards on other workers.
    fn peered(&self) -> Vec<ServerKey> {
        if self.has_peers { self.servers.keys().collect() } else { Vec::new() }
    }

    pub(super) fn owner(&self, link: LinkId) -> Owner {
        self.links.get(link.0 as usize).map_or(Owner::Nobody, |state| state.owner)
    }

    pub(super) fn own(&mut self, link: LinkId, owner: Owner) {
        let index = link.0 as usize;
        if self.links.len() <= index {
            self.links.resize(index + 1, LinkState::default());
        }
        self.links[index] = LinkState { owner, ..LinkState::default() };
    }

    /// A link is nobody's any more.
    pub(super) fn disown(&mut self, link: LinkId) {
        self.links[link.0 as usize] = LinkState::default();
    }

    /// The peer of a link sends no more, though it may not have been read to its end.
    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    pub(super) fn has_ended(&self, link: LinkId) -> bool {
        self.links[link.0 as usize].has_ended
    }

    /// Closes a link at once.
    pub(super) fn close(&mut self, link: LinkId) {
        self.disown(link);
        self.net.close(link);
    }

    /// Says good-bye and reads on for a while: closing a socket with unread input would reset the
    /// connection and may destroy the last packet on its way to the peer.
    pub(super) fn linger(&mut self, link: LinkId, speaker: Speaker) {
        self.net.shutdown(link);
        #[cfg(feature = "datagram")]
        if let Some(watch) = self.net.watched(link) {
            self.last_words.push(speaker, watch);
        }
        let _ = speaker;
        let deadline = self.now + LINGER;
        self.linger_serial = self.linger_serial.wrapping_add(1);
        self.own(link, Owner::Lingering(self.linger_serial));
        self.lingering.push_back((deadline, link, self.linger_serial));
        self.list(link, false);
    }

    fn read_lingering(&mut self, link: LinkId) -> After {
        match self.net.read(link, &mut self.scratch) {
            Ok(count) if count == self.scratch.len() => After::Again,
            Ok(count) if count > 0 => After::Drained,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => After::Drained,
            _ => {
                self.close(link);
                After::Closed
            }
        }
    }

    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    pub(super) fn listen_for(&mut self, listener: ListenerId, server: Option<ServerKey>) {
        match server {
            Some(server) => {
                self.listeners.insert(listener.0, server);
                #[cfg(feature = "datagram")]
                self.counted_for.insert(listener.0, server);
            }
            None => {
                self.listeners.remove(&listener.0);
                self.accept_again.retain(|(_, again)| *again != listener);
            }
        }
    }

    /// The inbox of this worker.
    pub fn inbox(&self) -> &Arc<Inbox<Command<N>>> {
        &self.inbox
    }

    /// The world this worker lives in.
    pub fn net(&mut self) -> &mut N {
        &mut self.net
    }

    /// The time of this turn.
    pub fn now(&self) -> Instant {
        self.now
    }
}
