/** @file
 * nlmqtt: MQTT 3.1, 3.1.1 and 5.0, client and broker.
 *
 * Generated from src/ffi by `UPDATE_HEADER=1 cargo test --test header`. Licence: MIT.
 */

#ifndef NLMQTT_H
#define NLMQTT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Not started, stopped, or given up.
 */
#define NLMQTT_CLIENT_STOPPED 0

/**
 * Waits for the next try.
 */
#define NLMQTT_CLIENT_WAITING 1

/**
 * The connection is being opened.
 */
#define NLMQTT_CLIENT_DIALING 2

/**
 * CONNECT went out.
 */
#define NLMQTT_CLIENT_CONNECTING 3

/**
 * In session.
 */
#define NLMQTT_CLIENT_ONLINE 4

/**
 * In session, sends what is left, then stops.
 */
#define NLMQTT_CLIENT_STOPPING 5

/**
 * No connection, or it broke.
 */
#define NLMQTT_CAUSE_NETWORK 0

/**
 * The server closed without a word.
 */
#define NLMQTT_CAUSE_CLOSED 1

/**
 * The server's name was not found.
 */
#define NLMQTT_CAUSE_NAMES 2

/**
 * TLS failed.
 */
#define NLMQTT_CAUSE_TLS 3

/**
 * No connection or no CONNACK in time.
 */
#define NLMQTT_CAUSE_TIMEOUT 4

/**
 * No PINGRESP in time, or the server missed our packets.
 */
#define NLMQTT_CAUSE_KEEP_ALIVE 5

/**
 * Bad user name or password, not authorised, banned.
 */
#define NLMQTT_CAUSE_CREDENTIALS 6

/**
 * Client identifier refused.
 */
#define NLMQTT_CAUSE_IDENTITY 7

/**
 * Protocol version refused.
 */
#define NLMQTT_CAUSE_VERSION 8

/**
 * Enhanced authentication failed.
 */
#define NLMQTT_CAUSE_AUTHENTICATION 9

/**
 * Busy, unavailable, quota, rate.
 */
#define NLMQTT_CAUSE_BUSY 10

/**
 * Use another server, server moved.
 */
#define NLMQTT_CAUSE_MOVED 11

/**
 * The server shuts down or an administrator closed the connection.
 */
#define NLMQTT_CAUSE_SHUTTING_DOWN 12

/**
 * Another connection uses the client identifier.
 */
#define NLMQTT_CAUSE_TAKEN_OVER 13

/**
 * One side broke the protocol.
 */
#define NLMQTT_CAUSE_PROTOCOL 14

/**
 * Any other reason of the server.
 */
#define NLMQTT_CAUSE_OTHER 15

/**
 * nlmqtt_client_stop.
 */
#define NLMQTT_CAUSE_STOPPED 16

/**
 * Try again with back-off.
 */
#define NLMQTT_RETRY_SOON 0

/**
 * Try again after the longest delay.
 */
#define NLMQTT_RETRY_SLOW 1

/**
 * Stop.
 */
#define NLMQTT_RETRY_STOP 2

/**
 * Subscribe again when the server has lost the session.
 */
#define NLMQTT_RESUBSCRIBE_SESSION_LOST 0

/**
 * Subscribe again after every connect.
 */
#define NLMQTT_RESUBSCRIBE_ALWAYS 1

/**
 * Never: subscriptions are forgotten when the server has lost the session.
 */
#define NLMQTT_RESUBSCRIBE_NEVER 2

/**
 * A full queue refuses the new message.
 */
#define NLMQTT_OVERFLOW_REFUSE_NEWEST 0

/**
 * A full queue drops its oldest messages of the lowest priority; if all are of a higher one, it refuses the new message.
 */
#define NLMQTT_OVERFLOW_DROP_OLDEST 1

/**
 * The most bytes a signature may have.
 */
#define NLMQTT_SIGNATURE_BYTES_MAX 1024

/**
 * `true` or `false`.
 */
#define NLMQTT_KIND_BOOL 1

/**
 * A whole number.
 */
#define NLMQTT_KIND_NUMBER 2

/**
 * A number of bytes; as text, `k`, `M` or `G` may follow.
 */
#define NLMQTT_KIND_BYTES 3

/**
 * Seconds; as text, `90s`, `12h`, `3d`, `2w`, `6m`, `1y` or `never`.
 */
#define NLMQTT_KIND_LIFETIME 4

/**
 * Any text.
 */
#define NLMQTT_KIND_TEXT 5

/**
 * Text that is not to be shown.
 */
#define NLMQTT_KIND_SECRET 6

/**
 * An IP address, or nothing.
 */
#define NLMQTT_KIND_ADDRESS 7

/**
 * One of the words in `expected`.
 */
#define NLMQTT_KIND_CHOICE 8

/**
 * Reliable UDP of the first generation.
 */
#define NLMQTT_DATAGRAMS_RUDP_1 1

/**
 * Reliable UDP of the second generation.
 */
#define NLMQTT_DATAGRAMS_RUDP_2 2

/**
 * QUIC (RFC 9000).
 */
#define NLMQTT_DATAGRAMS_QUIC 3

/**
 * Bare packets of MQTT in datagrams (`udp://`).
 */
#define NLMQTT_DATAGRAMS_UDP 4

/**
 * Go on, with what the decision changes (authentication data, filters).
 */
#define NLMQTT_ALLOW 0

/**
 * Refuse, with the reason of the decision; without one, with 0x87 Not authorized.
 */
#define NLMQTT_DENY 1

/**
 * Publish only: acknowledge as if accepted, deliver to nobody.
 */
#define NLMQTT_DROP 2

/**
 * Publish only: go on with the topic, payload, QoS and retain flag of the decision; what it does not say stays.
 */
#define NLMQTT_REWRITE 3

/**
 * Authentication only: send AUTH 0x18 with the decision's authentication data and wait for the client's (MQTT 5 section
 * 4.12).
 */
#define NLMQTT_CHALLENGE 4

/**
 * Not known yet: nlmqtt_server_complete will be called with the token, within the option `hook_timeout_ms`. The client
 * waits so long, everybody else goes on. Without an answer in time it is refused with 0x83.
 */
#define NLMQTT_PENDING 5

/**
 * The authorize hook is asked about a topic name to publish to.
 */
#define NLMQTT_ACCESS_PUBLISH 1

/**
 * The authorize hook is asked about a topic filter to subscribe to, without its `$share/GROUP/`.
 */
#define NLMQTT_ACCESS_SUBSCRIBE 2

/**
 * The queue of the session was full.
 */
#define NLMQTT_DROPPED_QUEUE_FULL 1

/**
 * QoS 0, and the client reads too slowly.
 */
#define NLMQTT_DROPPED_OUTPUT_FULL 2

/**
 * Larger than the client's Maximum Packet Size (MQTT 5 section 3.1.2.11.4).
 */
#define NLMQTT_DROPPED_TOO_LARGE 3

/**
 * The session ended while the message waited.
 */
#define NLMQTT_DROPPED_SESSION_ENDED 4

/**
 * The memory of the server was short.
 */
#define NLMQTT_DROPPED_MEMORY_SHORT 5

/**
 * Clients are not asked for a certificate.
 */
#define NLMQTT_CLIENT_CERTIFICATE_NONE 0

/**
 * They are asked, and let in without one, too.
 */
#define NLMQTT_CLIENT_CERTIFICATE_REQUEST 1

/**
 * Without one they are not let in.
 */
#define NLMQTT_CLIENT_CERTIFICATE_REQUIRE 2

/**
 * The user name is what CONNECT says.
 */
#define NLMQTT_IDENTITY_NONE 0

/**
 * The user name is the common name of the client's certificate.
 */
#define NLMQTT_IDENTITY_COMMON_NAME 1

/**
 * The user name is the first name in its subjectAltName.
 */
#define NLMQTT_IDENTITY_ALTERNATIVE_NAME 2

/**
 * The user name is its SHA-256, in hexadecimal digits.
 */
#define NLMQTT_IDENTITY_FINGERPRINT 3

/**
 * No header of the PROXY protocol is expected.
 */
#define NLMQTT_PROXY_POLICY_OFF 0

/**
 * One is taken from those who are trusted, and need not be there.
 */
#define NLMQTT_PROXY_POLICY_OPTIONAL 1

/**
 * Without one from somebody who is trusted nobody is let in.
 */
#define NLMQTT_PROXY_POLICY_REQUIRED 2

/**
 * TLS 1.2, by the number the protocol has for it (RFC 5246 section 6.2.1).
 */
#define NLMQTT_TLS_VERSION_1_2 771

/**
 * TLS 1.3 (RFC 8446 section 4.2.1).
 */
#define NLMQTT_TLS_VERSION_1_3 772

/**
 * Something failed that the program should know of.
 */
#define NLMQTT_LOG_ERROR 1

/**
 * Something is not as it should be.
 */
#define NLMQTT_LOG_WARNING 2

/**
 * Clients and connections that come and go, refusals and their reasons.
 */
#define NLMQTT_LOG_INFO 3

/**
 * Packets.
 */
#define NLMQTT_LOG_DEBUG 4

/**
 * Everything.
 */
#define NLMQTT_LOG_TRACE 5

/**
 * Payload Format Indicator: number, 0 or 1; PUBLISH and will.
 */
#define NLMQTT_PROPERTY_PAYLOAD_FORMAT_INDICATOR 1

/**
 * Message Expiry Interval: number, seconds; PUBLISH and will.
 */
#define NLMQTT_PROPERTY_MESSAGE_EXPIRY_INTERVAL 2

/**
 * Content Type: string; PUBLISH and will.
 */
#define NLMQTT_PROPERTY_CONTENT_TYPE 3

/**
 * Response Topic: string; PUBLISH and will.
 */
#define NLMQTT_PROPERTY_RESPONSE_TOPIC 8

/**
 * Correlation Data: binary; PUBLISH and will.
 */
#define NLMQTT_PROPERTY_CORRELATION_DATA 9

/**
 * Subscription Identifier: number; PUBLISH (may repeat) and SUBSCRIBE.
 */
#define NLMQTT_PROPERTY_SUBSCRIPTION_IDENTIFIER 11

/**
 * Session Expiry Interval: number, seconds; CONNECT, CONNACK, DISCONNECT.
 */
#define NLMQTT_PROPERTY_SESSION_EXPIRY_INTERVAL 17

/**
 * Assigned Client Identifier: string; CONNACK.
 */
#define NLMQTT_PROPERTY_ASSIGNED_CLIENT_IDENTIFIER 18

/**
 * Server Keep Alive: number, seconds; CONNACK.
 */
#define NLMQTT_PROPERTY_SERVER_KEEP_ALIVE 19

/**
 * Authentication Method: string; CONNECT, CONNACK, AUTH.
 */
#define NLMQTT_PROPERTY_AUTHENTICATION_METHOD 21

/**
 * Authentication Data: binary; CONNECT, CONNACK, AUTH.
 */
#define NLMQTT_PROPERTY_AUTHENTICATION_DATA 22

/**
 * Request Problem Information: number, 0 or 1; CONNECT.
 */
#define NLMQTT_PROPERTY_REQUEST_PROBLEM_INFORMATION 23

/**
 * Will Delay Interval: number, seconds; will.
 */
#define NLMQTT_PROPERTY_WILL_DELAY_INTERVAL 24

/**
 * Request Response Information: number, 0 or 1; CONNECT.
 */
#define NLMQTT_PROPERTY_REQUEST_RESPONSE_INFORMATION 25

/**
 * Response Information: string; CONNACK.
 */
#define NLMQTT_PROPERTY_RESPONSE_INFORMATION 26

/**
 * Server Reference: string; CONNACK, DISCONNECT.
 */
#define NLMQTT_PROPERTY_SERVER_REFERENCE 28

/**
 * Reason String: string; every answer, DISCONNECT, AUTH.
 */
#define NLMQTT_PROPERTY_REASON_STRING 31

/**
 * Receive Maximum: number; CONNECT, CONNACK.
 */
#define NLMQTT_PROPERTY_RECEIVE_MAXIMUM 33

/**
 * Topic Alias Maximum: number; CONNECT, CONNACK.
 */
#define NLMQTT_PROPERTY_TOPIC_ALIAS_MAXIMUM 34

/**
 * Topic Alias: number; PUBLISH.
 */
#define NLMQTT_PROPERTY_TOPIC_ALIAS 35

/**
 * Maximum QoS: number, 0 or 1; CONNACK.
 */
#define NLMQTT_PROPERTY_MAXIMUM_QOS 36

/**
 * Retain Available: number, 0 or 1; CONNACK.
 */
#define NLMQTT_PROPERTY_RETAIN_AVAILABLE 37

/**
 * User Property: pair of strings, may repeat; every packet with properties.
 */
#define NLMQTT_PROPERTY_USER_PROPERTY 38

/**
 * Maximum Packet Size: number, bytes; CONNECT, CONNACK.
 */
#define NLMQTT_PROPERTY_MAXIMUM_PACKET_SIZE 39

/**
 * Wildcard Subscription Available: number, 0 or 1; CONNACK.
 */
#define NLMQTT_PROPERTY_WILDCARD_SUBSCRIPTION_AVAILABLE 40

/**
 * Subscription Identifier Available: number, 0 or 1; CONNACK.
 */
#define NLMQTT_PROPERTY_SUBSCRIPTION_IDENTIFIER_AVAILABLE 41

/**
 * Shared Subscription Available: number, 0 or 1; CONNACK.
 */
#define NLMQTT_PROPERTY_SHARED_SUBSCRIPTION_AVAILABLE 42

/**
 * Properties of a will; the other places are packet types.
 */
#define NLMQTT_PLACE_WILL 0

/**
 * CONNECT.
 */
#define NLMQTT_PLACE_CONNECT 1

/**
 * CONNACK.
 */
#define NLMQTT_PLACE_CONNACK 2

/**
 * PUBLISH.
 */
#define NLMQTT_PLACE_PUBLISH 3

/**
 * PUBACK.
 */
#define NLMQTT_PLACE_PUBACK 4

/**
 * PUBREC.
 */
#define NLMQTT_PLACE_PUBREC 5

/**
 * PUBREL.
 */
#define NLMQTT_PLACE_PUBREL 6

/**
 * PUBCOMP.
 */
#define NLMQTT_PLACE_PUBCOMP 7

/**
 * SUBSCRIBE.
 */
#define NLMQTT_PLACE_SUBSCRIBE 8

/**
 * SUBACK.
 */
#define NLMQTT_PLACE_SUBACK 9

/**
 * UNSUBSCRIBE.
 */
#define NLMQTT_PLACE_UNSUBSCRIBE 10

/**
 * UNSUBACK.
 */
#define NLMQTT_PLACE_UNSUBACK 11

/**
 * DISCONNECT.
 */
#define NLMQTT_PLACE_DISCONNECT 14

/**
 * AUTH.
 */
#define NLMQTT_PLACE_AUTH 15

/**
 * A library thread does the work and runs the callbacks; with more than one worker, one thread for each. The default.
 */
#define NLMQTT_MODE_THREAD 0

/**
 * No thread: the application calls nlmqtt_runtime_poll, and callbacks run inside it.
 */
#define NLMQTT_MODE_LOOP 1

/**
 * A library thread for each worker does the work; callbacks wait until the application calls nlmqtt_runtime_dispatch, and run inside it.
 */
#define NLMQTT_MODE_DISPATCH 2

/**
 * The policy of the thread that makes the runtime. The default.
 */
#define NLMQTT_SCHEDULING_INHERITED 0

/**
 * SCHED_BATCH: a little later than others. Its nice value becomes 0.
 */
#define NLMQTT_SCHEDULING_BATCH 1

/**
 * SCHED_IDLE: only when nobody else wants to. Its nice value becomes 0.
 */
#define NLMQTT_SCHEDULING_IDLE 2

/**
 * SCHED_FIFO: real time.
 */
#define NLMQTT_SCHEDULING_FIFO 3

/**
 * SCHED_RR: real time with time slices.
 */
#define NLMQTT_SCHEDULING_ROUND_ROBIN 4

/**
 * A key was changed in the running server, or a listener opened or closed.
 */
#define NLMQTT_CHANGE_APPLIED 1

/**
 * A key is different, but takes effect only in a new server.
 */
#define NLMQTT_CHANGE_NEEDS_RESTART 2

/**
 * A listener could not be opened.
 */
#define NLMQTT_CHANGE_FAILED 3

/**
 * A ban goes by the client identifier.
 */
#define NLMQTT_BAN_CLIENT_ID 1

/**
 * A ban goes by the user name.
 */
#define NLMQTT_BAN_USERNAME 2

/**
 * A ban goes by the IP address, whatever the port.
 */
#define NLMQTT_BAN_ADDRESS 3

/**
 * Prometheus' text format 0.0.4, for `Content-Type: text/plain; version=0.0.4`.
 */
#define NLMQTT_METRICS_PROMETHEUS 1

/**
 * One JSON object, a number for each name.
 */
#define NLMQTT_METRICS_JSON 2

/**
 * Major version of this header: raised when something is taken away or changes its meaning.
 */
#define NLMQTT_VERSION_MAJOR 0

/**
 * Minor version of this header: raised when something is added.
 */
#define NLMQTT_VERSION_MINOR 1

/**
 * Patch version of this header.
 */
#define NLMQTT_VERSION_PATCH 0



/**
 * A client. Any thread may call its functions, callbacks included.
 */
typedef struct nlmqtt_client nlmqtt_client;

/**
 * Options of a client to be made. Used by one thread at a time.
 */
typedef struct nlmqtt_client_config nlmqtt_client_config;

/**
 * Where nlmqtt_client_callbacks.before_connect puts new credentials.
 */
typedef struct nlmqtt_credentials nlmqtt_credentials;

/**
 * Details of an answer. In a hook it is lent until the hook returns; for a late answer make one with
 * nlmqtt_decision_new. Used by one thread at a time. Everything set is copied.
 */
typedef struct nlmqtt_decision nlmqtt_decision;

/**
 * Where one listener listens, and how. Used by one thread at a time. Servers and their configurations take copies, so one can be changed a little and added
 * again.
 */
typedef struct nlmqtt_listener_config nlmqtt_listener_config;

/**
 * An application message. Immutable; any thread may read it.
 */
typedef struct nlmqtt_message nlmqtt_message;

/**
 * Properties of MQTT 5 (section 2.2.2), in their order. One that you made is yours alone: it may be used by one thread at
 * a time. One that a callback hands you is constant and borrowed.
 */
typedef struct nlmqtt_properties nlmqtt_properties;

/**
 * A runtime: one event loop for any number of clients and servers. Any thread may call its functions.
 */
typedef struct nlmqtt_runtime nlmqtt_runtime;

/**
 * Options of a runtime to be made. Used by one thread at a time.
 */
typedef struct nlmqtt_runtime_config nlmqtt_runtime_config;

/**
 * A broker. Any thread may call its functions, callbacks included; those that wait for an answer say so, and answer
 * WOULD_DEADLOCK inside a callback of its runtime.
 */
typedef struct nlmqtt_server nlmqtt_server;

/**
 * Options of a server and where it listens. Used by one thread at a time.
 */
typedef struct nlmqtt_server_config nlmqtt_server_config;

/**
 * How a call went: 0 is good, negative numbers are failures by class. A number is never re-used.
 * Reason codes of MQTT are `uint8_t` and another number space.
 */
typedef int32_t nlmqtt_status;

/**
 * Releases the `user_data` of a registration. Runs exactly once, after the last use, on whatever
 * thread that is; also when the registering call fails.
 */
typedef void (*nlmqtt_free_fn)(void *user_data);

/**
 * A string that is borrowed: `len` bytes of UTF-8 at `data`, followed by a NUL that `len` does
 * not count. `data` is NULL where there is no string at all.
 */
typedef struct {
  /**
   * The bytes, or NULL.
   */
  const char *data;
  /**
   * How many, without the NUL.
   */
  size_t len;
} nlmqtt_str;

/**
 * A session is there. Borrowed until the callback returns.
 */
typedef struct {
  /**
   * Bytes of this struct.
   */
  size_t struct_size;
  /**
   * Which server, counted in the order they were added.
   */
  size_t server;
  /**
   * The server had the session (MQTT 5 section 3.2.2.1.1).
   */
  bool session_present;
  /**
   * The keep-alive in use.
   */
  uint16_t keep_alive_s;
  /**
   * The client identifier in use, given or assigned by the server.
   */
  nlmqtt_str client_id;
  /**
   * Every property of CONNACK.
   */
  const nlmqtt_properties *properties;
  /**
   * Which server the last session was with; the same as `server` for the first session. Another one: the client has
   * switched, because the servers before did not work, or because a better one does again (option ladder_probe_interval_s).
   */
  size_t previous_server;
} nlmqtt_connected;

