/* Request and response (MQTT 5 section 4.10): answered, too late, nobody there, not allowed, cancelled. */
#include "client_peer.h"

static struct record asking, answering;
static nlmqtt_server *server;
static uint16_t port;
static int is_silent, denies_responses;
static char response_topic[64];

/* What the response callback was told last. */
static struct {
    int count;
    nlmqtt_status status;
    int reason;
    char payload[64], content_type[64];
} answer;

static void on_response(void *user_data, const nlmqtt_completion *completion, const nlmqtt_message *response)
{
    struct record *into = (struct record *)user_data;
    nlmqtt_bytes payload = nlmqtt_message_payload(response);
    nlmqtt_str content_type = { NULL, 0 };
    pthread_mutex_lock(&into->lock);
    CHECK((response != NULL) == (completion->status == NLMQTT_OK));
    answer.status = completion->status;
    answer.reason = completion->has_reason ? completion->reason : -1;
    copy_str(answer.payload, sizeof answer.payload, (const char *)payload.data, payload.len);
    nlmqtt_properties_get_string(nlmqtt_message_properties(response), NLMQTT_PROPERTY_CONTENT_TYPE, 0, &content_type);
    copy_str(answer.content_type, sizeof answer.content_type, content_type.data, content_type.len);
    note(into, &answer.count);
}

/* The service: says back what it got. */
static void serve_request(void *user_data, const nlmqtt_message *request, nlmqtt_ack ack)
{
    struct record *into = (struct record *)user_data;
    nlmqtt_bytes payload = nlmqtt_message_payload(request);
    nlmqtt_str topic = { NULL, 0 };
    char text[64];
    on_own_message(user_data, request, ack);
    CHECK_OK(nlmqtt_properties_get_string(nlmqtt_message_properties(request), NLMQTT_PROPERTY_RESPONSE_TOPIC, 0, &topic));
    copy_str(response_topic, sizeof response_topic, topic.data, topic.len);
    if (is_silent)
        return;
    snprintf(text, sizeof text, "re: %.*s", (int)payload.len, (const char *)payload.data);
    CHECK_OK(nlmqtt_client_respond(into->client, request, text, strlen(text), NULL, NULL));
}

static int32_t authorize(void *user_data, const nlmqtt_client_info *client, int32_t access, nlmqtt_str topic, uint8_t qos,
                         bool retain, nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    (void)user_data, (void)client, (void)access, (void)qos, (void)retain, (void)token;
    if (!denies_responses || strncmp(topic.data, "response/", 9) != 0)
        return NLMQTT_ALLOW;
    nlmqtt_decision_set_reason(decision, 0x87);
    return NLMQTT_DENY;
}

static nlmqtt_status ask(const char *topic, const char *text, int qos, uint32_t timeout_ms, uint64_t *token)
{
    nlmqtt_publish_options options;
    nlmqtt_publish_options_init(&options);
    options.qos = (uint8_t)qos;
    return nlmqtt_client_request(asking.client, topic, text, strlen(text), &options, timeout_ms, on_response, &asking, on_free, token);
}

static void await_answer(int count, nlmqtt_status status)
{
    await_count(&asking, &answer.count, count, "answers", __LINE__);
    await_count(&asking, &asking.freed, count, "freed", __LINE__);
    CHECK(answer.count == count && asking.freed == count);
    CHECK_STATUS(status, answer.status);
}

static void start(const char *version)
{
    nlmqtt_client_config *config = config_for(port, version);
    memset(&answer, 0, sizeof answer);
    record_init(&asking);
    record_init(&answering);
    CHECK_OK(nlmqtt_client_config_set_client_id(config, "asking"));
    client_with(NULL, config, &asking);
    CHECK_OK(nlmqtt_client_config_set_client_id(config, "answering"));
    client_with(NULL, config, &answering);
    nlmqtt_client_config_free(config);
    CHECK_OK(nlmqtt_client_subscribe(answering.client, "service", 1, serve_request, &answering, NULL, NULL));
    CHECK_OK(nlmqtt_client_start(answering.client));
    CHECK_OK(nlmqtt_client_flush(answering.client, 10000));
}

static void end(void)
{
    nlmqtt_client_free(asking.client);
    nlmqtt_client_free(answering.client);
    record_end(&asking);
    record_end(&answering);
}

