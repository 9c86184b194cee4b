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

# apt with lists, cache and sources of its own: this machine's sources and Debian's backports of the same release.
apt_aside() {
  apt-get -qq -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" -o Dir::Etc::sourceparts="$folder/apt/sources" \
    -o Dir::Etc::sourcelist=/dev/null -o Dir::State::lists="$folder/apt/lists" -o Dir::Cache="$folder/apt/cache" "$@"
}

provide() {
  command -v apt-get >/dev/null || fail "apt-get not found"
  local release
  release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  [ "$release" = bookworm ] || fail "only tried on Debian bookworm, this is '${release:-unknown}'"
  rm -rf "$folder"
  mkdir -p "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial" "$folder/apt/sources" "$folder/root"
  cat >"$folder/apt/sources/debian.sources" <<SOURCES
Types: deb
URIs: http://deb.debian.org/debian
Suites: $release $release-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
  apt_aside update >&2 || fail "Debian's package lists could not be fetched"
  # As on an empty machine, so that what is already installed here makes no difference.
  touch "$folder/apt/status"
  apt_aside -o Dir::State::status="$folder/apt/status" -t "$release-backports" --no-install-recommends \
    --download-only -y install mesa-vulkan-drivers libvulkan1 >&2 || fail "mesa-vulkan-drivers could not be fetched"
  local package
  for package in "$folder"/apt/cache/archives/*.deb; do
    case "${package##*/}" in
      libc6_* | libgcc-s1_* | libstdc++6_* | gcc-*) ;; # Node runs on this machine's own
      *) dpkg -x "$package" "$folder/root" ;;
    esac
  done
  rm -rf "$folder/apt"
  local library
  library=$(find "$folder/root" -name libvulkan_lvp.so | head -1)
  [ -n "$library" ] || fail "the packages hold no libvulkan_lvp.so"
  echo "{\"file_format_version\":\"1.0.0\",\"ICD\":{\"library_path\":\"$library\",\"api_version\":\"1.3.0\"}}" >"$icd"
}

[ -f "$icd" ] || provide
libraries=$(dirname "$(find "$folder/root" -name libvulkan_lvp.so | head -1)")
echo "export VK_DRIVER_FILES='$icd' LD_LIBRARY_PATH='$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}'"
