/* What waits to be sent: priority, newest value per topic, age, overflow, what is told of it, and payloads that are moved. */
#include "client_peer.h"

static struct record record;
static int listener, peer;
static uint16_t port;

/* What `dropped` told. */
static struct {
    int count;
    char topics[64];
    nlmqtt_status status;
} dropped;

static void on_dropped(void *user_data, const nlmqtt_message *message, nlmqtt_status status)
{
    struct record *into = (struct record *)user_data;
    pthread_mutex_lock(&into->lock);
    CHECK(strlen(dropped.topics) + 8 < sizeof dropped.topics);
    strcat(dropped.topics, nlmqtt_message_topic(message).data);
    dropped.status = status;
    note(into, &dropped.count);
}

/* Started, and waiting for its CONNACK: everything waits. */
static nlmqtt_client *waiting_client(const nlmqtt_client_config *config)
{
    nlmqtt_client_callbacks callbacks;
    record_init(&record);
    memset(&dropped, 0, sizeof dropped);
    callbacks = callbacks_for(&record);
    callbacks.dropped = on_dropped;
    CHECK_OK(nlmqtt_client_new(NULL, config, &callbacks, &record.client));
    CHECK_OK(nlmqtt_client_start(record.client));
    AWAIT(&record, states[NLMQTT_CLIENT_CONNECTING], 1);
    return record.client;
}

static void end(void)
{
    nlmqtt_client_free(record.client);
    record_end(&record);
}

static nlmqtt_status put(const char *topic, const char *payload, unsigned priority, bool newest_only)
{
    nlmqtt_publish_options options;
    nlmqtt_publish_options_init(&options);
    options.priority = (uint8_t)priority;
    options.newest_only = newest_only;
    return nlmqtt_client_publish_ex(record.client, topic, payload, strlen(payload), &options, NULL);
}

/* The next packet is a PUBLISH of QoS 0 with this topic and payload. */
static void expect(const char *topic, const char *payload, size_t payload_len)
{
    static unsigned char body[300000];
    size_t len, topic_len = strlen(topic);
    CHECK(read_mqtt(peer, body, sizeof body, &len) == 0x30);
    CHECK(len == 2 + topic_len + payload_len);
    CHECK(memcmp(body + 2, topic, topic_len) == 0 && memcmp(body + 2 + topic_len, payload, payload_len) == 0);
}

static void what_matters_most_leaves_first(nlmqtt_client_config *config)
{
    waiting_client(config);
    CHECK_OK(put("a", "1", 0, false));
    CHECK_OK(put("b", "1", 9, false));
    CHECK_OK(put("c", "1", 0, true));
    CHECK_OK(put("d", "1", 9, false));
    CHECK_OK(put("c", "2", 0, true));
    CHECK_OK(put("e", "1", 0, false));
    AWAIT(&record, published, 1);
    CHECK(record.status == NLMQTT_REPLACED && dropped.count == 1 && dropped.status == NLMQTT_REPLACED);
    peer = accept_session(listener, 0);
    expect("b", "1", 1);
    expect("d", "1", 1);
    expect("a", "1", 1);
    expect("c", "2", 1);
    expect("e", "1", 1);
    end();
    close(peer);
}

static void a_full_queue_drops_what_matters_least(nlmqtt_client_config *config)
{
    nlmqtt_client_statistics statistics;
    CHECK_OK(nlmqtt_client_config_set_queue_policy(config, NLMQTT_OVERFLOW_DROP_OLDEST, 0, false));
    CHECK_OK(nlmqtt_client_config_set_queue_limits(config, 3, 1 << 20));
    waiting_client(config);
    CHECK_OK(put("a", "1", 5, false));
    CHECK_OK(put("b", "1", 0, false));
    CHECK_OK(put("c", "1", 5, false));
    CHECK_OK(put("d", "1", 5, false));
    AWAIT(&record, published, 1);
    CHECK(record.status == NLMQTT_QUEUE_FULL && strcmp(dropped.topics, "b") == 0 && dropped.status == NLMQTT_QUEUE_FULL);
    CHECK_OK(put("e", "1", 0, false)); /* refused, where it is found out: all others matter more */
    AWAIT(&record, published, 2);
    CHECK(record.status == NLMQTT_QUEUE_FULL && dropped.count == 1);
    do { /* a moment ago */
        nlmqtt_client_statistics_init(&statistics);
        CHECK_OK(nlmqtt_client_stats(record.client, &statistics));
    } while (statistics.overflowed == 0);
    CHECK(statistics.overflowed == 1);
    peer = accept_session(listener, 0);
    expect("a", "1", 1);
    expect("c", "1", 1);
    expect("d", "1", 1);
    end();
    close(peer);
    CHECK_OK(nlmqtt_client_config_set_queue_limits(config, 1000, 1 << 20));
}

static void a_message_waits_only_so_long(nlmqtt_client_config *config)
{
    nlmqtt_client_statistics statistics;
    CHECK_OK(nlmqtt_client_config_set_queue_policy(config, NLMQTT_OVERFLOW_REFUSE_NEWEST, 50, false));
    waiting_client(config);
    CHECK_OK(put("a", "1", 0, false));
    AWAIT(&record, published, 1);
    CHECK(record.status == NLMQTT_TIMEOUT && dropped.status == NLMQTT_TIMEOUT && strcmp(dropped.topics, "a") == 0);
    do { /* a moment ago */
        nlmqtt_client_statistics_init(&statistics);
        CHECK_OK(nlmqtt_client_stats(record.client, &statistics));
    } while (statistics.expired == 0);
    CHECK(statistics.expired == 1 && statistics.dropped == 1 && statistics.queued_count == 0);
    end();
    close(accept_one(listener));
    CHECK_OK(nlmqtt_client_config_set_queue_policy(config, NLMQTT_OVERFLOW_REFUSE_NEWEST, 0, true));
    waiting_client(config);
    CHECK_OK(put("a", "1", 0, false));
    CHECK_OK(put("a", "2", 0, false));
    AWAIT(&record, published, 1);
    CHECK(record.status == NLMQTT_REPLACED);
    end();
    close(accept_one(listener));
    CHECK_OK(nlmqtt_client_config_set_queue_policy(config, NLMQTT_OVERFLOW_REFUSE_NEWEST, 0, false));
}

