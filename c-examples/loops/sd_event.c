/* A broker and a client on systemd's sd-event loop. See burst.h. */
#include "burst.h"

#include <sys/epoll.h>
#include <systemd/sd-event.h>
#include <time.h>

static int on_readable(sd_event_source *source, int descriptor, uint32_t events, void *user_data)
{
    (void)descriptor, (void)events, (void)user_data;
    return burst_work() ? 0 : sd_event_exit(sd_event_source_get_event(source), 0);
}

static int on_timer(sd_event_source *source, uint64_t time_us, void *user_data)
{
    (void)time_us, (void)user_data;
    if (!burst_tick())
        return sd_event_exit(sd_event_source_get_event(source), 0);
    return sd_event_source_set_time_relative(source, BURST_TICK_MS * 1000);
}

int main(int argc, char **argv)
{
    sd_event *loop = NULL;
    sd_event_source *timer = NULL;
    burst_begin(argc, argv);
    if (sd_event_new(&loop) < 0 || sd_event_add_io(loop, NULL, burst_descriptor(), EPOLLIN, on_readable, NULL) < 0 ||
        sd_event_add_time_relative(loop, &timer, CLOCK_MONOTONIC, BURST_TICK_MS * 1000, 1, on_timer, NULL) < 0 ||
        sd_event_source_set_enabled(timer, SD_EVENT_ON) < 0)
        return 1;
    if (sd_event_loop(loop) < 0)
        return 1;
    sd_event_source_unref(timer);
    sd_event_unref(loop);
    return burst_end("sd-event");
}
