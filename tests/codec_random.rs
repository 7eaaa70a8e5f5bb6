//! The codec under random packets: what is written is read again, however the stream is cut, and
//! no bytes make it panic.
//!
//! A failure names its seed; `packet_of_seed` makes the packet again.

use nlmqtt::base::Rng;
use nlmqtt::codec::{
    Ack, Auth, ConnAck, Connect, Disconnect, Error, Frame, Packet, PacketId, PacketType, Place, Properties, PropertyId, PropertyKind, PropertyList, Publish,
    Qos, Reason, RetainHandling, Sender, SubAck, Subscribe, SubscribeOptions, UnsubAck, Unsubscribe, Value, Version, Will, decode, packet_len, split,
};
use proptest::prelude::*;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.below(from.len() as u64) as usize]
}

fn qos(rng: &mut Rng) -> Qos {
    pick(rng, &[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
}

fn text(rng: &mut Rng) -> String {
    let length = pick(rng, &[0, 1, 3, 10, 200]);
    (0..length).map(|_| pick(rng, &['a', 'Z', '/', ' ', 'é', '\u{feff}', '\u{2a6d4}', '\u{1}', '$'])).collect()
}

fn topic(rng: &mut Rng) -> String {
    format!("t{}", text(rng))
}

fn bytes(rng: &mut Rng) -> Vec<u8> {
    let length = pick(rng, &[0, 1, 5, 64, 130, 1_500]);
    (0..length).map(|_| rng.u64() as u8).collect()
}

fn packet_id(rng: &mut Rng) -> PacketId {
    PacketId::new(1 + rng.below(65_535) as u16).expect("not 0")
}

/// Legal properties for `place`, in any order; none before MQTT 5.
fn properties(rng: &mut Rng, version: Version, place: Place, sender: Sender) -> PropertyList {
    let mut list = PropertyList::new();
    if version != Version::V5 || rng.chance(300) {
        return list;
    }
    for _ in 0..rng.below(6) {
        let id = pick(rng, &PropertyId::ALL);
        let is_client_publish = place == Place::Publish && sender == Sender::Client;
        let is_server_disconnect = place == Place::Disconnect && sender == Sender::Server;
        if !id.allowed_in(place)
            || (list.count(id) > 0 && !id.may_repeat(place))
            || (is_client_publish && id == PropertyId::SubscriptionIdentifier)
            || (is_server_disconnect && id == PropertyId::SessionExpiryInterval)
            || id == PropertyId::AuthenticationData
        {
            continue;
        }
        let (string, binary) = (topic(rng), bytes(rng));
        let value = match id.kind() {
            PropertyKind::Byte => Value::Byte(rng.below(2) as u8),
            PropertyKind::U16 => Value::U16(1 + rng.below(65_535) as u16),
            PropertyKind::U32 => Value::U32(1 + rng.below(0xffff_ffff) as u32),
            PropertyKind::VarInt => Value::VarInt(1 + rng.below(268_435_455) as u32),
            PropertyKind::Utf8 => Value::Utf8(&string),
            PropertyKind::Binary => Value::Binary(&binary),
            PropertyKind::Pair => Value::Pair(&string, "v"),
        };
        list.add(id, value).expect("a legal value");
    }
    let has_data = matches!(place, Place::Connect | Place::ConnAck | Place::Auth) && rng.chance(500);
    if (has_data || place == Place::Auth) && list.count(PropertyId::AuthenticationMethod) == 0 {
        list.push(PropertyId::AuthenticationMethod, Value::Utf8("SCRAM"));
    }
    if has_data {
        list.push(PropertyId::AuthenticationData, Value::Binary(&[0, 1]));
    }
    list.validate(place).expect("legal");
    list
}

fn reason(rng: &mut Rng, version: Version, packet_type: PacketType) -> Reason {
    if version != Version::V5 {
        return Reason::SUCCESS;
    }
    loop {
        let reason = Reason(rng.below(0xa3) as u8);
        if reason.is_valid_for(packet_type) {
            return reason;
        }
    }
}

fn sender_of(packet_type: PacketType, rng: &mut Rng, version: Version) -> Sender {
    match packet_type {
        PacketType::Connect | PacketType::Subscribe | PacketType::Unsubscribe | PacketType::PingReq => Sender::Client,
        PacketType::ConnAck | PacketType::SubAck | PacketType::UnsubAck | PacketType::PingResp => Sender::Server,
        PacketType::Disconnect if version != Version::V5 => Sender::Client,
        _ => pick(rng, &[Sender::Client, Sender::Server]),
    }
}

/// Hands a random legal packet of that type to `then`, with who may send it.
fn with_packet<T>(rng: &mut Rng, version: Version, packet_type: PacketType, then: impl FnOnce(Sender, Packet<'_>) -> T) -> T {
    let sender = sender_of(packet_type, rng, version);
    let mut block = |place| properties(rng, version, place, sender);
    match packet_type {
        PacketType::Connect => with_connect(rng, version, then),
        PacketType::ConnAck => {
            let list = block(Place::ConnAck);
            let reason = match version {
                Version::V5 => reason(rng, version, packet_type),
                _ => Reason::from_v3_connack(rng.below(6) as u8).expect("a return code"),
            };
            let session_present = version != Version::V31 && reason == Reason::SUCCESS && rng.chance(500);
            then(sender, Packet::ConnAck(ConnAck { session_present, reason, properties: list.as_properties() }))
        }
        PacketType::Publish => {
            let mut list = block(Place::Publish);
            let (qos, payload, mut topic) = (qos(rng), bytes(rng), topic(rng));
            if version == Version::V5 && rng.chance(200) {
                topic.clear();
                list.remove(PropertyId::TopicAlias);
                list.push(PropertyId::TopicAlias, Value::U16(9));
            }
            let is_acked = qos != Qos::AtMostOnce;
            then(
                sender,
                Packet::Publish(Publish {
                    dup: is_acked && rng.chance(500),
                    qos,
                    retain: rng.chance(500),
                    topic: &topic,
                    packet_id: is_acked.then(|| packet_id(rng)),
                    properties: list.as_properties(),
                    payload: &payload,
                }),
            )
        }
        PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp => {
            let list = match packet_type {
                PacketType::PubAck => block(Place::PubAck),
                PacketType::PubRec => block(Place::PubRec),
                PacketType::PubRel => block(Place::PubRel),
                _ => block(Place::PubComp),
            };
            let reason = reason(rng, version, packet_type);
            let ack = Ack { packet_id: packet_id(rng), reason, properties: list.as_properties() };
            let packet = match packet_type {
                PacketType::PubAck => Packet::PubAck(ack),
                PacketType::PubRec => Packet::PubRec(ack),
                PacketType::PubRel => Packet::PubRel(ack),
                _ => Packet::PubComp(ack),
            };
            then(sender, packet)
        }
        PacketType::Subscribe | PacketType::Unsubscribe => with_filters(rng, version, packet_type, then),
        PacketType::SubAck | PacketType::UnsubAck => with_filter_ack(rng, version, packet_type, then),
        PacketType::PingReq => then(sender, Packet::PingReq),
        PacketType::PingResp => then(sender, Packet::PingResp),
        PacketType::Disconnect => {
            let list = block(Place::Disconnect);
            let mut reason = reason(rng, version, packet_type);
            if sender == Sender::Server && reason == Reason::DISCONNECT_WITH_WILL {
                reason = Reason::SERVER_BUSY;
            }
            then(sender, Packet::Disconnect(Disconnect { reason, properties: list.as_properties() }))
        }
        PacketType::Auth => {
            let list = block(Place::Auth);
            let reason = if list.is_empty() { Reason::SUCCESS } else { reason(rng, version, packet_type) };
            then(sender, Packet::Auth(Auth { reason, properties: list.as_properties() }))
        }
    }
}

fn with_connect<T>(rng: &mut Rng, version: Version, then: impl FnOnce(Sender, Packet<'_>) -> T) -> T {
    let list = properties(rng, version, Place::Connect, Sender::Client);
    let will_list = properties(rng, version, Place::Will, Sender::Client);
    let (client_id, username, topic) = (text(rng), text(rng), topic(rng));
    let (password, payload) = (bytes(rng), bytes(rng));
    let username = rng.chance(500).then_some(&username[..]);
    let has_password = (username.is_some() || version == Version::V5) && rng.chance(500);
    let (qos, retain) = (qos(rng), rng.chance(500));
    let will = Will { qos, retain, topic: &topic, payload: &payload, properties: will_list.as_properties() };
    then(
        Sender::Client,
        Packet::Connect(Connect {
            version,
            clean_start: rng.chance(500),
            keep_alive_s: rng.u64() as u16,
            client_id: &client_id,
            will: rng.chance(500).then_some(will),
            username,
            password: has_password.then_some(&password[..]),
            properties: list.as_properties(),
            is_bridge: version != Version::V5 && rng.chance(200),
        }),
    )
}

/// Encoded from a list and read back, because the filters of a packet are always borrowed bytes.
fn with_filters<T>(rng: &mut Rng, version: Version, packet_type: PacketType, then: impl FnOnce(Sender, Packet<'_>) -> T) -> T {
    let is_subscribe = packet_type == PacketType::Subscribe;
    let place = if is_subscribe { Place::Subscribe } else { Place::Unsubscribe };
    let list = properties(rng, version, place, Sender::Client);
    let filters: Vec<(String, SubscribeOptions)> = (0..1 + rng.below(5))
        .map(|_| {
            let handling = [RetainHandling::SendAtSubscribe, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
            let mut options = SubscribeOptions { qos: qos(rng), ..Default::default() };
            if version == Version::V5 {
                options.no_local = rng.chance(500);
                options.retain_as_published = rng.chance(500);
                options.retain_handling = pick(rng, &handling);
            }
            (topic(rng), options)
        })
        .collect();
    let (packet_id, properties, mut out) = (packet_id(rng), list.as_properties(), Vec::new());
    let pairs: Vec<(&str, SubscribeOptions)> = filters.iter().map(|(filter, options)| (&filter[..], *options)).collect();
    if is_subscribe {
        Subscribe::encode_from(version, packet_id, properties, &pairs, &mut out);
    } else {
        Unsubscribe::encode_from(version, packet_id, properties, filters.iter().map(|(filter, _)| filter), &mut out);
    }
    let packet = decode(version, Sender::Client, frame_of(&out)).expect("what we write is legal");
    match &packet {
        Packet::Subscribe(packet) => assert_eq!(packet.filters.iter().collect::<Vec<_>>(), pairs),
        Packet::Unsubscribe(packet) => {
            assert!(packet.filters.iter().eq(pairs.iter().map(|(filter, _)| *filter)))
        }
        other => panic!("{other:?}"),
    }
    then(Sender::Client, packet)
}

fn with_filter_ack<T>(rng: &mut Rng, version: Version, packet_type: PacketType, then: impl FnOnce(Sender, Packet<'_>) -> T) -> T {
    let is_suback = packet_type == PacketType::SubAck;
    let place = if is_suback { Place::SubAck } else { Place::UnsubAck };
    let list = properties(rng, version, place, Sender::Server);
    let count = if is_suback || version == Version::V5 { 1 + rng.below(200) } else { 0 };
    let reasons: Vec<u8> = (0..count)
        .map(|_| match version {
            Version::V5 => reason(rng, version, packet_type).0,
            _ => pick(rng, &[0, 1, 2, 0x80]),
        })
        .collect();
    let (packet_id, properties, reasons) = (packet_id(rng), list.as_properties(), &reasons[..]);
    let packet = match is_suback {
        true => Packet::SubAck(SubAck { packet_id, properties, reasons }),
        false => Packet::UnsubAck(UnsubAck { packet_id, properties, reasons }),
    };
    then(Sender::Server, packet)
}

fn frame_of(bytes: &[u8]) -> Frame<'_> {
    let (frame, taken) = split(bytes, usize::MAX).expect("legal").expect("whole");
    assert_eq!(taken, bytes.len());
    frame
}

fn packet_type(rng: &mut Rng, version: Version) -> PacketType {
    let last = if version == Version::V5 { 15 } else { 14 };
    PacketType::of((1 + rng.below(last) as u8) << 4).expect("1 to 15")
}

/// A legal packet on the wire.
fn packet_of_seed(seed: u64, version: Version) -> (Sender, Vec<u8>) {
    let mut rng = Rng::with_seed(seed);
    let packet_type = packet_type(&mut rng, version);
    with_packet(&mut rng, version, packet_type, |sender, packet| {
        let mut out = Vec::new();
        packet.encode(version, &mut out);
        (sender, out)
    })
}

/// Touches everything a packet borrows.
fn walk(packet: &Packet<'_>) -> usize {
    let properties = |block: Properties<'_>| block.iter().count() + block.user().count();
    match packet {
        Packet::Connect(packet) => properties(packet.properties) + packet.will.map_or(0, |will| properties(will.properties)),
        Packet::ConnAck(packet) => properties(packet.properties),
        Packet::Publish(packet) => properties(packet.properties) + packet.properties.subscription_ids().count(),
        Packet::PubAck(packet) | Packet::PubRec(packet) | Packet::PubRel(packet) | Packet::PubComp(packet) => properties(packet.properties),
        Packet::Subscribe(packet) => {
            assert_eq!(packet.filters.iter().count(), packet.filters.len(), "every filter can be read again");
            properties(packet.properties)
        }
        Packet::Unsubscribe(packet) => {
            assert_eq!(packet.filters.iter().count(), packet.filters.len(), "every filter can be read again");
            properties(packet.properties)
        }
        Packet::SubAck(packet) => properties(packet.properties),
        Packet::UnsubAck(packet) => properties(packet.properties),
        Packet::Disconnect(packet) => properties(packet.properties),
        Packet::Auth(packet) => properties(packet.properties),
        Packet::PingReq | Packet::PingResp => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_packet_of_every_version_is_read_as_it_was_written(seed in any::<u64>()) {
        for version in VERSIONS {
            let last = if version == Version::V5 { 15 } else { 14 };
            for number in 1..=last {
                let packet_type = PacketType::of(number << 4).expect("1 to 15");
                with_packet(&mut Rng::with_seed(seed), version, packet_type, |sender, packet| {
                    let mut out = Vec::new();
                    packet.encode(version, &mut out);
                    assert_eq!(packet.packet_type(), packet_type);
                    assert_eq!(packet_len(&out), Some(out.len()));
                    assert_eq!(decode(version, sender, frame_of(&out)), Ok(packet));
                    if let Packet::Publish(publish) = packet {
                        assert_eq!(publish.encoded_len(version), out.len());
                    }
                    // One byte less than it takes is too much for a limit.
                    assert_eq!(split(&out, out.len() - 1).err(), Some(Error::PacketTooLarge));
                });
            }
        }
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_packets(seed in any::<u64>(), cut_max in 1_usize..400) {
        let mut rng = Rng::with_seed(seed);
        let version = pick(&mut rng, &VERSIONS);
        let packets: Vec<_> = (0..8).map(|_| packet_of_seed(rng.u64(), version).1).collect();
        let stream = packets.concat();
        let (mut buffer, mut found, mut rest) = (Vec::new(), Vec::new(), &stream[..]);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(1 + rng.below(cut_max as u64) as usize));
            buffer.extend_from_slice(now);
            rest = later;
            while let Some((_, taken)) = split(&buffer, usize::MAX).expect("legal") {
                found.push(buffer.drain(..taken).collect::<Vec<u8>>());
            }
        }
        prop_assert_eq!(found, packets);
    }

    #[test]
    fn every_cut_packet_is_refused_or_waited_for(seed in any::<u64>()) {
        for version in VERSIONS {
            let (sender, bytes) = packet_of_seed(seed, version);
            let frame = frame_of(&bytes);
            for end in (0..bytes.len()).take(300) {
                prop_assert!(split(&bytes[..end], usize::MAX).expect("legal so far").is_none());
            }
            // A frame that lies about its end: never a panic, and never the same packet.
            let whole = decode(version, sender, frame);
            for end in (0..frame.body.len()).take(300) {
                let body = &frame.body[..end];
                prop_assert_ne!(&decode(version, sender, Frame { first: frame.first, body }), &whole);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(input in proptest::collection::vec(any::<u8>(), 0..200)) {
        for version in VERSIONS {
            for sender in [Sender::Client, Sender::Server] {
                if let Ok(Some((frame, taken))) = split(&input, 1_000) {
                    prop_assert!(taken <= input.len());
                    let _ = decode(version, sender, frame).map(|packet| walk(&packet));
                }
                if let Some((&first, body)) = input.split_first() {
                    let _ = decode(version, sender, Frame { first, body }).map(|packet| walk(&packet));
                }
            }
        }
    }
}

/// Breaks a packet in a few places.
fn mutate(rng: &mut Rng, body: &mut Vec<u8>) {
    for _ in 0..1 + rng.below(3) {
        let position = rng.below(body.len() as u64 + 1) as usize;
        match rng.below(5) {
            0 if position < body.len() => body[position] = rng.u64() as u8,
            1 if position < body.len() => body[position] ^= 1 << rng.below(8),
            2 if position < body.len() => drop(body.remove(position)),
            3 => body.insert(position, pick(rng, &[0, 1, 2, 0x7f, 0x80, 0xff, 0x0b, 0x26])),
            4 => body.truncate(position),
            _ => {}
        }
    }
}

/// What survives a mutation must be as good as any packet: written and read again it is the same.
#[test]
fn a_million_broken_packets_are_refused_or_legal() {
    let mut rng = Rng::with_seed(1);
    let corpus: Vec<_> = (0..600)
        .map(|seed| {
            let version = VERSIONS[seed as usize % 3];
            let (sender, bytes) = packet_of_seed(seed, version);
            let frame = frame_of(&bytes);
            (version, sender, frame.first, frame.body.to_vec())
        })
        .filter(|(.., body)| body.len() < 400)
        .collect();
    let (mut legal, mut refused, mut body, mut out) = (0, 0, Vec::new(), Vec::new());
    for round in 0..1_000_000 {
        let (version, sender, intact_first, template) = &corpus[rng.below(corpus.len() as u64) as usize];
        let mut first = *intact_first;
        body.clear();
        if rng.chance(100) {
            first = rng.u64() as u8;
            body.extend((0..rng.below(24)).map(|_| rng.u64() as u8));
        } else {
            body.extend_from_slice(template);
            mutate(&mut rng, &mut body);
        }
        match decode(*version, *sender, Frame { first, body: &body }) {
            Err(error) => {
                assert!(error.reason().is_error());
                refused += 1;
            }
            Ok(packet) => {
                walk(&packet);
                out.clear();
                packet.encode(*version, &mut out);
                let again = decode(*version, *sender, frame_of(&out));
                assert_eq!(again, Ok(packet), "round {round}: {first:x} {body:x?}");
                legal += 1;
            }
        }
    }
    assert!(legal > 100_000 && refused > 100_000, "both ways must be seen: {legal} {refused}");
}
