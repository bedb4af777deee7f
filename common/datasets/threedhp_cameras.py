"""Cameras of the MPI-INF-3DHP test sequences, for reprojection (JPMA) and root fitting.

The calibration gives focal length, centre offset and sensor in millimetres, and a pixel aspect. Published code leaves
the aspect out; with it, annot3 meets annot2 at 0.31 (TS5) and 0.11 px (TS6) in the mean instead of 1.57 and 1.37. The
lens distortion that the calibration of TS5 and TS6 lists is never applied: the 2D annotations are undistorted.
univ_annot3 is rescaled and meets annot2 with neither.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.datasets.threedhp_layout import TEST_SIZES
from common.errors import UserError
from common.geometry.camera import Camera, screen_intrinsics


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
