/* The configuration of a client: keys, URIs, connection string, file, environment. */
#include "client_bench.h"

#include <unistd.h>

static void check_value(const nlmqtt_client_config *config, const char *key, const char *expected)
{
    char value[128];
    size_t len = 0;
    CHECK_OK(nlmqtt_client_config_get(config, key, value, sizeof value, &len));
    if (strcmp(value, expected) != 0 || len != strlen(expected)) {
        fprintf(stderr, "%s is '%s', not '%s'\n", key, value, expected);
        exit(1);
    }
}

static void keys_and_connection_strings(void)
{
    char text[256], tiny[4];
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    CHECK_OK(nlmqtt_client_config_set(config, "keepalive", "30"));
    check_value(config, "KEEPALIVE", "30");
    CHECK_OK(nlmqtt_client_config_get(config, "version", tiny, sizeof tiny, NULL));
    CHECK(strcmp(tiny, "3.1") == 0);
    CHECK(nlmqtt_client_config_set(config, "keepaliv", "30") < 0);
    nlmqtt_last_error(text, sizeof text);
    CHECK(strstr(text, "did you mean 'keepalive'"));
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_set(config, "keepalive", "70000"));
    CHECK_STATUS(nlmqtt_has_feature("quic") ? NLMQTT_OK : NLMQTT_UNSUPPORTED, nlmqtt_client_config_add_server(config, "quic://localhost", 0));
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_add_server(config, "http://localhost", 0));
    CHECK_OK(nlmqtt_client_config_load_connstr(config, "Server=tcp://127.0.0.1:1884;ClientId=c;UserName=u;Password=p;Timeout=9000"));
    check_value(config, "client_id", "c");
    check_value(config, "username", "u");
    check_value(config, "connect_timeout_ms", "9000");
    CHECK(nlmqtt_client_config_load_connstr(config, "ClientId=d;Colour=red") < 0);
    check_value(config, "client_id", "c");
    nlmqtt_client_config_free(config);
}

static void files_and_environment(void)
{
    char path[] = "/tmp/nlmqtt-client-XXXXXX", text[512];
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    int file = mkstemp(path);
    static const char good[] = "client_id = \"file\"\nkeepalive = 12\n[[server]]\nuri = \"mqtt://127.0.0.1\"\n";
    static const char bad[] = "client_id = \"other\"\nkeepalive = 120000\nkepalive = 1\n";
    CHECK(file >= 0 && write(file, good, sizeof good - 1) == (ssize_t)sizeof good - 1);
    CHECK_OK(nlmqtt_client_config_load_file(config, path));
    check_value(config, "client_id", "file");
    check_value(config, "keepalive", "12");
    CHECK(ftruncate(file, 0) == 0 && lseek(file, 0, SEEK_SET) == 0);
    CHECK(write(file, bad, sizeof bad - 1) == (ssize_t)sizeof bad - 1);
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_load_file(config, path));
    nlmqtt_last_error(text, sizeof text);
    CHECK(strstr(text, "line 2") && strstr(text, "line 3"));
    check_value(config, "client_id", "file");
    close(file);
    unlink(path);
    CHECK_STATUS(NLMQTT_IO, nlmqtt_client_config_load_file(config, path));
    setenv("NLMQTT_KEEPALIVE", "77", 1);
    CHECK_OK(nlmqtt_client_config_load_environment(config));
    check_value(config, "keepalive", "77");
    setenv("NLMQTT_KEEPALIV", "78", 1);
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_load_environment(config));
    nlmqtt_client_config_free(config);
}

static void wills_and_properties(void)
{
    nlmqtt_client *client = NULL;
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_properties *properties = nlmqtt_properties_new();
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_new(NULL, config, NULL, &client));
    CHECK_OK(nlmqtt_client_config_add_server(config, "mqtt://127.0.0.1", 0));
    CHECK_OK(nlmqtt_properties_add_u32(properties, NLMQTT_PROPERTY_WILL_DELAY_INTERVAL, 3));
    CHECK_OK(nlmqtt_client_config_set_will(config, "status", "off", 3, 1, true, properties));
    check_value(config, "will_topic", "status");
    check_value(config, "will_delay_s", "3");
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, nlmqtt_client_config_set_will(config, "a/#", "off", 3, 1, true, NULL));
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, nlmqtt_client_config_set_will(config, "a", "off", 3, 3, true, NULL));
    CHECK(nlmqtt_client_config_set_connect_properties(config, properties) < 0);
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_new(NULL, config, NULL, &client)); /* a delay is of MQTT 5 */
    CHECK_OK(nlmqtt_client_config_set(config, "version", "5"));
    CHECK_OK(nlmqtt_client_config_set_authentication(config, "PLAIN", "x", 1));
    CHECK_OK(nlmqtt_client_new(NULL, config, NULL, &client));
    nlmqtt_client_free(client);
    CHECK_OK(nlmqtt_client_config_set_authentication(config, NULL, NULL, 0));
    CHECK_OK(nlmqtt_client_config_set_will(config, NULL, NULL, 0, 0, false, NULL));
    check_value(config, "will_topic", "");
    CHECK_OK(nlmqtt_client_config_set_credentials(config, "me", "secret", 6));
    check_value(config, "username", "me");
    nlmqtt_properties_free(properties);
    nlmqtt_client_config_free(config);
    nlmqtt_client_config_free(NULL);
}

