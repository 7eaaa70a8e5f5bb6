#!/usr/bin/env bash
# Makes Debian packages: cmake/debian.sh --out FOLDER [--target T] [--profile release|small]
#
#   nlmqttd         the broker with its systemd unit, nlmqtt-pub, nlmqtt-sub, manual pages
#   libnlmqtt1      the shared object
#   libnlmqtt-dev   header, archive, cmake and pkg-config files
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out='' target='' profile=release
while [ $# -gt 0 ]; do
    case $1 in
        --out) out=$2 ;;
        --target) target=$2 ;;
        --profile) profile=$2 ;;
        *) echo "debian.sh: unknown option $1" >&2; exit 2 ;;
    esac
    shift 2
done
[ -n "$out" ] || { echo "debian.sh: --out is missing" >&2; exit 2; }
case ${target:-$(uname -m)} in
    x86_64*) architecture=amd64 triplet=x86_64-linux-gnu ;;
    aarch64*) architecture=arm64 triplet=aarch64-linux-gnu ;;
    armv7*) architecture=armhf triplet=arm-linux-gnueabihf ;;
    *) echo "debian.sh: no Debian architecture for ${target:-$(uname -m)}" >&2; exit 2 ;;
esac
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
all=$work/all
"$root/cmake/install.sh" --prefix "$all/usr" --libdir "lib/$triplet" --profile "$profile" --programs ${target:+--target "$target"}

# The newest glibc of which something is used.
glibc() { readelf -W --dyn-syms "$@" | grep -oE 'GLIBC_[0-9.]+' | sed 's/GLIBC_//' | sort -uV | tail -n 1; }

# take PACKAGE PATH...: moves what belongs to a package into its folder.
take() {
    local package=$1 path
    shift
    for path in "$@"; do
        mkdir -p "$work/$package/$(dirname "$path")"
        mv "$all/$path" "$work/$package/$path"
    done
}

# build PACKAGE SECTION DEPENDS TEXT
build() {
    local folder=$work/$1 control=$work/$1/DEBIAN
    mkdir -p "$control" "$folder/usr/share/doc/$1"
    cp "$root/LICENSE" "$folder/usr/share/doc/$1/copyright"
    cat >"$control/control" <<END
Package: $1
Source: nlmqtt
Version: $version
Architecture: $architecture
Maintainer: nlmqtt developers <nlmqtt@example.org>
Installed-Size: $(du -ks --exclude DEBIAN "$folder" | cut -f 1)
Depends: $3
Section: $2
Priority: optional
Multi-Arch: $([ "$1" = nlmqttd ] && echo foreign || echo same)
Description: $4
 MQTT 3.1, 3.1.1 and 5.0, client and broker, in one library with a C API
 for firmware of gateways.
END
    (cd "$folder" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
    chmod -R u=rwX,go=rX "$folder"
    [ "$1" != nlmqttd ] || chmod 755 "$control/postinst" "$control/prerm" "$control/postrm"
    dpkg-deb --root-owner-group --build "$folder" "$out/$1_${version}_$architecture.deb" >/dev/null
    echo "$out/$1_${version}_$architecture.deb"
}

lib=usr/lib/$triplet
take libnlmqtt1 "$lib/libnlmqtt.so.1"
take libnlmqtt-dev "$lib/libnlmqtt.so" "$lib/libnlmqtt.a" "$lib/cmake" "$lib/pkgconfig" usr/include
find "$all/usr/share/man" -type f -exec gzip -9n {} +
take nlmqttd usr/sbin/nlmqttd usr/bin/nlmqtt-pub usr/bin/nlmqtt-sub usr/share/man
left=$(find "$all" ! -type d)
[ -z "$left" ] || { echo "debian.sh: in no package: $left" >&2; exit 1; }

mkdir -p "$work/libnlmqtt1/DEBIAN"
echo "libnlmqtt 1 libnlmqtt1 (>= $version)" >"$work/libnlmqtt1/DEBIAN/shlibs"
echo 'activate-noawait ldconfig' >"$work/libnlmqtt1/DEBIAN/triggers"
install -D -m 644 "$root/cmake/service/nlmqttd.service" "$work/nlmqttd/lib/systemd/system/nlmqttd.service"
install -D -m 644 "$root/cmake/service/nlmqttd.toml" "$work/nlmqttd/etc/nlmqtt/nlmqttd.toml"
mkdir -p "$work/nlmqttd/DEBIAN"
echo /etc/nlmqtt/nlmqttd.toml >"$work/nlmqttd/DEBIAN/conffiles"
cp "$root/cmake/service/postinst" "$root/cmake/service/prerm" "$root/cmake/service/postrm" "$work/nlmqttd/DEBIAN/"

build libnlmqtt1 libs "libc6 (>= $(glibc "$work/libnlmqtt1/$lib/libnlmqtt.so.1")), libgcc-s1" 'MQTT client and broker library'
build libnlmqtt-dev libdevel "libnlmqtt1 (= $version), libc6-dev" 'MQTT client and broker library, files to build with'
build nlmqttd net "libnlmqtt1 (>= $version), libc6 (>= $(glibc "$work"/nlmqttd/usr/*bin/*)), init-system-helpers" 'MQTT broker of a gateway'
