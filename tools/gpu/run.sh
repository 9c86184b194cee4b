#!/usr/bin/env bash
# From a Linux x86-64 machine with an NVIDIA driver (580 or later) to: conformance of every CUDA kernel, the time of each at the sizes of a 7 B block, and
# steps of continued pre-training at the geometry of Llama SLayer 8B with random weights. Where python3 has PyTorch and Transformers, the same
# on these, in the same minutes; SLAYER_GPU_PEER=0: without. Prints tables and writes OUT/<device>.json after each part, the peer's
# beside it, and in the end all of it as a page, OUT/<device>.md. Needs nothing from the network.
#
#   tools/gpu/run.sh [OUT] [OPTIONS]     OUT: by default bench/results; OPTIONS as `node bench/dist/gpu.js --help` says
#
# In a clone: `pnpm build`, `pnpm build:native` and `pnpm build:kernels` come first. Elsewhere: in what tools/gpu/pack.sh made.
# Where compute-sanitizer is installed, the conformance cases also run under its memcheck, for two minutes at most; SLAYER_GPU_SANITIZER=1
# instead runs them, and nothing else, under memcheck, racecheck and synccheck to the end, SLAYER_GPU_SANITIZER=0 under none.
set -euo pipefail
here=$PWD
cd "$(dirname "$0")"
if [ -x node ]; then # a pack: everything lies side by side
  node=./node main=gpu.js addon=$PWD/slayer_cuda.node out=results peer=torch_peer.py
else
  cd ../..
  node=node main=bench/dist/gpu.js addon=$PWD/packages/backend-cuda/build/Release/slayer_cuda.node out=bench/results
  peer=bench/peers/gpu/torch_peer.py
fi
case "${1-}" in '' | -*) ;; /*) out=$1; shift ;; *) out=$here/$1; shift ;; esac
for needed in "$main" "$addon" "$(dirname "$addon")/kernels"; do
  [ -e "$needed" ] || { echo "tools/gpu/run.sh: there is no $needed; run pnpm build, pnpm build:native and pnpm build:kernels" >&2; exit 1; }
done
export SLAYER_CUDA_ADDON=$addon
mkdir -p "$out"
nvidia-smi --query-gpu=name,driver_version,memory.total,power.limit,clocks.max.sm --format=csv || echo "nvidia-smi does not run" >&2

sanitized() { # TOOL [COMMAND…]: what a command such as timeout is put before
  echo "== compute-sanitizer $1"
  SLAYER_CUDA_SYNC=1 "${@:2}" compute-sanitizer --tool "$1" --error-exitcode 3 "$node" "$main" --parts conformance
}
if [ "${SLAYER_GPU_SANITIZER-}" = 1 ]; then
  for tool in memcheck racecheck synccheck; do sanitized "$tool" env; done
  exit 0
fi

# With synchronous launches a kernel that fails is named; conformance alone, so that times mean something.
status=0
SLAYER_CUDA_SYNC=1 "$node" "$main" --parts conformance || status=$?
[ "$status" != 2 ] || exit 2 # there is no GPU to use: it has been said why
if [ "${SLAYER_GPU_SANITIZER-}" != 0 ] && command -v compute-sanitizer >/dev/null; then
  found=0
  sanitized memcheck timeout 120 || found=$?
  if [ "$found" = 124 ]; then echo "memcheck found nothing in two minutes, and was not done"; elif [ "$found" != 0 ]; then status=$found; fi
fi
# A process for each part: a kernel that fails leaves its process without a GPU, but not the next.
for part in conformance curve kernels profile; do "$node" "$main" --out "$out" --parts "$part" "$@" || status=$?; done
# A batch for which the update counts less; with less kept where memory is short.
"$node" "$main" --out "$out/batch-4" --parts step --batch 4 "$@" || "$node" "$main" --out "$out/batch-4" --parts step --batch 4 --recompute "$@" || status=$?
# Without f32 masters, as PyTorch's quicker step is.
"$node" "$main" --out "$out/no-masters" --parts step --stochastic "$@" || status=$?
if [ "${SLAYER_GPU_PEER-}" != 0 ] && python3 -c 'import torch, transformers; assert torch.cuda.is_available()' 2>/dev/null; then
  echo "== PyTorch"
  python3 "$peer" --out "$out" --batch 1,4 || status=$?
  # Once more: what was first may have had the cooler device.
  "$node" "$main" --out "$out/after-the-peer" --parts step "$@" || status=$?
fi
# Each product in the way that was measured to be the fastest; cuBLASLt is one where it is installed.
"$node" "$main" --out "$out/tuned" --parts kernels,step --tune "$@" || status=$?
"$node" "$main" --report "$out"
exit "$status"
