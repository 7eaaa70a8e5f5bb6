//! Headers, right and wrong, cut anywhere.

use super::*;
use crate::base::{Budget, Rng};
use crate::stack::ProxyVersion as Version;
use crate::stack::proxy::{Send, Tls};
use crate::stack::{Place, Recipe, Stack};
use std::sync::Arc;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A binary header by hand.
fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend_from_slice(&[command, family]);
    bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind, (value.len() >> 8) as u8, value.len() as u8], value].concat()
}

fn ipv4(tlvs: &[u8]) -> Vec<u8> {
    binary(0x21, 0x11, &[&[192, 0, 2, 1, 10, 0, 0, 1, 0xc3, 0x50, 0x07, 0x5b][..], tlvs].concat())
}

fn tcp(text: &str) -> Option<Peer> {
    Some(Peer::Tcp(text.parse().expect("an address")))
}

/// What a header says; it must say the same however it is cut, and leave what follows alone.
fn read(policy: Policy, header: &[u8]) -> Result<Option<Header>, &'static str> {
    let all = [header, b"\x10behind"].concat();
    let mut first = None;
    for cut in [1, 2, 3, 5, 11, 16, 100, 10_000] {
        let (mut receiver, mut rest) = (Receiver::new(policy), Vec::new());
        let mut outcome = Ok(None);
        for piece in all.chunks(cut) {
            match &outcome {
                Ok(Some(_)) => rest.extend_from_slice(piece),
                Ok(None) => {
                    outcome = receiver.handle_input(piece);
                    if let Ok(Some(received)) = &outcome {
                        rest = [&received.held, &piece[received.consumed..]].concat();
                    }
                }
                Err(_) => {}
            }
        }
        if let Ok(Some(received)) = &outcome {
            let expected = if received.header.is_some() { &b"\x10behind"[..] } else { &all[..] };
            assert_eq!(rest, expected, "cut into pieces of {cut}");
        }
        let outcome = outcome.map(|received| received.expect("decided").header);
        assert_eq!(*first.get_or_insert_with(|| outcome.clone()), outcome, "cut into pieces of {cut}");
    }
    first.expect("at least one cut")
}

fn good(header: &[u8]) -> Header {
    read(Policy::Required, header).expect("a good header").expect("a header")
}

fn bad(header: &[u8]) -> &'static str {
    assert_eq!(read(Policy::Optional, header).err(), read(Policy::Required, header).err());
    read(Policy::Required, header).expect_err("a bad header")
}

#[test]
fn lines_of_version_1_are_read() {
    let four = good(b"PROXY TCP4 192.0.2.1 10.0.0.1 50000 1883\r\n");
    assert_eq!((four.source, four.destination), (tcp("192.0.2.1:50000"), tcp("10.0.0.1:1883")));
    let six = good(b"PROXY TCP6 2001:db8::1 ::1 50000 1883\r\n");
    assert_eq!((six.source, six.destination), (tcp("[2001:db8::1]:50000"), tcp("[::1]:1883")));
    let longest = format!("PROXY UNKNOWN {0} {0} 65535 65535\r\n", "ffff:".repeat(7) + "ffff");
    assert_eq!(longest.len(), LINE_BYTES_MAX);
    assert_eq!(good(longest.as_bytes()), Header::default());
    assert_eq!(good(b"PROXY UNKNOWN\r\n"), Header::default());
}

#[test]
fn malformed_lines_are_refused() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 192.0.2.1 10.0.0.1 1 2\r\n",
        "PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 1 2 3\r\n",
        "PROXY TCP4  192.0.2.1 10.0.0.1 1 2\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 01 2\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 -1 2\r\n",
        "PROXY TCP4 192.0.2 10.0.0.1 1 2\r\n",
        "PROXY TCP4 192.0.2.256 10.0.0.1 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n",
        "PROXY TCP6 ::g ::1 1 2\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 1 \u{b2}\r\n",
    ] {
        bad(line.as_bytes());
    }
    assert_eq!(bad(format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)).as_bytes()), "the line is longer than the limit");
}

