/* Pull style: messages wait for the application, boundedly; what has no room stays with the server, and nothing is lost. */
#include "client_peer.h"

#define MESSAGES 20000
#define PAYLOAD_BYTES 1000

static struct record record;
static int peer;
static volatile int sent;

/* MQTT 3.1.1, QoS 0, topic "t", a number and filling. */
static void *send_all(void *unused)
{
    unsigned char packet[3 + 3 + PAYLOAD_BYTES];
    uint32_t number;
    (void)unused;
    memset(packet, 'x', sizeof packet);
    packet[0] = 0x30;
    packet[1] = (unsigned char)((3 + PAYLOAD_BYTES) & 127) | 128;
    packet[2] = (unsigned char)((3 + PAYLOAD_BYTES) >> 7);
    memcpy(packet + 3, "\0\1t", 3);
    for (number = 0; number < MESSAGES; number++) {
        memcpy(packet + 6, &number, sizeof number);
        send_bytes(peer, packet, sizeof packet);
        sent = (int)number + 1;
    }
    return NULL;
}

static nlmqtt_client_statistics statistics_of(nlmqtt_client *client)
{
    nlmqtt_client_statistics statistics;
    nlmqtt_client_statistics_init(&statistics);
    CHECK_OK(nlmqtt_client_stats(client, &statistics));
    return statistics;
}

/* Twenty megabytes for an application that takes its time. */
static void what_has_no_room_waits_on_the_other_side(void)
{
    uint16_t port;
    pthread_t sender;
    uint32_t number, expected = 0;
    int listener = listen_any(&port, 8), before = -1;
    nlmqtt_client_statistics statistics;
    nlmqtt_message *message = NULL;
    nlmqtt_ack ack = { 7, 7 };
    nlmqtt_client_config *config = config_for(port, "3.1.1");
    CHECK_OK(nlmqtt_client_config_set_pull_receive(config, 10, 1 << 20));
    record_init(&record);
    client_with(NULL, config, &record);
    CHECK_STATUS(NLMQTT_INVALID_STATE, nlmqtt_client_next_message(record.client, 10, &message, NULL));
    CHECK_OK(nlmqtt_client_start(record.client));
    peer = accept_session(listener, 0);
    CHECK_OK(nlmqtt_client_connect_wait(record.client, 10000));
    CHECK_STATUS(NLMQTT_TIMEOUT, nlmqtt_client_next_message(record.client, 0, &message, &ack));
    CHECK_STATUS(NLMQTT_TIMEOUT, nlmqtt_client_next_message(record.client, 20, &message, &ack));
    CHECK(message == NULL && ack.connection == 7);
    CHECK(pthread_create(&sender, NULL, send_all, NULL) == 0);
    /* Until the peer cannot send any more. */
    while (before != sent || sent == 0) {
        before = sent;
        sleep_ms(300);
    }
    statistics = statistics_of(record.client);
    CHECK(sent < MESSAGES && statistics.received_count == 10 && statistics.received_bytes >= 10 * PAYLOAD_BYTES);
    CHECK(statistics.receive_pauses >= 1 && statistics.messages_received == 10);
    while (expected < MESSAGES) {
        nlmqtt_bytes payload;
        CHECK_OK(nlmqtt_client_next_message(record.client, 20000, &message, &ack));
        payload = nlmqtt_message_payload(message);
        CHECK(payload.len == PAYLOAD_BYTES && ack.connection == 0);
        memcpy(&number, payload.data, sizeof number);
        CHECK(number == expected);
        expected++;
        nlmqtt_message_unref(message);
        if (expected % 1000 == 0)
            CHECK(statistics_of(record.client).received_count <= 10);
    }
    pthread_join(sender, NULL);
    CHECK(record.messages == 0 && record.disconnected == 0);
    CHECK(nlmqtt_client_state(record.client) == NLMQTT_CLIENT_ONLINE);
    nlmqtt_client_free(record.client);
    record_end(&record);
    nlmqtt_client_config_free(config);
    close(peer);
    close(listener);
}

