//! Incoming QoS 1 and QoS 2 (MQTT 5 §4.3.2, §4.3.3, §3.3.4), for broker and client alike.
//!
//! A QoS 2 message is handed on when its PUBLISH arrives; its identifier is kept until PUBREL, and
//! a PUBLISH with a kept identifier is a duplicate. Identifiers survive the connection, the count
//! against the Receive Maximum begins anew: a peer that has to send PUBREL only owes nothing.
//! A receiver that expects nothing owns no memory.

use super::Error;
use super::ids::PacketIds;
use crate::codec::{PacketId, Qos};

/// The messages of one session that arrived and are not yet finished.
#[derive(Debug)]
pub struct Receiver {
    /// There while a QoS 2 message waits.
    waiting: Option<Box<Waiting>>,
    /// QoS 1 not acknowledged by us yet.
    unacknowledged: u16,
    receive_maximum: u16,
}

/// QoS 2 messages that wait for PUBREL.
#[derive(Debug, Default)]
struct Waiting {
    /// Of this connection: they count.
    counted: PacketIds,
    /// Of earlier connections, not sent again in this one: they do not count.
    earlier: PacketIds,
}

/// Whether a PUBLISH is to be handed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// Hand it on and acknowledge.
    New,
    /// Only acknowledge: it was handed on before.
    Duplicate,
}

impl Receiver {
    /// Nothing expected. `receive_maximum` is what this side announced (65,535 if nothing).
    pub fn new(receive_maximum: u16) -> Self {
        Self { waiting: None, unacknowledged: 0, receive_maximum: receive_maximum.max(1) }
    }

    /// A new network connection of the same session.
    pub fn connected(&mut self) {
        self.unacknowledged = 0;
        let Some(waiting) = &mut self.waiting else { return };
        let counted = core::mem::take(&mut waiting.counted);
        if waiting.earlier.len() == 0 {
            waiting.earlier = counted;
        } else {
            for id in counted.iter() {
                waiting.earlier.insert(id);
            }
        }
    }

    /// A PUBLISH with QoS 1 or 2 came (QoS 0 is always new).
    pub fn publish(&mut self, qos: Qos, id: PacketId) -> Result<Arrival, Error> {
        let counted = self.waiting.as_ref().map(|waiting| &waiting.counted);
        let known = qos == Qos::ExactlyOnce && counted.is_some_and(|counted| counted.contains(id));
        if qos == Qos::AtMostOnce || known {
            return Ok(if known { Arrival::Duplicate } else { Arrival::New });
        }
        if counted.map_or(0, PacketIds::len) + usize::from(self.unacknowledged) >= usize::from(self.receive_maximum) {
            return Err(Error::ReceiveMaximumExceeded);
        }
        if qos == Qos::AtLeastOnce {
            self.unacknowledged += 1;
            return Ok(Arrival::New);
        }
        let waiting = self.waiting.get_or_insert_default();
        waiting.counted.insert(id);
        Ok(if waiting.earlier.remove(id) { Arrival::Duplicate } else { Arrival::New })
    }

    /// What this side announces to the next connection (65,535 where the version has no such
    /// limit). What is counted already stays counted.
    pub fn set_receive_maximum(&mut self, receive_maximum: u16) {
        self.receive_maximum = receive_maximum;
    }

