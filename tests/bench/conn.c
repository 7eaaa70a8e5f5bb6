/* Connections and the event loop, see conn.h. */
#define _GNU_SOURCE
#include "conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 512,
    CONNECTING_MAX = 50,          /* below every broker's listen backlog */
    FILTERS_PER_SUBSCRIBE = 100,  /* the SUBACK fits MQTT_HEAD_MAX */
    DISCARD_BYTES = 16 * 1024,    /* filler of at least this size is dropped in the kernel, uncopied */
    SETUP_STALL_S = 20
};

static struct {
    int epoll;
    int timer;
    void (*tick)(uint64_t intervals);
    struct sockaddr_in address;
    const char *client_prefix;
    uint32_t clients;
    size_t received_bytes;        /* of this turn */
    Conn **marked;
    size_t marked_count, marked_size;
    uint64_t connacks, subacks;
    uint8_t scratch[MQTT_HEAD_MAX + CONN_READ_BYTES];
} loop = {.timer = -1};

uint64_t loop_pings;

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void loop_open(const char *host, uint16_t port, const char *client_prefix)
{
    /* Naps of 50 us are meant: the default slack of a timer is as long. */
    prctl(PR_SET_TIMERSLACK, 1000);
    loop.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop.epoll < 0)
        die("epoll_create1: %s", strerror(errno));
    loop.address.sin_family = AF_INET;
    loop.address.sin_port = htons(port);
    if (inet_pton(AF_INET, host, &loop.address.sin_addr) != 1)
        die("not an IPv4 address: %s", host);
    loop.client_prefix = client_prefix;
}

static void watch(int operation, int fd, uint32_t events, void *context)
{
    struct epoll_event event = {.events = events, .data.ptr = context};
    if (epoll_ctl(loop.epoll, operation, fd, &event) < 0)
        die("epoll_ctl: %s", strerror(errno));
}

void loop_timer(uint64_t interval_ns, void (*tick)(uint64_t intervals))
{
    struct timespec interval = {(time_t)(interval_ns / 1000000000u), (long)(interval_ns % 1000000000u)};
    struct itimerspec setting = {interval, interval};
    loop.tick = tick;
    loop.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop.timer < 0 || timerfd_settime(loop.timer, 0, &setting, NULL) < 0)
        die("timerfd: %s", strerror(errno));
    watch(EPOLL_CTL_ADD, loop.timer, EPOLLIN, NULL);
}

void conn_mark(Conn *conn)
{
    if (conn->marked)
        return;
    if (loop.marked_count == loop.marked_size) {
        loop.marked_size = loop.marked_size ? 2 * loop.marked_size : 256;
        loop.marked = realloc(loop.marked, loop.marked_size * sizeof *loop.marked);
        if (!loop.marked)
            die("out of memory");
    }
    loop.marked[loop.marked_count++] = conn;
    conn->marked = true;
}

uint8_t *conn_room(Conn *conn, size_t bytes)
{
    if (conn->out_start == conn->out_end)
        conn->out_start = conn->out_end = 0;
    if (conn->out_end + bytes > conn->out_size) {
        memmove(conn->out, conn->out + conn->out_start, conn->out_end - conn->out_start);
        conn->out_end -= conn->out_start;
        conn->out_start = 0;
        if (conn->out_end + bytes > conn->out_size) {
            conn->out_size = 2 * (conn->out_end + bytes);
            conn->out = realloc(conn->out, conn->out_size);
            if (!conn->out)
                die("out of memory");
        }
    }
    return conn->out + conn->out_end;
}

void conn_acknowledge(Conn *conn, unsigned type, uint16_t id)
{
    conn->out_end += mqtt_acknowledge(conn_room(conn, MQTT_ACK_BYTES), type, id);
    conn_mark(conn);
}

static void write_out(Conn *conn)
{
    ssize_t written;
    if (conn->out_start == conn->out_end && !wire_waits(conn->wire))
        return;
    written = wire_send(conn->wire, conn->fd, conn->out + conn->out_start, conn->out_end - conn->out_start);
    if (written < 0 && errno != EAGAIN)
        die("send: %s", strerror(errno));
    if (written > 0)
        conn->out_start += (size_t)written;
    if (conn->out_start != conn->out_end || wire_waits(conn->wire)) {
        conn->blocked = true;
        watch(EPOLL_CTL_MOD, conn->fd, EPOLLIN | EPOLLOUT, conn);
    }
}

