//! Questions to hooks that are answered later: parking a connection, and going on.

use crate::base::Instant;
use crate::codec;

use super::connection::{ConnKey, Parked, Resumed, Stage};
use super::hooks::{Answer, Decision, HookToken};
use super::peers::SHARDS_MAX;
use super::shard::Shard;
use crate::codec::Reason;

impl Shard {
    /// A token for the next question about this connection.
    pub(super) fn next_token(&mut self, connection: ConnKey) -> HookToken {
        // The last byte says which shard is asking.
        self.hook_serial = self.hook_serial.wrapping_add(SHARDS_MAX as u32);
        HookToken { connection, serial: self.hook_serial }
    }

    /// What was decided at `stage`: by the answer that came, by an earlier pass, or by asking now.
    /// `None`: the hook answers later and the packet is parked.
    pub(super) fn decide(
        &mut self,
        now: Instant,
        key: ConnKey,
        stage: Stage,
        whole: &[u8],
        resumed: &mut Option<Resumed>,
        ask: impl FnOnce(&mut Self, HookToken) -> Answer,
    ) -> Option<Decision> {
        match resumed {
            Some(answered) if answered.stage > stage => return Some(Decision::Allow),
            Some(answered) if answered.stage == stage => {
                let decision = core::mem::replace(&mut answered.decision, Decision::Allow);
                *resumed = None;
                return Some(decision);
            }
            _ => {}
        }
        let token = self.next_token(key);
        match ask(self, token) {
            Answer::Now(decision) => Some(decision),
            Answer::Pending => {
                self.park(now, token, stage, whole, Vec::new());
                None
            }
        }
    }

    /// Keeps the packet, whole or all but the payload that came by itself, until the answer comes or the time limit is over.
    pub(super) fn park(&mut self, now: Instant, token: HookToken, stage: Stage, whole: &[u8], verdicts: Vec<Reason>) {
        let deadline = now + self.options.hook_timeout;
        let packet = [whole, self.apart.as_deref().unwrap_or_default()].concat();
        let connection = &mut self.connections[token.connection];
        connection.parked = Some(Box::new(Parked { serial: token.serial, stage, packet, deadline, verdicts }));
        self.arm_connection(token.connection);
    }

    /// A hook's late answer. False: the question is no longer open (too late, answered already, or
    /// the client is gone).
    pub fn complete(&mut self, now: Instant, token: HookToken, decision: Decision) -> bool {
        let waiting = self.connections.get(token.connection).and_then(|connection| connection.parked.as_ref());
        if !waiting.is_some_and(|parked| parked.serial == token.serial) {
            self.stats.hook_late_answers += 1;
            return false;
        }
        self.resume(now, token.connection, decision);
        true
    }

    /// Goes on with the parked packet, then with what came behind it.
    fn resume(&mut self, now: Instant, key: ConnKey, decision: Decision) {
        let Some(parked) = self.connections.get_mut(key).and_then(|connection| connection.parked.take()) else { return };
        if parked.stage == Stage::Accept {
            return self.accept_decided(now, key, &decision);
        }
        let resumed = Resumed { stage: parked.stage, decision, verdicts: parked.verdicts };
        let result = codec::split(&parked.packet, usize::MAX).map_err(Into::into).and_then(|split| {
            let (frame, _) = split.expect("a whole packet was parked");
            self.handle_frame(now, key, frame, &parked.packet, Some(resumed))
        });
        match result {
            Ok(()) => self.take_rest(now, key),
            Err(fault) => self.fail(now, key, fault),
        }
    }

    /// The named outcome of a hook that did not answer: refused, 0x83.
    pub(super) fn hook_timed_out(&mut self, now: Instant, key: ConnKey) {
        self.stats.hook_timeouts += 1;
        self.resume(now, key, Decision::Deny(Reason::IMPLEMENTATION_SPECIFIC_ERROR));
        if self.connections.contains_key(key) {
            self.arm_connection(key);
        }
    }
}
