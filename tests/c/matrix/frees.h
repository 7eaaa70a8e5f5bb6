/* Before the callbacks of frees.c: what a cell has, who is called back there, and how a callback frees a handle that is in use. */
#ifndef MATRIX_FREES_H
#define MATRIX_FREES_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runtime_bench.h"

#include "certificates.h"
#include "matrix/peers.h"
#include "udp_relay.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>

/* Whose callback it is: after the end of that handle it is called no more. */
enum owner { OF_CLIENT, OF_SERVER, OF_RUNTIME, OF_CALL, OWNERS };

/* One user_data that was handed over. */
struct registration {
    struct cell *cell;
    enum owner owner;
    int wanted, released;
};

enum { REGISTRATIONS = 64 };

/* A callback in which something is freed, with a runtime, a server and a client of its own. */
struct cell {
    int place, column;
    int32_t mode;
    pthread_mutex_t lock;   /* held while a handle is used or taken; never while one is freed */
    void *handles[HANDLES]; /* NULL from the moment on at which somebody frees it */
    const nlmqtt_message *kept;
    uint64_t request, subscription, task;
    struct registration registrations[REGISTRATIONS], *freed_in;
    int registered;
    int is_armed, claimed, visited;
    int seen[PLACES];
    int is_over[OWNERS]; /* freed in a callback, and that callback has returned */
    struct server_files files;
    struct udp_relay relay;
    uint16_t port;
    int faults;
};

#define CLIENT_OF(cell) ((nlmqtt_client *)(cell)->handles[CLIENT])
#define SERVER_OF(cell) ((nlmqtt_server *)(cell)->handles[SERVER])
#define RUNTIME_OF(cell) ((nlmqtt_runtime *)(cell)->handles[RUNTIME])
#define CLIENT_CONFIG_OF(cell) ((nlmqtt_client_config *)(cell)->handles[CLIENT_CONFIG])
#define SERVER_CONFIG_OF(cell) ((nlmqtt_server_config *)(cell)->handles[SERVER_CONFIG])
#define LISTENER_CONFIG_OF(cell) ((nlmqtt_listener_config *)(cell)->handles[LISTENER_CONFIG])
#define RUNTIME_CONFIG_OF(cell) ((nlmqtt_runtime_config *)(cell)->handles[RUNTIME_CONFIG])

static int wrong; /* what was told, in all cells */

static int load(int *value)
{
    return __atomic_load_n(value, __ATOMIC_SEQ_CST);
}

static void store(int *value, int number)
{
    __atomic_store_n(value, number, __ATOMIC_SEQ_CST);
}

static void tell_wrong(struct cell *cell, int place, const char *what)
{
    /* A few of a cell say enough. */
    if (__sync_fetch_and_add(&cell->faults, 1) < 5)
        fprintf(stderr, "%s freed in %s (mode %d): %s: %s\n", column_names[cell->column], place_names[cell->place], (int)cell->mode,
                place_names[place], what);
    __sync_fetch_and_add(&wrong, 1);
}

static struct registration *registration_of(struct cell *cell, enum owner owner, int wanted)
{
    int number = __sync_fetch_and_add(&cell->registered, 1);
    struct registration *own = &cell->registrations[number];
    CHECK(number < REGISTRATIONS);
    own->cell = cell;
    own->owner = owner;
    own->wanted = wanted;
    return own;
}

/* A user_data that is released. */
static struct registration *given(struct cell *cell, enum owner owner)
{
    return registration_of(cell, owner, 1);
}

static bool is_there(struct cell *cell, enum handle handle)
{
    return __atomic_load_n(&cell->handles[handle], __ATOMIC_SEQ_CST) != NULL;
}

/* The lock, to use a handle. False: it is freed, and whoever does that may wait for this thread. */
static bool hold(struct cell *cell, enum handle handle)
{
    while (pthread_mutex_trylock(&cell->lock) != 0) {
        if (!is_there(cell, handle))
            return false;
        sched_yield();
    }
    if (is_there(cell, handle))
        return true;
    pthread_mutex_unlock(&cell->lock);
    return false;
}

/* Frees a handle, unless somebody does already. */
static void free_handle(struct cell *cell, enum handle handle)
{
    void *taken;
    pthread_mutex_lock(&cell->lock);
    taken = cell->handles[handle];
    __atomic_store_n(&cell->handles[handle], (void *)NULL, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&cell->lock);
    free_taken(handle, taken);
}

static void free_column(struct cell *cell);

/* The beginning of every callback; whether it is the one that frees. */
static bool enter(struct registration *own, int place, const nlmqtt_message *message)
{
    struct cell *cell = own->cell;
    if (is_release[place]) {
        if (__sync_fetch_and_add(&own->released, 1) > 0)
            tell_wrong(cell, place, "once more");
    } else if (load(&own->released)) {
        tell_wrong(cell, place, "after its free_fn");
    } else if (load(&cell->is_over[own->owner]) && !may_follow[place]) {
        tell_wrong(cell, place, "after its handle was freed");
    }
    if (place != cell->place || !load(&cell->is_armed) || __sync_fetch_and_add(&cell->claimed, 1) > 0)
        return false;
    if (message)
        cell->kept = nlmqtt_message_ref(message);
    cell->freed_in = own;
    free_column(cell);
    return true;
}

/* The end of every callback. */
static void leave(struct registration *own, int place, bool has_freed)
{
    struct cell *cell = own->cell;
    if (has_freed) {
        if (!is_there(cell, CLIENT))
            store(&cell->is_over[OF_CLIENT], 1);
        if (!is_there(cell, SERVER))
            store(&cell->is_over[OF_SERVER], 1);
    }
    __sync_fetch_and_add(&cell->seen[place], 1);
    if (has_freed)
        store(&cell->visited, 1);
}

/* The server asked, and the first time is challenged. */
static void answer_auth(void *user_data, uint8_t reason)
{
    struct cell *cell = ((struct registration *)user_data)->cell;
    if (reason == 0x18 && hold(cell, CLIENT)) {
        OK(nlmqtt_client_authenticate(CLIENT_OF(cell), "that", 4));
        pthread_mutex_unlock(&cell->lock);
    }
}

/* A transport of the application that is a TCP connection. */
struct line {
    struct registration *own;
    int descriptor;
};

static struct registration *line_own(void *connection)
{
    return ((struct line *)connection)->own;
}

static nlmqtt_status line_open(struct registration *own, void **connection_out, int *descriptor_out)
{
    struct line *line = (struct line *)calloc(1, sizeof *line);
    line->own = own;
    line->descriptor = try_dial(own->cell->port);
    if (line->descriptor < 0) {
        free(line);
        return NLMQTT_IO;
    }
    CHECK(fcntl(line->descriptor, F_SETFL, O_NONBLOCK) == 0);
    *connection_out = line;
    *descriptor_out = line->descriptor;
    return NLMQTT_OK;
}

static int64_t line_moved(ssize_t count)
{
    return count < 0 ? errno == EAGAIN ? (int64_t)NLMQTT_IN_PROGRESS : (int64_t)NLMQTT_IO : (int64_t)count;
}

static int64_t line_read(void *connection, void *buffer, size_t room)
{
    return line_moved(recv(((struct line *)connection)->descriptor, buffer, room, 0));
}

static int64_t line_write(void *connection, const void *bytes, size_t len)
{
    return line_moved(send(((struct line *)connection)->descriptor, bytes, len, MSG_NOSIGNAL));
}

static void line_close(void *connection)
{
    close(((struct line *)connection)->descriptor);
    free(connection);
}

#endif
