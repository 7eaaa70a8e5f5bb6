/* DISPATCH mode: the library works, the application's thread is told. */
#include "runtime_bench.h"

/* Every callback notes that it came, and that it came on the right thread. */
struct told {
    pthread_t thread;
    nlmqtt_runtime *runtime;
    nlmqtt_client *client;
    nlmqtt_server *server;
    int states, connected, before_connect, messages, own_messages, published, completions, subscribed, freed;
    int stopped_state;
    bool asks;
};

static void told_init(struct told *told)
{
    memset(told, 0, sizeof *told);
    told->thread = pthread_self();
}

static struct told *here(void *user_data)
{
    struct told *told = (struct told *)user_data;
    CHECK(pthread_equal(told->thread, pthread_self()));
    return told;
}

static void on_state(void *user_data, int32_t state)
{
    struct told *told = here(user_data);
    told->states++;
    told->stopped_state += state == NLMQTT_CLIENT_STOPPED;
}

static void on_connected(void *user_data, const nlmqtt_connected *connected)
{
    CHECK_EQ(connected->server, 0);
    here(user_data)->connected++;
}

static void on_before_connect(void *user_data, size_t server, nlmqtt_credentials *credentials)
{
    CHECK_EQ(server, 0);
    OK(nlmqtt_credentials_set(credentials, "renewed", "word", 4));
    here(user_data)->before_connect++;
}

static void on_message(void *user_data, const nlmqtt_message *message, nlmqtt_ack ack)
{
    struct told *told = here(user_data);
    (void)ack;
    CHECK_TEXT(nlmqtt_message_topic(message).data, "plain");
    told->messages++;
    if (told->asks) {
        CHECK_EQ(nlmqtt_client_flush(told->client, 10), NLMQTT_WOULD_DEADLOCK);
        CHECK_EQ(nlmqtt_client_connect_wait(told->client, 10), NLMQTT_WOULD_DEADLOCK);
        CHECK_EQ(nlmqtt_runtime_dispatch(told->runtime, 0), NLMQTT_WOULD_DEADLOCK);
        CHECK_EQ(nlmqtt_runtime_poll(told->runtime, 0), NLMQTT_UNSUPPORTED);
        OK(nlmqtt_client_publish(told->client, "answer", "", 0, 0, false, NULL));
        CHECK_EQ(nlmqtt_client_stop(told->client, 1000), NLMQTT_IN_PROGRESS);
    }
}

static void on_own_message(void *user_data, const nlmqtt_message *message, nlmqtt_ack ack)
{
    (void)ack;
    CHECK_TEXT(nlmqtt_message_topic(message).data, "own/1");
    here(user_data)->own_messages++;
}

static void on_published(void *user_data, const nlmqtt_completion *completion)
{
    CHECK_EQ(completion->status, NLMQTT_OK);
    here(user_data)->published++;
}

static void on_completion(void *user_data, const nlmqtt_completion *completion)
{
    CHECK_EQ(completion->status, NLMQTT_OK);
    here(user_data)->completions++;
}

static void on_subscribed(void *user_data, const nlmqtt_completion *completion)
{
    CHECK_EQ(completion->status, NLMQTT_OK);
    here(user_data)->subscribed++;
}

static void on_free(void *user_data)
{
    here(user_data)->freed++;
}

static nlmqtt_client_callbacks callbacks_for(struct told *told)
{
    nlmqtt_client_callbacks callbacks;
    nlmqtt_client_callbacks_init(&callbacks);
    callbacks.user_data = told;
    callbacks.free_fn = on_free;
    callbacks.state = on_state;
    callbacks.connected = on_connected;
    callbacks.before_connect = on_before_connect;
    callbacks.message = on_message;
    callbacks.published = on_published;
    callbacks.subscribed = on_subscribed;
    return callbacks;
}

