"""The three HumanEva-I cameras of each subject, read from `humaneva_cameras.json` beside this file.

The figures are the ones used across the field (VideoPose3D): millimetres, quaternions w first. No intrinsics are
among them: humaneva_intrinsics.py fits them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from common.errors import UserError
from common.files.reading import read_json
from common.geometry.camera import Camera

HUMANEVA_PEOPLE = ("S1", "S2", "S3")


@cache
def _calibration() -> dict:
    path = Path(__file__).with_suffix(".json")
    return read_json(path)


def humaneva_cameras(subject: str) -> list[Camera]:
    """The cameras C1, C2, C3 of a subject: 640x480, metres, `intrinsics` None.

    A subject's split does not matter: 'Train/S1', 'Validate/S1' and 'S1' are the same person before the same cameras.
    Raises UserError for a subject without calibration.
    """
    calibration, person = _calibration(), subject.rsplit("/", 1)[-1]
    if person not in calibration["extrinsics"]:
        known = ", ".join(calibration["extrinsics"])
        raise UserError(f"HumanEva-I has no cameras for subject {subject!r}; it has {known}")
    pairs = zip(calibration["cameras"], calibration["extrinsics"][person], strict=True)
    return [
        Camera(
            name=camera["id"],
            width=camera["res_w"],
            height=camera["res_h"],
            intrinsics=None,
            rotation=tuple(extrinsics["orientation"]),
            translation=tuple(t / 1000 for t in extrinsics["translation"]),
        )
        for camera, extrinsics in pairs
    ]