/**
 * A connection was lost, refused or not made. Borrowed until the callback returns.
 */
typedef struct {
  /**
   * Bytes of this struct.
   */
  size_t struct_size;
  /**
   * Which server, counted in the order they were added.
   */
  size_t server;
  /**
   * One of NLMQTT_CAUSE_*.
   */
  int32_t cause;
  /**
   * There is a reason code.
   */
  bool has_reason;
  /**
   * What CONNACK or DISCONNECT said, ours or the server's.
   */
  uint8_t reason;
  /**
   * There had been a session.
   */
  bool was_online;
  /**
   * Milliseconds until the next try; -1: there is none.
   */
  int64_t retry_in_ms;
  /**
   * What happened, in words.
   */
  nlmqtt_str text;
  /**
   * Another server to use, the server said (MQTT 5 section 4.11); may be none.
   */
  nlmqtt_str server_reference;
  /**
   * Every property of the server's CONNACK or DISCONNECT.
   */
  const nlmqtt_properties *properties;
  /**
   * What was wrong below MQTT: NLMQTT_TLS or a kind of it, NLMQTT_WEBSOCKET, NLMQTT_UPGRADE_REFUSED, or one of NLMQTT_PROXY_*; OK:
   * nothing was, `cause` says it all.
   */
  nlmqtt_status status;
} nlmqtt_disconnected;

/**
 * Names one received message that waits for nlmqtt_client_ack. Both 0: there is nothing to acknowledge.
 */
typedef struct {
  /**
   * Which connection.
   */
  uint64_t connection;
  /**
   * Which message of it.
   */
  uint64_t serial;
} nlmqtt_ack;

/**
 * Called when a message comes. `message` is borrowed until the callback returns; nlmqtt_message_ref keeps it. `ack` is for
 * nlmqtt_client_ack if the option manual_ack is set. On the thread that does the work, one callback of a client at a time.
 */
typedef void (*nlmqtt_client_message_fn)(void *user_data,
                                         const nlmqtt_message *message,
                                         nlmqtt_ack ack);

/**
 * How a request ended. Borrowed until the callback returns.
 */
typedef struct {
  /**
   * Bytes of this struct.
   */
  size_t struct_size;
  /**
   * The token of the request.
   */
  uint64_t token;
  /**
   * OK: sent (QoS 0), acknowledged (QoS 1 and 2), granted. REFUSED: the server said no. CANCELLED: by
   * nlmqtt_client_cancel or nlmqtt_client_stop, or the client gave up. QUEUE_FULL, TIMEOUT (expired), TOO_LARGE,
   * UNSUPPORTED (by this server): it was not sent.
   */
  nlmqtt_status status;
  /**
   * There is a reason code of the server.
   */
  bool has_reason;
  /**
   * It; of several filters the first refusal.
   */
  uint8_t reason;
  /**
   * A reason code for each filter, in the order asked for; NULL for a publish.
   */
  const uint8_t *reasons;
  /**
   * How many.
   */
  size_t reasons_len;
} nlmqtt_completion;

/**
 * Called when a request is done; `completion` is borrowed until it returns. On the thread that does the work, one callback
 * of a client at a time.
 */
typedef void (*nlmqtt_completion_fn)(void *user_data, const nlmqtt_completion *completion);

/**
 * Bytes that are borrowed. `data` is NULL where there are none at all.
 */
typedef struct {
  /**
   * The bytes, or NULL.
   */
  const uint8_t *data;
  /**
   * How many.
   */
  size_t len;
} nlmqtt_bytes;

/**
 * What happened on one connection over datagrams since it began, and where it stands; at most a second old. Bytes are those inside UDP.
 */
typedef struct {
  /**
   * Bytes of this struct; set by nlmqtt_datagram_statistics_init.
   */
  size_t struct_size;
  /**
   * What carries it: one of NLMQTT_DATAGRAMS_*.
   */
  int32_t protocol;
  /**
   * The largest datagram that is sent, in bytes: what the path is known to take.
   */
  uint32_t datagram_bytes_max;
  /**
   * The smoothed round trip in microseconds; 0: not measured (the first generation and bare packets do not).
   */
  uint64_t round_trip_us;
  /**
   * The congestion window in bytes: so much may be on its way without an acknowledgement. 0: there is none (the first generation, bare packets).
   */
  uint64_t window_bytes;
  /**
   * Datagrams sent, all kinds.
   */
  uint64_t datagrams_sent;
  /**
   * Their bytes.
   */
  uint64_t bytes_sent;
  /**
   * Datagrams that came.
   */
  uint64_t datagrams_received;
  /**
   * Their bytes.
   */
  uint64_t bytes_received;
  /**
   * Datagrams sent that were given up as lost.
   */
  uint64_t datagrams_lost;
  /**
   * Datagrams sent that repeated what had been sent before; QUIC does not count them: 0.
   */
  uint64_t retransmissions;
  /**
   * How often the connection went on over another path; of a client over QUIC: how often the server has asked whether it does.
   */
  uint64_t path_changes;
} nlmqtt_datagram_statistics;

/**
 * The datagrams of a connection over QUIC or reliable UDP (generation 2) go another way: the server has asked whether the client is where
 * its datagrams come from now, because this end has another address, or a NAT on the way gave it another one. The session and everything under way go on;
 * nothing needs to be done. One change may be told more than once, and over QUIC a server also asks when somebody on the way repeats a
 * datagram from elsewhere: the callback says that the server was in doubt, and proves nothing. Borrowed until the callback returns.
 */
typedef struct {
  /**
   * Bytes of this struct.
   */
  size_t struct_size;
  /**
   * Which server, counted in the order they were added.
   */
  size_t server;
  /**
   * The address of this end now, such as "192.0.2.7:51702"; what a NAT makes of it only the server knows.
   */
  nlmqtt_str local;
  /**
   * What happened on the connection until then.
   */
  const nlmqtt_datagram_statistics *statistics;
} nlmqtt_path_moved;

/**
 * What a client tells. Fill it with nlmqtt_client_callbacks_init, then set what you want; NULL: not interested. Every
 * callback runs on the thread that does the work (in THREAD mode the library's, of many workers always the same one, the one that polls in
 * LOOP mode, the one that dispatches in DISPATCH mode), one at a time. It may call every function; what changes something happens after it
 * has returned, and what waits answers WOULD_DEADLOCK. Everything it is given is borrowed until it returns.
 */
typedef struct {
  /**
   * Bytes of this struct; set by nlmqtt_client_callbacks_init.
   */
  size_t struct_size;
  /**
   * Given to every callback.
   */
  void *user_data;
  /**
   * Releases user_data, exactly once, after the last callback; may be NULL.
   */
  nlmqtt_free_fn free_fn;
  /**
   * The state is another one, one of NLMQTT_CLIENT_*.
   */
  void (*state)(void *user_data, int32_t state);
  /**
   * A session is there.
   */
  void (*connected)(void *user_data, const nlmqtt_connected *connected);
  /**
   * A connection was lost, refused or not made.
   */
  void (*disconnected)(void *user_data, const nlmqtt_disconnected *disconnected);
  /**
   * A connection to this server (in the order they were added) is about to be opened: the time to renew credentials,
   * by nlmqtt_credentials_set.
   */
  void (*before_connect)(void *user_data, size_t server, nlmqtt_credentials *credentials);
  /**
   * A message came for which no subscription has a callback of its own.
   */
  nlmqtt_client_message_fn message;
  /**
   * A publish is done.
   */
  nlmqtt_completion_fn published;
  /**
   * A subscribe is done.
   */
  nlmqtt_completion_fn subscribed;
  /**
   * A stored filter was asked for again, because the server had lost the session; the granted QoS or the refusal.
   */
  void (*resubscribed)(void *user_data, nlmqtt_str filter, uint8_t reason);
  /**
   * An unsubscribe is done.
   */
  nlmqtt_completion_fn unsubscribed;
  /**
   * The queue has filled up to four fifths (`is_high`), or emptied to one half.
   */
  void (*queue_level)(void *user_data, bool is_high, size_t count, size_t bytes);
  /**
   * The server sent AUTH (MQTT 5 section 3.15): 0x18 asks for nlmqtt_client_authenticate, 0x00 ends a
   * re-authentication. `data` is NULL where there is none.
   */
  void (*auth)(void *user_data, uint8_t reason, nlmqtt_bytes data);
  /**
   * A message was given up, and why: QUEUE_FULL (pushed out by newer ones), TIMEOUT (expired), REPLACED, TOO_LARGE or
   * UNSUPPORTED (for this server), CANCELLED (nlmqtt_client_stop, or the client gave up; not nlmqtt_client_cancel), before its
   * completion; NOT_FOUND: a response nobody waits for. `message` is borrowed until it returns.
   */
  void (*dropped)(void *user_data, const nlmqtt_message *message, nlmqtt_status status);
  /**
   * The connection goes on over another path, or the server has asked whether it does.
   */
  void (*path_moved)(void *user_data, const nlmqtt_path_moved *moved);
  /**
   * This server (in the order they were added) does not know the protocol it was asked for first, so the connection speaks an older one:
   * `protocol`, one of NLMQTT_DATAGRAMS_*. That is generation 1 of reliable UDP, where the option rudp_generation is auto. Told when the
   * connection is there, before `connected`; nlmqtt_client_datagram_stats tells what carries any other connection, also inside `connected`.
   */
  void (*fell_back)(void *user_data, size_t server, int32_t protocol);
} nlmqtt_client_callbacks;

/**
 * How to stop.
 */
typedef struct {
  /**
   * Bytes of this struct; set by nlmqtt_stop_options_init.
   */
  size_t struct_size;
  /**
   * How long to wait for what is queued and in flight, in milliseconds.
   */
  uint32_t timeout_ms;
  /**
   * Reason of DISCONNECT (MQTT 5 section 3.14.2.1): 0x00, or 0x04 to have the will published.
   */
  uint8_t reason;
  /**
   * Change the Session Expiry Interval to session_expiry_s (MQTT 5 section 3.14.2.2.2).
   */
  bool has_session_expiry;
  /**
   * Seconds; 0 ends the session.
   */
  uint32_t session_expiry_s;
} nlmqtt_stop_options;

/**
 * What else there is to say of a publish.
 */
typedef struct {
  /**
   * Bytes of this struct; set by nlmqtt_publish_options_init.
   */
  size_t struct_size;
  /**
   * 0, 1 or 2.
   */
  uint8_t qos;
  /**
   * Keep it as the topic's retained message.
   */
  bool retain;
  /**
   * Properties of the PUBLISH (MQTT 5 section 3.3.2.3), the Message Expiry Interval included: the library counts it
   * down and gives the message up when it is over. Copied; may be NULL.
   */
  const nlmqtt_properties *properties;
  /**
   * Called when it is done; may be NULL. The published callback of the client is called, too.
   */
  nlmqtt_completion_fn completion;
  /**
   * Given to `completion`.
   */
  void *user_data;
  /**
   * Releases user_data exactly once, also when the call fails; may be NULL.
   */
  nlmqtt_free_fn free_fn;
  /**
   * Messages of higher priority leave the queue first; 0 is usual.
   */
  uint8_t priority;
  /**
   * Only the newest value of the topic is wanted: while it waits to be sent, a newer publish of the same topic that says
   * the same takes its place and its turn, and this one completes with REPLACED. Also for all publishes: option
   * queue_newest_per_topic.
   */
  bool newest_only;
  /**
   * Not NULL: `payload` is moved, not copied. It must not change until this function was called: exactly once, after
   * the last use (also of a message that waits, or is sent again), also when the call fails (unless `options` cannot be
   * read). On the thread that does the work; on the caller's if the call fails or frees the runtime. On the wire, payloads
   * of up to 1,024 bytes are still copied into the packet, because that is cheaper. Over inproc:// a larger one is lent on
   * to the server and to its subscribers there, unless it is to be retained: the last use is then theirs, on whatever thread.
   */
  nlmqtt_free_fn payload_free_fn;
  /**
   * Given to payload_free_fn.
   */
  void *payload_user_data;
} nlmqtt_publish_options;

/**
 * Called when a request is done. `response` is NULL if there is none; then completion->status says why: TIMEOUT, REFUSED
 * (by the server, reason 0x10: nobody is there to answer), CANCELLED, or as for a publish. Both are borrowed until it returns;
 * nlmqtt_message_ref keeps the response. On the thread that does the work, one callback of a client at a time.
 */
typedef void (*nlmqtt_response_fn)(void *user_data,
                                   const nlmqtt_completion *completion,
                                   const nlmqtt_message *response);

/**
 * One filter of a subscribe.
 */
typedef struct {
  /**
   * Bytes of this struct; set by nlmqtt_subscription_init.
   */
  size_t struct_size;
  /**
   * The filter (MQTT 5 section 4.7), also `$share/GROUP/FILTER`. Copied.
   */
  const char *filter;
  /**
   * The highest QoS to deliver with: 0, 1 or 2.
   */
  uint8_t qos;
  /**
   * MQTT 5: not what this client publishes itself.
   */
  bool no_local;
  /**
   * MQTT 5: keep the RETAIN flag as it was published.
   */
  bool retain_as_published;
  /**
   * MQTT 5: 0 = send retained messages now, 1 = only for a new subscription, 2 = do not.
   */
  uint8_t retain_handling;
} nlmqtt_subscription;

/**
 * What else there is to say of a subscribe.
 */
typedef struct {
  /**
   * Bytes of this struct; set by nlmqtt_subscribe_options_init.
   */
  size_t struct_size;
  /**
   * User properties (MQTT 5 section 3.8.2.1). Copied; may be NULL.
   */
  const nlmqtt_properties *properties;
  /**
   * Gets the messages of these filters; NULL: the message callback of the client does.
   */
  nlmqtt_client_message_fn message;
  /**
   * Given to `message`.
   */
  void *message_user_data;
  /**
   * Releases message_user_data exactly once, when no message can come any more or the call fails; may be NULL.
   */
  nlmqtt_free_fn message_free_fn;
  /**
   * Called when every filter has its answer; may be NULL. The subscribed callback of the client is called, too.
   */
  nlmqtt_completion_fn completion;
  /**
   * Given to `completion`.
   */
  void *completion_user_data;
  /**
   * Releases completion_user_data exactly once, also when the call fails; may be NULL.
   */
  nlmqtt_free_fn completion_free_fn;
} nlmqtt_subscribe_options;

/**
 * Counters of a client since it was made, and what it holds now.
 */
typedef struct {
  /**
   * Bytes of this struct; set by nlmqtt_client_statistics_init.
   */
  size_t struct_size;
  /**
   * Successful connections.
   */
  uint64_t connects;
  /**
   * Connections lost and attempts failed.
   */
  uint64_t disconnects;
  /**
   * PUBLISH packets received, duplicates included.
   */
  uint64_t messages_received;
  /**
   * QoS 2 duplicates not handed on.
   */
  uint64_t duplicates;
  /**
   * PUBLISH packets sent, resends included.
   */
  uint64_t messages_sent;
  /**
   * PUBLISH packets sent again.
   */
  uint64_t messages_resent;
  /**
   * Bytes received.
   */
  uint64_t bytes_received;
  /**
   * Publishes that failed without the server's word.
   */
  uint64_t dropped;
  /**
   * Acknowledgements that acknowledge nothing.
   */
  uint64_t unknown_acks;
  /**
   * Messages that wait to be sent.
   */
  size_t queued_count;
  /**
   * Their bytes.
   */
  size_t queued_bytes;
  /**
   * QoS 1 and 2 messages sent and not acknowledged.
   */
  size_t in_flight;
  /**
   * Of `dropped`: pushed out of the queue by newer messages.
   */
  uint64_t overflowed;
  /**
   * Of `dropped`: waited too long.
   */
  uint64_t expired;
  /**
   * Of `dropped`: a newer value of the topic took their place.
   */
  uint64_t replaced;
  /**
   * Requests without a response in time.
   */
  uint64_t requests_timed_out;
  /**
   * Responses nobody waited for.
   */
  uint64_t responses_unwanted;
  /**
   * How often reading rested because the application did not take its messages (option pull_receive).
   */
  uint64_t receive_pauses;
  /**
   * Requests that wait for their response.
   */
  size_t requests_waiting;
  /**
   * Messages that wait for nlmqtt_client_next_message.
   */
  size_t received_count;
  /**
   * Their bytes.
   */
  size_t received_bytes;
  /**
   * Sessions with another server than the one before.
   */
  uint64_t server_switches;
} nlmqtt_client_statistics;

/**
 * Asked to sign `message` (not its hash) with the private key of a certificate, by a signature scheme of TLS (RFC 8446 section
 * 4.2.3, such as 0x0403 for ECDSA on P-256 with SHA-256, 0x0804 for RSA-PSS with SHA-256). Writes at most NLMQTT_SIGNATURE_BYTES_MAX
 * bytes into `signature`, says how many in `*signature_len`, and returns true; ECDSA signatures are in DER. False: it cannot, and the
 * connection fails with TLS. `message` is borrowed until it returns. Called on the library's thread of the client during each full handshake,
 * of several clients at the same time if they share a configuration: what it waits for delays that thread's connections.
 */
typedef bool (*nlmqtt_sign_fn)(void *user_data,
                               uint16_t scheme,
                               const uint8_t *message,
                               size_t message_len,
                               uint8_t *signature,
                               size_t *signature_len);

/**
 * One key of a configuration. Borrowed until the callback returns.
 */
typedef struct {
  /**
   * Size of this struct in the library.
   */
  size_t struct_size;
  /**
   * Its name: of nlmqtt_*_config_set, a TOML file, JSON and a connection string.
   */
  nlmqtt_str name;
  /**
   * Other names it is known by, separated by `, `; empty: none.
   */
  nlmqtt_str aliases;
  /**
   * What its values are, in words, with their range.
   */
  nlmqtt_str expected;
  /**
   * Its default, as text.
   */
  nlmqtt_str default_value;
  /**
   * Its variable of the environment.
   */
  nlmqtt_str environment;
  /**
   * What it does.
   */
  nlmqtt_str doc;
  /**
   * What its values are: NLMQTT_KIND_*.
   */
  int32_t kind;
  /**
   * nlmqtt_server_reload changes it in a running server.
   */
  bool live;
} nlmqtt_key_info;

/**
 * Is told one key of a configuration, on the thread of the call.
 */
typedef void (*nlmqtt_key_fn)(void *user_data, const nlmqtt_key_info *key);

/**
 * One thing that is wrong with a configuration. Borrowed until the callback returns.
 */
typedef struct {
  /**
   * Size of this struct in the library.
   */
  size_t struct_size;
  /**
   * Its line in the file or text that was loaded, from 1; 0: it is about no single line.
   */
  size_t line;
  /**
   * What is wrong.
   */
  nlmqtt_str text;
  /**
   * What would be right; `data` is NULL where that is not known.
   */
  nlmqtt_str suggestion;
} nlmqtt_problem;

/**
 * Is told one problem, on the thread of the call.
 */
typedef void (*nlmqtt_problem_fn)(void *user_data, const nlmqtt_problem *problem);

/**
 * Names one question to a hook. Plain data: copy it, hand it to any thread.
 */
typedef struct {
  /**
   * Of the library.
   */
  uint64_t connection;
  /**
   * Of the library.
   */
  uint64_t serial;
} nlmqtt_hook_token;

/**
 * Who a hook is asked about. Everything is borrowed until the hook returns.
 */
