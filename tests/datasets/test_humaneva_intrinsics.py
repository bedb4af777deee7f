"""HumanEva's intrinsics, fitted from made 2D and 3D of known ones: noise, wrong joints, and what is refused."""

import numpy as np
import pytest
import torch

from common.datasets.humaneva import about_intrinsics, calibrate, fitted_intrinsics, load_humaneva
from common.datasets.humaneva_cameras import humaneva_cameras
from common.datasets.humaneva_intrinsics import LARGEST, fit_intrinsics
from common.datasets.windows import Windows
from common.geometry.camera import project
from common.geometry.skeleton import HUMANEVA_15
from common.scoring.hypotheses import available

FOCAL, CENTRE = np.array([712.0, 705.0]), np.array([331.0, 236.0])


def people(frames=60):
    """Poses walking about in the room that HumanEva's cameras look at, world, metres: (T, 15, 3)."""
    rng = np.random.default_rng(4)
    place = np.stack([np.cos(np.arange(frames) / 9), np.sin(np.arange(frames) / 9), np.full(frames, 1.0)], 1)
    return (place[:, None] + rng.uniform(-0.4, 0.4, (frames, 15, 3))).astype(np.float32)


def pixels_of(camera, world, noise=1.0):
    points = camera.world_to_camera(torch.from_numpy(world)).numpy()
    exact = FOCAL * points[..., :2] / points[..., 2:] + CENTRE
    return (exact + np.random.default_rng(1).normal(0, noise, exact.shape)).astype(np.float32)


def write(folder, noise=1.0, split="Train"):
    world = people()
    views = [pixels_of(camera, world, noise) for camera in humaneva_cameras("S1")]
    np.savez(folder / "data_3d_humaneva15.npz", positions_3d={f"{split}/S1": {"Walking 1 chunk0": world}})
    about = {"num_joints": 15}
    archive = {f"{split}/S1": {"Walking 1 chunk0": views}}
    np.savez(folder / "data_2d_humaneva15_gt.npz", positions_2d=archive, metadata=about)
    return world, views


@pytest.mark.parametrize("wrong", [0.0, 0.1])
def test_known_intrinsics_come_back(wrong):
    """Noise of one pixel and a tenth of the joints anywhere in the image: within 1 % and 3 px of what made them."""
    rng = np.random.default_rng(0)
    points = np.stack([*rng.uniform(-1, 1, (2, 4000)), rng.uniform(3, 5, 4000)], 1)
    pixels = FOCAL * points[:, :2] / points[:, 2:] + CENTRE + rng.normal(0, 1, (4000, 2))
    strangers = rng.random(4000) < wrong
    pixels[strangers] = rng.uniform(0, 480, (strangers.sum(), 2))
    pixels[:5] = np.nan
    focal, centre, residual = fit_intrinsics(points, pixels)
    np.testing.assert_allclose(focal, FOCAL, rtol=0.01)
    np.testing.assert_allclose(centre, CENTRE, atol=3)
    if not wrong:
        assert residual == pytest.approx(np.sqrt(np.pi / 2), rel=0.05)  # the mean length of such noise


def test_what_says_nothing_is_not_fitted():
    assert fit_intrinsics(np.ones((50, 3)), np.ones((50, 2))) is None  # too few
    assert fit_intrinsics(np.ones((500, 3)), np.ones((500, 2))) is None  # one ray
    assert fit_intrinsics(-np.ones((500, 3)), np.ones((500, 2))) is None  # behind the camera


@pytest.mark.parametrize("split", ["Train", "Validate"])
def test_files_with_2d_and_3d_have_a_camera(tmp_path, split):
    write(tmp_path, split=split)
    clips = load_humaneva(tmp_path, "gt", (f"{split}/S1",))
    windows = Windows(clips, HUMANEVA_15, 9)
    assert windows.has_camera and {"R_Agg", "J_Agg_fit", "J_Agg"} <= set(available(windows.has_camera))
    for clip in clips:
        screen = project(torch.from_numpy(clip.positions_3d), torch.tensor(clip.camera.intrinsics)).numpy()
        assert 320 * np.linalg.norm(screen - clip.keypoints_2d, axis=-1).mean() < 1.5
    facts = fitted_intrinsics(tmp_path)["people"]["S1"]
    assert [fact["camera"] for fact in facts] == [clip.camera.name for clip in clips] and facts[0]["joints"] == 900
    for fact in facts:
        np.testing.assert_allclose(fact["focal_px"], FOCAL, rtol=0.01)
        np.testing.assert_allclose(fact["centre_px"], CENTRE, atol=3)
        assert 1 < fact["residual_px"] < 1.5
    told = about_intrinsics(tmp_path)
    assert "\n" not in told and told.count("residual") == 3 and "px" in told and "ground-truth" in told


def test_2d_that_is_no_projection_is_refused(tmp_path):
    write(tmp_path, noise=40.0)
    assert all(clip.camera.intrinsics is None for clip in load_humaneva(tmp_path, "gt", ("Train/S1",)))
    assert "no intrinsics" in about_intrinsics(tmp_path) and LARGEST < 40
    facts = fitted_intrinsics(tmp_path)["people"]["S1"]
    assert all("px from any projection" in fact["refused"] and "focal_px" not in fact for fact in facts)


def test_without_ground_truth_2d_nothing_is_fitted(tmp_path):
    write(tmp_path)
    (tmp_path / "data_2d_humaneva15_gt.npz").rename(tmp_path / "data_2d_humaneva15_other.npz")
    assert calibrate(tmp_path) == {} and fitted_intrinsics(tmp_path) is None
    assert about_intrinsics(tmp_path).startswith("no intrinsics: they are fitted where data_2d_humaneva15_gt.npz lies")
    clips = load_humaneva(tmp_path, "other", ("Train/S1",))
    assert not Windows(clips, HUMANEVA_15, 9).has_camera
