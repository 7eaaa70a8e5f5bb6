//! QUIC, and where it matters reliable UDP, between two workers' nets over real sockets: links like any other.

use std::net::SocketAddr;

use quinn_udp::{Transmit, UdpSocketState};
use rcgen::{CertificateParams, KeyPair};

use crate::base::{Budget, Duration, OutBuffer};
use crate::net::mio::MioNet;
use crate::net::threads::ThreadOptions;
use crate::net::{DialOptions, DialPlan, Endpoint, LinkId, ListenerId, Net, Ready, SocketOptions, UdpPlace, UdpScheme};
use crate::stack::quic::{ClientQuic, QuicOptions, ServerQuic};
use crate::stack::tls::{ClientTlsOptions, Roots, ServerTlsOptions};
use crate::stack::{DatagramLimits, MakeDatagrams};

const LIMITS: DatagramLimits =
    DatagramLimits { connections_max: 9, handshakes_max: 9, handshakes_per_source_max: 9, handshake_timeout: Duration::from_secs(9) };

/// Two nets, one that listens and one that dials.
struct World {
    here: MioNet,
    there: MioNet,
    listener: ListenerId,
    at: SocketAddr,
    plan: DialPlan,
    maker: Box<dyn MakeDatagrams>,
    tls_version: Option<&'static str>,
    budget: Budget,
    ready: Vec<Ready>,
}

fn out(bytes: &[u8]) -> OutBuffer {
    let mut out = OutBuffer::default();
    out.tail().extend_from_slice(bytes);
    out
}

fn world() -> World {
    let key = KeyPair::generate().expect("a key");
    let pem = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name").self_signed(&key).expect("signed").pem();
    let key = key.serialize_pem();
    let tls = ServerTlsOptions::new(pem.as_bytes(), key.as_bytes(), || 0);
    let server = ServerQuic::new(&tls, &QuicOptions::of_listener()).expect("it can be made");
    let tls = ClientTlsOptions::new(Roots::DangerAnybody, || 0);
    let maker = ClientQuic::new(&tls, &QuicOptions::default()).expect("it can be made");
    world_of(&server, Box::new(maker), Some("1.3"))
}

#[cfg(feature = "rudp")]
fn world_of_rudp() -> World {
    use crate::stack::rudp::{Maker, Options};
    let maker = Maker::new(Options { is_plain: false, ..Options::default() }, [[1, 2], [3, 4], [5, 6]]);
    world_of(&maker.clone(), Box::new(maker), None)
}

/// Where there is no reliable UDP, QUIC is looked at twice.
#[cfg(not(feature = "rudp"))]
fn world_of_rudp() -> World {
    world()
}

fn world_of(server: &dyn MakeDatagrams, maker: Box<dyn MakeDatagrams>, tls_version: Option<&'static str>) -> World {
    let net = || MioNet::new(std::time::Instant::now(), 0, ThreadOptions::default()).expect("a poll");
    let (here, mut there) = (net(), net());
    let budget = Budget::new(1 << 30);
    let options = SocketOptions { backlog: 2, ..SocketOptions::default() };
    let place = UdpPlace { address: ([127, 0, 0, 1], 0).into(), scheme: UdpScheme::Rudp };
    let (listener, bound) = there.listen_datagrams(place, &options, server, (1, LIMITS, budget.charge(0))).expect("bound");
    let at = bound.socket_address().expect("UDP");
    assert_eq!(bound.to_string(), format!("rudp://{at}"));
    let plan = DialPlan { remote: at, host: "localhost".to_owned(), options: DialOptions::default() };
    World { here, there, listener, at, plan, maker, tls_version, budget, ready: Vec::new() }
}

impl World {
    fn dial(&mut self) -> LinkId {
        let of_client = (2, self.budget.charge(0));
        self.here.dial_datagrams(self.plan.clone(), &*self.maker, of_client).expect("begun")
    }

    /// Goes on until the condition gives something.
    fn until<R>(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> Option<R>) -> R {
        for _ in 0..3_000 {
            for net in [&mut self.here, &mut self.there] {
                let mut ready = Vec::new();
                net.wait(Some(Duration::from_millis(5)), &mut ready).expect("polled");
                self.ready.append(&mut ready);
            }
            if let Some(result) = condition(self) {
                return result;
            }
        }
        panic!("{what}");
    }

