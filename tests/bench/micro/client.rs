//! The client's machine, driven as a worker drives it, against bytes a server would send.

use nlmqtt::base::{Budget, Instant, Rng};
use nlmqtt::codec::Qos;
use nlmqtt::proto::client::{Client, Event, Options, PublishRequest, Token};

use super::world::{packet, publish};

const TOPIC: &str = "bench/000001";
/// Messages in one turn.
const BATCH: u64 = 16;
const NOW: Instant = Instant::START;

fn online() -> Client {
    let options = Options { client_id: "bench".to_owned(), servers: vec![0], ..Options::default() };
    let mut client = Client::new(options, Budget::new(1 << 30), Rng::with_seed(3)).expect("options");
    client.start(NOW).expect("it is stopped");
    assert!(matches!(client.poll_event(), Some(Event::StateChanged(_))));
    client.handle_dialed(NOW);
    transmit(&mut client);
    client.handle_input(NOW, &[0x20, 2, 0, 0]);
    while client.poll_event().is_some() {}
    client
}

fn transmit(client: &mut Client) -> usize {
    let mut bytes = 0;
    while let Some(out) = client.poll_transmit(NOW) {
        bytes += out.len();
        out.advance(out.len());
    }
    bytes
}

fn publish_batches(iterations: u64, qos: Qos) {
    let mut client = online();
    let mut token = 0;
    let mut id = 0_u16;
    for _ in 0..iterations / BATCH {
        for _ in 0..BATCH {
            token += 1;
            let request = PublishRequest { topic: TOPIC, payload: &[7; 64], qos, ..PublishRequest::default() };
            client.publish(NOW, Token(token), &request).expect("room");
        }
        assert!(transmit(&mut client) > 64 * BATCH as usize);
        if qos == Qos::AtLeastOnce {
            let answers: Vec<u8> = (0..BATCH)
                .flat_map(|_| {
                    id = if id == u16::MAX { 1 } else { id + 1 };
                    packet(0x40, &id.to_be_bytes())
                })
                .collect();
            client.handle_input(NOW, &answers);
        }
        let mut published = 0;
        while let Some(event) = client.poll_event() {
            published += u64::from(matches!(event, Event::Published { .. }));
        }
        assert_eq!(published, BATCH);
    }
}

pub fn publish_qos0(iterations: u64) {
    publish_batches(iterations, Qos::AtMostOnce);
}

pub fn publish_qos1(iterations: u64) {
    publish_batches(iterations, Qos::AtLeastOnce);
}

pub fn receive_qos0(iterations: u64) {
    let mut client = online();
    let input = publish(TOPIC, 0, 64).repeat(BATCH as usize);
    for _ in 0..iterations / BATCH {
        client.handle_input(NOW, &input);
        let mut received = 0;
        while let Some(event) = client.poll_event() {
            received += u64::from(matches!(event, Event::Message(_)));
        }
        assert_eq!(received, BATCH);
    }
}
