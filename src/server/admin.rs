//! What the owner of a server does to it while it runs.
//!
//! What changes something is done at once and answered, except inside a callback: there it is
//! posted, and answered as if it had gone well; a limit it then meets is counted. Where too much is posted already, it is
//! refused (`Client(QueueFull)`), and nothing has changed.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{ANSWER_WAIT, Publication, Server};
use crate::base::{Duration, Instant};
use crate::broker::{Ban, BanError, BanKind, ClientSummary, Rules, Shard, TaskId};
use crate::codec::{Message, Reason, SubscribeOptions};
use crate::net::{self, Endpoint, Error, ListenerOptions, MioNet, Worker};
use crate::route::RetainedCursor;

/// Retained messages fetched in one request.
const RETAINED_PER_REQUEST: usize = 1_000;

impl Server {
    /// Listens with a socket that listens already, such as one of systemd; answers where. The
    /// place in `options` does not count.
    ///
    /// # Errors
    /// `Io`: it is not a listening TCP or Unix socket; else as [`Runtime::request`](crate::net::Runtime::request).
    pub fn add_listener_socket(&self, socket: OwnedFd, options: ListenerOptions) -> Result<Endpoint, Error> {
        let recipe = net::listener_recipe(&options)?;
        let (runtime, key) = self.next_shard();
        Ok(runtime.request(ANSWER_WAIT, move |worker| worker.add_listener_socket(key, socket, &options, recipe))??)
    }

    /// Serves a client on a stream that is connected already. False: a limit, a ban or a hook did
    /// not let it in, and it is closed.
    ///
    /// # Errors
    /// As [`Server::add_listener_socket`].
    pub fn adopt(&self, socket: OwnedFd, rules: Option<Arc<Rules>>) -> Result<bool, Error> {
        let (runtime, key) = self.next_shard();
        Ok(runtime.request(ANSWER_WAIT, move |worker| worker.adopt(key, socket, rules.as_ref()))??)
    }

    /// As [`Server::adopt`], as if it had come in through the listener at `endpoint`: its layers, rules and limits are this connection's.
    /// `None`: it does not listen there.
    ///
    /// # Errors
    /// As [`Server::add_listener_socket`].
    pub fn adopt_at(&self, socket: OwnedFd, endpoint: &Endpoint) -> Result<Option<bool>, Error> {
        let socket = Arc::new(socket);
        for (runtime, key) in &self.shards {
            let (socket, endpoint, key) = (socket.clone(), endpoint.clone(), *key);
            if let Some(is_in) = runtime.request(ANSWER_WAIT, move |worker| worker.adopt_at(key, &socket, &endpoint))?? {
                return Ok(Some(is_in));
            }
        }
        Ok(None)
    }

