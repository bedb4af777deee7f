"""Where people keep data files and checkpoints: what `benchmarks.verify` finds below the folders it looks in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from common.datasets.about import about
from common.errors import UserError

ROOT = Path(__file__).parents[1]
DEPTH = 8  # folders below one that is looked in
MARKS = ("data", "checkpoint", "checkpoints", "exp")  # a folder beside the project that holds one of these is looked in
KINDS = (".npz", ".npy", ".mat", ".pkl", ".bin", ".pth", ".pt", ".safetensors")
OUTPUTS = "-001"  # the folder that Dual-Diffusion's evaluation writes
OTHER_NAME = {"best_epoch.bin": "best_epoch_1_1.bin", "best_epoch_1_1.bin": "best_epoch.bin"}


def places(asked: Sequence[str], leave_out: Path) -> list[Path]:
    """The folders to look in: those asked for, then the project's, then those beside it that look like a project."""
    for name in asked:
        if not Path(name).expanduser().is_dir():
            raise UserError(f"--look {name}: no such folder")
    beside = [p for p in sorted(ROOT.parent.iterdir()) if any((p / mark).is_dir() for mark in MARKS)]
    folders = [*(Path(name).expanduser() for name in asked), ROOT, *beside]
    return [p for p in dict.fromkeys(p.resolve() for p in folders) if p != leave_out]


def index(folders: Iterable[Path], leave_out: Path) -> list[Path]:
    """Every file of a known kind, and every folder of outputs, below the folders, in their order; each once."""
    found: dict[Path, None] = {}
    with tqdm(desc="looking", unit=" folders", leave=False) as bar:
        for folder in folders:
            for path in _walk(folder, leave_out, bar):
                found.setdefault(path)
    return list(found)


def _walk(top: Path, leave_out: Path, bar: tqdm) -> Iterator[Path]:
    met = {leave_out.resolve()}  # folders are often links; each is walked once
    for folder, below, files in os.walk(top, followlinks=True):
        here = Path(folder)
        if here.resolve() in met:
            below.clear()
            continue
        met.add(here.resolve())
        bar.update()
        if len(here.relative_to(top).parts) >= DEPTH:
            below.clear()
        below[:] = sorted(name for name in below if not name.startswith(".") and name != "node_modules")
        yield from (here / name for name in below if name == OUTPUTS)
        yield from (here / name for name in sorted(files) if Path(name).suffix in KINDS)


def matches(name: str, paths: Iterable[Path]) -> list[Path]:
    """The paths that end as `name`, whose parts may be patterns; a best epoch may have either of its names."""
    names = [name]
    if other := OTHER_NAME.get(PurePosixPath(name).name):
        names.append(str(PurePosixPath(name).with_name(other)))
    paths = list(paths)
    return [path for ending in names for path in paths if path.match(_escaped(ending))]


def together(candidates: dict[str, list[Path]]) -> dict[str, Path]:
    """{name: path} of the names that were found: all out of one folder where one has them all, else the first of each.

    Files that say that they hold something else are left out.
    """
    genuine = {name: [path for path in paths if not foreign(path)] for name, paths in candidates.items()}
    names = {name for name in genuine if Path(name).suffix == ".npz"}
    folders = [path.parent for name in names for path in genuine[name]]
    whole = next((f for f in folders if all(f in [p.parent for p in genuine[n]] for n in names)), None)
    chosen = {}
    for name, paths in genuine.items():
        inside = [path for path in paths if path.parent == whole] if name in names else []
        if inside or paths:
            chosen[name] = (inside or paths)[0]
    return chosen


def foreign(path: Path) -> bool:
    """Whether a data file is made up, or other people's motion in the same layout: it, or a note beside it, says so."""
    if any(any(folder.glob("SYNTHETIC*")) for folder in (path.parent, path.parent.parent)):
        return True
    with suppress(UserError):  # a damaged file is told by the line that reads it
        return path.suffix == ".npz" and bool(about(path, ()))
    return False


def _escaped(ending: str) -> str:
    """A name as a pattern: only * is one, since folders of runs hold brackets and equal signs."""
    return ending.replace("[", "[[]").replace("?", "[?]")


def lay(source: Path, target: Path) -> None:
    """Make `source` seen at `target`: a link, or a copy where the system allows none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(source, target_is_directory=source.is_dir())
    except OSError:  # Windows without the right to make links
        shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)
