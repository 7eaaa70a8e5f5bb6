/* Servers: start, stop and free in every order, in both modes, from outside and from callbacks. */
#include "check.h"

static void start_and_stop_in_every_order(void)
{
    nlmqtt_server *server = NULL;
    uint16_t port = 0;
    OK(nlmqtt_server_new(NULL, NULL, NULL, &server));
    OK(nlmqtt_server_start(server));
    CHECK_EQ(nlmqtt_server_start(server), NLMQTT_INVALID_STATE);
    CHECK_EQ(nlmqtt_server_stop(server, 0x04, 0), NLMQTT_INVALID_ARGUMENT);
    OK(nlmqtt_server_stop(server, 0, 0));
    OK(nlmqtt_server_stop(server, 0, 0));
    CHECK_EQ(nlmqtt_server_publish(server, "a", NULL, 0, 0, false, NULL), NLMQTT_INVALID_STATE);
    CHECK_EQ(nlmqtt_server_listener_port(server, 0, &port), NLMQTT_NOT_FOUND);
    OK(nlmqtt_server_start(server));
    OK(nlmqtt_server_publish(server, "a", NULL, 0, 0, false, NULL));
    nlmqtt_server_free(server);
    OK(nlmqtt_server_new(NULL, NULL, NULL, &server));
    nlmqtt_server_free(server);
    OK(nlmqtt_server_new(NULL, NULL, NULL, &server));
    OK(nlmqtt_server_stop(server, 0, 0));
    nlmqtt_server_free(server);
    nlmqtt_server_free(NULL);
}

static void a_taken_port_is_told_and_can_be_tried_again(void)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_server *first, *second = NULL;
    uint16_t port;
    char text[128];
    first = serve(NULL, NULL, &port);
    snprintf(text, sizeof text, "mqtt://127.0.0.1:%u", (unsigned)port);
    OK(nlmqtt_server_config_add_listener(config, text));
    OK(nlmqtt_server_new(NULL, config, NULL, &second));
    CHECK_EQ(nlmqtt_server_start(second), NLMQTT_ADDRESS_IN_USE);
    nlmqtt_last_error(text, sizeof text);
    CHECK(strstr(text, "127.0.0.1:") != NULL);
    nlmqtt_server_free(first);
    OK(nlmqtt_server_start(second));
    OK(nlmqtt_server_listener_address(second, 0, text, sizeof text));
    CHECK(strstr(text, "127.0.0.1:") == text);
    close(connect_client(port, "again"));
    nlmqtt_server_free(second);
    nlmqtt_server_config_free(config);
}

static void clients_hear_why_a_server_stops(void)
{
    uint16_t port;
    nlmqtt_server *server = serve(NULL, NULL, &port);
    struct packet packet;
    int client = dial(port);
    send_connect(client, 5, "five", NULL, NULL);
    CHECK_EQ(read_packet(client, &packet), 0x20);
    OK(nlmqtt_server_stop(server, 0x9D, 1000));
    CHECK_EQ(read_packet(client, &packet), 0xE0);
    CHECK(packet.len >= 1 && packet.body[0] == 0x9D);
    CHECK_EQ(read_packet(client, &packet), -1);
    close(client);
    nlmqtt_server_free(server);
}

struct owner {
    nlmqtt_server *server;
    struct counter connected, freed, stopped;
    nlmqtt_status status[4];
    bool frees, stops;
};

static void count_client(void *user_data, const nlmqtt_client_entry *client)
{
    (void)user_data;
    (void)client;
}

static void on_connected(void *user_data, const nlmqtt_client_info *client, bool session_present)
{
    struct owner *owner = (struct owner *)user_data;
    CHECK(client->client_id.len > 0 && !session_present);
    owner->status[0] = nlmqtt_server_start(owner->server);
    owner->status[1] = nlmqtt_server_each_client(owner->server, count_client, NULL);
    if (owner->stops)
        owner->status[2] = nlmqtt_server_stop(owner->server, 0, 100);
    if (owner->frees)
        nlmqtt_server_free(owner->server);
    counter_add(&owner->connected);
}

