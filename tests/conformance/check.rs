//! Reads every row without running it, so that a misspelt word is a fault of
//! the table and not a test that tests less.

use crate::client_steps;
use crate::encode::encode;
use crate::expect::timing;
use crate::packet::parse_number;
use crate::pattern::{self, Names, number_matches};
use crate::run::expand;
use crate::table::{Row, Side, Step};

/// The faults of a row.
pub fn row(row: &Row) -> Vec<String> {
    let mut names = Names::new();
    names.insert("id".into(), "c".into());
    names.insert("t".into(), "t".into());
    let mut faults = Vec::new();
    let file = row.place.split(':').next().unwrap_or_default();
    if row.is_observable() == row.steps.is_empty() {
        faults.push(format!("{}: steps are missing or too many", row.place));
    }
    for step in &row.steps {
        let words: Vec<String> = step.words.iter().map(|word| expand(word, &names)).collect();
        if let Err(error) = check_step(row, step, &words) {
            faults.push(format!("{file}:{}: {error}: {}", step.line, step.text));
        }
        for word in &step.words {
            if let Some((_, name)) = word.split_once("=?") {
                names.insert(name.to_string(), "1".into());
            }
        }
    }
    faults
}

fn check_step(row: &Row, step: &Step, words: &[String]) -> Result<(), String> {
    if let Some(word) = words.iter().find(|word| word.contains("=$")) {
        if !word.contains("$SYS") && !word.contains("$share") && !word.contains("=$nl") {
            return Err(format!("unknown name in {word}"));
        }
    }
    if step.actor == "client" {
        return match row.side {
            Side::Client => client_steps::check(&step.verb, words),
            Side::Broker => Err("the client belongs to client rows".into()),
        };
    }
    let level = row.level();
    let split = words.iter().position(|word| word == "=>").unwrap_or(words.len());
    let (left, right) = (&words[..split], words.get(split + 1..).unwrap_or(&[]));
    let sends = |kind: &str, words: &[String]| encode(&with(kind, words), level, "c").map(drop);
    let expects = |kind: &str, words: &[String]| pattern::check(&with(kind, words));
    match step.verb.as_str() {
        "wait" => number(words.first()).map(drop),
        ">" | "+" => check_send(words, level),
        "<" | "<~" | "<&" => check_expect(words),
        "join" if row.side == Side::Client => {
            expects("connect", left)?;
            sends("connack", right)
        }
        "join" => {
            sends("connect", left)?;
            expects("connack", right)
        }
        "sub" | "unsub" => expects("suback", right),
        "pub" => {
            sends("publish", left)?;
            expects("puback", right)
        }
        "get" => {
            let (_, _, words) = timing(&with("publish", left))?;
            pattern::check(&words)
        }
        "alive" | "close" | "absent" if words.is_empty() => Ok(()),
        "maybe" => expects("connect", left),
        "leave" => sends("disconnect", left),
        "level" => number(words.first()).map(drop),
        verb => Err(format!("no step {verb}")),
    }
}

fn check_send(words: &[String], level: u8) -> Result<(), String> {
    let packet = match words.first().map(String::as_str) {
        Some("split") => {
            number(words.get(1))?;
            &words[2..]
        }
        Some("text") => &words[1..],
        _ => words,
    };
    encode(packet, level, "c").map(drop)
}

fn check_expect(words: &[String]) -> Result<(), String> {
    let (_, _, words) = timing(words)?;
    match words[0].as_str() {
        "nothing" => words.get(1).map_or(Ok(()), |word| number(Some(word)).map(drop)),
        "end" | "refused" => words.get(1).map_or(Ok(()), |word| number_matches(word, ',', 0).map(drop)),
        _ => {
            for pattern in words.split(|word| word == "|" || word == "!!") {
                if pattern != ["close"] {
                    pattern::check(pattern)?;
                }
            }
            Ok(())
        }
    }
}

fn number(word: Option<&String>) -> Result<u64, String> {
    word.and_then(|word| parse_number(word)).ok_or_else(|| "a number is missing".into())
}

fn with(kind: &str, words: &[String]) -> Vec<String> {
    let mut all = vec![kind.to_string()];
    all.extend_from_slice(words);
    all
}
