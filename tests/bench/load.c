/* MQTT load generator: options and modes. One thread, one epoll; README.md explains the numbers. */
#define _GNU_SOURCE
#include "load.h"
#include "conn.h"
#include "probe.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { CREDIT_MAX = 1 << 16, WINDOW_MAX = 1 << 14, PAYLOAD_MAX = 1 << 20, CLIENTS_MAX = 1 << 16 };

static const struct option LONG_OPTIONS[] = {
    {"mode", required_argument, NULL, 'm'},        {"host", required_argument, NULL, 'h'},
    {"port", required_argument, NULL, 'p'},        {"broker-pid", required_argument, NULL, 'b'},
    {"publishers", required_argument, NULL, 'P'},  {"subscribers", required_argument, NULL, 'S'},
    {"qos", required_argument, NULL, 'q'},         {"publish-qos", required_argument, NULL, 'x'},
    {"subscribe-qos", required_argument, NULL, 'y'}, {"payload-bytes", required_argument, NULL, 'l'},
    {"count", required_argument, NULL, 'n'},       {"seconds", required_argument, NULL, 's'},
    {"warmup-seconds", required_argument, NULL, 'u'}, {"window", required_argument, NULL, 'w'},
    {"credit", required_argument, NULL, 'c'},      {"rate", required_argument, NULL, 'r'},
    {"filters", required_argument, NULL, 'f'},     {"connections", required_argument, NULL, 'C'},
    {"retained", required_argument, NULL, 'R'},    {"client-prefix", required_argument, NULL, 'i'},
    {"stall-ms", required_argument, NULL, 't'},    {"steps", no_argument, NULL, 'e'},
    {"syscalls", no_argument, NULL, 'k'},          {"transport", required_argument, NULL, 'T'},
    {"ca-file", required_argument, NULL, 'a'},     {NULL, 0, NULL, 0},
};

static double number(const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= least && value <= most))
        die("%s is not a number from %.0f to %.0f", text, least, most);
    return value;
}

static uint32_t whole(const char *text, uint32_t least, uint32_t most)
{
    return (uint32_t)number(text, least, most);
}

static void take_option(Options *options, int key, const char *text)
{
    switch (key) {
    case 'm': options->mode = text; break;
    case 'h': options->host = text; break;
    case 'i': options->client_prefix = text; break;
    case 'T': options->transport = text; break;
    case 'a': options->ca_file = text; break;
    case 'p': options->port = (uint16_t)whole(text, 1, 65535); break;
    case 'b': options->broker_pid = (pid_t)whole(text, 1, 1 << 30); break;
    case 'P': options->publishers = whole(text, 1, CLIENTS_MAX); break;
    case 'S': options->subscribers = whole(text, 1, CLIENTS_MAX); break;
    case 'q': options->publish_qos = options->subscribe_qos = whole(text, 0, 2); break;
    case 'x': options->publish_qos = whole(text, 0, 2); break;
    case 'y': options->subscribe_qos = whole(text, 0, 2); break;
    case 'l': options->payload_bytes = whole(text, MQTT_STAMP_BYTES, PAYLOAD_MAX); break;
    case 'n': options->count = whole(text, 1, 1 << 30); break;
    case 's': options->seconds = number(text, 0.01, 3600); break;
    case 'u': options->warmup_seconds = number(text, 0, 3600); break;
    case 'w': options->window = whole(text, 1, WINDOW_MAX); break;
    case 'c': options->credit = whole(text, 1, CREDIT_MAX); break;
    case 'r': options->rate = number(text, 1, 1e6); break;
    case 'f': options->filters = whole(text, 1, 10000000); break;
    case 'C': options->connections = whole(text, 1, CLIENTS_MAX); break;
    case 'R': options->retained = whole(text, 1, 10000000); break;
    case 't': options->stall_ms = whole(text, 1, 600000); break;
    case 'e': options->steps = true; break;
    case 'k': options->syscalls = true; break;
    default: exit(2);
    }
}

void step(const Options *options, const char *word)
{
    char line[16];
    if (!options->steps)
        return;
    printf("%s\n", word);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        exit(0);
}

static void allow_many_sockets(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    Options options = {
        .mode = "load", .host = "127.0.0.1", .transport = "tcp", .client_prefix = "bench", .port = 1883, .publishers = 1,
        .subscribers = 1, .payload_bytes = 64, .seconds = 2, .warmup_seconds = 0.3, .window = 20, .credit = 64,
        .connections = 1, .retained = 1000, .stall_ms = 5000,
    };
    int key;

    while ((key = getopt_long(argc, argv, "", LONG_OPTIONS, NULL)) != -1)
        take_option(&options, key, optarg);
    if (optind != argc)
        die("unexpected argument: %s", argv[optind]);
    allow_many_sockets();
    probe_open(options.broker_pid);
    if (options.syscalls && !(options.broker_pid && probe_count_syscalls(options.broker_pid)))
        die("cannot count system calls: no --broker-pid, or no right to open tracepoints");
    wire_choose(options.transport, options.host, options.ca_file);
    loop_open(options.host, options.port, options.client_prefix);
    if (strcmp(options.mode, "load") == 0)
        return run_traffic(&options);
    if (strcmp(options.mode, "hold") == 0)
        return run_hold(&options);
    if (strcmp(options.mode, "retained") == 0)
        return run_retained(&options);
    die("no such mode: %s", options.mode);
}
