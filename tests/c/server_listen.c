/* Listeners opened, passed in and closed while a server runs; adopted connections; a stop that keeps its time. */
#include "check.h"

#include <sys/stat.h>
#include <sys/un.h>

static int listening_socket(uint16_t *port)
{
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(descriptor >= 0 && bind(descriptor, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(getsockname(descriptor, (struct sockaddr *)&address, &len) == 0);
    *port = ntohs(address.sin_port);
    return descriptor;
}

static bool is_open(int descriptor)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    return getsockname(descriptor, (struct sockaddr *)&address, &len) == 0;
}

/* Nobody listens there, or will close what is accepted at once. */
static bool is_refused(uint16_t port)
{
    struct sockaddr_in address;
    int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    bool refused;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    refused = connect(descriptor, (struct sockaddr *)&address, sizeof address) != 0;
    close(descriptor);
    return refused;
}

static void listeners_come_and_go(void)
{
    nlmqtt_server *server = NULL;
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    uint16_t port = 0, second = 0, port_of_index;
    char address[64], uri[64];
    int client;
    OK(nlmqtt_server_new(NULL, NULL, NULL, &server));
    OK(nlmqtt_server_add_listener(server, "mqtt://127.0.0.1:0", &port)); /* before the start, too */
    CHECK(port != 0);
    client = connect_client(port, "early");
    OK(nlmqtt_server_start(server));
    ping(client);
    OK(nlmqtt_server_add_listener(server, "mqtt://127.0.0.1:0?allow_anonymous=false", &second));
    OK(nlmqtt_server_listener_port(server, 1, &port_of_index));
    CHECK_EQ(port_of_index, second);
    snprintf(uri, sizeof uri, "mqtt://127.0.0.1:%u", (unsigned)second);
    CHECK_EQ(nlmqtt_server_add_listener(server, uri, NULL), NLMQTT_ADDRESS_IN_USE);
    CHECK_EQ(nlmqtt_server_add_listener(server, "quic://127.0.0.1", NULL), nlmqtt_has_feature("quic") ? NLMQTT_CONFIG : NLMQTT_UNSUPPORTED); /* no certificate */
    CHECK_EQ(nlmqtt_server_add_listener(server, "mqtt://127.0.0.1?colour=red", NULL), NLMQTT_CONFIG);
    {
        int refused = dial(second);
        send_connect(refused, 4, "anonymous", NULL, NULL);
        EXPECT(refused, 0x20, "\0\5", 2);
        close(refused);
    }
    /* A reload leaves them alone. */
    OK(nlmqtt_server_reload(server, config, NULL, NULL));
    close(connect_client(port, "still"));
    OK(nlmqtt_server_listener_address(server, 0, address, sizeof address));
    OK(nlmqtt_server_remove_listener(server, address));
    CHECK_EQ(nlmqtt_server_remove_listener(server, address), NLMQTT_NOT_FOUND);
    CHECK_EQ(nlmqtt_server_remove_listener(server, "here"), NLMQTT_INVALID_ARGUMENT);
    CHECK(is_refused(port));
    ping(client); /* its connections stay */
    OK(nlmqtt_server_listener_port(server, 0, &port_of_index));
    CHECK_EQ(port_of_index, second);
    nlmqtt_server_config_free(config);
    close(client);
    nlmqtt_server_free(server);
}

static void a_passed_descriptor_is_listened_on(void)
{
    nlmqtt_server *server = NULL;
    uint16_t port, told = 0, other;
    int client, descriptor = listening_socket(&port), not_listening, unix_socket;
    OK(nlmqtt_server_new(NULL, NULL, NULL, &server));
    not_listening = listening_socket(&other);
    CHECK_EQ(nlmqtt_server_add_listener_fd(server, not_listening, NULL, NULL), NLMQTT_IO);
    CHECK(is_open(not_listening)); /* still ours */
    close(not_listening);
    unix_socket = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_EQ(nlmqtt_server_add_listener_fd(server, unix_socket, NULL, NULL), NLMQTT_IO);
    close(unix_socket);
    CHECK_EQ(nlmqtt_server_add_listener_fd(server, -1, NULL, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_add_listener_fd(server, 999, NULL, NULL), NLMQTT_IO);
    CHECK(listen(descriptor, 16) == 0);
    CHECK_EQ(nlmqtt_server_add_listener_fd(server, descriptor, "colour=red", NULL), NLMQTT_CONFIG);
    client = dial(port); /* waits in the queue of the socket */
    OK(nlmqtt_server_add_listener_fd(server, descriptor, "max_connections=1", &told));
    CHECK_EQ(told, port);
    /* The descriptor is the library's now; what its number means since, the accepted client may be, is not ours to ask. */
    send_connect(client, 4, "activated", NULL, NULL);
    EXPECT(client, 0x20, "\0\0", 2);
    {
        struct packet packet;
        int one_more = dial(port);
        CHECK_EQ(read_packet(one_more, &packet), -1);
        close(one_more);
    }
    OK(nlmqtt_server_stop(server, 0, 1000));
    CHECK(is_refused(port));
    close(client);
    nlmqtt_server_free(server);
}

static int32_t refuse_all(void *user_data, nlmqtt_str peer, nlmqtt_str listener, nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    (void)token, (void)decision;
    CHECK(strcmp(peer.data, "local") == 0 && listener.len == 0);
    return *(int32_t *)user_data;
}

static void a_connected_descriptor_is_adopted(void)
{
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server = NULL;
    int32_t code = NLMQTT_ALLOW;
    int pair[2], unconnected = socket(AF_INET, SOCK_STREAM, 0);
    struct packet packet;
    struct timeval limit;
    limit.tv_sec = 10;
    limit.tv_usec = 0;
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &code;
    hooks.accept = refuse_all;
    OK(nlmqtt_server_new(NULL, NULL, &hooks, &server));
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    OK(nlmqtt_server_adopt(server, pair[1]));
    CHECK(!is_open(pair[1]));
    send_connect(pair[0], 4, "adopted", NULL, NULL);
    EXPECT(pair[0], 0x20, "\0\0", 2);
    send_subscribe(pair[0], "#", 0);
    EXPECT(pair[0], 0x90, "\0\1\0", 3);
    send_publish(pair[0], "a", "b", 0, false);
    expect_publish(pair[0], "a", "b");
    OK(nlmqtt_server_kick(server, "adopted", 0, true));
    CHECK_EQ(read_packet(pair[0], &packet), -1);
    close(pair[0]);
    CHECK_EQ(nlmqtt_server_adopt(server, unconnected), NLMQTT_IO);
    CHECK(is_open(unconnected));
    close(unconnected);
    code = NLMQTT_DENY;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK_EQ(nlmqtt_server_adopt(server, pair[1]), NLMQTT_LIMIT);
    CHECK(is_open(pair[1]));
    close(pair[0]);
    close(pair[1]);
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
    CHECK_EQ(nlmqtt_server_adopt(server, pair[1]), NLMQTT_IO);
    close(pair[0]);
    close(pair[1]);
    nlmqtt_server_free(server);
}

static void note_mount_point(void *user_data, const nlmqtt_client_entry *client)
{
    CHECK(strcmp(client->client_id.data, "pump") == 0 && strcmp(client->mount_point.data, "site/") == 0);
    ++*(int *)user_data;
}

static void see_mount_point(void *user_data, const nlmqtt_client_info *client, bool session_present)
{
    (void)session_present;
    CHECK(strcmp(client->client_id.data, "pump") == 0 && strcmp(client->mount_point.data, "site/") == 0);
    CHECK(client->websocket_path.data == NULL);
    ++*(int *)user_data;
}

static void an_adopted_connection_may_come_in_through_a_listener(void)
{
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server = NULL;
    uint16_t port = 0;
    int pair[2], other[2], seen = 0, listed = 0;
    struct packet packet;
    struct timeval limit;
    limit.tv_sec = 10;
    limit.tv_usec = 0;
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &seen;
    hooks.connected = see_mount_point;
    OK(nlmqtt_server_new(NULL, NULL, &hooks, &server));
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, other) == 0);
    CHECK_EQ(nlmqtt_server_adopt_at(server, pair[1], 0), NLMQTT_NOT_FOUND);
    OK(nlmqtt_server_add_listener(server, "mqtt://127.0.0.1:0?mount_point=site/&max_connections=1", &port));
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    OK(nlmqtt_server_adopt_at(server, pair[1], 0));
    CHECK(!is_open(pair[1]));
    send_connect(pair[0], 4, "pump", NULL, NULL);
    EXPECT(pair[0], 0x20, "\0\0", 2);
    CHECK_EQ(seen, 1);
    CHECK_EQ(nlmqtt_server_adopt_at(server, other[1], 0), NLMQTT_LIMIT); /* of the listener */
    CHECK(is_open(other[1]));
    /* A client behind a mount point has that in its name. */
    OK(nlmqtt_server_each_client(server, note_mount_point, &listed));
    OK(nlmqtt_server_client_info(server, "site/#pump", note_mount_point, &listed));
    CHECK_EQ(listed, 2);
    CHECK_EQ(nlmqtt_server_client_info(server, "pump", note_mount_point, &listed), NLMQTT_NOT_FOUND);
    OK(nlmqtt_server_kick(server, "pump", 0, true)); /* who would be another client */
    ping(pair[0]);
    OK(nlmqtt_server_kick(server, "site/#pump", 0, true));
    CHECK_EQ(read_packet(pair[0], &packet), -1);
    close(pair[0]);
    close(other[0]);
    close(other[1]);
    nlmqtt_server_free(server);
}

