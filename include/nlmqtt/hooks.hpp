/** @file
 * The hooks of a server. Include nlmqtt.hpp, not this file.
 */
#ifndef NLMQTT_HOOKS_HPP
#define NLMQTT_HOOKS_HPP

#include <nlmqtt/callback.hpp>
#include <nlmqtt/message.hpp>

namespace nlmqtt {
inline namespace NLMQTT_STYLE {

/** Details of an answer: in a hook lent until the hook returns. One thread at a time; everything is copied. */
class decision_view {
public:
    /** What the C hook is lent; NULL: no details. */
    decision_view(nlmqtt_decision *raw = nullptr) noexcept : raw_(raw) {}
    /** For C functions. */
    nlmqtt_decision *get() const noexcept { return raw_; }
    /** For deny: the reason, 0x80 and above (MQTT 5 section 2.4). */
    returns<void> set_reason(uint8_t reason) const { return detail::answer(nlmqtt_decision_set_reason(raw_, reason)); }
    /** For rewrite: another topic name. */
    returns<void> set_topic(c_text topic) const { return detail::answer(nlmqtt_decision_set_topic(raw_, topic)); }
    /** For rewrite: another payload. */
    returns<void> set_payload(bytes payload) const
    {
        return detail::answer(nlmqtt_decision_set_payload(raw_, payload.data(), payload.size()));
    }
    /** For rewrite: another QoS. */
    returns<void> set_qos(uint8_t qos) const { return detail::answer(nlmqtt_decision_set_qos(raw_, qos)); }
    /** For rewrite: another RETAIN flag. */
    returns<void> set_retain(bool retain) const { return detail::answer(nlmqtt_decision_set_retain(raw_, retain)); }
    /** For challenge and allow in authentication: the Authentication Data. */
    returns<void> set_auth_data(bytes data) const
    {
        return detail::answer(nlmqtt_decision_set_auth_data(raw_, data.data(), data.size()));
    }
    /** For allow in `subscribe`: another filter and QoS in place of the one at `index`. */
    returns<void> set_filter(size_t index, c_text filter, uint8_t qos) const
    {
        return detail::answer(nlmqtt_decision_set_filter(raw_, index, filter, qos));
    }
    /** For allow in `subscribe`: refuses the filter at `index`. */
    returns<void> refuse_filter(size_t index, uint8_t reason) const
    {
        return detail::answer(nlmqtt_decision_refuse_filter(raw_, index, reason));
    }

private:
    nlmqtt_decision *raw_;
};

/** Details of a late answer. Move-only; one thread at a time. */
class decision : public handle<nlmqtt_decision, nlmqtt_decision_free> {
public:
    /** None yet; without memory it owns nothing, and the first call says INVALID_ARGUMENT. */
    decision() noexcept : handle(nlmqtt_decision_new()) {}
    /** To fill it. Borrowed from this object. */
    decision_view view() const noexcept { return decision_view(get()); }
    /** To fill it, and for server::complete. Borrowed from this object. */
    operator decision_view() const noexcept { return view(); }
};

/**
 * What an application watches and decides in a server, in the order of a client's life; empty: "allow", "not interested", and costs
 * nothing. nlmqtt_server_hooks has every word about each. They run where callbacks of the runtime's mode run, one at a time
 * (with more than one worker: those about clients of different workers at the same time),
 * and are lent their arguments until they return.
 *
 * An exception of a hook that returns a verdict is told to `escaped`, and the answer is deny with 0x83; one of any other is told to
 * `escaped`, and the server goes on.
 */
struct server_hooks {
    /** Decides about a connection before a byte of it is read; behind a trusted proxy when that has said whom it brings. An exception: it is closed. */
    std::function<verdict(text peer, text listener, nlmqtt_hook_token token, decision_view decision)> accept;
    /** Decides about a CONNECT. An exception: denied. */
    std::function<verdict(const nlmqtt_client_info &client, const nlmqtt_connect_info &connect, nlmqtt_hook_token token,
                          decision_view decision)>
        connect;
    /** Decides who a client is. An exception: denied. */
    std::function<verdict(const nlmqtt_client_info &client, const nlmqtt_connect_info &connect, nlmqtt_hook_token token,
                          decision_view decision)>
        authenticate;
    /** Decides about an AUTH. An exception: denied. */
    std::function<verdict(const nlmqtt_client_info &client, text method, bytes data, nlmqtt_hook_token token,
                          decision_view decision)>
        auth_exchange;
    std::function<void(const nlmqtt_client_info &client, bool session_present)> connected; ///< CONNACK is on its way.
    std::function<void(const nlmqtt_client_info &client, uint8_t reason)> disconnected;    ///< The connection has ended.
    std::function<void(const nlmqtt_client_info &client)> session_created;                 ///< A new session.
    std::function<void(const nlmqtt_client_info &client)> session_resumed;                 ///< Back to its session.
    std::function<void(const nlmqtt_client_info &client)> session_expired;                 ///< A session has ended.
    std::function<void(const nlmqtt_client_info &client)> session_taken_over;              ///< By a newer connection.
    /** May it publish to this topic, subscribe to this filter (NLMQTT_ACCESS_*)? An exception: denied. */
    std::function<verdict(const nlmqtt_client_info &client, int32_t access, text topic, uint8_t qos, bool retain,
                          nlmqtt_hook_token token, decision_view decision)>
        authorize;
    /** Decides about a SUBSCRIBE of `count` filters. An exception: all are refused. */
    std::function<verdict(const nlmqtt_client_info &client, const nlmqtt_subscription_info *filters, size_t count,
                          nlmqtt_hook_token token, decision_view decision)>
        subscribe;
    std::function<void(const nlmqtt_client_info &client, const nlmqtt_subscription_info &subscription)> subscribed; ///< It has it.
    /** Decides about an UNSUBSCRIBE of `count` filters. An exception: denied. */
    std::function<verdict(const nlmqtt_client_info &client, const nlmqtt_str *filters, size_t count, nlmqtt_hook_token token,
                          decision_view decision)>
        unsubscribe;
    std::function<void(const nlmqtt_client_info &client, text filter)> unsubscribed; ///< It has it no more.
    /** Decides about a PUBLISH. An exception: denied. */
    std::function<verdict(const nlmqtt_client_info &client, const nlmqtt_publish_info &publish, nlmqtt_hook_token token,
                          decision_view decision)>
        publish;
    std::function<void(const nlmqtt_client_info &client, message_view message, uint8_t qos)> publish_out; ///< For the first time.
    std::function<void(const nlmqtt_client_info &client, message_view message, uint8_t qos)> delivered;   ///< Written or acknowledged.
    std::function<void(const nlmqtt_client_info &client, message_view message, int32_t reason)> dropped;  ///< NLMQTT_DROPPED_*.
    std::function<void(const nlmqtt_client_info *client, message_view message)> expired; ///< `client` is NULL for a retained one.
    std::function<void(message_view message)> retained_set;                              ///< The retained one of its topic now.
    std::function<void(text topic)> retained_cleared;                                    ///< No retained message any more.
    std::function<void(const nlmqtt_client_info &client, message_view message)> will;    ///< It goes out.
    std::function<void(const nlmqtt_client_info *client, const char *limit)> quota;      ///< `client` is NULL if it is about none.
    std::function<void(const nlmqtt_client_info &client, size_t waiting_bytes)> slow_client; ///< It does not read.
    std::function<void()> tick;                                                          ///< Every `tick_interval_ms`.
    std::function<void()> stopped;                                                       ///< A stop that was in progress is over.
    std::function<void(const nlmqtt_client_info &client, text previous_peer)> path_moved; ///< It goes on from another address.
    /** Is told what left these hooks and the functions given to the server later; empty: it is ignored. */
    escaped_function escaped;
};

} // namespace NLMQTT_STYLE
} // namespace nlmqtt

#endif
