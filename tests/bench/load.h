/* The options of one run; see README.md for what each does. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct {
    const char *mode;               /* load, hold, retained */
    const char *host;
    const char *transport;          /* tcp, tls, ws, wss */
    const char *ca_file;            /* tls, wss: who has signed the server's certificate */
    const char *client_prefix;
    uint16_t port;
    pid_t broker_pid;
    uint32_t publishers, subscribers;
    uint32_t publish_qos, subscribe_qos;
    uint32_t payload_bytes;
    uint32_t count;                 /* messages per publisher; 0: run for `seconds` */
    double seconds, warmup_seconds;
    uint32_t window;                /* unacknowledged messages per publisher, QoS 1 and 2 */
    uint32_t credit;                /* messages per publisher that a subscriber still misses */
    double rate;                    /* messages a second of all publishers together; 0: as fast as credit allows */
    uint32_t filters;               /* distinct exact filters, spread over the subscribers */
    uint32_t connections;           /* hold */
    uint32_t retained;              /* retained */
    bool steps;                     /* wait for a line on stdin at "ready" and at the end */
    bool syscalls;
    uint32_t stall_ms;
} Options;

/* Each runs one mode, prints its result line and returns the exit status. */
int run_traffic(const Options *options);
int run_hold(const Options *options);
int run_retained(const Options *options);

/* With --steps: says `word` and waits until the script lets us go on. */
void step(const Options *options, const char *word);

#endif
