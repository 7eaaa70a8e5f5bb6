//! What the client this project re-creates does wrong, one test for each fault, against a server
//! written by hand. tests/newlife.tsv leads from the fault to its tests.

use std::io::Read;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use nlmqtt::base::{Duration as Span, Instant};
use nlmqtt::client::{Client, ClientParts, Event, Options, Publish, StopRequest};
use nlmqtt::codec::{PropertyList, Qos, SubscribeOptions, Version};
use nlmqtt::config::{ClientConfig, Error};
use nlmqtt::net::{ClientHandler, Runtime, RuntimeOptions, ServerAddress};

use crate::wire::{PATIENCE, Packet, V3, V5, Wire, ack, packet, publish};

struct Teller(Sender<Event>);

impl ClientHandler for Teller {
    fn event(&mut self, _now: Instant, event: Event) {
        // The test may be over.
        let _ = self.0.send(event);
    }
}

/// A client and the server it connects to.
struct Pair {
    client: Client,
    events: Receiver<Event>,
    listener: TcpListener,
    level: u8,
    _runtime: Runtime,
}

impl Pair {
    fn new(version: Version, change: impl FnOnce(&mut Options)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let mut options = Options { servers: vec![0], version, client_id: "dev".to_owned(), ..Options::default() };
        options.reconnect.delay_min = Span::from_millis(10);
        options.reconnect.delay_max = Span::from_millis(50);
        change(&mut options);
        let runtime = Runtime::new(&RuntimeOptions::default()).expect("a runtime");
        let (teller, events) = channel();
        let servers = vec![ServerAddress::plain("127.0.0.1", port)];
        let parts = ClientParts { options, servers, ..ClientParts::default() };
        let client = Client::new(&runtime, parts, Box::new(Teller(teller))).expect("a client");
        Self { client, events, listener, level: version.level(), _runtime: runtime }
    }

    /// The next connection; its CONNECT was read.
    fn accept(&self) -> (Wire, Packet) {
        let (stream, _) = self.listener.accept().expect("the client connects");
        let mut wire = Wire::over(stream, self.level);
        let connect = wire.read().expect("CONNECT");
        assert_eq!(connect.first, 0x10, "the first packet");
        (wire, connect)
    }

    /// The next connection, accepted with these properties (MQTT 5).
    fn serve(&self, session_present: bool, properties: &[u8]) -> Wire {
        let (mut wire, _) = self.accept();
        let mut body = vec![u8::from(session_present), 0];
        if self.level == V5 {
            body.push(properties.len() as u8);
            body.extend_from_slice(properties);
        }
        wire.send(&packet(0x20, &body));
        wire
    }

    fn wait<T>(&self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        loop {
            let event = self.events.recv_timeout(PATIENCE).expect("an event");
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    }

    fn wait_connected(&self) {
        self.wait(|event| matches!(event, Event::Connected(_)).then_some(()));
    }

    fn publish(&self, topic: &str, qos: Qos) {
        self.client.publish(Publish { topic, payload: b"x", qos, ..Publish::default() }, None).expect("queued");
    }

    fn subscribe(&self, filter: &str, qos: Qos) {
        let options = SubscribeOptions { qos, ..SubscribeOptions::default() };
        self.client.subscribe(&[(filter, options)], &PropertyList::new(), None, None).expect("posted");
    }
}

impl Wire {
    fn over(stream: TcpStream, level: u8) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        Self::of(stream, level)
    }

    /// The next packet that is no PINGREQ.
    fn next(&mut self) -> Packet {
        loop {
            let packet = self.read().expect("a packet of the client");
            if packet.first != 0xC0 {
                return packet;
            }
            self.send(&[0xD0, 0]);
        }
    }
}

#[test]
fn a_secure_scheme_never_becomes_clear_text() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
    datagrams.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let mut refused = Vec::new();
    for scheme in ["ssl", "mqtts", "tls", "wss", "quic"] {
        let address = if scheme == "quic" { datagrams.local_addr() } else { listener.local_addr() }.expect("bound");
        let mut config = ClientConfig::default();
        match config.add_server(&format!("{scheme}://{address}"), 0) {
            Err(Error::Scheme { .. }) => {
                assert!(config.servers.is_empty(), "{scheme}");
                refused.push(scheme);
                continue;
            }
            result => result.expect("legal"),
        }
        let runtime = Runtime::new(&RuntimeOptions::default()).expect("a runtime");
        let (options, servers, dial) = config.parts().expect("legal");
        let parts = ClientParts { options, servers, dial, ..ClientParts::default() };
        let client = Client::new(&runtime, parts, Box::new(Teller(channel().0))).expect("a client");
        client.start();
        if scheme == "quic" {
            let mut begin = [0; 2_000];
            assert!(datagrams.recv(&mut begin).expect("it speaks first") >= 1_200);
            assert_eq!((begin[0] & 0xF0, &begin[1..5]), (0xC0, &[0, 0, 0, 1][..]), "a first packet of QUIC v1 (RFC 9000 section 17.2.2)");
            continue;
        }
        let (mut stream, _) = listener.accept().expect("the client connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut begin = [0; 2];
        stream.read_exact(&mut begin).expect("it speaks first");
        assert_eq!(begin, [0x16, 3], "{scheme}: a TLS handshake record (RFC 8446 section 5.1)");
    }
    let not_built = |scheme: &str| (scheme == "quic" && !cfg!(feature = "quic")) || !cfg!(feature = "tls") || (scheme == "wss" && !cfg!(feature = "websocket"));
    assert!(refused.iter().all(|scheme| not_built(scheme)), "{refused:?}");
}

