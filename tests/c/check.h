/*
 * What the C tests share: checks that end the program, and MQTT as bytes on a socket, so that the
 * library is not judged by itself. Everything compiles as C99 and as C++11.
 */
#ifndef CHECK_H
#define CHECK_H

#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <nlmqtt.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                                    \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            char check_text[256];                                                           \
            nlmqtt_last_error(check_text, sizeof check_text);                               \
            fprintf(stderr, "%s:%d: not true: %s (last error: %s)\n", __FILE__, __LINE__,   \
                    #condition, check_text);                                                \
            exit(1);                                                                        \
        }                                                                                   \
    } while (0)

#define CHECK_EQ(left, right)                                                                \
    do {                                                                                    \
        long long check_left = (long long)(left), check_right = (long long)(right);         \
        if (check_left != check_right) {                                                    \
            char check_text[256];                                                           \
            nlmqtt_last_error(check_text, sizeof check_text);                               \
            fprintf(stderr, "%s:%d: %s is %lld, not %s = %lld (last error: %s)\n", __FILE__, \
                    __LINE__, #left, check_left, #right, check_right, check_text);          \
            exit(1);                                                                        \
        }                                                                                   \
    } while (0)

#define CHECK_TEXT(left, right)                                                              \
    do {                                                                                    \
        const char *check_left = (left), *check_right = (right);                            \
        if (check_left == NULL || strcmp(check_left, check_right) != 0) {                   \
            fprintf(stderr, "%s:%d: %s is \"%s\", not \"%s\"\n", __FILE__, __LINE__, #left,  \
                    check_left == NULL ? "(null)" : check_left, check_right);               \
            exit(1);                                                                        \
        }                                                                                   \
    } while (0)

#define OK(call) CHECK_EQ((call), NLMQTT_OK)

#if defined(__GNUC__)
#define MAYBE_UNUSED __attribute__((unused))
#else
#define MAYBE_UNUSED
#endif

static MAYBE_UNUSED void sleep_ms(long milliseconds)
{
    struct timespec time;
    time.tv_sec = milliseconds / 1000;
    time.tv_nsec = milliseconds % 1000 * 1000000L;
    nanosleep(&time, NULL);
}

/* A number that several threads change and one waits for. */
struct counter {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int value;
};

static MAYBE_UNUSED void counter_init(struct counter *counter)
{
    pthread_mutex_init(&counter->lock, NULL);
    pthread_cond_init(&counter->changed, NULL);
    counter->value = 0;
}

static MAYBE_UNUSED void counter_add(struct counter *counter)
{
    pthread_mutex_lock(&counter->lock);
    counter->value++;
    pthread_cond_broadcast(&counter->changed);
    pthread_mutex_unlock(&counter->lock);
}

static MAYBE_UNUSED int counter_get(struct counter *counter)
{
    int value;
    pthread_mutex_lock(&counter->lock);
    value = counter->value;
    pthread_mutex_unlock(&counter->lock);
    return value;
}

/* Waits until it is at least `wanted`; false after ten seconds. */
static MAYBE_UNUSED bool counter_wait(struct counter *counter, int wanted)
{
    struct timespec deadline;
    bool reached;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 10;
    pthread_mutex_lock(&counter->lock);
    while (counter->value < wanted &&
           pthread_cond_timedwait(&counter->changed, &counter->lock, &deadline) == 0)
        continue;
    reached = counter->value >= wanted;
    pthread_mutex_unlock(&counter->lock);
    return reached;
}

static MAYBE_UNUSED void counter_free_fn(void *user_data)
{
    counter_add((struct counter *)user_data);
}

/* A packet being built, or one that came. */
struct packet {
    unsigned char first;
    unsigned char body[4096];
    size_t len;
};

static MAYBE_UNUSED void put_u8(struct packet *packet, unsigned value)
{
    CHECK(packet->len < sizeof packet->body);
    packet->body[packet->len++] = (unsigned char)value;
}

static MAYBE_UNUSED void put_u16(struct packet *packet, unsigned value)
{
    put_u8(packet, value >> 8);
    put_u8(packet, value & 255);
}

static MAYBE_UNUSED void put_bytes(struct packet *packet, const void *bytes, size_t len)
{
    CHECK(packet->len + len <= sizeof packet->body);
    memcpy(packet->body + packet->len, bytes, len);
    packet->len += len;
}

static MAYBE_UNUSED void put_text(struct packet *packet, const char *text)
{
    put_u16(packet, (unsigned)strlen(text));
    put_bytes(packet, text, strlen(text));
}

static MAYBE_UNUSED void send_packet(int socket_fd, const struct packet *packet)
{
    unsigned char head[5];
    size_t len = packet->len, at = 1;
    head[0] = packet->first;
    do {
        head[at++] = (unsigned char)((len & 127) | (len > 127 ? 128 : 0));
        len >>= 7;
    } while (len > 0);
    CHECK(send(socket_fd, head, at, MSG_NOSIGNAL) == (ssize_t)at);
    CHECK(send(socket_fd, packet->body, packet->len, MSG_NOSIGNAL) == (ssize_t)packet->len);
}

static MAYBE_UNUSED bool read_exactly(int socket_fd, unsigned char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t count = recv(socket_fd, bytes, len, 0);
        if (count <= 0)
            return false;
        bytes += count;
        len -= (size_t)count;
    }
    return true;
}

