/*
 * The wall clock jumps by a year, forth and back, as on a board without a battery when the time arrives. Nothing that
 * waits may notice. The program stands before the C library here: what the library under test asks for the wall time goes
 * through the functions below.
 */
#include "runtime_bench.h"

#include <sys/syscall.h>

static long wall_shift_s;
static int wall_calls, other_calls;

/* What the system says, whatever a time_t is. */
struct wide_time {
    int64_t seconds, nanoseconds;
};

static int system_time(clockid_t clock, struct wide_time *time_out)
{
#ifdef SYS_clock_gettime64
    return (int)syscall(SYS_clock_gettime64, clock, time_out);
#else
    struct timespec now;
    int result = (int)syscall(SYS_clock_gettime, clock, &now);
    time_out->seconds = now.tv_sec;
    time_out->nanoseconds = now.tv_nsec;
    return result;
#endif
}

/* What the library is told. */
static int told_time(clockid_t clock, struct wide_time *time_out)
{
    int result = system_time(clock, time_out);
    if (clock == CLOCK_REALTIME) {
        __atomic_fetch_add(&wall_calls, 1, __ATOMIC_RELAXED);
        time_out->seconds += __atomic_load_n(&wall_shift_s, __ATOMIC_RELAXED);
    } else {
        __atomic_fetch_add(&other_calls, 1, __ATOMIC_RELAXED);
    }
    return result;
}

#ifdef __cplusplus
extern "C" {
#endif

int clock_gettime(clockid_t clock, struct timespec *time_out)
{
    struct wide_time now;
    int result = told_time(clock, &now);
    time_out->tv_sec = (time_t)now.seconds;
    time_out->tv_nsec = (long)now.nanoseconds;
    return result;
}

#if defined(__GLIBC__) && defined(SYS_clock_gettime64)
/* Where a time_t has 32 bits glibc has this beside it, and Rust's standard library asks it. */
int __clock_gettime64(clockid_t clock, struct wide_time *time_out);
int __clock_gettime64(clockid_t clock, struct wide_time *time_out)
{
    return told_time(clock, time_out);
}
#endif

int gettimeofday(struct timeval *time_out, void *zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    time_out->tv_sec = now.tv_sec;
    time_out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *time_out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (time_out != NULL)
        *time_out = now.tv_sec;
    return now.tv_sec;
}

#ifdef __cplusplus
}
#endif

static void shift(long seconds)
{
    __atomic_store_n(&wall_shift_s, seconds, __ATOMIC_RELAXED);
}

struct seen {
    int connected, disconnected, messages, early;
};

static void on_connected(void *user_data, const nlmqtt_connected *connected)
{
    (void)connected;
    __atomic_fetch_add(&((struct seen *)user_data)->connected, 1, __ATOMIC_RELAXED);
}

static void on_disconnected(void *user_data, const nlmqtt_disconnected *disconnected)
{
    CHECK(disconnected->retry_in_ms >= -1 && disconnected->retry_in_ms <= 60000);
    __atomic_fetch_add(&((struct seen *)user_data)->disconnected, 1, __ATOMIC_RELAXED);
}

static void on_message(void *user_data, const nlmqtt_message *message, nlmqtt_ack ack)
{
    (void)message;
    (void)ack;
    __atomic_fetch_add(&((struct seen *)user_data)->messages, 1, __ATOMIC_RELAXED);
}

static int seen(int *value)
{
    return __atomic_load_n(value, __ATOMIC_RELAXED);
}

static void too_early(void *user_data)
{
    __atomic_fetch_add(&((struct seen *)user_data)->early, 1, __ATOMIC_RELAXED);
}

static void wait_until(int *value, int wanted)
{
    int tries = 0;
    while (seen(value) < wanted && ++tries < 2000)
        sleep_ms(5);
    CHECK(seen(value) >= wanted);
}

