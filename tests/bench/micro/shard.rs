//! Whole turns of a shard: bytes in, bytes out. An iteration is one delivered message, but for
//! `large` the same; batches are as large as those the generator makes.

use super::world::{World, packet, publish};

const TOPIC: &str = "bench/000001";
/// Messages in one read.
const BATCH: u64 = 16;
const PAYLOAD_BYTES: usize = 64;
const RECEIVERS: u64 = 100;

/// The bytes of `count` packets on end.
fn batch(packet: &[u8], count: u64) -> Vec<u8> {
    packet.repeat(count as usize)
}

pub fn pair_qos0(iterations: u64) {
    let mut world = World::new();
    let (publisher, subscriber) = (world.join("publisher"), world.join("subscriber"));
    world.subscribe(subscriber, TOPIC, 0);
    let input = batch(&publish(TOPIC, 0, PAYLOAD_BYTES), BATCH);
    for _ in 0..iterations / BATCH {
        world.input(publisher, &input);
        assert_eq!(world.turn(None), input.len());
    }
}

/// The identifiers of the PUBLISH packets in `sent`, as answers of type `first`.
fn answers(sent: &[u8], first: u8, out: &mut Vec<u8>) {
    out.clear();
    let mut rest = sent;
    while let [_, length, tail @ ..] = rest {
        let body = &tail[..usize::from(*length)];
        let id = 2 + TOPIC.len();
        out.extend(packet(first, &body[id..id + 2]));
        rest = &tail[usize::from(*length)..];
    }
}

fn pair_with_answers(iterations: u64, qos: u8) {
    let mut world = World::new();
    let (publisher, subscriber) = (world.join("publisher"), world.join("subscriber"));
    world.subscribe(subscriber, TOPIC, qos);
    let messages: Vec<u8> = (1..=BATCH as u16)
        .flat_map(|id| {
            let mut message = publish(TOPIC, qos, PAYLOAD_BYTES);
            let at = message.len() - PAYLOAD_BYTES - 2;
            message[at..at + 2].copy_from_slice(&id.to_be_bytes());
            message
        })
        .collect();
    let releases: Vec<u8> = (1..=BATCH as u16).flat_map(|id| packet(0x62, &id.to_be_bytes())).collect();
    let mut reply = Vec::new();
    for _ in 0..iterations / BATCH {
        world.input(publisher, &messages);
        assert_eq!(world.turn(Some(subscriber)), messages.len() + 4 * BATCH as usize);
        if qos == 1 {
            answers(&world.sent, 0x40, &mut reply);
            world.input(subscriber, &reply);
            world.turn(None);
            continue;
        }
        answers(&world.sent, 0x50, &mut reply);
        world.input(publisher, &releases);
        world.input(subscriber, &reply);
        assert_eq!(world.turn(None), 8 * BATCH as usize);
        for chunk in reply.chunks_mut(4) {
            chunk[0] = 0x70;
        }
        world.input(subscriber, &reply);
        world.turn(None);
    }
}

pub fn pair_qos1(iterations: u64) {
    pair_with_answers(iterations, 1);
}

pub fn pair_qos2(iterations: u64) {
    pair_with_answers(iterations, 2);
}

/// One message at a time to a hundred subscribers, eight in one read.
pub fn fan_out_qos0(iterations: u64) {
    let mut world = World::new();
    let publisher = world.join("publisher");
    for index in 0..RECEIVERS {
        let subscriber = world.join(&format!("subscriber-{index}"));
        world.subscribe(subscriber, TOPIC, 0);
    }
    let input = batch(&publish(TOPIC, 0, PAYLOAD_BYTES), 8);
    for _ in 0..iterations / RECEIVERS / 8 {
        world.input(publisher, &input);
        assert_eq!(world.turn(None), input.len() * RECEIVERS as usize);
    }
}

pub fn fan_out_qos1(iterations: u64) {
    let mut world = World::new();
    let publisher = world.join("publisher");
    let subscribers: Vec<_> = (0..RECEIVERS)
        .map(|index| {
            let subscriber = world.join(&format!("subscriber-{index}"));
            world.subscribe(subscriber, TOPIC, 1);
            subscriber
        })
        .collect();
    let input = batch(&publish(TOPIC, 1, PAYLOAD_BYTES), 8);
    let mut id = 0_u16;
    for _ in 0..iterations / RECEIVERS / 8 {
        world.input(publisher, &input);
        world.turn(None);
        // All got the same identifiers: one set of answers does for each.
        let reply: Vec<u8> = (0..8)
            .flat_map(|_| {
                id = if id == u16::MAX { 1 } else { id + 1 };
                packet(0x40, &id.to_be_bytes())
            })
            .collect();
        for &subscriber in &subscribers {
            world.input(subscriber, &reply);
        }
        world.turn(None);
    }
}

pub fn large(iterations: u64) {
    let mut world = World::new();
    let (publisher, subscriber) = (world.join("publisher"), world.join("subscriber"));
    world.subscribe(subscriber, TOPIC, 0);
    let input = publish(TOPIC, 0, 64 << 10);
    for _ in 0..iterations {
        for part in input.chunks(64 << 10) {
            world.input(publisher, part);
        }
        assert_eq!(world.turn(None), input.len());
    }
}
