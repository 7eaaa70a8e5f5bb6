//! Counters of one shard. Every limit that is reached and every message that is lost has one.

/// One counter or gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its name.
    pub name: &'static str,
    /// What it counts.
    pub doc: &'static str,
    /// It goes up and down.
    pub is_gauge: bool,
    /// Of this moment.
    pub value: u64,
}

/// The statistics that go up and down.
const GAUGES: [&str; 8] =
    ["clients_connected", "clients_maximum", "sessions_offline", "subscriptions", "retained_messages", "memory_bytes", "bans", "scheduled_tasks"];

/// Of these every shard of a server has the same value, or the largest is true of all.
const SHARED: [&str; 5] = ["clients_maximum", "subscriptions", "retained_messages", "memory_bytes", "bans"];

macro_rules! stats {
    ($($(#[doc = $doc:literal])* $name:ident),* $(,)?) => {
        /// Counters since the server began, and gauges of this moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats { $($(#[doc = $doc])* pub $name: u64),* }
        impl Stats {
            /// Name and value of each, in the order of their definition.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }

            /// Adds what another shard of the same server has counted.
            pub fn add(&mut self, other: &Self) {
                $(self.$name = match SHARED.contains(&stringify!($name)) {
                    true => self.$name.max(other.$name),
                    false => self.$name + other.$name,
                };)*
            }

            /// As [`Stats::iter`], with what each means.
            pub fn described(&self) -> impl Iterator<Item = Stat> {
                [$((stringify!($name), concat!($($doc),*), self.$name)),*].into_iter().map(|(name, doc, value)| {
                    Stat { name, doc: doc.trim(), is_gauge: GAUGES.contains(&name), value }
                })
            }
        }
    };
}

stats! {
    /// Clients connected now.
    clients_connected,
    /// Most clients ever connected at one time.
    clients_maximum,
    /// Sessions whose client is away.
    sessions_offline,
    /// Subscriptions of all sessions.
    subscriptions,
    /// Retained messages.
    retained_messages,
    /// Bytes charged to the budget.
    memory_bytes,
    /// Client ids, user names and addresses that are banned.
    bans,
    /// Tasks of the owner that wait for their time.
    scheduled_tasks,
    /// Connections accepted.
    connections_accepted,
    /// Connections refused because `max_connections` was reached.
    connections_over_limit,
    /// Connections refused by the accept hook.
    connections_refused,
    /// Connections closed and CONNECT packets refused (0x8A) because of a ban.
    connections_banned,
    /// Connections closed because their listener does not take their address (`allow`, `deny`).
    connections_denied,
    /// Times a listener rested because `rate_connections` was reached.
    accept_pauses,
    /// CONNECT packets refused.
    connects_refused,
    /// CONNECT packets refused because their listener does not speak their version (`versions`).
    versions_refused,
    /// CONNECT packets refused (0x89), or closed half-way, because memory was short.
    connects_refused_busy,
    /// Connections closed because no CONNECT came in time.
    connect_timeouts,
    /// Handshakes done (TLS and other layers).
    handshakes,
    /// Handshakes that failed because of what the client did or showed.
    handshakes_failed,
    /// Handshakes that were not done within `handshake_timeout_ms`.
    handshake_timeouts,
    /// Handshakes that had to wait because `max_handshakes` were in progress.
    handshakes_delayed,
    /// Handshakes that had to wait because `max_handshakes_per_address` of their address were in progress.
    handshakes_crowded,
    /// Handshakes given up because they stood still while others waited.
    handshakes_shed,
    /// Connections that went on from another address (QUIC, reliable UDP).
    paths_moved,
    /// Datagrams that came to listeners over UDP (QUIC, reliable UDP). Like all of `datagram`, up to a second late.
    datagrams_received,
    /// Datagrams dropped: of a wrong length or type, or damaged.
    datagrams_malformed,
    /// Datagrams dropped: of no connection that is there.
    datagrams_unknown,
    /// Newcomers that were told to prove their address (cookie of reliable UDP, Retry of QUIC), without a place for them.
    datagram_cookies,
    /// Newcomers turned away: no place, or too many of them.
    datagram_newcomers_refused,
    /// Resets sent to peers whose connection is not there.
    datagram_resets,
    /// Answers to newcomers and strangers left out, because too many waited or their rate was reached.
    datagram_replies_dropped,
    /// Connections over datagrams that were closed here and whose last bytes were given up: not acknowledged within 5 s, or too many of these.
    datagram_words_lost,
    /// Datagrams of connections for which there was no place; most come again (reliable UDP).
    datagrams_not_kept,
    /// Packets of the first generation of reliable UDP that were waited for in vain.
    datagram_packets_missing,
    /// Connections of udp:// that were closed because they were silent for too long when a newcomer wanted their place; `datagram_peers_silent` counts
    /// them, too.
    datagram_gave_way,
    /// Connections over reliable UDP and udp:// that ended because nothing was heard of the client any more, or it had begun anew.
    datagram_peers_silent,
    /// Connections closed because nothing came for 1.5 times the keep-alive.
    keep_alive_timeouts,
    /// Clients of MQTT 5 that were told a shorter keep-alive than they asked for.
    keep_alives_shortened,
    /// Sessions that ended because their client stayed away for too long.
    sessions_expired,
    /// Connections closed because the client broke the standard.
    protocol_errors,
    /// Packets refused because they were larger than `max_packet_size`.
    packets_too_large,
    /// Connections taken over by a newer one of the same client id.
    take_overs,
    /// Bytes received.
    bytes_received,
    /// Bytes sent.
    bytes_sent,
    /// PUBLISH packets received.
    publish_received,
    /// PUBLISH packets sent.
    publish_sent,
    /// PUBLISH packets received again (QoS 2 duplicates), not delivered twice.
    publish_duplicates,
    /// PUBLISH packets refused by a hook or a limit.
    publish_refused,
    /// QoS 1 and 2 messages that had to wait: the in-flight window or the out-buffer was full, or the
    /// client away.
    messages_queued,
    /// Messages dropped on a hook's order.
    dropped_by_hook,
    /// QoS 0 messages dropped because the receiver's out-buffer was full.
    dropped_output_full,
    /// Messages dropped because a session's queue was full.
    dropped_queue_full,
    /// Messages dropped because memory was short and their receiver had others waiting.
    dropped_memory,
    /// Messages dropped because they expired while they waited.
    dropped_expired,
    /// Messages not sent because they exceed the receiver's Maximum Packet Size.
    dropped_too_large,
    /// Messages dropped because their session ended.
    dropped_session_ended,
    /// Retained messages refused because the store was full or memory was short (0x97).
    retained_refused,
    /// Subscriptions refused because there were too many, or memory was short (0x97).
    subscriptions_refused,
    /// Clients closed because they read too slowly (0x97).
    slow_consumers_closed,
    /// Acknowledgements for packet identifiers that were not in flight.
    unknown_acknowledgements,
    /// Shared messages handed to another member.
    shared_reoffered,
    /// Messages handed to another worker.
    messages_handed_over,
    /// Connections handed to the worker their client belongs to.
    connections_handed_over,
    /// Times a worker's inbox was full, and messages waited with their sender.
    inbox_full,
    /// Times a client was not read for a while because another worker or the application was behind.
    congestion_pauses,
    /// Wills published.
    wills_published,
    /// Hooks that did not answer in time.
    hook_timeouts,
    /// Answers of hooks that came too late or twice.
    hook_late_answers,
    /// Bans refused because there were `max_bans`.
    bans_refused,
    /// Tasks refused because `max_scheduled_tasks` waited.
    scheduled_tasks_refused,
    /// Messages and calls of the owner refused because `max_posted_messages` or `max_posted_bytes` waited to be taken by the server.
    posts_refused,
    /// Times a client was not read for a while because the budget was exhausted.
    budget_pauses,
    /// Times a client was not read for a while because it did not read itself.
    output_pauses,
    /// Times a client was not read for a while because it had sent more than its listener's `rate_messages` or `rate_bytes`.
    rate_pauses,
    /// Clients that had gone and were closed before all they had sent beyond their rate was taken.
    rate_given_up,
    /// Clients closed because they kept an unfinished packet while memory was short (0x97).
    unfinished_packets_closed,
}
