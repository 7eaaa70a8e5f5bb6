/* WebSocket and proxies from C: URIs and keys, what hooks see of who is behind a proxy, and each fault's status. */
#include "client_bench.h"
#include "client_peer.h"

static struct record record;

/* What the hook has seen of the last client. */
static struct {
    pthread_mutex_t lock;
    char peer[64], authority[64], version[16], common_name[64], id[16], path[16];
} seen = {PTHREAD_MUTEX_INITIALIZER, "", "", "", "", "", ""};

static void on_client(void *user_data, const nlmqtt_client_info *client, bool session_present)
{
    (void)user_data;
    (void)session_present;
    pthread_mutex_lock(&seen.lock);
    copy_str(seen.peer, sizeof seen.peer, client->peer.data, client->peer.len);
    copy_str(seen.authority, sizeof seen.authority, client->proxy_authority.data, client->proxy_authority.len);
    copy_str(seen.version, sizeof seen.version, client->proxy_tls_version.data, client->proxy_tls_version.len);
    copy_str(seen.common_name, sizeof seen.common_name, client->proxy_common_name.data, client->proxy_common_name.len);
    copy_str(seen.id, sizeof seen.id, (const char *)client->proxy_unique_id.data, client->proxy_unique_id.len);
    copy_str(seen.path, sizeof seen.path, client->websocket_path.data, client->websocket_path.len);
    CHECK(client->proxy_alpn.data == NULL || client->proxy_alpn.len == 4);
    CHECK(client->proxy_tls_cipher.data == NULL && client->websocket_origin.data == NULL && !client->tls_resumed);
    pthread_mutex_unlock(&seen.lock);
}

/* A client of BEFORE 127.0.0.1:PORT AFTER. */
static nlmqtt_client_config *config_at(const char *before, uint16_t port, const char *after)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    char uri[160];
    snprintf(uri, sizeof uri, "%s127.0.0.1:%u%s", before, (unsigned)port, after);
    CHECK_OK(nlmqtt_client_config_add_server(config, uri, 0));
    CHECK_OK(nlmqtt_client_config_set_client_id(config, "c"));
    return config;
}

static void is_kept_out(nlmqtt_client_config *config, int32_t cause, nlmqtt_status status, const char *text)
{
    record_init(&record);
    client_with(NULL, config, &record);
    CHECK_OK(nlmqtt_client_start(record.client));
    AWAIT(&record, disconnected, 1);
    CHECK(record.cause == cause);
    CHECK(record.fault == status);
    CHECK(strstr(record.text, text) != NULL);
    nlmqtt_client_free(record.client);
    record_end(&record);
    nlmqtt_client_config_free(config);
}

static void a_websocket_is_one_uri(void)
{
    uint16_t port;
    nlmqtt_server *server = server_at(on_client, "ws://127.0.0.1:0/gateway", &port);
    nlmqtt_client_config *config = config_at("ws://", port, "/gateway");
    CHECK_OK(nlmqtt_client_config_set(config, "websocket_headers", "Authorization: Bearer x\nX-Unit: 7"));
    CHECK(nlmqtt_client_config_set(config, "websocket_headers", "Host: other") == NLMQTT_CONFIG);
    is_let_in(config);
    CHECK(strcmp(seen.path, "/gateway") == 0);
    is_kept_out(config_at("ws://", port, "/elsewhere"), NLMQTT_CAUSE_OTHER, NLMQTT_UPGRADE_REFUSED, "404");
    nlmqtt_server_free(server);
}

static void *answer_once(void *answer)
{
    const char *const *what = (const char *const *)answer;
    int listener = atoi(what[0]), socket = accept_one(listener);
    char request[1024];
    CHECK(recv(socket, request, sizeof request, 0) > 0);
    CHECK(send(socket, what[1], strlen(what[1]), 0) > 0);
    while (recv(socket, request, sizeof request, 0) > 0) {
    }
    close(socket);
    return NULL;
}

/* What a client makes of a server, or a proxy, that answers so. */
static void answered(const char *before, const char *after, const char *answer, int32_t cause, nlmqtt_status status, const char *text)
{
    uint16_t port;
    char number[16], uri[64];
    const char *what[2];
    pthread_t thread;
    nlmqtt_client_config *config;
    int listener = listen_any(&port, 5);
    snprintf(number, sizeof number, "%d", listener);
    what[0] = number;
    what[1] = answer;
    CHECK(pthread_create(&thread, NULL, answer_once, (void *)what) == 0);
    if (strncmp(before, "ws", 2) == 0)
        config = config_at(before, port, after);
    else {
        config = config_at("mqtt://", 1, "");
        snprintf(uri, sizeof uri, "%s127.0.0.1:%u", before, (unsigned)port);
        CHECK_OK(nlmqtt_client_config_set(config, "proxy_uri", uri));
        CHECK_OK(nlmqtt_client_config_set(config, "proxy_username", "me"));
        CHECK_OK(nlmqtt_client_config_set(config, "proxy_password", "word"));
    }
    CHECK_OK(nlmqtt_client_config_set(config, "reconnect_delay_min_ms", "60000"));
    CHECK_OK(nlmqtt_client_config_set(config, "reconnect_delay_max_ms", "60000"));
    is_kept_out(config, cause, status, text);
    CHECK(pthread_join(thread, NULL) == 0);
    close(listener);
}