static void flush(Conn *conn)
{
    if (conn->blocked)
        return;
    if (conn->handlers->fill)
        conn->handlers->fill(conn);
    write_out(conn);
}

static void dispatch(Conn *conn, const Packet *packet)
{
    switch (packet->type) {
    case MQTT_CONNACK:
        if (packet->code)
            die("CONNACK with code %u", packet->code);
        loop.connacks++;
        break;
    case MQTT_SUBACK:
        if (packet->code > 2 || packet->id != conn->subscribe_id)
            die("SUBACK with code %u", packet->code);
        loop.subacks++;
        break;
    case MQTT_PINGRESP:
        loop_pings++;
        break;
    default:
        conn->handlers->packet(conn, packet);
    }
}

/* Takes the packets out of `data`; what is left of an unfinished head becomes the tail. */
static void consume(Conn *conn, const uint8_t *data, size_t length)
{
    while (length) {
        int taken = mqtt_decode(data, length, &conn->pending);
        if (taken < 0)
            die("the broker sent what is no packet (first byte 0x%02x)", data[0]);
        if (taken == 0) {
            if (length > sizeof conn->tail)
                die("packet head of more than %d bytes", MQTT_HEAD_MAX);
            memcpy(conn->tail, data, length);
            conn->tail_bytes = (uint16_t)length;
            return;
        }
        data += taken;
        length -= (size_t)taken;
        if (conn->pending.rest > length) {
            conn->skip = conn->pending.rest - (uint32_t)length;
            return;
        }
        data += conn->pending.rest;
        length -= conn->pending.rest;
        dispatch(conn, &conn->pending);
    }
}

static void receive_once(Conn *conn)
{
    uint8_t *start = loop.scratch + MQTT_HEAD_MAX;
    bool discard = conn->skip >= DISCARD_BYTES && !conn->wire;
    ssize_t count = discard ? recv(conn->fd, start, conn->skip, MSG_TRUNC)
                            : wire_receive(conn->wire, conn->fd, start, CONN_READ_BYTES);
    size_t length, skipped;

    if (count < 0 && errno == EAGAIN)
        return;
    if (count <= 0)
        die("the broker closed a connection: %s", count ? strerror(errno) : "end of stream");
    length = (size_t)count;
    loop.received_bytes += length;
    if (conn->skip) {
        skipped = conn->skip < length ? conn->skip : length;
        conn->skip -= (uint32_t)skipped;
        if (conn->skip)
            return;
        start += skipped;
        length -= skipped;
        dispatch(conn, &conn->pending);
    } else if (conn->tail_bytes) {
        start -= conn->tail_bytes;
        length += conn->tail_bytes;
        memcpy(start, conn->tail, conn->tail_bytes);
        conn->tail_bytes = 0;
    }
    consume(conn, start, length);
}

static void receive(Conn *conn)
{
    do
        receive_once(conn);
    while (wire_has_more(conn->wire));
    /* A ping was answered. */
    if (wire_waits(conn->wire) && !conn->blocked)
        write_out(conn);
}

static void take_timer(void)
{
    uint64_t intervals;
    if (read(loop.timer, &intervals, sizeof intervals) == sizeof intervals)
        loop.tick(intervals);
}

void loop_nap(long duration_ns)
{
    struct timespec duration = {0, duration_ns};
    nanosleep(&duration, NULL);
}

size_t loop_turn(int timeout_ms)
{
    static struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(loop.epoll, events, EVENTS_MAX, loop.marked_count ? 0 : timeout_ms);
    size_t marked;

    loop.received_bytes = 0;
    if (count < 0 && errno != EINTR)
        die("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < count; i++) {
        Conn *conn = events[i].data.ptr;
        if (!conn) {
            take_timer();
            continue;
        }
        if (events[i].events & EPOLLOUT) {
            conn->blocked = false;
            watch(EPOLL_CTL_MOD, conn->fd, EPOLLIN, conn);
            conn_mark(conn);
        }
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            receive(conn);
    }
    marked = loop.marked_count;
    for (size_t i = 0; i < marked; i++) {
        loop.marked[i]->marked = false;
        flush(loop.marked[i]);
    }
    /* Nothing is marked while flushing but connections that want another turn. */
    memmove(loop.marked, loop.marked + marked, (loop.marked_count - marked) * sizeof *loop.marked);
    loop.marked_count -= marked;
    return loop.received_bytes;
}

