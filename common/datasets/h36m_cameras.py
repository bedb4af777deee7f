"""The four Human3.6M cameras of each subject, read from `h36m_cameras.json` beside this file.

The figures are the ones used across the field (VideoPose3D): pixels, millimetres, quaternions w first.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from common.errors import UserError
from common.files.reading import read_json
from common.geometry.camera import Camera, screen_intrinsics

H36M_SUBJECTS = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")


@cache
def _calibration() -> dict:
    path = Path(__file__).with_suffix(".json")
    return read_json(path)


def h36m_cameras(subject: str) -> list[Camera]:
    """The four cameras of a subject, in the order of the published files: intrinsics in screen units, metres.

    Raises UserError for a subject without calibration.
    """
    calibration = _calibration()
    if subject not in calibration["extrinsics"]:
        known = ", ".join(calibration["extrinsics"])
        raise UserError(f"Human3.6M has no cameras for subject {subject!r}; it has {known}")
    pairs = zip(calibration["intrinsics"], calibration["extrinsics"][subject], strict=True)
    return [_camera(intrinsics, extrinsics) for intrinsics, extrinsics in pairs]


def _camera(intrinsics: dict, extrinsics: dict) -> Camera:
    width, height = intrinsics["res_w"], intrinsics["res_h"]
    screen = screen_intrinsics(
        intrinsics["focal_length"],
        intrinsics["center"],
        intrinsics["radial_distortion"],
        intrinsics["tangential_distortion"],
        width,
        height,
    )
    return Camera(
        name=intrinsics["id"],
        width=width,
        height=height,
        intrinsics=screen,
        rotation=tuple(extrinsics["orientation"]),
        translation=tuple(t / 1000 for t in extrinsics["translation"]),
    )
