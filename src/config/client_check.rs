//! What is good alone and cannot work together in a client's configuration.

use super::{ClientConfig, Error, Problem};
use crate::codec::Version;

impl ClientConfig {
    /// Every contradiction; none: a client can be made.
    pub fn check(&self) -> Vec<Problem> {
        let options = &self.options;
        let is_v5 = options.version == Version::V5;
        let will = options.will.as_ref();
        let authentication = options.authentication.as_ref();
        let has_will = will.is_some_and(|will| !will.topic.is_empty());
        let rules = [
            (self.servers.is_empty(), "no server", "add one: server = \"mqtt://HOST\""),
            (will.is_some_and(|will| will.topic.is_empty() && !will.payload.is_empty()), "will_payload needs will_topic", "set will_topic"),
            (authentication.is_some_and(|auth| auth.method.is_empty() && !auth.data.is_empty()), "auth_data needs auth_method", "set auth_method"),
            (authentication.is_some_and(|auth| !auth.method.is_empty()) && !is_v5, "auth_method needs MQTT 5", "set version to 5"),
            (
                has_will && !is_v5 && will.is_some_and(|will| !will.properties.is_empty()),
                "properties of a will, such as will_delay_s, need MQTT 5",
                "set version to 5",
            ),
            (
                options.password.is_some() && options.username.is_none() && !is_v5,
                "a password without a user name needs MQTT 5",
                "set username, or version to 5",
            ),
            (options.client_id.is_empty() && options.version == Version::V31, "MQTT 3.1 needs a client identifier", "set client_id"),
            (
                options.client_id.is_empty() && options.version == Version::V311 && !options.clean_start,
                "a session that is kept needs a client identifier",
                "set client_id, or clean_start to true",
            ),
            (
                options.reconnect.delay_min > options.reconnect.delay_max,
                "reconnect_delay_min_ms is longer than reconnect_delay_max_ms",
                "raise reconnect_delay_max_ms",
            ),
        ];
        let broken = rules.into_iter().filter(|(is_broken, ..)| *is_broken);
        let mut problems: Vec<Problem> =
            broken.map(|(_, text, suggestion)| Problem { line: 0, error: Error::Whole { text: text.to_owned(), suggestion: suggestion.to_owned() } }).collect();
        // What the machine itself refuses, if that is nothing of the above.
        if problems.is_empty() {
            problems.extend(self.parts().err().map(|error| Problem { line: 0, error }));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contradiction_is_reported_at_once() {
        let mut config = ClientConfig::default();
        for (key, value) in [("will_payload", "x"), ("auth_data", "x"), ("password", "p"), ("reconnect_delay_min_ms", "90000"), ("version", "3.1")] {
            config.set(key, value).expect("legal alone");
        }
        assert_eq!(config.check().len(), 6, "{:?}", config.check());
        for (key, value) in [("auth_method", "M"), ("will_topic", "t"), ("will_delay_s", "1"), ("version", "3.1.1"), ("clean_start", "false")] {
            config.set(key, value).expect("legal alone");
        }
        assert_eq!(config.check().len(), 6, "{:?}", config.check());
        for (key, value) in [("server", "mqtt://x"), ("version", "5"), ("reconnect_delay_max_ms", "90000")] {
            config.set(key, value).expect("legal");
        }
        assert!(config.check().is_empty(), "{:?}", config.check());
        config.set("will_topic", "a/#").expect("text");
        assert_eq!(config.check().len(), 1, "{:?}", config.check());
    }
}
