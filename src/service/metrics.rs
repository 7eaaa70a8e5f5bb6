//! The statistics of a server as text: Prometheus' exposition format 0.0.4, and JSON.

use core::fmt::Write as _;

use crate::broker::Stats;

/// Put before every name.
const PREFIX: &str = "nlmqtt_";

/// `# HELP`, `# TYPE` and the value of each statistic; counters end in `_total`.
pub fn metrics_prometheus(stats: &Stats) -> String {
    let mut text = String::with_capacity(8 << 10);
    for stat in stats.described() {
        let (kind, suffix) = if stat.is_gauge { ("gauge", "") } else { ("counter", "_total") };
        let name = format!("{PREFIX}{}{suffix}", stat.name);
        // A backslash or a line end in a help text would need escaping; none has one.
        let written = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}\n{name} {}", stat.doc, stat.value);
        debug_assert!(written.is_ok(), "a string takes everything");
    }
    text
}

/// One object: a number for each name.
pub fn metrics_json(stats: &Stats) -> String {
    let members: Vec<String> = stats.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statistic_has_help_type_and_value() {
        let stats = Stats { clients_connected: 3, publish_received: 7, ..Stats::default() };
        let text = metrics_prometheus(&stats);
        assert!(
            text.starts_with("# HELP nlmqtt_clients_connected Clients connected now.\n# TYPE nlmqtt_clients_connected gauge\nnlmqtt_clients_connected 3\n"),
            "{text}"
        );
        assert!(text.contains("# TYPE nlmqtt_publish_received_total counter\nnlmqtt_publish_received_total 7\n"));
        assert_eq!(text.lines().count(), stats.iter().count() * 3);
        assert!(stats.described().all(|stat| !stat.doc.is_empty() && !stat.doc.contains(['\\', '\n'])));
    }

    #[test]
    fn json_has_every_statistic() {
        let text = metrics_json(&Stats { bytes_sent: u64::MAX, ..Stats::default() });
        assert!(text.starts_with("{\"clients_connected\":0,") && text.ends_with('}'));
        assert!(text.contains("\"bytes_sent\":18446744073709551615"));
    }
}