static void a_request_is_answered(void)
{
    uint64_t token = 0;
    char first_topic[64];
    nlmqtt_client_statistics statistics;
    start("5");
    CHECK_STATUS(NLMQTT_INVALID_STATE, ask("service", "early", 1, 10000, NULL));
    CHECK(asking.freed == 1);
    asking.freed = 0;
    CHECK_OK(nlmqtt_client_start(asking.client));
    /* Before there is a connection. */
    CHECK_OK(ask("service", "one", 1, 20000, &token));
    CHECK_OK(nlmqtt_client_wait(asking.client, token, 20000));
    await_answer(1, NLMQTT_OK);
    CHECK(strcmp(answer.payload, "re: one") == 0);
    strcpy(first_topic, response_topic);
    CHECK_OK(ask("service", "two", 0, 20000, &token));
    await_answer(2, NLMQTT_OK);
    CHECK(strcmp(answer.payload, "re: two") == 0 && strcmp(first_topic, response_topic) == 0);
    /* The session is lost: the topic is subscribed to again, and nothing is told of that. */
    CHECK_OK(nlmqtt_server_kick(server, "asking", 0x8B, true));
    AWAIT(&asking, connected, 2);
    CHECK_OK(ask("service", "three", 2, 20000, &token));
    await_answer(3, NLMQTT_OK);
    CHECK(asking.messages == 0 && asking.resubscribed == 0 && asking.published == 0);
    nlmqtt_client_statistics_init(&statistics);
    CHECK_OK(nlmqtt_client_stats(asking.client, &statistics));
    CHECK(statistics.requests_waiting == 0 && statistics.requests_timed_out == 0 && statistics.responses_unwanted == 0);
    end();
}

static void a_request_ends_without_an_answer(void)
{
    uint64_t token = 0;
    nlmqtt_client_statistics statistics;
    start("5");
    CHECK_OK(nlmqtt_client_start(asking.client));
    CHECK_OK(ask("nobody", "x", 1, 20000, &token));
    await_answer(1, NLMQTT_REFUSED);
    CHECK(answer.reason == 0x10);
    CHECK_STATUS(NLMQTT_REFUSED, nlmqtt_client_wait(asking.client, token, 20000));
    is_silent = 1;
    CHECK_OK(ask("service", "x", 1, 100, &token));
    await_answer(2, NLMQTT_TIMEOUT);
    CHECK_OK(ask("service", "x", 1, 20000, &token));
    AWAIT(&answering, own_messages, 2);
    /* Too late. */
    CHECK_OK(nlmqtt_client_cancel(asking.client, token));
    await_answer(3, NLMQTT_CANCELLED);
    is_silent = 0;
    CHECK_OK(nlmqtt_client_respond(answering.client, answering.kept, "late", 4, NULL, NULL));
    do {
        sleep_ms(10);
        nlmqtt_client_statistics_init(&statistics);
        CHECK_OK(nlmqtt_client_stats(asking.client, &statistics));
    } while (statistics.responses_unwanted == 0);
    CHECK(statistics.requests_timed_out == 1 && answer.count == 3 && asking.messages == 0);
    /* Freed while one waits. */
    is_silent = 1;
    CHECK_OK(ask("service", "x", 1, 20000, &token));
    nlmqtt_client_free(asking.client);
    asking.client = NULL;
    await_answer(4, NLMQTT_CANCELLED);
    is_silent = 0;
    end();
}

static void a_refused_response_topic_ends_it_at_once(void)
{
    uint64_t token = 0;
    start("5");
    CHECK_OK(nlmqtt_client_start(asking.client));
    denies_responses = 1;
    CHECK_OK(ask("service", "x", 1, 20000, &token));
    await_answer(1, NLMQTT_REFUSED);
    CHECK(answer.reason == 0x87);
    denies_responses = 0;
    CHECK_OK(ask("service", "again", 1, 20000, &token));
    await_answer(2, NLMQTT_OK);
    end();
}

static void what_cannot_be_asked_is_refused(void)
{
    nlmqtt_publish_options options;
    nlmqtt_message *message = NULL;
    uint64_t token = 0;
    start("3.1.1");
    CHECK_OK(nlmqtt_client_start(asking.client));
    CHECK_OK(ask("service", "x", 1, 20000, &token));
    await_answer(1, NLMQTT_UNSUPPORTED);
    nlmqtt_publish_options_init(&options);
    options.completion = on_completion;
    options.user_data = &asking;
    options.free_fn = on_free;
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, nlmqtt_client_request(asking.client, "service", "x", 1, &options, 10, on_response, &asking, on_free, NULL));
    CHECK(asking.freed == 3);
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, nlmqtt_client_request(asking.client, "service", "x", 1, NULL, 0, NULL, NULL, NULL, NULL));
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, nlmqtt_client_request(asking.client, "#", "x", 1, NULL, 10, NULL, NULL, NULL, NULL));
    CHECK_OK(nlmqtt_message_new("plain", "x", 1, 0, false, NULL, &message));
    CHECK_STATUS(NLMQTT_UNSUPPORTED, nlmqtt_client_respond(answering.client, message, "x", 1, NULL, NULL));
    nlmqtt_message_unref(message);
    CHECK(answer.count == 1);
    end();
}

int main(void)
{
    nlmqtt_server_hooks hooks;
    nlmqtt_server_hooks_init(&hooks);
    hooks.authorize = authorize;
    server = serve(NULL, &hooks, &port);
    a_request_is_answered();
    a_request_ends_without_an_answer();
    a_refused_response_topic_ends_it_at_once();
    what_cannot_be_asked_is_refused();
    nlmqtt_server_free(server);
    printf("ok client_request\n");
    return 0;
}
