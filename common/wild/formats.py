"""The detectors' formats, each parsed into lists of people a frame. `keypoints.read_keypoints` picks the parser."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files.reading import read_json, understanding
from common.wild.keypoint_file import KeypointFile, frame_numbers, identity, triplets
from common.wild.records import from_records
from common.wild.scores import refuse_depth

FORMATS = (
    "AlphaPose, OpenPose (a file, or a folder of files, as Pose2Sim writes too), COCO results and annotations, MMPose "
    "and RTMPose, MediaPipe's landmarks, YOLO's and other lists of people by frame (.json); Detectron2, VideoPose3D's "
    "custom layout (.npz); plain arrays (.npy)"
)


def from_json(data: object, path: Path) -> KeypointFile:
    """A JSON file of any of the detectors, told apart by its keys."""
    rows = data if isinstance(data, list) else []
    first = next((row for row in rows if isinstance(row, dict)), {})
    with understanding(path, "file of keypoints"):
        if isinstance(data, dict) and "instance_info" in data:
            return mmpose(data["instance_info"], data.get("meta_info") or {}, path)
        if isinstance(data, dict) and _has_openpose(data):
            return openpose([data], path)
        if isinstance(data, dict) and "image_id" in next(iter(data.get("annotations") or [{}]), {}):
            return coco(data["annotations"], path, data.get("images", []), data.get("categories", []))
        if "instances" in first:
            return mmpose(rows, {}, path)
        if rows and all(isinstance(row, dict) and _has_openpose(row) for row in rows):
            return openpose(rows, path)
        if "image_id" in first and "keypoints" in first:
            return coco(rows, path)
        if "keypoint_scores" in first:  # MMPose on a single image
            return mmpose([{"frame_id": 0, "instances": rows}], {}, path)
        if found := from_records(data, path):
            return found
    raise UserError(f"{path}: unknown keypoint format; these are read: {FORMATS}")


def coco(rows: list[dict], path: Path, images: list[dict] = (), categories: list[dict] = ()) -> KeypointFile:
    """COCO results and AlphaPose: one row a person, `image_id` a number or a file name such as '12.jpg'."""
    rows = [row for row in rows if row.get("keypoints")]
    names = next((c["keypoints"] for c in categories if c.get("keypoints")), None)
    of_image = {image["id"]: image.get("file_name", image["id"]) for image in images}
    keys = [of_image.get(row["image_id"], row["image_id"]) for row in rows]
    numbers, count = frame_numbers([*keys, *of_image.values()], path)
    frames, ids = [[] for _ in range(count)], [[] for _ in range(count)]
    for row, number in zip(rows, numbers, strict=False):
        frames[number].append(triplets(row["keypoints"], source=str(path)))
        ids[number].append(identity(row, "track_id", "idx"))
    size = (images[0]["width"], images[0]["height"]) if images and "width" in images[0] else None
    return KeypointFile(frames, ids, names, "coco", size)


def openpose(frames: list[dict], path: Path) -> KeypointFile:
    """OpenPose's own JSON: one object a frame, `pose_keypoints_2d` of each of `people`."""
    people, ids = [], []
    for frame in frames:
        rows = [row for row in frame["people"] if row.get("pose_keypoints_2d")]
        people.append([triplets(row["pose_keypoints_2d"], source=str(path)) for row in rows])
        ids.append([identity(row, "person_id") for row in rows])
    return KeypointFile(people, ids, hint="coco")


def _has_openpose(frame: dict) -> bool:
    """Whether this is a frame in OpenPose's form: `people`, if any, with `pose_keypoints_2d`."""
    people = frame.get("people")
    return isinstance(people, list) and all(isinstance(row, dict) and "pose_keypoints_2d" in row for row in people)


def openpose_folder(folder: Path, clip: str | None = None) -> KeypointFile:
    """A folder of `NAME_000000000012_keypoints.json` or `NAME_000012.json` (Pose2Sim), one a frame.

    clip: NAME, where there are files of several.
    """
    clips: dict[str, list[Path]] = {}
    for file in sorted(folder.glob("*.json")):
        name = re.sub(r"[ _.-]*\d+$", "", file.stem.removesuffix("_keypoints"))
        clips.setdefault(name, []).append(file)
    chosen = [name for name in clips if clip is None or name == clip]
    if not clips:
        raise UserError(f"{folder}: no .json files of keypoints in this folder; these are read: {FORMATS}")
    if len(chosen) != 1:
        some = ", ".join(list(clips)[:6]) + (", ..." if len(clips) > 6 else "")
        raise UserError(f"{folder}: holds files of {len(clips)} clips; choose one with --clip: {some}")
    files = clips[chosen[0]]
    with understanding(folder, "folder of OpenPose's files"):
        numbers, count = frame_numbers([f.stem.removesuffix("_keypoints") for f in files], folder)
    frames: list[dict] = [{"people": []} for _ in range(count)]
    for file, number in zip(files, numbers, strict=True):
        data = read_json(file)
        if not isinstance(data, dict) or not _has_openpose(data):
            raise UserError(f"{file}: not a keypoint file of OpenPose")
        frames[number] = data
    with understanding(folder, "folder of OpenPose's files"):
        return openpose(frames, folder)


