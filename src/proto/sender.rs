//! Outgoing QoS 1 and QoS 2 (MQTT 5 §4.3.2, §4.3.3, §4.4, §4.6, §4.9), for broker and client alike.
//!
//! The messages in flight stand in one queue in the order they were first sent; that order is what
//! a resend repeats. A message acknowledged out of order leaves a hole; holes are closed when they
//! outnumber the messages. Up to [`SEARCHED_MAX`] in flight an identifier is searched for, the
//! oldest first (usual); beyond, an index leads from the identifier to the running number of the
//! message, and the queue is sorted by that: no order of acknowledgements makes a step expensive.
//!
//! ```text
//!   begin ---> sent --puback------------------------> done            QoS 1
//!              sent --pubrec--> released --pubcomp--> done            QoS 2
//!   connected: everything is to be sent again: sent as PUBLISH with DUP, released as PUBREL
//! ```
//! A sender with nothing in flight owns no memory.

use std::collections::VecDeque;

use super::ids::{PacketIds, following};
use crate::base::IdMap;
use crate::codec::{PacketId, Qos, Reason};

/// The messages of one session that were sent and not yet acknowledged.
#[derive(Debug)]
pub struct Sender<M> {
    /// Sorted by number; the first and the last are never holes.
    queue: VecDeque<Entry<M>>,
    /// Made when more than [`SEARCHED_MAX`] are in flight, dropped when nothing is.
    index: Option<Box<Index>>,
    number_next: u32,
    /// Position in `queue`: what stands from here on has not been sent on this connection.
    resend_from: u32,
    id_next: PacketId,
    in_flight: u16,
    /// Sent on this connection and not done: what the quota counts.
    awaited: u16,
    quota: u16,
    in_flight_max: u16,
}

#[derive(Debug)]
struct Entry<M> {
    number: u32,
    id: PacketId,
    qos: Qos,
    released: bool,
    /// `None`: a hole.
    message: Option<M>,
}

#[derive(Debug, Default)]
struct Index {
    used: PacketIds,
    numbers: IdMap<PacketId, u32>,
}

/// Up to this many in flight, a search is cheaper than an index.
const SEARCHED_MAX: usize = 64;

/// An entry of the index and its share of the table's control bytes; a table is filled to seven eighths.
const NUMBER_BYTES: usize = (size_of::<(PacketId, u32)>() + 1) * 8 / 7;

/// Room for so many is made with the first, so that a burst does not move them twice.
const FIRST_ENTRIES: usize = 8;

/// What [`Sender::next_resend`] wants on the wire.
#[derive(Debug, PartialEq, Eq)]
pub enum Resend<'a, M> {
    /// A PUBLISH with DUP set (§3.3.1.1).
    Publish {
        /// The identifier it had before.
        packet_id: PacketId,
        /// 1 or 2.
        qos: Qos,
        /// What was given to [`Sender::begin`].
        message: &'a M,
    },
    /// A PUBREL: the receiver has the message already (§4.3.3).
    PubRel {
        /// The identifier of the message.
        packet_id: PacketId,
    },
}

/// What a PUBREC led to.
#[derive(Debug, PartialEq, Eq)]
pub enum PubRecOutcome<M> {
    /// Answer PUBREL.
    Release,
    /// The receiver refused (reason 0x80 or above): the delivery is over, no PUBREL.
    Ended(M),
    /// No QoS 2 message has this identifier: answer PUBREL with 0x92 (MQTT 5) or a plain PUBREL.
    Unknown,
}

impl<M> Sender<M> {
    /// Nothing in flight. `in_flight_max` is this side's own limit, 0 = none but the peer's.
    /// Nothing may be sent before [`Sender::connected`].
    pub fn new(in_flight_max: u16) -> Self {
        Self { queue: VecDeque::new(), index: None, number_next: 0, resend_from: 0, id_next: PacketId::MIN, in_flight: 0, awaited: 0, quota: 0, in_flight_max }
    }

