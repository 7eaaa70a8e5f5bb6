/* What the client tests share: a server in the same process, a client for it, and a record of what callbacks said. */
#ifndef CLIENT_BENCH_H
#define CLIENT_BENCH_H

#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#include "certificates.h"

#include <nlmqtt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Ends the test with the place and the last error. */
#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            char check_text[512] = ""; \
            nlmqtt_last_error(check_text, sizeof check_text); \
            fprintf(stderr, "%s:%d: %s (last error: %s)\n", __FILE__, __LINE__, #condition, check_text); \
            exit(1); \
        } \
    } while (0)
#define CHECK_STATUS(expected, call) \
    do { \
        nlmqtt_status check_status = (call); \
        if (check_status != (expected)) { \
            char check_text[512] = ""; \
            nlmqtt_last_error(check_text, sizeof check_text); \
            fprintf(stderr, "%s:%d: %s is %s, not %s (last error: %s)\n", __FILE__, __LINE__, #call, \
                    nlmqtt_status_name(check_status), nlmqtt_status_name(expected), check_text); \
            exit(1); \
        } \
    } while (0)
#define CHECK_OK(call) CHECK_STATUS(NLMQTT_OK, call)

/* Counts of callbacks, and details of the last of each. */
struct record {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    nlmqtt_client *client;
    int states[8];
    int connected, disconnected, messages, own_messages, published, subscribed, unsubscribed, resubscribed;
    int completions, levels_high, levels_low, auths, before_connects, freed;
    int session_present, cause, fault, was_online, keep_alive_s, level;
    long retry_in_ms;
    char client_id[64], topic[64], payload[64], filter[64], text[128], content_type[64], auth_data[64];
    nlmqtt_status status;
    uint8_t reason, qos, retain;
    uint8_t reasons[8];
    size_t reasons_len;
    uint64_t token;
    nlmqtt_ack ack;
    nlmqtt_message *kept;
};

static inline void record_init(struct record *record)
{
    memset(record, 0, sizeof *record);
    pthread_mutex_init(&record->lock, NULL);
    pthread_cond_init(&record->changed, NULL);
}

static inline void record_end(struct record *record)
{
    pthread_mutex_destroy(&record->lock);
    pthread_cond_destroy(&record->changed);
    nlmqtt_message_unref(record->kept);
}

static inline void note(struct record *record, int *count)
{
    (*count)++;
    pthread_cond_broadcast(&record->changed);
    pthread_mutex_unlock(&record->lock);
}

/* Waits until a count is at least `count`; the test ends if that takes 20 seconds. */
static inline void await_count(struct record *record, const int *counter, int count, const char *what, int line)
{
    struct timespec until;
    int late = 0;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    pthread_mutex_lock(&record->lock);
    while (*counter < count && !late)
        late = pthread_cond_timedwait(&record->changed, &record->lock, &until);
    if (*counter < count) {
        fprintf(stderr, "line %d: %s is %d, not %d\n", line, what, *counter, count);
        exit(1);
    }
    pthread_mutex_unlock(&record->lock);
}
#define AWAIT(record, counter, count) await_count((record), &(record)->counter, (count), #counter, __LINE__)

static inline void copy_str(char *to, size_t room, const char *data, size_t len)
{
    snprintf(to, room, "%.*s", (int)len, data ? data : "");
}

static inline void on_state(void *user_data, int32_t state)
{
    struct record *record = (struct record *)user_data;
    pthread_mutex_lock(&record->lock);
    note(record, &record->states[state]);
}

static inline void on_connected(void *user_data, const nlmqtt_connected *connected)
{
    struct record *record = (struct record *)user_data;
    pthread_mutex_lock(&record->lock);
    CHECK(connected->struct_size == sizeof *connected && connected->properties);
    CHECK(connected->client_id.data[connected->client_id.len] == '\0');
    record->session_present = connected->session_present;
    record->keep_alive_s = connected->keep_alive_s;
    copy_str(record->client_id, sizeof record->client_id, connected->client_id.data, connected->client_id.len);
    note(record, &record->connected);
}

