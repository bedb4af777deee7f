"""Lifted people, and `poses.npz` that holds them: plain arrays that NumPy reads without pickles.

A person is a dictionary, one form for the writers of this folder:

    id            number that stays with the person
    first         frame of the sequence at which the arrays begin (0 if absent)
    positions     (T, J, 3), the result: metres, absolute, camera frame (x right, y down, z forward); NaN in frames in
                  which the person was away for long
    positions_raw (T, J, 3), the aggregate of the hypotheses before it was smoothed and made one body; optional
    hypotheses    (H, T, J, 3), likewise; optional
    spread        (T, J), metres: how far the hypotheses lie apart (`spread_of`); optional
    radius        (T, J), metres: within it of a joint of `positions` lies the true one, nine times of ten, both seen
                  from the root; NaN where a joint is not known; only of checkpoints and samplers for which this was
                  measured
    keypoints_2d  (T, J, 2), pixels of the input, gaps filled; optional
    mask          (T, J), False where a 2D joint was not seen; optional
    known         (T, J), False where a joint was unseen for so long that its place is a guess; optional
    up, floor     (3,) and a number: a point p is `p @ up - floor` metres above the ground; optional
    height        metres: how tall somebody with these legs and this trunk is; optional
    truth         (T, J, 3), for evaluations; optional
    label         name shown in pictures; optional
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError, visible
from common.files.reading import load_archive, understanding
from common.files.writing import save_npz
from common.geometry.skeleton import Skeleton

Person = dict[str, Any]

NUMBERS = ("up", "floor", "height")
ARRAYS = ("positions", "positions_raw", "hypotheses", "spread", "radius", "keypoints_2d", "mask", "known", "truth")


def spread_of(hypotheses: np.ndarray) -> np.ndarray:
    """Root-mean-square distance (T, J) of hypotheses (H, T, J, 3) from their mean, in their unit."""
    hypotheses = np.asarray(hypotheses)
    return np.sqrt(((hypotheses - hypotheses.mean(0)) ** 2).sum(-1).mean(0))


def held(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """An array with the last finite frame held where a frame is not finite, the first one before it; `axis` is time."""
    if np.isfinite(values).all():
        return values
    good = np.isfinite(values).all(tuple(n for n in range(values.ndim) if n != axis))
    index = np.maximum.accumulate(np.where(good, np.arange(len(good)), -1))
    return np.take(values, np.where(index < 0, good.argmax(), index), axis)


def write_poses(
    path: Path | str, people: Sequence[Person], fps: float, skeleton: Skeleton, *, card: dict | None = None
) -> None:
    """Write `poses.npz`.

    Its members: ids (P,), fps, units ('m'), frame, joints, parents, model (a JSON text: on what the model was trained),
    and for each person `ID/first`, `ID/positions`, `ID/positions_raw`, `ID/hypotheses`, `ID/spread`, `ID/radius`,
    `ID/keypoints_2d`, `ID/mask`, `ID/known`, `ID/up`, `ID/floor`, `ID/height`.
    """
    members: dict[str, np.ndarray] = {
        "ids": np.array([int(person["id"]) for person in people]),
        "fps": np.array(float(fps)),
        "units": np.array("m"),
        "frame": np.array("camera: x right, y down, z forward"),
        "joints": np.array(skeleton.joints),
        "parents": np.array(skeleton.parents),
        "model": np.array(json.dumps(card or {}, default=str)),
    }
    if len(set(members["ids"].tolist())) != len(people):
        raise UserError(f"{path}: two people with one id")
    for person in people:
        frames, joints = np.shape(person["positions"])[:2]
        if joints != len(skeleton):
            raise UserError(f"{path}: person {person['id']} has {joints} joints, the skeleton {len(skeleton)}")
        members[f"{person['id']}/first"] = np.array(int(person.get("first", 0)))
        for name in ARRAYS:
            if person.get(name) is None:
                continue
            array = np.asarray(person[name])
            array = array if array.dtype == bool else array.astype(np.float32)
            if array.shape[1 if name == "hypotheses" else 0] != frames:
                raise UserError(
                    f"{path}: person {person['id']}: {name} has the shape {array.shape} for {frames} frames"
                )
            members[f"{person['id']}/{name}"] = array
        told = {name: person[name] for name in NUMBERS if person.get(name) is not None}
        members |= {f"{person['id']}/{name}": np.float32(value) for name, value in told.items()}
    save_npz(path, **members)


def read_poses(path: Path | str) -> tuple[list[Person], float, tuple[str, ...], dict]:
    """Read `poses.npz`: people, fps, joint names, the model's card."""
    data = load_archive(path)
    with understanding(path, "file of poses"):
        people = []
        for number in np.atleast_1d(data["ids"]).tolist():
            person: Person = {"id": number, "first": int(data[f"{number}/first"])}
            person |= {name: data[f"{number}/{name}"] for name in (*ARRAYS, *NUMBERS) if f"{number}/{name}" in data}
            people.append(person)
        fps, joints = float(data["fps"]), tuple(visible(joint) for joint in data["joints"].tolist())
        if not 0 < fps < 1e5:
            raise ValueError(f"{fps} frames a second")
        for person in people:
            if np.shape(person.get("up", (0, 0, 0))) != (3,) or np.shape(person.get("floor", 0)) != ():
                raise ValueError(f"up and floor of person {person['id']}")
            if np.shape(person.get("height", 0)) != ():
                raise ValueError(f"height of person {person['id']}")
            for name in (name for name in ARRAYS if name in person):
                array = person[name]
                if array.dtype.kind not in "fiub" or array.ndim < 2 or array.ndim > 4:
                    raise ValueError(f"{name} of person {person['id']} has the shape {array.shape}")
                if array.ndim > 2 and array.shape[-2] != len(joints):
                    raise ValueError(f"{name} of person {person['id']} has {array.shape[-2]} of {len(joints)} joints")
        return people, fps, joints, json.loads(str(data["model"]))
