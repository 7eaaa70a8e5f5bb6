/* Connections and the event loop: one epoll, one read buffer for all, one out-buffer per connection that writes.
 *
 * A turn of the loop: wait, read every readable connection once (at most 64 KiB) and hand over its packets,
 * then flush the connections that were marked: their owner fills the out-buffer, one write sends it. */
#ifndef BENCH_CONN_H
#define BENCH_CONN_H

#include "mqtt.h"
#include "wire.h"

#include <stdbool.h>

enum { CONN_READ_BYTES = 64 * 1024, CONN_BATCH_BYTES = 64 * 1024 };

typedef struct Conn Conn;

typedef struct {
    void (*packet)(Conn *conn, const Packet *packet);   /* a whole packet arrived */
    void (*fill)(Conn *conn);                           /* about to write: append what may be sent */
} ConnHandlers;

struct Conn {
    int fd;
    Wire *wire;                 /* TLS, WebSocket; NULL: nothing lies between packets and socket */
    const ConnHandlers *handlers;
    void *owner;
    uint8_t *out;               /* bytes out_start..out_end wait for the socket */
    size_t out_start, out_end, out_size;
    Packet pending;             /* PUBLISH whose last `skip` bytes are still to come */
    uint32_t skip;
    uint16_t subscribe_id;
    bool marked;                /* on the list of connections to flush */
    bool blocked;               /* the socket took less than offered; epoll tells when it takes more */
    uint16_t tail_bytes;
    uint8_t tail[MQTT_HEAD_MAX];
};

/* Everything below works on the one loop of this process. */
void loop_open(const char *host, uint16_t port, const char *client_prefix);
/* Wakes `tick` every `interval_ns`, with the number of intervals that passed. */
void loop_timer(uint64_t interval_ns, void (*tick)(uint64_t intervals));
/* Returns how many bytes came. */
size_t loop_turn(int timeout_ms);
void loop_nap(long duration_ns);
/* Dies when nothing has come for 20 s: set-up steps that stall are errors. */
void loop_until(const uint64_t *counter, uint64_t value);

extern uint64_t loop_pings;     /* PINGRESP seen */

/* Connects with clean session and no keep-alive, and waits for the CONNACKs. */
void conn_open_all(Conn *conns, size_t count, const ConnHandlers *handlers);
/* Subscribes `conn` to `count` filters, named by `name`, and waits for the SUBACKs. */
void conn_subscribe(Conn *conn, uint32_t count, void (*name)(char *out, uint32_t index, void *context), void *context,
                    unsigned qos);
void conn_close_all(Conn *conns, size_t count);

/* Room for `bytes` more in the out-buffer; the caller writes there and adds to out_end. */
uint8_t *conn_room(Conn *conn, size_t bytes);
void conn_acknowledge(Conn *conn, unsigned type, uint16_t id);
void conn_mark(Conn *conn);

void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
uint64_t now_ns(void);

#endif
