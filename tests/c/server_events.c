/* The hooks that only hear what has happened, and accept and connect, which decide at once and later. */
#include "check.h"

struct events {
    struct counter accepted, connecting, created, resumed, expired, taken_over, subscribed, unsubscribed, published, dropped,
        message_expired, retained_set, retained_cleared, will, quota, slow, ticks;
    int32_t code;
    bool later;
    nlmqtt_hook_token token;
    int32_t drop_reason;
    char seen[256], limit[64];
};

static void events_init(struct events *events)
{
    memset(events, 0, sizeof *events);
    counter_init(&events->accepted);
    counter_init(&events->connecting);
    counter_init(&events->created);
    counter_init(&events->resumed);
    counter_init(&events->expired);
    counter_init(&events->taken_over);
    counter_init(&events->subscribed);
    counter_init(&events->unsubscribed);
    counter_init(&events->published);
    counter_init(&events->dropped);
    counter_init(&events->message_expired);
    counter_init(&events->retained_set);
    counter_init(&events->retained_cleared);
    counter_init(&events->will);
    counter_init(&events->quota);
    counter_init(&events->slow);
    counter_init(&events->ticks);
}

static struct events *of(void *user_data)
{
    return (struct events *)user_data;
}

static int32_t on_accept(void *user_data, nlmqtt_str peer, nlmqtt_str listener, nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    struct events *events = of(user_data);
    (void)decision;
    CHECK(strncmp(peer.data, "127.0.0.1:", 10) == 0 && strncmp(listener.data, "127.0.0.1:", 10) == 0);
    CHECK(peer.len == strlen(peer.data) && strcmp(peer.data, listener.data) != 0);
    events->token = token;
    counter_add(&events->accepted);
    return events->later ? NLMQTT_PENDING : events->code;
}

static int32_t on_connect(void *user_data, const nlmqtt_client_info *client, const nlmqtt_connect_info *connect, nlmqtt_hook_token token,
                          nlmqtt_decision *decision)
{
    struct events *events = of(user_data);
    snprintf(events->seen, sizeof events->seen, "%s %d", client->client_id.data, connect->clean_start);
    events->token = token;
    if (events->code == NLMQTT_DENY)
        OK(nlmqtt_decision_set_reason(decision, 0x85));
    counter_add(&events->connecting);
    return events->later ? NLMQTT_PENDING : events->code;
}

static void on_created(void *user_data, const nlmqtt_client_info *client)
{
    CHECK(client->client_id.len > 0);
    counter_add(&of(user_data)->created);
}

static void on_resumed(void *user_data, const nlmqtt_client_info *client)
{
    CHECK_TEXT(client->client_id.data, "kept");
    counter_add(&of(user_data)->resumed);
}

static void on_session_expired(void *user_data, const nlmqtt_client_info *client)
{
    CHECK(client->peer.len == 0);
    counter_add(&of(user_data)->expired);
}

static void on_taken_over(void *user_data, const nlmqtt_client_info *client)
{
    CHECK(client->peer.len > 0);
    counter_add(&of(user_data)->taken_over);
}

static void on_subscribed(void *user_data, const nlmqtt_client_info *client, const nlmqtt_subscription_info *subscription)
{
    CHECK(client->client_id.len > 0);
    snprintf(of(user_data)->seen, sizeof of(user_data)->seen, "+%s %d", subscription->filter.data, subscription->qos);
    counter_add(&of(user_data)->subscribed);
}

static void on_unsubscribed(void *user_data, const nlmqtt_client_info *client, nlmqtt_str filter)
{
    CHECK(client->client_id.len > 0);
    snprintf(of(user_data)->seen, sizeof of(user_data)->seen, "-%s", filter.data);
    counter_add(&of(user_data)->unsubscribed);
}

static void on_publish_out(void *user_data, const nlmqtt_client_info *client, const nlmqtt_message *message, uint8_t qos)
{
    snprintf(of(user_data)->seen, sizeof of(user_data)->seen, "%s %s %d", client->client_id.data, nlmqtt_message_topic(message).data, qos);
    counter_add(&of(user_data)->published);
}

static void on_dropped(void *user_data, const nlmqtt_client_info *client, const nlmqtt_message *message, int32_t reason)
{
    CHECK(client->client_id.len > 0 && nlmqtt_message_topic(message).len > 0);
    of(user_data)->drop_reason = reason;
    counter_add(&of(user_data)->dropped);
}