typedef struct {
  /**
   * Size of this struct in the library.
   */
  size_t struct_size;
  /**
   * The client identifier, empty if the server is still to choose one.
   */
  nlmqtt_str client_id;
  /**
   * The user name of CONNECT; `data` is NULL without one.
   */
  nlmqtt_str username;
  /**
   * Where it connects from, such as "127.0.0.1:50123"; "local" for a Unix socket, and inside the
   * process. Behind a trusted proxy the address that it names: port 0 from X-Forwarded-For, "unix:PATH" for a client of a Unix socket.
   */
  nlmqtt_str peer;
  /**
   * 3 (MQTT 3.1), 4 (3.1.1) or 5.
   */
  uint8_t protocol_level;
  /**
   * The version of TLS of its connection, "1.2" or "1.3"; `data` is NULL without TLS.
   */
  nlmqtt_str tls_version;
  /**
   * The certificate the client has shown and that was verified, in DER; `data` is NULL without one.
   */
  nlmqtt_bytes certificate;
  /**
   * What a trusted proxy says in its header (PROXY protocol, version 2) of the client's connection to it: the name
   * the client asked for (TLV AUTHORITY); `data` is NULL if it does not say.
   */
  nlmqtt_str proxy_authority;
  /**
   * The same: the version of TLS there, such as "TLSv1.3".
   */
  nlmqtt_str proxy_tls_version;
  /**
   * The same: the common name in the certificate the client has shown there and the proxy has verified.
   */
  nlmqtt_str proxy_common_name;
  /**
   * The same: the proxy's name for the connection (TLV UNIQUE_ID).
   */
  nlmqtt_bytes proxy_unique_id;
  /**
   * The same: the protocol agreed on by ALPN.
   */
  nlmqtt_bytes proxy_alpn;
  /**
   * It is connected over a Unix socket, and the kernel has said by which process: the next three.
   */
  bool has_process;
  /**
   * Process; 0: of another name space.
   */
  int32_t pid;
  /**
   * Its user.
   */
  uint32_t uid;
  /**
   * Its group.
   */
  uint32_t gid;
  /**
   * The mount point of its listener; `data` is NULL without one. The same client identifier at another one is another client; calls
   * about one client name it by mount point, '#' and client identifier, such as "site/7/#pump".
   */
  nlmqtt_str mount_point;
  /**
   * TLS of its connection went on with an earlier session: no certificate was shown again, `certificate` is that of then.
   */
  bool tls_resumed;
  /**
   * As `proxy_authority`: the cipher of TLS there, such as "ECDHE-RSA-AES128-GCM-SHA256".
   */
  nlmqtt_str proxy_tls_cipher;
  /**
   * The path its WebSocket was asked for, without its query; `data` is NULL without WebSocket.
   */
  nlmqtt_str websocket_path;
  /**
   * The web page its WebSocket was opened by (Origin, RFC 6454), such as "https://console.example"; `data` is NULL if it was no browser.
   */
  nlmqtt_str websocket_origin;
} nlmqtt_client_info;

/**
 * A CONNECT (MQTT 5 section 3.1). Everything is borrowed until the hook returns.
 */
typedef struct {
  /**
   * Size of this struct in the library.
   */
  size_t struct_size;
  /**
   * The password; `data` is NULL without one. It may contain any bytes.
   */
  nlmqtt_bytes password;
  /**
   * Properties of CONNECT; an empty list in 3.x.
   */
  const nlmqtt_properties *properties;
  /**
   * Topic of the will; `data` is NULL without a will.
   */
  nlmqtt_str will_topic;
  /**
   * Payload of the will.
   */
  nlmqtt_bytes will_payload;
  /**
   * Properties of the will; NULL without a will.
   */
  const nlmqtt_properties *will_properties;
  /**
   * QoS of the will.
   */
  uint8_t will_qos;
  /**
   * RETAIN flag of the will.
   */
  bool will_retain;
  /**
   * Clean Start (clean session in 3.x).
   */
  bool clean_start;
  /**
   * Keep-alive in seconds; 0 = none.
   */
  uint16_t keep_alive_s;
} nlmqtt_connect_info;

/**
 * One filter of a SUBSCRIBE (MQTT 5 section 3.8.3). Borrowed until the hook returns.
 */
typedef struct {
  /**
   * The filter as it came, `$share/GROUP/` included.
   */
  nlmqtt_str filter;
  /**
   * The QoS it would get.
   */
  uint8_t qos;
  /**
   * No Local.
   */
  bool no_local;
  /**
   * Retain As Published.
   */
  bool retain_as_published;
  /**
   * Retain Handling, 0 to 2.
   */
  uint8_t retain_handling;
} nlmqtt_subscription_info;

/**
 * A PUBLISH before it becomes a message (MQTT 5 section 3.3). Everything is borrowed until the hook returns.
 */
typedef struct {
  /**
   * Size of this struct in the library.
   */
  size_t struct_size;
  /**
   * The topic name; an alias is resolved already.
   */
  nlmqtt_str topic;
  /**
   * The payload.
   */
  nlmqtt_bytes payload;
  /**
   * Its properties; an empty list in 3.x.
   */
  const nlmqtt_properties *properties;
  /**
   * QoS.
   */
  uint8_t qos;
  /**
   * RETAIN flag.
   */
  bool retain;
  /**
   * DUP flag.
   */
  bool dup;
} nlmqtt_publish_info;

/**
 * What an application watches and decides in a server. Call nlmqtt_server_hooks_init, then set what you need; NULL means
 * "allow" or "not interested" and costs nothing. They stand in the order of a client's life; new ones will come at the end.
 *
 * Thread word of all of them: they are called on the thread that does the server's work, in DISPATCH mode on the one that calls
 * nlmqtt_runtime_dispatch, one at a time, in the order of each client's packets. On a runtime with more than one worker they are called on
 * the worker of the client they are about (`tick`: on the first; `accept`: on the one that listens; `retained_set` and `retained_cleared`: on the
 * publisher's; of what expires while it is retained: on the first): in order for one client, but AT THE SAME TIME for clients of different
 * workers, with the same `user_data`, so that the application must protect what it shares between them. In DISPATCH mode they stay one at
 * a time. What they call on the server is done after they return; functions that wait answer WOULD_DEADLOCK. A hook that blocks stalls its
 * worker only, which is this server if there is one; in DISPATCH mode it stalls only the clients that wait for an answer, and the option
 * `hook_timeout_ms` counts from the question on. nlmqtt_runtime_config_set_hook_threads gives them a thread of their own: as in DISPATCH
 * mode, without the application's thread.
 *
 * The deciding ones return NLMQTT_ALLOW, NLMQTT_DENY or what else is said there, with details in `decision`; or
 * NLMQTT_PENDING, and later nlmqtt_server_complete with `token` from any thread. Without an answer within the option `hook_timeout_ms`
 * it is NLMQTT_DENY with 0x83. The others return nothing and only hear what has happened.
 */
typedef struct {
  /**
   * Set by nlmqtt_server_hooks_init.
   */
  size_t struct_size;
  /**
   * Handed to every hook. Moved to the server by nlmqtt_server_new.
   */
  void *user_data;
  /**
   * Releases `user_data` after the last hook has returned; may be NULL.
   */
  nlmqtt_free_fn free_fn;
  /**
   * Decides about a network connection before a byte of it is read: ALLOW, DENY (it is closed without a word), PENDING. `peer` is
   * where it comes from, `listener` the address it came in at (empty: it was adopted); both are borrowed until it returns. About a
   * connection of a trusted proxy it is asked when that has said whom it brings, and `peer` is who that is.
   */
  int32_t (*accept)(void *user_data,
                    nlmqtt_str peer,
                    nlmqtt_str listener,
                    nlmqtt_hook_token token,
                    nlmqtt_decision *decision);
  /**
   * Decides about a CONNECT before it is asked who the client is: ALLOW, DENY, PENDING.
   */
  int32_t (*connect)(void *user_data,
                     const nlmqtt_client_info *client,
                     const nlmqtt_connect_info *connect,
                     nlmqtt_hook_token token,
                     nlmqtt_decision *decision);
  /**
   * Decides who a client is: ALLOW, DENY, CHALLENGE (a client that named an authentication method), PENDING. With this hook the option
   * `allow_anonymous` is the hook's affair.
   */
  int32_t (*authenticate)(void *user_data,
                          const nlmqtt_client_info *client,
                          const nlmqtt_connect_info *connect,
                          nlmqtt_hook_token token,
                          nlmqtt_decision *decision);
  /**
   * Decides about an AUTH, while a client connects or authenticates again (MQTT 5 section 4.12): ALLOW, DENY, CHALLENGE, PENDING.
   * Needs `authenticate`. `method` and `data` are borrowed until it returns.
   */
  int32_t (*auth_exchange)(void *user_data,
                           const nlmqtt_client_info *client,
                           nlmqtt_str method,
                           nlmqtt_bytes data,
                           nlmqtt_hook_token token,
                           nlmqtt_decision *decision);
  /**
   * A client is connected: CONNACK with success is on its way.
   */
  void (*connected)(void *user_data, const nlmqtt_client_info *client, bool session_present);
  /**
   * The connection of a connected client has ended; `reason` is that of a DISCONNECT (MQTT 5 section 3.14.2.1), 0x80 for a connection
   * that was lost.
   */
  void (*disconnected)(void *user_data, const nlmqtt_client_info *client, uint8_t reason);
  /**
   * A client has a new session (MQTT 5 section 4.1). Called before `connected`.
   */
  void (*session_created)(void *user_data, const nlmqtt_client_info *client);
  /**
   * A client came back to the session it had. Called before `connected`.
   */
  void (*session_resumed)(void *user_data, const nlmqtt_client_info *client);
  /**
   * A session has ended: its time is over, it was to end with its connection, a clean start replaced it, or the application ended it.
   */
  void (*session_expired)(void *user_data, const nlmqtt_client_info *client);
  /**
   * A newer connection of the same client identifier takes the session of this one, which will be closed with 0x8E.
   */
  void (*session_taken_over)(void *user_data, const nlmqtt_client_info *client);
  /**
   * May this client publish to this topic, or subscribe to this filter (`access`: NLMQTT_ACCESS_*)? ALLOW, DENY, PENDING. Asked before
   * `publish` and `subscribe`, and, after `authenticate`, about the topic of a will: DENY refuses the CONNECT then. `topic` is borrowed until it
   * returns.
   */
  int32_t (*authorize)(void *user_data,
                       const nlmqtt_client_info *client,
                       int32_t access,
                       nlmqtt_str topic,
                       uint8_t qos,
                       bool retain,
                       nlmqtt_hook_token token,
                       nlmqtt_decision *decision);
  /**
   * Decides about a SUBSCRIBE: ALLOW (nlmqtt_decision_set_filter and _refuse_filter change single filters), DENY (all), PENDING. Only filters
   * that were authorized are listed.
   */
  int32_t (*subscribe)(void *user_data,
                       const nlmqtt_client_info *client,
                       const nlmqtt_subscription_info *filters,
                       size_t filter_count,
                       nlmqtt_hook_token token,
                       nlmqtt_decision *decision);
  /**
   * A client has a subscription, new or in place of an old one to the same filter.
   */
  void (*subscribed)(void *user_data,
                     const nlmqtt_client_info *client,
                     const nlmqtt_subscription_info *subscription);
  /**
   * Decides about an UNSUBSCRIBE: ALLOW, DENY, PENDING.
   */
  int32_t (*unsubscribe)(void *user_data,
                         const nlmqtt_client_info *client,
                         const nlmqtt_str *filters,
                         size_t filter_count,
                         nlmqtt_hook_token token,
                         nlmqtt_decision *decision);
  /**
   * A subscription was given up by its client, or taken away by the application. `filter` is borrowed until it returns.
   */
  void (*unsubscribed)(void *user_data, const nlmqtt_client_info *client, nlmqtt_str filter);
  /**
   * Decides about a PUBLISH: ALLOW, DENY, DROP, REWRITE, PENDING.
   */
  int32_t (*publish)(void *user_data,
                     const nlmqtt_client_info *client,
                     const nlmqtt_publish_info *publish,
                     nlmqtt_hook_token token,
                     nlmqtt_decision *decision);
  /**
   * A message goes out to a client for the first time; `qos` is that of the delivery. `message` is lent; keep it with nlmqtt_message_ref.
   */
  void (*publish_out)(void *user_data,
                      const nlmqtt_client_info *client,
                      const nlmqtt_message *message,
                      uint8_t qos);
  /**
   * A message reached a client: written (QoS 0) or acknowledged (1 and 2); `qos` is that of the delivery. `message` is lent.
   */
  void (*delivered)(void *user_data,
                    const nlmqtt_client_info *client,
                    const nlmqtt_message *message,
                    uint8_t qos);
  /**
   * A message will not reach a client; `reason` is one of NLMQTT_DROPPED_*. `message` is lent.
   */
  void (*dropped)(void *user_data,
                  const nlmqtt_client_info *client,
                  const nlmqtt_message *message,
                  int32_t reason);
  /**
   * A message expired while it waited for a client (MQTT 5 section 3.3.2.3.3), or as the retained one of its topic: then `client` is
   * NULL. `message` is lent.
   */
  void (*expired)(void *user_data, const nlmqtt_client_info *client, const nlmqtt_message *message);
  /**
   * A message is the retained one of its topic now (MQTT 5 section 3.3.1.3). `message` is lent.
   */
  void (*retained_set)(void *user_data, const nlmqtt_message *message);
  /**
   * A topic has no retained message any more. `topic` is borrowed until it returns.
   */
  void (*retained_cleared)(void *user_data, nlmqtt_str topic);
  /**
   * The will of a client goes out (MQTT 5 section 3.1.2.5). `message` is lent.
   */
  void (*will)(void *user_data, const nlmqtt_client_info *client, const nlmqtt_message *message);
  /**
   * A limit turned somebody away or refused something: `limit` is its key, such as "max_connections", and lives as long as the library.
   * `client` is NULL if it is about no client.
   */
  void (*quota)(void *user_data, const nlmqtt_client_info *client, const char *limit);
  /**
   * A client does not read: `waiting_bytes` wait for its socket, more than the option `max_output_bytes`. It is closed after `slow_consumer_grace_ms`.
   */
  void (*slow_client)(void *user_data, const nlmqtt_client_info *client, size_t waiting_bytes);
  /**
   * Called every `tick_interval_ms`.
   */
  void (*tick)(void *user_data);
  /**
   * A stop that returned NLMQTT_IN_PROGRESS is over: no client is left.
   */
  void (*stopped)(void *user_data);
  /**
   * A connected client over QUIC or reliable UDP goes on from another address, which has proved to be its own: `client` has the new one,
   * `previous_peer` is the one before, borrowed until it returns. Its connection, session and deliveries go on. One that the
   * listener does not take or a ban forbids is closed afterwards.
   */
  void (*path_moved)(void *user_data, const nlmqtt_client_info *client, nlmqtt_str previous_peer);
} nlmqtt_server_hooks;

/**
 * Levels and counters of a runtime.
 */
typedef struct {
  /**
   * Bytes of this struct; set by nlmqtt_runtime_statistics_init.
   */
  size_t struct_size;
  /**
   * Bytes that wait now: messages, queues, buffers.
   */
  size_t memory_used_bytes;
  /**
   * The most that ever waited.
   */
  size_t memory_peak_bytes;
  /**
   * The soft limit in force.
   */
  size_t memory_soft_bytes;
  /**
   * The memory limit in force.
   */
  size_t memory_hard_bytes;
  /**
   * How often the soft limit was passed.
   */
  uint64_t memory_soft_reached;
  /**
   * How often the memory limit was passed.
   */
  uint64_t memory_hard_reached;
  /**
   * DISPATCH mode: callbacks that wait.
   */
  size_t events_waiting;
  /**
   * How many may before the library rests.
   */
  size_t events_max;
  /**
   * The most that ever waited.
   */
  size_t events_peak;
  /**
   * How often the library had to rest.
   */
  uint64_t events_full;
  /**
   * Functions of nlmqtt_runtime_post and _post_delayed that wait.
   */
  size_t tasks_waiting;
  /**
   * Such functions refused because 65,536 waited.
   */
  uint64_t tasks_refused;
  /**
   * Look-ups of names that failed because 1,024 of one worker waited for a helper thread.
   */
  uint64_t lookups_refused;
} nlmqtt_runtime_statistics;

/**
 * Told of a thread of the library, on that thread; `name` is borrowed until the callback returns. It may block signals,
 * attach the thread to a language runtime and the like; it must not call functions of this runtime.
 */
typedef void (*nlmqtt_thread_fn)(void *user_data, const char *name);

/**
 * Asked to look a name up: answer with nlmqtt_runtime_resolved and this `lookup`, from any thread, now or later; no answer
 * is none, and the client tries again when its time for connecting is over. `host` is borrowed until the callback returns.
 * Called where callbacks are.
 */
typedef void (*nlmqtt_resolve_fn)(void *user_data, const char *host, uint64_t lookup);

/**
 * Receives one line, without a line end. `module` says who speaks: "client", "server", "runtime", or the name of a crate
 * inside such as "mio". Both are borrowed until the callback returns and end with a NUL. Called on the thread that has
 * something to say, mostly the library's, in DISPATCH mode, too, and on many at the same time; it must not block.
 */
typedef void (*nlmqtt_log_fn)(void *user_data, int32_t level, const char *module, const char *text);

/**
 * A function of the application, see nlmqtt_runtime_post.
 */
typedef void (*nlmqtt_task_fn)(void *user_data);

/**
 * Is told one difference by nlmqtt_server_reload (`change`: NLMQTT_CHANGE_*); `what` is borrowed until it returns.
 */
typedef void (*nlmqtt_change_fn)(void *user_data, int32_t change, const char *what);

/**
 * A client with a session. Everything is borrowed until the callback returns.
 */
typedef struct {
  /**
   * Size of this struct in the library.
   */
  size_t struct_size;
  /**
   * The client identifier.
   */
  nlmqtt_str client_id;
  /**
   * Its user name; `data` is NULL without one.
   */
  nlmqtt_str username;
  /**
   * Where it is connected from; empty while it is away.
   */
  nlmqtt_str peer;
  /**
   * 3 (MQTT 3.1), 4 (3.1.1) or 5.
   */
  uint8_t protocol_level;
  /**
   * It is connected now.
   */
  bool connected;
  /**
   * Subscriptions.
   */
  size_t subscriptions;
  /**
   * Messages that wait for it.
   */
  size_t queued_messages;
  /**
   * Their bytes.
   */
  size_t queued_bytes;
  /**
   * Messages on their way, not acknowledged yet.
   */
  size_t in_flight_messages;
  /**
   * Keep-alive in seconds; 0: none, or it is away.
   */
  uint16_t keep_alive_s;
  /**
   * How long its session lives while it is away, in seconds; 4,294,967,295: for ever.
   */
  uint32_t session_expiry_s;
  /**
   * Bytes that wait for its socket.
   */
  size_t output_bytes;
  /**
   * It is connected over a Unix socket, and the kernel has said by which process: the next three.
   */
  bool has_process;
  /**
   * Process; 0: of another name space.
   */
  int32_t pid;
  /**
   * Its user.
   */
  uint32_t uid;
  /**
   * Its group.
   */
  uint32_t gid;
  /**
   * The mount point of its session; `data` is NULL without one. Calls about this client name it by mount point, '#' and client
   * identifier, such as "site/7/#pump".
   */
  nlmqtt_str mount_point;
  /**
   * Of a client that is connected over QUIC or reliable UDP; otherwise NULL.
   */
  const nlmqtt_datagram_statistics *datagrams;
} nlmqtt_client_entry;

/**
 * Is told one client; borrowed until it returns.
 */
typedef void (*nlmqtt_client_entry_fn)(void *user_data, const nlmqtt_client_entry *client);

/**
 * Is told one filter, on the thread of the call; borrowed until it returns.
 */
typedef void (*nlmqtt_filter_fn)(void *user_data, nlmqtt_str filter);

/**
 * One ban. Everything is borrowed until the callback returns.
 */
typedef struct {
  /**
   * Size of this struct in the library.
   */
  size_t struct_size;
  /**
   * What it goes by: NLMQTT_BAN_*.
   */
  int32_t kind;
  /**
   * The client identifier, user name or address.
   */
  nlmqtt_str text;
  /**
   * How many seconds it still holds; 0: for good.
   */
  uint64_t seconds_left;
} nlmqtt_ban_entry;

/**
 * Is told one ban, on the thread of the call.
 */
typedef void (*nlmqtt_ban_fn)(void *user_data, const nlmqtt_ban_entry *ban);

/**
 * Is told a text, on the thread of the call: `len` bytes of UTF-8 and a NUL. Borrowed until it returns.
 */
typedef void (*nlmqtt_text_fn)(void *user_data, const char *text, size_t len);

/**
 * Receives a message of nlmqtt_server_subscribe. It is lent until the callback returns; keep it with nlmqtt_message_ref. Called on the thread that
 * does the server's work (of many workers, the first one's), one at a time; what it calls on the server is done after it returns.
 */
typedef void (*nlmqtt_server_message_fn)(void *user_data, const nlmqtt_message *message);

/**
 * Is told one counter or gauge; `name` lives as long as the library.
 */
typedef void (*nlmqtt_stat_fn)(void *user_data, const char *name, uint64_t value);

