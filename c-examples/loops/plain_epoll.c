/* A broker and a client on a plain epoll loop with a timerfd of its own, and no time-out. See burst.h. */
#define _POSIX_C_SOURCE 200809L

#include "burst.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

static void watch(int loop, int descriptor)
{
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    event.events = EPOLLIN;
    event.data.fd = descriptor;
    if (epoll_ctl(loop, EPOLL_CTL_ADD, descriptor, &event) != 0)
        exit(1);
}

int main(int argc, char **argv)
{
    int loop = epoll_create1(EPOLL_CLOEXEC), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct itimerspec every;
    bool goes_on = true;
    burst_begin(argc, argv);
    memset(&every, 0, sizeof every);
    every.it_value.tv_nsec = every.it_interval.tv_nsec = BURST_TICK_MS * 1000000L;
    if (timerfd_settime(timer, 0, &every, NULL) != 0)
        return 1;
    watch(loop, timer);
    watch(loop, burst_descriptor());
    while (goes_on) {
        struct epoll_event event;
        uint64_t expirations;
        if (epoll_wait(loop, &event, 1, -1) != 1) /* one event at a time keeps it short */
            continue;
        if (event.data.fd != timer)
            goes_on = burst_work();
        else if (read(timer, &expirations, sizeof expirations) == sizeof expirations)
            goes_on = burst_tick();
    }
    close(timer);
    close(loop);
    return burst_end("epoll");
}
