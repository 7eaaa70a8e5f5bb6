/* What the programs of this folder share: clocks, complaints, clients made from a URI. C99 and POSIX. */
#ifndef PATH_METER_H
#define PATH_METER_H

#include <nlmqtt.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline void die(const char *format, ...)
{
    va_list values;
    char text[512];
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    nlmqtt_last_error(text, sizeof text);
    fprintf(stderr, "%s%s\n", *text ? ": " : "", text);
    exit(EXIT_FAILURE);
}

/* Both namespaces have the same clock: it is the machine's. */
static inline uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint64_t number(const char *option, const char *text)
{
    char *end = NULL;
    uint64_t value = text ? strtoull(text, &end, 10) : 0;
    if (!end || end == text || *end)
        die("%s: a number is missing", option);
    return value;
}

static inline nlmqtt_client_config *config_of(const char *uri)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    if (!config || nlmqtt_client_config_add_server(config, uri, 0) != NLMQTT_OK)
        die("%s", uri);
    return config;
}

#endif
