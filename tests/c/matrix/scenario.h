/* After the calls of matrix.c: makes the library call back at every place, in each mode of a runtime. */
#include "matrix/peers.h"
#include "udp_relay.h"

/* One round of whoever runs callbacks. */
static void turn(nlmqtt_runtime *runtime)
{
    if (world.mode == NLMQTT_MODE_THREAD)
        sleep_ms(2);
    else
        OK(world.mode == NLMQTT_MODE_LOOP ? nlmqtt_runtime_poll(runtime, 20) : nlmqtt_runtime_dispatch(runtime, 20));
}

/* Until every call at this place has returned. The alarm ends what takes too long. */
static void await_on(nlmqtt_runtime *runtime, int place)
{
    int turns;
    for (turns = 0; __sync_fetch_and_add(&finished[place], 0) == 0; turns++) {
        if (turns == 3000) {
            char text[2048] = "";
            if (world.client)
                nlmqtt_client_diagnostics(world.client, text, sizeof text, NULL);
            fprintf(stderr, "mode %d: nobody called %s\n%s", (int)world.mode, place_names[place], text);
            exit(1);
        }
        turn(runtime);
    }
}

static void await(int place)
{
    await_on(world.runtime, place);
}

static nlmqtt_client *make_client(nlmqtt_runtime *runtime, const char *uri, bool is_pull)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_client *client = NULL;
    OK(nlmqtt_client_config_add_server(config, uri, 0));
    if (is_pull)
        OK(nlmqtt_client_config_set_pull_receive(config, 10, 1000));
    OK(nlmqtt_client_new(runtime, config, NULL, &client));
    nlmqtt_client_config_free(config);
    return client;
}

static nlmqtt_server *make_server(nlmqtt_runtime *runtime, const nlmqtt_server_config *config, const nlmqtt_server_hooks *hooks)
{
    nlmqtt_server *server = NULL;
    OK(nlmqtt_server_new(runtime, config, hooks, &server));
    OK(nlmqtt_server_start(server));
    return server;
}

static void make_spares(void)
{
    int place;
    for (place = 0; place < PLACES; place++) {
        nlmqtt_runtime *runtime = is_second_place(place) ? world.second_runtime : world.runtime;
        world.spare_clients[place] = make_client(runtime, "mqtt://127.0.0.1:1", false);
        world.spare_servers[place] = make_server(runtime, NULL, NULL);
        world.spare_runtimes[place] = runtime_of(NLMQTT_MODE_LOOP);
    }
}

static void make_runtimes(void)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    nlmqtt_runtime *runtime = NULL;
    world.second_runtime = runtime_of(NLMQTT_MODE_THREAD);
    world.second_server = make_server(world.second_runtime, NULL, NULL);
    world.second_pull_client = make_client(world.second_runtime, "mqtt://127.0.0.1:1", true);
    world.second_client = make_client(world.second_runtime, "mqtt://127.0.0.1:1", false);
    OK(nlmqtt_client_start(world.second_client));
    OK(nlmqtt_client_start(world.second_pull_client));
    OK(nlmqtt_runtime_config_set_mode(config, world.mode));
    OK(nlmqtt_runtime_config_set_log(config, NLMQTT_LOG_TRACE, on_runtime_config_set_log_log, NULL, on_runtime_config_set_log_free_fn));
    OK(nlmqtt_runtime_config_set_resolver(config, on_runtime_config_set_resolver_resolve, NULL, on_runtime_config_set_resolver_free_fn));
    world.quiet = 1;
    OK(nlmqtt_runtime_new(config, &runtime));
    world.runtime = runtime;
    world.pull_client = make_client(world.runtime, "mqtt://127.0.0.1:1", true);
    OK(nlmqtt_client_start(world.pull_client));
    make_spares();
    nlmqtt_runtime_config_free(config);
}

