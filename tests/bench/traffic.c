/* Mode load: publishers and subscribers, from connect to the result line.
 *
 * Who hears whom follows from the two numbers: N and N are pairs, each on a topic of its own; N and 1 is fan-in;
 * 1 and N is fan-out. Every subscriber hears a run of publishers, so both tables below are plain arrays.
 * With filters any two numbers go: the filters are dealt to the subscribers, and each publisher walks over all
 * subscribers, its n-th message for one of them going to a filter of that one.
 *
 * A publisher has two brakes. `window` bounds what the broker has not acknowledged (QoS 1 and 2). `credit` bounds
 * what the slowest subscriber has not received (every QoS): it keeps the broker saturated, yet never makes it
 * queue more than `credit` messages per publisher and subscriber, so that an honest broker has no reason to drop.
 * A publisher that was braked goes on when `batch` messages are free again, as a saturated one does by itself:
 * without that, the generator answers every single delivery with a single message and costs as much as the broker. */
#include "conn.h"
#include "latency.h"
#include "ledger.h"
#include "load.h"
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    Conn *conn;
    uint32_t number;
    uint32_t listeners;         /* subscribers that hear it */
    uint32_t sent;              /* the next sequence */
    uint32_t delivered;         /* every sequence below this has reached all listeners */
    uint32_t unacknowledged;
    uint32_t allowed;           /* rate mode: may be sent as of now */
    bool sending;               /* a batch has begun that did not fit one write */
    uint32_t *reached;          /* [sequence & credit_mask]: listeners it has reached */
    uint64_t *sent_ns;          /* [sequence & credit_mask]: when it was written; rate mode only */
    uint8_t *slots;             /* [packet id - 1]: the acknowledgement awaited, 0 when free */
    uint8_t *message;           /* the PUBLISH, but for id, topic digits and stamp */
    uint32_t message_bytes;
    uint32_t walk;              /* filters: which comes next */
} Publisher;

typedef struct {
    Conn *conn;
    uint32_t first_publisher, publishers;
    Ledger *ledgers;            /* [publisher - first_publisher] */
    uint32_t number;
} Subscriber;

static const Options *options;
static Publisher *publishers;
static Subscriber *subscribers;
static uint32_t credit_mask, window_mask, filters_each, batch;
static bool stopping;
static uint32_t round_robin;
static uint64_t deliveries, wrong;

enum {
    NUMBER_DIGITS = 6,
    FILTER_DIGITS = 7,
    /* Primes: every filter in turn, publishers apart from each other, never the neighbour of the last one. */
    FILTER_STRIDE = 7919,
    SUBSCRIBER_STRIDE = 37,
    /* A turn that brought less than FEW_BYTES is followed by a nap: waking for each message of a slow broker
     * would burn a processor, and make the broker pay for the wake-ups. */
    FEW_BYTES = 512,
    NAP_NS = 50000
};

/* The stamp stands behind the topic and, for QoS 1 and 2, the id. */
static uint32_t stamp_offset(const Publisher *publisher)
{
    return publisher->message_bytes - options->payload_bytes;
}

/* How many messages the brakes let through now. */
static uint32_t free_to_send(const Publisher *publisher)
{
    uint32_t free_messages = options->credit - (publisher->sent - publisher->delivered);
    if (options->publish_qos && options->window - publisher->unacknowledged < free_messages)
        free_messages = options->window - publisher->unacknowledged;
    if (options->count && options->count - publisher->sent < free_messages)
        free_messages = options->count - publisher->sent;
    if (options->rate > 0 && publisher->allowed < free_messages)
        free_messages = publisher->allowed;
    return free_messages;
}

static bool worth_sending(const Publisher *publisher)
{
    uint32_t free_messages = free_to_send(publisher);
    return free_messages >= batch || options->rate > 0
        || (options->count && free_messages == options->count - publisher->sent);
}

/* The digits that end at `end`, all of one width. */
static void put_digits(uint8_t *end, unsigned width, uint32_t value)
{
    for (; width; width--, value /= 10)
        *--end = (uint8_t)('0' + value % 10);
}

