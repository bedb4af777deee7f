"""Where the time of a piece of work goes, by kind of kernel."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

KINDS = {
    "attention": r"flash|fmha|attention|cudnn.*sdpa",
    "matrix products": r"gemm|cutlass|xmma|nvjet|matmul|addmm|::mm|::bmm|cublas",
    "softmax": r"softmax",
    "layer norm": r"layer_?norm",
    "optimiser": r"adam|multi_tensor",
    "copies": r"copy|memcpy|memset|cat|transpose",
}


def where_time_goes(work: Callable[[], object], device: torch.device, kept: int = 15) -> dict:
    """Shares of the device's time by kind, and the kernels that take most, of one call after two others."""
    on_gpu = device.type == "cuda"
    work()
    work()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as taken:
        work()
        if on_gpu:
            torch.cuda.synchronize(device)
    spent: dict[str, float] = {}
    for event in taken.key_averages():
        if on_gpu and event.device_type.name != "CUDA":
            continue  # an operator's row repeats its kernels' time
        micro = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        spent[event.key] = spent.get(event.key, 0.0) + micro
    total = max(sum(spent.values()), 1e-9)
    kinds: dict[str, float] = {}
    for name, micro in spent.items():
        kind = next((k for k, pattern in KINDS.items() if re.search(pattern, name, re.IGNORECASE)), "other")
        kinds[kind] = kinds.get(kind, 0.0) + micro / total
    most = sorted(spent.items(), key=lambda item: -item[1])[:kept]
    return {
        "milliseconds": total / 1000,
        "shares": dict(sorted(kinds.items(), key=lambda item: -item[1])),
        "kernels": [{"name": n[:160], "share": micro / total} for n, micro in most],
    }