/* Threads that look names up are there in every mode. */
static void threads_begin_and_end(void)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    nlmqtt_runtime *runtime = NULL;
    nlmqtt_client *client;
    world.quiet = 0;
    OK(nlmqtt_runtime_config_set_mode(config, world.mode));
    OK(nlmqtt_runtime_config_set_thread_hooks(config, on_runtime_config_set_thread_hooks_start, on_runtime_config_set_thread_hooks_stop, NULL,
                                              on_runtime_config_set_thread_hooks_free_fn));
    OK(nlmqtt_runtime_new(config, &runtime));
    nlmqtt_runtime_config_free(config);
    client = make_client(runtime, "mqtt://localhost:1", false);
    OK(nlmqtt_client_start(client));
    await_on(runtime, IN_RUNTIME_CONFIG_SET_THREAD_HOOKS_START);
    await_on(runtime, IN_RUNTIME_CONFIG_SET_THREAD_HOOKS_STOP);
    nlmqtt_client_free(client);
    nlmqtt_runtime_free(runtime);
    while (__sync_fetch_and_add(&finished[IN_RUNTIME_CONFIG_SET_THREAD_HOOKS_FREE_FN], 0) == 0)
        sleep_ms(2);
}

static nlmqtt_server_config *server_options(void)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    OK(nlmqtt_server_config_load_connstr(config, "tick_interval_ms=50;max_subscriptions_per_client=20;max_output_bytes=65536;"
                                                 "slow_consumer_grace_ms=200;allow_anonymous=true"));
    return config;
}

/* What a client hears before it has a session: nobody takes its connection yet. */
static void a_client_waits(uint16_t port)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_client_callbacks callbacks;
    nlmqtt_client *client = NULL;
    char uri[64];
    int i;
    snprintf(uri, sizeof uri, "mqtt://127.0.0.1:%u", (unsigned)port);
    OK(nlmqtt_client_config_add_server(config, uri, 0));
    OK(nlmqtt_client_config_load_connstr(config, "client_id=matrix;version=5;session_expiry_s=60;connect_timeout_ms=60000;"
                                                 "reconnect_delay_min_ms=10;reconnect_delay_max_ms=50"));
    OK(nlmqtt_client_config_set_authentication(config, "method", "this", 4));
    OK(nlmqtt_client_config_set_queue_limits(config, 5, 1 << 20));
    OK(nlmqtt_client_config_set_queue_policy(config, NLMQTT_OVERFLOW_DROP_OLDEST, 0, false));
    nlmqtt_client_callbacks_init(&callbacks);
    fill_client_callbacks(&callbacks);
    OK(nlmqtt_client_new(world.runtime, config, &callbacks, &client));
    world.client = client;
    world.quiet = 0;
    OK(nlmqtt_client_start(client));
    for (i = 0; i < 12; i++)
        OK(nlmqtt_client_publish(client, "matrix/waits", "x", 1, 0, false, NULL));
    await(IN_CLIENT_CALLBACKS_STATE);
    await(IN_CLIENT_CALLBACKS_BEFORE_CONNECT);
    await(IN_CLIENT_CALLBACKS_QUEUE_LEVEL);
    await(IN_CLIENT_CALLBACKS_DROPPED);
    nlmqtt_client_config_free(config);
}

/* The calls at other places publish, too, and may push a message out of the short queue: then it is published again. */
static void publish_until(const char *topic, int place)
{
    int turns;
    for (turns = 0; turns < 3000 && __sync_fetch_and_add(&finished[place], 0) == 0; turns++) {
        if (turns % 50 == 0)
            OK(nlmqtt_client_publish(world.client, topic, "x", 1, 1, false, NULL));
        turn(world.runtime);
    }
    await(place);
}

