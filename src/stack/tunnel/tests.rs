//! Both protocols against what a proxy answers, cut anywhere.

use super::*;
use crate::base::{Budget, Rng};
use crate::stack::{Place, Recipe, Stack};
use std::sync::Arc;

fn stack(kind: Kind, host: &str, credentials: Option<(&str, &str)>) -> Result<Box<Stack>, Fault> {
    let credentials = credentials.map(|(user, password)| (user.to_owned(), password.to_owned()));
    let ends = Ends { host, port: 1883, ..Ends::default() };
    let recipe = Recipe::default().with(Place::Tunnel, Arc::new(Through { kind, credentials }));
    Ok(recipe.stack(&Budget::new(1 << 20), &ends)?.expect("a layer"))
}

fn written(stack: &mut Stack) -> Vec<u8> {
    let bytes: Vec<u8> = stack.wire().slices().flatten().copied().collect();
    stack.wrote(bytes.len());
    bytes
}

/// Everything a client says to a proxy that answers so, and how it ends: with what comes behind the
/// answers, or a fault. The same however the answers are cut.
fn dialogue(kind: Kind, host: &str, credentials: Option<(&str, &str)>, answers: &[&[u8]]) -> (Vec<u8>, Result<Vec<u8>, Fault>) {
    let mut first = None;
    for cut in [1, 2, 3, 7, 10_000] {
        let mut client = stack(kind, host, credentials).expect("it can be asked");
        assert!(client.begin().is_none());
        let (mut said, mut plain, mut outcome) = (written(&mut client), Vec::new(), Ok(()));
        for answer in answers {
            for piece in answer.chunks(cut) {
                if outcome.is_ok() {
                    outcome = client.open(piece, &mut plain).map(drop);
                    said.extend(written(&mut client));
                }
            }
        }
        assert_eq!(client.is_empty(), outcome.is_ok(), "a layer that is done is taken out");
        let found = (said, outcome.map(|()| plain));
        assert_eq!(*first.get_or_insert_with(|| found.clone()), found, "cut into pieces of {cut}");
    }
    first.expect("at least one cut")
}

fn fault(kind: Kind, credentials: Option<(&str, &str)>, answers: &[&[u8]]) -> (FaultKind, String) {
    let fault = dialogue(kind, "broker", credentials, answers).1.expect_err("refused");
    (fault.kind, fault.text.into_owned())
}

