/* A server made of bytes, for what the library's own would not do: say nothing, die in the middle, count packets. */
#ifndef CLIENT_PEER_H
#define CLIENT_PEER_H

#include "client_bench.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static inline long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline void sleep_ms(long milliseconds)
{
    struct timespec time;
    time.tv_sec = milliseconds / 1000;
    time.tv_nsec = milliseconds % 1000 * 1000000L;
    nanosleep(&time, NULL);
}

/* A listening socket on a free port of 127.0.0.1. */
static inline int listen_any(uint16_t *port, int backlog)
{
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(listener >= 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(bind(listener, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(listener, backlog) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address, &len) == 0);
    *port = ntohs(address.sin_port);
    return listener;
}

/* A connection to that port, which ends the test if nothing comes for 20 seconds. */
static inline int dial_peer(uint16_t port)
{
    struct sockaddr_in address;
    struct timeval limit;
    int peer = socket(AF_INET, SOCK_STREAM, 0);
    limit.tv_sec = 20;
    limit.tv_usec = 0;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    CHECK(peer >= 0 && setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    CHECK(connect(peer, (struct sockaddr *)&address, sizeof address) == 0);
    return peer;
}

/* The next connection; the test ends if none comes within 20 seconds. */
static inline int accept_one(int listener)
{
    struct pollfd waiting;
    int accepted;
    waiting.fd = listener;
    waiting.events = POLLIN;
    CHECK(poll(&waiting, 1, 20000) == 1);
    accepted = accept(listener, NULL, NULL);
    CHECK(accepted >= 0);
    return accepted;
}

static inline int read_exactly(int peer, unsigned char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t count = recv(peer, bytes, len, 0);
        if (count <= 0)
            return 0;
        bytes += count;
        len -= (size_t)count;
    }
    return 1;
}

/* The first byte of the next packet, or -1 when the connection has ended. */
static inline int read_mqtt(int peer, unsigned char *body, size_t room, size_t *len)
{
    unsigned char first, byte;
    unsigned shift = 0;
    *len = 0;
    if (!read_exactly(peer, &first, 1))
        return -1;
    do {
        if (!read_exactly(peer, &byte, 1))
            return -1;
        *len |= (size_t)(byte & 127) << shift;
        shift += 7;
    } while (byte & 128);
    CHECK(*len <= room);
    return read_exactly(peer, body, *len) ? first : -1;
}

/* As much as the client takes; a client that has gone is no failure. */
static inline void send_bytes(int peer, const void *bytes, size_t len)
{
    const char *at = (const char *)bytes;
    while (len > 0) {
        ssize_t count = send(peer, at, len, MSG_NOSIGNAL);
        if (count <= 0)
            return;
        at += count;
        len -= (size_t)count;
    }
}

/* Takes the next client in: CONNECT, and a CONNACK of MQTT 3.1.1 that says whether there is a session. */
static inline int accept_session(int listener, int session_present)
{
    unsigned char body[4096], connack[4] = { 0x20, 2, 0, 0 };
    size_t len;
    int peer = accept_one(listener);
    connack[2] = (unsigned char)session_present;
    if (read_mqtt(peer, body, sizeof body, &len) == 0x10)
        send_bytes(peer, connack, sizeof connack);
    return peer;
}

#endif
