#!/usr/bin/env bash
# nlmqtt.hpp: compiles alone in every standard, with and without exceptions; nothing of nlmqtt.h is missing in it; the C++ tests
# run plain (shared library), under Valgrind (static archive), and with the library built under AddressSanitizer with leak check;
# the example works. After c-examples/run.sh --build-only.   tests/cpp/run.sh [--no-asan]
set -uo pipefail
cd "$(dirname "$0")/../.."
dist=$PWD/target/dist
out=$PWD/target/cpp-tests
passed=0 failed=0
mkdir -p "$out"
flags=(-g -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror)
libraries=(-lgcc_s -lutil -lrt -lpthread -lm -ldl)
bare=(-fno-exceptions -fno-rtti)

check() { # NAME COMMAND...
    local name=$1 log=$out/log
    shift
    if timeout 300 "$@" >"$log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL $name"
        tail -n 20 "$log"
    fi
}

check "nothing of nlmqtt.h is missing" tests/cpp/complete.sh
found() { # What complete.sh looks for, it finds.
    sed 's/nlmqtt_version_number(/nlmqtt_version_gone(/; s/(\*tick)/(*tock)/; s/bool newest_only;/bool newest;/' include/nlmqtt.h >"$out/bad.h"
    tests/cpp/complete.sh "$out/bad.h" >"$out/found"
    [ "$(sed 's/.*: //' "$out/found" | tr '\n' ' ')" = "nlmqtt_version_gone nlmqtt_server_hooks.tock nlmqtt_publish_options.newest " ]
}
export -f found
export out
check "what is missing would be found" bash -c found

# The header alone, and every header of it first.
for header in nlmqtt.hpp nlmqtt/error.hpp nlmqtt/callback.hpp nlmqtt/message.hpp nlmqtt/runtime.hpp nlmqtt/client_config.hpp \
    nlmqtt/client.hpp nlmqtt/listener_config.hpp nlmqtt/server_config.hpp nlmqtt/hooks.hpp nlmqtt/server.hpp; do
    echo "#include <$header>" >"$out/alone.cpp"
    check "$header compiles alone" c++ -std=c++11 "${flags[@]}" -I"$dist/include" -fsyntax-only "$out/alone.cpp"
done
# The tests use what is there, in each standard.
for standard in 11 14 17 20; do
    for source in tests/cpp/*.cpp; do
        name=$(basename "$source" .cpp) style=()
        [ "$name" != returning ] || style=("${bare[@]}")
        check "$name: compiles as C++$standard" c++ -std=c++$standard "${flags[@]}" "${style[@]}" -I"$dist/include" -fsyntax-only "$source"
    done
done
both() { # Both styles in one program, in either order of its halves.
    local order
    for order in 'throwing returning' 'returning throwing'; do
        set -- $order
        c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -I"$dist/include" -c -o "$out/throwing.o" tests/cpp/both/throwing.cpp &&
            c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -DNLMQTT_RETURN_ERRORS -I"$dist/include" -c -o "$out/returning.o" tests/cpp/both/returning.cpp &&
            c++ -o "$out/both" "$out/$1.o" "$out/$2.o" -L"$dist/lib" -lnlmqtt -Wl,-rpath,"$dist/lib" && "$out/both" || return 1
    done
}
export -f both
export dist
check "both styles in one program" bash -c both

asan=''
if [ "${1:-}" != --no-asan ]; then
    if RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo rustc --locked --lib --crate-type staticlib \
        --target x86_64-unknown-linux-gnu --target-dir target/asan >"$out/asan.log" 2>&1; then
        asan=target/asan/x86_64-unknown-linux-gnu/debug/libnlmqtt.a
    else
        failed=$((failed + 1))
        echo "FAIL the library under AddressSanitizer"
        tail -n 20 "$out/asan.log"
    fi
fi
for source in tests/cpp/*.cpp; do
    name=$(basename "$source" .cpp) style=(-std=c++11)
    [ "$name" != returning ] || style+=("${bare[@]}")
    build=(c++ "${style[@]}" "${flags[@]}" -I"$dist/include")
    check "$name: builds, shared" "${build[@]}" -o "$out/$name" "$source" -L"$dist/lib" -lnlmqtt -lpthread -Wl,-rpath,"$dist/lib"
    check "$name" "$out/$name"
    check "$name: builds, static" "${build[@]}" -o "$out/$name-static" "$source" "$dist/lib/libnlmqtt.a" "${libraries[@]}"
    check "$name: valgrind" valgrind -q --suppressions=tests/c/valgrind.supp --error-exitcode=99 --leak-check=full --show-leak-kinds=definite,possible \
        --errors-for-leak-kinds=definite "$out/$name-static"
    if [ -n "$asan" ]; then
        check "$name: builds, sanitized" "${build[@]}" -fsanitize=address -o "$out/$name-asan" "$source" "$asan" "${libraries[@]}"
        check "$name: address sanitizer" env ASAN_OPTIONS=detect_leaks=1 "$out/$name-asan"
    fi
done

# A message through the gateway: published to it, it arrives above; what its rule forbids does not.
port_of() { sed -n 's/.*127\.0\.0\.1:\([0-9]*\).*/\1/p' "$1" | head -n 1; }
ready() { for _ in $(seq 600); do grep -q ready "$1" && return; sleep 0.1; done; return 1; }
gateway() {
    local broker gateway subscriber above below status=1
    "$dist/bin/nlmqttd" -p 0 >"$out/above" &
    broker=$!
    ready "$out/above"
    above=$(port_of "$out/above")
    "$dist/bin/gateway" "mqtt://127.0.0.1:$above" 0 >"$out/below" &
    gateway=$!
    ready "$out/below"
    below=$(port_of "$out/below")
    "$dist/bin/subscribe" -h 127.0.0.1 -p "$above" -q 1 -t 'gateway/#' -C 1 -W 60 -v >"$out/arrived" &
    subscriber=$!
    # The message is retained above, so that the subscriber may come later than it.
    "$dist/bin/publish" -h 127.0.0.1 -p "$below" -q 1 -r -t up/temperature -m 21 && wait "$subscriber" &&
        [ "$(cat "$out/arrived")" = "gateway/up/temperature 21" ] &&
        ! "$dist/bin/publish" -h 127.0.0.1 -p "$below" -V 5 -q 1 -t secret -m x && status=0
    kill "$subscriber" 2>/dev/null
    kill -TERM "$gateway" "$broker"
    wait "$gateway" || status=1
    wait "$broker"
    return $status
}
export -f gateway ready port_of
check "the example gateway" bash -c gateway
echo "cpp: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
