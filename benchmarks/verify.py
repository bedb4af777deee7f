"""Run every published evaluation that the files on this machine allow, and compare with the published figures.

    python -m benchmarks.verify [--look DIR ...] [-o OUT]

docs/reproduce.md says what it looks for and how it judges. Writes OUT/verify.md and OUT/verify.json after every line.
Exit code: 0 all that was compared is equal, 1 something differs or failed, 2 a wrong command line, 3 nothing compared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchmarks import places
from benchmarks.compare import commit_of
from benchmarks.figures import figures, summary, tell
from benchmarks.reproduce import TABLE, TOLERANCE, load_table, slot, weight_names
from common.door import guarded
from common.engine.devices import Place
from common.engine.folder import claimed
from common.errors import UserError, visible
from common.files.writing import save_json, save_text
from common.programs import doctor

ROOT = places.ROOT
WHERE = {
    "h36m_cpn": doctor.H36M_WHERE,
    "h36m_gt": doctor.H36M_WHERE,
    "3dhp": doctor.THREEDHP_WHERE,
    "3dhp_univ": doctor.THREEDHP_WHERE,
    "humaneva": doctor.HUMANEVA_WHERE,
}
OF_TRAINING = ("clip",)  # groups that an evaluation does not need: a checkpoint holds the text it was trained with
FINISHED = ("equal", "differs", "measured")
SEQUENCES = tuple(f"TS{n}" for n in range(1, 7))
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "h5py", "open_clip_torch")


@dataclass(frozen=True)
class Line:
    """An evaluation line: its row of the table, {name that it expects: file found}, and lines of what is missing."""

    run: dict
    files: dict[str, Path]
    missing: list[str]

    def key(self, added: str) -> str:
        """What a finished line was run with: the command, and name, size and time of every file."""
        facts = [self.run["evaluate"], added]
        for name, path in sorted(self.files.items()):
            parts = sorted(path.iterdir()) if path.is_dir() else [path]
            facts += [name, *(f"{p.name} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in parts)]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def line_of(run: dict, table: dict, paths: list[Path], used: dict[str, Path]) -> Line:
    """What of a run is on this machine."""
    files, missing = {}, []
    for group in run["files"]:
        if group in OF_TRAINING:
            continue
        names = table["files"][group]
        found = places.together({name: places.matches(ending(name), paths) for name in expanded(names)})
        files |= found
        if lacking := [pattern for pattern in names if not set(expanded([pattern])) <= set(found)]:
            missing.append(f"{', '.join(lacking)}: {table.get('where', {}).get(group) or WHERE[group]}")
    names = weight_names(run)
    chosen = used.get(run["name"]) or next((p for name in names for p in places.matches(name, paths)), None)
    if chosen:
        files[slot(run).as_posix()] = chosen
    else:
        missing.append(f"{' or '.join(names)}: {table['weights_where'][run['system']]} (or --use {run['name']}=FILE)")
    return Line(run, files, missing)


def expanded(patterns: Sequence[str]) -> list[str]:
    """Names of files, TS* being each of 3DHP's test sequences."""
    return [name.replace("TS*", one) for name in patterns for one in (SEQUENCES if "TS*" in name else ("",))]


def ending(name: str) -> str:
    """How the path of a data file ends wherever it is kept: its name, and that of its folder where it tells more."""
    return "/".join(Path(name).parts[-2:]) if "annot_data" in name else Path(name).name


# ------------------------------------------------------------------------------------------------------- one line


def carry_out(line: Line, folder: Path, added: str) -> dict:
    """Type the line in a fresh folder that holds its files; returns its row of verify.json."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for name, path in line.files.items():
        places.lay(path, folder / name)
    if "--config configs/" in line.run["evaluate"]:
        places.lay(ROOT / "configs", folder / "configs")
    command = f"{line.run['evaluate']} {added}".strip()
    _, script, *arguments = shlex.split(command)
    start = time.monotonic()
    code, last = _type([sys.executable, str(ROOT / script), *arguments], folder)
    row = {"command": command, "seconds": round(time.monotonic() - start, 1)}
    row |= {"files": {name: facts_of(path) for name, path in line.files.items()}}
    if code:
        return row | {"state": "failed", "why": last.removeprefix("error: ") or f"exit code {code}"}
    try:
        rows = [figure for published in line.run["published"] for figure in figures(published, folder)]
    except (KeyError, IndexError, TypeError, ValueError, StopIteration, OSError) as error:
        return row | {"state": "failed", "why": f"its result cannot be read: {type(error).__name__}: {error}"}
    states = {figure["state"] for figure in rows}
    return row | {"state": next(s for s in ("differs", "equal", "measured") if s in states), "figures": rows}


def _type(command: list[str], folder: Path) -> tuple[int, str]:
    """Run a command in a folder, its progress on our stderr and its output in log.txt; (exit code, last error line)."""
    told = b""
    with (folder / "log.txt").open("wb") as log:
        with subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as job:
            try:
                while piece := job.stderr.read1(4096):
                    print(piece.decode(errors="replace"), end="", file=sys.stderr, flush=True)
                    told = (told + piece)[-20000:]
            except BaseException:
                job.terminate()
                raise
        log.write(b"\n" + told)
    lines = [part.strip() for part in re.split(r"[\r\n]+", told.decode(errors="replace")) if part.strip()]
    return job.returncode, lines[-1][:500] if lines else ""


def facts_of(path: Path) -> dict:
    """A file by its name, size and hash; a folder by its parts. No folder of this machine is named."""
    if path.is_dir():
        return {part.name: facts_of(part) for part in sorted(path.iterdir()) if part.is_file()}
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest[:16]}


# ------------------------------------------------------------------------------------------------------- the whole


def machine() -> dict:
    """Versions and the processor; the GPU's name where there is one."""
    facts = {"python": platform.python_version(), "system": platform.system(), "processor": platform.machine()}
    for name in PACKAGES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "none"
    return facts | {"gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"}


