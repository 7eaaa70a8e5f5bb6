/* Modes hold and retained: what rests in the broker.
 *
 * hold: opens connections, spreads distinct filters over them, says "ready" and keeps everything open, so that the
 * script can read the broker's memory. retained: stores messages (topics of 24 bytes), says "ready" for the same
 * reason, then subscribes to `#` and takes the time until every one has arrived. */
#include "conn.h"
#include "load.h"
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const Options *options;
static uint32_t stored;             /* retained messages handed to the socket so far */
static uint64_t acknowledged;       /* of those, at QoS 1 */
static uint8_t *seen;               /* [sequence]: has arrived */
static uint64_t arrived, duplicates, wrong;

static void *allocate(size_t count, size_t bytes)
{
    void *memory = calloc(count, bytes);
    if (!memory)
        die("out of memory");
    return memory;
}

static void refuse_packet(Conn *conn, const Packet *packet)
{
    (void)conn;
    die("packet of type %u on a connection that expects none", packet->type);
}

/* What devices use: the same words around a number, so 24 bytes with one private inner level. The shape decides what
 * a tree costs: mosquitto takes 700 bytes for each inner level that is not shared. */
static void device_topic(char *out, uint32_t number)
{
    snprintf(out, MQTT_TOPIC_MAX, "site/%07u/temperature", number);
}

/* Filters are distinct over all connections; `context` is the number of the first. */
static void held_filter(char *out, uint32_t index, void *context)
{
    device_topic(out, *(const uint32_t *)context + index);
}

int run_hold(const Options *chosen)
{
    static const ConnHandlers HOLD = {refuse_packet, NULL};
    Conn *conns;
    uint32_t each;

    options = chosen;
    conns = allocate(options->connections, sizeof *conns);
    conn_open_all(conns, options->connections, &HOLD);
    each = options->filters / options->connections;
    for (uint32_t i = 0; i < options->connections && each; i++) {
        uint32_t first = i * each;
        conn_subscribe(&conns[i], each, held_filter, &first, 0);
    }
    step(options, "ready");
    printf("result connections=%u filters=%u\n", options->connections,
           each * options->connections);
    conn_close_all(conns, options->connections);
    return 0;
}

/* Appends until the batch or the window is full. At QoS 0 the last message is followed by a PINGREQ, whose answer
 * says that the broker has taken them all; at QoS 1 the last PUBACK says so. */
static void fill_storer(Conn *conn)
{
    char topic[MQTT_TOPIC_MAX];
    while (stored < options->retained && (!options->publish_qos || stored - acknowledged < options->window)) {
        uint8_t *out;
        size_t bytes;
        if (conn->out_end - conn->out_start >= CONN_BATCH_BYTES) {
            conn_mark(conn);
            return;
        }
        device_topic(topic, stored);
        out = conn_room(conn, options->payload_bytes + MQTT_HEAD_MAX);
        bytes = mqtt_publish(out, topic, options->publish_qos, 1, options->payload_bytes);
        if (options->publish_qos)
            mqtt_put16(out + bytes - options->payload_bytes - 2, (uint16_t)(stored % 65535 + 1));
        mqtt_put32(out + bytes - options->payload_bytes, 0);
        mqtt_put32(out + bytes - options->payload_bytes + 4, stored);
        conn->out_end += bytes;
        if (++stored == options->retained && !options->publish_qos)
            conn->out_end += mqtt_empty(conn_room(conn, 2), MQTT_PINGREQ);
    }
}

static void storer_packet(Conn *conn, const Packet *packet)
{
    if (packet->type != MQTT_PUBACK || packet->id != acknowledged % 65535 + 1)
        die("PUBACK expected, in order");
    acknowledged++;
    conn_mark(conn);
}

static void taker_packet(Conn *conn, const Packet *packet)
{
    unsigned qos = packet->flags >> 1 & 3;
    if (packet->type == MQTT_PUBREL) {
        conn_acknowledge(conn, MQTT_PUBCOMP, packet->id);
        return;
    }
    if (packet->type != MQTT_PUBLISH || packet->sequence >= options->retained || !(packet->flags & 1)
        || packet->payload_bytes != options->payload_bytes) {
        wrong++;
        return;
    }
    if (qos)
        conn_acknowledge(conn, qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, packet->id);
    if (seen[packet->sequence]++)
        duplicates++;
    else
        arrived++;
}

static void all_topics(char *out, uint32_t index, void *context)
{
    (void)index;
    (void)context;
    strcpy(out, "#");
}

/* Until all have come, or none for stall_ms; returns the time of the last arrival. */
static uint64_t await_all(void)
{
    uint64_t last = arrived, last_ns = now_ns();
    while (arrived < options->retained) {
        loop_turn(20);
        if (arrived != last) {
            last = arrived;
            last_ns = now_ns();
        } else if (now_ns() - last_ns > options->stall_ms * 1000000ull) {
            break;
        }
    }
    return arrived == options->retained ? now_ns() : last_ns;
}

int run_retained(const Options *chosen)
{
    static const ConnHandlers STORER = {storer_packet, fill_storer}, TAKER = {taker_packet, NULL};
    Conn *conns = allocate(2, sizeof *conns);
    Sample from, to;
    uint64_t end_ns;
    double per;

    options = chosen;
    if (options->publish_qos > 1)
        die("retained messages are stored at QoS 0 or 1");
    seen = allocate(options->retained, 1);
    conn_open_all(conns, 1, &STORER);
    conn_open_all(conns + 1, 1, &TAKER);
    conn_mark(&conns[0]);
    if (options->publish_qos)
        loop_until(&acknowledged, options->retained);
    else
        loop_until(&loop_pings, 1);
    step(options, "ready");
    from = probe_sample();
    conn_subscribe(&conns[1], 1, all_topics, NULL, options->subscribe_qos);
    end_ns = await_all();
    to = probe_sample();
    per = arrived ? (double)arrived : 1;
    printf("result messages=%llu seconds=%.4f messages_per_s=%.0f broker_us=%.4f generator_us=%.4f syscalls=%.4f"
           " lost=%llu duplicates=%llu out_of_order=0 wrong=%llu stalled=%d\n",
           (unsigned long long)arrived, (double)(end_ns - from.at_ns) / 1e9,
           per / ((double)(end_ns - from.at_ns) / 1e9), (double)(to.broker_cpu_ns - from.broker_cpu_ns) / 1e3 / per,
           (double)(to.own_cpu_ns - from.own_cpu_ns) / 1e3 / per, (double)(to.syscalls - from.syscalls) / per,
           (unsigned long long)(options->retained - arrived), (unsigned long long)duplicates,
           (unsigned long long)wrong, arrived != options->retained);
    step(options, "done");
    conn_close_all(conns, 2);
    return 0;
}
