//! The hooks and in-process subscriptions of a server, in the event queue.
//!
//! A question is answered "later" at once: the client that it concerns waits, under the hook time
//! limit, and nobody else. What the application decides when it is dispatched is posted back to the
//! worker as any late answer is. What a hook is given is borrowed from a packet, so that the event
//! keeps a copy of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{EventQueue, Later, Owner};
use crate::base::PeerProcess;
use crate::broker::{Access, Answer, ClientInfo, DropReason, HookToken, Hooks, Interest, PublishInfo, Receive, SessionEvent};
use crate::codec::{Connect, Message, Place, Properties, Qos, Reason, SubscribeOptions, Version, Will};
use crate::net::Net;
use crate::net::inbox::Inbox;
use crate::net::log::Log;
use crate::net::server_host::ServerKey;
use crate::net::worker::{Command, Worker};
use crate::stack::About;

/// Stands for the application's hooks on the worker.
pub(in crate::net) struct DispatchedHooks<N: Net> {
    hooks: Later<Box<dyn Hooks>>,
    interest: Interest,
    server: ServerKey,
    inbox: Arc<Inbox<Command<N>>>,
    log: Option<Arc<dyn Log>>,
    tick: Arc<Once>,
}

/// Lets one event of a kind wait, not one for each time it was due: time goes on whether the
/// application dispatches or not.
#[derive(Default)]
struct Once(AtomicBool);

impl Once {
    /// None waits: let one.
    fn begin(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// It runs now.
    fn end(&self) {
        self.0.store(false, Ordering::Release);
    }
}

impl<N: Net> DispatchedHooks<N> {
    pub fn new(
        queue: &Arc<EventQueue>,
        (worker, server): (u16, ServerKey),
        hooks: Box<dyn Hooks>,
        inbox: Arc<Inbox<Command<N>>>,
        log: Option<Arc<dyn Log>>,
    ) -> Self {
        let interest = hooks.interest();
        Self { hooks: Later::new(queue.clone(), Owner::Server(worker, server), hooks), interest, server, inbox, log, tick: Arc::default() }
    }

    /// Puts a question; the answer is posted.
    fn ask(&self, token: HookToken, question: impl FnOnce(&mut dyn Hooks) -> Answer + Send + 'static) -> Answer {
        let (inbox, server) = (self.inbox.clone(), self.server);
        self.hooks.call(move |hooks| {
            if let Answer::Now(decision) = question(hooks.as_mut()) {
                inbox.post(Box::new(move |worker: &mut Worker<N>| {
                    if let Some((shard, now)) = worker.shard(server) {
                        shard.complete(now, token, decision);
                    }
                }));
            }
        });
        Answer::Pending
    }

    fn tell(&self, what: impl FnOnce(&mut dyn Hooks) + Send + 'static) {
        self.hooks.call(move |hooks| what(hooks.as_mut()));
    }
}

impl<N: Net> Hooks for DispatchedHooks<N> {
    fn interest(&self) -> Interest {
        self.interest
    }

    fn is_full(&self) -> bool {
        self.hooks.is_full()
    }

    fn accept(&mut self, peer: &str, listener: &str, token: HookToken) -> Answer {
        let (peer, listener) = (peer.to_owned(), listener.to_owned());
        self.ask(token, move |hooks| hooks.accept(&peer, &listener, token))
    }

    fn connect(&mut self, client: ClientInfo<'_>, connect: &Connect<'_>, token: HookToken) -> Answer {
        let (client, connect) = (OwnedClient::of(client), OwnedConnect::of(connect));
        self.ask(token, move |hooks| hooks.connect(client.as_info(), &connect.as_connect(), token))
    }

    fn authenticate(&mut self, client: ClientInfo<'_>, connect: &Connect<'_>, token: HookToken) -> Answer {
        let (client, connect) = (OwnedClient::of(client), OwnedConnect::of(connect));
        self.ask(token, move |hooks| hooks.authenticate(client.as_info(), &connect.as_connect(), token))
    }

