/* Every deciding hook, answered at once and later from another thread, and every telling one. */
#include "check.h"

/* What the hook under test is to answer. */
struct plan {
    int32_t code;
    void (*details)(nlmqtt_decision *decision);
    bool later;
    nlmqtt_hook_token token;
    struct counter asked, connected, disconnected, delivered;
    uint8_t reason;
    char seen[256];
};

static int32_t answer(struct plan *plan, nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    int32_t code = plan->code;
    plan->token = token;
    if (plan->later)
        code = NLMQTT_PENDING;
    else if (plan->details != NULL)
        plan->details(decision);
    counter_add(&plan->asked);
    return code;
}

/* The late answer, from this thread. Twice, to see that the second finds nothing. */
static void complete(nlmqtt_server *server, struct plan *plan, int question)
{
    nlmqtt_decision *decision;
    CHECK(counter_wait(&plan->asked, question));
    if (!plan->later)
        return;
    decision = nlmqtt_decision_new();
    if (plan->details != NULL)
        plan->details(decision);
    OK(nlmqtt_server_complete(server, plan->token, plan->code, decision));
    OK(nlmqtt_server_complete(server, plan->token, NLMQTT_ALLOW, NULL));
    nlmqtt_decision_free(decision);
}

static int32_t on_authenticate(void *user_data, const nlmqtt_client_info *client, const nlmqtt_connect_info *connect,
                               nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    struct plan *plan = (struct plan *)user_data;
    CHECK(client->struct_size == sizeof *client && connect->struct_size == sizeof *connect);
    snprintf(plan->seen, sizeof plan->seen, "%s %s %.*s %s %.*s %d%d %d %u %lu %lu", client->client_id.data,
             client->username.data ? client->username.data : "-", (int)connect->password.len,
             connect->password.data ? (const char *)connect->password.data : "-",
             connect->will_topic.data ? connect->will_topic.data : "-", (int)connect->will_payload.len,
             connect->will_payload.data ? (const char *)connect->will_payload.data : "-", connect->will_qos,
             connect->will_retain, connect->clean_start, (unsigned)connect->keep_alive_s,
             (unsigned long)nlmqtt_properties_count(connect->properties, 0),
             (unsigned long)nlmqtt_properties_count(connect->will_properties, 0));
    CHECK(strncmp(client->peer.data, "127.0.0.1:", 10) == 0);
    return answer(plan, token, decision);
}

static int32_t on_auth_exchange(void *user_data, const nlmqtt_client_info *client, nlmqtt_str method, nlmqtt_bytes data,
                                nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    struct plan *plan = (struct plan *)user_data;
    CHECK_EQ(client->protocol_level, 5);
    CHECK_TEXT(method.data, "M");
    CHECK(data.len == 3 && memcmp(data.data, "two", 3) == 0);
    plan->code = NLMQTT_ALLOW;
    return answer(plan, token, decision);
}

static void on_connected(void *user_data, const nlmqtt_client_info *client, bool session_present)
{
    CHECK(client->client_id.len > 0 && !session_present);
    counter_add(&((struct plan *)user_data)->connected);
}

static void on_disconnected(void *user_data, const nlmqtt_client_info *client, uint8_t reason)
{
    struct plan *plan = (struct plan *)user_data;
    CHECK(client->peer.len > 0);
    plan->reason = reason;
    counter_add(&plan->disconnected);
}

static int32_t on_authorize(void *user_data, const nlmqtt_client_info *client, int32_t access, nlmqtt_str topic, uint8_t qos,
                            bool retain, nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    struct plan *plan = (struct plan *)user_data;
    CHECK_EQ(client->protocol_level, 4);
    snprintf(plan->seen, sizeof plan->seen, "%d %s %d %d", (int)access, topic.data, qos, retain);
    return answer(plan, token, decision);
}