static void a_client_is_told_on_the_thread_that_dispatches(void)
{
    struct told told;
    nlmqtt_client_callbacks callbacks;
    nlmqtt_publish_options options;
    uint16_t port;
    nlmqtt_server *server = serve(NULL, NULL, &port);
    uint64_t token;
    int loop;
    told_init(&told);
    told.runtime = runtime_of(NLMQTT_MODE_DISPATCH);
    loop = host_loop(told.runtime);
    callbacks = callbacks_for(&told);
    told.client = client_on(told.runtime, port, &callbacks);
    OK(nlmqtt_client_subscribe(told.client, "plain", 1, NULL, NULL, NULL, NULL));
    OK(nlmqtt_client_subscribe(told.client, "own/#", 1, on_own_message, &told, on_free, NULL));
    OK(nlmqtt_client_start(told.client));
    while (told.subscribed < 2)
        host_turn(loop, told.runtime, NLMQTT_MODE_DISPATCH);
    CHECK(told.connected == 1 && told.before_connect == 1 && told.states >= 3);
    /* Functions that wait dispatch meanwhile. */
    nlmqtt_publish_options_init(&options);
    options.qos = 1;
    options.completion = on_completion;
    options.user_data = &told;
    OK(nlmqtt_client_publish_ex(told.client, "own/1", "x", 1, &options, &token));
    OK(nlmqtt_client_wait(told.client, token, 10000));
    CHECK_EQ(told.completions, 1);
    OK(nlmqtt_client_publish(told.client, "plain", "x", 1, 2, false, NULL));
    OK(nlmqtt_client_flush(told.client, 10000));
    CHECK_EQ(told.published, 2);
    while (told.messages < 1 || told.own_messages < 1)
        host_turn(loop, told.runtime, NLMQTT_MODE_DISPATCH);
    OK(nlmqtt_client_stop(told.client, 1000));
    OK(nlmqtt_client_start(told.client));
    OK(nlmqtt_client_connect_wait(told.client, 10000));
    while (told.connected < 2)
        host_turn(loop, told.runtime, NLMQTT_MODE_DISPATCH);
    /* In a callback they do not, and a stop only begins. */
    told.asks = true;
    OK(nlmqtt_client_publish(told.client, "plain", "x", 1, 1, false, NULL));
    while (told.stopped_state < 2)
        host_turn(loop, told.runtime, NLMQTT_MODE_DISPATCH);
    CHECK_EQ(told.messages, 2);
    nlmqtt_client_free(told.client);
    CHECK_EQ(told.freed, 2);
    nlmqtt_runtime_free(told.runtime);
    close(loop);
    nlmqtt_server_free(server);
}

struct in_callback {
    nlmqtt_client *client;
    struct counter entered, may_leave, freed;
    int messages;
};

static void on_blocking(void *user_data, const nlmqtt_message *message, nlmqtt_ack ack)
{
    struct in_callback *in = (struct in_callback *)user_data;
    (void)message;
    (void)ack;
    in->messages++;
    counter_add(&in->entered);
    CHECK(counter_wait(&in->may_leave, 1));
    sleep_ms(50);
}

static void on_in_callback_free(void *user_data)
{
    counter_add(&((struct in_callback *)user_data)->freed);
}

struct dispatcher {
    nlmqtt_runtime *runtime;
    struct counter stop;
    pthread_t thread;
};

static void *dispatch_until_stopped(void *argument)
{
    struct dispatcher *dispatcher = (struct dispatcher *)argument;
    while (counter_get(&dispatcher->stop) == 0)
        OK(nlmqtt_runtime_dispatch(dispatcher->runtime, 20));
    return NULL;
}

static void dispatcher_start(struct dispatcher *dispatcher, nlmqtt_runtime *runtime)
{
    dispatcher->runtime = runtime;
    counter_init(&dispatcher->stop);
    CHECK(pthread_create(&dispatcher->thread, NULL, dispatch_until_stopped, dispatcher) == 0);
}

static void dispatcher_end(struct dispatcher *dispatcher)
{
    counter_add(&dispatcher->stop);
    CHECK(pthread_join(dispatcher->thread, NULL) == 0);
}

/* Free on another thread: after the running callback, and what waits is never told. */
static void a_client_is_freed_from_another_thread(void)
{
    nlmqtt_runtime *runtime = runtime_of(NLMQTT_MODE_DISPATCH);
    struct dispatcher dispatcher;
    struct in_callback in;
    nlmqtt_client_callbacks callbacks;
    uint16_t port;
    nlmqtt_server *server = serve(NULL, NULL, &port);
    int i;
    counter_init(&in.entered);
    counter_init(&in.may_leave);
    counter_init(&in.freed);
    in.messages = 0;
    nlmqtt_client_callbacks_init(&callbacks);
    callbacks.user_data = &in;
    callbacks.message = on_blocking;
    callbacks.free_fn = on_in_callback_free;
    dispatcher_start(&dispatcher, runtime);
    in.client = client_on(runtime, port, &callbacks);
    OK(nlmqtt_client_subscribe(in.client, "t", 0, NULL, NULL, NULL, NULL));
    OK(nlmqtt_client_start(in.client));
    OK(nlmqtt_client_flush(in.client, 10000));
    for (i = 0; i < 5; i++)
        OK(nlmqtt_client_publish(in.client, "t", "x", 1, 0, false, NULL));
    CHECK(counter_wait(&in.entered, 1));
    counter_add(&in.may_leave);
    nlmqtt_client_free(in.client);
    CHECK_EQ(counter_get(&in.freed), 1);
    i = in.messages;
    sleep_ms(100);
    CHECK_EQ(in.messages, i);
    dispatcher_end(&dispatcher);
    nlmqtt_runtime_free(runtime);
    nlmqtt_server_free(server);
}

