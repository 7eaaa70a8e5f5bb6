/* The ladder of servers: a Unix socket that is not there yet, and TCP. Each switch is told, counted, and in the log. */
#include "client_bench.h"

#include <unistd.h>

struct ladder {
    struct record record;
    size_t server, previous_server;
};

/* What the log says of switches, in order. */
static struct {
    pthread_mutex_t lock;
    char switches[256];
} logged = {PTHREAD_MUTEX_INITIALIZER, ""};

static void on_line(void *user_data, int32_t level, const char *module, const char *text)
{
    CHECK(user_data == &logged && strcmp(module, "client") == 0);
    if (strstr(text, "switched") == NULL)
        return;
    CHECK(level == NLMQTT_LOG_INFO);
    pthread_mutex_lock(&logged.lock);
    strncat(logged.switches, text, sizeof logged.switches - strlen(logged.switches) - 1);
    strncat(logged.switches, "\n", sizeof logged.switches - strlen(logged.switches) - 1);
    pthread_mutex_unlock(&logged.lock);
}

static nlmqtt_runtime *logging_runtime(void)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    nlmqtt_runtime *runtime = NULL;
    CHECK_OK(nlmqtt_runtime_config_set_log(config, NLMQTT_LOG_INFO, on_line, &logged, NULL));
    CHECK_OK(nlmqtt_runtime_new(config, &runtime));
    nlmqtt_runtime_config_free(config);
    return runtime;
}

static void on_ladder_connected(void *user_data, const nlmqtt_connected *connected)
{
    struct ladder *ladder = (struct ladder *)user_data;
    pthread_mutex_lock(&ladder->record.lock);
    ladder->server = connected->server;
    ladder->previous_server = connected->previous_server;
    note(&ladder->record, &ladder->record.connected);
}

static uint64_t switches(const nlmqtt_client *client)
{
    nlmqtt_client_statistics statistics;
    nlmqtt_client_statistics_init(&statistics);
    CHECK_OK(nlmqtt_client_stats(client, &statistics));
    return statistics.server_switches;
}

/* Closes the session, and waits for the next one. */
static void next_session(struct ladder *ladder, nlmqtt_server *server, size_t from, size_t to)
{
    int count = ladder->record.connected;
    CHECK_OK(nlmqtt_server_kick(server, "bench", 0, false));
    AWAIT(&ladder->record, connected, count + 1);
    CHECK(ladder->previous_server == from && ladder->server == to);
}

int main(void)
{
    char folder[] = "/tmp/nlmqtt-ladder-XXXXXX", uri[96], text[32];
    struct ladder ladder;
    uint16_t port;
    nlmqtt_client_callbacks callbacks;
    nlmqtt_runtime *runtime = logging_runtime();
    nlmqtt_server *server = serve(NULL, NULL, &port);
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    memset(&ladder, 0, sizeof ladder);
    record_init(&ladder.record);
    CHECK(mkdtemp(folder) != NULL);
    snprintf(uri, sizeof uri, "unix://%s/mqtt.sock?priority=0", folder);
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_add_server(config, "unix://relative", 0));
    CHECK_OK(nlmqtt_client_config_add_server(config, uri, 0));
    snprintf(text, sizeof text, "mqtt://127.0.0.1:%u", (unsigned)port);
    CHECK_OK(nlmqtt_client_config_add_server(config, text, 1));
    CHECK_OK(nlmqtt_client_config_set(config, "client_id", "bench"));
    CHECK_OK(nlmqtt_client_config_set_reconnect_delay(config, 1, 10, false));
    CHECK_OK(nlmqtt_client_config_set(config, "ladder_probe_interval_s", "1"));
    callbacks = callbacks_for(&ladder.record);
    callbacks.user_data = &ladder;
    callbacks.connected = on_ladder_connected;
    callbacks.state = NULL;
    callbacks.disconnected = NULL;
    CHECK_OK(nlmqtt_client_new(runtime, config, &callbacks, &ladder.record.client));
    CHECK_OK(nlmqtt_client_start(ladder.record.client));
    AWAIT(&ladder.record, connected, 1);
    CHECK(ladder.server == 1 && ladder.previous_server == 1);
    next_session(&ladder, server, 1, 1);
    CHECK(switches(ladder.record.client) == 0);
    *strchr(uri, '?') = '\0'; /* the priority is the client's */
    CHECK_OK(nlmqtt_server_add_listener(server, uri, NULL));
    sleep(2);
    next_session(&ladder, server, 1, 0);
    next_session(&ladder, server, 0, 0);
    CHECK(switches(ladder.record.client) == 1);
    CHECK_OK(nlmqtt_server_remove_listener(server, uri));
    next_session(&ladder, server, 0, 1);
    CHECK(switches(ladder.record.client) == 2);
    nlmqtt_client_free(ladder.record.client);
    /* One line for each switch, before the callback that tells of it, and none for a session with the same server. */
    CHECK(strcmp(logged.switches, "client bench: switched from server 1 to server 0\nclient bench: switched from server 0 to server 1\n") == 0);
    nlmqtt_runtime_free(runtime);
    nlmqtt_server_free(server);
    nlmqtt_client_config_free(config);
    record_end(&ladder.record);
    CHECK(rmdir(folder) == 0);
    printf("ok client_ladder\n");
    return 0;
}
