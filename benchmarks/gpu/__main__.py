"""All that is to be known of a GPU in nine minutes.

    bash benchmarks/gpu.sh [OUT] [--rehearse] [--seconds 540]

Parts, most important first, each a process of its own that writes its file after every check:

    OUT/a_numerics.json   networks, gradients, samples, attention kernels, bf16, compiled: CPU against GPU
    OUT/a_runs.json       resume, the command line, several processes, memory that runs out
    OUT/b_speed.json      paper sizes: seconds, shares of the matrix-product rate, memory
    OUT/c_training.json   the shipped lifter, trained for the time left; OUT/open_mixste_27f.bin
    OUT/summary.txt       what is printed last

Needs PyTorch, NumPy, SciPy; no network. --rehearse runs everything on the CPU at tiny sizes. The exit
code is 0 if every check passed, 1 if one failed or found no time, 2 where nothing could be run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

# Imports of PyTorch are left to the parts.


@dataclass(frozen=True)
class Part:
    """A module of this package. `share` of the whole time; None: all that is left."""

    name: str
    module: str
    share: float | None


# The parts of a stage run side by side; stages one after the other. Nothing else runs beside the timings.
STAGES = (
    (Part("a_numerics", "numerics", 0.27), Part("a_runs", "runs", 0.27)),
    (Part("b_speed", "speed", 0.45),),
    (Part("c_training", "training", None),),
)
ROOT = Path(__file__).parents[2]
NO_GPU = 3  # a part's exit code
GRACE = 5.0  # seconds beyond its time after which a part is ended from outside


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "benchmarks/gpu.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "log/gpu", help="(default: log/gpu)")
    parser.add_argument("--rehearse", action="store_true", help="everything on the CPU, at tiny sizes")
    parser.add_argument("--seconds", type=float, default=540.0, help="for all of it (default: 540)")
    parser.add_argument("--part", choices=[p.name for stage in STAGES for p in stage], help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.part:
        return run_part(options)
    return run_all(options)


def run_part(options: argparse.Namespace) -> int:
    """One part, in this process."""
    import torch

    from benchmarks.gpu.record import Record
    from benchmarks.timing import machine

    if not options.rehearse and not torch.cuda.is_available():
        return NO_GPU
    device = torch.device("cpu" if options.rehearse else "cuda", *([] if options.rehearse else [0]))
    part = next(p for stage in STAGES for p in stage if p.name == options.part)
    facts = {"rehearsal": options.rehearse, "machine": machine(device)}
    if device.type == "cuda":
        facts["machine"] |= {"cuda": torch.version.cuda, "capability": torch.cuda.get_device_capability(device)}
        facts["machine"] |= {"cards": torch.cuda.device_count()}
        facts["machine"] |= {"memory_gb": torch.cuda.get_device_properties(device).total_memory / 1e9}
    record = Record(options.out / f"{part.name}.json", options.seconds, facts)
    record.run(lambda: importlib.import_module(f"benchmarks.gpu.{part.module}").part(record, device, options.rehearse))
    return 0


def run_all(options: argparse.Namespace) -> int:
    end = time.monotonic() + options.seconds
    for stage in STAGES:
        for part in stage:
            (options.out / f"{part.name}.json").unlink(missing_ok=True)
    for stage in STAGES:
        left = end - time.monotonic()
        seconds = max(min(left, options.seconds * stage[0].share) if stage[0].share else left, 1.0)
        running = {part: start(part, options, seconds) for part in stage}
        until = time.monotonic() + seconds
        try:
            codes = {part: wait(process, until + GRACE - time.monotonic()) for part, process in running.items()}
        except BaseException:  # interrupted: the parts are no children of the terminal
            for process in running.values():
                wait(process, 0.0)
            raise
        if set(codes.values()) == {NO_GPU}:
            print("no CUDA GPU found; --rehearse runs everything on the CPU", file=sys.stderr)
            return 2
        for part in (part for part, code in codes.items() if code):
            note_the_end(options.out / f"{part.name}.json", codes[part])
    rows = [json.loads((options.out / f"{p.name}.json").read_text(encoding="utf-8")) for s in STAGES for p in s]
    text, good = summary(rows)
    (options.out / "summary.txt").write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0 if good else 1


def start(part: Part, options: argparse.Namespace, seconds: float) -> subprocess.Popen:
    """A part in a process group of its own, so that its children end with it."""
    environment = os.environ | {"TQDM_DISABLE": "1", "PYTHONUNBUFFERED": "1"}
    if part.module == "runs":
        environment["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # bit-equal products under deterministic algorithms
    if options.rehearse:
        environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "benchmarks.gpu", str(options.out), "--part", part.name, "--seconds", str(seconds)]
    command += ["--rehearse"] if options.rehearse else []
    return subprocess.Popen(command, env=environment, start_new_session=True)


def wait(process: subprocess.Popen, seconds: float) -> int:
    """The exit code; a part that does not end in time is killed with its children."""
    try:
        return process.wait(max(seconds, 0.1))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def note_the_end(path: Path, code: int) -> None:
    """Write into a part's file that it did not end by itself; what it had found stays."""
    content = {"part": path.stem, "checks": [], "skipped": [], "left_out": []}
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
    why = "its time was up" if code == -signal.SIGKILL else f"ended with {code}"
    content["checks"].append({"check": "the part as a whole", "passed": False, "why": why})
    content["finished"] = False
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def summary(parts: list[dict]) -> tuple[str, bool]:
    """A short table of all parts, and whether nothing failed and nothing was left out."""
    machine = next((p["machine"] for p in parts if "machine" in p), {})
    lines = [
        f"{machine.get('device', 'unknown')}, PyTorch {machine.get('torch', 'unknown')}, {machine.get('date', '')}"
    ]
    if any(p.get("rehearsal") for p in parts):
        lines.append("REHEARSAL at tiny sizes on the CPU: its times mean nothing")
    lines += [
        *speed_lines(parts),
        "",
        f"{'part':14}{'passed':>8}{'failed':>8}{'measured':>10}{'left out':>10}{'skipped':>9}",
    ]
    good = True
    for part in parts:
        counts = [sum(c["passed"] is verdict for c in part["checks"]) for verdict in (True, False, None)]
        left_out, skipped = len(part["left_out"]), len(part["skipped"])
        good = good and not counts[1] and not left_out
        lines.append(f"{part['part']:14}{counts[0]:8}{counts[1]:8}{counts[2]:10}{left_out:10}{skipped:9}")
    for part in parts:
        lines += [f"FAILED   {c['check']}: {reason(c)}" for c in part["checks"] if c["passed"] is False]
        lines += [f"left out {r['check']}: {r['why']}" for r in part["left_out"]]
        lines += [f"skipped  {r['check']}: {r['why']}" for r in part["skipped"]]
    lines.append("every check passed" if good else "NOT every check passed")
    return "\n".join(lines), good