static void free_inside(void *user_data, const nlmqtt_message *message, nlmqtt_ack ack)
{
    struct in_callback *in = (struct in_callback *)user_data;
    (void)message;
    (void)ack;
    in->messages++;
    nlmqtt_client_free(in->client);
}

static void publish_three(void *user_data)
{
    int i;
    for (i = 0; i < 3; i++)
        OK(nlmqtt_server_publish((nlmqtt_server *)user_data, "t", "x", 1, 0, false, NULL));
}

/* Three messages come in one piece; after the first, which frees the client, the others are not told. */
static void a_client_is_freed_by_its_own_callback(int32_t mode, bool is_of_subscription)
{
    nlmqtt_runtime *runtime = runtime_of(mode);
    struct in_callback in;
    nlmqtt_client_callbacks callbacks;
    uint16_t port;
    nlmqtt_server *server = serve(runtime, NULL, &port);
    int i;
    counter_init(&in.freed);
    in.messages = 0;
    nlmqtt_client_callbacks_init(&callbacks);
    callbacks.user_data = &in;
    callbacks.message = free_inside;
    callbacks.free_fn = on_in_callback_free;
    in.client = client_on(runtime, port, &callbacks);
    OK(nlmqtt_client_subscribe(in.client, "t", 0, is_of_subscription ? free_inside : NULL, &in, NULL, NULL));
    OK(nlmqtt_client_start(in.client));
    OK(nlmqtt_client_flush(in.client, 10000));
    OK(nlmqtt_runtime_post(runtime, publish_three, server, NULL));
    for (i = 0; i < 1000 && counter_get(&in.freed) == 0; i++) {
        if (mode == NLMQTT_MODE_THREAD)
            sleep_ms(10);
        else
            OK(mode == NLMQTT_MODE_LOOP ? nlmqtt_runtime_poll(runtime, 10) : nlmqtt_runtime_dispatch(runtime, 10));
    }
    CHECK_EQ(counter_get(&in.freed), 1);
    CHECK_EQ(in.messages, 1);
    nlmqtt_server_free(server);
    nlmqtt_runtime_free(runtime);
}

/* A burst of MESSAGES * (2 + 2 + 5 + 57) bytes, from a server that only sends. */
#define MESSAGES 160000
struct burst {
    int listener;
    struct counter sent, received, wrong;
};

