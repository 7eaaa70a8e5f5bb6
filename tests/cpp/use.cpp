// The rest of the interface in use: late answers, requests, pull style, administration, DISPATCH mode.
#include "bench.hpp"

#include <sys/socket.h>
#include <thread>
#include <unistd.h>

static nlmqtt::client online(const std::string &uri, const char *client_id, nlmqtt::client_callbacks callbacks = nlmqtt::client_callbacks())
{
    nlmqtt::client_config config;
    config.add_server(uri);
    config.set_version(5);
    config.set_client_id(client_id);
    nlmqtt::client client = nlmqtt::client::make(config, std::move(callbacks));
    client.start();
    CHECK(client.connect_wait(60000).ok());
    return client;
}

static std::string address_of(const nlmqtt::server &server) { return "mqtt://" + server.listener_address(); }

// Hooks that answer from another thread, with details.
static void late_answers()
{
    std::mutex mutex;
    std::vector<std::thread> threads;
    nlmqtt::server server;
    const auto later = [&](nlmqtt_hook_token token, nlmqtt::verdict verdict, std::function<void(nlmqtt::decision_view)> details) {
        std::lock_guard<std::mutex> lock(mutex);
        threads.emplace_back([&server, token, verdict, details] {
            nlmqtt::decision decision;
            details(decision);
            server.complete(token, verdict, decision);
        });
        return nlmqtt::verdict::pending;
    };
    nlmqtt::server_config config;
    config.add_listener("mqtt://127.0.0.1:0");
    nlmqtt::server_hooks hooks;
    hooks.subscribe = [&](const nlmqtt_client_info &, const nlmqtt_subscription_info *, size_t, nlmqtt_hook_token token, nlmqtt::decision_view) {
        return later(token, nlmqtt::verdict::allow, [](nlmqtt::decision_view decision) {
            decision.set_filter(0, "rewritten/#", 1);
            decision.refuse_filter(1, 0x87);
        });
    };
    hooks.publish = [&](const nlmqtt_client_info &, const nlmqtt_publish_info &publish, nlmqtt_hook_token token, nlmqtt::decision_view) {
        if (nlmqtt::text(publish.topic) == "no")
            return later(token, nlmqtt::verdict::deny, [](nlmqtt::decision_view decision) { decision.set_reason(0x97); });
        return later(token, nlmqtt::verdict::rewrite, [](nlmqtt::decision_view decision) {
            decision.set_topic("rewritten/topic");
            decision.set_payload("rewritten");
            decision.set_qos(0);
            decision.set_retain(true);
        });
    };
    server = nlmqtt::server::make(config, std::move(hooks));
    server.start();
    counter received;
    nlmqtt::client client = online(address_of(server), "late");
    nlmqtt::subscribe_options options;
    options.message = [&](nlmqtt::message_view message, nlmqtt_ack) {
        CHECK(message.topic() == "rewritten/topic" && message.payload().str() == "rewritten" && message.qos() == 0);
        received.add();
    };
    options.completion = [&](const nlmqtt_completion &completion) {
        CHECK(completion.reasons_len == 2 && completion.reasons[0] == 1 && completion.reasons[1] == 0x87);
    };
    client.wait(client.subscribe_many({nlmqtt::subscription("a", 1), nlmqtt::subscription("b", 1)}, std::move(options)), 60000);
    CHECK(client.wait(client.publish("a", "x", 1), 60000).ok());
    CHECK(client.wait(client.publish("no", "x", 1), 60000) == NLMQTT_REFUSED);
    CHECK(client.publish("no", "x", 1) != 0 && client.flush(60000).ok());
    CHECK(server.retained("rewritten/topic")->payload().str() == "rewritten");
    client.reset();
    for (std::thread &thread : threads)
        thread.join();
}

static void requests(const std::string &uri)
{
    counter answered;
    nlmqtt::client answers = online(uri, "answers");
    CHECK(answers.wait(answers.subscribe("ask", 1, [&](nlmqtt::message_view message, nlmqtt_ack) {
                           answers.respond(message, "answer to " + message.payload().str());
                       }), 60000).ok());
    nlmqtt::client asks = online(uri, "asks");
    asks.request("ask", "me", 60000, [&](const nlmqtt_completion &completion, nlmqtt::message_view response) {
        CHECK(completion.status == NLMQTT_OK && response.payload().str() == "answer to me");
        answered.add();
    });
    CHECK(answered.reaches(1));
    for (int i = 0; i < 6000 && asks.statistics().messages_received == 0; ++i) // they are those of a moment ago
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    CHECK(asks.statistics().messages_received == 1 && asks.statistics().requests_waiting == 0);
    CHECK(asks.diagnostics().find("online") != std::string::npos);
    const nlmqtt::message kept = nlmqtt::message::make("ask", "again", 1);
    CHECK(asks.wait(asks.publish(kept), 60000).ok());
    asks.cancel(asks.publish("ask", "x"));
    asks.reconnect_now();
}

