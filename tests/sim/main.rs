//! The whole of broker and client in a deterministic world.
//!
//! # Theory of operation
//! ```text
//!   seed ─> faults, options, plan
//!   ┌────────────────────────── one thread, one clock, one generator ──────────────────────────┐
//!   │  broker host: 1 to 4 Worker<SimNet>          device hosts: Worker<SimNet>, one client    │
//!   │        with one server on all of them                                                    │
//!   │        │ hooks                                   │ events (some in the broker's process) │
//!   │        └────────────> model (naive broker) ──> ledger (must, may, did) <─┘               │
//!   │  world: heap of happenings, streams cut into segments, stalls, resets, cuts, crashes     │
//!   └──────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! The code under test is the product's own worker with its own `turn`; only [`Net`](nlmqtt::net::Net)
//! is another. The scheduler picks at random which worker of which host takes the next turn, so that
//! the interleavings of threads are explored without one. Three phases: safety
//! while things go wrong; then nothing goes wrong any more, and everything that was promised must
//! arrive; then everything is closed and nothing may be left.
//!
//! A failure prints its seed, the commit and the last 200 lines of its trace.
//! `SIM_SEED=n cargo test --test sim` repeats it; `SIM_SEEDS=n` runs so many.

mod broker;
mod device;
mod faults;
mod kernel;
mod ledger;
mod model;
mod net;
mod run;
mod stream;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use nlmqtt::broker::Stats;
use run::Run;
use trace::Trace;

const SEEDS: u64 = 1_000;
/// One thread stops after so many.
const FAILURES_MAX: usize = 5;

/// A seed that failed: the last lines of its trace, and one line that says what and how to repeat it.
#[derive(Debug, PartialEq)]
struct Failure {
    tail: String,
    line: String,
}

/// Runs one seed; the fingerprint of its trace, what the broker counted and how many payloads were handed on by reference, or why
/// it failed.
fn run_seed(seed: u64) -> Result<((u64, u64), (Stats, u64)), Failure> {
    let trace = Trace::default();
    let result = catch_unwind(AssertUnwindSafe(|| Run::new(seed, trace.clone()).run()));
    match result {
        Ok(counts) => Ok((trace.fingerprint(), counts)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(Failure { tail: trace.tail(), line: format!("SIM_SEED={seed} commit {} {}", commit(), text.unwrap_or_default()) })
        }
    }
}

fn commit() -> String {
    let output = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn the_broker_agrees_with_the_model_in_every_world() {
    if let Some(seed) = number("SIM_SEED") {
        let result = run_seed(seed);
        match result {
            Ok((fingerprint, (stats, payloads))) => return println!("seed {seed}: {fingerprint:?} {stats:?} {payloads} payloads by reference"),
            Err(failure) => panic!("\n{}\n{}", failure.tail, failure.line),
        }
    }
    let first = number("SIM_FIRST").unwrap_or(0);
    let count = number("SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let (all, all_payloads) = (Mutex::new(Stats::default()), AtomicU64::new(0));
    let failures: Vec<Failure> = std::thread::scope(|scope| {
        let work = || {
            let mut failures = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + count || failures.len() >= FAILURES_MAX {
                    return failures;
                }
                match run_seed(seed) {
                    Ok((_, (stats, payloads))) => {
                        all.lock().expect("no panic while locked").add(&stats);
                        all_payloads.fetch_add(payloads, Ordering::Relaxed);
                    }
                    Err(failure) => failures.push(failure),
                }
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("failures are caught")).collect()
    });
    if let Some(first) = failures.first() {
        let lines: Vec<&str> = failures.iter().map(|failure| failure.line.as_str()).collect();
        panic!("\n{}\n{}", first.tail, lines.join("\n"));
    }
    println!("{count} seeds from {first}, the model silent");
    if count >= SEEDS {
        let all = all.into_inner().expect("no panic while locked");
        let ways = [all.connections_handed_over, all.messages_handed_over, all.inbox_full, all.congestion_pauses, all.shared_reoffered, all.take_overs];
        assert!(ways.iter().all(|count| *count > 100), "these worlds leave out what workers do to each other: {all:?}");
        let others = [all.rate_pauses, all.accept_pauses, all_payloads.into_inner()];
        assert!(others.iter().all(|count| *count > 100), "these worlds leave out rates, or payloads by reference: {others:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 7, 4_242] {
        let twice = [run_seed(seed), run_seed(seed)];
        assert!(twice[0].is_ok() && twice[0] == twice[1], "seed {seed}: {twice:?}");
    }
}

#[test]
fn different_seeds_give_different_traces() {
    assert_ne!(run_seed(2), run_seed(3));
}
