#!/usr/bin/env bash
# What is installed is whole: symbols, archive, every way to build against it, manual, man pages, ABI, Debian packages,
# the service, recipes, sizes. After c-examples/run.sh --build-only.
set -uo pipefail
cd "$(dirname "$0")/../.."
dist=$PWD/target/dist
out=$PWD/target/package
tests=$PWD/tests/package
passed=0 failed=0
mkdir -p "$out"

install_missing() {
    local missing=() pair sudo=''
    for pair in doxygen:doxygen mandoc:mandoc systemd-analyze:systemd dpkg-deb:dpkg unshare:util-linux cmake:cmake make:make \
        pkg-config:pkg-config python3:python3 objdump:binutils; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} -eq 0 ] && return
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    $sudo apt-get -qq update
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}"
}

check() { # NAME COMMAND...
    local name=$1
    shift
    if "$@" >"$out/log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL $name"
        tail -n 20 "$out/log"
    fi
}

symbols() {
    local table
    table=$(readelf -W --dyn-syms "$dist/lib/libnlmqtt.so.1" | awk '$5 == "GLOBAL" && $7 != "UND" {print $8}')
    [ "$(grep -c '^nlmqtt_.*@@NLMQTT_1$' <<<"$table")" -gt 100 ] || return 1
    # The node itself is the only other name.
    [ "$(grep -v '@@NLMQTT_1$' <<<"$table")" = NLMQTT_1 ]
}
dynamic() {
    readelf -d "$dist/lib/libnlmqtt.so.1" >"$out/dynamic"
    grep -q 'soname: \[libnlmqtt.so.1\]' "$out/dynamic" && grep -q NODELETE "$out/dynamic" && ! grep -qE 'RPATH|RUNPATH|TEXTREL' "$out/dynamic"
}
archive() { [ -z "$(nm -g --defined-only "$dist/lib/libnlmqtt.a" | awk 'NF == 3 && $3 !~ /^nlmqtt_/')" ]; }

# The prefix is moved away from where it was installed to.
moved() {
    rm -rf "$out/moved"
    mkdir -p "$out/moved/away"
    cp -a "$dist/include" "$dist/lib" "$out/moved/away/"
    "$tests/consume.sh" "$out/moved/away"
}

# The example programs by pkg-config alone, shared and without any shared object, and a message through them.
by_pkg_config() {
    local name kind flags folder port broker
    local -x PKG_CONFIG_PATH=$dist/lib/pkgconfig LD_LIBRARY_PATH=$dist/lib
    for kind in shared static; do
        folder=$out/by-pkg-config-$kind
        mkdir -p "$folder"
        flags=$(pkg-config --cflags --libs nlmqtt)
        [ $kind = shared ] || flags="-static $(pkg-config --static --cflags --libs nlmqtt)"
        for name in nlmqttd publish subscribe; do cc -std=c99 -o "$folder/$name" "c-examples/$name.c" $flags -lpthread || return 1; done
        "$folder/nlmqttd" -p 0 >"$folder/log" &
        broker=$!
        for _ in $(seq 100); do grep -q ready "$folder/log" && break; sleep 0.1; done
        port=$(sed -n 's/.*127.0.0.1:\([0-9]*\).*/\1/p' "$folder/log")
        "$folder/publish" -h 127.0.0.1 -p "$port" -q 1 -r -t by/pkg-config -m "$kind" &&
            [ "$("$folder/subscribe" -h 127.0.0.1 -p "$port" -q 1 -t by/pkg-config -C 1 -W 60)" = "$kind" ] || { kill "$broker"; return 1; }
        kill -TERM "$broker"
        wait "$broker" || return 1
    done
}

second_archive() {
    rustc --edition 2024 --crate-type staticlib -O -o "$out/libsecond.a" tests/package/second/second.rs
    # Neither order of the two may matter.
    cc -std=gnu99 -I"$dist/include" -o "$out/first-second" tests/package/second/main.c "$dist/lib/libnlmqtt.a" "$out/libsecond.a" -lpthread -lm -ldl &&
        cc -std=gnu99 -I"$dist/include" -o "$out/second-first" tests/package/second/main.c "$out/libsecond.a" "$dist/lib/libnlmqtt.a" -lpthread -lm -ldl &&
        "$out/first-second" && "$out/second-first"
}

