"""Checks an installation, data files and checkpoints before anything long starts.

    python -m common.doctor [--data-root DIR] [FILES...]

Says what is there (frames, joints, fps, cameras, units), what is missing and where to get it legally. Exit code 2 if
something that is there is broken; what is merely missing is no error.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from common.door import guarded
from common.errors import UserError, visible
from common.programs.installation import INSTALL, MISSING, OK, PROBLEM, Finding, installation

H36M_WHERE = (
    "register at http://vision.imar.ro/human3.6m, then data/convert_h36m.py; "
    "2D of CPN: https://dl.fbaipublicfiles.com/video-pose-3d/data_2d_h36m_cpn_ft_h36m_dbb.npz"
)
THREEDHP_WHERE = "accept the licence at https://vcai.mpi-inf.mpg.de/3dhp-dataset, then data/convert_3dhp.py"
HUMANEVA_WHERE = "register at http://humaneva.is.tue.mpg.de, then data/convert_humaneva.py"
STEREO_WHERE = "data/prepare_stereo.py makes it of calibrated cameras; docs/dual_diffusion.md"
CUSTOM_WHERE = "your own; docs/custom_data.md"
# Data sets without a form, by the folder that their converters write.
OPEN_WHERE = {
    "cmu": "CMU motion capture: http://mocap.cs.cmu.edu, then data/convert_cmu.py; docs/cmu.md",
    "aspset": "ASPset-510: https://archive.org/details/aspset510, then data/convert_aspset.py; docs/open_data.md",
    "aist": "AIST++: https://google.github.io/aistplusplus_dataset, then data/convert_aist.py; docs/open_data.md",
}


def data_sets(root: Path) -> list[Finding]:
    """Every data set that the programs know, in a folder: loaded with the loader that training uses."""
    from common.datasets.h36m import load_h36m
    from common.datasets.humaneva import load_humaneva
    from common.datasets.threedhp import load_threedhp

    if not root.is_dir():
        return [Finding(MISSING, str(root), "no such folder; --data-root names another")]
    found = [Finding(OK, note.stem, "made up: for trying the programs only") for note in root.glob("SYNTHETIC*.txt")]
    found += _paired(root, "h36m", load_h36m, "-d h36m -k", H36M_WHERE)
    found += _paired(root, "humaneva15", load_humaneva, "-d humaneva15 -k", HUMANEVA_WHERE)
    for split in ("train", "test"):
        names = [f"data_{split}_3dhp{end}.npz" for end in ("_ori", "")]
        if any((root / name).is_file() for name in names):
            found.append(_attempt(f"3dhp {split}", lambda split=split: _told_3dhp(*load_threedhp(root, split))))
        else:
            found.append(Finding(MISSING, f"3dhp {split}", f"no {' or '.join(names)}: {THREEDHP_WHERE}"))
    return found + _two_views(root) + _custom(root) + _open(root)


def _open(root: Path) -> list[Finding]:
    """The data sets that need no form, each in its own folder below the root, or in the root itself."""
    from common.datasets.h36m import load_h36m

    found = []
    for name, where in OPEN_WHERE.items():
        folder, flag = root / name, f"--data-root {root / name}"
        rows = _paired(folder, "h36m", load_h36m, f"{flag} -d h36m -k", "") + _custom(folder, f"{flag} -d custom -k")
        there = [replace(row, what=f"{name}: {row.what}") for row in rows if row.state != MISSING]
        if not there and not (root / f"data_3d_custom_{name}.npz").is_file():
            there = [Finding(MISSING, name, f"no {folder}: {where}")]
        found += there
    return found


def _two_views(root: Path) -> list[Finding]:
    """Label files of main_diffpose_2view_frame.py, in the folder or one below it."""
    from common.programs.what_file import tell

    files = sorted({*root.glob("*stereo*labels*.npy"), *root.glob("*/*stereo*labels*.npy")})
    if not files:
        return [Finding(MISSING, "two views", f"no *stereo*labels*.npy: {STEREO_WHERE}")]
    return [_attempt(str(path.relative_to(root)), lambda path=path: tell(path)) for path in files]


def _told_3dhp(clips, labels: str) -> str:
    return f"labels {labels}; {summary(clips)}"


def _paired(root: Path, name: str, load: Callable, flag: str, where: str) -> list[Finding]:
    """A data set of one 3D file and several 2D sources."""
    path_3d = root / f"data_3d_{name}.npz"
    sources = sorted(p.stem.removeprefix(f"data_2d_{name}_") for p in root.glob(f"data_2d_{name}_*.npz"))
    if not path_3d.is_file():
        extra = f" (2D is there: {', '.join(sources)})" if sources else ""
        return [Finding(MISSING, name, f"no {path_3d.name}{extra}: {where}")]
    if not sources:
        return [Finding(MISSING, name, f"no data_2d_{name}_NAME.npz beside {path_3d.name}: {where}")]

    def told(source: str) -> str:
        from common.files.reading import load_archive

        there = load_archive(root / f"data_2d_{name}_{source}.npz").get("positions_2d", {})
        subjects = [subject for subject in load_archive(path_3d).get("positions_3d", {}) if subject in there]
        if not subjects:
            raise UserError(f"no subject is in both {path_3d.name} and the 2D file")
        clips = load(root, source, subjects)
        return f"{flag} {source}: {summary(clips)}{_about(path_3d, clips)}"

    return [_attempt(f"{name} {source}", lambda source=source: told(source)) for source in sources]


def _custom(root: Path, flag: str = "-d custom -k") -> list[Finding]:
    from common.datasets.custom import find_3d, load_custom

    names = {p.stem.split("_custom_", 1)[1] for p in root.glob("data_2d_custom_*.npz")}
    paired = {find_3d(root, name).stem.split("_custom_", 1)[1] for name in names}
    names |= {p.stem.split("_custom_", 1)[1] for p in root.glob("data_3d_custom_*.npz")} - paired
    if not names:
        return [Finding(MISSING, "custom", f"no data_2d_custom_NAME.npz: {CUSTOM_WHERE}")]

    def told(name: str) -> str:
        clips = load_custom(root, name)[0]
        return f"{flag} {name}: {summary(clips)}{_about(find_3d(root, name), clips)}"

    found = []
    for name in sorted(names):
        if not find_3d(root, name).is_file():
            found.append(Finding(MISSING, f"custom {name}", f"2D only, no data_3d_custom_{name}.npz: {CUSTOM_WHERE}"))
        else:
            found.append(_attempt(f"custom {name}", lambda name=name: told(name)))
    return found


def _about(path: Path, clips: Sequence) -> str:
    """What a converter wrote of the data into their file."""
    from common.datasets.about import about

    line = about(path, list(dict.fromkeys(clip.subject for clip in clips)))
    return f"; {line.removeprefix(f'{path.name}: ')}" if line else ""


def summary(clips: Sequence) -> str:
    """Clips in one line: subjects, takes, cameras, frames, joints, fps, units."""
    subjects = list(dict.fromkeys(clip.subject for clip in clips))
    takes = {(clip.subject, clip.action) for clip in clips}
    cameras = {clip.camera.name for clip in clips}
    frames, valid = sum(map(len, clips)), sum(int(clip.valid.sum()) for clip in clips)
    known = all(clip.camera.intrinsics is not None for clip in clips)
    sizes = sorted({f"{clip.camera.width} x {clip.camera.height}" for clip in clips})
    parts = [
        f"subjects {', '.join(subjects)}",
        f"{len(takes)} takes, {len(cameras)} cameras ({', '.join(sizes)}{'' if known else '; no intrinsics'})",
        f"{frames} frames" + (f", {valid} valid" if valid < frames else ""),
        f"{clips[0].keypoints_2d.shape[1]} joints",
        f"{', '.join(f'{f:g}' for f in sorted({c.fps for c in clips}))} fps",
        "metres, camera frame",
    ]
    return "; ".join(parts)


def _attempt(what: str, work: Callable[[], str]) -> Finding:
    from common.files.limits import understanding

    try:
        with understanding(what, "file"):
            return Finding(OK, what, work())
    except UserError as error:
        return Finding(PROBLEM, what, str(error))
    except OSError as error:
        return Finding(PROBLEM, what, f"cannot be read ({error.strerror or error})")


def check_file(path: Path) -> Finding:
    """One file of any kind that the programs read."""
    from common.programs.what_file import tell

    return _attempt(str(path), lambda: tell(path))


def report(findings: Sequence[Finding], title: str) -> str:
    """Findings as text, one a line."""
    width = max((len(f.what) for f in findings), default=0)
    return "\n".join([title, *(f"  {f.state:8} {visible(f.what):{width}}  {visible(f.text)}" for f in findings), ""])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m common.doctor", description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, help="folder of data files (default: data, unless FILES are given)")
    parser.add_argument("files", type=Path, nargs="*", metavar="FILES", help="checkpoints, keypoints, data, videos")
    return guarded(_run, parser.parse_args(argv))


def _run(options: argparse.Namespace) -> int:
    parts = [("Installation", installation())]
    ready = not any(finding.state == PROBLEM for finding in parts[0][1])
    if not ready:
        parts.append(("Data and files", [Finding(MISSING, "not looked at", f"mend the installation first: {INSTALL}")]))
    if ready and (options.data_root or not options.files):
        root = options.data_root or Path("data")
        parts.append((f"Data in {root}", data_sets(root)))
    if ready and options.files:
        parts.append(("Files", [check_file(path) for path in options.files]))
    for title, findings in parts:
        print(report(findings, title))
    problems = sum(f.state == PROBLEM for _, findings in parts for f in findings)
    print(f"{problems} problem{'' if problems == 1 else 's'} found." if problems else "No problems found.")
    return 2 if problems else 0
