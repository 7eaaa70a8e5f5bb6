//! What may go wrong in one run: drawn from the seed, each class on or off by itself, so that every
//! seed is a world of its own kind (swarm testing).

use nlmqtt::base::{Duration, Rng};

/// A slower line than this would not carry its own keep-alive behind a full buffer.
const BYTES_PER_SECOND_MIN: u64 = 400_000;

/// Probabilities are per mille.
#[derive(Clone, Debug)]
pub struct Faults {
    /// One way, at most.
    pub latency: Duration,
    /// A write is cut into segments that arrive on their own.
    pub split: u32,
    /// Bytes on their way in one direction at most: what a socket's buffers hold.
    pub capacity: usize,
    /// A segment is replaced by a reset of the connection.
    pub reset: u32,
    /// A segment, and what is behind it, arrives seconds late.
    pub stall: u32,
    /// A lookup of a name fails.
    pub names: u32,
    /// A hook answers later.
    pub late_hook: u32,
    /// A hook that answers later never does.
    pub silent_hook: u32,
    /// Every millisecond of the run, for each host: its process stands still for seconds.
    pub freeze: bool,
    /// Devices lose their way to the broker for seconds, one way or both ways.
    pub cuts: bool,
    /// Devices die and start again without memory.
    pub device_crash: bool,
    /// The broker dies and starts again without memory.
    pub broker_crash: bool,
    /// The wall clock jumps.
    pub clock_steps: bool,
    /// The broker's limits are so small that they are reached.
    pub tiny_limits: bool,
    /// MQTT runs over WebSocket.
    pub has_websocket: bool,
    /// Some devices are in the broker's process.
    pub has_inproc: bool,
    /// The broker's listeners have rates.
    pub has_rates: bool,
}

impl Faults {
    pub fn draw(rng: &mut Rng) -> Self {
        let mut sometimes = |permille: u32| if rng.chance(400) { 0 } else { 1 + rng.below(u64::from(permille)) as u32 };
        let (split, reset, stall, names) = (sometimes(900), sometimes(15), sometimes(20), sometimes(300));
        let (late_hook, silent_hook) = (sometimes(200), sometimes(200));
        let latency_us = [100, 2_000, 40_000, 400_000][rng.below(4) as usize];
        let capacity = [64, 700, 8_192, 200_000][rng.below(4) as usize];
        Self {
            latency: Duration::from_micros(latency_us),
            split,
            capacity: capacity.max((latency_us * BYTES_PER_SECOND_MIN / 1_000_000) as usize),
            reset,
            stall,
            names,
            late_hook,
            silent_hook: if rng.chance(300) { silent_hook } else { 0 },
            freeze: rng.chance(400),
            cuts: rng.chance(400),
            device_crash: rng.chance(300),
            broker_crash: rng.chance(200),
            clock_steps: rng.chance(300),
            tiny_limits: rng.chance(200),
            has_websocket: rng.chance(300),
            has_inproc: rng.chance(400),
            has_rates: rng.chance(200),
        }
    }

    /// A world where nothing is lost: even QoS 0 must arrive then.
    pub fn none(rng: &mut Rng) -> Self {
        Self { split: 500, ..Self::draw(rng).healed() }
    }

    /// The same world without faults; its distances stay.
    pub fn healed(&self) -> Self {
        Self {
            latency: self.latency,
            split: self.split,
            capacity: self.capacity,
            reset: 0,
            stall: 0,
            names: 0,
            late_hook: 0,
            silent_hook: 0,
            freeze: false,
            cuts: false,
            device_crash: false,
            broker_crash: false,
            clock_steps: false,
            tiny_limits: self.tiny_limits,
            has_websocket: self.has_websocket,
            has_inproc: self.has_inproc,
            has_rates: self.has_rates,
        }
    }

    /// No connection breaks. With rates a client's PINGREQ may wait for too long behind what it has sent.
    pub fn is_reliable(&self) -> bool {
        !self.has_rates && self.reset == 0 && self.stall == 0 && !self.freeze && !self.cuts && !self.device_crash && !self.broker_crash
    }
}
