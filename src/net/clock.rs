//! Tells when somebody sets the wall clock.
//!
//! Nothing in a worker depends on wall time but the check of certificates, whose clock is asked in the handshake (`net/layers`). Whoever was
//! refused for the time waits for another time, and that comes by a step: a board without a battery boots in 1970, and is told the time when
//! it has found a satellite or a server. Linux tells of steps through a timer of the wall clock that is never over: it is cancelled, which makes
//! its descriptor readable. There is none while nobody waits. A kernel that has no such thing leaves the waiting to the ordinary pauses.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime};

/// The last second there is; and that of kernels whose seconds have 32 bits.
const NEVER_S: [i64; 2] = [i64::MAX, i32::MAX as i64];

/// Whether the wall clock is watched.
pub(super) enum ClockWatch {
    Off,
    On(OwnedFd),
    /// It is wanted and cannot be: not tried again before it was not wanted for a while.
    Failed,
}

impl ClockWatch {
    /// Begins or ends; nothing happens if that is so already.
    pub fn watch(&mut self, is_wanted: bool, registry: &Registry, token: Token) {
        match (&*self, is_wanted) {
            (Self::Off, true) => *self = open(registry, token).map_or(Self::Failed, Self::On),
            (Self::On(timer), false) => {
                // The kernel forgets it with its last descriptor in any case.
                let _ = registry.deregister(&mut SourceFd(&timer.as_raw_fd()));
                *self = Self::Off;
            }
            (Self::Failed, false) => *self = Self::Off,
            _ => {}
        }
    }

    /// The descriptor is readable: it says whether that is so still, and why. The timer goes on without being set again.
    pub fn was_set(&self) -> bool {
        let Self::On(timer) = self else { return false };
        // It is never over, unless the clock is where it ends: then it says so once.
        !matches!(rustix::io::read(timer, &mut [0; 8]), Err(Errno::AGAIN | Errno::INTR))
    }
}

fn open(registry: &Registry, token: Token) -> io::Result<OwnedFd> {
    let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    let mut answer = Err(Errno::INVAL);
    for second in NEVER_S {
        let never = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: Timespec { tv_sec: second as _, tv_nsec: 0 } };
        answer = timerfd_settime(timer.as_fd(), flags, &never).map(drop);
        if answer.is_ok() {
            break;
        }
    }
    answer?;
    registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
    Ok(timer)
}

/// Of the wall clock nobody but its owner may say that it is set, so the timer ends here in the place of being cancelled.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Duration;
    use crate::net::{MioNet, Net, Ready, ThreadOptions};

    /// What the kernel says of a timer.
    fn description(timer: &OwnedFd) -> String {
        std::fs::read_to_string(format!("/proc/self/fdinfo/{}", timer.as_raw_fd())).expect("it is open")
    }

    #[test]
    fn the_timer_is_one_of_the_wall_clock_that_is_cancelled_when_that_is_set() {
        let poll = mio::Poll::new().expect("a poll");
        let mut watch = ClockWatch::Off;
        watch.watch(false, poll.registry(), Token(1));
        assert!(matches!(watch, ClockWatch::Off));
        watch.watch(true, poll.registry(), Token(1));
        let ClockWatch::On(timer) = &watch else { panic!("this kernel has none") };
        let (descriptor, text) = (timer.as_raw_fd(), description(timer));
        // CLOCK_REALTIME is 0; ABSTIME and CANCEL_ON_SET are 1 and 2.
        assert!(text.contains("clockid: 0\n") && text.contains("settime flags: 03\n"), "{text}");
        assert!(!watch.was_set());
        watch.watch(true, poll.registry(), Token(1));
        assert!(matches!(&watch, ClockWatch::On(timer) if timer.as_raw_fd() == descriptor), "the same one");
        watch.watch(false, poll.registry(), Token(1));
        assert!(matches!(watch, ClockWatch::Off));
        (watch, _) = (ClockWatch::Failed, watch);
        watch.watch(true, poll.registry(), Token(1));
        assert!(matches!(watch, ClockWatch::Failed), "once is enough");
    }

    #[test]
    fn a_worker_hears_of_it_once_and_only_while_it_wants_to() {
        let mut net = MioNet::new(std::time::Instant::now(), 0, ThreadOptions::default()).expect("a poll");
        let mut ready = Vec::new();
        net.watch_clock(true);
        net.wait(Some(Duration::ZERO), &mut ready).expect("waits");
        assert!(ready.is_empty());
        let ClockWatch::On(timer) = &net.clock else { panic!("this kernel has none") };
        let at_once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: Timespec { tv_sec: 1, tv_nsec: 0 } };
        timerfd_settime(timer.as_fd(), TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &at_once).expect("set");
        net.wait(Some(Duration::from_secs(10)), &mut ready).expect("waits");
        assert!(matches!(ready[..], [Ready::ClockSet]), "{ready:?}");
        net.wait(Some(Duration::ZERO), &mut ready).expect("waits");
        assert_eq!(ready.len(), 1);
        net.watch_clock(false);
        assert!(matches!(net.clock, ClockWatch::Off));
    }
}
