/* Before the calls of matrix.c: where we are, whose turn it is, and how statuses are judged. */
#include <signal.h>

/* What calls back, and what the calls are made on while it lives; else the second ones, which call nobody back. */
static struct {
    int32_t mode;
    volatile int quiet; /* calls wait for a later visit */
    nlmqtt_runtime *runtime;
    nlmqtt_client *client;
    nlmqtt_server *server;
    /* On the same runtime, used up by one place each: they are stopped and freed there. */
    nlmqtt_client *spare_clients[PLACES];
    nlmqtt_server *spare_servers[PLACES];
    nlmqtt_runtime *spare_runtimes[PLACES];
    nlmqtt_client *pull_client;
    /* On a runtime of their own. */
    nlmqtt_runtime *second_runtime;
    nlmqtt_client *second_client, *second_pull_client;
    nlmqtt_server *second_server;
} world;

static int visited[PLACES];    /* each place is taken once */
static int finished[PLACES];
static __thread int inside;    /* a callback of this thread is at it: those inside it pass */
static __thread int place_now;
static __thread int is_anywhere;
static const char *volatile last_call; /* of all threads, for who finds out that it does not return */
static volatile int last_place;

/* A call that does not return ends the program, which says where. */
static void on_alarm(int number)
{
    static const char text[] = "a call did not return; the last one: ";
    const char *call = last_call, *place = place_names[last_place];
    (void)number;
    if (write(2, text, sizeof text - 1) < 0 || !call || write(2, call, strlen(call)) < 0 || write(2, " in ", 4) < 0 ||
        write(2, place, strlen(place)) < 0 || write(2, "\n", 1) < 0)
        _exit(4);
    _exit(3);
}

static bool enter(int place, int anywhere)
{
    if (inside || world.quiet || __sync_fetch_and_add(&visited[place], 1) > 0)
        return false;
    inside = 1;
    place_now = place;
    is_anywhere = anywhere;
    return true;
}

/* Where the runtime itself begins or ends, its functions are not to be called: those of another one are. */
static bool is_second_place(int place)
{
    return place == IN_RUNTIME_CONFIG_SET_THREAD_HOOKS_START || place == IN_RUNTIME_CONFIG_SET_THREAD_HOOKS_STOP ||
           place == IN_RUNTIME_CONFIG_SET_THREAD_HOOKS_FREE_FN || place == IN_RUNTIME_CONFIG_SET_RESOLVER_FREE_FN ||
           place == IN_RUNTIME_CONFIG_SET_LOG_FREE_FN;
}

static void begin_calls(struct arguments *a)
{
    /* An object that is being freed is nobody's to use any more. */
    bool is_second = is_second_place(place_now);
    arguments_init(a);
    a->runtime = world.runtime && !is_second ? world.runtime : world.second_runtime;
    a->client = world.client && !is_second ? world.client : world.second_client;
    a->server = world.server && !is_second ? world.server : world.second_server;
    a->pull_client = world.pull_client && !is_second ? world.pull_client : world.second_pull_client;
    a->spare_client = world.spare_clients[place_now];
    a->spare_server = world.spare_servers[place_now];
    a->spare_runtime = world.spare_runtimes[place_now];
    world.spare_clients[place_now] = NULL;
    world.spare_servers[place_now] = NULL;
    world.spare_runtimes[place_now] = NULL;
}

static void end_calls(struct arguments *a)
{
    arguments_end(a);
    inside = 0;
    __sync_fetch_and_add(&finished[place_now], 1);
}

static void next_call(const char *name)
{
    last_call = name;
    last_place = place_now;
}

/* `is_right` is what the comment promises on the thread that runs callbacks. Elsewhere a call may wait, so that it answers
 * what it answers outside; but it returns, and nothing is broken. */
static void judge(const char *call, bool is_right, nlmqtt_status status)
{
    /* A server that has stopped says so, before everything else. */
    bool is_stopped = place_now == IN_SERVER_HOOKS_STOPPED && status == NLMQTT_INVALID_STATE;
    if (is_anywhere ? status == NLMQTT_INTERNAL : !is_right && !is_stopped)
        tell_wrong(call, place_names[place_now], status);
}

/* The server asked: also after the first time. */
static void answer_auth(void *user_data, uint8_t reason)
{
    (void)user_data;
    if (reason == 0x18 && world.client)
        nlmqtt_client_authenticate(world.client, "that", 4);
}