static inline void on_disconnected(void *user_data, const nlmqtt_disconnected *disconnected)
{
    struct record *record = (struct record *)user_data;
    pthread_mutex_lock(&record->lock);
    record->cause = disconnected->cause;
    record->reason = disconnected->has_reason ? disconnected->reason : 0;
    record->fault = disconnected->status;
    record->was_online = disconnected->was_online;
    record->retry_in_ms = (long)disconnected->retry_in_ms;
    copy_str(record->text, sizeof record->text, disconnected->text.data, disconnected->text.len);
    note(record, &record->disconnected);
}

static inline void keep_message(struct record *record, const nlmqtt_message *message, nlmqtt_ack ack)
{
    nlmqtt_str topic = nlmqtt_message_topic(message), content_type = { NULL, 0 };
    nlmqtt_bytes payload = nlmqtt_message_payload(message);
    copy_str(record->topic, sizeof record->topic, topic.data, topic.len);
    copy_str(record->payload, sizeof record->payload, (const char *)payload.data, payload.len);
    record->qos = nlmqtt_message_qos(message);
    record->retain = nlmqtt_message_retain(message);
    record->ack = ack;
    nlmqtt_properties_get_string(nlmqtt_message_properties(message), NLMQTT_PROPERTY_CONTENT_TYPE, 0, &content_type);
    copy_str(record->content_type, sizeof record->content_type, content_type.data, content_type.len);
    nlmqtt_message_unref(record->kept);
    record->kept = nlmqtt_message_ref(message);
}

static inline void on_message(void *user_data, const nlmqtt_message *message, nlmqtt_ack ack)
{
    struct record *record = (struct record *)user_data;
    pthread_mutex_lock(&record->lock);
    keep_message(record, message, ack);
    note(record, &record->messages);
}

/* For subscriptions with a callback of their own. */
static inline void on_own_message(void *user_data, const nlmqtt_message *message, nlmqtt_ack ack)
{
    struct record *record = (struct record *)user_data;
    pthread_mutex_lock(&record->lock);
    keep_message(record, message, ack);
    note(record, &record->own_messages);
}

static inline void keep_completion(struct record *record, const nlmqtt_completion *completion)
{
    record->status = completion->status;
    record->reason = completion->has_reason ? completion->reason : 0;
    record->token = completion->token;
    record->reasons_len = completion->reasons_len;
    if (completion->reasons_len > 0)
        memcpy(record->reasons, completion->reasons, completion->reasons_len < 8 ? completion->reasons_len : 8);
}

static inline void on_published(void *user_data, const nlmqtt_completion *completion)
{
    struct record *record = (struct record *)user_data;
    pthread_mutex_lock(&record->lock);
    keep_completion(record, completion);
    note(record, &record->published);
}

static inline void on_subscribed(void *user_data, const nlmqtt_completion *completion)
{
    struct record *record = (struct record *)user_data;
    pthread_mutex_lock(&record->lock);
    keep_completion(record, completion);
    note(record, &record->subscribed);
}

static inline void on_unsubscribed(void *user_data, const nlmqtt_completion *completion)
{
    struct record *record = (struct record *)user_data;
    pthread_mutex_lock(&record->lock);
    keep_completion(record, completion);
    note(record, &record->unsubscribed);
}

/* For requests with a callback of their own. */
static inline void on_completion(void *user_data, const nlmqtt_completion *completion)
{
    struct record *record = (struct record *)user_data;
    pthread_mutex_lock(&record->lock);
    keep_completion(record, completion);
    note(record, &record->completions);
}

static inline void on_resubscribed(void *user_data, nlmqtt_str filter, uint8_t reason)
{
    struct record *record = (struct record *)user_data;
    pthread_mutex_lock(&record->lock);
    copy_str(record->filter, sizeof record->filter, filter.data, filter.len);
    record->reason = reason;
    note(record, &record->resubscribed);
}

static inline void on_queue_level(void *user_data, bool is_high, size_t count, size_t bytes)
{
    struct record *record = (struct record *)user_data;
    pthread_mutex_lock(&record->lock);
    record->level = (int)count;
    CHECK(!is_high || bytes > 0);
    note(record, is_high ? &record->levels_high : &record->levels_low);
}

static inline void on_free(void *user_data)
{
    struct record *record = (struct record *)user_data;
    pthread_mutex_lock(&record->lock);
    note(record, &record->freed);
}

