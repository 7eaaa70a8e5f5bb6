/* See wire.h. WebSocket (RFC 6455): each MQTT packet is one masked binary frame, as the clients of browsers send it; what is received may
 * be cut into frames in any way. */
#include "wire.h"
#include "conn.h"
#include "tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    CONTINUATION = 0, BINARY = 2, PING = 9, PONG = 10, FINAL = 0x80, MASKED = 0x80,
    HEAD_MAX = 14,               /* of a frame with a mask */
    CONTROL_MAX = 125,           /* payload of a control frame */
    ANSWER_MAX = 4096
};

struct Wire {
    int fd;
    Tls *tls;                    /* NULL: WebSocket straight over TCP */
    bool has_more;
    /* WebSocket, receiving. */
    uint8_t head[HEAD_MAX], control[CONTROL_MAX];
    size_t head_bytes, control_bytes;
    uint64_t frame_rest;         /* payload of the frame that is still to come */
    uint8_t opcode;
    /* WebSocket, sending: frames out_start..out_end wait for the socket. */
    uint8_t *out;
    size_t out_start, out_end, out_size;
};

static bool use_tls, use_websocket;
static const char *server;
static uint32_t mask = 0x9e3779b9;

void wire_choose(const char *transport, const char *host, const char *ca_file)
{
    use_tls = strcmp(transport, "tls") == 0 || strcmp(transport, "wss") == 0;
    use_websocket = strcmp(transport, "ws") == 0 || strcmp(transport, "wss") == 0;
    if (!use_tls && !use_websocket && strcmp(transport, "tcp") != 0)
        die("no such transport: %s", transport);
    server = host;
    if (use_tls)
        tls_choose(host, ca_file);
}

static ssize_t lower_receive(Wire *wire, uint8_t *data, size_t size)
{
    ssize_t count = wire->tls ? tls_receive(wire->tls, data, size) : recv(wire->fd, data, size, 0);
    wire->has_more = wire->tls && count == (ssize_t)size;
    return count;
}

static ssize_t lower_send(Wire *wire, const uint8_t *data, size_t length)
{
    return wire->tls ? tls_send(wire->tls, data, length) : send(wire->fd, data, length, MSG_NOSIGNAL);
}

static uint8_t *room(Wire *wire, size_t bytes)
{
    if (wire->out_start == wire->out_end)
        wire->out_start = wire->out_end = 0;
    if (wire->out_end + bytes > wire->out_size) {
        wire->out_size = 2 * (wire->out_end + bytes);
        wire->out = realloc(wire->out, wire->out_size);
        if (!wire->out)
            die("out of memory");
    }
    return wire->out + wire->out_end;
}

/* Request, key and the accept that answers it: RFC 6455 section 1.3. */
static void ask(Wire *wire)
{
    char request[512];
    int bytes = snprintf(request, sizeof request,
                         "GET /mqtt HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n", server);
    if (lower_send(wire, (const uint8_t *)request, (size_t)bytes) != bytes)
        die("send the request: %s", strerror(errno));
}

