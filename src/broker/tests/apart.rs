//! Payloads that come by reference: taken as they are where that can be, and never anything else than what the same bytes would do.

use std::sync::Mutex;

use bytes::Bytes;

use super::*;

const SIZE: usize = 5_000;

impl World {
    /// A PUBLISH as a link inside the process brings it. False: its payload had to be handed in as bytes.
    fn send_apart(&mut self, peer: Peer, whole: &[u8], payload: &Bytes) -> bool {
        self.send(peer, &whole[..whole.len() - payload.len()]);
        let taken = self.shard.handle_payload(self.now, self.clients[peer.0].key, payload);
        if taken {
            self.flush();
        } else {
            self.send(peer, payload);
        }
        taken
    }
}

/// Where the payloads lie that subscribers inside the process get.
fn listen(world: &mut World, filter: &str) -> Arc<Mutex<Vec<(usize, usize)>>> {
    let got: Arc<Mutex<Vec<_>>> = Arc::default();
    let heard = got.clone();
    let receive = move |message: &Arc<codec::Message>| heard.lock().expect("alone").push((message.payload().as_ptr() as usize, message.payload().len()));
    world.shard.subscribe_local(world.now, filter, Box::new(receive)).expect("room");
    got
}

#[test]
fn a_payload_by_reference_is_that_of_the_message_and_is_charged() {
    for level in [V3, V5] {
        let mut world = World::new(Options::default());
        let got = listen(&mut world, "t");
        let (publisher, subscriber) = (world.join(level, "p"), world.join(level, "s"));
        world.subscribe(subscriber, "t", 1);
        let payload = Bytes::from(vec![7; SIZE]);
        for (qos, answer) in [(0, ""), (1, "PUBACK 7 00"), (2, "PUBREC 7 00")] {
            let packet = publish(level, "t", qos, false, 7, &[], &payload);
            assert!(world.send_apart(publisher, &packet, &payload));
            assert_eq!(world.lines(publisher), Vec::from_iter((qos > 0).then_some(answer)));
            let line = &world.lines(subscriber)[0];
            assert!(line.starts_with(&format!("PUBLISH t=5000 bytes q{}", qos.min(1))), "{line}");
        }
        assert_eq!(*got.lock().expect("alone"), [(payload.as_ptr() as usize, SIZE); 3]);
        assert!(world.stats().bytes_received > 3 * SIZE as u64);
        // What stays is a copy.
        let before = world.budget.used_bytes();
        assert!(world.send_apart(publisher, &publish(level, "t", 0, true, 0, &[], &payload), &payload));
        assert!(world.budget.used_bytes() > before + SIZE);
        assert_ne!(got.lock().expect("alone")[3].0, payload.as_ptr() as usize);
        world.end();
    }
}

/// Answers later.
struct Later(Arc<Mutex<Vec<HookToken>>>);

impl Hooks for Later {
    fn interest(&self) -> Interest {
        Interest { publish: true, ..Interest::default() }
    }

    fn publish(&mut self, _: ClientInfo<'_>, publish: &PublishInfo<'_>, token: HookToken) -> Answer {
        assert_eq!(publish.payload.len(), SIZE);
        self.0.lock().expect("alone").push(token);
        Answer::Pending
    }
}

#[test]
fn a_hook_that_answers_later_parks_the_whole_packet() {
    let asked: Arc<Mutex<Vec<HookToken>>> = Arc::default();
    let mut world = World::with_hooks(Options::default(), Some(Box::new(Later(asked.clone()))));
    let got = listen(&mut world, "t");
    let publisher = world.join(V5, "p");
    let payload = Bytes::from(vec![7; SIZE]);
    let packet = publish(V5, "t", 1, false, 7, &[], &payload);
    assert!(world.send_apart(publisher, &packet, &payload));
    assert!(world.lines(publisher).is_empty());
    // What comes behind a parked packet is kept as bytes.
    assert!(!world.shard.handle_payload(world.now, world.clients[publisher.0].key, &payload));
    for decision in [Decision::Allow, Decision::Rewrite(Rewrite { payload: Some(b"other".to_vec()), ..Rewrite::default() })] {
        let token = asked.lock().expect("alone").pop().expect("asked");
        assert!(world.shard.complete(world.now, token, decision));
        world.flush();
        assert_eq!(world.lines(publisher), ["PUBACK 7 00"]);
        assert!(world.send_apart(publisher, &packet, &payload));
    }
    let lengths: Vec<usize> = got.lock().expect("alone").iter().map(|(_, length)| *length).collect();
    assert_eq!(lengths, [SIZE, 5]);
    world.end();
}

#[test]
fn what_is_not_just_the_rest_of_a_publish_is_taken_as_bytes() {
    let mut world = World::new(Options { max_packet_size: 6_000, ..Options::default() });
    let got = listen(&mut world, "#");
    let publisher = world.join(V5, "p");
    let payload = Bytes::from(vec![7; SIZE]);
    let key = world.clients[publisher.0].key;
    // Two packets, the first one small, and one cut inside of its payload.
    let small = publish(V5, "t", 0, false, 0, &[], b"small");
    let large = publish(V5, "t", 0, false, 0, &[], &payload);
    world.send(publisher, &[&small[..], &large[..large.len() - SIZE + 1]].concat());
    assert!(!world.shard.handle_payload(world.now, key, &payload.slice(1..)));
    world.send(publisher, &payload[1..]);
    // Nothing unfinished is there: these are packets themselves.
    assert!(!world.shard.handle_payload(world.now, key, &Bytes::from(large.clone())));
    world.send(publisher, &large);
    let lengths: Vec<usize> = got.lock().expect("alone").iter().map(|(_, length)| *length).collect();
    assert_eq!(lengths, [5, SIZE, SIZE]);
    // A fault is found as it is in bytes.
    let wrong = publish(V5, "#", 1, false, 7, &[], &payload);
    assert!(!world.send_apart(publisher, &wrong, &payload));
    assert!(world.is_closed(publisher));
    // One before CONNECT, too.
    let stranger = world.dial().expect("room");
    assert!(!world.send_apart(stranger, &large, &payload));
    assert!(world.is_closed(stranger));
    world.end();
}
