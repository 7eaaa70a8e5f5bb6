//! A client's handler and the callbacks of its subscriptions: here, or in the event queue.

use std::sync::Arc;

use super::{EventQueue, Later, Owner};
use crate::base::Instant;
use crate::net::client_gauge::ClientGauge;
use crate::net::client_host::{ClientHandler, Credentials, MessageCallback};
use crate::net::client_path::PathMoved;
use crate::proto::client::{Event, Incoming, Outcome, Token};
use crate::stack::DatagramProtocol;

/// The handler of a client.
pub(in crate::net) struct ClientSide {
    handler: Side<Box<dyn ClientHandler>>,
    gauge: Arc<ClientGauge>,
}

enum Side<T: Send + 'static> {
    /// Called by the worker.
    Here(T),
    /// Called by the application's thread.
    Dispatched(Later<T>),
}

/// What became of the question for credentials.
pub(in crate::net) enum Asked {
    Answered(Option<Credentials>),
    /// The answer comes through the closure.
    Later,
}

impl ClientSide {
    pub fn new(queue: Option<&Arc<EventQueue>>, owner: Owner, handler: Box<dyn ClientHandler>, gauge: Arc<ClientGauge>) -> Self {
        Self { handler: Side::new(queue, owner, handler), gauge }
    }

    pub fn event(&mut self, now: Instant, event: Event) {
        let is_completion = matches!(event, Event::Responded { .. } | Event::Subscribed { .. } | Event::Unsubscribed { .. });
        match &mut self.handler {
            Side::Here(handler) => {
                if is_completion || !self.gauge.is_closed() {
                    handler.event(now, event);
                }
            }
            Side::Dispatched(later) => {
                let gauge = self.gauge.clone();
                later.call(move |handler| {
                    if is_completion || !gauge.is_closed() {
                        handler.event(now, event);
                    }
                    handler.told();
                });
            }
        }
    }

    /// A publish is done; that is told also after the end of everything else.
    pub fn published(&mut self, now: Instant, token: Token, outcome: Outcome) {
        match &mut self.handler {
            Side::Here(handler) => handler.published(now, token, outcome),
            Side::Dispatched(later) => later.call(move |handler| {
                handler.published(now, token, outcome);
                handler.told();
            }),
        }
    }

    /// The worker has told what there was.
    pub fn told(&mut self) {
        if let Side::Here(handler) = &mut self.handler {
            handler.told();
        }
    }

    pub fn refused(&mut self, token: Token, error: crate::proto::Error) {
        self.handler.call(move |handler| handler.refused(token, error));
    }

    /// The server knows an older protocol only.
    #[cfg_attr(not(feature = "datagram"), allow(dead_code))]
    pub fn fell_back(&mut self, server: usize, protocol: DatagramProtocol) {
        let gauge = self.gauge.clone();
        self.handler.call(move |handler| {
            if !gauge.is_closed() {
                handler.fell_back(server, protocol);
            }
        });
    }

    /// The connection goes on over another path.
    #[cfg_attr(not(feature = "datagram"), allow(dead_code))]
    pub fn path_moved(&mut self, moved: PathMoved) {
        let gauge = self.gauge.clone();
        self.handler.call(move |handler| {
            if !gauge.is_closed() {
                handler.path_moved(moved);
            }
        });
    }

    /// Asks for credentials; `answer` is called only if the answer comes later.
    pub fn before_connect(&mut self, server: usize, answer: impl FnOnce(Option<Credentials>) + Send + 'static) -> Asked {
        let gauge = self.gauge.clone();
        let ask = move |handler: &mut Box<dyn ClientHandler>| if gauge.is_closed() { None } else { handler.before_connect(server) };
        match &mut self.handler {
            Side::Here(handler) => Asked::Answered(ask(handler)),
            Side::Dispatched(later) => {
                later.call(move |handler| answer(ask(handler)));
                Asked::Later
            }
        }
    }
}

/// The callback of a subscription.
pub(in crate::net) struct CallbackSide {
    callback: Side<MessageCallback>,
    gauge: Arc<ClientGauge>,
}

impl CallbackSide {
    pub fn new(queue: Option<&Arc<EventQueue>>, owner: Owner, callback: MessageCallback, gauge: Arc<ClientGauge>) -> Self {
        Self { callback: Side::new(queue, owner, callback), gauge }
    }

    pub fn call(&mut self, incoming: &Arc<Incoming>) {
        let (incoming, gauge) = (incoming.clone(), self.gauge.clone());
        self.callback.call(move |callback| {
            if !gauge.is_closed() {
                callback(&incoming);
            }
        });
    }
}

impl<T: Send + 'static> Side<T> {
    fn new(queue: Option<&Arc<EventQueue>>, owner: Owner, inner: T) -> Self {
        match queue {
            None => Self::Here(inner),
            Some(queue) => Self::Dispatched(Later::new(queue.clone(), owner, inner)),
        }
    }

    fn call(&mut self, act: impl FnOnce(&mut T) + Send + 'static) {
        match self {
            Self::Here(inner) => act(inner),
            Self::Dispatched(later) => later.call(act),
        }
    }
}
