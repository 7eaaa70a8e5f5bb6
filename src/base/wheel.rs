//! A hierarchical timer wheel without cancellation.
//!
//! Four levels of 64 slots, a tick of 16 ms: 1 s, 65 s, 70 min and 74 h, and one list for what is
//! later still. Insertion and expiry cost a few instructions whatever the number of timers.
//! Nothing is ever cancelled: the owner of a key keeps its true deadline, looks at it when the key
//! comes out and inserts again what is not due yet. A keep-alive that is refreshed by every packet
//! then costs nothing per packet. So that stale entries cannot pile up, an owner inserts only when
//! its new deadline is earlier than the entry it already has in here.
//!
//! A key comes out at its deadline at the earliest and one tick (of its level, after cascading:
//! 16 ms) later at the latest, provided somebody asks.

use super::{Duration, Instant};

const LEVELS: usize = 4;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const TICK_MICROS: u64 = 16_384;

/// Timers keyed by `K`.
#[derive(Debug)]
pub struct Wheel<K> {
    levels: [Level<K>; LEVELS],
    far: Vec<(u64, K)>,
    /// Every tick up to and including this one has been expired.
    done: u64,
    len: usize,
}

#[derive(Debug)]
struct Level<K> {
    slots: Vec<Vec<(u64, K)>>,
    occupied: u64,
}

impl<K> Default for Wheel<K> {
    fn default() -> Self {
        let level = || Level { slots: (0..SLOTS).map(|_| Vec::new()).collect(), occupied: 0 };
        Self { levels: [level(), level(), level(), level()], far: Vec::new(), done: 0, len: 0 }
    }
}

impl<K> Wheel<K> {
    /// Puts `key` in; it comes out of [`Wheel::expire`] once `deadline` has passed.
    pub fn insert(&mut self, deadline: Instant, key: K) {
        // Rounded up: never early.
        let tick = deadline.as_micros().div_ceil(TICK_MICROS).max(self.done + 1);
        self.len += 1;
        self.place(tick, key);
    }

    /// As [`Wheel::insert`], but the key comes out after `within` at the latest, due or not: it may be
    /// stale by then, and a stale key that waits for years is a leak. Answers when it comes out.
    pub fn insert_within(&mut self, deadline: Instant, within: Duration, key: K) -> Instant {
        let at = deadline.min(Instant::from_micros(self.done * TICK_MICROS) + within);
        self.insert(at, key);
        at
    }

    fn place(&mut self, tick: u64, key: K) {
        let distance = tick ^ self.done;
        let level = (63 - distance.max(1).leading_zeros()) / SLOT_BITS;
        let level = level as usize;
        if level >= LEVELS {
            self.far.push((tick, key));
            return;
        }
        let slot = slot_of(tick, level);
        self.levels[level].slots[slot].push((tick, key));
        self.levels[level].occupied |= 1 << slot;
    }

    /// Appends to `due` every key whose deadline is not after `now`.
    pub fn expire(&mut self, now: Instant, due: &mut Vec<K>) {
        let target = now.as_micros() / TICK_MICROS;
        while self.done < target {
            if self.len == 0 {
                self.done = target;
                return;
            }
            // Jump to the next occupied slot of level 0, or to the next cascade.
            let block_end = self.done | (SLOTS as u64 - 1);
            let next = self.next_in_block().unwrap_or(block_end + 1).min(block_end + 1);
            if next > target {
                // No boundary lies between: safe to move on without a cascade.
                if target <= block_end {
                    self.done = target;
                    return;
                }
            }
            self.done = next.min(target);
            if self.done & (SLOTS as u64 - 1) == 0 {
                self.cascade();
            }
            self.take_tick(due);
        }
    }

    /// The next tick of this block of level 0 that holds a key.
    fn next_in_block(&self) -> Option<u64> {
        let position = (self.done & (SLOTS as u64 - 1)) as u32;
        let later = self.levels[0].occupied & (u64::MAX.checked_shl(position + 1).unwrap_or(0));
        (later != 0).then(|| (self.done & !(SLOTS as u64 - 1)) + u64::from(later.trailing_zeros()))
    }

