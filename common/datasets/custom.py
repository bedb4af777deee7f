"""Data of one's own: `data_2d_custom_NAME.npz` in VideoPose3D's layout and `data_3d_custom_NAME.npz` beside it.

The 2D file has `positions_2d[subject][action]`, a list over cameras of (T, J, 2), pixels, and `metadata` with
`layout_name`, `num_joints`, `keypoints_symmetry` and, for videos, `video_metadata[subject] = {w, h, fps}`. It says
nothing of 3D, so the 3D file holds the rest:

    positions_3d  {subject: {action: (T, J, 3)}}: world, metres, z up; NaN where a frame has no annotation
    cameras       {subject: [camera, ...]}, '*' stands for all other subjects; in the list's place may stand
                  {action: [camera, ...]} where they differ, with '*' for all other actions. A camera is a dictionary of
                  id, res_w, res_h, focal_length, center (pixels), radial_distortion, tangential_distortion (zeros if
                  absent), orientation (quaternion w first, camera to world) and translation (metres)
    fps           frames per second
    joints, parents, left, right   names; parent of each joint, -1 for the root; mirrored joints in matching order

One 3D file may have several 2D files: `data_2d_custom_NAME_gt.npz` finds `data_3d_custom_NAME.npz`. `write_custom_3d`
and `write_custom_2d` make them, `camera_row` makes a camera of its matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from common.datasets.checks import (
    check_metres,
    check_pixels,
    check_pose_array,
    require_file,
    scores_of,
    select_subjects,
)
from common.datasets.clips import Clip
from common.errors import UserError, visible
from common.files.reading import load_archive, understanding
from common.files.writing import save_npz
from common.geometry.camera import Camera, pixels_to_screen, project, screen_intrinsics
from common.geometry.skeleton import COCO_17, H36M_17, HALPE_26, SKELETONS, Skeleton, joint_map
from common.settings.lifting import EVERYTHING

MEMBERS = ("positions_3d", "cameras", "fps", "joints", "parents", "left", "right")
WHERE = "docs/custom_data.md says what belongs into it"
LARGEST_IMAGE = 1 << 16  # pixels a side
AT_CENTRE = 0.01  # metres
_LAYOUTS = {"coco": COCO_17, "h36m": H36M_17, "halpe": HALPE_26} | SKELETONS


def load_custom(root: Path, name: str, subjects: Sequence[str] = EVERYTHING) -> tuple[list[Clip], Skeleton]:
    """Clips of the subjects (by default all), one for each camera that saw an action, and the data's skeleton.

    Metres, camera frame; frames with missing annotations are marked invalid. Where the 2D layout is another than the
    3D's and a map between them is known, the 2D is mapped. Raises UserError for what does not fit together.
    """
    root = Path(root)
    path_3d = require_file(find_3d(root, name), _sources(root))
    path_2d = require_file(root / f"data_2d_custom_{name}.npz", WHERE)
    data, detections = load_archive(path_3d), load_archive(path_2d)
    with understanding(f"{path_3d}, {path_2d.name}", "pair of custom files"):
        return _read(data, detections, subjects, path_3d.name, path_2d.name)


def _read(
    data: dict, detections: dict, subjects: Sequence[str], name_3d: str, name_2d: str
) -> tuple[list[Clip], Skeleton]:
    """Clips and skeleton of the two files' contents."""
    skeleton, positions, fps = _checked(data, name_3d)
    if not isinstance(detections.get("positions_2d"), dict):
        raise UserError(f"{name_2d}: has no dictionary 'positions_2d'; {WHERE}")
    layout = _layout_2d(detections.get("metadata") or {}, skeleton)
    clips: list[Clip] = []
    for subject in select_subjects(positions, subjects, name_3d):
        for action, world in positions[subject].items():
            cameras = read_cameras(data["cameras"], subject, action, name_3d)
            views = detections["positions_2d"].get(subject, {}).get(action)
            where = f"{name_2d} {subject} {action}"
            if views is None:
                raise UserError(f"{where}: not in this file, but in {name_3d}")
            if len(views) != len(cameras):
                raise UserError(f"{where}: {len(views)} cameras, {name_3d} has {len(cameras)}")
            for camera, pixels in zip(cameras, views, strict=True):
                clips.append(_clip(subject, action, camera, fps, pixels, world, layout, skeleton, where))
    if not clips:
        raise UserError(f"{name_3d}: no action of {', '.join(subjects)}")
    return clips, skeleton


