#!/usr/bin/env bash
# Builds nlmqtt and installs it:
#   cmake/install.sh --prefix P [--libdir lib] [--target T] [--features F] [--no-default-features]
#                    [--profile release|small] [--programs] [--no-strip]
#
# F: features beside the default ones, or with --no-default-features in their place, such as "server toml"; none at all is the
# client alone.
#
#   lib/libnlmqtt.so.1, libnlmqtt.so   linked from the static library with symbol versions made from the header
#   lib/libnlmqtt.a                    localised: only nlmqtt_* is visible, two Rust archives can share a program
#   include/nlmqtt.h and nlmqtt.hpp, lib/cmake/nlmqtt, lib/pkgconfig/nlmqtt.pc   all relocatable
#   with --programs: sbin/nlmqttd, bin/nlmqtt-pub, bin/nlmqtt-sub and their manual pages
#
# --no-strip is for distributions that strip themselves. P may lie below a staging folder (DESTDIR/usr): nothing installed names it.
# --target takes the C tools of its architecture by the names Debian gives them; CC, LD, OBJCOPY, AR and NM may name others,
# CARGO another cargo; CFLAGS and LDFLAGS are heeded. RUSTC may name the compiler that has the target's standard library (cmake/toolchains/rust-for-arm.sh).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
prefix='' libdir=lib target='' features='' defaults='' profile=release programs='' strip=-Wl,-s
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) prefix=$2 ;;
        --target) target=$2 ;;
        --features) features=$2 ;;
        --no-default-features) defaults=--no-default-features; shift; continue ;;
        --profile) profile=$2 ;;
        --libdir) libdir=$2 ;;
        --programs) programs=1; shift; continue ;;
        --no-strip) strip=''; shift; continue ;;
        *) echo "install.sh: unknown option $1" >&2; exit 2 ;;
    esac
    shift 2
done
[ -n "$prefix" ] || { echo "install.sh: --prefix is missing" >&2; exit 2; }
mkdir -p "$prefix"
prefix=$(cd "$prefix" && pwd)

case $target in
    aarch64-unknown-linux-*) tools=aarch64-linux-gnu- ;;
    armv7-unknown-linux-*eabihf) tools=arm-linux-gnueabihf- ;;
    *) tools='' ;;
esac
cc=${CC:-${tools:+${tools}g}cc} ld=${LD:-${tools}ld} objcopy=${OBJCOPY:-${tools}objcopy} ar=${AR:-${tools}ar} nm=${NM:-${tools}nm}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
out=${CARGO_TARGET_DIR:-$root/target}
# Only the archive: made together with an rlib, fat LTO drops every exported function from it.
(cd "$root" && ${CARGO:-cargo} rustc --locked --lib --crate-type staticlib --profile "$profile" --target-dir "$out" \
    ${target:+--target "$target"} ${features:+--features "$features"} $defaults)
folder=$profile
[ "$profile" = dev ] && folder=debug
archive=$out/${target:+$target/}$folder/libnlmqtt.a

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The header says what is exported.
grep -oE '\bnlmqtt_[a-z0-9_]+\(' "$root/include/nlmqtt.h" | tr -d '(' | sort -u >"$work/candidates"
$nm -g --defined-only "$archive" 2>/dev/null | awk '$2 == "T" {print $3}' | sort -u >"$work/defined"
[ -s "$work/defined" ] || { echo "install.sh: nothing is defined in $archive" >&2; exit 1; }
comm -12 "$work/candidates" "$work/defined" >"$work/symbols"
{ echo 'NLMQTT_1 {'; echo '  global:'; sed 's/.*/    &;/' "$work/symbols"; echo '  local: *;'; echo '};'; } >"$work/version"

lib=$prefix/$libdir
mkdir -p "$lib/cmake/nlmqtt" "$lib/pkgconfig" "$prefix/include"
# One object of all that the exported functions reach. What programs run every day lies in the order of order.txt: the kernel maps files by
# pieces of 64 KiB, and what is spread over all of them holds all of them in memory. Linkers sort what is called .text.sorted.
$ld -r --gc-sections --force-group-allocation $(sed 's/^/-u /' "$work/symbols") -o "$work/all.o" "$archive"
$objcopy -R .llvmbc -R .llvmcmd "$work/all.o"
$nm --defined-only "$work/all.o" | awk '{print $3}' | "$root/cmake/order.sh" | awk '
    NR == FNR {place[$1] = NR; next}
    $1 in place {printf "--rename-section .text.%s=.text.sorted.%05d.%s\n", $2, place[$1], $2}' "$root/cmake/order.txt" - >"$work/order"
$objcopy @"$work/order" "$work/all.o"

libraries=${LIBRARIES:--lgcc_s -lutil -lrt -lpthread -lm -ldl -lc}
$cc -shared -o "$lib/libnlmqtt.so.1" \
    -Wl,-soname,libnlmqtt.so.1 -Wl,--version-script="$work/version" -Wl,-z,nodelete -Wl,--gc-sections $strip ${LDFLAGS:-} \
    "$work/all.o" $libraries
ln -sf libnlmqtt.so.1 "$lib/libnlmqtt.so"

$objcopy --strip-debug -w --keep-global-symbol='nlmqtt_*' "$work/all.o"
rm -f "$lib/libnlmqtt.a"
$ar rcs "$lib/libnlmqtt.a" "$work/all.o"

cp -R "$root"/include/. "$prefix/include/"
# From the library's folder up to the prefix: one step for each of its parts.
up=$(sed 's|[^/][^/]*|..|g' <<<"$libdir")
fill() { sed "s|@VERSION@|$version|g; s|@LIBDIR@|$libdir|g; s|@UP@|$up|g" "$root/cmake/$1.in" >"$2/$1"; }
fill nlmqttConfig.cmake "$lib/cmake/nlmqtt"
fill nlmqttConfigVersion.cmake "$lib/cmake/nlmqtt"
fill nlmqtt.pc "$lib/pkgconfig"

if [ -n "$programs" ]; then
    mkdir -p "$prefix/bin" "$prefix/sbin" "$prefix/share/man/man1" "$prefix/share/man/man8"
    for pair in nlmqttd:sbin/nlmqttd publish:bin/nlmqtt-pub subscribe:bin/nlmqtt-sub; do
        $cc -std=c99 -O2 ${CFLAGS:-} -I"$prefix/include" -o "$prefix/${pair##*:}" "$root/c-examples/${pair%%:*}.c" \
            ${LDFLAGS:-} -L"$lib" -lnlmqtt -lpthread $strip
    done
    cp "$root/cmake/man/"*.1 "$prefix/share/man/man1/"
    cp "$root/cmake/man/"*.8 "$prefix/share/man/man8/"
fi
echo "nlmqtt $version installed: $(wc -l <"$work/symbols") functions"