static int32_t on_subscribe(void *user_data, const nlmqtt_client_info *client, const nlmqtt_subscription_info *filters,
                            size_t filter_count, nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    struct plan *plan = (struct plan *)user_data;
    (void)client;
    CHECK_EQ(filter_count, 3);
    snprintf(plan->seen, sizeof plan->seen, "%s %d %s %d %s %d", filters[0].filter.data, filters[0].qos,
             filters[1].filter.data, filters[1].qos, filters[2].filter.data, filters[2].qos);
    CHECK(!filters[0].no_local && !filters[0].retain_as_published && filters[0].retain_handling == 0);
    return answer(plan, token, decision);
}

static int32_t on_unsubscribe(void *user_data, const nlmqtt_client_info *client, const nlmqtt_str *filters, size_t filter_count,
                              nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    struct plan *plan = (struct plan *)user_data;
    (void)client;
    CHECK_EQ(filter_count, 1);
    CHECK_TEXT(filters[0].data, "a/#");
    return answer(plan, token, decision);
}

static int32_t on_publish(void *user_data, const nlmqtt_client_info *client, const nlmqtt_publish_info *publish,
                          nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    struct plan *plan = (struct plan *)user_data;
    (void)client;
    CHECK(publish->struct_size == sizeof *publish && !publish->dup);
    CHECK_EQ(nlmqtt_properties_count(publish->properties, 0), 0);
    snprintf(plan->seen, sizeof plan->seen, "%s %.*s %d %d", publish->topic.data, (int)publish->payload.len,
             (const char *)publish->payload.data, publish->qos, publish->retain);
    return answer(plan, token, decision);
}

static void on_delivered(void *user_data, const nlmqtt_client_info *client, const nlmqtt_message *message, uint8_t qos)
{
    struct plan *plan = (struct plan *)user_data;
    CHECK(client->client_id.len > 0);
    snprintf(plan->seen, sizeof plan->seen, "%s %d", nlmqtt_message_topic(message).data, qos);
    counter_add(&plan->delivered);
}

static void plan_init(struct plan *plan, int later)
{
    memset(plan, 0, sizeof *plan);
    counter_init(&plan->asked);
    counter_init(&plan->connected);
    counter_init(&plan->disconnected);
    counter_init(&plan->delivered);
    plan->later = later != 0;
}

static void deny_credentials(nlmqtt_decision *decision)
{
    OK(nlmqtt_decision_set_reason(decision, 0x86));
}

static void authenticate(int later)
{
    struct plan plan;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server;
    uint16_t port;
    int client;
    struct packet packet;
    plan_init(&plan, later);
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &plan;
    hooks.authenticate = on_authenticate;
    hooks.connected = on_connected;
    hooks.disconnected = on_disconnected;
    server = serve(NULL, &hooks, &port);

    client = dial(port);
    send_connect(client, 4, "first", "user", "pass");
    complete(server, &plan, 1);
    EXPECT(client, 0x20, "\0\0", 2);
    CHECK_TEXT(plan.seen, "first user pass -  00 1 0 0 0");
    CHECK(counter_wait(&plan.connected, 1));
    CHECK(send(client, "\xE0\0", 2, MSG_NOSIGNAL) == 2);
    CHECK(counter_wait(&plan.disconnected, 1));
    CHECK_EQ(plan.reason, 0);
    close(client);

    plan.code = NLMQTT_DENY;
    plan.details = deny_credentials;
    client = dial(port);
    send_connect(client, 4, "second", "user", "wrong");
    complete(server, &plan, 2);
    EXPECT(client, 0x20, "\0\4", 2);
    CHECK_EQ(read_packet(client, &packet), -1);
    close(client);

    plan.details = NULL; /* without a reason: not authorized */
    client = dial(port);
    packet.first = 0x10;
    packet.len = 0;
    put_text(&packet, "MQTT");
    put_u8(&packet, 5);
    put_u8(&packet, 0x02 | 0x04 | 0x08 | 0x20);
    put_u16(&packet, 30);
    put_bytes(&packet, "\5\x11\0\0\0\1", 6);
    put_text(&packet, "third");
    put_bytes(&packet, "\5\x18\0\0\0\1", 6);
    put_text(&packet, "will");
    put_text(&packet, "gone");
    send_packet(client, &packet);
    complete(server, &plan, 3);
    CHECK_EQ(read_packet(client, &packet), 0x20);
    CHECK(packet.len >= 2 && packet.body[1] == 0x87);
    CHECK_TEXT(plan.seen, "third -  will gone 11 1 30 1 1");
    close(client);
    CHECK_EQ(counter_get(&plan.connected), 1);
    nlmqtt_server_free(server);
}