    fn take_tick(&mut self, due: &mut Vec<K>) {
        let slot = slot_of(self.done, 0);
        let level = &mut self.levels[0];
        if level.occupied & (1 << slot) == 0 {
            return;
        }
        level.occupied &= !(1 << slot);
        self.len -= level.slots[slot].len();
        due.extend(level.slots[slot].drain(..).map(|(_, key)| key));
        level.slots[slot].shrink_to(SLOTS);
    }

    /// `done` has just entered a new block: what waits for it one level up moves down.
    fn cascade(&mut self) {
        for level in 1..=LEVELS {
            if level == LEVELS {
                for (tick, key) in core::mem::take(&mut self.far) {
                    self.place(tick, key);
                }
                return;
            }
            let slot = slot_of(self.done, level);
            self.levels[level].occupied &= !(1 << slot);
            for (tick, key) in core::mem::take(&mut self.levels[level].slots[slot]) {
                self.place(tick, key);
            }
            if slot != 0 {
                return;
            }
        }
    }

    /// When to call [`Wheel::expire`] next, at the latest. May be early (a cascade), never late.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.len == 0 {
            return None;
        }
        if let Some(tick) = self.next_in_block() {
            return Some(Instant::from_micros(tick * TICK_MICROS));
        }
        for level in 1..LEVELS {
            let shift = SLOT_BITS * level as u32;
            let position = slot_of(self.done, level) as u32;
            let later = self.levels[level].occupied & u64::MAX.checked_shl(position + 1).unwrap_or(0);
            if later != 0 {
                let base = (self.done >> (shift + SLOT_BITS)) << (shift + SLOT_BITS);
                let tick = base + (u64::from(later.trailing_zeros()) << shift);
                return Some(Instant::from_micros(tick * TICK_MICROS));
            }
        }
        let shift = SLOT_BITS * LEVELS as u32;
        Some(Instant::from_micros((((self.done >> shift) + 1) << shift) * TICK_MICROS))
    }

    /// Keys inside, stale ones included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What a key costs, about: slots are vectors that double.
    pub const fn entry_bytes() -> usize {
        size_of::<(u64, K)>() * 3 / 2
    }

    /// How late a key may come out.
    pub const RESOLUTION: Duration = Duration::from_micros(TICK_MICROS);
}

fn slot_of(tick: u64, level: usize) -> usize {
    ((tick >> (SLOT_BITS * level as u32)) & (SLOTS as u64 - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    #[test]
    fn every_key_comes_out_once_in_time_and_never_early() {
        let mut rng = Rng::with_seed(7);
        for spread_ms in [10, 1_000, 70_000, 5_000_000, 400_000_000] {
            let mut wheel = Wheel::default();
            let mut waiting: Vec<Option<Instant>> = Vec::new();
            let mut now = Instant::from_micros(rng.below(1 << 40));
            wheel.expire(now, &mut Vec::new());
            let mut due = Vec::new();
            for round in 0..2_000 {
                if round < 500 {
                    let deadline = now + Duration::from_millis(rng.below(spread_ms));
                    wheel.insert(deadline, waiting.len());
                    waiting.push(Some(deadline));
                }
                let named = wheel.next_deadline();
                now = match named {
                    Some(named) if rng.chance(500) => named.max(now),
                    _ => now + Duration::from_millis(rng.below(spread_ms / 50 + 2)),
                };
                wheel.expire(now, &mut due);
                for key in due.drain(..) {
                    let deadline: Instant = waiting[key].take().expect("came out twice");
                    assert!(deadline <= now, "early");
                }
                for deadline in waiting.iter().flatten() {
                    assert!(*deadline + Wheel::<usize>::RESOLUTION > now, "late: {deadline:?} at {now:?}");
                }
            }
            wheel.expire(now + Duration::from_secs(400_000_000), &mut due);
            assert!(wheel.is_empty());
        }
    }

    #[test]
    fn the_named_deadline_is_never_after_the_first_key() {
        let mut rng = Rng::with_seed(11);
        for _ in 0..300 {
            let mut wheel = Wheel::default();
            let start = Instant::from_micros(rng.below(1 << 45));
            wheel.expire(start, &mut Vec::new());
            let magnitude = 10 + rng.below(35);
            let deadline = start + Duration::from_micros(rng.below(1 << magnitude));
            wheel.insert(deadline, ());
            let named = wheel.next_deadline().expect("not empty");
            assert!(named.as_micros() <= deadline.as_micros() + TICK_MICROS);
        }
    }
}