static void on_message_expired(void *user_data, const nlmqtt_client_info *client, const nlmqtt_message *message)
{
    CHECK(client != NULL && client->client_id.len > 0 && nlmqtt_message_topic(message).len > 0);
    counter_add(&of(user_data)->message_expired);
}

static void on_retained_set(void *user_data, const nlmqtt_message *message)
{
    CHECK(nlmqtt_message_retain(message));
    counter_add(&of(user_data)->retained_set);
}

static void on_retained_cleared(void *user_data, nlmqtt_str topic)
{
    CHECK_TEXT(topic.data, "kept/topic");
    counter_add(&of(user_data)->retained_cleared);
}

static void on_will(void *user_data, const nlmqtt_client_info *client, const nlmqtt_message *message)
{
    snprintf(of(user_data)->seen, sizeof of(user_data)->seen, "%s %s", client->client_id.data, nlmqtt_message_topic(message).data);
    counter_add(&of(user_data)->will);
}

static void on_quota(void *user_data, const nlmqtt_client_info *client, const char *limit)
{
    (void)client;
    snprintf(of(user_data)->limit, sizeof of(user_data)->limit, "%s", limit);
    counter_add(&of(user_data)->quota);
}

static void on_slow(void *user_data, const nlmqtt_client_info *client, size_t waiting_bytes)
{
    CHECK_TEXT(client->client_id.data, "slow");
    CHECK(waiting_bytes > 1024);
    counter_add(&of(user_data)->slow);
}

static void on_tick(void *user_data)
{
    counter_add(&of(user_data)->ticks);
}

/* A server with some options; listens on a free port. */
static nlmqtt_server *serve_with(const nlmqtt_server_hooks *hooks, const char *options, uint16_t *port)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_server *server = NULL;
    OK(nlmqtt_server_config_load_connstr(config, options));
    OK(nlmqtt_server_config_add_listener(config, "mqtt://127.0.0.1:0"));
    OK(nlmqtt_server_new(NULL, config, hooks, &server));
    OK(nlmqtt_server_start(server));
    OK(nlmqtt_server_listener_port(server, 0, port));
    nlmqtt_server_config_free(config);
    return server;
}

static void complete(nlmqtt_server *server, struct events *events, struct counter *asked, int question)
{
    CHECK(counter_wait(asked, question));
    if (events->later)
        OK(nlmqtt_server_complete(server, events->token, events->code, NULL));
}

static void a_connection_is_decided_about_before_it_is_read(int later)
{
    struct events events;
    struct packet packet;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server;
    uint16_t port;
    uint64_t refused = 0;
    int client;
    events_init(&events);
    events.later = later != 0;
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &events;
    hooks.accept = on_accept;
    server = serve_with(&hooks, "hook_timeout_ms=60000;connect_timeout_ms=70000", &port);
    client = dial(port);
    send_connect(client, 4, "let in", NULL, NULL);
    complete(server, &events, &events.accepted, 1);
    EXPECT(client, 0x20, "\0\0", 2);
    ping(client);
    close(client);
    events.code = NLMQTT_DENY;
    client = dial(port);
    complete(server, &events, &events.accepted, 2);
    CHECK_EQ(read_packet(client, &packet), -1);
    close(client);
    OK(nlmqtt_server_stat(server, "connections_refused", &refused));
    CHECK_EQ(refused, 1);
    nlmqtt_server_free(server);
}

static void an_accept_that_is_not_answered_is_a_no(void)
{
    struct events events;
    struct packet packet;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server;
    uint16_t port;
    uint64_t timeouts = 0;
    int client;
    events_init(&events);
    events.later = true;
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &events;
    hooks.accept = on_accept;
    server = serve_with(&hooks, "hook_timeout_ms=50", &port);
    client = dial(port);
    send_connect(client, 4, "waits", NULL, NULL);
    CHECK_EQ(read_packet(client, &packet), -1);
    close(client);
    OK(nlmqtt_server_stat(server, "hook_timeouts", &timeouts));
    CHECK_EQ(timeouts, 1);
    nlmqtt_server_free(server);
}

