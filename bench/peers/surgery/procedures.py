"""Block expansion as published, restated in NumPy on whole arrays, independently of Slayer.

    python procedures.py make {slayer|llama-pro} BASE OUT    makes the tensors of the new model; prints seconds and peak memory
    python procedures.py compare A B                         compares two checkpoints bit for bit; exits 1 where they differ

llama-pro: "LLaMA Pro: Progressive LLaMA with Block Expansion" (Wu et al. 2024), section 3.2: the N blocks are cut into N/4 groups, and each
group is followed by a copy of its last block whose output projections of attention and MLP are zero.

slayer: "Llama SLayer 8B" (Chen et al. 2024), section 3.3: in the first half of the blocks, every group of two is followed by a new block, the
mean of its two neighbours in all tensors, output projections zero; the last two blocks go, and the one before them becomes their mean.

Means are taken in float32 and rounded once to the stored type, to nearest, ties to even.
"""

import json
import pathlib
import resource
import struct
import sys
import time

import numpy as np

OUTPUTS = ("self_attn.o_proj.weight", "mlp.down_proj.weight")
NUMPY = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


def read(directory):
    """All tensors as name -> (dtype, array); bfloat16 as its bits."""
    tensors = {}
    for path in sorted(pathlib.Path(directory).glob("*.safetensors")):
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            kind = NUMPY[entry["dtype"]]
            count = (end - begin) // np.dtype(kind).itemsize
            data = np.fromfile(path, kind, count, offset=8 + length + begin)
            tensors[name] = (entry["dtype"], data.reshape(entry["shape"]))
    return tensors


def write(directory, tensors):
    directory = pathlib.Path(directory)
    directory.mkdir()
    header, end = {}, 0
    for name, (dtype, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(data.shape), "data_offsets": [end, end + data.nbytes]}
        end += data.nbytes
    text = json.dumps(header).encode()
    with open(directory / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, data in tensors.values():
            data.tofile(file)


def widen(dtype, data):
    return (data.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else data.astype(np.float32)


def narrow(dtype, values):
    if dtype != "BF16":
        return values.astype(NUMPY[dtype])
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def mean(tensors):
    dtype = tensors[0][0]
    total = sum(widen(dtype, data) for _, data in tensors)
    return dtype, narrow(dtype, total / np.float32(len(tensors)))


def expand(procedure, base):
    depth = 1 + max(int(name.split(".")[2]) for name in base if name.startswith("model.layers."))
    suffixes = [name.removeprefix("model.layers.0.") for name in base if name.startswith("model.layers.0.")]
    block = lambda index: {suffix: base[f"model.layers.{index}.{suffix}"] for suffix in suffixes}
    average = lambda *indices: {suffix: mean([block(index)[suffix] for index in indices]) for suffix in suffixes}

    def silent(tensors):
        return {s: (t[0], np.zeros_like(t[1])) if s in OUTPUTS else t for s, t in tensors.items()}

    blocks = []
    if procedure == "llama-pro":
        split = depth // (depth // 4)
        for index in range(depth):
            blocks.append(block(index))
            if (index + 1) % split == 0:
                blocks.append(silent(block(index)))
    else:
        for index in range(depth - 2):
            blocks.append(average(depth - 2, depth - 1) if index == depth - 3 else block(index))
            if index < depth // 2 and index % 2 == 1:
                blocks.append(silent(average(index, index + 1)))

    made = {name: tensor for name, tensor in base.items() if not name.startswith("model.layers.")}
    for index, tensors in enumerate(blocks):
        made.update({f"model.layers.{index}.{suffix}": tensor for suffix, tensor in tensors.items()})
    return made


def compare(a, b):
    a, b = read(a), read(b)
    same = lambda name: a[name][0] == b[name][0] and a[name][1].shape == b[name][1].shape and a[name][1].tobytes() == b[name][1].tobytes()
    different = sorted(set(a) ^ set(b)) + [name for name in a if name in b and not same(name)]
    print(json.dumps({"tensors": len(set(a) | set(b)), "equal": len(set(a) | set(b)) - len(different), "first_different": different[:3]}))
    return 1 if different else 0


if __name__ == "__main__":
    if sys.argv[1] == "compare":
        sys.exit(compare(*sys.argv[2:]))
    started = time.perf_counter()
    write(sys.argv[4], expand(sys.argv[2], read(sys.argv[3])))
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": round(seconds, 2), "peakMiB": round(peak), "numpy": np.__version__, "python": sys.version.split()[0]}))
