// Without exceptions and without type information every failure is returned; a whole conversation this way, on one thread.
#if defined(__cpp_exceptions) || defined(__cpp_rtti)
#error "to be compiled with -fno-exceptions -fno-rtti"
#endif
#include "bench.hpp"

template <class T> static T take(nlmqtt::result<T> result)
{
    CHECK(result.ok());
    return std::move(*result);
}

static void failures_are_returned()
{
    nlmqtt::client_config config;
    CHECK(config.set("keepalife", "30") == NLMQTT_CONFIG && nlmqtt::last_error().find("keepalive") != std::string::npos);
    CHECK(nlmqtt::client::make(config) == NLMQTT_CONFIG && nlmqtt::runtime::make(77) == NLMQTT_INVALID_ARGUMENT);
    CHECK(nlmqtt::message::make("+", "x") == NLMQTT_INVALID_ARGUMENT);
    CHECK(nlmqtt::properties().view().number(NLMQTT_PROPERTY_TOPIC_ALIAS) == NLMQTT_NOT_FOUND);
    nlmqtt::server none;
    CHECK(none.control("clients") == NLMQTT_INVALID_ARGUMENT && none.listener_port() == NLMQTT_INVALID_ARGUMENT);
    int keys = 0;
    CHECK(nlmqtt::client_config::each_key([&](const nlmqtt_key_info &) { ++keys; }).ok() && keys > 10);
}

static void one_conversation()
{
    nlmqtt::runtime runtime = take(nlmqtt::runtime::make(NLMQTT_MODE_LOOP));
    nlmqtt::server_config server_config;
    CHECK(server_config.add_listener("mqtt://127.0.0.1:0").ok());
    nlmqtt::server_hooks hooks;
    hooks.publish = [](const nlmqtt_client_info &, const nlmqtt_publish_info &publish, nlmqtt_hook_token, nlmqtt::decision_view decision) {
        if (nlmqtt::text(publish.topic) == "secret")
            return nlmqtt::verdict::deny;
        return decision.set_payload("rewritten").ok() ? nlmqtt::verdict::rewrite : nlmqtt::verdict::allow;
    };
    nlmqtt::server server = take(nlmqtt::server::make(runtime, server_config, std::move(hooks)));
    CHECK(server.start().ok());
    nlmqtt::client_config config;
    CHECK(config.add_server("mqtt://127.0.0.1:" + std::to_string(take(server.listener_port()))).ok());
    CHECK(config.set_version(5).ok() && config.set_manual_ack(true).ok() && config.set_pull_receive(10, 10000).ok());
    nlmqtt::client client = take(nlmqtt::client::make(runtime, config));
    CHECK(client.start().ok() && client.connect_wait(60000).ok());
    CHECK(client.wait(take(client.subscribe("a", 1)), 60000).ok());
    CHECK(client.next_message(0) == NLMQTT_TIMEOUT);
    CHECK(client.wait(take(client.publish("secret", "x", 1)), 60000) == NLMQTT_REFUSED);
    CHECK(client.wait(take(client.publish("a", "x", 1)), 60000).ok());
    nlmqtt_ack ack;
    nlmqtt::result<nlmqtt::message> message = client.next_message(60000, &ack);
    CHECK(message.ok() && (*message)->payload().str() == "rewritten" && client.ack(ack).ok());
    CHECK(client.stop(1000) == NLMQTT_IN_PROGRESS);
    while (client.state() != NLMQTT_CLIENT_STOPPED)
        CHECK(runtime.poll(1000).ok());
}

int main()
{
    failures_are_returned();
    one_conversation();
    return 0;
}
