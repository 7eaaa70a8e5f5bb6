/* Hooks and scheduled tasks of a server in DISPATCH mode: on the thread that dispatches, and bounded while nobody does. */
#include "runtime_bench.h"

struct seen {
    pthread_t thread;
    struct counter accepted, connecting, created, outgoing, dropped, expired_sessions, ticks, tasks, freed;
    bool armed;
};

static void here(struct seen *seen, struct counter *counter)
{
    if (seen->armed)
        CHECK(pthread_equal(pthread_self(), seen->thread));
    counter_add(counter);
}

static int32_t on_accept(void *user_data, nlmqtt_str peer, nlmqtt_str listener, nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    (void)token, (void)decision;
    CHECK(peer.len > 0 && listener.len > 0);
    here((struct seen *)user_data, &((struct seen *)user_data)->accepted);
    return NLMQTT_ALLOW;
}

static int32_t on_connect(void *user_data, const nlmqtt_client_info *client, const nlmqtt_connect_info *connect, nlmqtt_hook_token token,
                          nlmqtt_decision *decision)
{
    (void)token, (void)decision;
    CHECK(connect->clean_start);
    here((struct seen *)user_data, &((struct seen *)user_data)->connecting);
    return strcmp(client->client_id.data, "bad") == 0 ? NLMQTT_DENY : NLMQTT_ALLOW;
}

static void on_created(void *user_data, const nlmqtt_client_info *client)
{
    CHECK_TEXT(client->client_id.data, "good");
    here((struct seen *)user_data, &((struct seen *)user_data)->created);
}

static void on_expired(void *user_data, const nlmqtt_client_info *client)
{
    CHECK_TEXT(client->client_id.data, "good");
    here((struct seen *)user_data, &((struct seen *)user_data)->expired_sessions);
}

static void on_publish_out(void *user_data, const nlmqtt_client_info *client, const nlmqtt_message *message, uint8_t qos)
{
    CHECK(client->client_id.len > 0 && qos == 0);
    CHECK_TEXT(nlmqtt_message_topic(message).data, "d");
    here((struct seen *)user_data, &((struct seen *)user_data)->outgoing);
}

static void on_tick(void *user_data)
{
    here((struct seen *)user_data, &((struct seen *)user_data)->ticks);
}

static void on_task(void *user_data)
{
    here((struct seen *)user_data, &((struct seen *)user_data)->tasks);
}

static void on_freed(void *user_data)
{
    counter_add(&((struct seen *)user_data)->freed);
}

struct talk {
    uint16_t port;
    struct counter done;
};

/* What clients do, while the main thread dispatches. */
static void *talk(void *argument)
{
    struct talk *talk = (struct talk *)argument;
    struct packet packet;
    int client = connect_client(talk->port, "good"), refused;
    send_subscribe(client, "d", 0);
    EXPECT(client, 0x90, "\0\1\0", 3);
    send_publish(client, "d", "x", 0, false);
    expect_publish(client, "d", "x");
    refused = dial(talk->port);
    send_connect(refused, 4, "bad", NULL, NULL);
    EXPECT(refused, 0x20, "\0\5", 2);
    CHECK_EQ(read_packet(refused, &packet), -1);
    close(refused);
    close(client);
    counter_add(&talk->done);
    return NULL;
}

int main(void)
{
    struct seen seen;
    struct talk talking;
    pthread_t thread;
    nlmqtt_runtime *runtime = runtime_of(NLMQTT_MODE_DISPATCH);
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server = NULL;
    uint64_t task = 0;
    int loop = host_loop(runtime), before;
    memset(&seen, 0, sizeof seen);
    counter_init(&seen.accepted);
    counter_init(&seen.connecting);
    counter_init(&seen.created);
    counter_init(&seen.outgoing);
    counter_init(&seen.expired_sessions);
    counter_init(&seen.ticks);
    counter_init(&seen.tasks);
    counter_init(&seen.freed);
    counter_init(&talking.done);
    seen.thread = pthread_self();
    seen.armed = true;
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &seen;
    hooks.accept = on_accept;
    hooks.connect = on_connect;
    hooks.session_created = on_created;
    hooks.session_expired = on_expired;
    hooks.publish_out = on_publish_out;
    hooks.tick = on_tick;
    OK(nlmqtt_server_config_set_number(config, "tick_interval_ms", 5));
    OK(nlmqtt_server_config_add_listener(config, "mqtt://127.0.0.1:0"));
    OK(nlmqtt_server_new(runtime, config, &hooks, &server));
    nlmqtt_server_config_free(config);
    OK(nlmqtt_server_start(server));
    OK(nlmqtt_server_listener_port(server, 0, &talking.port));
    OK(nlmqtt_server_schedule(server, 1, 1, on_task, &seen, on_freed, &task));
    CHECK(pthread_create(&thread, NULL, talk, &talking) == 0);
    while (counter_get(&talking.done) == 0 || counter_get(&seen.expired_sessions) == 0 || counter_get(&seen.tasks) < 3 || counter_get(&seen.ticks) < 3)
        host_turn(loop, runtime, NLMQTT_MODE_DISPATCH);
    pthread_join(thread, NULL);
    CHECK_EQ(counter_get(&seen.accepted), 2);
    CHECK_EQ(counter_get(&seen.connecting), 2);
    CHECK_EQ(counter_get(&seen.created), 1);
    CHECK_EQ(counter_get(&seen.outgoing), 1);

    /* Nobody dispatches for a while: one run of each waits, not one for each time it was due. */
    while (nlmqtt_runtime_dispatch(runtime, 0) == NLMQTT_OK && counter_get(&seen.tasks) < 5)
        continue;
    sleep_ms(300);
    before = counter_get(&seen.tasks) + counter_get(&seen.ticks);
    OK(nlmqtt_runtime_dispatch(runtime, 0));
    CHECK(counter_get(&seen.tasks) + counter_get(&seen.ticks) - before <= 20);

    /* What waits of a task that is cancelled does not run. */
    sleep_ms(50);
    before = counter_get(&seen.tasks);
    OK(nlmqtt_server_cancel(server, task));
    OK(nlmqtt_runtime_dispatch(runtime, 0));
    CHECK_EQ(counter_get(&seen.tasks), before);
    CHECK_EQ(counter_get(&seen.freed), 1);
    OK(nlmqtt_server_schedule(server, 60000, 0, on_task, &seen, on_freed, NULL));
    nlmqtt_server_free(server);
    CHECK_EQ(counter_get(&seen.freed), 2);
    close(loop);
    nlmqtt_runtime_free(runtime);
    puts("ok server_dispatch");
    return 0;
}
