// How long things live: objects that are reset inside their own callbacks, moved while they work, and what callbacks captured.
#include "bench.hpp"

static std::string uri;

static nlmqtt::client_config device()
{
    nlmqtt::client_config config;
    config.add_server(uri);
    config.set_version(5);
    return config;
}

// A client frees itself in a callback of each kind; what the callback captured lives until that has returned, and not longer.
static void clients_end_themselves()
{
    for (const std::string where : {"connected", "message", "completion", "state"}) {
        counter destroyed, ended;
        nlmqtt::client client;
        std::mutex made; // the client is there before a callback ends it
        std::unique_lock<std::mutex> lock(made);
        {
            const auto object = std::make_shared<captured>(destroyed);
            const auto end = [&, object](const std::string &here) {
                std::lock_guard<std::mutex> wait(made);
                if (here != where)
                    return;
                client.reset();
                CHECK(destroyed.value() == 0 && !client);
                ended.add();
            };
            nlmqtt::client_callbacks callbacks;
            callbacks.connected = [end](const nlmqtt_connected &) { end("connected"); };
            callbacks.state = [end](int32_t state) { end(state == NLMQTT_CLIENT_ONLINE ? "state" : "other"); };
            client = nlmqtt::client::make(device(), std::move(callbacks));
            client.subscribe("self", 1, [end](nlmqtt::message_view message, nlmqtt_ack) {
                end("message");
                CHECK(message.payload().str() == "x"); // lent until this returns
            });
            client.start();
            nlmqtt::publish_options options;
            options.qos = 1;
            options.completion = [end](const nlmqtt_completion &) { end("completion"); };
            client.publish("self", "x", std::move(options));
        }
        lock.unlock();
        CHECK(ended.reaches(1) && destroyed.reaches(1));
        CHECK(ended.value() == 1 && destroyed.value() == 1);
    }
}

static void servers_and_runtimes_end_themselves()
{
    counter destroyed, ended;
    nlmqtt::server server;
    std::mutex made;
    std::unique_lock<std::mutex> lock(made);
    {
        const auto object = std::make_shared<captured>(destroyed);
        nlmqtt::server_config config;
        config.set("tick_interval_ms", "10");
        nlmqtt::server_hooks hooks;
        hooks.tick = [&, object] {
            std::lock_guard<std::mutex> wait(made);
            if (!server)
                return;
            server.reset();
            CHECK(destroyed.value() == 0);
            ended.add();
        };
        server = nlmqtt::server::make(config, std::move(hooks));
        server.start();
    }
    lock.unlock();
    CHECK(ended.reaches(1) && destroyed.reaches(1));

    nlmqtt::runtime runtime = nlmqtt::runtime::make();
    lock.lock();
    auto object = std::make_shared<captured>(destroyed);
    runtime.post([&, object] {
        std::lock_guard<std::mutex> wait(made);
        runtime.reset();
        ended.add();
    });
    object.reset();
    lock.unlock();
    CHECK(ended.reaches(2) && destroyed.reaches(2));
}

// Objects move while the library works for them.
static void moving_disturbs_nobody()
{
    counter received;
    std::vector<nlmqtt::client> clients;
    for (int i = 0; i < 10; ++i) { // the vector moves them as it grows
        clients.push_back(nlmqtt::client::make(device()));
        clients.back().subscribe("moving", 1, [&](nlmqtt::message_view, nlmqtt_ack) { received.add(); });
        clients.back().start();
    }
    for (nlmqtt::client &client : clients)
        CHECK(client.connect_wait(60000).ok() && client.flush(60000).ok());
    std::swap(clients.front(), clients.back());
    CHECK(clients[3].wait(clients[3].publish("moving", "x", 1), 60000).ok());
    CHECK(received.reaches(10));
    clients.erase(clients.begin() + 3);
    CHECK(clients[3].wait(clients[3].publish("moving", "x", 1), 60000).ok());
    CHECK(received.reaches(19));
}

template <class Call> static void fails(const Call &call)
{
    bool failed = false;
    try {
        call();
    } catch (const nlmqtt::error &) {
        failed = true;
    }
    CHECK(failed);
}

