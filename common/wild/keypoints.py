"""2D keypoints from the files of the common detectors: `read_keypoints(path)` tells the format by its content.

All coordinates are pixels, with a confidence as third channel: 0 means missing. Frames count from 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.engine.log import say
from common.errors import UserError
from common.files.reading import load_archive, load_array, read_json, understanding
from common.geometry.skeleton import (
    BLAZEPOSE_33,
    BODY_25,
    BODY_25B,
    COCO_17,
    COCO_FEET_21,
    H36M_17,
    HALPE_26,
    OPENPOSE_18,
    SKELETONS,
    Skeleton,
)
from common.wild import formats
from common.wild.keypoint_file import KeypointFile
from common.wild.scores import on_one_scale

LARGEST_IMAGE = 1 << 16  # pixels a side
FASTEST = 10_000.0  # frames a second
# What a number of joints means where nothing names them. Whole-body layouts begin with the body's joints.
BY_COUNT = {18: OPENPOSE_18, 21: COCO_FEET_21, 25: BODY_25, 26: HALPE_26, 33: BLAZEPOSE_33, 133: COCO_17, 136: HALPE_26}
LAYOUTS = {"coco": COCO_17, "h36m": H36M_17, "halpe": HALPE_26, "body_25": BODY_25, "body25": BODY_25} | SKELETONS


@dataclass(frozen=True)
class Detections:
    """What a 2D detector found.

    frames: one array (N, J, 3) a frame, pixels and confidence, N people; ids: one list of N identities a frame, -1
    where the file has none; size: image (width, height), fps: where the file says.
    """

    layout: Skeleton
    frames: list[np.ndarray]
    ids: list[np.ndarray]
    size: tuple[int, int] | None = None
    fps: float | None = None

    @property
    def people(self) -> int:
        """The most people in one frame."""
        return max((len(f) for f in self.frames), default=0)


def read_keypoints(path: Path | str, layout: str | None = None, clip: str | None = None) -> Detections:
    """Read a keypoint file, or OpenPose's folder of files.

    layout: the joints' layout by name, where the file cannot tell (17 joints are COCO's or Human3.6M's); clip: which
    video of an archive that holds several. Raises UserError for a missing or unknown file and for a wrong layout.
    """
    path = Path(path)
    if path.is_dir():
        found = formats.openpose_folder(path, clip)
    elif path.suffix.lower() == ".json":
        found = formats.from_json(read_json(path, "JSON file of keypoints"), path)
    elif path.suffix.lower() == ".npz":
        found = formats.from_archive(load_archive(path), path, clip)
    elif path.suffix.lower() == ".npy":
        found = formats.from_array(load_array(path), path)
        if len(found.frames) > 1 and (people := max(map(len, found.frames))) > 4 * len(found.frames):
            say(f"note: {path.name}: {people} people in {len(found.frames)} frames: the first axis is the people's")
    elif path.exists():
        raise UserError(f"{path}: no keypoint file; these are read: {formats.FORMATS}")
    else:
        raise UserError(f"{path}: no such file")
    with understanding(path, "file of keypoints"):
        return _detections(found, layout, path)


def keypoints_of_array(array: np.ndarray, name: str, layout: str | None = None) -> Detections:
    """What `read_keypoints` makes of a .npy file with this array; messages call it `name`."""
    with understanding(name, "array of keypoints"):
        return _detections(formats.from_array(array, Path(name)), layout, Path(name))


def _detections(found: KeypointFile, layout: str | None, path: Path) -> Detections:
    """What a parser found, its joints recognised, its numbers usable."""
    people = [person for frame in found.frames for person in frame]
    if not people:
        raise UserError(f"{path}: nobody in {len(found.frames)} frames")
    counts = {len(person) for person in people}
    if len(counts) > 1:
        raise UserError(f"{path}: people with different numbers of joints: {', '.join(map(str, sorted(counts)))}")
    count = counts.pop()
    hint = _which_of_25(people) if count == 25 else found.hint
    skeleton, order = recognise(count, found.names, hint, layout, path)
    frames, note = on_one_scale([_stack(frame, len(order))[:, order] for frame in found.frames])  # each (N, J, 3)
    if note:
        say(f"note: {path.name}: {note}")
    size = found.size and (int(found.size[0]), int(found.size[1]))
    if size and not (0 < size[0] <= LARGEST_IMAGE and 0 < size[1] <= LARGEST_IMAGE):
        raise UserError(f"{path}: says that its image has {size[0]} x {size[1]} pixels")
    if any(np.abs(frame[..., :2]).max(initial=0) > 1e6 for frame in frames):
        raise UserError(f"{path}: keypoints more than a million pixels from the picture's corner")
    if found.fps is not None and not 0.01 <= found.fps <= FASTEST:
        raise UserError(f"{path}: says that it has {found.fps:g} frames a second")
    return Detections(skeleton, frames, [np.array(i, int) for i in found.ids], size, found.fps)


def _which_of_25(people: list[np.ndarray]) -> str:
    """OpenPose's two layouts of 25 joints look alike in a file: under the right one the bones are short."""
    length = {}
    for skeleton in (BODY_25, BODY_25B):
        child, parent = np.array(skeleton.edges).T
        means = []
        for person in people:
            both = (person[child, 2] > 0) & (person[parent, 2] > 0)
            if both.any():
                bones = np.linalg.norm(person[child, :2] - person[parent, :2], axis=-1)[both]
                means.append(bones.mean() / max(np.ptp(person[person[:, 2] > 0, :2], axis=0).max(), 1))
        length[skeleton.name] = np.median(means) if means else np.inf
    return min(length, key=length.get)