/* The first byte of the packet that comes, or -1: none within ten seconds, or the connection was closed. */
static MAYBE_UNUSED int read_packet(int socket_fd, struct packet *packet)
{
    unsigned char byte;
    size_t shift = 0;
    packet->len = 0;
    if (!read_exactly(socket_fd, &packet->first, 1))
        return -1;
    do {
        if (!read_exactly(socket_fd, &byte, 1))
            return -1;
        packet->len |= (size_t)(byte & 127) << shift;
        shift += 7;
    } while (byte & 128);
    CHECK(packet->len <= sizeof packet->body);
    return read_exactly(socket_fd, packet->body, packet->len) ? packet->first : -1;
}

/* The next packet is this one, byte by byte. */
#define EXPECT(socket_fd, first_byte, text, len) \
    expect_packet(__FILE__, __LINE__, socket_fd, first_byte, text, len)

static MAYBE_UNUSED void expect_packet(const char *file, int line, int socket_fd, int first, const char *body, size_t len)
{
    struct packet packet;
    size_t i;
    int came = read_packet(socket_fd, &packet);
    if (came == first && packet.len == len && memcmp(packet.body, body, len) == 0)
        return;
    fprintf(stderr, "%s:%d: another packet came: %02x", file, line, came & 255);
    for (i = 0; i < packet.len && came >= 0; i++)
        fprintf(stderr, " %02x", packet.body[i]);
    fputs(came < 0 ? " (closed)\n" : "\n", stderr);
    exit(1);
}

/* A connection to 127.0.0.1, or -1. */
static MAYBE_UNUSED int try_dial(uint16_t port)
{
    struct sockaddr_in address;
    struct timeval limit;
    int socket_fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(socket_fd >= 0);
    limit.tv_sec = 10;
    limit.tv_usec = 0;
    setsockopt(socket_fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(socket_fd, (struct sockaddr *)&address, sizeof address) == 0)
        return socket_fd;
    close(socket_fd);
    return -1;
}

static MAYBE_UNUSED int dial(uint16_t port)
{
    int socket_fd = try_dial(port);
    CHECK(socket_fd >= 0);
    return socket_fd;
}

/* CONNECT of MQTT 3.1.1 (4) or 5, clean, without keep-alive; user name and password may be NULL. */
static MAYBE_UNUSED void send_connect(int socket_fd, int level, const char *client_id, const char *username, const char *password)
{
    struct packet packet;
    packet.first = 0x10;
    packet.len = 0;
    put_text(&packet, "MQTT");
    put_u8(&packet, (unsigned)level);
    put_u8(&packet, 2u | (username ? 0x80u : 0) | (password ? 0x40u : 0));
    put_u16(&packet, 0);
    if (level == 5)
        put_u8(&packet, 0);
    put_text(&packet, client_id);
    if (username)
        put_text(&packet, username);
    if (password)
        put_text(&packet, password);
    send_packet(socket_fd, &packet);
}

