/* A server by text: control with JSON, metrics for Prometheus and as JSON. */
#include "check.h"

struct answer {
    int count;
    char text[65536];
};

static void on_answer(void *user_data, const char *text, size_t len)
{
    struct answer *answer = (struct answer *)user_data;
    CHECK(strlen(text) == len && len < sizeof answer->text);
    memcpy(answer->text, text, len + 1);
    answer->count++;
}

/* The answer to a call that goes well. */
static const char *ask(nlmqtt_server *server, const char *method, const char *parameters)
{
    static struct answer answer;
    answer.count = 0;
    OK(nlmqtt_server_control(server, method, parameters, on_answer, &answer));
    CHECK_EQ(answer.count, 1);
    return answer.text;
}

#define HAS(text, part)                                                                        \
    do {                                                                                       \
        const char *has_text = (text);                                                         \
        if (strstr(has_text, part) == NULL) {                                                  \
            fprintf(stderr, "%s:%d: no %s in %s\n", __FILE__, __LINE__, part, has_text);       \
            exit(1);                                                                           \
        }                                                                                      \
    } while (0)

static void clients_are_managed(void)
{
    uint16_t port;
    nlmqtt_server *server = serve(NULL, NULL, &port);
    struct packet packet;
    int client = connect_client(port, "one");
    HAS(ask(server, "clients", NULL), "\"total\":1");
    ask(server, "subscribe", "{\"client_id\": \"one\", \"filter\": \"a/#\", \"qos\": 0}");
    HAS(ask(server, "client", "{\"client_id\": \"one\"}"), "\"subscriptions\":[\"a/#\"]");
    CHECK_TEXT(ask(server, "publish", "{\"topic\": \"a/b\", \"payload\": \"text\"}"), "{\"subscriptions\":1}");
    expect_publish(client, "a/b", "text");
    ask(server, "unsubscribe", "{\"client_id\": \"one\", \"filter\": \"a/#\"}");
    CHECK_TEXT(ask(server, "publish", "{\"topic\": \"a/b\", \"payload_hex\": \"00ff\", \"retain\": true, \"qos\": 1}"), "{\"subscriptions\":0}");
    HAS(ask(server, "retained", "{\"filter\": \"a/+\"}"), "\"payload_hex\":\"00ff\"");
    HAS(ask(server, "retained_get", "{\"topic\": \"a/b\"}"), "\"qos\":1");
    CHECK_TEXT(ask(server, "retained_delete", "{\"filter\": \"#\"}"), "{\"deleted\":1}");
    HAS(ask(server, "statistics", ""), "\"clients_connected\":1");
    CHECK_TEXT(ask(server, "kick", "{\"client_id\": \"one\", \"end_session\": true}"), "{}");
    CHECK_EQ(read_packet(client, &packet), -1);
    close(client);
    ask(server, "ban", "{\"client_id\": \"one\", \"seconds\": 60}");
    HAS(ask(server, "bans", NULL), "\"client_id\":\"one\"");
    client = dial(port);
    send_connect(client, 4, "one", NULL, NULL);
    EXPECT(client, 0x20, "\0\5", 2);
    close(client);
    ask(server, "unban", "{\"client_id\": \"one\"}");
    CHECK_TEXT(ask(server, "bans", NULL), "[]");
    nlmqtt_server_free(server);
}

