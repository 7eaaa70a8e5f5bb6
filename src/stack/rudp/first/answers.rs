//! Answers of MQTT that a client of generation 1 waits for.
//!
//! Stock listeners acknowledge a DATA before they look at what is in it, and never send their own again: an answer that got lost is lost
//! for good. So the time of a packet begins with its acknowledgement; until then it is sent again, and fails by itself.

use std::collections::VecDeque;

use super::super::packet::identifier;
use crate::base::{Duration, Instant};

/// A type of packet (MQTT 2.1.2) and its identifier, 0 where it has none.
type Answer = (u8, u16);

#[derive(Debug, Default)]
pub struct Answers {
    /// Since when each is waited for; `None`: what it answers has not arrived. MQTT's window and its identifiers are the limit.
    waiting: VecDeque<(Answer, Option<Instant>)>,
}

impl Answers {
    /// A packet leaves for the first time.
    pub fn asked(&mut self, packet: &[u8]) {
        // One answer does for the same question asked twice.
        if let Some(answer) = answer_to(packet).filter(|answer| self.waiting.iter().all(|(waiting, _)| waiting != answer)) {
            self.waiting.push_back((answer, None));
        }
    }

    /// A packet has arrived at the other side.
    pub fn arrived(&mut self, now: Instant, packet: &[u8]) {
        let Some(answer) = answer_to(packet) else { return };
        if let Some((_, since)) = self.waiting.iter_mut().find(|(waiting, since)| *waiting == answer && since.is_none()) {
            *since = Some(now);
        }
    }

    /// A packet came: is it one of them?
    pub fn came(&mut self, packet: &[u8]) {
        let Some(kind) = packet.first().map(|byte| byte >> 4) else { return };
        let id = identifier(packet).unwrap_or(0);
        if let Some(index) = self.waiting.iter().position(|(waiting, _)| *waiting == (kind, id)) {
            self.waiting.remove(index);
        }
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
    }

    /// Since when the oldest is waited for.
    pub fn since(&self) -> Option<Instant> {
        self.waiting.iter().filter_map(|(_, since)| *since).min()
    }

    /// One has been missing for so long.
    pub fn is_missing(&self, now: Instant, timeout: Duration) -> bool {
        self.since().is_some_and(|since| since + timeout <= now)
    }

    pub fn memory_bytes(&self) -> usize {
        self.waiting.capacity() * size_of::<(Answer, Option<Instant>)>()
    }
}

/// What the other side has to answer a client's packet with.
fn answer_to(packet: &[u8]) -> Option<Answer> {
    const CONNACK: u8 = 2;
    const PUBACK: u8 = 4;
    const PUBREC: u8 = 5;
    const PINGRESP: u8 = 13;
    let first = *packet.first()?;
    match (first >> 4, first >> 1 & 3) {
        (1, _) => Some((CONNACK, 0)),
        (3, 1) => Some((PUBACK, identifier(packet)?)),
        (3, 2) => Some((PUBREC, identifier(packet)?)),
        // A PUBREC that refuses is the end of it (MQTT 5, 4.3.3).
        (5, _) if packet.get(4).is_some_and(|reason| *reason >= 0x80) => None,
        // PUBREC: PUBREL. PUBREL: PUBCOMP. SUBSCRIBE and UNSUBSCRIBE: theirs.
        (kind @ (5 | 6 | 8 | 10), _) => Some((kind + 1, identifier(packet)?)),
        (12, _) => Some((PINGRESP, 0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    #[test]
    fn every_packet_that_is_answered_is_waited_for_from_its_arrival_on() {
        for (packet, answer) in [
            (&b"\x10\x10\x00\x04MQTT\x04\x02\x02\x58\x00\x04dev1"[..], &[0x20, 2, 0, 0][..]),
            (&[0x32, 5, 0, 1, b't', 1, 2], &[0x40, 2, 1, 2]),
            (&[0x34, 5, 0, 1, b't', 1, 2], &[0x50, 2, 1, 2]),
            (&[0x50, 2, 1, 2], &[0x62, 2, 1, 2]),
            (&[0x50, 3, 1, 2, 0x10], &[0x62, 2, 1, 2]),
            (&[0x62, 2, 1, 2], &[0x70, 2, 1, 2]),
            (&[0x82, 6, 1, 2, 0, 1, b't', 0], &[0x90, 3, 1, 2, 0]),
            (&[0xA2, 5, 1, 2, 0, 1, b't'], &[0xB0, 2, 1, 2]),
            (&[0xC0, 0], &[0xD0, 0]),
        ] {
            let mut answers = Answers::default();
            answers.asked(packet);
            assert_eq!(answers.since(), None);
            answers.arrived(Instant::START, packet);
            assert!(!answers.is_missing(Instant::START, TIMEOUT) && answers.is_missing(Instant::START + TIMEOUT, TIMEOUT), "{packet:?}");
            answers.came(&[0x40, 2, 9, 9]);
            assert_eq!(answers.since(), Some(Instant::START), "{packet:?}");
            answers.came(answer);
            assert_eq!((answers.since(), answers.memory_bytes()), (None, 0), "{packet:?}");
        }
        let mut answers = Answers::default();
        for packet in [&[0x30, 3, 0, 1, b't'][..], &[0x40, 2, 1, 2], &[0x70, 2, 1, 2], &[0xE0, 0], &[0x50, 4, 1, 2, 0x97, 0], &[0x32, 1], &[]] {
            answers.asked(packet);
        }
        assert_eq!(answers.memory_bytes(), 0);
    }

    #[test]
    fn an_answer_that_overtakes_the_acknowledgement_is_not_waited_for_any_more() {
        let mut answers = Answers::default();
        answers.asked(&[0xC0, 0]);
        answers.asked(&[0xC0, 0]);
        answers.came(&[0xD0, 0]);
        answers.arrived(Instant::START, &[0xC0, 0]);
        assert_eq!(answers.since(), None);
    }
}
