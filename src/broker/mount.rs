//! Mount points: all topics of a listener's clients lie under a prefix that they never see.
//!
//! Whatever comes from such a client (PUBLISH, will, response topic, SUBSCRIBE, UNSUBSCRIBE, shared or
//! not) gets the prefix before anything else looks at it: hooks, limits, router and retained
//! messages know whole topics only. What is written to it loses the prefix again, at the last moment:
//! queues hold the message everybody has. A shared filter has it behind its group:
//! `$share/GROUP/PREFIXfilter`.
//!
//! * A topic that begins with `$` cannot be under a mount point: behind the prefix a wildcard would
//!   meet it, which the client must not see (§4.7.2). Publishing to one is refused.
//! * A response topic that lies elsewhere cannot be answered to from inside, and is left out.
//! * A message from outside the prefix, sent by the owner's own call or by a subscription that a hook
//!   or the owner has made, comes as it is.
//! * A session is of one mount point: client ids of different ones, and of listeners without any, have nothing to do with
//!   each other. Nobody takes over, resumes or ends a session of another mount point, or keeps its owner from a client id. Hooks are told the
//!   mount point beside the client id; the owner's calls name such a client `PREFIX/#CLIENT`. A ban of a client id is for all.

use std::sync::Arc;

use crate::codec::{Message, Properties, PropertyId, PropertyList, Value};
use crate::topic::{self, TOPIC_BYTES_MAX};

/// A prefix that ends with `/`.
#[derive(PartialEq, Eq, Debug)]
pub struct MountPoint(Box<str>);

impl MountPoint {
    /// `None`: not the begin of a topic, without `/` at its end, the server's own (`$`), or too long.
    pub fn new(prefix: &str) -> Option<Self> {
        let is_good = topic::is_valid_name(prefix) && prefix.ends_with('/') && !prefix.starts_with('$') && prefix.len() <= PREFIX_BYTES_MAX;
        is_good.then(|| Self(prefix.into()))
    }

    /// The prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The whole topic of a client's topic; `None`: there is none.
    pub(super) fn whole_topic(&self, topic: &str) -> Option<String> {
        let is_good = !topic.starts_with('$') && topic.len() + self.0.len() <= TOPIC_BYTES_MAX;
        is_good.then(|| [&self.0, topic].concat())
    }

    /// The whole filter of a client's filter; `None`: there is none.
    pub(super) fn whole_filter(&self, filter: &str) -> Option<String> {
        if !topic::is_valid_filter(filter) || filter.len() + self.0.len() > TOPIC_BYTES_MAX {
            return None;
        }
        Some(match topic::split_share(filter) {
            Some((group, plain)) => ["$share/", group, "/", &self.0, plain].concat(),
            None => [&self.0, filter].concat(),
        })
    }

    /// The properties of a client's message, its response topic as a whole one.
    pub(super) fn whole_properties(&self, properties: &mut PropertyList) {
        self.replace_response_topic(properties, |response| self.whole_topic(response));
    }

    /// A filter such as `#` meets it, but it has no name inside: the prefix itself.
    pub(super) fn hides(&self, topic: &str) -> bool {
        let prefix = &*self.0;
        topic == prefix || Some(topic) == prefix.strip_suffix('/')
    }

    /// The message as such a client sees it; `None`: as it is.
    pub(super) fn shown(&self, message: &Message) -> Option<Arc<Message>> {
        let topic = message.topic().strip_prefix(&*self.0)?;
        if message.properties().utf8(PropertyId::ResponseTopic).is_none() {
            return Some(message.renamed(topic, message.properties()));
        }
        let mut properties = PropertyList::new();
        properties.extend_filtered(message.properties(), |_| true);
        self.replace_response_topic(&mut properties, |response| Some(response.strip_prefix(&*self.0)?.to_owned()));
        Some(message.renamed(topic, properties.as_properties()))
    }

    fn replace_response_topic(&self, properties: &mut PropertyList, replace: impl FnOnce(&str) -> Option<String>) {
        let Some(response) = response_topic(properties.as_properties()) else { return };
        let response = replace(&response);
        properties.remove(PropertyId::ResponseTopic);
        if let Some(response) = response.filter(|response| !response.is_empty()) {
            properties.push(PropertyId::ResponseTopic, Value::Utf8(&response));
        }
    }
}

fn response_topic(properties: Properties<'_>) -> Option<String> {
    properties.utf8(PropertyId::ResponseTopic).map(str::to_owned)
}

/// Room is left for the client's own part.
const PREFIX_BYTES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Budget, Instant};
    use crate::codec::Qos;

    #[test]
    fn topics_and_filters_get_the_prefix_and_lose_it() {
        let mount = MountPoint::new("site/7/").expect("legal");
        assert_eq!(mount.whole_topic("a/b").as_deref(), Some("site/7/a/b"));
        assert_eq!(mount.whole_filter("+/#").as_deref(), Some("site/7/+/#"));
        assert_eq!(mount.whole_filter("$share/g/a/+").as_deref(), Some("$share/g/site/7/a/+"));
        assert_eq!(mount.whole_filter("").or(mount.whole_filter("a#")), None);
        assert_eq!(mount.whole_topic("$SYS/a").or(mount.whole_topic(&"x".repeat(65_530))), None);
        for prefix in ["", "site", "a/+/", "#/", "$SYS/", "a\0/"] {
            assert!(MountPoint::new(prefix).is_none(), "{prefix:?}");
        }
        assert!(MountPoint::new(&format!("{}/", "x".repeat(1_024))).is_none());
    }

    #[test]
    fn a_message_is_shown_without_the_prefix_and_with_a_response_topic_that_can_be_used() {
        let (mount, budget) = (MountPoint::new("m/").expect("legal"), Budget::new(1 << 20));
        let shown = |topic: &str, response: Option<&str>| {
            let mut properties = PropertyList::new();
            properties.push(PropertyId::UserProperty, Value::Pair("k", "v"));
            response.into_iter().for_each(|response| properties.push(PropertyId::ResponseTopic, Value::Utf8(response)));
            let message = Message::new(&budget, topic, b"payload", Qos::AtLeastOnce, true, properties.as_properties(), None, 9, Instant::START);
            let shown = mount.shown(&message)?;
            assert_eq!((shown.payload(), shown.qos(), shown.retain(), shown.publisher()), (&b"payload"[..], Qos::AtLeastOnce, true, 9));
            assert_eq!(shown.properties().user().collect::<Vec<_>>(), [("k", "v")]);
            Some((shown.topic().to_owned(), shown.properties().utf8(PropertyId::ResponseTopic).map(str::to_owned)))
        };
        assert_eq!(shown("m/t", None), Some(("t".to_owned(), None)));
        assert_eq!(shown("m/t", Some("m/r")), Some(("t".to_owned(), Some("r".to_owned()))));
        assert_eq!(shown("m/t", Some("elsewhere")), Some(("t".to_owned(), None)));
        assert_eq!(shown("t", None), None);
        assert!(mount.hides("m") && mount.hides("m/") && !mount.hides("m/t") && !mount.hides("n"));
        assert_eq!(budget.used_bytes(), 0);
    }
}
