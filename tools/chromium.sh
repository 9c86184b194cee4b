#!/usr/bin/env bash
# A Chromium for the tests of the pages in examples/: prints the path of one that starts.
#
#   CHROMIUM="$(tools/chromium.sh)" npm run test:browser
#
# $CHROMIUM or one on the path; else Debian's package, unpacked into a folder of this clone. That needs apt on Debian, but no
# root, and installs nothing. Exits 1, with the reason, where there is none.
set -euo pipefail
cd "$(dirname "$0")/.."
folder="$PWD/.chromium"

fail() {
  echo "tools/chromium.sh: no Chromium: $*" >&2
  exit 1
}

for name in ${CHROMIUM:+"$CHROMIUM"} chromium chromium-browser google-chrome google-chrome-stable; do
  if command -v "$name"; then exit; fi
done

if [ ! -x "$folder/chromium" ]; then
  tools/debian-packages.sh "$folder" chromium fonts-dejavu-core >&2 || fail "Debian's packages could not be had"
  root="$folder/root"
  libraries=$(dirname "$(find "$root/usr/lib" -name 'libnss3.so' | head -1)")
  echo "<fontconfig><dir>$root/usr/share/fonts</dir><cachedir>$folder/fonts</cachedir></fontconfig>" >"$folder/fonts.conf"
  printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" FONTCONFIG_FILE="%s" exec "%s" "$@"\n' \
    "$libraries:$libraries/nss:$libraries/pulseaudio:$root/lib/${libraries##*/}" "$folder/fonts.conf" "$root/usr/lib/chromium/chromium" >"$folder/chromium.new"
  chmod +x "$folder/chromium.new"
  if ! "$folder/chromium.new" --version >&2; then
    fail "the one that was fetched does not start"
  fi
  mv "$folder/chromium.new" "$folder/chromium"
fi
echo "$folder/chromium"