/* Names the next subscriber and one of its filters in the message whose topic ends at `end`. */
static void turn_topic(Publisher *publisher, uint8_t *end)
{
    publisher->walk += FILTER_STRIDE;
    put_digits(end, FILTER_DIGITS, publisher->walk % filters_each);
    put_digits(end - FILTER_DIGITS - 1, NUMBER_DIGITS,
               (publisher->sent + publisher->number * SUBSCRIBER_STRIDE) % options->subscribers);
}

static void append_message(Conn *conn, Publisher *publisher)
{
    uint8_t *out = conn_room(conn, publisher->message_bytes);
    uint32_t stamp = stamp_offset(publisher);

    memcpy(out, publisher->message, publisher->message_bytes);
    if (filters_each)
        turn_topic(publisher, out + stamp - (options->publish_qos ? 2 : 0));
    if (options->publish_qos) {
        uint32_t slot = publisher->sent & window_mask;
        mqtt_put16(out + stamp - 2, (uint16_t)(slot + 1));
        publisher->slots[slot] = options->publish_qos == 1 ? MQTT_PUBACK : MQTT_PUBREC;
        publisher->unacknowledged++;
    }
    mqtt_put32(out + stamp, publisher->number);
    mqtt_put32(out + stamp + 4, publisher->sent);
    publisher->reached[publisher->sent & credit_mask] = 0;
    publisher->sent++;
    if (options->rate > 0) {
        publisher->sent_ns[(publisher->sent - 1) & credit_mask] = now_ns();
        publisher->allowed--;
    }
    conn->out_end += publisher->message_bytes;
}

static void fill_publisher(Conn *conn)
{
    Publisher *publisher = conn->owner;
    uint32_t free_messages = free_to_send(publisher);

    if (stopping || !(publisher->sending || worth_sending(publisher)))
        return;
    publisher->sending = true;
    for (; free_messages; free_messages--) {
        if (options->publish_qos && publisher->slots[publisher->sent & window_mask])
            break;
        if (conn->out_end - conn->out_start >= CONN_BATCH_BYTES) {
            conn_mark(conn);
            return;
        }
        append_message(conn, publisher);
    }
    publisher->sending = false;
}

static void publisher_packet(Conn *conn, const Packet *packet)
{
    Publisher *publisher = conn->owner;
    uint32_t slot = packet->id - 1u;

    if (!packet->id || slot > window_mask || !options->publish_qos || publisher->slots[slot] != packet->type) {
        wrong++;
        return;
    }
    if (packet->type == MQTT_PUBREC) {
        publisher->slots[slot] = MQTT_PUBCOMP;
        conn_acknowledge(conn, MQTT_PUBREL, packet->id);
        return;
    }
    publisher->slots[slot] = 0;
    publisher->unacknowledged--;
    conn_mark(conn);
}

static void deliver(Publisher *publisher, uint32_t sequence)
{
    uint32_t delivered = publisher->delivered;
    if (++publisher->reached[sequence & credit_mask] != publisher->listeners)
        return;
    while (delivered != publisher->sent && publisher->reached[delivered & credit_mask] == publisher->listeners)
        delivered++;
    if (delivered != publisher->delivered) {
        publisher->delivered = delivered;
        conn_mark(publisher->conn);
    }
}

static void subscriber_packet(Conn *conn, const Packet *packet)
{
    Subscriber *subscriber = conn->owner;
    uint32_t index = packet->publisher - subscriber->first_publisher;
    unsigned qos = packet->flags >> 1 & 3;

    if (packet->type == MQTT_PUBREL) {
        conn_acknowledge(conn, MQTT_PUBCOMP, packet->id);
        return;
    }
    if (packet->type != MQTT_PUBLISH || index >= subscriber->publishers
        || packet->payload_bytes != options->payload_bytes
        || packet->sequence >= publishers[packet->publisher].sent
        || qos != (options->publish_qos < options->subscribe_qos ? options->publish_qos : options->subscribe_qos)) {
        wrong++;
        return;
    }
    if (qos)
        conn_acknowledge(conn, qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, packet->id);
    /* With filters every subscriber gets one message in so many of each publisher. */
    if (ledger_enter(&subscriber->ledgers[index],
                     filters_each ? packet->sequence / options->subscribers : packet->sequence)) {
        deliveries++;
        if (options->rate > 0)
            latency_enter(now_ns() - publishers[packet->publisher].sent_ns[packet->sequence & credit_mask]);
        deliver(&publishers[packet->publisher], packet->sequence);
    }
}

