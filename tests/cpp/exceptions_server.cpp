// Every hook of a server throws: those that decide refuse with 0x83, the others change nothing, and each is told by its name.
#include "bench.hpp"

#include <stdexcept>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

static notes told;
static std::mutex target_mutex;
static std::string target; // the deciding hook that throws now

static void aim(const char *name)
{
    std::lock_guard<std::mutex> lock(target_mutex);
    target = name;
}

static nlmqtt::verdict decide(const char *name)
{
    std::lock_guard<std::mutex> lock(target_mutex);
    if (target == name)
        throw std::runtime_error(name);
    return nlmqtt::verdict::allow;
}

static void blow(const char *name) { throw std::runtime_error(name); }

using info = nlmqtt_client_info;
using token = nlmqtt_hook_token;
using nlmqtt::bytes;
using nlmqtt::decision_view;
using nlmqtt::message_view;
using nlmqtt::text;

static void set_deciding(nlmqtt::server_hooks &hooks)
{
    hooks.accept = [](text peer, text, token, decision_view) {
        CHECK(peer);
        return decide("accept");
    };
    hooks.connect = [](const info &, const nlmqtt_connect_info &, token, decision_view) { return decide("connect"); };
    hooks.authenticate = [](const info &, const nlmqtt_connect_info &connect, token, decision_view) {
        const bool has_method = nlmqtt::properties_view(connect.properties).count(NLMQTT_PROPERTY_AUTHENTICATION_METHOD) > 0;
        const nlmqtt::verdict answer = decide("authenticate");
        return has_method ? nlmqtt::verdict::challenge : answer;
    };
    hooks.auth_exchange = [](const info &, text, bytes, token, decision_view) { return decide("auth_exchange"); };
    hooks.authorize = [](const info &, int32_t, text, uint8_t, bool, token, decision_view) { return decide("authorize"); };
    hooks.subscribe = [](const info &, const nlmqtt_subscription_info *filters, size_t count, token, decision_view) {
        CHECK(count == 1 && text(filters[0].filter).size() > 0);
        return decide("subscribe");
    };
    hooks.unsubscribe = [](const info &, const nlmqtt_str *filters, size_t count, token, decision_view) {
        CHECK(count == 1 && text(filters[0]).size() > 0);
        return decide("unsubscribe");
    };
    hooks.publish = [](const info &, const nlmqtt_publish_info &, token, decision_view) { return decide("publish"); };
}

static void set_hearing(nlmqtt::server_hooks &hooks)
{
    hooks.connected = [](const info &, bool) { blow("connected"); };
    hooks.disconnected = [](const info &, uint8_t) { blow("disconnected"); };
    hooks.session_created = [](const info &) { blow("session_created"); };
    hooks.session_resumed = [](const info &) { blow("session_resumed"); };
    hooks.session_expired = [](const info &) { blow("session_expired"); };
    hooks.session_taken_over = [](const info &) { blow("session_taken_over"); };
    hooks.subscribed = [](const info &, const nlmqtt_subscription_info &) { blow("subscribed"); };
    hooks.unsubscribed = [](const info &, text) { blow("unsubscribed"); };
    hooks.publish_out = [](const info &, message_view, uint8_t) { blow("publish_out"); };
    hooks.delivered = [](const info &, message_view, uint8_t) { blow("delivered"); };
    hooks.dropped = [](const info &, message_view, int32_t) { blow("dropped"); };
    hooks.expired = [](const info *, message_view) { blow("expired"); };
    hooks.retained_set = [](message_view) { blow("retained_set"); };
    hooks.retained_cleared = [](text) { blow("retained_cleared"); };
    hooks.will = [](const info &, message_view) { blow("will"); };
    hooks.quota = [](const info *, const char *) { blow("quota"); };
    hooks.slow_client = [](const info &, size_t) { blow("slow_client"); };
    hooks.tick = [] { blow("tick"); };
    hooks.stopped = [] { blow("stopped"); };
}

static std::string uri;

static nlmqtt::client_config device(const char *client_id)
{
    nlmqtt::client_config config;
    config.add_server(uri);
    config.set_version(5);
    config.set_client_id(client_id);
    config.set_reconnect_delay(1, 10, false);
    return config;
}

static nlmqtt::client online(const nlmqtt::client_config &config)
{
    nlmqtt::client client = nlmqtt::client::make(config);
    client.start();
    CHECK(client.connect_wait(60000).ok());
    return client;
}

// A connection is refused while this hook throws; `reason` is CONNACK's, 0: there is none.
static void refused(const char *name, uint8_t reason, bool by_auth)
{
    counter times;
    nlmqtt::client_config config = device("refused");
    if (by_auth)
        config.set_authentication("method", "data");
    aim(name);
    nlmqtt::client_callbacks callbacks;
    nlmqtt::client client;
    std::mutex mutex; // the client is there before a callback uses it
    std::unique_lock<std::mutex> lock(mutex);
    callbacks.disconnected = [&](const nlmqtt_disconnected &disconnected) {
        if (disconnected.cause == NLMQTT_CAUSE_STOPPED) // the client is freed
            return;
        CHECK(disconnected.has_reason == (reason != 0) && disconnected.reason == reason);
        times.add();
    };
    callbacks.auth = [&](uint8_t, bytes) {
        std::lock_guard<std::mutex> wait(mutex);
        client.authenticate("data");
    };
    client = nlmqtt::client::make(config, std::move(callbacks));
    client.start();
    lock.unlock();
    CHECK(times.reaches(1) && told.has(name));
    client.reset();
    aim("");
}

