/* A client's life: start, connect, lose, come back, stop, free, in every order. */
#include "client_bench.h"

static struct record record;

static void a_client_connects_and_stops_twice(uint16_t port, const char *version)
{
    nlmqtt_client_statistics statistics;
    nlmqtt_client_config *config = config_for(port, version);
    nlmqtt_client *client;
    record_init(&record);
    CHECK_OK(nlmqtt_client_config_set(config, "keepalive", "33"));
    client = client_with(NULL, config, &record);
    nlmqtt_client_config_free(config);
    CHECK_STATUS(NLMQTT_INVALID_STATE, nlmqtt_client_connect_wait(client, 10));
    CHECK_STATUS(NLMQTT_INVALID_STATE, nlmqtt_client_publish(client, "t", "x", 1, 0, false, NULL));
    CHECK(nlmqtt_client_state(client) == NLMQTT_CLIENT_STOPPED);
    CHECK_OK(nlmqtt_client_stop(client, 10000));
    CHECK_OK(nlmqtt_client_start(client));
    CHECK_OK(nlmqtt_client_connect_wait(client, 20000));
    CHECK(nlmqtt_client_state(client) == NLMQTT_CLIENT_ONLINE);
    AWAIT(&record, connected, 1);
    CHECK(strcmp(record.client_id, "bench") == 0 && record.keep_alive_s == 33 && !record.session_present);
    nlmqtt_client_statistics_init(&statistics);
    CHECK_OK(nlmqtt_client_stats(client, &statistics));
    CHECK(statistics.connects == 1 && statistics.bytes_received > 0 && statistics.queued_count == 0);
    CHECK_OK(nlmqtt_client_stop(client, 10000));
    CHECK(nlmqtt_client_state(client) == NLMQTT_CLIENT_STOPPED);
    CHECK(record.disconnected == 1 && record.cause == NLMQTT_CAUSE_STOPPED && record.retry_in_ms == -1);
    CHECK_OK(nlmqtt_client_stop(client, 10000));
    CHECK_OK(nlmqtt_client_start(client));
    CHECK_OK(nlmqtt_client_connect_wait(client, 20000));
    AWAIT(&record, states[NLMQTT_CLIENT_ONLINE], 2);
    nlmqtt_client_free(client);
    CHECK(record.states[NLMQTT_CLIENT_DIALING] == 2);
    record_end(&record);
}

static void before_connect(void *user_data, size_t server, nlmqtt_credentials *credentials)
{
    struct record *into = (struct record *)user_data;
    CHECK(server == 0);
    CHECK_OK(nlmqtt_credentials_set(credentials, "renewed", "word", 4));
    pthread_mutex_lock(&into->lock);
    note(into, &into->before_connects);
}

static char user_seen[32];

static int32_t authenticate(void *user_data, const nlmqtt_client_info *client, const nlmqtt_connect_info *connect,
                            nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    (void)user_data;
    (void)connect;
    (void)token;
    snprintf(user_seen, sizeof user_seen, "%s", client->username.data ? client->username.data : "");
    if (strcmp(user_seen, "renewed") == 0)
        return NLMQTT_ALLOW;
    nlmqtt_decision_set_reason(decision, 0x86);
    return NLMQTT_DENY;
}