def mmpose(rows: list[dict], meta: dict, path: Path) -> KeypointFile:
    """MMPose and RTMPose: rows of {'frame_id', 'instances': [{'keypoints', 'keypoint_scores', ...}]}."""
    given = [int(row.get("frame_id", n)) for n, row in enumerate(rows)]
    first = min(given, default=0)
    count = max(given, default=-1) - first + 1
    if count > 100 * len(rows) + 1000:
        raise UserError(f"{path}: frame numbers from {first} to {max(given)} are no frames of one video")
    frames, ids = [[] for _ in range(count)], [[] for _ in range(count)]
    for number, row in zip(given, rows, strict=True):
        for person in row["instances"]:
            points = triplets(person["keypoints"], person.get("keypoint_scores"), str(path))
            frames[number - first].append(points)
            ids[number - first].append(identity(person, "track_id", "instance_id"))
    named = meta.get("keypoint_id2name") or {}
    names = [named[key] for key in sorted(named, key=int)] or None
    return KeypointFile(frames, ids, names, meta.get("dataset_name", "coco"))


def from_archive(data: dict, path: Path, clip: str | None) -> KeypointFile:
    """Detectron2's output, VideoPose3D's custom layout, or an archive with one array."""
    with understanding(path, "archive of keypoints"):
        if "positions_2d" in data:
            return videopose(data, path, clip)
        if "keypoints" in data and "boxes" in data:
            return detectron(data, path)
    if len(data) == 1:
        return from_array(next(iter(data.values())), path)
    raise UserError(f"{path}: unknown keypoint archive with {', '.join(data)}; these are read: {FORMATS}")


def videopose(data: dict, path: Path, clip: str | None) -> KeypointFile:
    """VideoPose3D: positions_2d[subject][action] is a list over cameras of (T, J, 2), pixels."""
    clips = {
        f"{subject}/{action}/{camera}": np.asarray(array)
        for subject, actions in data["positions_2d"].items()
        for action, cameras in actions.items()
        for camera, array in enumerate(cameras)
    }
    chosen = [key for key in clips if clip is None or key == clip or key.startswith(f"{clip}/")]
    if len(chosen) != 1:
        some = ", ".join(list(clips)[:6]) + (", ..." if len(clips) > 6 else "")
        raise UserError(f"{path}: holds {len(clips)} clips; choose one with --clip: {some}")
    meta = data.get("metadata") or {}
    parsed = from_array(clips[chosen[0]], path)
    video = (meta.get("video_metadata") or {}).get(chosen[0].split("/")[0], {})
    parsed.hint = str(meta.get("layout_name", "")) or parsed.hint
    parsed.size = (int(video["w"]), int(video["h"])) if "w" in video and "h" in video else None
    parsed.fps = float(video["fps"]) if "fps" in video else None
    return parsed


def detectron(data: dict, path: Path) -> KeypointFile:
    """Detectron and Detectron2 as VideoPose3D stores them: a frame's keypoints are [[], (N, 4, 17)]: x, y, logit, p."""
    frames = []
    for boxes, keypoints in zip(data["boxes"], data["keypoints"], strict=True):
        boxes, keypoints = np.asarray(boxes[1]), np.asarray(keypoints[1])
        if len(keypoints) == 0:
            frames.append([])
            continue
        order = np.argsort(-boxes[:, 4]) if boxes.ndim == 2 and boxes.shape[1] > 4 else range(len(keypoints))
        frames.append([keypoints[n][[0, 1, 3]].T.astype(np.float32) for n in order])  # each (17, 3)
    meta = data.get("metadata") or {}
    size = (int(meta["w"]), int(meta["h"])) if "w" in meta and "h" in meta else None
    return KeypointFile(frames, hint="coco", size=size, fps=float(meta["fps"]) if "fps" in meta else None)


def from_array(array: object, path: Path) -> KeypointFile:
    """A plain array (T, J, 2 or 3), or (people, T, J, 2 or 3), pixels; the file name may name the layout.

    MediaPipe's landmarks may also be x, y, z, visibility, or x, y, z: their z is left out.
    """
    array = np.asarray(array)
    if array.dtype.kind in "fiu" and array.ndim in (3, 4) and array.shape[-2] == 33 and array.shape[-1] in (3, 4):
        if array.shape[-1] == 4:
            array = array[..., [0, 1, 3]]
        elif np.nanmin(array[..., 2], initial=0) < 0:  # a depth, not a confidence
            array = array[..., :2]
    if array.dtype.kind not in "fiu":
        raise UserError(f"{path}: an array of {array.dtype}, not of numbers")
    if array.ndim not in (3, 4) or array.shape[-1] not in (2, 3):
        raise UserError(
            f"{path}: expected (frames, joints, 2 or 3) or (people, frames, joints, 2 or 3), got {array.shape}"
        )
    if array.shape[-1] == 3:
        refuse_depth(array, str(path))
    array = array[None] if array.ndim == 3 else array  # (N, T, J, C)
    frames, ids = [], []
    for frame in array.swapaxes(0, 1):  # (N, J, C)
        seen = [n for n, person in enumerate(frame) if (np.isfinite(person) & (person != 0)).any()]
        frames.append([triplets(frame[n], source=str(path)) for n in seen])
        ids.append(seen)
    return KeypointFile(frames, ids, hint=path.stem)