static void *send_burst(void *argument)
{
    struct burst *burst = (struct burst *)argument;
    int peer = accept_client(burst->listener), i, bytes = 16384;
    static unsigned char messages[1000][66];
    setsockopt(peer, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    for (i = 0; i < MESSAGES; i++) {
        unsigned char *message = messages[i % 1000];
        size_t sent = 0;
        memset(message, 'x', sizeof messages[0]);
        memcpy(message, "\x30\x40\0\5burst", 9);
        snprintf((char *)message + 9, 10, "%08d", i);
        while (i % 1000 == 999 && sent < sizeof messages) {
            ssize_t count = send(peer, (unsigned char *)messages + sent, sizeof messages - sent, MSG_NOSIGNAL);
            CHECK(count > 0);
            sent += (size_t)count;
        }
    }
    counter_add(&burst->sent);
    /* Until the client closes. */
    while (recv(peer, messages, sizeof messages, 0) > 0)
        continue;
    close(peer);
    return NULL;
}

static void on_burst(void *user_data, const nlmqtt_message *message, nlmqtt_ack ack)
{
    struct burst *burst = (struct burst *)user_data;
    nlmqtt_bytes payload = nlmqtt_message_payload(message);
    (void)ack;
    if (payload.len != 57 || atoi((const char *)payload.data) != burst->received.value)
        burst->wrong.value++;
    burst->received.value++;
}

/* Ten megabytes at once: nothing is lost, nothing stalls, and DISPATCH mode holds back what is not taken. */
static void a_burst_is_held_back_and_comes_whole(int32_t mode)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    nlmqtt_runtime_statistics statistics;
    nlmqtt_client_callbacks callbacks;
    nlmqtt_runtime *runtime;
    nlmqtt_client *client;
    struct burst burst;
    pthread_t sender;
    uint16_t port;
    int loop;
    OK(nlmqtt_runtime_config_set_mode(config, mode));
    CHECK_EQ(nlmqtt_runtime_config_set_events_max(config, 0), NLMQTT_INVALID_ARGUMENT);
    OK(nlmqtt_runtime_config_set_events_max(config, 16));
    runtime = runtime_from(config);
    loop = host_loop(runtime);
    burst.listener = listen_anywhere(&port);
    counter_init(&burst.sent);
    counter_init(&burst.received);
    counter_init(&burst.wrong);
    CHECK(pthread_create(&sender, NULL, send_burst, &burst) == 0);
    nlmqtt_client_callbacks_init(&callbacks);
    callbacks.user_data = &burst;
    callbacks.message = on_burst;
    client = client_on(runtime, port, &callbacks);
    OK(nlmqtt_client_start(client));
    nlmqtt_runtime_statistics_init(&statistics);
    if (mode == NLMQTT_MODE_DISPATCH) {
        do {
            OK(nlmqtt_runtime_dispatch(runtime, 100));
            OK(nlmqtt_runtime_stats(runtime, &statistics));
        } while (statistics.events_full == 0);
        sleep_ms(300);
        OK(nlmqtt_runtime_stats(runtime, &statistics));
        /* The limit, and what one read of 65,536 bytes holds. */
        CHECK_EQ(statistics.events_max, 16);
        CHECK(statistics.events_waiting >= 16 && statistics.events_peak <= 16 + 65536 / 66 + 16);
        CHECK_EQ(counter_get(&burst.sent), 0);
    }
    while (burst.received.value < MESSAGES)
        host_turn(loop, runtime, mode);
    CHECK_EQ(burst.wrong.value, 0);
    CHECK(counter_wait(&burst.sent, 1));
    nlmqtt_client_free(client);
    nlmqtt_runtime_free(runtime);
    CHECK(pthread_join(sender, NULL) == 0);
    close(burst.listener);
    close(loop);
}

/* An application that only asks and never listens: what it is to be told does not grow without end. */
static void completions_that_nobody_hears_are_limited(void)
{
    nlmqtt_runtime *runtime = runtime_of(NLMQTT_MODE_DISPATCH);
    nlmqtt_runtime_statistics statistics;
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_client *client = NULL;
    nlmqtt_status status = NLMQTT_OK;
    int published = 0;
    OK(nlmqtt_client_config_add_server(config, "mqtt://127.0.0.1:1", 0));
    OK(nlmqtt_client_config_set(config, "max_queued_messages", "1000"));
    OK(nlmqtt_client_config_set(config, "queue_overflow", "drop_oldest"));
    OK(nlmqtt_client_new(runtime, config, NULL, &client));
    nlmqtt_client_config_free(config);
    OK(nlmqtt_client_start(client));
    while (published < 100000 && status == NLMQTT_OK) {
        status = nlmqtt_client_publish(client, "t", "x", 1, 1, false, NULL);
        if (status == NLMQTT_QUEUE_FULL && published < 65536) {
            /* Only on their way to the library's thread. */
            sleep_ms(1);
            status = NLMQTT_OK;
        } else {
            published += status == NLMQTT_OK;
        }
    }
    CHECK_EQ(status, NLMQTT_QUEUE_FULL);
    CHECK_EQ(published, 65536);
    nlmqtt_runtime_statistics_init(&statistics);
    OK(nlmqtt_runtime_stats(runtime, &statistics));
    /* Each is told of twice at most: that it was pushed out, and that it is done. The rest are tries to connect. */
    CHECK(statistics.events_peak < 2 * 65536 + 5000);
    OK(nlmqtt_runtime_dispatch(runtime, -1));
    status = NLMQTT_QUEUE_FULL;
    for (published = 0; published < 1000 && status == NLMQTT_QUEUE_FULL; published++) {
        sleep_ms(1);
        status = nlmqtt_client_publish(client, "t", "x", 1, 1, false, NULL);
    }
    OK(status);
    nlmqtt_client_free(client);
    nlmqtt_runtime_free(runtime);
}

