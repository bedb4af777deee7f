"""The picture of docs/detector.md: real detections beside made ones. Drawn by benchmarks/fit_detector.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.fit_detector import BODY, HARD, LAGS, Residuals, made
from common.datasets.synthetic.detector import person_size
from common.files.writing import whole_file
from common.geometry.skeleton import COCO_17

REAL, MADE = "#1d4ed8", "#c2410c"
SHOWN = ("LHip", "RKnee", "LAnkle", "RWrist")
VIEW = 1  # the camera that the people are shown in


def draw(found: list[Residuals], table: dict, path: Path) -> None:
    """Errors, their course, memory, tails and confidence of the first person: real in blue, made in orange."""
    one, rng = found[0], np.random.default_rng(3)
    errors, sure = zip(*[made(one, rng, table) for _ in range(40)], strict=True)  # (V, T, 17, 2) and (V, T, 17) each
    figure = Figure(figsize=(14, 7.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 4)
    for axis, (name, error, confidence, colour) in zip(
        axes[:, 0],
        (("real", one.error, one.confidence, REAL), ("made", errors[0], sure[0], MADE)),
        strict=True,
    ):
        _person(axis, one, error[VIEW], confidence[VIEW], name, colour)
    for axis, (name, error) in zip(axes[:, 1], (("real", one.error), ("made", errors[0])), strict=True):
        _course(axis, error[VIEW], one.fps, name)
    _tail(axes[0, 2], one, errors)
    _memory(axes[1, 2], one, errors)
    _confidence(axes[0, 3], one, errors, sure)
    _hops(axes[1, 3], one, errors)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png")


def _person(axis, one: Residuals, error: np.ndarray, confidence: np.ndarray, name: str, colour: str) -> None:
    """Every second frame's keypoints over the true pose of the middle frame, moved with the truth: a cloud a joint."""
    middle = len(error) // 2
    exact, size = one.exact[VIEW], person_size(one.exact[VIEW], COCO_17)
    for child, parent in COCO_17.edges:
        if min(child, parent) >= 5:
            axis.plot(*exact[middle, [child, parent]].T, color="#999999", lw=2)
    points = exact[middle] + error[::2] * size[::2, None, None]
    low = confidence[::2] < HARD * np.nanmedian(confidence)
    axis.scatter(*points[~low][np.isfinite(points[~low][:, 0])].T, s=7, color=colour, label="keypoints of 25 frames")
    axis.scatter(
        *points[low][np.isfinite(points[low][:, 0])].T, s=14, marker="x", color="black", label="little confidence"
    )
    axis.set(title=f"{name}: about the true pose", xticks=[], yticks=[])
    axis.set_aspect("equal")
    axis.invert_yaxis()
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(-0.1, -0.02), frameon=False)


def _course(axis, error: np.ndarray, fps: float, name: str) -> None:
    times = np.arange(len(error)) / fps
    for joint in SHOWN:
        axis.plot(times, 100 * error[:, COCO_17.index(joint), 0], label=joint)
    axis.set(title=f"{name}: error across, % of the size", xlabel="seconds", ylim=(-6, 6))
    axis.legend(fontsize=7, ncol=2)


def _lengths(errors) -> np.ndarray:
    lengths = np.concatenate([np.linalg.norm(e[:, :, BODY], axis=-1).ravel() for e in errors])
    return np.sort(100 * lengths[np.isfinite(lengths)])


def _tail(axis, one: Residuals, errors) -> None:
    for values, colour, name in ((_lengths([one.error]), REAL, "real"), (_lengths(errors), MADE, "made")):
        axis.plot(values, 1 - np.arange(len(values)) / len(values), color=colour, label=name)
    low, high = _lengths([one.inside]), _lengths([one.left_out])
    grid = np.linspace(0, 10, 300)
    between = [1 - np.searchsorted(v, grid) / len(v) for v in (low, high)]
    axis.fill_between(grid, *between, color=REAL, alpha=0.15, lw=0, label="camera counted in, left out")
    axis.set(yscale="log", xlim=(0, 10), ylim=(2e-3, 1), title="share of larger errors", xlabel="% of the size")
    axis.legend(fontsize=7)


def _memory(axis, one: Residuals, errors) -> None:
    for group, colour, name in (([one.error], REAL, "real"), (errors, MADE, "made")):
        parts = [np.clip(e[:, :, BODY], *np.nanquantile(e[:, :, BODY], (0.01, 0.99))) for e in group]
        curve = [
            np.nanmean(np.concatenate([(p[:, lag:] * p[:, : p.shape[1] - lag]).ravel() for p in parts]))
            for lag in range(LAGS + 1)
        ]
        axis.plot(np.arange(LAGS + 1) / one.fps, np.array(curve) / curve[0], color=colour, label=name)
    axis.set(title="correlation of the error with itself", xlabel="seconds later", ylim=(0, 1.02))
    axis.legend(fontsize=7)


def _confidence(axis, one: Residuals, errors, sure) -> None:
    for group, colour, name in (
        ([(one.error, one.confidence)], REAL, "real"),
        (list(zip(errors, sure, strict=True)), MADE, "made"),
    ):
        away = np.concatenate([100 * np.linalg.norm(e[:, :, BODY], axis=-1).ravel() for e, _ in group])
        confidence = np.concatenate([c[:, :, BODY].ravel() for _, c in group])
        good = np.isfinite(away)
        few = np.flatnonzero(good)[:: max(1, good.sum() // 2000)]
        axis.scatter(away[few], confidence[few], s=3, alpha=0.35, color=colour, lw=0)
        edges = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 9])
        bins = [good & (away >= a) & (away < b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
        middle = [(np.mean(away[b]), np.mean(confidence[b])) for b in bins if b.sum() > 5]
        axis.plot(*np.array(middle).T, color=colour, lw=2, label=f"{name}, mean")
    axis.set(title="confidence against error", xlabel="error, % of the size", xlim=(0, 9), ylim=(0, 0.9))
    axis.legend(fontsize=7)


def _hops(axis, one: Residuals, errors) -> None:
    """How far a keypoint moves against the truth from frame to frame."""
    for group, colour, name in (([one.left_out], REAL, "real"), (errors, MADE, "made")):
        change = np.concatenate([np.linalg.norm(np.diff(e[:, :, BODY], axis=1), axis=-1).ravel() for e in group])
        change = np.sort(100 * change[np.isfinite(change)])
        axis.plot(change, np.arange(len(change)) / len(change), color=colour, label=name)
    axis.set(title="change of the error from frame to frame", xlabel="% of the size", xlim=(0, 3), ylim=(0, 1))
    axis.set_ylabel("share below")
    axis.legend(fontsize=7)
