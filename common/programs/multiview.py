"""Several calibrated cameras' 2D to a data set of one's own: `data/convert_multiview.py`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.datasets.custom import row_of, write_custom_2d, write_custom_3d
from common.errors import UserError
from common.files.names import file_name
from common.files.writing import try_writing
from common.geometry.camera import Camera
from common.geometry.gaps import runs
from common.geometry.skeleton import H36M_17, Skeleton, joint_map
from common.multiview.folders import Take, check_frames, find_takes, scale_cameras
from common.multiview.matching import Person, match_people
from common.multiview.page import take_of, write_page
from common.multiview.recording import (
    GAP,
    Reconstructed,
    finish,
    gather,
    locate_person,
    metres_of,
    turned,
    upright,
)
from common.multiview.triangulation import Triangulated
from common.settings.ranges import FPS, WEIGHT
from common.wild.cleaning import fill_gaps
from common.wild.keypoints import Detections, read_keypoints

LEAST_SEEN = 0.5  # of the joints: a frame in which a camera sees less of a person is a gap there

FITTING = 0.2  # of a camera's detections: where fewer belong to a person, something is wrong with the camera


@dataclass(frozen=True)
class Recording:
    """One take read and matched, in the calibration's units."""

    take: Take
    cameras: list[Camera]
    layout: Skeleton
    fps: float
    views: list[list[np.ndarray]]  # each camera's frames of people (N, J, 3)
    people: list[Person]
    found: list[Triangulated]  # of the people
    swapped: int  # limbs that a detector put on the wrong side

    @property
    def frames(self) -> int:
        return len(self.views[0])


def read_take(take: Take, options: argparse.Namespace, say: Callable) -> Recording:
    """Read the 2D of every camera, check that they fit together, match the people, triangulate."""
    read = [read_keypoints(source, options.layout or None) for source in take.sources]
    layout = _one_layout(take, read)
    lengths = [len(found.frames) for found in read]
    check_frames(take, lengths)
    fps = options.fps or next((found.fps for found in read if found.fps), None)
    if not fps:
        raise UserError(f"{take.name}: the 2D does not say its frame rate; say --fps")
    views = [_padded(found, max(lengths)) for found in read]
    cameras = scale_cameras(take, [found.size for found in read], say=say)
    for camera, view, source in zip(cameras, views, take.sources, strict=True):
        _check_pixels(camera, view, source)
    people = match_people(views, cameras, fps)
    if not people:
        raise UserError(
            f"{take.name}: nobody whom two cameras agree on in {max(lengths)} frames; is each folder paired with its "
            "own camera, and are the cameras synchronous?"
        )
    located = [locate_person(*gather(person, views), cameras, layout) for person in people]
    swapped = sum(n for _, n in located)
    return Recording(take, cameras, layout, float(fps), views, people, [found for found, _ in located], swapped)


def _one_layout(take: Take, read: list[Detections]) -> Skeleton:
    layouts = {found.layout.name: found.layout for found in read}
    if len(layouts) > 1:
        raise UserError(f"{take.name}: the cameras' keypoints are of different layouts: {', '.join(layouts)}")
    layout = next(iter(layouts.values()))
    try:
        joint_map(layout, H36M_17)
    except KeyError:
        raise UserError(f"{take.name}: no map from {layout.name} to {H36M_17.name}") from None
    return layout


def _padded(found: Detections, frames: int) -> list[np.ndarray]:
    nobody = np.zeros((0, len(found.layout), 3), np.float32)
    return [*found.frames, *[nobody] * (frames - len(found.frames))]


def _check_pixels(camera: Camera, view: list[np.ndarray], source: Path) -> None:
    points = np.concatenate([people[people[..., 2] > 0][:, :2] for people in view])
    if len(points) and np.abs(points).max() < 4:
        raise UserError(f"{source}: keypoints within 4 units of the origin; pixels belong there")
    inside = ((points >= 0) & (points <= (camera.width, camera.height))).all(-1)
    if len(points) and inside.mean() < 0.5:
        raise UserError(
            f"{source}: {1 - inside.mean():.0%} of the keypoints lie outside the {camera.width} x {camera.height} "
            f"pictures of {camera.name}"
        )


def keypoints_of(person: Reconstructed, layout: Skeleton, fps: float) -> list[np.ndarray]:
    """Each camera's (T, J, 2), pixels: as detected, a missing joint interpolated as main_wild.py does it; NaN where the
    camera sees less than half of the person for longer than GAP."""
    out = []
    for points, confidence in zip(person.keypoints, person.confidence, strict=True):
        seen = confidence > 0
        if not seen.any():
            out.append(np.full(points.shape, np.nan, np.float32))
            continue
        filled = fill_gaps(points, seen, layout)
        there = seen.mean(1) >= LEAST_SEEN
        for start, end in runs(~there):
            if end - start > GAP * fps or start == 0 or end == len(there):
                filled[start:end] = np.nan
        out.append(filled)
    return out


