//! Who may shake hands now, and who waits for that.
//!
//! There are `max_handshakes` seats, and of these at most `max_handshakes_per_address` for one source. Who finds none waits
//! in the queue of its source, first come first served, and costs nothing until a seat is given to it. Sources take turns: one
//! that has a thousand waiting keeps another one from its seat for as long as one with a single one.
//!
//! A source is an address (IPv6: its network of 64 bits, which is what one customer has). A connection whose peer has no
//! address, or is a trusted proxy that has not said yet whom it brings, is a source of its own: the limit is for those who can
//! be told apart. Loopback is an address like any other.
//!
//! Who has held a seat for longer than [`PATIENCE`] loses it when somebody waits for just that seat: the oldest one of all
//! if all are taken, of a source if that source has all it may have.
//!
//! A pure machine: it knows no sockets, and time is an argument.

use core::net::{IpAddr, Ipv6Addr};
use std::collections::{BTreeMap, BTreeSet};

use crate::base::{Duration, IdMap, Instant};
use crate::broker::{ConnKey, HandshakeLoss};

/// So long a handshake may take while others wait for its seat.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Who is given seats as one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Source {
    /// An address, or the network it stands for.
    Network(IpAddr),
    /// A single connection.
    Single(ConnKey),
}

impl Source {
    /// Of a connection from `address`, as far as that tells anything.
    pub fn new(address: Option<IpAddr>, connection: ConnKey) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Self::Single(connection),
            Some(IpAddr::V6(address)) => Self::Network(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()),
            Some(address) => Self::Network(address),
        }
    }
}

/// How many at one time, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub seats: usize,
    pub seats_per_source: usize,
    pub timeout: Duration,
}

/// What a connection is told that wants to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    /// It has a seat.
    Seated,
    /// It waits from now on, because of this.
    Begins(HandshakeLoss),
    /// It waits, and has done so before.
    Waits,
}

/// What becomes of a connection whose source is another one than it seemed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Renamed {
    /// It goes on as before.
    Goes,
    /// Its true source has all it may have: it waits.
    Waits,
}

/// The handshakes in progress, and those that wait.
#[derive(Default)]
pub(super) struct Handshakes {
    places: IdMap<ConnKey, (Source, Place)>,
    sources: BTreeMap<Source, OfSource>,
    seated: BTreeSet<(Instant, ConnKey)>,
    /// Sources that somebody waits at who may be seated, by turn.
    turns: BTreeMap<u64, Source>,
    /// Sources that somebody waits at, and that have all seats they may have; by their oldest one.
    crowded: BTreeSet<(Instant, Source)>,
    serial: u64,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Seated(Instant),
    Waiting(u64),
}

#[derive(Default)]
struct OfSource {
    seated: BTreeSet<(Instant, ConnKey)>,
    waiting: BTreeMap<u64, ConnKey>,
    listed: Listed,
}

/// Where a source is filed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Listed {
    #[default]
    Nowhere,
    Turn(u64),
    Crowded(Instant),
}

impl Handshakes {
    /// Bytes of this connection wait to be read: does it have a seat? If not, [`Handshakes::next`] names it when it has.
    pub fn admit(&mut self, now: Instant, connection: ConnKey, source: impl FnOnce() -> Source, limits: &Limits) -> Admission {
        match self.places.get(&connection) {
            Some((_, Place::Seated(_))) => return Admission::Seated,
            Some((_, Place::Waiting(_))) => return Admission::Waits,
            None => {}
        }
        let source = source();
        let of_source = self.sources.entry(source).or_default();
        // Who comes now does not pass those who wait.
        let has_room = of_source.waiting.is_empty() && of_source.seated.len() < limits.seats_per_source;
        if has_room && self.turns.is_empty() && self.seated.len() < limits.seats {
            self.seat(now, connection, source);
            return Admission::Seated;
        }
        self.wait(connection, source, limits);
        Admission::Begins(if has_room { HandshakeLoss::Delayed } else { HandshakeLoss::Crowded })
    }