def _stack(frame: Sequence[np.ndarray], joints: int) -> np.ndarray:
    """People of one frame (N, J, 3), float32; what is not finite counts as missing."""
    if not len(frame):
        return np.zeros((0, joints, 3), np.float32)
    points = np.stack(frame).astype(np.float32)
    points[~np.isfinite(points).all(-1)] = 0
    return points


def recognise(
    count: int, names: Sequence[str] | None, hint: str | None, wanted: str | None, source: Path | str
) -> tuple[Skeleton, list[int]]:
    """The layout of `count` joints, and the file's index of each of its joints.

    By the joints' names if the file has them (in any order), else by `wanted`, by the layout that the file names, by
    its own name, and by the count. Raises UserError where that leaves nothing or does not fit.
    """
    if wanted is not None and wanted.lower() not in LAYOUTS:
        raise UserError(f"--layout {wanted}: unknown; there are {', '.join(LAYOUTS)}")
    if names and wanted is None:
        plain = [_plain(name) for name in names]
        for skeleton in (HALPE_26, BODY_25, H36M_17, COCO_17, *SKELETONS.values()):  # the richest that fits
            joints = [_plain(joint) for joint in skeleton.joints]
            if len(plain) >= len(joints) and set(joints) <= set(plain):
                return skeleton, [plain.index(joint) for joint in joints]

    def fits(skeleton: Skeleton) -> bool:
        return count == len(skeleton) or BY_COUNT.get(count) is skeleton

    if wanted is not None:
        skeleton = LAYOUTS[wanted.lower()]
        if not fits(skeleton):
            raise UserError(f"{source}: {count} joints, but --layout {wanted} has {len(skeleton)}")
    else:
        hinted = [s for name, s in LAYOUTS.items() if hint and name in hint.lower() and fits(s)]
        skeleton = hinted[-1] if hinted else BY_COUNT.get(count)  # full names stand last and win over short ones
    if skeleton is None and count == 17:
        raise UserError(f"{source}: 17 joints may be COCO's or Human3.6M's; say --layout coco or --layout h36m")
    if skeleton is None:
        raise UserError(f"{source}: {count} joints fit no known layout; there are {', '.join(SKELETONS)}")
    return skeleton, list(range(len(skeleton)))


_SYNONYMS = {"ankle": "foot", "headtop": "head", "pelvis": "hip", "midhip": "hip", "root": "hip"}


def _plain(name: str) -> str:
    """'left_shoulder', 'LShoulder' and 'l-shoulder' are one joint: 'l shoulder'."""
    words = re.sub(r"([a-z])([A-Z])", r"\1 \2", re.sub(r"^([LR])([A-Z])", r"\1 \2", name))
    words = re.sub(r"[^a-z]+", " ", words.lower()).split()
    side = next((w[0] for w in words if w in ("l", "r", "left", "right")), "")
    rest = "".join(w for w in words if w not in ("l", "r", "left", "right"))
    return f"{side} {_SYNONYMS.get(rest, rest)}".strip()
