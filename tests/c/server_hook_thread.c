/* Hooks on a thread of their own: one that blocks is felt by whoever waits for its answer, and by nobody else. */
#include "check.h"
#include "runtime_bench.h"

struct slow {
    struct counter asked, may_answer, told, freed;
    pthread_t hook_thread, worker_thread;
    nlmqtt_server *server;
};

static int32_t on_publish(void *user_data, const nlmqtt_client_info *client, const nlmqtt_publish_info *publish, nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    struct slow *slow = (struct slow *)user_data;
    (void)client;
    (void)token;
    (void)decision;
    slow->hook_thread = pthread_self();
    if (strcmp(publish->topic.data, "slow") != 0)
        return NLMQTT_ALLOW;
    counter_add(&slow->asked);
    CHECK(counter_wait(&slow->may_answer, 1));
    return NLMQTT_ALLOW;
}

static void on_connected(void *user_data, const nlmqtt_client_info *client, bool session_present)
{
    struct slow *slow = (struct slow *)user_data;
    (void)client;
    (void)session_present;
    counter_add(&slow->told);
}

static void on_disconnected(void *user_data, const nlmqtt_client_info *client, uint8_t reason)
{
    struct slow *slow = (struct slow *)user_data;
    (void)reason;
    if (strcmp(client->client_id.data, "frees") != 0)
        return;
    nlmqtt_server_free(slow->server);
    counter_add(&slow->told);
}

static void on_local(void *user_data, const nlmqtt_message *message)
{
    struct slow *slow = (struct slow *)user_data;
    (void)message;
    slow->worker_thread = pthread_self();
    counter_add(&slow->told);
}

static void on_slow_free(void *user_data)
{
    counter_add(&((struct slow *)user_data)->freed);
}

static nlmqtt_server *slow_server(struct slow *slow, nlmqtt_runtime *runtime, uint16_t *port)
{
    nlmqtt_server_hooks hooks;
    counter_init(&slow->asked);
    counter_init(&slow->may_answer);
    counter_init(&slow->told);
    counter_init(&slow->freed);
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = slow;
    hooks.free_fn = on_slow_free;
    hooks.publish = on_publish;
    hooks.connected = on_connected;
    hooks.disconnected = on_disconnected;
    slow->server = serve(runtime, &hooks, port);
    return slow->server;
}

static void only_who_waits_for_an_answer_waits(nlmqtt_runtime *runtime)
{
    struct slow slow;
    uint16_t port;
    uint64_t subscription;
    nlmqtt_server *server = slow_server(&slow, runtime, &port);
    int waiting = connect_client(port, "waiting"), other = connect_client(port, "other");
    OK(nlmqtt_server_subscribe(server, "local", on_local, &slow, NULL, &subscription));
    CHECK(counter_wait(&slow.told, 2));
    send_publish(waiting, "slow", "", 1, false);
    CHECK(counter_wait(&slow.asked, 1));
    /* The hook hangs. The same worker goes on with everybody else, and with what needs no hook. */
    ping(other);
    send_subscribe(other, "t", 0);
    EXPECT(other, 0x90, "\0\1\0", 3);
    OK(nlmqtt_server_publish(server, "t", "x", 1, 0, false, NULL));
    expect_publish(other, "t", "x");
    OK(nlmqtt_server_publish(server, "local", "x", 1, 0, false, NULL));
    CHECK(counter_wait(&slow.told, 3));
    CHECK(!pthread_equal(slow.worker_thread, slow.hook_thread));
    counter_add(&slow.may_answer);
    EXPECT(waiting, 0x40, "\0\7", 2);
    close(waiting);
    close(other);
    nlmqtt_server_free(server);
    CHECK_EQ(counter_get(&slow.freed), 1);
}

static void free_waits_for_the_hook_that_runs(nlmqtt_runtime *runtime)
{
    struct slow slow;
    uint16_t port;
    nlmqtt_server *server = slow_server(&slow, runtime, &port);
    int client = connect_client(port, "waiting"), i;
    for (i = 0; i < 10; i++)
        send_publish(client, "slow", "", 0, false);
    CHECK(counter_wait(&slow.asked, 1));
    counter_add(&slow.may_answer);
    nlmqtt_server_free(server);
    i = counter_get(&slow.asked);
    CHECK_EQ(counter_get(&slow.freed), 1);
    sleep_ms(50);
    CHECK_EQ(counter_get(&slow.asked), i);
    close(client);
}

static void a_hook_may_free_its_server(nlmqtt_runtime *runtime)
{
    struct slow slow;
    uint16_t port;
    int client;
    slow_server(&slow, runtime, &port);
    client = connect_client(port, "frees");
    CHECK(counter_wait(&slow.told, 1));
    close(client);
    CHECK(counter_wait(&slow.freed, 1));
}

/* A hook thread that does not keep up: what waits for it is bounded, and all of it is told. */
static void its_queue_is_bounded(void)
{
    static unsigned char burst[2000 * 9];
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    nlmqtt_runtime_statistics statistics;
    nlmqtt_runtime *runtime;
    struct slow slow;
    uint16_t port;
    uint64_t received = 0;
    size_t i;
    int client;
    OK(nlmqtt_runtime_config_set_hook_threads(config, 1));
    OK(nlmqtt_runtime_config_set_events_max(config, 4));
    runtime = runtime_from(config);
    slow_server(&slow, runtime, &port);
    client = connect_client(port, "burst");
    for (i = 0; i < sizeof burst; i += 9)
        memcpy(burst + i, "\x30\7\0\4fast.", 9);
    send_publish(client, "slow", "", 0, false);
    CHECK(counter_wait(&slow.asked, 1));
    CHECK_EQ(send(client, burst, sizeof burst, MSG_NOSIGNAL), (ssize_t)sizeof burst);
    counter_add(&slow.may_answer);
    ping(client);
    OK(nlmqtt_server_stat(slow.server, "publish_received", &received));
    CHECK_EQ(received, 2001);
    nlmqtt_runtime_statistics_init(&statistics);
    OK(nlmqtt_runtime_stats(runtime, &statistics));
    CHECK_EQ(statistics.events_max, 4);
    CHECK(statistics.events_peak >= 1 && statistics.events_peak <= 8);
    close(client);
    nlmqtt_server_free(slow.server);
    nlmqtt_runtime_free(runtime);
}

int main(void)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    nlmqtt_runtime *runtime = NULL;
    CHECK_EQ(nlmqtt_runtime_config_set_hook_threads(config, 2), NLMQTT_INVALID_ARGUMENT);
    OK(nlmqtt_runtime_config_set_hook_threads(config, 1));
    OK(nlmqtt_runtime_config_set_mode(config, NLMQTT_MODE_LOOP));
    CHECK_EQ(nlmqtt_runtime_new(config, &runtime), NLMQTT_INVALID_ARGUMENT);
    OK(nlmqtt_runtime_config_set_mode(config, NLMQTT_MODE_DISPATCH));
    CHECK_EQ(nlmqtt_runtime_new(config, &runtime), NLMQTT_INVALID_ARGUMENT);
    OK(nlmqtt_runtime_config_set_mode(config, NLMQTT_MODE_THREAD));
    OK(nlmqtt_runtime_config_set_workers(config, 1));
    runtime = runtime_from(config);
    only_who_waits_for_an_answer_waits(runtime);
    free_waits_for_the_hook_that_runs(runtime);
    a_hook_may_free_its_server(runtime);
    nlmqtt_runtime_free(runtime);
    its_queue_is_bounded();
    puts("ok server_hook_thread");
    return 0;
}
