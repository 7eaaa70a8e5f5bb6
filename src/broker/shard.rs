//! The shard: its tables, its timers, and the five verbs towards the host.

use std::sync::{Arc, RwLock};

use bytes::Bytes;
use slotmap::SlotMap;

use crate::base::{Budget, Duration, Instant, OutBuffer, Rng, Wheel};
use crate::codec::{self, ConnAck, Disconnect, FanOut, Frame, Packet, Properties, PropertyId, PropertyList, Reason, Value, Version};
use crate::route::{MatchCache, Router};

use super::ban::Bans;
use super::connection::{ConnKey, Connection, Resumed, State};
use super::directory::Directory;
use super::hooks::{ClientInfo, Hooks, Interest, NoHooks};
use super::options::Options;
use super::peers::{Levels, Outbox};
use super::schedule::Tasks;
use super::session::{Session, SessionKey};
use super::stats::Stats;

/// One worker's part of a server.
pub struct Shard {
    pub(super) id: u16,
    /// Shards of this server.
    pub(super) count: u16,
    pub(super) levels: Levels,
    /// For each of the others what is to be handed to it; empty if there are none.
    pub(super) outboxes: Vec<Outbox>,
    pub(super) outbox_full: bool,
    pub(super) leaving: Vec<(ConnKey, u16)>,
    pub(super) options: Options,
    pub(super) router: Arc<RwLock<Router>>,
    pub(super) sessions: SlotMap<SessionKey, Session>,
    /// By client id and mount point, see `mount`.
    pub(super) directory: Directory,
    pub(super) connections: SlotMap<ConnKey, Connection>,
    pub(super) wheel: Wheel<TimerKey>,
    pub(super) budget: Budget,
    pub(super) rng: Rng,
    pub(super) hooks: Box<dyn Hooks>,
    pub(super) interest: Interest,
    pub(super) stats: Stats,
    /// Away while a message is routed.
    pub(super) matches: Option<Box<MatchCache>>,
    pub(super) fan_out: FanOut,
    pub(super) dirty: Vec<ConnKey>,
    pub(super) working: Vec<ConnKey>,
    /// Whose packets wait because somebody else is behind.
    pub(super) held: Vec<ConnKey>,
    /// An out-buffer passed its mark: flush before more is taken in.
    pub(super) flush_wanted: bool,
    pub(super) hook_serial: u32,
    pub(super) bans: Bans,
    pub(super) tasks: Tasks,
    /// The payload of the PUBLISH in hand, if it is to become its message's as it is (see `apart`).
    pub(super) apart: Option<Bytes>,
    due: Vec<TimerKey>,
}

/// What a timer is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TimerKey {
    Connection(ConnKey),
    Session(SessionKey),
    Tick,
    Sweep,
}

/// Why a packet ends its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    Codec(codec::Error),
    Reason(Reason, &'static str),
    Proto(crate::proto::Error),
}

impl Fault {
    fn reason(self) -> Reason {
        match self {
            Self::Codec(error) => error.reason(),
            Self::Reason(reason, _) => reason,
            Self::Proto(error) => error.reason(),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Codec(error) => error.to_string(),
            Self::Reason(_, text) => text.to_owned(),
            Self::Proto(error) => error.to_string(),
        }
    }
}

impl From<codec::Error> for Fault {
    fn from(error: codec::Error) -> Self {
        Self::Codec(error)
    }
}

impl From<crate::proto::Error> for Fault {
    fn from(error: crate::proto::Error) -> Self {
        Self::Proto(error)
    }
}

