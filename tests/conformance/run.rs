//! Runs one row: sends, expects, and writes the trace that a failure shows.

use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use crate::encode::encode;
use crate::link::{Arrival, Link};
use crate::packet::{Packet, decode, parse_number};
use crate::pattern::{self, Names, number_matches};
use crate::subject::{Event, Subject};
use crate::table::{Row, Side, Step};
use crate::watch::Watch;
use crate::wire::show_hex;

/// How long a row waits for what must come.
const PATIENCE: Duration = Duration::from_secs(5);
/// Silence that counts as `nothing`, unless the row names another.
const SILENCE_MS: u64 = 200;

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
struct Conn {
    link: Option<Link>,
    watch: Watch,
    level: u8,
    /// The last CONNECT had a level that no version has.
    level_unknown: bool,
    /// Packets that came while a short form waited for its answer.
    early: VecDeque<Packet>,
    held: Vec<u8>,
    next_id: u64,
}

/// A row at work.
pub struct Run<'a> {
    row: &'a Row,
    place: Place,
    pub names: Names,
    pub trace: Vec<String>,
    conns: BTreeMap<String, Conn>,
    pub listener: Option<TcpListener>,
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
        subject,
        events: VecDeque::new(),
    };
    let mut at = 0;
    let mut outcome = Ok(());
    while at < row.steps.len() && outcome.is_ok() {
        let step = &row.steps[at];
        run.trace.push(format!("  {:>4}  {}", step.line, step.text));
        let group = run.group_length(at);
        outcome = run
            .step(at, group)
            .map_err(|error| format!("line {}: {error}", row.steps[at].line));
        at += group;
    }
    if outcome.is_ok() {
        outcome = run.check_end();
    }
    outcome.map_err(|error| format!("{error}\n{}", run.trace.join("\n")))
}

impl<'a> Run<'a> {
    /// Consecutive `<&` steps of one connection are one unordered group.
    fn group_length(&self, at: usize) -> usize {
        let first = &self.row.steps[at];
        if first.verb != "<&" {
            return 1;
        }
        self.row.steps[at..]
            .iter()
            .take_while(|step| step.verb == "<&" && step.actor == first.actor)
            .count()
    }