static void a_connect_is_decided_about(int later)
{
    struct events events;
    struct packet packet;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server;
    uint16_t port;
    int client;
    events_init(&events);
    events.later = later != 0;
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &events;
    hooks.connect = on_connect;
    server = serve(NULL, &hooks, &port);
    client = dial(port);
    send_connect(client, 4, "fine", NULL, NULL);
    complete(server, &events, &events.connecting, 1);
    EXPECT(client, 0x20, "\0\0", 2);
    CHECK_TEXT(events.seen, "fine 1");
    close(client);
    events.code = NLMQTT_DENY;
    client = dial(port);
    send_connect(client, 4, "not", NULL, NULL);
    complete(server, &events, &events.connecting, 2);
    CHECK_EQ(read_packet(client, &packet), 0x20);
    CHECK_EQ(packet.body[1], later ? 5 : 2); /* not authorized, identifier rejected */
    close(client);
    nlmqtt_server_free(server);
}

static int32_t only_one_waits(void *user_data, const nlmqtt_client_info *client, const nlmqtt_connect_info *connect, nlmqtt_hook_token token,
                              nlmqtt_decision *decision)
{
    (void)connect, (void)decision;
    if (strcmp(client->client_id.data, "waits") != 0)
        return NLMQTT_ALLOW;
    of(user_data)->token = token;
    counter_add(&of(user_data)->connecting);
    return NLMQTT_PENDING;
}

static void a_late_answer_delays_its_own_client_only(void)
{
    struct events events;
    struct packet packet;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server;
    uint16_t port;
    int waiting, other, i;
    events_init(&events);
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &events;
    hooks.connect = only_one_waits;
    server = serve_with(&hooks, "hook_timeout_ms=3000", &port);
    waiting = dial(port);
    send_connect(waiting, 4, "waits", NULL, NULL);
    send_subscribe(waiting, "later", 0); /* kept behind it */
    CHECK(counter_wait(&events.connecting, 1));
    for (i = 0; i < 20; i++) {
        other = connect_client(port, "goes on");
        send_subscribe(other, "a", 0);
        EXPECT(other, 0x90, "\0\1\0", 3);
        send_publish(other, "a", "b", 0, false);
        expect_publish(other, "a", "b");
        close(other);
    }
    OK(nlmqtt_server_complete(server, events.token, NLMQTT_ALLOW, NULL));
    EXPECT(waiting, 0x20, "\0\0", 2);
    EXPECT(waiting, 0x90, "\0\1\0", 3);
    close(waiting);
    waiting = dial(port);
    send_connect(waiting, 4, "waits", NULL, NULL); /* and is never answered */
    CHECK(counter_wait(&events.connecting, 2));
    close(connect_client(port, "goes on"));
    CHECK_EQ(read_packet(waiting, &packet), 0x20);
    CHECK_EQ(packet.body[1], 3);
    close(waiting);
    nlmqtt_server_free(server);
}

/* CONNECT of MQTT 3.1.1 that keeps its session. */
static int connect_kept(uint16_t port, const char *client_id, int present)
{
    struct packet packet;
    int client = dial(port);
    packet.first = 0x10;
    packet.len = 0;
    put_text(&packet, "MQTT");
    put_u8(&packet, 4);
    put_u8(&packet, 0);
    put_u16(&packet, 0);
    put_text(&packet, client_id);
    send_packet(client, &packet);
    EXPECT(client, 0x20, present ? "\1\0" : "\0\0", 2);
    return client;
}

static void sessions_are_told(void)
{
    struct events events;
    struct packet packet;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server;
    uint16_t port;
    int client, second;
    events_init(&events);
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &events;
    hooks.session_created = on_created;
    hooks.session_resumed = on_resumed;
    hooks.session_expired = on_session_expired;
    hooks.session_taken_over = on_taken_over;
    hooks.subscribed = on_subscribed;
    hooks.unsubscribed = on_unsubscribed;
    server = serve(NULL, &hooks, &port);
    client = connect_kept(port, "kept", 0);
    CHECK(counter_wait(&events.created, 1));
    second = connect_kept(port, "kept", 1);
    CHECK(counter_wait(&events.taken_over, 1));
    CHECK(counter_wait(&events.resumed, 1));
    CHECK_EQ(read_packet(client, &packet), -1);
    send_subscribe(second, "t/#", 1);
    EXPECT(second, 0x90, "\0\1\1", 3);
    CHECK(counter_wait(&events.subscribed, 1));
    CHECK_TEXT(events.seen, "+t/# 1");
    packet.first = 0xA2;
    packet.len = 0;
    put_u16(&packet, 2);
    put_text(&packet, "t/#");
    send_packet(second, &packet);
    EXPECT(second, 0xB0, "\0\2", 2);
    CHECK(counter_wait(&events.unsubscribed, 1));
    CHECK_TEXT(events.seen, "-t/#");
    send_packet(second, &packet); /* there is none any more */
    EXPECT(second, 0xB0, "\0\2", 2);
    CHECK_EQ(counter_get(&events.unsubscribed), 1);
    CHECK_EQ(counter_get(&events.expired), 0);
    OK(nlmqtt_server_kick(server, "kept", 0, true));
    CHECK(counter_wait(&events.expired, 1));
    close(client);
    close(second);
    client = connect_client(port, "clean");
    close(client);
    CHECK(counter_wait(&events.expired, 2));
    CHECK_EQ(counter_get(&events.created), 2);
    nlmqtt_server_free(server);
}