def _checked(data: dict, name: str) -> tuple[Skeleton, dict, float]:
    """Skeleton, positions by subject and action, and rate of a 3D file."""
    missing = [member for member in MEMBERS if member not in data]
    if missing:
        raise UserError(f"{name}: lacks {', '.join(missing)}; {WHERE}")
    skeleton, positions, fps = read_skeleton(data, name), data["positions_3d"], _fps(data["fps"], name)
    if not isinstance(positions, dict) or not all(isinstance(actions, dict) for actions in positions.values()):
        raise UserError(f"{name}: positions_3d is no dictionary of subjects and actions; {WHERE}")
    return skeleton, positions, fps


def check_3d(data: dict, name: str) -> int:
    """Everything that a 3D file says, without its 2D; returns the frames of all takes. Raises UserError."""
    skeleton, positions, _ = _checked(data, name)
    frames = 0
    for subject, actions in positions.items():
        for action, world in actions.items():
            read_cameras(data["cameras"], subject, action, name)
            points, valid = _points(subject, action, world, skeleton)
            check_metres(f"3D of {subject} {action}", points[valid])
            frames += len(points)
    return frames


def load_skeleton(root: Path, name: str) -> Skeleton:
    """The skeleton of a pair of custom files, without loading their motion."""
    path = require_file(find_3d(root, name), _sources(root))
    data = load_archive(path, ("joints", "parents", "left", "right"))
    if missing := [member for member in ("joints", "parents", "left", "right") if member not in data]:
        raise UserError(f"{path.name}: lacks {', '.join(missing)}; {WHERE}")
    with understanding(path, "skeleton"):
        return read_skeleton(data, path.name)


def find_3d(root: Path, name: str) -> Path:
    """The 3D file that goes with the 2D file NAME: of its own name, else of that less its last words: cmu_gt, cmu."""
    parts = name.split("_")
    names = ["_".join(parts[:end]) for end in range(len(parts), 0, -1)]
    paths = [root / f"data_3d_custom_{stem}.npz" for stem in names]
    return next((path for path in paths if path.is_file()), paths[0])


def _sources(root: Path) -> str:
    there = sorted(p.stem.removeprefix("data_2d_custom_") for p in root.glob("data_2d_custom_*.npz"))
    return f"custom data in {root}: {', '.join(there)} (choose with -k)" if there else WHERE


def _clip(subject, action, camera, fps, pixels, world, layout, skeleton, where) -> Clip:
    scores = scores_of(pixels, layout, skeleton)
    pixels, good_2d = _finite(f"{where} {camera.name}", pixels, len(layout), 2)
    points, good_3d = _points(subject, action, world, skeleton)
    if len(pixels) < len(points):
        raise UserError(f"{where}: {len(pixels)} frames of 2D for {len(points)} of 3D")
    pixels, valid = pixels[: len(points)], good_2d[: len(points)] & good_3d
    if not valid.any():
        raise UserError(f"{where}: no frame with both 2D and 3D")
    check_pixels(f"{where} {camera.name}", pixels[valid], (camera.width, camera.height))
    check_metres(f"3D of {subject} {action}", points[valid])
    screen = pixels_to_screen(torch.from_numpy(pixels), camera.width, camera.height).numpy()
    if layout != skeleton:
        screen = joint_map(layout, skeleton) @ screen  # the map is affine, so it may follow the change of units
    in_camera = camera.world_to_camera(torch.from_numpy(points)).numpy()
    _check_projection(f"{where} {camera.name}", camera, in_camera[valid], screen[valid], skeleton.root)
    scores = None if scores is None else scores[: len(points)]
    return Clip(subject, str(action), camera, fps, screen.astype(np.float32), in_camera, valid, scores)


def _check_projection(where: str, camera: Camera, poses: np.ndarray, screen: np.ndarray, root: int) -> None:
    """Refuse a camera before which the person (T, J, 3) is not where its 2D (T, J, 2), screen units, says.

    That is: mostly behind it, or farther from the 2D than the person is large there. Poses whose root lies in the
    camera's centre have no place, and are left alone.
    """
    if np.abs(poses[:, root]).max() < AT_CENTRE:
        return
    mend = "orientation turns the camera's axes into the world's, w first; translation is the camera's place, metres"
    if (poses[..., 2] <= 0).mean() > 0.5:
        raise UserError(f"{where}: the person is behind the camera; {mend}")
    projected = project(torch.from_numpy(poses), torch.tensor(camera.intrinsics)).numpy()
    size = np.median(np.linalg.norm(np.ptp(screen, axis=1), axis=-1))
    away = np.median(np.linalg.norm(projected - screen, axis=-1))
    if away > size:
        raise UserError(
            f"{where}: the 3D lies {away * camera.width / 2:.0f} pixels from the 2D in the median, of a person "
            f"{size * camera.width / 2:.0f} pixels large; {mend}"
        )


