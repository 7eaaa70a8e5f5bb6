/* Times from write to read, in buckets: a thirty-second of a power of two wide, so 3 % is the error. */
#ifndef BENCH_LATENCY_H
#define BENCH_LATENCY_H

#include <stdint.h>

void latency_enter(uint64_t duration_ns);

/* Forgets what was entered so far. */
void latency_reset(void);

/* The time that `share` (0 to 1) of all that was entered did not exceed, in microseconds; 0 when nothing was. */
double latency_us(double share);

#endif
