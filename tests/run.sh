#!/usr/bin/env bash
# The README's test command: installs what the tests need and runs all of them.
# Ends with a plain line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.."
passed=0 failed=0

# part NAME COMMAND...: runs one part; its last line "NAME: N passed, M failed" is added up. A part
# that prints none counts as one test.
part() {
    local name=$1 log status line start=$SECONDS
    shift
    log=$(mktemp)
    echo "== $name"
    "$@" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    local p f
    p=$(grep -oE '[0-9]+ passed' "$log" | awk '{s+=$1} END {print s+0}')
    f=$(grep -oE '[0-9]+ failed' "$log" | awk '{s+=$1} END {print s+0}')
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    if [ "$status" -eq 0 ] && [ "$p" -eq 0 ]; then p=1; fi
    passed=$((passed + p)) failed=$((failed + f))
    echo "== $name: $p passed, $f failed ($((SECONDS - start)) s)"
    rm -f "$log"
}

rust_tests() { cargo test --locked 2>&1 | grep -vE '^test .* \.\.\. ok$'; return "${PIPESTATUS[0]}"; }

part rust rust_tests
if [ -x tests/c/run.sh ]; then part c tests/c/run.sh; fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
