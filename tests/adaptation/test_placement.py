"""Source poses placed where the target stands: both forms against the vectors, and their geometry."""

import pytest
import torch

from common.adaptation.placement import place_poses, place_published, residual_of_detector, smoothed
from common.geometry.camera import project

H36M_LIKE = (2.29, 2.29, 0.025, 0.03, -0.2, 0.24, -0.002, -0.001, -0.0015)


@pytest.fixture
def v(vectors):
    return vectors("posynda_parity.npz")


@pytest.mark.parametrize("case", ["short", "long"])
def test_published_placement_matches_the_vectors(v, case):
    camera = v["out/cam_ts1to4_px"]
    order = v[f"in/gpr_{case}_perm"]
    poses, seen = place_published(v[f"in/gpr_{case}_src3d"], v[f"in/gpr_{case}_tgt2d"], camera, order)
    torch.testing.assert_close(poses, v[f"out/gpr_{case}_src3d_new"], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(seen, v[f"out/gpr_{case}_reproj"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(camera.expand(len(poses), 9), v[f"out/gpr_{case}_cam"])


def test_placement_matches_the_recommended_vectors(v):
    """Source joint 0 subtracted, target root 14, normalised intrinsics, frame by frame."""
    source = v["in/gpr_short_src3d"]
    target = v["in/gpr_short_tgt2d"][v["in/gpr_short_perm"]]
    camera = torch.cat([v["out/gpr_recommended_fN_cN"], torch.zeros(5)])[None]
    poses = (source - source[:, :1])[None]
    placed = place_poses(poses, target[None], camera, root=14)
    torch.testing.assert_close((poses + placed.root)[0], v["out/gpr_recommended_src3d_new"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(placed.keypoints_2d[0], v["out/gpr_recommended_reproj_norm"], rtol=1e-4, atol=1e-4)


@pytest.fixture
def scene():
    """Two windows of a person, and of another who stands elsewhere before a lens with distortion."""
    torch.manual_seed(0)
    poses = torch.randn(2, 9, 17, 3) * torch.tensor([0.25, 0.45, 0.2])
    poses[..., 0, :] = 0
    others = poses[:, torch.randperm(9)] * 1.1
    root = torch.tensor([0.4, -0.1, 4.5]) + 0.01 * torch.arange(9).view(1, 9, 1, 1)
    camera = torch.tensor(H36M_LIKE).expand(2, 9)
    return poses, others, root, project(others + root, camera[:, None]), camera


def test_root_reprojects_onto_the_targets_pelvis(scene):
    poses, _, _, target, camera = scene
    placed = place_poses(poses, target, camera)
    torch.testing.assert_close(project(placed.root, camera[:, None]), target[:, :, :1], atol=2e-4, rtol=0)
    torch.testing.assert_close(placed.keypoints_2d[:, :, :1], target[:, :, :1], atol=2e-4, rtol=0)


def test_own_pose_is_placed_near_its_own_root(scene):
    """In metres: a person's own poses land at the person's own depth (the rule ignores perspective within the body)."""
    _, others, root, target, camera = scene
    placed = place_poses(others, target, camera)
    assert (placed.root[..., 2] / root[..., 2] - 1).abs().max() < 0.15


def test_smoothing_steadies_the_track(scene):
    poses, _, _, target, camera = scene
    placed = [place_poses(poses, target, camera, smoothing=n) for n in (0, 5)]
    rough, smooth = (p.root[..., 2].diff(dim=1).abs().max() for p in placed)
    assert smooth < rough
    steady = torch.ones(2, 9, 3) * 2.5
    torch.testing.assert_close(smoothed(steady, 51), steady)
    ramp = torch.arange(9.0).view(1, 9, 1)
    torch.testing.assert_close(smoothed(ramp, 3)[:, 1:-1], ramp[:, 1:-1])


def test_detector_errors_scale_with_the_person(scene):
    _, others, root, target, camera = scene
    noisy = target + 0.01
    assert residual_of_detector(target, target, target).abs().max() == 0
    farther = project(others + 2 * root, camera[:, None])
    residual = residual_of_detector(noisy, target, farther)
    assert 0.003 < float(residual.mean()) < 0.007
