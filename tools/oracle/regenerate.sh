#!/bin/sh
# Writes every fixture that comes from Python again, in place, and checks the model fixtures against numpy float64.
# PYTHON names the interpreter of the environment described in README.md (default: tools/oracle/.venv).
set -eu
cd "$(dirname "$0")/../.."
PYTHON="${PYTHON:-tools/oracle/.venv/bin/python}"

"$PYTHON" tools/oracle/models.py --out test/fixtures/models
"$PYTHON" tools/oracle/models.py --out test/fixtures/models --self-check
"$PYTHON" tools/oracle/losscurve_fixture.py --out test/fixtures/losscurve
"$PYTHON" tools/oracle/lora_fixture.py --fixture test/fixtures/losscurve
"$PYTHON" tools/oracle/adalora_fixture.py --fixture test/fixtures/losscurve
"$PYTHON" tools/oracle/quantized_matrices.py --out packages/tensor/test/fixtures/quantized.json
"$PYTHON" tools/oracle/tokenizer_ids.py --out packages/data/test/fixtures
