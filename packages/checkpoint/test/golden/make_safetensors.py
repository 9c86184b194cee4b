"""A file that the Python package writes, with the values as f32, for the reader's test.

    pip install torch==2.13.0 safetensors==0.8.0 numpy==2.4.6
    python packages/checkpoint/test/golden/make_safetensors.py
"""

import json
import pathlib

import torch
from safetensors.torch import save_file

here = pathlib.Path(__file__).parent
values = torch.tensor([0.0, -0.0, 1.0, -2.5, 3.14159, 65504.0, 6e-8, float("inf"), -1e-3, 1.00390625, 1.01171875, 1e38])
floats = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
tensors = {f"a {name}": values.to(dtype).reshape(3, 4) for name, dtype in floats.items()}
tensors |= {
    "empty": torch.zeros(0, 5),
    "scalar": torch.tensor(7.0),
    "i64": torch.tensor([-1, 2**40]),
    "flags": torch.tensor([True, False, True]),
    "eight bits": torch.tensor([1.5, -0.25]).to(torch.float8_e4m3fn),
    'q"uote\\ \u00e9\u6f22': torch.tensor([1], dtype=torch.uint8),
    "12": torch.tensor([2], dtype=torch.uint8),
}
save_file(tensors, here / "python.safetensors", metadata={"format": "pt"})
described = {
    name: {
        "shape": list(t.shape),
        "bytes": t.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes().hex(),
        # Only where the dtype can be decoded. JSON has no infinity.
        "values": [str(v) for v in t.float().flatten().tolist()] if name.startswith("a ") else None,
    }
    for name, t in tensors.items()
}
(here / "python.json").write_text(json.dumps(described, indent=1) + "\n")