static void every_fault_has_its_status(void)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    answered("ws://", "/mqtt", "HTTP/1.1 503 Service Unavailable\r\n\r\n", NLMQTT_CAUSE_OTHER, NLMQTT_UPGRADE_REFUSED, "503");
    answered("ws://", "/mqtt", "HTTP/1.1 101 Switching Protocols\r\n\r\n", NLMQTT_CAUSE_PROTOCOL, NLMQTT_WEBSOCKET, "upgrade");
    answered("http://", "", "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", NLMQTT_CAUSE_CREDENTIALS, NLMQTT_PROXY_CREDENTIALS, "407");
    answered("http://", "", "HTTP/1.1 502 Bad Gateway\r\n\r\n", NLMQTT_CAUSE_NETWORK, NLMQTT_PROXY_REFUSED, "502");
    answered("socks5://", "", "\x05\xff", NLMQTT_CAUSE_CREDENTIALS, NLMQTT_PROXY_CREDENTIALS, "credentials");
    answered("socks5://", "", "HTTP", NLMQTT_CAUSE_NETWORK, NLMQTT_PROXY_REFUSED, "SOCKS5");
    CHECK(nlmqtt_client_config_set(config, "proxy_uri", "ftp://x") == NLMQTT_CONFIG);
    nlmqtt_client_config_free(config);
}

static void hooks_see_who_is_behind_a_proxy(void)
{
    static const unsigned char header[] = {
        13, 10, 13, 10, 0, 13, 10, 'Q', 'U', 'I', 'T', 10, 0x21, 0x11, 0, 63, 192, 0, 2, 1, 10, 0, 0, 1, 0xc3, 0x50, 7, 0x5b,
        1, 0, 4, 'm', 'q', 't', 't', 2, 0, 6, 'b', 'r', 'o', 'k', 'e', 'r', 5, 0, 2, 'i', 'd',
        0x20, 0, 24, 3, 0, 0, 0, 0, 0x21, 0, 7, 'T', 'L', 'S', 'v', '1', '.', '3', 0x22, 0, 6, 'd', 'e', 'v', 'i', 'c', 'e',
        0x04, 0, 0,
        0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'p'};
    static const unsigned char connack[] = {0x20, 2, 0, 0};
    unsigned char answer[4];
    uint16_t port;
    struct sockaddr_in address;
    nlmqtt_server *server = server_at(on_client, "mqtt://127.0.0.1:0?proxy=required&proxy_trusted=127.0.0.1&allow_anonymous=true", &port);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    nlmqtt_client_config *config;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(connect(client, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(send(client, header, sizeof header, 0) == (ssize_t)sizeof header);
    CHECK(recv(client, answer, sizeof answer, MSG_WAITALL) == 4 && memcmp(answer, connack, 4) == 0);
    pthread_mutex_lock(&seen.lock);
    CHECK(strcmp(seen.peer, "192.0.2.1:50000") == 0);
    CHECK(strcmp(seen.authority, "broker") == 0);
    CHECK(strcmp(seen.version, "TLSv1.3") == 0);
    CHECK(strcmp(seen.common_name, "device") == 0);
    CHECK(strcmp(seen.id, "id") == 0);
    pthread_mutex_unlock(&seen.lock);
    close(client);
    config = config_at("mqtt://", port, "");
    CHECK_OK(nlmqtt_client_config_set(config, "proxy_protocol", "v1"));
    is_let_in(config);
    nlmqtt_server_free(server);
}

static void a_listening_socket_speaks_it_too(void)
{
    uint16_t port;
    nlmqtt_server *server = server_at(on_client, "mqtt://127.0.0.1:0", &port);
    int listener = listen_any(&port, 5);
    CHECK_OK(nlmqtt_server_add_listener_fd(server, listener, "ws://127.0.0.1/passed?origins=https://x.example", NULL));
    is_let_in(config_at("ws://", port, "/passed"));
    nlmqtt_server_free(server);
}

int main(void)
{
    a_websocket_is_one_uri();
    every_fault_has_its_status();
    hooks_see_who_is_behind_a_proxy();
    a_listening_socket_speaks_it_too();
    return 0;
}