#[test]
fn connect_asks_by_name_and_hands_on_what_follows() {
    let (said, plain) = dialogue(Kind::Http, "broker.example", None, &[b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n\x20\x02"]);
    assert_eq!(said, b"CONNECT broker.example:1883 HTTP/1.1\r\nHost: broker.example:1883\r\n\r\n");
    assert_eq!(plain, Ok(vec![0x20, 2]));
    let (said, plain) = dialogue(Kind::Http, "::1", Some(("user", "pass")), &[b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n"]);
    assert_eq!(said, b"CONNECT [::1]:1883 HTTP/1.1\r\nHost: [::1]:1883\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n");
    assert_eq!(plain, Ok(Vec::new()));
}

#[test]
fn a_status_of_http_is_named() {
    let refused = fault(Kind::Http, None, &[b"HTTP/1.1 403 Forbidden\r\n\r\n"]);
    assert_eq!(refused, (FaultKind::TunnelRefused, "proxy: HTTP status 403".to_owned()));
    let credentials = fault(Kind::Http, None, &[b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"]);
    assert_eq!(credentials.0, FaultKind::TunnelCredentials);
    assert_eq!(fault(Kind::Http, None, &[b"\x05\x00"]).0, FaultKind::TunnelRefused);
    assert_eq!(fault(Kind::Http, None, &[b"SSH-2.0-x\r\n\r\n"]).0, FaultKind::TunnelRefused);
    let endless = fault(Kind::Http, None, &[b"HTTP/1.1 200 OK\r\nX: ", &[b'x'; 9_000]]);
    assert_eq!(endless, (FaultKind::TunnelRefused, "proxy: the head is longer than the limit".to_owned()));
}

#[test]
fn socks_asks_for_names_and_addresses() {
    let granted: &[u8] = &[5, 0, 0, 1, 127, 0, 0, 1, 4, 56, 0x20, 2];
    let (said, plain) = dialogue(Kind::Socks5, "broker", None, &[&[5, 0], granted]);
    assert_eq!(said, [&[5, 1, 0, 5, 1, 0, 3, 6][..], b"broker", &[7, 0x5b]].concat());
    assert_eq!(plain, Ok(vec![0x20, 2]));
    let (said, _) = dialogue(Kind::Socks5, "192.0.2.1", None, &[&[5, 0], granted]);
    assert_eq!(said[3..], [5, 1, 0, 1, 192, 0, 2, 1, 7, 0x5b]);
    let (said, _) = dialogue(Kind::Socks5, "::1", None, &[&[5, 0], granted]);
    assert_eq!(said[3..7], [5, 1, 0, 4]);
    assert_eq!(said.len(), 3 + 4 + 16 + 2);
}

#[test]
fn every_kind_of_address_in_a_reply_is_passed_over() {
    for address in [vec![1, 1, 2, 3, 4], [vec![4], vec![9; 16]].concat(), [vec![3, 255], vec![b'x'; 255]].concat(), vec![3, 0]] {
        let reply = [vec![5, 0, 0], address, vec![1, 2, 0x20]].concat();
        assert_eq!(dialogue(Kind::Socks5, "broker", None, &[&[5, 0], &reply]).1, Ok(vec![0x20]));
    }
}

#[test]
fn socks_gives_its_credentials_only_when_asked() {
    let granted: &[u8] = &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let who = Some(("user", "pass"));
    let (said, plain) = dialogue(Kind::Socks5, "broker", who, &[&[5, 2], &[1, 0], granted]);
    assert!(said.starts_with(b"\x05\x02\x00\x02\x01\x04user\x04pass\x05\x01\x00\x03") && plain.is_ok());
    let (said, plain) = dialogue(Kind::Socks5, "broker", who, &[&[5, 0], granted]);
    assert!(said.starts_with(b"\x05\x02\x00\x02\x05\x01\x00\x03") && plain.is_ok());
    assert_eq!(fault(Kind::Socks5, who, &[&[5, 2], &[1, 1]]).0, FaultKind::TunnelCredentials);
    assert_eq!(fault(Kind::Socks5, None, &[&[5, 0xff]]).0, FaultKind::TunnelCredentials);
    assert_eq!(fault(Kind::Socks5, None, &[&[5, 2]]).0, FaultKind::TunnelCredentials);
}

#[test]
fn what_socks_refuses_is_named() {
    let refused = |code: u8| fault(Kind::Socks5, None, &[&[5, 0], &[5, code, 0, 1, 0, 0, 0, 0, 0, 0]]).1;
    let texts: std::collections::BTreeSet<String> = (1..=8).map(refused).collect();
    assert_eq!(texts.len(), 8, "each its own");
    assert_eq!(refused(5), "proxy: connection refused");
    for wrong in [&[4][..], b"HTTP/1.1 400 Bad Request\r\n\r\n", &[5, 0, 6], &[5, 0, 5, 0, 0, 2]] {
        assert_eq!(fault(Kind::Socks5, None, &[wrong]).1, "proxy: this is not SOCKS5");
    }
    assert_eq!(fault(Kind::Socks5, Some(("u", "p")), &[&[5, 2, 5]]).1, "proxy: this is not SOCKS5");
}

#[test]
fn what_cannot_be_asked_is_not_asked() {
    assert!(stack(Kind::Socks5, &"x".repeat(255), None).is_ok());
    assert!(stack(Kind::Socks5, &"x".repeat(256), None).is_err() && stack(Kind::Socks5, "", None).is_err());
    let through = |kind, user: &str, password: &str| Through { kind, credentials: Some((user.to_owned(), password.to_owned())) };
    assert!(through(Kind::Http, "a:b", "c").fault_of_credentials().is_some());
    assert!(through(Kind::Http, "a", "c\r\n").fault_of_credentials().is_some());
    assert!(through(Kind::Http, "a", "").fault_of_credentials().is_none());
    assert!(through(Kind::Socks5, "a", "").fault_of_credentials().is_some());
    assert!(through(Kind::Socks5, "a", &"x".repeat(256)).fault_of_credentials().is_some());
    assert!(!format!("{:?}", through(Kind::Http, "a", "hidden")).contains("hidden"));
}

#[test]
fn random_answers_never_panic_and_hold_little() {
    let mut rng = Rng::with_seed(5);
    let seeds: [&[u8]; 3] = [b"\x05\x02\x01\x00\x05\x00\x00\x03\xffxxxxxxxx", b"\x05\x00\x05\x00\x00\x04", b"HTTP/1.1 200 OK\r\n\r\n"];
    for round in 0..40_000_usize {
        let kind = if round % 2 == 0 { Kind::Socks5 } else { Kind::Http };
        let mut client = stack(kind, "broker", Some(("u", "p"))).expect("it can be asked");
        client.begin();
        let mut bytes = [seeds[rng.below(3) as usize], &[0; 300]].concat();
        for _ in 0..rng.below(4) {
            let at = rng.below(20) as usize;
            bytes[at] = rng.u64() as u8;
        }
        for piece in bytes.chunks(1 + rng.below(40) as usize) {
            if client.open(piece, &mut Vec::new()).is_err() {
                break;
            }
            assert!(client.memory_bytes() < 16_384);
        }
    }
}