/* A payload of the application's. */
struct buffer {
    char bytes[200000];
    int released;
};

static struct buffer buffer;

static void on_release(void *user_data)
{
    struct buffer *released = (struct buffer *)user_data;
    pthread_mutex_lock(&record.lock);
    note(&record, &released->released);
}

static nlmqtt_status move(const char *topic, int qos, uint64_t *token)
{
    nlmqtt_publish_options options;
    nlmqtt_publish_options_init(&options);
    options.qos = (uint8_t)qos;
    options.payload_free_fn = on_release;
    options.payload_user_data = &buffer;
    buffer.released = 0;
    return nlmqtt_client_publish_ex(record.client, topic, buffer.bytes, sizeof buffer.bytes, &options, token);
}

static void released_once(void)
{
    await_count(&record, &buffer.released, 1, "released", __LINE__);
    CHECK(buffer.released == 1);
}

static void a_moved_payload_is_sent_from_where_it_is_and_released_once(nlmqtt_client_config *config)
{
    uint64_t token = 0;
    unsigned char puback[4] = { 0x40, 2, 0, 1 };
    static unsigned char body[300000];
    size_t len;
    waiting_client(config);
    memset(buffer.bytes, 'x', sizeof buffer.bytes);
    CHECK_OK(move("a", 0, &token));
    sleep_ms(50);
    CHECK(buffer.released == 0);
    /* No copy was made: a change (which the documentation forbids) is seen on the wire. */
    buffer.bytes[0] = buffer.bytes[sizeof buffer.bytes - 1] = 'y';
    peer = accept_session(listener, 0);
    expect("a", buffer.bytes, sizeof buffer.bytes);
    released_once();
    /* QoS 1 keeps it until the acknowledgement, over a lost connection. */
    CHECK_OK(move("b", 1, &token));
    CHECK(read_mqtt(peer, body, sizeof body, &len) == 0x32 && len > sizeof buffer.bytes);
    close(peer);
    peer = accept_session(listener, 0);
    CHECK(read_mqtt(peer, body, sizeof body, &len) == 0x32 && len > sizeof buffer.bytes);
    CHECK(buffer.released == 0);
    puback[2] = body[3];
    puback[3] = body[4];
    send_bytes(peer, puback, sizeof puback);
    CHECK_OK(nlmqtt_client_wait(record.client, token, 10000));
    released_once();
    close(peer);
    end();
}

static void a_moved_payload_is_released_once_however_it_ends(nlmqtt_client_config *config)
{
    uint64_t token = 0;
    CHECK_OK(nlmqtt_client_config_set_queue_limits(config, 1, 1 << 20));
    waiting_client(config);
    /* Refused calls. */
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, move("a/#", 0, NULL));
    CHECK(buffer.released == 1);
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, move("a", 3, NULL));
    CHECK(buffer.released == 1);
    /* Cancelled while it waits. */
    CHECK_OK(move("a", 1, &token));
    CHECK_OK(nlmqtt_client_cancel(record.client, token));
    released_once();
    AWAIT(&record, published, 1);
    /* The queue is full. */
    CHECK_OK(nlmqtt_client_publish(record.client, "a", "x", 1, 1, false, NULL));
    CHECK_STATUS(NLMQTT_QUEUE_FULL, move("a", 1, NULL));
    CHECK(buffer.released == 1);
    CHECK_OK(nlmqtt_client_stop(record.client, 0));
    CHECK_STATUS(NLMQTT_INVALID_STATE, move("a", 1, NULL));
    CHECK(buffer.released == 1);
    close(accept_one(listener));
    /* Stopped, and freed, while it waits. */
    CHECK_OK(nlmqtt_client_start(record.client));
    AWAIT(&record, states[NLMQTT_CLIENT_CONNECTING], 2);
    CHECK_OK(move("a", 1, &token));
    CHECK_OK(nlmqtt_client_stop(record.client, 0));
    released_once();
    CHECK_STATUS(NLMQTT_CANCELLED, nlmqtt_client_wait(record.client, token, 0));
    close(accept_one(listener));
    CHECK_OK(nlmqtt_client_start(record.client));
    AWAIT(&record, states[NLMQTT_CLIENT_CONNECTING], 3);
    CHECK_OK(move("a", 1, &token));
    nlmqtt_client_free(record.client);
    CHECK(buffer.released == 1);
    record_end(&record);
    close(accept_one(listener));
}

int main(void)
{
    nlmqtt_client_config *config;
    listener = listen_any(&port, 16);
    config = config_for(port, "3.1.1");
    what_matters_most_leaves_first(config);
    a_full_queue_drops_what_matters_least(config);
    a_message_waits_only_so_long(config);
    a_moved_payload_is_sent_from_where_it_is_and_released_once(config);
    a_moved_payload_is_released_once_however_it_ends(config);
    nlmqtt_client_config_free(config);
    close(listener);
    printf("ok client_queue\n");
    return 0;
}
