/* Typed options of a listener: each is seen from outside, by a raw client, by a hook, or in the kernel's socket. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* TCP_USER_TIMEOUT and struct tcp_info, which has been the kernel's since before C99 */
#endif
#include "check.h"

#include "certificates.h"

#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/un.h>

/* What the hook has seen of the last client. */
static struct {
    pthread_mutex_t lock;
    char username[80], peer[64], version[8];
} seen = {PTHREAD_MUTEX_INITIALIZER, "", "", ""};

static void keep(char *to, size_t room, nlmqtt_str text)
{
    snprintf(to, room, "%.*s", (int)text.len, text.data ? text.data : "");
}

static void on_connected(void *user_data, const nlmqtt_client_info *client, bool session_present)
{
    (void)user_data, (void)session_present;
    pthread_mutex_lock(&seen.lock);
    keep(seen.username, sizeof seen.username, client->username);
    keep(seen.peer, sizeof seen.peer, client->peer);
    keep(seen.version, sizeof seen.version, client->tls_version);
    pthread_mutex_unlock(&seen.lock);
}

static nlmqtt_listener_config *listener_at(const char *uri)
{
    nlmqtt_listener_config *listener = nlmqtt_listener_config_new();
    OK(nlmqtt_listener_config_set_uri(listener, uri));
    return listener;
}

/* A server with this listener, which is freed. */
static nlmqtt_server *serve_with(nlmqtt_listener_config *listener, uint16_t *port)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server = NULL;
    nlmqtt_server_hooks_init(&hooks);
    hooks.connected = on_connected;
    OK(nlmqtt_server_config_add_listener_config(config, listener));
    nlmqtt_listener_config_free(listener);
    OK(nlmqtt_server_new(NULL, config, &hooks, &server));
    nlmqtt_server_config_free(config);
    OK(nlmqtt_server_start(server));
    OK(nlmqtt_server_listener_port(server, 0, port));
    return server;
}

static bool is_closed(int socket_fd)
{
    struct packet packet;
    bool closed = read_packet(socket_fd, &packet) == -1;
    close(socket_fd);
    return closed;
}

static void expect_value(const nlmqtt_listener_config *listener, const char *key, const char *value)
{
    char text[64];
    size_t len = 0;
    OK(nlmqtt_listener_config_get(listener, key, text, sizeof text, &len));
    CHECK_TEXT(text, value);
    CHECK_EQ(len, strlen(value));
}

/* The bytes are somewhere in the packet. */
static bool has(const struct packet *packet, const char *bytes, size_t len)
{
    size_t at;
    for (at = 0; at + len <= packet->len; at++)
        if (memcmp(packet->body + at, bytes, len) == 0)
            return true;
    return false;
}

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void clients_are_let_in_by_version_name_and_number(void)
{
    nlmqtt_listener_config *listener = listener_at("mqtt://127.0.0.1:0");
    uint16_t port, changed_port = 0;
    nlmqtt_server *server;
    int first, refused;
    OK(nlmqtt_listener_config_set_versions(listener, 3, 4));
    expect_value(listener, "versions", "3.1,3.1.1");
    server = serve_with(listener, &port);
    close(connect_client(port, "known"));
    refused = dial(port);
    send_connect(refused, 5, "newer", NULL, NULL);
    {
        struct packet packet;
        CHECK(read_packet(refused, &packet) == 0x20 && packet.body[1] == 0x84);
    }
    close(refused);
    /* Added to a server that runs, a little different each time. */
    listener = listener_at("mqtt://127.0.0.1:0");
    OK(nlmqtt_listener_config_set_max_connections(listener, 1));
    OK(nlmqtt_server_add_listener_config(server, listener, &changed_port));
    first = connect_client(changed_port, "one");
    CHECK(is_closed(dial(changed_port)));
    close(first);
    OK(nlmqtt_listener_config_set_max_connections(listener, 0));
    OK(nlmqtt_listener_config_set_allow_anonymous(listener, false));
    OK(nlmqtt_server_add_listener_config(server, listener, &changed_port));
    refused = dial(changed_port);
    send_connect(refused, 4, "nameless", NULL, NULL);
    EXPECT(refused, 0x20, "\0\5", 2);
    close(refused);
    OK(nlmqtt_listener_config_set_allow_anonymous(listener, true));
    OK(nlmqtt_listener_config_set_versions(listener, 5, 5));
    OK(nlmqtt_server_add_listener_config(server, listener, &changed_port));
    refused = dial(changed_port);
    send_connect(refused, 4, "older", NULL, NULL);
    EXPECT(refused, 0x20, "\0\1", 2);
    close(refused);
    nlmqtt_listener_config_free(listener);
    nlmqtt_server_free(server);
}

