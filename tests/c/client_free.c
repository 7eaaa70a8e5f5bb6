/* Free is legal in every state and inside every callback: it returns, everything asked for ends exactly once, and after
 * free_fn nothing is called any more. */
#include "client_peer.h"

enum place {
    IN_STATE, IN_CONNECTED, IN_DISCONNECTED, IN_BEFORE_CONNECT, IN_MESSAGE, IN_OWN_MESSAGE, IN_PUBLISHED, IN_COMPLETION,
    IN_SUBSCRIBED, IN_RESUBSCRIBED, IN_UNSUBSCRIBED, IN_QUEUE_LEVEL, IN_DROPPED, IN_AUTH, IN_RESPONSE, IN_PAYLOAD_FREE,
    IN_USER_FREE, IN_TASK, PLACES
};

/* One run: a client that is freed at one place. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    nlmqtt_client *client;
    enum place wanted;
    int freed;       /* nlmqtt_client_free was called */
    int ended;       /* free_fn was called */
    int connects, asked, completions, responses, payloads_released, users_released;
} run;

static void visit(enum place place)
{
    nlmqtt_client *client = NULL;
    pthread_mutex_lock(&run.lock);
    CHECK(!run.ended);
    if (place == run.wanted && run.client) {
        client = run.client;
        run.client = NULL;
    }
    pthread_mutex_unlock(&run.lock);
    if (!client)
        return;
    nlmqtt_client_free(client);
    pthread_mutex_lock(&run.lock);
    run.freed = 1;
    pthread_cond_broadcast(&run.changed);
    pthread_mutex_unlock(&run.lock);
}

static void count(int *counter)
{
    pthread_mutex_lock(&run.lock);
    CHECK(!run.ended);
    (*counter)++;
    pthread_cond_broadcast(&run.changed);
    pthread_mutex_unlock(&run.lock);
}

static void on_free_state(void *user, int32_t state) { (void)user, (void)state; visit(IN_STATE); }
static void on_free_connected(void *user, const nlmqtt_connected *connected)
{
    (void)user, (void)connected;
    count(&run.connects);
    visit(IN_CONNECTED);
}
static void on_free_disconnected(void *user, const nlmqtt_disconnected *info) { (void)user, (void)info; visit(IN_DISCONNECTED); }
static void on_free_before(void *user, size_t server, nlmqtt_credentials *credentials)
{
    (void)user, (void)server, (void)credentials;
    visit(IN_BEFORE_CONNECT);
}
static void on_free_message(void *user, const nlmqtt_message *message, nlmqtt_ack ack)
{
    (void)user, (void)ack;
    visit(IN_MESSAGE);
    CHECK(nlmqtt_message_topic(message).len > 0); /* lent until the callback returns, whatever happens inside */
}
static void on_free_own_message(void *user, const nlmqtt_message *message, nlmqtt_ack ack)
{
    (void)user, (void)ack;
    visit(IN_OWN_MESSAGE);
    CHECK(nlmqtt_message_topic(message).len > 0);
}
static void on_free_published(void *user, const nlmqtt_completion *done) { (void)user, (void)done; visit(IN_PUBLISHED); }
static void on_free_subscribed(void *user, const nlmqtt_completion *done) { (void)user, (void)done; visit(IN_SUBSCRIBED); }
static void on_free_unsubscribed(void *user, const nlmqtt_completion *done) { (void)user, (void)done; visit(IN_UNSUBSCRIBED); }
static void on_free_completion(void *user, const nlmqtt_completion *done)
{
    (void)user, (void)done;
    count(&run.completions);
    visit(IN_COMPLETION);
}
static void on_free_resubscribed(void *user, nlmqtt_str filter, uint8_t reason)
{
    (void)user, (void)filter, (void)reason;
    visit(IN_RESUBSCRIBED);
}
static void on_free_level(void *user, bool is_high, size_t messages, size_t bytes)
{
    (void)user, (void)is_high, (void)messages, (void)bytes;
    visit(IN_QUEUE_LEVEL);
}
static void on_free_dropped(void *user, const nlmqtt_message *message, nlmqtt_status status)
{
    (void)user, (void)status;
    visit(IN_DROPPED);
    CHECK(nlmqtt_message_topic(message).len > 0);
}
static void on_free_auth(void *user, uint8_t reason, nlmqtt_bytes data)
{
    (void)user, (void)data;
    pthread_mutex_lock(&run.lock);
    if (reason == 0x18 && run.client)
        CHECK_OK(nlmqtt_client_authenticate(run.client, "that", 4));
    pthread_mutex_unlock(&run.lock);
    visit(IN_AUTH);
}
static void on_free_response(void *user, const nlmqtt_completion *done, const nlmqtt_message *response)
{
    (void)user, (void)done, (void)response;
    count(&run.responses);
    visit(IN_RESPONSE);
}
static void on_free_payload(void *user)
{
    (void)user;
    pthread_mutex_lock(&run.lock);
    run.payloads_released++;
    pthread_mutex_unlock(&run.lock);
    visit(IN_PAYLOAD_FREE);
}
static void on_free_user(void *user)
{
    (void)user;
    pthread_mutex_lock(&run.lock);
    run.users_released++;
    pthread_mutex_unlock(&run.lock);
    visit(IN_USER_FREE);
}
/* Of the runtime, not of the client: it may come after the client's end. */
static void on_free_task(void *user)
{
    (void)user;
    if (run.wanted == IN_TASK)
        visit(IN_TASK);
}
static void on_end(void *user)
{
    (void)user;
    pthread_mutex_lock(&run.lock);
    run.ended++;
    pthread_cond_broadcast(&run.changed);
    pthread_mutex_unlock(&run.lock);
}

