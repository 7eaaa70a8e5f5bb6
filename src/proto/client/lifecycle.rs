//! The transitions between the states: start, dial, connect, lose, wait, stop.

use super::connection::{Connection, encode_connect};
use super::event::{Cause, Disconnected, Event, Failure, Outcome, State, StopRequest};
use super::queue::Item;
use super::reconnect::ClockDoubt;
use super::{Client, Retry};
use crate::base::{Duration, Instant};
use crate::codec::{Disconnect, PacketId, PacketType, Properties, PropertyId, PropertyList, Reason, Value, Version};
use crate::proto::{Error, KeepAliveAction};
use crate::stack::{Fault, FaultKind};

/// How a connection ended.
pub(super) struct Ending<'a> {
    pub(super) cause: Cause,
    pub(super) reason: Option<Reason>,
    pub(super) error: Option<Error>,
    /// What was wrong below MQTT.
    pub(super) fault: Option<Fault>,
    pub(super) properties: Properties<'a>,
    /// The driver does not know yet.
    pub(super) hang_up: bool,
}

impl Ending<'_> {
    fn of(cause: Cause, hang_up: bool) -> Self {
        Self { cause, reason: None, error: None, fault: None, properties: Properties::EMPTY, hang_up }
    }
}

impl Client {
    /// Begins to connect, and to stay connected. Refused unless stopped.
    pub fn start(&mut self, now: Instant) -> Result<(), Error> {
        if self.state != State::Stopped {
            return Err(Error::Busy);
        }
        self.reconnect.reset();
        self.has_connected = false;
        self.clock = ClockDoubt::None;
        self.stop_until = None;
        self.dial(now);
        Ok(())
    }

    /// Ends the connection with DISCONNECT, at once or when what is queued and in flight is done.
    /// Everything left completes with [`Failure::Stopped`]. Filters the server had granted are
    /// remembered for the next start. Legal in every state, also twice.
    pub fn stop(&mut self, now: Instant, mut request: StopRequest) {
        if !request.reason.is_valid_for(PacketType::Disconnect) {
            request.reason = Reason::NORMAL_DISCONNECTION;
        }
        // Stopped twice: it does not wait any longer, not even for its good-bye to arrive.
        let is_stopped_already = self.stopping.is_some() || self.state == State::Stopped;
        let drain = if is_stopped_already { Duration::ZERO } else { request.drain };
        self.stop_until = Some(now + drain);
        match self.state {
            // Subscribe requests may have been made before a start.
            State::Stopped => self.fail_all(Failure::Stopped),
            State::Online | State::Stopping => {
                self.stopping = Some(request);
                self.fill(now);
                if drain.is_zero() || self.is_drained() {
                    self.finish_stop(now);
                } else {
                    self.deadline = Some(now + drain);
                    self.set_state(State::Stopping);
                }
            }
            State::Waiting => {
                self.stopping = Some(request);
                self.lost(now, Ending::of(Cause::Stopped, false));
            }
            State::Dialing | State::Connecting => {
                self.stopping = Some(request);
                self.lost(now, Ending::of(Cause::Stopped, true));
            }
        }
    }

    /// Until when the last [`Client::stop`] lets what is to be sent take; `None`: there was none.
    pub fn stop_until(&self) -> Option<Instant> {
        self.stop_until
    }

    pub(super) fn is_drained(&self) -> bool {
        let publishes = self.queue.len() + self.sender.in_flight() + self.calls.len();
        // What is called sent has to leave, too, before the good-bye.
        publishes == 0 && self.subscriptions.is_idle() && self.out.is_empty()
    }