/**
 * How connections are made in place of the system's TCP: over a modem's AT commands, through a TLS library of the application's own,
 * to a simulator. Call nlmqtt_transport_init, then set all but what may be NULL. Thread word of all functions: the thread that does the client's
 * work, in DISPATCH mode too; none may block. What they call on a client or server is done after they return;
 * functions that wait answer WOULD_DEADLOCK. `connection` is whatever `open` made.
 */
typedef struct {
  /**
   * Set by nlmqtt_transport_init.
   */
  size_t struct_size;
  /**
   * Handed to `open`; released with `free_fn` after the last connection is closed and the last client and configuration that know
   * of it are freed.
   */
  void *user_data;
  /**
   * Releases `user_data`; may be NULL.
   */
  nlmqtt_free_fn free_fn;
  /**
   * Begins a connection to the host and port of the server's URI, or of key `proxy_uri` (borrowed until it returns; names are not looked
   * up before); unix:// and inproc:// are not asked for, quic://, rudp:// and udp:// are refused beside it. TLS and WebSocket of the URI lie above this
   * stream: for a TLS library of your own use mqtt://. OK: `connection_out` is
   * set, and `descriptor_out` to a descriptor that epoll knows (a socket, an eventfd, a pipe), open until `close`, not closed by this
   * library. Whenever it becomes readable or writable, or an eventfd is written to, what waits is tried again: `opened`, `read`,
   * `write`. Anything else: NLMQTT_CAUSE_NETWORK, and the next try as after any connection that cannot be made.
   */
  nlmqtt_status (*open)(void *user_data,
                        const char *host,
                        uint16_t port,
                        void **connection_out,
                        int *descriptor_out);
  /**
   * OK: the connection is open; IN_PROGRESS: not yet (key connect_timeout_ms goes on); else it failed. NULL: it is open at once.
   */
  nlmqtt_status (*opened)(void *connection);
  /**
   * Reads at most `room` bytes; answers how many. 0: the other side sends no more. NLMQTT_IN_PROGRESS: nothing is there now.
   * Another negative value: the connection is dead.
   */
  int64_t (*read)(void *connection, void *buffer, size_t room);
  /**
   * Writes at most `len` bytes; answers how many. NLMQTT_IN_PROGRESS: it takes nothing now. Another negative value: the connection is dead.
   */
  int64_t (*write)(void *connection, const void *bytes, size_t len);
  /**
   * Nothing will be written any more, and reading goes on for a moment. May be NULL.
   */
  void (*shutdown)(void *connection);
  /**
   * The last call for this connection.
   */
  void (*close)(void *connection);
} nlmqtt_transport;













/**
 * Done.
 */
#define NLMQTT_OK 0

/**
 * An argument cannot be used; the last error says which and why. Nothing was done.
 */
#define NLMQTT_INVALID_ARGUMENT -1

/**
 * Not now: the object is not started, or stopped.
 */
#define NLMQTT_INVALID_STATE -2

/**
 * There is no such thing.
 */
#define NLMQTT_NOT_FOUND -3

/**
 * There is one already.
 */
#define NLMQTT_ALREADY_EXISTS -4

/**
 * Waiting here would wait for this very thread: the call came from a callback.
 */
#define NLMQTT_WOULD_DEADLOCK -5

/**
 * Begun; a callback will tell when it is done.
 */
#define NLMQTT_IN_PROGRESS -6

/**
 * The object behind the handle has ended.
 */
#define NLMQTT_GONE -7

/**
 * This build or mode has no such thing.
 */
#define NLMQTT_UNSUPPORTED -8

/**
 * The handle was made before a `fork` and cannot be used in the child.
 */
#define NLMQTT_FORKED -9

/**
 * Memory is short.
 */
#define NLMQTT_NO_MEMORY -20

/**
 * A queue is full.
 */
#define NLMQTT_QUEUE_FULL -21

/**
 * A limit with a name is reached; the last error says which.
 */
#define NLMQTT_LIMIT -22

/**
 * It took too long. What was asked for may still happen.
 */
#define NLMQTT_TIMEOUT -23

/**
 * Cancelled or given up before it was done.
 */
#define NLMQTT_CANCELLED -24

/**
 * A newer value of the same topic took its place before it was sent.
 */
#define NLMQTT_REPLACED -25

/**
 * The system refused; the last error has its words.
 */
#define NLMQTT_IO -40

/**
 * The address is in use by another program.
 */
#define NLMQTT_ADDRESS_IN_USE -41

/**
 * The connection was lost or could not be made.
 */
#define NLMQTT_NETWORK -42

/**
 * TLS failed in a way without a number of its own.
 */
#define NLMQTT_TLS -60

/**
 * Nobody who is trusted has signed the certificate of the other side.
 */
#define NLMQTT_TLS_UNKNOWN_ISSUER -61

/**
 * The time of the certificate of the other side is over, or this clock is wrong: a client tries again when the clock is set, as with
 * TLS_NOT_YET_VALID.
 */
#define NLMQTT_TLS_EXPIRED -62

/**
 * The time of the certificate of the other side has not come, or this clock is wrong. A client tries again when somebody sets the clock: at once
 * where the kernel tells of it (Linux), though no sooner than a second after its last try, and after its ordinary pauses in any case.
 */
#define NLMQTT_TLS_NOT_YET_VALID -63

/**
 * The certificate of the other side is for another name.
 */
#define NLMQTT_TLS_WRONG_NAME -64

/**
 * The certificate of the other side was revoked.
 */
#define NLMQTT_TLS_REVOKED -65

/**
 * Both sides have no version of TLS in common that is allowed.
 */
#define NLMQTT_TLS_WEAK_VERSION -66

/**
 * No key of the other side is one of those pinned.
 */
#define NLMQTT_TLS_PIN_MISMATCH -67

/**
 * The other side does not speak TLS at this port.
 */
#define NLMQTT_TLS_NOT_TLS -68

/**
 * The other side speaks TLS at this port, and this one does not.
 */
#define NLMQTT_TLS_UNEXPECTED -69

/**
 * The other side refused the certificate it was shown, or wants one.
 */
#define NLMQTT_TLS_CERTIFICATE_REFUSED -70

/**
 * A WebSocket's handshake or frames break the standard.
 */
#define NLMQTT_WEBSOCKET -71

/**
 * The request for a WebSocket was refused with a status of HTTP; the text says which.
 */
#define NLMQTT_UPGRADE_REFUSED -72

/**
 * A header of the PROXY protocol is missing or malformed.
 */
#define NLMQTT_PROXY_HEADER -73

/**
 * A proxy did not make the way to the server; the text says why.
 */
#define NLMQTT_PROXY_REFUSED -74

/**
 * A proxy wants other credentials.
 */
#define NLMQTT_PROXY_CREDENTIALS -75

/**
 * The other side said no; the reason code says why.
 */
#define NLMQTT_REFUSED -80

/**
 * The other side broke the standard.
 */
#define NLMQTT_PROTOCOL -81

/**
 * The packet is larger than the other side, or an option, allows.
 */
#define NLMQTT_TOO_LARGE -82

/**
 * A configuration key, value or file cannot be used; the last error says where and why.
 */
#define NLMQTT_CONFIG -100

/**
 * A fault of the library itself. The handle is poisoned: it may only be freed.
 */
#define NLMQTT_INTERNAL -120









#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Makes a client on a runtime; NULL gives it one of its own in THREAD mode. `config` is copied. `callbacks` is copied, may
 * be NULL, and its user_data is moved (released also when this call fails). The client does nothing before
 * nlmqtt_client_start. The caller frees it with nlmqtt_client_free. CONFIG: options that cannot be used, see the last error.
 * INVALID_ARGUMENT: a file of TLS cannot be read or used, the last error says which; or a server has a name, and this runtime can look up none.
 * WOULD_DEADLOCK inside a callback of the same runtime.
 */
nlmqtt_status nlmqtt_client_new(const nlmqtt_runtime *runtime,
                                const nlmqtt_client_config *config,
                                const nlmqtt_client_callbacks *callbacks,
                                nlmqtt_client **client_out);

/**
 * Frees a client in any state. What is not done completes with CANCELLED; nlmqtt_client_stop before gives it time. Returns
 * when the running callback has returned, and no later one comes; inside a callback it takes effect when that returns.
 * NULL is fine.
 */
void nlmqtt_client_free(nlmqtt_client *client);

/**
 * Connects, and connects again whenever the connection is lost, until nlmqtt_client_stop. Never waits.
 */
nlmqtt_status nlmqtt_client_start(nlmqtt_client *client);

/**
 * Ends the connection with DISCONNECT when what is queued and in flight is done, at the latest after `timeout_ms`; what is
 * left then completes with CANCELLED. Over datagrams the good-bye has to arrive, too. Waits for it. Twice is fine, and so is another
 * nlmqtt_client_start later.
 * IN_PROGRESS inside a callback and in LOOP mode: it has begun, the state callback tells when it is over. TIMEOUT: a
 * callback does not return; it stops when that does.
 */
nlmqtt_status nlmqtt_client_stop(nlmqtt_client *client,
                                 uint32_t timeout_ms);

/**
 * The defaults: reason 0x00, no time. NULL is fine.
 */
void nlmqtt_stop_options_init(nlmqtt_stop_options *options);

/**
 * As nlmqtt_client_stop, with a reason of its own. `options` is borrowed for the call; NULL means the defaults.
 * INVALID_ARGUMENT: not a reason a client may give in DISCONNECT.
 */
nlmqtt_status nlmqtt_client_stop_ex(nlmqtt_client *client,
                                    const nlmqtt_stop_options *options);

/**
 * Waits until a session is there, at most `timeout_ms` (negative: for ever). In LOOP mode it polls meanwhile. TIMEOUT; GONE:
 * it was stopped or has given up; INVALID_STATE: not started; WOULD_DEADLOCK inside a callback.
 */
nlmqtt_status nlmqtt_client_connect_wait(nlmqtt_client *client,
                                         int32_t timeout_ms);

/**
 * Tries now instead of at the end of the wait between two tries; otherwise without effect. Never waits.
 */
nlmqtt_status nlmqtt_client_reconnect_now(nlmqtt_client *client);

/**
 * Where it stands, one of NLMQTT_CLIENT_*; NLMQTT_CLIENT_STOPPED for NULL. Never waits.
 */
int32_t nlmqtt_client_state(const nlmqtt_client *client);

/**
 * Waits until every request is done, at most `timeout_ms` (negative: for ever). In LOOP mode it polls meanwhile. TIMEOUT;
 * WOULD_DEADLOCK inside a callback.
 */
nlmqtt_status nlmqtt_client_flush(nlmqtt_client *client,
                                  int32_t timeout_ms);

/**
 * Waits until one request is done, at most `timeout_ms` (negative: for ever), and answers with its end, see
 * nlmqtt_completion.status (of requests that failed, the last 1,024 are remembered). In LOOP mode it polls meanwhile.
 * TIMEOUT; WOULD_DEADLOCK inside a callback; INVALID_ARGUMENT: not a token of this client.
 */
nlmqtt_status nlmqtt_client_wait(nlmqtt_client *client,
                                 uint64_t token,
                                 int32_t timeout_ms);

/**
 * An empty table. NULL is fine.
 */
void nlmqtt_client_callbacks_init(nlmqtt_client_callbacks *callbacks);

/**
 * Inside before_connect only: the credentials from now on; either may be NULL for none. Copied. With what cannot be sent (a
 * password without a user name before MQTT 5, more than 65,535 bytes) there is no connection: NLMQTT_CAUSE_CREDENTIALS.
 */
nlmqtt_status nlmqtt_credentials_set(nlmqtt_credentials *credentials,
                                     const char *username,
                                     const void *password,
                                     size_t password_len);

/**
 * Default options, without a server. The caller frees them with nlmqtt_client_config_free, any time after
 * nlmqtt_client_new. NULL if memory is short.
 */
nlmqtt_client_config *nlmqtt_client_config_new(void);

/**
 * Frees options. NULL is fine.
 */
void nlmqtt_client_config_free(nlmqtt_client_config *config);

/**
 * Adds a server, `SCHEME://user:password@host:port?key=value`: mqtt or tcp (TCP, port 1883 if there is none), mqtts, tls or ssl (TLS, 8883), ws and
 * wss (WebSocket, 80 and 443), rudp and rudps (reliable UDP, 14567), udp (bare packets in datagrams, 1883), quic (with that feature, 14567),
 * unix:///PATH, inproc://NAME. A user name, password or key counts for the whole client.
 * Several servers are a ladder: the one with the lowest `priority` is tried
 * first, the others in turn when it fails, whatever their transports. The one that worked is tried first again when its connection
 * is lost, and the best one again when that is ladder_probe_interval_s ago; nlmqtt_connected tells of each switch. Copied. CONFIG: not
 * such a URI; UNSUPPORTED: a transport this build does not have. Nothing changes then.
 */
nlmqtt_status nlmqtt_client_config_add_server(nlmqtt_client_config *config,
                                              const char *uri,
                                              uint32_t priority);

/**
 * Takes a connection string, `Server=tcp://host:1883;ClientId=id;UserName=name;Password=word;Timeout=15000` (timeout in
 * milliseconds); `,` may separate, too; every key of nlmqtt_client_config_set is understood. Copied. CONFIG: the last error
 * says what is wrong; nothing changes then.
 */
nlmqtt_status nlmqtt_client_config_load_connstr(nlmqtt_client_config *config,
                                                const char *text);

/**
 * Reads a TOML file of keys, and servers as `[[server]]` tables with `uri` and `priority`. CONFIG: the last error names
 * every problem with its line, nlmqtt_client_config_check tells them, and nothing has changed. IO: the file cannot be read; UNSUPPORTED: a build
 * without TOML.
 */
nlmqtt_status nlmqtt_client_config_load_file(nlmqtt_client_config *config,
                                             const char *path);

/**
 * Sets what variables of the environment say: NLMQTT_ and a key in upper case. CONFIG: the last error
 * names every one that cannot be used; the others have been set.
 */
nlmqtt_status nlmqtt_client_config_load_environment(nlmqtt_client_config *config);

/**
 * Sets one option by its key, such as "keepalive" to "30"; the README lists the keys. "server" adds a server. Copied.
 * CONFIG: no such key, or not such a value; the last error suggests what may have been meant.
 */
nlmqtt_status nlmqtt_client_config_set(nlmqtt_client_config *config,
                                       const char *key,
                                       const char *value);

/**
 * Copies the value of an option into `buf`, cut to `cap` bytes with the NUL, and its whole length without the NUL into
 * `len_out` (may be NULL). `buf` may be NULL if `cap` is 0. CONFIG: no such key.
 */
nlmqtt_status nlmqtt_client_config_get(const nlmqtt_client_config *config,
                                       const char *key,
                                       char *buf,
                                       size_t cap,
                                       size_t *len_out);

/**
 * Sets user name and password; either may be NULL for none (MQTT 5 section 3.1.3.5). Copied.
 */
nlmqtt_status nlmqtt_client_config_set_credentials(nlmqtt_client_config *config,
                                                   const char *username,
                                                   const void *password,
                                                   size_t password_len);

/**
 * Sets the will: what the server publishes when the connection is lost (MQTT 5 section 3.1.2.5). `topic` NULL: no will.
 * `properties` may be NULL; a Will Delay Interval belongs in it. Copied.
 */
nlmqtt_status nlmqtt_client_config_set_will(nlmqtt_client_config *config,
                                            const char *topic,
                                            const void *payload,
                                            size_t len,
                                            uint8_t qos,
                                            bool retain,
                                            const nlmqtt_properties *properties);

/**
 * Sets user properties and the two Request ... Information properties of CONNECT (MQTT 5 section 3.1.2.11); the others
 * have keys. NULL: none. Copied.
 */
nlmqtt_status nlmqtt_client_config_set_connect_properties(nlmqtt_client_config *config,
                                                          const nlmqtt_properties *properties);

/**
 * Sets method and first data of enhanced authentication (MQTT 5 section 4.12). `method` NULL: none. Copied.
 */
nlmqtt_status nlmqtt_client_config_set_authentication(nlmqtt_client_config *config,
                                                      const char *method,
                                                      const void *data,
                                                      size_t len);

/**
 * Publishes a request and waits at most `timeout_ms` for the response to it (MQTT 5 section 4.10). Response Topic and
 * Correlation Data are chosen by the library; the Response Topic (option response_topic) is subscribed to with the first
 * request, for as long as the client lives. `options` says the rest of the publish, NULL means the defaults; a completion in
 * it is refused, because `response` is it. `response` (may be NULL) is called exactly once if this returns OK; `user_data` is
 * given to it and released with `free_fn` (may be NULL) exactly once, also when the call fails. A request waits for a
 * connection, its time runs meanwhile. `token_out` (may be NULL) names it for nlmqtt_client_wait and nlmqtt_client_cancel.
 * Never waits. Errors as nlmqtt_client_publish; QUEUE_FULL also for more than the option max_requests (then as the
 * completion), UNSUPPORTED (as the completion) before MQTT 5; INVALID_ARGUMENT: a time-out of 0.
 */
nlmqtt_status nlmqtt_client_request(nlmqtt_client *client,
                                    const char *topic,
                                    const void *payload,
                                    size_t len,
                                    const nlmqtt_publish_options *options,
                                    uint32_t timeout_ms,
                                    nlmqtt_response_fn response,
                                    void *user_data,
                                    nlmqtt_free_fn free_fn,
                                    uint64_t *token_out);

/**
 * Answers a request that came: publishes to its Response Topic with its Correlation Data (MQTT 5 section 4.10). `request` is
 * the message as it came, lent or kept. `options` says the rest, NULL means QoS and nothing else: that of the request. Else
 * as nlmqtt_client_publish_ex. UNSUPPORTED: the message has no Response Topic, it is no request.
 */
nlmqtt_status nlmqtt_client_respond(nlmqtt_client *client,
                                    const nlmqtt_message *request,
                                    const void *payload,
                                    size_t len,
                                    const nlmqtt_publish_options *options,
                                    uint64_t *token_out);

/**
 * Pull style (option pull_receive): takes the oldest message that came and has no callback of its own, waits for one at most
 * `timeout_ms` (0: not at all, negative: for ever). The caller releases it with nlmqtt_message_unref. `ack_out` (may be NULL)
 * is for nlmqtt_client_ack. What waits is bounded by the options max_received_messages and max_received_bytes; beyond,
 * nothing is read from the server (acknowledgements of own publishes rest, too), and nothing is dropped. In LOOP mode it
 * polls meanwhile. Any number of threads. TIMEOUT: none came; UNSUPPORTED: without the option; INVALID_STATE: not started, or
 * stopped and nothing left; GONE: it has given up and nothing is left; WOULD_DEADLOCK inside a callback, unless `timeout_ms`
 * is 0.
 */
nlmqtt_status nlmqtt_client_next_message(nlmqtt_client *client,
                                         int32_t timeout_ms,
                                         nlmqtt_message **message_out,
                                         nlmqtt_ack *ack_out);

/**
 * QoS 0 and nothing else. NULL is fine.
 */
void nlmqtt_publish_options_init(nlmqtt_publish_options *options);

/**
 * Queues a message, connected or not; it is sent as soon as there is a connection, and again after each lost one until the
 * server has acknowledged it (QoS 1 and 2). Everything is copied; `payload` may be NULL if `len` is 0. `token_out` (may be
 * NULL) names it for the published callback, nlmqtt_client_wait and nlmqtt_client_cancel. Never waits. QUEUE_FULL: as many
 * messages or bytes wait as the options allow, 65,536 completions wait to be dispatched, or the runtime's memory limit is
 * reached; try later; INVALID_STATE: not started; INVALID_ARGUMENT: not a topic name; TOO_LARGE: more than a packet holds.
 * Nothing was queued then, and no callback comes.
 */
nlmqtt_status nlmqtt_client_publish(nlmqtt_client *client,
                                    const char *topic,
                                    const void *payload,
                                    size_t len,
                                    uint8_t qos,
                                    bool retain,
                                    uint64_t *token_out);

/**
 * As nlmqtt_client_publish, with properties, a callback of its own, a priority, and a payload that may be moved instead of
 * copied. `options` is borrowed for the call; NULL means the defaults.
 */
nlmqtt_status nlmqtt_client_publish_ex(nlmqtt_client *client,
                                       const char *topic,
                                       const void *payload,
                                       size_t len,
                                       const nlmqtt_publish_options *options,
                                       uint64_t *token_out);

/**
 * As nlmqtt_client_publish, of a message that exists: one of nlmqtt_message_new, or one that was received, with its QoS,
 * its RETAIN flag and its properties. The payload is shared, not copied. The message stays the caller's.
 */
