//! A driver that takes messages one by one: what has no room rests, and nothing is lost.

use super::*;

const ONE: ReceiveRoom = ReceiveRoom { count: 1, bytes: usize::MAX };

fn three_messages(bench: &Bench) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (topic, packet_id) in [("a", 1), ("b", 2), ("c", 3)] {
        let packet = Packet::Publish(Publish {
            dup: false,
            qos: Qos::AtLeastOnce,
            retain: false,
            topic,
            packet_id: PacketId::new(packet_id),
            properties: Properties::EMPTY,
            payload: b"in",
        });
        packet.encode(bench.version, &mut bytes);
    }
    bytes
}

#[test]
fn decoding_rests_without_room_and_goes_on_with_it() {
    let mut bench = Bench::online(options(Version::V5), false, &[]);
    bench.client.set_receive_room(ONE);
    let bytes = three_messages(&bench);
    bench.client.handle_input(bench.now, &bytes);
    for topic in ["a", "b", "c"] {
        assert_eq!(bench.events(), [format!("message {topic} q1 []")]);
        assert!(!bench.client.wants_input());
        bench.client.handle_input(bench.now, &[]);
        assert!(bench.events().is_empty());
        bench.client.set_receive_room(ONE);
        bench.client.handle_input(bench.now, &[]);
    }
    assert!(bench.client.wants_input());
    assert_eq!(bench.sent(), ["PUBACK 1 00", "PUBACK 2 00", "PUBACK 3 00"]);
    assert_eq!(bench.client.statistics().receive_pauses, 3);
}

#[test]
fn room_is_counted_in_bytes_too_and_not_for_messages_with_a_handler() {
    let mut bench = Bench::online(options(Version::V311), false, &[]);
    bench.client.set_receive_room(ReceiveRoom { count: usize::MAX, bytes: 1 });
    let bytes = three_messages(&bench);
    bench.client.handle_input(bench.now, &bytes);
    assert_eq!(bench.events(), ["message a q1 []"], "one may go beyond");
    let mut bench = Bench::online(options(Version::V311), false, &[]);
    bench.subscribe(&["#"], true);
    bench.sent();
    bench.suback(1, &[1]);
    bench.events();
    bench.client.set_receive_room(ONE);
    bench.client.handle_input(bench.now, &bytes);
    assert_eq!(bench.events().len(), 3);
}

#[test]
fn a_connection_that_rests_is_kept_alive_and_a_dead_one_is_still_found() {
    let mut bench = Bench::online(options(Version::V5), false, &[]);
    bench.client.set_receive_room(ONE);
    let bytes = three_messages(&bench);
    bench.client.handle_input(bench.now, &bytes);
    bench.sent();
    for _ in 0..10 {
        bench.now = bench.client.poll_timeout().expect("pings");
        bench.client.handle_timeout(bench.now);
        assert!(bench.sent().iter().all(|line| line == "PINGREQ"));
    }
    assert_eq!(bench.client.state(), State::Online);
    bench.client.set_receive_room(ReceiveRoom { count: 100, bytes: usize::MAX });
    bench.client.handle_input(bench.now, &[]);
    for _ in 0..2 {
        bench.now = bench.client.poll_timeout().expect("pings");
        bench.client.handle_timeout(bench.now);
    }
    assert!(bench.events().iter().any(|line| line.starts_with("disconnected KeepAlive")));
}

#[test]
fn a_new_connection_is_made_although_there_is_no_room() {
    let mut bench = Bench::online(options(Version::V5), false, &[]);
    bench.client.set_receive_room(ReceiveRoom { count: 0, bytes: 0 });
    bench.reconnect(false);
    assert_eq!(bench.client.state(), State::Online);
    bench.incoming("t", Qos::AtMostOnce, 0, false, &PropertyList::new());
    assert!(!bench.events().iter().any(|line| line.starts_with("message")));
}

#[test]
fn a_payload_by_reference_is_that_of_the_message_and_waits_for_room_as_bytes() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut bench = Bench::online(options(version), false, &[]);
        let payload = bytes::Bytes::from(vec![7; 5_000]);
        let publish = Publish {
            dup: false,
            qos: Qos::AtLeastOnce,
            retain: true,
            topic: "a",
            packet_id: PacketId::new(1),
            properties: Properties::EMPTY,
            payload: &payload,
        };
        let mut whole = Vec::new();
        publish.encode(version, &mut whole);
        let head = &whole[..whole.len() - payload.len()];
        bench.client.handle_input(bench.now, head);
        assert!(bench.client.handle_payload(bench.now, &payload));
        let Some(Event::Message(incoming)) = bench.client.poll_event() else { panic!("no message") };
        assert_eq!((incoming.message.payload().as_ptr(), incoming.message.payload().len()), (payload.as_ptr(), payload.len()));
        assert!(incoming.retain && bench.client.budget().used_bytes() > payload.len());
        assert_eq!(bench.sent(), ["PUBACK 1 00"]);
        // Not what the unfinished packet lacks, or nothing is unfinished.
        assert!(!bench.client.handle_payload(bench.now, &payload));
        bench.client.handle_input(bench.now, head);
        assert!(!bench.client.handle_payload(bench.now, &payload.slice(1..)));
        // Without room it is kept.
        bench.client.set_receive_room(ReceiveRoom { count: 0, bytes: 0 });
        assert!(!bench.client.handle_payload(bench.now, &payload));
        bench.client.handle_input(bench.now, &payload);
        assert!(bench.events().is_empty());
        bench.client.set_receive_room(ONE);
        bench.client.handle_input(bench.now, &[]);
        assert_eq!(bench.events().len(), 1);
        let received = bench.client.statistics().bytes_received as usize;
        assert!(received >= 2 * whole.len() && received < 3 * whole.len());
        // Before CONNACK it is a fault, as in bytes.
        let mut early = Bench::dialed(options(version));
        early.client.handle_input(early.now, head);
        assert!(!early.client.handle_payload(early.now, &payload));
        early.client.handle_input(early.now, &payload);
        assert!(early.events().iter().any(|line| line.starts_with("disconnected Protocol")));
    }
}
