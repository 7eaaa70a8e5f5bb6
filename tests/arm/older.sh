#!/usr/bin/env bash
# Devices with an older system: the library for glibc 2.28 and for musl, on aarch64 and armv7 hard-float. Zig's C compiler
# (a Python package) has both C libraries in every version; for musl, Rust's standard library is built from its source.
# Runs the C tests and traffic against the x86 build under qemu-user. musl is run linked statically only, because there is
# no loader for it here. older.sh [TEXT]: only the variants whose name has TEXT. After c-examples/run.sh --build-only; part of tests/run.sh --long.
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/arm/common.sh

# Rust target, Debian's name (for binutils and the loader), qemu's name, Zig's target.
variants=('aarch64-unknown-linux-gnu aarch64-linux-gnu aarch64 aarch64-linux-gnu.2.28'
    'armv7-unknown-linux-gnueabihf arm-linux-gnueabihf arm arm-linux-gnueabihf.2.28'
    'aarch64-unknown-linux-musl aarch64-linux-gnu aarch64 aarch64-linux-musl'
    'armv7-unknown-linux-musleabihf arm-linux-gnueabihf arm arm-linux-musleabihf')
zig=$here/zig

install_zig() {
    [ -x "$zig/bin/python" ] && "$zig/bin/python" -c 'import ziglang' 2>/dev/null && return
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        local sudo=''
        [ "$(id -u)" -eq 0 ] || sudo=sudo
        $sudo apt-get -qq update && $sudo apt-get -qq install -y --no-install-recommends python3-venv || return 1
    fi
    python3 -m venv "$zig" && "$zig/bin/pip" install -q ziglang==0.17.1
}

# A C compiler of the usual kind for Zig's target.
compiler() {
    printf '#!/bin/sh\nexec "%s" -m ziglang cc -target %s "$@"\n' "$zig/bin/python" "$1" >"$out/cc"
    chmod +x "$out/cc"
}

library() {
    export CC=$out/cc
    case $zig_target in
        *musl*)
            LIBRARIES='-lunwind -lc' RUSTC_BOOTSTRAP=1 CARGO='cargo -Zbuild-std=std,panic_unwind' \
                for_target cmake/install.sh --target "$rust_target" --prefix "$out/dist" ;;
        *)
            LIBRARIES='-lunwind -lutil -lrt -lpthread -lm -ldl -lc' for_target cmake/install.sh --target "$rust_target" --prefix "$out/dist" ;;
    esac
}

# Nothing newer than glibc 2.28 is asked for, by the library or by a program.
old_enough() {
    local newest
    newest=$(readelf -W --dyn-syms "$@" | grep -oE 'GLIBC_[0-9.]+' | sed 's/GLIBC_//' | sort -uV | tail -n 1)
    echo "newest: $newest"
    [ -n "$newest" ] && [ "$(printf '%s\n' 2.28 "$newest" | sort -V | tail -n 1)" = 2.28 ]
}

programs() {
    local name
    mkdir -p "$out/static/bin" "$out/shared/bin" "$out/shared/lib"
    for name in nlmqttd publish subscribe; do
        "$out/cc" -std=c99 -O2 "-I$out/dist/include" -o "$out/static/bin/$name" "c-examples/$name.c" "${archive[@]}" || return 1
        [ -n "$is_musl" ] || "$out/cc" -std=c99 -O2 "-I$out/dist/include" -o "$out/shared/bin/$name" "c-examples/$name.c" \
            -L"$out/dist/lib" -lnlmqtt -lpthread -Wl,-rpath,'$ORIGIN/../lib' || return 1
    done
    cp -P "$out"/dist/lib/libnlmqtt.so* "$out/shared/lib/"
}

c_test() {
    "$out/cc" -std=c99 -Itests/c "-I$out/dist/include" -o "$out/$1" "tests/c/$1.c" "${archive[@]}" && timeout 300 $run "$out/$1"
}
second_archive() { # Unwinds through Zig's unwinder.
    "$rust_for_arm/bin/rustc" --edition 2024 --target "$rust_target" --crate-type staticlib -O -o "$out/libsecond.a" tests/package/second/second.rs &&
        "$out/cc" -std=gnu99 "-I$out/dist/include" -o "$out/second" tests/package/second/main.c "${archive[@]}" "$out/libsecond.a" && timeout 100 $run "$out/second"
}

variant() {
    local source
    read -r rust_target gnu machine zig_target <<<"$1"
    is_musl=''
    case $zig_target in *musl*) is_musl=1 ;; esac
    out=$here/$zig_target qemu=qemu-$machine-static passed=0 failed=0
    run="$qemu -L /usr/$gnu"
    mkdir -p "$out"
    compiler "$zig_target"
    archive=("$out/dist/lib/libnlmqtt.a" -lunwind -lpthread -lm -ldl ${is_musl:+-static})
    if check "library for $zig_target" library && check "programs for $zig_target" programs; then
        check "traffic: ARM client ($zig_target), x86 server" traffic x86 "$out/static"
        check "traffic: x86 client, ARM server ($zig_target)" traffic "$out/static" x86
        if [ -z "$is_musl" ]; then
            check "glibc 2.28 is new enough" old_enough "$out/dist/lib/libnlmqtt.so.1" "$out"/s*/bin/*
            check "traffic: ARM client ($zig_target, shared), x86 server" traffic x86 "$out/shared"
            check "two Rust archives in one program ($zig_target)" second_archive
        fi
        for source in tests/c/*.c; do
            case $(basename "$source" .c) in
                runtime_options) continue ;; # as in run.sh
                runtime_dlopen) continue ;;  # asks glibc's allocator, and loads: nothing for a static program
                runtime_clock | client_clock) [ -z "$is_musl" ] || continue ;; # call the kernel by a number musl does not name on 32 bits
            esac
            check "$(basename "$source" .c) ($zig_target)" c_test "$(basename "$source" .c)"
        done
    fi
    echo "older: $passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}

install_missing && install_zig && cmake/toolchains/rust-for-arm.sh "$rust_for_arm" --source || exit 1
status=0
for row in "${variants[@]}"; do [[ $row != *"${1:-}"* ]] || (variant "$row") || status=1; done
exit $status
