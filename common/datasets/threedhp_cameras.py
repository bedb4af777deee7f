"""Cameras of MPI-INF-3DHP: of the test sequences, for reprojection (JPMA) and root fitting, and the training files'.

The calibration gives focal length, centre offset and sensor in millimetres, and a pixel aspect. Published code leaves
the aspect out; with it, annot3 meets annot2 at 0.31 (TS5) and 0.11 px (TS6) in the mean instead of 1.57 and 1.37. The
lens distortion that the calibration of TS5 and TS6 lists is never applied: the 2D annotations are undistorted.
univ_annot3 is rescaled and meets annot2 with neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.datasets.threedhp_layout import TEST_SIZES, TRAIN_CAMERAS, TRAIN_SIZE
from common.errors import UserError
from common.files.reading import read_text, understanding
from common.geometry.camera import Camera, screen_intrinsics

LARGEST = 1 << 20  # bytes of a calibration file


@dataclass(frozen=True)
class _Lens:
    """Millimetres, and the height of a pixel as a share of its width."""

    sensor: tuple[float, float]
    focal: float
    offset: tuple[float, float]
    aspect: float


_STUDIO = _Lens((10.0, 10.0), 7.32506, (-0.0322884, 0.0929296), 1.0)  # TS1-4; 1.00044 is listed and too small to check
_OUTDOOR = _Lens((10.0, 5.625), 8.770747185, (-0.104908645, 0.104899704), 0.993236423)
_LENSES = {name: _OUTDOOR if name in ("TS5", "TS6") else _STUDIO for name in TEST_SIZES}


def pixel_intrinsics(sequence: str, published: bool = False) -> tuple[float, float, float, float]:
    """(fx, fy, cx, cy) in pixels of a test sequence; `published` leaves the pixel aspect out (fy = fx)."""
    if sequence not in _LENSES:
        raise UserError(f"{sequence}: no such test sequence of 3DHP; there are {', '.join(_LENSES)}")
    lens, (width, height) = _LENSES[sequence], TEST_SIZES[sequence]
    fx = lens.focal * width / lens.sensor[0]
    fy = fx if published else fx * lens.aspect
    cx, cy = (
        offset * size / sensor + size / 2
        for offset, size, sensor in zip(lens.offset, (width, height), lens.sensor, strict=True)
    )
    return fx, fy, cx, cy


def threedhp_camera(sequence: str, published: bool = False) -> Camera:
    """The camera of TS1 ... TS6: linear, intrinsics in screen units, camera frame = world frame, metres.

    `published` gives the intrinsics of the published code, for `--protocol published`.
    """
    fx, fy, cx, cy = pixel_intrinsics(sequence, published)
    width, height = TEST_SIZES[sequence]
    numbers = screen_intrinsics((fx, fy), (cx, cy), (0.0, 0.0, 0.0), (0.0, 0.0), width, height)
    return Camera(sequence, width, height, numbers)


def read_calibration(path: Path) -> dict[str, np.ndarray]:
    """`camera.calibration`: {camera name: (fx, fy, cx, cy) in pixels}, for an image of 2048 x 2048.

    Text of keyword lines; each camera begins with `name`, and has `size` and a row-major 4 x 4 `intrinsic`.
    """
    cameras, name = {}, None
    for line in read_text(path, LARGEST, "camera.calibration", errors="replace").splitlines():
        key, *values = line.split() or [""]
        if key == "name" and values:
            name = values[0]
        elif key == "size":
            if _numbers(path, key, values, 2) != TRAIN_SIZE:
                raise UserError(f"{path}: camera {name} has images of {' x '.join(values)}, expected 2048 x 2048")
        elif key == "intrinsic":
            matrix = np.reshape(_numbers(path, f"camera {name}: intrinsic", values, 16), (4, 4))
            if name is None or min(matrix[0, 0], matrix[1, 1]) <= 0:
                raise UserError(f"{path}: an intrinsic matrix without a camera or without a focal length")
            cameras[name] = np.array([matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]])
    missing = [camera for camera in TRAIN_CAMERAS if camera not in cameras]
    if missing:
        raise UserError(f"{path}: no intrinsics of camera {', '.join(missing)}")
    return {camera: cameras[camera] for camera in TRAIN_CAMERAS}


def _numbers(path: Path, what: str, words: list[str], count: int) -> tuple[float, ...]:
    """So many finite numbers of a line."""
    with understanding(path, "calibration"):
        numbers = tuple(float(word) for word in words)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise UserError(f"{path}: {what} has {len(numbers)} numbers, {count} finite ones are expected")
    return numbers
