// Handles: made, moved, freed on every path; views; errors.
#include "bench.hpp"

#include <array>
#if __cplusplus >= 201703L
#include <string_view>
#endif

template <class Handle> static void is_move_only()
{
    static_assert(!std::is_copy_constructible<Handle>::value, "copies are made by name");
    static_assert(!std::is_copy_assignable<Handle>::value, "copies are made by name");
    static_assert(std::is_nothrow_move_constructible<Handle>::value, "moves cannot fail");
    static_assert(std::is_nothrow_move_assignable<Handle>::value, "moves cannot fail");
    Handle first;
    Handle second(std::move(first));
    CHECK(!first);
    Handle third;
    third = std::move(second);
    CHECK(!second);
    Handle &same = third;
    auto *raw = third.get();
    third = std::move(same);
    CHECK(third.get() == raw);
    third.reset();
    third.reset();
    CHECK(!third && third.release() == nullptr);
}

template <class Call> static int thrown_by(const Call &call)
{
    try {
        call();
    } catch (const nlmqtt::error &error) {
        CHECK(error.status().code() == error.code().value());
        CHECK(&error.code().category() == &nlmqtt::category());
        CHECK(std::string(error.what()).size() > 0);
        return error.status().code();
    }
    return NLMQTT_OK;
}

static void errors_carry_status_and_text()
{
    nlmqtt::client_config config;
    try {
        config.set("keepalife", "30");
        CHECK(false);
    } catch (const std::system_error &error) {
        CHECK(error.code() == std::error_code(NLMQTT_CONFIG, nlmqtt::category()));
        CHECK(std::string(error.what()).find("keepalive") != std::string::npos); // the suggestion
    }
    CHECK(nlmqtt::last_error().find("keepalive") != std::string::npos);
    CHECK(nlmqtt::status(NLMQTT_QUEUE_FULL).is_transient() && nlmqtt::status(NLMQTT_GONE) != nlmqtt::status());
    CHECK(std::string(nlmqtt::status(NLMQTT_GONE).name()) == "GONE");

    // What owns nothing says so.
    nlmqtt::client client;
    nlmqtt::server server;
    nlmqtt::runtime runtime;
    CHECK(thrown_by([&] { client.start(); }) == NLMQTT_INVALID_ARGUMENT);
    nlmqtt_transport nothing = nlmqtt::empty_transport();
    nlmqtt::client_config modem;
    CHECK(thrown_by([&] { modem.set_transport(&nothing); }) == NLMQTT_INVALID_ARGUMENT);
    CHECK(thrown_by([&] { client.publish("a", "b"); }) == NLMQTT_INVALID_ARGUMENT);
    CHECK(client.stop(0) == NLMQTT_INVALID_ARGUMENT && client.try_publish("a", "b") == NLMQTT_INVALID_ARGUMENT);
    CHECK(thrown_by([&] { server.start(); }) == NLMQTT_INVALID_ARGUMENT);
    CHECK(thrown_by([&] { runtime.poll(0); }) == NLMQTT_INVALID_ARGUMENT && runtime.fd() == -1);
    CHECK(thrown_by([&] { nlmqtt::runtime::make(77); }) == NLMQTT_INVALID_ARGUMENT);
    // A client without a server cannot be made; its callbacks are freed all the same.
    counter destroyed;
    CHECK(thrown_by([&] {
              auto object = std::make_shared<captured>(destroyed);
              nlmqtt::client_callbacks callbacks;
              callbacks.state = [object](int32_t) {};
              nlmqtt::client::make(config, std::move(callbacks));
          }) == NLMQTT_CONFIG);
    CHECK(destroyed.value() == 1);
}

static void texts_with_a_nul_inside_are_refused()
{
    const std::string text("a\0b", 3);
    nlmqtt::client_config config;
    nlmqtt::properties properties;
    CHECK(thrown_by([&] { nlmqtt::message::make(text, "x"); }) == NLMQTT_INVALID_ARGUMENT);
    CHECK(thrown_by([&] { config.set_client_id(text); }) == NLMQTT_INVALID_ARGUMENT);
    CHECK(thrown_by([&] { config.set("client_id", text); }) == NLMQTT_INVALID_ARGUMENT);
    CHECK(thrown_by([&] { config.load_file(text); }) != NLMQTT_OK);
    CHECK(thrown_by([&] { properties.add_user(text, "x"); }) == NLMQTT_INVALID_ARGUMENT);
    CHECK(!nlmqtt::is_valid_topic(text) && !nlmqtt::is_valid_filter(text) && !nlmqtt::matches("#", text));
}

