#!/usr/bin/env bash
# Transformers loads what Slayer writes and gives the same logits: expands fixtures of every family and dtype, and compares.
#   PYTHON=.venv/bin/python tools/oracle/compare-all.sh [MODEL_DIR...]
# Further directories (a trained model, say) are compared as they are. Writes tools/oracle/results/transformers.jsonl.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-tools/oracle/.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
results=tools/oracle/results/transformers.jsonl
mkdir -p "$(dirname "$results")"

compare() { # base written options...
  node tools/oracle/dump-logits.mjs "$2" "$work/logits"
  "$python" tools/oracle/compare.py "$1" "$2" --logits "$work/logits/model.safetensors" "${@:3}" |
    "$python" -c 'import json, sys; print(json.dumps(json.load(sys.stdin)))'
  rm -rf "$work/logits"
}

{
  for model in llama-mha llama-gqa llama-gqa-bf16 llama-tied llama-head-dim llama-bias llama-rope-linear llama-rope-llama3 \
    mistral-gqa mistral-gqa-f16 mistral-window mistral-head-dim; do
    node packages/cli/dist/bin.js expand "test/fixtures/models/$model" --strategy llama-pro --groups 2 \
      --out "$work/$model-llama-pro" --quiet > "$work/log"
    compare "test/fixtures/models/$model" "$work/$model-llama-pro" --same-function
  done
  for model in "$@"; do compare "$model" "$model"; done
} | tee "$work/results"
mv "$work/results" "$results"