def _points(subject: str, action: str, world: object, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    return _finite(f"3D of {subject} {action}", world, len(skeleton), 3)


def _finite(name: str, array, joints: int, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """The checked array with NaN frames at zero, and which frames are whole (T,)."""
    try:
        with np.errstate(over="ignore"):
            array = np.array(array, np.float32)
    except (ValueError, TypeError):
        raise UserError(f"{name}: not an array of numbers") from None
    good = np.isfinite(array).reshape(len(array), -1).all(1) if array.ndim == 3 and len(array) else np.zeros(0, bool)
    array[~np.isfinite(array)] = 0
    return check_pose_array(name, array, joints, dims), good


def _fps(value, source: str) -> float:
    try:
        fps = float(value)
    except (TypeError, ValueError):
        fps = 0.0
    if not 1 <= fps <= 1000:
        raise UserError(f"{source}: fps is {value!r}; frames per second belong there")
    return fps


def read_skeleton(data: dict, source: str) -> Skeleton:
    """The skeleton of a 3D file, one of the known ones where it is the same tree."""
    joints = tuple(visible(joint) for joint in np.asarray(data["joints"]).tolist())
    try:
        parents, left, right = (
            tuple(int(j) for j in np.asarray(data[key]).ravel()) for key in ("parents", "left", "right")
        )
    except (TypeError, ValueError):
        raise UserError(f"{source}: parents, left and right are lists of joint numbers") from None
    count = len(joints)
    if len(set(joints)) < count:
        raise UserError(f"{source}: two joints have one name among {', '.join(joints)[:200]}")
    roots = [j for j, parent in enumerate(parents) if parent == -1]
    if len(parents) != count or len(roots) != 1 or any(not -1 <= p < count or p == j for j, p in enumerate(parents)):
        raise UserError(f"{source}: parents must name {count} joints' parents, with -1 for exactly one root")
    if any(_depth(j, parents) > count for j in range(count)):
        raise UserError(f"{source}: parents run in a circle")
    if len(left) != len(right) or set(left) & set(right) or not set(left + right) <= set(range(count)):
        raise UserError(f"{source}: left and right must be lists of joints of one length, without common ones")
    for known in SKELETONS.values():
        if (known.parents, known.root) == (parents, roots[0]) and {*zip(left, right, strict=True)} == {
            *zip(known.left, known.right, strict=True)
        }:
            return known
    return Skeleton("custom", joints, parents, left, right, roots[0])


def _depth(joint: int, parents: tuple[int, ...]) -> int:
    depth = 0
    while joint >= 0 and depth <= len(parents):
        joint, depth = parents[joint], depth + 1
    return depth


def _layout_2d(metadata: dict, skeleton: Skeleton) -> Skeleton:
    """The 2D layout that the metadata names, if it can be mapped to the skeleton; else the skeleton's own."""
    named = _LAYOUTS.get(str(metadata.get("layout_name", "")).lower())
    if named is None or named == skeleton:
        return skeleton
    try:
        joint_map(named, skeleton)
    except KeyError:
        return skeleton
    return named


def read_cameras(cameras, subject: str, action: str, source: str) -> list[Camera]:
    """The cameras that saw a subject's action: intrinsics in screen units, metres."""
    if not isinstance(cameras, dict):
        raise UserError(f"{source}: cameras is no dictionary of subjects; {WHERE}")
    rows, whose = cameras.get(subject, cameras.get("*")), f"subject {subject}"
    if isinstance(rows, dict):
        rows, whose = rows.get(action, rows.get("*")), f"{subject} {action}"
    if not isinstance(rows, list | tuple | np.ndarray) or not len(rows):
        raise UserError(f"{source}: no cameras for {whose}")
    found = [_camera(row, n, f"{source}: camera {n} of {subject}") for n, row in enumerate(rows)]
    ids = [camera.name for camera in found]
    if twice := [name for n, name in enumerate(ids) if name in ids[:n]]:
        raise UserError(f"{source}: two cameras of {whose} have the id {twice[0]}")
    return found


def _camera(row, number: int, where: str) -> Camera:
    def vector(key: str, size: int, largest: float, default=None) -> list[float]:
        value = np.asarray(row.get(key, default), float).ravel().tolist() if row.get(key, default) is not None else []
        if len(value) != size or not np.isfinite(value).all():
            raise UserError(f"{where}: {key} must be {size} numbers")
        if max(map(abs, value)) > largest:
            raise UserError(f"{where}: {key} holds {max(value, key=abs):.3g}; at most {largest:g} is taken")
        return value

    if not isinstance(row, dict) or "res_w" not in row or "res_h" not in row:
        raise UserError(f"{where}: a dictionary with res_w, res_h, focal_length, center, ... belongs there; {WHERE}")
    width, height = int(row["res_w"]), int(row["res_h"])
    if not (0 < width <= LARGEST_IMAGE and 0 < height <= LARGEST_IMAGE):
        raise UserError(f"{where}: an image of {width} x {height} pixels")
    orientation = np.array(vector("orientation", 4, 2.0, (1, 0, 0, 0)))
    if abs(np.linalg.norm(orientation) - 1) > 0.01:
        raise UserError(f"{where}: orientation is no unit quaternion")
    focal, center = vector("focal_length", 2, 1e6), vector("center", 2, 1e6)
    if min(focal) < 10:
        raise UserError(f"{where}: focal_length {focal[0]:g} is not in pixels")
    lens = vector("radial_distortion", 3, 1e3, (0, 0, 0)), vector("tangential_distortion", 2, 1e3, (0, 0))
    return Camera(
        name=visible(row.get("id", number)),
        width=width,
        height=height,
        intrinsics=screen_intrinsics(focal, center, *lens, width, height),
        rotation=tuple((orientation / np.linalg.norm(orientation)).tolist()),
        translation=tuple(vector("translation", 3, 1e4, (0, 0, 0))),
    )


def camera_row(
    name: str,
    size: tuple[int, int],
    matrix: np.ndarray,
    rotation: np.ndarray,
    translation: np.ndarray,
    *,
    radial: Sequence[float] = (0.0, 0.0, 0.0),
    tangential: Sequence[float] = (0.0, 0.0),
) -> dict:
    """A camera as the 3D file holds it.

    size: width and height, pixels; matrix (3, 3), pixels; rotation (3, 3) and translation (3,), metres, from the world
    to the camera: x_camera = rotation @ x_world + translation.
    """
    x, y, z, w = Rotation.from_matrix(np.asarray(rotation, float).T).as_quat()
    return {
        "id": name,
        "res_w": int(size[0]),
        "res_h": int(size[1]),
        "focal_length": (float(matrix[0][0]), float(matrix[1][1])),
        "center": (float(matrix[0][2]), float(matrix[1][2])),
        "radial_distortion": tuple(map(float, radial)),
        "tangential_distortion": tuple(map(float, tangential)),
        "orientation": tuple(map(float, (w, x, y, z))),
        "translation": tuple((-np.asarray(rotation, float).T @ np.asarray(translation, float)).tolist()),
    }


def row_of(camera: Camera) -> dict:
    """A camera of ours as the 3D file holds it."""
    fx, fy, cx, cy, *lens = camera.intrinsics
    half = camera.width / 2
    return {
        "id": camera.name,
        "res_w": camera.width,
        "res_h": camera.height,
        "focal_length": (fx * half, fy * half),
        "center": ((cx + 1) * half, cy * half + camera.height / 2),
        "radial_distortion": tuple(lens[:3]),
        "tangential_distortion": tuple(lens[3:]),
        "orientation": camera.rotation,
        "translation": camera.translation,
    }


def write_custom_3d(
    path: Path | str, positions_3d: dict, cameras: dict, fps: float, skeleton: Skeleton, **more
) -> Path:
    """Write a `data_3d_custom_NAME.npz` from the members described at the head of this module, and others beside."""
    return save_npz(
        path,
        positions_3d=np.array(positions_3d, dtype=object),
        cameras=np.array(cameras, dtype=object),
        fps=fps,
        joints=np.array(skeleton.joints),
        parents=np.array(skeleton.parents),
        left=np.array(skeleton.left, int),
        right=np.array(skeleton.right, int),
        **more,
    )


def write_custom_2d(path: Path | str, positions_2d: dict, skeleton: Skeleton, layout: str, **more) -> Path:
    """Write a `data_2d_custom_NAME.npz`: {subject: {action: one (T, J, 2) a camera, pixels}}, in a named layout."""
    symmetry = [list(skeleton.left), list(skeleton.right)]
    metadata = {"layout_name": layout, "num_joints": len(skeleton), "keypoints_symmetry": symmetry}
    return save_npz(path, positions_2d=np.array(positions_2d, dtype=object), metadata=metadata, **more)
