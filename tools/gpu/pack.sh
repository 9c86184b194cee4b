#!/usr/bin/env bash
# Packs what tools/gpu/run.sh needs on a machine that has nothing but an NVIDIA driver: Node's binary, the bundled program, the addon and
# the compiled kernels. In a built clone (see run.sh), on Linux x86-64:
#
#   tools/gpu/pack.sh OUT.tar.xz         then there: tar xf OUT.tar.xz && slayer-gpu/run.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -eq 1 ] || { echo "usage: tools/gpu/pack.sh OUT.tar.xz" >&2; exit 2; }
release=packages/backend-cuda/build/Release
for needed in bench/dist/gpu.js "$release/slayer_cuda.node" "$release/kernels"; do
  [ -e "$needed" ] || { echo "there is no $needed; run pnpm build, pnpm build:native and pnpm build:kernels" >&2; exit 1; }
done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/slayer-gpu"
cp -r tools/gpu/run.sh bench/dist/gpu.js "$release/slayer_cuda.node" "$release/kernels" "$scratch/slayer-gpu/"
cp "$(node -p process.execPath)" "$scratch/slayer-gpu/node"
echo '{"type": "module"}' >"$scratch/slayer-gpu/package.json"
XZ_OPT=-6 tar -C "$scratch" -cJf "$1" slayer-gpu
ls -l "$1"