static void challenge_one(nlmqtt_decision *decision)
{
    OK(nlmqtt_decision_set_auth_data(decision, "one", 3));
}

/* MQTT 5 section 4.12: CONNECT, AUTH, AUTH, CONNACK. */
static void exchange(int later)
{
    struct plan plan;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server;
    uint16_t port;
    int client;
    struct packet packet;
    plan_init(&plan, later);
    plan.code = NLMQTT_CHALLENGE;
    plan.details = challenge_one;
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &plan;
    hooks.auth_exchange = on_auth_exchange;
    CHECK_EQ(nlmqtt_server_new(NULL, NULL, &hooks, &server), NLMQTT_INVALID_ARGUMENT);
    hooks.authenticate = on_authenticate;
    server = serve(NULL, &hooks, &port);
    client = dial(port);
    send_connect5(client, "scram", true, "\x15\0\1M", 4, NULL);
    complete(server, &plan, 1);
    EXPECT(client, 0xF0, "\x18\x0A\x15\0\1M\x16\0\3one", 12);
    packet.first = 0xF0;
    packet.len = 0;
    put_bytes(&packet, "\x18\x0A\x15\0\1M\x16\0\3two", 12);
    send_packet(client, &packet);
    complete(server, &plan, 2);
    CHECK_EQ(read_packet(client, &packet), 0x20);
    CHECK_EQ(packet.body[1], 0);
    close(client);
    nlmqtt_server_free(server);
}

static void authorize(int later)
{
    struct plan plan;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server;
    uint16_t port;
    int client;
    plan_init(&plan, later);
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &plan;
    hooks.authorize = on_authorize;
    server = serve(NULL, &hooks, &port);
    client = connect_client(port, "authorized");
    send_subscribe(client, "$share/g/a/#", 1);
    complete(server, &plan, 1);
    EXPECT(client, 0x90, "\0\1\1", 3);
    CHECK_TEXT(plan.seen, "2 a/# 1 0");
    send_publish(client, "a/b", "yes", 0, true);
    complete(server, &plan, 2);
    expect_publish(client, "a/b", "yes");
    CHECK_TEXT(plan.seen, "1 a/b 0 1");
    plan.code = NLMQTT_DENY;
    send_publish(client, "a/b", "no", 0, false);
    complete(server, &plan, 3);
    send_subscribe(client, "b", 0);
    complete(server, &plan, 4);
    EXPECT(client, 0x90, "\0\1\x80", 3);
    ping(client);
    close(client);
    nlmqtt_server_free(server);
}

/* The topic of a will is asked about before the client is connected; a refusal is one of the CONNECT. */
static void authorize_a_will(int later)
{
    struct plan plan;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server;
    struct packet packet;
    uint16_t port;
    int allowed, client;
    plan_init(&plan, later);
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &plan;
    hooks.authorize = on_authorize;
    hooks.connected = on_connected;
    server = serve(NULL, &hooks, &port);
    for (allowed = 1; allowed >= 0; allowed--) {
        plan.code = allowed ? NLMQTT_ALLOW : NLMQTT_DENY;
        client = dial(port);
        packet.first = 0x10;
        packet.len = 0;
        put_text(&packet, "MQTT");
        put_u8(&packet, 4);
        put_u8(&packet, 2 | 4 | 8 | 0x20); /* clean, a will of QoS 1, retained */
        put_u16(&packet, 0);
        put_text(&packet, "mortal");
        put_text(&packet, "last/words");
        put_text(&packet, "gone");
        send_packet(client, &packet);
        complete(server, &plan, allowed ? 1 : 2);
        CHECK_TEXT(plan.seen, "1 last/words 1 1");
        if (allowed)
            EXPECT(client, 0x20, "\0\0", 2);
        else
            EXPECT(client, 0x20, "\0\5", 2);
        close(client);
    }
    CHECK_EQ(counter_get(&plan.connected), 1);
    nlmqtt_server_free(server);
}

