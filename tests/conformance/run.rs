//! Runs one row: sends, expects, and writes the trace that a failure shows.

use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use crate::encode::encode;
use crate::expect::PATIENCE;
use crate::link::{Arrival, Link};
use crate::packet::{Packet, decode, parse_number};
use crate::pattern::Names;
use crate::subject::{Event, Subject};
use crate::table::{Row, Side, Step};
use crate::watch::Watch;
use crate::wire::show_hex;

/// Where the rows run.
pub struct Place {
    /// The broker, for rows of the broker's side.
    pub broker: Option<SocketAddr>,
    /// Distinguishes this row from every other, also of earlier runs.
    pub tag: String,
}

pub enum Seen {
    Packet(Packet),
    Closed,
    Silence,
}

/// One named connection of a row.
pub struct Conn {
    pub link: Option<Link>,
    watch: Watch,
    pub level: u8,
    /// The last CONNECT had a level that no version has.
    level_unknown: bool,
    /// Packets that came while a short form waited for its answer.
    pub early: VecDeque<Packet>,
    held: Vec<u8>,
    pub next_id: u64,
}

/// A row at work.
pub struct Run<'a> {
    pub row: &'a Row,
    place: Place,
    pub names: Names,
    pub trace: Vec<String>,
    pub conns: BTreeMap<String, Conn>,
    pub listener: Option<TcpListener>,
    /// Carries to it, if the client does not come over TCP.
    #[cfg(all(feature = "rudp", feature = "tls"))]
    pub carrier: Option<crate::carrier::Behind>,
    pub subject: Option<Box<dyn Subject>>,
    /// What the client told and no step has asked for yet.
    pub events: VecDeque<Event>,
}

/// Runs the row; an error is the reason and the trace.
pub fn run(row: &Row, place: Place, subject: Option<Box<dyn Subject>>) -> Result<(), String> {
    let mut names = Names::new();
    names.insert("id".into(), format!("c{}", place.tag));
    names.insert("t".into(), format!("t{}", place.tag));
    let listener = match row.side {
        Side::Broker => None,
        Side::Client => Some(TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?),
    };
    let mut run = Run {
        row,
        place,
        names,
        trace: Vec::new(),
        conns: BTreeMap::new(),
        listener,
        #[cfg(all(feature = "rudp", feature = "tls"))]
        carrier: None,
        subject,
        events: VecDeque::new(),
    };
    let mut at = 0;
    let mut outcome = Ok(());
    while at < row.steps.len() && outcome.is_ok() {
        let step = &row.steps[at];
        run.trace.push(format!("  {:>4}  {}", step.line, step.text));
        let group = run.group_length(at);
        outcome = run.step(at, group).map_err(|error| format!("line {}: {error}", row.steps[at].line));
        at += group;
    }
    if outcome.is_ok() {
        outcome = run.check_end();
    }
    outcome.map_err(|error| format!("{error}\n{}", run.trace.join("\n")))
}

impl<'a> Run<'a> {
    /// Consecutive `<&` steps of one connection are one unordered group.
    pub fn group_length(&self, at: usize) -> usize {
        let first = &self.row.steps[at];
        if first.verb != "<&" {
            return 1;
        }
        self.row.steps[at..].iter().take_while(|step| step.verb == "<&" && step.actor == first.actor).count()
    }

    pub fn step(&mut self, at: usize, group: usize) -> Result<(), String> {
        let row = self.row;
        let step = &row.steps[at];
        let words = self.expand_all(&step.words);
        if step.actor == "client" {
            return self.client_step(&step.verb, &words);
        }
        match step.verb.as_str() {
            "wait" => {
                let ms = words.first().and_then(|word| parse_number(word)).ok_or("wait MS")?;
                std::thread::sleep(Duration::from_millis(ms));
                Ok(())
            }
            ">" => self.send(&step.actor, &words, false),
            "+" => self.send(&step.actor, &words, true),
            "<" => self.expect(&step.actor, &words),
            "<~" => self.expect_later(&step.actor, &words),
            "<&" => {
                let steps: Vec<&Step> = row.steps[at..at + group].iter().collect();
                self.expect_group(&step.actor, &steps)
            }
            verb => self.short_form(&step.actor, verb, &words),
        }
    }

    /// Nothing may have come that the row did not ask about.
    pub fn check_end(&mut self) -> Result<(), String> {
        for (name, conn) in &self.conns {
            if let Some(packet) = conn.early.front() {
                return Err(format!("connection {name} got an unexpected {}", packet.show()));
            }
        }
        Ok(())
    }

