#!/bin/sh
# Compiles the worker into the folder $1, with the flags of packages/backend-cpu/CMakeLists.txt.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../../..
out=$1
common="-std=gnu++20 -O3 -Wall -Wextra -ffp-contract=fast -fno-math-errno -fno-trapping-math"
case $(uname -m) in
  x86_64) isas="portable avx2 avx512" ;;
  aarch64 | arm64) isas="neon" ;;
  *) isas="portable" ;;
esac
list=""
objects=""
for isa in $isas; do
  case $isa in
    avx2) flags="-mavx2 -mfma" ;;
    avx512) flags="-mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma" ;;
    *) flags="" ;;
  esac
  "${CXX:-g++}" $common $flags -DSLAYER_ISA="$isa" -c "$root/kernels/matmul/matmul.cc" -o "$out/matmul_$isa.o"
  "${CXX:-g++}" $common $flags -DSLAYER_ISA="$isa" -c "$here/isa_entry.cc" -o "$out/entry_$isa.o"
  list="$list X($isa)"
  objects="$objects $out/matmul_$isa.o $out/entry_$isa.o"
done
"${CXX:-g++}" $common "-DSLAYER_ISAS(X)=$list" $objects "$here/worker.cc" "$root/packages/backend-cpu/native/thread_pool.cc" \
  "$root/packages/backend-cpu/native/memory.cc" -o "$out/worker" -pthread -ldl