// A call that fails frees what it was given.
static void failures_free_what_they_took()
{
    counter destroyed;
    const auto object = [&] { return std::make_shared<captured>(destroyed); };
    nlmqtt::client client = nlmqtt::client::make(device());
    nlmqtt::server server = nlmqtt::server::make(nlmqtt::server_config());
    nlmqtt::server no_server;
    nlmqtt::runtime no_runtime;
    nlmqtt::runtime_config no_config;
    no_config.reset();
    const auto completion = [&] {
        nlmqtt::publish_options options;
        const auto one = object();
        options.completion = [one](const nlmqtt_completion &) {};
        return options;
    };
    {
        const auto one = object(), two = object(), three = object(), four = object(), five = object(), six = object(), seven = object();
        fails([&] { client.subscribe("#/a", 1, [one](nlmqtt::message_view, nlmqtt_ack) {}); });
        nlmqtt::subscribe_options options;
        options.message = [two](nlmqtt::message_view, nlmqtt_ack) {};
        options.completion = [two](const nlmqtt_completion &) {};
        fails([&] { client.subscribe_many({nlmqtt::subscription("#/a")}, std::move(options)); });
        fails([&] { client.request("+", "?", 1000, [three](const nlmqtt_completion &, nlmqtt::message_view) {}); });
        fails([&] { server.subscribe("#/a", [four](nlmqtt::message_view) {}); });
        fails([&] { no_server.schedule(0, 0, [five] {}); });
        fails([&] { no_runtime.post([six] {}); });
        fails([&] { no_runtime.post_delayed(1, [six] {}); });
        fails([&] { no_config.set_log(1, [seven](int32_t, const char *, const char *) {}); });
        fails([&] { no_config.set_resolver([seven](const char *, uint64_t) {}); });
        fails([&] { no_config.set_thread_hooks([seven](const char *) {}, nullptr); });
    }
    CHECK(destroyed.value() == 7);
    fails([&] { client.publish("+", "x", completion()); });
    fails([&] { client.publish("not/started", "x", completion()); });
    CHECK(destroyed.value() == 9);
}

// A payload that counts when it is freed.
class payload {
public:
    payload(std::string bytes, counter &freed) : bytes_(std::move(bytes)), freed_(&freed) {}
    payload(payload &&other) noexcept : bytes_(std::move(other.bytes_)), freed_(other.freed_) { other.freed_ = nullptr; }
    ~payload()
    {
        if (freed_ != nullptr)
            freed_->add();
    }
    const char *data() const { return bytes_.data(); }
    size_t size() const { return bytes_.size(); }

private:
    std::string bytes_;
    counter *freed_;
};

static void moved_payloads_are_freed_once()
{
    counter freed, received;
    nlmqtt::client client = nlmqtt::client::make(device());
    fails([&] { client.publish_moved("not/started", payload("x", freed)); });
    CHECK(freed.value() == 1);
    client.subscribe("big", 1, [&](nlmqtt::message_view message, nlmqtt_ack) {
        CHECK(message.payload().size() == 100000);
        received.add();
    });
    client.start();
    nlmqtt::publish_options options;
    options.qos = 1;
    client.publish_moved("big", payload(std::string(100000, 'x'), freed), std::move(options));
    CHECK(received.reaches(1) && client.flush(60000).ok() && freed.reaches(2));
    client.publish_moved("big", std::string(100000, 'y'));
    CHECK(received.reaches(2) && freed.value() == 2);
    // Never sent: freed with the client.
    nlmqtt::client_config nowhere;
    nowhere.add_server("mqtt://127.0.0.1:1");
    nlmqtt::client waiting = nlmqtt::client::make(nowhere);
    waiting.start();
    waiting.publish_moved("big", payload("x", freed));
    waiting.reset();
    CHECK(freed.reaches(3) && freed.value() == 3);
}

int main()
{
    nlmqtt::server_config config;
    config.add_listener("mqtt://127.0.0.1:0");
    nlmqtt::server server = nlmqtt::server::make(config);
    server.start();
    uri = "mqtt://127.0.0.1:" + std::to_string(server.listener_port());
    clients_end_themselves();
    servers_and_runtimes_end_themselves();
    moving_disturbs_nobody();
    failures_free_what_they_took();
    moved_payloads_are_freed_once();
    return 0;
}
