/* What one subscriber has received of one publisher: loss, duplicates, order. Exact, and free when all is well. */
#ifndef BENCH_LEDGER_H
#define BENCH_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint64_t received;          /* distinct messages */
    uint64_t duplicates;
    uint64_t out_of_order;      /* arrived after a later one */
    uint32_t next;              /* one above the highest sequence seen */
    uint32_t *missing;          /* sequences below `next` that have not come (yet) */
    uint32_t missing_count, missing_size;
} Ledger;

/* Enters a sequence; false when it is a duplicate. */
bool ledger_enter(Ledger *ledger, uint32_t sequence);

#endif
