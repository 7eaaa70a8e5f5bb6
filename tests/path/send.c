/* send: publishes messages whose arrival `receive` judges.
 *
 *   send URI TOPIC --bytes N [--rate MESSAGES_PER_SECOND] [--seconds S | --count N] [--cut]
 *
 * QoS 0. Each payload begins with the moment (nanoseconds) and its number from 0 on, big endian. With a rate messages leave at fixed moments,
 * whatever became of those before; without one as fast as the client's queue has room. At last comes a message at QoS 1 with the number
 * 2^64-1 and how many there were; when that is acknowledged, all before it have arrived, for the stream is in order. --cut ends without it,
 * and loses what still waits.
 *
 * It prints: result messages=N seconds=S cpu_us=N connected=N datagrams=N bytes=N lost=N retransmissions=N, where processor time and seconds count from
 * the first message to that acknowledgement, and what is about datagrams is 0 for transports that have none. */
#define _POSIX_C_SOURCE 200809L
#include "meter.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/resource.h>

#define CONNECT_MS 60000
#define ACKNOWLEDGED_MS 180000
#define HEAD_BYTES 16
#define LAST UINT64_MAX

struct options {
    const char *uri, *topic;
    uint64_t bytes, rate, seconds, count;
    bool is_cut;
};

static unsigned long connected_count; /* the library's thread; read when that has stopped */

static void on_connected(void *user_data, const nlmqtt_connected *connected)
{
    (void)user_data, (void)connected;
    connected_count++;
}

static void put(uint8_t *bytes, uint64_t value)
{
    int i;
    for (i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(value >> (56 - 8 * i));
}

static void sleep_until(uint64_t at_ns)
{
    struct timespec at;
    at.tv_sec = (time_t)(at_ns / 1000000000u);
    at.tv_nsec = (long)(at_ns % 1000000000u);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

static uint64_t cpu_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u + (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* Answers how many were sent. */
static uint64_t send_all(nlmqtt_client *client, const struct options *options, uint64_t start_ns)
{
    uint8_t *payload = calloc(1, options->bytes);
    uint64_t sent = 0, end_ns = options->seconds ? start_ns + options->seconds * 1000000000u : UINT64_MAX;
    if (!payload)
        die("memory");
    while (sent < options->count && now_ns() < end_ns) {
        nlmqtt_status status;
        if (options->rate)
            sleep_until(start_ns + sent * 1000000000u / options->rate);
        put(payload, now_ns());
        put(payload + 8, sent);
        while ((status = nlmqtt_client_publish(client, options->topic, payload, options->bytes, 0, false, NULL)) == NLMQTT_QUEUE_FULL && now_ns() < end_ns)
            sleep_until(now_ns() + 1000000);
        if (status == NLMQTT_OK)
            sent++;
        else if (status != NLMQTT_QUEUE_FULL)
            die("publish");
    }
    free(payload);
    return sent;
}

static void finish(nlmqtt_client *client, const struct options *options, uint64_t sent)
{
    uint8_t payload[HEAD_BYTES + 8];
    uint64_t token;
    nlmqtt_status status;
    put(payload, now_ns());
    put(payload + 8, LAST);
    put(payload + 16, sent);
    while ((status = nlmqtt_client_publish(client, options->topic, payload, sizeof payload, 1, false, &token)) == NLMQTT_QUEUE_FULL)
        sleep_until(now_ns() + 1000000);
    if (status != NLMQTT_OK || nlmqtt_client_wait(client, token, ACKNOWLEDGED_MS) != NLMQTT_OK)
        die("the last message");
}

static void parse_options(struct options *options, int argc, char **argv)
{
    int i;
    if (argc < 3)
        die("send: URI TOPIC");
    options->uri = argv[1];
    options->topic = argv[2];
    for (i = 3; i < argc; i++) {
        uint64_t *value = strcmp(argv[i], "--bytes") == 0     ? &options->bytes
                          : strcmp(argv[i], "--rate") == 0    ? &options->rate
                          : strcmp(argv[i], "--seconds") == 0 ? &options->seconds
                          : strcmp(argv[i], "--count") == 0   ? &options->count
                                                              : NULL;
        if (strcmp(argv[i], "--cut") == 0)
            options->is_cut = true;
        else if (value && i + 1 < argc) {
            *value = number(argv[i], argv[i + 1]);
            i++;
        } else
            die("send: bad option %s", argv[i]);
    }
    if (options->bytes < HEAD_BYTES)
        die("send: --bytes: at least %d", HEAD_BYTES);
}

int main(int argc, char **argv)
{
    struct options options = {NULL, NULL, 256, 0, 0, UINT64_MAX, false};
    nlmqtt_client_config *config;
    nlmqtt_client_callbacks callbacks;
    nlmqtt_client *client = NULL;
    nlmqtt_datagram_statistics statistics;
    uint64_t start_ns, start_cpu_us, took_ns, sent;
    parse_options(&options, argc, argv);
    config = config_of(options.uri);
    nlmqtt_client_callbacks_init(&callbacks);
    callbacks.connected = on_connected;
    if (nlmqtt_client_new(NULL, config, &callbacks, &client) != NLMQTT_OK || nlmqtt_client_start(client) != NLMQTT_OK ||
        nlmqtt_client_connect_wait(client, CONNECT_MS) != NLMQTT_OK)
        die("%s", options.uri);
    start_ns = now_ns();
    start_cpu_us = cpu_us();
    sent = send_all(client, &options, start_ns);
    if (!options.is_cut)
        finish(client, &options, sent);
    took_ns = now_ns() - start_ns;
    start_cpu_us = cpu_us() - start_cpu_us;
    /* What is told of datagrams is at most a second old. */
    if (!options.is_cut)
        sleep_until(now_ns() + 1100000000u);
    nlmqtt_datagram_statistics_init(&statistics);
    if (nlmqtt_client_datagram_stats(client, &statistics) != NLMQTT_OK)
        nlmqtt_datagram_statistics_init(&statistics);
    printf("result messages=%llu seconds=%.6f cpu_us=%llu", (unsigned long long)sent, (double)took_ns / 1e9, (unsigned long long)start_cpu_us);
    nlmqtt_client_stop(client, options.is_cut ? 0 : 2000);
    nlmqtt_client_free(client);
    nlmqtt_client_config_free(config);
    printf(" connected=%lu datagrams=%llu bytes=%llu lost=%llu retransmissions=%llu\n", connected_count, (unsigned long long)statistics.datagrams_sent,
           (unsigned long long)statistics.bytes_sent, (unsigned long long)statistics.datagrams_lost, (unsigned long long)statistics.retransmissions);
    return EXIT_SUCCESS;
}