abi_is_watched() { # A field that moved and a function that is gone are found.
    sed -e '0,/^field nlmqtt_completion 8:/s//field nlmqtt_completion 4:/' -e 's/^function nlmqtt_version_number:/function nlmqtt_gone:/' \
        "$tests/abi-lp64.txt" >"$out/abi"
    "$tests/abi.py" "$out/abi" >"$out/abi-told" && return 1
    grep -q 'changed: field nlmqtt_completion 4' "$out/abi-told" && grep -q 'changed: function nlmqtt_gone' "$out/abi-told"
}

manual() { mkdir -p target/manual && doxygen cmake/Doxyfile && [ -s target/manual/html/nlmqtt_8h.html ]; }
manual_is_watched() { # A function without a comment is a warning.
    mkdir -p "$out/undocumented"
    sed '0,/^const char \*nlmqtt_build_info/s//int undocumented(void);\n&/' include/nlmqtt.h >"$out/undocumented/nlmqtt.h"
    (cat cmake/Doxyfile; echo "INPUT = $out/undocumented"; echo "OUTPUT_DIRECTORY = $out/undocumented") >"$out/undocumented/Doxyfile"
    doxygen "$out/undocumented/Doxyfile" >"$out/undocumented/told" 2>&1 && return 1
    grep -q 'undocumented.*is not documented' "$out/undocumented/told"
}

# The options a program's help names and those of its page are the same.
options() { # PAGE
    grep -oE '^\.It Fl .*' "cmake/man/$1" | grep -oE 'Fl -?[A-Za-z-]+' | sed 's/Fl /-/' | sort -u
}
page() { # PAGE COMMAND...
    local name=$1
    shift
    mandoc -Tlint -Wwarning "cmake/man/$name" || return 1
    diff <(options "$name") <("$@" 2>&1 | grep -v 'bad option' | grep -oE '(^| )--?[a-zA-Z][a-z-]*\b' | tr -d ' ' | sort -u)
}

sizes() { # PROFILE FOLDER
    cc -std=c99 -O2 -I"$2/include" -o "$2/nlmqttd" c-examples/nlmqttd.c "$2/lib/libnlmqtt.a" -lpthread -lm -ldl -Wl,--gc-sections,-s &&
        "$tests/sizes.py" "$1" "x86-64" "$2/lib/libnlmqtt.so.1" && "$tests/sizes.py" "$1" "nlmqttd with the library inside, x86-64" "$2/nlmqttd"
}

install_missing
check "every symbol has its version" symbols
check "soname, no unloading, no path inside" dynamic
check "the archive shows nlmqtt_* only" archive
check "what programs run every day lies together" "$tests/order.py" "$dist"
check "a moved prefix serves cmake and pkg-config" moved
check "the programs by pkg-config, shared and static" by_pkg_config
check "two Rust archives in one program" second_archive
check "the ABI is the committed one" "$tests/abi.py" "$tests/abi-lp64.txt"
check "the ABI's check finds what it looks for" abi_is_watched
check "the reference manual has no warning" manual
check "the manual's check finds what it looks for" manual_is_watched
check "nlmqttd(8)" page nlmqttd.8 "$dist/bin/nlmqttd" -h
check "nlmqtt-pub(1)" page nlmqtt-pub.1 "$dist/bin/publish" --help
check "nlmqtt-sub(1)" page nlmqtt-sub.1 "$dist/bin/subscribe" --help
check "the gateway as a service" "$tests/service.py" "$dist/bin/nlmqttd" -p 0
check "Debian packages install, run and go" "$tests/debian.sh" "$out/debian"
check "recipes" "$tests/recipes.py"
check "sizes, release" sizes release "$dist"
check "the small profile builds" cmake/install.sh --prefix "$out/small" --profile small
check "the small profile serves cmake and pkg-config" "$tests/consume.sh" "$out/small"
check "sizes, small" sizes small "$out/small"
of_features() { # ROW FEATURES: builds it, and looks at its size
    cmake/install.sh --prefix "$out/features" --profile small --no-default-features ${2:+--features "$2"} &&
        "$tests/sizes.py" "$1" x86-64 "$out/features/lib/libnlmqtt.so.1"
}
check "sizes, the client alone" of_features "small, the client alone" ""
check "sizes, the client with TLS" of_features "small, the client with TLS" tls
check "sizes, without TLS" of_features "small, client and broker over TCP" server
echo "package: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
