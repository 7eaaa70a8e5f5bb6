//! Administration by JSON: one method and one object in, one value out; what an HTTP interface
//! offers, without HTTP.
//!
//! Each method is a row: its name, the parameters it knows, and what it does. A parameter that is
//! not known, of another type or missing is an error that names it, and nothing has happened.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::base::{Duration, Instant};
use crate::broker::{BanError, BanKind, ClientSummary, Shard, Stats};
use crate::codec::{Message, PropertyList, Qos, Reason, SubscribeOptions};
use crate::route::RetainedCursor;
use crate::topic;

/// Why a call failed; nothing has happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ControlError {
    /// No such method, or parameters that cannot be used.
    Invalid(String),
    /// There is no such client, topic or ban.
    NotFound(String),
    /// A limit is reached; its key.
    Limit(&'static str),
}

type Outcome = Result<Value, ControlError>;

/// Which shards of a server a method is for, if there are many.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// The first one: it is about what they share or hold alike.
    First,
    /// The one its client is at home in.
    Home,
    /// Each of them.
    Every,
    /// What it lists is gathered from all, see [`clients_of_all`].
    Clients,
    /// As `Clients`, see [`statistics_of_all`].
    Statistics,
}

/// Where a method is to be run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    /// On the first shard.
    First,
    /// Where this client id is at home.
    Home(String),
    /// On the first one, and if that goes well on the others.
    Every,
    /// Nowhere: [`clients_of_all`] does it.
    Clients,
    /// Nowhere: [`statistics_of_all`] does it.
    Statistics,
}

struct Method {
    name: &'static str,
    parameters: &'static [&'static str],
    which: Which,
    run: fn(&mut Shard, Instant, &Parameters) -> Outcome,
}

/// Entries of a list, unless the caller says otherwise.
const LIST_DEFAULT: u64 = 1_000;
/// Entries of a list, whatever the caller says.
const LIST_MAX: u64 = 100_000;
/// Bytes of the messages in a list.
const LIST_BYTES_MAX: usize = 16 << 20;
const YEAR_S: u64 = 366 * 86_400;

static METHODS: [Method; 13] = [
    Method { name: "clients", parameters: &["limit", "offset"], which: Which::Clients, run: clients },
    Method { name: "client", parameters: &["client_id"], which: Which::Home, run: client },
    Method { name: "kick", parameters: &["client_id", "reason", "end_session"], which: Which::Home, run: kick },
    Method { name: "ban", parameters: &["client_id", "username", "address", "seconds"], which: Which::Every, run: ban },
    Method { name: "unban", parameters: &["client_id", "username", "address"], which: Which::Every, run: unban },
    Method { name: "bans", parameters: &[], which: Which::First, run: bans },
    Method { name: "subscribe", parameters: &["client_id", "filter", "qos"], which: Which::Home, run: subscribe },
    Method { name: "unsubscribe", parameters: &["client_id", "filter"], which: Which::Home, run: unsubscribe },
    Method { name: "retained", parameters: &["filter", "limit"], which: Which::First, run: retained },
    Method { name: "retained_get", parameters: &["topic"], which: Which::First, run: retained_get },
    Method { name: "retained_delete", parameters: &["filter"], which: Which::First, run: retained_delete },
    Method { name: "publish", parameters: &["topic", "payload", "payload_hex", "qos", "retain"], which: Which::First, run: publish },
    Method { name: "statistics", parameters: &[], which: Which::Statistics, run: statistics },
];

/// Runs `method` with `parameters`, the text of a JSON object (empty: none); answers with JSON.
///
/// # Errors
/// [`ControlError`].
pub fn control(shard: &mut Shard, now: Instant, method: &str, parameters: &str) -> Result<String, ControlError> {
    let method = find(method)?;
    let parameters = Parameters::parse(parameters, method.parameters)?;
    Ok((method.run)(shard, now, &parameters)?.to_string())
}

/// On which of several shards a call is to be made.
///
/// # Errors
/// [`ControlError`], as the call would.
pub fn scope(method: &str, parameters: &str) -> Result<Scope, ControlError> {
    let method = find(method)?;
    Ok(match method.which {
        Which::First => Scope::First,
        Which::Home => Scope::Home(Parameters::parse(parameters, method.parameters)?.needed("client_id")?.to_owned()),
        Which::Every => Scope::Every,
        Which::Clients => Scope::Clients,
        Which::Statistics => Scope::Statistics,
    })
}