impl Shard {
    /// A shard that shares `router` with its sisters.
    pub fn new(id: u16, options: Options, router: Arc<RwLock<Router>>, budget: Budget, mut rng: Rng, hooks: Option<Box<dyn Hooks>>) -> Self {
        let hooks = hooks.unwrap_or_else(|| Box::new(NoHooks));
        let mut wheel = Wheel::default();
        wheel.insert(Instant::START + SWEEP_INTERVAL, TimerKey::Sweep);
        if id == 0 {
            router.write().expect("router lock").retained_mut().charge_to(&budget);
        }
        // Of a server with many shards only one ticks.
        if hooks.interest().tick && id == 0 {
            wheel.insert(Instant::START + options.tick_interval, TimerKey::Tick);
        }
        Self {
            id,
            count: 1,
            levels: Levels::default(),
            outboxes: Vec::new(),
            outbox_full: false,
            leaving: Vec::new(),
            router,
            sessions: SlotMap::with_key(),
            directory: Directory::new(&mut rng),
            connections: SlotMap::with_key(),
            bans: Bans::new(&mut rng),
            tasks: Tasks::default(),
            wheel,
            budget,
            rng,
            interest: hooks.interest(),
            hooks,
            stats: Stats::default(),
            matches: None,
            fan_out: FanOut::default(),
            dirty: Vec::new(),
            working: Vec::new(),
            held: Vec::new(),
            flush_wanted: false,
            hook_serial: id.into(),
            apart: None,
            due: Vec::new(),
            options,
        }
    }

    /// One whole packet, new or going on after a hook's answer.
    pub(super) fn handle_frame(&mut self, now: Instant, key: ConnKey, frame: Frame<'_>, whole: &[u8], resumed: Option<Resumed>) -> Result<(), Fault> {
        let connection = &self.connections[key];
        let (version, state) = (connection.version, connection.state);
        let packet = codec::decode(version, codec::Sender::Client, frame)?;
        match (state, packet) {
            (State::AwaitConnect, Packet::Connect(connect)) => {
                if resumed.is_none() && self.sends_home(key, &connect) {
                    return Ok(());
                }
                self.on_connect(now, key, &connect, whole, resumed)
            }
            // After AUTH packets it goes on when the hook about its will has answered.
            (State::Authenticating, Packet::Connect(connect)) if resumed.is_some() => self.on_connect(now, key, &connect, whole, resumed),
            (State::AwaitConnect, _) => Err(protocol_error("the first packet must be CONNECT")),
            (State::Authenticating | State::Connected, Packet::Auth(auth)) => self.on_auth(now, key, &auth, whole, resumed),
            (State::Authenticating, Packet::Disconnect(disconnect)) => self.on_disconnect(now, key, &disconnect),
            (State::Authenticating, _) => Err(protocol_error("only AUTH or DISCONNECT while authenticating")),
            (State::Connected, packet) => self.on_packet(now, key, packet, whole, resumed),
            (State::Leaving | State::Closing, _) => Ok(()),
        }
    }

    fn on_packet(&mut self, now: Instant, key: ConnKey, packet: Packet<'_>, whole: &[u8], resumed: Option<Resumed>) -> Result<(), Fault> {
        match packet {
            Packet::Publish(publish) => self.on_publish(now, key, &publish, whole, resumed),
            Packet::PubAck(ack) => self.on_puback(now, key, &ack),
            Packet::PubRec(ack) => self.on_pubrec(now, key, &ack),
            Packet::PubRel(ack) => self.on_pubrel(key, &ack),
            Packet::PubComp(ack) => self.on_pubcomp(now, key, &ack),
            Packet::Subscribe(subscribe) => self.on_subscribe(now, key, &subscribe, whole, resumed),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(key, now, &unsubscribe, whole, resumed),
            Packet::PingReq => {
                let connection = &mut self.connections[key];
                codec::Packet::PingResp.encode(connection.version, connection.out.tail());
                self.mark_dirty(key);
                Ok(())
            }
            Packet::Disconnect(disconnect) => self.on_disconnect(now, key, &disconnect),
            Packet::Connect(_) => Err(protocol_error("a second CONNECT")),
            _ => Err(protocol_error("a packet only a server may send")),
        }
    }