#[test]
fn subscribing_to_a_stored_filter_changes_its_options() {
    let pair = Pair::new(Version::V5, |_| {});
    pair.client.start();
    let mut server = pair.serve(false, &[]);
    for (qos, byte) in [(Qos::AtMostOnce, 0), (Qos::ExactlyOnce, 2), (Qos::AtLeastOnce, 1)] {
        pair.subscribe("t", qos);
        let subscribe = server.next();
        assert_eq!((subscribe.first, *subscribe.body.last().expect("options") & 3), (0x82, byte));
        server.send(&packet(0x90, &[subscribe.body[0], subscribe.body[1], 0, byte]));
    }
    // What is asked for again is the last word.
    drop(server);
    let mut server = pair.serve(false, &[]);
    let again = server.next();
    assert_eq!((again.first, *again.body.last().expect("options") & 3), (0x82, 1));
}

#[test]
fn a_publish_while_disconnected_waits_for_connack() {
    let pair = Pair::new(Version::V311, |_| {});
    pair.client.start();
    pair.publish("early", Qos::AtLeastOnce);
    // The first packet is CONNECT (`accept` looks), and before CONNACK nothing follows.
    let (mut server, _) = pair.accept();
    server.stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a time-out");
    let mut byte = [0];
    assert!(std::io::Read::read(&mut server.stream, &mut byte).is_err(), "{byte:?} before CONNACK");
    server.stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    server.send(&[0x20, 2, 0, 0]);
    let message = server.next();
    assert_eq!((message.first, message.topic().as_str()), (0x32, "early"));
}

#[test]
fn no_packet_has_the_identifier_0_in_70000_messages() {
    let pair = Pair::new(Version::V311, |options| options.queue.count_max = 100_000);
    pair.client.start();
    let mut server = pair.serve(false, &[]);
    pair.wait_connected();
    let mut last = 0;
    let mut wraps = 0;
    for batch in 0..70 {
        for _ in 0..1_000 {
            pair.publish("t", Qos::AtLeastOnce);
        }
        let mut acknowledgements = Vec::new();
        for n in 0..1_000 {
            let id = server.next().packet_id();
            assert_ne!(id, 0, "message {}", batch * 1_000 + n);
            wraps += u32::from(id < last);
            last = id;
            acknowledgements.extend(ack(0x40, id));
            if acknowledgements.len() > 100 || n == 999 {
                server.send(&acknowledgements);
                acknowledgements.clear();
            }
        }
    }
    assert_eq!(wraps, 1);
}

#[test]
fn what_was_not_acknowledged_is_sent_again() {
    let pair = Pair::new(Version::V311, |options| options.clean_start = false);
    pair.client.start();
    let mut server = pair.serve(false, &[]);
    pair.publish("one", Qos::AtLeastOnce);
    pair.publish("two", Qos::ExactlyOnce);
    let ids = [server.next().packet_id(), server.next().packet_id()];
    drop(server);
    let mut server = pair.serve(true, &[]);
    let again = [server.next(), server.next()];
    assert_eq!(again.each_ref().map(|packet| packet.first), [0x3A, 0x3C], "with DUP");
    assert_eq!(again.each_ref().map(Packet::packet_id), ids);
}

#[test]
fn a_qos_2_message_of_the_server_arrives_once() {
    let pair = Pair::new(Version::V311, |_| {});
    pair.client.start();
    let mut server = pair.serve(false, &[]);
    let first = publish(V3, "t", 2, false, 9, &[], b"once");
    let mut again = first.clone();
    again[0] |= 8;
    for packet in [&first, &again, &again] {
        server.send(packet);
        assert_eq!(server.next(), Packet { first: 0x50, body: vec![0, 9] });
    }
    server.send(&ack(0x62, 9));
    assert_eq!(server.next(), Packet { first: 0x70, body: vec![0, 9] });
    server.send(&publish(V3, "end", 0, false, 0, &[], b""));
    let mut topics = Vec::new();
    pair.wait(|event| {
        if let Event::Message(incoming) = event {
            topics.push(incoming.message.topic().to_owned());
        }
        (topics.last().map(String::as_str) == Some("end")).then_some(())
    });
    assert_eq!(topics, ["t", "end"]);
}