/* The same by bytes: what was pushed out and is not told yet holds its message. */
static void messages_that_nobody_hears_of_are_limited(void)
{
    static const char payload[10000] = {0};
    nlmqtt_runtime_config *options = nlmqtt_runtime_config_new();
    nlmqtt_runtime *runtime;
    nlmqtt_runtime_statistics statistics;
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_client *client = NULL;
    nlmqtt_status status = NLMQTT_OK;
    int tries;
    OK(nlmqtt_runtime_config_set_mode(options, NLMQTT_MODE_DISPATCH));
    OK(nlmqtt_runtime_config_set_memory_limit(options, 4 << 20));
    runtime = runtime_from(options);
    OK(nlmqtt_client_config_add_server(config, "mqtt://127.0.0.1:1", 0));
    OK(nlmqtt_client_config_set(config, "max_queued_messages", "10"));
    OK(nlmqtt_client_config_set(config, "queue_overflow", "drop_oldest"));
    OK(nlmqtt_client_new(runtime, config, NULL, &client));
    nlmqtt_client_config_free(config);
    OK(nlmqtt_client_start(client));
    /* Again and again refused: not only because its predecessors are on their way to the library's thread. */
    for (tries = 0; tries < 5000; tries++) {
        status = nlmqtt_client_publish(client, "t", payload, sizeof payload, 1, false, NULL);
        if (status == NLMQTT_QUEUE_FULL)
            sleep_ms(1);
    }
    CHECK_EQ(status, NLMQTT_QUEUE_FULL);
    nlmqtt_runtime_statistics_init(&statistics);
    OK(nlmqtt_runtime_stats(runtime, &statistics));
    CHECK(statistics.memory_hard_reached >= 1);
    CHECK(statistics.memory_peak_bytes < 8 << 20);
    nlmqtt_client_free(client);
    nlmqtt_runtime_free(runtime);
}

struct hooked {
    pthread_t thread;
    nlmqtt_server *server;
    struct counter asked, connected, disconnected, received, delivered, stall, freed, stopped;
    nlmqtt_hook_token token;
    char client_id[32], password[32], will_topic[32];
};

static struct hooked *hook_here(void *user_data)
{
    struct hooked *hooked = (struct hooked *)user_data;
    CHECK(pthread_equal(hooked->thread, pthread_self()));
    return hooked;
}

static int32_t hook_authenticate(void *user_data, const nlmqtt_client_info *client, const nlmqtt_connect_info *connect, nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    struct hooked *hooked = hook_here(user_data);
    (void)token;
    snprintf(hooked->client_id, sizeof hooked->client_id, "%s", client->client_id.data);
    snprintf(hooked->password, sizeof hooked->password, "%.*s", (int)connect->password.len, (const char *)connect->password.data);
    if (strcmp(hooked->password, "right") == 0)
        return NLMQTT_ALLOW;
    OK(nlmqtt_decision_set_reason(decision, 0x86));
    return NLMQTT_DENY;
}

static int32_t hook_authorize(void *user_data, const nlmqtt_client_info *client, int32_t access, nlmqtt_str topic, uint8_t qos, bool retain, nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    (void)client;
    (void)access;
    (void)qos;
    (void)retain;
    (void)token;
    (void)decision;
    hook_here(user_data);
    return strcmp(topic.data, "forbidden") == 0 ? NLMQTT_DENY : NLMQTT_ALLOW;
}

static int32_t hook_subscribe(void *user_data, const nlmqtt_client_info *client, const nlmqtt_subscription_info *filters, size_t filter_count, nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    (void)client;
    (void)token;
    hook_here(user_data);
    CHECK_EQ(filter_count, 1);
    if (strcmp(filters[0].filter.data, "lower") == 0)
        OK(nlmqtt_decision_set_filter(decision, 0, "lower", 0));
    return NLMQTT_ALLOW;
}

static int32_t hook_unsubscribe(void *user_data, const nlmqtt_client_info *client, const nlmqtt_str *filters, size_t filter_count, nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    (void)client;
    (void)token;
    (void)decision;
    hook_here(user_data);
    CHECK(filter_count == 1 && strcmp(filters[0].data, "lower") == 0);
    return NLMQTT_ALLOW;
}

static int32_t hook_publish(void *user_data, const nlmqtt_client_info *client, const nlmqtt_publish_info *publish, nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    struct hooked *hooked = hook_here(user_data);
    CHECK(client->client_id.len > 0);
    if (strcmp(publish->topic.data, "stall") == 0)
        CHECK(counter_wait(&hooked->stall, 1));
    if (strcmp(publish->topic.data, "later") == 0) {
        hooked->token = token;
        counter_add(&hooked->asked);
        return NLMQTT_PENDING;
    }
    if (strcmp(publish->topic.data, "change") != 0)
        return NLMQTT_ALLOW;
    OK(nlmqtt_decision_set_payload(decision, "changed", 7));
    return NLMQTT_REWRITE;
}

