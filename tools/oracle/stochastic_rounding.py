"""Prints which of 32 elements with the value 1 - 2^-9, the middle of two bf16 values, stochastic rounding takes up (1) and down (0), for seed 1
and step 2: the bits that packages/tensor/test/stochastic.test.ts expects, from the formula in packages/tensor/src/stochastic.ts in NumPy's
integers."""

import numpy as np


def mix(h):
    h = np.asarray(h, dtype=np.uint64) & 0xFFFFFFFF
    h = ((h ^ (h >> np.uint64(16))) * 0x85EBCA6B) & 0xFFFFFFFF
    h = ((h ^ (h >> np.uint64(13))) * 0xC2B2AE35) & 0xFFFFFFFF
    return h ^ (h >> np.uint64(16))


key = mix(mix(1 + 0x9E3779B9) ^ 2)
bits = mix(mix(np.arange(32, dtype=np.uint64) ^ key) + key) >> np.uint64(16)
value = np.uint64(np.float32(1 - 2**-9).view(np.uint32))
rounded = ((value + bits) & 0xFFFF0000).astype(np.uint32).view(np.float32)
print("".join("1" if x == 1 else "0" for x in rounded))