static void the_configuration_is_read_checked_and_changed(void)
{
    uint16_t port, still;
    nlmqtt_server *server = serve(NULL, NULL, &port);
    struct answer answer;
    char text[2048];
    uint64_t clients = 1;
    HAS(ask(server, "configuration", NULL), "\"max_connections\":100000");
    HAS(ask(server, "configuration", NULL), "\"listener\":[\"mqtt://127.0.0.1:0\"]");
    CHECK_TEXT(ask(server, "configuration_check", "{\"toml\": \"max_connections = 5\"}"), "{\"problems\":[]}");
    HAS(ask(server, "configuration_check", "{\"toml\": \"max_connections = 5\\nmax_conections = 5\"}"), "\"line\":2");
    HAS(ask(server, "configuration_check", "{\"toml\": \"max_conections = 5\"}"), "did you mean 'max_connections'?");
    HAS(ask(server, "configuration_check", "{\"configuration\": {\"hook_timeout_ms\": 60000}}"), "connect_timeout_ms");
    snprintf(text, sizeof text, "%s",
             ask(server, "configuration_reload",
                 "{\"configuration\": {\"listener\": \"mqtt://127.0.0.1:0\", \"max_keepalive\": 9, \"max_retained_messages\": 7}}"));
    HAS(text, "\"applied\":[\"max_keepalive\"]");
    HAS(text, "\"needs_restart\":[\"max_retained_messages\"]");
    HAS(text, "\"failed\":[]");
    HAS(ask(server, "configuration", NULL), "\"max_keepalive\":9");
    OK(nlmqtt_server_listener_port(server, 0, &still));
    CHECK_EQ(still, port);
    answer.count = 0;
    CHECK_EQ(nlmqtt_server_control(server, "configuration_reload", "{\"configuration\": {\"max_keepalive\": -1}}", on_answer, &answer), NLMQTT_CONFIG);
    CHECK_EQ(nlmqtt_server_control(server, "configuration_reload", "{}", on_answer, &answer), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(answer.count, 0);
    HAS(ask(server, "configuration", NULL), "\"max_keepalive\":9");
    OK(nlmqtt_server_stat(server, "clients_connected", &clients));
    nlmqtt_server_free(server);
}

static void wrong_calls_say_what_is_wrong(void)
{
    nlmqtt_server *server = NULL;
    struct answer answer;
    char text[512];
    answer.count = 0;
    OK(nlmqtt_server_new(NULL, NULL, NULL, &server));
    CHECK_EQ(nlmqtt_server_control(server, "nothing", NULL, on_answer, &answer), NLMQTT_INVALID_ARGUMENT);
    nlmqtt_last_error(text, sizeof text);
    HAS(text, "no method 'nothing'");
    CHECK_EQ(nlmqtt_server_control(server, "client", "{\"client_id\": \"x\"}", on_answer, &answer), NLMQTT_NOT_FOUND);
    CHECK_EQ(nlmqtt_server_control(server, "clients", "{\"limit\": \"x\"}", on_answer, &answer), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_control(server, "clients", "nonsense", on_answer, &answer), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_control(server, NULL, NULL, on_answer, &answer), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_control(server, "clients", NULL, NULL, &answer), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_control(NULL, "clients", NULL, on_answer, &answer), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(answer.count, 0);
    nlmqtt_server_free(server);
}

static void metrics_have_two_formats(void)
{
    uint16_t port;
    nlmqtt_server *server = serve(NULL, NULL, &port);
    struct answer answer;
    int client = connect_client(port, "one");
    answer.count = 0;
    OK(nlmqtt_server_metrics(server, NLMQTT_METRICS_PROMETHEUS, on_answer, &answer));
    HAS(answer.text, "# TYPE nlmqtt_clients_connected gauge\nnlmqtt_clients_connected 1\n");
    HAS(answer.text, "# HELP nlmqtt_publish_received_total PUBLISH packets received.\n# TYPE nlmqtt_publish_received_total counter\n");
    OK(nlmqtt_server_metrics(server, NLMQTT_METRICS_JSON, on_answer, &answer));
    HAS(answer.text, "{\"clients_connected\":1,");
    CHECK_EQ(answer.count, 2);
    CHECK_EQ(nlmqtt_server_metrics(server, 0, on_answer, &answer), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_metrics(server, NLMQTT_METRICS_JSON, NULL, &answer), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_metrics(NULL, NLMQTT_METRICS_JSON, on_answer, &answer), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(answer.count, 2);
    close(client);
    nlmqtt_server_free(server);
}

int main(void)
{
    clients_are_managed();
    the_configuration_is_read_checked_and_changed();
    wrong_calls_say_what_is_wrong();
    metrics_have_two_formats();
    puts("ok server_control");
    return 0;
}
