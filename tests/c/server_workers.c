/* A server on a runtime with four workers, through the C API: clients on all of them, hooks at the same time, stop and free. */
#include "check.h"
#include "runtime_bench.h"


#define WORKERS 4
#define CLIENTS 32
#define MESSAGES 50
#define THREADS_MAX 16

/* What hooks of many threads share; the application protects it. */
struct witness {
    pthread_mutex_t lock;
    pthread_t threads[THREADS_MAX];
    int thread_count, started, stopped;
    struct { char client[16]; pthread_t thread; int calls; } clients[CLIENTS + 1];
    int client_count;
    struct counter published, disconnected, freed, is_stopped;
};

static void note_thread(struct witness *witness)
{
    int i;
    for (i = 0; i < witness->thread_count; i++)
        if (pthread_equal(witness->threads[i], pthread_self()))
            return;
    CHECK(witness->thread_count < THREADS_MAX);
    witness->threads[witness->thread_count++] = pthread_self();
}

/* A client is always seen on the same thread. */
static void note(struct witness *witness, const nlmqtt_client_info *client)
{
    int i;
    pthread_mutex_lock(&witness->lock);
    note_thread(witness);
    for (i = 0; i < witness->client_count; i++)
        if (strcmp(witness->clients[i].client, client->client_id.data) == 0)
            break;
    if (i == witness->client_count) {
        CHECK(i <= CLIENTS);
        strcpy(witness->clients[i].client, client->client_id.data);
        witness->clients[i].thread = pthread_self();
        witness->client_count++;
    }
    CHECK(pthread_equal(witness->clients[i].thread, pthread_self()));
    witness->clients[i].calls++;
    pthread_mutex_unlock(&witness->lock);
}

static int32_t on_authenticate(void *user_data, const nlmqtt_client_info *client, const nlmqtt_connect_info *connect, nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    (void)connect;
    (void)token;
    (void)decision;
    note((struct witness *)user_data, client);
    return NLMQTT_ALLOW;
}

static int32_t on_publish(void *user_data, const nlmqtt_client_info *client, const nlmqtt_publish_info *publish, nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    struct witness *witness = (struct witness *)user_data;
    (void)publish;
    (void)token;
    (void)decision;
    note(witness, client);
    counter_add(&witness->published);
    return NLMQTT_ALLOW;
}

static void on_disconnected(void *user_data, const nlmqtt_client_info *client, uint8_t reason)
{
    struct witness *witness = (struct witness *)user_data;
    (void)reason;
    note(witness, client);
    counter_add(&witness->disconnected);
}

static void on_stopped(void *user_data)
{
    counter_add(&((struct witness *)user_data)->is_stopped);
}

static void on_freed(void *user_data)
{
    counter_add(&((struct witness *)user_data)->freed);
}

static void on_thread_start(void *user_data, const char *name)
{
    struct witness *witness = (struct witness *)user_data;
    CHECK(strncmp(name, "gate", 4) == 0);
    pthread_mutex_lock(&witness->lock);
    witness->started++;
    pthread_mutex_unlock(&witness->lock);
}

static void on_thread_stop(void *user_data, const char *name)
{
    struct witness *witness = (struct witness *)user_data;
    (void)name;
    pthread_mutex_lock(&witness->lock);
    witness->stopped++;
    pthread_mutex_unlock(&witness->lock);
}

static void witness_init(struct witness *witness)
{
    memset(witness, 0, sizeof *witness);
    pthread_mutex_init(&witness->lock, NULL);
    counter_init(&witness->published);
    counter_init(&witness->disconnected);
    counter_init(&witness->freed);
    counter_init(&witness->is_stopped);
}

static nlmqtt_runtime *make_runtime(struct witness *witness, int32_t mode)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    OK(nlmqtt_runtime_config_set_mode(config, mode));
    OK(nlmqtt_runtime_config_set_workers(config, WORKERS));
    OK(nlmqtt_runtime_config_set_thread_name(config, "gate"));
    OK(nlmqtt_runtime_config_set_thread_hooks(config, on_thread_start, on_thread_stop, witness, NULL));
    return runtime_from(config);
}

static nlmqtt_server *make_server(struct witness *witness, nlmqtt_runtime *runtime, uint16_t *port)
{
    nlmqtt_server_hooks hooks;
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = witness;
    hooks.free_fn = on_freed;
    hooks.authenticate = on_authenticate;
    hooks.publish = on_publish;
    hooks.disconnected = on_disconnected;
    hooks.stopped = on_stopped;
    return serve(runtime, &hooks, port);
}

static uint64_t stat_of(nlmqtt_server *server, const char *name)
{
    uint64_t value = 0;
    OK(nlmqtt_server_stat(server, name, &value));
    return value;
}

static void count_client(void *user_data, const nlmqtt_client_entry *client)
{
    CHECK(client->connected);
    ++*(int *)user_data;
}

/* Everybody hears everybody, in order for each publisher. */
static void messages_cross_between_workers(int sockets[CLIENTS])
{
    int i, round, next[CLIENTS];
    char payload[32];
    for (i = 0; i < CLIENTS; i++) {
        send_subscribe(sockets[i], "all/#", 0);
        EXPECT(sockets[i], 0x90, "\0\1\0", 3);
    }
    for (round = 0; round < MESSAGES; round++) {
        for (i = 0; i < CLIENTS; i++) {
            snprintf(payload, sizeof payload, "%d %d", i, round);
            send_publish(sockets[i], "all/x", payload, 0, false);
        }
    }
    for (i = 0; i < CLIENTS; i++) {
        int count;
        memset(next, 0, sizeof next);
        for (count = 0; count < CLIENTS * MESSAGES; count++) {
            struct packet packet;
            int publisher, number;
            CHECK_EQ(read_packet(sockets[i], &packet), 0x30);
            packet.body[packet.len] = '\0';
            CHECK_EQ(sscanf((const char *)packet.body + 7, "%d %d", &publisher, &number), 2);
            CHECK_EQ(number, next[publisher]);
            next[publisher]++;
        }
    }
}