static int32_t on_authorize_a_will(void *user_data, const nlmqtt_client_info *client, int32_t access, nlmqtt_str topic, uint8_t qos,
                                   bool retain, nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    struct plan *plan = (struct plan *)user_data;
    CHECK(client->protocol_level == 5 && access == NLMQTT_ACCESS_PUBLISH && qos == 0 && !retain);
    snprintf(plan->seen, sizeof plan->seen, "%s", topic.data);
    plan->code = NLMQTT_ALLOW;
    plan->details = NULL;
    return answer(plan, token, decision);
}

/* Behind an exchange of AUTH, too, and the last data of that comes with CONNACK. */
static void authorize_a_will_after_auth(int later)
{
    struct plan plan;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server;
    struct packet packet;
    uint16_t port;
    size_t at;
    int client, found = 0;
    plan_init(&plan, later);
    plan.code = NLMQTT_CHALLENGE;
    plan.details = challenge_one;
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &plan;
    hooks.authenticate = on_authenticate;
    hooks.auth_exchange = on_auth_exchange;
    hooks.authorize = on_authorize_a_will;
    server = serve(NULL, &hooks, &port);
    client = dial(port);
    packet.first = 0x10;
    packet.len = 0;
    put_text(&packet, "MQTT");
    put_u8(&packet, 5);
    put_u8(&packet, 2 | 4);
    put_u16(&packet, 0);
    put_bytes(&packet, "\4\x15\0\1M", 5);
    put_text(&packet, "mortal");
    put_u8(&packet, 0);
    put_text(&packet, "last/words");
    put_text(&packet, "gone");
    send_packet(client, &packet);
    complete(server, &plan, 1);
    EXPECT(client, 0xF0, "\x18\x0A\x15\0\1M\x16\0\3one", 12);
    packet.first = 0xF0;
    packet.len = 0;
    put_bytes(&packet, "\x18\x0A\x15\0\1M\x16\0\3two", 12);
    send_packet(client, &packet);
    complete(server, &plan, 2);
    complete(server, &plan, 3);
    CHECK_EQ(read_packet(client, &packet), 0x20);
    CHECK_EQ(packet.body[1], 0);
    CHECK_TEXT(plan.seen, "last/words");
    for (at = 0; at + 6 <= packet.len; at++)
        found += memcmp(packet.body + at, "\x16\0\3one", 6) == 0;
    CHECK_EQ(found, 1);
    ping(client);
    close(client);
    nlmqtt_server_free(server);
}

static void move_filters(nlmqtt_decision *decision)
{
    OK(nlmqtt_decision_set_filter(decision, 0, "moved/#", 2));
    OK(nlmqtt_decision_set_filter(decision, 0, "moved/#", 0));
    OK(nlmqtt_decision_refuse_filter(decision, 2, 0x87));
    OK(nlmqtt_decision_refuse_filter(decision, 99, 0x87)); /* not there: nothing */
}

static void subscribe_and_unsubscribe(int later)
{
    struct plan plan;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server;
    uint16_t port;
    int client;
    struct packet packet;
    plan_init(&plan, later);
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &plan;
    hooks.subscribe = on_subscribe;
    hooks.unsubscribe = on_unsubscribe;
    server = serve(NULL, &hooks, &port);
    client = connect_client(port, "subscriber");
    packet.first = 0x82;
    packet.len = 0;
    put_u16(&packet, 9);
    put_text(&packet, "a/#");
    put_u8(&packet, 1);
    put_text(&packet, "b");
    put_u8(&packet, 2);
    put_text(&packet, "c");
    put_u8(&packet, 0);
    plan.details = move_filters;
    send_packet(client, &packet);
    complete(server, &plan, 1);
    EXPECT(client, 0x90, "\0\x09\0\2\x80", 5);
    CHECK_TEXT(plan.seen, "a/# 1 b 2 c 0");
    send_publish(client, "moved/x", "m", 0, false);
    expect_publish(client, "moved/x", "m");
    send_publish(client, "a/x", "not subscribed", 0, false);
    ping(client);

    plan.code = NLMQTT_DENY;
    plan.details = NULL;
    send_packet(client, &packet);
    complete(server, &plan, 2);
    EXPECT(client, 0x90, "\0\x09\x80\x80\x80", 5);

    packet.first = 0xA2;
    packet.len = 0;
    put_u16(&packet, 10);
    put_text(&packet, "a/#");
    plan.code = NLMQTT_ALLOW;
    send_packet(client, &packet);
    complete(server, &plan, 3);
    EXPECT(client, 0xB0, "\0\x0A", 2);
    close(client);
    nlmqtt_server_free(server);
}

