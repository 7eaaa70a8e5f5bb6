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
    /// QoS 2 of this connection, waiting for PUBREL: they count.
    counted: PacketIds,
    /// QoS 2 of earlier connections not sent again in this one: they do not count.
    earlier: PacketIds,
    /// QoS 1 not acknowledged by us yet.
    unacknowledged: u16,
    receive_maximum: u16,
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
        Self {
            counted: PacketIds::default(),
            earlier: PacketIds::default(),
            unacknowledged: 0,
            receive_maximum: receive_maximum.max(1),
        }
    }

    /// A new network connection of the same session.
    pub fn connected(&mut self) {
        self.unacknowledged = 0;
        let counted = core::mem::take(&mut self.counted);
        if self.earlier.len() == 0 {
            self.earlier = counted;
        } else {
            for id in counted.iter() {
                self.earlier.insert(id);
            }
        }
    }

    /// A PUBLISH with QoS 1 or 2 came (QoS 0 is always new).
    pub fn publish(&mut self, qos: Qos, id: PacketId) -> Result<Arrival, Error> {
        let known = qos == Qos::ExactlyOnce && self.counted.contains(id);
        if qos == Qos::AtMostOnce || known {
            return Ok(if known { Arrival::Duplicate } else { Arrival::New });
        }
        if self.counted.len() + usize::from(self.unacknowledged) >= usize::from(self.receive_maximum) {
            return Err(Error::ReceiveMaximumExceeded);
        }
        if qos == Qos::AtLeastOnce {
            self.unacknowledged += 1;
            return Ok(Arrival::New);
        }
        self.counted.insert(id);
        Ok(if self.earlier.remove(id) { Arrival::Duplicate } else { Arrival::New })
    }

    /// What this side announces to the next connection (65,535 where the version has no such
    /// limit). What is counted already stays counted.
    pub fn set_receive_maximum(&mut self, receive_maximum: u16) {
        self.receive_maximum = receive_maximum;
    }

    /// A QoS 2 message with this identifier was handed on and is not released yet.
    pub fn contains(&self, id: PacketId) -> bool {
        self.counted.contains(id) || self.earlier.contains(id)
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
        self.earlier.remove(id);
    }

    /// A PUBREL came. False for an unknown identifier: answer PUBCOMP with 0x92.
    pub fn pubrel(&mut self, id: PacketId) -> bool {
        self.counted.remove(id) || self.earlier.remove(id)
    }

    /// Puts back a QoS 2 identifier that a store kept.
    pub fn restore(&mut self, id: PacketId) {
        self.earlier.insert(id);
    }

    /// The QoS 2 identifiers that wait for PUBREL, for a store.
    pub fn iter(&self) -> impl Iterator<Item = PacketId> + '_ {
        self.counted.iter().chain(self.earlier.iter())
    }

    /// The session ended: forgets everything.
    pub fn clear(&mut self) {
        *self = Self::new(self.receive_maximum);
    }

    /// Memory taken beyond what a usual session takes.
    pub fn memory_bytes(&self) -> usize {
        self.counted.memory_bytes() + self.earlier.memory_bytes()
    }

    /// QoS 2 messages that wait for PUBREL and QoS 1 messages that wait for our PUBACK.
    pub fn len(&self) -> usize {
        self.counted.len() + self.earlier.len() + usize::from(self.unacknowledged)
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
        assert!(size_of::<Receiver>() <= 56);
        let mut receiver = Receiver::new(100);
        for value in 1..=100 {
            assert_eq!(receiver.publish(Qos::ExactlyOnce, id(value)), Ok(Arrival::New));
        }
        receiver.connected();
        for value in 1..=100 {
            assert!(receiver.pubrel(id(value)));
        }
        let PacketIds::Small(ids) = &receiver.earlier else { panic!("kept its bitmap") };
        assert_eq!(ids.capacity(), 0);
    }
}