/// `clients`, of all shards.
///
/// # Errors
/// [`ControlError`].
pub fn clients_of_all(clients: &[ClientSummary], parameters: &str) -> Result<String, ControlError> {
    let parameters = Parameters::parse(parameters, find("clients")?.parameters)?;
    Ok(listed(clients.len(), clients.iter().cloned(), &parameters)?.to_string())
}

/// `statistics`, of all shards.
///
/// # Errors
/// [`ControlError`].
pub fn statistics_of_all(stats: &Stats, parameters: &str) -> Result<String, ControlError> {
    Parameters::parse(parameters, find("statistics")?.parameters)?;
    Ok(counted(stats).to_string())
}

fn find(name: &str) -> Result<&'static Method, ControlError> {
    METHODS.iter().find(|known| known.name == name).ok_or_else(|| {
        let names: Vec<_> = METHODS.iter().map(|method| method.name).collect();
        ControlError::Invalid(format!("no method '{name}'; there are {}", names.join(", ")))
    })
}

struct Parameters(Map<String, Value>);

impl Parameters {
    fn parse(text: &str, known: &[&str]) -> Result<Self, ControlError> {
        if text.trim().is_empty() {
            return Ok(Self(Map::new()));
        }
        let value: Value = serde_json::from_str(text).map_err(|error| ControlError::Invalid(format!("not JSON: {error}")))?;
        let Value::Object(object) = value else { return Err(ControlError::Invalid("expected a JSON object".to_owned())) };
        match object.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(ControlError::Invalid(format!("unknown parameter '{key}'; there are: {}", known.join(", ")))),
            None => Ok(Self(object)),
        }
    }

    fn text(&self, key: &str) -> Result<Option<&str>, ControlError> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(key, "text")),
        }
    }

    fn needed(&self, key: &str) -> Result<&str, ControlError> {
        self.text(key)?.ok_or_else(|| ControlError::Invalid(format!("'{key}' is missing")))
    }

    fn number(&self, key: &str, default: u64, max: u64) -> Result<u64, ControlError> {
        let Some(value) = self.0.get(key) else { return Ok(default) };
        value.as_u64().filter(|number| *number <= max).ok_or_else(|| wrong(key, &format!("a number from 0 to {max}")))
    }

    fn flag(&self, key: &str) -> Result<bool, ControlError> {
        self.0.get(key).map_or(Ok(false), |value| value.as_bool().ok_or_else(|| wrong(key, "true or false")))
    }

    fn qos(&self) -> Result<Qos, ControlError> {
        Ok(Qos::try_from(self.number("qos", 0, 2)? as u8).unwrap_or_default())
    }

    fn filter(&self, default: Option<&'static str>) -> Result<&str, ControlError> {
        let filter = match (self.text("filter")?, default) {
            (Some(filter), _) => filter,
            (None, Some(default)) => default,
            (None, None) => self.needed("filter")?,
        };
        if topic::is_valid_filter(filter) { Ok(filter) } else { Err(ControlError::Invalid(format!("not a topic filter: {filter:?}"))) }
    }

    /// Exactly one of the three a ban goes by.
    fn banned(&self) -> Result<(BanKind, &str), ControlError> {
        let mut given = Vec::new();
        for kind in BanKind::ALL {
            given.extend(self.text(kind.name())?.map(|text| (kind, text)));
        }
        match given[..] {
            [one] => Ok(one),
            _ => Err(ControlError::Invalid("expected one of client_id, username, address".to_owned())),
        }
    }
}

fn wrong(key: &str, expected: &str) -> ControlError {
    ControlError::Invalid(format!("'{key}' is not {expected}"))
}

fn no_client(client_id: &str) -> ControlError {
    ControlError::NotFound(format!("no client '{client_id}'"))
}

