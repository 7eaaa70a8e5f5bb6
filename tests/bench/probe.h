/* What the broker has cost so far: processor time and system calls, read from outside. */
#ifndef BENCH_PROBE_H
#define BENCH_PROBE_H

#include <stdint.h>
#include <sys/types.h>

typedef struct {
    uint64_t at_ns;             /* wall clock */
    uint64_t broker_cpu_ns;     /* user + system, all threads; 0 without a broker pid */
    uint64_t own_cpu_ns;
    uint64_t syscalls;          /* of all threads; 0 unless counted */
} Sample;

/* `pid` 0: sample only ourselves. Counting needs the right to open tracepoints; false when we do not have it. */
void probe_open(pid_t pid);
int probe_count_syscalls(pid_t pid);
Sample probe_sample(void);

#endif
