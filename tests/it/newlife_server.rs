//! What the broker this project re-creates does wrong, one test for each fault, over real sockets.
//! tests/newlife.tsv leads from the fault to its tests.

use std::time::Duration;

use crate::wire::{Broker, Connect, V3, V5, Wire, ack, connect, connect_with, publish, subscribe, unsubscribe};

const SESSION_OF_A_MINUTE: [u8; 5] = [0x11, 0, 0, 0, 60];

/// A client of MQTT 5 whose session lasts for a minute.
fn join_for_long(broker: &Broker, client_id: &str, session_present: bool) -> Wire {
    let (wire, connack) = Wire::connect(broker.address, V5, &connect(V5, client_id, false, 0, &SESSION_OF_A_MINUTE));
    assert_eq!(connack.expect("CONNACK").body[..2], [u8::from(session_present), 0]);
    wire
}

/// Goes away without DISCONNECT; the broker has noticed.
fn leave(broker: &Broker, wire: Wire) {
    let connected = broker.stat("clients_connected");
    drop(wire);
    broker.wait_for("clients_connected", |count| count < connected);
}

#[test]
fn the_qos_delivered_is_the_lower_one_of_publish_and_subscription() {
    let broker = Broker::new(|_| {});
    let mut publisher = Wire::join(broker.address, V3, "p");
    for granted in 0..3 {
        let mut receiver = Wire::join(broker.address, V3, "r");
        receiver.subscribe("t", granted);
        for published in 0..3 {
            publisher.send(&publish(V3, "t", published, false, 1 + u16::from(3 * granted + published), &[], b"x"));
            assert_eq!(receiver.read().expect("the message").first >> 1 & 3, granted.min(published));
        }
    }
}

#[test]
fn a_bad_filter_is_refused_and_breaks_nothing() {
    let broker = Broker::new(|_| {});
    for (level, refusal) in [(V3, 0x80), (V5, 0x8F)] {
        let mut client = Wire::join(broker.address, level, "c");
        for filter in ["a/#/b", "a+", "#a", "$share/g"] {
            client.send(&subscribe(level, 9, filter, 0));
            assert_eq!(client.read().expect("SUBACK").body.last(), Some(&refusal), "{filter}");
        }
        client.subscribe("a/#", 0);
        client.send(&publish(level, "a/x/b", 0, false, 0, &[], b"fine"));
        assert_eq!(client.read().expect("the message").payload(level), b"fine");
    }
}

#[test]
fn a_refused_connection_is_closed() {
    let broker = Broker::new(|options| {
        options.allow_anonymous = false;
        options.allow_zero_length_clientid = false;
    });
    for (level, client_id, reason) in [(V3, "c", 5), (V5, "c", 0x87), (V3, "", 2), (V5, "", 0x85)] {
        let (mut wire, connack) = Wire::connect(broker.address, level, &connect(level, client_id, true, 0, &[]));
        assert_eq!(connack.expect("CONNACK").body[..2], [0, reason]);
        wire.expect_closed();
    }
    assert_eq!(broker.stat("connects_refused"), 4);
}

#[test]
fn a_client_id_has_one_connection() {
    let broker = Broker::new(|_| {});
    let mut old = Wire::join(broker.address, V5, "same");
    let mut new = Wire::join(broker.address, V5, "same");
    old.expect_disconnect(0x8E);
    assert_eq!(new.ping(), []);
    let mut newest = Wire::join(broker.address, V3, "same");
    new.expect_disconnect(0x8E);
    assert_eq!(newest.ping(), []);
    assert_eq!(broker.stat("take_overs"), 2);
    assert_eq!(broker.stat("clients_connected"), 1);
}

#[test]
fn keep_alive_is_enforced() {
    let broker = Broker::new(|_| {});
    let (mut five, _) = Wire::connect(broker.address, V5, &connect(V5, "five", true, 1, &[]));
    let (mut three, _) = Wire::connect(broker.address, V3, &connect(V3, "three", true, 1, &[]));
    let mut patient = Wire::join(broker.address, V3, "patient");
    five.expect_disconnect(0x8D);
    three.expect_closed();
    assert_eq!(broker.stat("keep_alive_timeouts"), 2);
    assert_eq!(patient.ping(), []);
}

