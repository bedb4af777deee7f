from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from common.viz.curves import training_curves
from common.viz.draw import LIGHT


def pixels_of(path: Path, side: str) -> np.ndarray:
    """Rows and columns of what is drawn in a side's colour."""
    image = np.asarray(Image.open(path).convert("RGB")).astype(int)
    colour = np.array([int(LIGHT[side][i : i + 2], 16) for i in (1, 3, 5)])
    return np.argwhere(np.abs(image - colour).sum(-1) < 30)


def history(train: list[float], valid: list[float | None]) -> list[dict]:
    return [{"epoch": e + 1, "train_mm": a, "valid_mm": b} for e, (a, b) in enumerate(zip(train, valid, strict=True))]


def test_both_curves_are_drawn_at_their_heights(tmp_path):
    rows = history([100.0] * 6, [50.0] * 6)
    path = training_curves(tmp_path / "loss_3d.png", rows)
    assert [p.name for p in tmp_path.iterdir()] == ["loss_3d.png"]
    image = np.asarray(Image.open(path))
    below = int(0.4 * image.shape[0])  # the legend is above or beside: compare what is drawn along most columns
    trained, held = pixels_of(path, "left"), pixels_of(path, "right")
    top, bottom = np.median(trained[:, 0]), np.median(held[:, 0])
    floor = 0.87 * image.shape[0]  # where 0 mm is
    assert bottom > below and (floor - bottom) / (floor - top) == pytest.approx(0.5, abs=0.03)


def test_without_held_out_clips_one_curve_is_drawn(tmp_path):
    path = training_curves(tmp_path / "loss_3d.png", history([90.0, 70.0, 60.0], [None] * 3))
    assert len(pixels_of(path, "left")) > 100 and len(pixels_of(path, "right")) == 0


def test_one_epoch_is_a_dot_and_no_epoch_an_error(tmp_path):
    path = training_curves(tmp_path / "one.png", history([90.0], [80.0]))
    assert len(pixels_of(path, "left")) > 20
    with pytest.raises(UserError, match="no epoch"):
        training_curves(tmp_path / "none.png", [])
    assert not (tmp_path / "none.png").exists()
