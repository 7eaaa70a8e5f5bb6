//! Two shards in two threads: whoever subscribes while retained messages are published gets each retained or live, not
//! neither and not both, because keeping it and finding its receivers is one moment under the router's lock.
//!
//! Nothing here can fail by bad luck. By bad luck the threads do not meet: a lock taken twice in place of once is found in most
//! runs, not in all.

use std::sync::atomic::{AtomicU64, Ordering};

use super::peers::Pair;
use super::*;

const SEEDS: u64 = 4;
const ROUNDS: u64 = 12;
/// Messages of a round, each to a topic of its own.
const MESSAGES: u64 = 120;
/// Each subscribes once in a round, one behind the other.
const SUBSCRIBERS: u64 = 40;

#[test]
fn a_subscription_in_another_thread_gets_each_retained_message_exactly_once() {
    for seed in 0..SEEDS {
        let mut rng = Rng::with_seed(seed);
        let mut pair = Pair::new(&Options { max_output_bytes: 1 << 20, ..Options::default() });
        let publisher = pair.join(0, "publisher");
        let subscribers: Vec<_> = (0..SUBSCRIBERS).map(|n| pair.join(1, &format!("s{n}-"))).collect();
        for round in 0..ROUNDS {
            // Now and then the subscriptions come in a row, now and then they are spread out.
            let pause = rng.below(400);
            race(&mut pair, publisher, &subscribers, round, pause);
            for &subscriber in &subscribers {
                let lines = pair.worlds[1].lines(subscriber);
                for n in 0..MESSAGES {
                    let wanted = format!("PUBLISH t/{n}={round} ");
                    let count = lines.iter().filter(|line| line.starts_with(&wanted)).count();
                    assert_eq!(count, 1, "seed {seed}, round {round}, {subscriber:?}: message {n} of {lines:?}");
                }
                pair.worlds[1].send(subscriber, &unsubscribe(V5, 6, &["t/#"]));
                pair.worlds[1].lines(subscriber);
            }
        }
        pair.end();
    }
}

/// One thread publishes; when it has begun, the other one subscribes for each of its clients.
fn race(pair: &mut Pair, publisher: Peer, subscribers: &[Peer], round: u64, pause: u64) {
    let payload = round.to_string();
    let packets: Vec<_> = (0..MESSAGES).map(|n| publish(V5, &format!("t/{n}"), 0, true, 0, &[], payload.as_bytes())).collect();
    let [sender, receiver] = &mut pair.worlds;
    let published = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for packet in &packets {
                assert!(sender.send(publisher, packet));
                published.fetch_add(1, Ordering::Relaxed);
            }
        });
        while published.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        for &subscriber in subscribers {
            assert!(receiver.send(subscriber, &subscribe(V5, 5, &["t/#"], 0)));
            (0..pause).for_each(|_| std::hint::spin_loop());
        }
    });
    pair.exchange();
}
