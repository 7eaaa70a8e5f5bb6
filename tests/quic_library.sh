#!/usr/bin/env bash
# The library and the programs with the feature that the default build has not, in target/dist-quic: made for a short build, not for speed.
# The parts that want it call this; the second call finds it built.
set -euo pipefail
cd "$(dirname "$0")/.."
CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_TARGET_DIR=$PWD/target/quic \
    LDFLAGS='-Wl,-rpath,$ORIGIN/../lib' cmake/install.sh --prefix target/dist-quic --features quic --programs
