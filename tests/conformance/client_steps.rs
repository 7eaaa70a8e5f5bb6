//! The steps that drive the client under test: `client publish topic=a`.

use std::time::{Duration, Instant};

use crate::encode::{Words, options_of};
use crate::expect::timing;
use crate::packet::{Packet, Value};
use crate::pattern;
use crate::property;
use crate::run::Run;
use crate::subject::{ConnectOptions, Event, Properties, PublishOptions, Subject, SubscribeOptions, UnsubscribeOptions, Will};
use crate::wire::show;

const EVENTS: [&str; 9] = ["connected", "refused", "message", "published", "subscribed", "unsubscribed", "auth", "disconnected", "failed"];
const EVENT_FIELDS: [&str; 10] = ["sp", "code", "topic", "payload", "qos", "retain", "dup", "tag", "reason", "codes"];

/// Checks a step without running it.
pub fn check(verb: &str, words: &[String]) -> Result<(), String> {
    let known = |words: &[String], names: &[&str]| Words::parse(words)?.only(names);
    let split = words.iter().position(|word| word == "=>").unwrap_or(words.len());
    match verb {
        "connect" | "join" => {
            known(&words[..split], &["id", "clean", "keep", "user", "pass", "reconnect", "will.topic", "will.payload", "will.qos", "will.retain"])
        }
        "publish" => known(words, &["topic", "qos", "payload", "retain", "tag"]),
        "subscribe" | "unsubscribe" => {
            let mut words = words.to_vec();
            words.retain(|word| word.starts_with("prop.") || word.starts_with("tag="));
            known(&words, &["tag"])
        }
        "auth" | "disconnect" => known(words, &["reason"]),
        "refuses" | "try" => check(words.first().ok_or("refuses what?")?, &words[1..]),
        "quiet" | "event" | "later" => {
            let kind = words.first().ok_or("no event")?;
            if !EVENTS.contains(&kind.as_str()) {
                return Err(format!("no event {kind}"));
            }
            for word in &words[1..] {
                let key = word.split('=').next().unwrap_or(word).trim_start_matches('!');
                let ok = key.strip_prefix("prop.").is_some_and(property::is_known) || EVENT_FIELDS.contains(&key) || key == "within" || verb == "quiet";
                if !ok {
                    return Err(format!("no event field {key}"));
                }
            }
            Ok(())
        }
        _ => Err(format!("no client step {verb}")),
    }
}

