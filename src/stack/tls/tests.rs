//! TLS without sockets: what comes out is what went in, however it is cut; sessions go on; names and keys of certificates.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};

use super::certificate::key_hash;
use super::*;
use crate::base::{Budget, OutBuffer, Rng};
use crate::stack::{ClientCertificate, Ends, Place, Recipe, Stack};

const NOW: WallClock = || 1_800_000_000;

struct Pems {
    ca: String,
    server: String,
    server_key: String,
    client: rcgen::Certificate,
    client_key: KeyPair,
}

fn pems() -> Pems {
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_key = KeyPair::generate().expect("a key");
    let ca = authority.self_signed(&authority_key).expect("signed").pem();
    let issuer = Issuer::new(authority, authority_key);
    let (server_key, client_key) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
    let server = CertificateParams::new(vec!["server.example".to_owned()]).expect("a name").signed_by(&server_key, &issuer).expect("signed").pem();
    let mut client = CertificateParams::new(Vec::new()).expect("no names");
    client.distinguished_name.push(DnType::CommonName, "gät eway");
    client.subject_alt_names.push(SanType::Rfc822Name("me@example.org".try_into().expect("ASCII")));
    let client = client.signed_by(&client_key, &issuer).expect("signed");
    Pems { ca, server, server_key: server_key.serialize_pem(), client, client_key }
}

fn recipes(pems: &Pems, version_min: TlsVersion, client_certificate: ClientCertificate) -> (Recipe, Recipe) {
    let server = ServerTls::new(&ServerTlsOptions {
        ca: Some(pems.ca.as_bytes()),
        client_certificate,
        identity: if client_certificate == ClientCertificate::Require { Identity::CommonName } else { Identity::None },
        version_min,
        alpn: &["mqtt".to_owned()],
        ..ServerTlsOptions::new(pems.server.as_bytes(), pems.server_key.as_bytes(), NOW)
    });
    let client_pem = pems.client.pem();
    let sign: crate::stack::Sign = {
        let key = KeyPair::from_pem(&pems.client_key.serialize_pem()).expect("a key");
        Arc::new(move |scheme, message| {
            assert_eq!(scheme, 0x0403);
            rcgen::SigningKey::sign(&key, message).ok()
        })
    };
    let shows = client_certificate == ClientCertificate::Require;
    let client = ClientTls::new(&ClientTlsOptions {
        certificates: shows.then_some(client_pem.as_bytes()),
        sign: shows.then_some(sign),
        version_min,
        alpn: &["mqtt".to_owned()],
        ..ClientTlsOptions::new(Roots::Pem(pems.ca.as_bytes()), NOW)
    });
    let (server, client) = (server.expect("whole"), client.expect("whole"));
    (Recipe::default().with(Place::Tls, Arc::new(server)), Recipe::default().with(Place::Tls, Arc::new(client)))
}

fn stack(recipe: &Recipe, budget: &Budget) -> Box<Stack> {
    let ends = Ends { host: "server.example", ..Ends::default() };
    recipe.stack(budget, &ends).expect("made").expect("not plain")
}

/// Moves what waits from one to the other, cut anywhere: plain bytes, and what was learnt.
fn carry(rng: &mut Rng, from: &mut Stack, to: &mut Stack, plain: &mut Vec<u8>) -> Result<Option<Box<About>>, Fault> {
    let mut about = None;
    while !from.wire().is_empty() {
        let all: Vec<u8> = from.wire().slices().flatten().copied().collect();
        let count = 1 + rng.below(all.len() as u64) as usize;
        let opened = to.open(&all[..count], plain)?;
        about = about.or(opened.established);
        from.wrote(count);
    }
    Ok(about)
}

/// A whole handshake: what the server, and then the client, has learnt.
fn shake(rng: &mut Rng, client: &mut Stack, server: &mut Stack) -> (Box<About>, Box<About>) {
    let (mut of_server, mut of_client) = (None, None);
    client.begin();
    server.begin();
    let mut plain = Vec::new();
    while !client.wire().is_empty() || !server.wire().is_empty() {
        of_server = carry(rng, client, server, &mut plain).expect("well").or(of_server);
        of_client = carry(rng, server, client, &mut plain).expect("well").or(of_client);
    }
    assert!(plain.is_empty());
    (of_server.expect("established"), of_client.expect("established"))
}

#[test]
fn bytes_pass_both_ways_and_memory_is_given_back() {
    let pems = pems();
    for (seed, version) in [(1, TlsVersion::V12), (2, TlsVersion::V13)] {
        let (mut rng, budget) = (Rng::with_seed(seed), Budget::new(1 << 30));
        let (server, client) = recipes(&pems, version, ClientCertificate::None);
        let (mut server, mut client) = (stack(&server, &budget), stack(&client, &budget));
        assert!(budget.used_bytes() > 0);
        shake(&mut rng, &mut client, &mut server);
        for round in 0..20_u8 {
            let payload: Vec<u8> = (0..rng.below(100_000)).map(|at| at as u8 ^ round).collect();
            let mut out = OutBuffer::default();
            payload.chunks(3_000).for_each(|chunk| out.push(&bytes::Bytes::copy_from_slice(chunk), std::sync::Arc::new(())));
            let (from, to) = if round % 2 == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
            let mut received = Vec::new();
            while !out.is_empty() {
                let taken = from.seal(&out);
                out.advance(taken);
                carry(&mut rng, from, to, &mut received).expect("well");
            }
            assert!(received == payload, "seed {seed} round {round}");
        }
        client.close();
        let wire: Vec<u8> = client.wire().slices().flatten().copied().collect();
        assert!(server.open(&wire, &mut Vec::new()).expect("a good-bye").is_ended);
        drop((server, client));
        assert_eq!(budget.used_bytes(), 0);
    }
}

