/* A client of one runtime, a server of another: by name, without sockets, in every pair of modes; and either may go first. */
#include "client_bench.h"

#include <sys/wait.h>
#include <unistd.h>

static const int32_t modes[] = {NLMQTT_MODE_THREAD, NLMQTT_MODE_LOOP, NLMQTT_MODE_DISPATCH};

struct half {
    nlmqtt_runtime *runtime;
    int32_t mode;
};

static struct half half_new(int32_t mode)
{
    struct half half;
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    half.runtime = NULL;
    half.mode = mode;
    CHECK_OK(nlmqtt_runtime_config_set_mode(config, mode));
    CHECK_OK(nlmqtt_runtime_new(config, &half.runtime));
    nlmqtt_runtime_config_free(config);
    return half;
}

/* Lends a runtime this thread, where it has none of its own, until its descriptor says that there is nothing left. */
static void turn(const struct half *half)
{
    if (half->mode == NLMQTT_MODE_LOOP)
        CHECK_OK(nlmqtt_runtime_poll(half->runtime, 0));
    else if (half->mode == NLMQTT_MODE_DISPATCH)
        CHECK_OK(nlmqtt_runtime_dispatch(half->runtime, 0));
}

/* Turns both until a count is reached; the test ends if that takes 20 seconds. */
static void turn_until(const struct half *one, const struct half *other, struct record *record, const int *count, int wanted, int line)
{
    struct timespec pause;
    int i, value = 0;
    pause.tv_sec = 0;
    pause.tv_nsec = 1000000;
    for (i = 0; i < 20000; i++) {
        pthread_mutex_lock(&record->lock);
        value = *count;
        pthread_mutex_unlock(&record->lock);
        if (value >= wanted)
            return;
        turn(one);
        turn(other);
        nanosleep(&pause, NULL);
    }
    fprintf(stderr, "line %d: %d, not %d\n", line, value, wanted);
    exit(1);
}
#define UNTIL(counter, wanted) turn_until(&near, &far, &record, &record.counter, (wanted), __LINE__)

static nlmqtt_client_config *across(const nlmqtt_server *server, const char *version)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    CHECK_OK(nlmqtt_client_config_add_server(config, "inproc://gateway?client_id=near", 0));
    CHECK_OK(nlmqtt_client_config_set(config, "version", version));
    CHECK_OK(nlmqtt_client_config_set(config, "reconnect_delay_min_ms", "1"));
    CHECK_OK(nlmqtt_client_config_set(config, "reconnect_delay_max_ms", "20"));
    CHECK_OK(nlmqtt_client_config_set_queue_limits(config, 1000, 16 << 20));
    CHECK_OK(nlmqtt_client_config_set_inproc_server(config, server));
    return config;
}

static void collect_change(void *user_data, int32_t change, const char *what)
{
    CHECK(change == NLMQTT_CHANGE_APPLIED && what);
    ++*(int *)user_data;
}

/* What a server is told to be by a reload: with its listener, or without. */
static void reload(nlmqtt_server *server, bool listens)
{
    int changes = 0;
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    if (listens)
        CHECK_OK(nlmqtt_server_config_add_listener(config, "inproc://gateway"));
    CHECK_OK(nlmqtt_server_reload(server, config, collect_change, &changes));
    CHECK(changes == 1);
    nlmqtt_server_config_free(config);
}

static void in_modes(int32_t far_mode, int32_t near_mode, const char *version)
{
    enum { COUNT = 40, SIZE = 70000 };
    struct record record;
    struct half near = half_new(near_mode), far = half_new(far_mode);
    nlmqtt_server *server = NULL;
    nlmqtt_server_config *server_config = nlmqtt_server_config_new();
    nlmqtt_client_config *config;
    nlmqtt_client_callbacks callbacks;
    char *payload = (char *)malloc(SIZE);
    uint64_t token = 0;
    int i;
    CHECK(payload);
    memset(payload, 'x', SIZE);
    record_init(&record);
    callbacks = callbacks_for(&record);
    CHECK_OK(nlmqtt_server_config_add_listener(server_config, "inproc://gateway"));
    CHECK_OK(nlmqtt_server_new(far.runtime, server_config, NULL, &server));
    nlmqtt_server_config_free(server_config);
    config = across(server, version);
    CHECK_OK(nlmqtt_client_new(near.runtime, config, &callbacks, &record.client));
    CHECK_OK(nlmqtt_client_start(record.client));
    /* Nobody listens yet: it goes on trying. */
    UNTIL(disconnected, 1);
    CHECK(record.cause == NLMQTT_CAUSE_NETWORK);
    CHECK_OK(nlmqtt_server_start(server));
    UNTIL(connected, 1);
    CHECK_OK(nlmqtt_client_subscribe(record.client, "a/#", 1, on_own_message, &record, NULL, &token));
    UNTIL(subscribed, 1);
    /* Small ones, and such as are handed on without a copy. */
    for (i = 0; i < COUNT; i++)
        CHECK_OK(nlmqtt_client_publish(record.client, "a/b", payload, i % 3 ? 10 : SIZE, (uint8_t)(1 + i % 2), false, &token));
    UNTIL(own_messages, COUNT);
    UNTIL(published, COUNT);
    /* A reload that closes the listener leaves the connection; whoever comes later waits for one that opens it. */
    reload(server, false);
    CHECK_OK(nlmqtt_client_publish(record.client, "a/b", "still", 5, 1, false, &token));
    UNTIL(own_messages, COUNT + 1);
    CHECK_OK(nlmqtt_server_kick(server, "near", 0, false));
    i = record.disconnected;
    UNTIL(disconnected, i + 3);
    CHECK(record.connected == 1 && record.cause == NLMQTT_CAUSE_NETWORK);
    reload(server, true);
    UNTIL(connected, 2);
    CHECK_OK(nlmqtt_client_publish(record.client, "a/b", "again", 5, 1, false, &token));
    UNTIL(own_messages, COUNT + 2);
    /* The server is freed first, and its runtime: the client is told, and goes on trying. What it has received stays. */
    i = record.disconnected;
    nlmqtt_server_free(server);
    nlmqtt_runtime_free(far.runtime);
    far.mode = NLMQTT_MODE_THREAD;
    UNTIL(disconnected, i + 2);
    CHECK(strcmp(record.payload, "again") == 0);
    nlmqtt_client_free(record.client);
    /* Nobody is there any more, and that is an answer, too. */
    CHECK_OK(nlmqtt_client_new(near.runtime, config, &callbacks, &record.client));
    CHECK_OK(nlmqtt_client_start(record.client));
    i = record.disconnected;
    UNTIL(disconnected, i + 1);
    nlmqtt_client_free(record.client);
    nlmqtt_client_config_free(config);
    nlmqtt_runtime_free(near.runtime);
    free(payload);
    record_end(&record);
}

