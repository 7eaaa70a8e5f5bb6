/* The way to a server by typed setters: proxies, the header of the PROXY protocol, what a request for a WebSocket says, the ladder. The other side is made
 * of bytes and says what it has read. */
#include "client_bench.h"
#include "client_peer.h"

/* A client that has been started; its first words come out of `accept_one`. */
static nlmqtt_client *start(nlmqtt_client_config *config)
{
    nlmqtt_client *client = NULL;
    CHECK_OK(nlmqtt_client_config_set_client_id(config, "c"));
    CHECK_OK(nlmqtt_client_new(NULL, config, NULL, &client));
    nlmqtt_client_config_free(config);
    CHECK_OK(nlmqtt_client_start(client));
    return client;
}

static nlmqtt_client_config *config_at(const char *before, uint16_t port, const char *after)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    char uri[160];
    snprintf(uri, sizeof uri, "%s127.0.0.1:%u%s", before, (unsigned)port, after);
    CHECK_OK(nlmqtt_client_config_add_server(config, uri, 0));
    return config;
}

/* What comes until `end` has come. */
static void read_until(int peer, char *text, size_t room, const char *end)
{
    size_t len = 0;
    text[0] = 0;
    while (strstr(text, end) == NULL) {
        ssize_t count;
        CHECK(len + 1 < room);
        count = recv(peer, text + len, room - 1 - len, 0);
        CHECK(count > 0);
        len += (size_t)count;
        text[len] = 0;
    }
}

static void a_request_for_a_websocket_has_path_and_fields(void)
{
    uint16_t port;
    int listener = listen_any(&port, 5), peer;
    char request[1024];
    nlmqtt_client *client;
    nlmqtt_client_config *config = config_at("ws://", port, "");
    CHECK_OK(nlmqtt_client_config_set_websocket_path(config, "/gateway"));
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_set_websocket_path(config, "gateway"));
    CHECK_OK(nlmqtt_client_config_add_websocket_header(config, "Authorization", "Bearer a:b"));
    CHECK_OK(nlmqtt_client_config_add_websocket_header(config, "X-Unit", "7"));
    CHECK_OK(nlmqtt_client_config_add_websocket_header(config, "X-Unit", "8"));
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_add_websocket_header(config, "Host", "other"));
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_add_websocket_header(config, "X-A: b\nX-C", "d"));
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_add_websocket_header(config, "X-A", "b\r\nX-C: d"));
    client = start(config);
    peer = accept_one(listener);
    read_until(peer, request, sizeof request, "\r\n\r\n");
    CHECK(strncmp(request, "GET /gateway HTTP/1.1\r\n", 23) == 0);
    CHECK(strstr(request, "\r\nAuthorization: Bearer a:b\r\n") && strstr(request, "\r\nX-Unit: 7\r\n") && strstr(request, "\r\nX-Unit: 8\r\n"));
    CHECK(strstr(request, "X-A") == NULL && strstr(request, "X-C") == NULL);
    close(peer);
    nlmqtt_client_free(client);
    /* A path in the URI is the server's own; without any it is the usual one. */
    config = config_at("ws://", port, "/own");
    CHECK_OK(nlmqtt_client_config_set_websocket_path(config, "/gateway"));
    client = start(config);
    peer = accept_one(listener);
    read_until(peer, request, sizeof request, "\r\n\r\n");
    CHECK(strncmp(request, "GET /own ", 9) == 0);
    close(peer);
    nlmqtt_client_free(client);
    config = config_at("ws://", port, "");
    CHECK_OK(nlmqtt_client_config_set_websocket_path(config, "/gateway"));
    CHECK_OK(nlmqtt_client_config_set_websocket_path(config, NULL));
    client = start(config);
    peer = accept_one(listener);
    read_until(peer, request, sizeof request, "\r\n\r\n");
    CHECK(strncmp(request, "GET /mqtt ", 10) == 0);
    close(peer);
    nlmqtt_client_free(client);
    close(listener);
}