    fn open(&mut self) -> (LinkId, LinkId) {
        let link = self.dial();
        self.until("it is not open", |world| world.here.dialed(link)).expect("open");
        self.here.write(link, &out(b"hello")).expect("room");
        let listener = self.listener;
        let (other, peer) = self.until("nobody came", |world| world.there.accept(listener).expect("accepts"));
        assert_eq!(Some(peer.address.expect("UDP")), self.here.ends(link).map(|(local, _)| local));
        assert_eq!(self.there.ends(other).map(|(local, _)| local), Some(self.at));
        assert!(self.there.about(other).is_some_and(|about| about.tls_version == self.tls_version) && self.there.about(other).is_none());
        assert_eq!(self.read_there(other, 5), b"hello");
        (link, other)
    }

    /// Its sockets are still there, and nobody looks at them any more.
    fn lose_client(&mut self) -> MioNet {
        core::mem::replace(&mut self.here, MioNet::new(std::time::Instant::now(), 0, ThreadOptions::default()).expect("a poll"))
    }

    fn words_lost(&self) -> u64 {
        let counted = self.ready.iter().filter_map(|ready| if let Ready::Counted { counters, .. } = ready { Some(counters.words_lost) } else { None });
        counted.sum()
    }

    fn has_no_connection_there(&self) -> bool {
        self.there.datagrams.drivers.values().all(|driver| driver.has_nobody())
    }

    fn has_no_connection(&self) -> bool {
        self.here.datagrams.drivers.is_empty() && self.has_no_connection_there()
    }

    fn read_there(&mut self, link: LinkId, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        self.until("nothing came", |world| {
            let mut buffer = [0; 4_096];
            // An end is read again and again.
            while let Some(count) = world.there.read(link, &mut buffer).ok().filter(|count| *count > 0) {
                all.extend_from_slice(&buffer[..count]);
            }
            (all.len() >= count).then_some(())
        });
        all
    }
}

#[test]
fn a_client_whose_socket_is_replaced_goes_on() {
    let mut world = world();
    let (link, other) = world.open();
    let before = world.here.ends(link).expect("UDP").0;
    let (now, bound) = (world.here.now(), world.plan.bind().expect("another socket"));
    let datagrams = &mut world.here.datagrams;
    let (&place, driver) = datagrams.drivers.iter_mut().next().expect("one");
    driver.rebind(now, bound, &datagrams.shared);
    datagrams.dirty(place);
    let after = world.here.ends(link).expect("UDP").0;
    assert_ne!(before, after);
    world.here.write(link, &out(b"from elsewhere")).expect("room");
    assert_eq!(world.read_there(other, 14), b"from elsewhere");
    let moved = world.until("it has not moved", |world| {
        world.ready.iter().find_map(|ready| match ready {
            // Links of the two nets have the same numbers; who dialled is told where its server is.
            Ready::Moved { link, peer } if *link == other && *peer != world.at => Some(*peer),
            _ => None,
        })
    });
    assert_eq!((moved, world.there.ends(other).map(|(_, peer)| peer)), (after, Some(after)));
}

#[test]
fn links_end_in_order_and_nothing_of_them_is_left() {
    let mut world = world();
    let (link, other) = world.open();
    assert!(world.budget.used_bytes() > 0, "what machines hold is charged");
    world.here.write(link, &out(b"bye")).expect("room");
    world.here.shutdown(link);
    assert_eq!(world.read_there(other, 3), b"bye");
    assert_eq!(world.until("no end came", |world| world.there.read(other, &mut [0; 8]).ok()), 0);
    world.there.close(other);
    assert_eq!(world.until("no end came back", |world| world.here.read(link, &mut [0; 8]).ok()), 0);
    world.here.close(link);
    world.until("its socket stays", |world| world.here.datagrams.drivers.is_empty().then_some(()));
    // The listener's stays with it, and goes with the last connection.
    let (last, kept) = world.open();
    world.there.unlisten(world.listener);
    world.here.write(last, &out(b"still here")).expect("room");
    assert_eq!(world.read_there(kept, 10), b"still here");
    world.there.close(kept);
    world.here.close(last);
    world.until("sockets stay", |world| (world.here.datagrams.drivers.is_empty() && world.there.datagrams.drivers.is_empty()).then_some(()));
    assert_eq!(world.budget.used_bytes(), 0);
}

/// Whether datagrams of the listener's socket may be cut.
#[cfg(feature = "rudp")]
fn may_be_cut(world: &World) -> bool {
    use rustix::net::sockopt::{Ipv4PathMtuDiscovery, ip_mtu_discover};
    let driver = world.there.datagrams.drivers.values().next().expect("one");
    ip_mtu_discover(driver.socket()).expect("an option") == Ipv4PathMtuDiscovery::WANT
}