nlmqtt_status nlmqtt_client_publish_message(nlmqtt_client *client,
                                            const nlmqtt_message *message,
                                            uint64_t *token_out);

/**
 * No filter, QoS 0. NULL is fine.
 */
void nlmqtt_subscription_init(nlmqtt_subscription *subscription);

/**
 * Nothing. NULL is fine.
 */
void nlmqtt_subscribe_options_init(nlmqtt_subscribe_options *options);

/**
 * Subscribes to one filter, now, after every reconnect that lost the session, and also before nlmqtt_client_start. `message`
 * gets its messages; NULL: the message callback of the client does. `user_data` is given to it and released with `free_fn`
 * (may be NULL) exactly once, when no message can come any more or the call fails. A filter that is subscribed to already is
 * replaced. `token_out` (may be NULL) names it for the subscribed callback and nlmqtt_client_wait. Never waits.
 * INVALID_ARGUMENT: not a filter.
 */
nlmqtt_status nlmqtt_client_subscribe(nlmqtt_client *client,
                                      const char *filter,
                                      uint8_t qos,
                                      nlmqtt_client_message_fn message,
                                      void *user_data,
                                      nlmqtt_free_fn free_fn,
                                      uint64_t *token_out);

/**
 * As nlmqtt_client_subscribe, for `count` filters in one request. `subscriptions` and `options` are borrowed for the call;
 * `options` NULL means the defaults.
 */
nlmqtt_status nlmqtt_client_subscribe_many(nlmqtt_client *client,
                                           const nlmqtt_subscription *subscriptions,
                                           size_t count,
                                           const nlmqtt_subscribe_options *options,
                                           uint64_t *token_out);

/**
 * Forgets a filter and unsubscribes from it. `token_out` may be NULL. Never waits. INVALID_ARGUMENT: not a filter.
 */
nlmqtt_status nlmqtt_client_unsubscribe(nlmqtt_client *client,
                                        const char *filter,
                                        uint64_t *token_out);

/**
 * As nlmqtt_client_unsubscribe, for `count` filters in one request. Copied.
 */
nlmqtt_status nlmqtt_client_unsubscribe_many(nlmqtt_client *client,
                                             const char *const *filters,
                                             size_t count,
                                             uint64_t *token_out);

/**
 * Gives a request up: it completes with CANCELLED, unless it is done already. What is on its way cannot be called back.
 * Never waits. NOT_FOUND: 0 is no token.
 */
nlmqtt_status nlmqtt_client_cancel(nlmqtt_client *client,
                                   uint64_t token);

/**
 * Acknowledges a received message (option manual_ack): PUBACK or PUBREC goes out when everything before it was acknowledged.
 * `reason` 0x00, or a refusal (MQTT 5 section 3.4.2.1). After a reconnect it is without effect: the server sends the
 * message again. Never waits. NOT_FOUND: nothing is to be acknowledged; INVALID_ARGUMENT: not a reason of PUBACK.
 */
nlmqtt_status nlmqtt_client_ack(nlmqtt_client *client,
                                nlmqtt_ack ack,
                                uint8_t reason);

/**
 * Answers the server's AUTH with reason 0x18 (MQTT 5 section 4.12). Copied; `data` may be NULL if `len` is 0. Never waits;
 * without effect if the server did not ask. UNSUPPORTED: the configuration names no method. TOO_LARGE: more than 65,535 bytes.
 */
nlmqtt_status nlmqtt_client_authenticate(nlmqtt_client *client,
                                         const void *data,
                                         size_t len);

/**
 * Begins to authenticate again with the method of the configuration (MQTT 5 section 4.12.1). Copied; the auth callback
 * tells how it goes on. Never waits; without effect without a connection. UNSUPPORTED: the configuration names no method. TOO_LARGE: as above.
 */
nlmqtt_status nlmqtt_client_reauthenticate(nlmqtt_client *client,
                                           const void *data,
                                           size_t len);

/**
 * Key client_id: the client identifier (MQTT 5 section 3.1.3.1); empty: the server gives one. Copied.
 */
nlmqtt_status nlmqtt_client_config_set_client_id(nlmqtt_client_config *config,
                                                 const char *client_id);

/**
 * Key version: the number CONNECT has for it: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0. CONFIG: another number.
 */
nlmqtt_status nlmqtt_client_config_set_version(nlmqtt_client_config *config,
                                               uint8_t version);

/**
 * Key clean_start: begin with a new session (MQTT 5 section 3.1.2.4).
 */
nlmqtt_status nlmqtt_client_config_set_clean_start(nlmqtt_client_config *config, bool clean_start);

/**
 * Key session_expiry_s: seconds the server keeps the session without a connection (MQTT 5 section 3.1.2.11.2).
 */
nlmqtt_status nlmqtt_client_config_set_session_expiry_s(nlmqtt_client_config *config,
                                                        uint32_t session_expiry_s);

/**
 * Key keepalive: seconds of the keep-alive (MQTT 5 section 3.1.2.10); 0: none.
 */
nlmqtt_status nlmqtt_client_config_set_keepalive_s(nlmqtt_client_config *config,
                                                   uint16_t keepalive_s);

/**
 * Key receive_maximum: QoS 1 and 2 messages on their way from the server (MQTT 5 section 3.1.2.11.3). CONFIG: 0.
 */
nlmqtt_status nlmqtt_client_config_set_receive_maximum(nlmqtt_client_config *config,
                                                       uint16_t receive_maximum);

/**
 * Key max_packet_size: the largest packet the server may send, in bytes (MQTT 5 section 3.1.2.11.4). CONFIG: less than 128.
 */
nlmqtt_status nlmqtt_client_config_set_max_packet_bytes(nlmqtt_client_config *config,
                                                        size_t max_packet_bytes);

/**
 * Key max_inflight_messages: QoS 1 and 2 messages on their way to the server. CONFIG: 0, or more than 60,000.
 */
nlmqtt_status nlmqtt_client_config_set_max_inflight_messages(nlmqtt_client_config *config,
                                                             uint16_t max_inflight_messages);

/**
 * Keys max_topic_alias and max_topic_alias_out: topic aliases the server may use, and those this client uses (MQTT 5 section
 * 3.1.2.11.5); 0: none.
 */
nlmqtt_status nlmqtt_client_config_set_topic_aliases(nlmqtt_client_config *config,
                                                     uint16_t in_max,
                                                     uint16_t out_max);

/**
 * Key connect_timeout_ms: milliseconds from the dial to CONNACK. CONFIG: 0, or more than a day.
 */
nlmqtt_status nlmqtt_client_config_set_connect_timeout_ms(nlmqtt_client_config *config,
                                                          uint32_t connect_timeout_ms);

/**
 * Key ping_timeout_ms: milliseconds from PINGREQ to PINGRESP. CONFIG: 0, or more than a day.
 */
nlmqtt_status nlmqtt_client_config_set_ping_timeout_ms(nlmqtt_client_config *config,
                                                       uint32_t ping_timeout_ms);

/**
 * Keys reconnect_delay_min_ms, reconnect_delay_max_ms and reconnect_jitter: milliseconds before the second try, where doubling
 * them ends, and whether they are drawn between half and all of that. CONFIG: 0, or more than a day.
 */
nlmqtt_status nlmqtt_client_config_set_reconnect_delay(nlmqtt_client_config *config,
                                                       uint32_t min_ms,
                                                       uint32_t max_ms,
                                                       bool jitter);

/**
 * Keys reconnect_on_...: what a cause (NLMQTT_CAUSE_*, but not STOPPED) leads to, one of NLMQTT_RETRY_*. CONFIG: not such
 * a number.
 */
nlmqtt_status nlmqtt_client_config_set_reconnect_rule(nlmqtt_client_config *config,
                                                      int32_t cause,
                                                      int32_t rule);

/**
 * Key resubscribe: when stored subscriptions are asked for again, one of NLMQTT_RESUBSCRIBE_*. CONFIG: not such a number.
 */
nlmqtt_status nlmqtt_client_config_set_resubscribe(nlmqtt_client_config *config,
                                                   int32_t resubscribe);

/**
 * Keys max_queued_messages and max_queued_bytes: what waits to be sent. CONFIG: 0.
 */
nlmqtt_status nlmqtt_client_config_set_queue_limits(nlmqtt_client_config *config,
                                                    size_t messages_max,
                                                    size_t bytes_max);

/**
 * Keys queue_overflow (one of NLMQTT_OVERFLOW_*), queue_expiry_ms (milliseconds after which a message that waits is given up;
 * 0: never) and queue_newest_per_topic (of the messages of one topic that wait, only the newest stays). CONFIG: not such a
 * number, or more than a day.
 */
nlmqtt_status nlmqtt_client_config_set_queue_policy(nlmqtt_client_config *config,
                                                    int32_t overflow,
                                                    uint32_t expiry_ms,
                                                    bool newest_per_topic);

/**
 * Key queue_qos0_messages: QoS 0 messages wait for a connection, too; else they are refused without one.
 */
nlmqtt_status nlmqtt_client_config_set_queue_qos0(nlmqtt_client_config *config,
                                                  bool queue_qos0);

/**
 * Key manual_ack: messages are acknowledged by nlmqtt_client_ack only.
 */
nlmqtt_status nlmqtt_client_config_set_manual_ack(nlmqtt_client_config *config, bool manual_ack);

/**
 * Keys pull_receive, max_received_messages and max_received_bytes: messages without a callback of their own wait for
 * nlmqtt_client_next_message, as many and as many bytes; beyond, nothing is read from the server. CONFIG: 0.
 */
nlmqtt_status nlmqtt_client_config_set_pull_receive(nlmqtt_client_config *config,
                                                    size_t messages_max,
                                                    size_t bytes_max);

/**
 * Keys max_requests and response_topic: requests that wait for their response, and where responses come to (NULL: as it is;
 * empty: the library chooses a topic). Copied. CONFIG: 0.
 */
nlmqtt_status nlmqtt_client_config_set_requests(nlmqtt_client_config *config,
                                                size_t requests_max,
                                                const char *response_topic);

/**
 * Key ladder_probe_interval_s: of several servers the one that worked is tried first again when its connection is lost; after so many seconds the best
 * one; 0: never.
 */
nlmqtt_status nlmqtt_client_config_set_ladder_probe_interval_s(nlmqtt_client_config *config,
                                                               uint32_t interval_s);

/**
 * Keys proxy_uri, proxy_username and proxy_password: the proxy on the way to every server, "http://host:port" (CONNECT, RFC 9110 section 9.3.6) or
 * "socks5://host:port" (RFC 1928), which looks names up; user name and password may be NULL for none. `uri` NULL or empty: no proxy. Copied. CONFIG:
 * not such a URI; nothing has changed then.
 */
nlmqtt_status nlmqtt_client_config_set_proxy(nlmqtt_client_config *config,
                                             const char *uri,
                                             const char *username,
                                             const char *password);

/**
 * Key proxy_protocol: the version of the PROXY protocol whose header is sent first to whoever is connected to, 1 or 2; 0: none. CONFIG: another number.
 */
nlmqtt_status nlmqtt_client_config_set_proxy_protocol(nlmqtt_client_config *config,
                                                      int32_t version);

/**
 * Key websocket_path: what to ask for at servers whose URI has no path, such as "/gateway"; NULL or empty: "/mqtt". Copied. CONFIG: not a path.
 */
nlmqtt_status nlmqtt_client_config_set_websocket_path(nlmqtt_client_config *config,
                                                      const char *path);

/**
 * One more line of the key websocket_headers: a field of the request for a WebSocket (RFC 9110 section 5), such as "Authorization" and "Bearer ...".
 * Fields of one name may be there several times. Setting the key itself begins anew. Copied. CONFIG: not a field, or one of the handshake's own;
 * nothing has changed then.
 */
nlmqtt_status nlmqtt_client_config_add_websocket_header(nlmqtt_client_config *config,
                                                        const char *name,
                                                        const char *value);

/**
 * Keys bind_address, bind_device and socket_mark: the local IP address to connect from, the network device to connect over
 * (SO_BINDTODEVICE), and the mark of the connection's packets (SO_MARK); NULL and 0: any, none. A connection that the system
 * does not let have them (they need a privilege) is not made: NLMQTT_CAUSE_NETWORK. Copied. CONFIG: not an IP address; nothing
 * changes then.
 */
nlmqtt_status nlmqtt_client_config_set_bind(nlmqtt_client_config *config,
                                            const char *address,
                                            const char *device,
                                            uint32_t mark);

/**
 * Zero everywhere. NULL is fine.
 */
void nlmqtt_client_statistics_init(nlmqtt_client_statistics *statistics);

/**
 * Fills in counters, as they were a moment ago. `statistics` must have been made by nlmqtt_client_statistics_init. Never
 * waits.
 */
nlmqtt_status nlmqtt_client_stats(const nlmqtt_client *client,
                                  nlmqtt_client_statistics *statistics);

/**
 * Copies what somebody wants to know who looks at a client that does not work: lines of a name, a space and a value (the
 * state, the last session, how the last connection ended and when the next try is, what waits, every counter), meant for
 * people and logs; names may be added. Cut to `cap` bytes with the NUL; the whole length without the NUL goes into
 * `len_out` (may be NULL). `buf` may be NULL if `cap` is 0. Never waits. Any thread, callbacks included.
 */
nlmqtt_status nlmqtt_client_diagnostics(const nlmqtt_client *client,
                                        char *buf,
                                        size_t cap,
                                        size_t *len_out);

/**
 * Key ca_file: a file of authorities (PEM) that may sign the server's certificate. Without one, and without ca_pem, those of the
 * system are trusted. Read by nlmqtt_client_new. The path is copied.
 */
nlmqtt_status nlmqtt_client_config_set_ca_file(nlmqtt_client_config *config,
                                               const char *path);

/**
 * Key ca_pem: authorities as text (PEM); with ca_file both are trusted. Copied.
 */
nlmqtt_status nlmqtt_client_config_set_ca_pem(nlmqtt_client_config *config, const char *pem);

/**
 * Keys cert_file and key_file: the client's certificate, those behind it, and its private key, not encrypted (PEM). Read by
 * nlmqtt_client_new. The paths are copied.
 */
nlmqtt_status nlmqtt_client_config_set_certificate_files(nlmqtt_client_config *config,
                                                         const char *cert_file,
                                                         const char *key_file);

/**
 * Keys cert_pem and key_pem: as nlmqtt_client_config_set_certificate_files, with the texts themselves. Copied.
 */
nlmqtt_status nlmqtt_client_config_set_certificate_pem(nlmqtt_client_config *config,
                                                       const char *cert_pem,
                                                       const char *key_pem);

/**
 * The client's certificate and those behind it as text (PEM, copied), with a private key that lies elsewhere, such as in a TPM or a secure
 * element: `sign` signs for it. Keys of RSA, ECDSA on P-256 and P-384, and Ed25519. `user_data` is moved here and released with `free_fn`
 * (may be NULL) after the last call, also when this one fails.
 */
nlmqtt_status nlmqtt_client_config_set_signer(nlmqtt_client_config *config,
                                              const char *cert_pem,
                                              nlmqtt_sign_fn sign,
                                              void *user_data,
                                              nlmqtt_free_fn free_fn);

/**
 * One more public key of the key tls_pins: the server's own certificate has to have one of them, besides everything else. `hash` is SHA-256 of the
 * SubjectPublicKeyInfo (RFC 7469 section 2.4), 32 bytes, copied. INVALID_ARGUMENT: another length.
 */
nlmqtt_status nlmqtt_client_config_add_pin(nlmqtt_client_config *config,
                                           const void *hash,
                                           size_t len);

/**
 * Key danger_accept_any_certificate: the server's certificate is not checked, so that anybody on the way can read and change
 * everything; keys pinned by nlmqtt_client_config_add_pin are still asked for. For tests.
 */
nlmqtt_status nlmqtt_client_config_danger_accept_any_certificate(nlmqtt_client_config *config);

/**
 * Tells every key of a client's configuration to `each`, in the order of the documentation. INVALID_ARGUMENT: `each` is NULL. Any thread.
 */
nlmqtt_status nlmqtt_client_config_each_key(nlmqtt_key_fn each,
                                            void *user_data);

/**
 * Tells every problem of a client's configuration to `problem` (may be NULL), on this thread: those of the last file or JSON, or else what
 * cannot work together; `problem` may free `config`. OK: there is none; CONFIG: there are, and the last error has a line for each.
 */
nlmqtt_status nlmqtt_client_config_check(const nlmqtt_client_config *config,
                                         nlmqtt_problem_fn problem,
                                         void *user_data);

/**
 * As nlmqtt_client_config_load_file, with the text of a JSON object: keys, and `server` as a URI, an object of `uri` and `priority`, or an
 * array of these. Copied. CONFIG: it has problems, nothing has changed; UNSUPPORTED: a build without JSON.
 */
nlmqtt_status nlmqtt_client_config_load_json(nlmqtt_client_config *config,
                                             const char *text);

/**
 * Sets an option that is true or false. CONFIG: no such key, or of another kind; nothing has changed then.
 */
nlmqtt_status nlmqtt_client_config_set_bool(nlmqtt_client_config *config,
                                            const char *key,
                                            bool value);

/**
 * Sets an option that is a number, bytes, or a life time in seconds (4,294,967,295: never). CONFIG: no such key, of another kind, or out
 * of range; nothing has changed then.
 */
nlmqtt_status nlmqtt_client_config_set_number(nlmqtt_client_config *config,
                                              const char *key,
                                              uint64_t value);

/**
 * The value of an option that is true or false. CONFIG: no such key, or of another kind.
 */
nlmqtt_status nlmqtt_client_config_get_bool(const nlmqtt_client_config *config,
                                            const char *key,
                                            bool *value_out);

/**
 * The value of an option that is a number, bytes, or a life time in seconds (4,294,967,295: never). CONFIG: no such key, or of another kind.
 */
nlmqtt_status nlmqtt_client_config_get_number(const nlmqtt_client_config *config,
                                              const char *key,
                                              uint64_t *value_out);

/**
 * Zero everywhere. NULL is fine.
 */
void nlmqtt_datagram_statistics_init(nlmqtt_datagram_statistics *statistics);

/**
 * Fills in what happened on the connection a client has. `statistics` must have been made by nlmqtt_datagram_statistics_init. NOT_FOUND:
 * there is no connection now, or it is not one over QUIC or reliable UDP. Never waits. Any thread, callbacks included.
 */
nlmqtt_status nlmqtt_client_datagram_stats(const nlmqtt_client *client,
                                           nlmqtt_datagram_statistics *statistics);

/**
 * An empty decision, for a late answer. The caller frees it with nlmqtt_decision_free.
 */
nlmqtt_decision *nlmqtt_decision_new(void);

/**
 * Frees a decision made by nlmqtt_decision_new. NULL is fine.
 */
void nlmqtt_decision_free(nlmqtt_decision *decision);

/**
 * For DENY: the reason, 0x80 and above (MQTT 5 section 2.4); 3.x clients are told the nearest they know.
 */
nlmqtt_status nlmqtt_decision_set_reason(nlmqtt_decision *decision,
                                         uint8_t reason);

/**
 * For REWRITE: another topic name. Copied.
 */
nlmqtt_status nlmqtt_decision_set_topic(nlmqtt_decision *decision, const char *topic);

/**
 * For REWRITE: another payload. Copied; NULL is fine if `len` is 0. TOO_LARGE: more than a packet can hold.
 */
nlmqtt_status nlmqtt_decision_set_payload(nlmqtt_decision *decision,
                                          const void *payload,
                                          size_t len);

/**
 * For REWRITE: another QoS for the subscribers; the publisher's handshake stays as it is.
 */
nlmqtt_status nlmqtt_decision_set_qos(nlmqtt_decision *decision, uint8_t qos);

/**
 * For REWRITE: another RETAIN flag.
 */
nlmqtt_status nlmqtt_decision_set_retain(nlmqtt_decision *decision, bool retain);

/**
 * For CHALLENGE and ALLOW in authentication: the Authentication Data of AUTH or CONNACK (MQTT 5 section 4.12). Copied; NULL is
 * fine if `len` is 0.
 */
nlmqtt_status nlmqtt_decision_set_auth_data(nlmqtt_decision *decision,
                                            const void *data,
                                            size_t len);

/**
 * For ALLOW in the subscribe hook: use this filter and QoS for the one at `index`. Copied. The others stay as they are.
 */
nlmqtt_status nlmqtt_decision_set_filter(nlmqtt_decision *decision,
                                         size_t index,
                                         const char *filter,
                                         uint8_t qos);

/**
 * For ALLOW in the subscribe hook: refuse the filter at `index`, with a reason of 0x80 and above.
 */
