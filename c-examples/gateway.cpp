/*
 * gateway: a broker for the devices of a site, and a client that hands what they publish below `up/` to a server above.
 *
 *   gateway UPSTREAM-URI [PORT]
 *
 * Everything cleans up after itself. An exception in a callback never enters the library: in the hook it would be a "no", and
 * `escaped` tells of it. Ends on SIGINT and SIGTERM.
 */
#include <nlmqtt.hpp>

#include <csignal>
#include <iostream>

static nlmqtt::client connect_upstream(const char *uri)
{
    nlmqtt::client_config config;
    config.add_server(uri);
    config.set_client_id("gateway");
    config.set_queue_policy(NLMQTT_OVERFLOW_DROP_OLDEST, 0, false); // the newest values matter
    nlmqtt::client_callbacks callbacks;
    callbacks.disconnected = [](const nlmqtt_disconnected &disconnected) {
        std::cerr << "upstream: " << nlmqtt::text(disconnected.text).str() << "\n";
    };
    nlmqtt::client client = nlmqtt::client::make(config, std::move(callbacks));
    client.start();
    return client;
}

static nlmqtt::server serve_site(const std::string &port)
{
    nlmqtt::server_config config;
    config.add_listener("mqtt://127.0.0.1:" + port);
    nlmqtt::server_hooks hooks;
    hooks.authorize = [](const nlmqtt_client_info &, int32_t access, nlmqtt::text topic, uint8_t, bool, nlmqtt_hook_token,
                         nlmqtt::decision_view) {
        const bool may = access == NLMQTT_ACCESS_SUBSCRIBE || nlmqtt::matches("up/#", topic);
        return may ? nlmqtt::verdict::allow : nlmqtt::verdict::deny;
    };
    hooks.escaped = [](const char *hook, std::exception_ptr) { std::cerr << "an exception in " << hook << "\n"; };
    return nlmqtt::server::make(config, std::move(hooks));
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        std::cerr << "usage: gateway UPSTREAM-URI [PORT]\n";
        return 2;
    }
    // Blocked before the library makes threads; main waits for them below.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    try {
        nlmqtt::client upstream = connect_upstream(argv[1]);
        nlmqtt::server site = serve_site(argc > 2 ? argv[2] : "1883");
        site.subscribe("up/#", [&upstream](nlmqtt::message_view message) {
            const nlmqtt::status queued =
                upstream.try_publish("gateway/" + message.topic().str(), message.payload(), message.qos(), message.retain());
            if (!queued)
                std::cerr << "not sent: " << queued.text() << "\n";
        });
        site.start();
        std::cout << "gateway ready on " << site.listener_address() << std::endl;
        int signal = 0;
        sigwait(&signals, &signal);
        site.stop(0x8B, 1000); // 0x8B: server shutting down
        upstream.stop(1000);
    } catch (const nlmqtt::error &error) {
        std::cerr << "gateway: " << error.what() << "\n";
        return 1;
    }
    return 0;
}
