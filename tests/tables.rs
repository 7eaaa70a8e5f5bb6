//! Two tables that lead from a promise to the tests that keep it: tests/newlife.tsv (what the system
//! this project re-creates does wrong) and tests/limits.tsv (every limit of server, listener and client, and
//! what counts it). A test that is named must be there, a limit that is there must be named.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nlmqtt::config::{client_keys, listener_keys, server_keys};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of all Rust tests of the project.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![root().join("src"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).expect("text");
                let after = text.split("#[test]").skip(1).filter_map(|rest| rest.trim_start().strip_prefix("fn "));
                names.extend(after.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())));
            }
        }
    }
    assert!(names.len() > 200, "only {} tests were found", names.len());
    names
}

/// Lines of a table without its comments, split at tabs into exactly `columns`.
fn rows(name: &str, columns: usize) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("tests").join(name)).expect("the table");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let rows: Vec<Vec<String>> = lines.map(|line| line.split('\t').map(str::to_owned).collect()).collect();
    rows.iter().for_each(|row| assert_eq!(row.len(), columns, "{name}: {row:?}"));
    rows
}

fn assert_named(row: &str, names: &str, tests: &BTreeSet<String>) {
    assert!(!names.trim().is_empty(), "{row}: no test");
    for name in names.split(' ') {
        assert!(tests.contains(name), "{row}: there is no test {name}");
    }
}

#[test]
fn every_fault_of_the_system_re_created_has_a_test() {
    let tests = tests();
    let rows = rows("newlife.tsv", 2);
    let faults: BTreeSet<&String> = rows.iter().map(|row| &row[0]).collect();
    assert_eq!(faults.len(), rows.len(), "a fault stands there twice");
    for row in &rows {
        match row[1].strip_prefix("later: ") {
            Some(why) => assert!(!why.is_empty(), "{}", row[0]),
            None => assert_named(&row[0], &row[1], &tests),
        }
    }
    let later = rows.iter().filter(|row| row[1].starts_with("later: ")).count();
    println!("{} faults, {later} of features that are not there yet", rows.len());
    assert!(rows.len() >= 33 && later <= 3, "{later} of {}", rows.len());
}

/// A key that says how much or how long, not what.
fn is_limit(key: &str) -> bool {
    let ends = ["_timeout_ms", "_timeout_s", "_grace_ms", "_pause_ms", "_max_ms", "_limit"];
    // The time-out of QUIC is the library's that it comes from, and not in every build.
    if key == "quic_idle_timeout_s" {
        return false;
    }
    let key = key.strip_prefix("rudp_").unwrap_or(key);
    let others = ["receive_maximum", "maximum_qos", "persistent_client_expiration", "quic_max_connections"];
    key.starts_with("max_") || key.starts_with("rate_") || others.contains(&key) || ends.iter().any(|end| key.ends_with(end))
}

#[test]
fn every_limit_has_a_counter_and_a_test() {
    let tests = tests();
    let mut rows = rows("limits.tsv", 3);
    // Its keys are not there in a build without it.
    rows.retain(|row| cfg!(feature = "quic") || !row[0].contains(" quic_"));
    let server = server_keys().iter().map(|key| format!("server {}", key.name));
    let client = client_keys().iter().map(|key| format!("client {}", key.name));
    let listener = listener_keys().iter().map(|key| format!("listener {}", key.name));
    let limits: BTreeSet<String> = server.chain(client).chain(listener).filter(|key| key.split_once(' ').is_some_and(|(_, name)| is_limit(name))).collect();
    let named: BTreeSet<String> = rows.iter().map(|row| row[0].clone()).collect();
    assert_eq!(limits, named);
    let stats = nlmqtt::broker::Stats::default();
    let counted: BTreeSet<&str> = stats.iter().map(|(name, _)| name).collect();
    let client_counters = format!("{:?}", nlmqtt::client::Statistics::default());
    for row in &rows {
        assert_named(&row[0], &row[2], &tests);
        if row[1].starts_with("-: ") {
            continue;
        }
        for counter in row[1].split(' ') {
            let is_there = match row[0].starts_with("client") {
                false => counted.contains(counter),
                true => client_counters.contains(&format!(" {counter}: ")),
            };
            assert!(is_there, "{}: there is no counter {counter}", row[0]);
        }
    }
}