void wire_finish(Wire *wire)
{
    static const char ACCEPT[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    char answer[ANSWER_MAX];
    size_t length = 0;

    if (!use_websocket)
        return;
    do {
        ssize_t count = lower_receive(wire, (uint8_t *)answer + length, sizeof answer - 1 - length);
        if (count <= 0)
            die("no answer to the request for a WebSocket");
        length += (size_t)count;
        answer[length] = 0;
    } while (!strstr(answer, "\r\n\r\n"));
    if (strncmp(answer, "HTTP/1.1 101 ", 13) != 0 || !strstr(answer, ACCEPT))
        die("no WebSocket: %.60s", answer);
    /* Before CONNECT no server has anything to say. */
    if (strcmp(answer + length - 4, "\r\n\r\n") != 0)
        die("frames before CONNECT");
}

Wire *wire_open(int fd)
{
    Wire *wire;
    if (!use_tls && !use_websocket)
        return NULL;
    wire = calloc(1, sizeof *wire);
    if (!wire)
        die("out of memory");
    wire->fd = fd;
    if (use_tls)
        wire->tls = tls_open(fd);
    if (use_websocket)
        ask(wire);
    return wire;
}

void wire_close(Wire *wire)
{
    if (!wire)
        return;
    if (wire->tls)
        tls_close(wire->tls);
    free(wire->out);
    free(wire);
}

/* Appends one frame. */
static void frame(Wire *wire, unsigned opcode, const uint8_t *payload, size_t length)
{
    uint8_t *out = room(wire, HEAD_MAX + length), key[4];
    size_t at = 2;

    out[0] = (uint8_t)(FINAL | opcode);
    if (length <= CONTROL_MAX) {
        out[1] = (uint8_t)(MASKED | length);
    } else if (length < 1 << 16) {
        out[1] = MASKED | 126;
        mqtt_put16(out + 2, (uint16_t)length);
        at = 4;
    } else {
        out[1] = MASKED | 127;
        mqtt_put32(out + 2, 0);
        mqtt_put32(out + 6, (uint32_t)length);
        at = 10;
    }
    /* Another mask for each frame, and none that changes nothing. */
    mask = mask * 1664525 + 1013904223;
    mqtt_put32(key, mask | 1);
    memcpy(out + at, key, sizeof key);
    at += sizeof key;
    for (size_t i = 0; i < length; i++)
        out[at + i] = payload[i] ^ key[i & 3];
    wire->out_end += at + length;
}

/* Bytes of the MQTT packet that begins here. */
static size_t packet_bytes(const uint8_t *data)
{
    size_t remaining = 0, at = 1;
    for (unsigned shift = 0;; shift += 7) {
        remaining |= (size_t)(data[at] & 0x7f) << shift;
        if (!(data[at++] & 0x80))
            return at + remaining;
    }
}

/* False: the socket did not take all. */
static bool send_frames(Wire *wire)
{
    while (wire->out_start != wire->out_end) {
        ssize_t count = lower_send(wire, wire->out + wire->out_start, wire->out_end - wire->out_start);
        if (count < 0 && errno != EAGAIN)
            die("send: %s", strerror(errno));
        if (count <= 0)
            return false;
        wire->out_start += (size_t)count;
    }
    return true;
}

/* Takes all or nothing: so what it is given always begins with a packet. */
static ssize_t send_packets(Wire *wire, const uint8_t *data, size_t length)
{
    if (!send_frames(wire)) {
        errno = EAGAIN;
        return -1;
    }
    for (size_t at = 0; at < length;) {
        size_t bytes = packet_bytes(data + at);
        frame(wire, BINARY, data + at, bytes);
        at += bytes;
    }
    send_frames(wire);
    return (ssize_t)length;
}

/* Takes more of a frame's head; returns the bytes taken. The head may not be complete then. */
static size_t take_head(Wire *wire, const uint8_t *data, size_t length)
{
    size_t taken = 0;
    while (taken < length) {
        uint8_t *head = wire->head;
        unsigned size;
        head[wire->head_bytes++] = data[taken++];
        if (wire->head_bytes < 2)
            continue;
        if (head[1] & MASKED)
            die("the broker masks its frames");
        size = head[1] < 126 ? 2 : head[1] == 126 ? 4 : 10;
        if (wire->head_bytes < size)
            continue;
        wire->frame_rest = head[1];
        if (size > 2)
            wire->frame_rest = 0;
        for (unsigned i = 2; i < size; i++)
            wire->frame_rest = wire->frame_rest << 8 | head[i];
        wire->opcode = head[0] & 15;
        wire->head_bytes = 0;
        if (wire->opcode != CONTINUATION && wire->opcode != BINARY && wire->opcode != PING && wire->opcode != PONG)
            die("frame with opcode %u", wire->opcode);
        if (wire->opcode >= PING && wire->frame_rest > CONTROL_MAX)
            die("control frame of %llu bytes", (unsigned long long)wire->frame_rest);
        if (wire->frame_rest || wire->opcode >= PING)
            return taken;
    }
    return taken;
}

/* A ping is answered; a pong is not asked for, and is nothing. */
static void take_control(Wire *wire, const uint8_t *data, size_t length)
{
    memcpy(wire->control + wire->control_bytes, data, length);
    wire->control_bytes += length;
    if (wire->frame_rest)
        return;
    if (wire->opcode == PING)
        frame(wire, PONG, wire->control, wire->control_bytes);
    wire->control_bytes = 0;
    wire->opcode = 0;
}

/* Takes the frames off, in place; returns the bytes that are left, which are MQTT. */
static size_t unwrap(Wire *wire, uint8_t *data, size_t length)
{
    size_t at = 0, end = 0;
    while (at < length) {
        size_t piece;
        if (!wire->frame_rest) {
            at += take_head(wire, data + at, length - at);
            if (!wire->frame_rest && wire->opcode < PING)
                continue;
        }
        piece = length - at < wire->frame_rest ? length - at : (size_t)wire->frame_rest;
        wire->frame_rest -= piece;
        if (wire->opcode >= PING) {
            take_control(wire, data + at, piece);
        } else {
            memmove(data + end, data + at, piece);
            end += piece;
        }
        at += piece;
    }
    return end;
}

ssize_t wire_receive(Wire *wire, int fd, uint8_t *data, size_t size)
{
    ssize_t count;
    if (!wire)
        return recv(fd, data, size, 0);
    count = lower_receive(wire, data, size);
    if (count <= 0 || !use_websocket)
        return count;
    count = (ssize_t)unwrap(wire, data, (size_t)count);
    if (count)
        return count;
    errno = EAGAIN;
    return -1;
}

ssize_t wire_send(Wire *wire, int fd, const uint8_t *data, size_t length)
{
    if (!wire)
        return send(fd, data, length, MSG_NOSIGNAL);
    return use_websocket ? send_packets(wire, data, length) : lower_send(wire, data, length);
}

bool wire_has_more(const Wire *wire)
{
    return wire && wire->has_more;
}

bool wire_waits(const Wire *wire)
{
    return wire && wire->out_start != wire->out_end;
}