def reason(check: dict) -> str:
    """Why a check failed, in one line."""
    if "traceback" in check:
        return check["traceback"].strip().splitlines()[-1][:160]
    if "limits" in check:
        beyond = [
            f"{n} {check[n]:.3g} (at most {limit:g})" for n, limit in check["limits"].items() if not check[n] <= limit
        ]
        return ", ".join(beyond)
    return check.get("why") or json.dumps({k: v for k, v in check.items() if k not in ("check", "passed")})[:160]


def speed_lines(parts: list[dict]) -> list[str]:
    """Seconds, share of the matrix-product rate and times plain of every timed stage."""
    lines = []
    for check in (c for p in parts if p["part"] == "b_speed" for c in p["checks"]):
        for row in check.get("rows", []):
            if "variant" in row:
                stage = ",".join(check["check"].split(",")[:2])
                share = f"{row['matmul_share']:.0%}" if "matmul_share" in row else ""
                times = f"{1000 * row['seconds']:10.4g} ms{row['times_plain']:8.2f} x plain"
                lines.append(f"{stage[:44]:45}{row['variant']:15}{times}{share:>6}")
            elif "seconds_a_window" in row:
                times = f"{1000 * row['seconds_a_window']:10.4g} ms{row['times_plain']:8.2f} x plain"
                lines.append(f"{'evaluation of a window':45}{row['mode']:15}{times}")
    return lines


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    raise SystemExit(main())
