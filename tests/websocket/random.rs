//! Frames and requests with random bytes in them: no panic, no more memory than came in, and the same
//! outcome however the bytes are cut.

use nlmqtt::base::Rng;
use nlmqtt::stack::ws::{Acceptor, Closed, Role, ServerUpgrade, WebSocket};

use crate::table::cases;

const ROUNDS: usize = 40_000;
/// Longer cases are left out: they are about length.
const WIRE_BYTES_MAX: usize = 2_000;

const REQUEST: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\
    X-Forwarded-For: 192.0.2.1, [2001:db8::1]:5\r\n\r\n";

fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..1 + rng.below(4) {
        let at = rng.below(bytes.len().max(1) as u64) as usize;
        match rng.below(4) {
            0 if at < bytes.len() => bytes[at] = rng.u64() as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            2 => bytes.insert(at, rng.u64() as u8),
            _ if at < bytes.len() => drop(bytes.remove(at)),
            _ => {}
        }
    }
}

/// Cuts bytes into random pieces.
fn pieces<'a>(rng: &mut Rng, bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let (mut rest, mut found) = (bytes, Vec::new());
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at((1 + rng.below(30) as usize).min(rest.len()));
        found.push(piece);
        rest = behind;
    }
    found
}

type Outcome = (Vec<u8>, Vec<u8>, Option<Closed>);

fn open(role: Role, pieces: &[&[u8]]) -> Outcome {
    let (mut socket, mut data, mut out, mut closed) = (WebSocket::new(role, Rng::with_seed(1)), Vec::new(), Vec::new(), None);
    for piece in pieces {
        let end = socket.open(piece, &mut data, &mut out);
        closed = closed.or(end);
    }
    (data, out, closed)
}

#[test]
fn mutated_frames_end_the_same_however_they_are_cut() {
    let mut rng = Rng::with_seed(2024);
    let wires = |is_client: bool| -> Vec<Vec<u8>> {
        let all = cases().filter(|case| case.frames.iter().map(|frame| frame.payload.len() + 14).sum::<usize>() <= WIRE_BYTES_MAX);
        all.map(|case| case.frames.iter().flat_map(|frame| frame.bytes(is_client)).collect()).collect()
    };
    let (of_clients, of_servers) = (wires(true), wires(false));
    let mut ended = 0;
    for round in 0..ROUNDS {
        let (role, from) = if round % 2 == 0 { (Role::Server, &of_clients) } else { (Role::Client, &of_servers) };
        let mut wire = [from[rng.below(from.len() as u64) as usize].clone(), from[rng.below(from.len() as u64) as usize].clone()].concat();
        mutate(&mut rng, &mut wire);
        let whole = open(role, &[&wire]);
        assert_eq!(open(role, &pieces(&mut rng, &wire)), whole, "round {round}");
        // An answer to a ping of a server is four bytes longer than that; a Close has at most 125 bytes of payload.
        assert!(whole.0.len() <= wire.len() && whole.1.len() <= 3 * wire.len() + 131, "round {round}");
        ended += usize::from(whole.2.is_some());
    }
    assert!(ended > ROUNDS / 4 && ended < ROUNDS, "{ended} of {ROUNDS} ended");
}

#[test]
fn mutated_requests_are_judged_the_same_however_they_are_cut() {
    let mut rng = Rng::with_seed(7);
    let acceptor = Acceptor { trusted: "0.0.0.0/0".parse().expect("a network"), ..Acceptor::default() };
    let peer = "127.0.0.1".parse().ok();
    let mut granted = 0;
    for round in 0..ROUNDS / 4 {
        let mut request = REQUEST.to_vec();
        mutate(&mut rng, &mut request);
        let judge = |pieces: &[&[u8]]| {
            let (mut upgrade, mut out, mut outcome) = (ServerUpgrade::default(), Vec::new(), Ok(None));
            for piece in pieces {
                if outcome == Ok(None) {
                    outcome = upgrade.handle_input(&acceptor, peer, piece, &mut out);
                }
                assert!(upgrade.memory_bytes() <= 2 * acceptor.head_bytes_max);
            }
            let outcome = outcome.map(|accepted| accepted.map(|accepted| (accepted.request.path, accepted.forwarded_for)));
            (outcome, out)
        };
        let whole = judge(&[&request]);
        assert_eq!(judge(&pieces(&mut rng, &request)), whole, "round {round}");
        granted += usize::from(matches!(whole.0, Ok(Some(_))));
    }
    assert!(granted > 100 && granted < ROUNDS / 4, "{granted} were granted");
}