static void a_client_subscribes_and_publishes(void)
{
    static char payload[3000];
    nlmqtt_subscription subscription;
    nlmqtt_subscribe_options subscribe_options;
    nlmqtt_publish_options publish_options;
    nlmqtt_subscription_init(&subscription);
    subscription.filter = "many";
    nlmqtt_subscribe_options_init(&subscribe_options);
    fill_subscribe_options(&subscribe_options);
    nlmqtt_publish_options_init(&publish_options);
    publish_options.qos = 1;
    fill_publish_options(&publish_options);
    /* The hook of the first one changes its filter, because it calls everything. */
    OK(nlmqtt_client_subscribe(world.client, "first", 1, NULL, NULL, NULL, NULL));
    await(IN_SERVER_HOOKS_SUBSCRIBE);
    OK(nlmqtt_client_subscribe(world.client, "plain", 1, NULL, NULL, NULL, NULL));
    OK(nlmqtt_client_subscribe(world.client, "own", 1, on_client_subscribe_message, NULL, on_client_subscribe_free_fn, NULL));
    OK(nlmqtt_client_subscribe_many(world.client, &subscription, 1, &subscribe_options, NULL));
    await(IN_CLIENT_CALLBACKS_SUBSCRIBED);
    await(IN_SUBSCRIBE_OPTIONS_COMPLETION);
    await(IN_SUBSCRIBE_OPTIONS_COMPLETION_FREE_FN);
    OK(nlmqtt_client_publish_ex(world.client, "plain", payload, sizeof payload, &publish_options, NULL));
    await(IN_CLIENT_CALLBACKS_PUBLISHED);
    await(IN_PUBLISH_OPTIONS_COMPLETION);
    await(IN_PUBLISH_OPTIONS_FREE_FN);
    publish_until("plain", IN_CLIENT_CALLBACKS_MESSAGE);
    publish_until("own", IN_CLIENT_SUBSCRIBE_MESSAGE);
    publish_until("many", IN_SUBSCRIBE_OPTIONS_MESSAGE);
    await(IN_PUBLISH_OPTIONS_PAYLOAD_FREE_FN);
    OK(nlmqtt_client_unsubscribe(world.client, "own", NULL));
    OK(nlmqtt_client_unsubscribe(world.client, "many", NULL));
    await(IN_CLIENT_CALLBACKS_UNSUBSCRIBED);
    await(IN_CLIENT_SUBSCRIBE_FREE_FN);
    await(IN_SUBSCRIBE_OPTIONS_MESSAGE_FREE_FN);
    OK(nlmqtt_client_request(world.client, "nobody", "x", 1, NULL, 100, on_client_request_response, NULL, on_client_request_free_fn, NULL));
    await(IN_CLIENT_REQUEST_RESPONSE);
    await(IN_CLIENT_REQUEST_FREE_FN);
    OK(nlmqtt_server_kick(world.server, "matrix", 0x8B, true));
    await(IN_CLIENT_CALLBACKS_DISCONNECTED);
    await(IN_CLIENT_CALLBACKS_RESUBSCRIBED);
}

