/* A good argument for every parameter of every function, for the two programs that generate.py writes. Compiles as C99 and C++11. */
#ifndef MATRIX_ARGUMENTS_H
#define MATRIX_ARGUMENTS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runtime_bench.h"

#include "certificates.h"

/* Who is called. The objects are lent, the rest is made for one round of calls. */
struct arguments {
    nlmqtt_runtime *runtime, *spare_runtime;
    nlmqtt_client *client, *spare_client, *pull_client;
    nlmqtt_server *server, *spare_server;
    const nlmqtt_message *message;
    nlmqtt_credentials *credentials;
    nlmqtt_decision *decision;

    unsigned char hash[32];
    nlmqtt_message *own_message;
    nlmqtt_decision *own_decision;
    nlmqtt_client_config *client_config;
    nlmqtt_server_config *server_config;
    nlmqtt_listener_config *listener_config, *other_listener_config;
    nlmqtt_runtime_config *runtime_config;
    nlmqtt_properties *properties, *no_properties, *more_properties;
    nlmqtt_client_callbacks callbacks;
    nlmqtt_server_hooks hooks;
    nlmqtt_publish_options publish_options;
    nlmqtt_stop_options stop_options;
    nlmqtt_transport transport;
    nlmqtt_subscribe_options subscribe_options;
    nlmqtt_subscription subscription, init_subscription;
    nlmqtt_client_statistics client_statistics;
    nlmqtt_runtime_statistics runtime_statistics;
    nlmqtt_datagram_statistics datagram_statistics;
    nlmqtt_ack ack, ack_out;
    nlmqtt_hook_token hook_token;
    const char *filters[1];
    const char *addresses[1];
    uint32_t cpus[1];

    nlmqtt_client *client_out;
    nlmqtt_server *server_out;
    nlmqtt_runtime *runtime_out;
    nlmqtt_message *message_out;
    nlmqtt_bytes bytes_out;
    nlmqtt_str text_out, name_out;
    bool bool_out;
    uint16_t port_out;
    uint32_t u32_out;
    uint64_t u64_out, token_out, task_out, schedule_out, subscription_out;
    size_t size_out;
    char buf[256];
};

/* The objects are set by the caller. */
static void arguments_init(struct arguments *a)
{
    memset(a, 0, sizeof *a);
    OK(nlmqtt_message_new("matrix/none", "x", 1, 0, false, NULL, &a->own_message));
    a->message = a->own_message;
    a->decision = a->own_decision = nlmqtt_decision_new();
    a->client_config = nlmqtt_client_config_new();
    OK(nlmqtt_client_config_add_server(a->client_config, "mqtt://127.0.0.1:1", 0));
    a->server_config = nlmqtt_server_config_new();
    a->listener_config = nlmqtt_listener_config_new();
    a->other_listener_config = nlmqtt_listener_config_new();
    OK(nlmqtt_listener_config_set_uri(a->listener_config, "mqtt://127.0.0.1:0"));
    a->runtime_config = nlmqtt_runtime_config_new();
    a->properties = nlmqtt_properties_new();
    a->no_properties = nlmqtt_properties_new();
    a->more_properties = nlmqtt_properties_new();
    OK(nlmqtt_properties_add_user(a->properties, "name", "value"));
    OK(nlmqtt_properties_add_u32(a->properties, NLMQTT_PROPERTY_PAYLOAD_FORMAT_INDICATOR, 0));
    OK(nlmqtt_properties_add_string(a->properties, NLMQTT_PROPERTY_CONTENT_TYPE, "text"));
    OK(nlmqtt_properties_add_binary(a->properties, NLMQTT_PROPERTY_CORRELATION_DATA, "data", 4));
    nlmqtt_client_callbacks_init(&a->callbacks);
    nlmqtt_server_hooks_init(&a->hooks);
    nlmqtt_publish_options_init(&a->publish_options);
    nlmqtt_stop_options_init(&a->stop_options);
    nlmqtt_subscribe_options_init(&a->subscribe_options);
    nlmqtt_subscription_init(&a->subscription);
    nlmqtt_client_statistics_init(&a->client_statistics);
    nlmqtt_runtime_statistics_init(&a->runtime_statistics);
    nlmqtt_datagram_statistics_init(&a->datagram_statistics);
    a->subscription.filter = "matrix/none";
    a->filters[0] = "matrix/none";
    a->addresses[0] = "127.0.0.1";
    a->token_out = 1;
}

static void arguments_end(struct arguments *a)
{
    nlmqtt_message_unref(a->own_message);
    nlmqtt_decision_free(a->own_decision);
    nlmqtt_client_config_free(a->client_config);
    nlmqtt_server_config_free(a->server_config);
    nlmqtt_listener_config_free(a->listener_config);
    nlmqtt_listener_config_free(a->other_listener_config);
    nlmqtt_runtime_config_free(a->runtime_config);
    nlmqtt_properties_free(a->properties);
    nlmqtt_properties_free(a->no_properties);
    nlmqtt_properties_free(a->more_properties);
}

/* What a call made is freed after it. */
static void release_outputs(struct arguments *a)
{
    nlmqtt_client_free(a->client_out);
    nlmqtt_server_free(a->server_out);
    nlmqtt_runtime_free(a->runtime_out);
    nlmqtt_message_unref(a->message_out);
    a->client_out = NULL;
    a->server_out = NULL;
    a->runtime_out = NULL;
    a->message_out = NULL;
}

/* One user_data for each registration: how often it was released. */
enum { SLOTS = 400000 };
static int slots[SLOTS];
static int slots_wanted[SLOTS];
static int slots_used;

static int *next_slot(int is_released)
{
    int slot = __sync_fetch_and_add(&slots_used, 1);
    CHECK(slot < SLOTS);
    slots_wanted[slot] = is_released;
    return &slots[slot];
}

static void count_free(void *user_data)
{
    if (user_data)
        __sync_fetch_and_add((int *)user_data, 1);
}

/* Every user_data with a free_fn was released once. */
static void check_slots(void)
{
    int slot;
    for (slot = 0; slot < slots_used; slot++)
        CHECK_EQ(slots[slot], slots_wanted[slot]);
}

/* What a call said that it should not: told at the end, all of it. */
static int wrong;

static MAYBE_UNUSED void tell_wrong(const char *call, const char *where, nlmqtt_status status)
{
    char text[200];
    nlmqtt_last_error(text, sizeof text);
    fprintf(stderr, "%s %s: %s (last error: %s)\n", call, where, nlmqtt_status_name(status), text);
    __sync_fetch_and_add(&wrong, 1);
}

#endif