static void hook_connected(void *user_data, const nlmqtt_client_info *client, bool session_present)
{
    CHECK(client->peer.len > 0 && !session_present);
    counter_add(&hook_here(user_data)->connected);
}

static void hook_disconnected(void *user_data, const nlmqtt_client_info *client, uint8_t reason)
{
    (void)client;
    (void)reason;
    counter_add(&hook_here(user_data)->disconnected);
}

static void hook_delivered(void *user_data, const nlmqtt_client_info *client, const nlmqtt_message *message, uint8_t qos)
{
    (void)client;
    CHECK(nlmqtt_message_topic(message).len > 0 && qos == 0);
    counter_add(&hook_here(user_data)->delivered);
}

static void hook_stopped(void *user_data)
{
    counter_add(&hook_here(user_data)->stopped);
}

static void hook_free(void *user_data)
{
    counter_add(&((struct hooked *)user_data)->freed);
}

static void on_local(void *user_data, const nlmqtt_message *message)
{
    CHECK_TEXT(nlmqtt_message_topic(message).data, "local");
    counter_add(&hook_here(user_data)->received);
}

static nlmqtt_server *hooked_server(struct hooked *hooked, nlmqtt_runtime *runtime, const char *hook_timeout_ms, uint16_t *port)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_server_hooks hooks;
    struct counter *counters[] = {&hooked->asked, &hooked->connected, &hooked->disconnected, &hooked->received,
                                  &hooked->delivered, &hooked->stall, &hooked->freed, &hooked->stopped};
    size_t i;
    for (i = 0; i < sizeof counters / sizeof counters[0]; i++)
        counter_init(counters[i]);
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = hooked;
    hooks.free_fn = hook_free;
    hooks.authenticate = hook_authenticate;
    hooks.authorize = hook_authorize;
    hooks.subscribe = hook_subscribe;
    hooks.unsubscribe = hook_unsubscribe;
    hooks.publish = hook_publish;
    hooks.connected = hook_connected;
    hooks.disconnected = hook_disconnected;
    hooks.delivered = hook_delivered;
    hooks.stopped = hook_stopped;
    OK(nlmqtt_server_config_set(config, "hook_timeout_ms", hook_timeout_ms));
    OK(nlmqtt_server_config_add_listener(config, "mqtt://127.0.0.1:0"));
    OK(nlmqtt_server_new(runtime, config, &hooks, &hooked->server));
    OK(nlmqtt_server_start(hooked->server));
    OK(nlmqtt_server_listener_port(hooked->server, 0, port));
    nlmqtt_server_config_free(config);
    return hooked->server;
}

static int connect_with(uint16_t port, const char *client_id, const char *password)
{
    int socket_fd = dial(port);
    send_connect(socket_fd, 4, client_id, "name", password);
    return socket_fd;
}

static void hooks_run_on_the_thread_that_dispatches(void)
{
    nlmqtt_runtime *runtime = runtime_of(NLMQTT_MODE_DISPATCH);
    struct dispatcher dispatcher;
    struct hooked hooked;
    struct packet packet;
    uint16_t port;
    int refused, client, other;
    uint64_t subscription;
    dispatcher_start(&dispatcher, runtime);
    hooked.thread = dispatcher.thread;
    hooked_server(&hooked, runtime, "10000", &port);
    refused = connect_with(port, "wrong", "wrong");
    EXPECT(refused, 0x20, "\0\4", 2);
    close(refused);
    client = connect_with(port, "right", "right");
    EXPECT(client, 0x20, "\0\0", 2);
    CHECK(counter_wait(&hooked.connected, 1));
    CHECK_TEXT(hooked.client_id, "right");
    send_subscribe(client, "forbidden", 1);
    EXPECT(client, 0x90, "\0\1\x80", 3);
    send_subscribe(client, "lower", 1);
    EXPECT(client, 0x90, "\0\1\0", 3);
    packet.first = 0xA2;
    packet.len = 0;
    put_u16(&packet, 2);
    put_text(&packet, "lower");
    send_packet(client, &packet);
    EXPECT(client, 0xB0, "\0\2", 2);
    send_subscribe(client, "change", 0);
    EXPECT(client, 0x90, "\0\1\0", 3);
    send_publish(client, "change", "plain", 0, false);
    expect_publish(client, "change", "changed");
    CHECK(counter_wait(&hooked.delivered, 1));
    /* One answers later: this client waits, the other goes on, and order is kept. */
    send_publish(client, "later", "", 1, false);
    CHECK(counter_wait(&hooked.asked, 1));
    CHECK(send(client, "\xC0\0", 2, MSG_NOSIGNAL) == 2);
    other = connect_with(port, "other", "right");
    EXPECT(other, 0x20, "\0\0", 2);
    ping(other);
    OK(nlmqtt_server_complete(hooked.server, hooked.token, NLMQTT_ALLOW, NULL));
    EXPECT(client, 0x40, "\0\7", 2);
    EXPECT(client, 0xD0, "", 0);
    OK(nlmqtt_server_subscribe(hooked.server, "local", on_local, &hooked, hook_free, &subscription));
    OK(nlmqtt_server_publish(hooked.server, "local", "x", 1, 0, false, NULL));
    send_publish(client, "local", "x", 0, false);
    CHECK(counter_wait(&hooked.received, 2));
    OK(nlmqtt_server_unsubscribe(hooked.server, subscription));
    CHECK(counter_wait(&hooked.freed, 1));
    close(other);
    CHECK(counter_wait(&hooked.disconnected, 1));
    OK(nlmqtt_server_stop(hooked.server, 0, 1000));
    close(client);
    nlmqtt_server_free(hooked.server);
    CHECK_EQ(counter_get(&hooked.freed), 2);
    dispatcher_end(&dispatcher);
    nlmqtt_runtime_free(runtime);
}