static void acknowledgements_and_the_end(void)
{
    uint16_t port = 0;
    int i;
    nlmqtt_message *message = NULL;
    nlmqtt_ack ack;
    nlmqtt_server *server = serve(NULL, NULL, &port);
    nlmqtt_client_config *config = config_for(port, "5");
    CHECK_OK(nlmqtt_client_config_set_manual_ack(config, true));
    CHECK_OK(nlmqtt_client_config_set_pull_receive(config, 100, 1 << 20));
    record_init(&record);
    client_with(NULL, config, &record);
    CHECK_OK(nlmqtt_client_start(record.client));
    CHECK_OK(nlmqtt_client_subscribe(record.client, "pull/#", 1, NULL, NULL, NULL, NULL));
    CHECK_OK(nlmqtt_client_subscribe(record.client, "own", 1, on_own_message, &record, NULL, NULL));
    CHECK_OK(nlmqtt_client_flush(record.client, 10000));
    CHECK_OK(nlmqtt_server_publish(server, "own", "x", 1, 1, false, NULL));
    AWAIT(&record, own_messages, 1); /* a callback of its own keeps its messages */
    for (i = 0; i < 3; i++)
        CHECK_OK(nlmqtt_server_publish(server, "pull/x", "abc" + i, 1, 1, true, NULL));
    for (i = 0; i < 2; i++) {
        CHECK_OK(nlmqtt_client_next_message(record.client, 10000, &message, &ack));
        CHECK(nlmqtt_message_payload(message).data[0] == "abc"[i] && nlmqtt_message_qos(message) == 1);
        CHECK(strcmp(nlmqtt_message_topic(message).data, "pull/x") == 0 && ack.connection != 0);
        CHECK_OK(nlmqtt_client_ack(record.client, ack, 0));
        nlmqtt_message_unref(message);
    }
    while (statistics_of(record.client).received_count == 0)
        sleep_ms(10);
    CHECK_OK(nlmqtt_client_stop(record.client, 1000));
    /* What came is still there; then there is an end. */
    CHECK_OK(nlmqtt_client_next_message(record.client, 0, &message, &ack));
    CHECK_STATUS(NLMQTT_INVALID_STATE, nlmqtt_client_next_message(record.client, -1, &message, NULL));
    nlmqtt_client_free(record.client);
    CHECK(strcmp(nlmqtt_message_topic(message).data, "pull/x") == 0); /* outlives the client */
    nlmqtt_message_unref(message);
    record_end(&record);
    nlmqtt_client_config_free(config);
    nlmqtt_server_free(server);
}

static nlmqtt_status in_callback[2];

static void take_inside(void *user_data, int32_t state)
{
    struct record *into = (struct record *)user_data;
    nlmqtt_message *message = NULL;
    if (state == NLMQTT_CLIENT_DIALING) {
        in_callback[0] = nlmqtt_client_next_message(into->client, 0, &message, NULL);
        in_callback[1] = nlmqtt_client_next_message(into->client, 1000, &message, NULL);
    }
    on_state(user_data, state);
}

static void inside_a_callback_nobody_waits(void)
{
    uint16_t port;
    int listener = listen_any(&port, 8);
    nlmqtt_client_callbacks callbacks;
    nlmqtt_client_config *config = config_for(port, "3.1.1");
    CHECK_OK(nlmqtt_client_config_set_pull_receive(config, 10, 1 << 20));
    record_init(&record);
    callbacks = callbacks_for(&record);
    callbacks.state = take_inside;
    CHECK_OK(nlmqtt_client_new(NULL, config, &callbacks, &record.client));
    CHECK_OK(nlmqtt_client_start(record.client));
    AWAIT(&record, states[NLMQTT_CLIENT_DIALING], 1);
    CHECK_STATUS(NLMQTT_TIMEOUT, in_callback[0]);
    CHECK_STATUS(NLMQTT_WOULD_DEADLOCK, in_callback[1]);
    nlmqtt_client_free(record.client);
    record_end(&record);
    nlmqtt_client_config_free(config);
    close(listener);
}

static void *take_one(void *client)
{
    nlmqtt_message *message = NULL;
    CHECK_STATUS(NLMQTT_GONE, nlmqtt_client_next_message((nlmqtt_client *)client, -1, &message, NULL));
    return NULL;
}

/* Somebody waits while the client gives up; and without the option there is nothing to take. */
static void waiting_ends_when_the_client_gives_up(void)
{
    uint16_t port;
    pthread_t taker;
    int listener = listen_any(&port, 8);
    nlmqtt_message *message = NULL;
    nlmqtt_client_config *config = config_for(port, "3.1.1");
    CHECK_OK(nlmqtt_client_config_set_reconnect_rule(config, NLMQTT_CAUSE_CLOSED, NLMQTT_RETRY_STOP));
    record_init(&record);
    client_with(NULL, config, &record);
    CHECK_STATUS(NLMQTT_UNSUPPORTED, nlmqtt_client_next_message(record.client, 0, &message, NULL));
    nlmqtt_client_free(record.client);
    CHECK_OK(nlmqtt_client_config_set(config, "pull_receive", "true"));
    client_with(NULL, config, &record);
    CHECK_OK(nlmqtt_client_start(record.client));
    peer = accept_session(listener, 0);
    CHECK(pthread_create(&taker, NULL, take_one, record.client) == 0);
    sleep_ms(50);
    shutdown(peer, SHUT_RDWR);
    close(peer);
    pthread_join(taker, NULL);
    nlmqtt_client_free(record.client);
    record_end(&record);
    nlmqtt_client_config_free(config);
    close(listener);
}

int main(void)
{
    what_has_no_room_waits_on_the_other_side();
    acknowledgements_and_the_end();
    inside_a_callback_nobody_waits();
    waiting_ends_when_the_client_gives_up();
    printf("ok client_pull\n");
    return 0;
}