/* Keep-alive, delayed functions, message expiry, back-off and time limits go on through the jump. */
static void a_jump_is_not_noticed(long year_s)
{
    nlmqtt_runtime *runtime = runtime_of(NLMQTT_MODE_THREAD);
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_client_callbacks callbacks;
    nlmqtt_client *client = NULL;
    nlmqtt_properties *properties = nlmqtt_properties_new();
    struct seen told;
    struct wide_time start, end;
    char uri[64];
    uint16_t port;
    nlmqtt_server *server = serve(runtime, NULL, &port);
    uint64_t task, retained = 0;
    memset(&told, 0, sizeof told);
    nlmqtt_client_callbacks_init(&callbacks);
    callbacks.user_data = &told;
    callbacks.connected = on_connected;
    callbacks.disconnected = on_disconnected;
    callbacks.message = on_message;
    snprintf(uri, sizeof uri, "mqtt://127.0.0.1:%u", (unsigned)port);
    OK(nlmqtt_client_config_add_server(config, uri, 0));
    OK(nlmqtt_client_config_set(config, "keepalive", "1"));
    OK(nlmqtt_client_config_set(config, "client_id", "clock"));
    OK(nlmqtt_client_config_set(config, "reconnect_delay_min_ms", "10"));
    OK(nlmqtt_client_config_set(config, "reconnect_delay_max_ms", "50"));
    OK(nlmqtt_client_new(runtime, config, &callbacks, &client));
    OK(nlmqtt_client_subscribe(client, "t", 1, NULL, NULL, NULL, NULL));
    OK(nlmqtt_client_start(client));
    OK(nlmqtt_client_connect_wait(client, 10000));
    OK(nlmqtt_client_flush(client, 10000));
    OK(nlmqtt_runtime_post_delayed(runtime, 3600000, too_early, &told, NULL, &task));
    OK(nlmqtt_properties_add_u32(properties, NLMQTT_PROPERTY_MESSAGE_EXPIRY_INTERVAL, 3600));
    OK(nlmqtt_server_publish(server, "kept", "x", 1, 1, true, properties));
    shift(year_s);
    /* Longer than 1.5 times the keep-alive. */
    sleep_ms(2500);
    CHECK(seen(&told.connected) == 1 && seen(&told.disconnected) == 0 && seen(&told.early) == 0);
    OK(nlmqtt_server_stat(server, "retained_messages", &retained));
    CHECK_EQ(retained, 1);
    OK(nlmqtt_client_publish(client, "t", "x", 1, 1, false, NULL));
    wait_until(&told.messages, 1);
    /* A lost connection comes back in its time, a call that waits ends in its time. */
    OK(nlmqtt_server_kick(server, "clock", 0, false));
    wait_until(&told.connected, 2);
    shift(0);
    CHECK(system_time(CLOCK_MONOTONIC, &start) == 0);
    OK(nlmqtt_server_stop(server, 0, 100));
    wait_until(&told.disconnected, 2);
    CHECK_EQ(nlmqtt_client_connect_wait(client, 200), NLMQTT_TIMEOUT);
    CHECK(system_time(CLOCK_MONOTONIC, &end) == 0);
    CHECK(end.seconds - start.seconds < 10);
    CHECK_EQ(seen(&told.early), 0);
    OK(nlmqtt_runtime_cancel(runtime, task));
    nlmqtt_client_free(client);
    nlmqtt_server_free(server);
    nlmqtt_client_config_free(config);
    nlmqtt_properties_free(properties);
    nlmqtt_runtime_free(runtime);
}

int main(void)
{
    const long year_s = 366L * 86400;
    a_jump_is_not_noticed(year_s);
    a_jump_is_not_noticed(-year_s);
    /* The library, and nobody else, asked here for its time: the jumps were real for it. */
    CHECK(seen(&other_calls) > 0);
    printf("ok runtime_clock: %d questions for the wall time, %d for another\n", seen(&wall_calls), seen(&other_calls));
    return 0;
}
