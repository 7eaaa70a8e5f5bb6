/* NULL in every pointer parameter of every client function: a status, never a crash. */
#include "client_bench.h"

#define REFUSED(call) CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, call)

static void configuration(void)
{
    char buffer[8];
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    REFUSED(nlmqtt_client_config_add_server(NULL, "mqtt://x", 0));
    REFUSED(nlmqtt_client_config_add_server(config, NULL, 0));
    REFUSED(nlmqtt_client_config_load_connstr(NULL, "ClientId=x"));
    REFUSED(nlmqtt_client_config_load_connstr(config, NULL));
    REFUSED(nlmqtt_client_config_load_file(NULL, "x"));
    REFUSED(nlmqtt_client_config_load_file(config, NULL));
    REFUSED(nlmqtt_client_config_load_environment(NULL));
    REFUSED(nlmqtt_client_config_set(NULL, "keepalive", "1"));
    REFUSED(nlmqtt_client_config_set(config, NULL, "1"));
    REFUSED(nlmqtt_client_config_set(config, "keepalive", NULL));
    REFUSED(nlmqtt_client_config_get(NULL, "keepalive", buffer, sizeof buffer, NULL));
    REFUSED(nlmqtt_client_config_get(config, NULL, buffer, sizeof buffer, NULL));
    REFUSED(nlmqtt_client_config_get(config, "keepalive", NULL, sizeof buffer, NULL));
    CHECK_OK(nlmqtt_client_config_get(config, "keepalive", NULL, 0, NULL));
    REFUSED(nlmqtt_client_config_set_credentials(NULL, "u", "p", 1));
    REFUSED(nlmqtt_client_config_set_credentials(config, "u", NULL, 1));
    CHECK_OK(nlmqtt_client_config_set_credentials(config, NULL, NULL, 0));
    REFUSED(nlmqtt_client_config_set_will(NULL, "t", "p", 1, 0, false, NULL));
    REFUSED(nlmqtt_client_config_set_will(config, "t", NULL, 1, 0, false, NULL));
    CHECK_OK(nlmqtt_client_config_set_will(config, NULL, NULL, 0, 0, false, NULL));
    REFUSED(nlmqtt_client_config_set_connect_properties(NULL, NULL));
    CHECK_OK(nlmqtt_client_config_set_connect_properties(config, NULL));
    REFUSED(nlmqtt_client_config_set_authentication(NULL, "m", NULL, 0));
    REFUSED(nlmqtt_client_config_set_authentication(config, "m", NULL, 1));
    CHECK_OK(nlmqtt_client_config_set_authentication(config, NULL, NULL, 0));
    REFUSED(nlmqtt_client_config_set_client_id(NULL, "x"));
    REFUSED(nlmqtt_client_config_set_client_id(config, NULL));
    REFUSED(nlmqtt_client_config_set_version(NULL, 5));
    REFUSED(nlmqtt_client_config_set_clean_start(NULL, true));
    REFUSED(nlmqtt_client_config_set_session_expiry_s(NULL, 1));
    REFUSED(nlmqtt_client_config_set_keepalive_s(NULL, 1));
    REFUSED(nlmqtt_client_config_set_receive_maximum(NULL, 1));
    REFUSED(nlmqtt_client_config_set_max_packet_bytes(NULL, 1000));
    REFUSED(nlmqtt_client_config_set_max_inflight_messages(NULL, 1));
    REFUSED(nlmqtt_client_config_set_topic_aliases(NULL, 1, 1));
    REFUSED(nlmqtt_client_config_set_connect_timeout_ms(NULL, 1));
    REFUSED(nlmqtt_client_config_set_ping_timeout_ms(NULL, 1));
    REFUSED(nlmqtt_client_config_set_reconnect_delay(NULL, 1, 1, true));
    REFUSED(nlmqtt_client_config_set_reconnect_rule(NULL, 0, 0));
    REFUSED(nlmqtt_client_config_set_resubscribe(NULL, 0));
    REFUSED(nlmqtt_client_config_set_queue_limits(NULL, 1, 1));
    REFUSED(nlmqtt_client_config_set_queue_policy(NULL, 0, 0, false));
    REFUSED(nlmqtt_client_config_set_queue_qos0(NULL, true));
    REFUSED(nlmqtt_client_config_set_manual_ack(NULL, true));
    REFUSED(nlmqtt_client_config_set_pull_receive(NULL, 1, 1));
    REFUSED(nlmqtt_client_config_set_requests(NULL, 1, "x"));
    CHECK_OK(nlmqtt_client_config_set_requests(config, 1, NULL));
    REFUSED(nlmqtt_client_config_set_bind(NULL, NULL, NULL, 0));
    CHECK_OK(nlmqtt_client_config_set_bind(config, NULL, NULL, 0));
    nlmqtt_client_config_free(config);
    nlmqtt_client_config_free(NULL);
    nlmqtt_client_callbacks_init(NULL);
    nlmqtt_publish_options_init(NULL);
    nlmqtt_subscription_init(NULL);
    nlmqtt_subscribe_options_init(NULL);
    nlmqtt_stop_options_init(NULL);
    nlmqtt_client_statistics_init(NULL);
    REFUSED(nlmqtt_credentials_set(NULL, "u", "p", 1));
}