    /// Ends a connection because of what its client did: tells why where the version can say it
    /// (MQTT 5 §4.13.2), then closes.
    pub(super) fn fail(&mut self, now: Instant, key: ConnKey, fault: Fault) {
        let reason = fault.reason();
        match reason {
            Reason::PACKET_TOO_LARGE => self.stats.packets_too_large += 1,
            Reason::SERVER_BUSY => self.stats.connects_refused_busy += 1,
            _ => self.stats.protocol_errors += 1,
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        let peer = &connection.peer;
        self.hooks.log(3, &|| format!("{peer}: {} (0x{:02X}), closing", fault.text(), reason.0));
        if connection.state == State::AwaitConnect {
            self.refuse_malformed_connect(key, fault);
            return self.close(now, key, reason);
        }
        self.disconnect(now, key, reason, Some(&fault.text()));
    }

    /// A CONNECT that could not be decoded: only the versions that promise an answer get one.
    fn refuse_malformed_connect(&mut self, key: ConnKey, fault: Fault) {
        let connection = &mut self.connections[key];
        if let Fault::Codec(codec::Error::UnsupportedVersion(level)) = fault {
            let version = if level > Version::V5.level() { Version::V5 } else { Version::V311 };
            let refusal = ConnAck { session_present: false, reason: Reason::UNSUPPORTED_PROTOCOL_VERSION, properties: Properties::EMPTY };
            refusal.encode(version, connection.out.tail());
            self.mark_dirty(key);
        }
    }

    /// Sends DISCONNECT (5.0) and closes the connection once that is written.
    pub(super) fn disconnect(&mut self, now: Instant, key: ConnKey, reason: Reason, text: Option<&str>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.state == State::Connected && connection.version.has_properties() {
            let mut properties = PropertyList::new();
            // Always with a text: some clients overlook the reason of a packet without properties.
            let text = text.unwrap_or(reason.text());
            if !connection.flags.no_problem_information {
                properties.push(PropertyId::ReasonString, Value::Utf8(text));
            }
            // A reason string that makes the packet too large is left out (MQTT-3.14.2-3).
            let overhead = DISCONNECT_OVERHEAD + text.len();
            if overhead > connection.packet_bytes_max as usize {
                properties.clear();
            }
            let disconnect = Disconnect { reason, properties: properties.as_properties() };
            disconnect.encode(connection.version, connection.out.tail());
        }
        self.close(now, key, reason);
    }

    /// Nothing more is taken from this client; what is in its out-buffer still goes out.
    pub(super) fn close(&mut self, now: Instant, key: ConnKey, reason: Reason) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.state == State::Closing {
            return;
        }
        let was_connected = connection.state == State::Connected;
        connection.state = State::Closing;
        connection.partial = Vec::new();
        connection.flags.throttled = false;
        if core::mem::take(&mut connection.flags.held) {
            self.held.retain(|held| *held != key);
        }
        connection.parked = None;
        connection.retained = None;
        connection.last_input = now;
        self.mark_dirty(key);
        self.arm_connection(key);
        self.leave_session(now, key, reason, was_connected);
    }

