/* Loss, duplicates and order, see ledger.h.
 *
 * A publisher never runs ahead of its slowest subscriber by more than its credit, so a gap is never longer than
 * that, and a list searched from the front is enough. */
#include "ledger.h"
#include "conn.h"

#include <stdlib.h>
#include <string.h>

static void add_missing(Ledger *ledger, uint32_t sequence)
{
    if (ledger->missing_count == ledger->missing_size) {
        ledger->missing_size = ledger->missing_size ? 2 * ledger->missing_size : 64;
        ledger->missing = realloc(ledger->missing, ledger->missing_size * sizeof *ledger->missing);
        if (!ledger->missing)
            die("out of memory");
    }
    ledger->missing[ledger->missing_count++] = sequence;
}

static bool remove_missing(Ledger *ledger, uint32_t sequence)
{
    for (uint32_t i = 0; i < ledger->missing_count; i++) {
        if (ledger->missing[i] != sequence)
            continue;
        ledger->missing_count--;
        memmove(ledger->missing + i, ledger->missing + i + 1,
                (ledger->missing_count - i) * sizeof *ledger->missing);
        return true;
    }
    return false;
}

bool ledger_enter(Ledger *ledger, uint32_t sequence)
{
    if (sequence < ledger->next) {
        if (!remove_missing(ledger, sequence)) {
            ledger->duplicates++;
            return false;
        }
        ledger->out_of_order++;
    } else {
        while (ledger->next < sequence)
            add_missing(ledger, ledger->next++);
        ledger->next++;
    }
    ledger->received++;
    return true;
}
