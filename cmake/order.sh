#!/bin/sh
# Reads mangled names of functions, a line each, and writes each behind its name without what differs from build to build: hashes of Rust's older mangling,
# of crates in the newer one (RFC 2603), and what LLVM appends.
exec awk '{
    name = $1
    sub(/\.llvm\..*/, "", name)
    sub(/17h[0-9a-f]+E$/, "E", name)
    gsub(/Cs[0-9A-Za-z]+_/, "Cs_", name)
    print name, $1
}'
