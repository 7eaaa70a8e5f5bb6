/* Publishing and receiving: every quality, completions, queues, subscriptions that come back. */
#include "client_bench.h"

#include <stddef.h>

static struct record record;
static struct record own;
static nlmqtt_server *server;
static uint16_t port;

static nlmqtt_client *online(const char *version, const char *key, const char *value)
{
    nlmqtt_client_config *config = config_for(port, version);
    record_init(&record);
    record_init(&own);
    if (key)
        CHECK_OK(nlmqtt_client_config_set(config, key, value));
    client_with(NULL, config, &record);
    nlmqtt_client_config_free(config);
    CHECK_OK(nlmqtt_client_start(record.client));
    CHECK_OK(nlmqtt_client_connect_wait(record.client, 20000));
    return record.client;
}

static void end(void)
{
    nlmqtt_client_free(record.client);
    record_end(&record);
    record_end(&own);
}

static void every_quality_arrives_and_completes(const char *version)
{
    nlmqtt_client *client = online(version, NULL, NULL);
    uint64_t token = 0;
    int qos;
    CHECK_OK(nlmqtt_client_subscribe(client, "all/#", 2, NULL, NULL, NULL, &token));
    CHECK_OK(nlmqtt_client_wait(client, token, 20000));
    CHECK(record.subscribed == 1 && record.token == token && record.reasons_len == 1 && record.reasons[0] == 2);
    for (qos = 0; qos < 3; qos++) {
        CHECK_OK(nlmqtt_client_publish(client, "all/x", "payload", 7, (uint8_t)qos, false, &token));
        CHECK_OK(nlmqtt_client_wait(client, token, 20000));
        AWAIT(&record, messages, qos + 1);
        CHECK(record.qos == qos && strcmp(record.topic, "all/x") == 0 && strcmp(record.payload, "payload") == 0);
        CHECK(record.ack.connection == 0);
        AWAIT(&record, published, qos + 1);
        CHECK(record.status == NLMQTT_OK);
    }
    CHECK_OK(nlmqtt_client_publish(client, "all/empty", NULL, 0, 1, false, NULL));
    CHECK_OK(nlmqtt_client_flush(client, 5000));
    AWAIT(&record, messages, 4);
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, nlmqtt_client_publish(client, "a/#", "x", 1, 0, false, NULL));
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, nlmqtt_client_publish(client, "", "x", 1, 0, false, NULL));
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, nlmqtt_client_publish(client, "a", "x", 1, 3, false, NULL));
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, nlmqtt_client_subscribe(client, "a/#/b", 0, NULL, NULL, NULL, NULL));
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, nlmqtt_client_wait(client, 0, 10));
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, nlmqtt_client_wait(client, 999999, 10));
    CHECK_STATUS(NLMQTT_NOT_FOUND, nlmqtt_client_cancel(client, 0));
    CHECK_OK(nlmqtt_client_unsubscribe(client, "all/#", &token));
    CHECK_OK(nlmqtt_client_wait(client, token, 20000));
    AWAIT(&record, unsubscribed, 1);
    CHECK(record.token == token && record.reasons_len == 1);
    end();
}

static void a_request_has_a_callback_of_its_own(void)
{
    nlmqtt_client *client = online("5", NULL, NULL);
    nlmqtt_publish_options options;
    nlmqtt_subscribe_options subscribing;
    nlmqtt_subscription filters[2];
    nlmqtt_properties *properties = nlmqtt_properties_new();
    const char *both[2] = { "own/+", "other" };
    uint64_t token = 0;

    nlmqtt_subscription_init(&filters[0]);
    nlmqtt_subscription_init(&filters[1]);
    filters[0].filter = "own/+";
    filters[0].qos = 1;
    filters[1].filter = "other";
    filters[1].qos = 2;
    filters[1].retain_as_published = true;
    nlmqtt_subscribe_options_init(&subscribing);
    subscribing.message = on_own_message;
    subscribing.message_user_data = &own;
    subscribing.message_free_fn = on_free;
    subscribing.completion = on_completion;
    subscribing.completion_user_data = &own;
    CHECK_OK(nlmqtt_client_subscribe_many(client, filters, 2, &subscribing, &token));
    CHECK_OK(nlmqtt_client_wait(client, token, 20000));
    CHECK(own.completions == 1 && own.token == token && own.reasons_len == 2);
    CHECK(own.reasons[0] == 1 && own.reasons[1] == 2);

    nlmqtt_publish_options_init(&options);
    CHECK_OK(nlmqtt_properties_add_string(properties, NLMQTT_PROPERTY_CONTENT_TYPE, "text/plain"));
    CHECK_OK(nlmqtt_properties_add_u32(properties, NLMQTT_PROPERTY_MESSAGE_EXPIRY_INTERVAL, 60));
    options.qos = 2;
    options.properties = properties;
    options.completion = on_completion;
    options.user_data = &own;
    options.free_fn = on_free;
    CHECK_OK(nlmqtt_client_publish_ex(client, "own/x", "text", 4, &options, &token));
    nlmqtt_properties_free(properties);
    options.properties = NULL;
    AWAIT(&own, completions, 2);
    AWAIT(&own, own_messages, 1);
    AWAIT(&own, freed, 1);
    CHECK(record.messages == 0 && own.qos == 1 && strcmp(own.content_type, "text/plain") == 0);

    /* A refused call releases its user data, too, and calls nothing. */
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, nlmqtt_client_publish_ex(client, "#", "text", 4, &options, &token));
    CHECK(own.freed == 2 && own.completions == 2);

    /* A message that came is published again without a copy, and one that was made. */
    {
        nlmqtt_message *made = NULL;
        CHECK_OK(nlmqtt_client_publish_message(client, own.kept, &token));
        CHECK_OK(nlmqtt_client_wait(client, token, 20000));
        AWAIT(&own, own_messages, 2);
        CHECK(strcmp(own.content_type, "text/plain") == 0);
        CHECK_OK(nlmqtt_message_new("other", "made", 4, 2, false, NULL, &made));
        CHECK_OK(nlmqtt_client_publish_message(client, made, NULL));
        nlmqtt_message_unref(made);
        AWAIT(&own, own_messages, 3);
        CHECK(own.qos == 2 && strcmp(own.payload, "made") == 0);
    }
    /* The last filter is gone: nothing can come, and the user data is released. */
    CHECK_OK(nlmqtt_client_unsubscribe_many(client, both, 2, &token));
    CHECK_OK(nlmqtt_client_wait(client, token, 20000));
    AWAIT(&own, freed, 3);
    end();
}