fn client_value(client: &ClientSummary) -> Value {
    let process = client.process.map(|process| json!({ "pid": process.pid, "uid": process.uid, "gid": process.gid }));
    let datagrams = client.datagrams.map(|all| {
        json!({
            "protocol": all.protocol.name(),
            "round_trip_us": all.round_trip_us(),
            "window_bytes": all.window_bytes,
            "datagram_bytes_max": all.datagram_bytes_max,
            "datagrams_sent": all.datagrams_sent,
            "bytes_sent": all.bytes_sent,
            "datagrams_received": all.datagrams_received,
            "bytes_received": all.bytes_received,
            "datagrams_lost": all.datagrams_lost,
            "retransmissions": all.retransmissions,
            "path_changes": all.path_changes,
        })
    });
    json!({
        "process": process,
        "datagrams": datagrams,
        "client_id": client.client_id,
        "mount_point": client.mount_point,
        "username": client.username,
        "peer": client.peer,
        "protocol_level": client.protocol_level,
        "connected": client.connected,
        "keep_alive_s": client.keep_alive_s,
        "session_expiry_s": client.session_expiry_s,
        "subscription_count": client.subscriptions,
        "queued_messages": client.queued_messages,
        "queued_bytes": client.queued_bytes,
        "in_flight_messages": client.in_flight_messages,
        "output_bytes": client.output_bytes,
    })
}

fn clients(shard: &mut Shard, _: Instant, parameters: &Parameters) -> Outcome {
    listed(shard.clients().count(), shard.clients(), parameters)
}

fn listed(total: usize, clients: impl Iterator<Item = ClientSummary>, parameters: &Parameters) -> Outcome {
    let limit = parameters.number("limit", LIST_DEFAULT, LIST_MAX)? as usize;
    let offset = parameters.number("offset", 0, u64::from(u32::MAX))? as usize;
    let listed: Vec<Value> = clients.skip(offset).take(limit).map(|client| client_value(&client)).collect();
    Ok(json!({ "total": total, "clients": listed }))
}

fn client(shard: &mut Shard, _: Instant, parameters: &Parameters) -> Outcome {
    let client_id = parameters.needed("client_id")?;
    let summary = shard.client(client_id).ok_or_else(|| no_client(client_id))?;
    let mut value = client_value(&summary);
    value["subscriptions"] = shard.subscriptions(client_id).into_iter().flatten().collect();
    Ok(value)
}

fn kick(shard: &mut Shard, now: Instant, parameters: &Parameters) -> Outcome {
    let client_id = parameters.needed("client_id")?;
    let reason = parameters.number("reason", Reason::ADMINISTRATIVE_ACTION.0.into(), 255)? as u8;
    if reason < 0x80 {
        return Err(wrong("reason", "a reason to close a connection: those are 128 and above"));
    }
    let end_session = parameters.flag("end_session")?;
    if shard.kick(now, client_id, Reason(reason), end_session) { Ok(json!({})) } else { Err(no_client(client_id)) }
}

fn ban(shard: &mut Shard, now: Instant, parameters: &Parameters) -> Outcome {
    let (kind, text) = parameters.banned()?;
    let seconds = parameters.number("seconds", 0, 100 * YEAR_S)?;
    let time = (seconds != 0).then(|| Duration::from_secs(seconds));
    shard.ban(now, kind, text, time).map_err(|error| match error {
        BanError::Full => ControlError::Limit("max_bans"),
        BanError::Invalid => wrong(kind.name(), if kind == BanKind::Address { "an IP address" } else { "text" }),
    })?;
    Ok(json!({}))
}

fn unban(shard: &mut Shard, _: Instant, parameters: &Parameters) -> Outcome {
    let (kind, text) = parameters.banned()?;
    if shard.unban(kind, text) { Ok(json!({})) } else { Err(ControlError::NotFound(format!("no ban of {} '{text}'", kind.name()))) }
}

fn bans(shard: &mut Shard, now: Instant, _: &Parameters) -> Outcome {
    let list = shard.bans(now).map(|ban| json!({ ban.kind.name(): ban.text, "seconds_left": ban.left.map(|left| left.as_secs()) }));
    Ok(Value::Array(list.collect()))
}

