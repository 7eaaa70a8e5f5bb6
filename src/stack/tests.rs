//! The stack with layers that are easy to see through.

use super::*;
use crate::base::Rng;

/// Shakes hands with one byte each way, then adds its number to each byte.
struct Adding {
    number: u8,
    speaks_first: bool,
    is_open: bool,
    is_ended: bool,
}

const HELLO: u8 = 0x55;
const BYE: u8 = 0xFF;

impl Layer for Adding {
    fn begin(&mut self, below: &mut Vec<u8>) {
        if self.speaks_first {
            below.push(HELLO);
        }
    }

    fn open(&mut self, bytes: &[u8], above: &mut Vec<u8>, below: &mut Vec<u8>) -> Result<(), Fault> {
        let mut bytes = bytes;
        if let Some((&first, rest)) = bytes.split_first().filter(|_| !self.is_open) {
            if first != HELLO {
                below.push(BYE);
                return Err(Fault::new(FaultKind::NotTls, "no hello"));
            }
            if !self.speaks_first {
                below.push(HELLO);
            }
            (self.is_open, bytes) = (true, rest);
        }
        for &byte in bytes {
            if byte == BYE {
                self.is_ended = true;
            } else {
                above.push(byte.wrapping_sub(self.number));
            }
        }
        Ok(())
    }

    fn seal(&mut self, plain: &[IoSlice<'_>], below: &mut Vec<u8>) {
        below.extend(plain.iter().flat_map(|slice| slice.iter()).map(|byte| if self.is_open { byte.wrapping_add(self.number) } else { *byte }));
    }

    fn close(&mut self, below: &mut Vec<u8>) {
        below.push(BYE);
    }

    fn progress(&self) -> Progress {
        match (self.is_open, self.is_ended) {
            (_, true) => Progress::Ended,
            (true, _) => Progress::Open,
            _ => Progress::Handshake,
        }
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>()
    }
}

/// A header of three bytes, then nothing.
struct Header(u8);

impl Layer for Header {
    fn open(&mut self, bytes: &[u8], above: &mut Vec<u8>, _: &mut Vec<u8>) -> Result<(), Fault> {
        let header = bytes.len().min(usize::from(3 - self.0));
        self.0 += header as u8;
        above.extend_from_slice(&bytes[header..]);
        Ok(())
    }

    fn seal(&mut self, plain: &[IoSlice<'_>], below: &mut Vec<u8>) {
        plain.iter().for_each(|slice| below.extend_from_slice(slice));
    }

    fn progress(&self) -> Progress {
        if self.0 == 3 { Progress::Done } else { Progress::Handshake }
    }

    fn tell(&mut self, about: &mut About) {
        about.source = Some(([10, 0, 0, 1], 7).into());
    }

    fn memory_bytes(&self) -> usize {
        0
    }
}

fn stack(budget: &Budget, speaks_first: bool, numbers: &[(Place, u8)]) -> Box<Stack> {
    let mut stack = Stack::new(budget);
    for &(place, number) in numbers {
        stack.set(place, Box::new(Adding { number, speaks_first, is_open: false, is_ended: false }));
    }
    stack
}

/// Moves what waits from one to the other, cut anywhere; the plain bytes that came out.
fn carry(rng: &mut Rng, from: &mut Stack, to: &mut Stack) -> Vec<u8> {
    let mut plain = Vec::new();
    while !from.wire().is_empty() {
        let all: Vec<u8> = from.wire().slices().flatten().copied().collect();
        let count = 1 + rng.below(all.len() as u64) as usize;
        to.open(&all[..count], &mut plain).expect("both are well");
        from.wrote(count);
    }
    plain
}

#[test]
fn layers_shake_hands_from_below_and_bytes_pass_however_they_are_cut() {
    let budget = Budget::new(1 << 30);
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let places = [(Place::Tls, 3), (Place::WebSocket, 9)];
        let numbers = &places[..1 + rng.below(2) as usize];
        let (mut client, mut server) = (stack(&budget, true, numbers), stack(&budget, false, numbers));
        assert!(client.begin().is_none() && server.begin().is_none());
        for _ in 0..numbers.len() {
            assert!(!client.is_established());
            assert_eq!(carry(&mut rng, &mut client, &mut server), b"");
            assert_eq!(carry(&mut rng, &mut server, &mut client), b"");
        }
        assert!(client.is_established() && server.is_established());
        let mut out = OutBuffer::default();
        let payload: Vec<u8> = (0..rng.below(200_000)).map(|at| (at % 200) as u8).collect();
        payload.chunks(1_500).for_each(|chunk| out.push(&bytes::Bytes::copy_from_slice(chunk), std::sync::Arc::new(())));
        let mut received = Vec::new();
        while !out.is_empty() {
            let taken = client.seal(&out);
            assert!(taken > 0 && client.wire().len() <= WIRE_BYTES_MAX);
            out.advance(taken);
            received.extend(carry(&mut rng, &mut client, &mut server));
        }
        assert!(received == payload, "seed {seed}");
        client.close();
        client.close();
        let mut plain = Vec::new();
        let wire: Vec<u8> = client.wire().slices().flatten().copied().collect();
        assert!(server.open(&wire, &mut plain).expect("a good-bye").is_ended);
        assert_eq!(client.seal(&out), 0);
        drop((client, server));
        assert_eq!(budget.used_bytes(), 0);
    }
}

#[test]
fn sealing_stops_at_the_mark_and_goes_on_when_bytes_were_written() {
    let budget = Budget::new(1 << 30);
    let mut server = stack(&budget, false, &[(Place::Tls, 1)]);
    let mut out = OutBuffer::default();
    out.tail().extend_from_slice(&[7; 200_000]);
    assert_eq!(server.seal(&out), 0, "not established");
    server.open(&[HELLO], &mut Vec::new()).expect("well");
    let taken = server.seal(&out);
    assert_eq!(server.wire().len(), WIRE_BYTES_MAX);
    out.advance(taken);
    assert_eq!(server.seal(&out), 0);
    server.wrote(1_000);
    assert_eq!(server.seal(&out), 1_000);
    assert!(budget.used_bytes() >= WIRE_BYTES_MAX && !server.is_wire_full());
}

#[test]
fn a_fault_leaves_the_last_word_in_the_wire_buffer() {
    let budget = Budget::new(1 << 30);
    let mut server = stack(&budget, false, &[(Place::WebSocket, 1)]);
    let fault = server.open(b"x", &mut Vec::new()).expect_err("no hello");
    assert_eq!(fault.kind, FaultKind::NotTls);
    assert_eq!(server.wire().slices().flatten().copied().collect::<Vec<u8>>(), [BYE]);
}

#[test]
fn a_layer_that_is_done_is_taken_out_and_tells_what_it_knows() {
    let budget = Budget::new(1 << 30);
    let mut server = Stack::new(&budget);
    server.set(Place::Proxy, Box::new(Header(0)));
    let mut plain = Vec::new();
    assert!(server.open(b"he", &mut plain).expect("well").established.is_none());
    assert!(!server.is_established());
    let opened = server.open(b"abc", &mut plain).expect("well");
    assert_eq!(opened.established.and_then(|about| about.source), Some(([10, 0, 0, 1], 7).into()));
    assert_eq!(plain, b"bc");
    assert!(server.is_empty());
    server.open(b"d", &mut plain).expect("well");
    assert_eq!(plain, b"bcd");
}
