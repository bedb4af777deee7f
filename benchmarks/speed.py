"""How fast the project's code is beside a plain variant of it, on this machine.

    python -m benchmarks.speed                                  # small: 27 frames, 64 channels, depth 4
    python -m benchmarks.speed --size paper --device cuda       # 243 frames, 512 channels, depth 8, two hypotheses
    python -m benchmarks.speed --models mixste graphdiffu --modes fp32 compiled --json FILE

For every model of the registry: denoiser forward, training step, sampling of a window, batch assembly, metrics; each
in fp32, bf16, compiled, compiled bf16, and on CUDA with TF32. The variants of a stage run in turn (A B A B) after
warm-up calls; seconds are medians, ratios are medians of the ratios of neighbours in time. `share` is the part of the
matrix-product rate that was reached; the rate is measured, in the same precision, just before and after every call.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.timing import CLOCKS, Timing, interleaved, machine
from benchmarks.work import MODES, SIZES, STAGES, Bench, Mode
from common.door import guarded
from common.engine.devices import keep_memory
from common.errors import UserError
from common.files.writing import save_json
from common.models import REGISTRY
from common.settings.ranges import COUNT, WHOLE

FAIR_SHARE = 0.7  # of the matrix-product rate, reached by a plain forward that serves as a baseline
PLAIN = "plain fp32"


def measure(
    name: str, size: str, device: torch.device, modes: list[Mode], stages: list[str], rounds: int, clock: str
) -> list[dict]:
    """Time a model; one row a stage and variant: seconds, ratio to the plain variant, share, all rounds."""
    bench, rows = Bench(name, SIZES[size], device), []
    for stage in stages:
        flop = bench.flop(stage)
        variants = bench.variants(stage, modes)
        timings = interleaved(variants, device, rounds, f"{name}, {stage}", clock)
        for variant, timing in timings.items():
            rows.append(_row(name, stage, variant, timing, timings[PLAIN], flop))
    return rows


def _row(name: str, stage: str, variant: str, timing: Timing, plain: Timing, flop: float) -> dict:
    return {
        "model": name,
        "stage": stage,
        "variant": variant,
        "seconds": timing.median,
        "times_plain": timing.ratio(plain),
        "gflop": flop / 1e9,
        "matmul_share": timing.share(flop) if flop else None,
        "warm_up_seconds": timing.warm_up,
        "rounds": timing.seconds,
        "matmul_gflops": timing.rates,
    }


def choose_modes(names: list[str] | None, device: torch.device) -> list[Mode]:
    """The modes asked for, else all that the device has; fp32 is always among them."""
    for name in names or []:
        if name not in MODES:
            raise UserError(f"--modes {name}: unknown; there are {', '.join(MODES)}")
        if MODES[name].tf32 and device.type != "cuda":
            raise UserError("--modes TF32: only CUDA GPUs have it")
    kept = [m for m in MODES.values() if (m.name in names if names else not m.tf32 or device.type == "cuda")]
    return kept if MODES["fp32"] in kept else [MODES["fp32"], *kept]


def table(report: dict) -> str:
    """The report as a Markdown table, with how it was taken."""
    m, s = report["machine"], report["sizes"]
    load = m.get("load_average", "unknown")
    taken = {"wall": "wall time", "cpu": "processor time"}[report["clock"]]
    lines = [
        f"{report['size']}: {s['frames']} frames, {s['channels']} channels, depth {s['depth']}; forward of "
        f"{s['windows']} window(s) at H={s['hypotheses']}, training step of {s['batch']} windows, sampling and metrics "
        f"of one window at H={s['samples']}, K={s['steps']}.",
        f"{m['device']}, {m['threads']} thread(s) of {m['cores']} cores, PyTorch {m['torch']}, {m['date']}, load "
        f"average {load}; {report['rounds']} rounds in turn after warm-up calls, medians of {taken}.",
        "",
        "| Model | Stage | Variant | ms | x plain | matmul share |",
        "|---|---|---|---:|---:|---:|",
    ]
    for r in report["rows"]:
        share = "" if r["matmul_share"] is None else f"{r['matmul_share']:.0%}"
        cells = (r["model"], r["stage"], r["variant"], f"{1000 * r['seconds']:.4g}", f"{r['times_plain']:.2f}", share)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *baselines(report)])


def baselines(report: dict) -> list[str]:
    """Which plain variants are fair baselines: those whose forward reaches 70 % of the matmul rate at paper size."""
    lines = []
    for r in report["rows"]:
        if r["stage"] == "forward" and r["variant"] == PLAIN:
            reached = f"{r['model']}: the plain forward reaches {r['matmul_share']:.0%} of the matmul rate"
            if report["size"] != "paper":
                verdict = "whether it is a fair baseline is told by --size paper"
            elif r["matmul_share"] >= FAIR_SHARE:
                verdict = f"a fair baseline (at least {FAIR_SHARE:.0%})"
            else:
                verdict = f"NO fair baseline (below {FAIR_SHARE:.0%}): quote no ratios from it"
            lines.append(f"{reached}: {verdict}.")
    return lines


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small", help="(default: small)")
    parser.add_argument("--models", nargs="+", help="names of the registry (default: all)")
    parser.add_argument("--modes", nargs="+", help=f"of {', '.join(MODES)} (default: all that the device has)")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="(default: all)")
    parser.add_argument("--device", help="cpu, cuda or mps (default: cuda where there is one)")
    parser.add_argument("--threads", type=COUNT, help="CPU threads (default: PyTorch's)")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: processor time, for a busy machine (default: wall)"
    )
    parser.add_argument("--rounds", type=WHOLE, default=5, help="timed calls of each variant (default: 5)")
    parser.add_argument("--json", type=Path, help="also write every round here")
    options = parser.parse_args(argv)
    return guarded(_run, options)


def _run(options: argparse.Namespace) -> None:
    report = run(options)
    print(table(report))
    if options.json:
        save_json(options.json, report)


def run(options: argparse.Namespace) -> dict:
    """Measure what the flags ask for; the report as plain types."""
    names = options.models or list(REGISTRY)
    for name in names:
        if name not in REGISTRY:
            raise UserError(f"--models {name}: unknown; there are {', '.join(sorted(REGISTRY))}")
    if options.device and options.device.split(":")[0] not in ("cpu", "cuda", "mps"):
        raise UserError(f"--device {options.device}: cpu, cuda and mps are known")
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA GPU found")
    if options.rounds < 1:
        raise UserError(f"--rounds {options.rounds}: must be 1 or more")
    if options.clock == "cpu" and (device.type != "cpu" or (options.threads or torch.get_num_threads()) != 1):
        raise UserError("--clock cpu: processor time is for the CPU with one thread (--threads 1)")
    if options.threads:
        torch.set_num_threads(options.threads)
    if device.type == "cpu":
        keep_memory()  # as the programs do
    modes = choose_modes(options.modes, device)
    report = {
        "size": options.size,
        "sizes": asdict(SIZES[options.size]),
        "rounds": options.rounds,
        "clock": options.clock,
    }
    report |= {"machine": machine(device), "rows": []}
    for name in names:
        report["rows"] += measure(name, options.size, device, modes, options.stages, options.rounds, options.clock)
    return report


if __name__ == "__main__":
    raise SystemExit(main())
