/* What the tests of runtimes share: runtimes, clients and servers of any mode, and a look at the process. */
#ifndef RUNTIME_BENCH_H
#define RUNTIME_BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/epoll.h>

static MAYBE_UNUSED nlmqtt_runtime *runtime_from(nlmqtt_runtime_config *config)
{
    nlmqtt_runtime *runtime = NULL;
    OK(nlmqtt_runtime_new(config, &runtime));
    nlmqtt_runtime_config_free(config);
    return runtime;
}

static MAYBE_UNUSED nlmqtt_runtime *runtime_of(int32_t mode)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    OK(nlmqtt_runtime_config_set_mode(config, mode));
    return runtime_from(config);
}

/* A client of 127.0.0.1:port that is not started; `callbacks` may be NULL. */
static MAYBE_UNUSED nlmqtt_client *client_on(nlmqtt_runtime *runtime, uint16_t port, const nlmqtt_client_callbacks *callbacks)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_client *client = NULL;
    char uri[64];
    snprintf(uri, sizeof uri, "mqtt://127.0.0.1:%u", (unsigned)port);
    OK(nlmqtt_client_config_add_server(config, uri, 0));
    OK(nlmqtt_client_config_set(config, "reconnect_delay_min_ms", "10"));
    OK(nlmqtt_client_config_set(config, "reconnect_delay_max_ms", "50"));
    OK(nlmqtt_client_new(runtime, config, callbacks, &client));
    nlmqtt_client_config_free(config);
    return client;
}

/* What a loop of the host's waits with: one epoll, the runtime's descriptor inside, no time-out. */
static MAYBE_UNUSED int host_loop(nlmqtt_runtime *runtime)
{
    int loop = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    event.events = EPOLLIN;
    event.data.fd = nlmqtt_runtime_fd(runtime);
    CHECK(loop >= 0 && event.data.fd >= 0);
    CHECK(epoll_ctl(loop, EPOLL_CTL_ADD, event.data.fd, &event) == 0);
    return loop;
}

/* One round of it. A stall ends the test by its time limit. */
static MAYBE_UNUSED void host_turn(int loop, nlmqtt_runtime *runtime, int32_t mode)
{
    struct epoll_event event;
    if (epoll_wait(loop, &event, 1, -1) == 1)
        OK(mode == NLMQTT_MODE_LOOP ? nlmqtt_runtime_poll(runtime, 0) : nlmqtt_runtime_dispatch(runtime, 0));
}

static MAYBE_UNUSED int count_entries(const char *folder)
{
    DIR *entries = opendir(folder);
    struct dirent *entry;
    int count = 0;
    CHECK(entries != NULL);
    while ((entry = readdir(entries)) != NULL)
        count += entry->d_name[0] != '.';
    closedir(entries);
    return count;
}

/* A listening socket of the test's own. */
static MAYBE_UNUSED int listen_anywhere(uint16_t *port)
{
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(listener >= 0 && bind(listener, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(listener, 64) == 0 && getsockname(listener, (struct sockaddr *)&address, &len) == 0);
    *port = ntohs(address.sin_port);
    return listener;
}

/* Takes a client in as a server of MQTT 3.1.1 or 5 would that has nothing to say. */
static MAYBE_UNUSED int accept_client(int listener)
{
    struct packet packet;
    struct timeval limit;
    int peer = accept(listener, NULL, NULL);
    CHECK(peer >= 0);
    limit.tv_sec = 10;
    limit.tv_usec = 0;
    setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    CHECK_EQ(read_packet(peer, &packet), 0x10);
    /* Byte 6 is the protocol level. */
    if (packet.body[6] == 5)
        CHECK(send(peer, "\x20\3\0\0\0", 5, MSG_NOSIGNAL) == 5);
    else
        CHECK(send(peer, "\x20\2\0\0", 4, MSG_NOSIGNAL) == 4);
    return peer;
}

#endif