static int32_t authenticate(void *user, const nlmqtt_client_info *client, const nlmqtt_connect_info *connect,
                            nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    (void)user, (void)client, (void)connect, (void)token;
    CHECK_OK(nlmqtt_decision_set_auth_data(decision, "what?", 5));
    return NLMQTT_CHALLENGE;
}

static int32_t auth_exchange(void *user, const nlmqtt_client_info *client, nlmqtt_str method, nlmqtt_bytes data,
                             nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    (void)user, (void)client, (void)method, (void)data, (void)token, (void)decision;
    return NLMQTT_ALLOW;
}

static void await(const int *counter, int least)
{
    struct timespec until;
    int late = 0;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 120;
    pthread_mutex_lock(&run.lock);
    while (*counter < least && !run.freed && !late)
        late = pthread_cond_timedwait(&run.changed, &run.lock, &until);
    CHECK(!late);
    pthread_mutex_unlock(&run.lock);
}

/* Asks for something if the client is still there. The lock is held, so that it stays there meanwhile; a call that succeeds
 * calls nothing back on this thread. */
#define ASK(counter, call)                                                     \
    do {                                                                       \
        nlmqtt_client *client;                                                 \
        pthread_mutex_lock(&run.lock);                                         \
        client = run.client;                                                   \
        if (client && (call) == NLMQTT_OK)                                     \
            (counter)++;                                                       \
        pthread_mutex_unlock(&run.lock);                                       \
    } while (0)

static void everything_happens(nlmqtt_server *server, nlmqtt_runtime *runtime)
{
    static char payload[3000];
    int asked_completions = 0, asked_responses = 0, asked_payloads = 0, tasks = 0;
    nlmqtt_publish_options with_completion, moved;
    (void)runtime;
    nlmqtt_publish_options_init(&with_completion);
    with_completion.qos = 1;
    with_completion.completion = on_free_completion;
    with_completion.free_fn = on_free_user;
    nlmqtt_publish_options_init(&moved);
    moved.qos = 1;
    moved.payload_free_fn = on_free_payload;
    /* More than the queue takes: it fills up, and drops. The lock keeps the library in its first callback meanwhile, so that
     * nothing leaves, however slow this thread is. */
    pthread_mutex_lock(&run.lock);
    CHECK_OK(nlmqtt_client_start(run.client));
    while (asked_completions < 12) {
        CHECK_OK(nlmqtt_client_publish_ex(run.client, "t", "x", 1, &with_completion, NULL));
        asked_completions++;
    }
    pthread_mutex_unlock(&run.lock);
    await(&run.connects, 1);
    ASK(run.asked, nlmqtt_client_subscribe(client, "t", 1, NULL, NULL, NULL, NULL));
    ASK(run.asked, nlmqtt_client_subscribe(client, "own", 1, on_free_own_message, NULL, on_free_user, NULL));
    ASK(run.asked, nlmqtt_client_subscribe(client, "gone", 1, NULL, NULL, NULL, NULL));
    ASK(run.asked, nlmqtt_client_unsubscribe(client, "gone", NULL));
    ASK(asked_completions, nlmqtt_client_publish_ex(client, "own", "x", 1, &with_completion, NULL));
    ASK(asked_payloads, nlmqtt_client_publish_ex(client, "t", payload, sizeof payload, &moved, NULL));
    ASK(asked_responses, nlmqtt_client_request(client, "nobody", "x", 1, NULL, 50, on_free_response, NULL, on_free_user, NULL));
    ASK(tasks, nlmqtt_runtime_post(runtime, on_free_task, NULL, NULL));
    await(&run.completions, asked_completions);
    await(&run.responses, asked_responses);
    nlmqtt_server_kick(server, "bench", 0x8B, true);
    await(&run.connects, 2);
    await(&run.freed, 1);
    pthread_mutex_lock(&run.lock);
    while (!run.ended)
        pthread_cond_wait(&run.changed, &run.lock);
    CHECK(run.ended == 1 && run.freed);
    CHECK(run.completions == asked_completions && run.responses == asked_responses);
    CHECK(run.payloads_released == asked_payloads);
    pthread_mutex_unlock(&run.lock);
}

