"""How fast a GPU runs the published sizes: 243, 81 and 27 frames, 512 channels, depth 8; H=20, K=10, mirrored too."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from benchmarks.gpu.numerics import attend
from benchmarks.gpu.profile import where_time_goes
from benchmarks.gpu.record import Record
from benchmarks.timing import MatmulRate, Variant, interleaved, set_tf32, synchronise
from benchmarks.work import MODES, Bench, Size
from common.engine.evaluate import Sampling, evaluate
from common.models import REGISTRY

PAPER = {
    frames: Size(frames, 512, 8, windows=2, hypotheses=20, batch=1024 // frames, samples=20, steps=10)
    for frames in (243, 81, 27)
}  # forward: a window and its mirror image at all hypotheses, as in sampling; -b 1024 in training
TINY = Size(5, 16, 1, windows=2, hypotheses=2, batch=2, samples=2, steps=2)
RATES = {"fp32": (torch.float32, False), "TF32": (torch.float32, True), "bf16": (torch.bfloat16, False)}
MODES_HERE = ("fp32", "TF32", "bf16")
STAGES = ("sampling", "training step", "forward")


def part(record: Record, device: torch.device, rehearse: bool) -> None:
    compiler = "eager" if rehearse else "inductor"
    benches: dict[tuple[str, int], Bench] = {}

    def bench(name: str, frames: int) -> Bench:
        key = (name, frames)
        if key not in benches:
            benches.clear()  # one model at a time in memory
            torch.compiler.reset()  # and no recompilation limit reached over several
            benches[key] = Bench(name, TINY if rehearse else PAPER[frames], device, compiler)
        return benches[key]

    def stage(name: str, frames: int, stage: str, modes: tuple[str, ...], needs: float, rounds: int = 3) -> None:
        title = f"{stage}: {name}, {frames} frames" + (f", {', '.join(modes)}" if modes else "")
        rounds = 1 if rehearse else rounds
        record.check(title, lambda: timed(bench(name, frames), stage, modes, rounds, record.left), needs)

    record.check("matrix products", lambda: rates(device))
    stage("mixste", 243, "sampling", MODES_HERE, 45)
    stage("mixste", 243, "training step", MODES_HERE, 10, 5)
    record.check("whole evaluation: mixste, 243 frames", lambda: evaluation(bench("mixste", 243)), 40)
    stage("mixste", 243, "forward", MODES_HERE, 10, 5)
    for what in ("sampling", "training step"):
        work = lambda what=what: where_time_goes(_one_call(bench("mixste", 243), what), device)  # noqa: E731
        record.check(f"where time goes: {what}, mixste, 243 frames, bf16", work, 5)
    stage("mixste", 243, "sampling", ("compiled bf16",), 60)
    stage("mixste", 243, "training step", ("compiled bf16",), 60, 5)
    record.check("attention, fused and plain", lambda: attention(device, rehearse), 10)
    for frames in () if rehearse else (81, 27):
        for what, needs in zip(STAGES, (15, 8, 8), strict=True):
            stage("mixste", frames, what, ("TF32", "bf16"), needs)
    for what in STAGES:
        stage("graphdiffu", 243, what, ("TF32", "bf16"), 20)
    for what, needs in (("batch assembly", 10), ("metrics", 40)):
        stage("mixste", 243, what, (), needs)
    record.check("deterministic training step", lambda: determinism(bench("mixste", 243)), 5)
    if rehearse:
        return
    for name in (n for n in REGISTRY if n not in ("mixste", "graphdiffu")):
        stage(name, 243, "forward", ("TF32", "bf16"), 12)
    for what in STAGES:
        stage("mixste", 243, what, ("compiled",), 70)
    for frames in (81, 27):
        stage("mixste", frames, "training step", ("compiled bf16",), 60)


def rates(device: torch.device) -> dict:
    """GFLOP/s of a square product, the best of five after one: what the shares are of is measured around each call."""
    rate = MatmulRate(device)
    return {"gflops": {n: max(rate(*how) for _ in range(5)) for n, how in RATES.items()}, "matrix": rate.size}


def timed(bench: Bench, stage: str, modes: tuple[str, ...], rounds: int, left: float) -> dict:
    """Seconds, share of the matrix-product rate, peak memory, and how many times the plain variant with TF32."""
    plain, *ours = bench.variants(stage, [MODES[m] for m in modes])
    ours = [v for v in ours if not v.name.startswith("plain")]
    variants = [Variant("plain TF32", plain.work, torch.float32, True), *ours]
    flop = flop_of(bench, stage)
    first = {v.name: first_call(v, bench.device) for v in variants}
    once = sum(facts["first_call_s"] for facts in first.values())
    if (rounds + 2) * once > left / 2:
        rounds = 1  # a slow card
    timings = interleaved(variants, bench.device, rounds, stage, warm_up=1)
    base = timings["plain TF32"]
    rows = []
    for name, timing in timings.items():
        row = {"variant": name, "seconds": timing.median, "times_plain": timing.ratio(base)}
        if flop:
            row |= {"tflops": flop / timing.median / 1e12, "matmul_share": timing.share(flop)}
        rows.append(row | first[name] | {"rounds": timing.seconds, "matmul_gflops": timing.rates})
    windows = bench.size.batch if stage == "training step" else 1
    return {"gflop": flop / 1e9, "windows": windows, "rows": rows}


def flop_of(bench: Bench, stage: str) -> float:
    """FLOP of a stage; sampling is `steps` times the forward pass of a window and its mirror image."""
    if stage == "sampling":
        return bench.size.steps * bench.flop("forward")
    return bench.flop(stage)


def first_call(variant: Variant, device: torch.device) -> dict:
    """Seconds and peak memory of a first call, which compiles."""
    set_tf32(variant.tf32)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
    synchronise(device)
    start = time.perf_counter()
    variant.work()
    synchronise(device)
    facts = {"first_call_s": time.perf_counter() - start}
    if device.type == "cuda":
        facts["held_gb"] = held / 1e9  # weights and optimiser states of all variants, and the batch
        facts["peak_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
    return facts


def evaluation(bench: Bench) -> dict:
    """A window's evaluation under both protocols: chunks chosen, sampled, aggregated, scored; and the same plain.

    Plain is plain sampling with TF32 and NumPy metrics, one window. `times_plain_sampled` leaves the plain metrics
    out: plain sampling alone over our whole evaluation.
    """
    rows, size = [], bench.size
    windows = min(4, len(bench.windows))
    set_tf32(True)
    sampled = seconds_of(bench._plain_sampling(), bench.device)
    scored = seconds_of(bench._plain_metrics(), bench.device)
    for mode in (MODES["TF32"], MODES["bf16"]):
        set_tf32(mode.tf32)
        lifter, how = (
            bench.lifter(mode, False),
            Sampling(size.samples, size.steps, windows, metrics=("mpjpe", "p_mpjpe")),
        )
        how = replace(how, amp=mode.amp)
        whole = lambda lifter=lifter, how=how: evaluate(lifter, bench.windows, how, bench.place, limit=1)  # noqa: E731
        chunk = whole().chunk  # chooses the chunk; timed is the next one
        each = seconds_of(whole, bench.device) / windows
        row = {"mode": mode.name, "seconds_a_window": each, "hypotheses_at_a_time": chunk}
        rows.append(row | {"times_plain": (sampled + scored) / each, "times_plain_sampled": sampled / each})
    set_tf32(False)
    return {"plain_sampling_s": sampled, "plain_metrics_s": scored, "windows": windows, "rows": rows}


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    synchronise(device)
    start = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - start


def _one_call(bench: Bench, what: str) -> Callable[[], object]:
    """One network call in bf16 as sampling makes it, or one training step."""
    mode = MODES["bf16"]
    return bench._forward(mode) if what == "sampling" else bench._training_step(mode)


def attention(device: torch.device, rehearse: bool) -> dict:
    """Forward and backward of attention over the published token counts, fused (as PyTorch chooses) and plain."""
    rows = []
    fused = torch.nn.functional.scaled_dot_product_attention
    for tokens in (5,) if rehearse else (17, 27, 81, 243):
        for channels in (8,) if rehearse else (8, 64):
            for dtype in (torch.float32, torch.bfloat16):
                shape = (8 if rehearse else 4 * 4131 // tokens, 8, tokens, channels)  # 4 windows of 243 frames
                q, k, v = (torch.randn(shape, device=device).to(dtype).requires_grad_() for _ in range(3))

                def work(function, q=q, k=k, v=v):
                    return lambda: torch.autograd.grad(function(q, k, v).sum(), (q, k, v))

                variants = [Variant("plain", work(attend), dtype), Variant("fused", work(fused), dtype)]
                timings = interleaved(variants, device, 1 if rehearse else 3, "attention")
                row = {"tokens": tokens, "channels": channels, "dtype": str(dtype)[6:]}
                row |= {f"{name}_ms": 1000 * t.median for name, t in timings.items()}
                rows.append(row | {"times_plain": timings["fused"].ratio(timings["plain"])})
    return {"rows": rows}


def determinism(bench: Bench) -> dict:
    """The training step in bf16 with PyTorch's deterministic algorithms and as it is: the price of bit equality."""
    step = bench._training_step(MODES["bf16"])

    def strict() -> object:
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            return step()
        finally:
            torch.use_deterministic_algorithms(False)

    variants = [Variant(n, w, torch.bfloat16) for n, w in (("as it is", step), ("deterministic", strict))]
    timings = interleaved(variants, bench.device, 3, "deterministic", warm_up=1)
    seconds = {name: t.median for name, t in timings.items()}
    return {"step_s": seconds, "ratio": timings["as it is"].ratio(timings["deterministic"])}
