//! A network connection begins: bans of addresses, limits, the accept hook.

use crate::base::Instant;

use super::connection::{ConnKey, Connection, Stage};
use super::hooks::{Answer, Decision};
use super::shard::Shard;
use crate::codec::Reason;

impl Shard {
    /// A client's network connection began. `None`: there are too many, it is banned or a hook said
    /// no; close it. `listener` is where it came in; `allow_anonymous` is what that says of clients
    /// without a user name, if it says anything.
    pub fn open(&mut self, now: Instant, peer: &str, listener: &str, allow_anonymous: Option<bool>) -> Option<ConnKey> {
        let Some(seat) = self.levels.connections.take_seat(self.options.max_connections) else { return self.turn_away() };
        self.stats.connections_accepted += 1;
        if self.bans.has_peer(now, peer) {
            self.stats.connections_banned += 1;
            return None;
        }
        let charge = self.budget.charge(Connection::own_bytes());
        let mut connection = Connection::new(now, peer, charge, seat);
        connection.flags.allow_anonymous = allow_anonymous;
        connection.recharge();
        let key = self.connections.insert(connection);
        if self.interest.accept {
            let token = self.next_token(key);
            match self.hooks.accept(peer, listener, token) {
                Answer::Now(Decision::Allow | Decision::AllowWith(_)) => {}
                Answer::Now(_) => {
                    self.stats.connections_refused += 1;
                    self.connections.remove(key);
                    return None;
                }
                Answer::Pending => self.park(now, token, Stage::Accept, &[], Vec::new()),
            }
        }
        self.arm_connection(key);
        Some(key)
    }

    /// The accept hook's late answer: no is a close without a word, MQTT has none to say yet.
    pub(super) fn accept_decided(&mut self, now: Instant, key: ConnKey, decision: &Decision) {
        if matches!(decision, Decision::Allow | Decision::AllowWith(_)) {
            return self.take_rest(now, key);
        }
        self.stats.connections_refused += 1;
        self.close(now, key, Reason::NOT_AUTHORIZED);
    }

    /// Counts a connection that is closed at once because a limit is reached.
    pub fn turn_away(&mut self) -> Option<ConnKey> {
        self.stats.connections_accepted += 1;
        self.stats.connections_over_limit += 1;
        self.tell_quota("max_connections");
        None
    }
}
