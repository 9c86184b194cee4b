#!/usr/bin/env bash
# Compiles the native CPU backend for 64-bit ARM and runs the conformance suite on it, on another kind of machine. Needs a cross
# compiler and QEMU (Debian: g++-aarch64-linux-gnu qemu-user), the built packages (pnpm build), and a Node for linux-arm64.
#
#   tools/neon.sh PATH_OF_NODE_FOR_ARM64
set -euo pipefail
cd "$(dirname "$0")/.."
node_arm64=$(realpath "$1")
out=$PWD/packages/backend-cpu/build/neon
modules=packages/backend-cpu/node_modules
compile=(aarch64-linux-gnu-g++ -std=gnu++20 -O2 -fPIC -Wall -Wextra -fvisibility=hidden)
kernel=(-ffp-contract=fast -fno-math-errno -fno-trapping-math -DSLAYER_ISA=neon)
headers=$(dirname "$(realpath "$(dirname "$(realpath $modules/cmake-js)")/node-api-headers/package.json")")
addon=(-I "$modules/node-addon-api" -I "$headers/include" "-DSLAYER_ISAS=X(neon)" -DNAPI_VERSION=8
  -DNODE_ADDON_API_CPP_EXCEPTIONS -DNODE_ADDON_API_DISABLE_DEPRECATED)

rm -rf "$out"
mkdir -p "$out"
for source in kernels/*/*.cc native/*.cc packages/backend-cpu/native/*.cc; do
  case "$source" in
  kernels/* | */table.cc) flags=("${kernel[@]}") ;;
  *) flags=("${addon[@]}") ;;
  esac
  "${compile[@]}" "${flags[@]}" -c "$source" -o "$out/$(basename "$source" .cc).o"
done
"${compile[@]}" -shared "$out"/*.o -o "$out/slayer_cpu.node" -pthread

QEMU_LD_PREFIX=/usr/aarch64-linux-gnu SLAYER_CPU_ADDON="$out/slayer_cpu.node" qemu-aarch64 "$node_arm64" --input-type=module -e '
  const { conformance, cases } = await import(`${process.cwd()}/packages/backend-conformance/dist/index.js`);
  const { createCpuBackend } = await import(`${process.cwd()}/packages/backend-cpu/dist/index.js`);
  const backend = await createCpuBackend({ threads: 2 });
  const { fusedOps } = await import(`${process.cwd()}/packages/tensor/dist/index.js`);
  const checked = cases.filter((c) => !c.bench && c.storage !== "bf16" && !fusedOps.includes(c.op));
  let passed = 0;
  for await (const result of conformance(backend, { cases: checked })) {
    if (result.status === "passed") passed++;
    else console.log(result.case.name, result.status, result.problems ?? result.reason);
  }
  console.log(`${backend.capabilities.device}: ${passed} of ${checked.length} cases passed`);
  await backend.close();
  process.exitCode = passed === checked.length ? 0 : 1;
'