    /// A new network connection: the quota begins anew (§4.9) and everything in flight is to be
    /// sent again (§4.4). `receive_maximum` is the peer's, 65,535 for MQTT 3.
    pub fn connected(&mut self, receive_maximum: u16) {
        let own = if self.in_flight_max == 0 { u16::MAX } else { self.in_flight_max };
        self.quota = receive_maximum.min(own);
        self.awaited = 0;
        self.resend_from = 0;
    }

    /// True when the quota allows one more, nothing waits to be sent again and an identifier is
    /// free.
    pub fn can_send(&self) -> bool {
        self.awaited < self.quota && !self.must_resend() && self.in_flight < u16::MAX
    }

    /// Something of an earlier connection waits to be sent again.
    pub fn must_resend(&self) -> bool {
        (self.resend_from as usize) < self.queue.len()
    }

    /// Takes a message into flight; the caller sends the PUBLISH.
    ///
    /// # Panics
    /// If not [`Sender::can_send`], or with QoS 0: the caller's fault.
    pub fn begin(&mut self, qos: Qos, message: M) -> PacketId {
        self.begin_avoiding(qos, message, |_| false)
    }

    /// The same, for a client: its SUBSCRIBE and UNSUBSCRIBE packets take their identifiers from
    /// the same numbers (§2.2.1). At least one identifier must be left.
    pub fn begin_avoiding(&mut self, qos: Qos, message: M, is_taken: impl Fn(PacketId) -> bool) -> PacketId {
        let id = self.unused_id(is_taken);
        self.begin_as(id, qos, message);
        id
    }

    /// The same under an identifier that [`Sender::unused_id`] gave, for a caller that sends first.
    ///
    /// # Panics
    /// As [`Sender::begin`].
    pub fn begin_as(&mut self, id: PacketId, qos: Qos, message: M) {
        assert!(self.can_send(), "asked to send without a quota");
        assert!(qos != Qos::AtMostOnce, "QoS 0 has no identifier");
        self.append(id, qos, false, message);
        self.resend_from = self.queue.len() as u32;
        self.awaited += 1;
    }

    /// An identifier that is neither in flight nor `is_taken`; it is not given again soon.
    pub fn unused_id(&mut self, is_taken: impl Fn(PacketId) -> bool) -> PacketId {
        loop {
            let id = self.free_id();
            self.id_next = following(id);
            if !is_taken(id) {
                return id;
            }
        }
    }

    /// Puts back what a store kept, in the order of the first sending and before anything else is
    /// begun. False if the identifier is in flight already.
    pub fn restore(&mut self, id: PacketId, qos: Qos, released: bool, message: M) -> bool {
        if qos == Qos::AtMostOnce || self.find(id).is_some() {
            return false;
        }
        self.append(id, qos, released, message);
        true
    }

    fn append(&mut self, id: PacketId, qos: Qos, released: bool, message: M) {
        if self.number_next == u32::MAX {
            self.renumber();
        }
        if self.queue.capacity() == 0 {
            self.queue.reserve(FIRST_ENTRIES);
        }
        let number = self.number_next;
        self.queue.push_back(Entry { number, id, qos, released, message: Some(message) });
        self.number_next += 1;
        self.in_flight += 1;
        self.id_next = following(id);
        match &mut self.index {
            Some(index) => index.insert(id, number),
            None if usize::from(self.in_flight) > SEARCHED_MAX => self.make_index(),
            None => {}
        }
    }

    fn make_index(&mut self) {
        let mut index = Box::<Index>::default();
        let live = self.queue.iter().filter(|entry| entry.message.is_some());
        live.for_each(|entry| index.insert(entry.id, entry.number));
        self.index = Some(index);
    }

    fn free_id(&self) -> PacketId {
        if let Some(index) = &self.index {
            return index.used.next_free(self.id_next).expect("can_send: one is free");
        }
        let mut id = self.id_next;
        while self.find(id).is_some() {
            id = following(id);
        }
        id
    }