static void a_server_uses_all_workers(void)
{
    struct witness witness;
    nlmqtt_runtime *runtime;
    nlmqtt_server *server;
    uint16_t port;
    int i, count = 0, sockets[CLIENTS];
    char name[16];
    witness_init(&witness);
    runtime = make_runtime(&witness, NLMQTT_MODE_THREAD);
    server = make_server(&witness, runtime, &port);
    for (i = 0; i < CLIENTS; i++) {
        snprintf(name, sizeof name, "client%d", i);
        sockets[i] = connect_client(port, name);
    }
    messages_cross_between_workers(sockets);
    CHECK_EQ(counter_get(&witness.published), CLIENTS * MESSAGES);
    OK(nlmqtt_server_each_client(server, count_client, &count));
    CHECK_EQ(count, CLIENTS);
    CHECK_EQ(stat_of(server, "clients_connected"), CLIENTS);
    CHECK(stat_of(server, "connections_handed_over") > 0);
    CHECK(stat_of(server, "messages_handed_over") > 0);
    /* A take-over finds the old connection wherever the new one came in. */
    close(sockets[1]);
    sockets[1] = connect_client(port, "client0");
    { struct packet gone; CHECK_EQ(read_packet(sockets[0], &gone), -1); }
    close(sockets[0]);
    OK(nlmqtt_server_kick(server, "client2", 0, true));
    { struct packet gone; CHECK_EQ(read_packet(sockets[2], &gone), -1); }
    OK(nlmqtt_server_stop(server, 0, 2000));
    CHECK_EQ(counter_get(&witness.is_stopped), 0); /* it was waited for */
    CHECK(counter_wait(&witness.disconnected, CLIENTS + 1));
    for (i = 1; i < CLIENTS; i++)
        close(sockets[i]);
    OK(nlmqtt_server_start(server));
    OK(nlmqtt_server_listener_port(server, 0, &port));
    close(connect_client(port, "again")); /* it is another server, where client0 may live elsewhere */
    nlmqtt_server_free(server);
    CHECK_EQ(counter_get(&witness.freed), 1);
    nlmqtt_runtime_free(runtime);
    CHECK_EQ(witness.started, WORKERS);
    CHECK_EQ(witness.stopped, WORKERS);
    CHECK(witness.thread_count > 1 && witness.thread_count <= WORKERS);
}

static void *connect_all(void *user_data)
{
    uint16_t port = *(uint16_t *)user_data;
    char name[16];
    int i;
    for (i = 0; i < 12; i++) {
        int client;
        snprintf(name, sizeof name, "client%d", i);
        client = connect_client(port, name);
        send_publish(client, "t", "x", 0, false);
        ping(client);
        close(client);
    }
    return NULL;
}

/* All hooks come to the thread that dispatches, one at a time. */
static void in_dispatch_mode_hooks_are_called_on_one_thread(void)
{
    struct witness witness;
    nlmqtt_runtime *runtime;
    nlmqtt_server *server;
    uint16_t port;
    pthread_t thread;
    int i;
    witness_init(&witness);
    runtime = make_runtime(&witness, NLMQTT_MODE_DISPATCH);
    server = make_server(&witness, runtime, &port);
    CHECK_EQ(pthread_create(&thread, NULL, connect_all, &port), 0);
    for (i = 0; i < 3000 && counter_get(&witness.disconnected) < 12; i++)
        OK(nlmqtt_runtime_dispatch(runtime, 10));
    pthread_join(thread, NULL);
    CHECK_EQ(counter_get(&witness.disconnected), 12);
    CHECK(witness.thread_count == 1 && pthread_equal(witness.threads[0], pthread_self()));
    nlmqtt_server_free(server);
    CHECK_EQ(counter_get(&witness.freed), 1);
    nlmqtt_runtime_free(runtime);
    CHECK_EQ(witness.stopped, WORKERS);
}

/* The key is for a private runtime. */
static void a_private_runtime_has_the_workers_of_the_configuration(void)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_server *server = NULL;
    uint16_t port;
    char name[16];
    int i, sockets[16];
    OK(nlmqtt_server_config_set(config, "workers", "4"));
    CHECK_EQ(nlmqtt_server_config_set(config, "workers", "257"), NLMQTT_CONFIG);
    OK(nlmqtt_server_config_add_listener(config, "mqtt://127.0.0.1:0"));
    OK(nlmqtt_server_new(NULL, config, NULL, &server));
    OK(nlmqtt_server_start(server));
    OK(nlmqtt_server_listener_port(server, 0, &port));
    for (i = 0; i < 16; i++) {
        snprintf(name, sizeof name, "client%d", i);
        sockets[i] = connect_client(port, name);
    }
    CHECK(stat_of(server, "connections_handed_over") > 0);
    for (i = 0; i < 16; i++)
        close(sockets[i]);
    nlmqtt_server_free(server);
    nlmqtt_server_config_free(config);
}

int main(void)
{
    a_server_uses_all_workers();
    in_dispatch_mode_hooks_are_called_on_one_thread();
    a_private_runtime_has_the_workers_of_the_configuration();
    return 0;
}