static void sessions_come_and_go(uint16_t port)
{
    static char large[1000];
    nlmqtt_properties *expiry = nlmqtt_properties_new();
    nlmqtt_message *message = NULL;
    int i, peer, second = peer_of(port, "kept", false, "\x11\0\0\0\x3C", 5, NULL);
    await(IN_SERVER_HOOKS_SESSION_CREATED);
    peer = peer_of(port, "kept", false, "\x11\0\0\0\x3C", 5, NULL);
    await(IN_SERVER_HOOKS_SESSION_TAKEN_OVER);
    await(IN_SERVER_HOOKS_SESSION_RESUMED);
    close(second);
    peer_asks(peer, 0x82, "kept/", 1);
    await(IN_SERVER_HOOKS_AUTHORIZE);
    await(IN_SERVER_HOOKS_SUBSCRIBE);
    await(IN_SERVER_HOOKS_SUBSCRIBED);
    peer_publishes(peer, "kept/0", "x", true);
    await(IN_SERVER_HOOKS_PUBLISH);
    await(IN_SERVER_HOOKS_PUBLISH_OUT);
    await(IN_SERVER_HOOKS_DELIVERED);
    await(IN_SERVER_HOOKS_RETAINED_SET);
    peer_publishes(peer, "kept/0", "", true);
    await(IN_SERVER_HOOKS_RETAINED_CLEARED);
    peer_asks(peer, 0xA2, "kept/", 1);
    await(IN_SERVER_HOOKS_UNSUBSCRIBE);
    await(IN_SERVER_HOOKS_UNSUBSCRIBED);
    close(peer);
    await(IN_SERVER_HOOKS_DISCONNECTED);
    /* Away: what waits for it is over when it comes back. */
    OK(nlmqtt_properties_add_u32(expiry, NLMQTT_PROPERTY_MESSAGE_EXPIRY_INTERVAL, 1));
    OK(nlmqtt_message_new("kept/late", "x", 1, 1, false, expiry, &message));
    for (i = 0; i < 20; i++)
        turn(world.runtime);
    OK(nlmqtt_server_publish_to(world.server, "kept", message));
    for (i = 0; i < 130; i++) {
        turn(world.runtime);
        sleep_ms(10);
    }
    peer = peer_of(port, "kept", false, "\x11\0\0\0\x3C", 5, NULL);
    await(IN_SERVER_HOOKS_EXPIRED);
    OK(nlmqtt_server_kick(world.server, "kept", 0, true));
    await(IN_SERVER_HOOKS_SESSION_EXPIRED);
    close(peer);
    nlmqtt_message_unref(message);
    nlmqtt_properties_free(expiry);
    peer = peer_of(port, "mortal", true, "", 0, "last/words");
    for (i = 0; i < 20; i++)
        turn(world.runtime);
    close(peer);
    await(IN_SERVER_HOOKS_WILL);
    peer = peer_of(port, "small", true, "\x27\0\0\0\x80", 5, NULL);
    peer_asks(peer, 0x82, "small/", 21); /* more than it may */
    await(IN_SERVER_HOOKS_QUOTA);
    OK(nlmqtt_message_new("t", large, sizeof large, 0, false, NULL, &message));
    OK(nlmqtt_server_publish_to(world.server, "small", message));
    await(IN_SERVER_HOOKS_DROPPED);
    close(peer);
    nlmqtt_message_unref(message);
}

/* A client on reliable UDP whose address changes. */
static void a_path_moves(void)
{
    struct udp_relay relay;
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_client_callbacks callbacks;
    nlmqtt_client *client = NULL;
    uint16_t port = 0;
    char uri[64];
    int turns;
    OK(nlmqtt_server_add_listener(world.server, "rudp://127.0.0.1:0?rudp_generation=2", &port));
    udp_relay_begin(&relay, port);
    snprintf(uri, sizeof uri, "rudp://127.0.0.1:%u", (unsigned)relay.port);
    OK(nlmqtt_client_config_add_server(config, uri, 0));
    OK(nlmqtt_client_config_load_connstr(config, "client_id=rover;rudp_generation=2"));
    nlmqtt_client_callbacks_init(&callbacks);
    callbacks.path_moved = on_client_callbacks_path_moved;
    OK(nlmqtt_client_new(world.runtime, config, &callbacks, &client));
    nlmqtt_client_config_free(config);
    OK(nlmqtt_client_start(client));
    for (turns = 0; turns < 3000 && nlmqtt_client_state(client) != NLMQTT_CLIENT_ONLINE; turns++)
        turn(world.runtime);
    udp_relay_move(&relay);
    for (turns = 0; turns < 3000 && finished[IN_CLIENT_CALLBACKS_PATH_MOVED] == 0; turns++) {
        if (turns % 50 == 0)
            OK(nlmqtt_client_publish(client, "rover", "x", 1, 0, false, NULL));
        turn(world.runtime);
    }
    await(IN_CLIENT_CALLBACKS_PATH_MOVED);
    await(IN_SERVER_HOOKS_PATH_MOVED);
    nlmqtt_client_free(client);
    udp_relay_end(&relay);
}

