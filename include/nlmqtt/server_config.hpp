/** @file
 * Options of a server. Include nlmqtt.hpp, not this file.
 */
#ifndef NLMQTT_SERVER_CONFIG_HPP
#define NLMQTT_SERVER_CONFIG_HPP

#include <nlmqtt/listener_config.hpp>

namespace nlmqtt {
inline namespace NLMQTT_STYLE {

/** Options of a server and where it listens. Move-only; used by one thread at a time. Everything is copied. */
class server_config : public handle<nlmqtt_server_config, nlmqtt_server_config_free> {
public:
    /** The defaults and no listener; without memory it owns nothing, and the first call says INVALID_ARGUMENT. */
    server_config() noexcept : handle(nlmqtt_server_config_new()) {}
    /** One option by its key; the README lists them. */
    returns<void> set(c_text key, c_text value) { return detail::answer(nlmqtt_server_config_set(get(), key, value)); }
    /** An option that is true or false. */
    returns<void> set_bool(c_text key, bool value) { return detail::answer(nlmqtt_server_config_set_bool(get(), key, value)); }
    /** An option that is a number. */
    returns<void> set_number(c_text key, uint64_t value)
    {
        return detail::answer(nlmqtt_server_config_set_number(get(), key, value));
    }
    /** The value of an option as text. */
    returns<std::string> value(c_text key) const
    {
        return detail::copied(
            [&](char *buf, size_t cap, size_t *len) { return nlmqtt_server_config_get(get(), key, buf, cap, len); });
    }
    /** The value of an option that is true or false. */
    returns<bool> value_bool(c_text key) const
    {
        bool value = false;
        const nlmqtt_status code = nlmqtt_server_config_get_bool(get(), key, &value);
        return detail::answer(code, value);
    }
    /** The value of an option that is a number. */
    returns<uint64_t> value_number(c_text key) const
    {
        uint64_t value = 0;
        const nlmqtt_status code = nlmqtt_server_config_get_number(get(), key, &value);
        return detail::answer(code, value);
    }
    /** Adds a listener, such as "mqtt://127.0.0.1:1883"; port 0 takes a free one. */
    returns<void> add_listener(c_text uri) { return detail::answer(nlmqtt_server_config_add_listener(get(), uri)); }
    /** Adds a copy of a listener that was put together. */
    returns<void> add_listener(const listener_config &listener)
    {
        return detail::answer(nlmqtt_server_config_add_listener_config(get(), listener.get()));
    }
    /** How many listeners there are. */
    size_t listener_count() const noexcept { return nlmqtt_server_config_listener_count(get()); }
    /** Variables NLMQTT_... of the environment. */
    returns<void> load_environment() { return detail::answer(nlmqtt_server_config_load_environment(get())); }
    /** A TOML file. All or nothing. */
    returns<void> load_file(c_text path) { return detail::answer(nlmqtt_server_config_load_file(get(), path)); }
    /** The text of a JSON object. All or nothing. */
    returns<void> load_json(c_text text) { return detail::answer(nlmqtt_server_config_load_json(get(), text)); }
    /** "listener=mqtt://127.0.0.1:1883;max_connections=100". All or nothing. */
    returns<void> load_connstr(c_text text) { return detail::answer(nlmqtt_server_config_load_connstr(get(), text)); }
    /** Tells every problem; the answer is OK without one, else CONFIG. What `problem` (may be empty) throws, this throws. */
    status check(const problem_function &problem = problem_function()) const
    {
        detail::visitor<problem_function> visitor(problem);
        const nlmqtt_status code =
            nlmqtt_server_config_check(get(), visitor.template call<nlmqtt_problem_fn>(), &visitor);
        visitor.rethrow();
        return code;
    }
    /** Tells every key there is. What `each` throws, this throws. Any thread. */
    static returns<void> each_key(const key_function &each)
    {
        detail::visitor<key_function> visitor(each);
        return visitor.answer(nlmqtt_server_config_each_key(visitor.template call<nlmqtt_key_fn>(), &visitor));
    }
    /** Key allow_anonymous. */
    returns<void> set_allow_anonymous(bool allow_anonymous)
    {
        return detail::answer(nlmqtt_server_config_set_allow_anonymous(get(), allow_anonymous));
    }
    /** Key max_connections. */
    returns<void> set_max_connections(uint32_t max_connections)
    {
        return detail::answer(nlmqtt_server_config_set_max_connections(get(), max_connections));
    }
    /** Key max_packet_size. */
    returns<void> set_max_packet_bytes(uint32_t packet_bytes)
    {
        return detail::answer(nlmqtt_server_config_set_max_packet_bytes(get(), packet_bytes));
    }
    /** Keys max_queued_messages and max_queued_bytes; 0: any number. */
    returns<void> set_queue_limits(uint32_t messages_max, uint32_t bytes_max)
    {
        return detail::answer(nlmqtt_server_config_set_queue_limits(get(), messages_max, bytes_max));
    }
    /** Key max_keepalive; 0: any. */
    returns<void> set_max_keepalive_s(uint16_t keepalive_s)
    {
        return detail::answer(nlmqtt_server_config_set_max_keepalive_s(get(), keepalive_s));
    }
    /** Key persistent_client_expiration; 4,294,967,295: for ever. */
    returns<void> set_session_expiry_max_s(uint32_t session_expiry_s)
    {
        return detail::answer(nlmqtt_server_config_set_session_expiry_max_s(get(), session_expiry_s));
    }
    /** Key hook_timeout_ms. */
    returns<void> set_hook_timeout_ms(uint32_t timeout_ms)
    {
        return detail::answer(nlmqtt_server_config_set_hook_timeout_ms(get(), timeout_ms));
    }
    /** Key memory_limit, of a private runtime. */
    returns<void> set_memory_limit(uint32_t limit_bytes)
    {
        return detail::answer(nlmqtt_server_config_set_memory_limit(get(), limit_bytes));
    }
};

} // namespace NLMQTT_STYLE
} // namespace nlmqtt

#endif