/* CONNECT of MQTT 5 with properties, without keep-alive; and with a will if there is a topic. */
static MAYBE_UNUSED void send_connect5(int socket_fd, const char *client_id, bool is_clean, const char *properties, size_t len, const char *will_topic)
{
    struct packet packet;
    packet.first = 0x10;
    packet.len = 0;
    put_text(&packet, "MQTT");
    put_u8(&packet, 5);
    put_u8(&packet, (is_clean ? 2u : 0u) | (will_topic ? 4u : 0u));
    put_u16(&packet, 0);
    put_u8(&packet, (unsigned)len);
    put_bytes(&packet, properties, len);
    put_text(&packet, client_id);
    if (will_topic) {
        put_u8(&packet, 0);
        put_text(&packet, will_topic);
        put_text(&packet, "gone");
    }
    send_packet(socket_fd, &packet);
}

/* A connected client of MQTT 3.1.1. */
static MAYBE_UNUSED int connect_client(uint16_t port, const char *client_id)
{
    int socket_fd = dial(port);
    send_connect(socket_fd, 4, client_id, NULL, NULL);
    EXPECT(socket_fd, 0x20, "\0\0", 2);
    return socket_fd;
}

/* SUBSCRIBE of MQTT 3.1.1 with packet identifier 1. */
static MAYBE_UNUSED void send_subscribe(int socket_fd, const char *filter, unsigned qos)
{
    struct packet packet;
    packet.first = 0x82;
    packet.len = 0;
    put_u16(&packet, 1);
    put_text(&packet, filter);
    put_u8(&packet, qos);
    send_packet(socket_fd, &packet);
}

/* PUBLISH of MQTT 3.1.1; packet identifier 7 above QoS 0. */
static MAYBE_UNUSED void send_publish(int socket_fd, const char *topic, const char *payload, unsigned qos, bool retain)
{
    struct packet packet;
    packet.first = (unsigned char)(0x30 | qos << 1 | (retain ? 1 : 0));
    packet.len = 0;
    put_text(&packet, topic);
    if (qos > 0)
        put_u16(&packet, 7);
    put_bytes(&packet, payload, strlen(payload));
    send_packet(socket_fd, &packet);
}

/* The next packet is a PUBLISH of QoS 0 with this topic and payload. */
static MAYBE_UNUSED void expect_publish(int socket_fd, const char *topic, const char *payload)
{
    struct packet packet;
    size_t topic_len = strlen(topic);
    CHECK_EQ(read_packet(socket_fd, &packet), 0x30);
    CHECK_EQ(packet.len, 2 + topic_len + strlen(payload));
    CHECK(memcmp(packet.body + 2, topic, topic_len) == 0);
    CHECK(memcmp(packet.body + 2 + topic_len, payload, strlen(payload)) == 0);
}

/* PINGREQ and its answer: everything sent before was dealt with. */
static MAYBE_UNUSED void ping(int socket_fd)
{
    CHECK(send(socket_fd, "\xC0\0", 2, MSG_NOSIGNAL) == 2);
    EXPECT(socket_fd, 0xD0, "", 0);
}

/* A server on a free port of 127.0.0.1; `runtime` and `hooks` may be NULL. */
static MAYBE_UNUSED nlmqtt_server *serve(nlmqtt_runtime *runtime, const nlmqtt_server_hooks *hooks, uint16_t *port)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_server *server = NULL;
    OK(nlmqtt_server_config_add_listener(config, "mqtt://127.0.0.1:0"));
    OK(nlmqtt_server_new(runtime, config, hooks, &server));
    OK(nlmqtt_server_start(server));
    OK(nlmqtt_server_listener_port(server, 0, port));
    nlmqtt_server_config_free(config);
    return server;
}

#endif
