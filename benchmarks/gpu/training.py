"""Train the shipped lifter (benchmarks.train_open) for the minutes that are left, and watch that it is saved."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.gpu.record import Record, Skip
from common.datasets.synthetic.h36m import write_h36m

ROOT = Path(__file__).parents[2]
MOTION = ROOT / "data/open_motion"  # ignored by git; laid there beforehand
FINISH = 45.0  # seconds that scoring the held-out performers may take at the end
BETWEEN = 30.0  # seconds, at most, from one saved file to the next
RECIPE = ("--amp",)  # beside the program's own defaults


def part(record: Record, device: torch.device, rehearse: bool) -> None:
    record.check("training of the shipped lifter", lambda: train(record, device, rehearse), 12 if rehearse else 75)


def train(record: Record, device: torch.device, rehearse: bool) -> dict:
    if not rehearse:
        if not (MOTION / "data_3d_h36m.npz").is_file():
            raise Skip("data/open_motion/data_3d_h36m.npz is not there")
        return watch(record, MOTION, record.path.parent, (record.left - FINISH) / 60, RECIPE)
    with tempfile.TemporaryDirectory() as folder:
        write_h36m(Path(folder), seconds=0.1, progress=False)
        (Path(folder) / "data_2d_h36m_cpn_ft_h36m_dbb.npz").unlink()  # one test is enough
        small = ("-cs", "16", "-dep", "1", "--heads", "2", "--batch", "2")
        return watch(record, Path(folder), record.path.parent, 0.02, (*RECIPE, *small))


def watch(record: Record, data: Path, folder: Path, minutes: float, more: tuple[str, ...]) -> dict:
    """Run the program, which saves now and then; its lines, when it saved, and its figures at the end."""
    command = [sys.executable, "-m", "benchmarks.train_open", str(data), "-o", str(folder)]
    command += ["--minutes", f"{minutes:.3f}", *more]
    start, saved, lines = time.monotonic(), [], []
    before = {p: p.stat().st_mtime_ns for p in folder.glob("*.bin")}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, text=True)
        try:
            while process.poll() is None and record.left > 2:
                time.sleep(0.2)
                now = {p: p.stat().st_mtime_ns for p in folder.glob("*.bin")}
                if now != before:
                    saved.append(round(time.monotonic() - start, 1))
                    before = now
        finally:
            cut = process.poll() is None
            if cut:
                process.kill()
                process.wait()
        output.seek(0)
        lines = output.read().splitlines()
    gaps = [b - a for a, b in zip(saved, saved[1:], strict=False)]
    facts = {"minutes": minutes, "command": " ".join(command[1:]), "saved_at_s": saved, "cut_short": cut}
    facts |= {"largest_gap_s": max(gaps, default=0.0), "files": [p.name for p in before], "output": lines[-60:]}
    ended = cut or process.returncode == 0
    return facts | {"passed": ended and bool(saved) and facts["largest_gap_s"] <= BETWEEN}
