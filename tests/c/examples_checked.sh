#!/usr/bin/env bash
# The example programs under Valgrind, and with the library built under AddressSanitizer with leak check: all that examples.sh
# does with them, and neither has anything to report. After c-examples/run.sh --build-only.
set -uo pipefail
cd "$(dirname "$0")/../.."
dist=$PWD/target/dist
out=$PWD/target/c-tests/examples
programs=(nlmqttd publish subscribe sensor storage embed dispatch request)
libraries=(-lgcc_s -lutil -lrt -lpthread -lm -ldl)
passed=0 failed=0
rm -rf "$out"
mkdir -p "$out"/{plain,valgrind,asan,logs}

count() { # NAME STATUS
    if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL $1"; fi
}
build() { # FOLDER ARCHIVE FLAG...
    local folder=$1 archive=$2 program
    shift 2
    for program in "${programs[@]}"; do
        cc -std=c99 -g -Wall -Wextra -Wpedantic -Werror "$@" -I"$dist/include" -o "$out/$folder/$program" "c-examples/$program.c" "$archive" "${libraries[@]}" || return 1
    done
}
# What a checker has to say goes into files: the programs' own output is what examples.sh reads.
judged() { # NAME FOLDER
    EXAMPLES_BIN=$out/$2 tests/c/examples.sh
    count "$1: what the programs do" $?
    cat "$out"/logs/* 2>/dev/null | head -n 60
    [ -z "$(cat "$out"/logs/* 2>/dev/null)" ]
    count "$1: nothing to report" $?
    rm -f "$out"/logs/*
}

build plain "$dist/lib/libnlmqtt.a"
count "the programs build, static" $?
for program in "${programs[@]}"; do
    cat >"$out/valgrind/$program" <<END
#!/bin/sh
exec valgrind -q --suppressions="$PWD/tests/c/valgrind.supp" --log-file="$out/logs/%p" --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite "$out/plain/$program" "\$@"
END
    chmod +x "$out/valgrind/$program"
done
judged valgrind valgrind

RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo rustc --locked --lib --crate-type staticlib \
    --target x86_64-unknown-linux-gnu --target-dir target/asan >"$out/asan.log" 2>&1 &&
    build asan target/asan/x86_64-unknown-linux-gnu/debug/libnlmqtt.a -fsanitize=address
count "the programs build, sanitized" $?
export ASAN_OPTIONS=detect_leaks=1:log_path=$out/logs/asan
judged "address sanitizer" asan
echo "checked: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
