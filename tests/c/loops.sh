#!/usr/bin/env bash
# The examples of c-examples/loops on foreign loops: each is built against the installed package, brings 10 MB through a broker and a
# client on one loop, and has to see the loop's own timer meanwhile; with the library's work on the loop's thread, and beside it.
# After c-examples/run.sh --build-only.
set -uo pipefail
cd "$(dirname "$0")/../.."
dist=$PWD/target/dist
out=$PWD/target/loops
passed=0 failed=0
mkdir -p "$out"

check() { # NAME COMMAND...
    local name=$1
    shift
    if timeout 120 "$@" >"$out/log" 2>&1; then
        passed=$((passed + 1))
        tail -n 1 "$out/log"
    else
        failed=$((failed + 1))
        echo "FAIL $name"
        tail -n 20 "$out/log"
    fi
}

check "they are configured" cmake -S c-examples/loops -B "$out" -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$dist"
check "they build" cmake --build "$out"
for loop in plain_epoll libuv glib sd_event; do
    for mode in loop dispatch; do
        check "$loop, $mode" "$out/$loop" "$mode"
    done
done
check "Python's asyncio through ctypes" c-examples/loops/ctypes_client.py "$dist/lib/libnlmqtt.so.1"
echo "loops: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
