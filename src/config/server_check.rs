//! What is good alone and cannot work together in a server's configuration.

use super::{Error, Problem, ServerConfig, server_keys};

/// The most an identifier of MQTT may have (§1.5.4), less what is put behind a prefix.
const PREFIX_BYTES_MAX: usize = 65_535 - 16;

impl ServerConfig {
    /// Every contradiction; none: a server can be made and start.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut report = |text: String, suggestion: &str| {
            problems.push(Problem { line: 0, error: Error::Whole { text, suggestion: suggestion.to_owned() } });
        };
        self.check_sizes(&mut report);
        self.check_times(&mut report);
        self.check_listeners(&mut report);
        let prefix = &self.options.auto_id_prefix;
        if prefix.contains('\0') || prefix.len() > PREFIX_BYTES_MAX {
            report("auto_id_prefix cannot begin a client identifier".to_owned(), "use a short text without NUL");
        }
        problems
    }

    fn check_sizes(&self, report: &mut impl FnMut(String, &str)) {
        let options = &self.options;
        for (name, bytes) in [
            ("max_packet_size", options.max_packet_size),
            ("max_queued_bytes", options.max_queued_bytes),
            ("max_retained_bytes", options.max_retained_bytes),
            ("max_output_bytes", options.max_output_bytes),
        ] {
            debug_assert!(server_keys().iter().any(|key| key.name == name));
            if bytes > options.memory_limit {
                let text = format!("{name} is {bytes}, more than memory_limit, which is {}", options.memory_limit);
                report(text, &format!("raise memory_limit or lower {name}"));
            }
        }
    }

    fn check_times(&self, report: &mut impl FnMut(String, &str)) {
        if self.options.hook_timeout >= self.options.connect_timeout {
            report(
                "hook_timeout_ms is not shorter than connect_timeout_ms: a client is closed before the late answer of a hook".to_owned(),
                "raise connect_timeout_ms or lower hook_timeout_ms",
            );
        }
    }

    fn check_listeners(&self, report: &mut impl FnMut(String, &str)) {
        for (index, listener) in self.listeners.iter().enumerate() {
            let Some(address) = listener.endpoint.socket_address() else { continue };
            let all = self
                .listeners
                .iter()
                .filter(|other| core::mem::discriminant(&other.endpoint) == core::mem::discriminant(&listener.endpoint))
                .filter_map(|other| other.endpoint.socket_address())
                .find(|other| other.ip().is_unspecified() && other.is_ipv4() == address.is_ipv4() && other.port() == address.port());
            if let Some(all) = all.filter(|all| address.port() != 0 && *all != address) {
                report(format!("listens at {address}, which {all} takes already"), "remove one of the two");
            }
            if listener.max_connections.is_some_and(|max| max > self.options.max_connections) {
                let text = format!("listener {index} ({address}) has more max_connections than the server, which has {}", self.options.max_connections);
                report(text, "raise max_connections of the server");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contradiction_is_reported_with_a_suggestion() {
        let mut config = ServerConfig::default();
        assert!(config.check().is_empty(), "the defaults can be used");
        for (key, value) in [
            ("memory_limit", "1M"),
            ("max_queued_bytes", "512k"),
            ("max_output_bytes", "512k"),
            ("hook_timeout_ms", "15000"),
            ("max_connections", "3"),
            ("listener", "mqtt://0.0.0.0:1883"),
            ("listener", "mqtt://127.0.0.1:1883?max_connections=9"),
            ("listener", "mqtt://[::1]:1883"),
        ] {
            config.set(key, value).expect("legal alone");
        }
        let problems: Vec<String> = config.check().iter().map(ToString::to_string).collect();
        let begins = ["max_packet_size is", "max_retained_bytes is", "hook_timeout_ms is", "listens at 127.0.0.1:1883", "listener 1"];
        assert_eq!(problems.len(), begins.len(), "{problems:?}");
        for (problem, begin) in problems.iter().zip(begins) {
            assert!(problem.starts_with(begin), "{problem}");
        }
        assert!(config.check().iter().all(|problem| problem.error.suggestion().is_some()));
    }
}