    pub fn send(&mut self, name: &str, words: &[String], hold: bool) -> Result<(), String> {
        let mut words = words;
        let mut split = usize::MAX;
        let mut text = false;
        if words.first().is_some_and(|word| word == "split") {
            split = words.get(1).and_then(|word| parse_number(word)).ok_or("split N")? as usize;
            words = &words[2..];
        } else if words.first().is_some_and(|word| word == "text") {
            text = true;
            words = &words[1..];
        }
        let default_id = self.expand(&format!("$id{name}"));
        let client_side = self.row.side == Side::Client;
        let conn = self.conn(name)?;
        let bytes = encode(words, conn.level, &default_id)?;
        if let Some(level) = connect_level(&bytes) {
            conn.watch.connect_sent();
            conn.level_unknown = !(3..=5).contains(&level);
            conn.level = if conn.level_unknown { conn.level } else { level };
        }
        match decode(&bytes, conn.level, client_side) {
            Ok(Some(packet)) => conn.watch.sent(&packet),
            _ => conn.watch.illegal_sent(),
        }
        conn.held.extend(&bytes);
        if !hold {
            let bytes = std::mem::take(&mut conn.held);
            let link = conn.link.as_mut().ok_or("the connection is closed")?;
            for part in bytes.chunks(split.min(bytes.len().max(1))) {
                link.write(part, text);
                if split != usize::MAX {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
        self.trace.push(format!("          {name} -> {}", show_hex(&bytes)));
        Ok(())
    }

    /// The next packet, strictly read and watched.
    pub fn next(&mut self, name: &str, deadline: Instant) -> Result<Seen, String> {
        let from_server = self.row.side == Side::Broker;
        self.conn(name)?;
        let conn = self.conns.get_mut(name).ok_or("no connection")?;
        if let Some(packet) = conn.early.pop_front() {
            return Ok(Seen::Packet(packet));
        }
        let Some(link) = conn.link.as_mut() else {
            return Ok(Seen::Closed);
        };
        loop {
            let mut decoded = decode(&link.inbox, conn.level, from_server);
            if conn.level_unknown && decoded.is_err() {
                decoded = decode(&link.inbox, 9 - conn.level, from_server);
            }
            let line = |text: String| format!("          {name} <- {text}");
            match decoded {
                Err(error) => {
                    self.trace.push(line(show_hex(&link.inbox)));
                    return Err(error);
                }
                Ok(Some(mut packet)) => {
                    link.inbox.drain(..packet.size);
                    if packet.kind == "connect" {
                        conn.level = packet.number("level").unwrap_or(5) as u8;
                    }
                    let verdict = conn.watch.seen(&mut packet);
                    self.trace.push(line(packet.show()));
                    verdict?;
                    return Ok(Seen::Packet(packet));
                }
                Ok(None) => {}
            }
            match link.read(deadline)? {
                Arrival::Bytes => {}
                Arrival::Silence => return Ok(Seen::Silence),
                Arrival::Closed => {
                    self.trace.push(line("closed".into()));
                    if !link.inbox.is_empty() {
                        return Err("closed in the middle of a packet".into());
                    }
                    self.conns.remove(name);
                    return Ok(Seen::Closed);
                }
            }
        }
    }

    /// The named connection, opened on first use and again after its end.
    pub fn conn(&mut self, name: &str) -> Result<&mut Conn, String> {
        if !self.conns.contains_key(name) {
            let ws = self.row.profile == "ws";
            let link = match (&self.listener, self.place.broker) {
                (None, Some(address)) => Link::dial(address, ws)?,
                (Some(listener), _) => Link::accept(accept(listener)?, ws)?,
                (None, None) => return Err("no broker".into()),
            };
            self.insert(name, link);
        }
        self.conns.get_mut(name).ok_or_else(|| "no connection".into())
    }

    pub fn insert(&mut self, name: &str, link: Link) {
        let conn = Conn {
            link: Some(link),
            watch: Watch::new(self.row.side == Side::Broker),
            level: self.row.level(),
            level_unknown: false,
            early: VecDeque::new(),
            held: Vec::new(),
            next_id: 100,
        };
        self.conns.insert(name.to_string(), conn);
    }

    pub fn expand_all(&self, words: &[String]) -> Vec<String> {
        words.iter().map(|word| self.expand(word)).collect()
    }

    pub fn expand(&self, word: &str) -> String {
        expand(word, &self.names)
    }
}

/// Replaces `$name` by its value; the longest known name wins, and a `$` with
/// no known name stays (`$SYS`, `$share`).
pub fn expand(word: &str, names: &Names) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        let best = names.iter().filter(|(name, _)| tail.starts_with(name.as_str())).max_by_key(|(name, _)| name.len());
        match best {
            Some((name, value)) => {
                out.push_str(value);
                rest = &tail[name.len()..];
            }
            None => {
                out.push('$');
                rest = tail;
            }
        }
    }
    out.push_str(rest);
    out
}

fn accept(listener: &TcpListener) -> Result<std::net::TcpStream, String> {
    listener.set_nonblocking(true).map_err(|error| error.to_string())?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok((stream, _)) = listener.accept() {
            return Ok(stream);
        }
        if Instant::now() > deadline {
            return Err("the client does not connect".into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The protocol level, if these are the bytes of a CONNECT, legal or not.
fn connect_level(bytes: &[u8]) -> Option<u8> {
    if bytes.first()? >> 4 != 1 {
        return None;
    }
    let header = 2 + bytes[1..].iter().position(|byte| byte & 0x80 == 0)?;
    let name = usize::from(u16::from_be_bytes([*bytes.get(header)?, *bytes.get(header + 1)?]));
    bytes.get(header + 2 + name).copied()
}
