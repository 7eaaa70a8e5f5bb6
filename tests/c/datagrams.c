/* A client on reliable UDP whose address changes: both sides tell it, and count what went over the way. */
#include "udp_relay.h"

struct told {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int client_moves, server_moves;
    char local[64], peer[64], previous[64];
    uint64_t path_changes;
    int32_t protocol;
};

static void path_moved(void *user_data, const nlmqtt_path_moved *moved)
{
    struct told *told = (struct told *)user_data;
    CHECK(moved->struct_size == sizeof *moved && moved->server == 0);
    pthread_mutex_lock(&told->lock);
    told->client_moves++;
    snprintf(told->local, sizeof told->local, "%s", moved->local.data);
    told->path_changes = moved->statistics->path_changes;
    told->protocol = moved->statistics->protocol;
    pthread_cond_broadcast(&told->changed);
    pthread_mutex_unlock(&told->lock);
}

static void client_moved(void *user_data, const nlmqtt_client_info *client, nlmqtt_str previous_peer)
{
    struct told *told = (struct told *)user_data;
    CHECK_TEXT(client->client_id.data, "rover");
    pthread_mutex_lock(&told->lock);
    told->server_moves++;
    snprintf(told->peer, sizeof told->peer, "%s", client->peer.data);
    snprintf(told->previous, sizeof told->previous, "%s", previous_peer.data);
    pthread_cond_broadcast(&told->changed);
    pthread_mutex_unlock(&told->lock);
}

static void is_rover(void *user_data, const nlmqtt_client_entry *client)
{
    nlmqtt_datagram_statistics *statistics = (nlmqtt_datagram_statistics *)user_data;
    CHECK_TEXT(client->client_id.data, "rover");
    CHECK(client->datagrams != NULL && client->datagrams->struct_size == sizeof *statistics);
    *statistics = *client->datagrams;
}

static void has_protocol(void *user_data, const char *text, size_t len)
{
    (void)len;
    *(int *)user_data = strstr(text, "\"protocol\":\"rudp2\"") != NULL && strstr(text, "\"round_trip_us\":") != NULL;
}

static nlmqtt_server *listen_on_rudp(struct told *told, uint16_t *port)
{
    nlmqtt_server *server = NULL;
    nlmqtt_server_hooks hooks;
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    OK(nlmqtt_server_config_add_listener(config, "rudp://127.0.0.1:0"));
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = told;
    hooks.path_moved = client_moved;
    OK(nlmqtt_server_new(NULL, config, &hooks, &server));
    nlmqtt_server_config_free(config);
    OK(nlmqtt_server_start(server));
    OK(nlmqtt_server_listener_port(server, 0, port));
    return server;
}

static nlmqtt_client *dial_rudp(struct told *told, uint16_t port)
{
    nlmqtt_client *client = NULL;
    nlmqtt_client_callbacks callbacks;
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    char uri[64];
    snprintf(uri, sizeof uri, "rudp://127.0.0.1:%u", (unsigned)port);
    OK(nlmqtt_client_config_add_server(config, uri, 0));
    OK(nlmqtt_client_config_set_client_id(config, "rover"));
    nlmqtt_client_callbacks_init(&callbacks);
    callbacks.user_data = told;
    callbacks.path_moved = path_moved;
    OK(nlmqtt_client_new(NULL, config, &callbacks, &client));
    nlmqtt_client_config_free(config);
    return client;
}

static void publish_one(nlmqtt_client *client)
{
    uint64_t token = 0;
    OK(nlmqtt_client_publish(client, "a", "reading", 7, 1, false, &token));
    OK(nlmqtt_client_wait(client, token, 60000));
}

int main(void)
{
    struct told told;
    struct udp_relay relay;
    nlmqtt_datagram_statistics ours, theirs;
    uint64_t received = 0;
    uint16_t port;
    int is_shown = 0;
    nlmqtt_server *server;
    nlmqtt_client *client;
    memset(&told, 0, sizeof told);
    pthread_mutex_init(&told.lock, NULL);
    pthread_cond_init(&told.changed, NULL);
    server = listen_on_rudp(&told, &port);
    udp_relay_begin(&relay, port);
    client = dial_rudp(&told, relay.port);
    nlmqtt_datagram_statistics_init(NULL);
    nlmqtt_datagram_statistics_init(&ours);
    CHECK_EQ(ours.struct_size, sizeof ours);
    CHECK_EQ(nlmqtt_client_datagram_stats(client, &ours), NLMQTT_NOT_FOUND);
    OK(nlmqtt_client_start(client));
    OK(nlmqtt_client_connect_wait(client, 60000));
    publish_one(client);
    udp_relay_move(&relay);
    pthread_mutex_lock(&told.lock);
    while (told.client_moves == 0 || told.server_moves == 0) {
        pthread_mutex_unlock(&told.lock);
        publish_one(client);
        pthread_mutex_lock(&told.lock);
    }
    CHECK_EQ(told.protocol, NLMQTT_DATAGRAMS_RUDP_2);
    CHECK(told.path_changes >= 1 && strncmp(told.local, "127.0.0.1:", 10) == 0);
    CHECK(strncmp(told.peer, "127.0.0.1:", 10) == 0 && strcmp(told.peer, told.previous) != 0);
    pthread_mutex_unlock(&told.lock);
    OK(nlmqtt_client_datagram_stats(client, &ours));
    CHECK(ours.protocol == NLMQTT_DATAGRAMS_RUDP_2 && ours.datagrams_sent > 0 && ours.bytes_sent > 0 && ours.round_trip_us > 0);
    CHECK(ours.window_bytes > 0 && ours.datagram_bytes_max >= 576 && ours.path_changes >= 1);
    /* A struct of an older header gets what it has room for. */
    memset(&theirs, 0x55, sizeof theirs);
    theirs.struct_size = 2 * sizeof(size_t);
    OK(nlmqtt_client_datagram_stats(client, &theirs));
    CHECK(theirs.protocol == NLMQTT_DATAGRAMS_RUDP_2 && theirs.path_changes == 0x5555555555555555ULL);
    OK(nlmqtt_server_client_info(server, "rover", is_rover, &theirs));
    CHECK(theirs.protocol == NLMQTT_DATAGRAMS_RUDP_2 && theirs.path_changes >= 1 && theirs.bytes_received > 0);
    OK(nlmqtt_server_control(server, "client", "{\"client_id\":\"rover\"}", has_protocol, &is_shown));
    CHECK(is_shown);
    /* What an endpoint counts comes up to a second late. */
    while (received == 0) {
        struct timespec rest = { 0, 20000000 };
        nanosleep(&rest, NULL);
        OK(nlmqtt_server_stat(server, "datagrams_received", &received));
    }
    OK(nlmqtt_client_stop(client, 5000));
    CHECK_EQ(nlmqtt_client_datagram_stats(client, &ours), NLMQTT_NOT_FOUND);
    nlmqtt_client_free(client);
    OK(nlmqtt_server_stop(server, 0, 5000));
    nlmqtt_server_free(server);
    udp_relay_end(&relay);
    pthread_cond_destroy(&told.changed);
    pthread_mutex_destroy(&told.lock);
    return 0;
}
