#!/usr/bin/env bash
# A new user's first program, built against a prefix by each way there is, and run.
# tests/package/consume.sh PREFIX [CMAKE ARGUMENT...]; RUN may name an emulator, CC a cross compiler.
set -euo pipefail
prefix=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The version the header was made for.
version=$(awk '/define NLMQTT_VERSION_(MAJOR|MINOR|PATCH)/ {printf "%s%s", dot, $3; dot = "."}' "$prefix/include/nlmqtt.h")
cat >"$work/hello.c" <<'END'
#include <nlmqtt.h>
#include <stdio.h>
int main(void) {
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_client_config_free(config);
    return config == NULL || puts(nlmqtt_version_string()) < 0;
}
END
# The library is beside nobody: the loader is told where it is.
export LD_LIBRARY_PATH=$prefix/lib
prints() { [ "$(${RUN:-} "$1")" = "$version" ] || { echo "$1 did not print $version"; exit 1; }; }

for library in nlmqtt::nlmqtt nlmqtt::static; do
    cat >"$work/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.16)
project(hello C)
find_package(nlmqtt CONFIG REQUIRED)
add_executable(hello hello.c)
target_link_libraries(hello $library)
END
    cmake -S "$work" -B "$work/$library" -DCMAKE_PREFIX_PATH="$prefix" "$@" >/dev/null
    cmake --build "$work/$library" >/dev/null
    prints "$work/$library/hello"
done

components() { # NAMES: finds the package with these
    mkdir -p "$work/components"
    cp "$work/hello.c" "$work/components/"
    sed "s/REQUIRED/REQUIRED COMPONENTS $1/" "$work/CMakeLists.txt" >"$work/components/CMakeLists.txt"
    cmake -S "$work/components" -B "$work/components/build" -DCMAKE_PREFIX_PATH="$prefix" "${@:2}" >"$work/log" 2>&1
}
components "shared static" "$@"
if components "shared telepathy" "$@"; then echo "a component that is not there was found"; exit 1; fi
grep -q "no component 'telepathy'" "$work/log"

export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
[ "$(pkg-config --modversion nlmqtt)" = "$version" ]
flags=$(pkg-config --cflags --libs nlmqtt)
${CC:-cc} -o "$work/shared" "$work/hello.c" $flags
prints "$work/shared"
# --static names what the archive needs, for a program without any shared object.
flags=$(pkg-config --static --cflags --libs nlmqtt)
${CC:-cc} -static -o "$work/static" "$work/hello.c" $flags 2>"$work/log" || { cat "$work/log"; exit 1; }
prints "$work/static"
