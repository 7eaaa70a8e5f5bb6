//! Somebody else's client as the subject: a process that takes requests as
//! lines on its standard input and tells results and events as lines on its
//! standard output.
//!
//! A line is a word and `key=HEX` pairs, each value in hex. Requests are the
//! calls of `Subject` by name; each is answered by `ok` or `error why=HEX`.
//! Events are `event kind=HEX ...` with the fields of `Event`; `codes` are raw
//! bytes. Properties are `prop.NAME`, those of a will `will.prop.NAME`, filters
//! repeated `filter` with the options byte in the `options` that follows.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::packet::Value;
use crate::subject::{ConnectOptions, Event, Properties, PublishOptions, Subject, SubscribeOptions, UnsubscribeOptions};
use crate::wire::hex;

const KINDS: [&str; 9] = ["connected", "refused", "message", "published", "subscribed", "unsubscribed", "auth", "disconnected", "failed"];

/// The process; it is killed when the row ends.
pub struct Process {
    child: Child,
    requests: ChildStdin,
    lines: Receiver<String>,
    events: VecDeque<Event>,
}

impl Process {
    pub fn start(command: &str) -> Process {
        let mut child = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client process starts");
        let requests = child.stdin.take().expect("a pipe was asked for");
        let output = child.stdout.take().expect("a pipe was asked for");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Process { child, requests, lines, events: VecDeque::new() }
    }

    fn call(&mut self, line: Line) -> Result<(), String> {
        writeln!(self.requests, "{}", line.0).expect("the client process reads");
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            // A dead process must not count as one that refuses.
            let line = self.next_line(deadline).expect("the client process answers");
            if line == "ok" {
                return Ok(());
            }
            if let Some(why) = line.strip_prefix("error why=") {
                return Err(String::from_utf8_lossy(&hex(why).unwrap_or_default()).into_owned());
            }
            self.events.extend(event_of(&line));
        }
    }

    fn next_line(&mut self, deadline: Instant) -> Option<String> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.lines.recv_timeout(left).ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Subject for Process {
    fn connect(&mut self, options: ConnectOptions) -> Result<(), String> {
        let mut line = Line::new("connect");
        line.add("url", options.url.as_bytes());
        line.number("level", options.level.into());
        line.add("id", options.client_id.as_bytes());
        line.number("clean", options.clean.into());
        line.number("keep", options.keep_alive_s.into());
        line.number("reconnect", options.reconnect.into());
        if let Some(user) = &options.user {
            line.add("user", user.as_bytes());
        }
        if let Some(password) = &options.password {
            line.add("pass", password);
        }
        if let Some(will) = &options.will {
            line.add("will.topic", will.topic.as_bytes());
            line.add("will.payload", &will.payload);
            line.number("will.qos", will.qos.into());
            line.number("will.retain", will.retain.into());
            line.properties("will.prop.", &will.properties);
        }
        line.properties("prop.", &options.properties);
        self.call(line)
    }

    fn publish(&mut self, options: PublishOptions) -> Result<(), String> {
        let mut line = Line::new("publish");
        line.add("topic", options.topic.as_bytes());
        line.add("payload", &options.payload);
        line.number("qos", options.qos.into());
        line.number("retain", options.retain.into());
        line.add("tag", options.tag.as_bytes());
        line.properties("prop.", &options.properties);
        self.call(line)
    }

    fn subscribe(&mut self, options: SubscribeOptions) -> Result<(), String> {
        let mut line = Line::new("subscribe");
        for (filter, bits) in &options.filters {
            line.add("filter", filter.as_bytes());
            line.number("options", (*bits).into());
        }
        line.add("tag", options.tag.as_bytes());
        line.properties("prop.", &options.properties);
        self.call(line)
    }

    fn unsubscribe(&mut self, options: UnsubscribeOptions) -> Result<(), String> {
        let mut line = Line::new("unsubscribe");
        for filter in &options.filters {
            line.add("filter", filter.as_bytes());
        }
        line.add("tag", options.tag.as_bytes());
        line.properties("prop.", &options.properties);
        self.call(line)
    }

    fn auth(&mut self, reason: u8, properties: Properties) -> Result<(), String> {
        let mut line = Line::new("auth");
        line.number("reason", reason.into());
        line.properties("prop.", &properties);
        self.call(line)
    }

    fn disconnect(&mut self, reason: u8, properties: Properties) -> Result<(), String> {
        let mut line = Line::new("disconnect");
        line.number("reason", reason.into());
        line.properties("prop.", &properties);
        self.call(line)
    }

    fn event(&mut self, timeout: Duration) -> Option<Event> {
        let deadline = Instant::now() + timeout;
        while self.events.is_empty() {
            let line = self.next_line(deadline)?;
            self.events.extend(event_of(&line));
        }
        self.events.pop_front()
    }
}

/// A request under construction.
struct Line(String);

impl Line {
    fn new(verb: &str) -> Line {
        Line(verb.to_string())
    }

    fn add(&mut self, key: &str, bytes: &[u8]) {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.push_str(&format!(" {key}={digits}"));
    }

    fn number(&mut self, key: &str, number: u64) {
        self.add(key, number.to_string().as_bytes());
    }

    fn properties(&mut self, prefix: &str, properties: &Properties) {
        for (name, value) in properties {
            self.add(&format!("{prefix}{name}"), &value.as_bytes());
        }
    }
}

fn event_of(line: &str) -> Option<Event> {
    let mut kind = None;
    let mut fields = Vec::new();
    for pair in line.strip_prefix("event ")?.split(' ') {
        let (key, digits) = pair.split_once('=')?;
        let bytes = if digits.is_empty() { Vec::new() } else { hex(digits).ok()? };
        let numeric = ["sp", "code", "qos", "retain", "dup", "reason"].contains(&key);
        let value = match key {
            "kind" => {
                kind = KINDS.iter().find(|name| name.as_bytes() == bytes).copied();
                continue;
            }
            "codes" => Value::Codes(bytes),
            _ if numeric => Value::Number(Value::Bytes(bytes).as_number().ok()?),
            _ => Value::Bytes(bytes),
        };
        fields.push((key.to_string(), value));
    }
    kind.map(|kind| Event { kind, fields })
}
