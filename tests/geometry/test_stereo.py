"""Geometry against recorded values of the published code, and against itself on exact points."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.geometry import stereo as geometry
from tests.stereo_files import to_views


def test_recorded_values(vectors):
    v = vectors("dualdiff_parity_geom.npz")
    size = (384, 384)
    k = geometry.crop_intrinsics(v["in/K"].double(), v["in/bbox_tlbr"], size, legacy_skew=True)
    assert (k - v["out/K_norm"]).abs().max() < 1e-5
    extrinsics = torch.cat([v["in/R"], v["in/t_mm"] / 1000], -1).double()
    projections = k @ extrinsics
    assert (projections - v["out/P"]).abs().max() < 2e-5  # float32 entries of about 14
    assert ((projections - v["out/P"]).abs() <= 1e-5 * v["out/P"].abs().clamp_min(1)).all()

    clean, noisy = (to_views(v[f"in/u_{name}_B17x4"]) for name in ("clean", "noisy"))
    assert (geometry.triangulate(clean, v["out/P"]) - v["out/X_from_clean"]).abs().max() < 1e-5
    assert (geometry.triangulate(noisy, v["out/P"]) - v["out/X_from_noisy"]).abs().max() < 1e-5

    assert (geometry.project(v["in/X_m"], v["out/P"]) - clean).abs().max() < 1e-5
    again = geometry.project(v["out/X_from_noisy"], v["out/P"])
    assert torch.equal(noisy, v["out/uv_BV17x2"])  # the change of layout
    assert (geometry.to_channels(again) - v["out/reproj_B17x4"]).abs().max() < 1e-5
    baseline = geometry.baseline(torch.cat([v["in/R"], v["in/t_mm"]], -1))
    assert torch.allclose(baseline, v["out/baseline_mm"][:, 0], rtol=1e-5)
    assert (geometry.pixels_to_crop_units(v["in/px"], size) - v["out/px_norm"]).abs().max() < 1e-6
    assert torch.allclose(geometry.crop_units_to_pixels(v["out/px_norm"], size), v["in/px"], atol=1e-4)


def test_skew_is_scaled_unless_legacy(vectors):
    v = vectors("dualdiff_parity_geom.npz")
    k, box = v["in/K"].double(), v["in/bbox_tlbr"].double()
    right = geometry.crop_intrinsics(k, box, (384, 384))
    # The crop camera must give what cropping and resizing the full image gives.
    world = torch.randn(6, 2, 17, 3, dtype=torch.float64) + torch.tensor([0.0, 0.0, 5.0])
    pixels = (k @ world.mT).mT
    pixels = pixels[..., :2] / pixels[..., 2:]
    corner, extent = box[..., [1, 0]], box[..., [3, 2]] - box[..., [1, 0]]
    resized = (pixels - corner[..., None, :]) * (384 / extent)[..., None, :]
    expected = geometry.pixels_to_crop_units(resized, (384, 384))
    seen = (right @ world.mT).mT
    assert torch.allclose(seen[..., :2] / seen[..., 2:], expected, atol=1e-9)
    assert not torch.allclose(right, geometry.crop_intrinsics(k, box, (384, 384), legacy_skew=True))


def test_a_crop_that_is_not_square():
    k = torch.tensor([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    crop = geometry.crop_intrinsics(k, torch.tensor([0.0, 0, 480, 640]), (480, 640))
    assert torch.allclose(crop[1, 2], torch.tensor(240 * 2 / 640 - 480 / 640))


def rig(views: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """`views` cameras 3 m in front of the origin, 0.3 m apart, each turned a little: projections, extrinsics."""
    angles = (torch.rand(views, 3, generator=generator, dtype=torch.float64) - 0.5) * 0.2
    skew = torch.zeros(views, 3, 3, dtype=torch.float64)
    skew[:, 0, 1], skew[:, 0, 2], skew[:, 1, 2] = -angles[:, 2], angles[:, 1], -angles[:, 0]
    rotation = torch.matrix_exp(skew - skew.mT)
    centre = torch.tensor([[0.3 * v, 0.0, -3.0] for v in range(views)], dtype=torch.float64)
    extrinsics = torch.cat([rotation, -rotation @ centre[..., None]], -1)
    return torch.diag(torch.tensor([4.0, 4.0, 1.0], dtype=torch.float64)) @ extrinsics, extrinsics


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), views=st.integers(2, 4))
def test_exact_points_come_back(seed, views):
    generator = torch.Generator().manual_seed(seed)
    projections, extrinsics = rig(views, generator)
    pose = torch.rand(3, 17, 3, generator=generator, dtype=torch.float64) * 1.6 - 0.8
    points = geometry.project(pose, projections.expand(3, -1, -1, -1))
    assert (geometry.triangulate(points, projections.expand(3, -1, -1, -1)) - pose).abs().max() < 1e-6
    stored = geometry.triangulate(points.float(), projections.expand(3, -1, -1, -1))  # detections come in float32
    assert (stored - pose).abs().max() < 1e-5
    assert torch.allclose(to_views(geometry.to_channels(points)), points)
    assert abs(float(geometry.baseline(extrinsics)) - 0.3) < 1e-12


def test_a_weight_of_zero_takes_a_view_out():
    generator = torch.Generator().manual_seed(0)
    projections, _ = rig(3, generator)
    pose = torch.rand(17, 3, generator=generator, dtype=torch.float64)
    points = geometry.project(pose, projections)
    points[2] += 0.3  # the third view is wrong
    weights = torch.ones(3, 17)
    assert (geometry.triangulate(points, projections) - pose).abs().max() > 1e-2
    weights[2] = 0
    assert (geometry.triangulate(points, projections, weights) - pose).abs().max() < 1e-9


def test_depth_axes():
    projections, extrinsics = rig(2, torch.Generator().manual_seed(1))
    point = torch.randn(5, 3, dtype=torch.float64)
    axis, offset = geometry.depth_axis(extrinsics, "camera")
    seen = extrinsics[0, :, :3] @ point.T + extrinsics[0, :, 3:]
    assert torch.allclose(point @ axis + offset, seen[2])
    axis, offset = geometry.depth_axis(extrinsics, "world_z")
    assert torch.equal(point @ axis + offset, point[:, 2])


def test_stretch_undoes_itself():
    pose = torch.randn(4, 17, 3, dtype=torch.float64)
    axis = torch.nn.functional.normalize(torch.randn(4, 3, dtype=torch.float64), dim=-1)
    factor = torch.rand(4, dtype=torch.float64) + 0.5
    there = geometry.stretch(pose, axis, factor)
    assert torch.allclose(geometry.stretch(there, axis, 1 / factor), pose)
    assert torch.allclose((there * axis[:, None]).sum(-1), (pose * axis[:, None]).sum(-1) * factor[:, None])


def test_project_holds_points_in_front():
    projections, _ = rig(2, torch.Generator().manual_seed(2))
    behind = torch.tensor([[0.0, 0.0, -9.0]], dtype=torch.float64)
    assert geometry.project(behind, projections, 0.1).abs().max() > geometry.project(behind, projections).abs().max()


def test_the_centre_of_a_camera_stays_finite():
    projections, extrinsics = rig(2, torch.Generator().manual_seed(4))
    points = geometry.camera_centres(extrinsics).clone().requires_grad_()  # (2, 3): each camera's own centre
    seen = geometry.project(points, projections)
    seen.sum().backward()
    assert torch.isfinite(seen).all() and torch.isfinite(points.grad).all()
    far = torch.tensor([[0.1, 0.2, 5.0], [0.0, 0.0, -9.0]], dtype=torch.float64)
    h = projections[:, :, :3] @ far.T + projections[:, :, 3:]
    torch.testing.assert_close(geometry.project(far, projections), (h[:, :2] / h[:, 2:]).mT)


def test_a_joint_that_is_nan_in_one_view_spoils_only_itself():
    projections, _ = rig(3, torch.Generator().manual_seed(5))
    pose = torch.rand(17, 3, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    points = geometry.project(pose, projections)
    points[1, 8] = torch.nan
    found = geometry.triangulate(points, projections)
    others = [j for j in range(17) if j != 8]
    assert found[8].isnan().all() and (found[others] - pose[others]).abs().max() < 1e-9
