#!/usr/bin/env bash
# A WebGPU adapter for a machine without a GPU: Mesa's lavapipe, a Vulkan driver on the processor. For tests, not for work.
#
#   eval "$(tools/webgpu-adapter.sh)"    this shell's Node then finds it: npm test, slayer --backend webgpu
#
# Fetches Debian's packages (Mesa ≥ 25: Dawn refuses bookworm's own 22.3) and unpacks them into a folder of this clone.
# Needs apt on Debian or a relative of it, but no root; nothing is installed and apt's own lists stay as they are.
# Prints the variables to set; exits 1, with the reason, where it cannot.
set -euo pipefail
cd "$(dirname "$0")/.."
folder="$PWD/.webgpu-adapter"
icd="$folder/lavapipe.json"

fail() {
  echo "tools/webgpu-adapter.sh: no software adapter: $*" >&2
  exit 1
}

provide() {
  tools/debian-packages.sh "$folder" mesa-vulkan-drivers libvulkan1 >&2 || fail "Debian's packages could not be had"
  local library
  library=$(find "$folder/root" -name libvulkan_lvp.so | head -1)
  [ -n "$library" ] || fail "the packages hold no libvulkan_lvp.so"
  echo "{\"file_format_version\":\"1.0.0\",\"ICD\":{\"library_path\":\"$library\",\"api_version\":\"1.3.0\"}}" >"$icd"
}

[ -f "$icd" ] || provide
libraries=$(dirname "$(find "$folder/root" -name libvulkan_lvp.so | head -1)")
echo "export VK_DRIVER_FILES='$icd' LD_LIBRARY_PATH='$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}'"
