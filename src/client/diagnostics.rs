//! What somebody wants to know who looks at a client that does not work.

use super::{Cause, Client, Disconnected, Levels, State, Statistics};
use crate::base::{Duration, Instant};
use crate::codec::Reason;
use crate::proto;
use crate::stack::{DatagramStatistics, Fault};

/// How the last connection ended.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct LastDisconnect {
    pub server: usize,
    pub cause: Cause,
    pub reason: Option<Reason>,
    pub error: Option<proto::Error>,
    pub fault: Option<Fault>,
    pub was_online: bool,
    /// From then to the next try.
    pub retry_in: Option<Duration>,
    pub at: std::time::Instant,
}

impl LastDisconnect {
    /// What is to be remembered of it.
    pub fn of(now: Instant, disconnected: &Disconnected) -> Self {
        Self {
            server: disconnected.server,
            cause: disconnected.cause,
            reason: disconnected.reason,
            error: disconnected.error,
            fault: disconnected.fault.clone(),
            was_online: disconnected.was_online,
            retry_in: disconnected.retry_at.map(|at| at.since(now)),
            at: std::time::Instant::now(),
        }
    }
}

/// Everything at once, as it was a moment ago.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Diagnostics {
    pub state: State,
    /// Of the last session.
    pub client_id: String,
    /// Which server the session is with.
    pub server: Option<usize>,
    pub last_disconnect: Option<LastDisconnect>,
    pub levels: Levels,
    pub statistics: Statistics,
    /// Of the connection there is, if it is one over datagrams.
    pub datagrams: Option<DatagramStatistics>,
    /// Requests of all kinds that are not done.
    pub pending: usize,
}

impl Client {
    /// Everything at once. Never waits.
    pub fn diagnostics(&self) -> Diagnostics {
        let (state, levels, statistics) = (self.state(), self.levels(), self.statistics());
        let track = self.tracker.lock();
        Diagnostics {
            state,
            client_id: track.client_id.clone(),
            server: track.server,
            last_disconnect: track.last_disconnect.clone(),
            levels,
            statistics,
            datagrams: self.datagram_statistics(),
            pending: track.pending.len(),
        }
    }
}
