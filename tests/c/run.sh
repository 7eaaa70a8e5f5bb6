#!/usr/bin/env bash
# The C tests: built as C99 against the installed package, run plain (shared library), under
# Valgrind (static archive), and with the library built under AddressSanitizer with leak check; compiled as C++11, too.
# Three of them are made from the header: every function in every callback, every handle freed in every callback, NULL in every pointer
# parameter (matrix/).
# tests/c/run.sh [--no-asan]
set -uo pipefail
cd "$(dirname "$0")/../.."
dist=$PWD/target/dist
out=$PWD/target/c-tests
passed=0 failed=0
mkdir -p "$out"
flags=(-std=c99 -g -Wall -Wextra -Wpedantic -Werror -Itests/c)
export LIBRARY_UNDER_TEST="$dist/lib/libnlmqtt.so.1" # for the test that loads it by itself
# Threads take turns fairly: else one may wait for seconds under load. Of what is done in every mode of a runtime, a part is enough.
valgrind=(env MATRIX_SHORT=1 valgrind -q --fair-sched=yes --suppressions=tests/c/valgrind.supp --child-silent-after-fork=yes --error-exitcode=99 --leak-check=full
    --show-leak-kinds=definite,possible --errors-for-leak-kinds=definite)
libraries=(-lgcc_s -lutil -lrt -lpthread -lm -ldl)

lane=''
check() { # NAME COMMAND...; the command may be a function of this script
    local name=$1 log=$out/log$lane limit=(timeout 300)
    shift
    if declare -F "$1" >/dev/null; then limit=(); fi
    if "${limit[@]}" "$@" >"$log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL $name"
        # What the program said, then what a checker said last.
        grep -v '^==' "$log" | tail -n 10
        grep '^==' "$log" | tail -n 20
    fi
}

exported() { nm -D --defined-only "$dist/lib/libnlmqtt.so.1" | awk '$2 == "T" {print $3}' | sed 's/@.*//' | sort; }
declared() { grep -oE '^[a-z_ *0-9A-Z]*\bnlmqtt_[a-z0-9_]+\(' include/nlmqtt.h | grep -v '^typedef' | grep -oE 'nlmqtt_[a-z0-9_]+\(' | tr -d '(' | sort -u; }
check "exported symbols are the header's functions" diff <(declared) <(exported)
generator_is_watched() { # A function, its parameter and its callback that nobody knows are found; a new field of a table is missed by matrix.c.
    sed 's/^uint32_t nlmqtt_version_number(void);/&\nvoid nlmqtt_strange(nlmqtt_task_fn tells, int strangeness);/' include/nlmqtt.h >"$out/strange.h"
    HEADER=$out/strange.h tests/c/matrix/generate.py "$out/strange" 2>"$out/told" && return 1
    grep -q 'nothing for nlmqtt_strange: int strangeness' "$out/told" && grep -q 'nlmqtt_strange does nothing for NULL' "$out/told" && grep -q 'scenario.h never uses on_strange_tells' "$out/told" && grep -q 'frees_scenes.h never uses on_strange_tells' "$out/told"
}
uncalled() { for name in $(declared); do grep -qE "\b$name\b" tests/c/*.[ch] c-examples/*.c || echo "$name"; done; }
check "every function is called by a C program" diff <(uncalled) /dev/null
check "pkg-config finds the package" env PKG_CONFIG_PATH="$dist/lib/pkgconfig" pkg-config --exists nlmqtt

asan=''
if [ "${1:-}" != --no-asan ]; then
    if RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo rustc --locked --lib --crate-type staticlib --features quic \
        --target x86_64-unknown-linux-gnu --target-dir target/asan >"$out/asan.log" 2>&1; then
        asan=target/asan/x86_64-unknown-linux-gnu/debug/libnlmqtt.a
    else
        failed=$((failed + 1))
        echo "FAIL the library under AddressSanitizer"
        tail -n 20 "$out/asan.log"
    fi
fi

check "the header is known to the programs made from it" tests/c/matrix/generate.py "$out/generated"
check "a function or callback that is not known is found" generator_is_watched
# What a program does over other transports: under AddressSanitizer, whose library has QUIC, or else plain.
over() { # NAME SCHEME...
    local name=$1 scheme program=$out/$1-quic
    [ -z "$asan" ] || program=$out/$name-asan
    for scheme in "${@:2}"; do check "$name over $scheme" env ASAN_OPTIONS=detect_leaks=1 NLMQTT_TEST_SCHEME="$scheme" "$program"; done
}
with_quic() {
    cc "${flags[@]}" -I"$dist/include" -o "$out/$1-quic" "tests/c/$1.c" target/dist-quic/lib/libnlmqtt.a "${libraries[@]}"
}
program() { # SOURCE
    local source=$1 name
    name=$(basename "$source" .c)
    check "$name: compiles as C++" c++ -x c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -Itests/c -I"$dist/include" -fsyntax-only "$source"
    check "$name: builds, shared" cc "${flags[@]}" -I"$dist/include" -o "$out/$name" "$source" -Wl,--as-needed -L"$dist/lib" -lnlmqtt -lpthread -ldl -Wl,-rpath,"$dist/lib"
    check "$name" "$out/$name"
    check "$name: builds, static" cc "${flags[@]}" -I"$dist/include" -o "$out/$name-static" "$source" "$dist/lib/libnlmqtt.a" "${libraries[@]}"
    check "$name: valgrind" "${valgrind[@]}" "$out/$name-static"
    if [ -n "$asan" ]; then
        check "$name: builds, sanitized" cc "${flags[@]}" -fsanitize=address -I"$dist/include" -o "$out/$name-asan" "$source" "$asan" "${libraries[@]}"
        check "$name: address sanitizer" env ASAN_OPTIONS=detect_leaks=1 "$out/$name-asan"
    fi
    case $name in
        # Those whose other side is the library's own server. Over QUIC, which the library of the programs above has not, under Valgrind, too.
        client_auth | client_callbacks | client_life | client_messages | client_request)
            check "$name: builds, with QUIC" with_quic "$name"
            over "$name" mqtts ws wss rudp rudps quic
            check "$name over quic: valgrind" env NLMQTT_TEST_SCHEME=quic "${valgrind[@]}" "$out/$name-quic"
            # Bare packets have no good-bye, and there a client of MQTT 3.1.1 has to learn at once that it was thrown out.
            [ "$name" = client_messages ] || over "$name" udp
            ;;
        # These are of TLS, over which they have run.
        client_clock | client_tls_refusals)
            check "$name: builds, with QUIC" with_quic "$name"
            over "$name" wss rudps quic
            ;;
    esac
}

# Three at a time: they wait more than they compute. Each lane takes the next program that nobody has taken, the longest first.
check "the library with QUIC" tests/quic_library.sh
rm -rf "$out/taken"
mkdir "$out/taken"
work() {
    lane=$1 passed=0 failed=0
    for source in "$out"/generated/*.c tests/c/*.c; do
        if mkdir "$out/taken/$(basename "$source")" 2>/dev/null; then program "$source"; fi
    done
    echo "c: $passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
lanes=()
for lane in 1 2 3; do
    work "$lane" &
    lanes+=($!)
done
status=0
for lane in "${lanes[@]}"; do wait "$lane" || status=1; done
echo "c: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$status" -eq 0 ]