/* A client that speaks both generations of reliable UDP, and a listener that knows the first one only. */
static void a_client_falls_back(void)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_client_callbacks callbacks;
    nlmqtt_client *client = NULL;
    uint16_t port = 0;
    char uri[64];
    OK(nlmqtt_server_add_listener(world.server, "rudp://127.0.0.1:0?rudp_generation=1", &port));
    snprintf(uri, sizeof uri, "rudp://127.0.0.1:%u", (unsigned)port);
    OK(nlmqtt_client_config_add_server(config, uri, 0));
    OK(nlmqtt_client_config_load_connstr(config, "client_id=older;version=3.1.1"));
    nlmqtt_client_callbacks_init(&callbacks);
    callbacks.fell_back = on_client_callbacks_fell_back;
    OK(nlmqtt_client_new(world.runtime, config, &callbacks, &client));
    nlmqtt_client_config_free(config);
    OK(nlmqtt_client_start(client));
    await(IN_CLIENT_CALLBACKS_FELL_BACK);
    nlmqtt_client_free(client);
}

static void a_client_does_not_read(uint16_t port)
{
    enum { LARGE = 1 << 20 };
    char *large = (char *)calloc(1, LARGE);
    nlmqtt_message *message = NULL;
    int i, peer = peer_of(port, "slow", true, "", 0, NULL);
    OK(nlmqtt_message_new("t", large, LARGE, 0, false, NULL, &message));
    for (i = 0; i < 3000 && finished[IN_SERVER_HOOKS_SLOW_CLIENT] == 0; i++) {
        if (i % 8 == 0)
            OK(nlmqtt_server_publish_to(world.server, "slow", message));
        turn(world.runtime);
    }
    await(IN_SERVER_HOOKS_SLOW_CLIENT);
    nlmqtt_message_unref(message);
    free(large);
    close(peer);
}

/* What is told on the thread of the call. */
static void questions_are_answered(const nlmqtt_server_config *options)
{
    nlmqtt_server_config *changed = nlmqtt_server_config_new();
    nlmqtt_client_config *incomplete = nlmqtt_client_config_new();
    char text[4096];
    size_t len;
    OK(nlmqtt_client_config_each_key(on_client_config_each_key_each, NULL));
    CHECK_EQ(nlmqtt_client_config_check(incomplete, on_client_config_check_problem, NULL), NLMQTT_CONFIG);
    OK(nlmqtt_server_config_each_key(on_server_config_each_key_each, NULL));
    OK(nlmqtt_server_config_load_connstr(changed, "hook_timeout_ms=20000"));
    CHECK_EQ(nlmqtt_server_config_check(changed, on_server_config_check_problem, NULL), NLMQTT_CONFIG);
    OK(nlmqtt_server_config_get(options, "tick_interval_ms", text, sizeof text, &len));
    OK(nlmqtt_server_config_set(changed, "max_keepalive", "100"));
    OK(nlmqtt_server_reload(world.server, changed, on_server_reload_change, NULL));
    OK(nlmqtt_server_reload(world.server, options, NULL, NULL));
    OK(nlmqtt_server_ban(world.server, NLMQTT_BAN_USERNAME, "another", 0));
    OK(nlmqtt_server_retained_set(world.server, "retained", "x", 1, 0, NULL));
    OK(nlmqtt_server_client_info(world.server, "matrix", on_server_client_info_each, NULL));
    OK(nlmqtt_server_each_subscription(world.server, "matrix", on_server_each_subscription_each, NULL));
    OK(nlmqtt_server_each_ban(world.server, on_server_each_ban_each, NULL));
    OK(nlmqtt_server_metrics(world.server, NLMQTT_METRICS_JSON, on_server_metrics_answer, NULL));
    OK(nlmqtt_server_control(world.server, "statistics", NULL, on_server_control_answer, NULL));
    OK(nlmqtt_server_each_retained(world.server, "#", on_server_each_retained_each, NULL));
    OK(nlmqtt_server_each_client(world.server, on_server_each_client_each, NULL));
    OK(nlmqtt_server_each_stat(world.server, on_server_each_stat_each, NULL));
    nlmqtt_server_config_free(changed);
    nlmqtt_client_config_free(incomplete);
}