    /// Once in four thousand million messages without a pause.
    fn renumber(&mut self) {
        self.close_holes();
        self.queue.iter_mut().zip(0..).for_each(|(entry, number)| entry.number = number);
        self.number_next = self.queue.len() as u32;
        if self.index.is_some() {
            self.make_index();
        }
    }

    /// What to send again next, in the original order, as long as the quota allows. Ask until
    /// `None`, and again whenever an acknowledgement came.
    pub fn next_resend(&mut self) -> Option<Resend<'_, M>> {
        let index = self.resend_from as usize;
        // The receiver of a PUBREL has counted the message already: it needs no quota.
        if !self.queue.get(index)?.released && self.awaited >= self.quota {
            return None;
        }
        self.awaited += 1;
        self.resend_from += 1;
        self.skip_holes();
        let entry = &self.queue[index];
        let packet_id = entry.id;
        if entry.released {
            return Some(Resend::PubRel { packet_id });
        }
        let message = entry.message.as_ref()?;
        Some(Resend::Publish { packet_id, qos: entry.qos, message })
    }

    /// A PUBACK came: the message, or `None` for an unknown identifier (ignore and count).
    pub fn puback(&mut self, id: PacketId) -> Option<M> {
        let index = self.find(id)?;
        if self.queue[index].qos != Qos::AtLeastOnce {
            return None;
        }
        self.take(index)
    }

    /// A PUBREC came.
    pub fn pubrec(&mut self, id: PacketId, reason: Reason) -> PubRecOutcome<M> {
        let Some(index) = self.find(id) else { return PubRecOutcome::Unknown };
        let entry = &mut self.queue[index];
        if entry.qos != Qos::ExactlyOnce {
            return PubRecOutcome::Unknown;
        }
        if !reason.is_error() {
            entry.released = true;
            return PubRecOutcome::Release;
        }
        match self.take(index) {
            Some(message) => PubRecOutcome::Ended(message),
            None => PubRecOutcome::Unknown,
        }
    }

    /// A PUBCOMP came: the message, or `None` for an unknown identifier. With a reason of 0x92 the
    /// receiver has forgotten the message after it said PUBREC: the delivery is over as well.
    pub fn pubcomp(&mut self, id: PacketId) -> Option<M> {
        let index = self.find(id)?;
        let entry = &self.queue[index];
        if entry.qos != Qos::ExactlyOnce || !entry.released {
            return None;
        }
        self.take(index)
    }

    /// Gives a message up that cannot be sent (again): it is done, whatever its state was.
    pub fn abandon(&mut self, id: PacketId) -> Option<M> {
        let index = self.find(id)?;
        self.take(index)
    }

    /// The position of the message with this identifier.
    fn find(&self, id: PacketId) -> Option<usize> {
        let Some(index) = &self.index else {
            return self.queue.iter().position(|entry| entry.id == id && entry.message.is_some());
        };
        let number = *index.numbers.get(&id)?;
        let guess = (number - self.queue.front()?.number) as usize;
        match self.queue.get(guess) {
            Some(entry) if entry.number == number => Some(guess),
            _ => self.queue.binary_search_by_key(&number, |entry| entry.number).ok(),
        }
    }

    fn take(&mut self, position: usize) -> Option<M> {
        let entry = &mut self.queue[position];
        let message = entry.message.take()?;
        if let Some(index) = &mut self.index {
            index.remove(entry.id);
        }
        self.in_flight -= 1;
        if position < self.resend_from as usize {
            self.awaited -= 1;
        }
        self.tidy();
        Some(message)
    }

    /// Restores "the first and the last are no holes" and bounds the holes between.
    fn tidy(&mut self) {
        if self.in_flight == 0 {
            self.queue = VecDeque::new();
            self.index = None;
            self.number_next = 0;
            self.resend_from = 0;
            return;
        }
        while self.queue.front().is_some_and(|entry| entry.message.is_none()) {
            self.queue.pop_front();
            self.resend_from = self.resend_from.saturating_sub(1);
        }
        while self.queue.back().is_some_and(|entry| entry.message.is_none()) {
            self.queue.pop_back();
        }
        if self.queue.len() > 2 * usize::from(self.in_flight) + 16 {
            self.close_holes();
        }
        self.resend_from = self.resend_from.min(self.queue.len() as u32);
        self.skip_holes();
    }

    fn skip_holes(&mut self) {
        while self.queue.get(self.resend_from as usize).is_some_and(|e| e.message.is_none()) {
            self.resend_from += 1;
        }
    }

    fn close_holes(&mut self) {
        let before = self.queue.iter().take(self.resend_from as usize);
        self.resend_from = before.filter(|entry| entry.message.is_some()).count() as u32;
        self.queue.retain(|entry| entry.message.is_some());
    }

    /// Memory taken besides itself and what messages own.
    pub fn memory_bytes(&self) -> usize {
        let index = self.index.as_ref().map_or(0, |index| size_of::<Index>() + index.used.memory_bytes() + index.numbers.capacity() * NUMBER_BYTES);
        self.queue.capacity() * size_of::<Entry<M>>() + index
    }

    /// Messages in flight.
    pub fn in_flight(&self) -> usize {
        usize::from(self.in_flight)
    }

    /// True when every message was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.in_flight == 0
    }

    /// The message in flight with this identifier.
    pub fn get(&self, id: PacketId) -> Option<&M> {
        self.queue[self.find(id)?].message.as_ref()
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: PacketId) -> Option<&mut M> {
        let position = self.find(id)?;
        self.queue[position].message.as_mut()
    }

    /// The messages in flight in the order they were first sent.
    pub fn iter(&self) -> impl Iterator<Item = (PacketId, &M)> {
        self.entries().map(|(id, _, _, message)| (id, message))
    }

    /// The same with QoS and "a PUBREC has come", for a store.
    pub fn entries(&self) -> impl Iterator<Item = (PacketId, Qos, bool, &M)> {
        self.queue.iter().filter_map(|entry| {
            let message = entry.message.as_ref()?;
            Some((entry.id, entry.qos, entry.released, message))
        })
    }

    /// Takes out the QoS 1 messages that `take` wants, in order: what a lost member of a shared
    /// subscription did not acknowledge is offered to another (§4.8.2).
    pub fn take_unacknowledged(&mut self, mut take: impl FnMut(&M) -> bool) -> Vec<M> {
        let mut taken = Vec::new();
        for position in 0..self.queue.len() {
            let entry = &mut self.queue[position];
            let wanted = entry.qos == Qos::AtLeastOnce && entry.message.as_ref().is_some_and(&mut take);
            if !wanted {
                continue;
            }
            if let Some(index) = &mut self.index {
                index.remove(entry.id);
            }
            self.in_flight -= 1;
            if position < self.resend_from as usize {
                self.awaited -= 1;
            }
            taken.extend(entry.message.take());
        }
        self.tidy();
        taken
    }

    /// Takes everything out, in order: the session ends.
    pub fn drain(&mut self) -> impl Iterator<Item = M> + use<M> {
        self.drain_entries().map(|(_, message)| message)
    }

    /// The same with "a PUBREC has come": such a message the receiver owns already.
    pub fn drain_entries(&mut self) -> impl Iterator<Item = (bool, M)> + use<M> {
        let queue = core::mem::take(&mut self.queue);
        self.in_flight = 0;
        self.awaited = 0;
        self.tidy();
        queue.into_iter().filter_map(|entry| Some((entry.released, entry.message?)))
    }
}

