/** @file
 * The client. Include nlmqtt.hpp, not this file.
 */
#ifndef NLMQTT_CLIENT_HPP
#define NLMQTT_CLIENT_HPP

#include <nlmqtt/client_config.hpp>
#include <nlmqtt/runtime.hpp>

#include <vector>

namespace nlmqtt {
inline namespace NLMQTT_STYLE {

/** Gets a message, borrowed until it returns. Where callbacks run. An exception is told to `escaped`. */
using message_function = std::function<void(message_view message, nlmqtt_ack ack)>;
/** Hears that a request is done. Borrowed until it returns. Where callbacks run. An exception is told to `escaped`. */
using completion_function = std::function<void(const nlmqtt_completion &completion)>;
/** Gets the response, an empty view if there is none. Borrowed until it returns. Where callbacks run. An exception is told to `escaped`. */
using response_function = std::function<void(const nlmqtt_completion &completion, message_view response)>;

/** Where before_connect puts new credentials. Borrowed until that returns. */
class credentials_view {
public:
    /** What the C callback is lent. */
    credentials_view(nlmqtt_credentials *raw) noexcept : raw_(raw) {}
    /** The credentials from now on; NULL and no bytes: none. Copied. */
    returns<void> set(c_text username, bytes password)
    {
        return detail::answer(nlmqtt_credentials_set(raw_, username, password.data(), password.size()));
    }

private:
    nlmqtt_credentials *raw_;
};

/**
 * What a client tells; empty: not interested. Each runs where callbacks of the runtime's mode run, one at a time, may call
 * everything, and is lent its arguments until it returns. An exception of any of them is told to `escaped`, and the client goes on.
 */
struct client_callbacks {
    std::function<void(int32_t state)> state;                                    ///< One of NLMQTT_CLIENT_*.
    std::function<void(const nlmqtt_connected &connected)> connected;            ///< A session is there.
    std::function<void(const nlmqtt_disconnected &disconnected)> disconnected;   ///< Lost, refused or not made.
    std::function<void(size_t server, credentials_view credentials)> before_connect; ///< The time to renew credentials; after an exception the old ones are used.
    message_function message;                                                    ///< No subscription has a callback for it.
    completion_function published;                                               ///< A publish is done.
    completion_function subscribed;                                              ///< A subscribe is done.
    std::function<void(text filter, uint8_t reason)> resubscribed;               ///< A stored filter was asked for again.
    completion_function unsubscribed;                                            ///< An unsubscribe is done.
    std::function<void(bool is_high, size_t count, size_t bytes)> queue_level;   ///< The queue fills up, or empties.
    std::function<void(uint8_t reason, bytes data)> auth;                        ///< The server sent AUTH.
    std::function<void(message_view message, nlmqtt_status status)> dropped;     ///< A message was given up.
    std::function<void(const nlmqtt_path_moved &moved)> path_moved;              ///< The connection goes another way (QUIC, reliable UDP).
    std::function<void(size_t server, int32_t protocol)> fell_back;              ///< The server knows generation 1 of reliable UDP only.
    /** Is told what left these callbacks and those given to the client later; empty: it is ignored. */
    escaped_function escaped;
};

/** How to stop. */
struct stop_options {
    uint32_t timeout_ms = 0;         ///< How long to wait for what is queued and in flight.
    uint8_t reason = 0;              ///< Of DISCONNECT: 0x00, or 0x04 to have the will published.
    bool has_session_expiry = false; ///< Change the Session Expiry Interval (MQTT 5 section 3.14.2.2.2).
    uint32_t session_expiry_s = 0;   ///< To so many seconds; 0 ends the session.
};

/** What else there is to say of a publish. */
struct publish_options {
    uint8_t qos = 0;                ///< 0, 1 or 2.
    bool retain = false;            ///< Keep it as the topic's retained message.
    properties_view properties;     ///< Copied by the call; may be none.
    completion_function completion; ///< Moved; may be empty.
    uint8_t priority = 0;           ///< Higher ones leave the queue first.
    bool newest_only = false;       ///< A newer value of the topic takes its place while it waits.
};

/** What else there is to say of a subscribe. */
struct subscribe_options {
    properties_view properties;     ///< User properties. Copied by the call; may be none.
    message_function message;       ///< Gets the messages; empty: client_callbacks::message does.
    completion_function completion; ///< When every filter has its answer; may be empty.
};

/** One filter of a subscribe. */
struct subscription {
    std::string filter;               ///< Also "$share/GROUP/FILTER".
    uint8_t qos = 0;                  ///< The highest to deliver with.
    bool no_local = false;            ///< MQTT 5: not what this client publishes itself.
    bool retain_as_published = false; ///< MQTT 5: keep the RETAIN flag.
    uint8_t retain_handling = 0;      ///< MQTT 5: 0 = send retained messages, 1 = only for a new subscription, 2 = do not.

    /** A filter, and else the defaults. */
    subscription(std::string asked = std::string(), uint8_t qos_max = 0) : filter(std::move(asked)), qos(qos_max) {}
};

/**
 * A client. Move-only. Any thread may call its functions, callbacks included; what waits says so, and answers WOULD_DEADLOCK
 * inside a callback. Destroying it frees the client in any state: it returns when the running callback has returned, and no later one comes;
 * inside its own callback it takes effect when that returns.
 */
class client : public handle<nlmqtt_client, nlmqtt_client_free> {
public:
    /** Owns nothing; make() makes one. */
    client() noexcept {}
    /** A client on a runtime. `config` is copied, `callbacks` are moved. It does nothing before start(). Errors as nlmqtt_client_new. */
    static returns<client> make(const runtime &on, const client_config &config, client_callbacks callbacks = client_callbacks())
    {
        return make(on.get(), config, std::move(callbacks));
    }
    /** A client with a private runtime in THREAD mode. */
    static returns<client> make(const client_config &config, client_callbacks callbacks = client_callbacks())
    {
        return make(nullptr, config, std::move(callbacks));
    }
    /** Connects, again and again, until stop(). Never waits. */
    returns<void> start() { return detail::answer(nlmqtt_client_start(get())); }
    /** Ends with DISCONNECT when everything is done, at the latest after `timeout_ms`. Waits; IN_PROGRESS in a callback and in LOOP mode. */
    status stop(uint32_t timeout_ms) noexcept { return nlmqtt_client_stop(get(), timeout_ms); }
    /** As stop(), with a reason of its own. INVALID_ARGUMENT: not a reason a client may give. */
    status stop(const stop_options &options) noexcept
    {
        nlmqtt_stop_options raw;
        nlmqtt_stop_options_init(&raw);
        raw.timeout_ms = options.timeout_ms;
        raw.reason = options.reason;
        raw.has_session_expiry = options.has_session_expiry;
        raw.session_expiry_s = options.session_expiry_s;
        return nlmqtt_client_stop_ex(get(), &raw);
    }
    /** Waits for a session (negative: for ever): OK, TIMEOUT, GONE, INVALID_STATE, WOULD_DEADLOCK. */
    status connect_wait(int32_t timeout_ms) noexcept { return nlmqtt_client_connect_wait(get(), timeout_ms); }
    /** Tries now instead of later. Never waits. */
    returns<void> reconnect_now() { return detail::answer(nlmqtt_client_reconnect_now(get())); }
    /** One of NLMQTT_CLIENT_*. Never waits. */
    int32_t state() const noexcept { return nlmqtt_client_state(get()); }
    /** Waits until every request is done (negative: for ever): OK, TIMEOUT, WOULD_DEADLOCK. */
    status flush(int32_t timeout_ms) noexcept { return nlmqtt_client_flush(get(), timeout_ms); }
    /** Waits until one request is done, and answers with its end. */
    status wait(uint64_t token, int32_t timeout_ms) noexcept { return nlmqtt_client_wait(get(), token, timeout_ms); }

    /** Queues a message; returns its token. Copied. Never waits. QUEUE_FULL: try later. */
    returns<uint64_t> publish(c_text topic, bytes payload, uint8_t qos = 0, bool retain = false)
    {
        const result<uint64_t> done = try_publish(topic, payload, qos, retain);
        return detail::answer(done.code(), *done);
    }
    /** As publish(), but a failure is always returned, because a full queue is nothing unusual. */
    result<uint64_t> try_publish(c_text topic, bytes payload, uint8_t qos = 0, bool retain = false) noexcept
    {
        uint64_t token = 0;
        const nlmqtt_status code =
            nlmqtt_client_publish(get(), topic, payload.data(), payload.size(), qos, retain, &token);
        return result<uint64_t>(code, token);
    }
    /** As publish(), with everything there is to say of it. */
    returns<uint64_t> publish(c_text topic, bytes payload, publish_options options)
    {
        const nlmqtt_publish_options raw = lower(options);
        uint64_t token = 0;
        const nlmqtt_status code = nlmqtt_client_publish_ex(get(), topic, payload.data(), payload.size(), &raw, &token);
        return detail::answer(code, token);
    }
    /** As publish(), but moves the payload, a std::string or std::vector, to the library, which frees it after its last use. */
    template <class Container> returns<uint64_t> publish_moved(c_text topic, Container &&payload, publish_options options = publish_options())
    {
        static_assert(!std::is_lvalue_reference<Container>::value, "the payload is moved: std::move(payload)");
        std::unique_ptr<Container> kept(new Container(std::move(payload)));
        nlmqtt_publish_options raw = lower(options);
        raw.payload_free_fn = detail::release<Container>;
        raw.payload_user_data = kept.get();
        uint64_t token = 0;
        const bytes view(*kept.release());
        const nlmqtt_status code = nlmqtt_client_publish_ex(get(), topic, view.data(), view.size(), &raw, &token);
        return detail::answer(code, token);
    }
    /** Publishes a message that exists; the payload is shared, the message stays the caller's. */
    returns<uint64_t> publish(message_view message)
    {
        uint64_t token = 0;
        const nlmqtt_status code = nlmqtt_client_publish_message(get(), message.get(), &token);
        return detail::answer(code, token);
    }
    /** Publishes a request; `response` is called once with its response, or without one (MQTT 5 section 4.10). `options` without a completion. Never waits. */
    returns<uint64_t> request(c_text topic, bytes payload, uint32_t timeout_ms, response_function response,
                              publish_options options = publish_options())
    {
        const nlmqtt_publish_options raw = lower(options);
        auto boxed = detail::registration<response_function>(std::move(response), escaped_);
        uint64_t token = 0;
        const nlmqtt_status code = nlmqtt_client_request(
            get(), topic, payload.data(), payload.size(), &raw, timeout_ms,
            boxed.template call<nlmqtt_response_fn, detail::names::response>(), boxed.hand_over(), boxed.free_fn, &token);
        return detail::answer(code, token);
    }
    /** Answers a request that came, with its QoS. UNSUPPORTED: it is no request. Copied. Never waits. */
    returns<uint64_t> respond(message_view request, bytes payload)
    {
        uint64_t token = 0;
        const nlmqtt_status code = nlmqtt_client_respond(get(), request.get(), payload.data(), payload.size(), nullptr, &token);
        return detail::answer(code, token);
    }
    /** As respond(), with everything there is to say of a publish. */
    returns<uint64_t> respond(message_view request, bytes payload, publish_options options)
    {
        const nlmqtt_publish_options raw = lower(options);
        uint64_t token = 0;
        const nlmqtt_status code = nlmqtt_client_respond(get(), request.get(), payload.data(), payload.size(), &raw, &token);
        return detail::answer(code, token);
    }

    /** Subscribes now and after every reconnect that needs it; `message` (may be empty) gets the messages. Never waits. */
    returns<uint64_t> subscribe(c_text filter, uint8_t qos, message_function message = message_function())
    {
        auto boxed = detail::registration<message_function>(std::move(message), escaped_);
        uint64_t token = 0;
        const nlmqtt_status code = nlmqtt_client_subscribe(
            get(), filter, qos, boxed.template call<nlmqtt_client_message_fn, detail::names::message>(), boxed.hand_over(),
            boxed.free_fn, &token);
        return detail::answer(code, token);
    }
    /** As subscribe(), for several filters in one request. Copied, the functions are moved. */
    returns<uint64_t> subscribe_many(const std::vector<subscription> &subscriptions, subscribe_options options = subscribe_options())
    {
        std::vector<nlmqtt_subscription> raw;
        for (const subscription &each : subscriptions)
            raw.push_back(lower(each));
        nlmqtt_subscribe_options raw_options;
        nlmqtt_subscribe_options_init(&raw_options);
        auto message = detail::registration<message_function>(std::move(options.message), escaped_);
        auto completion = detail::registration<completion_function>(std::move(options.completion), escaped_);
        raw_options.message = message.template call<nlmqtt_client_message_fn, detail::names::message>();
        raw_options.message_user_data = message.hand_over();
        raw_options.message_free_fn = message.free_fn;
        raw_options.completion = completion.template call<nlmqtt_completion_fn, detail::names::completion>();
        raw_options.completion_user_data = completion.hand_over();
        raw_options.completion_free_fn = completion.free_fn;
        raw_options.properties = options.properties.get();
        uint64_t token = 0;
        const nlmqtt_status code = nlmqtt_client_subscribe_many(get(), raw.data(), raw.size(), &raw_options, &token);
        return detail::answer(code, token);
    }
    /** Forgets a filter and unsubscribes from it. Never waits. */
    returns<uint64_t> unsubscribe(c_text filter)
    {
        uint64_t token = 0;
        const nlmqtt_status code = nlmqtt_client_unsubscribe(get(), filter, &token);
        return detail::answer(code, token);
    }
    /** As unsubscribe(), for several filters in one request. Copied. */
    returns<uint64_t> unsubscribe_many(const std::vector<std::string> &filters)
    {
        std::vector<const char *> raw;
        for (const std::string &filter : filters)
            raw.push_back(c_text(filter));
        uint64_t token = 0;
        const nlmqtt_status code = nlmqtt_client_unsubscribe_many(get(), raw.data(), raw.size(), &token);
        return detail::answer(code, token);
    }
    /** Gives a request up: it completes with CANCELLED, unless it is done. Never waits. */
    returns<void> cancel(uint64_t token) { return detail::answer(nlmqtt_client_cancel(get(), token)); }
    /** Acknowledges a message (option manual_ack). Never waits. */
    returns<void> ack(nlmqtt_ack ack, uint8_t reason = 0) { return detail::answer(nlmqtt_client_ack(get(), ack, reason)); }
    /**
     * Pull style: takes the oldest message, waits for one at most `timeout_ms` (negative: for ever). The caller owns it. `ack` may be
     * NULL. A failure is always returned: TIMEOUT is nothing unusual.
     */
    result<message> next_message(int32_t timeout_ms, nlmqtt_ack *ack = nullptr) noexcept
    {
        nlmqtt_message *raw = nullptr;
        const nlmqtt_status code = nlmqtt_client_next_message(get(), timeout_ms, &raw, ack);
        return result<message>(code, message(raw));
    }
    /** Answers the server's AUTH (MQTT 5 section 4.12). Copied. Never waits. */
    returns<void> authenticate(bytes data) { return detail::answer(nlmqtt_client_authenticate(get(), data.data(), data.size())); }
    /** Begins to authenticate again (MQTT 5 section 4.12.1). Copied. Never waits. */
    returns<void> reauthenticate(bytes data)
    {
        return detail::answer(nlmqtt_client_reauthenticate(get(), data.data(), data.size()));
    }
    /** Counters. Never waits. */
    returns<nlmqtt_client_statistics> statistics() const
    {
        nlmqtt_client_statistics statistics;
        nlmqtt_client_statistics_init(&statistics);
        const nlmqtt_status code = nlmqtt_client_stats(get(), &statistics);
        return detail::answer(code, statistics);
    }
    /** What happened on its connection over QUIC or reliable UDP. NOT_FOUND: it has none. Never waits. */
    returns<nlmqtt_datagram_statistics> datagram_statistics() const
    {
        nlmqtt_datagram_statistics statistics;
        nlmqtt_datagram_statistics_init(&statistics);
        const nlmqtt_status code = nlmqtt_client_datagram_stats(get(), &statistics);
        return detail::answer(code, statistics);
    }
    /** Lines for people who look at a client that does not work. A copy. Never waits. */
    returns<std::string> diagnostics() const
    {
        return detail::copied([&](char *buf, size_t cap, size_t *len) { return nlmqtt_client_diagnostics(get(), buf, cap, len); });
    }

private:
    static returns<client> make(const nlmqtt_runtime *on, const client_config &config, client_callbacks callbacks)
    {
        using boxed = detail::box<client_callbacks>;
        nlmqtt_client_callbacks table;
        nlmqtt_client_callbacks_init(&table);
/** @cond */ // puts the trampoline of one member into the C table
#define NLMQTT_TELL(name)                                                                                                    \
    detail::fill(table.name, callbacks.name,                                                                                 \
                 &detail::tell<client_callbacks, decltype(client_callbacks::name), &client_callbacks::name, detail::names::name>)
        NLMQTT_TELL(state);
        NLMQTT_TELL(connected);
        NLMQTT_TELL(disconnected);
        NLMQTT_TELL(before_connect);
        NLMQTT_TELL(message);
        NLMQTT_TELL(published);
        NLMQTT_TELL(subscribed);
        NLMQTT_TELL(resubscribed);
        NLMQTT_TELL(unsubscribed);
        NLMQTT_TELL(queue_level);
        NLMQTT_TELL(auth);
        NLMQTT_TELL(dropped);
        NLMQTT_TELL(path_moved);
        NLMQTT_TELL(fell_back);
#undef NLMQTT_TELL
/** @endcond */
        client made;
        made.escaped_ = detail::share(std::move(callbacks.escaped));
        table.user_data = new boxed{std::move(callbacks), made.escaped_};
        table.free_fn = detail::release<boxed>;
        nlmqtt_client *raw = nullptr;
        const nlmqtt_status code = nlmqtt_client_new(on, config.get(), &table, &raw);
        made.reset(raw);
        return detail::answer(code, std::move(made));
    }
    nlmqtt_publish_options lower(publish_options &options) const
    {
        nlmqtt_publish_options raw;
        nlmqtt_publish_options_init(&raw);
        raw.qos = options.qos;
        raw.retain = options.retain;
        raw.properties = options.properties.get();
        raw.priority = options.priority;
        raw.newest_only = options.newest_only;
        auto completion = detail::registration<completion_function>(std::move(options.completion), escaped_);
        raw.completion = completion.template call<nlmqtt_completion_fn, detail::names::completion>();
        raw.user_data = completion.hand_over();
        raw.free_fn = completion.free_fn;
        return raw;
    }
    static nlmqtt_subscription lower(const subscription &from)
    {
        nlmqtt_subscription raw;
        nlmqtt_subscription_init(&raw);
        raw.filter = c_text(from.filter);
        raw.qos = from.qos;
        raw.no_local = from.no_local;
        raw.retain_as_published = from.retain_as_published;
        raw.retain_handling = from.retain_handling;
        return raw;
    }
    detail::escaped_pointer escaped_;
};

} // namespace NLMQTT_STYLE
} // namespace nlmqtt

#endif