static void on_freed(void *user_data)
{
    counter_add(&((struct owner *)user_data)->freed);
}

static void on_stopped(void *user_data)
{
    counter_add(&((struct owner *)user_data)->stopped);
}

static void owner_init(struct owner *owner, nlmqtt_server_hooks *hooks)
{
    memset(owner, 0, sizeof *owner);
    counter_init(&owner->connected);
    counter_init(&owner->freed);
    counter_init(&owner->stopped);
    nlmqtt_server_hooks_init(hooks);
    hooks->user_data = owner;
    hooks->free_fn = on_freed;
    hooks->connected = on_connected;
    hooks->stopped = on_stopped;
}

static void a_server_may_be_freed_by_its_own_hook(void)
{
    nlmqtt_runtime *runtime = NULL;
    int shared;
    for (shared = 0; shared < 2; shared++) {
        struct owner owner;
        nlmqtt_server_hooks hooks;
        uint16_t port;
        int client;
        struct packet packet;
        owner_init(&owner, &hooks);
        owner.frees = true;
        if (shared)
            OK(nlmqtt_runtime_new(NULL, &runtime));
        owner.server = serve(runtime, &hooks, &port);
        client = dial(port);
        send_connect(client, 4, "freeing", NULL, NULL);
        CHECK(counter_wait(&owner.freed, 1));
        CHECK_EQ(owner.status[0], NLMQTT_WOULD_DEADLOCK);
        CHECK_EQ(owner.status[1], NLMQTT_WOULD_DEADLOCK);
        while (read_packet(client, &packet) >= 0)
            continue;
        close(client);
        nlmqtt_runtime_free(runtime);
        CHECK_EQ(counter_get(&owner.freed), 1);
        CHECK_EQ(counter_get(&owner.connected), 1);
    }
}

/* Another thread is inside a function of the server while a hook frees it, and the hook waits for that thread. */
struct contest {
    nlmqtt_server *server;
    struct counter asking, freed, returned;
};

static void wait_for_free(void *user_data, const char *name, uint64_t value)
{
    struct contest *contest = (struct contest *)user_data;
    (void)name, (void)value;
    if (counter_get(&contest->asking) == 0) {
        counter_add(&contest->asking);
        CHECK(counter_wait(&contest->freed, 1));
    }
}

static void *ask_for_long(void *user_data)
{
    struct contest *contest = (struct contest *)user_data;
    OK(nlmqtt_server_each_stat(contest->server, wait_for_free, contest));
    counter_add(&contest->returned);
    return NULL;
}

static void free_in_contest(void *user_data)
{
    struct contest *contest = (struct contest *)user_data;
    CHECK(counter_wait(&contest->asking, 1));
    nlmqtt_server_free(contest->server);
    counter_add(&contest->freed);
    CHECK(counter_wait(&contest->returned, 1));
}

static void freed_in_a_callback_it_makes_no_other_thread_wait(void)
{
    static struct contest contest; /* the hook looks at it for a moment longer */
    pthread_t thread;
    counter_init(&contest.asking);
    counter_init(&contest.freed);
    counter_init(&contest.returned);
    OK(nlmqtt_server_new(NULL, NULL, NULL, &contest.server));
    CHECK(pthread_create(&thread, NULL, ask_for_long, &contest) == 0);
    CHECK(counter_wait(&contest.asking, 1));
    OK(nlmqtt_server_schedule(contest.server, 0, 0, free_in_contest, &contest, NULL, NULL));
    CHECK(counter_wait(&contest.returned, 1));
    CHECK(pthread_join(thread, NULL) == 0);
}