static void a_lost_connection_comes_back(void)
{
    uint16_t port = 0;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server;
    nlmqtt_client_config *config;
    nlmqtt_client_callbacks callbacks;
    nlmqtt_server_hooks_init(&hooks);
    hooks.authenticate = authenticate;
    server = serve(NULL, &hooks, &port);
    record_init(&record);
    config = config_for(port, "5");
    callbacks = callbacks_for(&record);
    callbacks.before_connect = before_connect;
    callbacks.free_fn = on_free;
    CHECK_OK(nlmqtt_client_new(NULL, config, &callbacks, &record.client));
    CHECK_OK(nlmqtt_client_start(record.client));
    AWAIT(&record, connected, 1);
    CHECK(strcmp(user_seen, "renewed") == 0);
    CHECK_OK(nlmqtt_server_kick(server, "bench", 0x98, true));
    AWAIT(&record, connected, 2);
    CHECK(record.before_connects == 2 && record.disconnected == 1 && record.was_online);
    CHECK(record.cause == NLMQTT_CAUSE_SHUTTING_DOWN && record.retry_in_ms >= 0 && record.retry_in_ms <= 50);
    nlmqtt_client_free(record.client);
    CHECK(record.freed == 1);
    record_end(&record);

    /* Refused: the longest delay, and reconnect_now shortens it. */
    record_init(&record);
    CHECK_OK(nlmqtt_client_config_set(config, "reconnect_delay_max_ms", "60000"));
    client_with(NULL, config, &record);
    CHECK_OK(nlmqtt_client_start(record.client));
    AWAIT(&record, disconnected, 1);
    {
        char text[1024], tiny[7];
        size_t len = 0;
        CHECK_OK(nlmqtt_client_diagnostics(record.client, text, sizeof text, &len));
        CHECK(len == strlen(text) && strstr(text, "\nlast_disconnect credentials refused") && strstr(text, "\ndisconnects 1\n"));
        CHECK_OK(nlmqtt_client_diagnostics(record.client, tiny, sizeof tiny, &len));
        CHECK(strcmp(tiny, "state ") == 0 && len > 100);
    }
    CHECK(record.cause == NLMQTT_CAUSE_CREDENTIALS && record.reason == 0x86 && record.retry_in_ms > 20000);
    CHECK(strstr(record.text, "credentials refused"));
    CHECK_STATUS(NLMQTT_TIMEOUT, nlmqtt_client_connect_wait(record.client, 20));
    CHECK_OK(nlmqtt_client_reconnect_now(record.client));
    AWAIT(&record, disconnected, 2);
    nlmqtt_client_free(record.client);
    record_end(&record);
    nlmqtt_client_config_free(config);
    nlmqtt_server_free(server);
}

static void before_connect_badly(void *user_data, size_t server, nlmqtt_credentials *credentials)
{
    struct record *into = (struct record *)user_data;
    (void)server;
    CHECK_OK(nlmqtt_credentials_set(credentials, NULL, "word", 4));
    pthread_mutex_lock(&into->lock);
    note(into, &into->before_connects);
}

static void credentials_that_cannot_be_sent_are_told(uint16_t port)
{
    nlmqtt_client_config *config = config_for(port, "3.1.1");
    nlmqtt_client_callbacks callbacks;
    record_init(&record);
    callbacks = callbacks_for(&record);
    callbacks.before_connect = before_connect_badly;
    CHECK_OK(nlmqtt_client_new(NULL, config, &callbacks, &record.client));
    CHECK_OK(nlmqtt_client_start(record.client));
    AWAIT(&record, disconnected, 2); /* and it tries again */
    CHECK(record.cause == NLMQTT_CAUSE_CREDENTIALS && record.connected == 0 && record.before_connects >= 2);
    nlmqtt_client_free(record.client);
    record_end(&record);
    nlmqtt_client_config_free(config);
}

static void a_client_gives_up_if_it_was_told_to(void)
{
    uint16_t port = 0;
    nlmqtt_server *server = serve(NULL, NULL, &port);
    nlmqtt_client_config *config = config_for(port, "3.1.1");
    nlmqtt_server_free(server); /* Nobody listens there now. */
    record_init(&record);
    CHECK_OK(nlmqtt_client_config_set(config, "reconnect_on_network", "stop"));
    client_with(NULL, config, &record);
    CHECK_OK(nlmqtt_client_start(record.client));
    CHECK_STATUS(NLMQTT_GONE, nlmqtt_client_connect_wait(record.client, 20000));
    AWAIT(&record, disconnected, 1);
    CHECK(record.cause == NLMQTT_CAUSE_NETWORK && record.retry_in_ms == -1 && !record.was_online);
    nlmqtt_client_free(record.client);
    record_end(&record);
    nlmqtt_client_config_free(config);
}

static void another_server_takes_over(void)
{
    uint16_t dead = 0, alive = 0;
    char uri[64];
    nlmqtt_server *first = serve(NULL, NULL, &dead), *second = serve(NULL, NULL, &alive);
    nlmqtt_client_config *config = config_for(dead, "3.1.1");
    nlmqtt_server_free(first);
    snprintf(uri, sizeof uri, "%s://127.0.0.1:%u", test_scheme(), alive);
    CHECK_OK(nlmqtt_client_config_add_server(config, uri, 1));
    is_let_in(config);
    nlmqtt_server_free(second);
}