static void tasks_run(void)
{
    nlmqtt_client *named = make_client(world.runtime, "mqtt://name.invalid:1", false);
    uint64_t subscription = 0;
    OK(nlmqtt_client_start(named));
    await(IN_RUNTIME_CONFIG_SET_RESOLVER_RESOLVE);
    nlmqtt_client_free(named);
    OK(nlmqtt_runtime_post(world.runtime, on_runtime_post_task, NULL, on_runtime_post_free_fn));
    OK(nlmqtt_runtime_post_delayed(world.runtime, 10, on_runtime_post_delayed_task, NULL, on_runtime_post_delayed_free_fn, NULL));
    OK(nlmqtt_server_schedule(world.server, 10, 0, on_server_schedule_task, NULL, on_server_schedule_free_fn, NULL));
    OK(nlmqtt_server_subscribe(world.server, "local", on_server_subscribe_receive, NULL, on_server_subscribe_free_fn, &subscription));
    OK(nlmqtt_server_publish(world.server, "local", "x", 1, 0, false, NULL));
    await(IN_RUNTIME_POST_TASK);
    await(IN_RUNTIME_POST_FREE_FN);
    await(IN_RUNTIME_POST_DELAYED_TASK);
    await(IN_RUNTIME_POST_DELAYED_FREE_FN);
    await(IN_SERVER_SCHEDULE_TASK);
    await(IN_SERVER_SCHEDULE_FREE_FN);
    await(IN_SERVER_SUBSCRIBE_RECEIVE);
    OK(nlmqtt_server_unsubscribe(world.server, subscription));
    await(IN_SERVER_SUBSCRIBE_FREE_FN);
}

/* A server wants a certificate, and the key of this one lies elsewhere and does not sign. */
static void a_client_is_asked_to_sign(void)
{
    struct server_files files;
    nlmqtt_server_config *server_config = nlmqtt_server_config_new();
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_client *client = NULL;
    nlmqtt_server *server;
    uint16_t port = 0;
    char uri[64];
    write_server_files(&files, "&client_cert=require");
    OK(nlmqtt_server_config_add_listener(server_config, files.uri));
    server = make_server(world.second_runtime, server_config, NULL);
    OK(nlmqtt_server_listener_port(server, 0, &port));
    snprintf(uri, sizeof uri, "mqtts://127.0.0.1:%u", (unsigned)port);
    OK(nlmqtt_client_config_add_server(config, uri, 0));
    OK(nlmqtt_client_config_set_ca_pem(config, ca_pem));
    OK(nlmqtt_client_config_set_signer(config, client_pem, on_client_config_set_signer_sign, NULL, on_client_config_set_signer_free_fn));
    OK(nlmqtt_client_new(world.runtime, config, NULL, &client));
    OK(nlmqtt_client_start(client));
    await(IN_CLIENT_CONFIG_SET_SIGNER_SIGN);
    nlmqtt_client_config_free(config);
    nlmqtt_client_free(client);
    await(IN_CLIENT_CONFIG_SET_SIGNER_FREE_FN);
    nlmqtt_server_config_free(server_config);
    nlmqtt_server_free(server);
    remove_server_files(&files);
}

static void begin_to_stop(void *user_data)
{
    (void)user_data;
    CHECK_EQ(nlmqtt_server_stop(world.server, 0, 100), NLMQTT_IN_PROGRESS);
}