#[test]
fn what_the_server_says_in_connack_is_obeyed() {
    let pair = Pair::new(Version::V5, |options| {
        options.client_id.clear();
        options.queue.count_max = 100;
    });
    pair.client.start();
    // Receive Maximum 2, Maximum Packet Size 100, Topic Alias Maximum 1, Server Keep Alive 1 s,
    // Assigned Client Identifier "given".
    let mut server = pair.serve(false, &[0x21, 0, 2, 0x27, 0, 0, 0, 100, 0x22, 0, 1, 0x13, 0, 1, 0x12, 0, 5, b'g', b'i', b'v', b'e', b'n']);
    let assigned = pair.wait(|event| match event {
        Event::Connected(connected) => Some(connected.client_id.to_string()),
        _ => None,
    });
    assert_eq!(assigned, "given");
    let large = Publish { topic: "large", payload: &[b'x'; 200], qos: Qos::AtLeastOnce, ..Publish::default() };
    let _ = pair.client.publish(large, None);
    for _ in 0..5 {
        pair.publish("a/topic", Qos::AtLeastOnce);
    }
    let (first, second) = (server.next(), server.next());
    assert_eq!(first.topic(), "a/topic");
    assert_eq!(second.body[..2], [0, 0], "an alias in place of the topic");
    // Two are in flight: what comes next is a PINGREQ, for which the server's keep-alive is to be thanked.
    assert_eq!(server.read().map(|packet| packet.first), Some(0xC0));
    server.send(&[0xD0, 0]);
    server.send(&ack(0x40, first.packet_id()));
    assert_eq!(server.next().first, 0x32);
    drop(server);
    let (_, connect) = pair.accept();
    assert!(connect.body.ends_with(b"\0\x05given"), "the identifier is kept: {connect:?}");
}

#[test]
fn disconnect_and_auth_of_the_server_are_heard() {
    let pair = Pair::new(Version::V5, |options| {
        options.authentication = Some(nlmqtt::proto::client::Authentication { method: "M".to_owned(), data: b"hello".to_vec() });
    });
    pair.client.start();
    let (mut server, _) = pair.accept();
    server.send(&packet(0xF0, &[0x18, 8, 0x15, 0, 1, b'M', 0x16, 0, 1, b'?']));
    let question = pair.wait(|event| match event {
        Event::Auth { data, .. } => data.clone(),
        _ => None,
    });
    assert_eq!(question, b"?");
    pair.client.authenticate(b"!").expect("it has a method");
    let answer = server.next();
    assert!(answer.first == 0xF0 && answer.body.ends_with(b"!"), "{answer:?}");
    server.send(&packet(0x20, &[0, 0, 4, 0x15, 0, 1, b'M']));
    pair.wait_connected();
    server.send(&[0xE0, 1, 0x8B]);
    let reason = pair.wait(|event| match event {
        Event::Disconnected(disconnected) => disconnected.reason,
        _ => None,
    });
    assert_eq!(reason.0, 0x8B);
    server.expect_closed();
}

#[test]
fn a_refused_connect_closes_the_socket_and_is_tried_again() {
    let pair = Pair::new(Version::V311, |_| {});
    pair.client.start();
    let (mut server, _) = pair.accept();
    server.send(&[0x20, 2, 0, 3]);
    server.expect_closed();
    let (_, connect) = pair.accept();
    assert!(connect.body.ends_with(b"dev"));
}

#[test]
fn one_subscribe_carries_all_stored_filters_after_a_reconnect() {
    let pair = Pair::new(Version::V311, |_| {});
    pair.client.start();
    let mut server = pair.serve(false, &[]);
    for filter in ["a", "b/#", "c/+"] {
        pair.subscribe(filter, Qos::AtLeastOnce);
        let subscribe = server.next();
        server.send(&packet(0x90, &[subscribe.body[0], subscribe.body[1], 1]));
    }
    drop(server);
    let mut server = pair.serve(false, &[]);
    let subscribe = server.next();
    assert_eq!(subscribe.body[2..], *b"\0\x01a\x01\0\x03b/#\x01\0\x03c/+\x01");
    pair.client.stop_and_wait(StopRequest::default()).expect("in time");
}

#[test]
fn the_acknowledgement_does_not_depend_on_what_the_callback_does() {
    let pair = Pair::new(Version::V311, |_| {});
    let options = SubscribeOptions { qos: Qos::AtLeastOnce, ..SubscribeOptions::default() };
    let (entered, inside) = channel();
    let (leave, wait) = channel::<()>();
    let callback = Box::new(move |_: &nlmqtt::client::Incoming| {
        entered.send(()).expect("the test waits");
        let _ = wait.recv();
    });
    pair.client.start();
    pair.client.subscribe(&[("t", options)], &PropertyList::new(), Some(callback), None).expect("posted");
    let mut server = pair.serve(false, &[]);
    let subscribe = server.next();
    server.send(&packet(0x90, &[subscribe.body[0], subscribe.body[1], 1]));
    server.send(&publish(V3, "t", 1, false, 5, &[], b"x"));
    inside.recv_timeout(PATIENCE).expect("the callback runs");
    leave.send(()).expect("it waits");
    assert_eq!(server.next(), Packet { first: 0x40, body: vec![0, 5] });
}
