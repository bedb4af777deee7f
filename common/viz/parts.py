"""One panel a file: the 2D input, and one state of the reverse process. For people who lay out their own figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.geometry.camera import Camera
from common.geometry.skeleton import Skeleton
from common.viz.draw import legend_handles
from common.viz.figure import NOTE
from common.viz.layout import Page, caption_height, footer_height, formats_for, save
from common.viz.panels import ImagePanel, PosePanel, box_around, limits_of
from common.viz.view import floor_heights, view_from

SIZE, SIDE = 8.0, 2.8  # points, inches


def keypoints_figure(
    path: Path | str, skeleton: Skeleton, keypoints_2d: np.ndarray, *, caption: str = "", formats: tuple[str, ...] = ()
) -> list[Path]:
    """2D keypoints (J, 2), screen units; returns the paths. Id in SVG: `input-keypoints`."""
    formats_for(path, formats)
    page, head = _page(caption)
    panel = ImagePanel(page.panel(0.1, head, SIDE, SIDE), skeleton, "input", box_around(keypoints_2d, 1.0))
    panel.show(keypoints_2d)
    page.footer(legend_handles(), caption, "", SIZE)
    return save(page, path, formats, [panel.pose], "2D input")


def state_figure(
    path: Path | str, skeleton: Skeleton, states: np.ndarray, *, pose: np.ndarray | None = None,
    standing: np.ndarray | None = None, camera: Camera | None = None, caption: str = "",
    formats: tuple[str, ...] = (),
) -> list[Path]:  # fmt: skip
    """Poses of one state of the reverse process, (H, J, 3), root-relative metres, camera frame; returns the paths.

    pose (J, 3) is drawn over them; one state alone is drawn as a full skeleton. standing (J, 3): whose feet tell where
    the floor is (default: the pose, or the first state). Ids in SVG: `state-pose`, `state-hypothesis{h}`.
    """
    formats_for(path, formats)
    single = len(states) == 1
    main = states[0] if pose is None and single else pose
    standing = standing if standing is not None else states[0] if main is None else main
    view = view_from(camera)
    floor = float(floor_heights(view, standing[None])[0])
    shown = states if main is None else np.concatenate([states, main[None]])  # (H or H + 1, J, 3)
    page, head = _page(caption)
    panel = PosePanel(
        page.panel(0.1, head, SIDE, SIDE), skeleton, view, limits_of(view, shown, np.full(len(shown), floor)), "state",
        hypotheses=0 if single else len(states), pose=None if main is None else "pose",
    )  # fmt: skip
    panel.show(main, None if single else states, floor=floor)
    page.footer(legend_handles(0 if single else len(states)), caption, NOTE, SIZE)
    return save(page, path, formats, panel.skeletons, "State of the reverse process")


def _page(caption: str) -> tuple[Page, float]:
    """A page for one square panel, and where the panel begins."""
    head = caption_height(caption, SIZE) + 0.05
    return Page(SIDE + 0.2, head + SIDE + footer_height(SIZE)), head