static void everything_ends(void)
{
    nlmqtt_client *client = world.client;
    nlmqtt_server *server = world.server;
    nlmqtt_runtime *runtime = world.runtime;
    OK(nlmqtt_runtime_post(world.runtime, begin_to_stop, NULL, NULL));
    await(IN_SERVER_HOOKS_STOPPED);
    world.client = NULL;
    nlmqtt_client_free(client);
    await(IN_CLIENT_CALLBACKS_FREE_FN);
    world.server = NULL;
    nlmqtt_server_free(server);
    await(IN_SERVER_HOOKS_FREE_FN);
    client = world.pull_client;
    world.pull_client = NULL;
    nlmqtt_client_free(client);
    world.runtime = NULL;
    nlmqtt_runtime_free(runtime);
    while (__sync_fetch_and_add(&finished[IN_RUNTIME_CONFIG_SET_LOG_FREE_FN], 0) == 0 ||
           __sync_fetch_and_add(&finished[IN_RUNTIME_CONFIG_SET_RESOLVER_FREE_FN], 0) == 0)
        sleep_ms(2);
    client = world.second_client;
    world.second_client = NULL;
    nlmqtt_client_free(client);
    nlmqtt_client_free(world.second_pull_client);
    nlmqtt_server_free(world.second_server);
    nlmqtt_runtime_free(world.second_runtime);
}

static void run(int32_t mode)
{
    nlmqtt_server_config *options = server_options();
    nlmqtt_server_hooks hooks;
    uint16_t port;
    int place, listener = listen_anywhere(&port);
    memset(&world, 0, sizeof world);
    memset(visited, 0, sizeof visited);
    memset(finished, 0, sizeof finished);
    world.mode = mode;
    make_runtimes();
    threads_begin_and_end();
    nlmqtt_server_hooks_init(&hooks);
    fill_server_hooks(&hooks);
    /* Nobody calls anything before there are a server and a client to call it on. */
    world.quiet = 1;
    world.server = make_server(world.runtime, options, &hooks);
    a_client_waits(port);
    await(IN_RUNTIME_CONFIG_SET_LOG_LOG);
    await(IN_SERVER_HOOKS_TICK);
    OK(nlmqtt_server_add_listener_fd(world.server, listener, NULL, NULL));
    await(IN_SERVER_HOOKS_ACCEPT);
    await(IN_SERVER_HOOKS_CONNECT);
    await(IN_SERVER_HOOKS_AUTHENTICATE);
    await(IN_CLIENT_CALLBACKS_AUTH);
    await(IN_SERVER_HOOKS_AUTH_EXCHANGE);
    await(IN_SERVER_HOOKS_CONNECTED);
    await(IN_CLIENT_CALLBACKS_CONNECTED);
    a_client_subscribes_and_publishes();
    tasks_run();
    a_client_is_asked_to_sign();
    sessions_come_and_go(port);
    a_path_moves();
    a_client_falls_back();
    a_client_does_not_read(port);
    questions_are_answered(options);
    everything_ends();
    for (place = 0; place < PLACES; place++) {
        if (finished[place] != 1)
            fprintf(stderr, "mode %d: %s was taken %d times\n", (int)mode, place_names[place], finished[place]);
        CHECK_EQ(finished[place], 1);
    }
    nlmqtt_server_config_free(options);
}

int main(void)
{
    int32_t mode;
    signal(SIGALRM, on_alarm);
    for (mode = NLMQTT_MODE_THREAD; mode <= NLMQTT_MODE_DISPATCH; mode++) {
        alarm(90);
        run(mode);
    }
    check_slots();
    CHECK_EQ(wrong, 0);
    printf("ok matrix: %d functions in %d places in 3 modes\n", (int)FUNCTIONS, (int)PLACES);
    return 0;
}
