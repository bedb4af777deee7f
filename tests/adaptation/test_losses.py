"""The two losses against the vectors (values 1e-4 relative, gradients), masks, fitted roots."""

import pytest
import torch

from common.adaptation.losses import (
    Observed,
    best_joints,
    fitted_root,
    masked_mean,
    reprojection_errors,
    source_loss,
    target_loss,
)
from common.geometry.camera import project, screen_intrinsics


def recorded(v, kind):
    """(poses with gradient, root, view) of a recorded loss, metres."""
    poses = (v[f"in/loss_{kind}_TS1_pred"] / 1000).requires_grad_()
    root = v[f"in/loss_{kind}_TS1_traj"][:, None, None] / 1000
    c = v["out/cam_ts1to4_px"].tolist()
    camera = torch.tensor(screen_intrinsics(c[:2], c[2:4], c[4:7], c[7:9], 2048, 2048)).expand(2, 9)
    return (
        poses,
        root,
        Observed(v[f"in/loss_{kind}_TS1_x2d_norm"], camera, torch.full((2,), 2048.0), torch.ones(2, 9).bool()),
    )


def compare(loss, poses, v, kind):
    for name, value in (("loss_2d", loss.pixels), ("loss_3d", loss.millimetres), ("loss_total", loss.total)):
        torch.testing.assert_close(value.detach(), v[f"out/loss_{kind}_TS1_{name}"], rtol=1e-4, atol=0)
    loss.total.backward()
    torch.testing.assert_close(poses.grad / 1000, v[f"out/loss_{kind}_TS1_grad_pred"], rtol=1e-4, atol=1e-6)


def test_target_loss_matches_the_vectors(vectors):
    v = vectors("posynda_parity.npz")
    poses, root, view = recorded(v, "target")
    compare(target_loss(poses, root, view, attached=True), poses, v, "target")


def test_source_loss_matches_the_vectors(vectors):
    v = vectors("posynda_parity.npz")
    poses, root, view = recorded(v, "source")
    compare(source_loss(poses, root, v["in/loss_source_TS1_label"] / 1000, view), poses, v, "source")


def test_pseudo_label_matches_the_vectors(vectors):
    v = vectors("posynda_parity.npz")
    poses, root, view = recorded(v, "target")
    errors = reprojection_errors(poses, root, view)
    best = 1000 * best_joints(poses, errors).detach()
    torch.testing.assert_close(best, v["out/loss_target_TS1_reproj_min_pose"], rtol=1e-4, atol=1e-3)


def test_projections_match_the_vectors(vectors):
    """`project` with intrinsics in pixels is the published projection, linear and with a lens."""
    v = vectors("posynda_parity.npz")
    linear = project(v["in/proj_X"], v["out/cam_ts1to4_px"])
    torch.testing.assert_close(linear, v["out/proj_linear_cam1"], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(project(v["in/proj_X"], v["in/proj_cam_dist"]), v["out/proj_dist"], rtol=1e-4, atol=1e-4)


def test_detached_pseudo_label_has_the_same_value_and_another_gradient(vectors):
    v = vectors("posynda_parity.npz")
    poses, root, view = recorded(v, "target")
    detached = target_loss(poses, root, view)
    attached = target_loss(poses, root, view, attached=True)
    torch.testing.assert_close(detached.total, attached.total)
    ours, theirs = (torch.autograd.grad(loss.total, poses)[0] for loss in (detached, attached))
    assert (ours - theirs).abs().max() > 1e-4


def test_one_hypothesis_leaves_the_2d_term_alone(vectors):
    poses, root, view = recorded(vectors("posynda_parity.npz"), "target")
    loss = target_loss(poses[:, :, :1], root, view)
    assert float(loss.millimetres.detach()) == 0
    (gradient,) = torch.autograd.grad(loss.total, poses)
    assert gradient.isfinite().all()


def test_a_teachers_label_is_the_target(vectors):
    poses, root, view = recorded(vectors("posynda_parity.npz"), "target")
    label = torch.zeros(2, 1, 9, 17, 3)
    loss = target_loss(poses, root, view, pseudo_label=label)
    torch.testing.assert_close(loss.millimetres, 1000 * poses.norm(dim=-1).mean())


def test_masked_frames_do_not_count(vectors):
    poses, root, view = recorded(vectors("posynda_parity.npz"), "target")
    mask = view.mask.clone()
    mask[:, 6:] = False
    part = Observed(view.keypoints_2d, view.intrinsics, view.width, mask)
    cut = Observed(view.keypoints_2d[:, :6], view.intrinsics, view.width, mask[:, :6])
    torch.testing.assert_close(
        target_loss(poses, root, part).total, target_loss(poses[..., :6, :, :], root[:, :, :, :6], cut).total
    )
    spoiled = poses.detach().clone()
    spoiled[..., 6:, :, :] = float("nan")
    assert target_loss(spoiled, root, part).total.isfinite()


def test_masked_mean_by_hand():
    values = torch.arange(8.0).view(1, 2, 2, 2)  # (B, H, F, J)
    assert float(masked_mean(values, torch.tensor([[True, False]]))) == pytest.approx((0 + 1 + 4 + 5) / 4)


def test_fitted_root_finds_the_true_one_through_a_lens():
    torch.manual_seed(0)
    poses = torch.randn(2, 1, 1, 5, 17, 3) * 0.3
    root = torch.tensor([0.3, -0.2, 4.2])
    camera = torch.tensor((2.29, 2.29, 0.025, 0.03, -0.2, 0.24, -0.002, -0.001, -0.0015)).expand(2, 9)
    seen = project((poses + root)[:, 0, 0], camera[:, None])
    view = Observed(seen, camera, torch.full((2,), 1000.0), torch.ones(2, 5).bool())
    fitted = fitted_root(poses, view)
    torch.testing.assert_close(fitted, root.expand_as(fitted), atol=2e-3, rtol=0)
    assert float(reprojection_errors(poses, fitted, view).max()) < 0.2  # pixels