static void subscriptions_come_back_when_the_session_is_lost(const char *version)
{
    nlmqtt_client *client = online(version, NULL, NULL);
    uint64_t token = 0;
    CHECK_OK(nlmqtt_client_subscribe(client, "back", 1, on_own_message, &own, NULL, &token));
    CHECK_OK(nlmqtt_client_wait(client, token, 20000));
    CHECK_OK(nlmqtt_server_kick(server, "bench", 0x8B, true));
    AWAIT(&record, connected, 2);
    AWAIT(&record, resubscribed, 1);
    CHECK(strcmp(record.filter, "back") == 0 && record.reason == 1);
    CHECK_OK(nlmqtt_server_publish(server, "back", "again", 5, 1, false, NULL));
    AWAIT(&own, own_messages, 1);
    CHECK(strcmp(own.payload, "again") == 0);
    end();
}

static void a_full_queue_refuses_at_once_and_tells_its_level(void)
{
    nlmqtt_client_statistics statistics;
    nlmqtt_client_config *config = config_for(1, "3.1.1"); /* nobody is there */
    nlmqtt_status status = NLMQTT_OK;
    uint64_t first = 0, token = 0;
    int count = 0;
    record_init(&record);
    record_init(&own);
    CHECK_OK(nlmqtt_client_config_set(config, "max_queued_messages", "10"));
    client_with(NULL, config, &record);
    CHECK_OK(nlmqtt_client_start(record.client));
    while (count < 100) {
        status = nlmqtt_client_publish(record.client, "t", "x", 1, 1, false, count ? &token : &first);
        if (status != NLMQTT_OK)
            break;
        count++;
    }
    CHECK(status == NLMQTT_QUEUE_FULL && count == 10 && nlmqtt_status_is_transient(status));
    AWAIT(&record, levels_high, 1);
    CHECK_STATUS(NLMQTT_TIMEOUT, nlmqtt_client_flush(record.client, 20));
    CHECK_STATUS(NLMQTT_TIMEOUT, nlmqtt_client_wait(record.client, first, 20));
    nlmqtt_client_statistics_init(&statistics);
    CHECK_OK(nlmqtt_client_stats(record.client, &statistics));
    CHECK(statistics.queued_count == 10 && statistics.queued_bytes > 10);
    CHECK_OK(nlmqtt_client_cancel(record.client, first));
    CHECK_STATUS(NLMQTT_CANCELLED, nlmqtt_client_wait(record.client, first, 20000));
    AWAIT(&record, published, 1);
    CHECK(record.status == NLMQTT_CANCELLED && record.token == first);
    CHECK_OK(nlmqtt_client_publish(record.client, "t", "x", 1, 1, false, NULL));
    /* Without any time to drain it may be over a little later. */
    status = nlmqtt_client_stop(record.client, 0);
    CHECK(status == NLMQTT_OK || status == NLMQTT_TIMEOUT);
    AWAIT(&record, published, 11);
    CHECK_OK(nlmqtt_client_flush(record.client, 5000));
    CHECK_STATUS(NLMQTT_CANCELLED, nlmqtt_client_wait(record.client, token, 20000));
    AWAIT(&record, levels_low, 1);
    nlmqtt_client_config_free(config);
    end();
}