static inline nlmqtt_client_callbacks callbacks_for(struct record *record)
{
    nlmqtt_client_callbacks callbacks;
    nlmqtt_client_callbacks_init(&callbacks);
    callbacks.user_data = record;
    callbacks.state = on_state;
    callbacks.connected = on_connected;
    callbacks.disconnected = on_disconnected;
    callbacks.message = on_message;
    callbacks.published = on_published;
    callbacks.subscribed = on_subscribed;
    callbacks.unsubscribed = on_unsubscribed;
    callbacks.resubscribed = on_resubscribed;
    callbacks.queue_level = on_queue_level;
    return callbacks;
}

/* A server that listens at `uri` alone, and tells `connected` who came. */
static inline nlmqtt_server *server_at(void (*connected)(void *, const nlmqtt_client_info *, bool), const char *uri, uint16_t *port)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server = NULL;
    nlmqtt_server_hooks_init(&hooks);
    hooks.connected = connected;
    CHECK_OK(nlmqtt_server_config_add_listener(config, uri));
    CHECK_OK(nlmqtt_server_new(NULL, config, &hooks, &server));
    CHECK_OK(nlmqtt_server_start(server));
    CHECK_OK(nlmqtt_server_listener_port(server, 0, port));
    nlmqtt_server_config_free(config);
    return server;
}

/* What the servers and clients below speak over: TCP, or what run.sh says when it runs the same programs again. */
static inline const char *test_scheme(void)
{
    const char *scheme = getenv("NLMQTT_TEST_SCHEME");
    return scheme ? scheme : "mqtt";
}

static inline bool has_tls(void)
{
    const char *scheme = test_scheme();
    return strcmp(scheme, "quic") == 0 || (scheme[strlen(scheme) - 1] == 's' && strcmp(scheme, "ws") != 0);
}

/* A server on a free port; `hooks` may be NULL. */
static inline nlmqtt_server *serve(nlmqtt_runtime *runtime, const nlmqtt_server_hooks *hooks, uint16_t *port)
{
    nlmqtt_server *server = NULL;
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    struct server_files files;
    char uri[sizeof files.uri + 16];
    if (has_tls())
        write_server_files(&files, "");
    snprintf(uri, sizeof uri, "%s://127.0.0.1:0%s", test_scheme(), has_tls() ? strchr(files.uri, '?') : "");
    CHECK_OK(nlmqtt_server_config_add_listener(config, uri));
    CHECK_OK(nlmqtt_server_new(runtime, config, hooks, &server));
    CHECK_OK(nlmqtt_server_start(server));
    CHECK_OK(nlmqtt_server_listener_port(server, 0, port));
    nlmqtt_server_config_free(config);
    if (has_tls())
        remove_server_files(&files);
    return server;
}

/* Options of a client for it; the delays are short. */
static inline nlmqtt_client_config *config_for(uint16_t port, const char *version)
{
    char uri[64];
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    snprintf(uri, sizeof uri, "%s://127.0.0.1:%u", test_scheme(), port);
    CHECK_OK(nlmqtt_client_config_add_server(config, uri, 0));
    if (has_tls())
        CHECK_OK(nlmqtt_client_config_set_ca_pem(config, ca_pem));
    CHECK_OK(nlmqtt_client_config_set(config, "version", version));
    CHECK_OK(nlmqtt_client_config_set(config, "client_id", "bench"));
    CHECK_OK(nlmqtt_client_config_set(config, "reconnect_delay_min_ms", "20"));
    CHECK_OK(nlmqtt_client_config_set(config, "reconnect_delay_max_ms", "50"));
    return config;
}

static inline nlmqtt_client *client_with(nlmqtt_runtime *runtime, const nlmqtt_client_config *config, struct record *record)
{
    nlmqtt_client_callbacks callbacks = callbacks_for(record);
    CHECK_OK(nlmqtt_client_new(runtime, config, &callbacks, &record->client));
    return record->client;
}

/* A client with these options, which are freed, comes to its server. */
static inline void is_let_in(nlmqtt_client_config *config)
{
    struct record record;
    record_init(&record);
    client_with(NULL, config, &record);
    CHECK_OK(nlmqtt_client_start(record.client));
    CHECK_OK(nlmqtt_client_connect_wait(record.client, 20000));
    nlmqtt_client_free(record.client);
    record_end(&record);
    nlmqtt_client_config_free(config);
}

#endif
