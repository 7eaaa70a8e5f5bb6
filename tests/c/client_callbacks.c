/* Every client function out of every callback: what changes something is done later, what waits says WOULD_DEADLOCK.
 * In THREAD mode and, with client and server on one runtime, in LOOP mode. */
#include "client_bench.h"

static nlmqtt_client *client;
static nlmqtt_client *volatile ready;
static int visited[16];

static void call_everything(int callback)
{
    nlmqtt_client_statistics statistics;
    nlmqtt_subscription subscription;
    nlmqtt_ack ack = { 1, 1 };
    const char *filter = "none";
    nlmqtt_message *message = NULL;
    uint64_t token = 0;
    if (!ready || visited[callback]++ > 0)
        return;
    CHECK_STATUS(NLMQTT_WOULD_DEADLOCK, nlmqtt_client_connect_wait(client, 1000));
    CHECK_STATUS(NLMQTT_WOULD_DEADLOCK, nlmqtt_client_flush(client, 1000));
    CHECK_OK(nlmqtt_client_subscribe(client, "none", 0, NULL, NULL, NULL, &token));
    CHECK_STATUS(NLMQTT_WOULD_DEADLOCK, nlmqtt_client_wait(client, token, 1000));
    nlmqtt_subscription_init(&subscription);
    subscription.filter = filter;
    CHECK_OK(nlmqtt_client_subscribe_many(client, &subscription, 1, NULL, NULL));
    CHECK_OK(nlmqtt_client_unsubscribe(client, filter, NULL));
    CHECK_OK(nlmqtt_client_unsubscribe_many(client, &filter, 1, &token));
    CHECK_OK(nlmqtt_client_cancel(client, token));
    CHECK_OK(nlmqtt_client_publish(client, "none", "x", 1, 0, false, NULL));
    CHECK_OK(nlmqtt_client_publish_ex(client, "none", "x", 1, NULL, NULL));
    CHECK_OK(nlmqtt_message_new("none", "x", 1, 0, false, NULL, &message));
    CHECK_OK(nlmqtt_client_publish_message(client, message, NULL));
    nlmqtt_message_unref(message);
    CHECK_OK(nlmqtt_client_ack(client, ack, 0));
    CHECK_STATUS(NLMQTT_UNSUPPORTED, nlmqtt_client_authenticate(client, "x", 1)); /* no method */
    CHECK_STATUS(NLMQTT_UNSUPPORTED, nlmqtt_client_reauthenticate(client, "x", 1));
    CHECK_OK(nlmqtt_client_reconnect_now(client));
    CHECK_OK(nlmqtt_client_start(client));
    CHECK(nlmqtt_client_state(client) >= NLMQTT_CLIENT_STOPPED);
    nlmqtt_client_statistics_init(&statistics);
    CHECK_OK(nlmqtt_client_stats(client, &statistics));
}

static void state(void *user_data, int32_t state)
{
    on_state(user_data, state);
    if (state == NLMQTT_CLIENT_ONLINE)
        call_everything(0);
}

static void connected(void *user_data, const nlmqtt_connected *info)
{
    call_everything(1);
    on_connected(user_data, info);
}

static void disconnected(void *user_data, const nlmqtt_disconnected *info)
{
    if (info->cause != NLMQTT_CAUSE_STOPPED)
        call_everything(2);
    on_disconnected(user_data, info);
}

static void before_connect(void *user_data, size_t server, nlmqtt_credentials *credentials)
{
    (void)user_data;
    (void)server;
    (void)credentials;
    call_everything(3);
}

static void message(void *user_data, const nlmqtt_message *message, nlmqtt_ack ack)
{
    call_everything(4);
    on_message(user_data, message, ack);
}

static void published(void *user_data, const nlmqtt_completion *completion)
{
    if (completion->status == NLMQTT_OK)
        call_everything(5);
    on_published(user_data, completion);
}

static void subscribed(void *user_data, const nlmqtt_completion *completion)
{
    call_everything(6);
    on_subscribed(user_data, completion);
}

static void unsubscribed(void *user_data, const nlmqtt_completion *completion)
{
    call_everything(7);
    on_unsubscribed(user_data, completion);
}

