//! Conformance: every normative statement of MQTT 3.1.1 and 5.0 as a row of a
//! table, run against the product over loopback.
//!
//! The judge (writer, strict reader, rules between packets) shares no code
//! with the product. Broker rows run against the broker of `broker.rs`,
//! client rows drive the client of `subject.rs` while the judge plays the
//! server. `CONFORMANCE_ONLY=text` runs the rows whose place, title or
//! statement contains the text and prints their traces. `CONFORMANCE_WORKERS=4`
//! gives the broker so many workers, `CONFORMANCE_TRANSPORT=rudp`, `rudps`, `quic`, `mqtts`, `ws` or `wss` carries the rows over another transport (not those of
//! WebSocket), those of the client, too: the judge must see no difference.

mod bound;
mod broker;
#[cfg(all(feature = "rudp", feature = "tls"))]
mod carrier;
mod check;
mod client_steps;
mod encode;
mod expect;
#[cfg(test)]
mod judge_test;
mod link;
mod packet;
mod pattern;
mod process;
mod property;
mod run;
mod steps;
mod subject;
mod table;
mod topic;
mod watch;
mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};

use table::{Row, Side, Table};

/// Rows mostly wait, so more threads than cores.
const THREADS: usize = 12;
/// At most this share of the statements may lack a row that observes them.
const UNOBSERVABLE_PERCENT_MAX: usize = 15;

enum Outcome {
    Passed,
    Failed(String),
    NotRun(&'static str),
}

fn loaded() -> Table {
    match table::load() {
        Ok(table) => table,
        Err(faults) => panic!("the table is wrong:\n{}", faults.join("\n")),
    }
}

#[test]
fn every_statement_has_a_row_for_each_side_it_binds() {
    let table = loaded();
    let coverage = table::coverage(&table);
    assert!(coverage.faults.is_empty(), "{}", coverage.faults.join("\n"));
    assert_eq!(coverage.statements, 393);
    let percent = coverage.unobservable * 100 / coverage.statements;
    println!("{} of {} cannot be observed", coverage.unobservable, coverage.statements);
    assert!(percent <= UNOBSERVABLE_PERCENT_MAX, "{percent} % cannot be observed");
}

#[test]
fn every_row_can_be_understood() {
    let table = loaded();
    let faults: Vec<String> = table.rows.iter().flat_map(check::row).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_row_holds() {
    let table = loaded();
    let only = std::env::var("CONFORMANCE_ONLY").ok();
    let rows: Vec<&Row> = table.rows.iter().filter(|row| row.is_observable()).filter(|row| only.as_ref().is_none_or(|text| is_named(row, text))).collect();
    let start = Instant::now();
    let outcomes = run_all(&rows);
    let (mut passed, mut failed, mut not_run) = (0, Vec::new(), Vec::new());
    for (row, outcome) in rows.iter().zip(outcomes) {
        let name = format!("{} {:?} {} | {}", row.place, row.side, row.version, row.title);
        match outcome {
            Outcome::Passed => passed += 1,
            Outcome::Failed(reason) => failed.push(format!("{name}\n{reason}")),
            Outcome::NotRun(why) => not_run.push(format!("{name}: {why}")),
        }
    }
    let coverage = table::coverage(&table);
    let line = format!(
        "conformance: {passed} rows passed, {} failed, {} statements, {} cannot be observed ({} %)",
        failed.len(),
        coverage.statements,
        coverage.unobservable,
        coverage.unobservable * 100 / coverage.statements,
    );
    for text in &not_run {
        println!("not run: {text}");
    }
    println!("{line}; {} not run; {:.1} s", not_run.len(), start.elapsed().as_secs_f32());
    assert!(failed.is_empty(), "{line}\n\n{}\n\n{line}", failed.join("\n\n"));
    // A row may be left out only when somebody else's product is judged.
    let external = broker::is_external() || subject::external().is_some();
    assert!(not_run.is_empty() || external, "{} rows not run", not_run.len());
}

fn is_named(row: &Row, text: &str) -> bool {
    row.place.starts_with(text) || row.title.contains(text) || row.statements.iter().any(|id| id == text)
}

fn run_all(rows: &[&Row]) -> Vec<Outcome> {
    let epoch_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |duration| duration.as_millis());
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new((0..rows.len()).map(|_| Outcome::NotRun("")).collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(row) = rows.get(index) else {
                        return;
                    };
                    // Of one length, so that rows can count bytes.
                    let tag = format!("{:06x}x{index:03}", epoch_ms & 0xff_ffff);
                    let outcome = run_one(row, tag);
                    if let Ok(mut outcomes) = outcomes.lock() {
                        outcomes[index] = outcome;
                    }
                }
            });
        }
    });
    outcomes.into_inner().unwrap_or_default()
}

fn run_one(row: &Row, tag: String) -> Outcome {
    let mut place = run::Place { broker: None, tag };
    let mut subject = None;
    match row.side {
        Side::Broker => {
            place.broker = broker::address(&row.profile);
            if place.broker.is_none() {
                return Outcome::NotRun("no broker for this profile");
            }
        }
        Side::Client => {
            subject = subject::new_subject();
            if subject.is_none() {
                return Outcome::NotRun("no client is bound");
            }
        }
    }
    match catch_unwind(AssertUnwindSafe(|| run::run(row, place, subject))) {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(reason)) => Outcome::Failed(reason),
        Err(_) => Outcome::Failed("the judge or the product panicked".into()),
    }
}