nlmqtt_status nlmqtt_decision_refuse_filter(nlmqtt_decision *decision,
                                            size_t index,
                                            uint8_t reason);

/**
 * Fills a hook table with its size and NULLs. Call it before you set anything. NULL is fine.
 */
void nlmqtt_server_hooks_init(nlmqtt_server_hooks *hooks);

/**
 * MQTT over TCP at every address, port 1883, with the server's options. The caller frees it with nlmqtt_listener_config_free, any time after it was
 * added. NULL if memory is short.
 */
nlmqtt_listener_config *nlmqtt_listener_config_new(void);

/**
 * Frees a listener's configuration; what it was added to has its own copy. NULL is fine.
 */
void nlmqtt_listener_config_free(nlmqtt_listener_config *config);

/**
 * Says where: a URI as for nlmqtt_server_config_add_listener; options in its query are set, others stay. Copied. CONFIG: not such a URI, or such an option is
 * not known; UNSUPPORTED: a transport this build does not have. Nothing has changed then.
 */
nlmqtt_status nlmqtt_listener_config_set_uri(nlmqtt_listener_config *config,
                                             const char *uri);

/**
 * Sets one option from text by its key in the README's table of listeners; or says where: `protocol`, `address`, `port`, `uri`, as in a
 * `[[listener]]` table of a file. Copied. CONFIG: no such key, or a value that cannot be used; the last error says what is there instead.
 * UNSUPPORTED: a transport this build does not have. Nothing has changed then.
 */
nlmqtt_status nlmqtt_listener_config_set(nlmqtt_listener_config *config,
                                         const char *key,
                                         const char *value);

/**
 * Copies the value of an option into `buf`, cut to `cap` bytes with the NUL, and its whole length without the NUL into
 * `len_out` (may be NULL); empty: not set. `buf` may be NULL if `cap` is 0. CONFIG: no such key.
 */
nlmqtt_status nlmqtt_listener_config_get(const nlmqtt_listener_config *config,
                                         const char *key,
                                         char *buf,
                                         size_t cap,
                                         size_t *len_out);

/**
 * Key allow_anonymous: let clients without a user name in, whatever the server's option says.
 */
nlmqtt_status nlmqtt_listener_config_set_allow_anonymous(nlmqtt_listener_config *config,
                                                         bool allow_anonymous);

/**
 * Key versions: the oldest and the newest version spoken here, by the numbers CONNECT has for them: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0. CONFIG:
 * another number, or the oldest is newer than the newest.
 */
nlmqtt_status nlmqtt_listener_config_set_versions(nlmqtt_listener_config *config,
                                                  uint8_t oldest,
                                                  uint8_t newest);

/**
 * Key mount_point: put before every topic and filter of these clients, and taken off what they receive; it ends with `/`. NULL: none. Copied. CONFIG: not the
 * begin of a topic.
 */
nlmqtt_status nlmqtt_listener_config_set_mount_point(nlmqtt_listener_config *config,
                                                     const char *mount_point);

/**
 * Key max_connections: connections through this listener at one time; 0: only the server's limit. CONFIG: more than 10,000,000.
 */
nlmqtt_status nlmqtt_listener_config_set_max_connections(nlmqtt_listener_config *config,
                                                         uint32_t max_connections);

/**
 * Key max_packet_size: the largest packet a client may send, in bytes (MQTT 5 section 3.2.2.3.6); 0: the server's limit, which holds besides.
 * CONFIG: less than 128, or more than MQTT knows.
 */
nlmqtt_status nlmqtt_listener_config_set_max_packet_bytes(nlmqtt_listener_config *config,
                                                          uint32_t packet_bytes);

/**
 * Key receive_maximum: QoS 1 and 2 messages on their way from one client (MQTT 5 section 3.2.2.3.3); 0: the server's limit, which holds besides.
 */
nlmqtt_status nlmqtt_listener_config_set_receive_maximum(nlmqtt_listener_config *config,
                                                         uint16_t receive_maximum);

/**
 * Key max_keepalive: the longest keep-alive in seconds (MQTT 5 section 3.2.2.3.14); 0: the server's limit, which holds besides.
 */
nlmqtt_status nlmqtt_listener_config_set_max_keepalive_s(nlmqtt_listener_config *config,
                                                         uint16_t keepalive_s);

/**
 * Keys rate_messages, rate_bytes and rate_connections: PUBLISH packets and bytes a client may send in a second, beyond which it is not read for a while, and
 * connections accepted in a second, beyond which they wait; 0: any number.
 */
nlmqtt_status nlmqtt_listener_config_set_rates(nlmqtt_listener_config *config,
                                               uint32_t messages,
                                               uint32_t bytes,
                                               uint32_t connections);

/**
 * Keys allow and deny: addresses and networks, such as "10.0.0.0/8,::1", whose clients alone are let in, and whose are not, even if `allow` has
 * them; NULL: none are named. Copied. CONFIG: not such a list; nothing has changed then.
 */
nlmqtt_status nlmqtt_listener_config_set_addresses(nlmqtt_listener_config *config,
                                                   const char *allow,
                                                   const char *deny);

/**
 * Keys cert and key: the server's certificate and those behind it, and its private key, not encrypted (PEM files); they are read when the listener
 * opens, and again by nlmqtt_server_reload. The paths are copied.
 */
nlmqtt_status nlmqtt_listener_config_set_certificate_files(nlmqtt_listener_config *config,
                                                           const char *cert_file,
                                                           const char *key_file);

/**
 * Keys client_cert, identity, ca and crl: whether clients show certificates (NLMQTT_CLIENT_CERTIFICATE_*), what of them is the user name
 * (NLMQTT_IDENTITY_*, with REQUIRE only), who may sign them, and which were revoked (PEM files; `crl_file` may be NULL, `ca_file` with NONE, too).
 * The paths are copied. CONFIG: not such numbers.
 */
nlmqtt_status nlmqtt_listener_config_set_client_certificates(nlmqtt_listener_config *config,
                                                             int32_t mode,
                                                             int32_t identity,
                                                             const char *ca_file,
                                                             const char *crl_file);

/**
 * Keys tls_min and alpn: the oldest version of TLS (NLMQTT_TLS_VERSION_*), and protocols of ALPN (RFC 7301), separated by commas, the dearest first;
 * NULL: none. Copied. CONFIG: not such a number.
 */
nlmqtt_status nlmqtt_listener_config_set_tls(nlmqtt_listener_config *config,
                                             int32_t version_min,
                                             const char *alpn);

/**
 * Keys paths and origins: paths of a WebSocket that are served besides the one in the URI, such as "/mqtt,/console", and origins whose pages are let
 * in, such as "https://console.example" (RFC 6454 section 6.2); NULL: all. Copied. CONFIG: not a list of paths.
 */
nlmqtt_status nlmqtt_listener_config_set_websocket(nlmqtt_listener_config *config,
                                                   const char *paths,
                                                   const char *origins);

/**
 * Keys proxy and proxy_trusted: whether the header of the PROXY protocol is expected (NLMQTT_PROXY_POLICY_*), and the addresses or networks of those
 * who are believed about whom they connect, in that header and in X-Forwarded-For; NULL: nobody. Copied. CONFIG: not such a number, or not such a
 * list.
 */
nlmqtt_status nlmqtt_listener_config_set_proxy(nlmqtt_listener_config *config,
                                               int32_t policy,
                                               const char *trusted);

/**
 * Key backlog: connections that wait to be accepted; the kernel may allow fewer. CONFIG: 0, or more than 65,535.
 */
nlmqtt_status nlmqtt_listener_config_set_backlog(nlmqtt_listener_config *config,
                                                 uint32_t backlog);

/**
 * Keys tcp_keepalive_s and tcp_user_timeout_ms: seconds of silence before TCP asks whether the other side is there, three times, and milliseconds
 * TCP may wait for an acknowledgement (RFC 5482); 0: it does not ask, and waits as the kernel says. CONFIG: more than 32,767 seconds, or than a day.
 */
nlmqtt_status nlmqtt_listener_config_set_tcp(nlmqtt_listener_config *config,
                                             uint16_t keepalive_s,
                                             uint32_t user_timeout_ms);

/**
 * Keys rudp_max_half_open, rudp_max_half_open_per_source and rudp_max_unproven: clients of reliable UDP at one time whose first packet is not there
 * yet, in all and of one address, and those of generation 1, and likewise of udp://, whose address is not proved. 0: the default (256, 32, 64). Who is
 * above that is turned away and counted (`datagram_newcomers_refused`), unless, with udp://, somebody was silent for too long (key rudp_bare_grace_ms),
 * whose place it gets (`datagram_gave_way`). CONFIG: more than 10,000, 10,000, 100,000, or a build without reliable UDP.
 */
nlmqtt_status nlmqtt_listener_config_set_rudp_newcomers(nlmqtt_listener_config *config,
                                                        uint32_t half_open_max,
                                                        uint32_t half_open_per_source_max,
                                                        uint32_t unproven_max);

/**
 * Keys rudp_rate_newcomers and rudp_rate_resets: CONNECTs of generation 1 and udp:// of one address in a second, and answers in a second to those who believe
 * in a connection that is not there; 0: none is given. What is above that is dropped and counted (`datagram_newcomers_refused`,
 * `datagram_replies_dropped`). CONFIG: 0 newcomers, more than 1,000,000, or a build without reliable UDP.
 */
nlmqtt_status nlmqtt_listener_config_set_rudp_rates(nlmqtt_listener_config *config,
                                                    uint32_t newcomers,
                                                    uint32_t resets);

/**
 * Keys rudp_gap_timeout_ms and rudp_silent_timeout_s, of generation 1: milliseconds a missing packet is waited for before those behind it are handed on,
 * and seconds of silence after which a client is forgotten (of udp://, too), unless 1.5 times its MQTT keep-alive is longer. 0: the default (20,000, 300).
 * CONFIG: more than a minute, or than a day; or a build without reliable UDP.
 */
nlmqtt_status nlmqtt_listener_config_set_rudp_patience(nlmqtt_listener_config *config,
                                                       uint32_t gap_timeout_ms,
                                                       uint32_t silent_timeout_s);

/**
 * Keys rudp_bare and rudp_bare_trusted: bare packets in datagrams (udp://) are taken at this port, too, which anybody can forge; and the addresses or networks
 * that are believed to be where such packets come from, while others get no more bytes than they send (NULL: those of this host only). Copied. CONFIG: not
 * such a list, or a build without reliable UDP.
 */
nlmqtt_status nlmqtt_listener_config_set_rudp_bare(nlmqtt_listener_config *config,
                                                   bool enabled,
                                                   const char *trusted);

/**
 * Key dscp: the class of the packets that are sent (RFC 2474). CONFIG: more than 63.
 */
nlmqtt_status nlmqtt_listener_config_set_dscp(nlmqtt_listener_config *config, uint8_t dscp);

/**
 * Keys mode and owner: permissions of the file of a Unix socket, such as 0660, and who is to own it: "USER", "USER:GROUP" or ":GROUP", by name or
 * number; NULL: nobody else. Copied. CONFIG: more than 0777.
 */
nlmqtt_status nlmqtt_listener_config_set_unix_file(nlmqtt_listener_config *config,
                                                   uint32_t mode,
                                                   const char *owner);

/**
 * Adds a listener: a copy of `listener`, which stays the caller's. CONFIG: its options do not go together, the last error says which, or there is one at its
 * address already; UNSUPPORTED: a transport this build does not have. Nothing has changed then.
 */
nlmqtt_status nlmqtt_server_config_add_listener_config(nlmqtt_server_config *config,
                                                       const nlmqtt_listener_config *listener);

/**
 * Makes a message. Topic, payload and properties are copied; `properties` may be NULL, `payload` too if `len` is 0. The
 * caller releases it with nlmqtt_message_unref.
 */
nlmqtt_status nlmqtt_message_new(const char *topic,
                                 const void *payload,
                                 size_t len,
                                 uint8_t qos,
                                 bool retain,
                                 const nlmqtt_properties *properties,
                                 nlmqtt_message **message_out);

/**
 * Keeps a message beyond the callback that lent it, without copying its payload. Returns the handle to keep, which may be
 * another one than the one given; NULL for NULL. Each needs one nlmqtt_message_unref. Any thread.
 */
nlmqtt_message *nlmqtt_message_ref(const nlmqtt_message *message);

/**
 * Gives one reference back; the last one frees the message. NULL is fine, and so is (without effect) a message that a
 * callback only lent. Any thread.
 */
void nlmqtt_message_unref(nlmqtt_message *message);

/**
 * The topic name. Borrowed from the message. No string for NULL. Any thread.
 */
nlmqtt_str nlmqtt_message_topic(const nlmqtt_message *message);

/**
 * The payload. Borrowed from the message. No bytes for NULL. Any thread.
 */
nlmqtt_bytes nlmqtt_message_payload(const nlmqtt_message *message);

/**
 * The QoS: of the delivery in a client, of the publish in a server. 0 for NULL. Any thread.
 */
uint8_t nlmqtt_message_qos(const nlmqtt_message *message);

/**
 * The RETAIN flag (MQTT 5 section 3.3.1.3). Any thread.
 */
bool nlmqtt_message_retain(const nlmqtt_message *message);

/**
 * The DUP flag (MQTT 5 section 3.3.1.1): it may have come before. Any thread.
 */
bool nlmqtt_message_dup(const nlmqtt_message *message);

/**
 * The properties that travel with the message (MQTT 5 section 3.3.2.3); an empty list if there are none. Borrowed from
 * the message. NULL for NULL. Any thread.
 */
const nlmqtt_properties *nlmqtt_message_properties(const nlmqtt_message *message);

/**
 * The subscription identifier at `index` (MQTT 5 section 3.3.2.3.8); 0 if there are not so many. Any thread.
 */
uint32_t nlmqtt_message_subscription_id(const nlmqtt_message *message,
                                        size_t index);

/**
 * When the message came, in microseconds since its runtime began; 0 for one made by nlmqtt_message_new. Any thread.
 */
uint64_t nlmqtt_message_received_us(const nlmqtt_message *message);

/**
 * An empty list. The caller frees it with nlmqtt_properties_free. NULL if memory is short.
 */
nlmqtt_properties *nlmqtt_properties_new(void);

/**
 * A copy, for instance of what a callback lends; NULL for NULL. The caller frees it with nlmqtt_properties_free.
 */
nlmqtt_properties *nlmqtt_properties_copy(const nlmqtt_properties *properties);

/**
 * Frees a list made by nlmqtt_properties_new or nlmqtt_properties_copy. NULL is fine.
 */
void nlmqtt_properties_free(nlmqtt_properties *properties);

/**
 * Appends a number. INVALID_ARGUMENT: `id` is no number, or the standard forbids the value.
 */
nlmqtt_status nlmqtt_properties_add_u32(nlmqtt_properties *properties, uint8_t id, uint32_t value);

/**
 * Appends a string. Copied. INVALID_ARGUMENT: `id` is no string, or the text is not UTF-8; TOO_LARGE: more than 65,535
 * bytes.
 */
nlmqtt_status nlmqtt_properties_add_string(nlmqtt_properties *properties,
                                           uint8_t id,
                                           const char *value);

/**
 * Appends binary data. Copied. NULL is fine if `len` is 0. INVALID_ARGUMENT: `id` is not binary; TOO_LARGE: more than
 * 65,535 bytes.
 */
nlmqtt_status nlmqtt_properties_add_binary(nlmqtt_properties *properties,
                                           uint8_t id,
                                           const void *data,
                                           size_t len);

/**
 * Appends a user property. Both strings are copied. INVALID_ARGUMENT: one is not UTF-8; TOO_LARGE: one has more than
 * 65,535 bytes.
 */
nlmqtt_status nlmqtt_properties_add_user(nlmqtt_properties *properties,
                                         const char *name,
                                         const char *value);

/**
 * The value of the number `id`, the one at `index` if it repeats. NOT_FOUND: it is not there.
 */
nlmqtt_status nlmqtt_properties_get_u32(const nlmqtt_properties *properties,
                                        uint8_t id,
                                        size_t index,
                                        uint32_t *value_out);

/**
 * The string `id`, the one at `index` if it repeats. Borrowed from the list, until it is changed or freed, or until the
 * callback returns that lent the list. NOT_FOUND: it is not there.
 */
nlmqtt_status nlmqtt_properties_get_string(const nlmqtt_properties *properties,
                                           uint8_t id,
                                           size_t index,
                                           nlmqtt_str *value_out);

/**
 * The binary `id`, the one at `index` if it repeats. Borrowed as by nlmqtt_properties_get_string. NOT_FOUND: it is not
 * there.
 */
nlmqtt_status nlmqtt_properties_get_binary(const nlmqtt_properties *properties,
                                           uint8_t id,
                                           size_t index,
                                           nlmqtt_bytes *value_out);

/**
 * The user property at `index`. Borrowed as by nlmqtt_properties_get_string. NOT_FOUND: there are not so many.
 */
nlmqtt_status nlmqtt_properties_get_user(const nlmqtt_properties *properties,
                                         size_t index,
                                         nlmqtt_str *name_out,
                                         nlmqtt_str *value_out);

/**
 * How often `id` is there; `id` 0 counts all. 0 for NULL.
 */
size_t nlmqtt_properties_count(const nlmqtt_properties *properties, uint8_t id);

/**
 * Which property is the one at `index` of all; 0 if there are not so many. To walk through a list: ask for the id, then
 * for the value.
 */
uint8_t nlmqtt_properties_id_at(const nlmqtt_properties *properties,
                                size_t index);

/**
 * Takes every `id` out; `id` 0 takes everything out.
 */
nlmqtt_status nlmqtt_properties_remove(nlmqtt_properties *properties, uint8_t id);

/**
 * OK if the list may be sent at `place` (one of NLMQTT_PLACE_*): every property belongs there and none is there twice
 * that must not be (MQTT 5 section 2.2.2.2).
 */
nlmqtt_status nlmqtt_properties_validate(const nlmqtt_properties *properties,
                                         int32_t place);

/**
 * Makes a runtime. `config` is borrowed for the call; NULL means the defaults. In THREAD and DISPATCH mode its threads start
 * now, one for each worker, with every signal masked. The caller frees it with nlmqtt_runtime_free. IO: no descriptor or thread is left, or a
 * thread may not have the scheduling or the CPUs it was given. INVALID_ARGUMENT: options that cannot be.
 */
nlmqtt_status nlmqtt_runtime_new(const nlmqtt_runtime_config *config,
                                 nlmqtt_runtime **runtime_out);

/**
 * Gives the runtime back. It ends when its clients and servers are freed, too; then its threads have ended when the last of
 * these calls returns (inside a callback: when the callback has returned). What was written last over QUIC or reliable UDP is sent on before that,
 * for a second at most if a peer does not answer. NULL is fine.
 */
void nlmqtt_runtime_free(nlmqtt_runtime *runtime);

/**
 * The one descriptor to watch for reading; constant for the life of the runtime. In LOOP mode it is readable when
 * nlmqtt_runtime_poll has something to do, in DISPATCH mode when nlmqtt_runtime_dispatch has. Everything is inside it, time
 * too: the host's loop needs no time-out for this library. -1 in THREAD mode and for NULL. The library keeps and closes it.
 */
int32_t nlmqtt_runtime_fd(const nlmqtt_runtime *runtime);

/**
 * LOOP mode: does what there is to do, and runs callbacks. Waits at most `timeout_ms` for something to happen: 0 = not at
 * all, negative = until it does. One thread at a time. UNSUPPORTED in the other modes, WOULD_DEADLOCK inside a callback, GONE
 * after a failure.
 */
nlmqtt_status nlmqtt_runtime_poll(nlmqtt_runtime *runtime,
                                  int32_t timeout_ms);

/**
 * DISPATCH mode: runs the callbacks that wait, on this thread; if none do, waits at most `timeout_ms` for some: 0 = not at all,
 * negative = until there are. What comes meanwhile is for the next call. One thread should do it; others may, one callback runs at a
 * time. Functions that wait dispatch meanwhile if they are called on the thread that dispatched last, or before one did; on other
 * threads they only wait. A client or server that is freed on that thread is told what waits for it before the call returns; freed on
 * another one, it is told nothing more, and its `free_fn`s run there. UNSUPPORTED in the other modes, WOULD_DEADLOCK inside a callback, GONE after a failure,
 * INTERNAL after a fault around one callback: the others wait for the next call.
 */
nlmqtt_status nlmqtt_runtime_dispatch(nlmqtt_runtime *runtime,
                                      int32_t timeout_ms);