impl Index {
    fn insert(&mut self, id: PacketId, number: u32) {
        self.used.insert(id);
        self.numbers.insert(id, number);
    }

    fn remove(&mut self, id: PacketId) {
        self.used.remove(id);
        self.numbers.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    fn sender(quota: u16) -> Sender<u32> {
        let mut sender = Sender::new(0);
        sender.connected(quota);
        sender
    }

    fn id(value: u16) -> PacketId {
        PacketId::new(value).expect("above 0")
    }

    #[test]
    fn an_idle_sender_is_small_and_owns_no_memory() {
        assert!(size_of::<Sender<std::sync::Arc<u8>>>() <= 64);
        let mut sender = sender(100);
        for _ in 0..100 {
            sender.begin(Qos::AtLeastOnce, 0);
        }
        assert!(sender.index.is_some());
        for packet_id in 1..=100 {
            assert!(sender.puback(id(packet_id)).is_some());
        }
        assert!(sender.queue.capacity() == 0 && sender.index.is_none());
    }

    #[test]
    fn the_quota_is_the_smaller_of_both_limits_and_comes_back_with_acknowledgements() {
        let mut sender = Sender::new(3);
        assert!(!sender.can_send());
        sender.connected(2);
        let first = sender.begin(Qos::AtLeastOnce, 1);
        let second = sender.begin(Qos::ExactlyOnce, 2);
        assert!(!sender.can_send());
        assert_eq!(sender.pubrec(second, Reason::SUCCESS), PubRecOutcome::Release);
        assert!(!sender.can_send(), "PUBREC gives no quota back");
        assert_eq!(sender.puback(first), Some(1));
        assert!(sender.can_send());
        sender.connected(500);
        assert_eq!(sender.next_resend(), Some(Resend::PubRel { packet_id: second }));
        sender.begin(Qos::AtLeastOnce, 3);
        sender.begin(Qos::AtLeastOnce, 4);
        assert!(!sender.can_send());
    }

    #[test]
    fn a_new_connection_resends_in_the_original_order_within_the_quota() {
        let mut sender = sender(10);
        let ids: Vec<PacketId> = (0..6).map(|n| sender.begin(Qos::ExactlyOnce, n)).collect();
        sender.pubrec(ids[1], Reason::SUCCESS);
        sender.pubrec(ids[3], Reason::SUCCESS);
        sender.pubcomp(ids[3]);
        sender.connected(2);
        let publish = |index: usize, message| Some(Resend::Publish { packet_id: ids[index], qos: Qos::ExactlyOnce, message });
        assert_eq!(sender.next_resend(), publish(0, &0));
        assert_eq!(sender.next_resend(), Some(Resend::PubRel { packet_id: ids[1] }));
        assert_eq!(sender.next_resend(), None);
        assert!(!sender.can_send());
        sender.pubcomp(ids[1]);
        assert_eq!(sender.next_resend(), publish(2, &2));
        assert_eq!(sender.next_resend(), None);
        assert!(matches!(sender.pubrec(ids[0], Reason::QUOTA_EXCEEDED), PubRecOutcome::Ended(0)));
        assert_eq!(sender.next_resend(), publish(4, &4));
        sender.pubrec(ids[2], Reason::SUCCESS);
        sender.pubcomp(ids[2]);
        assert_eq!(sender.next_resend(), publish(5, &5));
        assert_eq!(sender.next_resend(), None);
        assert_eq!(sender.in_flight(), 2);
    }

    #[test]
    fn acknowledgements_of_the_wrong_kind_are_unknown() {
        let mut sender = sender(10);
        let one = sender.begin(Qos::AtLeastOnce, 1);
        let two = sender.begin(Qos::ExactlyOnce, 2);
        assert_eq!(sender.puback(two), None);
        assert_eq!(sender.pubcomp(two), None, "PUBCOMP before PUBREC");
        assert_eq!(sender.pubrec(one, Reason::SUCCESS), PubRecOutcome::Unknown);
        assert_eq!(sender.puback(id(77)), None);
        assert_eq!(sender.in_flight(), 2);
    }

    #[test]
    fn a_stuck_message_keeps_its_identifier_while_others_go_round() {
        let mut sender = sender(u16::MAX);
        let stuck = sender.begin(Qos::AtLeastOnce, 0);
        for round in 0..300_000 {
            let packet_id = sender.begin(Qos::AtLeastOnce, round);
            assert_ne!(packet_id, stuck);
            assert_eq!(sender.puback(packet_id), Some(round));
        }
        assert_eq!(sender.puback(stuck), Some(0));
    }

    #[test]
    fn all_identifiers_in_flight_are_acknowledged_in_any_order() {
        let mut sender = sender(u16::MAX);
        let mut rng = Rng::with_seed(9);
        let mut ids: Vec<(PacketId, u32)> = (0..65_535).map(|n| (sender.begin(Qos::AtLeastOnce, n), n)).collect();
        assert!(!sender.can_send());
        // At the limit: one out at random, one in.
        for n in 0..100_000 {
            let index = rng.below(ids.len() as u64) as usize;
            let (packet_id, message) = ids[index];
            assert_eq!(sender.puback(packet_id), Some(message));
            let again = sender.begin(Qos::AtLeastOnce, n);
            assert_eq!(again, packet_id, "the only free one");
            ids[index] = (again, n);
        }
        while !ids.is_empty() {
            let (packet_id, message) = ids.swap_remove(rng.below(ids.len() as u64) as usize);
            assert_eq!(sender.puback(packet_id), Some(message));
        }
        assert!(sender.is_empty());
    }

    #[test]
    fn random_traffic_matches_a_plain_list() {
        let mut rng = Rng::with_seed(12);
        let mut sender = sender(300);
        let mut model: Vec<(PacketId, u32)> = Vec::new();
        for n in 0..400_000_u32 {
            if rng.chance(520) && sender.can_send() {
                model.push((sender.begin(Qos::AtLeastOnce, n), n));
            } else if !model.is_empty() {
                // Mostly the oldest, sometimes any but the very first: holes.
                let index = if rng.chance(700) { 1 } else { rng.below(model.len() as u64) as usize };
                let (packet_id, message) = model.remove(index.min(model.len() - 1));
                assert_eq!(sender.puback(packet_id), Some(message));
            }
            assert_eq!(sender.in_flight(), model.len());
            if n % 5_000 == 0 {
                assert!(sender.iter().map(|(id, m)| (id, *m)).eq(model.iter().copied()));
                sender.connected(300);
                let mut resent = Vec::new();
                while let Some(Resend::Publish { packet_id, message, .. }) = sender.next_resend() {
                    resent.push((packet_id, *message));
                }
                assert_eq!(resent, model);
            }
        }
    }

    #[test]
    fn only_qos_1_is_taken_for_another_member() {
        let mut sender = sender(10);
        sender.begin(Qos::AtLeastOnce, 1);
        sender.begin(Qos::ExactlyOnce, 2);
        sender.begin(Qos::AtLeastOnce, 3);
        sender.begin(Qos::AtLeastOnce, 4);
        assert_eq!(sender.take_unacknowledged(|message| *message != 3), [1, 4]);
        assert_eq!(sender.iter().map(|(_, m)| *m).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(sender.drain().collect::<Vec<_>>(), [2, 3]);
        assert!(sender.is_empty() && sender.can_send());
    }

    #[test]
    fn a_restored_message_is_resent_and_its_identifier_stays_taken() {
        let mut sender = Sender::new(0);
        assert!(sender.restore(id(500), Qos::AtLeastOnce, false, 1));
        assert!(sender.restore(id(2), Qos::ExactlyOnce, true, 2));
        assert!(!sender.restore(id(500), Qos::AtLeastOnce, false, 3));
        sender.connected(10);
        let first = Resend::Publish { packet_id: id(500), qos: Qos::AtLeastOnce, message: &1 };
        assert_eq!(sender.next_resend(), Some(first));
        assert_eq!(sender.next_resend(), Some(Resend::PubRel { packet_id: id(2) }));
        assert_eq!(sender.begin(Qos::AtLeastOnce, 4), id(3));
        assert_eq!(sender.pubcomp(id(2)), Some(2));
    }
}
