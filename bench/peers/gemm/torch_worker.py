"""Times torch.matmul on request, in the protocol of worker.cc. Usage: torch_worker.py <threads>"""

import json
import sys
import time

import torch

threads = int(sys.argv[1])
torch.set_num_threads(threads)
clock = time.thread_time if threads == 1 else time.perf_counter
print(f"torch {torch.__version__}", file=sys.stderr, flush=True)

for line in sys.stdin:
    layout, m, n, k, seconds = line.split()
    m, n, k, seconds = int(m), int(n), int(k), float(seconds)
    a = torch.rand(k, m).mul_(2).sub_(1).T if layout[0] == "T" else torch.rand(m, k).mul_(2).sub_(1)
    b = torch.rand(n, k).mul_(2).sub_(1).T if layout[1] == "T" else torch.rand(k, n).mul_(2).sub_(1)
    c = torch.empty(m, n)
    torch.matmul(a, b, out=c)
    times = []
    start = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < seconds:
        t = clock()
        torch.matmul(a, b, out=c)
        times.append(clock() - t)
    print(json.dumps([float(f"{t:.4g}") for t in times]), flush=True)