static void properties_and_messages()
{
    nlmqtt::properties properties;
    properties.add_number(NLMQTT_PROPERTY_MESSAGE_EXPIRY_INTERVAL, 60);
    properties.add_string(NLMQTT_PROPERTY_CONTENT_TYPE, "text/plain");
    properties.add_binary(NLMQTT_PROPERTY_CORRELATION_DATA, std::vector<uint8_t>{1, 0, 2});
    properties.add_user("who", std::string("me"));
    properties.view().validate(NLMQTT_PLACE_PUBLISH);
    CHECK(thrown_by([&] { properties.view().validate(NLMQTT_PLACE_AUTH); }) == NLMQTT_INVALID_ARGUMENT);

    nlmqtt::message message = nlmqtt::message::make("a/b", "payload", 1, true, properties);
    properties.remove(0);
    CHECK(properties.view().count() == 0);
    nlmqtt::message other = message.view().keep();
    message.reset(); // `other` keeps it
    CHECK(other->topic() == "a/b" && other->payload().str() == "payload" && other->qos() == 1 && other->retain());
    CHECK(!other->dup() && other->received_us() == 0 && other->subscription_id() == 0);
    const nlmqtt::properties_view view = other->properties();
    CHECK(view.count() == 4 && view.id_at(1) == NLMQTT_PROPERTY_CONTENT_TYPE);
    CHECK(view.number(NLMQTT_PROPERTY_MESSAGE_EXPIRY_INTERVAL) == 60);
    CHECK(view.string(NLMQTT_PROPERTY_CONTENT_TYPE) == "text/plain");
    const nlmqtt::bytes binary = view.binary(NLMQTT_PROPERTY_CORRELATION_DATA);
    CHECK(binary.str() == std::string("\1\0\2", 3) && binary.end() - binary.begin() == 3);
    CHECK(view.user(0).first == "who" && view.user(0).second == std::string("me"));
    CHECK(thrown_by([&] { view.user(1); }) == NLMQTT_NOT_FOUND);
    nlmqtt::properties copy(view);
    other.reset();
    CHECK(copy.view().count(NLMQTT_PROPERTY_USER_PROPERTY) == 1);

    const std::array<uint16_t, 2> wide = {{0x4141, 0x4242}};
    CHECK(nlmqtt::message::make("a", wide)->payload().str() == "AABB");
    CHECK(nlmqtt::message::make("a", nlmqtt::bytes())->payload().size() == 0);
#if __cplusplus >= 201703L
    CHECK(nlmqtt::message::make("a", std::string_view("view"))->payload().str() == "view");
#endif
}

static void listeners(nlmqtt::server_config &server)
{
    nlmqtt::listener_config listener;
    listener.set_uri("wss://127.0.0.1:0/mqtt");
    listener.set("rate_bytes", "9");
    listener.set_allow_anonymous(true);
    listener.set_versions(4, 5);
    listener.set_mount_point("site/");
    listener.set_max_connections(2);
    listener.set_max_packet_bytes(3000);
    listener.set_receive_maximum(4);
    listener.set_max_keepalive_s(5);
    listener.set_rates(6, 7, 8);
    listener.set_addresses("10.0.0.0/8", nullptr);
    listener.set_certificate_files("cert", "key");
    listener.set_client_certificates(NLMQTT_CLIENT_CERTIFICATE_REQUIRE, NLMQTT_IDENTITY_FINGERPRINT, "ca");
    listener.set_tls(NLMQTT_TLS_VERSION_1_3, "mqtt");
    listener.set_websocket("/console", std::string("https://console.example"));
    listener.set_proxy(NLMQTT_PROXY_POLICY_OPTIONAL, "10.0.0.1");
    listener.set_backlog(9);
    listener.set_tcp(10, 11);
    listener.set_dscp(12);
    const char *const expected[][2] = {
        {"allow_anonymous", "true"}, {"versions", "3.1.1,5"}, {"mount_point", "site/"}, {"max_connections", "2"}, {"max_packet_size", "3000"},
        {"receive_maximum", "4"}, {"max_keepalive", "5"}, {"rate_messages", "6"}, {"rate_bytes", "7"}, {"rate_connections", "8"},
        {"allow", "10.0.0.0/8"}, {"deny", ""}, {"cert", "cert"}, {"key", "key"}, {"ca", "ca"}, {"crl", ""}, {"client_cert", "require"},
        {"identity", "fingerprint"}, {"tls_min", "1.3"}, {"alpn", "mqtt"}, {"paths", "/console"}, {"origins", "https://console.example"},
        {"proxy", "optional"}, {"proxy_trusted", "10.0.0.1/32"}, {"backlog", "9"}, {"tcp_keepalive_s", "10"}, {"tcp_user_timeout_ms", "11"},
        {"dscp", "12"}, {"protocol", "wss"}, {"mode", ""}};
    for (const auto &row : expected) {
        if (listener.value(row[0]) != row[1])
            std::fprintf(stderr, "%s is %s\n", row[0], listener.value(row[0]).c_str());
        CHECK(listener.value(row[0]) == row[1]);
    }
    const size_t before = server.listener_count();
    server.add_listener(listener);
    CHECK(server.listener_count() == before + 1);
    nlmqtt::listener_config datagrams;
    datagrams.set_uri("rudp://127.0.0.1:0");
    datagrams.set_rudp_newcomers(2, 3, 4);
    datagrams.set_rudp_rates(5, 6);
    datagrams.set_rudp_patience(7, 8);
    datagrams.set_rudp_bare(true, "10.0.0.0/8");
    const char *const limits[][2] = {{"rudp_max_half_open", "2"}, {"rudp_max_half_open_per_source", "3"}, {"rudp_max_unproven", "4"},
        {"rudp_rate_newcomers", "5"}, {"rudp_rate_resets", "6"}, {"rudp_gap_timeout_ms", "7"}, {"rudp_silent_timeout_s", "8"},
        {"rudp_bare", "true"}, {"rudp_bare_trusted", "10.0.0.0/8"}};
    for (const auto &row : limits)
        CHECK(datagrams.value(row[0]) == row[1]);
    listener.set_unix_file(0640);
    CHECK(listener.value("mode") == "0640");
    CHECK(thrown_by([&] { server.add_listener(listener); }) == NLMQTT_CONFIG); // the file of a Unix socket, over TCP
    CHECK(thrown_by([&] { listener.set_dscp(64); }) == NLMQTT_CONFIG && listener.value("dscp") == "12");

    nlmqtt::server running = nlmqtt::server::make(nlmqtt::server_config());
    nlmqtt::listener_config plain;
    plain.set_uri("mqtt://127.0.0.1:0");
    CHECK(running.add_listener(plain) != 0);
}