def convert(options: argparse.Namespace, say: Callable = print) -> None:
    """Read all takes of the folder, write both files of `-d custom` and the page. Raises UserError in one line."""
    if options.name and file_name(options.name) != options.name:
        raise UserError(f"--name {options.name}: a word that may stand in a file's name belongs there")
    takes = find_takes(options.root, options.calibration, say)
    try_writing(options.output)
    recordings = [read_take(take, options, say) for take in takes]
    _same({r.layout.name for r in recordings}, "layouts")
    _same({r.fps for r in recordings}, "frame rates")
    layout, fps = recordings[0].layout, recordings[0].fps
    everyone = [found for r in recordings for found in r.found]
    metres = metres_of(everyone, layout, str(options.root))
    turn = upright(everyone, layout)
    if metres != 1:
        say(f"the calibration's lengths are taken as {'centimetres' if metres == 0.01 else 'millimetres'}")
    if not np.array_equal(turn, np.eye(3)):
        say("the world is turned by quarter turns so that z points up")
    store: dict[str, dict] = {name: {} for name in ("positions", "spread", "measured", "cameras", "keypoints", "sure")}
    shown = []
    for recording in recordings:
        cameras = [turned(_in_metres(camera, metres), turn) for camera in recording.cameras]
        people = {}
        for number, (person, found) in enumerate(zip(recording.people, recording.found, strict=True), 1):
            name = f"P{number}" if len(recordings) == 1 else f"{recording.take.name}-P{number}"
            keypoints, confidence = gather(person, recording.views)
            people[name] = finish(keypoints, confidence, found, layout, fps, metres, turn, options.cutoff)
        _report(recording, people, say)
        for name, finished in people.items():
            _keep(store, name, recording, finished, cameras, layout, fps, say)
        shown.append(take_of(recording.take.name, fps, cameras, recording.views, recording.people, people))
    if not store["positions"]:
        raise UserError(f"{options.root}: no person of whom every joint is known in any frame")
    name = options.name or options.root.resolve().name
    path = options.output / f"data_2d_custom_{name}.npz"
    write_custom_2d(path, store["keypoints"], layout, layout.name, confidence=np.array(store["sure"], dtype=object))
    more = {key: np.array(store[key], dtype=object) for key in ("spread", "measured")}
    path_3d = options.output / f"data_3d_custom_{name}.npz"
    write_custom_3d(path_3d, store["positions"], store["cameras"], fps, H36M_17, **more)
    page = write_page(options.output / f"multiview_{name}.html", name, shown)
    say(f"written: {path}, {path_3d}, {page}")
    say(f"train: python main.py -d custom -k {name} --data-root {options.output} -str ... -ste ...")


def _same(values: set, what: str) -> None:
    if len(values) > 1:
        raise UserError(f"the takes have different {what}: {', '.join(map(str, sorted(values)))}")


def _in_metres(camera: Camera, metres: float) -> Camera:
    return replace(camera, translation=tuple(metres * v for v in camera.translation))


def _keep(store: dict, name: str, recording: Recording, person: Reconstructed, cameras, layout, fps, say) -> None:
    """Put a person into the files, without the cameras that share no frame with the 3D."""
    if not person.whole.any():
        never = [H36M_17.joints[j] for j in np.flatnonzero(np.isnan(person.points[..., 0]).all(0))]
        why = f"{', '.join(never)} seen by one camera at most" if never else "no frame with every joint"
        say(f"{name}: left out of the files, {why}")
        return
    views = keypoints_of(person, layout, fps)
    kept = [v for v, view in enumerate(views) if (np.isfinite(view).all((1, 2)) & person.whole).any()]
    action = recording.take.name
    store["positions"][name] = {action: person.points.astype(np.float32)}
    store["spread"][name] = {action: person.spread.astype(np.float32)}
    store["measured"][name] = {action: person.measured}
    store["cameras"][name] = {action: [row_of(cameras[v]) for v in kept]}
    store["keypoints"][name] = {action: [views[v].astype(np.float32) for v in kept]}
    store["sure"][name] = {action: [person.confidence[v].astype(np.float32) for v in kept]}


def _report(recording: Recording, people: dict[str, Reconstructed], say: Callable) -> None:
    """Say who was found, how well the views agree, and what was dropped."""
    total = [sum(len(p) for p in view) for view in recording.views]
    matched = np.sum([(person.chosen >= 0).sum(1) for person in recording.people], axis=0)
    rows = [f"{c.name} {n - m} of {n}" for c, n, m in zip(recording.cameras, total, matched.tolist(), strict=True)]
    say(f"{recording.take.name}: {recording.frames} frames at {recording.fps:g} Hz, {len(people)} people")
    say(f"  detections that belong to nobody: {', '.join(rows)}; limbs on the wrong side: {recording.swapped}")
    for camera, n, m in zip(recording.cameras, total, matched.tolist(), strict=True):
        if n and m < FITTING * n:
            say(f"  {camera.name}: hardly any of its detections fits the other cameras: the right camera, and in time?")
    for (name, person), found in zip(people.items(), recording.found, strict=True):
        errors = [
            100 * np.nanmedian(np.linalg.norm(e, axis=-1)) if np.isfinite(e).any() else np.nan for e in found.errors
        ]
        by_camera = ", ".join(
            f"{c.name} {e:.1f} %" for c, e in zip(recording.cameras, errors, strict=True) if np.isfinite(e)
        )
        spread = np.nanmedian(person.spread) if np.isfinite(person.spread).any() else np.nan
        say(
            f"  {name}: {person.whole.sum()} whole frames; spread {1000 * spread:.0f} mm; median reprojection error "
            f"as a share of the person's size: {by_camera}"
        )


def parser(text: str | None) -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument(
        "--root", type=Path, required=True, help="folder with the 2D of every camera, or with such folders"
    )
    out.add_argument("--calibration", type=Path, help=".toml file, or folder of intri.yml and extri.yml")
    out.add_argument("--fps", type=FPS, help="frames a second, where the 2D does not say")
    out.add_argument("--layout", default="", help="the joints' layout by name, where the files cannot tell")
    out.add_argument("--cutoff", type=WEIGHT, default=6.0, help="Hz, low-pass of the 3D; 0 is none (default: 6)")
    out.add_argument("--name", default="", help="the NAME in data_2d_custom_NAME.npz (default: the folder's)")
    out.add_argument("-o", "--output", type=Path, default=Path("data"), help="where the files go (default: data)")
    return out
