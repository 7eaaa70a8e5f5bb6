//! Who wants to take the place of a peer at its address.
//!
//! # Theory of operation
//! A stock client begins anew with CONNECT, at the address it had. Anybody can send that in its name, and whoever is there acknowledges
//! whatever comes: an idle client cannot be told from one that was started again, not even by the proof of its address. So a peer that is
//! there makes room for one who
//! * has sent CONNECT a short while before,
//! * then the very MQTT CONNECT the peer began with, which holds its identifier and password: who knows that could take the session from
//!   anywhere, as MQTT lets him (3.1.4),
//! * and acknowledges the two empty DATA, in time.
//!
//! Whoever says another MQTT CONNECT waits for the peer's silence. A copy of the first packet, late on its way, begins nothing.

use super::super::frame::HEADER_BYTES;
use super::super::packet::fingerprint;
use super::proof::Proof;
use crate::base::{Duration, Instant, Rng};

/// A client waits so long for the answer to its CONNECT.
const CONNECT_LIFE: Duration = Duration::from_secs(15);
/// The packet a peer began with is sent again for so long, if its acknowledgements are lost.
const COPIES: Duration = Duration::from_secs(10);

/// Who waits for the proof.
#[derive(Debug)]
pub struct Newcomer {
    pub sequence: u16,
    pub packet: Box<[u8]>,
    proof: Proof,
    since: Instant,
}

/// Whose an MQTT CONNECT is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caller {
    /// The peer's own: one more packet, or a copy.
    Peer,
    /// One who may take its place.
    Newcomer,
    /// One who may not.
    Stranger,
}

#[derive(Debug)]
pub struct Succession {
    began_at: Instant,
    sequence: u16,
    fingerprint: u64,
    connect_at: Option<Instant>,
    newcomer: Option<Box<Newcomer>>,
    /// Strangers since somebody asked, and newcomers whose proof did not come.
    refused: u64,
}

impl Succession {
    /// Of a peer that began with this packet.
    pub fn new(now: Instant, sequence: u16, packet: &[u8]) -> Self {
        Self { began_at: now, sequence, fingerprint: fingerprint(packet), connect_at: None, newcomer: None, refused: 0 }
    }

    /// A CONNECT came, perhaps somebody else's.
    pub fn connect_came(&mut self, now: Instant) {
        self.connect_at = Some(now);
    }

    /// An MQTT CONNECT came.
    pub fn consider(&mut self, now: Instant, sequence: u16, packet: &[u8], rng: &mut Rng) -> Caller {
        if self.connect_at.is_none_or(|at| now.since(at) > CONNECT_LIFE) {
            return Caller::Peer;
        }
        if fingerprint(packet) != self.fingerprint {
            self.refused += 1;
            return Caller::Stranger;
        }
        if sequence == self.sequence && now.since(self.began_at) < COPIES {
            return Caller::Peer;
        }
        if self.newcomer.is_none() {
            let mut proof = Proof::new(now, rng);
            proof.earn(HEADER_BYTES + packet.len());
            proof.begin(now);
            self.newcomer = Some(Box::new(Newcomer { sequence, packet: packet.into(), proof, since: now }));
        }
        Caller::Newcomer
    }

    /// So many bytes came from the address.
    pub fn earn(&mut self, bytes: usize) {
        if let Some(newcomer) = &mut self.newcomer {
            newcomer.proof.earn(bytes);
        }
    }

    /// The sequence of an empty DATA that is to be sent now.
    pub fn next(&mut self, now: Instant) -> Option<u16> {
        self.newcomer.as_mut().and_then(|newcomer| newcomer.proof.next(now))
    }

    /// Whether this acknowledges one of them.
    pub fn acked(&mut self, sequence: u16) -> bool {
        self.newcomer.as_mut().is_some_and(|newcomer| newcomer.proof.acked(sequence))
    }

    /// Something that was never sent was acknowledged.
    pub fn wrong(&mut self) {
        if self.newcomer.as_mut().is_some_and(|newcomer| newcomer.proof.wrong()) {
            self.send_away();
        }
    }

    /// Who takes the peer's place now: proof was given.
    pub fn take(&mut self) -> Option<Box<Newcomer>> {
        self.newcomer.take_if(|newcomer| newcomer.proof.is_given())
    }

    /// When it has something to do.
    pub fn deadline(&self, now: Instant, timeout: Duration) -> Option<Instant> {
        let newcomer = self.newcomer.as_ref()?;
        let end = newcomer.since + timeout;
        Some(Some(newcomer.proof.next_at()).filter(|at| *at > now).map_or(end, |at| at.min(end)))
    }

    /// Who has not given a proof in time has to come again.
    pub fn expire(&mut self, now: Instant, timeout: Duration) {
        if self.newcomer.as_ref().is_some_and(|newcomer| newcomer.since + timeout <= now) {
            self.send_away();
        }
    }

    fn send_away(&mut self) {
        (self.newcomer, self.connect_at) = (None, None);
        self.refused += 1;
    }

    /// How many were turned away since this was asked last.
    pub fn take_refused(&mut self) -> u64 {
        core::mem::take(&mut self.refused)
    }

    pub fn memory_bytes(&self) -> usize {
        self.newcomer.as_ref().map_or(0, |newcomer| size_of::<Newcomer>() + newcomer.packet.len())
    }
}