#[test]
fn a_retained_payload_stays_what_it_was() {
    let broker = Broker::new(|_| {});
    let mut publisher = Wire::join(broker.address, V3, "p");
    let kept: Vec<u8> = (0..3_000_u32).map(|n| n as u8).collect();
    publisher.send(&publish(V3, "kept", 0, true, 0, &[], &kept));
    // Everything it could have been a slice of is overwritten.
    for _ in 0..100 {
        publisher.send(&publish(V3, "other", 0, false, 0, &[], &vec![0xEE; 60_000]));
    }
    publisher.ping();
    let mut reader = Wire::join(broker.address, V3, "r");
    reader.subscribe("kept", 0);
    let packet = reader.read().expect("the retained message");
    assert_eq!((packet.first, packet.payload(V3)), (0x31, &kept[..]));
}

#[test]
fn acknowledgements_belong_to_their_client() {
    const CLIENTS: usize = 40;
    const MESSAGES: u16 = 20;
    let broker = Broker::new(|_| {});
    let mut receivers: Vec<Wire> = (0..CLIENTS).map(|n| Wire::join(broker.address, V3, &format!("r{n}"))).collect();
    receivers.iter_mut().for_each(|receiver| receiver.subscribe("t", 1));
    let mut publisher = Wire::join(broker.address, V3, "p");
    for round in 0..2 {
        (1..=MESSAGES).for_each(|id| publisher.send(&publish(V3, "t", 1, false, id, &[], &[round])));
        // 800 messages wait for their acknowledgement at once; all clients use the same identifiers.
        let mut identifiers = Vec::new();
        for receiver in &mut receivers {
            let own: Vec<u16> = (0..MESSAGES).map(|_| receiver.read().expect("a message").packet_id()).collect();
            identifiers.push(own);
        }
        for (receiver, own) in receivers.iter_mut().zip(identifiers) {
            own.into_iter().for_each(|id| receiver.send(&ack(0x40, id)));
        }
    }
    receivers.iter_mut().for_each(|receiver| assert_eq!(receiver.ping(), []));
    assert_eq!(broker.stat("unknown_acknowledgements"), 0);
}

#[test]
fn a_qos_2_message_is_delivered_once_and_released_once() {
    let broker = Broker::new(|_| {});
    let mut receiver = Wire::join(broker.address, V3, "r");
    receiver.subscribe("t", 2);
    let mut publisher = Wire::join(broker.address, V3, "p");
    let first = publish(V3, "t", 2, false, 7, &[], b"x");
    let mut again = first.clone();
    again[0] |= 8;
    for packet in [&first, &again, &again] {
        publisher.send(packet);
        publisher.expect(0x50, &[0, 7]);
    }
    for _ in 0..2 {
        publisher.send(&ack(0x62, 7));
        publisher.expect(0x70, &[0, 7]);
    }
    let id = receiver.read().expect("the message").packet_id();
    receiver.send(&ack(0x50, id));
    receiver.expect(0x62, &id.to_be_bytes());
    receiver.send(&ack(0x70, id));
    assert_eq!(receiver.ping(), [], "one message, one PUBREL");
    publisher.send(&first);
    publisher.expect(0x50, &[0, 7]);
    assert_eq!(receiver.read().map(|packet| packet.topic()).as_deref(), Some("t"), "the identifier is free again");
}

#[test]
fn messages_above_the_receive_maximum_wait() {
    let broker = Broker::new(|_| {});
    let (mut receiver, connack) = Wire::connect(broker.address, V5, &connect(V5, "r", true, 0, &[0x21, 0, 2]));
    assert!(connack.is_some());
    receiver.subscribe("t", 1);
    let mut publisher = Wire::join(broker.address, V5, "p");
    for payload in 0..10 {
        publisher.send(&publish(V5, "t", 1, false, 1 + u16::from(payload), &[], &[payload]));
    }
    for _ in 0..10 {
        assert_eq!(publisher.read().map(|packet| packet.first), Some(0x40));
    }
    let mut received = Vec::new();
    let mut waiting = receiver.ping();
    while !waiting.is_empty() {
        assert!(waiting.len() <= 2, "{} at once", waiting.len());
        for packet in waiting {
            received.push(packet.payload(V5)[0]);
            receiver.send(&ack(0x40, packet.packet_id()));
        }
        waiting = receiver.ping();
    }
    assert_eq!(received, (0..10).collect::<Vec<u8>>());
}