static const ConnHandlers PUBLISHER = {publisher_packet, fill_publisher};
static const ConnHandlers SUBSCRIBER = {subscriber_packet, NULL};

static void tick(uint64_t intervals)
{
    while (intervals--) {
        Publisher *publisher = &publishers[round_robin];
        round_robin = (round_robin + 1) % options->publishers;
        publisher->allowed++;
        conn_mark(publisher->conn);
    }
}

/* The topic of publisher `number`, or with filters that of subscriber `number` and its filter. */
static void topic_name(char *out, uint32_t number, uint32_t filter)
{
    if (filters_each)
        snprintf(out, MQTT_TOPIC_MAX, "bench/%0*u/%0*u", NUMBER_DIGITS, number, FILTER_DIGITS, filter);
    else
        snprintf(out, MQTT_TOPIC_MAX, "bench/%0*u", NUMBER_DIGITS, number);
}

static void filter_name(char *out, uint32_t index, void *context)
{
    const Subscriber *subscriber = context;
    if (filters_each)
        topic_name(out, subscriber->number, index);
    else
        topic_name(out, subscriber->first_publisher + index, 0);
}

static void *allocate(size_t count, size_t bytes)
{
    void *memory = calloc(count, bytes);
    if (!memory)
        die("out of memory");
    return memory;
}

static void set_up_publisher(Publisher *publisher, Conn *conn, uint32_t number)
{
    char topic[MQTT_TOPIC_MAX];
    topic_name(topic, number, 0);
    publisher->conn = conn;
    conn->owner = publisher;
    publisher->number = number;
    publisher->listeners = options->publishers == 1 && !filters_each ? options->subscribers : 1;
    publisher->reached = allocate(credit_mask + 1, sizeof *publisher->reached);
    publisher->sent_ns = options->rate > 0 ? allocate(credit_mask + 1, sizeof *publisher->sent_ns) : NULL;
    publisher->slots = allocate(window_mask + 1, 1);
    publisher->message = allocate(1, options->payload_bytes + MQTT_HEAD_MAX);
    publisher->message_bytes =
        (uint32_t)mqtt_publish(publisher->message, topic, options->publish_qos, 0, options->payload_bytes);
}

static void set_up_subscriber(Subscriber *subscriber, Conn *conn, uint32_t number)
{
    bool pairs = options->publishers == options->subscribers && !filters_each;
    subscriber->conn = conn;
    conn->owner = subscriber;
    subscriber->number = number;
    subscriber->first_publisher = pairs ? number : 0;
    subscriber->publishers = pairs ? 1 : options->publishers;
    subscriber->ledgers = allocate(subscriber->publishers, sizeof *subscriber->ledgers);
    conn_subscribe(conn, filters_each ? filters_each : subscriber->publishers, filter_name, subscriber,
                   options->subscribe_qos);
}

static uint32_t mask_for(uint32_t count)
{
    uint32_t size = 1;
    while (size < count)
        size *= 2;
    return size - 1;
}

static uint64_t expected_deliveries(void)
{
    uint64_t expected = 0;
    for (uint32_t i = 0; i < options->publishers; i++)
        expected += (uint64_t)publishers[i].sent * publishers[i].listeners;
    return expected;
}

/* Everything sent has been delivered and acknowledged. */
static bool settled(void)
{
    for (uint32_t i = 0; i < options->publishers; i++)
        if (publishers[i].delivered != publishers[i].sent || publishers[i].unacknowledged
            || (options->count && publishers[i].sent != options->count))
            return false;
    return true;
}

/* Runs until `end_ns`, or with `end_ns` 0 until settled. False when nothing moved for stall_ms. */
static bool run_phase(uint64_t end_ns)
{
    uint64_t seen = deliveries, now = now_ns(), seen_ns = now;
    size_t bytes;
    for (;;) {
        bytes = loop_turn(20);
        if (options->rate == 0 && bytes < FEW_BYTES)
            loop_nap(NAP_NS);
        now = now_ns();
        if (end_ns ? now >= end_ns : settled())
            return true;
        if (deliveries != seen) {
            seen = deliveries;
            seen_ns = now;
        } else if (now - seen_ns > options->stall_ms * 1000000ull) {
            return false;
        }
    }
}

