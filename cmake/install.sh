#!/usr/bin/env bash
# Builds nlmqtt and installs it: cmake/install.sh --prefix P [--target T] [--features F] [--profile release]
#
# F: the features wanted in place of the default ones, such as "server toml"; "none" for the client alone.
#
#   lib/libnlmqtt.so.1, libnlmqtt.so   linked from the static library with symbol versions made from the header
#   lib/libnlmqtt.a                    localised: only nlmqtt_* is visible, two Rust archives can share a program
#   include/nlmqtt.h, lib/cmake/nlmqtt, lib/pkgconfig/nlmqtt.pc   all relocatable
#
# CC, LD, OBJCOPY and AR may name cross tools.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
prefix='' target='' features='' profile=release
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) prefix=$2 ;;
        --target) target=$2 ;;
        --features) features=$2 ;;
        --profile) profile=$2 ;;
        *) echo "install.sh: unknown option $1" >&2; exit 2 ;;
    esac
    shift 2
done
[ -n "$prefix" ] || { echo "install.sh: --prefix is missing" >&2; exit 2; }
mkdir -p "$prefix"
prefix=$(cd "$prefix" && pwd)

cc=${CC:-cc} ld=${LD:-ld} objcopy=${OBJCOPY:-objcopy} ar=${AR:-ar}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
out=${CARGO_TARGET_DIR:-$root/target}
# Only the archive: made together with an rlib, fat LTO drops every exported function from it.
(cd "$root" && cargo rustc --locked --lib --crate-type staticlib --profile "$profile" --target-dir "$out" \
    ${target:+--target "$target"} ${features:+--no-default-features --features "${features#none}"})
folder=$profile
[ "$profile" = dev ] && folder=debug
archive=$out/${target:+$target/}$folder/libnlmqtt.a

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The header says what is exported.
grep -oE '\bnlmqtt_[a-z0-9_]+\(' "$root/include/nlmqtt.h" | tr -d '(' | sort -u >"$work/candidates"
nm -g --defined-only "$archive" 2>/dev/null | awk '$2 == "T" {print $3}' | sort -u >"$work/defined"
[ -s "$work/defined" ] || { echo "install.sh: nothing is defined in $archive" >&2; exit 1; }
comm -12 "$work/candidates" "$work/defined" >"$work/symbols"
{ echo 'NLMQTT_1 {'; echo '  global:'; sed 's/.*/    &;/' "$work/symbols"; echo '  local: *;'; echo '};'; } >"$work/version"

mkdir -p "$prefix/lib/cmake/nlmqtt" "$prefix/lib/pkgconfig" "$prefix/include"
libraries='-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc'
"$cc" -shared -o "$prefix/lib/libnlmqtt.so.1" \
    -Wl,-soname,libnlmqtt.so.1 -Wl,--version-script="$work/version" -Wl,-z,nodelete -Wl,--gc-sections -Wl,-s \
    $(sed 's/^/-Wl,-u,/' "$work/symbols") "$archive" $libraries
ln -sf libnlmqtt.so.1 "$prefix/lib/libnlmqtt.so"

"$ld" -r --gc-sections --force-group-allocation $(sed 's/^/-u /' "$work/symbols") -o "$work/all.o" "$archive"
"$objcopy" --strip-debug -R .llvmbc -R .llvmcmd -w --keep-global-symbol='nlmqtt_*' "$work/all.o"
rm -f "$prefix/lib/libnlmqtt.a"
"$ar" rcs "$prefix/lib/libnlmqtt.a" "$work/all.o"

cp "$root/include/nlmqtt.h" "$prefix/include/"
for file in nlmqttConfig.cmake nlmqttConfigVersion.cmake; do
    sed "s|@VERSION@|$version|g" "$root/cmake/$file.in" >"$prefix/lib/cmake/nlmqtt/$file"
done
sed "s|@VERSION@|$version|g" "$root/cmake/nlmqtt.pc.in" >"$prefix/lib/pkgconfig/nlmqtt.pc"
echo "nlmqtt $version installed: $(wc -l <"$work/symbols") functions"
