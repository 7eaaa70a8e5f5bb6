/*
 * What the loop examples share: a broker, a client of it, and 10 MB between them in one go. What differs is the host's loop:
 * it watches burst_descriptor() and calls burst_work() when that is readable, and it has a timer of its own, BURST_TICK_MS
 * long, that calls burst_tick(). It needs no time-out for the library. Both return false when the loop may end.
 *
 *   PROGRAM [loop | dispatch]
 *
 * `loop` (the default): the library does its work inside burst_work, without a thread. `dispatch`: it works on a thread of its
 * own, and burst_work runs the callbacks.
 */
#ifndef BURST_H
#define BURST_H

#include <nlmqtt.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BURST_TICK_MS 1
#define BURST_MESSAGES 2560
#define BURST_MESSAGE_BYTES 4096
/* Ticks without a message: a loop that sleeps while the library has work would end here, and not wake up by chance. */
#define BURST_STALLED_TICKS 20000

static struct {
    nlmqtt_runtime *runtime;
    nlmqtt_server *server;
    nlmqtt_client *client;
    bool dispatches, client_stopped, server_stopped;
    unsigned received;        /* messages of the burst */
    unsigned ticks_within;    /* ticks after the first message and before the last one */
    unsigned received_before; /* messages at the tick before */
    unsigned ticks_idle;      /* ticks since the last message */
} burst;

static void burst_check(nlmqtt_status status, const char *what)
{
    char text[256];
    if (status == NLMQTT_OK)
        return;
    nlmqtt_last_error(text, sizeof text);
    fprintf(stderr, "%s: %s: %s\n", what, nlmqtt_status_name(status), text);
    exit(1);
}

static void burst_on_message(void *user_data, const nlmqtt_message *message, nlmqtt_ack ack)
{
    (void)user_data, (void)ack;
    if (nlmqtt_message_payload(message).len == BURST_MESSAGE_BYTES && ++burst.received == BURST_MESSAGES)
        nlmqtt_client_stop(burst.client, 5000); /* in progress: burst_on_state tells the end */
}

/* The subscription stands: everything at once. */
static void burst_on_subscribed(void *user_data, const nlmqtt_completion *completion)
{
    static char payload[BURST_MESSAGE_BYTES];
    int i;
    (void)user_data;
    burst_check(completion->status, "subscribe");
    memset(payload, 'x', sizeof payload);
    for (i = 0; i < BURST_MESSAGES; i++)
        burst_check(nlmqtt_client_publish(burst.client, "burst", payload, sizeof payload, 1, false, NULL), "publish");
}

static void burst_on_state(void *user_data, int32_t state)
{
    (void)user_data;
    if (state == NLMQTT_CLIENT_STOPPED && burst.received == BURST_MESSAGES) {
        burst.client_stopped = true;
        nlmqtt_server_stop(burst.server, 0, 1000); /* in progress: burst_on_server_stopped */
    }
}

static void burst_on_server_stopped(void *user_data)
{
    (void)user_data;
    burst.server_stopped = true;
}

static uint16_t burst_make_server(void)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_server_hooks hooks;
    uint16_t port;
    nlmqtt_server_hooks_init(&hooks);
    hooks.stopped = burst_on_server_stopped;
    burst_check(nlmqtt_server_config_add_listener(config, "mqtt://127.0.0.1:0"), "listener");
    burst_check(nlmqtt_server_config_set_queue_limits(config, 0, 0), "limits of the server");
    burst_check(nlmqtt_server_new(burst.runtime, config, &hooks, &burst.server), "server");
    burst_check(nlmqtt_server_start(burst.server), "start of the server");
    burst_check(nlmqtt_server_listener_port(burst.server, 0, &port), "port");
    nlmqtt_server_config_free(config);
    return port;
}

static void burst_make_client(uint16_t port)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_client_callbacks callbacks;
    char uri[64];
    snprintf(uri, sizeof uri, "mqtt://127.0.0.1:%u", (unsigned)port);
    nlmqtt_client_callbacks_init(&callbacks);
    callbacks.state = burst_on_state;
    callbacks.message = burst_on_message;
    callbacks.subscribed = burst_on_subscribed;
    burst_check(nlmqtt_client_config_add_server(config, uri, 0), "uri");
    burst_check(nlmqtt_client_config_set_queue_limits(config, BURST_MESSAGES, 2 * BURST_MESSAGES * BURST_MESSAGE_BYTES), "limits");
    burst_check(nlmqtt_client_new(burst.runtime, config, &callbacks, &burst.client), "client");
    burst_check(nlmqtt_client_subscribe(burst.client, "burst", 1, NULL, NULL, NULL, NULL), "subscribe");
    burst_check(nlmqtt_client_start(burst.client), "start of the client");
    nlmqtt_client_config_free(config);
}

static void burst_begin(int argc, char **argv)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    burst.dispatches = argc > 1 && strcmp(argv[1], "dispatch") == 0;
    burst_check(nlmqtt_runtime_config_set_mode(config, burst.dispatches ? NLMQTT_MODE_DISPATCH : NLMQTT_MODE_LOOP), "mode");
    burst_check(nlmqtt_runtime_new(config, &burst.runtime), "runtime");
    nlmqtt_runtime_config_free(config);
    burst_make_client(burst_make_server());
}

/* The one descriptor to watch for reading, the same for as long as the runtime lives. */
static int burst_descriptor(void) { return nlmqtt_runtime_fd(burst.runtime); }

static bool burst_goes_on(void) { return !burst.client_stopped || !burst.server_stopped; }

/* The descriptor is readable. */
static bool burst_work(void)
{
    if (burst.dispatches)
        burst_check(nlmqtt_runtime_dispatch(burst.runtime, 0), "dispatch");
    else
        burst_check(nlmqtt_runtime_poll(burst.runtime, 0), "poll");
    return burst_goes_on();
}

/* The host's timer fired. It only watches: without the descriptor nothing would move. */
static bool burst_tick(void)
{
    if (burst.received > 0 && burst.received < BURST_MESSAGES)
        burst.ticks_within++;
    burst.ticks_idle = burst.received == burst.received_before ? burst.ticks_idle + 1 : 0;
    burst.received_before = burst.received;
    if (burst.ticks_idle > BURST_STALLED_TICKS) {
        fprintf(stderr, "stalled after %u messages\n", burst.received);
        exit(1);
    }
    return burst_goes_on();
}

/* Says how it went; the value for main to return. */
static int burst_end(const char *loop)
{
    nlmqtt_client_free(burst.client);
    nlmqtt_server_free(burst.server);
    nlmqtt_runtime_free(burst.runtime);
    printf("%s, %s: %u of %u messages, %u ticks of the host's timer meanwhile\n", loop, burst.dispatches ? "dispatch" : "loop",
           burst.received, (unsigned)BURST_MESSAGES, burst.ticks_within);
    return burst.received == BURST_MESSAGES && burst.ticks_within >= 2 ? 0 : 1;
}

#endif