#[test]
fn offline_messages_keep_their_properties_and_come_after_connack() {
    let broker = Broker::new(|_| {});
    let mut receiver = join_for_long(&broker, "r", false);
    receiver.subscribe("t", 1);
    leave(&broker, receiver);
    let mut publisher = Wire::join(broker.address, V5, "p");
    // Payload format 1, content type "c", correlation data 01 02, user property k = v.
    let properties = [1, 1, 3, 0, 1, b'c', 9, 0, 2, 1, 2, 0x26, 0, 1, b'k', 0, 1, b'v'];
    for n in 0..100_u8 {
        publisher.send(&publish(V5, "t", 1, false, 1 + u16::from(n), &properties, &[n]));
        publisher.read().expect("PUBACK");
    }
    // `join_for_long` looks at the first packet: CONNACK.
    let mut receiver = join_for_long(&broker, "r", true);
    for n in 0..100 {
        let packet = receiver.read().expect("a message that waited");
        assert_eq!(packet.payload(V5), [n]);
        let at = packet.body.len() - 1 - properties.len();
        assert_eq!(packet.body[at..packet.body.len() - 1], properties, "unchanged and in order");
        receiver.send(&ack(0x40, packet.packet_id()));
    }
    assert_eq!(receiver.ping(), []);
}

/// A client whose will waits for `delay_s` seconds.
fn join_with_will(broker: &Broker, delay_s: u8) -> Wire {
    let delay = [0x18, 0, 0, 0, delay_s];
    let what = Connect { will: Some(("will", "gone", &delay)), properties: &SESSION_OF_A_MINUTE, ..Connect::default() };
    let (wire, connack) = Wire::connect(broker.address, V5, &connect_with(V5, "mortal", &what));
    assert!(connack.is_some());
    wire
}

#[test]
fn a_will_delay_is_ended_by_a_reconnect_and_disconnect_4_sends_the_will() {
    let broker = Broker::new(|_| {});
    let mut watcher = Wire::join(broker.address, V3, "w");
    watcher.subscribe("will", 0);
    let mortal = join_with_will(&broker, 3);
    leave(&broker, mortal);
    let mut mortal = join_with_will(&broker, 0);
    std::thread::sleep(Duration::from_millis(3_500));
    assert_eq!(watcher.ping(), [], "it came back before three seconds were over");
    mortal.send(&[0xE0, 1, 0]);
    mortal.expect_closed();
    assert_eq!(watcher.ping(), [], "a good-bye");
    let mut mortal = join_with_will(&broker, 0);
    mortal.send(&[0xE0, 1, 4]);
    mortal.expect_closed();
    assert_eq!(watcher.read().expect("the will").payload(V3), b"gone");
    let mortal = join_with_will(&broker, 1);
    drop(mortal);
    assert_eq!(watcher.read().expect("the will, a second later").payload(V3), b"gone");
    assert_eq!(broker.stat("wills_published"), 2);
}

#[test]
fn message_expiry_is_counted_down_and_obeyed() {
    let broker = Broker::new(|_| {});
    let mut receiver = join_for_long(&broker, "r", false);
    receiver.subscribe("t", 1);
    leave(&broker, receiver);
    let mut publisher = Wire::join(broker.address, V5, "p");
    publisher.send(&publish(V5, "t", 1, false, 1, &[2, 0, 0, 0, 1], b"short"));
    publisher.send(&publish(V5, "t", 1, false, 2, &[2, 0, 0, 0, 100], b"long"));
    publisher.ping();
    std::thread::sleep(Duration::from_millis(2_100));
    let mut receiver = join_for_long(&broker, "r", true);
    let packet = receiver.read().expect("the long-lived one");
    assert_eq!(packet.payload(V5), b"long");
    let at = packet.body.len() - b"long".len() - 5;
    let left = u32::from_be_bytes(packet.body[at + 1..at + 5].try_into().expect("four bytes"));
    assert!(packet.body[at] == 2 && (1..=98).contains(&left), "{left} s are left of 100");
    assert_eq!(broker.stat("dropped_expired"), 1);
}