static void rewrite_all(nlmqtt_decision *decision)
{
    OK(nlmqtt_decision_set_topic(decision, "new/topic"));
    OK(nlmqtt_decision_set_payload(decision, "new", 3));
    OK(nlmqtt_decision_set_qos(decision, 0));
    OK(nlmqtt_decision_set_retain(decision, false));
}

static void publish(int later)
{
    struct plan plan;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server;
    uint16_t port;
    int client;
    plan_init(&plan, later);
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &plan;
    hooks.publish = on_publish;
    server = serve(NULL, &hooks, &port);
    client = connect_client(port, "publisher");
    send_subscribe(client, "#", 2);
    EXPECT(client, 0x90, "\0\1\2", 3);

    send_publish(client, "t", "allowed", 0, false);
    complete(server, &plan, 1);
    expect_publish(client, "t", "allowed");
    CHECK_TEXT(plan.seen, "t allowed 0 0");

    plan.code = NLMQTT_REWRITE;
    plan.details = rewrite_all;
    send_publish(client, "t", "rewritten", 1, true);
    complete(server, &plan, 2);
    {
        /* PUBACK and the delivery come in either order. */
        struct packet packet;
        int acks = 0, deliveries = 0, i;
        for (i = 0; i < 2; i++) {
            int first = read_packet(client, &packet);
            acks += first == 0x40 && memcmp(packet.body, "\0\7", 2) == 0;
            deliveries += first == 0x30 && packet.len == 14 && memcmp(packet.body, "\0\x09new/topicnew", 14) == 0;
        }
        CHECK(acks == 1 && deliveries == 1);
    }
    CHECK_TEXT(plan.seen, "t rewritten 1 1");

    plan.code = NLMQTT_DROP;
    plan.details = NULL;
    send_publish(client, "t", "dropped", 1, false);
    complete(server, &plan, 3);
    EXPECT(client, 0x40, "\0\7", 2);

    plan.code = NLMQTT_DENY;
    send_publish(client, "t", "denied", 0, false);
    complete(server, &plan, 4);
    plan.code = 4711; /* no answer at all */
    if (!later) {
        send_publish(client, "t", "nonsense", 0, false);
        CHECK(counter_wait(&plan.asked, 5));
    }
    ping(client);
    close(client);
    nlmqtt_server_free(server);
}

static void deliveries_are_told(void)
{
    struct plan plan;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server;
    uint16_t port;
    int client;
    plan_init(&plan, 0);
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &plan;
    hooks.delivered = on_delivered;
    hooks.disconnected = on_disconnected;
    server = serve(NULL, &hooks, &port);
    client = connect_client(port, "receiver");
    send_subscribe(client, "d", 1);
    EXPECT(client, 0x90, "\0\1\1", 3);
    OK(nlmqtt_server_publish(server, "d", "x", 1, 0, false, NULL));
    expect_publish(client, "d", "x");
    CHECK(counter_wait(&plan.delivered, 1));
    OK(nlmqtt_server_publish(server, "d", "x", 1, 1, false, NULL));
    EXPECT(client, 0x32, "\0\1d\0\1x", 6);
    CHECK_EQ(counter_get(&plan.delivered), 1);
    CHECK(send(client, "\x40\2\0\1", 4, MSG_NOSIGNAL) == 4);
    CHECK(counter_wait(&plan.delivered, 2));
    CHECK_TEXT(plan.seen, "d 1");
    close(client);
    CHECK(counter_wait(&plan.disconnected, 1));
    CHECK_EQ(plan.reason, 0x80);
    nlmqtt_server_free(server);
}

