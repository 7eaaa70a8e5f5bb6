//! What a client holds and has done, as numbers and in words.

use std::ffi::c_char;
use std::fmt::Write as _;

use super::client::nlmqtt_client;
use super::client_callbacks::why;
use super::client_config::give_text;
use super::{check_out, fence_on, nlmqtt_status, sized};
use crate::client::{Diagnostics, State};
use crate::stack::DatagramStatistics;

/// Counters of a client since it was made, and what it holds now.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nlmqtt_client_statistics {
    /// Bytes of this struct; set by nlmqtt_client_statistics_init.
    pub struct_size: usize,
    /// Successful connections.
    pub connects: u64,
    /// Connections lost and attempts failed.
    pub disconnects: u64,
    /// PUBLISH packets received, duplicates included.
    pub messages_received: u64,
    /// QoS 2 duplicates not handed on.
    pub duplicates: u64,
    /// PUBLISH packets sent, resends included.
    pub messages_sent: u64,
    /// PUBLISH packets sent again.
    pub messages_resent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Publishes that failed without the server's word.
    pub dropped: u64,
    /// Acknowledgements that acknowledge nothing.
    pub unknown_acks: u64,
    /// Messages that wait to be sent.
    pub queued_count: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// QoS 1 and 2 messages sent and not acknowledged.
    pub in_flight: usize,
    /// Of `dropped`: pushed out of the queue by newer messages.
    pub overflowed: u64,
    /// Of `dropped`: waited too long.
    pub expired: u64,
    /// Of `dropped`: a newer value of the topic took their place.
    pub replaced: u64,
    /// Requests without a response in time.
    pub requests_timed_out: u64,
    /// Responses nobody waited for.
    pub responses_unwanted: u64,
    /// How often reading rested because the application did not take its messages (option pull_receive).
    pub receive_pauses: u64,
    /// Requests that wait for their response.
    pub requests_waiting: usize,
    /// Messages that wait for nlmqtt_client_next_message.
    pub received_count: usize,
    /// Their bytes.
    pub received_bytes: usize,
    /// Sessions with another server than the one before.
    pub server_switches: u64,
}

/// Zero everywhere. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_statistics_init(statistics: *mut nlmqtt_client_statistics) {
    if let Some(statistics) = unsafe { statistics.as_mut() } {
        *statistics = NO_STATISTICS;
    }
}

const NO_STATISTICS: nlmqtt_client_statistics = nlmqtt_client_statistics {
    struct_size: size_of::<nlmqtt_client_statistics>(),
    connects: 0,
    disconnects: 0,
    messages_received: 0,
    duplicates: 0,
    messages_sent: 0,
    messages_resent: 0,
    bytes_received: 0,
    dropped: 0,
    unknown_acks: 0,
    queued_count: 0,
    queued_bytes: 0,
    in_flight: 0,
    overflowed: 0,
    expired: 0,
    replaced: 0,
    requests_timed_out: 0,
    responses_unwanted: 0,
    receive_pauses: 0,
    requests_waiting: 0,
    received_count: 0,
    received_bytes: 0,
    server_switches: 0,
};

/// Fills in counters, as they were a moment ago. `statistics` must have been made by nlmqtt_client_statistics_init. Never
/// waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_stats(client: *const nlmqtt_client, statistics: *mut nlmqtt_client_statistics) -> nlmqtt_status {
    unsafe {
        fence_on(client, "client", |inner| {
            check_out(statistics, "statistics")?;
            let size = sized(statistics.cast_const(), NO_STATISTICS, "statistics")?.struct_size;
            let (counters, levels) = (inner.client.statistics(), inner.client.levels());
            let all = nlmqtt_client_statistics {
                struct_size: size,
                connects: counters.connects,
                disconnects: counters.disconnects,
                messages_received: counters.messages_received,
                duplicates: counters.duplicates,
                messages_sent: counters.messages_sent,
                messages_resent: counters.messages_resent,
                bytes_received: counters.bytes_received,
                dropped: counters.dropped,
                unknown_acks: counters.unknown_acks,
                queued_count: levels.queued_count,
                queued_bytes: levels.queued_bytes,
                in_flight: levels.in_flight,
                overflowed: counters.overflowed,
                expired: counters.expired,
                replaced: counters.replaced,
                requests_timed_out: counters.requests_timed_out,
                responses_unwanted: counters.responses_unwanted,
                receive_pauses: counters.receive_pauses,
                requests_waiting: levels.requests_waiting,
                received_count: levels.received_count,
                received_bytes: levels.received_bytes,
                server_switches: counters.server_switches,
            };
            let room = size.min(size_of::<nlmqtt_client_statistics>());
            core::ptr::copy_nonoverlapping((&raw const all).cast::<u8>(), statistics.cast::<u8>(), room);
            Ok(())
        })
    }
}

