//! What a row waits for.

use std::time::{Duration, Instant};

use crate::packet::{Packet, parse_number};
use crate::pattern::{self, number_matches};
use crate::run::{Run, Seen};
use crate::table::Step;

/// How long a row waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Silence that counts as `nothing`, unless the row names another.
pub const SILENCE_MS: u64 = 200;

impl Run<'_> {
    pub fn expect(&mut self, name: &str, words: &[String]) -> Result<(), String> {
        let (within, after, words) = timing(words)?;
        let start = Instant::now();
        match words[0].as_str() {
            "nothing" => return self.expect_nothing(name, &words),
            "end" => return self.expect_end(name, "disconnect", "reason", &words, within),
            "refused" => return self.expect_end(name, "connack", "code", &words, within),
            _ => {}
        }
        let alternatives: Vec<Vec<String>> = words.split(|word| word == "|").map(<[String]>::to_vec).collect();
        let seen = self.next(name, start + within)?;
        self.match_any(&alternatives, &seen)?;
        if start.elapsed() < after {
            return Err(format!("too early: after {} ms", start.elapsed().as_millis()));
        }
        Ok(())
    }

    pub fn expect_packet(&mut self, name: &str, pattern: &[String], within: Duration) -> Result<Packet, String> {
        match self.next(name, Instant::now() + within)? {
            Seen::Packet(packet) => {
                pattern::matches(pattern, &packet, &mut self.names)?;
                Ok(packet)
            }
            seen => Err(format!("{} and not a {}", describe(&seen), pattern[0])),
        }
    }

    pub fn match_any(&mut self, alternatives: &[Vec<String>], seen: &Seen) -> Result<(), String> {
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

    pub fn expect_nothing(&mut self, name: &str, words: &[String]) -> Result<(), String> {
        let ms = words.get(1).and_then(|word| parse_number(word)).unwrap_or(SILENCE_MS);
        match self.next(name, Instant::now() + Duration::from_millis(ms))? {
            Seen::Silence => Ok(()),
            seen => Err(format!("{} where nothing may come", describe(&seen))),
        }
    }

    /// A closed connection, in MQTT 5 with or without a word before it: the
    /// words after `end` or `refused` are the reason codes it may have.
    pub fn expect_end(&mut self, name: &str, kind: &str, field: &str, words: &[String], within: Duration) -> Result<(), String> {
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
    pub fn expect_later(&mut self, name: &str, words: &[String]) -> Result<(), String> {
        let (within, _, words) = timing(words)?;
        let mut halves = words.split(|word| word == "!!");
        let alternatives: Vec<Vec<String>> = halves.next().unwrap_or_default().split(|word| word == "|").map(<[String]>::to_vec).collect();
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

    pub fn expect_group(&mut self, name: &str, steps: &[&Step]) -> Result<(), String> {
        let mut left: Vec<Vec<String>> = steps.iter().map(|step| self.expand_all(&step.words)).collect();
        let deadline = Instant::now() + PATIENCE;
        while !left.is_empty() {
            let seen = self.next(name, deadline)?;
            let mut reasons = Vec::new();
            let found = (0..left.len()).find(|&index| self.match_any(&left[index..index + 1], &seen).map_err(|reason| reasons.push(reason)).is_ok());
            match found {
                Some(index) => left.remove(index),
                None => return Err(reasons.join("; or ")),
            };
        }
        Ok(())
    }
}

/// Takes `within=MS` and `after=MS` out of the words.
pub fn timing(words: &[String]) -> Result<(Duration, Duration, Vec<String>), String> {
    let (mut within, mut after) = (PATIENCE, Duration::ZERO);
    let mut left = Vec::new();
    for word in words {
        let ms = |text: &str| parse_number(text).map(Duration::from_millis).ok_or(format!("bad time {word}"));
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

fn describe(seen: &Seen) -> String {
    match seen {
        Seen::Packet(packet) => packet.show(),
        Seen::Closed => "the connection was closed".into(),
        Seen::Silence => "nothing came".into(),
    }
}