static void messages_are_told(void)
{
    struct events events;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server;
    nlmqtt_properties *expiry = nlmqtt_properties_new();
    uint16_t port;
    int client, i;
    events_init(&events);
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &events;
    hooks.publish_out = on_publish_out;
    hooks.dropped = on_dropped;
    hooks.expired = on_message_expired;
    hooks.retained_set = on_retained_set;
    hooks.retained_cleared = on_retained_cleared;
    server = serve_with(&hooks, "max_queued_messages=3", &port);
    client = connect_kept(port, "kept", 0);
    send_subscribe(client, "m/#", 1);
    EXPECT(client, 0x90, "\0\1\1", 3);
    send_publish(client, "m/0", "x", 0, false);
    expect_publish(client, "m/0", "x");
    CHECK(counter_wait(&events.published, 1));
    CHECK_TEXT(events.seen, "kept m/0 0");
    send_publish(client, "kept/topic", "x", 0, true);
    CHECK(counter_wait(&events.retained_set, 1));
    send_publish(client, "kept/topic", "", 0, true);
    CHECK(counter_wait(&events.retained_cleared, 1));
    CHECK(send(client, "\xE0\0", 2, MSG_NOSIGNAL) == 2);
    close(client);
    /* Away: one that expires, two that stay, and one for which there is no room. */
    OK(nlmqtt_properties_add_u32(expiry, NLMQTT_PROPERTY_MESSAGE_EXPIRY_INTERVAL, 1));
    for (i = 0; i < 100; i++) { /* until its good-bye was read */
        uint64_t offline = 0;
        OK(nlmqtt_server_stat(server, "sessions_offline", &offline));
        if (offline == 1)
            break;
        sleep_ms(50);
    }
    OK(nlmqtt_server_publish(server, "m/expires", "x", 1, 1, false, expiry));
    OK(nlmqtt_server_publish(server, "m/1", "x", 1, 1, false, NULL));
    OK(nlmqtt_server_publish(server, "m/2", "x", 1, 1, false, NULL));
    OK(nlmqtt_server_publish(server, "m/3", "x", 1, 1, false, NULL));
    CHECK(counter_wait(&events.dropped, 1));
    CHECK_EQ(events.drop_reason, NLMQTT_DROPPED_QUEUE_FULL);
    sleep_ms(1100);
    client = connect_kept(port, "kept", 1);
    EXPECT(client, 0x32, "\0\3m/1\0\1x", 8);
    EXPECT(client, 0x32, "\0\3m/2\0\2x", 8);
    CHECK(counter_wait(&events.message_expired, 1));
    CHECK_EQ(counter_get(&events.published), 3);
    /* Two are not acknowledged: they go with the session. */
    OK(nlmqtt_server_kick(server, "kept", 0, true));
    CHECK(counter_wait(&events.dropped, 3));
    CHECK_EQ(events.drop_reason, NLMQTT_DROPPED_SESSION_ENDED);
    nlmqtt_properties_free(expiry);
    close(client);
    nlmqtt_server_free(server);
}

static void a_message_too_large_for_its_client_is_told(void)
{
    struct events events;
    struct packet packet;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server;
    char text[100];
    uint16_t port;
    int client;
    events_init(&events);
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &events;
    hooks.dropped = on_dropped;
    server = serve(NULL, &hooks, &port);
    client = dial(port);
    send_connect5(client, "small", true, "\x27\0\0\0\x40", 5, NULL);
    CHECK_EQ(read_packet(client, &packet), 0x20);
    OK(nlmqtt_server_subscribe_client(server, "small", "#", 1));
    memset(text, 'x', sizeof text);
    OK(nlmqtt_server_publish(server, "t", text, sizeof text, 1, false, NULL));
    CHECK(counter_wait(&events.dropped, 1));
    CHECK_EQ(events.drop_reason, NLMQTT_DROPPED_TOO_LARGE);
    close(client);
    nlmqtt_server_free(server);
}