#[test]
fn a_publishers_alias_stays_with_the_publisher() {
    let broker = Broker::new(|_| {});
    let mut receivers = [V3, V5].map(|level| Wire::join(broker.address, level, &format!("r{level}")));
    receivers.iter_mut().for_each(|receiver| receiver.subscribe("t", 0));
    let mut publisher = Wire::join(broker.address, V5, "p");
    publisher.send(&publish(V5, "t", 0, false, 0, &[0x23, 0, 1], b"1"));
    publisher.send(&publish(V5, "", 0, false, 0, &[0x23, 0, 1], b"2"));
    for payload in [b"1", b"2"] {
        let [three, five] = &mut receivers;
        let packet = three.read().expect("a message");
        assert_eq!((packet.topic().as_str(), packet.payload(V3)), ("t", &payload[..]));
        // This client takes no aliases: no property at all.
        assert_eq!(five.read().expect("a message").body, [&[0, 1, b't', 0], &payload[..]].concat());
    }
    let mut other = Wire::join(broker.address, V5, "other");
    other.send(&publish(V5, "", 0, false, 0, &[0x23, 0, 1], b"3"));
    other.expect_disconnect(0x82);
}

#[test]
fn packets_of_mqtt_5_have_their_property_length_and_reasons() {
    let broker = Broker::new(|_| {});
    let (mut client, connack) = Wire::connect(broker.address, V5, &connect(V5, "c", true, 0, &[]));
    let connack = connack.expect("CONNACK").body;
    assert_eq!(connack.len(), 3 + usize::from(connack[2]), "a length and as many properties");
    client.send(&subscribe(V5, 1, "a", 1));
    client.expect(0x90, &[0, 1, 0, 1]);
    client.send(&unsubscribe(V5, 2, "a"));
    client.expect(0xB0, &[0, 2, 0, 0]);
    client.send(&unsubscribe(V5, 3, "a"));
    client.expect(0xB0, &[0, 3, 0, 0x11]);
    client.send(&publish(V5, "nobody", 1, false, 4, &[], b""));
    let puback = client.read().expect("PUBACK");
    assert_eq!((puback.first, &puback.body[..3]), (0x40, &[0, 4, 0x10][..]), "no matching subscribers");
    client.send(&ack(0x62, 99));
    let pubcomp = client.read().expect("PUBCOMP");
    assert_eq!((pubcomp.first, &pubcomp.body[..3]), (0x70, &[0, 99, 0x92][..]), "no such identifier");
    client.send(&publish(V5, "$SYS/x", 1, false, 5, &[], b""));
    assert_eq!(client.read().expect("PUBACK").body[..3], [0, 5, 0x87], "not authorised");
}

#[test]
fn a_packet_may_be_large_and_take_its_time() {
    let broker = Broker::new(|_| {});
    let mut receiver = Wire::join(broker.address, V3, "r");
    receiver.subscribe("t", 0);
    let mut publisher = Wire::join(broker.address, V3, "p");
    let payload: Vec<u8> = (0..1_900_000_u32).map(|n| (n / 7) as u8).collect();
    let packet = publish(V3, "t", 0, false, 0, &[], &payload);
    let (head, tail) = packet.split_at(1_200_000);
    publisher.send(head);
    std::thread::sleep(Duration::from_millis(5_500));
    publisher.send(tail);
    assert_eq!(receiver.read().expect("all of it").payload(V3), &payload[..]);
}

#[test]
fn a_shared_message_waits_when_nobody_is_there_and_passes_to_another_when_one_goes() {
    let broker = Broker::new(|_| {});
    let mut members = ["a", "b"].map(|client_id| {
        let mut member = join_for_long(&broker, client_id, false);
        member.subscribe("$share/g/t", 1);
        member
    });
    let mut publisher = Wire::join(broker.address, V5, "p");
    publisher.send(&publish(V5, "t", 1, false, 1, &[], b"1"));
    publisher.ping();
    // Whoever has it does not acknowledge and goes; the other one gets it.
    let holder = usize::from(members[0].ping().is_empty());
    let [first, second] = members;
    let (gone, mut stays) = if holder == 0 { (first, second) } else { (second, first) };
    leave(&broker, gone);
    let packet = stays.read().expect("the message passes on");
    assert_eq!(packet.payload(V5), b"1");
    stays.send(&ack(0x40, packet.packet_id()));
    leave(&broker, stays);
    publisher.send(&publish(V5, "t", 1, false, 2, &[], b"2"));
    publisher.ping();
    members = ["a", "b"].map(|client_id| join_for_long(&broker, client_id, true));
    let waited: Vec<_> = members.iter_mut().flat_map(Wire::ping).map(|packet| packet.payload(V5).to_vec()).collect();
    assert_eq!(waited, [b"2"], "once, to one of them");
}
