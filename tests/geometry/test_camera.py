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