static void no_client(void)
{
    uint64_t token = 0;
    nlmqtt_ack ack = { 1, 1 };
    nlmqtt_subscription subscription;
    nlmqtt_client_statistics statistics;
    const char *filter = "f";
    char text[8];
    nlmqtt_message *message = NULL;
    nlmqtt_client_statistics_init(&statistics);
    nlmqtt_subscription_init(&subscription);
    subscription.filter = filter;
    nlmqtt_client_free(NULL);
    REFUSED(nlmqtt_client_start(NULL));
    REFUSED(nlmqtt_client_stop(NULL, 0));
    REFUSED(nlmqtt_client_stop_ex(NULL, NULL));
    REFUSED(nlmqtt_client_connect_wait(NULL, 0));
    REFUSED(nlmqtt_client_reconnect_now(NULL));
    CHECK(nlmqtt_client_state(NULL) == NLMQTT_CLIENT_STOPPED);
    REFUSED(nlmqtt_client_stats(NULL, &statistics));
    REFUSED(nlmqtt_client_flush(NULL, 0));
    REFUSED(nlmqtt_client_wait(NULL, 1, 0));
    REFUSED(nlmqtt_client_publish(NULL, "t", "p", 1, 0, false, &token));
    REFUSED(nlmqtt_client_publish_ex(NULL, "t", "p", 1, NULL, &token));
    REFUSED(nlmqtt_client_publish_message(NULL, NULL, &token));
    REFUSED(nlmqtt_client_subscribe(NULL, filter, 0, NULL, NULL, NULL, &token));
    REFUSED(nlmqtt_client_subscribe_many(NULL, &subscription, 1, NULL, &token));
    REFUSED(nlmqtt_client_unsubscribe(NULL, filter, &token));
    REFUSED(nlmqtt_client_unsubscribe_many(NULL, &filter, 1, &token));
    REFUSED(nlmqtt_client_request(NULL, "t", "p", 1, NULL, 1, NULL, NULL, NULL, &token));
    REFUSED(nlmqtt_client_respond(NULL, NULL, "p", 1, NULL, &token));
    REFUSED(nlmqtt_client_next_message(NULL, 0, &message, NULL));
    REFUSED(nlmqtt_client_diagnostics(NULL, text, sizeof text, NULL));
    REFUSED(nlmqtt_client_cancel(NULL, 1));
    REFUSED(nlmqtt_client_ack(NULL, ack, 0));
    REFUSED(nlmqtt_client_authenticate(NULL, "x", 1));
    REFUSED(nlmqtt_client_reauthenticate(NULL, "x", 1));
}

