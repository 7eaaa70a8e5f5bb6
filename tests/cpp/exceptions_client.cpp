// Every callback of a client throws, and so does `escaped`: each is told by its name, and the client goes on.
#include "bench.hpp"

#include <stdexcept>

static notes told;

// What a callback that throws leaves behind.
static void escaped(const char *callback, std::exception_ptr exception)
{
    try {
        std::rethrow_exception(exception);
    } catch (const std::runtime_error &error) {
        CHECK(error.what() == std::string(callback));
        told.add(callback);
    }
    throw 7; // nobody is left to tell
}

static void blow(const char *name) { throw std::runtime_error(name); }

static nlmqtt::client_callbacks throwing()
{
    nlmqtt::client_callbacks callbacks;
    callbacks.state = [](int32_t) { blow("state"); };
    callbacks.connected = [](const nlmqtt_connected &connected) {
        CHECK(connected.struct_size > 0);
        blow("connected");
    };
    callbacks.disconnected = [](const nlmqtt_disconnected &disconnected) {
        CHECK(nlmqtt::text(disconnected.text).size() > 0);
        blow("disconnected");
    };
    callbacks.before_connect = [](size_t server, nlmqtt::credentials_view credentials) {
        CHECK(server == 0);
        credentials.set("user", "word");
        blow("before_connect");
    };
    callbacks.message = [](nlmqtt::message_view message, nlmqtt_ack) {
        CHECK(message.topic() == "to/callbacks");
        blow("message");
    };
    callbacks.published = [](const nlmqtt_completion &) { blow("published"); };
    callbacks.subscribed = [](const nlmqtt_completion &) { blow("subscribed"); };
    callbacks.resubscribed = [](nlmqtt::text filter, uint8_t) {
        CHECK(filter.size() > 0);
        blow("resubscribed");
    };
    callbacks.unsubscribed = [](const nlmqtt_completion &) { blow("unsubscribed"); };
    callbacks.queue_level = [](bool, size_t, size_t) { blow("queue_level"); };
    callbacks.auth = [](uint8_t, nlmqtt::bytes) { blow("auth"); };
    callbacks.dropped = [](nlmqtt::message_view message, nlmqtt_status) {
        CHECK(message.topic() == "full");
        blow("dropped");
    };
    callbacks.escaped = escaped;
    return callbacks;
}

static nlmqtt::client connected_client(const std::string &uri)
{
    nlmqtt::client_config config;
    config.add_server(uri);
    config.set_version(5);
    config.set_client_id("device");
    config.set_authentication("method", "first");
    config.set_reconnect_delay(1, 10, false);
    nlmqtt::client client = nlmqtt::client::make(config, throwing());
    client.start();
    // The server asks for more: "auth" throws, and the answer comes from here.
    CHECK(told.has("auth"));
    client.authenticate("second");
    CHECK(client.connect_wait(60000).ok());
    return client;
}

static void online(nlmqtt::server &server, const std::string &uri)
{
    nlmqtt::client client = connected_client(uri);
    counter own;
    client.wait(client.subscribe("to/callbacks", 1), 60000);
    client.subscribe("to/function", 1, [](nlmqtt::message_view, nlmqtt_ack) { blow("message"); });
    nlmqtt::subscribe_options options;
    options.message = [&own](nlmqtt::message_view, nlmqtt_ack) {
        own.add();
        blow("message");
    };
    options.completion = [](const nlmqtt_completion &completion) {
        CHECK(completion.reasons_len == 2);
        blow("completion");
    };
    nlmqtt::subscription second("to/many/b", 1);
    second.no_local = true;
    CHECK(client.wait(client.subscribe_many({nlmqtt::subscription("to/many/a", 1), second}, std::move(options)), 60000).ok());
    CHECK(told.has("completion"));
    for (const char *topic : {"to/callbacks", "to/function", "to/many/a", "to/many/b"})
        CHECK(client.wait(client.publish(topic, "x", 1), 60000).ok());
    CHECK(own.reaches(1));
    nlmqtt::publish_options with_completion;
    with_completion.qos = 1;
    with_completion.completion = [](const nlmqtt_completion &) { blow("completion"); };
    CHECK(client.wait(client.publish("to/function", "x", std::move(with_completion)), 60000).ok());
    // Nobody answers requests to this topic.
    CHECK(!client.wait(client.request("nobody", "?", 60000, [](const nlmqtt_completion &, nlmqtt::message_view response) {
                           CHECK(!response);
                           blow("response");
                       }, [] { nlmqtt::publish_options one; one.qos = 1; return one; }()), 60000).ok());
    CHECK(told.has("response"));
    client.wait(client.unsubscribe("to/function"), 60000);
    client.wait(client.unsubscribe_many({"to/many/a", "to/many/b"}), 60000);
    // The session ends with the connection: what is left is subscribed to again.
    server.kick("device", 0, true);
    CHECK(told.has("disconnected"));
    for (int i = 0; i < 600 && !told.has("resubscribed", 100); ++i)
        client.authenticate("second"); // without effect before the server has asked again
    CHECK(told.has("resubscribed"));
    CHECK(client.stop(5000).ok());
}

static void offline()
{
    nlmqtt::client_config config;
    config.add_server("mqtt://127.0.0.1:1");
    config.set_queue_limits(10, 100000);
    config.set_queue_policy(NLMQTT_OVERFLOW_DROP_OLDEST, 0, false);
    nlmqtt::client client = nlmqtt::client::make(config, throwing());
    client.start();
    for (int i = 0; i < 20; ++i)
        client.publish("full", "x", 1);
    CHECK(told.has("queue_level") && told.has("dropped"));
}

int main()
{
    nlmqtt::server_config config;
    config.add_listener("mqtt://127.0.0.1:0");
    nlmqtt::server_hooks hooks;
    hooks.authenticate = [](const nlmqtt_client_info &, const nlmqtt_connect_info &, nlmqtt_hook_token, nlmqtt::decision_view decision) {
        decision.set_auth_data("more");
        return nlmqtt::verdict::challenge;
    };
    hooks.auth_exchange = [](const nlmqtt_client_info &, nlmqtt::text method, nlmqtt::bytes data, nlmqtt_hook_token, nlmqtt::decision_view) {
        CHECK(method == "method" && data.str() == "second");
        return nlmqtt::verdict::allow;
    };
    nlmqtt::server server = nlmqtt::server::make(config, std::move(hooks));
    server.start();
    online(server, "mqtt://127.0.0.1:" + std::to_string(server.listener_port()));
    offline();
    for (const char *name : {"state", "connected", "disconnected", "before_connect", "message", "published", "subscribed",
                             "resubscribed", "unsubscribed", "queue_level", "auth", "dropped", "completion", "response"})
        CHECK(told.has(name));
    return 0;
}
