#!/usr/bin/env bash
# What tools/gpu/run.sh does for CUDA, on WebGPU: conformance of every kernel, the time of each at the sizes of a 7 B block, and training
# steps. In a built clone on a machine with a GPU and its Vulkan driver (libvulkan.so.1 too); needs nothing from the network.
#
#   tools/gpu/webgpu.sh [OUT] [OPTIONS]     OUT: by default bench/results; OPTIONS as `node bench/dist/gpu.js --help` says
set -euo pipefail
cd "$(dirname "$0")/../.."
out=bench/results
case "${1-}" in '' | -*) ;; *) out=$1; shift ;; esac
[ -e bench/dist/gpu.js ] || { echo "tools/gpu/webgpu.sh: there is no bench/dist/gpu.js; run pnpm build" >&2; exit 1; }
mkdir -p "$out"
exec node bench/dist/gpu.js --backend webgpu --out "$out" "$@"
