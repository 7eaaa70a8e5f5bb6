//! Own acknowledgements leave in the order the messages came ([MQTT-4.6.0-2], [MQTT-4.6.0-3]),
//! in whatever order the application gives them. Belongs to one connection.

use std::collections::VecDeque;

use crate::codec::{PacketId, Qos, Reason};

const SLOTS_MAX: usize = 65_535;

#[derive(Debug, Default)]
pub(super) struct Acks {
    slots: VecDeque<Slot>,
    /// Serial of the first slot.
    base: u64,
}

#[derive(Debug)]
struct Slot {
    id: PacketId,
    qos: Qos,
    /// `None`: the application has not answered.
    reason: Option<Reason>,
}

impl Acks {
    /// Reserves the place of a message that came. `None`: the server repeats itself while the
    /// application has not answered, beyond every number of identifiers.
    pub(super) fn reserve(&mut self, id: PacketId, qos: Qos) -> Option<u64> {
        if self.slots.len() >= SLOTS_MAX {
            return None;
        }
        self.slots.push_back(Slot { id, qos, reason: None });
        Some(self.base + self.slots.len() as u64 - 1)
    }

    /// The answer to it is known. False if there is no such message or it was answered before.
    pub(super) fn answer(&mut self, serial: u64, reason: Reason) -> bool {
        let index = serial.checked_sub(self.base).and_then(|index| usize::try_from(index).ok());
        match index.and_then(|index| self.slots.get_mut(index)) {
            Some(slot) if slot.reason.is_none() => {
                slot.reason = Some(reason);
                true
            }
            _ => false,
        }
    }

    /// The next one whose turn it is to be sent.
    pub(super) fn pop(&mut self) -> Option<(PacketId, Qos, Reason)> {
        let slot = self.slots.front()?;
        let ready = (slot.id, slot.qos, slot.reason?);
        self.slots.pop_front();
        self.base += 1;
        Some(ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_leave_in_the_order_of_arrival_and_once() {
        let mut acks = Acks::default();
        let id = |value| PacketId::new(value).expect("above 0");
        let serials: Vec<u64> = (1..=3).filter_map(|n| acks.reserve(id(n), Qos::AtLeastOnce)).collect();
        assert!(acks.answer(serials[2], Reason::SUCCESS));
        assert!(acks.answer(serials[1], Reason::NOT_AUTHORIZED));
        assert!(!acks.answer(serials[1], Reason::SUCCESS));
        assert_eq!(acks.pop(), None);
        assert!(acks.answer(serials[0], Reason::SUCCESS));
        assert_eq!(acks.pop(), Some((id(1), Qos::AtLeastOnce, Reason::SUCCESS)));
        assert_eq!(acks.pop(), Some((id(2), Qos::AtLeastOnce, Reason::NOT_AUTHORIZED)));
        assert_eq!(acks.pop(), Some((id(3), Qos::AtLeastOnce, Reason::SUCCESS)));
        assert_eq!(acks.pop(), None);
        assert!(!acks.answer(serials[0], Reason::SUCCESS));
        assert!(!acks.answer(99, Reason::SUCCESS));
    }
}