    pub(super) fn finish_stop(&mut self, now: Instant) {
        let request = self.stopping.unwrap_or_default();
        let mut properties = PropertyList::new();
        if let Some(seconds) = request.session_expiry_s {
            // [MQTT-3.1.2-23]: zero in CONNECT must not become something else in DISCONNECT.
            if self.options.session_expiry_s > 0 || seconds == 0 {
                properties.push(PropertyId::SessionExpiryInterval, Value::U32(seconds));
            }
        }
        // MQTT 3 has no DISCONNECT with will: closing without one has it published.
        let silent = self.options.version != Version::V5 && request.reason == Reason::DISCONNECT_WITH_WILL;
        if !silent {
            self.send_disconnect(request.reason, properties.as_properties());
        }
        self.lost(now, Ending::of(Cause::Stopped, true));
    }

    fn send_disconnect(&mut self, reason: Reason, properties: Properties<'_>) {
        let version = self.options.version;
        Disconnect { reason, properties }.encode(version, self.tail());
    }

    /// Tries now instead of at the end of the wait.
    pub fn reconnect_now(&mut self, now: Instant) -> Result<(), Error> {
        match self.state {
            State::Waiting => {
                self.dial(now);
                Ok(())
            }
            State::Stopped => Err(Error::NotRunning),
            _ => Err(Error::Busy),
        }
    }

    /// A certificate was refused for its time, and nobody has let this client in since: [`Client::clock_set`] is to be called when the wall
    /// clock is set.
    pub fn waits_for_clock(&self) -> bool {
        self.clock != ClockDoubt::None && matches!(self.state, State::Waiting | State::Dialing | State::Connecting)
    }

    /// Driver: the wall clock was set. Who was refused for the time of a certificate tries again at once, and not at the end of the wait.
    pub fn clock_set(&mut self, now: Instant) {
        if !self.waits_for_clock() {
            return;
        }
        match self.state {
            State::Waiting => {
                let at = self.reconnect.after_clock(now);
                self.deadline = self.deadline.map(|deadline| deadline.min(at));
            }
            _ => self.clock = ClockDoubt::SetMeanwhile,
        }
    }

    /// What a failure has to do with the wall clock; the answer is the time of the next try, which may be sooner for it.
    fn doubt_clock(&mut self, now: Instant, fault: Option<FaultKind>, retry_at: Option<Instant>) -> Option<Instant> {
        if self.clock == ClockDoubt::None && matches!(fault, Some(FaultKind::NotYetValid | FaultKind::Expired)) {
            self.clock = ClockDoubt::Wrong;
        }
        match retry_at {
            // Not in the middle of a round: it may have been a server before this one that was judged by the old time.
            Some(at) if self.clock == ClockDoubt::SetMeanwhile && at > now => {
                self.clock = ClockDoubt::Wrong;
                Some(at.min(self.reconnect.after_clock(now)))
            }
            other => other,
        }
    }

    /// New credentials, for the next CONNECT: legal between [`Event::Dial`] and `handle_dialed`.
    pub fn set_credentials(&mut self, username: Option<String>, password: Option<Vec<u8>>) -> Result<(), Error> {
        let old_username = core::mem::replace(&mut self.options.username, username);
        let old_password = core::mem::replace(&mut self.options.password, password);
        self.options.validate().inspect_err(|_| {
            self.options.username = old_username;
            self.options.password = old_password;
        })
    }

    fn dial(&mut self, now: Instant) {
        self.out.clear();
        self.is_touched = false;
        self.deadline = Some(now + self.options.connect_timeout);
        self.set_state(State::Dialing);
        self.reconnect.dialing(now);
        self.events.push_back(Event::Dial { server: self.reconnect.server() });
    }

    /// What carries the present connection takes no larger packets: larger ones are refused as if the server had said so.
    #[cfg(feature = "datagram")]
    pub fn limit_packets(&mut self, bytes: usize) {
        if let Some(connection) = &mut self.connection {
            connection.link_bytes_max = bytes;
            connection.limits.packet_bytes_max = connection.limits.packet_bytes_max.min(bytes);
        }
    }

