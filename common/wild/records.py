"""JSON of people frame by frame in forms that need no parser each: YOLO's, MediaPipe's, AlphaPose's by image, lists.

A person is a record with joints under one of `JOINTS`: a flat list x, y, confidence, ..., a list of pairs or triples, a
list of points {x, y, ...}, or lists of all x and all y. A frame is a list of people, or a record with such a list under
one of `PEOPLE`; where nobody was found it may be null, or a record without joints. A file is a list of frames, or of
people with a frame's number (`FRAME`) each, or frames by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.wild.keypoint_file import KeypointFile, frame_numbers, identity, triplets

JOINTS = ("keypoints", "pose_landmarks", "landmarks", "joints", "pose_keypoints_2d")
PEOPLE = ("people", "bodies", "predictions", "detections", "persons", "objects", "instances", "annotations", "results")
FRAME = ("frame_id", "frame", "frame_index", "frame_number", "image_id", "image", "file_name")
SURE = ("confidence", "visibility", "visible", "conf", "score", "scores", "keypoint_scores")
NAME = ("class", "class_name", "name", "part")


def first_of(record: dict, names: tuple[str, ...]) -> Any:
    """The value of the first of these keys that the record has, else None."""
    return next((record[name] for name in names if record.get(name) is not None), None)


def from_records(data: Any, path: Path) -> KeypointFile | None:
    """The people of a file in one of these forms; None for anything else. What is wrong inside raises UserError."""
    frames = _frames(data)
    if frames is None:
        return None
    keys = [key for key, _ in frames]
    given = all(key is not None for key in keys)
    numbers, count = frame_numbers(keys, path) if given else (range(len(frames)), len(frames))
    people, ids, names = [[] for _ in range(count)], [[] for _ in range(count)], None
    for number, (_, rows) in zip(numbers, frames, strict=True):
        for row in rows:
            row = row if isinstance(row, dict) else {"landmarks": row}
            for joints in _each(first_of(row, JOINTS)):
                points, named = points_of(joints, row, path)
                names = names or named
                people[number].append(points)
                ids[number].append(identity(row, "track_id", "tracker_id", "person_id", "idx"))
    about = data if isinstance(data, dict) else next((row for row in data if isinstance(row, dict)), {})
    image = about["image"] if isinstance(about.get("image"), dict) else about
    size = (image["width"], image["height"]) if {"width", "height"} <= set(image) and "x" not in image else None
    return KeypointFile(people, ids, names, "coco", size, float(about["fps"]) if "fps" in about else None)


def _frames(data: Any) -> list[tuple[object, list]] | None:
    """(what the frame is called or None, its people's records), frame by frame."""
    if isinstance(data, dict):
        if isinstance(listed := first_of(data, ("frames", "annotations")), list):
            return _frames(listed)
        if _is_frame(data):
            return [(None, _people(data))]
        return [(key, _people(value)) for key, value in data.items()] if _all_frames(list(data.values())) else None
    if not isinstance(data, list) or not _all_frames(data):
        return None
    a_frame_each = any(_number(row) is not None or not _is_person(row) or not _BODY.isdisjoint(row) for row in data)
    return [(_number(row), _people(row)) for row in data] if a_frame_each else [(None, data)]


_BODY = {"landmarks", "pose_landmarks"}  # MediaPipe's: one person a frame, the frame not told


def _all_frames(rows: list) -> bool:
    return any(rows) and all(_is_frame(row) for row in rows)


def _each(joints: Any) -> list:
    """MediaPipe lists several people under one key: each one's points."""
    return joints if isinstance(joints, list) and joints and _is_point(joints[0]) else [joints]


def _number(frame: Any) -> Any:
    """What a record says of its frame: a number or a picture's name."""
    value = first_of(frame, FRAME) if isinstance(frame, dict) else None
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and {"x", "y"} <= set(value[0])


def _is_person(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(joints := first_of(value, JOINTS), dict | list) and bool(joints)


def _is_nobody(value: Any) -> bool:
    """A frame in which nobody was found: null, or a record whose joints are null or an empty list."""
    return value is None or (isinstance(value, dict) and not value.keys().isdisjoint(JOINTS) and not _is_person(value))


def _is_frame(value: Any) -> bool:
    if _is_nobody(value):
        return True
    if isinstance(value, list):
        return _is_point(value) or all(_is_person(row) or _is_point(row) for row in value)
    return _is_person(value) or (isinstance(value, dict) and isinstance(first_of(value, PEOPLE), list))


def _people(frame: Any) -> list:
    """The records of a frame's people."""
    if _is_nobody(frame):
        return []
    if isinstance(frame, list):
        return [frame] if _is_point(frame) else frame
    return [frame] if _is_person(frame) else first_of(frame, PEOPLE)


def points_of(joints: Any, row: dict, path: Path) -> tuple[np.ndarray, list[str] | None]:
    """(J, 3) of one person, and the joints' names where they stand beside them."""
    if isinstance(joints, dict):  # Ultralytics: lists of all x, all y
        sure = first_of(joints, SURE)
        return triplets(list(zip(joints["x"], joints["y"], strict=True)), sure, str(path)), None
    if _is_point(joints):
        sure = [first_of(point, SURE) for point in joints]
        names = [first_of(point, NAME) for point in joints]
        values = [[point["x"], point["y"], 1.0 if s is None else s] for point, s in zip(joints, sure, strict=True)]
        return triplets(values, source=str(path)), names if all(isinstance(name, str) for name in names) else None
    sure = first_of(row, SURE)
    if not isinstance(joints, list):
        raise UserError(f"{path}: keypoints are no list of x, y, confidence")
    return triplets(joints, sure if isinstance(sure, list) else None, str(path)), None