    fn step(&mut self, at: usize, group: usize) -> Result<(), String> {
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
    fn check_end(&mut self) -> Result<(), String> {
        for (name, conn) in &self.conns {
            if let Some(packet) = conn.early.front() {
                return Err(format!("connection {name} got an unexpected {}", packet.show()));
            }
        }
        Ok(())
    }

    // --- short forms ---

    pub fn short_form(&mut self, name: &str, verb: &str, words: &[String]) -> Result<(), String> {
        let split = words.iter().position(|word| word == "=>").unwrap_or(words.len());
        let (left, right) = (&words[..split], words.get(split + 1..).unwrap_or(&[]));
        match verb {
            "join" if self.row.side == Side::Client => {
                self.expect(name, &prepend("connect", left))?;
                self.send(name, &prepend("connack", right), false)
            }
            "join" => {
                self.send(name, &prepend("connect", left), false)?;
                let mut pattern = prepend("connack", right);
                if !right.iter().any(|word| word.starts_with("code=")) {
                    pattern.push("code=0".into());
                }
                self.expect(name, &pattern)
            }
            "sub" | "unsub" => self.subscribe(name, verb, left, right),
            "pub" => self.publish(name, left, right),
            "get" => self.get(name, left),
            "alive" => {
                self.send(name, &prepend("pingreq", &[]), false)?;
                self.await_answer(name, &prepend("pingresp", &[]))
            }
            "leave" => {
                self.send(name, &prepend("disconnect", left), false)?;
                self.expect(name, &["close".to_string()])
            }
            "close" => {
                self.conn(name)?.link = None;
                self.conns.remove(name);
                Ok(())
            }
            "absent" => self.expect_absent(),
            "maybe" => self.expect_maybe(name, left),
            "level" => {
                let level = left.first().and_then(|word| parse_number(word)).ok_or("level N")?;
                self.conn(name)?.level = level as u8;
                Ok(())
            }
            _ => Err(format!("no step {verb}")),
        }
    }

    fn subscribe(
        &mut self,
        name: &str,
        verb: &str,
        left: &[String],
        right: &[String],
    ) -> Result<(), String> {
        let id = self.next_id(name)?;
        let kind = if verb == "sub" { "subscribe" } else { "unsubscribe" };
        let mut words = vec![kind.to_string(), format!("id={id}")];
        let mut codes = Vec::new();
        for word in left {
            if word.starts_with("prop.") {
                words.push(word.clone());
            } else {
                words.push(format!("filter={word}"));
                let qos = word.rsplit('@').next().unwrap_or("0");
                codes.push(qos.chars().next().unwrap_or('0').to_string());
            }
        }
        self.send(name, &words, false)?;
        let answer = if verb == "sub" { "suback" } else { "unsuback" };
        let mut pattern = vec![answer.to_string(), format!("id={id}")];
        pattern.extend(right.iter().cloned());
        if verb == "sub" && !right.iter().any(|word| word.starts_with("codes=")) {
            pattern.push(format!("codes={}", codes.join(",")));
        }
        self.await_answer(name, &pattern)
    }

    /// PUBLISH and its whole handshake; `right` is expected of the last
    /// answer, which is good (below 0x80) unless it says otherwise.
    fn publish(&mut self, name: &str, left: &[String], right: &[String]) -> Result<(), String> {
        let id = self.next_id(name)?;
        let mut words = prepend("publish", left);
        let qos = left.iter().find_map(|word| word.strip_prefix("qos=")).unwrap_or("0").to_string();
        if qos != "0" && !left.iter().any(|word| word.starts_with("id=")) {
            words.push(format!("id={id}"));
        }
        let id_word = words.iter().find(|word| word.starts_with("id=")).cloned();
        self.send(name, &words, false)?;
        let Some(id_word) = id_word else {
            return Ok(());
        };
        let level = self.conn(name)?.level;
        let mut good = right.to_vec();
        if level == 5 && right.is_empty() {
            good.push("reason=0..0x7f".into());
        }
        let answer = |kind: &str| {
            let mut pattern = vec![kind.to_string(), id_word.clone()];
            pattern.extend(good.iter().cloned());
            pattern
        };
        if qos == "1" {
            return self.await_answer(name, &answer("puback"));
        }
        self.await_answer(name, &answer("pubrec"))?;
        self.send(name, &["pubrel".into(), id_word.clone()], false)?;
        self.await_answer(name, &["pubcomp".into(), id_word.clone()])
    }

    /// Expects a PUBLISH and acknowledges it as its QoS asks.
    fn get(&mut self, name: &str, words: &[String]) -> Result<(), String> {
        let (within, _, words) = timing(&prepend("publish", words))?;
        let packet = self.expect_packet(name, &words, within)?;
        let id_word = format!("id={}", packet.number("id").unwrap_or(0));
        match packet.number("qos") {
            Some(1) => self.send(name, &["puback".into(), id_word], false),
            Some(2) => {
                self.send(name, &["pubrec".into(), id_word.clone()], false)?;
                self.await_answer(name, &["pubrel".into(), id_word.clone()])?;
                self.send(name, &["pubcomp".into(), id_word], false)
            }
            _ => Ok(()),
        }
    }

    /// Waits for an answer; messages that come before it are kept for later
    /// steps, since the standard lets them overtake.
    fn await_answer(&mut self, name: &str, pattern: &[String]) -> Result<(), String> {
        let mut early = std::mem::take(&mut self.conn(name)?.early);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.next(name, deadline)?;
            match seen {
                Seen::Packet(packet) if packet.kind == "publish" => early.push_back(packet),
                seen => {
                    self.match_any(&[pattern.to_vec()], &seen)?;
                    self.conn(name)?.early = early;
                    return Ok(());
                }
            }
        }
    }

