/* A network between a client and a server over UDP, on a thread of its own: it forwards, and gives the client another address when told to. */
#ifndef UDP_RELAY_H
#define UDP_RELAY_H

#include "check.h"

#include <poll.h>

struct udp_relay {
    int front, back;
    struct sockaddr_in server, client;
    uint16_t port;
    int knows_client, moves, ends;
    pthread_mutex_t lock;
    pthread_t thread;
};

static int udp_bound(uint16_t *port)
{
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    int made = socket(AF_INET, SOCK_DGRAM, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(made >= 0 && bind(made, (struct sockaddr *)&address, len) == 0);
    CHECK(getsockname(made, (struct sockaddr *)&address, &len) == 0);
    *port = ntohs(address.sin_port);
    return made;
}

static void *udp_relay_run(void *argument)
{
    struct udp_relay *relay = (struct udp_relay *)argument;
    char bytes[2048];
    uint16_t port;
    for (;;) {
        struct pollfd polled[2];
        int moves, ends;
        pthread_mutex_lock(&relay->lock);
        moves = relay->moves, ends = relay->ends;
        relay->moves = 0;
        pthread_mutex_unlock(&relay->lock);
        if (ends)
            return NULL;
        if (moves) {
            close(relay->back);
            relay->back = udp_bound(&port);
        }
        memset(polled, 0, sizeof polled);
        polled[0].fd = relay->front, polled[1].fd = relay->back;
        polled[0].events = polled[1].events = POLLIN;
        if (poll(polled, 2, 5) <= 0)
            continue;
        if (polled[0].revents & POLLIN) {
            socklen_t len = sizeof relay->client;
            ssize_t count = recvfrom(relay->front, bytes, sizeof bytes, 0, (struct sockaddr *)&relay->client, &len);
            relay->knows_client = 1;
            if (count > 0)
                sendto(relay->back, bytes, (size_t)count, 0, (struct sockaddr *)&relay->server, sizeof relay->server);
        }
        if (polled[1].revents & POLLIN) {
            ssize_t count = recv(relay->back, bytes, sizeof bytes, 0);
            if (count > 0 && relay->knows_client)
                sendto(relay->front, bytes, (size_t)count, 0, (struct sockaddr *)&relay->client, sizeof relay->client);
        }
    }
}

static void udp_relay_begin(struct udp_relay *relay, uint16_t server_port)
{
    uint16_t port;
    memset(relay, 0, sizeof *relay);
    relay->front = udp_bound(&relay->port);
    relay->back = udp_bound(&port);
    relay->server.sin_family = AF_INET;
    relay->server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    relay->server.sin_port = htons(server_port);
    CHECK(pthread_mutex_init(&relay->lock, NULL) == 0);
    CHECK(pthread_create(&relay->thread, NULL, udp_relay_run, relay) == 0);
}

/* From now on the server sees another address. */
static void udp_relay_move(struct udp_relay *relay)
{
    pthread_mutex_lock(&relay->lock);
    relay->moves = 1;
    pthread_mutex_unlock(&relay->lock);
}

static void udp_relay_end(struct udp_relay *relay)
{
    pthread_mutex_lock(&relay->lock);
    relay->ends = 1;
    pthread_mutex_unlock(&relay->lock);
    pthread_join(relay->thread, NULL);
    close(relay->front);
    close(relay->back);
    pthread_mutex_destroy(&relay->lock);
}

#endif
