/* A broker and a client on GLib's main loop, as a GTK program would have them. See burst.h. */
#include "burst.h"

#include <glib-unix.h>
#include <glib.h>

static gboolean on_readable(gint descriptor, GIOCondition condition, gpointer loop)
{
    (void)descriptor, (void)condition;
    if (burst_work())
        return G_SOURCE_CONTINUE;
    g_main_loop_quit((GMainLoop *)loop);
    return G_SOURCE_REMOVE;
}

static gboolean on_timer(gpointer loop)
{
    if (burst_tick())
        return G_SOURCE_CONTINUE;
    g_main_loop_quit((GMainLoop *)loop);
    return G_SOURCE_REMOVE;
}

int main(int argc, char **argv)
{
    GMainLoop *loop = g_main_loop_new(NULL, FALSE);
    burst_begin(argc, argv);
    g_unix_fd_add(burst_descriptor(), G_IO_IN, on_readable, loop);
    g_timeout_add(BURST_TICK_MS, on_timer, loop);
    g_main_loop_run(loop);
    g_main_loop_unref(loop);
    return burst_end("GLib");
}
