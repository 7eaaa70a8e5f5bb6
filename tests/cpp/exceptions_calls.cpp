// Functions that are called during one call of the application throw through it; those of a runtime are told to `escaped`.
#include "bench.hpp"

#include <stdexcept>

// `call` throws what its function throws, which is not called any more after that.
template <class Call> static void passes_on(const Call &call)
{
    int times = 0;
    bool caught = false;
    try {
        call([&times] {
            ++times;
            throw std::out_of_range("mine");
        });
    } catch (const std::out_of_range &) {
        caught = true;
    }
    CHECK(caught && times == 1);
}

static void calls()
{
    nlmqtt::server_config config;
    passes_on([](const std::function<void()> &blow) {
        nlmqtt::client_config::each_key([&](const nlmqtt_key_info &) { blow(); });
    });
    passes_on([](const std::function<void()> &blow) {
        nlmqtt::server_config::each_key([&](const nlmqtt_key_info &) { blow(); });
    });
    passes_on([](const std::function<void()> &blow) {
        nlmqtt::client_config none;
        none.check([&](const nlmqtt_problem &) { blow(); });
    });
    config.add_listener("mqtt://127.0.0.1:0");
    nlmqtt::server server = nlmqtt::server::make(config);
    server.start();
    const std::string uri = "mqtt://127.0.0.1:" + std::to_string(server.listener_port());
    nlmqtt::client_config device;
    device.add_server(uri);
    device.set_client_id("device");
    nlmqtt::client client = nlmqtt::client::make(device);
    client.start();
    CHECK(client.connect_wait(60000).ok());
    for (const char *filter : {"a", "b"})
        CHECK(client.wait(client.subscribe(filter, 1), 60000).ok());
    for (const char *topic : {"r/1", "r/2"}) {
        server.retained_set(topic, "x");
        server.ban(NLMQTT_BAN_USERNAME, topic);
    }
    passes_on([&](const std::function<void()> &blow) { server.each_client([&](const nlmqtt_client_entry &) { blow(); }); });
    passes_on([&](const std::function<void()> &blow) { server.client_info("device", [&](const nlmqtt_client_entry &) { blow(); }); });
    passes_on([&](const std::function<void()> &blow) { server.each_subscription("device", [&](nlmqtt::text) { blow(); }); });
    passes_on([&](const std::function<void()> &blow) { server.each_ban([&](const nlmqtt_ban_entry &) { blow(); }); });
    passes_on([&](const std::function<void()> &blow) { server.each_stat([&](const char *, uint64_t) { blow(); }); });
    passes_on([&](const std::function<void()> &blow) { server.each_retained("#", [&](nlmqtt::message_view) { blow(); }); });
    passes_on([&](const std::function<void()> &blow) {
        nlmqtt::server_config other;
        other.add_listener("mqtt://127.0.0.1:0");
        other.set_max_connections(7);
        other.set_max_keepalive_s(7);
        server.reload(other, [&](int32_t, const char *) { blow(); });
    });
    // They work when nothing is thrown, too.
    int seen = 0;
    server.each_subscription("device", [&](nlmqtt::text filter) { seen += filter == "a" || filter == "b"; });
    server.each_retained("r/+", [&](nlmqtt::message_view message) { seen += message.payload().str() == "x"; });
    CHECK(seen == 4);
}

static void runtimes()
{
    notes told;
    const nlmqtt::escaped_function escaped = [&](const char *callback, std::exception_ptr) {
        told.add(callback);
        throw 7; // nobody is left to tell
    };
    const auto blow = [] { throw std::runtime_error("blown"); };
    {
        nlmqtt::runtime_config config;
        config.set_escaped(escaped);
        config.set_thread_hooks([&](const char *) { blow(); }, [&](const char *) { blow(); });
        config.set_resolver([&](const char *host, uint64_t) {
            CHECK(std::string(host) == "no.such.name");
            blow();
        });
        config.set_log(NLMQTT_LOG_TRACE, [&](int32_t, const char *, const char *) { blow(); });
        nlmqtt::runtime runtime = nlmqtt::runtime::make(config);
        runtime.post(blow);
        CHECK(told.has("task"));
        runtime.post_delayed(1, blow);
        nlmqtt::client_config device;
        device.add_server("mqtt://no.such.name:1");
        nlmqtt::client client = nlmqtt::client::make(runtime, device);
        client.start();
        CHECK(told.has("resolve"));
    }
    for (const char *name : {"thread_start", "thread_stop", "log", "task", "resolve"})
        CHECK(told.has(name));

    // The same around poll and dispatch: they return as if nothing had been.
    for (const int32_t mode : {NLMQTT_MODE_LOOP, NLMQTT_MODE_DISPATCH}) {
        nlmqtt::runtime_config config;
        notes here;
        config.set_escaped([&](const char *callback, std::exception_ptr) { here.add(callback); });
        config.set_mode(mode);
        nlmqtt::runtime runtime = nlmqtt::runtime::make(config);
        bool ran = false;
        runtime.post([&] {
            ran = true;
            blow();
        });
        while (!ran)
            mode == NLMQTT_MODE_LOOP ? runtime.poll(1000) : runtime.dispatch(1000);
        CHECK(here.has("task") && runtime.statistics().tasks_waiting == 0);
    }

    // Without `escaped` it is ignored.
    nlmqtt::runtime runtime = nlmqtt::runtime::make();
    counter after;
    runtime.post(blow);
    runtime.post([&] { after.add(); });
    CHECK(after.reaches(1));
}

int main()
{
    calls();
    runtimes();
    return 0;
}