def options_of(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.verify", description=__doc__.splitlines()[0])
    parser.add_argument("--look", action="append", default=[], metavar="DIR", help="look in this folder first")
    parser.add_argument("--use", action="append", default=[], metavar="RUN=FILE", help="the checkpoint of a run")
    parser.add_argument("--only", default="", metavar="RUNS", help="these runs of docs/reproduce.md, comma between")
    parser.add_argument("--look-only", action="store_true", help="say what is there and what is missing; run nothing")
    parser.add_argument("--add", default="", metavar="FLAGS", help='flags for every line, such as --add="-gpu 1"')
    parser.add_argument("--again", action="store_true", help="also run what has finished before")
    parser.add_argument("--table", type=Path, default=TABLE, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "log" / "verify", help="(default: log/verify)")
    return parser.parse_args(argv)


def chosen_runs(table: dict, only: str, use: list[str]) -> tuple[list[dict], dict[str, Path]]:
    """The runs that are asked for, and {run: file} of --use. Raises UserError for an unknown run or file."""
    names = [run["name"] for run in table["run"]]
    used = {}
    for text in use:
        name, sign, file = text.partition("=")
        if not sign or name not in names:
            raise UserError(f"--use {text}: expected RUN=FILE, RUN one of {', '.join(names)}")
        used[name] = Path(file).expanduser().resolve()
        if not used[name].exists():
            raise UserError(f"--use {text}: no such file")
    wanted = [name for name in only.split(",") if name]
    if unknown := [name for name in wanted if name not in names]:
        raise UserError(f"--only {','.join(unknown)}: no such run; there are {', '.join(names)}")
    return [run for run in table["run"] if not wanted or run["name"] in wanted], used


def earlier(path: Path) -> dict:
    """The lines of a verify.json; none where there is none. Raises UserError for a file that is none."""
    if not path.is_file():
        return {}
    try:
        lines = dict(json.loads(path.read_text(encoding="utf-8"))["lines"])
        return {str(name): dict(line) for name, line in lines.items()}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not of this program; move it away or name another -o") from None


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(_main, argv, advice="the same command goes on where it stopped")


def _main(argv: Sequence[str] | None) -> int:
    options = options_of(argv)
    out = options.out.expanduser().resolve()
    table = load_table(options.table)
    try:
        shlex.split(options.add)
    except ValueError as error:
        raise UserError(f"--add {options.add}: {error}") from None
    runs, used = chosen_runs(table, options.only, options.use)
    before = earlier(out / "verify.json")
    paths = places.index(places.places(options.look, out), out)
    lines = [line_of(run, table, paths, used) for run in runs]
    if options.look_only:
        return look_only(lines, paths)
    with claimed(out, Place(torch.device("cpu"))):
        return work(lines, before, out, options)


def work(lines: list[Line], before: dict, out: Path, options: argparse.Namespace) -> int:
    """Run what can be run and has not finished before; write both files after every line. Returns the exit code."""
    content = {"equal_means": TOLERANCE, "commit": commit_of(ROOT), "machine": machine(), "lines": dict(before)}
    for line in lines:
        name, key = line.run["name"], line.key(options.add)
        row = before.get(name, {})
        if line.missing:
            row = {"state": "missing", "missing": line.missing}
        elif not options.again and row.get("key") == key and row.get("state") in FINISHED:
            print(f"{name}: finished before", flush=True)
        else:
            print(f"{name}: {line.run['evaluate']} {options.add}".rstrip(), flush=True)
            row = carry_out(line, out / "work" / name, options.add) | {"key": key}
        content["lines"][name] = row
        tell(name, row)
        save_json(out / "verify.json", content)
        save_text(out / "verify.md", summary(content))
    print(f"written: {out / 'verify.md'}, {out / 'verify.json'}")
    return exit_code([content["lines"][line.run["name"]]["state"] for line in lines])


def clip_line(paths: list[Path]) -> str:
    """Whether CLIP's weights, or features of prompts, are here."""
    known = [p for name in ("ViT-B-32.pt", "prompts_*.safetensors") for p in places.matches(name, paths)]
    known += sorted((Path.home() / ".cache" / "clip").glob("*"))
    there = ", ".join(visible(str(path)) for path in known) or "not here"
    return f"CLIP's weights and prompt features: {there} (a training needs them; a checkpoint holds its own)"


def look_only(lines: list[Line], paths: list[Path]) -> int:
    """Say of every line what is there and what is missing."""
    print(clip_line(paths))
    for line in lines:
        print(f"{line.run['name']}: {'can be run' if not line.missing else 'something is missing'}")
        for name, path in line.files.items():
            print(f"  {name}: {visible(str(path))}")
        for why in line.missing:
            print(f"  missing: {why}")
    return 0 if any(not line.missing for line in lines) else 3


def exit_code(states: list[str]) -> int:
    if {"differs", "failed"} & set(states):
        return 1
    return 0 if "equal" in states else 3


if __name__ == "__main__":
    sys.exit(main())
