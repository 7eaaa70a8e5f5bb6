//! The short forms of a row: `a join`, `a sub`, `a pub`, `a get` and the like.

use std::time::{Duration, Instant};

use crate::expect::{PATIENCE, SILENCE_MS, timing};
use crate::link::Link;
use crate::packet::parse_number;
use crate::run::{Run, Seen};
use crate::table::Side;

impl Run<'_> {
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

    pub fn subscribe(&mut self, name: &str, verb: &str, left: &[String], right: &[String]) -> Result<(), String> {
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
    pub fn publish(&mut self, name: &str, left: &[String], right: &[String]) -> Result<(), String> {
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
    pub fn get(&mut self, name: &str, words: &[String]) -> Result<(), String> {
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
    pub fn await_answer(&mut self, name: &str, pattern: &[String]) -> Result<(), String> {
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
    pub fn expect_absent(&mut self) -> Result<(), String> {
        std::thread::sleep(Duration::from_millis(SILENCE_MS));
        let listener = self.listener.as_ref().ok_or("only in a client row")?;
        listener.set_nonblocking(true).map_err(|error| error.to_string())?;
        match listener.accept() {
            Ok(_) => Err("the client connects".into()),
            Err(_) => Ok(()),
        }
    }

    /// The client under test connects like this, or does not connect.
    pub fn expect_maybe(&mut self, name: &str, words: &[String]) -> Result<(), String> {
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

    pub fn next_id(&mut self, name: &str) -> Result<u64, String> {
        let conn = self.conn(name)?;
        conn.next_id += 1;
        Ok(conn.next_id)
    }
}

/// The words of a packet or a pattern with its kind in front.
pub fn prepend(kind: &str, words: &[String]) -> Vec<String> {
    let mut all = vec![kind.to_string()];
    all.extend_from_slice(words);
    all
}