/// Copies what somebody wants to know who looks at a client that does not work: lines of a name, a space and a value (the
/// state, the last session, how the last connection ended and when the next try is, what waits, every counter), meant for
/// people and logs; names may be added. Cut to `cap` bytes with the NUL; the whole length without the NUL goes into
/// `len_out` (may be NULL). `buf` may be NULL if `cap` is 0. Never waits. Any thread, callbacks included.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_diagnostics(client: *const nlmqtt_client, buf: *mut c_char, cap: usize, len_out: *mut usize) -> nlmqtt_status {
    unsafe { fence_on(client, "client", |inner| give_text(&describe(&inner.client.diagnostics()), buf, cap, len_out)) }
}

fn describe(diagnostics: &Diagnostics) -> String {
    let state = match diagnostics.state {
        State::Stopped => "stopped",
        State::Waiting => "waiting",
        State::Dialing => "dialing",
        State::Connecting => "connecting",
        State::Online => "online",
        State::Stopping => "stopping",
    };
    let mut text = format!("state {state}\n");
    // Writing to a string cannot fail.
    let mut line = |name: &str, value: &dyn core::fmt::Display| {
        let _ = writeln!(text, "{name} {value}");
    };
    if !diagnostics.client_id.is_empty() {
        line("client_id", &diagnostics.client_id);
    }
    if let Some(server) = diagnostics.server {
        line("server", &server);
    }
    if let Some(last) = &diagnostics.last_disconnect {
        line("last_disconnect", &why(last));
        line("last_disconnect_server", &last.server);
        let ago = last.at.elapsed();
        line("last_disconnect_ms_ago", &ago.as_millis());
        if let Some(retry_in) = last.retry_in.filter(|_| diagnostics.state == State::Waiting) {
            line("next_try_in_ms", &retry_in.saturating_sub(ago).as_millis());
        }
    }
    let (levels, counters) = (&diagnostics.levels, &diagnostics.statistics);
    let sizes = [
        ("requests_pending", diagnostics.pending),
        ("queued_count", levels.queued_count),
        ("queued_bytes", levels.queued_bytes),
        ("in_flight", levels.in_flight),
        ("requests_waiting", levels.requests_waiting),
        ("received_count", levels.received_count),
        ("received_bytes", levels.received_bytes),
    ];
    sizes.iter().for_each(|(name, value)| line(name, value));
    let counts = [
        ("connects", counters.connects),
        ("disconnects", counters.disconnects),
        ("messages_received", counters.messages_received),
        ("duplicates", counters.duplicates),
        ("messages_sent", counters.messages_sent),
        ("messages_resent", counters.messages_resent),
        ("bytes_received", counters.bytes_received),
        ("dropped", counters.dropped),
        ("overflowed", counters.overflowed),
        ("expired", counters.expired),
        ("replaced", counters.replaced),
        ("unknown_acks", counters.unknown_acks),
        ("requests_timed_out", counters.requests_timed_out),
        ("responses_unwanted", counters.responses_unwanted),
        ("receive_pauses", counters.receive_pauses),
        ("server_switches", counters.server_switches),
    ];
    counts.iter().for_each(|(name, value)| line(name, value));
    if let Some(all) = &diagnostics.datagrams {
        describe_datagrams(all, &mut line);
    }
    text
}

fn describe_datagrams(all: &DatagramStatistics, line: &mut dyn FnMut(&str, &dyn core::fmt::Display)) {
    line("datagram_protocol", &all.protocol.name());
    let counts = [
        ("datagram_round_trip_us", all.round_trip_us()),
        ("datagram_window_bytes", all.window_bytes),
        ("datagram_bytes_max", all.datagram_bytes_max.into()),
        ("datagrams_sent", all.datagrams_sent),
        ("datagrams_received", all.datagrams_received),
        ("datagrams_lost", all.datagrams_lost),
        ("datagram_retransmissions", all.retransmissions),
        ("datagram_path_changes", all.path_changes),
    ];
    counts.iter().for_each(|(name, value)| line(name, value));
}
