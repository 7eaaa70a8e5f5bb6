/* A board without a battery boots in 1970, when no certificate is valid yet. Its client is refused, tries again, and is let in once the
 * clock is set, without being told: in the end, or, where the kernel tells of it, at once; or at the first try, with a floor under the clock. The
 * program stands before the C library here: threads of the library under test get the time from the functions below. That the clock
 * was set the kernel says by cancelling a timer of the wall clock. The test is not to set that, so it looks for the timer among its own descriptors,
 * as the kernel describes them, and has it end, which makes it readable, too. */
#define _DEFAULT_SOURCE 1
#include "client_bench.h"

#include <dirent.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* 2020, and 2027: after the certificates began. */
#define FLOOR_TOO_LOW "1577836800"
#define FLOOR "1798761600"

static pthread_t test_thread;
static int has_booted;

static bool is_1970(clockid_t clock)
{
    return clock == CLOCK_REALTIME && __atomic_load_n(&has_booted, __ATOMIC_SEQ_CST) && !pthread_equal(pthread_self(), test_thread);
}

#ifdef __cplusplus
extern "C" {
#endif

int clock_gettime(clockid_t clock, struct timespec *time_out)
{
    return (int)syscall(SYS_clock_gettime, is_1970(clock) ? CLOCK_MONOTONIC : clock, time_out);
}

#ifdef SYS_clock_gettime64
/* Where time_t has 32 bits, the standard library of Rust asks this one. */
int __clock_gettime64(clockid_t clock, void *time_out);
int __clock_gettime64(clockid_t clock, void *time_out)
{
    return (int)syscall(SYS_clock_gettime64, is_1970(clock) ? CLOCK_MONOTONIC : clock, time_out);
}
#endif

#ifdef __cplusplus
}
#endif

static void boot(bool in_1970)
{
    __atomic_store_n(&has_booted, in_1970, __ATOMIC_SEQ_CST);
}

static const char *scheme(void)
{
    return has_tls() ? test_scheme() : "mqtts";
}

/* Is this descriptor a timer of the wall clock (0) that is cancelled when that is set (flags 1 and 2)? */
static bool is_clock_watch(const char *number)
{
    char path[64], line[128];
    bool is_real = false, is_cancelled = false;
    FILE *file;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%.16s", number);
    file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        is_real |= strcmp(line, "clockid: 0\n") == 0;
        is_cancelled |= strcmp(line, "settime flags: 03\n") == 0;
    }
    if (file)
        fclose(file);
    return is_real && is_cancelled;
}

/* How many of them there are, and one of them. */
static int clock_watches(int *fd_out)
{
    int count = 0;
    DIR *all = opendir("/proc/self/fdinfo");
    struct dirent *entry;
    CHECK(all != NULL);
    while ((entry = readdir(all)) != NULL) {
        if (is_clock_watch(entry->d_name)) {
            *fd_out = atoi(entry->d_name);
            count++;
        }
    }
    closedir(all);
    return count;
}

static void await_clock_watches(int count, int *fd_out)
{
    int turns;
    for (turns = 0; clock_watches(fd_out) != count; turns++) {
        CHECK(turns < 2000);
        usleep(10000);
    }
}

static nlmqtt_client_config *config_at(uint16_t port, const char *floor)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    char uri[64];
    snprintf(uri, sizeof uri, "%s://127.0.0.1:%u", scheme(), (unsigned)port);
    CHECK_OK(nlmqtt_client_config_add_server(config, uri, 0));
    CHECK_OK(nlmqtt_client_config_set_ca_pem(config, ca_pem));
    CHECK_OK(nlmqtt_client_config_set_reconnect_delay(config, 20, 50, true));
    if (floor)
        CHECK_OK(nlmqtt_client_config_set(config, "tls_clock_floor", floor));
    return config;
}

static void is_let_in_when_the_clock_is_set(uint16_t port, const char *floor)
{
    struct record record;
    nlmqtt_client_config *config = config_at(port, floor);
    record_init(&record);
    client_with(NULL, config, &record);
    boot(true);
    CHECK_OK(nlmqtt_client_start(record.client));
    AWAIT(&record, disconnected, 3);
    pthread_mutex_lock(&record.lock);
    CHECK(record.connected == 0 && record.cause == NLMQTT_CAUSE_TLS && record.retry_in_ms >= 0 && strstr(record.text, "this clock is wrong"));
    CHECK_STATUS(NLMQTT_TLS_NOT_YET_VALID, record.fault);
    CHECK(nlmqtt_status_is_transient(record.fault));
    pthread_mutex_unlock(&record.lock);
    boot(false);
    AWAIT(&record, connected, 1);
    nlmqtt_client_free(record.client);
    nlmqtt_client_config_free(config);
    record_end(&record);
}

/* The next try would be in half a minute at the earliest. */
static void is_let_in_at_once_when_the_kernel_tells(uint16_t port)
{
    const struct itimerspec at_once = {{0, 0}, {1, 0}};
    struct record record;
    int fd = -1;
    nlmqtt_client_config *config = config_at(port, NULL);
    CHECK_OK(nlmqtt_client_config_set_reconnect_delay(config, 60000, 60000, true));
    record_init(&record);
    client_with(NULL, config, &record);
    await_clock_watches(0, &fd);
    boot(true);
    CHECK_OK(nlmqtt_client_start(record.client));
    AWAIT(&record, disconnected, 1);
    await_clock_watches(1, &fd);
    boot(false);
    CHECK(timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &at_once, NULL) == 0);
    AWAIT(&record, connected, 1);
    await_clock_watches(0, &fd);
    nlmqtt_client_free(record.client);
    nlmqtt_client_config_free(config);
    record_end(&record);
}

static void is_let_in_above_the_floor(uint16_t port)
{
    struct record record;
    nlmqtt_client_config *config = config_at(port, FLOOR);
    record_init(&record);
    client_with(NULL, config, &record);
    boot(true);
    CHECK_OK(nlmqtt_client_start(record.client));
    AWAIT(&record, connected, 1);
    CHECK(record.disconnected == 0);
    boot(false);
    nlmqtt_client_free(record.client);
    nlmqtt_client_config_free(config);
    record_end(&record);
}

int main(void)
{
    struct server_files files;
    char uri[sizeof files.uri];
    uint16_t port;
    nlmqtt_server *server;
    test_thread = pthread_self();
    write_server_files(&files, "");
    snprintf(uri, sizeof uri, "%s%s", scheme(), strchr(files.uri, ':'));
    server = server_at(NULL, uri, &port);
    is_let_in_when_the_clock_is_set(port, NULL);
    is_let_in_when_the_clock_is_set(port, FLOOR_TOO_LOW);
    is_let_in_at_once_when_the_kernel_tells(port);
    is_let_in_above_the_floor(port);
    nlmqtt_server_free(server);
    remove_server_files(&files);
    printf("ok client_clock: %s\n", scheme());
    return 0;
}
