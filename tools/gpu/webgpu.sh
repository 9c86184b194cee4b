#!/usr/bin/env bash
# What tools/gpu/run.sh does for CUDA, on WebGPU: conformance of every kernel, the time of each at the sizes of a 7 B block, and training
# steps; then times with products in the fastest of the ways that are right on this device, in f32, and on operands rounded to f16 where
# the adapter has that. On a Linux machine with a GPU's Vulkan driver; needs nothing from the network.
#
#   tools/gpu/webgpu.sh [OUT] [OPTIONS]     OUT: by default bench/results; OPTIONS as `node bench/dist/gpu.js --help` says
#
# In a clone: `pnpm build` comes first. Elsewhere: in what tools/gpu/pack.sh made (`pack.sh OUT.tar.xz webgpu`), which may bring its own
# loader of Vulkan for machines that have none.
set -euo pipefail
here=$PWD
cd "$(dirname "$0")"
if [ -x node ]; then # a pack: everything lies side by side
  node=./node main=gpu.js out=results
else
  cd ../..
  node=node main=bench/dist/gpu.js out=bench/results
fi
case "${1-}" in '' | -*) ;; /*) out=$1; shift ;; *) out=$here/$1; shift ;; esac
[ -e "$main" ] || { echo "tools/gpu/webgpu.sh: there is no $main; run pnpm build" >&2; exit 1; }
if [ -e lib/libvulkan.so.1 ] && ! ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so\.1 '; then
  export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$PWD/lib"
fi
mkdir -p "$out"
nvidia-smi --query-gpu=name,driver_version,memory.total,power.limit,clocks.max.sm --format=csv || echo "nvidia-smi does not run" >&2
status=0
# A process for each part: a device that is lost is so for its process, but not the next.
for part in conformance kernels step; do "$node" "$main" --backend webgpu --out "$out" --parts "$part" "$@" || status=$?; done
"$node" "$main" --backend webgpu --out "$out/tuned" --parts kernels,step --tune "$@" || status=$?
"$node" "$main" --backend webgpu --out "$out/half" --parts kernels,step --tune --half "$@" || status=$?
"$node" "$main" --report "$out"
exit "$status"
