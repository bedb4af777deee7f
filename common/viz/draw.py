"""One skeleton, one floor, one legend: the marks that every picture is made of.

Left is blue, right vermillion, the middle dark grey (Okabe and Ito's palette, told apart with every common kind of
colour blindness). Each mark is made once and moved afterwards, so that animations do not rebuild their axes.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse

from common.geometry.skeleton import Skeleton

LIGHT = {"left": "#0072B2", "right": "#D55E00", "centre": "#333333"}  # on white
DARK = {"left": "#56B4E9", "right": "#E69F00", "centre": "#F5F5F5"}  # on black or on a video
TRUTH = "#BDBDBD"
SHADOW = "#D2D2D2"
FLOOR, GRID = "#F6F6F6", "#E3E3E3"
GRID_SPACING = 0.25  # metres


def joint_sides(skeleton: Skeleton) -> list[str]:
    """`left`, `right` or `centre` for each joint."""
    side = dict.fromkeys(skeleton.left, "left") | dict.fromkeys(skeleton.right, "right")
    return [side.get(joint, "centre") for joint in range(len(skeleton))]


def bone_sides(skeleton: Skeleton) -> list[str]:
    """The side of each bone of `skeleton.edges`: that of its child joint, or of its parent where that has one."""
    sides = joint_sides(skeleton)
    return [sides[parent] if sides[child] == "centre" else sides[child] for child, parent in skeleton.edges]


class DrawnSkeleton:
    """A skeleton in a picture: bones coloured by side, near ones over far ones, dots for joints.

    colours: by side, or one for all. halo: a rim around each bone that keeps crossing limbs apart. The bones carry
    `name` as their id in an SVG file, the dots `name` + "-joints".
    """

    def __init__(
        self,
        axes: Axes,
        skeleton: Skeleton,
        name: str,
        width: float,
        *,
        colours: dict[str, str] | str = LIGHT,
        alpha: float = 1.0,
        halo: str | None = "white",
        dots: bool = True,
        zorder: float = 3.0,
    ):
        if isinstance(colours, str):
            colours = dict.fromkeys(LIGHT, colours)
        self.edges = np.array(skeleton.edges)  # (bones, 2)
        self.name, self.halo = name, halo
        self.order = np.arange(len(self.edges))  # bones as drawn, far to near
        self._colours = np.array([to_rgba(colours[side], alpha) for side in bone_sides(skeleton)])  # (bones, 4)
        self.lines = LineCollection([], linewidths=[width], colors=self._colours, capstyle="round", zorder=zorder)
        self.lines.set_gid(name)
        axes.add_collection(self.lines, autolim=False)
        self.artists: list = [self.lines]
        if halo is not None:
            self.lines.set_linewidths([1.5 * width, width])
            self.lines.set_capstyle("butt")
        self.dots: PathCollection | None = None
        if dots:
            faces = [to_rgba(colours[side], alpha) for side in joint_sides(skeleton)]
            self.dots = axes.scatter(
                np.zeros(len(skeleton)), np.zeros(len(skeleton)), s=(1.75 * width) ** 2, c=faces, zorder=zorder + 0.1
            )
            self.dots.set_linewidths(0)
            self.dots.set_gid(f"{name}-joints")
            self.artists.append(self.dots)

    def move(self, points: np.ndarray, away: np.ndarray | None = None) -> None:
        """Put the joints at (J, 2) in the axes' units; away (J,): distance from the viewer, for what hides what."""
        bones = points[self.edges]  # (bones, 2 ends, 2)
        if away is not None:
            self.order = np.argsort(-away[self.edges].mean(-1), kind="stable")
        bones, colours = bones[self.order], self._colours[self.order]
        if self.halo is not None:  # each bone after its own rim
            rim = np.array([*to_rgba(self.halo)[:3], 0.0])
            rim[3] = colours[0, 3]
            bones = np.repeat(bones, 2, axis=0)
            colours = np.stack([np.broadcast_to(rim, colours.shape), colours], 1).reshape(-1, 4)
        paths = self.lines.get_paths()
        if len(paths) != len(bones):
            self.lines.set_segments(bones)
        for path, bone in zip(paths, bones, strict=False):  # new paths for every frame would take a third of a video
            path.vertices[:] = bone
        self.lines.stale = True
        self.lines.set_color(colours)
        if self.dots is not None:
            self.dots.set_offsets(points)

    def show(self, visible: bool) -> None:
        for artist in self.artists:
            artist.set_visible(visible)


class DrawnFloor:
    """A round piece of level floor under the root, at height 0 of the picture, with a light grid of 25 cm squares."""

    def __init__(self, axes: Axes, ground: np.ndarray, up: np.ndarray, radius: float, name: str, width: float):
        """ground (2, 2): where a metre along the floor's two directions lies in the picture; up: see `foreshortening`;
        width: of the lines, points."""
        self._ground, self._shortening, self._position = ground, foreshortening(up), np.zeros(2)
        self.disc = Ellipse((0, 0), 1, 1, facecolor=FLOOR, edgecolor=GRID, linewidth=1.2 * width, zorder=0.1)
        self.disc.set_gid(f"{name}-floor")
        axes.add_patch(self.disc)
        self.grid = LineCollection([], colors=[GRID], linewidths=[width], zorder=0.2)
        self.grid.set_gid(f"{name}-grid")
        axes.add_collection(self.grid, autolim=False)
        self.resize(radius)

    def resize(self, radius: float) -> None:
        """radius: of the piece of floor, metres."""
        self._radius = radius
        self.disc.set_width(2 * radius)
        self.disc.set_height(2 * radius * self._shortening)
        self.move(self._position)

    def move(self, position: np.ndarray) -> None:
        """Let the grid slide under a person who stands at `position` (2,), metres along the floor's directions."""
        self._position = position
        lines = []
        for axis in (0, 1):
            first = np.ceil((position[axis] - self._radius) / GRID_SPACING)
            last = np.floor((position[axis] + self._radius) / GRID_SPACING)
            offsets = np.arange(first, last + 1) * GRID_SPACING - position[axis]
            half = np.sqrt(np.maximum(self._radius**2 - offsets**2, 0.0))
            ends = np.zeros((len(offsets), 2, 2))
            ends[..., axis] = offsets[:, None]
            ends[..., 1 - axis] = half[:, None] * [-1, 1]
            lines.append(ends @ self._ground)
        self.grid.set_segments(np.concatenate(lines))


def foreshortening(up: np.ndarray) -> float:
    """How much shorter a level length that points away appears: the sine of the elevation. up: the world's upright,
    seen in the picture (right, up, away)."""
    return float(abs(up[2]))


def legend_handles(hypotheses: int = 0, truth: bool = False, centre: bool = True) -> list[Line2D]:
    """What the colours mean, for a legend."""
    sides = [("left", "left"), ("right", "right")] + [("centre", "middle")] * centre
    handles = [Line2D([], [], color=LIGHT[side], linewidth=3, label=label) for side, label in sides]
    if hypotheses:
        handles.append(
            Line2D(
                [], [], color="#9A9A9A", linewidth=1, label=f"{hypotheses} hypothes{'i' if hypotheses == 1 else 'e'}s"
            )
        )
    if truth:
        handles.append(Line2D([], [], color=TRUTH, linewidth=5, label="truth"))
    return handles