#[test]
#[cfg(feature = "rudp")]
fn a_socket_that_stays_cuts_datagrams_as_the_listener_on_it_wants_now() {
    use crate::stack::rudp::{Generation, Maker, Options};
    let maker = |generation, probe_bytes_max| {
        let options = Options { is_plain: false, generation, probe_bytes_max, ..Options::default() };
        Maker::new(options, [[1, 2], [3, 4], [5, 6]])
    };
    let (tries, cuts) = (maker(Generation::Two, 1_400), maker(Generation::Auto, 0));
    assert!(cuts.may_fragment() && !tries.may_fragment());
    let mut world = world_of(&tries, Box::new(tries.clone()), None);
    let (_, kept) = world.open();
    assert!(!may_be_cut(&world));
    let options = SocketOptions { backlog: 2, ..SocketOptions::default() };
    let place = UdpPlace { address: world.at, scheme: UdpScheme::Rudp };
    for (maker, is_cut) in [(&cuts, true), (&tries, false)] {
        world.there.unlisten(world.listener);
        let of_server = (1, LIMITS, world.budget.charge(0));
        let (listener, bound) = world.there.listen_datagrams(place, &options, maker, of_server).expect("it is still there");
        assert_eq!((listener, bound), (world.listener, Endpoint::Udp(place)));
        assert_eq!(may_be_cut(&world), is_cut);
    }
    for (maker, is_cut) in [(&cuts, true), (&tries, false)] {
        world.there.renew_datagrams(world.listener, maker, LIMITS);
        assert_eq!(may_be_cut(&world), is_cut, "other options of one that listens all the time");
    }
    world.there.close(kept);
}

/// Writes as much as a pipe takes, and closes the link at once.
fn write_and_close(net: &mut MioNet, link: LinkId, count: usize) -> Vec<u8> {
    let payload: bytes::Bytes = (0..count).map(|at| (at % 251) as u8).collect::<Vec<_>>().into();
    let mut last = OutBuffer::default();
    last.push(&payload, std::sync::Arc::new(()));
    assert_eq!(net.write(link, &last).expect("room").0, count);
    net.close(link);
    payload.to_vec()
}

#[test]
fn what_was_written_before_a_link_is_closed_arrives_and_then_nothing_of_it_is_left() {
    for mut world in [world(), world_of_rudp()] {
        let (link, other) = world.open();
        // More than windows and a pipe hold.
        let words = write_and_close(&mut world.there, other, 1_000_000);
        let mut all = Vec::new();
        world.until("the end did not come", |world| {
            let mut buffer = [0; 4_096];
            loop {
                match world.here.read(link, &mut buffer) {
                    Ok(0) => return Some(()),
                    Ok(count) => all.extend_from_slice(&buffer[..count]),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
                    Err(error) => panic!("{error} after {}", all.len()),
                }
            }
        });
        assert!(all == words, "{} of {}", all.len(), words.len());
        world.here.close(link);
        world.until("something stays", |world| world.has_no_connection().then_some(()));
        let (link, other) = world.open();
        let words = write_and_close(&mut world.here, link, 1_000_000);
        assert!(world.read_there(other, words.len()) == words);
        world.there.close(other);
        world.until("something stays", |world| world.has_no_connection().then_some(()));
    }
}

#[test]
fn what_was_written_last_is_given_up_after_a_while_and_counted() {
    for mut world in [world(), world_of_rudp()] {
        // The first peers are not there any more when it is said, the last one is.
        let links: Vec<_> = (0..3).map(|_| world.open()).collect();
        let gone = world.lose_client();
        world.there.datagrams.drivers.values_mut().for_each(|driver| driver.leaving_max = 2);
        for (_, other) in links {
            write_and_close(&mut world.there, other, 1_000);
        }
        world.until("there is room for two", |world| (world.words_lost() == 1).then_some(()));
        world.until("they stay", |world| (world.words_lost() == 3 && world.has_no_connection()).then_some(()));
        drop(gone);
    }
}

#[test]
fn what_is_given_up_last_on_a_socket_is_counted_before_that_goes() {
    for mut world in [world(), world_of_rudp()] {
        let (_, other) = world.open();
        let gone = world.lose_client();
        world.there.unlisten(world.listener);
        world.there.datagrams.drivers.values_mut().for_each(|driver| driver.leaving_max = 0);
        write_and_close(&mut world.there, other, 1_000);
        world.until("it stays", |world| world.there.datagrams.drivers.is_empty().then_some(()));
        assert_eq!(world.words_lost(), 1);
        drop(gone);
    }
}