static void limits_are_told_and_kept(void)
{
    nlmqtt_listener_config *listener = listener_at("mqtt://127.0.0.1:0");
    struct packet packet;
    char large[301];
    uint16_t port;
    nlmqtt_server *server;
    int client;
    OK(nlmqtt_listener_config_set_max_packet_bytes(listener, 200));
    OK(nlmqtt_listener_config_set_receive_maximum(listener, 7));
    OK(nlmqtt_listener_config_set_max_keepalive_s(listener, 33));
    server = serve_with(listener, &port);
    client = dial(port);
    send_connect(client, 5, "told", NULL, NULL);
    CHECK_EQ(read_packet(client, &packet), 0x20);
    CHECK(has(&packet, "\x27\0\0\0\xc8", 5) && has(&packet, "\x21\0\7", 3) && has(&packet, "\x13\0\x21", 3));
    close(client);
    client = connect_client(port, "large");
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = 0;
    send_publish(client, "a", large, 0, false);
    CHECK(is_closed(client));
    nlmqtt_server_free(server);
}

static void topics_get_a_mount_point(void)
{
    nlmqtt_listener_config *listener = listener_at("mqtt://127.0.0.1:0"), *plain = listener_at("mqtt://127.0.0.1:0");
    uint16_t mounted_port, plain_port;
    nlmqtt_server *server;
    int mounted, whole;
    OK(nlmqtt_listener_config_set_mount_point(listener, "other/"));
    OK(nlmqtt_listener_config_set_mount_point(listener, NULL));
    expect_value(listener, "mount_point", "");
    OK(nlmqtt_listener_config_set_mount_point(listener, "site/7/"));
    server = serve_with(listener, &mounted_port);
    OK(nlmqtt_server_add_listener_config(server, plain, &plain_port));
    nlmqtt_listener_config_free(plain);
    mounted = connect_client(mounted_port, "inside");
    whole = connect_client(plain_port, "outside");
    send_subscribe(whole, "#", 0);
    EXPECT(whole, 0x90, "\0\1\0", 3);
    send_publish(mounted, "a", "b", 0, false);
    expect_publish(whole, "site/7/a", "b");
    close(mounted);
    close(whole);
    nlmqtt_server_free(server);
}

/* Milliseconds until `count` messages of `bytes` at QoS 1 were taken. */
static long long publishing_takes(uint16_t port, int count, size_t bytes)
{
    long long began = now_ms();
    char payload[1001];
    int client = connect_client(port, "fast"), i;
    memset(payload, 'x', bytes);
    payload[bytes] = 0;
    for (i = 0; i < count; i++)
        send_publish(client, "a", payload, 1, false);
    for (i = 0; i < count; i++)
        EXPECT(client, 0x40, "\0\7", 2);
    close(client);
    return now_ms() - began;
}

static void rates_are_kept(void)
{
    nlmqtt_listener_config *listener = listener_at("mqtt://127.0.0.1:0");
    uint16_t port = 0, messages_port = 0, bytes_port = 0, connections_port = 0;
    nlmqtt_server *server;
    long long began;
    int i;
    OK(nlmqtt_listener_config_set_rates(listener, 10, 2000, 3));
    expect_value(listener, "rate_messages", "10");
    expect_value(listener, "rate_bytes", "2000");
    expect_value(listener, "rate_connections", "3");
    OK(nlmqtt_listener_config_set_rates(listener, 0, 0, 0));
    expect_value(listener, "rate_bytes", "");
    server = serve_with(listener, &port);
    listener = listener_at("mqtt://127.0.0.1:0");
    OK(nlmqtt_listener_config_set_rates(listener, 10, 0, 0));
    OK(nlmqtt_server_add_listener_config(server, listener, &messages_port));
    OK(nlmqtt_listener_config_set_rates(listener, 0, 2000, 0));
    OK(nlmqtt_server_add_listener_config(server, listener, &bytes_port));
    OK(nlmqtt_listener_config_set_rates(listener, 0, 0, 3));
    OK(nlmqtt_server_add_listener_config(server, listener, &connections_port));
    /* One second's worth at once, then no faster than the rate: a lower bound of time, which no load breaks. */
    CHECK(publishing_takes(messages_port, 25, 1) >= 1000);
    CHECK(publishing_takes(bytes_port, 6, 1000) >= 1000);
    began = now_ms();
    for (i = 0; i < 9; i++)
        close(connect_client(connections_port, "often"));
    CHECK(now_ms() - began >= 1000);
    nlmqtt_listener_config_free(listener);
    nlmqtt_server_free(server);
}