/* The client and its runtime are freed first: the server sees it go. */
static void client_goes_first(void)
{
    struct record record;
    nlmqtt_server *server = NULL;
    nlmqtt_client_config *config;
    nlmqtt_client_callbacks callbacks;
    struct half near = half_new(NLMQTT_MODE_THREAD), far = half_new(NLMQTT_MODE_THREAD);
    uint64_t connections = 1;
    int i;
    record_init(&record);
    callbacks = callbacks_for(&record);
    CHECK_OK(nlmqtt_server_new(far.runtime, NULL, NULL, &server));
    CHECK_OK(nlmqtt_server_add_listener(server, "inproc://gateway", NULL));
    config = across(server, "5");
    CHECK_OK(nlmqtt_client_new(near.runtime, config, &callbacks, &record.client));
    nlmqtt_client_config_free(config);
    CHECK_OK(nlmqtt_client_start(record.client));
    CHECK_OK(nlmqtt_client_connect_wait(record.client, 10000));
    nlmqtt_client_free(record.client);
    nlmqtt_runtime_free(near.runtime);
    for (i = 0; i < 20000 && connections > 0; i++) {
        struct timespec pause;
        pause.tv_sec = 0;
        pause.tv_nsec = 1000000;
        nanosleep(&pause, NULL);
        CHECK_OK(nlmqtt_server_stat(server, "clients_connected", &connections));
    }
    CHECK(connections == 0);
    nlmqtt_server_free(server);
    nlmqtt_runtime_free(far.runtime);
    record_end(&record);
}

/* Private runtimes, which nobody sees: the server's is found through the server, and NULL takes that back. */
static void private_runtimes(void)
{
    struct record record;
    nlmqtt_server *server = NULL;
    nlmqtt_client_config *config;
    nlmqtt_client_callbacks callbacks;
    pid_t child;
    int before, answer[2], status = 0;
    char refused = 0;
    record_init(&record);
    callbacks = callbacks_for(&record);
    CHECK_OK(nlmqtt_server_new(NULL, NULL, NULL, &server));
    CHECK_OK(nlmqtt_server_add_listener(server, "inproc://gateway", NULL));
    config = across(server, "4");
    CHECK_OK(nlmqtt_client_new(NULL, config, &callbacks, &record.client));
    CHECK_OK(nlmqtt_client_start(record.client));
    CHECK_OK(nlmqtt_client_connect_wait(record.client, 10000));
    nlmqtt_client_free(record.client);
    CHECK_OK(nlmqtt_client_config_set_inproc_server(config, NULL));
    CHECK_OK(nlmqtt_client_new(NULL, config, &callbacks, &record.client));
    before = record.disconnected;
    CHECK_OK(nlmqtt_client_start(record.client));
    AWAIT(&record, disconnected, before + 1);
    CHECK(record.cause == NLMQTT_CAUSE_NETWORK);
    nlmqtt_client_free(record.client);
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, nlmqtt_client_config_set_inproc_server(NULL, server));
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, nlmqtt_client_config_set_inproc_server(NULL, NULL));
    CHECK(pipe(answer) == 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        refused = nlmqtt_client_config_set_inproc_server(config, server) == NLMQTT_FORKED;
        nlmqtt_client_config_free(config);
        nlmqtt_server_free(server);
        /* Not by the exit code: memory of the thread that fork did not copy counts as a leak there. */
        _exit(write(answer[1], &refused, 1) == 1 ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    CHECK(read(answer[0], &refused, 1) == 1 && refused == 1);
    close(answer[0]);
    close(answer[1]);
    nlmqtt_client_config_free(config);
    nlmqtt_server_free(server);
    record_end(&record);
}

int main(void)
{
    const char *const versions[] = {"5", "4", "3"};
    size_t one, other;
    for (one = 0; one < 3; one++)
        for (other = 0; other < 3; other++)
            in_modes(modes[one], modes[other], versions[(one + other) % 3]);
    client_goes_first();
    private_runtimes();
    printf("ok client_inproc_across\n");
    return 0;
}