#[test]
fn what_was_said_last_and_is_given_up_before_the_link_is_closed_is_counted() {
    let mut world = world_of_rudp();
    let (_, other) = world.open();
    let gone = world.lose_client();
    world.there.write(other, &out(b"good-bye")).expect("room");
    world.there.shutdown(other);
    // A host reads on for a while after its last word, and closes then.
    world.until("it waits for ever", |world| {
        world.there.read(other, &mut [0; 8]).is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock).then_some(())
    });
    world.there.close(other);
    world.until("nobody counts it", |world| (world.words_lost() == 1 && world.has_no_connection_there()).then_some(()));
    assert_eq!(world.words_lost(), 1);
    drop(gone);
}

#[test]
fn without_memory_nobody_waits_for_last_words() {
    let mut world = world();
    let (_, other) = world.open();
    let budget = Budget::new(1);
    world.there.datagrams.charge_to(&budget);
    let _charge = budget.charge(2);
    write_and_close(&mut world.there, other, 1_000);
    let mut ready = Vec::new();
    world.there.wait(Some(Duration::ZERO), &mut ready).expect("polled");
    assert!(world.has_no_connection_there());
}

#[test]
fn what_was_written_before_the_end_of_everything_arrives() {
    let mut world = world();
    let (link, other) = world.open();
    world.here.write(link, &out(b"last words")).expect("room");
    world.here.shutdown(link);
    // The runtime ends without another turn.
    let World { here, .. } = &mut world;
    let fresh = MioNet::new(std::time::Instant::now(), 0, ThreadOptions::default()).expect("a poll");
    drop(core::mem::replace(here, fresh));
    assert_eq!(world.read_there(other, 10), b"last words");
}

#[test]
fn who_is_not_accepted_waits_and_those_behind_the_backlog_are_told() {
    let mut world = world();
    let links: Vec<_> = (0..3).map(|_| world.dial()).collect();
    world.until("they are not open", |world| links.iter().all(|link| world.here.dialed(*link).is_some()).then_some(()));
    for link in &links {
        world.here.write(*link, &out(b"x")).expect("room");
    }
    let told = world.until("nobody is told", |world| world.ready.iter().position(|ready| matches!(ready, Ready::Failed { .. })));
    assert!(matches!(&world.ready[told], Ready::Failed { fault, .. } if fault.kind == crate::stack::FaultKind::Refused));
    let listener = world.listener;
    assert!((0..2).all(|_| world.there.accept(listener).expect("accepts").is_some()));
    assert!(world.there.accept(listener).expect("accepts").is_none());
}

#[test]
fn a_socket_that_takes_nothing_keeps_nobody_awake() {
    let mut world = world();
    let (link, _) = world.open();
    world.here.write(link, &out(b"x")).expect("room");
    let mut waits = 0;
    let end = world.here.now() + Duration::from_secs(1);
    while world.here.now() < end {
        world.here.datagrams.drivers.values_mut().for_each(|driver| driver.is_blocked = true);
        world.here.wait(Some(Duration::from_secs(1)), &mut Vec::new()).expect("polled");
        waits += 1;
    }
    assert!(waits < 300, "{waits}");
}

#[test]
fn a_flood_of_small_datagrams_has_no_more_of_a_turn_than_its_share() {
    let mut world = world();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let state = UdpSocketState::new((&socket).into()).expect("options");
    let segments = state.max_gso_segments().min(60);
    let bytes = vec![0x40; 21 * segments];
    for _ in 0..120 {
        let segment_size = (segments > 1).then_some(21);
        let transmit = Transmit { destination: world.at, ecn: None, contents: &bytes, segment_size, src_ip: None };
        state.try_send((&socket).into(), &transmit).expect("room");
    }
    world.there.wait(Some(Duration::ZERO), &mut Vec::new()).expect("polled");
    // Without segmentation they are fewer than a turn takes.
    assert_eq!(world.there.datagrams.has_work(), segments > 1, "the rest is for the next turn");
    let mut turns = 1;
    while world.there.datagrams.has_work() && turns < 1_000 {
        world.there.wait(Some(Duration::ZERO), &mut Vec::new()).expect("polled");
        turns += 1;
    }
    assert!(turns < 1_000 && world.budget.used_bytes() == 0);
}
