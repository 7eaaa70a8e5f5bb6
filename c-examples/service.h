/*
 * A service tells systemd how it is: the datagrams of sd_notify(3) on a plain socket, so that no library is needed.
 *
 * Without NOTIFY_SOCKET nothing is sent. With WATCHDOG_USEC, the main thread posts a task to the broker's loop at half of
 * that interval, and the task sends the ping. A loop that is stuck runs no task, so systemd misses the ping and starts
 * the service again, although the main thread is well.
 */
#ifndef NLMQTTD_SERVICE_H
#define NLMQTTD_SERVICE_H

#include <nlmqtt.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct service {
    int descriptor; /* -1: nobody wants to know */
    struct sockaddr_un address;
    socklen_t address_len;
    unsigned long long ping_us; /* 0: no watchdog */
    pthread_mutex_t lock;
    bool is_ping_posted; /* under `lock`; at most one waits in a loop that is stuck */
};

static void service_notify(const struct service *service, const char *state)
{
    if (service->descriptor >= 0)
        (void)sendto(service->descriptor, state, strlen(state), MSG_NOSIGNAL,
                     (const struct sockaddr *)&service->address, service->address_len);
}

static void service_ready(const struct service *service)
{
    service_notify(service, "READY=1\nSTATUS=serving");
}

/* Reading the configuration again begins; service_ready ends it. */
static void service_reloading(const struct service *service)
{
    char text[96];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=reading the configuration again",
             (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
    service_notify(service, text);
}

/* What the environment asks for; false: it asks for something that cannot be. */
static bool service_open(struct service *service)
{
    const char *path = getenv("NOTIFY_SOCKET"), *interval = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    size_t len = path == NULL ? 0 : strlen(path);
    memset(service, 0, sizeof *service);
    service->descriptor = -1;
    pthread_mutex_init(&service->lock, NULL);
    if (len == 0)
        return true;
    if ((path[0] != '/' && path[0] != '@') || len >= sizeof service->address.sun_path)
        return false;
    service->address.sun_family = AF_UNIX;
    memcpy(service->address.sun_path, path, len);
    if (path[0] == '@') /* the abstract name space */
        service->address.sun_path[0] = '\0';
    service->address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    service->descriptor = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (service->descriptor < 0 || fcntl(service->descriptor, F_SETFD, FD_CLOEXEC) != 0)
        return false;
    if (interval != NULL && (pid == NULL || strtol(pid, NULL, 10) == (long)getpid()))
        service->ping_us = strtoull(interval, NULL, 10) / 2;
    return true;
}

static void service_close(struct service *service)
{
    if (service->descriptor >= 0)
        close(service->descriptor);
    service->descriptor = -1;
    pthread_mutex_destroy(&service->lock);
}

/* On the broker's loop. */
static void service_ping(void *user_data)
{
    struct service *service = (struct service *)user_data;
    service_notify(service, "WATCHDOG=1");
    pthread_mutex_lock(&service->lock);
    service->is_ping_posted = false;
    pthread_mutex_unlock(&service->lock);
}

static void service_post_ping(struct service *service, nlmqtt_runtime *runtime)
{
    bool is_posted;
    pthread_mutex_lock(&service->lock);
    is_posted = service->is_ping_posted;
    service->is_ping_posted = true;
    pthread_mutex_unlock(&service->lock);
    if (!is_posted && nlmqtt_runtime_post(runtime, service_ping, service, NULL) != NLMQTT_OK) {
        pthread_mutex_lock(&service->lock);
        service->is_ping_posted = false;
        pthread_mutex_unlock(&service->lock);
    }
}

/* The next of `signals`; posts pings while it waits. */
static int service_wait(struct service *service, nlmqtt_runtime *runtime, const sigset_t *signals)
{
    struct timespec pause;
    int signal_number;
    if (service->ping_us == 0)
        return sigwait(signals, &signal_number) == 0 ? signal_number : -1;
    pause.tv_sec = (time_t)(service->ping_us / 1000000);
    pause.tv_nsec = (long)(service->ping_us % 1000000) * 1000;
    for (;;) {
        service_post_ping(service, runtime);
        signal_number = sigtimedwait(signals, NULL, &pause);
        if (signal_number > 0)
            return signal_number;
    }
}

#endif