    fn auth_exchange(&mut self, client: ClientInfo<'_>, method: &str, data: &[u8], token: HookToken) -> Answer {
        let (client, method, data) = (OwnedClient::of(client), method.to_owned(), data.to_owned());
        self.ask(token, move |hooks| hooks.auth_exchange(client.as_info(), &method, &data, token))
    }

    fn authorize(&mut self, client: ClientInfo<'_>, access: Access, topic: &str, qos: Qos, retain: bool, token: HookToken) -> Answer {
        let (client, topic) = (OwnedClient::of(client), topic.to_owned());
        self.ask(token, move |hooks| hooks.authorize(client.as_info(), access, &topic, qos, retain, token))
    }

    fn subscribe(&mut self, client: ClientInfo<'_>, filters: &[(String, SubscribeOptions)], token: HookToken) -> Answer {
        let (client, filters) = (OwnedClient::of(client), filters.to_vec());
        self.ask(token, move |hooks| hooks.subscribe(client.as_info(), &filters, token))
    }

    fn unsubscribe(&mut self, client: ClientInfo<'_>, filters: &[&str], token: HookToken) -> Answer {
        let client = OwnedClient::of(client);
        let filters: Vec<String> = filters.iter().map(|&filter| filter.to_owned()).collect();
        self.ask(token, move |hooks| {
            let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
            hooks.unsubscribe(client.as_info(), &filters, token)
        })
    }

    fn publish(&mut self, client: ClientInfo<'_>, publish: &PublishInfo<'_>, token: HookToken) -> Answer {
        let (client, topic, payload) = (OwnedClient::of(client), publish.topic.to_owned(), publish.payload.to_owned());
        let properties = OwnedProperties::of(publish.properties, Place::Publish);
        let (qos, retain, dup) = (publish.qos, publish.retain, publish.dup);
        self.ask(token, move |hooks| {
            let properties = properties.as_properties();
            hooks.publish(client.as_info(), &PublishInfo { topic: &topic, payload: &payload, qos, retain, dup, properties }, token)
        })
    }

    fn connected(&mut self, client: ClientInfo<'_>, session_present: bool) {
        let client = OwnedClient::of(client);
        self.tell(move |hooks| hooks.connected(client.as_info(), session_present));
    }

    fn disconnected(&mut self, client: ClientInfo<'_>, reason: Reason) {
        let client = OwnedClient::of(client);
        self.tell(move |hooks| hooks.disconnected(client.as_info(), reason));
    }

    fn path_moved(&mut self, client: ClientInfo<'_>, previous_peer: &str) {
        let (client, previous_peer) = (OwnedClient::of(client), previous_peer.to_owned());
        self.tell(move |hooks| hooks.path_moved(client.as_info(), &previous_peer));
    }

    fn session(&mut self, client: ClientInfo<'_>, event: SessionEvent) {
        let client = OwnedClient::of(client);
        self.tell(move |hooks| hooks.session(client.as_info(), event));
    }

    fn subscribed(&mut self, client: ClientInfo<'_>, filter: &str, options: SubscribeOptions) {
        let (client, filter) = (OwnedClient::of(client), filter.to_owned());
        self.tell(move |hooks| hooks.subscribed(client.as_info(), &filter, options));
    }

    fn unsubscribed(&mut self, client: ClientInfo<'_>, filter: &str) {
        let (client, filter) = (OwnedClient::of(client), filter.to_owned());
        self.tell(move |hooks| hooks.unsubscribed(client.as_info(), &filter));
    }

    fn publish_out(&mut self, client: ClientInfo<'_>, message: &Arc<Message>, qos: Qos) {
        let (client, message) = (OwnedClient::of(client), message.clone());
        self.tell(move |hooks| hooks.publish_out(client.as_info(), &message, qos));
    }

    fn dropped(&mut self, client: ClientInfo<'_>, message: &Arc<Message>, reason: DropReason) {
        let (client, message) = (OwnedClient::of(client), message.clone());
        self.tell(move |hooks| hooks.dropped(client.as_info(), &message, reason));
    }

