#!/usr/bin/env bash
# Fetches NVIDIA's CUDA compiler from PyPI into FOLDER and prints the path of nvcc, to compile the kernels where no toolkit is installed
# (x86-64 or aarch64 Linux with Python 3 and its venv module; about 300 MB; no GPU and no root):
#
#   node packages/backend-cuda/native/kernels.mjs --required --nvcc "$(tools/gpu/nvcc.sh /tmp/nvcc)"
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: tools/gpu/nvcc.sh FOLDER" >&2; exit 2; }
folder=$1
version=13.0.88

nvcc() { find "$folder" -path '*/bin/nvcc' -type f 2>/dev/null | head -n 1; }

if [ -z "$(nvcc)" ]; then
  python3 -m venv "$folder" >&2
  "$folder/bin/pip" install --quiet --disable-pip-version-check \
    "nvidia-cuda-nvcc==$version" "nvidia-cuda-crt==$version" "nvidia-nvvm==$version" nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 >&2
  chmod +x "$(nvcc)"
fi
nvcc
