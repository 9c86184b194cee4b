#!/usr/bin/env bash
# Runs the tests of the native backends on builds with sanitizers; any report fails them. Needs cmake, g++ and its
# sanitizer libraries (Debian, Ubuntu: in the package g++).
#
#   tools/sanitize.sh [address] [thread]     backend-cpu, AddressSanitizer with UBSan, ThreadSanitizer; both unless one is named
#   tools/sanitize.sh conformance            the first, on the conformance suite and the backend's own tests only
#   tools/sanitize.sh cuda                   backend-cuda, its kernels on the host's executor, AddressSanitizer with UBSan
set -euo pipefail
cd "$(dirname "$0")/.."

# sanitized NAME SANITIZERS LIBRARY OPTIONS…: builds, then runs the tests with the sanitizer's library loaded before Node, which
# was built without it: only what the addon does is looked at. `backend` and `tests` say which.
sanitized() {
  local name=$1 sanitizers=$2 library=$3
  shift 3
  echo "== $backend: $sanitizers"
  node "packages/$backend/native/build.mjs" --required --out "build/$name" --CDSLAYER_SANITIZE="$sanitizers"
  local release="$PWD/packages/$backend/build/$name/Release"
  env "$@" SLAYER_CPU_ADDON="$release/slayer_cpu.node" SLAYER_CUDA_ADDON="$release/slayer_cuda.node" SLAYER_CUDA_BUILD="$release" \
    LD_PRELOAD="$(g++ -print-file-name="$library")" \
    node node_modules/vitest/vitest.mjs run "${tests[@]}" --pool=forks --no-file-parallelism --testTimeout=600000
}

[ $# -gt 0 ] || set -- address thread
for name in "$@"; do
  backend=backend-cpu
  tests=(packages/backend-cpu)
  case "$name" in
  address | conformance)
    [ "$name" = address ] || tests=(packages/backend-cpu/test/conformance.test.ts packages/backend-cpu/test/backend.test.ts)
    # Node itself ends without freeing everything, so leaks are not looked for.
    sanitized address address,undefined libasan.so ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
    ;;
  thread)
    sanitized thread thread libtsan.so TSAN_OPTIONS="halt_on_error=1 ignore_noninstrumented_modules=1 atexit_sleep_ms=0 report_signal_unsafe=0"
    ;;
  cuda)
    backend=backend-cuda tests=()
    for test in conformance attention tuner fused; do tests+=("packages/backend-cuda/test/$test.test.ts"); done
    # What Node's own libraries allocate and free in two ways is not looked at.
    sanitized address address,undefined libasan.so ASAN_OPTIONS=detect_leaks=0:alloc_dealloc_mismatch=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
    ;;
  *)
    echo "unknown sanitizer build '$name'; there are address, thread, conformance and cuda" >&2
    exit 2
    ;;
  esac
done