    /// The next one that gets a seat: it is to be read.
    pub fn next(&mut self, now: Instant, limits: &Limits) -> Option<ConnKey> {
        if !self.has_next(limits) {
            return None;
        }
        let (_, source) = self.turns.pop_first()?;
        let of_source = self.sources.get_mut(&source)?;
        of_source.listed = Listed::Nowhere;
        let (_, connection) = of_source.waiting.pop_first()?;
        self.seat(now, connection, source);
        self.list(source, limits);
        Some(connection)
    }

    /// Somebody waits, and a seat is free.
    fn has_next(&self, limits: &Limits) -> bool {
        !self.turns.is_empty() && self.seated.len() < limits.seats
    }

    /// One that has had its seat for too long, and what that is called.
    pub fn overdue(&self, now: Instant, limits: &Limits) -> Option<(ConnKey, HandshakeLoss)> {
        let &(since, oldest) = self.seated.first()?;
        if since + limits.timeout <= now {
            return Some((oldest, HandshakeLoss::TimedOut));
        }
        let is_wanted = !self.turns.is_empty() && self.seated.len() >= limits.seats;
        if is_wanted && since + PATIENCE <= now {
            return Some((oldest, HandshakeLoss::Shed));
        }
        let (_, source) = self.crowded.first().filter(|(since, _)| *since + PATIENCE <= now)?;
        self.sources[source].seated.first().map(|(_, oldest)| (*oldest, HandshakeLoss::Shed))
    }

    /// Nobody shakes hands, or waits for it.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// When to look for one that is overdue, or for the next one: at once if there is one.
    pub fn deadline(&self, limits: &Limits) -> Option<Instant> {
        if self.has_next(limits) {
            return Some(Instant::START);
        }
        let (since, _) = self.seated.first()?;
        let is_wanted = !self.turns.is_empty() && self.seated.len() >= limits.seats;
        let oldest = *since + if is_wanted { PATIENCE.min(limits.timeout) } else { limits.timeout };
        let crowded = self.crowded.first().map(|(since, _)| *since + PATIENCE);
        Some(crowded.map_or(oldest, |crowded| crowded.min(oldest)))
    }

    /// A connection has shaken hands, or is gone.
    pub fn leave(&mut self, connection: ConnKey, limits: &Limits) {
        let Some((source, place)) = self.places.remove(&connection) else { return };
        let of_source = self.sources.get_mut(&source).expect("it has this connection");
        match place {
            Place::Seated(since) => {
                self.seated.remove(&(since, connection));
                of_source.seated.remove(&(since, connection));
            }
            Place::Waiting(serial) => {
                of_source.waiting.remove(&serial);
            }
        }
        self.list(source, limits);
    }

    /// It is known now from where a connection comes: it keeps its seat only if its true source may have one more.
    pub fn rename(&mut self, connection: ConnKey, source: Source, limits: &Limits) -> Renamed {
        let Some(&(old, Place::Seated(since))) = self.places.get(&connection) else { return Renamed::Goes };
        if old == source {
            return Renamed::Goes;
        }
        self.leave(connection, limits);
        match self.sources.get(&source).is_none_or(|known| known.seated.len() < limits.seats_per_source) {
            true => {
                self.seat(since, connection, source);
                self.list(source, limits);
                Renamed::Goes
            }
            false => {
                self.wait(connection, source, limits);
                Renamed::Waits
            }
        }
    }

    fn seat(&mut self, since: Instant, connection: ConnKey, source: Source) {
        self.places.insert(connection, (source, Place::Seated(since)));
        self.seated.insert((since, connection));
        self.sources.entry(source).or_default().seated.insert((since, connection));
    }

    fn wait(&mut self, connection: ConnKey, source: Source, limits: &Limits) {
        self.serial += 1;
        self.places.insert(connection, (source, Place::Waiting(self.serial)));
        self.sources.entry(source).or_default().waiting.insert(self.serial, connection);
        self.list(source, limits);
    }

