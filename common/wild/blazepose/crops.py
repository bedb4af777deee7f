"""Turned square crops of a picture, and points from crop to picture and back.

A crop (4,) is centre x, centre y, side, all in pixels of the picture, and the angle in radians by which the person is
turned clockwise from upright. The crop shows the person upright.
"""

from __future__ import annotations

import numpy as np

MARGIN = 1.25  # of the crop around the circle of the body


def around(centre: np.ndarray, rim: np.ndarray) -> np.ndarray:
    """The crop (4,) of a body with its hip centre (2,) and the point (2,) of its circle above the head, pixels."""
    x, y = np.asarray(rim, float) - centre
    return np.array([*centre, 2 * MARGIN * np.hypot(x, y), np.arctan2(x, -y)])


def whole(width: int, height: int) -> np.ndarray:
    """The crop (4,) that just holds a picture of this size."""
    return np.array([width / 2, height / 2, max(width, height), 0.0])


def to_picture(points: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """Points (..., 2) of a crop, 0..1 from its top left, in pixels of the picture."""
    x, y, side, angle = crop
    c, s = np.cos(angle), np.sin(angle)
    return (np.asarray(points) - 0.5) * side @ np.array([[c, s], [-s, c]]) + [x, y]


def to_crop(points: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """Points (..., 2), pixels of the picture, in 0..1 of the crop: undoes `to_picture`."""
    x, y, side, angle = crop
    c, s = np.cos(angle), np.sin(angle)
    return (np.asarray(points) - [x, y]) @ np.array([[c, -s], [s, c]]) / side + 0.5


def cut(image: np.ndarray, crop: np.ndarray, pixels: int, *, black: bool = False) -> np.ndarray:
    """What a crop shows of an image (height, width, 3), uint8: (pixels, pixels, 3), float32 in 0..1, bilinear.

    Beyond the picture its edge goes on, or, with `black`, nothing is. Pixel (0, 0) of the crop is read at the crop's
    corner and positions count in 1/32 of a pixel: how OpenCV warps, and so how the networks were run by their makers.
    Their answers hang on it: half a pixel moves landmarks by one.
    """
    height, width = image.shape[:2]
    corner, right, down = to_picture(np.array([[0.0, 0], [1, 0], [0, 1]]), crop)
    steps = np.arange(pixels) / pixels
    places = [corner[n] + (right - corner)[n] * steps + (down - corner)[n] * steps[:, None] for n in (0, 1)]
    (x, x_share), (y, y_share) = (_cells(place) for place in places)
    flat = image.reshape(-1, 3)
    out = np.zeros((pixels, pixels, 3), np.float32)
    for row, row_share in ((y, 1 - y_share), (y + 1, y_share)):
        for column, share in ((x, 1 - x_share), (x + 1, x_share)):
            weight = row_share * share
            if black:
                weight = weight * ((row >= 0) & (row < height) & (column >= 0) & (column < width))
            index = row.clip(0, height - 1) * width + column.clip(0, width - 1)
            out += flat.take(index, 0) * weight[..., None]
    return np.floor(out + 0.5) * np.float32(1 / 255)


def _cells(place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pixel before each place, and the share of the next one, in 32nds."""
    whole = np.rint(place * 32).astype(np.int64)
    return whole >> 5, (whole & 31).astype(np.float32) / 32
