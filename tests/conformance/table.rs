//! The table: statements, the sides they bind, and the rows that test them.
//!
//! `statements.tsv` is the list of every normative statement; `sides.tsv` says
//! whom each binds; `rows/*.rows` hold the tests. Their grammar is in
//! `rows/README.md`. Everything is read at compile time, and a row that cannot
//! be understood is an error with its file and line.

use std::collections::{BTreeMap, BTreeSet};

const STATEMENTS: &str = include_str!("statements.tsv");
const SIDES: &str = include_str!("sides.tsv");
const FILES: [(&str, &str); 13] = [
    ("v31.rows", include_str!("rows/v31.rows")),
    ("v311-1-connect.rows", include_str!("rows/v311-1-connect.rows")),
    ("v311-2-publish.rows", include_str!("rows/v311-2-publish.rows")),
    ("v311-3-subscribe.rows", include_str!("rows/v311-3-subscribe.rows")),
    ("v311-4-operation.rows", include_str!("rows/v311-4-operation.rows")),
    ("v311-client.rows", include_str!("rows/v311-client.rows")),
    ("v5-1-connect.rows", include_str!("rows/v5-1-connect.rows")),
    ("v5-2-connack.rows", include_str!("rows/v5-2-connack.rows")),
    ("v5-3-publish.rows", include_str!("rows/v5-3-publish.rows")),
    ("v5-4-subscribe.rows", include_str!("rows/v5-4-subscribe.rows")),
    ("v5-5-operation.rows", include_str!("rows/v5-5-operation.rows")),
    ("v5-client-1.rows", include_str!("rows/v5-client-1.rows")),
    ("v5-client-2.rows", include_str!("rows/v5-client-2.rows")),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Broker,
    Client,
}

/// One row.
pub struct Row {
    /// File and line, for the report.
    pub place: String,
    pub statements: Vec<String>,
    pub version: String,
    pub side: Side,
    /// Which broker, or which transport, the row needs; `default` if none.
    pub profile: String,
    pub title: String,
    pub steps: Vec<Step>,
}

impl Row {
    pub fn level(&self) -> u8 {
        match self.version.as_str() {
            "3.1" => 3,
            "3.1.1" => 4,
            _ => 5,
        }
    }

    pub fn is_observable(&self) -> bool {
        !self.title.starts_with("cannot be observed: ")
    }
}

/// One line of a row: who, what, and its words.
#[derive(Clone)]
pub struct Step {
    pub line: usize,
    pub actor: String,
    pub verb: String,
    pub words: Vec<String>,
    pub text: String,
}

/// A statement: (version, identifier).
pub type Statement = (String, String);

pub struct Table {
    pub binds: BTreeMap<Statement, Vec<Side>>,
    pub rows: Vec<Row>,
}

/// Numbers for the outcome line.
pub struct Coverage {
    pub statements: usize,
    pub unobservable: usize,
    pub faults: Vec<String>,
}

pub fn load() -> Result<Table, Vec<String>> {
    let mut faults = Vec::new();
    let known: BTreeSet<Statement> = STATEMENTS
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut columns = line.split('\t');
            Some((columns.next()?.to_string(), columns.next()?.to_string()))
        })
        .collect();
    let mut binds = BTreeMap::new();
    for line in SIDES.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let sides = match columns.get(2).copied() {
            Some("broker") => vec![Side::Broker],
            Some("client") => vec![Side::Client],
            Some("both") => vec![Side::Broker, Side::Client],
            _ => {
                faults.push(format!("sides.tsv: {line}"));
                continue;
            }
        };
        binds.insert((columns[0].to_string(), columns[1].to_string()), sides);
    }
    for statement in &known {
        if !binds.contains_key(statement) {
            faults.push(format!("sides.tsv has no {} {}", statement.0, statement.1));
        }
    }
    let mut rows = Vec::new();
    for (name, text) in FILES {
        parse_file(name, text, &mut rows, &mut faults);
    }
    for row in &rows {
        for id in &row.statements {
            if !known.contains(&(row.version.clone(), id.clone())) {
                faults.push(format!("{}: unknown statement {id}", row.place));
            }
        }
    }
    if faults.is_empty() { Ok(Table { binds, rows }) } else { Err(faults) }
}