    /// The network connection is gone (reset, end of stream, or closed by the host as told).
    pub fn closed(&mut self, now: Instant, key: ConnKey) {
        self.close(now, key, Reason::UNSPECIFIED_ERROR);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.out.clear();
        }
        self.connections.remove(key);
    }

    pub(super) fn mark_dirty(&mut self, key: ConnKey) {
        self.connections[key].mark_dirty(key, &mut self.dirty);
    }

    /// Moves the connections that have something to send, or to be closed, into `dirty`.
    pub fn take_dirty(&mut self, now: Instant, dirty: &mut Vec<ConnKey>) {
        self.flush_wanted = false;
        let mut marked = core::mem::take(&mut self.dirty);
        for key in marked.drain(..) {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.flags.dirty = false;
            // A full socket says when it takes bytes again: no write before that.
            if !connection.flags.blocked || connection.out.is_empty() {
                dirty.push(key);
                continue;
            }
            connection.recharge();
            self.watch_slow(now, key);
        }
        self.dirty = marked;
    }

    /// A client whose socket is full and whose out-buffer is over its mark has a time to read.
    fn watch_slow(&mut self, now: Instant, key: ConnKey) {
        let connection = &mut self.connections[key];
        if !connection.is_output_stuck(self.options.max_output_bytes) {
            connection.slow_since = None;
        } else if connection.slow_since.is_none() && connection.is_open() {
            connection.slow_since = Some(now);
            self.arm_connection(key);
            self.tell_slow(key);
        }
    }

    /// What is to be written to one connection; `None` if it is gone.
    pub fn output(&mut self, key: ConnKey) -> Option<&mut OutBuffer> {
        Some(&mut self.connections.get_mut(key)?.out)
    }

    /// The host wrote `count` bytes; `blocked` says the socket took no more. Answers whether the
    /// connection is finished and to be closed.
    pub fn sent(&mut self, now: Instant, key: ConnKey, count: usize, blocked: bool) -> bool {
        self.stats.bytes_sent += count as u64;
        let Some(connection) = self.connections.get_mut(key) else { return false };
        connection.out.advance(count);
        connection.out.release();
        connection.flags.blocked = blocked;
        connection.recharge();
        if connection.state == State::Closing {
            // What layers have sealed may still wait for the socket.
            return connection.out.is_empty() && (!blocked || connection.last_input + CLOSING_TIME_MAX <= now);
        }
        let more = !connection.out.is_empty();
        self.watch_slow(now, key);
        if !blocked {
            self.pump(now, key);
            if more {
                self.mark_dirty(key);
            }
        }
        false
    }

    /// The socket takes bytes again.
    pub fn writable(&mut self, key: ConnKey) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.flags.blocked = false;
            self.mark_dirty(key);
        }
    }

    /// Work that goes on without input (retained messages, see `retain`; what was held back): ask for another turn.
    pub fn has_work(&self) -> bool {
        !self.working.is_empty() || !self.dirty.is_empty() || (!self.held.is_empty() && !self.is_congested())
    }

    /// The next timer, at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wheel.next_deadline().into_iter().chain(self.tasks.next_deadline()).min()
    }

    /// Time went by.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut due = core::mem::take(&mut self.due);
        self.wheel.expire(now, &mut due);
        for key in due.drain(..) {
            match key {
                TimerKey::Connection(key) => self.connection_timeout(now, key),
                TimerKey::Session(key) => self.session_timeout(now, key),
                TimerKey::Tick => {
                    self.hooks.tick();
                    self.wheel.insert(now + self.options.tick_interval, TimerKey::Tick);
                }
                TimerKey::Sweep => {
                    self.sweep(now);
                    self.wheel.insert(now + SWEEP_INTERVAL, TimerKey::Sweep);
                }
            }
        }
        self.due = due;
        self.run_tasks(now);
    }

    /// Puts the connection's next deadline into the wheel, unless an earlier one is there.
    pub(super) fn arm_connection(&mut self, key: ConnKey) {
        let Some(deadline) = self.connection_deadline(key) else { return };
        let connection = &mut self.connections[key];
        if connection.timer.is_none_or(|armed| deadline < armed) {
            connection.timer = Some(self.wheel.insert_within(deadline, STALE_MAX, TimerKey::Connection(key)));
        }
    }

    fn connection_deadline(&self, key: ConnKey) -> Option<Instant> {
        let connection = self.connections.get(key)?;
        let state = match connection.state {
            State::AwaitConnect | State::Leaving | State::Authenticating => Some(connection.opened + self.options.connect_timeout),
            State::Connected if connection.pause.is_some() => None,
            State::Connected => keep_alive_deadline(connection),
            State::Closing => Some(connection.last_input + CLOSING_TIME_MAX),
        };
        let parked = connection.parked.as_ref().map(|parked| parked.deadline);
        let slow = connection.slow_since.map(|since| since + self.options.slow_consumer_grace);
        [state, parked, slow, self.unfinished_deadline(connection), self.rate_deadline(key)].into_iter().flatten().min()
    }

    fn connection_timeout(&mut self, now: Instant, key: ConnKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.timer.is_some_and(|armed| armed > now) {
            return; // A stale entry: an earlier one took its place.
        }
        connection.timer = None;
        if connection.parked.as_ref().is_some_and(|parked| parked.deadline <= now) {
            return self.hook_timed_out(now, key);
        }
        if self.end_throttle(now, key) {
            return self.arm_connection(key);
        }
        let Some(connection) = self.connections.get(key) else { return };
        let slow = connection.slow_since.is_some_and(|since| since + self.options.slow_consumer_grace <= now);
        let unfinished = self.unfinished_deadline(&self.connections[key]).is_some_and(|deadline| deadline <= now);
        let connection = &mut self.connections[key];
        match connection.state {
            State::AwaitConnect | State::Leaving | State::Authenticating if connection.opened + self.options.connect_timeout <= now => {
                self.stats.connect_timeouts += 1;
                self.close(now, key, Reason::UNSPECIFIED_ERROR);
            }
            State::Connected if slow => {
                self.stats.slow_consumers_closed += 1;
                // Half a packet may be on the wire: no DISCONNECT could follow it.
                connection.out.clear();
                self.close(now, key, Reason::QUOTA_EXCEEDED);
            }
            State::Connected if unfinished => return self.unfinished_timeout(now, key),
            State::Connected if connection.pause.is_some() => {}
            State::Connected if keep_alive_deadline(connection).is_some_and(|deadline| deadline <= now) => {
                self.stats.keep_alive_timeouts += 1;
                self.disconnect(now, key, Reason::KEEP_ALIVE_TIMEOUT, None);
            }
            State::Closing if connection.last_input + CLOSING_TIME_MAX <= now => {
                connection.out.clear();
                self.mark_dirty(key);
                return;
            }
            _ => {}
        }
        self.arm_connection(key);
    }

    /// Counters and gauges.
    pub fn stats(&self) -> Stats {
        let router = self.router.read().expect("router lock");
        let mut stats = self.stats;
        stats.clients_maximum = self.levels.clients.peak() as u64;
        stats.sessions_offline = self.sessions.values().filter(|session| session.connection.is_none() && session.local.is_none()).count() as u64;
        stats.subscriptions = router.subscription_count() as u64;
        stats.retained_messages = router.retained().count() as u64;
        stats.memory_bytes = self.budget.used_bytes() as u64;
        stats.bans = self.bans.len() as u64;
        stats.scheduled_tasks = self.tasks.len() as u64;
        stats
    }

    /// The options this shard runs with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Takes new options; connections and sessions keep what they negotiated.
    pub fn set_options(&mut self, options: Options) {
        self.options = options;
    }
}