#[test]
fn binary_headers_are_read() {
    let four = good(&ipv4(&[]));
    assert_eq!((four.source, four.destination), (tcp("192.0.2.1:50000"), tcp("10.0.0.1:1883")));
    let mut body = [0; 36];
    (body[15], body[31], body[33], body[35]) = (1, 2, 7, 8);
    let six = good(&binary(0x21, 0x21, &body));
    assert_eq!((six.source, six.destination), (tcp("[::1]:7"), tcp("[::2]:8")));
    let mut body = [0; 216];
    body[..9].copy_from_slice(b"/run/from");
    body[109..111].copy_from_slice(b"to");
    let unix = good(&binary(0x21, 0x31, &body));
    assert_eq!((unix.source, unix.destination), (Some(Peer::Unix("/run/from".to_owned())), Some(Peer::Unix("@to".to_owned()))));
}

#[test]
fn a_proxy_that_speaks_for_itself_says_nothing_of_others() {
    assert_eq!(good(&binary(0x20, 0, &[])), Header::default());
    assert_eq!(good(&binary(0x20, 0x11, &[1; 40])), Header::default(), "LOCAL: the rest is ignored");
    assert_eq!(good(&binary(0x21, 0, &[9; 20])), Header::default(), "UNSPEC: the rest is ignored");
}

#[test]
fn values_are_read() {
    let inner = [tlv(0x21, b"TLSv1.3"), tlv(0x22, b"device-7"), tlv(0x23, b"AES"), tlv(0x25, b"RSA2048")].concat();
    let tls = |client: u8, verify: u8| tlv(0x20, &[&[client, 0, 0, 0, verify][..], &inner].concat());
    let values = [tlv(1, b"mqtt"), tlv(2, b"broker.example"), tlv(4, &[0; 9]), tlv(5, &[7; 128]), tlv(0x30, b"ns"), tlv(0xea, b"cloud"), tls(3, 0)].concat();
    let header = good(&ipv4(&values));
    assert_eq!((header.alpn.as_deref(), header.authority.as_deref()), (Some(&b"mqtt"[..]), Some("broker.example")));
    assert_eq!(header.unique_id, Some(vec![7; 128]));
    let text = |text: &str| Some(text.to_owned());
    let whole = Tls { is_verified: true, version: text("TLSv1.3"), common_name: text("device-7"), cipher: text("AES") };
    assert_eq!(header.tls, Some(whole.clone()));
    assert_eq!(good(&ipv4(&tls(5, 1))).tls, Some(Tls { is_verified: false, ..whole.clone() }));
    assert_eq!(good(&ipv4(&tls(1, 0))).tls, Some(Tls { is_verified: false, ..whole }));
    assert_eq!(good(&ipv4(&tls(0, 0))).tls, None);
}

#[test]
fn malformed_binary_headers_are_refused() {
    let mut wrong_length = ipv4(&[]);
    wrong_length[15] = 11;
    for header in [
        wrong_length,
        binary(0x11, 0x11, &[0; 12]),
        binary(0x22, 0x11, &[0; 12]),
        binary(0x21, 0x12, &[0; 12]),
        binary(0x21, 0x10, &[0; 12]),
        binary(0x21, 0x13, &[0; 12]),
        binary(0x21, 0x41, &[0; 12]),
        binary(0x21, 0x21, &[0; 35]),
        binary(0x21, 0x31, &[0; 215]),
        ipv4(&[1]),
        ipv4(&[1, 0]),
        ipv4(&[1, 0, 5, b'm']),
        ipv4(&tlv(2, &[0xff])),
        ipv4(&tlv(2, b"a\nb")),
        ipv4(&tlv(5, &[7; 129])),
        ipv4(&tlv(0x20, &[1, 0, 0, 0])),
        ipv4(&tlv(0x20, &[1, 0, 0, 0, 0, 0x22, 0, 9, b'x'])),
        ipv4(&tlv(0x20, &[&[1, 0, 0, 0, 0][..], &tlv(0x22, &[0xff])].concat())),
        ipv4(&tlv(3, &[0, 0, 0])),
        ipv4(&tlv(3, &[1, 2, 3, 4])),
    ] {
        bad(&header);
    }
    assert_eq!(bad(&binary(0x20, 0, &vec![0; HEADER_BYTES_MAX - 15])), "the header is longer than the limit");
    good(&binary(0x20, 0, &vec![0; HEADER_BYTES_MAX - 16]));
}

