/** @file
 * The server. Include nlmqtt.hpp, not this file.
 */
#ifndef NLMQTT_SERVER_HPP
#define NLMQTT_SERVER_HPP

#include <nlmqtt/hooks.hpp>
#include <nlmqtt/runtime.hpp>
#include <nlmqtt/server_config.hpp>

namespace nlmqtt {
inline namespace NLMQTT_STYLE {

/** Gets a message inside this process, borrowed until it returns. Where callbacks run. An exception is told to `escaped`. */
using server_message_function = std::function<void(message_view message)>;
/** Is told a client, borrowed until it returns. On the thread of the call, which throws what it throws. */
using client_entry_function = std::function<void(const nlmqtt_client_entry &client)>;
/** Is told a filter, borrowed until it returns. On the thread of the call, which throws what it throws. */
using filter_function = std::function<void(text filter)>;
/** Is told a ban, borrowed until it returns. On the thread of the call, which throws what it throws. */
using ban_function = std::function<void(const nlmqtt_ban_entry &ban)>;
/** Is told a counter; `name` lives as long as the library. On the thread of the call, which throws what it throws. */
using stat_function = std::function<void(const char *name, uint64_t value)>;
/** Is told a difference (NLMQTT_CHANGE_*), borrowed until it returns. On the thread of the call, which throws what it throws. */
using change_function = std::function<void(int32_t change, const char *what)>;

/**
 * A broker. Move-only. Any thread may call its functions, callbacks included; what waits says so, and answers WOULD_DEADLOCK
 * inside a callback. Destroying it frees the server in any state: it returns when the running callback has returned, and no later one
 * comes; inside its own callback it takes effect when that returns.
 */
class server : public handle<nlmqtt_server, nlmqtt_server_free> {
public:
    /** Owns nothing; make() makes one. */
    server() noexcept {}
    /** A server on a runtime. `config` is copied, `hooks` are moved. It does not listen before start(). Waits. Errors as nlmqtt_server_new. */
    static returns<server> make(const runtime &on, const server_config &config, server_hooks hooks = server_hooks())
    {
        return make(on.get(), config, std::move(hooks));
    }
    /** A server with a private runtime in THREAD mode. Waits. */
    static returns<server> make(const server_config &config, server_hooks hooks = server_hooks())
    {
        return make(nullptr, config, std::move(hooks));
    }
    /** Starts to listen. Waits. ADDRESS_IN_USE, IO: a listener cannot be opened; then none is. */
    returns<void> start() { return detail::answer(nlmqtt_server_start(get())); }
    /** Says good-bye to every client, at most for `drain_ms`. Waits; IN_PROGRESS in a callback and in LOOP mode, and `stopped` tells the end. */
    status stop(uint8_t reason = 0, uint32_t drain_ms = 1000) noexcept { return nlmqtt_server_stop(get(), reason, drain_ms); }
    /** Takes a new configuration; `change` (may be empty) is told each difference. Copied. Waits. */
    returns<void> reload(const server_config &config, const change_function &change = change_function())
    {
        detail::visitor<change_function> visitor(change);
        return visitor.answer(
            nlmqtt_server_reload(get(), config.get(), visitor.template call<nlmqtt_change_fn>(), &visitor));
    }

    /** Opens a listener now; returns its port. It ends with a stop. Waits. */
    returns<uint16_t> add_listener(c_text uri)
    {
        uint16_t port = 0;
        const nlmqtt_status code = nlmqtt_server_add_listener(get(), uri, &port);
        return detail::answer(code, port);
    }
    /** As add_listener, with a copy of what was put together. Waits. */
    returns<uint16_t> add_listener(const listener_config &listener)
    {
        uint16_t port = 0;
        const nlmqtt_status code = nlmqtt_server_add_listener_config(get(), listener.get(), &port);
        return detail::answer(code, port);
    }
    /** Listens with a socket that listens already; the descriptor is the library's on success. Returns its port. Waits. */
    returns<uint16_t> add_listener_fd(int descriptor, c_text options = nullptr)
    {
        uint16_t port = 0;
        const nlmqtt_status code = nlmqtt_server_add_listener_fd(get(), descriptor, options, &port);
        return detail::answer(code, port);
    }
    /** Closes a listener; its connections stay. Waits. NOT_FOUND: it does not listen there. */
    returns<void> remove_listener(c_text address) { return detail::answer(nlmqtt_server_remove_listener(get(), address)); }
    /** Serves a client on a connected stream socket; the descriptor is the library's on success. Waits. */
    returns<void> adopt(int descriptor) { return detail::answer(nlmqtt_server_adopt(get(), descriptor)); }
    /** The same, as if it had come in through the listener at `index`, with its TLS, options and limits. Waits. */
    returns<void> adopt_at(int descriptor, size_t index) { return detail::answer(nlmqtt_server_adopt_at(get(), descriptor, index)); }
    /** The port of the listener at `index`: what port 0 became. Never waits. */
    returns<uint16_t> listener_port(size_t index = 0) const
    {
        uint16_t port = 0;
        const nlmqtt_status code = nlmqtt_server_listener_port(get(), index, &port);
        return detail::answer(code, port);
    }
    /** The address of the listener at `index`, such as "127.0.0.1:1883". Never waits. */
    returns<std::string> listener_address(size_t index = 0) const
    {
        char address[64] = "";
        const nlmqtt_status code = nlmqtt_server_listener_address(get(), index, address, sizeof address);
        return detail::answer(code, std::string(address));
    }

    /** Publishes as the owner, past hooks. Copied; it happens soon. */
    returns<void> publish(c_text topic, bytes payload, uint8_t qos = 0, bool retain = false,
                          properties_view properties = properties_view())
    {
        return detail::answer(
            nlmqtt_server_publish(get(), topic, payload.data(), payload.size(), qos, retain, properties.get()));
    }
    /** Publishes a message that exists; borrowed for the call, the payload is shared. */
    returns<void> publish(message_view message) { return detail::answer(nlmqtt_server_publish_message(get(), message.get())); }
    /** Sends a message to one client, whatever it subscribed to. Borrowed for the call; it happens soon. */
    returns<void> publish_to(c_text client_id, message_view message)
    {
        return detail::answer(nlmqtt_server_publish_to(get(), client_id, message.get()));
    }
    /** Subscribes inside this process; returns what unsubscribe() wants. `receive` is moved. Ends with a stop. */
    returns<uint64_t> subscribe(c_text filter, server_message_function receive)
    {
        auto boxed = detail::registration<server_message_function>(std::move(receive), escaped_);
        uint64_t token = 0;
        const nlmqtt_status code = nlmqtt_server_subscribe(
            get(), filter, boxed.template call<nlmqtt_server_message_fn, detail::names::message>(), boxed.hand_over(),
            boxed.free_fn, &token);
        return detail::answer(code, token);
    }
    /** Ends a subscription of subscribe(); it happens soon. */
    returns<void> unsubscribe(uint64_t subscription) { return detail::answer(nlmqtt_server_unsubscribe(get(), subscription)); }
    /** Runs `task` where hooks run, after `delay_ms` and then every `period_ms` (0: once); returns what cancel() wants. An exception of it is told to `escaped`. */
    returns<uint64_t> schedule(uint32_t delay_ms, uint32_t period_ms, std::function<void()> task)
    {
        auto boxed = detail::registration<decltype(task)>(std::move(task), escaped_);
        uint64_t token = 0;
        const nlmqtt_status code =
            nlmqtt_server_schedule(get(), delay_ms, period_ms, boxed.template call<nlmqtt_task_fn, detail::names::task>(),
                                   boxed.hand_over(), boxed.free_fn, &token);
        return detail::answer(code, token);
    }
    /** Ends a task of schedule(). NOT_FOUND: it has ended already. */
    returns<void> cancel(uint64_t task) { return detail::answer(nlmqtt_server_cancel(get(), task)); }
    /** Answers a hook that returned pending, from any thread. `decision` is borrowed for the call. */
    returns<void> complete(nlmqtt_hook_token token, verdict answer, decision_view decision = decision_view())
    {
        return detail::answer(nlmqtt_server_complete(get(), token, static_cast<int32_t>(answer), decision.get()));
    }

    /** Closes the connection of a client, and its session if `end_session`. It happens soon. */
    returns<void> kick(c_text client_id, uint8_t reason = 0, bool end_session = false)
    {
        return detail::answer(nlmqtt_server_kick(get(), client_id, reason, end_session));
    }
    /** Does not let somebody in (NLMQTT_BAN_*) for `seconds`, or for good (0). */
    returns<void> ban(int32_t kind, c_text text, uint32_t seconds = 0)
    {
        return detail::answer(nlmqtt_server_ban(get(), kind, text, seconds));
    }
    /** Ends a ban. NOT_FOUND: there is none. */
    returns<void> unban(int32_t kind, c_text text) { return detail::answer(nlmqtt_server_unban(get(), kind, text)); }
    /** Tells every ban. Waits. */
    returns<void> each_ban(const ban_function &each) const
    {
        detail::visitor<ban_function> visitor(each);
        return visitor.answer(nlmqtt_server_each_ban(get(), visitor.template call<nlmqtt_ban_fn>(), &visitor));
    }
    /** Tells every client with a session. Waits. */
    returns<void> each_client(const client_entry_function &each) const
    {
        detail::visitor<client_entry_function> visitor(each);
        return visitor.answer(nlmqtt_server_each_client(get(), visitor.template call<nlmqtt_client_entry_fn>(), &visitor));
    }
    /** Tells one client. Waits. NOT_FOUND: there is none. */
    returns<void> client_info(c_text client_id, const client_entry_function &each) const
    {
        detail::visitor<client_entry_function> visitor(each);
        return visitor.answer(
            nlmqtt_server_client_info(get(), client_id, visitor.template call<nlmqtt_client_entry_fn>(), &visitor));
    }
    /** Tells the filters of a client. Waits. NOT_FOUND: there is no such client. */
    returns<void> each_subscription(c_text client_id, const filter_function &each) const
    {
        detail::visitor<filter_function> visitor(each);
        return visitor.answer(
            nlmqtt_server_each_subscription(get(), client_id, visitor.template call<nlmqtt_filter_fn>(), &visitor));
    }
    /** Subscribes for a client. NOT_FOUND: there is no such client. */
    returns<void> subscribe_client(c_text client_id, c_text filter, uint8_t qos = 0)
    {
        return detail::answer(nlmqtt_server_subscribe_client(get(), client_id, filter, qos));
    }
    /** Ends a subscription of a client. NOT_FOUND: no such client, or no such subscription. */
    returns<void> unsubscribe_client(c_text client_id, c_text filter)
    {
        return detail::answer(nlmqtt_server_unsubscribe_client(get(), client_id, filter));
    }

    /** The retained message of a topic; the caller owns the reference. Waits. NOT_FOUND: there is none. */
    returns<message> retained(c_text topic) const
    {
        nlmqtt_message *raw = nullptr;
        const nlmqtt_status code = nlmqtt_server_retained_get(get(), topic, &raw);
        return detail::answer(code, message(raw));
    }
    /** Tells the retained messages that meet `filter`, each borrowed until `each` returns. Waits. What `each` throws, this throws. */
    returns<void> each_retained(c_text filter, const server_message_function &each) const
    {
        detail::visitor<server_message_function> visitor(each);
        return visitor.answer(
            nlmqtt_server_each_retained(get(), filter, visitor.template call<nlmqtt_server_message_fn>(), &visitor));
    }
    /** Keeps a message as the retained one of `topic`; without a payload it clears it. Copied. LIMIT: there is no room. */
    returns<void> retained_set(c_text topic, bytes payload, uint8_t qos = 0, properties_view properties = properties_view())
    {
        return detail::answer(
            nlmqtt_server_retained_set(get(), topic, payload.data(), payload.size(), qos, properties.get()));
    }
    /** Forgets the retained messages that meet `filter`; returns how many (0 inside a callback). */
    returns<size_t> retained_clear(c_text filter)
    {
        size_t count = 0;
        const nlmqtt_status code = nlmqtt_server_retained_clear(get(), filter, &count);
        return detail::answer(code, count);
    }

    /** Tells every counter and gauge. Waits. */
    returns<void> each_stat(const stat_function &each) const
    {
        detail::visitor<stat_function> visitor(each);
        return visitor.answer(nlmqtt_server_each_stat(get(), visitor.template call<nlmqtt_stat_fn>(), &visitor));
    }
    /** One counter or gauge, such as "clients_connected". Waits. NOT_FOUND: no such name. */
    returns<uint64_t> stat(c_text name) const
    {
        uint64_t value = 0;
        const nlmqtt_status code = nlmqtt_server_stat(get(), name, &value);
        return detail::answer(code, value);
    }
    /** Every counter and gauge as one text (NLMQTT_METRICS_*). A copy. Waits. */
    returns<std::string> metrics(int32_t format = NLMQTT_METRICS_PROMETHEUS) const
    {
        return told([&](nlmqtt_text_fn answer, void *user_data) {
            return nlmqtt_server_metrics(get(), format, answer, user_data);
        });
    }
    /** Administration by JSON, see nlmqtt_server_control; returns the JSON of the result. `parameters` may be NULL. Waits. */
    returns<std::string> control(c_text method, c_text parameters = nullptr)
    {
        return told([&](nlmqtt_text_fn answer, void *user_data) {
            return nlmqtt_server_control(get(), method, parameters, answer, user_data);
        });
    }

private:
    template <class Function> static returns<std::string> told(const Function &function)
    {
        std::string text;
        const std::function<void(const char *, size_t)> keep = [&](const char *data, size_t len) { text.assign(data, len); };
        detail::visitor<std::function<void(const char *, size_t)>> visitor(keep);
        const nlmqtt_status code = function(visitor.template call<nlmqtt_text_fn>(), &visitor);
        visitor.rethrow();
        return detail::answer(code, std::move(text));
    }
    static returns<server> make(nlmqtt_runtime *on, const server_config &config, server_hooks hooks)
    {
        using boxed = detail::box<server_hooks>;
        nlmqtt_server_hooks table;
        nlmqtt_server_hooks_init(&table);
/** @cond */ // puts the trampoline of one member into the C table
#define NLMQTT_HOOK(way, name) \
    detail::fill(table.name, hooks.name, &detail::way<server_hooks, decltype(server_hooks::name), &server_hooks::name, detail::names::name>)
        NLMQTT_HOOK(decide, accept);
        NLMQTT_HOOK(decide, connect);
        NLMQTT_HOOK(decide, authenticate);
        NLMQTT_HOOK(decide, auth_exchange);
        NLMQTT_HOOK(tell, connected);
        NLMQTT_HOOK(tell, disconnected);
        NLMQTT_HOOK(tell, session_created);
        NLMQTT_HOOK(tell, session_resumed);
        NLMQTT_HOOK(tell, session_expired);
        NLMQTT_HOOK(tell, session_taken_over);
        NLMQTT_HOOK(decide, authorize);
        NLMQTT_HOOK(decide, subscribe);
        NLMQTT_HOOK(tell, subscribed);
        NLMQTT_HOOK(decide, unsubscribe);
        NLMQTT_HOOK(tell, unsubscribed);
        NLMQTT_HOOK(decide, publish);
        NLMQTT_HOOK(tell, publish_out);
        NLMQTT_HOOK(tell, delivered);
        NLMQTT_HOOK(tell, dropped);
        NLMQTT_HOOK(tell, expired);
        NLMQTT_HOOK(tell, retained_set);
        NLMQTT_HOOK(tell, retained_cleared);
        NLMQTT_HOOK(tell, will);
        NLMQTT_HOOK(tell, quota);
        NLMQTT_HOOK(tell, slow_client);
        NLMQTT_HOOK(tell, tick);
        NLMQTT_HOOK(tell, stopped);
        NLMQTT_HOOK(tell, path_moved);
#undef NLMQTT_HOOK
/** @endcond */
        server made;
        made.escaped_ = detail::share(std::move(hooks.escaped));
        table.user_data = new boxed{std::move(hooks), made.escaped_};
        table.free_fn = detail::release<boxed>;
        nlmqtt_server *raw = nullptr;
        const nlmqtt_status code = nlmqtt_server_new(on, config.get(), &table, &raw);
        made.reset(raw);
        return detail::answer(code, std::move(made));
    }
    detail::escaped_pointer escaped_;
};

} // namespace NLMQTT_STYLE
} // namespace nlmqtt

#endif
