#!/usr/bin/env bash
# Packs what tools/gpu/run.sh, or tools/gpu/webgpu.sh, needs on a machine that has nothing but an NVIDIA driver: Node's binary, the bundled
# program, and the addon and compiled kernels, or Dawn. In a built clone (see those scripts), on Linux x86-64:
#
#   tools/gpu/pack.sh OUT.tar.xz [cuda]    then there: tar xf OUT.tar.xz && slayer-gpu/run.sh
#   tools/gpu/pack.sh OUT.tar.xz webgpu    then there: tar xf OUT.tar.xz && slayer-gpu/webgpu.sh
#
# OUT.tar.gz: half as large again, packed in seconds, and for machines without xz.
# The loader of Vulkan, libvulkan.so.1, is packed too where tools/webgpu-adapter.sh has fetched one.
set -euo pipefail
cd "$(dirname "$0")/../.."
case "$#,${2-cuda},${1-}" in
  [12],cuda,*.tar.[gx]z)
    script=run.sh release=packages/backend-cuda/build/Release
    parts=("$release/slayer_cuda.node" "$release/kernels")
    ;;
  2,webgpu,*.tar.[gx]z)
    script=webgpu.sh dawn=packages/backend-webgpu/node_modules/webgpu
    parts=("$dawn/dist/linux-x64/dawn.node")
    ;;
  *)
    echo "usage: tools/gpu/pack.sh OUT.tar.xz|OUT.tar.gz [cuda|webgpu]" >&2
    exit 2
    ;;
esac
for needed in bench/dist/gpu.js "${parts[@]}"; do
  [ -e "$needed" ] || { echo "there is no $needed; run pnpm install and pnpm build, for CUDA pnpm build:native and pnpm build:kernels too" >&2; exit 1; }
done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
pack="$scratch/slayer-gpu"
mkdir "$pack"
cp "tools/gpu/$script" bench/dist/gpu.js "$pack/"
cp "$(node -p process.execPath)" "$pack/node"
echo '{"type": "module"}' >"$pack/package.json"
if [ "$script" = run.sh ]; then
  cp -r "${parts[@]}" bench/peers/gpu/torch_peer.py "$pack/"
else
  mkdir -p "$pack/node_modules/webgpu/dist/linux-x64"
  cp "$dawn"/{package.json,index.js,LICENSE.md} "$pack/node_modules/webgpu/"
  cp "${parts[@]}" "$pack/node_modules/webgpu/dist/linux-x64/"
  loader=$({ find .webgpu-adapter/root/usr/lib -name libvulkan.so.1 2>/dev/null || true; } | head -n 1)
  if [ -n "$loader" ]; then
    mkdir "$pack/lib"
    cp -L "$loader" "$pack/lib/libvulkan.so.1"
  fi
fi
XZ_OPT=-6 tar -C "$scratch" -caf "$1" slayer-gpu
ls -l "$1"
# Of the C library of whichever system built them.
echo "needs there: $(find "$pack" \( -name '*.node' -o -name node \) -type f -exec grep -aoh 'GLIBC_2\.[0-9]*' {} + | sort -uV | tail -n 1 | tr _ ' ') or later"