/* An application that hangs is felt by those who wait for its answer, for the time limit and no longer. */
static void a_hook_that_is_not_dispatched_is_over_in_time(void)
{
    nlmqtt_runtime *runtime = runtime_of(NLMQTT_MODE_DISPATCH);
    struct dispatcher dispatcher;
    struct hooked hooked;
    uint16_t port;
    uint64_t timeouts = 0, late = 0;
    int client, tries = 0;
    dispatcher_start(&dispatcher, runtime);
    hooked.thread = dispatcher.thread;
    hooked_server(&hooked, runtime, "200", &port);
    client = connect_with(port, "waits", "right");
    EXPECT(client, 0x20, "\0\0", 2);
    send_publish(client, "stall", "", 0, false);
    send_publish(client, "next", "", 1, false);
    /* 3.1.1 knows no refusal of a publish: acknowledged, and delivered to nobody. */
    EXPECT(client, 0x40, "\0\7", 2);
    OK(nlmqtt_server_stat(hooked.server, "hook_timeouts", &timeouts));
    CHECK(timeouts >= 1);
    counter_add(&hooked.stall);
    do {
        sleep_ms(20);
        OK(nlmqtt_server_stat(hooked.server, "hook_late_answers", &late));
    } while (late == 0 && ++tries < 500);
    CHECK(late >= 1);
    close(client);
    dispatcher_end(&dispatcher);
    /* Nobody dispatches any more: free does not wait for that. */
    nlmqtt_server_free(hooked.server);
    CHECK_EQ(counter_get(&hooked.freed), 1);
    nlmqtt_runtime_free(runtime);
}

static void count_received(void *user_data, const nlmqtt_message *message)
{
    CHECK_TEXT(nlmqtt_message_topic(message).data, "t");
    counter_add((struct counter *)user_data);
}

/* What a client sends at once is taken as far as the application has room to be told of it. */
static void a_server_is_told_no_more_than_it_has_room_for(void)
{
    static unsigned char burst[5000 * 7];
    nlmqtt_runtime_config *options = nlmqtt_runtime_config_new();
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_runtime_statistics statistics;
    nlmqtt_runtime *runtime;
    nlmqtt_server *server;
    struct counter received;
    uint64_t subscription, pauses = 0;
    uint16_t port;
    int client;
    size_t i;
    counter_init(&received);
    OK(nlmqtt_runtime_config_set_mode(options, NLMQTT_MODE_DISPATCH));
    OK(nlmqtt_runtime_config_set_events_max(options, 16));
    runtime = runtime_from(options);
    OK(nlmqtt_server_config_add_listener(config, "mqtt://127.0.0.1:0"));
    OK(nlmqtt_server_new(runtime, config, NULL, &server));
    OK(nlmqtt_server_start(server));
    OK(nlmqtt_server_subscribe(server, "t", count_received, &received, NULL, &subscription));
    OK(nlmqtt_server_listener_port(server, 0, &port));
    nlmqtt_server_config_free(config);
    client = connect_with(port, "burst", "right");
    EXPECT(client, 0x20, "\0\0", 2);
    for (i = 0; i < sizeof burst; i += 7)
        memcpy(burst + i, "\x30\5\0\1t..", 7);
    CHECK_EQ(send(client, burst, sizeof burst, MSG_NOSIGNAL), (ssize_t)sizeof burst);
    nlmqtt_runtime_statistics_init(&statistics);
    do {
        sleep_ms(10);
        OK(nlmqtt_runtime_stats(runtime, &statistics));
    } while (statistics.events_full == 0);
    sleep_ms(100);
    OK(nlmqtt_runtime_stats(runtime, &statistics));
    /* One packet makes one event here, and starting made a few. */
    CHECK(statistics.events_waiting >= 16 && statistics.events_peak <= 20);
    OK(nlmqtt_server_stat(server, "congestion_pauses", &pauses));
    CHECK(pauses >= 1);
    /* All is taken, a queue full at a time. */
    while (counter_get(&received) < 5000)
        OK(nlmqtt_runtime_dispatch(runtime, 1000));
    OK(nlmqtt_runtime_stats(runtime, &statistics));
    CHECK(statistics.events_peak <= 20);
    send_publish(client, "t", "", 1, false);
    do {
        OK(nlmqtt_runtime_dispatch(runtime, 1000));
    } while (counter_get(&received) < 5001);
    EXPECT(client, 0x40, "\0\7", 2);
    close(client);
    nlmqtt_server_free(server);
    nlmqtt_runtime_free(runtime);
}