#[test]
fn the_second_connection_goes_on_with_the_first_ones_session() {
    let (pems, budget) = (pems(), Budget::new(1 << 30));
    let mut rng = Rng::with_seed(3);
    let (server, client) = recipes(&pems, TlsVersion::V13, ClientCertificate::Require);
    for is_resumed in [false, true, true] {
        let (of_server, of_client) = shake(&mut rng, &mut stack(&client, &budget), &mut stack(&server, &budget));
        assert_eq!((of_server.is_tls_resumed, of_client.is_tls_resumed), (is_resumed, is_resumed));
        // Also then it is known who it is.
        assert_eq!(of_server.identity.as_deref(), Some("gät eway"));
        assert_eq!(of_server.certificate.as_deref(), Some(&pems.client.der()[..]));
        assert_eq!(of_server.tls_version, Some("1.3"));
    }
}

#[test]
fn an_open_layer_takes_whatever_it_is_given() {
    let (pems, budget) = (pems(), Budget::new(1 << 30));
    let (server, client) = recipes(&pems, TlsVersion::V13, ClientCertificate::None);
    let mut rng = Rng::with_seed(4);
    // As a layer above does it: a frame's header in front of as much as one seal has.
    let mut server = stack(&server, &budget);
    let mut client = stack(&client, &budget);
    client.set(Place::WebSocket, Box::new(Header));
    server.set(Place::WebSocket, Box::new(Header));
    shake(&mut rng, &mut client, &mut server);
    let mut out = OutBuffer::default();
    out.tail().extend_from_slice(&[7; 200_000]);
    let mut received = Vec::new();
    while !out.is_empty() {
        let taken = client.seal(&out);
        out.advance(taken);
        carry(&mut rng, &mut client, &mut server, &mut received).expect("well");
    }
    assert_eq!(received.iter().filter(|byte| **byte == 7).count(), 200_000);
}

/// Puts a hundred bytes in front of everything.
struct Header;

impl Layer for Header {
    fn open(&mut self, bytes: &[u8], above: &mut Vec<u8>, _: &mut Vec<u8>) -> Result<(), Fault> {
        above.extend_from_slice(bytes);
        Ok(())
    }

    fn seal(&mut self, plain: &[IoSlice<'_>], below: &mut Vec<u8>) {
        below.extend_from_slice(&[1; 100]);
        plain.iter().for_each(|slice| below.extend_from_slice(slice));
    }

    fn progress(&self) -> Progress {
        Progress::Open
    }

    fn memory_bytes(&self) -> usize {
        0
    }
}

#[test]
fn a_bit_that_was_turned_is_a_fault() {
    let (pems, budget) = (pems(), Budget::new(1 << 30));
    let (server, client) = recipes(&pems, TlsVersion::V12, ClientCertificate::None);
    for seed in 0..100 {
        let mut rng = Rng::with_seed(seed);
        let (mut server, mut client) = (stack(&server, &budget), stack(&client, &budget));
        shake(&mut rng, &mut client, &mut server);
        let mut out = OutBuffer::default();
        out.tail().extend_from_slice(b"what must not be changed");
        client.seal(&out);
        let mut wire: Vec<u8> = client.wire().slices().flatten().copied().collect();
        // Not in the length: that would only make it wait for more.
        let at = 5 + rng.below(wire.len() as u64 - 5) as usize;
        wire[at] ^= 1 << rng.below(8);
        let mut plain = Vec::new();
        assert!(server.open(&wire, &mut plain).is_err() && plain.is_empty(), "seed {seed}");
        assert!(!server.wire().is_empty(), "an alert");
    }
}

#[test]
fn names_and_keys_are_read_in_certificates() {
    let pems = pems();
    let der = pems.client.der();
    assert_eq!(Identity::CommonName.of(der).as_deref(), Some("gät eway"));
    assert_eq!(Identity::AlternativeName.of(der).as_deref(), Some("me@example.org"));
    assert_eq!(Identity::Fingerprint.of(der).map(|text| text.len()), Some(64));
    assert_eq!(Identity::None.of(der), None);
    assert_eq!(key_hash(der).map(|hash| hash.to_vec()), {
        let key = rcgen::PublicKeyData::subject_public_key_info(&pems.client_key);
        Some(ring::digest::digest(&ring::digest::SHA256, &key).as_ref().to_vec())
    });
    for broken in [&b""[..], b"no certificate", &der[..der.len() - 1]] {
        assert_eq!((Identity::CommonName.of(broken), key_hash(broken)), (None, None));
    }
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let pems = pems();
    let options = ClientTlsOptions::new(Roots::Pem(pems.ca.as_bytes()), NOW);
    let fails = |options: &ClientTlsOptions<'_>, word: &str| {
        let error = ClientTls::new(options).err().expect("it cannot be");
        assert!(error.contains(word), "{error}");
    };
    let (chain, key) = (pems.client.pem(), pems.server_key.as_bytes());
    fails(&ClientTlsOptions { certificates: Some(chain.as_bytes()), ..options.clone() }, "needs its private key");
    fails(&ClientTlsOptions { key: Some(key), ..options.clone() }, "needs its certificate");
    fails(&ClientTlsOptions { certificates: Some(chain.as_bytes()), key: Some(key), ..options.clone() }, "certificate and key");
    fails(&ClientTlsOptions { roots: Roots::Pem(b"nothing"), ..options.clone() }, "ca: no certificate");
    fails(&ClientTlsOptions { roots: Roots::System(Vec::new()), ..options.clone() }, "no authority to trust");
    fails(&ClientTlsOptions { server_name: Some("a name"), ..options }, "neither a name nor an address");
}