/**
 * How many bytes wait in this runtime, and how many may. Either pointer may be NULL. Never waits. Any thread, callbacks
 * included.
 */
nlmqtt_status nlmqtt_runtime_memory(const nlmqtt_runtime *runtime,
                                    size_t *used_bytes_out,
                                    size_t *limit_bytes_out);

/**
 * Zero everywhere. NULL is fine.
 */
void nlmqtt_runtime_statistics_init(nlmqtt_runtime_statistics *statistics);

/**
 * Fills in levels and counters. `statistics` must have been made by nlmqtt_runtime_statistics_init. Never waits. Any thread, callbacks
 * included.
 */
nlmqtt_status nlmqtt_runtime_stats(const nlmqtt_runtime *runtime,
                                   nlmqtt_runtime_statistics *statistics);

/**
 * Default options: THREAD mode, no log, a memory limit of 512 MiB. The caller frees them with
 * nlmqtt_runtime_config_free, any time after nlmqtt_runtime_new. NULL if memory is short.
 */
nlmqtt_runtime_config *nlmqtt_runtime_config_new(void);

/**
 * Frees options. NULL is fine.
 */
void nlmqtt_runtime_config_free(nlmqtt_runtime_config *config);

/**
 * Who does the work, and who runs callbacks: NLMQTT_MODE_THREAD, NLMQTT_MODE_LOOP or NLMQTT_MODE_DISPATCH.
 */
nlmqtt_status nlmqtt_runtime_config_set_mode(nlmqtt_runtime_config *config,
                                             int32_t mode);

/**
 * How many workers, each with a thread of its own, share the work; 0 = one for each core, 256 at most. Default 1, which is best for a
 * gateway. Clients made on the runtime are dealt out among them; of a server, each connected client lives on one of them, which
 * follows from its client identifier. Callbacks of one client, and hooks about one client of a server, are still called one at a
 * time and in order; those of different clients at the same time, unless the mode is DISPATCH. In LOOP mode there is exactly one worker:
 * nlmqtt_runtime_new answers INVALID_ARGUMENT to another number, and to more than 256.
 */
nlmqtt_status nlmqtt_runtime_config_set_workers(nlmqtt_runtime_config *config,
                                                size_t workers);

/**
 * The name of the first worker's thread, copied; the system shows its first 15 bytes. Those of other workers have "-1", "-2" and so on
 * behind it, threads that look names up "-dns". Default "nlmqtt".
 */
nlmqtt_status nlmqtt_runtime_config_set_thread_name(nlmqtt_runtime_config *config,
                                                    const char *name);

/**
 * The stack of each thread in bytes; 0 = 2 MiB. In THREAD mode callbacks run on it. INVALID_ARGUMENT: less than 64 KiB.
 */
nlmqtt_status nlmqtt_runtime_config_set_stack_bytes(nlmqtt_runtime_config *config,
                                                    size_t stack_bytes);

/**
 * The scheduling policy of the threads that do the work, one of NLMQTT_SCHEDULING_*, and its priority: 1 to 99 for FIFO and
 * ROUND_ROBIN, else 0. Threads that look names up never run in real time. Without the right to it nlmqtt_runtime_new answers
 * IO. INVALID_ARGUMENT: no such policy or priority.
 */
nlmqtt_status nlmqtt_runtime_config_set_scheduling(nlmqtt_runtime_config *config,
                                                   int32_t policy,
                                                   uint8_t priority);

/**
 * The CPUs the threads of the library may run on, by their numbers from 0 on; copied. `count` 0 = all, the default.
 * nlmqtt_runtime_new answers IO if the machine has none of them. INVALID_ARGUMENT: a number of 1,024 or more.
 */
nlmqtt_status nlmqtt_runtime_config_set_cpus(nlmqtt_runtime_config *config,
                                             const uint32_t *cpus,
                                             size_t count);

/**
 * Who is told that a thread of the library began (`start`, the first thing on that thread) and ends (`stop`, the last). Either
 * may be NULL. `user_data` is moved here and released with `free_fn` (may be NULL) after the last call, which comes with the end of
 * the last look-up of a name.
 */
nlmqtt_status nlmqtt_runtime_config_set_thread_hooks(nlmqtt_runtime_config *config,
                                                     nlmqtt_thread_fn start,
                                                     nlmqtt_thread_fn stop,
                                                     void *user_data,
                                                     nlmqtt_free_fn free_fn);

/**
 * How many threads may look names up at one time, 0 to 64; default 8. They begin when they are needed and end with their
 * answer; literal addresses need none. 0 forbids them: then no thread but the workers' is ever made, and a client of a server with a
 * name can be made only with a resolver (nlmqtt_runtime_config_set_resolver). Among many workers they are shared out, with one for each at
 * least. INVALID_ARGUMENT: more than 64.
 */
nlmqtt_status nlmqtt_runtime_config_set_helper_threads(nlmqtt_runtime_config *config,
                                                       size_t count);

/**
 * How many threads run the hooks of this runtime's servers, 0 or 1; default 0: the worker of each client does. With 1 a thread of
 * the library does nothing else, one hook at a time: a hook that blocks then stalls only the clients that wait for an answer, the
 * option `hook_timeout_ms` counts from the question on, and while as many calls wait as nlmqtt_runtime_config_set_events_max says
 * the servers take in no more packets. Callbacks of clients, of nlmqtt_server_subscribe and of tasks stay on the workers. For THREAD
 * mode: nlmqtt_runtime_new answers INVALID_ARGUMENT in the others, which start no thread or have one of the application for this.
 * INVALID_ARGUMENT: more than 1.
 */
nlmqtt_status nlmqtt_runtime_config_set_hook_threads(nlmqtt_runtime_config *config,
                                                     size_t count);

/**
 * Looks names up in place of the system's resolver; NULL means that one. `user_data` is moved here and released with `free_fn`
 * (may be NULL) after the last call.
 */
nlmqtt_status nlmqtt_runtime_config_set_resolver(nlmqtt_runtime_config *config,
                                                 nlmqtt_resolve_fn resolve,
                                                 void *user_data,
                                                 nlmqtt_free_fn free_fn);

/**
 * DISPATCH mode: so many callbacks may wait for nlmqtt_runtime_dispatch before the library rests: it reads no sockets then, and its
 * clients send nothing, so that peers feel it as back-pressure. Nothing is dropped; what one read of a client or one packet of a server
 * makes, and what the application asks for itself, still comes in. The rest ends when half of them have run. A server on the other side
 * may give a client up that rests longer than 1.5 times its keep-alive, and so may servers here with theirs. Default 1,024.
 * INVALID_ARGUMENT: 0.
 */
nlmqtt_status nlmqtt_runtime_config_set_events_max(nlmqtt_runtime_config *config,
                                                   size_t events_max);

/**
 * Bytes of everything that waits in this runtime: messages, queues, buffers. Beyond it servers refuse new connections
 * with 0x89 and rest before they read more from publishers. INVALID_ARGUMENT: 0.
 */
nlmqtt_status nlmqtt_runtime_config_set_memory_limit(nlmqtt_runtime_config *config,
                                                     size_t limit_bytes);

/**
 * Beyond so many bytes servers drop QoS 0 messages for clients that do not take what they have already, and sessions,
 * their queues, subscriptions and the retained store grow no more. Default: seven eighths of the memory limit. nlmqtt_runtime_new answers
 * INVALID_ARGUMENT if it is above the limit.
 */
nlmqtt_status nlmqtt_runtime_config_set_memory_soft_limit(nlmqtt_runtime_config *config,
                                                          size_t limit_bytes);

/**
 * Where the log of the runtime and of everything on it goes: lines up to `level_max` (one of NLMQTT_LOG_*; 0 = none, unless
 * nlmqtt_runtime_config_set_log_level says otherwise for a module). `log` may be NULL for none. `user_data` is moved here and released
 * with `free_fn` (may be NULL) after the last line, which may come after nlmqtt_runtime_free if a callback frees it.
 * INVALID_ARGUMENT: no such level.
 */
nlmqtt_status nlmqtt_runtime_config_set_log(nlmqtt_runtime_config *config,
                                            int32_t level_max,
                                            nlmqtt_log_fn log,
                                            void *user_data,
                                            nlmqtt_free_fn free_fn);

/**
 * Another level for the lines of one module: "client", "server", "runtime", or the name of a crate inside such as "mio". Copied;
 * the last word on a module holds. INVALID_ARGUMENT: no such level, or more than 64 modules.
 */
nlmqtt_status nlmqtt_runtime_config_set_log_level(nlmqtt_runtime_config *config,
                                                  const char *module,
                                                  int32_t level_max);

/**
 * Runs `task` soon where callbacks run: on the library's thread in THREAD mode, inside nlmqtt_runtime_poll or
 * nlmqtt_runtime_dispatch in the other modes. From any thread, callbacks included. `user_data` is moved and released with `free_fn`
 * (may be NULL) after `task` has run, when the runtime ends before, or when this call fails. LIMIT: 65,536 wait.
 */
nlmqtt_status nlmqtt_runtime_post(nlmqtt_runtime *runtime,
                                  nlmqtt_task_fn task,
                                  void *user_data,
                                  nlmqtt_free_fn free_fn);

/**
 * As nlmqtt_runtime_post, in `delay_ms` by the monotonic clock. `task_out` (may be NULL) names it for nlmqtt_runtime_cancel.
 */
nlmqtt_status nlmqtt_runtime_post_delayed(nlmqtt_runtime *runtime,
                                          uint32_t delay_ms,
                                          nlmqtt_task_fn task,
                                          void *user_data,
                                          nlmqtt_free_fn free_fn,
                                          uint64_t *task_out);

/**
 * Takes a function of nlmqtt_runtime_post_delayed back: it will not run, and its `free_fn` runs now, on this thread. NOT_FOUND: it has
 * run, runs at this moment, or was cancelled before. Never waits.
 */
nlmqtt_status nlmqtt_runtime_cancel(nlmqtt_runtime *runtime,
                                    uint64_t task);

/**
 * Answers a resolver (nlmqtt_runtime_config_set_resolver): `addresses` are `count` texts such as "192.0.2.7" or "2001:db8::7", in the order
 * to try; copied. `count` 0: there is no such name, and `addresses` may be NULL. From any thread, also inside the resolver; an answer that
 * comes too late is without effect. INVALID_ARGUMENT: not an address, or more than 64.
 */
nlmqtt_status nlmqtt_runtime_resolved(nlmqtt_runtime *runtime,
                                      uint64_t lookup,
                                      const char *const *addresses,
                                      size_t count);

/**
 * Makes a broker that does not listen yet; publish and subscribe inside this process work already. `runtime` is borrowed for
 * the call and kept by reference; NULL makes a private one in THREAD mode. `config` is copied; NULL means the defaults.
 * `hooks` is copied, NULL means none; its `user_data` is moved, also when the call fails. The caller frees the server with
 * nlmqtt_server_free. Waits. WOULD_DEADLOCK inside a callback.
 */
nlmqtt_status nlmqtt_server_new(nlmqtt_runtime *runtime,
                                const nlmqtt_server_config *config,
                                const nlmqtt_server_hooks *hooks,
                                nlmqtt_server **server_out);

/**
 * Frees a server in any state; NULL is fine. Its connections are closed without a word (nlmqtt_server_stop says good-bye). Returns
 * after a callback that is running has returned, and none is called later; `free_fn`s have run. Inside one of its own callbacks
 * it takes effect when that returns. In a process forked after it was made only memory is released.
 */
void nlmqtt_server_free(nlmqtt_server *server);

/**
 * Starts to listen; without a listener in the configuration that is nothing, and fine. After a stop it begins anew, without
 * sessions and messages. Waits. ADDRESS_IN_USE, IO: a listener cannot be opened, the last error says which; then none is.
 * INVALID_ARGUMENT: a file of TLS cannot be read or used, the last error says which.
 * INVALID_STATE: started already. WOULD_DEADLOCK inside a callback.
 */
nlmqtt_status nlmqtt_server_start(nlmqtt_server *server);

/**
 * Stops: no new connections, DISCONNECT with `reason` to every client of MQTT 5 (0x00 = 0x8B Server shutting down), at most
 * `drain_ms` for that to go out (over datagrams: to arrive); sessions and messages are gone then. Waits until it is over, at most `drain_ms` and a
 * second. Inside a callback, and in LOOP mode, it only begins, returns IN_PROGRESS and ends with the hook `stopped`. Stopping twice
 * is fine.
 */
nlmqtt_status nlmqtt_server_stop(nlmqtt_server *server,
                                 uint8_t reason,
                                 uint32_t drain_ms);

/**
 * Takes a new configuration: what can change in a running server changes now, also listeners; `change` (may be NULL) is told each
 * difference, on this thread, before the call returns. `config` is copied. Waits. OK also if something needs a restart or a
 * listener cannot be opened: `change` says so. WOULD_DEADLOCK inside a callback.
 */
nlmqtt_status nlmqtt_server_reload(nlmqtt_server *server,
                                   const nlmqtt_server_config *config,
                                   nlmqtt_change_fn change,
                                   void *user_data);

/**
 * Tells one client, connected or away, to `each`, on this thread. `client_id`: of one behind a mount point, here as in all calls about one
 * client, mount point, '#' and client identifier, such as "site/7/#pump". Waits. NOT_FOUND: there is no such client. WOULD_DEADLOCK inside a
 * callback.
 */
nlmqtt_status nlmqtt_server_client_info(const nlmqtt_server *server,
                                        const char *client_id,
                                        nlmqtt_client_entry_fn each,
                                        void *user_data);

/**
 * Tells the filters a client has subscribed to, sorted, to `each`, on this thread. Waits. NOT_FOUND: there is no such client.
 * WOULD_DEADLOCK inside a callback.
 */
nlmqtt_status nlmqtt_server_each_subscription(const nlmqtt_server *server,
                                              const char *client_id,
                                              nlmqtt_filter_fn each,
                                              void *user_data);

/**
 * Subscribes for a client as if it had asked, past the hooks that decide; retained messages follow. Borrowed for the call. NOT_FOUND: there is no such client;
 * INVALID_ARGUMENT: not a topic filter; LIMIT: `max_subscriptions_per_client`, or a limit of the server.
 */
nlmqtt_status nlmqtt_server_subscribe_client(nlmqtt_server *server,
                                             const char *client_id,
                                             const char *filter,
                                             uint8_t qos);

/**
 * Ends a subscription of a client. Borrowed for the call. NOT_FOUND: there is no such client, or it has no such subscription.
 */
nlmqtt_status nlmqtt_server_unsubscribe_client(nlmqtt_server *server,
                                               const char *client_id,
                                               const char *filter);

/**
 * Does not let a client in any more (`kind`: NLMQTT_BAN_*), for `seconds` or for good (0), and closes the connections this is about with 0x8A Banned. One that
 * is there already is replaced. Borrowed for the call. INVALID_ARGUMENT: an empty text, or not an IP address; LIMIT: there are `max_bans`.
 */
nlmqtt_status nlmqtt_server_ban(nlmqtt_server *server,
                                int32_t kind,
                                const char *text,
                                uint32_t seconds);

/**
 * Ends a ban. Borrowed for the call. NOT_FOUND: there is none.
 */
nlmqtt_status nlmqtt_server_unban(nlmqtt_server *server, int32_t kind, const char *text);

/**
 * Tells every ban in force to `each`, on this thread. Waits. WOULD_DEADLOCK inside a callback.
 */
nlmqtt_status nlmqtt_server_each_ban(const nlmqtt_server *server,
                                     nlmqtt_ban_fn each,
                                     void *user_data);

/**
 * Runs `task` on the thread that runs the server's hooks (of many workers, the first one's) after `delay_ms`, and then every `period_ms`
 * (0: once). What it calls on the server is done after it returns. `user_data` is moved and released with `free_fn` (may be NULL) after
 * the last run, when the task is cancelled, when the server ends, or when this call fails. `task_out` (may be NULL) is what
 * nlmqtt_server_cancel wants. LIMIT: `max_scheduled_tasks` wait already (inside a callback it is counted instead).
 */
nlmqtt_status nlmqtt_server_schedule(nlmqtt_server *server,
                                     uint32_t delay_ms,
                                     uint32_t period_ms,
                                     nlmqtt_task_fn task,
                                     void *user_data,
                                     nlmqtt_free_fn free_fn,
                                     uint64_t *task_out);

/**
 * Ends a task of nlmqtt_server_schedule; when this returns outside of a callback, it does not run and will not (in DISPATCH mode it may be
 * running on the thread that dispatches). NOT_FOUND: it has ended already.
 */
nlmqtt_status nlmqtt_server_cancel(nlmqtt_server *server,
                                   uint64_t task);

/**
 * The defaults, and no listener. The caller frees it with nlmqtt_server_config_free. NULL if memory is short.
 */
nlmqtt_server_config *nlmqtt_server_config_new(void);

/**
 * Frees a configuration; servers made with it have their own copy. NULL is fine.
 */
void nlmqtt_server_config_free(nlmqtt_server_config *config);

/**
 * Sets one option from text. Keys bear the names mosquitto.conf gives the same option, such as `max_connections`; the key
 * `listener` adds a listener. CONFIG: no such key, or a value that cannot be used; the
 * last error says what is there instead. Nothing has changed then.
 */
nlmqtt_status nlmqtt_server_config_set(nlmqtt_server_config *config,
                                       const char *key,
                                       const char *value);

/**
 * Copies the value of an option into `buf`, cut to `cap` bytes with the NUL, and its whole length without the NUL into
 * `len_out` (may be NULL). `buf` may be NULL if `cap` is 0. CONFIG: no such key.
 */
nlmqtt_status nlmqtt_server_config_get(const nlmqtt_server_config *config,
                                       const char *key,
                                       char *buf,
                                       size_t cap,
                                       size_t *len_out);

/**
 * Sets the options that environment variables name: `NLMQTT_` and the key in upper case. CONFIG: some cannot be used, the
 * last error has a line for each; the others are set.
 */
nlmqtt_status nlmqtt_server_config_load_environment(nlmqtt_server_config *config);

/**
 * Adds a listener, `SCHEME://ADDRESS:PORT`: mqtt or tcp (TCP, port 1883 if there is none), mqtts, tls or ssl (TLS, 8883), ws and wss (WebSocket, 8083
 * and 8084), rudp and rudps (reliable UDP, 14567), udp (bare packets in datagrams, 1883), quic (with that feature, 14567); `inproc://NAME` inside
 * the process; or `unix:///PATH` for a Unix socket, whose file is made at the start and removed at the stop (one that is there is
 * replaced only if nobody listens behind it). Options of its own are in the query, `?max_connections=10&rate_messages=100`; the README has
 * the table. Port 0 takes a free one, no address or `*` is every address, `localhost` is 127.0.0.1 and ::1. UNSUPPORTED:
 * a transport this build does not have; CONFIG: not a URI of a listener, or there already.
 */
nlmqtt_status nlmqtt_server_config_add_listener(nlmqtt_server_config *config,
                                                const char *uri);

/**
 * How many listeners there are; 0 for NULL.
 */
size_t nlmqtt_server_config_listener_count(const nlmqtt_server_config *config);

/**
 * Reads a TOML file: flat keys as in nlmqtt_server_config_set, and `[[listener]]` tables with `uri`, or `protocol`, `address` and
 * `port` as in mosquitto.conf, and options. All or nothing: with a problem in it nothing changes, the last error names the first one, and
 * nlmqtt_server_config_check all of them. IO: it cannot be read; CONFIG: it has problems; UNSUPPORTED: a build without TOML.
 */
nlmqtt_status nlmqtt_server_config_load_file(nlmqtt_server_config *config,
                                             const char *path);

/**
 * As nlmqtt_server_config_load_file, with the text of a JSON object: keys, and `listener` as a URI, an object as a `[[listener]]` table, or an array of these.
 * Copied. CONFIG: it has problems, nothing has changed; UNSUPPORTED: a build without JSON.
 */
nlmqtt_status nlmqtt_server_config_load_json(nlmqtt_server_config *config,
                                             const char *text);

/**
 * Takes a connection string, `listener=mqtt://127.0.0.1:1883;max_connections=100`, of any keys. Copied. CONFIG: the last error says what
 * is wrong; nothing changes then.
 */
nlmqtt_status nlmqtt_server_config_load_connstr(nlmqtt_server_config *config,
                                                const char *text);

/**
 * Tells every problem to `problem` (may be NULL), on this thread: those of the last file or JSON, or else what cannot work together. OK:
 * there is none; CONFIG: there are, and the last error has a line for each. `problem` may free `config`. Files of TLS are read at the start, not here.
 */
