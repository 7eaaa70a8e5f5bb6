//! One connection of generation 2.
//!
//! # Theory of operation
//! ```text
//!   client    Calling ──CONNACK 80──> Open ──finish, all acknowledged──> Closing ──CLOSE answered──> Over
//!   listener              (made) ──> Open ──peer's CLOSE, RESET, silence────────────────────────────> Over
//! ```
//! The endpoint hands in frames with this connection's id ([`Peer::receive`]), asks for datagrams ([`Peer::transmit`]) and for
//! the time at which [`Peer::expire`] is due. All of this is in `receive`, `transmit` and `timers`; here is what they share, and
//! the stream as its user sees it.
//!
//! A client is open with the first CONNACK: its bytes leave right behind the CONNECT that bears the listener's id. Only
//! what comes then proves that the listener has made its side (`is_confirmed`), and until then a RESET means nothing.
//!
//! A listener's side is half open until the first packet is there; nobody above hears of it before.

mod receive;
mod timers;
mod transmit;

use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::congestion::Congestion;
use super::frame::Hello;
use super::incoming::Incoming;
use super::mtu::Mtu;
use super::options::Options;
use super::outgoing::Outgoing;
use super::pacer::{Pace, Pacer};
use super::path::Challenge;
use super::rtt::Rtt;
use super::{Marks, Reason, Statistics};
use crate::base::{Duration, Instant, Rng};
use crate::stack::{Fault, FaultKind};

/// Who dialled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// We.
    Client,
    /// They.
    Listener,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// A client that has no answer.
    Calling,
    Open,
    /// Our CLOSE is not answered.
    Closing {
        reason: Reason,
        left: u8,
        next_at: Instant,
    },
    /// Nothing more is sent or taken.
    Over,
}

/// The two addresses of a way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    /// Theirs.
    pub remote: SocketAddr,
    /// Ours, if that is known.
    pub local: Option<IpAddr>,
}

/// One connection of generation 2.
#[derive(Debug)]
pub struct Peer {
    role: Role,
    stage: Stage,
    way: Way,
    options: Arc<Options>,
    own_id: u64,
    peer_id: u64,
    /// What a RESET from the peer bears; a client's only.
    token: u64,
    incoming: Incoming,
    outgoing: Outgoing,
    rtt: Rtt,
    congestion: Congestion,
    pacer: Pacer,
    mtu: Mtu,
    idle: Duration,
    /// What the peer would let pass, if it were asked alone.
    peer_idle: Duration,
    opened_at: Instant,
    received_at: Instant,
    sent_at: Instant,
    /// CONNECT or CONNACK is to be sent.
    hello_due: bool,
    /// When it was sent last.
    hello_at: Instant,
    /// When a client learnt the listener's id.
    named_at: Instant,
    /// When a client repeats its CONNECT, and how often it did.
    repeat_at: Instant,
    repeats: u32,
    is_confirmed: bool,
    /// A listener's side whose first packet is not there.
    is_half_open: bool,
    /// Frames to be sent whatever the window says.
    probes_due: u8,
    /// Where the next of them begins to look for bytes.
    probe_from: u32,
    /// A loss has just lowered the window: one frame of what is lost leaves all the same (RFC 9002 §7.3.2).
    repeat_due: bool,
    /// The last DATA asked for an answer at once.
    asked_at_once: bool,
    /// Probe time-outs since something arrived.
    failures: u32,
    /// The same for a sender that the limit stops.
    blocked_probes: u32,
    pong: Option<(Way, u64)>,
    /// The last challenge a client was put, which comes up to three times.
    asked: Option<u64>,
    challenge: Option<Box<Challenge>>,
    challenged_at: Option<Instant>,
    /// All is written: when waiting for acknowledgements ends.
    finish_at: Option<Instant>,
    /// The peer has said good-bye.
    is_finished: bool,
    answer_close: bool,
    rng: Rng,
    /// What the user has not been told.
    pub(super) marks: Marks,
    /// How it ended, until the user was told.
    pub(super) ending: Option<Option<Fault>>,
    /// What happened on it.
    pub(super) statistics: Statistics,
}

impl Peer {
    /// A client's side: it calls.
    pub fn calling(now: Instant, way: Way, own_id: u64, options: &Arc<Options>, mut rng: Rng) -> Self {
        let repeat_at = now + rng.jitter(Duration::from_secs(1)) + Duration::from_millis(250);
        let hello = Hello { frame_bytes_max: options.frame_bytes, limit: 0, idle_s: u16::MAX, ..Hello::default() };
        let mut peer = Self::new(now, Role::Client, way, own_id, &hello, options, rng);
        (peer.stage, peer.hello_due, peer.repeat_at) = (Stage::Calling, true, repeat_at);
        peer
    }

    /// A listener's side, for the CONNECT that bore our id.
    pub fn called(now: Instant, way: Way, own_id: u64, hello: &Hello, options: &Arc<Options>, rng: Rng) -> Self {
        let mut peer = Self::new(now, Role::Listener, way, own_id, hello, options, rng);
        (peer.hello_due, peer.is_confirmed) = (true, true);
        peer.is_half_open = true;
        peer
    }