    /// A QoS 2 message with this identifier was handed on and is not released yet.
    pub fn contains(&self, id: PacketId) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.counted.contains(id) || waiting.earlier.contains(id))
    }

    /// A PUBACK goes out. Only for a PUBLISH of this connection.
    pub fn acknowledged(&mut self, _id: PacketId) {
        // The identifier of a QoS 1 message is not kept: there is nothing to compare it with.
        self.unacknowledged = self.unacknowledged.saturating_sub(1);
    }

    /// A PUBREC with a reason of 0x80 or above goes out: the identifier is free again.
    pub fn refused(&mut self, id: PacketId) {
        self.pubrel(id);
    }

    /// The session turns out to be another than that of earlier connections: a repetition would have
    /// said DUP (MQTT-3.3.1-1), so this identifier names something new.
    pub fn forget_earlier(&mut self, id: PacketId) {
        self.remove(|waiting| waiting.earlier.remove(id));
    }

    /// A PUBREL came. False for an unknown identifier: answer PUBCOMP with 0x92.
    pub fn pubrel(&mut self, id: PacketId) -> bool {
        self.remove(|waiting| waiting.counted.remove(id) || waiting.earlier.remove(id))
    }

    fn remove(&mut self, remove: impl FnOnce(&mut Waiting) -> bool) -> bool {
        let Some(waiting) = &mut self.waiting else { return false };
        let removed = remove(waiting);
        if waiting.counted.len() == 0 && waiting.earlier.len() == 0 {
            self.waiting = None;
        }
        removed
    }

    /// Puts back a QoS 2 identifier that a store kept.
    pub fn restore(&mut self, id: PacketId) {
        self.waiting.get_or_insert_default().earlier.insert(id);
    }

    /// The QoS 2 identifiers that wait for PUBREL, for a store.
    pub fn iter(&self) -> impl Iterator<Item = PacketId> + '_ {
        self.waiting.iter().flat_map(|waiting| waiting.counted.iter().chain(waiting.earlier.iter()))
    }

    /// The session ended: forgets everything.
    pub fn clear(&mut self) {
        *self = Self::new(self.receive_maximum);
    }

    /// Memory taken besides itself.
    pub fn memory_bytes(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| size_of::<Waiting>() + waiting.counted.memory_bytes() + waiting.earlier.memory_bytes())
    }

    /// QoS 2 messages that wait for PUBREL and QoS 1 messages that wait for our PUBACK.
    pub fn len(&self) -> usize {
        let waiting = self.waiting.as_ref().map_or(0, |waiting| waiting.counted.len() + waiting.earlier.len());
        waiting + usize::from(self.unacknowledged)
    }

    /// True when nothing is unfinished.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(value: u16) -> PacketId {
        PacketId::new(value).expect("above 0")
    }

    #[test]
    fn a_qos_2_message_is_new_once_until_its_pubrel() {
        let mut receiver = Receiver::new(10);
        assert_eq!(receiver.publish(Qos::ExactlyOnce, id(1)), Ok(Arrival::New));
        assert_eq!(receiver.publish(Qos::ExactlyOnce, id(1)), Ok(Arrival::Duplicate));
        receiver.connected();
        assert_eq!(receiver.publish(Qos::ExactlyOnce, id(1)), Ok(Arrival::Duplicate));
        assert!(receiver.pubrel(id(1)));
        assert!(!receiver.pubrel(id(1)));
        assert_eq!(receiver.publish(Qos::ExactlyOnce, id(1)), Ok(Arrival::New));
        receiver.refused(id(1));
        assert!(receiver.is_empty());
    }

    #[test]
    fn the_receive_maximum_counts_both_qualities_of_this_connection() {
        let mut receiver = Receiver::new(2);
        assert_eq!(receiver.publish(Qos::AtLeastOnce, id(1)), Ok(Arrival::New));
        assert_eq!(receiver.publish(Qos::ExactlyOnce, id(2)), Ok(Arrival::New));
        assert_eq!(receiver.publish(Qos::AtLeastOnce, id(3)), Err(Error::ReceiveMaximumExceeded));
        assert_eq!(receiver.publish(Qos::ExactlyOnce, id(4)), Err(Error::ReceiveMaximumExceeded));
        assert_eq!(receiver.publish(Qos::ExactlyOnce, id(2)), Ok(Arrival::Duplicate));
        receiver.acknowledged(id(1));
        assert_eq!(receiver.publish(Qos::AtLeastOnce, id(3)), Ok(Arrival::New));
        receiver.connected();
        // Identifier 2 survived but does not count: only its PUBREL may be missing.
        assert_eq!(receiver.publish(Qos::ExactlyOnce, id(5)), Ok(Arrival::New));
        assert_eq!(receiver.publish(Qos::ExactlyOnce, id(6)), Ok(Arrival::New));
        assert_eq!(receiver.publish(Qos::ExactlyOnce, id(2)), Err(Error::ReceiveMaximumExceeded));
        assert!(receiver.pubrel(id(2)), "the refused PUBLISH changed nothing");
    }

    #[test]
    fn an_idle_receiver_owns_no_memory() {
        assert!(size_of::<Receiver>() <= 16);
        let mut receiver = Receiver::new(100);
        for value in 1..=100 {
            assert_eq!(receiver.publish(Qos::ExactlyOnce, id(value)), Ok(Arrival::New));
        }
        assert!(receiver.memory_bytes() > 0);
        receiver.connected();
        for value in 1..=100 {
            assert!(receiver.pubrel(id(value)));
        }
        assert_eq!((receiver.memory_bytes(), receiver.len()), (0, 0));
    }
}