static void resubscribed(void *user_data, nlmqtt_str filter, uint8_t reason)
{
    call_everything(8);
    on_resubscribed(user_data, filter, reason);
}

static void own_message(void *user_data, const nlmqtt_message *message, nlmqtt_ack ack)
{
    call_everything(9);
    on_own_message(user_data, message, ack);
}

static void completion(void *user_data, const nlmqtt_completion *done)
{
    if (done->status == NLMQTT_OK)
        call_everything(10);
    on_completion(user_data, done);
}

/* Lets the loop run until a count is reached. */
static void turn_until(nlmqtt_runtime *runtime, struct record *record, const int *counter, int count)
{
    int turns = 0;
    if (!runtime) {
        await_count(record, counter, count, "count", __LINE__);
        return;
    }
    while (*counter < count) {
        CHECK(turns++ < 20000);
        CHECK_OK(nlmqtt_runtime_poll(runtime, 50));
    }
}

static void run(nlmqtt_runtime *runtime)
{
    uint16_t port = 0;
    struct record record;
    nlmqtt_server *server = serve(runtime, NULL, &port);
    nlmqtt_client_config *config = config_for(port, "5");
    nlmqtt_client_callbacks callbacks;
    nlmqtt_publish_options options;
    nlmqtt_status status;
    int i;
    memset(visited, 0, sizeof visited);
    ready = NULL;
    record_init(&record);
    callbacks = callbacks_for(&record);
    callbacks.state = state;
    callbacks.connected = connected;
    callbacks.disconnected = disconnected;
    callbacks.before_connect = before_connect;
    callbacks.message = message;
    callbacks.published = published;
    callbacks.subscribed = subscribed;
    callbacks.unsubscribed = unsubscribed;
    callbacks.resubscribed = resubscribed;
    CHECK_OK(nlmqtt_client_new(runtime, config, &callbacks, &client));
    ready = client;
    CHECK_OK(nlmqtt_client_start(client));
    CHECK_OK(nlmqtt_client_connect_wait(client, 20000));
    CHECK_OK(nlmqtt_client_subscribe(client, "mine", 1, NULL, NULL, NULL, NULL));
    CHECK_OK(nlmqtt_client_subscribe(client, "own", 1, own_message, &record, NULL, NULL));
    CHECK_OK(nlmqtt_client_flush(client, 5000));
    nlmqtt_publish_options_init(&options);
    options.qos = 1;
    options.completion = completion;
    options.user_data = &record;
    CHECK_OK(nlmqtt_client_publish_ex(client, "mine", "x", 1, &options, NULL));
    CHECK_OK(nlmqtt_client_publish(client, "own", "x", 1, 1, false, NULL));
    turn_until(runtime, &record, &record.messages, 1);
    turn_until(runtime, &record, &record.own_messages, 1);
    turn_until(runtime, &record, &record.completions, 1);
    CHECK_OK(nlmqtt_server_kick(server, "bench", 0x8B, true));
    turn_until(runtime, &record, &record.connected, 2);
    turn_until(runtime, &record, &record.resubscribed, 2);
    CHECK_OK(nlmqtt_client_flush(client, 5000));
    status = nlmqtt_client_stop(client, 1000);
    CHECK(status == (runtime ? NLMQTT_IN_PROGRESS : NLMQTT_OK));
    turn_until(runtime, &record, &record.states[NLMQTT_CLIENT_STOPPED], 1);
    nlmqtt_client_free(client);
    for (i = 0; i <= 10; i++)
        CHECK(visited[i] > 0);
    nlmqtt_server_free(server);
    nlmqtt_client_config_free(config);
    record_end(&record);
}

int main(void)
{
    nlmqtt_runtime *loop = NULL;
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    CHECK_OK(nlmqtt_runtime_config_set_mode(config, NLMQTT_MODE_LOOP));
    CHECK_OK(nlmqtt_runtime_new(config, &loop));
    nlmqtt_runtime_config_free(config);
    run(NULL);
    run(loop);
    nlmqtt_runtime_free(loop);
    printf("ok client_callbacks\n");
    return 0;
}