static void inside_every_callback(void)
{
    int place;
    for (place = 0; place < PLACES; place++) {
        uint16_t port = 0;
        nlmqtt_runtime *runtime = NULL;
        nlmqtt_server_hooks hooks;
        nlmqtt_server *server;
        nlmqtt_client_config *config;
        nlmqtt_client_callbacks callbacks;
        memset(&run, 0, sizeof run);
        pthread_mutex_init(&run.lock, NULL);
        pthread_cond_init(&run.changed, NULL);
        run.wanted = (enum place)place;
        nlmqtt_server_hooks_init(&hooks);
        hooks.authenticate = authenticate;
        hooks.auth_exchange = auth_exchange;
        server = serve(NULL, &hooks, &port);
        CHECK_OK(nlmqtt_runtime_new(NULL, &runtime));
        config = config_for(port, "5");
        CHECK_OK(nlmqtt_client_config_set_authentication(config, "TEST", "hello", 5));
        CHECK_OK(nlmqtt_client_config_set_queue_limits(config, 5, 1 << 20));
        CHECK_OK(nlmqtt_client_config_set_queue_policy(config, NLMQTT_OVERFLOW_DROP_OLDEST, 0, false));
        nlmqtt_client_callbacks_init(&callbacks);
        callbacks.free_fn = on_end;
        callbacks.state = on_free_state;
        callbacks.connected = on_free_connected;
        callbacks.disconnected = on_free_disconnected;
        callbacks.before_connect = on_free_before;
        callbacks.message = on_free_message;
        callbacks.published = on_free_published;
        callbacks.subscribed = on_free_subscribed;
        callbacks.resubscribed = on_free_resubscribed;
        callbacks.unsubscribed = on_free_unsubscribed;
        callbacks.queue_level = on_free_level;
        callbacks.auth = on_free_auth;
        callbacks.dropped = on_free_dropped;
        /* Half of them on a runtime that lives on, half on one that ends with the client. */
        CHECK_OK(nlmqtt_client_new(place % 2 && place != IN_TASK ? NULL : runtime, config, &callbacks, &run.client));
        everything_happens(server, runtime);
        nlmqtt_client_config_free(config);
        nlmqtt_server_free(server);
        nlmqtt_runtime_free(runtime);
        pthread_mutex_destroy(&run.lock);
        pthread_cond_destroy(&run.changed);
    }
}

static struct record record;

static void begin_to_stop(void *client)
{
    CHECK_STATUS(NLMQTT_IN_PROGRESS, nlmqtt_client_stop((nlmqtt_client *)client, 60000));
}

static void in_every_state(void)
{
    int state, moment;
    /* 0: as soon as it is there; 1: with something queued. */
    for (state = NLMQTT_CLIENT_STOPPED; state <= NLMQTT_CLIENT_STOPPING; state++) {
        for (moment = 0; moment < 2; moment++) {
            uint16_t port;
            int listener = listen_any(&port, 8), peer = -1;
            long start;
            nlmqtt_runtime *runtime = NULL;
            nlmqtt_client_config *config = config_for(port, "3.1.1");
            record_init(&record);
            CHECK_OK(nlmqtt_runtime_new(NULL, &runtime));
            if (state == NLMQTT_CLIENT_WAITING) {
                CHECK_OK(nlmqtt_client_config_set_reconnect_delay(config, 60000, 60000, false));
                close(listener);
            }
            client_with(runtime, config, &record);
            if (state != NLMQTT_CLIENT_STOPPED) {
                CHECK_OK(nlmqtt_client_start(record.client));
                if (moment)
                    CHECK_OK(nlmqtt_client_publish(record.client, "t", "x", 1, 1, false, NULL));
            }
            if (state == NLMQTT_CLIENT_ONLINE || state == NLMQTT_CLIENT_STOPPING) {
                peer = accept_session(listener, 0);
                CHECK_OK(nlmqtt_client_connect_wait(record.client, 10000));
            }
            if (state == NLMQTT_CLIENT_STOPPING) {
                CHECK_OK(nlmqtt_client_publish(record.client, "t", "x", 1, 1, false, NULL));
                CHECK_OK(nlmqtt_runtime_post(runtime, begin_to_stop, record.client, NULL));
            }
            if (state != NLMQTT_CLIENT_STOPPED)
                AWAIT(&record, states[state], 1);
            start = now_ms();
            nlmqtt_client_free(record.client);
            CHECK(now_ms() - start < 10000);
            if (state != NLMQTT_CLIENT_STOPPED) {
                CHECK(record.states[NLMQTT_CLIENT_STOPPED] == 1);
                CHECK(record.published == moment + (state == NLMQTT_CLIENT_STOPPING));
            }
            nlmqtt_client_config_free(config);
            nlmqtt_runtime_free(runtime);
            if (peer >= 0)
                close(peer);
            if (state != NLMQTT_CLIENT_WAITING)
                close(listener);
            record_end(&record);
        }
    }
}

int main(void)
{
    in_every_state();
    inside_every_callback();
    printf("ok client_free\n");
    return 0;
}
