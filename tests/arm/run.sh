#!/usr/bin/env bash
# The ARM part: fetches the cross compilers, builds the library and the C programs for aarch64 and armv7 hard-float, and
# runs the pure part of the Rust tests (with QUIC), the C tests and the examples under qemu-user, linked shared and static, with
# traffic over loopback against the x86 build: ARM publishes, x86 serves, ARM subscribes, and the other way round.
#
# Both targets are worked on at the same time, each in target/arm/TARGET, beside the x86 build in target/dist. run.sh [--long]: the
# small profile for aarch64, too, which is there for boards of 32 bits first; every C test in both linkages; WebSocket's cases.
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/arm/common.sh
[ "${1:-}" = --long ] && long=1 || long=''

# Rust target, Debian's name, qemu's name, toolchain file.
targets=('aarch64-unknown-linux-gnu aarch64-linux-gnu aarch64 aarch64-linux-gnu'
    'armv7-unknown-linux-gnueabihf arm-linux-gnueabihf arm armv7-linux-gnueabihf')
# Below `net` nothing does I/O; these rooms have to behave the same on every machine.
pure=(base:: topic:: codec:: stack:: proto:: route:: broker:: config::)
# One build serves the tests of the default features and those of QUIC.
features=(--features quic)
# These two compare numbers of threads; qemu-user has threads of its own, and one that ended is seen for a while.
not_under_qemu=(runtime_options runtime_dlopen)

# Compiled while the C programs run, which wait more than they compute. WebSocket's cases move so many megabytes that they are for --long.
rust_targets=(--lib --test codec_random --test rudp ${long:+--test websocket})
rust_built() { for_target cargo test --locked --no-run "${features[@]}" --target "$rust_target" "${rust_targets[@]}"; }

rust_tests() {
    local log=$out/rust.log status=0 sum
    local tests=(for_target cargo test --locked --no-fail-fast "${features[@]}" --target "$rust_target")
    "${tests[@]}" --lib -- "${pure[@]}" >"$log" 2>&1 || status=1
    # Seeds and frames are fewer: qemu is slow, and more of the same is run on x86. What is measured in virtual time is the same everywhere.
    RUDP_SEEDS=20 RUDP_FRAMES=10000 "${tests[@]}" "${rust_targets[@]:1}" -- --skip bench:: >>"$log" 2>&1 || status=1
    sum() { grep '^test result' "$log" | grep -oE "[0-9]+ $1" | awk '{s += $1} END {print s + 0}'; }
    passed=$((passed + $(sum passed))) failed=$((failed + $(sum failed)))
    if [ $status -ne 0 ]; then
        [ "$(sum failed)" -gt 0 ] || failed=$((failed + 1))
        echo "FAIL $rust_target: Rust tests"
        grep -vE '^test .* ok$' "$log" | tail -n 40
    fi
}

# The examples, once with each library, from the installed package by its cmake files.
examples() {
    local library
    for library in nlmqtt static; do
        cmake -S c-examples -B "$out/examples-$library" -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$out/dist" \
            -DCMAKE_TOOLCHAIN_FILE="$root/cmake/toolchains/$toolchain.cmake" -DNLMQTT_LIBRARY="nlmqtt::$library" \
            -DCMAKE_INSTALL_PREFIX="$out/$library" &&
            cmake --build "$out/examples-$library" && cmake --install "$out/examples-$library" || return 1
    done
    # The shared programs look for the library beside them.
    mkdir -p "$out/nlmqtt/lib" && cp -P "$out"/dist/lib/libnlmqtt.so* "$out/nlmqtt/lib/"
}

is_for_target() {
    file=$("$gnu-readelf" -h "$1" | grep Machine:)
    case $qemu in *aarch64*) [[ $file == *AArch64* ]] ;; *) [[ $file == *ARM* ]] ;; esac
}