static void the_application_acknowledges(void)
{
    nlmqtt_client *client = online("5", "manual_ack", "true");
    nlmqtt_ack none = { 0, 0 };
    CHECK_OK(nlmqtt_client_subscribe(client, "slow", 1, NULL, NULL, NULL, NULL));
    AWAIT(&record, subscribed, 1);
    CHECK_OK(nlmqtt_server_publish(server, "slow", "1", 1, 1, false, NULL));
    AWAIT(&record, messages, 1);
    CHECK(record.ack.connection > 0);
    CHECK_STATUS(NLMQTT_NOT_FOUND, nlmqtt_client_ack(client, none, 0));
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, nlmqtt_client_ack(client, record.ack, 0x04));
    CHECK_OK(nlmqtt_client_ack(client, record.ack, 0));
    CHECK_OK(nlmqtt_server_publish(server, "slow", "2", 1, 1, false, NULL));
    AWAIT(&record, messages, 2);
    CHECK_OK(nlmqtt_client_ack(client, record.ack, 0x80));
    end();
}

static void lower_versions_refuse_what_they_do_not_have(void)
{
    nlmqtt_client *client = online("3.1.1", NULL, NULL);
    nlmqtt_publish_options options;
    nlmqtt_properties *properties = nlmqtt_properties_new();
    uint64_t token = 0;
    nlmqtt_publish_options_init(&options);
    CHECK_OK(nlmqtt_properties_add_string(properties, NLMQTT_PROPERTY_CONTENT_TYPE, "x"));
    options.properties = properties;
    CHECK_OK(nlmqtt_client_publish_ex(client, "t", "x", 1, &options, &token));
    CHECK_STATUS(NLMQTT_UNSUPPORTED, nlmqtt_client_wait(client, token, 20000));
    AWAIT(&record, published, 1);
    CHECK(record.status == NLMQTT_UNSUPPORTED);
    nlmqtt_properties_free(properties);
    end();
}

/* A program built with an older header knows only the first fields of a struct. */
static void structs_of_an_older_header_are_understood(void)
{
    nlmqtt_publish_options options;
    nlmqtt_client_callbacks callbacks;
    union {
        nlmqtt_client_statistics statistics;
        unsigned char bytes[sizeof(nlmqtt_client_statistics)];
    } older;
    nlmqtt_client_config *config = config_for(port, "3.1.1");
    size_t i;
    record_init(&record);
    record_init(&own);
    callbacks = callbacks_for(&record);
    callbacks.struct_size = offsetof(nlmqtt_client_callbacks, dropped);
    memset(&callbacks.dropped, 0xA5, sizeof callbacks.dropped);
    CHECK_OK(nlmqtt_client_config_set_queue_limits(config, 1, 1 << 20));
    CHECK_OK(nlmqtt_client_config_set_queue_policy(config, NLMQTT_OVERFLOW_DROP_OLDEST, 0, false));
    CHECK_OK(nlmqtt_client_new(NULL, config, &callbacks, &record.client));
    nlmqtt_client_config_free(config);
    CHECK_OK(nlmqtt_client_start(record.client));
    nlmqtt_publish_options_init(&options);
    options.struct_size = offsetof(nlmqtt_publish_options, priority);
    memset(&options.priority, 0xA5, sizeof options - offsetof(nlmqtt_publish_options, priority));
    for (i = 0; i < 10; i++) /* some are dropped */
        CHECK_OK(nlmqtt_client_publish_ex(record.client, "t", "x", 1, &options, NULL));
    CHECK_OK(nlmqtt_client_flush(record.client, 10000));
    AWAIT(&record, published, 10);
    memset(older.bytes, 0xA5, sizeof older.bytes);
    older.statistics.struct_size = offsetof(nlmqtt_client_statistics, overflowed);
    CHECK_OK(nlmqtt_client_stats(record.client, &older.statistics));
    CHECK(older.statistics.connects <= 1);
    for (i = offsetof(nlmqtt_client_statistics, overflowed); i < sizeof older.bytes; i++)
        CHECK(older.bytes[i] == 0xA5);
    end();
}

int main(void)
{
    server = serve(NULL, NULL, &port);
    every_quality_arrives_and_completes("3.1");
    every_quality_arrives_and_completes("3.1.1");
    every_quality_arrives_and_completes("5");
    a_request_has_a_callback_of_its_own();
    subscriptions_come_back_when_the_session_is_lost("3.1.1");
    subscriptions_come_back_when_the_session_is_lost("5");
    a_full_queue_refuses_at_once_and_tells_its_level();
    the_application_acknowledges();
    lower_versions_refuse_what_they_do_not_have();
    structs_of_an_older_header_are_understood();
    nlmqtt_server_free(server);
    printf("ok client_messages\n");
    return 0;
}
