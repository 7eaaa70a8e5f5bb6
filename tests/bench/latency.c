/* Times from write to read, see latency.h. */
#include "latency.h"

#include <string.h>

enum { STEPS = 32, STEPS_BITS = 5, POWERS = 40 };

static uint64_t buckets[POWERS * STEPS];
static uint64_t entered;

static unsigned bucket_of(uint64_t duration_ns)
{
    unsigned power = 0;
    while (duration_ns >> power >= 2 * STEPS && power < POWERS - 2)
        power++;
    /* Below 2 * STEPS every nanosecond has a bucket of its own. */
    return power * STEPS + (unsigned)(duration_ns >> power) % (2 * STEPS);
}

static double bucket_end_ns(unsigned bucket)
{
    unsigned power = bucket < 2 * STEPS ? 0 : bucket / STEPS - 1;
    return (double)(bucket - power * STEPS + 1) * (double)(1ull << power);
}

void latency_enter(uint64_t duration_ns)
{
    if (duration_ns >> (POWERS - 2 + STEPS_BITS))
        duration_ns = (1ull << (POWERS - 2 + STEPS_BITS)) - 1;
    buckets[bucket_of(duration_ns)]++;
    entered++;
}

void latency_reset(void)
{
    memset(buckets, 0, sizeof buckets);
    entered = 0;
}

double latency_us(double share)
{
    uint64_t below = 0;
    for (unsigned bucket = 0; bucket < POWERS * STEPS; bucket++) {
        below += buckets[bucket];
        if (below && (double)below >= share * (double)entered)
            return bucket_end_ns(bucket) / 1000;
    }
    return 0;
}