static int dial_unix(const char *path)
{
    struct sockaddr_un address;
    struct timeval limit;
    int descriptor = socket(AF_UNIX, SOCK_STREAM, 0);
    limit.tv_sec = 10;
    limit.tv_usec = 0;
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(descriptor, (struct sockaddr *)&address, sizeof address) != 0) {
        close(descriptor);
        return -1;
    }
    return descriptor;
}

static int32_t only_this_process(void *user_data, const nlmqtt_client_info *client, const nlmqtt_connect_info *connect_info,
                                 nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    (void)connect_info, (void)token, (void)decision;
    ++*(int *)user_data;
    CHECK(client->struct_size == sizeof *client && strcmp(client->peer.data, "local") == 0);
    return client->has_process && client->pid == getpid() && client->uid == getuid() && client->gid == getgid() ? NLMQTT_ALLOW : NLMQTT_DENY;
}

static void note_process(void *user_data, const nlmqtt_client_entry *client)
{
    CHECK(client->has_process && client->pid == getpid() && client->uid == getuid());
    ++*(int *)user_data;
}

static void a_unix_socket_says_who_connects(void)
{
    char folder[] = "/tmp/nlmqtt-listen-XXXXXX", path[64], uri[128], address[128];
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server = NULL;
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    uint16_t port = 7;
    struct stat file;
    int asked = 0, listed = 0, client;
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/mqtt.sock", folder);
    snprintf(uri, sizeof uri, "unix://%s?mode=0600&max_packet_size=1k", path);
    CHECK_EQ(nlmqtt_server_config_add_listener(config, "unix://relative"), NLMQTT_CONFIG);
    CHECK_EQ(nlmqtt_server_config_add_listener(config, "unix:///x?dscp=3"), NLMQTT_CONFIG);
    CHECK_EQ(nlmqtt_server_config_add_listener(config, "mqtt://127.0.0.1:0?mode=0600"), NLMQTT_CONFIG);
    OK(nlmqtt_server_config_add_listener(config, uri));
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &asked;
    hooks.authenticate = only_this_process;
    OK(nlmqtt_server_new(NULL, config, &hooks, &server));
    OK(nlmqtt_server_start(server));
    CHECK(stat(path, &file) == 0 && (file.st_mode & 0777) == 0600);
    OK(nlmqtt_server_listener_port(server, 0, &port));
    CHECK_EQ(port, 0);
    OK(nlmqtt_server_listener_address(server, 0, address, sizeof address));
    CHECK(strncmp(address, "unix:///tmp/", 12) == 0 && strcmp(address + 7, path) == 0);
    CHECK_EQ(nlmqtt_server_add_listener(server, uri, NULL), NLMQTT_ADDRESS_IN_USE);
    client = dial_unix(path);
    send_connect(client, 4, "near", NULL, NULL);
    EXPECT(client, 0x20, "\0\0", 2);
    CHECK_EQ(asked, 1);
    OK(nlmqtt_server_each_client(server, note_process, &listed));
    CHECK_EQ(listed, 1);
    OK(nlmqtt_server_remove_listener(server, address));
    CHECK(stat(path, &file) != 0 && dial_unix(path) == -1);
    ping(client);
    OK(nlmqtt_server_add_listener(server, uri, &port));
    CHECK(port == 0 && stat(path, &file) == 0);
    close(client);
    OK(nlmqtt_server_stop(server, 0, 1000));
    CHECK(stat(path, &file) != 0);
    nlmqtt_server_free(server);
    nlmqtt_server_config_free(config);
    CHECK(rmdir(folder) == 0);
}