/// Every statement needs a row for each side it binds.
pub fn coverage(table: &Table) -> Coverage {
    let mut faults = Vec::new();
    let mut unobservable = 0;
    for ((version, id), sides) in &table.binds {
        let mut excused = false;
        for side in sides {
            let mut own = table.rows.iter().filter(|row| row.version == *version && row.side == *side).filter(|row| row.statements.contains(id)).peekable();
            if own.peek().is_none() {
                faults.push(format!("{version} {id}: no row for the {side:?}"));
            } else if !own.any(|row| row.is_observable()) {
                excused = true;
            }
        }
        unobservable += usize::from(excused);
    }
    Coverage { statements: table.binds.len(), unobservable, faults }
}

fn parse_file(name: &str, text: &str, rows: &mut Vec<Row>, faults: &mut Vec<String>) {
    for (index, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", index + 1);
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if line.starts_with('[') {
            match parse_header(line, &place) {
                Ok(row) => rows.push(row),
                Err(error) => faults.push(format!("{place}: {error}")),
            }
            continue;
        }
        match (parse_step(trimmed, index + 1), rows.last_mut()) {
            (Ok(step), Some(row)) => row.steps.push(step),
            (Err(error), _) => faults.push(format!("{place}: {error}")),
            (_, None) => faults.push(format!("{place}: a step before any row")),
        }
    }
}

/// `[ID ID] VERSION SIDE | title` or `... SIDE/PROFILE | title`.
fn parse_header(line: &str, place: &str) -> Result<Row, String> {
    let (ids, rest) = line[1..].split_once(']').ok_or("no ]")?;
    let (head, title) = rest.split_once('|').ok_or("no |")?;
    let words: Vec<&str> = head.split_whitespace().collect();
    let [version, side] = words[..] else {
        return Err("the header is [IDS] VERSION SIDE | TITLE".into());
    };
    if !["3.1", "3.1.1", "5.0"].contains(&version) {
        return Err(format!("no version {version}"));
    }
    let (side, profile) = side.split_once('/').unwrap_or((side, "default"));
    let side = match side {
        "broker" => Side::Broker,
        "client" => Side::Client,
        _ => return Err(format!("no side {side}")),
    };
    Ok(Row {
        place: place.to_string(),
        statements: ids.split_whitespace().map(str::to_string).collect(),
        version: version.to_string(),
        side,
        profile: profile.to_string(),
        title: title.trim().to_string(),
        steps: Vec::new(),
    })
}

fn parse_step(text: &str, line: usize) -> Result<Step, String> {
    let mut words = tokens(text)?;
    let first = words.remove(0);
    let marks = first.find(['>', '<', '+']);
    let (actor, verb) = match marks {
        Some(at) => (first[..at].to_string(), first[at..].to_string()),
        None if first == "wait" => (String::new(), first),
        None if words.is_empty() => return Err(format!("not a step: {text}")),
        None => (first, words.remove(0)),
    };
    Ok(Step { line, actor, verb, words, text: text.to_string() })
}

/// Words separated by blanks; quotes keep blanks together. A word that begins
/// with a quote becomes `t:...`, one that begins with s" becomes `s:...` (the
/// two forms of text in the `bytes` notation).
pub fn tokens(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut letters = text.chars().peekable();
    loop {
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        if letters.peek().is_none() {
            return Ok(words);
        }
        let mut word = String::new();
        while let Some(letter) = letters.next_if(|letter| !letter.is_whitespace()) {
            if letter != '"' {
                word.push(if letter == '\\' { escape(&mut letters)? } else { letter });
                continue;
            }
            if word.is_empty() {
                word.push_str("t:");
            } else if word == "s" {
                word.push(':');
            }
            loop {
                match letters.next().ok_or("no closing quote")? {
                    '"' => break,
                    '\\' => word.push(escape(&mut letters)?),
                    letter => word.push(letter),
                }
            }
        }
        words.push(word);
    }
}

/// `\n`, `\\`, `\"`, `\u{feff}`.
fn escape(letters: &mut std::iter::Peekable<std::str::Chars>) -> Result<char, String> {
    match letters.next() {
        Some('n') => Ok('\n'),
        Some('u') => {
            let digits: String = letters.by_ref().skip_while(|letter| *letter == '{').take_while(|letter| *letter != '}').collect();
            u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).ok_or_else(|| format!("bad \\u{{{digits}}}"))
        }
        Some(letter @ ('\\' | '"')) => Ok(letter),
        other => Err(format!("bad escape {other:?}")),
    }
}