static void a_hook_that_does_not_answer_is_refused_in_time(void)
{
    struct plan plan;
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server = NULL;
    uint16_t port;
    uint64_t timeouts = 0, late = 0;
    int client;
    plan_init(&plan, 1);
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &plan;
    hooks.authenticate = on_authenticate;
    OK(nlmqtt_server_config_set(config, "hook_timeout_ms", "50"));
    OK(nlmqtt_server_config_add_listener(config, "mqtt://127.0.0.1:0"));
    OK(nlmqtt_server_new(NULL, config, &hooks, &server));
    OK(nlmqtt_server_start(server));
    OK(nlmqtt_server_listener_port(server, 0, &port));
    nlmqtt_server_config_free(config);
    client = dial(port);
    send_connect(client, 4, "waiting", NULL, NULL);
    EXPECT(client, 0x20, "\0\3", 2);
    OK(nlmqtt_server_complete(server, plan.token, NLMQTT_ALLOW, NULL));
    OK(nlmqtt_server_stat(server, "hook_timeouts", &timeouts));
    OK(nlmqtt_server_stat(server, "hook_late_answers", &late));
    CHECK(timeouts == 1 && late == 1);
    close(client);
    nlmqtt_server_free(server);
}

static void decisions_check_what_they_are_given(void)
{
    nlmqtt_decision *decision = nlmqtt_decision_new();
    nlmqtt_hook_token token = {1, 2}, impossible = {1, (uint64_t)1 << 40};
    nlmqtt_server *server = NULL;
    char *large = (char *)calloc(70000, 1);
    CHECK_EQ(nlmqtt_decision_set_reason(decision, 0x00), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_decision_set_topic(decision, "a/#"), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_decision_set_qos(decision, 3), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_decision_set_payload(decision, NULL, 3), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_decision_set_auth_data(decision, large, 70000), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_decision_set_auth_data(decision, NULL, 3), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_decision_set_filter(decision, 0, "a/#/b", 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_decision_set_filter(decision, 0, "a", 3), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_decision_set_filter(decision, 0, NULL, 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_decision_refuse_filter(decision, 0, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_decision_set_topic(decision, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_decision_set_reason(NULL, 0x80), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_decision_set_topic(NULL, "a"), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_decision_set_payload(NULL, "a", 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_decision_set_qos(NULL, 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_decision_set_retain(NULL, true), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_decision_set_auth_data(NULL, "a", 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_decision_set_filter(NULL, 0, "a", 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_decision_refuse_filter(NULL, 0, 0x80), NLMQTT_INVALID_ARGUMENT);
    nlmqtt_decision_free(NULL);
    OK(nlmqtt_server_new(NULL, NULL, NULL, &server));
    CHECK_EQ(nlmqtt_server_complete(NULL, token, NLMQTT_ALLOW, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_complete(server, token, NLMQTT_PENDING, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_complete(server, token, 99, decision), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_complete(server, impossible, NLMQTT_ALLOW, decision), NLMQTT_INVALID_ARGUMENT);
    OK(nlmqtt_server_complete(server, token, NLMQTT_ALLOW, decision));
    nlmqtt_server_free(server);
    nlmqtt_decision_free(decision);
    free(large);
}

int main(void)
{
    int later;
    for (later = 0; later < 2; later++) {
        authenticate(later);
        exchange(later);
        authorize(later);
        authorize_a_will(later);
        authorize_a_will_after_auth(later);
        subscribe_and_unsubscribe(later);
        publish(later);
    }
    deliveries_are_told();
    a_hook_that_does_not_answer_is_refused_in_time();
    decisions_check_what_they_are_given();
    puts("ok server_hooks");
    return 0;
}