#[test]
fn a_checksum_is_checked() {
    let without = ipv4(&[tlv(5, b"id"), tlv(3, &[0; 4]), tlv(2, b"x")].concat());
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&without);
    let header = ipv4(&[tlv(5, b"id"), tlv(3, &sum.to_be_bytes()), tlv(2, b"x")].concat());
    assert_eq!(good(&header).authority.as_deref(), Some("x"));
    let mut broken = header;
    broken[16] ^= 1;
    assert_eq!(bad(&broken), "the checksum does not fit");
}

#[test]
fn what_is_no_header_passes_only_where_it_may() {
    for other in [&b"\x10\x0c\0\x04MQTT"[..], b"GET / HTTP/1.1\r\n\r\n", b"PROX\x10", b"\r\n\r\n\0\r\nQUIX"] {
        assert_eq!(read(Policy::Optional, other), Ok(None));
        assert_eq!(read(Policy::Required, other), Err("the header is missing"));
    }
}

fn stack(make: impl Make + 'static, source: &str) -> Result<Option<Box<Stack>>, Fault> {
    let ends = Ends { source: source.parse().ok(), destination: "10.0.0.1:1883".parse().ok(), ..Ends::default() };
    Recipe::default().with(Place::Proxy, Arc::new(make)).stack(&Budget::new(1 << 20), &ends)
}

#[test]
fn only_trusted_sources_are_asked() {
    let receive = |policy| Receive { policy, trusted: "192.0.2.0/24".parse().expect("a network") };
    let made = |policy, source| stack(receive(policy), source).map(|stack| stack.is_some()).map_err(|fault| fault.kind);
    assert_eq!(made(Policy::Off, "192.0.2.1:5"), Ok(false));
    assert_eq!(made(Policy::Optional, "192.0.2.1:5"), Ok(true));
    assert_eq!(made(Policy::Optional, "198.51.100.1:5"), Ok(false));
    assert_eq!(made(Policy::Required, "192.0.2.1:5"), Ok(true));
    assert_eq!(made(Policy::Required, "198.51.100.1:5"), Err(FaultKind::ProxyHeader));
    assert_eq!(made(Policy::Required, ""), Ok(true), "a Unix socket");
}

#[test]
fn what_one_sends_the_other_reads() {
    for version in [Version::V1, Version::V2] {
        for (source, is_known) in [("192.0.2.7:50000", true), ("[2001:db8::1]:5", false), ("", false)] {
            let mut sender = stack(Send(version), source).expect("no fault").expect("a layer");
            let about = sender.begin();
            assert!(about.is_some() && !sender.is_empty());
            let header: Vec<u8> = sender.wire().slices().flatten().copied().collect();
            sender.wrote(header.len());
            assert!(sender.is_empty(), "the layer is taken out");
            let mut receiver =
                stack(Receive { policy: Policy::Required, trusted: "::/0".parse().expect("a network") }, "[::1]:5").expect("no fault").expect("a layer");
            assert!(receiver.begin().is_none());
            let mut plain = Vec::new();
            let opened = receiver.open(&[&header[..], b"behind"].concat(), &mut plain).expect("no fault");
            let about = opened.established.expect("established");
            assert_eq!(about.source.map(|source| source.to_string()), is_known.then(|| source.to_owned()));
            assert!(plain == b"behind" && receiver.is_empty());
        }
    }
}

#[test]
fn random_headers_never_panic_and_hold_little() {
    let mut rng = Rng::with_seed(11);
    let seeds = [b"PROXY TCP4 192.0.2.1 10.0.0.1 50000 1883\r\n".to_vec(), ipv4(&tlv(0x20, &[1, 0, 0, 0, 0, 0x21, 0, 1, b'x'])), ipv4(&tlv(3, &[0; 4]))];
    for _ in 0..60_000 {
        let mut bytes = seeds[rng.below(3) as usize].clone();
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.u64() as u8;
        }
        let mut receiver = Receiver::new(Policy::Optional);
        for piece in bytes.chunks(1 + rng.below(20) as usize) {
            if !matches!(receiver.handle_input(piece), Ok(None)) {
                break;
            }
            assert!(receiver.bytes.len() <= HEADER_BYTES_MAX);
        }
    }
}
