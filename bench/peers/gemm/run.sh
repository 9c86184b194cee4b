#!/bin/sh
# Compares the CPU backend's matrix multiplication with OpenBLAS and PyTorch; see README.md.
#   run.sh [--python PATH] [--openblas LIBRARY] [--threads 1,2] [--rounds N] [--seconds S] [--only TEXT] [--out FOLDER]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$here/build.sh" "$scratch"
isas=portable
if grep -qw avx2 /proc/cpuinfo 2>/dev/null; then isas=avx2,portable; fi
if grep -qw avx512bw /proc/cpuinfo 2>/dev/null; then isas=avx512,avx2,portable; fi
case $(uname -m) in aarch64 | arm64) isas=neon ;; esac
node "$here/compare.mjs" --worker "$scratch/worker" --isas "$isas" "$@"
