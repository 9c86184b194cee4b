#!/usr/bin/env bash
# Debian's packages with all that they need, unpacked aside: FOLDER/root then holds what installing them would have put into /.
#
#   tools/debian-packages.sh FOLDER PACKAGE…
#
# FOLDER is emptied first. Needs apt on Debian bookworm, but no root; nothing is installed, and apt's own lists stay as they are.
# Backports come first. Exits 1, with the reason, where it cannot.
set -euo pipefail
folder=$1
shift

fail() {
  echo "tools/debian-packages.sh: $*" >&2
  exit 1
}

# apt with lists, cache and sources of its own: Debian's release of this machine and its backports.
apt_aside() {
  apt-get -qq -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" -o Dir::Etc::sourceparts="$folder/apt/sources" \
    -o Dir::Etc::sourcelist=/dev/null -o Dir::State::lists="$folder/apt/lists" -o Dir::Cache="$folder/apt/cache" "$@"
}

command -v apt-get >/dev/null || fail "apt-get not found"
release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
[ "$release" = bookworm ] || fail "only tried on Debian bookworm, this is '${release:-unknown}'"
# Where this machine's own apt has the release from, its backports lie too.
mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 'Component: main' |
  awk -v release="$release" '$1 == release && !seen++ { print $2 }')
[ -n "$mirror" ] || fail "apt has no source for Debian's $release, component main"
rm -rf "$folder"
mkdir -p "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial" "$folder/apt/sources" "$folder/root"
cat >"$folder/apt/sources/debian.sources" <<SOURCES
Types: deb
URIs: $mirror
Suites: $release $release-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
apt_aside update >&2 || fail "Debian's package lists could not be fetched"
# As on an empty machine, so that what is already installed here makes no difference.
touch "$folder/apt/status"
apt_aside -o Dir::State::status="$folder/apt/status" -t "$release-backports" --no-install-recommends \
  --download-only -y install "$@" >&2 || fail "$* could not be fetched"
for package in "$folder"/apt/cache/archives/*.deb; do
  case "${package##*/}" in
    libc6_* | libgcc-s1_* | libstdc++6_* | gcc-*) ;; # programs run on this machine's own
    *) dpkg -x "$package" "$folder/root" ;;
  esac
done
rm -rf "$folder/apt"
