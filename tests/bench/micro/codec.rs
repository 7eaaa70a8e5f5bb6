//! One PUBLISH read, one written.

use std::hint::black_box;

use nlmqtt::base::{Budget, Instant, OutBuffer};
use nlmqtt::codec::{self, Delivery, Message, Packet, Properties, Qos, Sender, Version};

use super::world;

const TOPIC: &str = "bench/000001";

fn decode(packet: &[u8], version: Version, iterations: u64) {
    for _ in 0..iterations {
        let (frame, _) = codec::split(black_box(packet), 1 << 20).expect("legal").expect("whole");
        let Ok(Packet::Publish(publish)) = codec::decode(version, Sender::Client, frame) else { panic!("a PUBLISH") };
        assert_eq!(black_box(publish).payload.len(), 64);
    }
}

pub fn decode_v311(iterations: u64) {
    decode(&world::publish(TOPIC, 1, 64), Version::V311, iterations);
}

pub fn decode_v5(iterations: u64) {
    let mut body = Vec::new();
    world::string(&mut body, TOPIC);
    // Payload format, content type.
    body.extend([0, 9, 12, 0x01, 1, 0x03, 0, 7]);
    body.extend(b"text/xy");
    body.extend([b'p'; 64]);
    decode(&world::packet(0x32, &body), Version::V5, iterations);
}

pub fn encode(iterations: u64) {
    let budget = Budget::new(1 << 20);
    let message = Message::new(&budget, TOPIC, &[7; 64], Qos::AtMostOnce, false, Properties::EMPTY, None, 1, Instant::START);
    let mut out = OutBuffer::default();
    for _ in 0..iterations {
        codec::encode_delivery(&message, &Delivery::default(), Version::V311, Instant::START, &mut out);
        let count = out.len();
        out.advance(count);
    }
}