static void stop_inside(void *user_data)
{
    struct hooked *hooked = hook_here(user_data);
    CHECK_EQ(nlmqtt_server_stop(hooked->server, 0, 100), NLMQTT_IN_PROGRESS);
}

static void a_server_stopped_inside_a_callback_tells_its_end(void)
{
    nlmqtt_runtime *runtime = runtime_of(NLMQTT_MODE_DISPATCH);
    struct hooked hooked;
    uint16_t port;
    hooked.thread = pthread_self();
    hooked_server(&hooked, runtime, "200", &port);
    OK(nlmqtt_runtime_post(runtime, stop_inside, &hooked, NULL));
    while (counter_get(&hooked.stopped) == 0)
        OK(nlmqtt_runtime_dispatch(runtime, -1));
    nlmqtt_server_free(hooked.server);
    while (counter_get(&hooked.freed) == 0)
        OK(nlmqtt_runtime_dispatch(runtime, -1));
    nlmqtt_runtime_free(runtime);
}

/* What was never dispatched is given back with the runtime. */
static void a_runtime_gives_back_what_was_not_told(void)
{
    nlmqtt_runtime *runtime = runtime_of(NLMQTT_MODE_DISPATCH);
    struct counter freed;
    uint64_t task;
    counter_init(&freed);
    OK(nlmqtt_runtime_post(runtime, counter_free_fn, &freed, counter_free_fn));
    OK(nlmqtt_runtime_post_delayed(runtime, 3600000, counter_free_fn, &freed, counter_free_fn, &task));
    nlmqtt_runtime_free(runtime);
    CHECK_EQ(counter_get(&freed), 2);
    runtime = runtime_of(NLMQTT_MODE_THREAD);
    CHECK_EQ(nlmqtt_runtime_dispatch(runtime, 0), NLMQTT_UNSUPPORTED);
    CHECK_EQ(nlmqtt_runtime_fd(runtime), -1);
    nlmqtt_runtime_free(runtime);
    CHECK_EQ(nlmqtt_runtime_dispatch(NULL, 0), NLMQTT_INVALID_ARGUMENT);
}

int main(void)
{
    static const int32_t modes[3] = {NLMQTT_MODE_THREAD, NLMQTT_MODE_LOOP, NLMQTT_MODE_DISPATCH};
    int i;
    a_client_is_told_on_the_thread_that_dispatches();
    a_client_is_freed_from_another_thread();
    for (i = 0; i < 6; i++)
        a_client_is_freed_by_its_own_callback(modes[i / 2], i % 2 == 1);
    a_burst_is_held_back_and_comes_whole(NLMQTT_MODE_DISPATCH);
    a_burst_is_held_back_and_comes_whole(NLMQTT_MODE_LOOP);
    completions_that_nobody_hears_are_limited();
    messages_that_nobody_hears_of_are_limited();
    a_server_is_told_no_more_than_it_has_room_for();
    hooks_run_on_the_thread_that_dispatches();
    a_hook_that_is_not_dispatched_is_over_in_time();
    a_server_stopped_inside_a_callback_tells_its_end();
    a_runtime_gives_back_what_was_not_told();
    puts("ok runtime_dispatch");
    return 0;
}
