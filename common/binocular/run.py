"""One start of the two-view program: what it was told, where it computes, how it talks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from common.engine.devices import Place, keep_memory
from common.errors import UserError
from common.files.writing import append_line


@dataclass(frozen=True, kw_only=True)
class Run:
    """One start of the program: settings by key, what was typed, where results go, how to talk."""

    values: dict[str, object]
    folder: Path
    place: Place
    seed: int
    say: Callable[[str], None]
    typed: dict[str, object]
    actions: tuple[str, ...] = ("*",)
    figures: int = 0
    weights: str | None = None  # --model_diff_path
    resume: dict | None = None  # content of the resumed checkpoint
    amp: bool = False
    note: str = ""  # stands in the report and on the pictures


def choose_place(name: str | None, say: Callable[[str], None]) -> Place:
    """The device asked for, or a GPU if PyTorch sees one (CUDA_VISIBLE_DEVICES decides), or the CPU.

    name: cpu, cuda, cuda:1 (--device), or a number as -gpu takes it, -1 for the CPU.
    """
    present = torch.cuda.is_available()
    if name is None and not present:
        say("No CUDA GPU found: computing on the CPU.")
    if name is not None and name.lstrip("-").isdigit():
        name = "cpu" if int(name) < 0 or not present else f"cuda:{name}"
    try:
        device = torch.device(name or ("cuda" if present else "cpu"))
        torch.zeros(1, device=device, dtype=torch.float64)  # the triangulation needs float64
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UserError(f"--device {name}: {str(error).splitlines()[0]}") from None
    if device.type == "cpu":
        keep_memory()
    return Place(device)


def talker(folder: Path | None, verbose: str) -> Callable[[str], None]:
    """A function that prints a line and appends it to the run's stdout.txt."""

    def say(line: str) -> None:
        if verbose.lower() not in ("warning", "error", "critical"):
            print(line, flush=True)
        if folder is not None:
            append_line(folder / "stdout.txt", line)

    return say