static void a_stop_in_a_hook_is_told_by_a_hook(void)
{
    struct owner owner;
    nlmqtt_server_hooks hooks;
    uint16_t port;
    int client;
    owner_init(&owner, &hooks);
    owner.stops = true;
    owner.server = serve(NULL, &hooks, &port);
    client = dial(port);
    send_connect(client, 4, "stopping", NULL, NULL);
    CHECK(counter_wait(&owner.stopped, 1));
    CHECK_EQ(owner.status[2], NLMQTT_IN_PROGRESS);
    CHECK_EQ(counter_get(&owner.freed), 0);
    OK(nlmqtt_server_stop(owner.server, 0, 0));
    nlmqtt_server_free(owner.server);
    CHECK_EQ(counter_get(&owner.freed), 1);
    close(client);
}

static nlmqtt_runtime *make_loop(void)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    nlmqtt_runtime *runtime = NULL;
    OK(nlmqtt_runtime_config_set_mode(config, NLMQTT_MODE_LOOP));
    OK(nlmqtt_runtime_new(config, &runtime));
    nlmqtt_runtime_config_free(config);
    return runtime;
}

static void loop_mode_serves_and_stops_inside_poll(void)
{
    struct owner owner;
    nlmqtt_server_hooks hooks;
    nlmqtt_runtime *runtime = make_loop();
    uint16_t port;
    int client, i;
    owner_init(&owner, &hooks);
    owner.server = serve(runtime, &hooks, &port);
    client = dial(port);
    send_connect(client, 4, "loop", NULL, NULL);
    while (counter_get(&owner.connected) == 0)
        OK(nlmqtt_runtime_poll(runtime, 100));
    OK(nlmqtt_server_each_client(owner.server, count_client, NULL));
    CHECK_EQ(nlmqtt_server_stop(owner.server, 0, 100), NLMQTT_IN_PROGRESS);
    OK(nlmqtt_server_stop(owner.server, 0, 100));
    for (i = 0; i < 1000 && counter_get(&owner.stopped) == 0; i++)
        OK(nlmqtt_runtime_poll(runtime, 100));
    CHECK_EQ(counter_get(&owner.stopped), 1);
    OK(nlmqtt_server_start(owner.server)); /* begins anew */
    nlmqtt_server_free(owner.server);
    CHECK_EQ(counter_get(&owner.freed), 1);
    nlmqtt_runtime_free(runtime);
    close(client);
}

static void hooks_are_released_also_when_no_server_comes_of_it(void)
{
    struct owner owner;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server = NULL;
    owner_init(&owner, &hooks);
    CHECK_EQ(nlmqtt_server_new(NULL, NULL, &hooks, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(counter_get(&owner.freed), 1);
    hooks.struct_size = 0;
    CHECK_EQ(nlmqtt_server_new(NULL, NULL, &hooks, &server), NLMQTT_INVALID_ARGUMENT);
    CHECK(server == NULL);
    nlmqtt_server_hooks_init(NULL);
}

static void null_is_refused(void)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_server *server = NULL;
    uint16_t port;
    char text[64];
    OK(nlmqtt_server_new(NULL, NULL, NULL, &server));
    CHECK_EQ(nlmqtt_server_start(NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_stop(NULL, 0, 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_reload(NULL, config, NULL, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_reload(server, NULL, NULL, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_listener_port(NULL, 0, &port), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_listener_port(server, 0, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_listener_address(NULL, 0, text, sizeof text), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_listener_address(server, 0, NULL, 4), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_listener_address(server, 0, text, sizeof text), NLMQTT_NOT_FOUND);
    nlmqtt_server_free(server);
    nlmqtt_server_config_free(config);
}

int main(void)
{
    start_and_stop_in_every_order();
    a_taken_port_is_told_and_can_be_tried_again();
    clients_hear_why_a_server_stops();
    a_server_may_be_freed_by_its_own_hook();
    freed_in_a_callback_it_makes_no_other_thread_wait();
    a_stop_in_a_hook_is_told_by_a_hook();
    loop_mode_serves_and_stops_inside_poll();
    hooks_are_released_also_when_no_server_comes_of_it();
    null_is_refused();
    puts("ok server_lifecycle");
    return 0;
}
