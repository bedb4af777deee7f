"""What a part found, written to its JSON file after every check, so that a run cut short keeps what it has."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from common.files.writing import whole_file


class Skip(Exception):  # noqa: N818 (not an error)
    """A check cannot be made here; says what is missing."""


class Record:
    """The checks of one part, with the seconds it may take.

    A row is {"check", "passed", "seconds", ...facts}; `passed` is None for what only measures. A check that raises
    has failed and keeps its traceback; one that is skipped or left out for want of time says why.
    """

    def __init__(self, path: Path, seconds: float, facts: dict):
        self.path, self.end = path, time.monotonic() + seconds
        self.content = {"part": path.stem, **facts, "checks": [], "skipped": [], "left_out": [], "finished": False}
        self.write()

    @property
    def left(self) -> float:
        """Seconds left to this part."""
        return self.end - time.monotonic()

    def check(self, name: str, work: Callable[[], dict], needs: float = 1.0) -> None:
        """Run `work()`, which returns facts, among them `passed` where it judges. needs: seconds, a guess."""
        if self.left < needs:
            why = f"{max(self.left, 0):.0f} s were left, it takes about {needs:.0f} s"
            self.content["left_out"].append({"check": name, "why": why})
            self.write()
            return
        start, row = time.monotonic(), {"check": name, "passed": None}
        try:
            row |= work()
        except Skip as missing:
            self.content["skipped"].append({"check": name, "why": str(missing)})
            self.write()
            return
        except Exception:  # the next check goes on
            row |= {"passed": False, "traceback": traceback.format_exc()[-6000:]}
        row["seconds"] = round(time.monotonic() - start, 2)
        verdict = {True: "passed", False: "FAILED", None: "measured"}[row["passed"]]
        print(f"{self.path.stem}: {name}: {verdict}, {row['seconds']} s", file=sys.stderr, flush=True)
        self.content["checks"].append(row)
        self.write()
        with suppress(RuntimeError):  # a GPU that a check left broken: the next ones tell
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def run(self, work: Callable[[], None]) -> None:
        """The part itself; what it raises outside of its checks is kept as a failure too."""
        try:
            work()
            self.content["finished"] = True
        except Exception:
            row = {"check": "the part as a whole", "passed": False, "traceback": traceback.format_exc()[-6000:]}
            self.content["checks"].append(row)
        self.write()

    def write(self) -> None:
        write(self.path, self.content)


def write(path: Path, content: dict) -> None:
    with whole_file(path) as temporary:
        Path(temporary).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def difference(ours: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference over the largest value; infinite where either is not finite."""
    a, b = ours.detach().double().cpu(), other.detach().double().cpu()
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        return float("inf")
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-12))


def gradient_difference(ours: torch.nn.Module, other: torch.nn.Module) -> tuple[float, str]:
    """(the largest, its parameter) of |g - g'| over |g'|, in norms.

    A parameter whose gradient is below a thousandth of the whole is measured against that thousandth: its own is noise.
    """
    theirs = {n: p.grad.double().cpu() for n, p in other.named_parameters() if p.grad is not None}
    mine = {n: p.grad.double().cpu() for n, p in ours.named_parameters() if p.grad is not None}
    if mine.keys() != theirs.keys():
        return float("inf"), str(sorted(mine.keys() ^ theirs.keys())[:3])
    floor = 1e-3 * float(torch.stack([g.norm() for g in theirs.values()]).norm())
    worst = {n: float((mine[n] - g).norm() / max(float(g.norm()), floor, 1e-30)) for n, g in theirs.items()}
    name = max(worst, key=lambda n: worst[n] if worst[n] == worst[n] else float("inf"))
    return worst[name], name


def within(facts: dict, **limits: float) -> dict:
    """The facts with `passed`: each named fact is at most its limit (NaN is not)."""
    return facts | {"limits": limits, "passed": all(facts[name] <= limit for name, limit in limits.items())}
