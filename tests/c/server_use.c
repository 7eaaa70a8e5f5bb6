/* What the owner of a server does: publish, subscribe, list, kick, count. */
#include "check.h"

static void what_is_published_reaches_network_clients(void)
{
    uint16_t port;
    nlmqtt_server *server = serve(NULL, NULL, &port);
    nlmqtt_properties *properties = nlmqtt_properties_new();
    nlmqtt_message *message = NULL;
    int client = connect_client(port, "one"), other = connect_client(port, "two");
    send_subscribe(client, "n/#", 0);
    EXPECT(client, 0x90, "\0\1\0", 3);
    OK(nlmqtt_server_publish(server, "n/a", "plain", 5, 0, false, NULL));
    expect_publish(client, "n/a", "plain");
    OK(nlmqtt_properties_add_user(properties, "k", "v"));
    OK(nlmqtt_server_publish(server, "n/a", NULL, 0, 2, false, properties));
    expect_publish(client, "n/a", "");
    OK(nlmqtt_message_new("n/b", "shared", 6, 0, false, properties, &message));
    OK(nlmqtt_server_publish_message(server, message));
    expect_publish(client, "n/b", "shared");
    OK(nlmqtt_server_publish_to(server, "two", message));
    expect_publish(other, "n/b", "shared");
    OK(nlmqtt_server_publish_to(server, "nobody", message));
    CHECK_EQ(nlmqtt_server_publish(server, "n/+", "x", 1, 0, false, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_publish(server, "n", "x", 1, 7, false, NULL), NLMQTT_INVALID_ARGUMENT);
    ping(client);
    nlmqtt_message_unref(message);
    nlmqtt_properties_free(properties);
    close(client);
    close(other);
    nlmqtt_server_free(server);
}

struct inbox {
    struct counter received, freed;
    nlmqtt_message *kept;
    nlmqtt_server *server;
    uint64_t subscription;
    bool unsubscribes;
};

static void on_message(void *user_data, const nlmqtt_message *message)
{
    struct inbox *inbox = (struct inbox *)user_data;
    nlmqtt_message_unref(inbox->kept);
    inbox->kept = nlmqtt_message_ref(message);
    CHECK(inbox->kept != message);
    /* What is lent cannot be given back. */
    nlmqtt_message_unref((nlmqtt_message *)message);
    CHECK(nlmqtt_message_topic(message).len > 0);
    if (inbox->unsubscribes)
        OK(nlmqtt_server_unsubscribe(inbox->server, inbox->subscription));
    counter_add(&inbox->received);
}

static void on_inbox_freed(void *user_data)
{
    counter_add(&((struct inbox *)user_data)->freed);
}

static void inbox_init(struct inbox *inbox, nlmqtt_server *server)
{
    memset(inbox, 0, sizeof *inbox);
    counter_init(&inbox->received);
    counter_init(&inbox->freed);
    inbox->server = server;
}

static void a_subscriber_in_this_process_receives(void)
{
    uint16_t port;
    nlmqtt_server *server = serve(NULL, NULL, &port);
    struct inbox inbox;
    uint64_t received_us;
    int client = connect_client(port, "publisher");
    inbox_init(&inbox, server);
    OK(nlmqtt_server_publish(server, "in/kept", "retained", 8, 1, true, NULL));
    OK(nlmqtt_server_subscribe(server, "in/#", on_message, &inbox, on_inbox_freed, &inbox.subscription));
    CHECK(counter_wait(&inbox.received, 1));
    CHECK_TEXT(nlmqtt_message_topic(inbox.kept).data, "in/kept");
    CHECK(nlmqtt_message_retain(inbox.kept) && nlmqtt_message_qos(inbox.kept) == 1);
    send_publish(client, "in/net", "from the network", 0, false);
    CHECK(counter_wait(&inbox.received, 2));
    CHECK_TEXT(nlmqtt_message_topic(inbox.kept).data, "in/net");
    CHECK(nlmqtt_message_payload(inbox.kept).len == 16);
    received_us = nlmqtt_message_received_us(inbox.kept);
    CHECK(received_us > 0);
    inbox.unsubscribes = true;
    OK(nlmqtt_server_publish(server, "in/last", NULL, 0, 0, false, NULL));
    CHECK(counter_wait(&inbox.received, 3));
    CHECK(counter_wait(&inbox.freed, 1));
    OK(nlmqtt_server_publish(server, "in/none", NULL, 0, 0, false, NULL));
    OK(nlmqtt_server_unsubscribe(server, inbox.subscription));
    ping(client);
    CHECK_EQ(counter_get(&inbox.received), 3);
    nlmqtt_message_unref(inbox.kept);
    inbox.kept = NULL;
    inbox.unsubscribes = false;
    /* A subscription lives until the server ends; a failed one is released at once. */
    OK(nlmqtt_server_subscribe(server, "in/#", on_message, &inbox, on_inbox_freed, NULL));
    CHECK_EQ(nlmqtt_server_subscribe(server, "in/#/x", on_message, &inbox, on_inbox_freed, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(counter_get(&inbox.freed), 2);
    CHECK(counter_wait(&inbox.received, 4));
    close(client);
    nlmqtt_server_free(server);
    CHECK_EQ(counter_get(&inbox.freed), 3);
    CHECK_TEXT(nlmqtt_message_topic(inbox.kept).data, "in/kept");
    nlmqtt_message_unref(inbox.kept);
}

struct census {
    int clients, connected;
    char ids[64];
};

static void on_client(void *user_data, const nlmqtt_client_entry *client)
{
    struct census *census = (struct census *)user_data;
    CHECK_EQ(client->struct_size, sizeof *client);
    CHECK(client->username.data == NULL && client->protocol_level == 4 && client->queued_messages == 0);
    CHECK(client->in_flight_messages == 0 && client->queued_bytes == 0 && client->subscriptions <= 1);
    CHECK(client->peer.len > 0 || !client->connected);
    census->clients++;
    census->connected += client->connected;
    strncat(census->ids, client->client_id.data, sizeof census->ids - strlen(census->ids) - 1);
}

static void on_stat(void *user_data, const char *name, uint64_t value)
{
    struct census *census = (struct census *)user_data;
    census->clients++;
    if (strcmp(name, "clients_connected") == 0)
        census->connected = (int)value;
}

static void clients_are_listed_counted_and_kicked(void)
{
    uint16_t port;
    nlmqtt_server *server = serve(NULL, NULL, &port);
    struct census census;
    struct packet packet;
    uint64_t value = 0;
    int client = connect_client(port, "kick-me"), i;
    memset(&census, 0, sizeof census);
    OK(nlmqtt_server_each_client(server, on_client, &census));
    CHECK(census.clients == 1 && census.connected == 1);
    CHECK_TEXT(census.ids, "kick-me");
    memset(&census, 0, sizeof census);
    OK(nlmqtt_server_each_stat(server, on_stat, &census));
    CHECK(census.clients > 20 && census.connected == 1);
    OK(nlmqtt_server_stat(server, "connections_accepted", &value));
    CHECK_EQ(value, 1);
    CHECK_EQ(nlmqtt_server_stat(server, "nonsense", &value), NLMQTT_NOT_FOUND);
    CHECK_EQ(nlmqtt_server_kick(server, "kick-me", 0x01, true), NLMQTT_INVALID_ARGUMENT);
    OK(nlmqtt_server_kick(server, "nobody", 0, false));
    OK(nlmqtt_server_kick(server, "kick-me", 0, true));
    CHECK_EQ(read_packet(client, &packet), -1);
    close(client);
    client = dial(port);
    send_connect(client, 5, "five", NULL, NULL);
    CHECK_EQ(read_packet(client, &packet), 0x20);
    OK(nlmqtt_server_kick(server, "five", 0x9C, false));
    CHECK_EQ(read_packet(client, &packet), 0xE0);
    CHECK_EQ(packet.body[0], 0x9C);
    close(client);
    for (i = 0; i < 2000; i++) {
        OK(nlmqtt_server_stat(server, "clients_connected", &value));
        if (value == 0)
            break;
        sleep_ms(10);
    }
    CHECK_EQ(value, 0);
    nlmqtt_server_free(server);
}

static void *publish_many(void *argument)
{
    int i;
    for (i = 0; i < 1000; i++)
        OK(nlmqtt_server_publish((nlmqtt_server *)argument, "many", "x", 1, 0, false, NULL));
    return NULL;
}

static void every_thread_may_publish(void)
{
    nlmqtt_server *server = NULL;
    struct inbox inbox;
    pthread_t threads[4];
    int i;
    OK(nlmqtt_server_new(NULL, NULL, NULL, &server));
    inbox_init(&inbox, server);
    OK(nlmqtt_server_subscribe(server, "many", on_message, &inbox, on_inbox_freed, NULL));
    for (i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, publish_many, server) == 0);
    for (i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(counter_wait(&inbox.received, 4000));
    CHECK_EQ(counter_get(&inbox.received), 4000);
    nlmqtt_server_free(server);
    nlmqtt_message_unref(inbox.kept);
}

static void null_is_refused(void)
{
    nlmqtt_server *server = NULL;
    nlmqtt_message *message = NULL;
    struct inbox inbox;
    uint64_t value;
    OK(nlmqtt_server_new(NULL, NULL, NULL, &server));
    OK(nlmqtt_message_new("a", NULL, 0, 0, false, NULL, &message));
    inbox_init(&inbox, server);
    CHECK_EQ(nlmqtt_server_publish(NULL, "a", "b", 1, 0, false, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_publish(server, NULL, "b", 1, 0, false, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_publish(server, "a", NULL, 1, 0, false, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_publish_message(NULL, message), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_publish_message(server, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_publish_to(NULL, "a", message), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_publish_to(server, NULL, message), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_publish_to(server, "a", NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_subscribe(NULL, "a", on_message, &inbox, on_inbox_freed, &value), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_subscribe(server, NULL, on_message, &inbox, on_inbox_freed, &value), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_subscribe(server, "a", NULL, &inbox, on_inbox_freed, &value), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(counter_get(&inbox.freed), 3);
    CHECK_EQ(nlmqtt_server_unsubscribe(NULL, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_kick(NULL, "a", 0, false), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_kick(server, NULL, 0, false), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_each_client(NULL, on_client, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_each_client(server, NULL, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_each_stat(NULL, on_stat, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_each_stat(server, NULL, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_stat(NULL, "a", &value), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_stat(server, NULL, &value), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_stat(server, "clients_connected", NULL), NLMQTT_INVALID_ARGUMENT);
    nlmqtt_message_unref(message);
    nlmqtt_server_free(server);
}

int main(void)
{
    what_is_published_reaches_network_clients();
    a_subscriber_in_this_process_receives();
    clients_are_listed_counted_and_kicked();
    every_thread_may_publish();
    null_is_refused();
    puts("ok server_use");
    return 0;
}
