//! Request and response (MQTT 5 §4.10), as a caller sees them.

use super::lane::message_bytes;
use super::{Client, CompletionCallback, Publish, RequestKind, Token};
use crate::base::Duration;
use crate::codec::{Message, PropertyList};
use crate::net::Error;
use crate::proto::client::response_to;

impl Client {
    /// Publishes a request and waits at most `timeout` for the response; `done` and
    /// [`super::Event::Responded`] tell. Response Topic and Correlation Data are the library's affair.
    ///
    /// # Errors
    /// As [`Client::publish`]. Before MQTT 5 the completion says that it is not supported.
    pub fn request(&self, request: Publish<'_>, timeout: Duration, done: Option<CompletionCallback>) -> Result<Token, Error> {
        let bytes = message_bytes(&request.as_request());
        let (message, terms) = self.message(request)?;
        self.enter_other(RequestKind::Request, bytes, terms, done, move |token, terms| {
            Box::new(move |client, now| client.request(now, token, &message, terms, timeout))
        })
    }

    /// Publishes `response` where the request that came wants it, with its Correlation Data; topic and properties of
    /// `response` are replaced accordingly.
    ///
    /// # Errors
    /// As [`Client::publish`]; `Client`: the request names no Response Topic.
    pub fn respond(&self, request: &Message, response: Publish<'_>, properties: &PropertyList, done: Option<CompletionCallback>) -> Result<Token, Error> {
        let (topic, properties) = response_to(request, properties)?;
        self.publish(Publish { topic, properties: properties.as_properties(), ..response }, done)
    }
}
