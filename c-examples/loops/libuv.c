/* A broker and a client on libuv's loop: a poll handle for the library, a timer handle for the host. See burst.h. */
#include "burst.h"

#include <uv.h>

static uv_poll_t library;
static uv_timer_t timer;

static void end(void)
{
    uv_close((uv_handle_t *)&library, NULL);
    uv_close((uv_handle_t *)&timer, NULL);
}

static void on_readable(uv_poll_t *handle, int status, int events)
{
    (void)status, (void)events;
    if (!burst_work() && !uv_is_closing((uv_handle_t *)handle))
        end();
}

static void on_timer(uv_timer_t *handle)
{
    if (!burst_tick() && !uv_is_closing((uv_handle_t *)handle))
        end();
}

int main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    burst_begin(argc, argv);
    if (uv_poll_init(loop, &library, burst_descriptor()) != 0 || uv_poll_start(&library, UV_READABLE, on_readable) != 0 ||
        uv_timer_init(loop, &timer) != 0 || uv_timer_start(&timer, on_timer, BURST_TICK_MS, BURST_TICK_MS) != 0)
        return 1;
    uv_run(loop, UV_RUN_DEFAULT); /* until both handles are closed */
    uv_loop_close(loop);
    return burst_end("libuv");
}