nlmqtt_status nlmqtt_server_config_check(const nlmqtt_server_config *config,
                                         nlmqtt_problem_fn problem,
                                         void *user_data);

/**
 * Tells every key of a server's configuration to `each`, in the order of the documentation. INVALID_ARGUMENT: `each` is NULL. Any thread.
 */
nlmqtt_status nlmqtt_server_config_each_key(nlmqtt_key_fn each,
                                            void *user_data);

/**
 * Sets an option that is true or false. CONFIG: no such key, or of another kind; nothing has changed then.
 */
nlmqtt_status nlmqtt_server_config_set_bool(nlmqtt_server_config *config,
                                            const char *key,
                                            bool value);

/**
 * Sets an option that is a number, bytes, or a life time in seconds (4,294,967,295: never). CONFIG: no such key, of another kind, or out
 * of range; nothing has changed then.
 */
nlmqtt_status nlmqtt_server_config_set_number(nlmqtt_server_config *config,
                                              const char *key,
                                              uint64_t value);

/**
 * The value of an option that is true or false. CONFIG: no such key, or of another kind.
 */
nlmqtt_status nlmqtt_server_config_get_bool(const nlmqtt_server_config *config,
                                            const char *key,
                                            bool *value_out);

/**
 * The value of an option that is a number, bytes, or a life time in seconds (4,294,967,295: never). CONFIG: no such key, or of another kind.
 */
nlmqtt_status nlmqtt_server_config_get_number(const nlmqtt_server_config *config,
                                              const char *key,
                                              uint64_t *value_out);

/**
 * Let clients without a user name in. Not set: on loopback only.
 */
nlmqtt_status nlmqtt_server_config_set_allow_anonymous(nlmqtt_server_config *config,
                                                       bool allow_anonymous);

/**
 * Connections at one time. CONFIG: 0, or more than 10,000,000.
 */
nlmqtt_status nlmqtt_server_config_set_max_connections(nlmqtt_server_config *config,
                                                       uint32_t max_connections);

/**
 * The largest packet a client may send, in bytes. CONFIG: less than 128, or more than MQTT knows.
 */
nlmqtt_status nlmqtt_server_config_set_max_packet_bytes(nlmqtt_server_config *config,
                                                        uint32_t packet_bytes);

/**
 * How many messages, and bytes of them, wait in one session; 0: any number.
 */
nlmqtt_status nlmqtt_server_config_set_queue_limits(nlmqtt_server_config *config,
                                                    uint32_t messages_max,
                                                    uint32_t bytes_max);

/**
 * The longest keep-alive in seconds; 0: any.
 */
nlmqtt_status nlmqtt_server_config_set_max_keepalive_s(nlmqtt_server_config *config,
                                                       uint16_t keepalive_s);

/**
 * The longest life of a session whose client is away, in seconds; 4,294,967,295: for ever.
 */
nlmqtt_status nlmqtt_server_config_set_session_expiry_max_s(nlmqtt_server_config *config,
                                                            uint32_t session_expiry_s);

/**
 * Time for the late answer of a hook. CONFIG: 0, or more than a day.
 */
nlmqtt_status nlmqtt_server_config_set_hook_timeout_ms(nlmqtt_server_config *config,
                                                       uint32_t timeout_ms);

/**
 * Bytes of everything that waits in the private runtime of a server. CONFIG: less than 1 MiB.
 */
nlmqtt_status nlmqtt_server_config_set_memory_limit(nlmqtt_server_config *config,
                                                    uint32_t limit_bytes);

/**
 * Tells every counter and gauge to `answer` as one text, on this thread; `format`: NLMQTT_METRICS_*. Waits. WOULD_DEADLOCK inside a callback.
 */
nlmqtt_status nlmqtt_server_metrics(const nlmqtt_server *server,
                                    int32_t format,
                                    nlmqtt_text_fn answer,
                                    void *user_data);

/**
 * Administration by JSON: `parameters` is a JSON object (NULL: none), `answer` is told the JSON of the result, on this thread. Waits.
 *
 * | method | parameters | result |
 * |---|---|---|
 * | `clients` | `limit` (1,000), `offset` | `total`, `clients` |
 * | `client` | `client_id` | the client, with its `subscriptions`, and `datagrams` (`protocol` rudp1, rudp2, quic or udp) or null |
 * | `kick` | `client_id`, `reason` (152), `end_session` | - |
 * | `ban` | `client_id`, `username` or `address`; `seconds` (0: for good) | - |
 * | `unban` | `client_id`, `username` or `address` | - |
 * | `bans` | - | the bans |
 * | `subscribe` | `client_id`, `filter`, `qos` (0) | - |
 * | `unsubscribe` | `client_id`, `filter` | - |
 * | `retained` | `filter` (`#`), `limit` (1,000) | `messages` (16 MiB at most), `truncated` |
 * | `retained_get` | `topic` | the message |
 * | `retained_delete` | `filter` | `deleted` |
 * | `publish` | `topic`, `payload` or `payload_hex`, `qos` (0), `retain` | `subscriptions` it met |
 * | `statistics` | - | every counter and gauge |
 * | `configuration` | - | every key, and `listener` |
 * | `configuration_check` | `configuration` (an object) or `toml` (a text) | `problems` |
 * | `configuration_reload` | `configuration` or `toml`, the whole | `applied`, `needs_restart`, `failed` |
 *
 * INVALID_ARGUMENT: no such method, or its parameters cannot be used; NOT_FOUND: no such client, topic or ban; LIMIT: a limit is reached;
 * CONFIG: the configuration has problems; the last error says which. Nothing has happened then, and `answer` is not called. UNSUPPORTED: a
 * build without JSON. WOULD_DEADLOCK inside a callback.
 */
nlmqtt_status nlmqtt_server_control(nlmqtt_server *server,
                                    const char *method,
                                    const char *parameters,
                                    nlmqtt_text_fn answer,
                                    void *user_data);

/**
 * Opens a listener in a running server, at once and also before nlmqtt_server_start: a URI as for nlmqtt_server_config_add_listener. It
 * ends with a stop, and a reload leaves it alone. `port_out` (may be NULL) is the port in use. Waits. ADDRESS_IN_USE, IO: it cannot be
 * opened; CONFIG, UNSUPPORTED: not such a URI. INVALID_ARGUMENT: a file of TLS cannot be read or used, the last error says which.
 * WOULD_DEADLOCK inside a callback.
 */
nlmqtt_status nlmqtt_server_add_listener(nlmqtt_server *server,
                                         const char *uri,
                                         uint16_t *port_out);

/**
 * As nlmqtt_server_add_listener, with a copy of `listener`, which stays the caller's. `port_out` may be NULL. Waits. CONFIG: its options do not go
 * together, the last error says which. WOULD_DEADLOCK inside a callback.
 */
nlmqtt_status nlmqtt_server_add_listener_config(nlmqtt_server *server,
                                                const nlmqtt_listener_config *listener,
                                                uint16_t *port_out);

/**
 * Listens with a TCP or Unix socket that listens already, such as one systemd passes (sd_listen_fds(3)); the file of a Unix socket stays when
 * the listener goes. `options` is the query of a listener's URI, such as "allow_anonymous=false&max_connections=10", or NULL; with `cert` and
 * `key` in it, it is TLS. Or a whole URI, whose address does not count: "ws://127.0.0.1/mqtt". On success the descriptor is the library's, which
 * closes it; on failure it stays the caller's. It ends with a stop. `port_out` may be NULL; 0 for a Unix socket. Waits. IO: not such a
 * socket. CONFIG: such an option is not known. INVALID_ARGUMENT: a file of TLS cannot be read or used, the last error says which.
 * WOULD_DEADLOCK inside a callback.
 */
nlmqtt_status nlmqtt_server_add_listener_fd(nlmqtt_server *server,
                                            int32_t descriptor,
                                            const char *options,
                                            uint16_t *port_out);

/**
 * Closes the listener at `address`, as nlmqtt_server_listener_address says it, and removes the file of a Unix socket; its connections
 * stay, and the listeners behind it move one index forward. Waits. NOT_FOUND: it does not listen there. WOULD_DEADLOCK inside a callback.
 */
nlmqtt_status nlmqtt_server_remove_listener(nlmqtt_server *server,
                                            const char *address);

/**
 * Serves a client on a stream socket that is connected already: accepted by the application, or one end of a pair. On success the descriptor is the
 * library's, which closes it; on failure it stays the caller's. Hooks and limits as for any other connection. Waits. IO: not a connected stream; LIMIT: a
 * limit, a ban or the accept hook did not let it in. WOULD_DEADLOCK inside a callback.
 */
nlmqtt_status nlmqtt_server_adopt(nlmqtt_server *server,
                                  int32_t descriptor);

/**
 * Where a client made with `config` looks for the NAME of inproc://NAME: among the listeners of this server, and of others of its runtime,
 * instead of those of the client's own runtime. So client and server may live in different runtimes, of whatever modes: between their
 * threads messages are handed over as between two workers, and a large payload is not copied. `server` NULL: the client's own runtime again.
 * `server` is borrowed for the call; it may be stopped, and be freed before configuration and client are. Who is not listening is not
 * there: connections end when the server stops or is freed, as over TCP (NLMQTT_CAUSE_CLOSED, or what its DISCONNECT says), then the client
 * tries again as its keys say (NLMQTT_CAUSE_NETWORK), and finds what listens there by that name then: after nlmqtt_server_start, after a
 * reload that opens the listener again, or another server of that runtime. A reload that closes the listener leaves its connections. Never
 * waits. Any thread that may use `config`. FORKED: a server of the parent process.
 */
nlmqtt_status nlmqtt_client_config_set_inproc_server(nlmqtt_client_config *config,
                                                     const nlmqtt_server *server);

/**
 * As nlmqtt_server_adopt, as if the client had come in through the listener at `index` (in the order of the configuration): TLS,
 * WebSocket, the header of a proxy, its options and limits are this connection's. `rate_connections` counts it, and makes nobody wait.
 * Waits. NOT_FOUND: there are not so many listeners, or that one has just been closed; else as nlmqtt_server_adopt.
 */
nlmqtt_status nlmqtt_server_adopt_at(nlmqtt_server *server,
                                     int32_t descriptor,
                                     size_t index);

/**
 * The port in use by the listener at `index`, in the order of the configuration: what port 0 became; 0 for a Unix socket. Never waits.
 * NOT_FOUND: there are not so many, or the server is not started.
 */
nlmqtt_status nlmqtt_server_listener_port(const nlmqtt_server *server,
                                          size_t index,
                                          uint16_t *port_out);

/**
 * The address in use by the listener at `index` as text, such as "127.0.0.1:1883", "rudp://[::1]:14567" or "unix:///run/mqtt.sock", copied into
 * `buf` and cut to `cap` bytes with the NUL; 64 are enough for TCP and UDP, 128 for a Unix socket. Never waits. NOT_FOUND as for
 * nlmqtt_server_listener_port.
 */
nlmqtt_status nlmqtt_server_listener_address(const nlmqtt_server *server,
                                             size_t index,
                                             char *buf,
                                             size_t cap);

/**
 * The retained message of a topic (MQTT 5 section 3.3.1.3). The caller releases it with nlmqtt_message_unref. Waits. NOT_FOUND: there is
 * none. WOULD_DEADLOCK inside a callback.
 */
nlmqtt_status nlmqtt_server_retained_get(const nlmqtt_server *server,
                                         const char *topic,
                                         nlmqtt_message **message_out);

/**
 * Tells the retained messages that meet `filter` to `each`, sorted by topic, on this thread. They are fetched in parts: what changes
 * meanwhile may be seen or not. Each message is lent; keep it with nlmqtt_message_ref. Waits. INVALID_ARGUMENT: not a plain topic filter.
 * WOULD_DEADLOCK inside a callback.
 */
nlmqtt_status nlmqtt_server_each_retained(const nlmqtt_server *server,
                                          const char *filter,
                                          nlmqtt_server_message_fn each,
                                          void *user_data);

/**
 * Keeps a message as the retained one of `topic`, and sends nobody anything; without a payload it clears it. Copied. `properties` may be
 * NULL. LIMIT: there is no room.
 */
nlmqtt_status nlmqtt_server_retained_set(nlmqtt_server *server,
                                         const char *topic,
                                         const void *payload,
                                         size_t len,
                                         uint8_t qos,
                                         const nlmqtt_properties *properties);

/**
 * Forgets the retained messages of all topics that meet `filter`, and sends nobody anything. `count_out` (may be NULL): how many those
 * were, 0 inside a callback. INVALID_ARGUMENT: not a plain topic filter.
 */
nlmqtt_status nlmqtt_server_retained_clear(nlmqtt_server *server,
                                           const char *filter,
                                           size_t *count_out);

/**
 * Publishes to whoever subscribed, past hooks and access control: this is the owner speaking. Copied; it happens soon. `properties` may be NULL,
 * `payload` too if `len` is 0. INVALID_ARGUMENT: not a topic name. INVALID_STATE: stopped. QUEUE_FULL: the options
 * `max_posted_messages` or `max_posted_bytes` wait to be taken by the server already, or memory is used up; TOO_LARGE: more
 * than a packet can hold. Nothing was published then.
 */
nlmqtt_status nlmqtt_server_publish(nlmqtt_server *server,
                                    const char *topic,
                                    const void *payload,
                                    size_t len,
                                    uint8_t qos,
                                    bool retain,
                                    const nlmqtt_properties *properties);

/**
 * As nlmqtt_server_publish, with a message that is there already; it is borrowed for the call.
 */
nlmqtt_status nlmqtt_server_publish_message(nlmqtt_server *server, const nlmqtt_message *message);

/**
 * Sends a message to one client, whatever it subscribed to; it waits in the session while the client is away. `client_id` (as for
 * nlmqtt_server_client_info) and `message` are borrowed for the call. It happens soon; nothing happens if there is no such client.
 * QUEUE_FULL as for nlmqtt_server_publish.
 */
nlmqtt_status nlmqtt_server_publish_to(nlmqtt_server *server,
                                       const char *client_id,
                                       const nlmqtt_message *message);

/**
 * Subscribes inside this process: `receive` is called for each message that meets `filter`, retained ones first. What is published after
 * this call is received. `user_data` is moved and released with `free_fn` (may be NULL) after the last call, also when this call fails.
 * `subscription_out` may be NULL; it is what nlmqtt_server_unsubscribe wants. Ends with a stop. INVALID_ARGUMENT: not a topic filter.
 * QUEUE_FULL: as many calls of this function, nlmqtt_server_kick and nlmqtt_server_complete as `max_posted_messages` says wait to be done
 * by the server already; they do not count among the messages.
 */
nlmqtt_status nlmqtt_server_subscribe(nlmqtt_server *server,
                                      const char *filter,
                                      nlmqtt_server_message_fn receive,
                                      void *user_data,
                                      nlmqtt_free_fn free_fn,
                                      uint64_t *subscription_out);

/**
 * Ends a subscription of nlmqtt_server_subscribe; it happens soon, inside a callback when that returns. One that has ended already, or never was, is fine.
 */
nlmqtt_status nlmqtt_server_unsubscribe(nlmqtt_server *server,
                                        uint64_t subscription);

/**
 * Answers a hook that returned NLMQTT_PENDING, from any thread: `code` is one of NLMQTT_ALLOW to NLMQTT_CHALLENGE; `decision` has its
 * details, is borrowed for the call and may be NULL. It happens soon. An answer that comes too late, or twice, is counted
 * (`hook_late_answers`) and otherwise nothing. QUEUE_FULL as for nlmqtt_server_subscribe, also by the bytes in `decision`
 * (`max_posted_bytes`): the question is still open, answer again.
 */
nlmqtt_status nlmqtt_server_complete(nlmqtt_server *server,
                                     nlmqtt_hook_token token,
                                     int32_t code,
                                     const nlmqtt_decision *decision);

/**
 * Closes the connection of a client with `reason` (0x80 and above; 0 = 0x98 Administrative action), and ends its session if `end_session`.
 * `client_id` as for nlmqtt_server_client_info, borrowed for the call. It happens soon; nothing happens if there is no such client. QUEUE_FULL
 * as for nlmqtt_server_subscribe: it is not closed.
 */
nlmqtt_status nlmqtt_server_kick(nlmqtt_server *server,
                                 const char *client_id,
                                 uint8_t reason,
                                 bool end_session);

/**
 * Tells every client with a session to `each`, on this thread. Waits. WOULD_DEADLOCK inside a callback.
 */
nlmqtt_status nlmqtt_server_each_client(const nlmqtt_server *server,
                                        nlmqtt_client_entry_fn each,
                                        void *user_data);

/**
 * Tells every counter and gauge to `each`, on this thread. Waits. WOULD_DEADLOCK inside a callback.
 */
nlmqtt_status nlmqtt_server_each_stat(const nlmqtt_server *server,
                                      nlmqtt_stat_fn each,
                                      void *user_data);

/**
 * One counter or gauge by its name, such as "clients_connected". Waits. NOT_FOUND: no such name. WOULD_DEADLOCK inside a callback.
 */
nlmqtt_status nlmqtt_server_stat(const nlmqtt_server *server,
                                 const char *name,
                                 uint64_t *value_out);

/**
 * The name of a status without its prefix, such as "INVALID_ARGUMENT"; "UNKNOWN" for a number
 * that is none. Never NULL; the string lives as long as the library. Any thread.
 */
const char *nlmqtt_status_name(nlmqtt_status status);

/**
 * A short text for a status. Never NULL; the string lives as long as the library. Any thread.
 */
const char *nlmqtt_status_text(nlmqtt_status status);

/**
 * True if the same call may succeed later without any change of its arguments. Any thread.
 */
bool nlmqtt_status_is_transient(nlmqtt_status status);

/**
 * The name the standard gives a reason code (MQTT 5 section 2.4), such as "Not authorized". Never NULL;
 * the string lives as long as the library. Any thread.
 */
const char *nlmqtt_reason_text(uint8_t reason);

/**
 * Copies the text of this thread's last failure into `buf`, cut to `cap` bytes with the NUL, and
 * returns the length the whole text has without the NUL. `buf` may be NULL if `cap` is 0. The text
 * stays as it is until another call fails on this thread.
 */
size_t nlmqtt_last_error(char *buf, size_t cap);

/**
 * True if `name` can be published to (MQTT 5 section 4.7: not empty, no wildcards, at most 65,535 bytes of
 * UTF-8). NULL is false. Borrowed for the call. Any thread.
 */
bool nlmqtt_topic_is_valid_name(const char *name);

/**
 * True if `filter` can be subscribed to (MQTT 5 section 4.7, `$share/GROUP/FILTER` included). NULL is
 * false. Borrowed for the call. Any thread.
 */
bool nlmqtt_topic_is_valid_filter(const char *filter);

/**
 * True if a message to `name` meets `filter` (MQTT 5 section 4.7.1; of a shared subscription, the part behind the
 * group is compared). False if one of them is NULL or not legal. Borrowed for the call. Any thread.
 */
bool nlmqtt_topic_matches(const char *filter,
                          const char *name);

/**
 * Sets `struct_size`, and everything else to nothing. NULL is fine.
 */
void nlmqtt_transport_init(nlmqtt_transport *transport);

/**
 * Clients of this configuration make their connections through `transport` (copied); NULL: through the system again. Keys bind_address,
 * bind_device and socket_mark are of no use then. `user_data` is moved here on every way: with INVALID_ARGUMENT it is released before this returns.
 * INVALID_ARGUMENT: `config` is NULL, or one of `open`, `read`, `write` and `close`; nothing changes then.
 */
nlmqtt_status nlmqtt_client_config_set_transport(nlmqtt_client_config *config,
                                                 const nlmqtt_transport *transport);

/**
 * The version of the library as text, such as "0.1.0". Lives as long as the library. Any thread.
 */
const char *nlmqtt_version_string(void);

/**
 * The version of the library as major * 1,000,000 + minor * 1,000 + patch. Any thread.
 */
uint32_t nlmqtt_version_number(void);

/**
 * How the library was built: version, target, profile and features in one line. Lives as long as the library. Any
 * thread.
 */
const char *nlmqtt_build_info(void);

/**
 * True if this build has a feature: "mqtt3.1", "mqtt3.1.1", "mqtt5", "client" and "tcp", which every build has, or "server", "tls", "websocket",
 * "proxy", "rudp", "quic", "json", "toml". NULL and unknown names are false. `feature` is borrowed for the call. Any thread.
 */
bool nlmqtt_has_feature(const char *feature);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* NLMQTT_H */