static void proxies_are_asked_with_name_and_password(void)
{
    uint16_t port;
    int listener = listen_any(&port, 5), peer;
    char uri[64], request[1024];
    unsigned char bytes[64];
    nlmqtt_client *client;
    nlmqtt_client_config *config = config_at("mqtt://", 1, "");
    snprintf(uri, sizeof uri, "http://127.0.0.1:%u", (unsigned)port);
    CHECK_OK(nlmqtt_client_config_set_proxy(config, uri, "me", "word"));
    client = start(config);
    peer = accept_one(listener);
    read_until(peer, request, sizeof request, "\r\n\r\n");
    CHECK(strncmp(request, "CONNECT 127.0.0.1:1 HTTP/1.1\r\n", 30) == 0);
    CHECK(strstr(request, "\r\nProxy-Authorization: Basic bWU6d29yZA==\r\n") != NULL);
    close(peer);
    nlmqtt_client_free(client);

    config = config_at("mqtt://", 1, "");
    snprintf(uri, sizeof uri, "socks5://127.0.0.1:%u", (unsigned)port);
    CHECK_OK(nlmqtt_client_config_set_proxy(config, uri, "me", "word"));
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_set_proxy(config, "ftp://x", "you", "other"));
    client = start(config);
    peer = accept_one(listener);
    /* RFC 1928 section 3: version 5, and user name with password (2) among the methods; RFC 1929 section 2. */
    CHECK(read_exactly(peer, bytes, 2) && bytes[0] == 5 && bytes[1] > 0 && bytes[1] < 8);
    CHECK(read_exactly(peer, bytes + 2, bytes[1]) && memchr(bytes + 2, 2, bytes[1]) != NULL);
    send_bytes(peer, "\5\2", 2);
    CHECK(read_exactly(peer, bytes, 9) && memcmp(bytes, "\1\2me\4word", 9) == 0);
    close(peer);
    nlmqtt_client_free(client);

    /* And none again. */
    config = config_at("mqtt://", port, "");
    CHECK_OK(nlmqtt_client_config_set_proxy(config, uri, "me", "word"));
    CHECK_OK(nlmqtt_client_config_set_proxy(config, NULL, NULL, NULL));
    CHECK_OK(nlmqtt_client_config_set_proxy_protocol(config, 1));
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_client_config_set_proxy_protocol(config, 3));
    client = start(config);
    peer = accept_one(listener);
    read_until(peer, request, sizeof request, "\r\n");
    CHECK(strncmp(request, "PROXY TCP4 127.0.0.1 127.0.0.1 ", 31) == 0);
    close(peer);
    nlmqtt_client_free(client);
    close(listener);
}

/* The best of two servers comes back: with an interval it is gone to by itself when the other's connection ends, without one it is not. */
static void the_best_server_is_tried_again_after_a_while(uint32_t interval_s, const char *expected)
{
    uint16_t best_port, other_port;
    int best = listen_any(&best_port, 5), other = listen_any(&other_port, 5), peer;
    struct record record;
    char uri[64];
    struct pollfd waiting[2];
    nlmqtt_client_config *config = config_at("mqtt://", best_port, "");
    snprintf(uri, sizeof uri, "mqtt://127.0.0.1:%u", (unsigned)other_port);
    CHECK_OK(nlmqtt_client_config_add_server(config, uri, 1));
    CHECK_OK(nlmqtt_client_config_set_client_id(config, "c"));
    CHECK_OK(nlmqtt_client_config_set_reconnect_delay(config, 10, 20, false));
    CHECK_OK(nlmqtt_client_config_set_ladder_probe_interval_s(config, interval_s));
    record_init(&record);
    client_with(NULL, config, &record);
    nlmqtt_client_config_free(config);
    CHECK_OK(nlmqtt_client_start(record.client));
    close(accept_one(best));
    peer = accept_session(other, 0);
    AWAIT(&record, connected, 1);
    sleep_ms(1300);
    close(peer);
    waiting[0].fd = best;
    waiting[1].fd = other;
    waiting[0].events = waiting[1].events = POLLIN;
    CHECK(poll(waiting, 2, 20000) > 0);
    CHECK(strcmp(waiting[0].revents ? "best" : "other", expected) == 0);
    nlmqtt_client_free(record.client);
    record_end(&record);
    close(best);
    close(other);
}

int main(void)
{
    a_request_for_a_websocket_has_path_and_fields();
    proxies_are_asked_with_name_and_password();
    the_best_server_is_tried_again_after_a_while(1, "best");
    the_best_server_is_tried_again_after_a_while(0, "other");
    puts("ok client_way");
    return 0;
}