# What the linkage changes, it changes for all programs alike: they run in one and the other by turns.
c_tests() {
    local source name turn=0
    for source in tests/c/*.c; do
        name=$(basename "$source" .c)
        case " ${not_under_qemu[*]} " in *" $name "*) continue ;; esac
        turn=$((1 - turn))
        if [ -n "$long" ] || [ $turn = 1 ]; then
            check "$name: builds, shared" "$gnu-gcc" "${c_flags[@]}" -o "$out/$name" "$source" -Wl,--as-needed -L"$out/dist/lib" -lnlmqtt -lpthread -ldl \
                "-Wl,-rpath,$out/dist/lib" && check "$name: shared" timeout 300 $run "$out/$name"
        fi
        if [ -n "$long" ] || [ $turn = 0 ]; then
            check "$name: builds, static" "$gnu-gcc" "${c_flags[@]}" -o "$out/$name-static" "$source" "$out/dist/lib/libnlmqtt.a" -lpthread -lm -ldl &&
                check "$name: static" timeout 300 $run "$out/$name-static"
        fi
    done
}

# Client and server in C over every transport, with the archive that the Rust tests have left: what is installed has no QUIC.
transports_test() {
    local program=$out/$1-all scheme
    check "$1: builds, with QUIC" "$gnu-gcc" "${c_flags[@]}" -o "$program" "tests/c/$1.c" "$out/cargo/$rust_target/debug/deps/libnlmqtt.a" -lpthread -lm -ldl || return
    for scheme in mqtts ws wss rudp rudps quic; do check "$1 over $scheme" env NLMQTT_TEST_SCHEME=$scheme timeout 300 $run "$program"; done
}

# qemu-user has one thread of its own.
embed() { timeout 100 $run "$out/nlmqtt/bin/embed" | grep '10 readings received on [12] thread'; }

# The hello program by cmake and by pkg-config, the ABI, the sizes, the Debian packages.
consumes() { CC=$gnu-gcc RUN="$run" tests/package/consume.sh "$out/dist" -DCMAKE_TOOLCHAIN_FILE="$root/cmake/toolchains/$toolchain.cmake"; }
abi() {
    local model=lp64
    [ "$machine" = arm ] && model=ilp32
    tests/package/abi.py "tests/package/abi-$model.txt" "$gnu-gcc" "$gnu-nm"
}
sizes() { tests/package/sizes.py "$1" "${toolchain%%-*}" "$2/lib/libnlmqtt.so.1"; }
debian() {
    for_target cmake/debian.sh --target "$rust_target" --out "$out/debian" || return 1
    [ "$(dpkg-deb --field "$out"/debian/libnlmqtt1_*.deb Architecture)" = "$1" ] &&
        [ "$(dpkg-deb --contents "$out"/debian/nlmqttd_*.deb | grep -cE '/usr/(s?bin)/nlmqtt')" -eq 3 ]
}
# Another Rust archive beside ours, which unwinds.
second_archive() {
    "$rust_for_arm/bin/rustc" --edition 2024 --target "$rust_target" --crate-type staticlib -O -o "$out/libsecond.a" tests/package/second/second.rs &&
        "$gnu-gcc" -std=gnu99 "-I$out/dist/include" -o "$out/second" tests/package/second/main.c "$out/dist/lib/libnlmqtt.a" "$out/libsecond.a" \
            -lpthread -lm -ldl && timeout 100 $run "$out/second"
}

# The x86 build goes on beside those for ARM; it says at the end how it went.
x86_built() {
    until [ -e "$here/x86.status" ]; do sleep 1; done
    [ "$(cat "$here/x86.status")" = 0 ] || { cat "$here/x86.log"; return 1; }
}

# Everything for one target, in a subshell; ends with the line that tests/run.sh adds up.
target() {
    read -r rust_target gnu machine toolchain <<<"$1"
    out=$here/$rust_target qemu=qemu-$machine-static passed=0 failed=0
    run="$qemu -L /usr/$gnu" c_flags=(-std=c99 -g -Wall -Wextra -Wpedantic -Werror -Itests/c "-I$out/dist/include")
    mkdir -p "$out"
    local building
    if check "library" for_target cmake/install.sh --target "$rust_target" --prefix "$out/dist" && check "examples build" examples; then
        for file in dist/lib/libnlmqtt.so.1 nlmqtt/bin/nlmqttd static/bin/nlmqttd; do check "$file is ARM" is_for_target "$out/$file"; done
        rust_built >"$out/rust-build.log" 2>&1 &
        building=$!
        check "x86 programs" x86_built
        for side in nlmqtt static; do
            check "traffic: ARM client ($side), x86 server" traffic x86 "$out/$side"
            check "traffic: x86 client, ARM server ($side)" traffic "$out/$side" x86
        done
        check "embed on one thread" embed
        check "cmake and pkg-config" consumes
        check "the ABI is the committed one" abi
        check "two Rust archives in one program" second_archive
        check "Debian packages" debian "$([ "$machine" = arm ] && echo armhf || echo arm64)"
        check "size, release" sizes release "$out/dist"
        if [ -n "$long" ] || [ "$machine" = arm ]; then
            check "small profile" for_target cmake/install.sh --target "$rust_target" --prefix "$out/small" --profile small &&
                check "size, small" sizes small "$out/small"
        fi
        c_tests
    fi
    [ -z "${building:-}" ] || wait "$building"
    rust_tests
    transports_test client_messages
    echo "$rust_target: $(du -L -k "$out/dist/lib/libnlmqtt.so.1" | cut -f 1) KiB shared object, $("$rust_for_arm/bin/rustc" --version)"
    echo "arm: $passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}

install_missing || exit 1
cmake/toolchains/rust-for-arm.sh "$rust_for_arm" || exit 1
rm -f "$here/x86.status"
(c-examples/run.sh --build-only >"$here/x86.log" 2>&1; echo $? >"$here/x86.status") &
jobs=($!)
for row in "${targets[@]}"; do
    (target "$row") >"$here/${row%% *}.log" 2>&1 &
    jobs+=($!)
done
status=0
for job in "${jobs[@]}"; do wait "$job" || status=1; done
for row in "${targets[@]}"; do cat "$here/${row%% *}.log"; done
exit $status