    fn expired(&mut self, client: Option<ClientInfo<'_>>, message: &Arc<Message>) {
        let (client, message) = (client.map(OwnedClient::of), message.clone());
        self.tell(move |hooks| hooks.expired(client.as_ref().map(OwnedClient::as_info), &message));
    }

    fn retained_set(&mut self, message: &Arc<Message>) {
        let message = message.clone();
        self.tell(move |hooks| hooks.retained_set(&message));
    }

    fn retained_cleared(&mut self, topic: &str) {
        let topic = topic.to_owned();
        self.tell(move |hooks| hooks.retained_cleared(&topic));
    }

    fn will(&mut self, client: ClientInfo<'_>, message: &Arc<Message>) {
        let (client, message) = (OwnedClient::of(client), message.clone());
        self.tell(move |hooks| hooks.will(client.as_info(), &message));
    }

    fn quota(&mut self, client: Option<ClientInfo<'_>>, limit: &'static str) {
        let client = client.map(OwnedClient::of);
        self.tell(move |hooks| hooks.quota(client.as_ref().map(OwnedClient::as_info), limit));
    }

    fn slow_client(&mut self, client: ClientInfo<'_>, waiting_bytes: usize) {
        let client = OwnedClient::of(client);
        self.tell(move |hooks| hooks.slow_client(client.as_info(), waiting_bytes));
    }

    fn tick(&mut self) {
        if self.tick.begin() {
            let tick = self.tick.clone();
            self.tell(move |hooks| {
                tick.end();
                hooks.tick();
            });
        }
    }

    fn delivered(&mut self, client: ClientInfo<'_>, message: &Arc<Message>, qos: Qos) {
        let (client, message) = (OwnedClient::of(client), message.clone());
        self.tell(move |hooks| hooks.delivered(client.as_info(), &message, qos));
    }

    /// A line of log does not wait: it goes to the runtime's sink from here.
    fn log(&mut self, level: u8, text: &dyn Fn() -> String) {
        const MODULE: &str = "server";
        if let Some(log) = self.log.as_ref().filter(|log| log.wants(level, MODULE)) {
            log.line(level, MODULE, &text());
        }
    }
}

/// A callback of an in-process subscription that runs on the dispatching thread.
pub(in crate::net) fn receiver(queue: &Arc<EventQueue>, owner: Owner, receive: Receive) -> Receive {
    let later = Later::new(queue.clone(), owner, receive);
    Box::new(move |message| {
        let message = message.clone();
        later.call(move |receive| receive(&message));
    })
}

/// A scheduled task that runs on the dispatching thread, and what keeps it from running when it
/// waits there already and is cancelled.
pub(in crate::net) fn task(queue: &Arc<EventQueue>, owner: Owner, run: Box<dyn FnMut() + Send>) -> (Box<dyn FnMut() + Send>, Box<dyn FnOnce() + Send>) {
    let later = Later::new(queue.clone(), owner, run);
    let (once, is_cancelled) = (Arc::new(Once::default()), Arc::new(AtomicBool::new(false)));
    let cancel = is_cancelled.clone();
    let run = move || {
        if once.begin() {
            let (once, is_cancelled) = (once.clone(), is_cancelled.clone());
            later.call(move |run| {
                once.end();
                if !is_cancelled.load(Ordering::Acquire) {
                    run();
                }
            });
        }
    };
    (Box::new(run), Box::new(move || cancel.store(true, Ordering::Release)))
}

struct OwnedClient {
    client_id: String,
    mount_point: Option<String>,
    username: Option<String>,
    peer: String,
    protocol_level: u8,
    process: Option<PeerProcess>,
    about: Option<Arc<About>>,
}

impl OwnedClient {
    fn of(client: ClientInfo<'_>) -> Self {
        Self {
            client_id: client.client_id.to_owned(),
            mount_point: client.mount_point.map(str::to_owned),
            username: client.username.map(str::to_owned),
            peer: client.peer.to_owned(),
            protocol_level: client.protocol_level,
            process: client.process,
            about: client.about.cloned(),
        }
    }