static long now_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000L + time.tv_nsec / 1000000L;
}

/* A client that takes nothing cannot hold a stop longer than the drain time; one that reads gets its DISCONNECT at once. */
static void a_stop_keeps_its_drain_time(void)
{
    uint16_t port;
    nlmqtt_server *server = serve(NULL, NULL, &port);
    char *large = (char *)calloc(1, 1 << 20);
    struct packet packet;
    int small = 4096, i, in_a_row = 0, reader, stuck = dial(port);
    uint64_t dropped = 0;
    long began;
    send_connect(stuck, 5, "stuck", NULL, NULL);
    CHECK_EQ(read_packet(stuck, &packet), 0x20);
    setsockopt(stuck, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    OK(nlmqtt_server_subscribe_client(server, "stuck", "#", 0));
    /* Until its socket takes no more: one of a busy turn may be dropped before that, ten with a pause between them may not. */
    for (i = 0; i < 1000 && in_a_row < 10; i++) {
        uint64_t before = dropped;
        OK(nlmqtt_server_publish(server, "t", large, 1 << 20, 0, false, NULL));
        OK(nlmqtt_server_stat(server, "dropped_output_full", &dropped));
        in_a_row = dropped > before ? in_a_row + 1 : 0;
        sleep_ms(10);
    }
    CHECK_EQ(in_a_row, 10);
    reader = dial(port);
    send_connect(reader, 5, "reader", NULL, NULL);
    CHECK_EQ(read_packet(reader, &packet), 0x20);
    began = now_ms();
    OK(nlmqtt_server_stop(server, 0x9D, 700));
    CHECK(now_ms() - began >= 600);
    CHECK_EQ(read_packet(reader, &packet), 0xE0);
    CHECK_EQ(packet.body[0], 0x9D);
    CHECK_EQ(read_packet(reader, &packet), -1);
    CHECK(is_refused(port));
    CHECK_EQ(nlmqtt_server_add_listener(server, "mqtt://127.0.0.1:0", NULL), NLMQTT_INVALID_STATE);
    close(stuck);
    close(reader);
    /* Without anybody who holds it, it does not wait for the whole drain time. */
    OK(nlmqtt_server_start(server));
    OK(nlmqtt_server_listener_port(server, 0, &port));
    reader = connect_client(port, "reader");
    began = now_ms();
    OK(nlmqtt_server_stop(server, 0, 60000));
    CHECK(now_ms() - began < 30000);
    CHECK_EQ(read_packet(reader, &packet), -1);
    close(reader);
    free(large);
    nlmqtt_server_free(server);
}

static void null_is_refused(void)
{
    nlmqtt_server *server = NULL;
    OK(nlmqtt_server_new(NULL, NULL, NULL, &server));
    CHECK_EQ(nlmqtt_server_add_listener(NULL, "mqtt://127.0.0.1:0", NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_add_listener(server, NULL, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_add_listener_fd(NULL, 0, NULL, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_remove_listener(NULL, "127.0.0.1:1"), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_remove_listener(server, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_adopt(NULL, 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_adopt(server, -1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_adopt_at(server, -1, 0), NLMQTT_INVALID_ARGUMENT);
    nlmqtt_server_free(server);
}

int main(void)
{
    listeners_come_and_go();
    a_passed_descriptor_is_listened_on();
    a_connected_descriptor_is_adopted();
    an_adopted_connection_may_come_in_through_a_listener();
    a_unix_socket_says_who_connects();
    a_stop_keeps_its_drain_time();
    null_is_refused();
    puts("ok server_listen");
    return 0;
}