/* Each typed setter does what its key does, and refuses what its key refuses. */
static void typed_setters(void)
{
    char text[256];
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    CHECK_OK(nlmqtt_client_config_set_client_id(config, "typed"));
    check_value(config, "client_id", "typed");
    CHECK_OK(nlmqtt_client_config_set_version(config, 5));
    check_value(config, "version", "5");
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_set_version(config, 6));
    nlmqtt_last_error(text, sizeof text);
    CHECK(strstr(text, "version"));
    CHECK_OK(nlmqtt_client_config_set_clean_start(config, false));
    check_value(config, "clean_start", "false");
    CHECK_OK(nlmqtt_client_config_set_session_expiry_s(config, 77));
    check_value(config, "session_expiry_s", "77");
    CHECK_OK(nlmqtt_client_config_set_keepalive_s(config, 11));
    check_value(config, "keepalive", "11");
    CHECK_OK(nlmqtt_client_config_set_receive_maximum(config, 12));
    check_value(config, "receive_maximum", "12");
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_set_receive_maximum(config, 0));
    CHECK_OK(nlmqtt_client_config_set_max_packet_bytes(config, 1300));
    check_value(config, "max_packet_size", "1300");
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_set_max_packet_bytes(config, 127));
    CHECK_OK(nlmqtt_client_config_set_max_inflight_messages(config, 14));
    check_value(config, "max_inflight_messages", "14");
    CHECK_OK(nlmqtt_client_config_set_topic_aliases(config, 15, 16));
    check_value(config, "max_topic_alias", "15");
    check_value(config, "max_topic_alias_out", "16");
    CHECK_OK(nlmqtt_client_config_set_connect_timeout_ms(config, 17));
    check_value(config, "connect_timeout_ms", "17");
    CHECK_OK(nlmqtt_client_config_set_ping_timeout_ms(config, 18));
    check_value(config, "ping_timeout_ms", "18");
    CHECK_OK(nlmqtt_client_config_set_reconnect_delay(config, 19, 20, false));
    check_value(config, "reconnect_delay_min_ms", "19");
    check_value(config, "reconnect_delay_max_ms", "20");
    check_value(config, "reconnect_jitter", "false");
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_set_reconnect_delay(config, 21, 0, true));
    check_value(config, "reconnect_delay_min_ms", "19"); /* all or nothing */
    CHECK_OK(nlmqtt_client_config_set_reconnect_rule(config, NLMQTT_CAUSE_BUSY, NLMQTT_RETRY_SLOW));
    check_value(config, "reconnect_on_busy", "slow");
    CHECK_OK(nlmqtt_client_config_set_reconnect_rule(config, NLMQTT_CAUSE_OTHER, NLMQTT_RETRY_STOP));
    check_value(config, "reconnect_on_other", "stop");
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_set_reconnect_rule(config, NLMQTT_CAUSE_STOPPED, NLMQTT_RETRY_SOON));
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_set_reconnect_rule(config, NLMQTT_CAUSE_BUSY, -1));
    CHECK_OK(nlmqtt_client_config_set_resubscribe(config, NLMQTT_RESUBSCRIBE_NEVER));
    check_value(config, "resubscribe", "never");
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_set_resubscribe(config, 3));
    CHECK_OK(nlmqtt_client_config_set_queue_limits(config, 23, 24));
    check_value(config, "max_queued_messages", "23");
    check_value(config, "max_queued_bytes", "24");
    CHECK_OK(nlmqtt_client_config_set_queue_policy(config, NLMQTT_OVERFLOW_DROP_OLDEST, 25, true));
    check_value(config, "queue_overflow", "drop_oldest");
    check_value(config, "queue_expiry_ms", "25");
    check_value(config, "queue_newest_per_topic", "true");
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_set_queue_policy(config, 2, 26, false));
    check_value(config, "queue_expiry_ms", "25");
    CHECK_OK(nlmqtt_client_config_set_queue_qos0(config, false));
    check_value(config, "queue_qos0_messages", "false");
    CHECK_OK(nlmqtt_client_config_set_manual_ack(config, true));
    check_value(config, "manual_ack", "true");
    CHECK_OK(nlmqtt_client_config_set_pull_receive(config, 27, 28));
    check_value(config, "pull_receive", "true");
    check_value(config, "max_received_messages", "27");
    check_value(config, "max_received_bytes", "28");
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_set_pull_receive(config, 0, 1));
    CHECK_OK(nlmqtt_client_config_set_requests(config, 29, "answers/me"));
    check_value(config, "max_requests", "29");
    check_value(config, "response_topic", "answers/me");
    CHECK_OK(nlmqtt_client_config_set_requests(config, 30, NULL));
    check_value(config, "response_topic", "answers/me");
    CHECK_OK(nlmqtt_client_config_set_bind(config, "::1", "eth0", 31));
    check_value(config, "bind_address", "::1");
    check_value(config, "bind_device", "eth0");
    check_value(config, "socket_mark", "31");
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_set_bind(config, "not an address", NULL, 0));
    check_value(config, "bind_device", "eth0");
    CHECK_OK(nlmqtt_client_config_set_bind(config, NULL, NULL, 0));
    check_value(config, "bind_address", "");
    /* A topic with a wildcard is found out when the client is made. */
    {
        nlmqtt_client *client = NULL;
        CHECK_OK(nlmqtt_client_config_add_server(config, "mqtt://127.0.0.1", 0));
        CHECK_OK(nlmqtt_client_config_set_requests(config, 30, "answers/#"));
        CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_new(NULL, config, NULL, &client));
    }
    nlmqtt_client_config_free(config);
}

int main(void)
{
    typed_setters();
    keys_and_connection_strings();
    files_and_environment();
    wills_and_properties();
    printf("ok client_config\n");
    return 0;
}