    /// Driver: the connection is open (transport, TLS, WebSocket). CONNECT goes out.
    pub fn handle_dialed(&mut self, now: Instant) {
        if self.state != State::Dialing {
            return;
        }
        let persistent = self.options.version == Version::V5 && self.has_connected;
        let clean_start = self.options.clean_start && !persistent;
        // Without a name nobody finds a session again.
        let clean_start = clean_start || self.client_id.is_empty();
        self.connection_last += 1;
        self.connection = Some(Connection::new(now, self.connection_last, clean_start, &self.options));
        self.out.clear();
        let tail = self.out.tail();
        encode_connect(&self.options, &self.client_id, clean_start, tail);
        self.is_touched = true;
        self.set_state(State::Connecting);
    }

    /// Driver: the connection is gone or was not made.
    pub fn handle_closed(&mut self, now: Instant, cause: Cause) {
        if matches!(self.state, State::Dialing | State::Connecting | State::Online | State::Stopping) {
            self.lost(now, Ending::of(cause, false));
        }
    }

    /// Driver: the connection is gone or was not made because of what the server did or showed below MQTT.
    pub fn handle_fault(&mut self, now: Instant, fault: Fault) {
        if matches!(self.state, State::Dialing | State::Connecting | State::Online | State::Stopping) {
            let cause = cause_of(fault.kind);
            let ending = Ending { fault: Some(fault), ..Ending::of(cause, false) };
            self.lost(now, ending);
        }
    }