fn subscribe(shard: &mut Shard, now: Instant, parameters: &Parameters) -> Outcome {
    let (client_id, filter) = (parameters.needed("client_id")?, parameters.filter(None)?);
    let options = SubscribeOptions { qos: parameters.qos()?, ..Default::default() };
    match shard.subscribe_client(now, client_id, filter, options) {
        None => Err(no_client(client_id)),
        Some(Ok(())) => Ok(json!({})),
        Some(Err(Reason::QUOTA_EXCEEDED)) => Err(ControlError::Limit("max_subscriptions_per_client")),
        Some(Err(reason)) => Err(ControlError::Invalid(reason.text().to_owned())),
    }
}

fn unsubscribe(shard: &mut Shard, _: Instant, parameters: &Parameters) -> Outcome {
    let (client_id, filter) = (parameters.needed("client_id")?, parameters.filter(None)?);
    match shard.unsubscribe_client(client_id, filter) {
        None => Err(no_client(client_id)),
        Some(true) => Ok(json!({})),
        Some(false) => Err(ControlError::NotFound(format!("'{client_id}' has no subscription to {filter:?}"))),
    }
}

fn message_value(message: &Message, now: Instant) -> Value {
    let mut value = json!({
        "topic": message.topic(),
        "qos": message.qos() as u8,
        "expires_s": message.expiry_left_s(now),
    });
    match core::str::from_utf8(message.payload()) {
        Ok(text) => value["payload"] = text.into(),
        Err(_) => value["payload_hex"] = message.payload().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
    }
    value
}

fn retained(shard: &mut Shard, now: Instant, parameters: &Parameters) -> Outcome {
    let limit = parameters.number("limit", LIST_DEFAULT, LIST_MAX)? as usize;
    let mut found = Vec::new();
    let more = shard.retained_page(now, parameters.filter(Some("#"))?, &mut RetainedCursor::default(), limit, &mut found);
    let mut bytes = 0;
    let fits = |message: &&Arc<Message>| {
        bytes += message.len_bytes();
        bytes <= LIST_BYTES_MAX
    };
    let list: Vec<Value> = found.iter().take_while(fits).map(|message| message_value(message, now)).collect();
    let truncated = more || list.len() < found.len();
    Ok(json!({ "messages": list, "truncated": truncated }))
}

fn retained_get(shard: &mut Shard, now: Instant, parameters: &Parameters) -> Outcome {
    let topic = parameters.needed("topic")?;
    let message = shard.retained(now, topic).ok_or_else(|| ControlError::NotFound(format!("nothing is retained for '{topic}'")))?;
    Ok(message_value(&message, now))
}

fn retained_delete(shard: &mut Shard, now: Instant, parameters: &Parameters) -> Outcome {
    let deleted = shard.clear_retained(now, parameters.filter(None)?);
    Ok(json!({ "deleted": deleted }))
}