static void administration()
{
    nlmqtt::server_config config;
    config.add_listener("mqtt://127.0.0.1:0");
    nlmqtt::server server = nlmqtt::server::make(config);
    server.start();
    const std::string uri = address_of(server);
    requests(uri);

    counter received;
    nlmqtt::client client = online(uri, "device", [&] {
        nlmqtt::client_callbacks callbacks;
        callbacks.message = [&](nlmqtt::message_view, nlmqtt_ack) { received.add(); };
        return callbacks;
    }());
    server.subscribe_client("device", "by/owner", 1);
    server.publish(nlmqtt::message::make("by/owner", "x", 1));
    server.publish_to("device", nlmqtt::message::make("direct", "x", 1));
    CHECK(received.reaches(2));
    server.unsubscribe_client("device", "by/owner");
    bool seen = false;
    server.client_info("device", [&](const nlmqtt_client_entry &entry) { seen = entry.connected && nlmqtt::text(entry.client_id) == "device"; });
    CHECK(seen && server.stat("clients_connected") == 1);
    CHECK(server.control("client", "{\"client_id\": \"device\"}").find("\"device\"") != std::string::npos);
    CHECK(server.metrics().find("clients_connected 1") != std::string::npos);
    CHECK(server.metrics(NLMQTT_METRICS_JSON)[0] == '{');
    server.retained_set("kept/1", "x");
    server.retained_set("kept/2", "x");
    CHECK(server.retained("kept/1")->retain() && server.retained_clear("kept/+") == 2);

    server.ban(NLMQTT_BAN_CLIENT_ID, "device", 1000);
    std::string banned;
    server.each_ban([&](const nlmqtt_ban_entry &ban) { banned = nlmqtt::text(ban.text); });
    CHECK(banned == "device");
    server.unban(NLMQTT_BAN_CLIENT_ID, "device");

    const uint16_t port = server.add_listener("mqtt://127.0.0.1:0");
    CHECK(port == server.listener_port(1) && port != server.listener_port());
    server.remove_listener(server.listener_address(1));
    const int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(listening >= 0 && listen(listening, 1) == 0 && server.add_listener_fd(listening, "max_connections=1") > 0);
    int changes = 0;
    config.set_max_connections(7);
    server.reload(config, [&](int32_t change, const char *what) {
        changes += change == NLMQTT_CHANGE_APPLIED && std::string(what) == "max_connections";
    });
    CHECK(changes == 1);
    counter ticks;
    const uint64_t task = server.schedule(0, 1, [&] { ticks.add(); });
    CHECK(ticks.reaches(3));
    server.cancel(task);
    CHECK(server.stop().ok() && server.stop().ok());
}

// Callbacks on the application's thread.
static void dispatch()
{
    nlmqtt::runtime runtime = nlmqtt::runtime::make(NLMQTT_MODE_DISPATCH);
    CHECK(runtime.fd() >= 0 && runtime.memory().first <= runtime.memory().second);
    nlmqtt::server_config config;
    config.add_listener("mqtt://127.0.0.1:0");
    nlmqtt::server server = nlmqtt::server::make(runtime, config);
    server.start();
    const std::thread::id here = std::this_thread::get_id();
    nlmqtt::client_config device;
    device.set_transport(nullptr);
    device.set_inproc_server(nullptr);
    device.add_server(address_of(server));
    bool received = false;
    nlmqtt::client client = nlmqtt::client::make(runtime, device);
    client.subscribe("a", 1, [&](nlmqtt::message_view, nlmqtt_ack) {
        CHECK(std::this_thread::get_id() == here);
        received = true;
    });
    client.start();
    client.publish("a", "x", 1);
    while (!received)
        runtime.dispatch(1000);
    const uint64_t task = runtime.post_delayed(3600000, [] { CHECK(false); });
    runtime.cancel(task);
}

// Names the application looks up itself.
static void resolver()
{
    nlmqtt::server_config config;
    config.add_listener("mqtt://127.0.0.1:0");
    nlmqtt::server server = nlmqtt::server::make(config);
    server.start();
    nlmqtt::runtime runtime;
    std::mutex made;
    std::unique_lock<std::mutex> lock(made);
    nlmqtt::runtime_config options;
    options.set_helper_threads(0);
    options.set_hook_threads(1);
    options.set_resolver([&](const char *host, uint64_t lookup) {
        std::lock_guard<std::mutex> wait(made);
        CHECK(std::string(host) == "broker.test");
        runtime.resolved(lookup, {"127.0.0.1"});
    });
    runtime = nlmqtt::runtime::make(options);
    lock.unlock();
    nlmqtt::client_config device;
    device.add_server("mqtt://broker.test:" + std::to_string(server.listener_port()));
    nlmqtt::client client = nlmqtt::client::make(runtime, device);
    client.start();
    CHECK(client.connect_wait(60000).ok());
}

int main()
{
    late_answers();
    administration();
    dispatch();
    resolver();
    return 0;
}
