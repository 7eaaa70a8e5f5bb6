//! What is attainable, in the same world as the table of the specification: 10 Mbit/s, 25 ms each way, a queue of 62.5 kB that drops
//! what does not fit, independent loss both ways. Virtual time: the numbers are the same on every machine.
//!
//! By default one seed of 20 s; `RUDP_BENCH=n` runs n seeds of 60 s and prints the whole table:
//! `RUDP_BENCH=20 cargo test --test rudp bench -- --nocapture`.

use std::collections::VecDeque;

use nlmqtt::base::{Duration, Instant};
use nlmqtt::stack::rudp::{CongestionControl, Options};

use crate::stream::number;
use crate::world::{CLIENT, SERVER, Way, World, connected};

const LOSSES_PERMILLE: [u32; 4] = [0, 10, 50, 100];

fn way(loss_permille: u32) -> Way {
    Way { loss_permille, rate: 10_000_000, queue_bytes: 62_500, ..Way::default() }
}

fn world(seed: u64, loss_permille: u32, options: &Options) -> World {
    World::new(seed, way(loss_permille), [options, options])
}

/// Bits a second of payload.
fn goodput(seed: u64, loss_permille: u32, options: &Options, time: Duration) -> f64 {
    let mut world = world(seed, loss_permille, options);
    let (client, server) = connected(&mut world);
    let (start, mut read, mut buffer) = (world.now, 0_u64, vec![0; 65_536]);
    let until = start + time;
    while world.now < until {
        while world.write(CLIENT, client, &[7; 16_384]) > 0 {}
        world.step(until);
        while let Some(count) = world.read(SERVER, server, &mut buffer) {
            read += count as u64;
        }
    }
    read as f64 * 8.0 / time.as_secs_f64()
}

/// The delays of messages of 256 bytes, 50 a second, sorted.
fn delays(seed: u64, loss_permille: u32, options: &Options, time: Duration) -> Vec<Duration> {
    let mut world = world(seed, loss_permille, options);
    let (client, server) = connected(&mut world);
    let until = world.now + time;
    let (mut sent, mut next, mut delays, mut rest, mut buffer) = (VecDeque::<Instant>::new(), world.now, Vec::new(), 0, vec![0; 65_536]);
    while world.now < until + Duration::from_secs(30) && (world.now < until || !sent.is_empty()) {
        if world.now >= next && world.now < until {
            assert_eq!(world.write(CLIENT, client, &[7; 256]), 256);
            sent.push_back(world.now);
            next += Duration::from_millis(20);
        }
        world.step(if world.now < until { next } else { world.now + Duration::from_millis(20) });
        while let Some(count) = world.read(SERVER, server, &mut buffer) {
            rest += count;
            while rest >= 256 {
                rest -= 256;
                delays.push(world.now.since(sent.pop_front().expect("it was sent")));
            }
        }
    }
    assert!(sent.is_empty(), "{} messages did not arrive", sent.len());
    delays.sort();
    delays
}

fn p99_ms(seeds: u64, loss_permille: u32, options: &Options, time: Duration) -> f64 {
    let mut all: Vec<Duration> = (0..seeds).flat_map(|seed| delays(seed, loss_permille, options, time)).collect();
    all.sort();
    all[all.len() * 99 / 100].as_secs_f64() * 1_000.0
}

fn mean_goodput(seeds: u64, loss_permille: u32, options: &Options, time: Duration) -> f64 {
    (0..seeds).map(|seed| goodput(seed, loss_permille, options, time)).sum::<f64>() / seeds as f64 / 1e6
}

#[test]
fn bench_of_goodput_and_delay_in_virtual_time() {
    let is_long = std::env::var_os("RUDP_BENCH").is_some();
    let (seeds, time) = (number("RUDP_BENCH", 1), Duration::from_secs(if is_long { 60 } else { 20 }));
    let reno = Options::default();
    let cubic = Options { congestion: CongestionControl::Cubic, ..Options::default() };
    let all = Options { redundancy: true, probe_bytes_max: 1_452, ..cubic.clone() };
    println!("{seeds} seeds of {} s; losses 0, 1, 5, 10 %", time.as_secs());
    for (name, options) in [("NewReno, 1,200 B", &reno), ("CUBIC, 1,200 B", &cubic), ("CUBIC, 1,452 B probed, redundancy", &all)] {
        let goodputs = LOSSES_PERMILLE.map(|loss| mean_goodput(seeds, loss, options, time));
        let delays = LOSSES_PERMILLE.map(|loss| p99_ms(seeds, loss, options, time));
        println!("{name}: Mbit/s {goodputs:.2?}; p99 ms {delays:.0?}");
        assert!(goodputs[0] > 8.0 && goodputs.is_sorted_by(|left, right| left >= right), "{goodputs:?}");
        assert!(delays[0] < 40.0 && delays[3] < 1_000.0, "{delays:?}");
    }
}
