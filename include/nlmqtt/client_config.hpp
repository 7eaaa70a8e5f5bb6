/** @file
 * Options of a client, and what both kinds of configuration share. Include nlmqtt.hpp, not this file.
 */
#ifndef NLMQTT_CLIENT_CONFIG_HPP
#define NLMQTT_CLIENT_CONFIG_HPP

#include <nlmqtt/callback.hpp>
#include <nlmqtt/message.hpp>

namespace nlmqtt {
inline namespace NLMQTT_STYLE {

/** Is told a problem of a configuration, borrowed until it returns. On the thread of the call, which throws what it throws. */
using problem_function = std::function<void(const nlmqtt_problem &problem)>;
/** Is told a key of a configuration, borrowed until it returns. On the thread of the call, which throws what it throws. */
using key_function = std::function<void(const nlmqtt_key_info &key)>;

/** @cond */
namespace detail {
/** A text that a C function copies into a buffer: asks for the length, then for the text. */
template <class Function> returns<std::string> copied(const Function &function)
{
    size_t len = 0;
    nlmqtt_status code = function(nullptr, 0, &len);
    std::string text(code == NLMQTT_OK ? len : 0, '\0');
    if (code == NLMQTT_OK)
        code = function(&text[0], text.size() + 1, &len);
    if (code == NLMQTT_OK && len < text.size())
        text.resize(len); // it became shorter in between
    return answer(code, std::move(text));
}
} // namespace detail
/** @endcond */

/** A transport without any function yet, for client_config::set_transport. */
inline nlmqtt_transport empty_transport() noexcept
{
    nlmqtt_transport transport;
    nlmqtt_transport_init(&transport);
    return transport;
}

/** Options of a client to be made. Move-only; used by one thread at a time. Everything is copied. */
class client_config : public handle<nlmqtt_client_config, nlmqtt_client_config_free> {
public:
    /** The defaults and no server; without memory it owns nothing, and the first call says INVALID_ARGUMENT. */
    client_config() noexcept : handle(nlmqtt_client_config_new()) {}
    /** Adds a server, such as "mqtt://user:password@host:1883"; the lowest `priority` is tried first. */
    returns<void> add_server(c_text uri, uint32_t priority = 0)
    {
        return detail::answer(nlmqtt_client_config_add_server(get(), uri, priority));
    }
    /** "Server=tcp://host:1883;ClientId=id;...". All or nothing. */
    returns<void> load_connstr(c_text text) { return detail::answer(nlmqtt_client_config_load_connstr(get(), text)); }
    /** A TOML file. All or nothing. */
    returns<void> load_file(c_text path) { return detail::answer(nlmqtt_client_config_load_file(get(), path)); }
    /** The text of a JSON object. All or nothing. */
    returns<void> load_json(c_text text) { return detail::answer(nlmqtt_client_config_load_json(get(), text)); }
    /** Variables NLMQTT_... of the environment. */
    returns<void> load_environment() { return detail::answer(nlmqtt_client_config_load_environment(get())); }
    /** One option by its key; the README lists them. */
    returns<void> set(c_text key, c_text value) { return detail::answer(nlmqtt_client_config_set(get(), key, value)); }
    /** An option that is true or false. */
    returns<void> set_bool(c_text key, bool value) { return detail::answer(nlmqtt_client_config_set_bool(get(), key, value)); }
    /** An option that is a number. */
    returns<void> set_number(c_text key, uint64_t value)
    {
        return detail::answer(nlmqtt_client_config_set_number(get(), key, value));
    }
    /** The value of an option as text. */
    returns<std::string> value(c_text key) const
    {
        return detail::copied(
            [&](char *buf, size_t cap, size_t *len) { return nlmqtt_client_config_get(get(), key, buf, cap, len); });
    }
    /** The value of an option that is true or false. */
    returns<bool> value_bool(c_text key) const
    {
        bool value = false;
        const nlmqtt_status code = nlmqtt_client_config_get_bool(get(), key, &value);
        return detail::answer(code, value);
    }
    /** The value of an option that is a number. */
    returns<uint64_t> value_number(c_text key) const
    {
        uint64_t value = 0;
        const nlmqtt_status code = nlmqtt_client_config_get_number(get(), key, &value);
        return detail::answer(code, value);
    }
    /** Tells every problem; the answer is OK without one, else CONFIG. What `problem` (may be empty) throws, this throws. */
    status check(const problem_function &problem = problem_function()) const
    {
        detail::visitor<problem_function> visitor(problem);
        const nlmqtt_status code =
            nlmqtt_client_config_check(get(), visitor.template call<nlmqtt_problem_fn>(), &visitor);
        visitor.rethrow();
        return code;
    }
    /** Tells every key there is. What `each` throws, this throws. Any thread. */
    static returns<void> each_key(const key_function &each)
    {
        detail::visitor<key_function> visitor(each);
        return visitor.answer(nlmqtt_client_config_each_key(visitor.template call<nlmqtt_key_fn>(), &visitor));
    }
    /** User name and password; NULL is none. */
    returns<void> set_credentials(c_text username, bytes password)
    {
        return detail::answer(nlmqtt_client_config_set_credentials(get(), username, password.data(), password.size()));
    }
    /** The will (MQTT 5 section 3.1.2.5); a topic of NULL: none. */
    returns<void> set_will(c_text topic, bytes payload, uint8_t qos = 0, bool retain = false,
                           properties_view properties = properties_view())
    {
        return detail::answer(nlmqtt_client_config_set_will(get(), topic, payload.data(), payload.size(), qos, retain,
                                                            properties.get()));
    }
    /** Key ca_file: whom it trusts. */
    returns<void> set_ca_file(c_text path) { return detail::answer(nlmqtt_client_config_set_ca_file(get(), path)); }
    /** Key ca_pem: whom it trusts, as text. */
    returns<void> set_ca_pem(c_text pem) { return detail::answer(nlmqtt_client_config_set_ca_pem(get(), pem)); }
    /** Keys cert_file and key_file: who it is. */
    returns<void> set_certificate_files(c_text cert_file, c_text key_file)
    {
        return detail::answer(nlmqtt_client_config_set_certificate_files(get(), cert_file, key_file));
    }
    /** Keys cert_pem and key_pem: who it is, as text. */
    returns<void> set_certificate_pem(c_text cert_pem, c_text key_pem)
    {
        return detail::answer(nlmqtt_client_config_set_certificate_pem(get(), cert_pem, key_pem));
    }
    /** One more public key for tls_pins: its SHA-256. */
    returns<void> add_pin(bytes hash) { return detail::answer(nlmqtt_client_config_add_pin(get(), hash.data(), hash.size())); }
    /** Key danger_accept_any_certificate: nobody knows who the server is. */
    returns<void> danger_accept_any_certificate()
    {
        return detail::answer(nlmqtt_client_config_danger_accept_any_certificate(get()));
    }
    /** Properties of CONNECT that have no key. */
    returns<void> set_connect_properties(properties_view properties)
    {
        return detail::answer(nlmqtt_client_config_set_connect_properties(get(), properties.get()));
    }
    /** Method and first data of enhanced authentication (MQTT 5 section 4.12). */
    returns<void> set_authentication(c_text method, bytes data)
    {
        return detail::answer(nlmqtt_client_config_set_authentication(get(), method, data.data(), data.size()));
    }
    /** Key client_id. */
    returns<void> set_client_id(c_text client_id) { return detail::answer(nlmqtt_client_config_set_client_id(get(), client_id)); }
    /** Key version: 3, 4 or 5. */
    returns<void> set_version(uint8_t version) { return detail::answer(nlmqtt_client_config_set_version(get(), version)); }
    /** Key clean_start. */
    returns<void> set_clean_start(bool clean_start)
    {
        return detail::answer(nlmqtt_client_config_set_clean_start(get(), clean_start));
    }
    /** Key session_expiry_s. */
    returns<void> set_session_expiry_s(uint32_t session_expiry_s)
    {
        return detail::answer(nlmqtt_client_config_set_session_expiry_s(get(), session_expiry_s));
    }
    /** Key keepalive. */
    returns<void> set_keepalive_s(uint16_t keepalive_s)
    {
        return detail::answer(nlmqtt_client_config_set_keepalive_s(get(), keepalive_s));
    }
    /** Key receive_maximum. */
    returns<void> set_receive_maximum(uint16_t receive_maximum)
    {
        return detail::answer(nlmqtt_client_config_set_receive_maximum(get(), receive_maximum));
    }
    /** Key max_packet_size. */
    returns<void> set_max_packet_bytes(size_t max_packet_bytes)
    {
        return detail::answer(nlmqtt_client_config_set_max_packet_bytes(get(), max_packet_bytes));
    }
    /** Key max_inflight_messages. */
    returns<void> set_max_inflight_messages(uint16_t max_inflight_messages)
    {
        return detail::answer(nlmqtt_client_config_set_max_inflight_messages(get(), max_inflight_messages));
    }
    /** Keys max_topic_alias and max_topic_alias_out. */
    returns<void> set_topic_aliases(uint16_t in_max, uint16_t out_max)
    {
        return detail::answer(nlmqtt_client_config_set_topic_aliases(get(), in_max, out_max));
    }
    /** Key connect_timeout_ms. */
    returns<void> set_connect_timeout_ms(uint32_t connect_timeout_ms)
    {
        return detail::answer(nlmqtt_client_config_set_connect_timeout_ms(get(), connect_timeout_ms));
    }
    /** Key ping_timeout_ms. */
    returns<void> set_ping_timeout_ms(uint32_t ping_timeout_ms)
    {
        return detail::answer(nlmqtt_client_config_set_ping_timeout_ms(get(), ping_timeout_ms));
    }
    /** Keys reconnect_delay_min_ms, reconnect_delay_max_ms and reconnect_jitter. */
    returns<void> set_reconnect_delay(uint32_t min_ms, uint32_t max_ms, bool jitter)
    {
        return detail::answer(nlmqtt_client_config_set_reconnect_delay(get(), min_ms, max_ms, jitter));
    }
    /** What a cause (NLMQTT_CAUSE_*) leads to (NLMQTT_RETRY_*). */
    returns<void> set_reconnect_rule(int32_t cause, int32_t rule)
    {
        return detail::answer(nlmqtt_client_config_set_reconnect_rule(get(), cause, rule));
    }
    /** Key resubscribe, one of NLMQTT_RESUBSCRIBE_*. */
    returns<void> set_resubscribe(int32_t resubscribe)
    {
        return detail::answer(nlmqtt_client_config_set_resubscribe(get(), resubscribe));
    }
    /** Keys max_queued_messages and max_queued_bytes. */
    returns<void> set_queue_limits(size_t messages_max, size_t bytes_max)
    {
        return detail::answer(nlmqtt_client_config_set_queue_limits(get(), messages_max, bytes_max));
    }
    /** Keys queue_overflow (NLMQTT_OVERFLOW_*), queue_expiry_ms and queue_newest_per_topic. */
    returns<void> set_queue_policy(int32_t overflow, uint32_t expiry_ms, bool newest_per_topic)
    {
        return detail::answer(nlmqtt_client_config_set_queue_policy(get(), overflow, expiry_ms, newest_per_topic));
    }
    /** Key queue_qos0_messages. */
    returns<void> set_queue_qos0(bool queue_qos0) { return detail::answer(nlmqtt_client_config_set_queue_qos0(get(), queue_qos0)); }
    /** Key manual_ack: messages are acknowledged by client::ack only. */
    returns<void> set_manual_ack(bool manual_ack) { return detail::answer(nlmqtt_client_config_set_manual_ack(get(), manual_ack)); }
    /** Keys pull_receive, max_received_messages and max_received_bytes: messages wait for client::next_message. */
    returns<void> set_pull_receive(size_t messages_max, size_t bytes_max)
    {
        return detail::answer(nlmqtt_client_config_set_pull_receive(get(), messages_max, bytes_max));
    }
    /** Keys max_requests and response_topic (NULL: as it is). */
    returns<void> set_requests(size_t requests_max, c_text response_topic = nullptr)
    {
        return detail::answer(nlmqtt_client_config_set_requests(get(), requests_max, response_topic));
    }
    /** Key ladder_probe_interval_s; 0: never. */
    returns<void> set_ladder_probe_interval_s(uint32_t interval_s)
    {
        return detail::answer(nlmqtt_client_config_set_ladder_probe_interval_s(get(), interval_s));
    }
    /** Keys proxy_uri, proxy_username and proxy_password; nullptr: none. */
    returns<void> set_proxy(c_text uri, c_text username = nullptr, c_text password = nullptr)
    {
        return detail::answer(nlmqtt_client_config_set_proxy(get(), uri, username, password));
    }
    /** Key proxy_protocol: 1 or 2; 0: none. */
    returns<void> set_proxy_protocol(int32_t version)
    {
        return detail::answer(nlmqtt_client_config_set_proxy_protocol(get(), version));
    }
    /** Key websocket_path: of servers whose URI has none. */
    returns<void> set_websocket_path(c_text path) { return detail::answer(nlmqtt_client_config_set_websocket_path(get(), path)); }
    /** One more line of the key websocket_headers. */
    returns<void> add_websocket_header(c_text name, c_text value)
    {
        return detail::answer(nlmqtt_client_config_add_websocket_header(get(), name, value));
    }
    /** Keys bind_address, bind_device and socket_mark; NULL and 0: any, none. */
    returns<void> set_bind(c_text address, c_text device = nullptr, uint32_t mark = 0)
    {
        return detail::answer(nlmqtt_client_config_set_bind(get(), address, device, mark));
    }
    /** Connections that the application makes; its functions are C functions, which throw nothing. NULL: through the system again. */
    returns<void> set_transport(const nlmqtt_transport *transport)
    {
        return detail::answer(nlmqtt_client_config_set_transport(get(), transport));
    }
    /** Where inproc://NAME is looked for: `server.get()`, which may be gone before this and the client; NULL: in the client's runtime. */
    returns<void> set_inproc_server(const nlmqtt_server *server)
    {
        return detail::answer(nlmqtt_client_config_set_inproc_server(get(), server));
    }
};

} // namespace NLMQTT_STYLE
} // namespace nlmqtt

#endif
