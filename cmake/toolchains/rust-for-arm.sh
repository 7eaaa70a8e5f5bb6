#!/usr/bin/env bash
# Makes a Rust compiler for ARM in a folder of its own: cmake/toolchains/rust-for-arm.sh FOLDER [--source]
#
# Where `rustup target add` is not to be had, Debian 12 has what is needed: its rustc-web for this machine and the standard
# libraries for arm64 and armhf. Installing these packages would replace the Rust of the machine, so they are unpacked
# only. FOLDER/bin/rustc and FOLDER/bin/rustdoc then serve any cargo through RUSTC and RUSTDOC. A finished FOLDER is
# left as it is. --source adds the source of the standard library, for targets that have to build it (-Zbuild-std).
set -euo pipefail
case $#${2:-} in 1 | 2--source) ;; *) echo "usage: rust-for-arm.sh FOLDER [--source]" >&2; exit 2 ;; esac
mkdir -p "$1"
folder=$(cd "$1" && pwd)
pinned=1.85.0+dfsg3-1~deb12u3
source=''
[ $# -eq 1 ] || source=$folder/tree/usr/lib/rustlib/src/rust/library/std
if [ -x "$folder/bin/rustc" ] && "$folder/bin/rustc" --version >/dev/null 2>&1 && { [ -z "$source" ] || [ -d "$source" ]; }; then exit 0; fi

# Lists of their own: the machine's apt knows nothing of the foreign architectures, now or later.
mkdir -p "$folder/lists" "$folder/packages"
options=(-qq -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -o APT::Architectures::=armhf
    -o "Dir::State::lists=$folder/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root)
# Sources without these architectures make it fail; what is missing shows below.
apt-get "${options[@]}" update >"$folder/update.log" 2>&1 || true

versions_of() { apt-cache "${options[@]}" madison "$1" | awk -F'|' '{gsub(/ /, "", $2); print $2}' | sort -u; }
# The pin, or else the newest that all three architectures have.
in_all=$(comm -12 <(versions_of libstd-rust-web-dev:arm64) <(versions_of libstd-rust-web-dev:armhf) | comm -12 - <(versions_of rustc-web))
version=$(grep -Fx "$pinned" <<<"$in_all" || sort -V <<<"$in_all" | tail -n 1)
[ -n "$version" ] || { cat "$folder/update.log" >&2; echo "rust-for-arm.sh: no rustc-web for arm64 and armhf" >&2; exit 1; }
llvm=$(apt-cache "${options[@]}" depends "rustc-web=$version" "libstd-rust-web-${version%%.0*}=$version" | grep -oE 'libllvm[0-9.]+' | sort -u | tail -n 1)

cd "$folder/packages"
rm -f ./*.deb
apt-get "${options[@]}" download "rustc-web=$version" "libstd-rust-web-${version%%.0*}=$version" "libstd-rust-web-dev=$version" \
    "libstd-rust-web-dev:arm64=$version" "libstd-rust-web-dev:armhf=$version" "$llvm" ${source:+"rust-web-src=$version"}
rm -rf "$folder/tree"
for package in ./*.deb; do dpkg -x "$package" "$folder/tree"; done
cd "$folder"
rm -rf packages lists
mkdir -p bin
for program in rustc rustdoc; do
    cat >"$folder/bin/$program" <<END
#!/bin/sh
export LD_LIBRARY_PATH="$folder/tree/usr/lib/x86_64-linux-gnu\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
exec "$folder/tree/usr/bin/$program" "\$@"
END
    chmod +x "$folder/bin/$program"
done
"$folder/bin/rustc" --version
