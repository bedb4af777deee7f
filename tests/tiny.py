"""A data set and a command line small enough to train in seconds."""

from __future__ import annotations

from argparse import Namespace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch

from common.datasets.synthetic.h36m import write_h36m
from common.engine.devices import Place
from common.programs.main import check, run
from common.settings.flags import parse
from common.settings.presets import PRESETS

CPU = Place(torch.device("cpu"))


@cache
def h36m_folder() -> Path:
    """A folder with a small synthetic data set in the Human3.6M layout, written once."""
    folder = Path(mkdtemp(prefix="tiny_h36m_"))
    write_h36m(folder, seconds=0.3, progress=False)
    return folder


SMALL = "--model mixste -gpu -1 --nolog -f 5 -cs 16 -dep 1 -b 160 -e 2 -lr 1e-3 -str S1,S5 -ste S9 -a Walking,Phoning"


def flags(folder: Path, more: str = "", preset: str = "h36m") -> list[str]:
    return [*SMALL.split(), "--data-root", str(h36m_folder()), "-c", str(folder), *more.split()]


def options(folder: Path, more: str = "", preset: str = "h36m") -> Namespace:
    parsed = parse(flags(folder, more), None, PRESETS[preset])
    check(parsed)
    return parsed


def command(folder: Path, more: str = "") -> dict | None:
    """Run the program on the small data set in this process; returns the report."""
    return run(options(folder, more), CPU)
