"""The page of models against actions, still (`figure.grid_figure`) or moving (`animation.animate_grid`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from common.geometry.camera import Camera
from common.geometry.skeleton import Skeleton
from common.viz.draw import legend_handles
from common.viz.layout import Page, caption_height, footer_height
from common.viz.panels import PosePanel, limits_of
from common.viz.view import floor_heights, view_from


class Grid:
    """Cells of one scale. predictions (R, C, T, J, 3), truth (C, T, J, 3), metres; width in inches."""

    def __init__(
        self, skeleton: Skeleton, models: list[str], actions: list[str], predictions: np.ndarray, truth: np.ndarray,
        cameras: list[Camera | None] | Camera | None, width: float, caption: str, turn: float, elevation: float | None,
        dpi: float,
    ):  # fmt: skip
        rows, columns, frames = predictions.shape[:3]
        if (rows, columns) != (len(models), len(actions)) or truth.shape != predictions.shape[1:]:
            raise ValueError(f"predictions {predictions.shape}, truth {truth.shape} for {len(models)} models")
        self.predictions, self.truth = predictions, truth
        cameras = cameras if isinstance(cameras, list) else [cameras] * columns
        views = [view_from(camera, elevation, turn) for camera in cameras]
        self.floors = np.stack([floor_heights(v, t, smooth=11) for v, t in zip(views, truth, strict=True)])  # (C, T)
        limits = [
            limits_of(
                view, np.concatenate([predictions[:, c], truth[None, c]]), np.stack([self.floors[c]] * (rows + 1))
            )
            for c, view in enumerate(views)
        ]
        size = float(np.clip(width * 72 / columns / 9, 5.0, 8.5))
        side, gap = 2.2 * size / 72, 0.04  # the models' names stand at the left, upright
        cell = (width - side - 0.05) / columns - gap
        # One scale: every cell shows as much as the widest and the highest need.
        half, high = max(li.half_width for li in limits), max(li.top - li.bottom for li in limits)
        aspect = float(np.clip(high / (2 * half), 0.7, 1.6))
        half = max(half, high / (2 * aspect))
        limits = [replace(li, half_width=half, top=li.bottom + 2 * half * aspect) for li in limits]
        height, number = cell * aspect, 1.6 * size / 72
        head = caption_height(caption, size) + 2.0 * size / 72
        self.page = Page(width, head + rows * (height + number + gap) + 0.05 + footer_height(size), dpi)
        named = min(self.page.fitting(action, cell, size, weight="bold") for action in actions)
        errors = self.page.fitting("199.9 mm", cell, size)
        self.panels: dict[tuple[int, int], PosePanel] = {}
        self.texts = {}
        for r, model in enumerate(models):
            top = head + r * (height + number + gap)
            fitted = self.page.fitting(model, height, size, weight="bold")
            self.page.text(side / 2, top + height / 2, model, fitted, rotation=90, weight="bold")
            for c, action in enumerate(actions):
                left = side + c * (cell + gap)
                if r == 0:
                    self.page.text(left + cell / 2, head - 1.0 * size / 72, action, named, weight="bold")
                axes = self.page.panel(left, top, cell, height)
                self.panels[r, c] = PosePanel(axes, skeleton, views[c], limits[c], f"model{r}-action{c}", truth=True)
                self.texts[r, c] = self.page.text(left + cell / 2, top + height + number / 2, "", errors)
        self.page.footer(legend_handles(truth=True), caption, "", size)

    @property
    def skeletons(self) -> list:
        return [drawn for panel in self.panels.values() for drawn in panel.skeletons]

    @property
    def artists(self) -> list:
        return [a for panel in self.panels.values() for a in panel.artists] + list(self.texts.values())

    def show(self, frame: int) -> None:
        """Draw this frame of every cell."""
        for (r, c), panel in self.panels.items():
            pose, true = self.predictions[r, c, frame], self.truth[c, frame]
            panel.show(pose, truth=true, floor=self.floors[c, frame])
            error = 1000 * np.linalg.norm(pose - true, axis=-1).mean()
            self.texts[r, c].set_text(f"{error:.1f} mm")
