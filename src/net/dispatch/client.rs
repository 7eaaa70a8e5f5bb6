//! A client's handler and the callbacks of its subscriptions: here, or in the event queue.

use std::sync::Arc;

use super::{EventQueue, Later, Owner};
use crate::base::Instant;
use crate::net::client_host::{ClientHandler, Credentials, MessageCallback};
use crate::proto::client::{Event, Incoming, Token};

/// The handler of a client.
pub(in crate::net) enum ClientSide {
    /// Called by the worker.
    Here(Box<dyn ClientHandler>),
    /// Called by the application's thread.
    Dispatched(Later<Box<dyn ClientHandler>>),
}

/// What became of the question for credentials.
pub(in crate::net) enum Asked {
    Answered(Option<Credentials>),
    /// The answer comes through the closure.
    Later,
}

impl ClientSide {
    pub fn new(queue: Option<&Arc<EventQueue>>, owner: Owner, handler: Box<dyn ClientHandler>) -> Self {
        match queue {
            None => Self::Here(handler),
            Some(queue) => Self::Dispatched(Later::new(queue.clone(), owner, handler)),
        }
    }

    pub fn event(&mut self, now: Instant, event: Event) {
        match self {
            Self::Here(handler) => handler.event(now, event),
            Self::Dispatched(later) => later.call(move |handler| handler.event(now, event)),
        }
    }

    pub fn refused(&mut self, token: Token, error: crate::proto::Error) {
        match self {
            Self::Here(handler) => handler.refused(token, error),
            Self::Dispatched(later) => later.call(move |handler| handler.refused(token, error)),
        }
    }

    /// Asks for credentials; `answer` is called only if the answer comes later.
    pub fn before_connect(&mut self, server: usize, answer: impl FnOnce(Option<Credentials>) + Send + 'static) -> Asked {
        match self {
            Self::Here(handler) => Asked::Answered(handler.before_connect(server)),
            Self::Dispatched(later) => {
                later.call(move |handler| answer(handler.before_connect(server)));
                Asked::Later
            }
        }
    }
}

/// The callback of a subscription.
pub(in crate::net) enum CallbackSide {
    Here(MessageCallback),
    Dispatched(Later<MessageCallback>),
}

impl CallbackSide {
    pub fn new(queue: Option<&Arc<EventQueue>>, owner: Owner, callback: MessageCallback) -> Self {
        match queue {
            None => Self::Here(callback),
            Some(queue) => Self::Dispatched(Later::new(queue.clone(), owner, callback)),
        }
    }

    pub fn call(&mut self, incoming: &Arc<Incoming>) {
        match self {
            Self::Here(callback) => callback(incoming),
            Self::Dispatched(later) => {
                let incoming = incoming.clone();
                later.call(move |callback| callback(&incoming));
            }
        }
    }
}
