"""A data set and a command line small enough to train in seconds."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch

from common.datasets.synthetic.h36m import write_h36m
from common.engine.devices import Place
from common.programs.main import read_settings, run
from common.settings.lifting import Settings

CPU = Place(torch.device("cpu"))


@cache
def h36m_folder() -> Path:
    """A folder with a small synthetic data set in the Human3.6M layout, written once."""
    folder = Path(mkdtemp(prefix="tiny_h36m_"))
    write_h36m(folder, seconds=0.3, progress=False)
    return folder


SMALL = "--model mixste -gpu -1 --nolog -f 5 -cs 16 -dep 1 -b 160 -e 2 -lr 1e-3 -str S1,S5 -ste S9 -a Walking,Phoning"


def flags(folder: Path, more: str = "") -> list[str]:
    return [*SMALL.split(), "--data-root", str(h36m_folder()), "-c", str(folder), *more.split()]


def settings_of(folder: Path, more: str = "", preset: str = "h36m") -> Settings:
    return read_settings(preset, flags(folder, more))[0]


def command(folder: Path, more: str = "", preset: str = "h36m") -> dict | None:
    """Run the program on the small data set in this process; returns the report."""
    return run(settings_of(folder, more, preset), CPU)
