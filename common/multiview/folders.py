"""A laboratory's folder: which file is the calibration, which 2D belongs to which camera, and whether they fit."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files.calibration import OpenCVCamera, read_calibration, to_camera
from common.geometry.camera import Camera

POSE_FOLDERS = ("pose-associated", "pose-sync", "pose")  # of Pose2Sim, the latest step first
ENDINGS = (".json", ".npz", ".npy")


@dataclass(frozen=True)
class Take:
    """One recording: the 2D source of each camera, in the cameras' order."""

    name: str
    cameras: list[OpenCVCamera]
    sources: list[Path]


def find_calibration(root: Path) -> Path:
    """The one calibration in the folder, in its `calibration/`, or beside it. Raises UserError for none or several."""
    for folder in (root, root / "calibration", root.parent, root.parent / "calibration"):
        found = sorted(folder.glob("*.toml")) if folder.is_dir() else []
        found = [path for path in found if path.name.lower() not in ("config.toml", "pyproject.toml")]
        if (folder / "intri.yml").is_file():
            found.append(folder)
        if len(found) > 1:
            raise UserError(f"{folder}: several calibrations ({', '.join(p.name for p in found)}); say --calibration")
        if found:
            return found[0]
    raise UserError(f"{root}: no calibration (*.toml, or intri.yml and extri.yml) in or beside it; say --calibration")


def find_takes(root: Path, calibration: Path | None, say: Callable = print) -> list[Take]:
    """The recordings of a folder: itself, or each of its folders that holds the 2D of several cameras."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder")
    cameras = read_calibration(calibration or find_calibration(root))
    if len(cameras) < 2:
        raise UserError(f"{calibration or find_calibration(root)}: {len(cameras)} camera; triangulation needs two")
    own = sources_in(root)
    takes = {root.resolve().name: own} if len(own) > 1 else {}
    if not takes:
        takes = {p.name: sources_in(p) for p in sorted(root.iterdir()) if p.is_dir() and len(sources_in(p)) > 1}
    if not takes:
        raise UserError(f"{root}: no folder or file of 2D keypoints a camera ({', '.join(POSE_FOLDERS)}, or in itself)")
    return [_pair(name, cameras, sources, say) for name, sources in takes.items()]


def sources_in(folder: Path) -> list[Path]:
    """One keypoint file or OpenPose folder a camera, by the last number in the name."""
    pose = next((folder / name for name in POSE_FOLDERS if (folder / name).is_dir()), folder)
    found = []
    for path in sorted(pose.iterdir()):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix in ENDINGS)
            if len(inside) == 1:
                found.append(inside[0])
            elif any(map(_is_one_frame, inside[:3])):
                found.append(path)
        elif path.suffix in ENDINGS:
            found.append(path)
    return sorted(found, key=lambda p: (_number(_title(p)), _title(p)))


def _is_one_frame(path: Path) -> bool:
    """True for OpenPose's files of one frame; other files side by side are one a camera."""
    with path.open("rb") as stream:
        return b'"people"' in stream.read(4096)


def _title(source: Path) -> str:
    """What a source is called: its own name, or its folder's where it is that folder's only file."""
    alone = source.is_file() and sum(p.suffix in ENDINGS for p in source.parent.iterdir()) == 1
    return source.parent.name if alone else source.stem if source.is_file() else source.name


def _number(name: str) -> int:
    found = re.findall(r"\d+", name)
    return int(found[-1]) if found else -1


def _plain(name: str) -> str:
    """'cam_01' and 'cam1_json' are one camera: 'cam1'."""
    name = re.sub(r"(?i)(json|keypoints|openpose|alphapose|results|detections|2d)", "", name)
    return re.sub(r"0*(\d+)", r"\1", re.sub(r"[^a-z0-9]", "", name.lower()))


def _pair(name: str, cameras: list[OpenCVCamera], sources: list[Path], say: Callable) -> Take:
    """Sources and cameras by their names; where the names tell nothing, the n-th folder with the n-th camera."""
    titles = [_plain(_title(s)) for s in sources]
    named = {_plain(camera.name): camera for camera in cameras}
    if len(named) == len(cameras) and len(set(titles)) == len(titles) and set(titles) <= set(named):
        missing = [camera.name for key, camera in named.items() if key not in titles]
        if missing:
            say(f"{name}: no 2D for the calibrated {', '.join(missing)}; goes on with {len(sources)} cameras")
        return Take(name, [named[title] for title in titles], sources)
    there = f"{', '.join(_title(s) for s in sources)}; the calibration has {', '.join(c.name for c in cameras)}"
    if len(sources) != len(cameras):
        raise UserError(f"{name}: 2D of {len(sources)} cameras for {len(cameras)} calibrated ones: {there}")
    pairs = ", ".join(f"{_title(s)} = {c.name}" for s, c in zip(sources, cameras, strict=True))
    say(f"{name}: names differ, so paired in order: {pairs}")
    return Take(name, cameras, sources)


def check_frames(take: Take, lengths: list[int]) -> None:
    """Refuse cameras that did not film the same frames.

    Folders of one file a frame must have the same first and last number; files of one array must be equally long. A
    JSON file ends with the last person that it found, so those may differ.
    """
    spans = {}
    for source, length in zip(take.sources, lengths, strict=True):
        if source.is_dir():
            numbers = [_number(p.stem.removesuffix("_keypoints")) for p in source.iterdir() if p.suffix == ".json"]
            spans[source] = (min(numbers), max(numbers))
        elif source.suffix != ".json":
            spans[source] = (0, length - 1)
    if len(set(spans.values())) > 1:
        told = ", ".join(f"{_title(s)} {first} to {last}" for s, (first, last) in spans.items())
        raise UserError(f"{take.name}: the cameras' frames differ: {told}; cut them to the same moments first")
    longest = max(last - first + 1 for first, last in spans.values()) if spans else max(lengths)
    if max(lengths) > longest:
        raise UserError(f"{take.name}: {max(lengths)} frames in one camera, {longest} in the others")


def scale_cameras(
    take: Take, found: list[tuple[int, int] | None], metres: float = 1.0, say: Callable = print
) -> list[Camera]:
    """The project's cameras. `found`: the picture size (width, height) that each 2D file tells, None for none."""
    cameras = []
    for camera, size in zip(take.cameras, found, strict=True):
        if camera.size and size and tuple(camera.size) != tuple(size):
            raise UserError(f"{take.name}: {camera.name} was calibrated at {camera.size}, its 2D is of {tuple(size)}")
        known = camera.size or size
        if known is None:
            known = tuple(int(v) for v in np.round(2 * camera.matrix[:2, 2]))
            say(f"{camera.name}: no picture size given; taken as twice the principal point, {known[0]} x {known[1]}")
        cameras.append(to_camera(camera, known, metres))
    return cameras
