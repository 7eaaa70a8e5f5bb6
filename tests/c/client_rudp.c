/* Reliable UDP from C: both generations at one socket, TLS inside, told by URIs and keys alone; and what cannot be. */
#include "client_bench.h"

static struct record record;

static nlmqtt_client_config *config_at(const char *scheme, uint16_t port, const char *query)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    char uri[160];
    snprintf(uri, sizeof uri, "%s://127.0.0.1:%u?client_id=c&%s", scheme, (unsigned)port, query);
    CHECK_OK(nlmqtt_client_config_add_server(config, uri, 0));
    return config;
}

/* A message of so many bytes at each QoS, there and back. */
static void speaks(nlmqtt_client_config *config, size_t size)
{
    char *payload = (char *)malloc(size);
    uint64_t token;
    uint8_t qos;
    CHECK(payload);
    memset(payload, 'x', size);
    record_init(&record);
    client_with(NULL, config, &record);
    CHECK_OK(nlmqtt_client_start(record.client));
    CHECK_OK(nlmqtt_client_connect_wait(record.client, 20000));
    CHECK_OK(nlmqtt_client_subscribe(record.client, "t/#", 2, on_own_message, &record, NULL, &token));
    CHECK_OK(nlmqtt_client_wait(record.client, token, 20000));
    for (qos = 0; qos <= 2; qos++) {
        CHECK_OK(nlmqtt_client_publish(record.client, "t/x", payload, size, qos, false, &token));
        AWAIT(&record, own_messages, qos + 1);
        CHECK(record.qos == qos && nlmqtt_message_payload(record.kept).len == size);
        CHECK(memcmp(nlmqtt_message_payload(record.kept).data, payload, size) == 0);
    }
    CHECK_OK(nlmqtt_client_stop(record.client, 20000));
    nlmqtt_client_free(record.client);
    record_end(&record);
    nlmqtt_client_config_free(config);
    free(payload);
}

static void is_kept_out(nlmqtt_client_config *config, int32_t cause, nlmqtt_status status)
{
    record_init(&record);
    client_with(NULL, config, &record);
    CHECK_OK(nlmqtt_client_start(record.client));
    AWAIT(&record, disconnected, 1);
    CHECK(record.cause == cause && record.text[0] != '\0');
    CHECK_STATUS(status, record.fault);
    nlmqtt_client_free(record.client);
    record_end(&record);
    nlmqtt_client_config_free(config);
}

static void both_generations_are_served_at_one_socket(void)
{
    uint16_t port;
    nlmqtt_server *server = server_at(NULL, "rudp://127.0.0.1:0?rudp_window=65536&rudp_congestion=cubic", &port);
    speaks(config_at("rudp", port, "version=5&rudp_generation=2&rudp_congestion=cubic&rudp_redundancy=true"), 100000);
    speaks(config_at("rudp", port, "version=3.1.1&rudp_generation=1"), 8000);
    speaks(config_at("rudp", port, "version=3.1.1"), 100000);
    nlmqtt_server_free(server);
}

struct fallback {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int count;
    size_t server;
    int32_t protocol;
};

static void on_fallback(void *user_data, size_t server, int32_t protocol)
{
    struct fallback *fallback = (struct fallback *)user_data;
    pthread_mutex_lock(&fallback->lock);
    fallback->count++;
    fallback->server = server;
    fallback->protocol = protocol;
    pthread_cond_broadcast(&fallback->changed);
    pthread_mutex_unlock(&fallback->lock);
}

/* A client of both generations, where the server knows the first one only. */
static void a_fallback_is_told(void)
{
    uint16_t port;
    nlmqtt_server *server = server_at(NULL, "rudp://127.0.0.1:0?rudp_generation=1", &port);
    nlmqtt_client_config *config = config_at("rudp", port, "version=3.1.1");
    nlmqtt_client_callbacks callbacks;
    nlmqtt_datagram_statistics statistics;
    nlmqtt_client *client = NULL;
    struct fallback fallback;
    memset(&fallback, 0, sizeof fallback);
    pthread_mutex_init(&fallback.lock, NULL);
    pthread_cond_init(&fallback.changed, NULL);
    nlmqtt_client_callbacks_init(&callbacks);
    callbacks.user_data = &fallback;
    callbacks.fell_back = on_fallback;
    CHECK_OK(nlmqtt_client_new(NULL, config, &callbacks, &client));
    nlmqtt_client_config_free(config);
    CHECK_OK(nlmqtt_client_start(client));
    CHECK_OK(nlmqtt_client_connect_wait(client, 20000));
    pthread_mutex_lock(&fallback.lock);
    while (fallback.count == 0)
        pthread_cond_wait(&fallback.changed, &fallback.lock);
    CHECK(fallback.count == 1 && fallback.server == 0 && fallback.protocol == NLMQTT_DATAGRAMS_RUDP_1);
    pthread_mutex_unlock(&fallback.lock);
    nlmqtt_datagram_statistics_init(&statistics);
    CHECK_OK(nlmqtt_client_datagram_stats(client, &statistics));
    CHECK(statistics.protocol == NLMQTT_DATAGRAMS_RUDP_1);
    nlmqtt_client_free(client);
    nlmqtt_server_free(server);
    pthread_cond_destroy(&fallback.changed);
    pthread_mutex_destroy(&fallback.lock);
}

