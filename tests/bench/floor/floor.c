/* The floor: what the kernel alone costs, as a program that takes the bench's load and is no broker.
 *
 * One thread and one epoll. A turn reads each ready connection once, frames its packets, looks the topic of a PUBLISH
 * up in a hash table of exact filters and copies the frame to its subscribers; then each connection that has something
 * to say gets one write. QoS 0 and 1; nothing is checked that the generator does right: no limits, no sessions, no
 * retained messages, no wildcards, no time. `floor -p PORT`; other arguments are a broker's, and passed over. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONNECT = 1, PUBLISH = 3, SUBSCRIBE = 8, PINGREQ = 12, DISCONNECT = 14,
    READ_BYTES = 64 * 1024,
    EVENTS_MAX = 1024,
    TABLE_SIZE = 1 << 18
};

typedef struct {
    uint8_t *bytes;
    size_t length, size;
} Buffer;

typedef struct Conn {
    int fd;
    bool dirty, blocked;
    uint16_t next_id;
    size_t sent;
    Buffer out, tail;           /* to be written; the beginning of a packet that is not whole */
} Conn;

typedef struct Filter {
    struct Filter *next;
    struct { Conn *conn; uint8_t qos; } *subscribers;
    size_t count;
    uint16_t length;
    uint8_t topic[];
} Filter;

static int poll_fd;
static Filter *table[TABLE_SIZE];
static Conn **dirty;
static size_t dirty_count, dirty_size;
static uint8_t scratch[READ_BYTES];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void *need(void *memory)
{
    if (!memory)
        die("memory");
    return memory;
}

static uint8_t *room(Buffer *buffer, size_t bytes)
{
    if (buffer->length + bytes > buffer->size) {
        buffer->size = 2 * (buffer->length + bytes);
        buffer->bytes = need(realloc(buffer->bytes, buffer->size));
    }
    buffer->length += bytes;
    return buffer->bytes + buffer->length - bytes;
}

static void mark(Conn *conn)
{
    if (conn->dirty)
        return;
    if (dirty_count == dirty_size) {
        dirty_size = dirty_size ? 2 * dirty_size : 64;
        dirty = need(realloc(dirty, dirty_size * sizeof *dirty));
    }
    dirty[dirty_count++] = conn;
    conn->dirty = true;
}

static void say(Conn *conn, const void *bytes, size_t length)
{
    memcpy(room(&conn->out, length), bytes, length);
    mark(conn);
}

static Filter **place_of(const uint8_t *topic, uint16_t length)
{
    uint32_t hash = 2166136261u;
    Filter **place;
    for (uint16_t i = 0; i < length; i++)
        hash = (hash ^ topic[i]) * 16777619u;
    place = &table[(hash ^ hash >> 15) % TABLE_SIZE];
    while (*place && ((*place)->length != length || memcmp((*place)->topic, topic, length) != 0))
        place = &(*place)->next;
    return place;
}

static uint16_t get16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static void subscribe(Conn *conn, const uint8_t *body, const uint8_t *end)
{
    Buffer codes = {0};
    const uint8_t *id = body;
    uint8_t head[6] = {0x90};
    size_t rest, at = 1;
    for (body += 2; body < end;) {
        uint16_t length = get16(body);
        Filter **place = place_of(body + 2, length);
        Filter *filter = *place;
        uint8_t qos = body[2 + length] ? 1 : 0;
        if (!filter) {
            filter = *place = need(calloc(1, sizeof *filter + length));
            filter->length = length;
            memcpy(filter->topic, body + 2, length);
        }
        filter->subscribers = need(realloc(filter->subscribers, (filter->count + 1) * sizeof *filter->subscribers));
        filter->subscribers[filter->count].conn = conn;
        filter->subscribers[filter->count++].qos = qos;
        *room(&codes, 1) = qos;
        body += 3 + length;
    }
    rest = 2 + codes.length;
    do {
        head[at++] = (uint8_t)(rest % 128 + (rest >= 128 ? 128 : 0));
        rest /= 128;
    } while (rest);
    say(conn, head, at);
    say(conn, id, 2);
    say(conn, codes.bytes, codes.length);
    free(codes.bytes);
}

