/* Enhanced authentication (MQTT 5 section 4.12): a challenge, its answer, and again while connected. */
#include "client_bench.h"

static struct record record;
static int exchanges;

static int32_t authenticate(void *user_data, const nlmqtt_client_info *client, const nlmqtt_connect_info *connect,
                            nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    (void)user_data;
    (void)client;
    (void)connect;
    (void)token;
    CHECK_OK(nlmqtt_decision_set_auth_data(decision, "what?", 5));
    return NLMQTT_CHALLENGE;
}

static int32_t auth_exchange(void *user_data, const nlmqtt_client_info *client, nlmqtt_str method, nlmqtt_bytes data,
                             nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    (void)user_data;
    (void)client;
    (void)token;
    (void)decision;
    exchanges++;
    CHECK(method.len == 4 && memcmp(method.data, "TEST", 4) == 0);
    return data.len == 4 && memcmp(data.data, "that", 4) == 0 ? NLMQTT_ALLOW : NLMQTT_DENY;
}

static void on_auth(void *user_data, uint8_t reason, nlmqtt_bytes data)
{
    struct record *into = user_data;
    if (reason == 0x18) {
        CHECK(data.len == 5 && memcmp(data.data, "what?", 5) == 0);
        CHECK_OK(nlmqtt_client_authenticate(into->client, "that", 4));
    }
    pthread_mutex_lock(&into->lock);
    into->reason = reason;
    note(into, &into->auths);
}

int main(void)
{
    static char long_data[70000];
    uint16_t port = 0;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server;
    nlmqtt_client_config *config;
    nlmqtt_client_callbacks callbacks;
    nlmqtt_server_hooks_init(&hooks);
    hooks.authenticate = authenticate;
    hooks.auth_exchange = auth_exchange;
    server = serve(NULL, &hooks, &port);
    config = config_for(port, "5");
    CHECK_OK(nlmqtt_client_config_set_authentication(config, "TEST", "hello", 5));
    record_init(&record);
    callbacks = callbacks_for(&record);
    callbacks.auth = on_auth;
    CHECK_OK(nlmqtt_client_new(NULL, config, &callbacks, &record.client));
    CHECK_OK(nlmqtt_client_start(record.client));
    CHECK_OK(nlmqtt_client_connect_wait(record.client, 20000));
    AWAIT(&record, auths, 1);
    CHECK(exchanges == 1);
    CHECK_OK(nlmqtt_client_reauthenticate(record.client, "that", 4));
    AWAIT(&record, auths, 2);
    CHECK(record.reason == 0 && exchanges == 2);
    CHECK(nlmqtt_client_state(record.client) == NLMQTT_CLIENT_ONLINE);
    CHECK_STATUS(NLMQTT_TOO_LARGE, nlmqtt_client_reauthenticate(record.client, long_data, sizeof long_data));
    CHECK_STATUS(NLMQTT_TOO_LARGE, nlmqtt_client_authenticate(record.client, long_data, sizeof long_data));
    CHECK_OK(nlmqtt_client_reauthenticate(record.client, "wrong", 5));
    AWAIT(&record, disconnected, 1);
    nlmqtt_client_free(record.client);
    nlmqtt_client_config_free(config);
    record_end(&record);
    nlmqtt_server_free(server);
    printf("ok client_auth\n");
    return 0;
}