fn publish(shard: &mut Shard, now: Instant, parameters: &Parameters) -> Outcome {
    let name = parameters.needed("topic")?;
    if !topic::is_valid_name(name) {
        return Err(wrong("topic", "a topic name"));
    }
    let payload = match (parameters.text("payload")?, parameters.text("payload_hex")?) {
        (Some(_), Some(_)) => return Err(ControlError::Invalid("payload or payload_hex, not both".to_owned())),
        (text, None) => text.unwrap_or_default().as_bytes().to_vec(),
        (None, Some(hex)) => from_hex(hex).ok_or_else(|| wrong("payload_hex", "hexadecimal"))?,
    };
    let properties = PropertyList::new();
    let message = Message::new(shard.budget(), name, &payload, parameters.qos()?, parameters.flag("retain")?, properties.as_properties(), None, 0, now);
    let subscriptions = shard.publish(now, &message).map_err(|_| ControlError::Limit("max_retained_messages"))?;
    Ok(json!({ "subscriptions": subscriptions }))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).map(|value| value as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn statistics(shard: &mut Shard, _: Instant, _: &Parameters) -> Outcome {
    Ok(counted(&shard.stats()))
}

fn counted(stats: &Stats) -> Value {
    Value::Object(stats.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::RwLock;

    use super::*;
    use crate::base::{Budget, Rng};
    use crate::broker::{Options, Origin};
    use crate::route::{self, Router};

    fn shard(options: Options) -> Shard {
        let mut rng = Rng::with_seed(1);
        let router = Arc::new(RwLock::new(Router::new(route::Options::default(), rng.fork())));
        Shard::new(0, options, router, Budget::new(1 << 20), rng, None)
    }

    /// A shard with one connected client "c" of user "u" from 127.0.0.1.
    fn served() -> Shard {
        let mut shard = shard(Options { max_bans: 2, ..Options::default() });
        let key = shard.open(Instant::START, &Origin { peer: "127.0.0.1:5", ..Origin::default() }).expect("admitted");
        shard.handle_input(Instant::START, key, b"\x10\x10\0\x04MQTT\x04\x82\0\0\0\x01c\0\x01u");
        shard
    }

    fn run(shard: &mut Shard, method: &str, parameters: &str) -> Value {
        let text = control(shard, Instant::START, method, parameters).unwrap_or_else(|error| panic!("{method} {parameters}: {error:?}"));
        serde_json::from_str(&text).expect("JSON")
    }

    #[test]
    fn clients_are_listed_looked_at_and_kicked() {
        let mut shard = served();
        let list = run(&mut shard, "clients", "");
        assert_eq!((&list["total"], &list["clients"][0]["client_id"]), (&json!(1), &json!("c")));
        assert_eq!(run(&mut shard, "clients", "{\"offset\":1}")["clients"], json!([]));
        run(&mut shard, "subscribe", "{\"client_id\":\"c\",\"filter\":\"a/#\",\"qos\":1}");
        let one = run(&mut shard, "client", "{\"client_id\":\"c\"}");
        assert_eq!((&one["subscriptions"], &one["connected"], &one["username"]), (&json!(["a/#"]), &json!(true), &json!("u")));
        run(&mut shard, "unsubscribe", "{\"client_id\":\"c\",\"filter\":\"a/#\"}");
        assert!(matches!(control(&mut shard, Instant::START, "unsubscribe", "{\"client_id\":\"c\",\"filter\":\"a/#\"}"), Err(ControlError::NotFound(_))));
        run(&mut shard, "kick", "{\"client_id\":\"c\"}");
        assert_eq!(run(&mut shard, "clients", "")["total"], json!(0));
        assert!(matches!(control(&mut shard, Instant::START, "kick", "{\"client_id\":\"c\"}"), Err(ControlError::NotFound(_))));
    }

    #[test]
    fn bans_are_bounded_end_connections_and_expire() {
        let mut shard = served();
        run(&mut shard, "ban", "{\"username\":\"u\",\"seconds\":60}");
        assert_eq!(shard.stats().clients_connected, 0);
        run(&mut shard, "ban", "{\"address\":\"::ffff:10.0.0.1\"}");
        let full = control(&mut shard, Instant::START, "ban", "{\"client_id\":\"x\"}");
        assert_eq!(full, Err(ControlError::Limit("max_bans")));
        assert_eq!(shard.stats().bans_refused, 1);
        let list = run(&mut shard, "bans", "");
        assert_eq!(list, json!([{ "username": "u", "seconds_left": 60 }, { "address": "10.0.0.1", "seconds_left": null }]));
        assert!(shard.open(Instant::START, &Origin { peer: "10.0.0.1:9", ..Origin::default() }).is_none());
        assert!(shard.open(Instant::START, &Origin { peer: "[::ffff:10.0.0.1]:9", ..Origin::default() }).is_none());
        let later = Instant::START + Duration::from_secs(61);
        assert_eq!(shard.bans(later).count(), 1);
        assert!(shard.ban(later, BanKind::ClientId, "x", None).is_ok(), "what has expired makes room");
        run(&mut shard, "unban", "{\"address\":\"10.0.0.1\"}");
        assert!(shard.open(Instant::START, &Origin { peer: "10.0.0.1:9", ..Origin::default() }).is_some());
    }

    #[test]
    fn retained_messages_are_listed_got_and_deleted() {
        let mut shard = shard(Options::default());
        for (topic, payload) in [("a/1", "\"payload\":\"one\""), ("a/2", "\"payload_hex\":\"ff00\"")] {
            run(&mut shard, "publish", &format!("{{\"topic\":\"{topic}\",{payload},\"retain\":true}}"));
        }
        let list = run(&mut shard, "retained", "{\"filter\":\"a/+\"}");
        assert_eq!(list["messages"][0], json!({ "topic": "a/1", "qos": 0, "expires_s": null, "payload": "one" }));
        assert_eq!(list["messages"][1]["payload_hex"], json!("ff00"));
        assert_eq!(run(&mut shard, "retained", "{\"limit\":1}")["truncated"], json!(true));
        assert_eq!(run(&mut shard, "retained_get", "{\"topic\":\"a/1\"}")["payload"], json!("one"));
        assert_eq!(run(&mut shard, "retained_delete", "{\"filter\":\"a/#\"}"), json!({ "deleted": 2 }));
        assert_eq!(run(&mut shard, "statistics", "{}")["retained_messages"], json!(0));
    }

    #[test]
    fn each_method_knows_its_shards_and_what_is_gathered_looks_as_of_one() {
        let mut shard = served();
        assert_eq!(scope("kick", "{\"client_id\":\"c\"}"), Ok(Scope::Home("c".to_owned())));
        assert!(scope("kick", "{}").is_err() && scope("nothing", "").is_err());
        assert_eq!([scope("ban", ""), scope("publish", "")], [Ok(Scope::Every), Ok(Scope::First)]);
        let list: Vec<ClientSummary> = shard.clients().collect();
        assert_eq!(scope("clients", ""), Ok(Scope::Clients));
        assert_eq!(clients_of_all(&list, ""), control(&mut shard, Instant::START, "clients", ""));
        assert!(clients_of_all(&list, "{\"limits\":1}").is_err());
        assert_eq!(scope("statistics", ""), Ok(Scope::Statistics));
        assert_eq!(statistics_of_all(&shard.stats(), ""), control(&mut shard, Instant::START, "statistics", ""));
    }

    #[test]
    fn a_list_of_retained_messages_is_bounded_in_bytes() {
        let mut shard = shard(Options { memory_limit: 1 << 30, ..Options::default() });
        let budget = Budget::new(1 << 30);
        let payload = vec![b'x'; 6 << 20];
        for name in ["a", "b", "c"] {
            let message = Message::new(&budget, name, &payload, Qos::AtMostOnce, true, crate::codec::Properties::EMPTY, None, 0, Instant::START);
            shard.set_retained(&message).expect("room");
        }
        let list = run(&mut shard, "retained", "");
        assert_eq!((list["messages"].as_array().map(Vec::len), &list["truncated"]), (Some(2), &json!(true)));
    }

    #[test]
    fn wrong_calls_are_named_and_do_nothing() {
        let mut shard = served();
        for (method, parameters, text) in [
            ("nothing", "", "no method 'nothing'"),
            ("client", "[]", "expected a JSON object"),
            ("client", "{", "not JSON"),
            ("client", "{}", "'client_id' is missing"),
            ("client", "{\"client_id\":7}", "'client_id' is not text"),
            ("clients", "{\"limit\":-1}", "'limit' is not a number from 0 to 100000"),
            ("clients", "{\"limits\":1}", "unknown parameter 'limits'"),
            ("kick", "{\"client_id\":\"c\",\"reason\":4}", "'reason' is not a reason"),
            ("kick", "{\"client_id\":\"c\",\"end_session\":1}", "'end_session' is not true or false"),
            ("ban", "{\"client_id\":\"c\",\"username\":\"u\"}", "expected one of"),
            ("ban", "{\"address\":\"localhost\"}", "'address' is not an IP address"),
            ("publish", "{\"topic\":\"a/#\"}", "'topic' is not a topic name"),
            ("publish", "{\"topic\":\"a\",\"payload_hex\":\"f\"}", "'payload_hex' is not hexadecimal"),
            ("subscribe", "{\"client_id\":\"c\",\"filter\":\"#/a\"}", "not a topic filter"),
        ] {
            match control(&mut shard, Instant::START, method, parameters) {
                Err(ControlError::Invalid(said)) => assert!(said.contains(text), "{method}: {said}"),
                other => panic!("{method} {parameters}: {other:?}"),
            }
        }
        assert_eq!(run(&mut shard, "clients", "")["total"], json!(1));
    }
}