static void deciding_hooks_refuse()
{
    refused("accept", 0, false);
    refused("connect", 0x83, false);
    refused("authenticate", 0x83, false);
    refused("auth_exchange", 0x83, true);

    nlmqtt::client client = online(device("asks"));
    const auto answer = [](counter &done) {
        return [&done](const nlmqtt_completion &completion) {
            CHECK(completion.status == NLMQTT_REFUSED && completion.has_reason && completion.reason == 0x83);
            done.add();
        };
    };
    counter done;
    for (const char *name : {"authorize", "publish"}) {
        aim(name);
        nlmqtt::publish_options options;
        options.qos = 1;
        options.completion = answer(done);
        CHECK(client.wait(client.publish("a", "x", std::move(options)), 60000) == NLMQTT_REFUSED);
    }
    aim("subscribe");
    nlmqtt::subscribe_options options;
    options.completion = answer(done);
    client.wait(client.subscribe_many({nlmqtt::subscription("a", 1)}, std::move(options)), 60000);
    aim("");
    CHECK(client.wait(client.subscribe("b", 1), 60000).ok());
    aim("unsubscribe");
    CHECK(client.wait(client.unsubscribe("b"), 60000) == NLMQTT_REFUSED);
    aim("");
    CHECK(done.reaches(3));
}

static void sessions(nlmqtt::server &server)
{
    nlmqtt::client_config config = device("lives on");
    config.set_clean_start(false);
    config.set_session_expiry_s(1000);
    config.set_will("will", "gone");
    nlmqtt::client client = online(config);
    client.wait(client.subscribe("a/#", 1), 60000);
    client.wait(client.subscribe("b", 1), 60000);
    client.wait(client.publish("a/x", "retained", 1, true), 60000);
    client.wait(client.publish("a/x", "", 1, true), 60000);
    client.wait(client.unsubscribe("b"), 60000);
    CHECK(client.wait(client.subscribe("c", 1), 60000).ok());
    CHECK(client.wait(client.subscribe("too/many", 1), 60000) == NLMQTT_REFUSED); // quota
    server.kick("lives on");
    CHECK(told.has("session_resumed"));
    nlmqtt::stop_options stop;
    stop.timeout_ms = 5000;
    stop.reason = 0x04;
    for (int i = 0; i < 600 && client.state() != NLMQTT_CLIENT_ONLINE; ++i)
        client.connect_wait(100);
    CHECK(client.stop(stop).ok());
    for (bool away = false; !away;) // the server has seen it go, too
        server.client_info("lives on", [&](const nlmqtt_client_entry &entry) { away = !entry.connected; });
    // Its queue takes two messages, and one second passes for the first.
    nlmqtt::properties expiry;
    expiry.add_number(NLMQTT_PROPERTY_MESSAGE_EXPIRY_INTERVAL, 1);
    server.publish("a/y", "1", 1, false, expiry);
    server.publish("a/y", "2", 1);
    server.publish("a/y", "3", 1);
    std::this_thread::sleep_for(std::chrono::milliseconds(1100));
    client.start();
    CHECK(told.has("expired"));

    nlmqtt::client first = online(device("twice"));
    nlmqtt::client second = online(device("twice"));
    CHECK(told.has("session_taken_over"));
}

// A client that subscribes and then does not read.
static void slow(nlmqtt::server &server)
{
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    server.adopt(pair[0]);
    const std::string connect("\x10\x10\0\x04MQTT\x04\x02\0\0\0\x04slow", 18), subscribe("\x82\x06\0\x01\0\x01s\0", 8);
    CHECK(write(pair[1], connect.data(), connect.size()) == static_cast<ssize_t>(connect.size()));
    CHECK(write(pair[1], subscribe.data(), subscribe.size()) == static_cast<ssize_t>(subscribe.size()));
    char answers[9];
    CHECK(recv(pair[1], answers, sizeof answers, MSG_WAITALL) == static_cast<ssize_t>(sizeof answers));
    const std::string payload(100000, 'x');
    for (int i = 0; i < 50; ++i)
        server.publish("s", payload);
    CHECK(told.has("slow_client") && told.has("dropped"));
    close(pair[1]);
}

int main()
{
    nlmqtt::server_config config;
    config.add_listener("mqtt://127.0.0.1:0");
    config.set_queue_limits(2, 100000);
    config.set("tick_interval_ms", "20");
    config.set("max_subscriptions_per_client", "2");
    nlmqtt::server_hooks hooks;
    set_deciding(hooks);
    set_hearing(hooks);
    hooks.escaped = [](const char *callback, std::exception_ptr) {
        told.add(callback);
        throw 7; // nobody is left to tell
    };
    nlmqtt::server server = nlmqtt::server::make(config, std::move(hooks));
    server.start();
    uri = "mqtt://127.0.0.1:" + std::to_string(server.listener_port());
    deciding_hooks_refuse();
    sessions(server);
    slow(server);
    counter received;
    const uint64_t subscription = server.subscribe("in", [&](message_view message) {
        CHECK(message.payload().str() == "here");
        received.add();
        blow("message");
    });
    server.publish("in", "here");
    CHECK(received.reaches(1) && told.has("message"));
    server.unsubscribe(subscription);
    server.schedule(0, 0, [] { blow("task"); });
    CHECK(told.has("task"));
    server.schedule(0, 0, [&] {
        CHECK(server.stop(0, 1000) == NLMQTT_IN_PROGRESS);
    });
    for (const char *name :
         {"accept", "connect", "authenticate", "auth_exchange", "connected", "disconnected", "session_created", "session_resumed",
          "session_expired", "session_taken_over", "authorize", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "publish",
          "publish_out", "delivered", "dropped", "expired", "retained_set", "retained_cleared", "will", "quota", "slow_client",
          "tick", "stopped"}) {
        if (!told.has(name))
            std::fprintf(stderr, "not told: %s\n", name);
        CHECK(told.has(name));
    }
    return 0;
}