static void stop_with_a_reason_publishes_the_will(uint16_t port)
{
    struct record watching;
    nlmqtt_stop_options options;
    nlmqtt_client_config *config = config_for(port, "5");
    record_init(&watching);
    record_init(&record);
    CHECK_OK(nlmqtt_client_config_set(config, "client_id", "watching"));
    client_with(NULL, config, &watching);
    CHECK_OK(nlmqtt_client_subscribe(watching.client, "will", 1, NULL, NULL, NULL, NULL));
    CHECK_OK(nlmqtt_client_start(watching.client));
    AWAIT(&watching, subscribed, 1);
    CHECK_OK(nlmqtt_client_config_set(config, "client_id", "willing"));
    CHECK_OK(nlmqtt_client_config_set_will(config, "will", "last", 4, 1, false, NULL));
    client_with(NULL, config, &record);
    CHECK_OK(nlmqtt_client_start(record.client));
    CHECK_OK(nlmqtt_client_connect_wait(record.client, 20000));
    nlmqtt_stop_options_init(&options);
    options.reason = 0x82;
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, nlmqtt_client_stop_ex(record.client, (options.reason = 0x01, &options)));
    options.reason = 0x04;
    options.timeout_ms = 10000;
    CHECK_OK(nlmqtt_client_stop_ex(record.client, &options));
    AWAIT(&watching, messages, 1);
    CHECK(strcmp(watching.payload, "last") == 0);
    nlmqtt_client_free(record.client);
    nlmqtt_client_free(watching.client);
    record_end(&record);
    record_end(&watching);
    nlmqtt_client_config_free(config);
}

/* Frees the client in its own callback; the lock says that nlmqtt_client_start has returned to the one who uses the handle. */
static void free_connected(void *user_data, const nlmqtt_connected *connected)
{
    struct record *into = (struct record *)user_data;
    nlmqtt_client *client;
    (void)connected;
    pthread_mutex_lock(&into->lock);
    client = into->client;
    pthread_mutex_unlock(&into->lock);
    nlmqtt_client_free(client);
    pthread_mutex_lock(&into->lock);
    note(into, &into->connected);
}

static void a_client_may_be_freed_in_its_callback(nlmqtt_runtime *runtime, uint16_t port)
{
    nlmqtt_client_config *config = config_for(port, "5");
    nlmqtt_client_callbacks callbacks;
    record_init(&record);
    nlmqtt_client_callbacks_init(&callbacks);
    callbacks.user_data = &record;
    callbacks.connected = free_connected;
    callbacks.free_fn = on_free;
    pthread_mutex_lock(&record.lock);
    CHECK_OK(nlmqtt_client_new(runtime, config, &callbacks, &record.client));
    CHECK_OK(nlmqtt_client_start(record.client));
    pthread_mutex_unlock(&record.lock);
    AWAIT(&record, connected, 1);
    AWAIT(&record, freed, 1);
    pthread_mutex_lock(&record.lock);
    pthread_mutex_unlock(&record.lock);
    record_end(&record);
    nlmqtt_client_config_free(config);
}

int main(void)
{
    uint16_t port = 0;
    nlmqtt_runtime *runtime = NULL;
    nlmqtt_server *server;
    CHECK_OK(nlmqtt_runtime_new(NULL, &runtime));
    server = serve(runtime, NULL, &port);
    a_client_connects_and_stops_twice(port, "3.1");
    a_client_connects_and_stops_twice(port, "3.1.1");
    a_client_connects_and_stops_twice(port, "5");
    a_lost_connection_comes_back();
    credentials_that_cannot_be_sent_are_told(port);
    a_client_gives_up_if_it_was_told_to();
    another_server_takes_over();
    stop_with_a_reason_publishes_the_will(port);
    a_client_may_be_freed_in_its_callback(runtime, port);
    a_client_may_be_freed_in_its_callback(NULL, port);
    nlmqtt_server_free(server);
    nlmqtt_runtime_free(runtime);
    printf("ok client_life\n");
    return 0;
}