    /// Does it now, or soon if this is a callback.
    fn change<R: Send + 'static>(&self, if_posted: R, act: impl FnOnce(&mut Shard, Instant) -> R + Send + 'static) -> Result<R, Error> {
        self.change_of(0, if_posted, act)
    }

    /// As `change`, on one shard.
    fn change_of<R: Send + 'static>(&self, shard: usize, if_posted: R, act: impl FnOnce(&mut Shard, Instant) -> R + Send + 'static) -> Result<R, Error> {
        if self.runtime.is_turning() {
            let place = self.posted.admit_order(0)?;
            self.post_to(shard, move |shard, now| {
                drop(place);
                act(shard, now);
            });
            return Ok(if_posted);
        }
        self.request_of(shard, act)
    }

    /// As `change`, on every shard, which all hold the same; on the others only if the first one
    /// agrees, whose answer it is.
    pub(super) fn change_all<R: Send + 'static>(
        &self,
        if_posted: R,
        agrees: impl Fn(&R) -> bool,
        act: impl Fn(&mut Shard, Instant) -> R + Clone + Send + 'static,
    ) -> Result<R, Error> {
        let answer = self.change_of(0, if_posted, act.clone())?;
        for shard in (1..self.shards.len()).filter(|_| agrees(&answer)) {
            let act = act.clone();
            self.change_of(shard, (), move |shard, now| drop(act(shard, now)))?;
        }
        Ok(answer)
    }

    /// Runs `run` where hooks run after `delay`, and every `period` if there is one. `None`:
    /// too many tasks wait.
    ///
    /// # Errors
    /// As [`Runtime::request`](crate::net::Runtime::request).
    pub fn schedule(&self, delay: Duration, period: Option<Duration>, run: impl FnMut() + Send + 'static) -> Result<Option<TaskId>, Error> {
        let id = self.next_subscription.fetch_add(1, Ordering::Relaxed);
        let (_, server) = self.shards[0];
        let act = move |worker: &mut Worker<MioNet>| {
            let task = worker.task(server, period, Box::new(run));
            worker.shard(server).map(|(shard, now)| shard.schedule(now, id, delay, task))
        };
        if self.runtime.is_turning() {
            let place = self.posted.admit_order(0)?;
            self.runtime.post(Box::new(move |worker| {
                drop(place);
                act(worker);
            }));
            return Ok(Some(id));
        }
        Ok(self.runtime.request(ANSWER_WAIT, act)?.ok_or(Error::Gone)?.then_some(id))
    }

    /// A task is not run any more. False: it has ended already.
    ///
    /// # Errors
    /// As [`Runtime::request`](crate::net::Runtime::request).
    pub fn cancel(&self, id: TaskId) -> Result<bool, Error> {
        self.change(true, move |shard, _| shard.cancel(id))
    }

    /// Does not let somebody in, for a time or for good, and closes the connections this is about.
    ///
    /// # Errors
    /// Outside as [`Runtime::request`](crate::net::Runtime::request); inside [`BanError`].
    pub fn ban(&self, kind: BanKind, text: &str, time: Option<Duration>) -> Result<Result<(), BanError>, Error> {
        let text = text.to_owned();
        self.change_all(Ok(()), Result::is_ok, move |shard, now| shard.ban(now, kind, &text, time))
    }

    /// Ends a ban. False: there was none.
    ///
    /// # Errors
    /// As [`Runtime::request`](crate::net::Runtime::request).
    pub fn unban(&self, kind: BanKind, text: &str) -> Result<bool, Error> {
        let text = text.to_owned();
        self.change_all(true, |was_there| *was_there, move |shard, _| shard.unban(kind, &text))
    }

    /// The bans in force.
    ///
    /// # Errors
    /// As [`Runtime::request`](crate::net::Runtime::request).
    pub fn bans(&self) -> Result<Vec<Ban>, Error> {
        self.request(|shard, now| shard.bans(now).collect())
    }

    /// One client, connected or away.
    ///
    /// # Errors
    /// As [`Runtime::request`](crate::net::Runtime::request).
    pub fn client(&self, client_id: &str) -> Result<Option<ClientSummary>, Error> {
        let (home, client_id) = (self.home_of(client_id), client_id.to_owned());
        self.request_of(home, move |shard, _| shard.client(&client_id))
    }

    /// The filters of one client.
    ///
    /// # Errors
    /// As [`Runtime::request`](crate::net::Runtime::request).
    pub fn subscriptions(&self, client_id: &str) -> Result<Option<Vec<String>>, Error> {
        let (home, client_id) = (self.home_of(client_id), client_id.to_owned());
        self.request_of(home, move |shard, _| shard.subscriptions(&client_id))
    }

    /// Subscribes for a client; as [`Shard::subscribe_client`].
    ///
    /// # Errors
    /// As [`Runtime::request`](crate::net::Runtime::request).
    pub fn subscribe_client(&self, client_id: &str, filter: &str, options: SubscribeOptions) -> Result<Option<Result<(), Reason>>, Error> {
        let (home, client_id, filter) = (self.home_of(client_id), client_id.to_owned(), filter.to_owned());
        self.change_of(home, Some(Ok(())), move |shard, now| shard.subscribe_client(now, &client_id, &filter, options))
    }

    /// Ends a subscription of a client; as [`Shard::unsubscribe_client`].
    ///
    /// # Errors
    /// As [`Runtime::request`](crate::net::Runtime::request).
    pub fn unsubscribe_client(&self, client_id: &str, filter: &str) -> Result<Option<bool>, Error> {
        let (home, client_id, filter) = (self.home_of(client_id), client_id.to_owned(), filter.to_owned());
        self.change_of(home, Some(true), move |shard, _| shard.unsubscribe_client(&client_id, &filter))
    }

    /// The retained message of a topic.
    ///
    /// # Errors
    /// As [`Runtime::request`](crate::net::Runtime::request).
    pub fn retained(&self, topic: &str) -> Result<Option<Arc<Message>>, Error> {
        let topic = topic.to_owned();
        self.request(move |shard, now| shard.retained(now, &topic))
    }

    /// Gives the retained messages that meet a filter to `take`, on this thread, until it says
    /// false. They are fetched in parts: what changes meanwhile may be seen or not.
    ///
    /// # Errors
    /// `Invalid`: not a filter, or a shared one; else as [`Runtime::request`](crate::net::Runtime::request).
    pub fn each_retained(&self, filter: &str, mut take: impl FnMut(&Arc<Message>) -> bool) -> Result<(), Error> {
        plain_filter(filter)?;
        let mut cursor = RetainedCursor::default();
        loop {
            let filter = filter.to_owned();
            let (page, at, more) = self.request(move |shard, now| {
                let mut page = Vec::new();
                let more = shard.retained_page(now, &filter, &mut cursor, RETAINED_PER_REQUEST, &mut page);
                (page, cursor, more)
            })?;
            cursor = at;
            if !page.iter().all(&mut take) || !more {
                return Ok(());
            }
        }
    }

    /// Keeps a message as the retained one of its topic, and sends nobody anything. False: there is
    /// no room.
    ///
    /// # Errors
    /// `Invalid`: not a topic name; else as [`Runtime::request`](crate::net::Runtime::request).
    pub fn set_retained(&self, publication: &Publication<'_>) -> Result<bool, Error> {
        let message = self.owned(&Publication { retain: true, ..*publication })?;
        self.change(true, move |shard, now| shard.set_retained(&message.into_message(shard, now)).is_ok())
    }

    /// Forgets the retained messages that meet a filter; how many (0 inside a callback).
    ///
    /// # Errors
    /// As [`Server::each_retained`].
    pub fn clear_retained(&self, filter: &str) -> Result<usize, Error> {
        plain_filter(filter)?;
        let filter = filter.to_owned();
        self.change(0, move |shard, now| shard.clear_retained(now, &filter))
    }
}

fn plain_filter(filter: &str) -> Result<(), Error> {
    let good = crate::topic::is_valid_filter(filter) && crate::topic::split_share(filter).is_none();
    if good { Ok(()) } else { Err(Error::Invalid(format!("not a plain topic filter: {filter:?}"))) }
}