    fn as_info(&self) -> ClientInfo<'_> {
        let Self { client_id, mount_point, username, peer, protocol_level, process, about } = self;
        let (mount_point, username, about) = (mount_point.as_deref(), username.as_deref(), about.as_ref());
        ClientInfo { client_id, mount_point, username, peer, protocol_level: *protocol_level, process: *process, about }
    }
}

struct OwnedProperties(Vec<u8>, Place);

impl OwnedProperties {
    fn of(properties: Properties<'_>, place: Place) -> Self {
        Self(properties.as_bytes().to_owned(), place)
    }

    fn as_properties(&self) -> Properties<'_> {
        Properties::parse(self.1, &self.0).expect("they were parsed before")
    }
}

struct OwnedConnect {
    version: Version,
    clean_start: bool,
    keep_alive_s: u16,
    client_id: String,
    username: Option<String>,
    password: Option<Vec<u8>>,
    properties: OwnedProperties,
    is_bridge: bool,
    will: Option<OwnedWill>,
}

struct OwnedWill {
    qos: Qos,
    retain: bool,
    topic: String,
    payload: Vec<u8>,
    properties: OwnedProperties,
}

impl OwnedConnect {
    fn of(connect: &Connect<'_>) -> Self {
        Self {
            version: connect.version,
            clean_start: connect.clean_start,
            keep_alive_s: connect.keep_alive_s,
            client_id: connect.client_id.to_owned(),
            username: connect.username.map(str::to_owned),
            password: connect.password.map(<[u8]>::to_owned),
            properties: OwnedProperties::of(connect.properties, Place::Connect),
            is_bridge: connect.is_bridge,
            will: connect.will.map(|will| OwnedWill {
                qos: will.qos,
                retain: will.retain,
                topic: will.topic.to_owned(),
                payload: will.payload.to_owned(),
                properties: OwnedProperties::of(will.properties, Place::Will),
            }),
        }
    }

    fn as_connect(&self) -> Connect<'_> {
        Connect {
            version: self.version,
            clean_start: self.clean_start,
            keep_alive_s: self.keep_alive_s,
            client_id: &self.client_id,
            username: self.username.as_deref(),
            password: self.password.as_deref(),
            properties: self.properties.as_properties(),
            is_bridge: self.is_bridge,
            will: self.will.as_ref().map(|will| Will {
                qos: will.qos,
                retain: will.retain,
                topic: &will.topic,
                payload: &will.payload,
                properties: will.properties.as_properties(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_is_kept_whole() {
        let will = Will { qos: Qos::AtLeastOnce, retain: true, topic: "gone", payload: b"now", properties: Properties::EMPTY };
        let connect = Connect {
            version: Version::V5,
            clean_start: true,
            keep_alive_s: 17,
            client_id: "device",
            will: Some(will),
            username: Some("name"),
            password: Some(b"\0secret"),
            properties: Properties::parse(Place::Connect, &[0x21, 0x00, 0x07]).expect("Receive Maximum"),
            is_bridge: false,
        };
        assert_eq!(OwnedConnect::of(&connect).as_connect(), connect);
    }

    /// A hook without a place here would run as if the application had none.
    #[test]
    fn every_hook_of_the_broker_has_its_place_here() {
        let methods = |text: &str| -> Vec<String> {
            let body = text.split("pub trait Hooks").nth(1).unwrap_or(text);
            let body = body.split("\n}\n").next().unwrap_or_default();
            let names = body.lines().filter_map(|line| line.strip_prefix("    fn "));
            names.filter_map(|line| line.split(['(', '<']).next()).map(str::to_owned).collect()
        };
        let wanted = methods(include_str!("../../broker/hooks.rs"));
        assert!(wanted.len() >= 10, "the trait was not found");
        let own = include_str!("hooks.rs").split("Hooks for DispatchedHooks<N> {").nth(1).expect("the implementation");
        for name in wanted {
            assert!(own.contains(&format!("    fn {name}(")), "DispatchedHooks has no {name}");
        }
    }
}