static void addresses_are_allowed_and_denied(void)
{
    nlmqtt_listener_config *listener = listener_at("mqtt://127.0.0.1:0");
    uint16_t port;
    nlmqtt_server *server;
    OK(nlmqtt_listener_config_set_addresses(listener, "10.0.0.0/8,::1", NULL));
    server = serve_with(listener, &port);
    CHECK(is_closed(dial(port)));
    listener = listener_at("mqtt://127.0.0.1:0");
    OK(nlmqtt_listener_config_set_addresses(listener, "127.0.0.0/8", "127.0.0.1"));
    OK(nlmqtt_server_add_listener_config(server, listener, &port));
    CHECK(is_closed(dial(port)));
    OK(nlmqtt_listener_config_set_addresses(listener, NULL, NULL));
    OK(nlmqtt_server_add_listener_config(server, listener, &port));
    close(connect_client(port, "anybody"));
    nlmqtt_listener_config_free(listener);
    nlmqtt_server_free(server);
}

/* Whether our own client, with a certificate or without, gets in. */
static bool gets_in(uint16_t port, bool shows_certificate, const char *alpn)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_client *client = NULL;
    char uri[64];
    bool is_in;
    snprintf(uri, sizeof uri, "mqtts://127.0.0.1:%u", (unsigned)port);
    OK(nlmqtt_client_config_add_server(config, uri, 0));
    OK(nlmqtt_client_config_set_ca_pem(config, ca_pem));
    OK(nlmqtt_client_config_set(config, "tls_alpn", alpn));
    OK(nlmqtt_client_config_set_reconnect_rule(config, NLMQTT_CAUSE_TLS, NLMQTT_RETRY_STOP));
    OK(nlmqtt_client_config_set_reconnect_rule(config, NLMQTT_CAUSE_CLOSED, NLMQTT_RETRY_STOP));
    OK(nlmqtt_client_config_set_reconnect_rule(config, NLMQTT_CAUSE_NETWORK, NLMQTT_RETRY_STOP));
    if (shows_certificate)
        OK(nlmqtt_client_config_set_certificate_pem(config, client_pem, client_key));
    OK(nlmqtt_client_new(NULL, config, NULL, &client));
    OK(nlmqtt_client_start(client));
    is_in = nlmqtt_client_connect_wait(client, 20000) == NLMQTT_OK;
    nlmqtt_client_free(client);
    nlmqtt_client_config_free(config);
    return is_in;
}

static void tls_and_certificates_are_asked_for(void)
{
    struct server_files files;
    nlmqtt_listener_config *listener = nlmqtt_listener_config_new();
    uint16_t port;
    nlmqtt_server *server;
    write_server_files(&files, "");
    /* Without a URI a certificate makes it TLS. */
    OK(nlmqtt_listener_config_set(listener, "address", "127.0.0.1"));
    OK(nlmqtt_listener_config_set(listener, "port", "0"));
    OK(nlmqtt_listener_config_set_certificate_files(listener, files.cert, files.key));
    expect_value(listener, "protocol", "mqtts");
    OK(nlmqtt_listener_config_set_client_certificates(listener, NLMQTT_CLIENT_CERTIFICATE_REQUIRE, NLMQTT_IDENTITY_COMMON_NAME, files.ca, NULL));
    OK(nlmqtt_listener_config_set_tls(listener, NLMQTT_TLS_VERSION_1_3, "mqtt,x-gateway"));
    expect_value(listener, "tls_min", "1.3");
    server = serve_with(listener, &port);
    CHECK(gets_in(port, true, "x-gateway"));
    pthread_mutex_lock(&seen.lock);
    CHECK_TEXT(seen.username, "gateway");
    CHECK_TEXT(seen.version, "1.3");
    pthread_mutex_unlock(&seen.lock);
    CHECK(!gets_in(port, true, "other"));
    CHECK(!gets_in(port, false, "mqtt"));
    listener = listener_at("mqtts://127.0.0.1:0");
    OK(nlmqtt_listener_config_set_certificate_files(listener, files.cert, files.key));
    OK(nlmqtt_listener_config_set_client_certificates(listener, NLMQTT_CLIENT_CERTIFICATE_REQUEST, NLMQTT_IDENTITY_NONE, files.ca, NULL));
    OK(nlmqtt_listener_config_set_tls(listener, NLMQTT_TLS_VERSION_1_2, NULL));
    OK(nlmqtt_server_add_listener_config(server, listener, &port));
    CHECK(gets_in(port, false, "other"));
    nlmqtt_listener_config_free(listener);
    nlmqtt_server_free(server);
    remove_server_files(&files);
}

