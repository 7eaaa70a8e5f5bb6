/* Connections that the application has accepted come in through a listener of the library: its TLS, WebSocket, rules and limits are theirs. */
#include "client_peer.h"

/* What the hook has seen of the last client. */
static struct {
    pthread_mutex_t lock;
    char mount_point[16], tls_version[8], path[16];
    int count;
} seen = {PTHREAD_MUTEX_INITIALIZER, "", "", "", 0};

static void on_client(void *user_data, const nlmqtt_client_info *client, bool session_present)
{
    (void)user_data, (void)session_present;
    pthread_mutex_lock(&seen.lock);
    copy_str(seen.mount_point, sizeof seen.mount_point, client->mount_point.data, client->mount_point.len);
    copy_str(seen.tls_version, sizeof seen.tls_version, client->tls_version.data, client->tls_version.len);
    copy_str(seen.path, sizeof seen.path, client->websocket_path.data, client->websocket_path.len);
    seen.count++;
    pthread_mutex_unlock(&seen.lock);
}

/* A client on its way to the door of the application. */
static void dial_door(struct record *record, const char *scheme, uint16_t door_port)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    char uri[64];
    snprintf(uri, sizeof uri, "%s://127.0.0.1:%u", scheme, (unsigned)door_port);
    CHECK_OK(nlmqtt_client_config_add_server(config, uri, 0));
    CHECK_OK(nlmqtt_client_config_set_ca_pem(config, ca_pem));
    record_init(record);
    client_with(NULL, config, record);
    CHECK_OK(nlmqtt_client_start(record->client));
    nlmqtt_client_config_free(config);
}

static void comes_in_through_a_listener_of(const char *scheme)
{
    bool is_tls = strcmp(scheme, "mqtts") == 0 || strcmp(scheme, "wss") == 0, is_websocket = scheme[0] == 'w';
    struct server_files files;
    struct record first, second;
    char uri[sizeof files.uri + 64];
    uint16_t port, door_port;
    nlmqtt_server *server;
    int door = listen_any(&door_port, 4), accepted;
    uint64_t token;
    write_server_files(&files, "");
    snprintf(uri, sizeof uri, "%s://127.0.0.1:0?mount_point=site/&max_connections=1&%s", scheme, is_tls ? strchr(files.uri, '?') + 1 : "");
    if (!is_tls)
        *strrchr(uri, '&') = '\0';
    server = server_at(on_client, uri, &port);
    seen.count = 0;
    dial_door(&first, scheme, door_port);
    accepted = accept_one(door);
    CHECK_STATUS(NLMQTT_NOT_FOUND, nlmqtt_server_adopt_at(server, accepted, 1));
    CHECK_OK(nlmqtt_server_adopt_at(server, accepted, 0));
    CHECK_OK(nlmqtt_client_connect_wait(first.client, 20000));
    CHECK(seen.count == 1 && strcmp(seen.mount_point, "site/") == 0);
    CHECK(strcmp(seen.tls_version, is_tls ? "1.3" : "") == 0 && strcmp(seen.path, is_websocket ? "/mqtt" : "") == 0);
    CHECK_OK(nlmqtt_client_subscribe(first.client, "t", 1, on_own_message, &first, NULL, &token));
    CHECK_OK(nlmqtt_client_wait(first.client, token, 20000));
    CHECK_OK(nlmqtt_server_publish(server, "site/t", "through", 7, 1, false, NULL));
    AWAIT(&first, own_messages, 1);
    CHECK(strcmp(first.topic, "t") == 0 && strcmp(first.payload, "through") == 0);
    /* The listener lets one in. */
    dial_door(&second, scheme, door_port);
    accepted = accept_one(door);
    CHECK_STATUS(NLMQTT_LIMIT, nlmqtt_server_adopt_at(server, accepted, 0));
    CHECK(close(accepted) == 0);
    nlmqtt_client_free(second.client);
    nlmqtt_client_free(first.client);
    nlmqtt_server_free(server);
    CHECK(seen.count == 1);
    close(door);
    record_end(&second);
    record_end(&first);
    remove_server_files(&files);
}

int main(void)
{
    static const char *const schemes[] = {"mqtt", "mqtts", "ws", "wss"};
    size_t i;
    for (i = 0; i < sizeof schemes / sizeof *schemes; i++)
        comes_in_through_a_listener_of(schemes[i]);
    puts("ok server_adopt");
    return 0;
}