static void report(const Sample *from, const Sample *to, uint64_t measured, bool stalled)
{
    uint64_t received = 0, duplicates = 0, out_of_order = 0, expected = expected_deliveries();
    double wall_us = (double)(to->at_ns - from->at_ns) / 1e3, per = measured ? (double)measured : 1;

    for (uint32_t i = 0; i < options->subscribers; i++)
        for (uint32_t j = 0; j < subscribers[i].publishers; j++) {
            received += subscribers[i].ledgers[j].received;
            duplicates += subscribers[i].ledgers[j].duplicates;
            out_of_order += subscribers[i].ledgers[j].out_of_order;
        }
    printf("result messages=%llu seconds=%.4f messages_per_s=%.0f broker_us=%.4f generator_us=%.4f"
           " broker_load=%.3f generator_load=%.3f syscalls=%.4f sent=%llu received=%llu lost=%llu duplicates=%llu"
           " out_of_order=%llu wrong=%llu stalled=%d p50_us=%.1f p99_us=%.1f p999_us=%.1f\n",
           (unsigned long long)measured, wall_us / 1e6, (double)measured / wall_us * 1e6,
           (double)(to->broker_cpu_ns - from->broker_cpu_ns) / 1e3 / per,
           (double)(to->own_cpu_ns - from->own_cpu_ns) / 1e3 / per,
           (double)(to->broker_cpu_ns - from->broker_cpu_ns) / 1e3 / wall_us,
           (double)(to->own_cpu_ns - from->own_cpu_ns) / 1e3 / wall_us,
           (double)(to->syscalls - from->syscalls) / per, (unsigned long long)expected,
           (unsigned long long)received, (unsigned long long)(expected - received), (unsigned long long)duplicates,
           (unsigned long long)out_of_order, (unsigned long long)wrong, stalled, latency_us(0.5), latency_us(0.99),
           latency_us(0.999));
    fflush(stdout);
}

static void start_all(void)
{
    if (options->rate > 0)
        loop_timer((uint64_t)(1e9 / options->rate), tick);
    for (uint32_t i = 0; i < options->publishers; i++)
        conn_mark(publishers[i].conn);
}

int run_traffic(const Options *chosen)
{
    Conn *conns;
    Sample from, to;
    uint64_t before;
    bool moving = true;

    options = chosen;
    if (options->filters ? options->filters < options->subscribers
                         : options->publishers != 1 && options->subscribers != 1
                           && options->publishers != options->subscribers)
        die("publishers and subscribers: N and N, N and 1, 1 and N, or any with a filter for each subscriber");
    filters_each = options->filters / options->subscribers;
    credit_mask = mask_for(options->credit);
    window_mask = mask_for(options->window);
    batch = options->publish_qos && options->window < options->credit ? options->window : options->credit;
    batch = (batch + 1) / 2;
    conns = allocate(options->publishers + options->subscribers, sizeof *conns);
    publishers = allocate(options->publishers, sizeof *publishers);
    subscribers = allocate(options->subscribers, sizeof *subscribers);
    conn_open_all(conns, options->publishers, &PUBLISHER);
    conn_open_all(conns + options->publishers, options->subscribers, &SUBSCRIBER);
    for (uint32_t i = 0; i < options->publishers; i++)
        set_up_publisher(&publishers[i], &conns[i], i);
    for (uint32_t i = 0; i < options->subscribers; i++)
        set_up_subscriber(&subscribers[i], &conns[options->publishers + i], i);
    step(options, "ready");

    from = probe_sample();
    start_all();
    if (!options->count && options->warmup_seconds > 0) {
        moving = run_phase(from.at_ns + (uint64_t)(options->warmup_seconds * 1e9));
        from = probe_sample();
        latency_reset();
    }
    before = deliveries;
    if (moving)
        moving = run_phase(options->count ? 0 : from.at_ns + (uint64_t)(options->seconds * 1e9));
    to = probe_sample();
    before = deliveries - before;
    stopping = true;
    if (moving)
        moving = run_phase(0);
    report(&from, &to, before, !moving);
    step(options, "done");
    conn_close_all(conns, options->publishers + options->subscribers);
    return 0;
}