    fn new(now: Instant, role: Role, way: Way, own_id: u64, hello: &Hello, options: &Arc<Options>, mut rng: Rng) -> Self {
        let mtu = Mtu::new(now, options.frame_bytes, options.probe_bytes_max, hello.frame_bytes_max);
        Self {
            role,
            stage: Stage::Open,
            way,
            options: Arc::clone(options),
            own_id,
            peer_id: hello.sender,
            token: hello.token,
            incoming: Incoming::new(now, options),
            outgoing: Outgoing::new(hello.limit, options.send_bytes_max, rng.fork()),
            rtt: Rtt::default(),
            congestion: Congestion::new(options.congestion, mtu.frame_bytes()),
            pacer: Pacer::default(),
            mtu,
            idle: options.idle_timeout.min(idle_of(hello)),
            peer_idle: idle_of(hello),
            opened_at: now,
            received_at: now,
            sent_at: now,
            hello_due: false,
            hello_at: now,
            named_at: now,
            repeat_at: now,
            repeats: 0,
            is_confirmed: false,
            is_half_open: false,
            probes_due: 0,
            probe_from: 0,
            repeat_due: false,
            asked_at_once: false,
            failures: 0,
            blocked_probes: 0,
            pong: None,
            asked: None,
            challenge: None,
            challenged_at: None,
            finish_at: None,
            is_finished: false,
            answer_close: false,
            rng,
            marks: Marks::default(),
            ending: None,
            statistics: Statistics::default(),
        }
    }

    /// Where it is.
    pub fn way(&self) -> Way {
        self.way
    }

    /// The id the other side gave itself; 0: not known yet.
    pub fn peer_id(&self) -> u64 {
        self.peer_id
    }

    /// The id of this side.
    pub fn own_id(&self) -> u64 {
        self.own_id
    }

    /// A listener's side whose first packet is not there.
    pub fn is_half_open(&self) -> bool {
        self.is_half_open
    }

    /// No answer of generation 2 has come.
    pub fn is_calling(&self) -> bool {
        self.stage == Stage::Calling
    }

    /// It may be forgotten, as far as the wire is concerned.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// As [`crate::stack::DatagramEndpoint::read`].
    pub fn read(&mut self, now: Instant, buffer: &mut [u8]) -> Option<usize> {
        let count = self.incoming.read(now, buffer, self.rtt.smoothed());
        if count.is_none() && self.is_finished && self.incoming.is_read() { Some(0) } else { count }
    }

    /// As [`crate::stack::DatagramEndpoint::write`].
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        if self.stage != Stage::Open || self.finish_at.is_some() { 0 } else { self.outgoing.write(bytes) }
    }

    /// No more is written: when all is acknowledged, it is closed.
    pub fn finish(&mut self, now: Instant) {
        if self.finish_at.is_none() {
            self.finish_at = Some(now + self.options.close_timeout);
            self.close_if_done(now);
        }
    }

    /// Says good-bye, whatever is on its way.
    pub fn close(&mut self, now: Instant, reason: Reason) {
        match self.stage {
            Stage::Calling => self.stage = Stage::Over,
            Stage::Open => self.stage = Stage::Closing { reason, left: CLOSES, next_at: now },
            Stage::Closing { .. } | Stage::Over => {}
        }
    }

    /// The own address is another one: the peer has to hear of it.
    pub fn rebound(&mut self) {
        if self.stage == Stage::Open {
            self.send_probes(1);
        }
    }

    /// What it holds beside itself.
    pub fn memory_bytes(&self) -> usize {
        let challenge = self.challenge.as_ref().map_or(0, |_| size_of::<Challenge>());
        self.incoming.memory_bytes() + self.outgoing.memory_bytes() + challenge
    }

    /// The statistics, with what stands elsewhere.
    pub fn statistics(&self) -> Statistics {
        Statistics { rtt: self.rtt.smoothed(), window_bytes: self.congestion.window(), frame_bytes: self.mtu.frame_bytes(), ..self.statistics }
    }

    fn pace(&self) -> Pace {
        Pace { window: self.congestion.window(), rtt: self.rtt.smoothed(), frame_bytes: self.mtu.frame_bytes() }
    }

    fn close_if_done(&mut self, now: Instant) {
        let is_due = self.finish_at.is_some_and(|at| self.outgoing.is_done() || at <= now);
        if is_due && self.stage == Stage::Open {
            if !self.outgoing.is_done() {
                self.end(Some(Fault::new(FaultKind::Silent, "what was sent last was not acknowledged")));
            }
            self.close(now, Reason::Normal);
        }
    }

    /// It ends, by our doing; the peer is told.
    fn fail(&mut self, now: Instant, reason: Reason, fault: Fault) {
        self.end(Some(fault));
        self.stage = match self.stage {
            Stage::Open => Stage::Closing { reason, left: 1, next_at: now },
            _ => Stage::Over,
        };
    }

    /// The user is told, once, how it ended.
    fn end(&mut self, fault: Option<Fault>) {
        if !self.marks.is_ended {
            self.marks.is_ended = true;
            self.ending = Some(fault);
        }
    }
}

/// What the other side lets pass in silence.
fn idle_of(hello: &Hello) -> Duration {
    Duration::from_secs(hello.idle_s.max(1).into())
}

/// A CLOSE is sent so often.
const CLOSES: u8 = 3;
