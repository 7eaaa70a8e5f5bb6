//! What was said last over datagrams, and by whom: who stops waits until it has arrived.
//!
//! Over TCP the kernel goes on with what was written before a close, whatever becomes of the process. Over datagrams that is the
//! driver's work, and it ends with the process; so a server or client that stops is not done before its peers have its last words, or its
//! drain is over.

use std::collections::VecDeque;
use std::sync::Arc;

use super::client_host::ClientKey;
use super::server_host::ServerKey;
use crate::base::Duration;
use crate::stack::DatagramWatch;

/// Connections that are remembered; the oldest is forgotten when there are more. As many as linger.
const WORDS_MAX: usize = 1_024;
/// Nobody tells when they have arrived if another worker has the socket: who waits looks so often.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Whose connection it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Speaker {
    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    Server(ServerKey),
    Client(ClientKey),
}

/// The connections that were closed, the oldest first.
#[derive(Default)]
pub(super) struct LastWords(VecDeque<(Speaker, Arc<dyn DatagramWatch>)>);

impl LastWords {
    /// A connection was closed.
    #[cfg_attr(not(feature = "datagram"), allow(dead_code))]
    pub fn push(&mut self, speaker: Speaker, watch: Arc<dyn DatagramWatch>) {
        while self.0.len() >= WORDS_MAX || self.0.front().is_some_and(|(_, watch)| watch.is_said()) {
            self.0.pop_front();
        }
        self.0.push_back((speaker, watch));
    }

    /// Some of this one's last words are on their way.
    pub fn has(&mut self, speaker: Speaker) -> bool {
        self.0.retain(|(_, watch)| !watch.is_said());
        self.0.iter().any(|(other, _)| *other == speaker)
    }
}
