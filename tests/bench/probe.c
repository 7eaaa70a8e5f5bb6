/* Processor time and system calls of the broker, see probe.h.
 *
 * The clock of the process counts nanoseconds and includes the slice that is running now, where the files of
 * /proc lag by up to a tick. System calls are counted by the kernel's own tracepoint, which stops nobody. */
#define _GNU_SOURCE
#include "probe.h"
#include "conn.h"

#include <dirent.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { THREADS_MAX = 64 };

static clockid_t broker_clock;
static pid_t broker;
static int counters[THREADS_MAX];
static int counters_count;

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now) < 0)
        die("the broker is gone: %s", strerror(errno));
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void probe_open(pid_t pid)
{
    broker = pid;
    if (pid && clock_getcpuclockid(pid, &broker_clock) != 0)
        die("no processor clock for pid %d", (int)pid);
}

static long tracepoint_id(void)
{
    static const char *const paths[] = {"/sys/kernel/tracing/events/raw_syscalls/sys_enter/id",
                                        "/sys/kernel/debug/tracing/events/raw_syscalls/sys_enter/id"};
    long id = -1;
    for (size_t i = 0; i < sizeof paths / sizeof *paths && id < 0; i++) {
        FILE *file = fopen(paths[i], "r");
        if (!file)
            continue;
        if (fscanf(file, "%ld", &id) != 1)
            id = -1;
        fclose(file);
    }
    return id;
}

int probe_count_syscalls(pid_t pid)
{
    struct perf_event_attr attributes = {.type = PERF_TYPE_TRACEPOINT, .size = sizeof attributes, .inherit = 1};
    char path[64];
    struct dirent *entry;
    long id = tracepoint_id();
    DIR *threads;

    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    threads = id < 0 ? NULL : opendir(path);
    if (!threads)
        return 0;
    attributes.config = (uint64_t)id;
    while ((entry = readdir(threads)) && counters_count < THREADS_MAX) {
        if (entry->d_name[0] == '.')
            continue;
        counters[counters_count] = (int)syscall(SYS_perf_event_open, &attributes, atoi(entry->d_name), -1, -1, 0);
        if (counters[counters_count] < 0)
            break;
        counters_count++;
    }
    closedir(threads);
    return !entry && counters_count > 0;
}

Sample probe_sample(void)
{
    Sample sample = {.at_ns = now_ns(), .own_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID)};
    if (broker)
        sample.broker_cpu_ns = clock_ns(broker_clock);
    for (int i = 0; i < counters_count; i++) {
        uint64_t count;
        if (read(counters[i], &count, sizeof count) != sizeof count)
            die("cannot read the count of system calls: %s", strerror(errno));
        sample.syscalls += count;
    }
    return sample;
}