static void a_client_and_nothing_else(void)
{
    struct record record;
    nlmqtt_client *client = NULL;
    nlmqtt_client_config *config = config_for(1, "5");
    nlmqtt_client_callbacks callbacks;
    nlmqtt_publish_options options;
    nlmqtt_subscription subscription;
    nlmqtt_subscribe_options subscribing;
    nlmqtt_client_statistics statistics;
    const char *filters[2] = { "f", NULL };

    record_init(&record);
    callbacks = callbacks_for(&record);
    callbacks.free_fn = on_free;
    REFUSED(nlmqtt_client_new(NULL, NULL, NULL, &client));
    REFUSED(nlmqtt_client_new(NULL, NULL, &callbacks, &client));
    REFUSED(nlmqtt_client_new(NULL, config, &callbacks, NULL));
    CHECK(record.freed == 2);
    memset(&callbacks, 0, sizeof callbacks);
    REFUSED(nlmqtt_client_new(NULL, config, &callbacks, &client)); /* without init */
    CHECK_OK(nlmqtt_client_new(NULL, config, NULL, &client));
    CHECK_OK(nlmqtt_client_start(client));
    REFUSED(nlmqtt_client_stats(client, NULL));
    memset(&statistics, 0, sizeof statistics);
    REFUSED(nlmqtt_client_stats(client, &statistics)); /* without init */
    REFUSED(nlmqtt_client_publish(client, NULL, "p", 1, 0, false, NULL));
    REFUSED(nlmqtt_client_publish(client, "t", NULL, 1, 0, false, NULL));
    CHECK_OK(nlmqtt_client_publish(client, "t", NULL, 0, 0, false, NULL));
    REFUSED(nlmqtt_client_publish_ex(client, NULL, "p", 1, NULL, NULL));
    CHECK_OK(nlmqtt_client_publish_ex(client, "t", "p", 1, NULL, NULL));
    memset(&options, 0, sizeof options);
    REFUSED(nlmqtt_client_publish_ex(client, "t", "p", 1, &options, NULL)); /* without init */
    REFUSED(nlmqtt_client_publish_message(client, NULL, NULL));
    nlmqtt_publish_options_init(&options);
    options.payload_free_fn = on_free;
    options.payload_user_data = &record;
    REFUSED(nlmqtt_client_publish_ex(client, "t", NULL, 1, &options, NULL));
    REFUSED(nlmqtt_client_publish_ex(client, NULL, "p", 1, &options, NULL));
    REFUSED(nlmqtt_client_publish_ex(NULL, "t", "p", 1, &options, NULL));
    CHECK_OK(nlmqtt_client_publish_ex(client, "t", NULL, 0, &options, NULL));
    REFUSED(nlmqtt_client_request(client, NULL, "p", 1, NULL, 1, NULL, &record, on_free, NULL));
    REFUSED(nlmqtt_client_request(client, "t", NULL, 1, NULL, 1, NULL, &record, on_free, NULL));
    CHECK_OK(nlmqtt_client_request(client, "t", NULL, 0, NULL, 1, NULL, NULL, NULL, NULL));
    REFUSED(nlmqtt_client_respond(client, NULL, "p", 1, NULL, NULL));
    REFUSED(nlmqtt_client_next_message(client, 0, NULL, NULL));
    REFUSED(nlmqtt_client_diagnostics(client, NULL, 8, NULL));
    CHECK_OK(nlmqtt_client_diagnostics(client, NULL, 0, NULL));
    AWAIT(&record, freed, 7); /* the one that was accepted waits */
    record.freed = 2;
    REFUSED(nlmqtt_client_subscribe(client, NULL, 0, NULL, &record, on_free, NULL));
    CHECK(record.freed == 3);
    REFUSED(nlmqtt_client_subscribe_many(client, NULL, 1, NULL, NULL));
    nlmqtt_subscription_init(&subscription);
    REFUSED(nlmqtt_client_subscribe_many(client, &subscription, 1, NULL, NULL)); /* no filter */
    subscription.filter = "f";
    REFUSED(nlmqtt_client_subscribe_many(client, &subscription, 0, NULL, NULL));
    subscription.retain_handling = 3;
    REFUSED(nlmqtt_client_subscribe_many(client, &subscription, 1, NULL, NULL));
    memset(&subscribing, 0, sizeof subscribing);
    subscription.retain_handling = 0;
    REFUSED(nlmqtt_client_subscribe_many(client, &subscription, 1, &subscribing, NULL)); /* without init */
    REFUSED(nlmqtt_client_unsubscribe(client, NULL, NULL));
    REFUSED(nlmqtt_client_unsubscribe_many(client, NULL, 1, NULL));
    REFUSED(nlmqtt_client_unsubscribe_many(client, filters, 2, NULL));
    REFUSED(nlmqtt_client_unsubscribe_many(client, filters, 0, NULL));
    REFUSED(nlmqtt_client_authenticate(client, NULL, 1));
    REFUSED(nlmqtt_client_reauthenticate(client, NULL, 1));
    CHECK_STATUS(NLMQTT_UNSUPPORTED, nlmqtt_client_authenticate(client, NULL, 0)); /* no method */
    CHECK_OK(nlmqtt_client_stop_ex(client, NULL));
    nlmqtt_client_free(client);
    nlmqtt_client_config_free(config);
    record_end(&record);
}

int main(void)
{
    configuration();
    no_client();
    a_client_and_nothing_else();
    printf("ok client_null\n");
    return 0;
}
