#!/usr/bin/env bash
# Publishes what has a new version: first the prebuilt addons in DIR (see tools/prebuilt.mjs), then the packages of the
# workspace, the native backends naming their addons as optional dependencies. For the release workflow.
#
#   tools/publish.sh DIR
set -euo pipefail
cd "$(dirname "$0")/.."
addons=$1

for folder in "$addons"/*/; do
  name=$(node -p 'const p = require(process.argv[1]); `${p.name}@${p.version}`' "$(realpath "$folder")/package.json")
  if npm view "$name" version >/dev/null 2>&1; then
    echo "$name is published already"
  else
    npm publish "$folder" --access public
  fi
done
node tools/prebuilt.mjs link "$addons"
node tools/pnpm.mjs exec changeset publish