    /// The client under test does not connect.
    fn expect_absent(&mut self) -> Result<(), String> {
        std::thread::sleep(Duration::from_millis(SILENCE_MS));
        let listener = self.listener.as_ref().ok_or("only in a client row")?;
        listener.set_nonblocking(true).map_err(|error| error.to_string())?;
        match listener.accept() {
            Ok(_) => Err("the client connects".into()),
            Err(_) => Ok(()),
        }
    }

    /// The client under test connects like this, or does not connect.
    fn expect_maybe(&mut self, name: &str, words: &[String]) -> Result<(), String> {
        std::thread::sleep(Duration::from_millis(SILENCE_MS));
        let listener = self.listener.as_ref().ok_or("only in a client row")?;
        listener.set_nonblocking(true).map_err(|error| error.to_string())?;
        let Ok((stream, _)) = listener.accept() else {
            return Ok(());
        };
        let link = Link::accept(stream, self.row.profile == "ws")?;
        self.insert(name, link);
        self.expect(name, &prepend("connect", words))
    }

    fn next_id(&mut self, name: &str) -> Result<u64, String> {
        let conn = self.conn(name)?;
        conn.next_id += 1;
        Ok(conn.next_id)
    }

    // --- sending ---

    fn send(&mut self, name: &str, words: &[String], hold: bool) -> Result<(), String> {
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

    // --- expecting ---

    fn expect(&mut self, name: &str, words: &[String]) -> Result<(), String> {
        let (within, after, words) = timing(words)?;
        let start = Instant::now();
        match words[0].as_str() {
            "nothing" => return self.expect_nothing(name, &words),
            "end" => return self.expect_end(name, "disconnect", "reason", &words, within),
            "refused" => return self.expect_end(name, "connack", "code", &words, within),
            _ => {}
        }
        let alternatives: Vec<Vec<String>> =
            words.split(|word| word == "|").map(<[String]>::to_vec).collect();
        let seen = self.next(name, start + within)?;
        self.match_any(&alternatives, &seen)?;
        if start.elapsed() < after {
            return Err(format!("too early: after {} ms", start.elapsed().as_millis()));
        }
        Ok(())
    }

    fn expect_packet(
        &mut self,
        name: &str,
        pattern: &[String],
        within: Duration,
    ) -> Result<Packet, String> {
        match self.next(name, Instant::now() + within)? {
            Seen::Packet(packet) => {
                pattern::matches(pattern, &packet, &mut self.names)?;
                Ok(packet)
            }
            seen => Err(format!("{} and not a {}", describe(&seen), pattern[0])),
        }
    }

    fn match_any(&mut self, alternatives: &[Vec<String>], seen: &Seen) -> Result<(), String> {
        let mut reasons = Vec::new();
        for pattern in alternatives {
            match seen {
                Seen::Closed if pattern[0] == "close" => return Ok(()),
                Seen::Packet(packet) => match pattern::matches(pattern, packet, &mut self.names) {
                    Ok(()) => return Ok(()),
                    Err(reason) => reasons.push(reason),
                },
                _ => reasons.push(format!("expected {}", pattern.join(" "))),
            }
        }
        Err(format!("{}: {}", describe(seen), reasons.join("; or ")))
    }

    fn expect_nothing(&mut self, name: &str, words: &[String]) -> Result<(), String> {
        let ms = words.get(1).and_then(|word| parse_number(word)).unwrap_or(SILENCE_MS);
        match self.next(name, Instant::now() + Duration::from_millis(ms))? {
            Seen::Silence => Ok(()),
            seen => Err(format!("{} where nothing may come", describe(&seen))),
        }
    }

    /// A closed connection, in MQTT 5 with or without a word before it: the
    /// words after `end` or `refused` are the reason codes it may have.
    fn expect_end(
        &mut self,
        name: &str,
        kind: &str,
        field: &str,
        words: &[String],
        within: Duration,
    ) -> Result<(), String> {
        let deadline = Instant::now() + within;
        let allowed = words.get(1).map_or("0x80..0xff", String::as_str);
        let mut seen = self.next(name, deadline)?;
        if let Seen::Packet(packet) = &seen {
            // A DISCONNECT before MQTT 5 has no reason to compare.
            let code = packet.number(field).unwrap_or(0x80);
            if packet.kind != kind || !number_matches(allowed, ',', code)? {
                return Err(format!("{} and not the end {allowed}", packet.show()));
            }
            seen = self.next(name, deadline)?;
        }
        match seen {
            Seen::Closed => Ok(()),
            seen => Err(format!("{} and not the end of the connection", describe(&seen))),
        }
    }

    /// `a<~ PATTERN !! PATTERN`: skips packets until the first matches; none
    /// of them may match the second.
    fn expect_later(&mut self, name: &str, words: &[String]) -> Result<(), String> {
        let (within, _, words) = timing(words)?;
        let mut halves = words.split(|word| word == "!!");
        let alternatives: Vec<Vec<String>> = halves
            .next()
            .unwrap_or_default()
            .split(|word| word == "|")
            .map(<[String]>::to_vec)
            .collect();
        let never = halves.next().map(<[String]>::to_vec);
        let deadline = Instant::now() + within;
        loop {
            let seen = self.next(name, deadline)?;
            if let (Seen::Packet(packet), Some(never)) = (&seen, &never) {
                let mut scratch = self.names.clone();
                if pattern::matches(never, packet, &mut scratch).is_ok() {
                    return Err(format!("{} must not come", packet.show()));
                }
            }
            match (self.match_any(&alternatives, &seen), seen) {
                (Ok(()), _) => return Ok(()),
                (Err(_), Seen::Packet(_)) => {}
                (Err(reason), _) => return Err(reason),
            }
        }
    }

    fn expect_group(&mut self, name: &str, steps: &[&Step]) -> Result<(), String> {
        let mut left: Vec<Vec<String>> =
            steps.iter().map(|step| self.expand_all(&step.words)).collect();
        let deadline = Instant::now() + PATIENCE;
        while !left.is_empty() {
            let seen = self.next(name, deadline)?;
            let mut reasons = Vec::new();
            let found = (0..left.len()).find(|&index| {
                self.match_any(&left[index..index + 1], &seen)
                    .map_err(|reason| reasons.push(reason))
                    .is_ok()
            });
            match found {
                Some(index) => left.remove(index),
                None => return Err(reasons.join("; or ")),
            };
        }
        Ok(())
    }

    /// The next packet, strictly read and watched.
    fn next(&mut self, name: &str, deadline: Instant) -> Result<Seen, String> {
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

    // --- connections and names ---

    /// The named connection, opened on first use and again after its end.
    fn conn(&mut self, name: &str) -> Result<&mut Conn, String> {
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

    fn insert(&mut self, name: &str, link: Link) {
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

    fn expand(&self, word: &str) -> String {
        expand(word, &self.names)
    }

    pub fn row(&self) -> &'a Row {
        self.row
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
        let best = names
            .iter()
            .filter(|(name, _)| tail.starts_with(name.as_str()))
            .max_by_key(|(name, _)| name.len());
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

/// Takes `within=MS` and `after=MS` out of the words.
pub fn timing(words: &[String]) -> Result<(Duration, Duration, Vec<String>), String> {
    let (mut within, mut after) = (PATIENCE, Duration::ZERO);
    let mut left = Vec::new();
    for word in words {
        let ms = |text: &str| {
            parse_number(text).map(Duration::from_millis).ok_or(format!("bad time {word}"))
        };
        if let Some(text) = word.strip_prefix("within=") {
            within = ms(text)?;
        } else if let Some(text) = word.strip_prefix("after=") {
            after = ms(text)?;
        } else {
            left.push(word.clone());
        }
    }
    if left.is_empty() { Err("nothing is expected".into()) } else { Ok((within, after, left)) }
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

fn describe(seen: &Seen) -> String {
    match seen {
        Seen::Packet(packet) => packet.show(),
        Seen::Closed => "the connection was closed".into(),
        Seen::Silence => "nothing came".into(),
    }
}

fn prepend(kind: &str, words: &[String]) -> Vec<String> {
    let mut all = vec![kind.to_string()];
    all.extend_from_slice(words);
    all
}