static void wills_limits_and_ticks_are_told(void)
{
    struct events events;
    struct packet packet;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server;
    uint16_t port;
    int client, other;
    events_init(&events);
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &events;
    hooks.will = on_will;
    hooks.quota = on_quota;
    hooks.tick = on_tick;
    server = serve_with(&hooks, "tick_interval_ms=20;max_connections=1;max_subscriptions_per_client=1", &port);
    CHECK(counter_wait(&events.ticks, 3));
    client = dial(port);
    packet.first = 0x10;
    packet.len = 0;
    put_text(&packet, "MQTT");
    put_u8(&packet, 4);
    put_u8(&packet, 0x06);
    put_u16(&packet, 0);
    put_text(&packet, "mortal");
    put_text(&packet, "last/words");
    put_text(&packet, "gone");
    send_packet(client, &packet);
    EXPECT(client, 0x20, "\0\0", 2);
    send_subscribe(client, "a", 0);
    EXPECT(client, 0x90, "\0\1\0", 3);
    send_subscribe(client, "b", 0);
    EXPECT(client, 0x90, "\0\1\x80", 3);
    CHECK(counter_wait(&events.quota, 1));
    CHECK_TEXT(events.limit, "max_subscriptions_per_client");
    other = dial(port);
    CHECK(counter_wait(&events.quota, 2));
    CHECK_TEXT(events.limit, "max_connections");
    close(other);
    close(client);
    CHECK(counter_wait(&events.will, 1));
    CHECK_TEXT(events.seen, "mortal last/words");
    nlmqtt_server_free(server);
}

static void a_client_that_does_not_read_is_told(void)
{
    struct events events;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server;
    char *large = (char *)calloc(1, 1 << 20);
    uint16_t port;
    uint64_t closed = 0;
    int client, i, small = 4096;
    events_init(&events);
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &events;
    hooks.slow_client = on_slow;
    hooks.dropped = on_dropped;
    server = serve_with(&hooks, "max_output_bytes=1024;slow_consumer_grace_ms=50", &port);
    client = connect_client(port, "slow");
    setsockopt(client, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    send_subscribe(client, "#", 0);
    EXPECT(client, 0x90, "\0\1\0", 3);
    /* Until it is told: a worker that was asleep takes many of them at once, and then only the next shows that nothing has left. */
    for (i = 0; i < 2000 && counter_get(&events.slow) == 0; i++) {
        nlmqtt_status status = nlmqtt_server_publish(server, "t", large, 1 << 20, 0, false, NULL);
        CHECK(status == NLMQTT_OK || status == NLMQTT_QUEUE_FULL);
        sleep_ms(5);
    }
    CHECK(counter_wait(&events.slow, 1));
    for (i = 0; i < 200 && closed == 0; i++) {
        OK(nlmqtt_server_publish(server, "t", "x", 1, 0, false, NULL));
        sleep_ms(20);
        OK(nlmqtt_server_stat(server, "slow_consumers_closed", &closed));
    }
    CHECK_EQ(closed, 1);
    CHECK(counter_get(&events.dropped) > 0 && events.drop_reason == NLMQTT_DROPPED_OUTPUT_FULL);
    close(client);
    free(large);
    nlmqtt_server_free(server);
}

/* The table of an older header is shorter: its hooks are called, those behind it are not there. */
static void an_older_table_is_taken(void)
{
    struct events events;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server;
    uint16_t port;
    int client;
    events_init(&events);
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &events;
    hooks.accept = on_accept;
    memset(&hooks.connect, 0xA5, sizeof hooks - offsetof(nlmqtt_server_hooks, connect));
    hooks.struct_size = offsetof(nlmqtt_server_hooks, connect);
    server = serve(NULL, &hooks, &port);
    client = connect_client(port, "old");
    CHECK_EQ(counter_get(&events.accepted), 1);
    close(client);
    nlmqtt_server_free(server);
}

int main(void)
{
    int later;
    for (later = 0; later < 2; later++) {
        a_connection_is_decided_about_before_it_is_read(later);
        a_connect_is_decided_about(later);
    }
    an_accept_that_is_not_answered_is_a_no();
    a_late_answer_delays_its_own_client_only();
    sessions_are_told();
    messages_are_told();
    a_message_too_large_for_its_client_is_told();
    wills_limits_and_ticks_are_told();
    a_client_that_does_not_read_is_told();
    an_older_table_is_taken();
    puts("ok server_events");
    return 0;
}