static void configurations()
{
    nlmqtt::client_config client;
    client.load_connstr("Server=tcp://127.0.0.1:1;ClientId=me");
    client.set_number("keepalive", 7);
    client.set_bool("manual_ack", true);
    client.set_will("will", "gone", 1, true);
    client.set_credentials("user", "word");
    client.set_version(5);
    CHECK(client.value("client_id") == "me" && client.value_number("keepalive") == 7 && client.value_bool("manual_ack"));
    CHECK(client.value("username") == "user" && client.check().ok());
    CHECK(client.value("response_topic").empty());
    client.set_ca_file("/none");
    client.set_ca_pem("none");
    client.set_certificate_files("/cert", "/key");
    client.set_certificate_pem("cert", "key");
    client.danger_accept_any_certificate();
    CHECK(client.value("ca_file") == "/none" && client.value("cert_pem") == "cert" && client.value_bool("danger_accept_any_certificate"));
    CHECK(thrown_by([&] { client.add_pin("short"); }) == NLMQTT_INVALID_ARGUMENT);
    CHECK(thrown_by([&] { client.value("nothing"); }) == NLMQTT_CONFIG);
    client.set_ladder_probe_interval_s(9);
    client.set_proxy("socks5://proxy:1", "me", "word");
    client.set_proxy_protocol(2);
    client.set_websocket_path("/gateway");
    client.add_websocket_header("X-Unit", "7");
    client.add_websocket_header("X-Line", "8");
    CHECK(client.value_number("ladder_probe_interval_s") == 9 && client.value("proxy_uri") == "socks5://proxy:1" && client.value("proxy_username") == "me");
    CHECK(client.value("proxy_protocol") == "v2" && client.value("websocket_path") == "/gateway");
    CHECK(client.value("websocket_headers") == "X-Unit: 7\nX-Line: 8");
    CHECK(thrown_by([&] { client.add_websocket_header("Host", "other"); }) == NLMQTT_CONFIG);

    nlmqtt::server_config server;
    server.load_json("{\"listener\": \"mqtt://127.0.0.1:0\", \"max_connections\": 3}");
    CHECK(server.listener_count() == 1 && server.value_number("max_connections") == 3);
    CHECK(thrown_by([&] { server.load_json("{\"max_connection\": 3}"); }) == NLMQTT_CONFIG);
    int problems = 0;
    CHECK(server.check([&](const nlmqtt_problem &problem) { problems += problem.text.len > 0; }) == NLMQTT_CONFIG);
    CHECK(problems == 1);
    int keys = 0;
    nlmqtt::server_config::each_key([&](const nlmqtt_key_info &key) { keys += nlmqtt::text(key.name) == "max_connections"; });
    CHECK(keys == 1);
    listeners(server);
    CHECK(thrown_by([&] { nlmqtt::client_config::each_key(nlmqtt::key_function()); }) == NLMQTT_INVALID_ARGUMENT);
}

int main()
{
    is_move_only<nlmqtt::client_config>();
    is_move_only<nlmqtt::server_config>();
    is_move_only<nlmqtt::listener_config>();
    is_move_only<nlmqtt::runtime_config>();
    is_move_only<nlmqtt::properties>();
    is_move_only<nlmqtt::decision>();
    is_move_only<nlmqtt::message>();
    is_move_only<nlmqtt::runtime>();
    is_move_only<nlmqtt::client>();
    is_move_only<nlmqtt::server>();
    errors_carry_status_and_text();
    texts_with_a_nul_inside_are_refused();
    properties_and_messages();
    configurations();
    CHECK(nlmqtt::version_number() == NLMQTT_VERSION_MAJOR * 1000000 + NLMQTT_VERSION_MINOR * 1000 + NLMQTT_VERSION_PATCH);
    CHECK(std::string(nlmqtt::build_info()).find(nlmqtt::version_string()) != std::string::npos);
    CHECK(nlmqtt::has_feature("mqtt5") && nlmqtt::matches("a/+", "a/b") && nlmqtt::reason_text(0x87)[0] == 'N');
    return 0;
}