impl Run<'_> {
    pub fn client_step(&mut self, verb: &str, words: &[String]) -> Result<(), String> {
        match verb {
            "join" => {
                let split = words.iter().position(|word| word == "=>").unwrap_or(words.len());
                self.call("connect", &words[..split])?;
                let connack = words.get(split + 1..).unwrap_or(&[]);
                let mut join = vec!["=>".to_string()];
                join.extend_from_slice(connack);
                self.short_form("s", "join", &join)?;
                self.event_now(&["connected".to_string()], Duration::from_secs(5))
            }
            "event" => {
                let (within, _, words) = timing(words)?;
                self.event_now(&words, within)
            }
            "later" => loop {
                if self.event(words, Duration::from_secs(2))? {
                    return Ok(());
                }
            },
            "quiet" => {
                let ms = words.get(1).and_then(|word| word.parse().ok()).unwrap_or(200);
                match self.next_event(&words[0], Duration::from_millis(ms))? {
                    None => Ok(()),
                    Some(event) => Err(format!("{} must not come", show_event(&event))),
                }
            }
            "refuses" => self.refuses(words),
            "try" => {
                let result = self.call(&words[0], &words[1..]);
                self.trace.push(format!("          client: {result:?}"));
                Ok(())
            }
            _ => self.call(verb, words),
        }
    }

    /// A call that the client must turn down, at once or in a `failed` event.
    fn refuses(&mut self, words: &[String]) -> Result<(), String> {
        if let Err(reason) = self.call(&words[0], &words[1..]) {
            self.trace.push(format!("          client refuses: {reason}"));
            return Ok(());
        }
        match self.next_event("failed", Duration::from_millis(500))? {
            Some(_) => Ok(()),
            None => Err("the client takes what it must refuse".into()),
        }
    }

    fn subject(&mut self) -> Result<&mut Box<dyn Subject>, String> {
        self.subject.as_mut().ok_or_else(|| "no client is bound".into())
    }

    fn call(&mut self, verb: &str, tokens: &[String]) -> Result<(), String> {
        let words = Words::parse(tokens)?;
        let tag = words.text("tag").unwrap_or_default();
        match verb {
            "connect" => {
                let options = self.connect_options(&words)?;
                self.subject()?.connect(options)
            }
            "publish" => self.subject()?.publish(PublishOptions {
                topic: words.text("topic").unwrap_or_default(),
                payload: words.bytes("payload"),
                qos: words.number("qos", 0)? as u8,
                retain: words.number("retain", 0)? == 1,
                properties: properties(&words, "prop."),
                tag,
            }),
            "subscribe" => {
                let mut filters = Vec::new();
                for word in names_of(tokens) {
                    let (filter, options) = word.rsplit_once('@').ok_or("FILTER@QOS")?;
                    filters.push((filter.to_string(), options_of(options)?));
                }
                let properties = properties(&words, "prop.");
                self.subject()?.subscribe(SubscribeOptions { filters, properties, tag })
            }
            "unsubscribe" => {
                let filters = names_of(tokens).cloned().collect();
                let properties = properties(&words, "prop.");
                self.subject()?.unsubscribe(UnsubscribeOptions { filters, properties, tag })
            }
            "auth" => {
                let reason = words.number("reason", 0x18)? as u8;
                self.subject()?.auth(reason, properties(&words, "prop."))
            }
            "disconnect" => {
                let reason = words.number("reason", 0)? as u8;
                self.subject()?.disconnect(reason, properties(&words, "prop."))
            }
            _ => Err(format!("no client call {verb}")),
        }
    }

    /// Where the client finds the judge, or who carries to it.
    fn judge_uri(&mut self) -> Result<String, String> {
        let listener = self.listener.as_ref().ok_or("only in a client row")?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        if self.row.profile == "ws" {
            return Ok(format!("ws://{address}/mqtt"));
        }
        #[cfg(all(feature = "rudp", feature = "tls"))]
        if let Some(transport) = crate::carrier::transport() {
            if self.carrier.is_none() {
                self.carrier = Some(crate::carrier::Behind::new(&transport, address).map_err(|error| error.to_string())?);
            }
            return Ok(format!("{transport}://{}", self.carrier.as_ref().expect("made above").address));
        }
        Ok(format!("mqtt://{address}"))
    }

    fn connect_options(&mut self, words: &Words) -> Result<ConnectOptions, String> {
        let url = self.judge_uri()?;
        let will = words.text("will.topic").map(|topic| Will {
            topic,
            payload: words.bytes("will.payload"),
            qos: words.number("will.qos", 0).unwrap_or(0) as u8,
            retain: words.find("will.retain").is_some(),
            properties: properties(words, "will.prop."),
        });
        Ok(ConnectOptions {
            url,
            level: self.row.level(),
            client_id: words.text("id").unwrap_or_else(|| self.names["id"].clone()),
            clean: words.number("clean", 1)? == 1,
            keep_alive_s: words.number("keep", 60)? as u16,
            user: words.text("user"),
            password: words.find("pass").map(Value::as_bytes),
            will,
            properties: properties(words, "prop."),
            reconnect: words.number("reconnect", 0)? == 1,
        })
    }

    /// The next event of the kind is like this.
    fn event_now(&mut self, words: &[String], within: Duration) -> Result<(), String> {
        if self.event(words, within)? {
            return Ok(());
        }
        Err(format!("{}: the event differs", words.join(" ")))
    }

    /// Whether the next event of the kind is like this; an error if none comes.
    fn event(&mut self, words: &[String], within: Duration) -> Result<bool, String> {
        let Some(event) = self.next_event(&words[0], within)? else {
            return Err(format!("no event {}", words[0]));
        };
        let packet = Packet { kind: event.kind, fields: event.fields, size: 0 };
        let verdict = pattern::matches(words, &packet, &mut self.names);
        let reason = verdict.as_ref().err().map_or("", String::as_str);
        self.trace.push(format!("          client tells {} {reason}", packet.show()));
        Ok(verdict.is_ok())
    }

    /// The next event of this kind; others stay in their order.
    fn next_event(&mut self, kind: &str, within: Duration) -> Result<Option<Event>, String> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(at) = self.events.iter().position(|event| event.kind == kind) {
                return Ok(self.events.remove(at));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            if let Some(event) = self.subject()?.event(left) {
                self.trace.push(format!("          client: {}", show_event(&event)));
                self.events.push_back(event);
            }
        }
    }
}

fn names_of(tokens: &[String]) -> impl Iterator<Item = &String> {
    tokens.iter().filter(|word| !word.starts_with("prop.") && !word.starts_with("tag="))
}

fn properties(words: &Words, prefix: &str) -> Properties {
    words.pairs().iter().filter_map(|(key, value)| key.strip_prefix(prefix).map(|name| (name.to_string(), value.clone()))).collect()
}

fn show_event(event: &Event) -> String {
    let mut text = event.kind.to_string();
    for (name, value) in &event.fields {
        text.push_str(&format!(" {name}={}", show(&value.as_bytes())));
    }
    text
}