void loop_until(const uint64_t *counter, uint64_t value)
{
    uint64_t seen = *counter, since = now_ns();
    while (*counter < value) {
        loop_turn(1000);
        if (*counter != seen) {
            seen = *counter;
            since = now_ns();
        } else if (now_ns() - since > SETUP_STALL_S * 1000000000ull) {
            die("no answer from the broker for %d s", SETUP_STALL_S);
        }
    }
}

static void open_one(Conn *conn, const ConnHandlers *handlers)
{
    int on = 1;
    memset(conn, 0, sizeof *conn);
    conn->handlers = handlers;
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (conn->fd < 0)
        die("socket: %s", strerror(errno));
    if (connect(conn->fd, (struct sockaddr *)&loop.address, sizeof loop.address) < 0)
        die("connect: %s", strerror(errno));
    if (setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        die("TCP_NODELAY: %s", strerror(errno));
    conn->wire = wire_open(conn->fd);
}

static void enter(Conn *conn)
{
    uint8_t packet[MQTT_HEAD_MAX];
    char client_id[64];
    size_t bytes;

    wire_finish(conn->wire);
    /* Only now: a connect that blocks keeps the listen backlog from overflowing. */
    if (fcntl(conn->fd, F_SETFL, O_NONBLOCK) < 0)
        die("O_NONBLOCK: %s", strerror(errno));
    snprintf(client_id, sizeof client_id, "%s%06u", loop.client_prefix, loop.clients++);
    bytes = mqtt_connect(packet, client_id, 0);
    if (wire_send(conn->wire, conn->fd, packet, bytes) != (ssize_t)bytes)
        die("send CONNECT: %s", strerror(errno));
    watch(EPOLL_CTL_ADD, conn->fd, EPOLLIN, conn);
}

void conn_open_all(Conn *conns, size_t count, const ConnHandlers *handlers)
{
    for (size_t from = 0; from < count; from += CONNECTING_MAX) {
        size_t to = count - from < CONNECTING_MAX ? count : from + CONNECTING_MAX;
        for (size_t i = from; i < to; i++)
            open_one(&conns[i], handlers);
        for (size_t i = from; i < to; i++)
            enter(&conns[i]);
        loop_until(&loop.connacks, loop.clients);
    }
}

void conn_subscribe(Conn *conn, uint32_t count, void (*name)(char *out, uint32_t index, void *context), void *context,
                    unsigned qos)
{
    static uint8_t filters[FILTERS_PER_SUBSCRIBE * (MQTT_TOPIC_MAX + 3)];
    char filter[MQTT_TOPIC_MAX];
    for (uint32_t from = 0; from < count; from += FILTERS_PER_SUBSCRIBE) {
        uint32_t to = count - from < FILTERS_PER_SUBSCRIBE ? count : from + FILTERS_PER_SUBSCRIBE;
        size_t bytes = 0;
        uint8_t *out;
        for (uint32_t i = from; i < to; i++) {
            name(filter, i, context);
            bytes += mqtt_filter(filters + bytes, filter, qos);
        }
        conn->subscribe_id = (uint16_t)(conn->subscribe_id % 65535 + 1);
        out = conn_room(conn, bytes + 8);
        size_t head = mqtt_subscribe(out, conn->subscribe_id, (uint32_t)bytes);
        memcpy(out + head, filters, bytes);
        conn->out_end += head + bytes;
        conn_mark(conn);
        loop_until(&loop.subacks, loop.subacks + 1);
    }
}

void conn_close_all(Conn *conns, size_t count)
{
    uint8_t packet[2];
    size_t bytes = mqtt_empty(packet, MQTT_DISCONNECT);
    for (size_t i = 0; i < count; i++) {
        /* A socket that takes no more is closed without the courtesy. */
        ssize_t sent = wire_send(conns[i].wire, conns[i].fd, packet, bytes);
        (void)sent;
        wire_close(conns[i].wire);
        close(conns[i].fd);
        free(conns[i].out);
    }
}