    /// Files a source anew after a change; its turn it keeps.
    fn list(&mut self, source: Source, limits: &Limits) {
        let Some(of_source) = self.sources.get_mut(&source) else { return };
        let oldest = of_source.seated.first().map(|(since, _)| *since);
        let listed = match (oldest, of_source.listed) {
            _ if of_source.waiting.is_empty() => Listed::Nowhere,
            (Some(oldest), _) if of_source.seated.len() >= limits.seats_per_source => Listed::Crowded(oldest),
            (_, Listed::Turn(turn)) => Listed::Turn(turn),
            _ => {
                self.serial += 1;
                Listed::Turn(self.serial)
            }
        };
        let before = core::mem::replace(&mut of_source.listed, listed);
        if of_source.seated.is_empty() && of_source.waiting.is_empty() {
            self.sources.remove(&source);
        }
        if before == listed {
            return;
        }
        match before {
            Listed::Nowhere => {}
            Listed::Turn(turn) => drop(self.turns.remove(&turn)),
            Listed::Crowded(since) => drop(self.crowded.remove(&(since, source))),
        }
        match listed {
            Listed::Nowhere => {}
            Listed::Turn(turn) => drop(self.turns.insert(turn, source)),
            Listed::Crowded(since) => drop(self.crowded.insert((since, source))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;

    const LIMITS: Limits = Limits { seats: 4, seats_per_source: 2, timeout: Duration::from_secs(10) };

    struct World {
        handshakes: Handshakes,
        keys: SlotMap<ConnKey, ()>,
    }

    fn at(millis: u64) -> Instant {
        Instant::START + Duration::from_millis(millis)
    }

    impl World {
        fn new() -> Self {
            Self { handshakes: Handshakes::default(), keys: SlotMap::with_key() }
        }

        /// One more from there has sent its first byte.
        fn comes(&mut self, millis: u64, address: &str) -> (ConnKey, Admission) {
            let key = self.keys.insert(());
            let source = Source::new(address.parse().ok(), key);
            (key, self.handshakes.admit(at(millis), key, || source, &LIMITS))
        }

        fn next(&mut self, millis: u64) -> Option<ConnKey> {
            self.handshakes.next(at(millis), &LIMITS)
        }

        fn is_empty(&self) -> bool {
            let Handshakes { places, sources, seated, turns, crowded, .. } = &self.handshakes;
            places.is_empty() && sources.is_empty() && seated.is_empty() && turns.is_empty() && crowded.is_empty()
        }
    }

    #[test]
    fn one_address_has_a_share_of_the_seats_and_keeps_nobody_else_from_his() {
        let mut world = World::new();
        let many: Vec<_> = (0..1_000).map(|_| world.comes(0, "10.0.0.1")).collect();
        assert_eq!((many[0].1, many[1].1), (Admission::Seated, Admission::Seated));
        assert!(many[2..].iter().all(|(_, admission)| *admission == Admission::Begins(HandshakeLoss::Crowded)));
        assert_eq!(world.comes(1, "10.0.0.2").1, Admission::Seated);
        assert_eq!(world.comes(1, "10.0.0.3").1, Admission::Seated);
        assert_eq!(world.comes(1, "10.0.0.4").1, Admission::Begins(HandshakeLoss::Delayed), "all are taken");
        assert_eq!(world.handshakes.admit(at(2), many[9].0, || unreachable!("known"), &LIMITS), Admission::Waits);
    }

    #[test]
    fn who_waits_is_seated_in_turn_first_come_first_served() {
        let mut world = World::new();
        let seated: Vec<_> = ["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"].map(|address| world.comes(0, address).0).into();
        let crowd: Vec<_> = (0..5).map(|_| world.comes(1, "1.1.1.1").0).collect();
        let single = world.comes(2, "5.5.5.5").0;
        assert_eq!(world.next(3), None);
        world.handshakes.leave(seated[1], &LIMITS);
        world.handshakes.leave(seated[2], &LIMITS);
        assert_eq!(world.handshakes.deadline(&LIMITS), Some(at(0)), "at once");
        assert_eq!((world.next(3), world.next(3), world.next(3)), (Some(crowd[0]), Some(single), None), "one of the crowd, then the other source");
        world.handshakes.leave(seated[3], &LIMITS);
        assert_eq!(world.next(4), None, "the crowd has its two");
        world.handshakes.leave(crowd[1], &LIMITS);
        world.handshakes.leave(seated[0], &LIMITS);
        assert_eq!((world.next(4), world.next(4)), (Some(crowd[2]), None), "the second one went away while it waited");
        seated.iter().chain(&crowd).chain([&single]).for_each(|key| world.handshakes.leave(*key, &LIMITS));
        assert!(world.is_empty());
    }

    #[test]
    fn who_stands_still_loses_its_seat_to_those_who_wait_for_just_that() {
        let mut world = World::new();
        let (first, _) = world.comes(0, "1.1.1.1");
        let (second, _) = world.comes(500, "2.2.2.2");
        let (third, _) = world.comes(600, "2.2.2.2");
        assert_eq!((world.handshakes.deadline(&LIMITS), world.handshakes.overdue(at(9_999), &LIMITS)), (Some(at(10_000)), None), "nobody waits");
        let (fourth, _) = world.comes(700, "2.2.2.2");
        assert_eq!(world.handshakes.deadline(&LIMITS), Some(at(1_500)));
        assert_eq!(world.handshakes.overdue(at(1_499), &LIMITS), None);
        assert_eq!(world.handshakes.overdue(at(1_500), &LIMITS), Some((second, HandshakeLoss::Shed)), "not the first, whose seat is of no use");
        world.handshakes.leave(second, &LIMITS);
        assert_eq!(world.next(1_500), Some(fourth));
        let (fifth, _) = world.comes(1_500, "3.3.3.3");
        let (sixth, _) = world.comes(1_500, "4.4.4.4");
        assert_eq!(world.handshakes.overdue(at(1_500), &LIMITS), Some((first, HandshakeLoss::Shed)), "all are taken: the oldest of all");
        assert_eq!(world.handshakes.overdue(at(10_000), &LIMITS), Some((first, HandshakeLoss::TimedOut)));
        [first, third, fourth, fifth, sixth].iter().for_each(|key| world.handshakes.leave(*key, &LIMITS));
        assert!(world.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_source_and_who_has_no_address_is_one_alone() {
        let mut world = World::new();
        assert_eq!(["2001:db8::1", "2001:db8::2"].map(|address| world.comes(0, address).1), [Admission::Seated; 2]);
        assert_eq!(world.comes(0, "2001:db8::ffff:3").1, Admission::Begins(HandshakeLoss::Crowded));
        assert_eq!(world.comes(0, "2001:db8:0:1::1").1, Admission::Seated, "another network");
        assert_eq!(world.comes(0, "").1, Admission::Seated);
        assert_eq!(world.comes(0, "").1, Admission::Begins(HandshakeLoss::Delayed), "for want of seats");
        let key = ConnKey::default();
        assert_eq!(Source::new("::ffff:10.0.0.1".parse().ok(), key), Source::new("10.0.0.1".parse().ok(), key));
    }

    #[test]
    fn who_turns_out_to_come_from_a_crowded_address_waits_there() {
        let mut world = World::new();
        let behind_proxy: Vec<_> = (0..3).map(|_| world.comes(0, "").0).collect();
        let address = |key| Source::new("10.0.0.1".parse().ok(), key);
        let renamed: Vec<_> = behind_proxy.iter().map(|key| world.handshakes.rename(*key, address(*key), &LIMITS)).collect();
        assert_eq!(renamed, [Renamed::Goes, Renamed::Goes, Renamed::Waits]);
        assert_eq!(world.handshakes.admit(at(1), behind_proxy[1], || unreachable!("known"), &LIMITS), Admission::Seated);
        assert_eq!(world.handshakes.admit(at(1), behind_proxy[2], || unreachable!("known"), &LIMITS), Admission::Waits);
        world.handshakes.leave(behind_proxy[0], &LIMITS);
        assert_eq!(world.next(2), Some(behind_proxy[2]));
        behind_proxy.iter().for_each(|key| world.handshakes.leave(*key, &LIMITS));
        assert!(world.is_empty());
    }
}
