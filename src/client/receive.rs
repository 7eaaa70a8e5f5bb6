//! Pull style: messages wait for the application instead of being handed to it.
//!
//! What waits is bounded. When there is no room for more, the machine stops decoding and the socket
//! is not read: the server's sends pile up on its side, and nothing is dropped. Reading goes on when
//! half is free again. Acknowledgements of own publishes come over the same connection and rest with
//! it.

use super::{Client, Incoming};
use crate::base::Duration;
use crate::net::Error;
use crate::proto;

impl Client {
    /// The oldest message that waits, or the next one that comes.
    ///
    /// # Errors
    /// `Unsupported`: the client was not made for it; `Timeout`; `Client`: it is not started or was
    /// stopped, and nothing is left; `Gone`: it has given up, and nothing is left; `WouldDeadlock`
    /// inside a callback, unless `wait_max` is zero.
    pub fn next_message(&self, wait_max: Duration) -> Result<Incoming, Error> {
        let options = self.receive.ok_or(Error::Unsupported("next_message without the option pull_receive"))?;
        let start = std::time::Instant::now();
        loop {
            let (pulled, has_stopped) = {
                let mut track = self.tracker.lock();
                (track.pull(&options), track.has_stopped() || track.is_closed)
            };
            if let Some((incoming, goes_on)) = pulled {
                if goes_on {
                    let key = self.key;
                    self.runtime.post(Box::new(move |worker| worker.resume_client(key)));
                }
                return Ok(incoming);
            }
            if !self.is_started.load(std::sync::atomic::Ordering::SeqCst) {
                return Err(proto::Error::NotRunning.into());
            }
            if has_stopped {
                return Err(Error::Gone);
            }
            let left = wait_max.checked_sub(start.elapsed()).filter(|left| !left.is_zero()).ok_or(Error::Timeout)?;
            // Another thread may be faster: then it goes on here.
            self.wait_until(left, |track| track.has_received() || track.has_stopped())?;
        }
    }
}