/* The status of the answer to a request for a WebSocket. */
static int upgrade_status(uint16_t port, const char *path, const char *origin)
{
    char text[512], expected[] = "HTTP/1.1 ";
    unsigned char answer[13];
    int client = dial(port);
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\nOrigin: %s\r\n\r\n", path, origin);
    CHECK(send(client, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
    CHECK(read_exactly(client, answer, sizeof answer - 1));
    answer[sizeof answer - 1] = 0;
    CHECK(memcmp(answer, expected, strlen(expected)) == 0);
    close(client);
    return atoi((const char *)answer + strlen(expected));
}

static void paths_and_origins_of_websockets_are_judged(void)
{
    nlmqtt_listener_config *listener = nlmqtt_listener_config_new();
    uint16_t port;
    nlmqtt_server *server;
    OK(nlmqtt_listener_config_set(listener, "protocol", "websockets"));
    OK(nlmqtt_listener_config_set(listener, "host", "127.0.0.1"));
    OK(nlmqtt_listener_config_set(listener, "port", "0"));
    OK(nlmqtt_listener_config_set_websocket(listener, "/mqtt,/console", "https://console.example"));
    server = serve_with(listener, &port);
    CHECK_EQ(upgrade_status(port, "/console", "https://console.example"), 101);
    CHECK_EQ(upgrade_status(port, "/other", "https://console.example"), 404);
    CHECK_EQ(upgrade_status(port, "/mqtt", "https://elsewhere.example"), 403);
    nlmqtt_server_free(server);
}

static void proxies_say_who_is_behind_them(void)
{
    static const char header[] = "PROXY TCP4 192.0.2.9 10.0.0.1 50000 1883\r\n";
    nlmqtt_listener_config *listener = listener_at("mqtt://127.0.0.1:0");
    uint16_t port;
    nlmqtt_server *server;
    int client;
    OK(nlmqtt_listener_config_set_proxy(listener, NLMQTT_PROXY_POLICY_REQUIRED, "127.0.0.0/8"));
    OK(nlmqtt_listener_config_set_allow_anonymous(listener, true));
    server = serve_with(listener, &port);
    client = dial(port);
    CHECK(send(client, header, strlen(header), MSG_NOSIGNAL) == (ssize_t)strlen(header));
    send_connect(client, 4, "behind", NULL, NULL);
    EXPECT(client, 0x20, "\0\0", 2);
    ping(client);
    pthread_mutex_lock(&seen.lock);
    CHECK(strncmp(seen.peer, "192.0.2.9", 9) == 0);
    pthread_mutex_unlock(&seen.lock);
    close(client);
    client = dial(port);
    send_connect(client, 4, "straight", NULL, NULL);
    CHECK(is_closed(client));
    nlmqtt_server_free(server);
}

/* This process's socket at `port` that listens, or that is connected. */
static int own_socket(uint16_t port, int is_listening)
{
    int descriptor;
    for (descriptor = 3; descriptor < 1024; descriptor++) {
        struct sockaddr_in address;
        socklen_t len = sizeof address, number_len = sizeof(int);
        int listens = -1;
        memset(&address, 0, sizeof address);
        if (getsockname(descriptor, (struct sockaddr *)&address, &len) == 0 && address.sin_family == AF_INET && ntohs(address.sin_port) == port
            && getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &number_len) == 0 && listens == is_listening)
            return descriptor;
    }
    return -1;
}

static int number_of(int descriptor, int level, int option)
{
    int number = -1;
    socklen_t len = sizeof number;
    CHECK(getsockopt(descriptor, level, option, &number, &len) == 0);
    return number;
}

static void limits_of_reliable_udp_are_set_and_held(void)
{
    nlmqtt_listener_config *listener = listener_at("rudp://127.0.0.1:0");
    uint16_t port;
    OK(nlmqtt_listener_config_set_rudp_newcomers(listener, 7, 0, 9));
    OK(nlmqtt_listener_config_set_rudp_rates(listener, 11, 0));
    OK(nlmqtt_listener_config_set_rudp_patience(listener, 0, 12));
    OK(nlmqtt_listener_config_set_rudp_bare(listener, true, "10.0.0.0/8"));
    expect_value(listener, "rudp_max_half_open", "7");
    expect_value(listener, "rudp_max_half_open_per_source", "32");
    expect_value(listener, "rudp_max_unproven", "9");
    expect_value(listener, "rudp_rate_newcomers", "11");
    expect_value(listener, "rudp_rate_resets", "0");
    expect_value(listener, "rudp_gap_timeout_ms", "20000");
    expect_value(listener, "rudp_silent_timeout_s", "12");
    expect_value(listener, "rudp_bare", "true");
    expect_value(listener, "rudp_bare_trusted", "10.0.0.0/8");
    nlmqtt_server_free(serve_with(listener, &port));
}

static void sockets_get_their_options(void)
{
    nlmqtt_listener_config *listener = listener_at("mqtt://127.0.0.1:0");
    struct tcp_info info;
    socklen_t len = sizeof info;
    uint16_t port;
    nlmqtt_server *server;
    int client, accepted;
    OK(nlmqtt_listener_config_set_backlog(listener, 17));
    OK(nlmqtt_listener_config_set_tcp(listener, 41, 7000));
    OK(nlmqtt_listener_config_set_dscp(listener, 46));
    server = serve_with(listener, &port);
    /* Of a listening socket this is how long its queue may become. */
    CHECK(getsockopt(own_socket(port, 1), IPPROTO_TCP, TCP_INFO, &info, &len) == 0);
    if (len > offsetof(struct tcp_info, tcpi_sacked)) /* qemu-user gives the first word only */
        CHECK_EQ(info.tcpi_sacked, 17);
    client = connect_client(port, "measured");
    accepted = own_socket(port, 0);
    CHECK_EQ(number_of(accepted, IPPROTO_TCP, TCP_KEEPIDLE), 41);
    CHECK_EQ(number_of(accepted, IPPROTO_TCP, TCP_USER_TIMEOUT), 7000);
    CHECK_EQ(number_of(accepted, IPPROTO_IP, IP_TOS), 46 << 2);
    close(client);
    nlmqtt_server_free(server);
}

static void the_file_of_a_unix_socket_has_mode_and_owner(void)
{
    char folder[] = "/tmp/nlmqtt-listener-XXXXXX", uri[80], path[64], owner[32];
    nlmqtt_listener_config *listener;
    nlmqtt_server *server;
    struct stat file;
    /* Only root can give a file away. */
    gid_t group = geteuid() == 0 ? 12345 : getegid();
    uint16_t port;
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/socket", folder);
    snprintf(uri, sizeof uri, "unix://%s", path);
    snprintf(owner, sizeof owner, ":%u", (unsigned)group);
    listener = listener_at(uri);
    OK(nlmqtt_listener_config_set_unix_file(listener, 0612, owner));
    server = serve_with(listener, &port);
    CHECK(stat(path, &file) == 0);
    CHECK_EQ(file.st_mode & 07777, 0612);
    CHECK_EQ(file.st_gid, group);
    nlmqtt_server_free(server);
    CHECK(rmdir(folder) == 0);
}

static void expect_error(nlmqtt_status status, const char *begin)
{
    char text[256];
    CHECK_EQ(status, NLMQTT_CONFIG);
    nlmqtt_last_error(text, sizeof text);
    if (strncmp(text, begin, strlen(begin)) != 0) {
        fprintf(stderr, "'%s' does not begin with '%s'\n", text, begin);
        exit(1);
    }
}

static void what_cannot_be_used_says_what_its_key_says(void)
{
    nlmqtt_listener_config *listener = listener_at("mqtt://127.0.0.1:0");
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    OK(nlmqtt_listener_config_set_dscp(listener, 9));
    expect_error(nlmqtt_listener_config_set_dscp(listener, 64), "dscp: '64' is not a number from 0 to 63");
    expect_value(listener, "dscp", "9");
    expect_error(nlmqtt_listener_config_set(listener, "dscp", "64"), "dscp: '64' is not a number from 0 to 63");
    expect_error(nlmqtt_listener_config_set(listener, "dsc", "1"), "unknown key 'dsc': did you mean 'dscp'?");
    expect_error(nlmqtt_listener_config_set(listener, "protocol", "web"), "protocol: 'web' is not mqtt, websockets");
    expect_error(nlmqtt_listener_config_set_versions(listener, 5, 4), "versions: ");
    expect_error(nlmqtt_listener_config_set_versions(listener, 2, 5), "versions: ");
    expect_error(nlmqtt_listener_config_set_mount_point(listener, "+/"), "mount_point: ");
    expect_error(nlmqtt_listener_config_set_max_packet_bytes(listener, 5), "max_packet_size: ");
    expect_error(nlmqtt_listener_config_set_max_connections(listener, 10000001), "max_connections: ");
    expect_error(nlmqtt_listener_config_set_addresses(listener, "127.0.0.1", "here"), "deny: ");
    expect_value(listener, "allow", "");
    expect_error(nlmqtt_listener_config_set_client_certificates(listener, 7, 0, NULL, NULL), "client_cert: ");
    expect_error(nlmqtt_listener_config_set_client_certificates(listener, 0, -1, NULL, NULL), "identity: ");
    expect_error(nlmqtt_listener_config_set_tls(listener, 0x0302, NULL), "tls_min: ");
    expect_error(nlmqtt_listener_config_set_websocket(listener, "mqtt", NULL), "paths: ");
    expect_error(nlmqtt_listener_config_set_proxy(listener, 3, NULL), "proxy: ");
    expect_error(nlmqtt_listener_config_set_backlog(listener, 0), "backlog: ");
    expect_error(nlmqtt_listener_config_set_tcp(listener, 1, 86400001), "tcp_user_timeout_ms: ");
    expect_value(listener, "tcp_keepalive_s", "0");
    expect_error(nlmqtt_listener_config_set_rudp_newcomers(listener, 0, 10001, 0), "rudp_max_half_open_per_source: ");
    expect_error(nlmqtt_listener_config_set_rudp_rates(listener, 0, 0), "rudp_rate_newcomers: ");
    expect_error(nlmqtt_listener_config_set_rudp_patience(listener, 60001, 0), "rudp_gap_timeout_ms: ");
    expect_error(nlmqtt_listener_config_set_rudp_bare(listener, false, "here"), "rudp_bare_trusted: ");
    expect_error(nlmqtt_listener_config_set_unix_file(listener, 01000, NULL), "mode: ");
    expect_error(nlmqtt_listener_config_set_uri(listener, "mqtt://127.0.0.1?colour=red"), "unknown key 'colour'");
    CHECK_EQ(nlmqtt_listener_config_set_uri(listener, "smoke://127.0.0.1"), NLMQTT_CONFIG);
    /* What does not go together is found where it is added. */
    OK(nlmqtt_listener_config_set_websocket(listener, NULL, "https://x"));
    expect_error(nlmqtt_server_config_add_listener_config(config, listener), "listener 127.0.0.1:0: paths and origins need ws://");
    CHECK_EQ(nlmqtt_server_config_listener_count(config), 0);
    OK(nlmqtt_listener_config_set_websocket(listener, NULL, NULL));
    OK(nlmqtt_server_config_add_listener_config(config, listener));
    OK(nlmqtt_listener_config_set(listener, "port", "0"));
    OK(nlmqtt_server_config_add_listener_config(config, listener)); /* it can be added again */
    CHECK_EQ(nlmqtt_server_config_listener_count(config), 2);
    nlmqtt_server_config_free(config);
    nlmqtt_listener_config_free(listener);
    nlmqtt_listener_config_free(NULL);
}

int main(void)
{
    clients_are_let_in_by_version_name_and_number();
    limits_are_told_and_kept();
    topics_get_a_mount_point();
    rates_are_kept();
    addresses_are_allowed_and_denied();
    tls_and_certificates_are_asked_for();
    paths_and_origins_of_websockets_are_judged();
    proxies_say_who_is_behind_them();
    limits_of_reliable_udp_are_set_and_held();
    sockets_get_their_options();
    the_file_of_a_unix_socket_has_mode_and_owner();
    what_cannot_be_used_says_what_its_key_says();
    puts("ok listener_config");
    return 0;
}
