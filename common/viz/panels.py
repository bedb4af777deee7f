"""A panel shows one person: in the image plane, or in 3D on a floor. Figures and animations are rows of panels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from PIL import Image

from common.geometry.skeleton import Skeleton
from common.viz.draw import DARK, LIGHT, TRUTH, DrawnFloor, DrawnSkeleton
from common.viz.view import View


@dataclass(frozen=True)
class Limits:
    """What part of the picture plane a 3D panel shows, metres, and how far its floor reaches."""

    half_width: float
    bottom: float
    top: float
    floor: float

    @property
    def aspect(self) -> float:
        """Height over width."""
        return (self.top - self.bottom) / (2 * self.half_width)

    def fitted(self, aspect: float) -> Limits:
        """The same, widened until it fills a panel of this height over width."""
        if self.aspect < aspect:
            room = 2 * self.half_width * aspect - (self.top - self.bottom)
            return Limits(self.half_width, self.bottom - 0.35 * room, self.top + 0.65 * room, self.floor)
        return Limits((self.top - self.bottom) / (2 * aspect), self.bottom, self.top, self.floor)


def limits_of(view: View, poses: np.ndarray, floor: np.ndarray | float) -> Limits:
    """Limits that hold all poses (..., J, 3) that stand on a floor at `floor` (...,), height under the root."""
    points = view.project(poses - np.multiply.outer(floor, view.vertical)[..., None, :])
    level = np.linalg.norm(poses @ view.ground.T, axis=-1)
    radius = max(0.55, 1.08 * float(np.nanmax(level)))
    front = radius * abs(view.project(view.vertical)[2])
    half = max(radius, float(np.nanmax(np.abs(points[..., 0])))) + 0.06
    low, high = float(np.nanmin(points[..., 1])), float(np.nanmax(points[..., 1]))
    return Limits(half, min(-front, low) - 0.05, max(high, front) + 0.08, radius)


def line_width(axes: Axes) -> float:
    """Points: bones keep their share of the panel at every size."""
    height = axes.get_position(original=True).height * axes.figure.get_figheight() * 72
    return float(np.clip(0.0135 * height, 1.0, 4.5))


class PosePanel:
    """A 3D panel: the pose over its truth, many hypotheses faint behind it, the floor below, a shadow on the floor."""

    def __init__(
        self, axes: Axes, skeleton: Skeleton, view: View, limits: Limits, name: str, *, hypotheses: int = 0,
        truth: bool = False, pose: str | None = "pose", shadow: bool = True,
    ):  # fmt: skip
        """pose: the word that ends the pose's id, None for a panel of hypotheses alone."""
        self.axes = axes
        axes.set_aspect("equal")
        axes.patch.set_gid(f"{name}-panel")
        self.view, width = view, line_width(axes)
        ground = view.project(view.ground)[:, :2]  # (2, 2)
        self.floor = DrawnFloor(axes, ground, view.project(view.vertical), limits.floor, name, 0.3 * width)
        self.zoom(limits)
        self.shadow = DrawnSkeleton(
            axes, skeleton, f"{name}-shadow", 0.8 * width, colours="#DADADA", halo=None, dots=False, zorder=0.5
        )  # fmt: skip
        self.shadow.show(shadow and pose is not None)
        alpha = 0.75 if pose is None else 0.5
        alpha = max(0.12, alpha / max(hypotheses, 1) ** 0.35)
        self.hypotheses = [
            DrawnSkeleton(axes, skeleton, f"{name}-hypothesis{h}", 0.55 * width, alpha=alpha, halo=None, dots=False)
            for h in range(hypotheses)
        ]
        self.truth = self.pose = None
        if truth:
            self.truth = DrawnSkeleton(
                axes, skeleton, f"{name}-truth", 2.4 * width, colours=TRUTH, halo=None, dots=False, zorder=2
            )  # fmt: skip
        if pose is not None:
            self.pose = DrawnSkeleton(axes, skeleton, f"{name}-{pose}", width, zorder=4)
        self.skeletons = [self.shadow, *([self.truth] if truth else []), *self.hypotheses]
        self.skeletons += [self.pose] if pose is not None else []

    @property
    def artists(self) -> list:
        """What moves, in the order of drawing."""
        return [self.floor.disc, self.floor.grid, *(artist for drawn in self.skeletons for artist in drawn.artists)]

    def zoom(self, limits: Limits) -> None:
        """Show this part of the picture plane; the floor's squares tell the scale."""
        box, figure = self.axes.get_position(original=True), self.axes.figure
        limits = limits.fitted(box.height * figure.get_figheight() / (box.width * figure.get_figwidth()))
        self.axes.set_xlim(-limits.half_width, limits.half_width)
        self.axes.set_ylim(limits.bottom, limits.top)
        self.floor.resize(limits.floor)

    def show(
        self, pose: np.ndarray | None = None, hypotheses: np.ndarray | None = None, truth: np.ndarray | None = None,
        floor: float = 0.0, position: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        """Root-relative metres in the camera frame: pose (J, 3), hypotheses (H, J, 3), truth (J, 3).

        floor: height of the floor under the root (negative); position (3,): where the root is, slides the grid.
        """
        lift = -floor * self.view.vertical
        for drawn, points in zip(self.hypotheses, () if hypotheses is None else hypotheses, strict=True):
            self._move(drawn, points + lift)
        if self.truth is not None:
            self._move(self.truth, truth + lift)
        if self.pose is not None:
            self._move(self.pose, pose + lift)
            self._move(self.shadow, pose @ self.view.ground.T @ self.view.ground)
        if position is not None:
            self.floor.move(self.view.ground @ position)

    def _move(self, drawn: DrawnSkeleton, points: np.ndarray) -> None:
        projected = self.view.project(points)
        drawn.move(projected[:, :2], projected[:, 2])


class ImagePanel:
    """A 2D panel: keypoints in screen units over nothing (white), over black, or over video frames."""

    def __init__(
        self, axes: Axes, skeleton: Skeleton, name: str, box: tuple[float, float, float, float], *, dark: bool = False,
        pixels: tuple[int, int] | None = None, span: float = 1.0,
    ):  # fmt: skip
        """box: left, right, top, bottom in screen units. pixels: (width, height) at which video frames are shown.
        span: what part of the panel a person fills; smaller persons get thinner bones."""
        left, right, top, bottom = box
        axes.set_xlim(left, right)
        axes.set_ylim(bottom, top)
        axes.set_aspect("equal")
        axes.patch.set_gid(f"{name}-panel")
        axes.patch.set_facecolor("black" if dark else "white")
        self._pixels = pixels
        self.image: AxesImage | None = None
        if pixels is not None:
            blank = np.zeros((pixels[1], pixels[0], 3), np.uint8)
            self.image = axes.imshow(blank, extent=(left, right, bottom, top), interpolation="nearest", zorder=0)
            axes.set_xlim(left, right)
            axes.set_ylim(bottom, top)
        colours, halo = (DARK, "black") if dark else (LIGHT, "white")
        width = max(1.0, line_width(axes) * float(np.clip(span, 0.1, 1.0)) ** 0.4)
        self.pose = DrawnSkeleton(axes, skeleton, f"{name}-keypoints", width, colours=colours, halo=halo)

    @property
    def artists(self) -> list:
        return [*([self.image] if self.image is not None else []), *self.pose.artists]

    def show(self, keypoints: np.ndarray, image: np.ndarray | None = None) -> None:
        """keypoints (J, 2), screen units; image: uint8 RGB of the whole frame, None for black."""
        self.pose.move(keypoints)
        if self.image is None:
            return
        width, height = self._pixels
        if image is None:
            self.image.set_data(np.zeros((height, width, 3), np.uint8))
        else:
            small = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
            self.image.set_data(np.asarray(small))


def box_around(keypoints: np.ndarray, aspect: float) -> tuple[float, float, float, float]:
    """A box of this height over width around all keypoints (..., J, 2), with a margin: left, right, top, bottom."""
    points = keypoints.reshape(-1, 2)
    low, high = np.nanmin(points, 0), np.nanmax(points, 0)
    centre, size = (low + high) / 2, np.maximum(high - low, 1e-3) * 1.16
    height = max(size[1], size[0] * aspect)
    width = height / aspect
    return (centre[0] - width / 2, centre[0] + width / 2, centre[1] - height / 2, centre[1] + height / 2)
