import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.datasets.h36m_cameras import h36m_cameras
from common.geometry.camera import (
    fit_root,
    pixels_to_screen,
    project,
    quaternion_conjugate,
    quaternion_rotate,
    screen_to_pixels,
    triangulate,
    undistort,
)

CAMERAS = h36m_cameras("S1") + h36m_cameras("S9")


def people(seed: int, frames: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Root-relative poses (F, 17, 3) and roots (F, 1, 3) in front of a camera, float64."""
    generator = torch.Generator().manual_seed(seed)
    poses = 0.35 * torch.randn(frames, 17, 3, generator=generator, dtype=torch.float64)
    root = torch.tensor([0.3, -0.2, 4.5]) + 0.3 * torch.randn(frames, 1, 3, generator=generator, dtype=torch.float64)
    return poses - poses[:, :1], root


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_rotating_there_and_back(seed):
    generator = torch.Generator().manual_seed(seed)
    q = torch.nn.functional.normalize(torch.randn(4, generator=generator, dtype=torch.float64), dim=0)
    v = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    turned = quaternion_rotate(q, v)
    torch.testing.assert_close(turned.norm(dim=-1), v.norm(dim=-1))
    torch.testing.assert_close(quaternion_rotate(quaternion_conjugate(q), turned), v)


@given(st.integers(0, 10**6), st.sampled_from(CAMERAS))
@settings(max_examples=25, deadline=None)
def test_world_screen_and_pixels_are_inverted(seed, camera):
    poses, root = people(seed)
    world = camera.camera_to_world(poses + root)
    torch.testing.assert_close(camera.world_to_camera(world), poses + root, atol=1e-5, rtol=0)
    screen = project(poses + root, torch.tensor(camera.intrinsics, dtype=torch.float64))
    pixels = screen_to_pixels(screen, camera.width, camera.height)
    torch.testing.assert_close(pixels, camera.project(poses + root))
    torch.testing.assert_close(pixels_to_screen(pixels, camera.width, camera.height), screen)


def test_pixels_agree_with_the_pinhole_formula():
    camera = CAMERAS[0]
    point = torch.tensor([[0.2, -0.1, 4.0]], dtype=torch.float64)
    x, y = 0.05, -0.025
    k1, k2, k3 = -0.20709891617298126, 0.24777518212795258, -0.0030751503072679043
    p1, p2 = -0.0009756988729350269, -0.00142447161488235
    r2 = x * x + y * y
    factor = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + p1 * x + p2 * y
    u = 1145.0494384765625 * (x * factor + p1 * r2) + 512.54150390625
    v = 1143.7811279296875 * (y * factor + p2 * r2) + 515.4514770507812
    torch.testing.assert_close(camera.project(point), torch.tensor([[u, v]], dtype=torch.float64))


@given(st.integers(0, 10**6), st.sampled_from(CAMERAS))
@settings(max_examples=25, deadline=None)
def test_root_is_found_from_exact_2d(seed, camera):
    poses, root = people(seed)
    intrinsics = torch.tensor(camera.intrinsics, dtype=torch.float64)
    rays = undistort(project(poses + root, intrinsics), intrinsics)
    points = poses + root
    torch.testing.assert_close(rays, points[..., :2] / points[..., 2:], atol=1e-7, rtol=0)
    torch.testing.assert_close(fit_root(poses, rays), root, atol=1e-5, rtol=0)


def test_root_fit_is_the_least_squares_solution():
    """Against a plain solver on the 2J x 3 system, with noise and with weights."""
    poses, root = people(3)
    points = poses + root
    generator = torch.Generator().manual_seed(1)
    rays = points[..., :2] / points[..., 2:]
    rays = rays + 0.01 * torch.randn(rays.shape, generator=generator, dtype=torch.float64)
    weights = torch.rand(rays.shape[:-1], generator=generator, dtype=torch.float64) + 0.1
    for f in range(len(poses)):
        u, v = rays[f].unbind(-1)
        x, y, z = poses[f].unbind(-1)
        one, zero = torch.ones_like(u), torch.zeros_like(u)
        matrix = torch.cat([torch.stack([one, zero, -u], -1), torch.stack([zero, one, -v], -1)])
        right = torch.cat([u * z - x, v * z - y])
        w = torch.cat([weights[f], weights[f]]).sqrt()
        solution = torch.linalg.lstsq(matrix * w[:, None], (right * w)[:, None]).solution[:, 0]
        torch.testing.assert_close(fit_root(poses[f], rays[f], weights[f])[0], solution)


def test_triangulation_of_exact_views():
    poses, root = people(5)
    points = (poses + root)[0]
    views, projections = [], []
    for shift in (-0.5, 0.0, 0.7):
        matrix = torch.cat([torch.eye(3, dtype=torch.float64), torch.tensor([[shift], [0.1], [0.2]])], 1)
        homogeneous = torch.cat([points, torch.ones(17, 1, dtype=torch.float64)], 1) @ matrix.T
        views.append(homogeneous[:, :2] / homogeneous[:, 2:])
        projections.append(matrix)
    found = triangulate(torch.stack(views), torch.stack(projections))
    torch.testing.assert_close(found, points, atol=1e-9, rtol=0)


INTRINSICS = torch.tensor(CAMERAS[0].intrinsics, dtype=torch.float64)


def test_the_centre_of_the_camera_lies_on_its_axis():
    """Neither the image point nor its gradient is NaN there; beside the centre the ray is the widest there is."""
    points = torch.zeros(3, 3, dtype=torch.float64)
    points[1, 0], points[2] = 0.3, torch.tensor([0.0, 0.2, -0.0])
    points.requires_grad_()
    screen = project(points, INTRINSICS)
    widest = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(screen, project(widest, INTRINSICS))
    screen.sum().backward()
    assert torch.isfinite(points.grad).all()


def test_points_behind_the_camera_and_far_aside_stay_finite():
    points = torch.tensor([[0.1, 0.1, -2.0], [5.0, -7.0, 1.0], [1e-9, 1e-9, 1e-9], [3.0, 0.0, -1e-9]])
    screen = project(points, INTRINSICS)
    ends = torch.tensor([[-0.05, -0.05, 1.0], [1.0, -1.0, 1.0], [1e-3, 1e-3, 1.0], [1.0, 0.0, 1.0]])
    torch.testing.assert_close(screen, project(ends, INTRINSICS))


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=12, max_size=12))
@settings(max_examples=60, deadline=None)
def test_every_finite_pose_has_a_finite_image_root_and_gradient(numbers):
    points = torch.tensor(numbers).view(4, 3).requires_grad_()
    intrinsics = INTRINSICS.float()
    screen = project(points, intrinsics)
    rays = undistort(screen, intrinsics)
    root = fit_root(points, rays)
    assert all(torch.isfinite(x).all() for x in (screen, rays, root))
    assert 0.5 <= root[0, 2].item() <= 50
    (screen.sum() + rays.sum() + root.sum()).backward()
    assert torch.isfinite(points.grad).all()


def test_nan_spoils_only_its_own_joint_or_pose():
    poses, root = people(8)
    clean = project(poses + root, INTRINSICS)
    points = poses + root
    points[2, 5, 1] = torch.nan
    screen = project(points, INTRINSICS)
    assert screen[2, 5].isnan().any()
    points[2, 5] = clean[2, 5] = screen[2, 5] = 0
    torch.testing.assert_close(screen, clean)
    rays = undistort(clean, INTRINSICS)
    rays[4, 3, 0] = torch.nan
    roots, sound = fit_root(poses, rays), [0, 1, 3, 5]
    assert roots[4].isnan().any() and torch.equal(roots[sound], fit_root(poses[sound], rays[sound]))


def test_a_root_that_the_rays_do_not_tell():
    """Rays that are all one look endlessly far away; weights that are all zero say nothing."""
    poses, root = people(9)
    one_ray = torch.tensor([0.1, -0.2], dtype=torch.float64).expand(6, 17, 2)
    found = fit_root(poses, one_ray)
    torch.testing.assert_close(found[..., 2], torch.full_like(found[..., 2], 50))
    centre = (poses + found).mean(1)
    torch.testing.assert_close(centre[:, :2] / centre[:, 2:], one_ray[:, 0])
    points = poses + root
    rays = points[..., :2] / points[..., 2:]
    torch.testing.assert_close(fit_root(poses, rays, torch.zeros(6, 17)), root)


def test_a_root_stays_within_its_bounds():
    poses, root = people(10)
    for distance, bound in ((60.0, 50.0), (49.0, 49.0)):
        points = poses + torch.tensor([0.0, 0.0, distance], dtype=torch.float64)
        found = fit_root(poses, points[..., :2] / points[..., 2:])[..., 2]
        torch.testing.assert_close(found, torch.full_like(found, bound))
    points = poses + root
    turned_over = fit_root(-poses, points[..., :2] / points[..., 2:])  # would stand behind the camera
    assert (turned_over[..., 2] == 0.5).all()


def test_a_lens_that_folds_the_image_is_undone_within_bounds():
    """Where the radial factor falls towards zero, at least 0.2 is divided by, and no ray is wider than 1.5."""
    pinhole = torch.tensor([1.0, 1, 0, 0, 0, 0, 0, 0, 0])
    lens = pinhole.clone()
    lens[4] = -14.4  # the factor is 0.1 at a radius of 0.25, and negative beyond
    screen = torch.tensor([[0.25, 0.0], [0.0, -0.4]])
    torch.testing.assert_close(undistort(screen, lens, 1), torch.tensor([[1.25, 0.0], [0.0, -1.5]]))
    assert torch.isfinite(undistort(screen, lens)).all()
    assert torch.equal(undistort(screen, pinhole), screen)
    assert torch.equal(undistort(10 * screen, pinhole), torch.tensor([[1.5, 0.0], [0.0, -1.5]]))


def test_triangulation_of_a_joint_that_no_view_sees_well():
    poses, root = people(5)
    points = (poses + root)[0]
    shifts = (-0.5, 0.7)
    projections = torch.stack([torch.cat([torch.eye(3), torch.tensor([[s], [0.1], [0.2]])], 1) for s in shifts])
    homogeneous = torch.cat([points, torch.ones(17, 1)], 1) @ projections.double().mT
    views = homogeneous[..., :2] / homogeneous[..., 2:]
    clean = triangulate(views, projections)
    for bad in (torch.nan, torch.inf):
        spoilt = views.clone()
        spoilt[1, 4, 0] = bad
        found = triangulate(spoilt, projections)
        others = [j for j in range(17) if j != 4]
        assert found[4].isnan().all() and torch.equal(found[others], clean[others])
    weights = torch.rand(2, 17, generator=torch.Generator().manual_seed(0)) + 0.1
    weights[:, 3] = 0
    torch.testing.assert_close(triangulate(views, projections, weights), points)
    parallel = torch.zeros(2, 1, 2)
    assert torch.isfinite(triangulate(parallel, projections[:, :, [0, 1, 2, 3]])).all()


def test_unit_rows_are_of_unit_length():
    """Scaling a camera's matrix changes nothing where the equations are scaled to one length."""
    points = torch.randn(2, 17, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    projections = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    scaled = projections * torch.tensor([1.0, 50.0])[:, None, None]
    found = triangulate(points, projections)
    torch.testing.assert_close(triangulate(points, scaled), found)
    plain = triangulate(points, projections, unit_rows=False)
    assert not torch.allclose(triangulate(points, scaled, unit_rows=False), plain)


def test_a_camera_without_extrinsics_is_the_world():
    points = torch.tensor([[0.1, -0.2, 3.0]], dtype=torch.float64)
    camera = type(CAMERAS[0])("c", 1000, 1000, None)
    assert torch.equal(camera.world_to_camera(points), points) and torch.equal(camera.camera_to_world(points), points)


def test_a_quarter_turn():
    """A positive quarter turn about z takes x to y, and y to -x; the camera is turned so into the world."""
    half = 0.5**0.5
    turn = torch.tensor([half, 0.0, 0.0, half], dtype=torch.float64)
    x, y = torch.eye(3, dtype=torch.float64)[:2]
    torch.testing.assert_close(quaternion_rotate(turn, x), y)
    torch.testing.assert_close(quaternion_rotate(turn, y), -x)
    torch.testing.assert_close(quaternion_rotate(quaternion_conjugate(turn), y), x)
    camera = type(CAMERAS[0])("c", 1000, 1000, None, tuple(turn.tolist()), (1.0, 2.0, 3.0))
    torch.testing.assert_close(camera.camera_to_world(x), torch.tensor([1.0, 3.0, 3.0], dtype=torch.float64))


def test_every_lens_coefficient_by_hand():
    lens = torch.tensor([2.0, 3.0, 0.1, -0.2, 0.3, -0.5, 0.7, 0.02, -0.03], dtype=torch.float64)
    x, y = 0.6, -0.4
    r2 = x * x + y * y
    factor = 1 + 0.3 * r2 - 0.5 * r2**2 + 0.7 * r2**3 + 0.02 * x - 0.03 * y
    expected = [2 * (x * factor + 0.02 * r2) + 0.1, 3 * (y * factor - 0.03 * r2) - 0.2]
    screen = project(torch.tensor([[x, y, 1.0]], dtype=torch.float64), lens)
    torch.testing.assert_close(screen, torch.tensor([expected], dtype=torch.float64))
    assert project(torch.ones(1, 3), lens).dtype == torch.float32  # the points' precision, not the camera's


def test_each_pose_is_seen_by_its_own_camera():
    poses, root = people(2, 2)
    cameras = torch.tensor([CAMERAS[0].intrinsics, CAMERAS[5].intrinsics], dtype=torch.float64)
    points = poses + root
    both = project(points, cameras)
    for one, pose, camera in zip(both, points, cameras, strict=True):
        torch.testing.assert_close(one, project(pose, camera))
    rays = undistort(both, cameras)
    torch.testing.assert_close(rays, points[..., :2] / points[..., 2:], atol=1e-7, rtol=0)


def test_weights_are_relative():
    poses, root = people(4)
    points = poses + root
    generator = torch.Generator().manual_seed(2)
    rays = points[..., :2] / points[..., 2:]
    rays = rays + 0.01 * torch.randn(rays.shape, generator=generator, dtype=torch.float64)
    weights = torch.rand(rays.shape[:-1], generator=generator, dtype=torch.float64)
    torch.testing.assert_close(fit_root(poses, rays, 1e-3 * weights), fit_root(poses, rays, weights))
    assert not torch.allclose(fit_root(poses, rays), fit_root(poses, rays, weights), atol=1e-4)


def test_triangulation_of_a_batch_with_weights():
    """Poses of a batch are found one by one; a view of weight 0 is not heard, small weights count like large ones."""
    generator = torch.Generator().manual_seed(7)
    points = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    rotations = torch.linalg.qr(torch.randn(2, 3, 3, 3, generator=generator, dtype=torch.float64)).Q
    shift = torch.tensor([0.0, 0.0, 6.0], dtype=torch.float64).expand(2, 3, 3)
    projections = torch.cat([rotations, shift[..., None]], -1)  # (B, V, 3, 4)
    h = torch.einsum("bvik,bjk->bvji", rotations, points) + shift[:, :, None]
    views = h[..., :2] / h[..., 2:]
    found = triangulate(views.float(), projections)
    assert found.dtype == torch.float64 and (found - points).abs().max() < 1e-5
    views = views.clone()
    views[:, 2] += 0.4  # one view is wrong
    weights = torch.full((2, 3, 5), 0.01)
    weights[:, 2] = 0
    torch.testing.assert_close(triangulate(views, projections, weights), points)
    assert (triangulate(views, projections) - points).abs().max() > 1e-2
    each = torch.stack([triangulate(v, p) for v, p in zip(views, projections, strict=True)])
    torch.testing.assert_close(triangulate(views, projections), each)


def test_triangulation_is_in_double_precision_whatever_comes_in():
    generator = torch.Generator().manual_seed(3)
    projections = torch.randn(4, 3, 4, generator=generator)
    views = torch.randn(4, 6, 2, generator=generator)
    found = triangulate(views, projections)
    assert found.dtype == torch.float64
    assert torch.equal(found, triangulate(views.double(), projections.double()))