    /// A deadline may have come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire_queue(now);
        self.expire_calls(now);
        self.note_level();
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            match self.state {
                State::Waiting => self.dial(now),
                State::Dialing | State::Connecting => self.lost(now, Ending::of(Cause::Timeout, true)),
                State::Stopping => self.finish_stop(now),
                State::Online | State::Stopped => self.deadline = None,
            }
        }
        let is_held = self.is_held();
        let Some(connection) = &mut self.connection else { return };
        if is_held {
            // The PINGRESP may wait behind what the application does not take.
            connection.keep_alive.excuse(now);
        }
        match connection.keep_alive.handle_timeout(now) {
            KeepAliveAction::None => {}
            KeepAliveAction::Ping => {
                crate::codec::Packet::PingReq.encode(self.options.version, self.tail());
            }
            KeepAliveAction::Dead => {
                // It may hear us although we do not hear it. 0x8D is for servers only.
                if self.options.version == Version::V5 {
                    self.send_disconnect(Reason::UNSPECIFIED_ERROR, Properties::EMPTY);
                }
                self.lost(now, Ending::of(Cause::KeepAlive, true));
            }
        }
    }

    /// The server broke the protocol: say so (MQTT 5, §4.13.1) and close.
    pub(super) fn fault(&mut self, now: Instant, error: Error) {
        let reason = error.reason();
        // Before CONNACK there is no session that a DISCONNECT could end, but it is legal then too.
        if self.options.version == Version::V5 {
            self.send_disconnect(reason, Properties::EMPTY);
        }
        let ending = Ending { cause: Cause::Protocol, reason: Some(reason), error: Some(error), fault: None, properties: Properties::EMPTY, hang_up: true };
        self.lost(now, ending);
    }

    /// The one way out of every state with a connection or a plan to have one.
    pub(super) fn lost(&mut self, now: Instant, ending: Ending<'_>) {
        let was_online = matches!(self.state, State::Online | State::Stopping);
        let was_waiting = self.state == State::Waiting;
        if self.state == State::Connecting {
            self.unsure_connections = 2;
        } else if ending.cause == Cause::TakenOver {
            self.unsure_connections = self.unsure_connections.max(1);
        }
        let server = self.reconnect.server();
        self.connection = None;
        self.subscriptions.connection_lost(&mut self.events);
        if ending.hang_up {
            self.events.push_back(Event::HangUp);
        } else {
            self.out.clear();
        }
        let stopping = self.stopping.take().is_some();
        let cause = if stopping { Cause::Stopped } else { ending.cause };
        let retry = if stopping { Retry::GiveUp } else { self.options.reconnect.rule(cause) };
        let retry_at = self.reconnect.failed(now, retry, &self.options.reconnect, &mut self.rng);
        let retry_at = self.doubt_clock(now, ending.fault.as_ref().map(|fault| fault.kind), retry_at);
        self.deadline = retry_at;
        if !was_waiting {
            self.statistics.disconnects += 1;
            let mut properties = PropertyList::new();
            properties.extend_filtered(ending.properties, |_| true);
            let reference = ending.properties.utf8(PropertyId::ServerReference);
            self.events.push_back(Event::Disconnected(Box::new(Disconnected {
                server,
                cause,
                reason: ending.reason,
                error: ending.error,
                fault: ending.fault,
                was_online,
                retry_at,
                server_reference: reference.map(str::to_owned),
                properties,
            })));
        }
        if retry_at.is_some() {
            self.set_state(State::Waiting);
        } else {
            self.fail_all(if stopping { Failure::Stopped } else { Failure::GaveUp });
            self.set_state(State::Stopped);
        }
    }

    fn fail_all(&mut self, failure: Failure) {
        self.fail_in_flight(failure);
        while let Some(item) = self.queue.pop() {
            self.publish_failed(&item, failure);
        }
        self.fail_calls(Outcome::Failed(failure));
        self.subscriptions.fail_all(failure, &mut self.events);
        self.note_level();
    }

    /// If the next start may find the session again, the server may wait for the rest of a QoS 2
    /// handshake, and would take a new message with that identifier for a repetition: those stay
    /// in flight, completed.
    fn fail_in_flight(&mut self, failure: Failure) {
        let failed: Vec<Item> = if self.options.clean_start { self.sender.drain().collect() } else { self.sender.take_unacknowledged(|_| true) };
        failed.iter().for_each(|item| self.publish_failed(item, failure));
        let unfinished: Vec<PacketId> = self.sender.iter().map(|(id, _)| id).collect();
        for id in unfinished {
            if let Some(token) = self.sender.get_mut(id).and_then(|item| item.token.take()) {
                self.statistics.dropped += 1;
                self.publish_done(token, Outcome::Failed(failure));
            }
        }
    }

    pub(super) fn publish_failed(&mut self, item: &Item, failure: Failure) {
        let statistics = &mut self.statistics;
        statistics.dropped += 1;
        statistics.overflowed += u64::from(failure == Failure::Overflow);
        statistics.expired += u64::from(failure == Failure::Expired);
        statistics.replaced += u64::from(failure == Failure::Replaced);
        if item.token.is_some() && failure != Failure::Cancelled {
            self.events.push_back(Event::Dropped { message: item.message.clone(), failure });
        }
        self.published(item, Outcome::Failed(failure));
    }

    /// The completion of a publish, unless it was cancelled before.
    pub(super) fn published(&mut self, item: &Item, outcome: Outcome) {
        if let Some(token) = item.token {
            self.publish_done(token, outcome);
        }
    }

    pub(super) fn note_level(&mut self) {
        if let Some(high) = self.queue.level_change() {
            let (count, bytes) = self.queued();
            self.events.push_back(Event::QueueLevel { high, count, bytes });
        }
    }

    pub(super) fn set_state(&mut self, state: State) {
        if self.state != state {
            self.state = state;
            self.events.push_back(Event::StateChanged(state));
        }
    }

    /// Where packets are appended.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        self.is_touched = true;
        self.out.tail()
    }
}

/// What a fault below MQTT means for the next try.
fn cause_of(kind: FaultKind) -> Cause {
    match kind {
        FaultKind::WebSocket => Cause::Protocol,
        FaultKind::UpgradeRefused => Cause::Other,
        FaultKind::ProxyHeader | FaultKind::TunnelRefused => Cause::Network,
        FaultKind::TunnelCredentials => Cause::Credentials,
        #[cfg(feature = "datagram")]
        FaultKind::Unreachable | FaultKind::Refused | FaultKind::Silent => Cause::Network,
        #[cfg(feature = "datagram")]
        FaultKind::Datagram => Cause::Protocol,
        _ => Cause::Tls,
    }
}