/* Bare packets in datagrams: at a port of their own, or beside reliable UDP where that is asked for. */
static void bare_packets_are_served_where_they_are_asked_for(void)
{
    uint16_t port;
    nlmqtt_server *server = server_at(NULL, "udp://127.0.0.1:0", &port);
    speaks(config_at("udp", port, "version=3.1.1"), 8000);
    speaks(config_at("udp", port, "version=5"), 8000);
    nlmqtt_server_free(server);
    server = server_at(NULL, "rudp://127.0.0.1:0?rudp_bare=true", &port);
    speaks(config_at("udp", port, "version=3.1.1"), 8000);
    speaks(config_at("rudp", port, "version=3.1.1"), 8000);
    nlmqtt_server_free(server);
    server = server_at(NULL, "rudp://127.0.0.1:0", &port);
    is_kept_out(config_at("udp", port, "connect_timeout_ms=500"), NLMQTT_CAUSE_TIMEOUT, NLMQTT_OK);
    nlmqtt_server_free(server);
}

/* And by what it says, it can be closed. */
static void a_listener_says_its_scheme(void)
{
    static const char *const schemes[] = {"rudp", "udp"};
    size_t i;
    for (i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        char uri[64], address[64];
        uint16_t port;
        nlmqtt_server *server;
        snprintf(uri, sizeof uri, "%s://127.0.0.1:0", schemes[i]);
        server = server_at(NULL, uri, &port);
        snprintf(uri, sizeof uri, "%s://127.0.0.1:%u", schemes[i], (unsigned)port);
        CHECK_OK(nlmqtt_server_listener_address(server, 0, address, sizeof address));
        CHECK(strcmp(address, uri) == 0);
        CHECK_OK(nlmqtt_server_remove_listener(server, address));
        nlmqtt_server_free(server);
    }
}

static void tls_goes_inside(void)
{
    struct server_files files;
    uint16_t port;
    char uri[sizeof files.uri];
    nlmqtt_server *server;
    nlmqtt_client_config *config;
    write_server_files(&files, "");
    snprintf(uri, sizeof uri, "rudps%s", files.uri + strlen("mqtts"));
    server = server_at(NULL, uri, &port);
    config = config_at("rudps", port, "version=5");
    CHECK_OK(nlmqtt_client_config_set_ca_pem(config, ca_pem));
    speaks(config, 50000);
    config = config_at("rudps", port, "version=5");
    CHECK_OK(nlmqtt_client_config_set_ca_pem(config, client_pem));
    is_kept_out(config, NLMQTT_CAUSE_TLS, NLMQTT_TLS_UNKNOWN_ISSUER);
    nlmqtt_server_free(server);
    remove_server_files(&files);
}

static void what_cannot_be_is_refused(void)
{
    static const char *const wrong[][2] = {{"rudp_generation", "3"}, {"rudp_window", "1"}, {"rudp_frame_bytes", "20"}, {"rudp_congestion", "vegas"}};
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_server_config *server_config = nlmqtt_server_config_new();
    nlmqtt_client *client = NULL;
    char text[256];
    size_t i;
    for (i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_set(config, wrong[i][0], wrong[i][1]));
        nlmqtt_last_error(text, sizeof text);
        CHECK(strstr(text, wrong[i][0]) != NULL);
    }
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_server_config_add_listener(server_config, "mqtt://127.0.0.1:0?rudp_window=65536"));
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_server_config_add_listener(server_config, "udp://127.0.0.1:0?rudp_window=65536"));
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_server_config_add_listener(server_config, "udp://127.0.0.1:0?rudp_bare=true"));
    /* The first generation carries MQTT 3.1.1. */
    CHECK_OK(nlmqtt_client_config_add_server(config, "rudp://127.0.0.1:1?version=5&rudp_generation=1", 0));
    CHECK(nlmqtt_client_new(NULL, config, NULL, &client) != NLMQTT_OK && client == NULL);
    nlmqtt_last_error(text, sizeof text);
    CHECK(strstr(text, "3.1.1") != NULL);
    nlmqtt_client_config_free(config);
    nlmqtt_server_config_free(server_config);
}

/* The kernel says so at once, no time-out does. */
static void nobody_at_the_port_is_told(void)
{
    uint16_t port;
    nlmqtt_server *server = server_at(NULL, "rudp://127.0.0.1:0", &port);
    nlmqtt_server_free(server);
    is_kept_out(config_at("rudp", port, "connect_timeout_ms=19000"), NLMQTT_CAUSE_NETWORK, NLMQTT_NETWORK);
}

int main(void)
{
    both_generations_are_served_at_one_socket();
    a_fallback_is_told();
    bare_packets_are_served_where_they_are_asked_for();
    a_listener_says_its_scheme();
    tls_goes_inside();
    what_cannot_be_is_refused();
    nobody_at_the_port_is_told();
    printf("ok client_rudp\n");
    return 0;
}