/* The whole frame goes out as it came, but for the id, which is the receiver's. */
static void publish(Conn *conn, const uint8_t *frame, const uint8_t *body, const uint8_t *end)
{
    uint8_t qos = frame[0] >> 1 & 3;
    uint16_t length = get16(body);
    const uint8_t *id = body + 2 + length;
    Filter *filter = *place_of(body + 2, length);
    for (size_t i = 0; filter && i < filter->count; i++) {
        Conn *to = filter->subscribers[i].conn;
        uint8_t *out;
        if (qos != filter->subscribers[i].qos)
            die("publisher and subscriber of two QoS");
        out = room(&to->out, (size_t)(end - frame));
        memcpy(out, frame, (size_t)(end - frame));
        if (qos) {
            to->next_id = to->next_id == UINT16_MAX ? 1 : (uint16_t)(to->next_id + 1);
            out[id - frame] = (uint8_t)(to->next_id >> 8);
            out[id - frame + 1] = (uint8_t)to->next_id;
        }
        mark(to);
    }
    if (qos) {
        uint8_t puback[4] = {0x40, 2, id[0], id[1]};
        say(conn, puback, sizeof puback);
    }
}

static void close_conn(Conn *conn)
{
    /* Its memory stays: a filter may still name it. */
    close(conn->fd);
    conn->fd = -1;
}

static void packet(Conn *conn, const uint8_t *frame, const uint8_t *body, const uint8_t *end)
{
    switch (frame[0] >> 4) {
    case CONNECT: say(conn, "\x20\x02\x00\x00", 4); break;
    case PUBLISH: publish(conn, frame, body, end); break;
    case SUBSCRIBE: subscribe(conn, body, end); break;
    case PINGREQ: say(conn, "\xD0\x00", 2); break;
    case DISCONNECT: close_conn(conn); break;
    default: break;             /* a PUBACK: nothing waits for it */
    }
}

/* Takes whole packets out of `bytes`; how many bytes are left over. */
static size_t take(Conn *conn, const uint8_t *bytes, size_t count)
{
    const uint8_t *end = bytes + count;
    while (conn->fd >= 0 && bytes < end) {
        const uint8_t *body = bytes + 1;
        size_t length = 0;
        unsigned shift = 0;
        do {
            if (body == end)
                return (size_t)(end - bytes);
            length |= (size_t)(*body & 127) << shift;
            shift += 7;
        } while (*body++ & 128);
        if ((size_t)(end - body) < length)
            return (size_t)(end - bytes);
        packet(conn, bytes, body, body + length);
        bytes = body + length;
    }
    return 0;
}

static void receive(Conn *conn)
{
    ssize_t count = recv(conn->fd, scratch, sizeof scratch, 0);
    const uint8_t *bytes = scratch;
    size_t length, left;
    if (count < 0 && errno == EAGAIN)
        return;
    if (count <= 0) {
        close_conn(conn);
        return;
    }
    length = (size_t)count;
    if (conn->tail.length) {
        memcpy(room(&conn->tail, length), scratch, length);
        bytes = conn->tail.bytes;
        length = conn->tail.length;
    }
    left = take(conn, bytes, length);
    if (conn->tail.length)
        memmove(conn->tail.bytes, conn->tail.bytes + length - left, left);
    else if (left)
        memcpy(room(&conn->tail, left), bytes + length - left, left);
    conn->tail.length = left;
}

static void watch(int operation, int fd, uint32_t events, void *context)
{
    struct epoll_event event = {.events = events, .data.ptr = context};
    if (epoll_ctl(poll_fd, operation, fd, &event) < 0)
        die("epoll_ctl");
}

static void flush(Conn *conn)
{
    ssize_t written;
    if (conn->fd < 0 || conn->blocked || conn->out.length == 0)
        return;
    written = send(conn->fd, conn->out.bytes + conn->sent, conn->out.length - conn->sent, MSG_NOSIGNAL);
    if (written > 0)
        conn->sent += (size_t)written;
    conn->blocked = conn->sent < conn->out.length;
    if (conn->blocked)
        watch(EPOLL_CTL_MOD, conn->fd, EPOLLIN | EPOLLOUT, conn);
    else
        conn->sent = conn->out.length = 0;
}

static void accept_all(int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        Conn *conn = need(calloc(1, sizeof *conn));
        conn->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, conn);
    }
}

static void turn(int listener)
{
    static struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(poll_fd, events, EVENTS_MAX, -1);
    for (int i = 0; i < count; i++) {
        Conn *conn = events[i].data.ptr;
        if (!conn) {
            accept_all(listener);
            continue;
        }
        if (events[i].events & EPOLLOUT) {
            watch(EPOLL_CTL_MOD, conn->fd, EPOLLIN, conn);
            conn->blocked = false;
            mark(conn);
        }
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            receive(conn);
    }
    for (size_t i = 0; i < dirty_count; i++) {
        dirty[i]->dirty = false;
        flush(dirty[i]);
    }
    dirty_count = 0;
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0
        || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4096) < 0)
        die("listen");
    return fd;
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    int listener;
    if (argc < 3 || strcmp(argv[1], "-p") != 0)
        return 2;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    listener = listen_on((uint16_t)atoi(argv[2]));
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (;;)
        turn(listener);
}
