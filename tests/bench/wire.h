/* What lies between the packets of a connection and its socket: nothing, TLS, WebSocket, or WebSocket over TLS. */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct Wire Wire;

/* For all connections from now on: "tcp", "tls", "ws" or "wss". `host` is the server's address, `ca_file` is for TLS. */
void wire_choose(const char *transport, const char *host, const char *ca_file);
/* Shakes hands on a connected socket that blocks, up to the request for a WebSocket; NULL: nothing lies between. wire_finish() takes the
 * answer: requests of many connections may be under way, as a broker may have some rest between two answers. */
Wire *wire_open(int fd);
void wire_finish(Wire *wire);
/* Leaves the socket open. NULL is fine. */
void wire_close(Wire *wire);
/* Without a wire recv() and send() on a socket that does not block; with one the same for what it carries. `send` takes whole packets. */
ssize_t wire_receive(Wire *wire, int fd, uint8_t *data, size_t size);
ssize_t wire_send(Wire *wire, int fd, const uint8_t *data, size_t length);
/* There is more to receive, though the socket may be empty. */
bool wire_has_more(const Wire *wire);
/* wire_send() has taken bytes that the socket has not. */
bool wire_waits(const Wire *wire);

#endif