/// One and a half times the keep-alive without a packet ends the connection (§3.1.2.10).
fn keep_alive_deadline(connection: &Connection) -> Option<Instant> {
    (connection.keep_alive_s != 0).then(|| connection.last_input + Duration::from_millis(u64::from(connection.keep_alive_s) * 1_500))
}

pub(super) fn protocol_error(text: &'static str) -> Fault {
    Fault::Reason(Reason::PROTOCOL_ERROR, text)
}

/// Who a hook is asked about.
pub(super) fn client_info<'a>(connection: &'a Connection, client_id: &'a str, username: Option<&'a str>) -> ClientInfo<'a> {
    let (peer, protocol_level) = (&*connection.peer, connection.version.level());
    ClientInfo {
        client_id,
        username,
        peer,
        protocol_level,
        mount_point: connection.mount_point(),
        about: connection.about.as_ref(),
        process: connection.process(),
    }
}

/// A closing connection whose socket takes nothing is closed after this time.
const CLOSING_TIME_MAX: Duration = Duration::from_secs(5);
/// The most a DISCONNECT adds to its reason string: header, reason, property lengths.
const DISCONNECT_OVERHEAD: usize = 16;
/// A timer is looked at after this time at the latest, so that those of ended connections and
/// sessions do not pile up.
pub(super) const STALE_MAX: Duration = Duration::from_secs(120);
/// How often expired retained messages and bans are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
