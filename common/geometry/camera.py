"""Camera geometry on torch tensors with any leading batch dimensions.

World: metres, z up. Camera: metres, x right, y down, z forward. Pixels: origin at the image's upper left. Screen
units: x in [-1, 1] over the image width, y scaled by the same factor (VideoPose3D, section 3). `intrinsics` are the
field's nine numbers in screen units: (fx, fy, cx, cy, k1, k2, k3, p1, p2).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NEAREST = 1e-6  # metres: no depth that is divided by is nearer to zero
NEAREST_ROOT, FURTHEST_ROOT = 0.5, 50.0  # metres from the camera: where a person can stand
LEAST_SPREAD = 1e-8  # variance of a pose's rays below which they are one ray; at fifty metres it is about 1e-4
SMALLEST = 1e-12  # of a homogeneous vector's length or last coordinate


@dataclass(frozen=True)
class Camera:
    """One calibrated camera. `intrinsics` is None where none are known (HumanEva)."""

    name: str
    width: int
    height: int
    intrinsics: tuple[float, ...] | None  # 9 numbers, screen units
    rotation: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0)  # unit quaternion (w, x, y, z), camera to world
    translation: tuple[float, ...] = (0.0, 0.0, 0.0)  # camera centre in the world, metres

    def world_to_camera(self, points: Tensor) -> Tensor:
        """World points (..., 3) to the camera frame, metres."""
        rotation, translation = points.new_tensor(self.rotation), points.new_tensor(self.translation)
        return quaternion_rotate(quaternion_conjugate(rotation), points - translation)

    def camera_to_world(self, points: Tensor) -> Tensor:
        """Camera-frame points (..., 3) to the world, metres."""
        rotation, translation = points.new_tensor(self.rotation), points.new_tensor(self.translation)
        return quaternion_rotate(rotation, points) + translation

    def project(self, points: Tensor) -> Tensor:
        """Camera-frame points (..., 3) to pixels (..., 2)."""
        screen = project(points, points.new_tensor(self.intrinsics))
        return screen_to_pixels(screen, self.width, self.height)


def screen_intrinsics(focal, center, radial, tangential, width: int, height: int) -> tuple[float, ...]:
    """Pixel intrinsics (fx, fy), (cx, cy) and distortion to the nine numbers in screen units."""
    return (
        *(2 * f / width for f in focal),
        2 * center[0] / width - 1,
        (2 * center[1] - height) / width,
        *radial,
        *tangential,
    )


def mirrored_intrinsics(intrinsics: Tensor) -> Tensor:
    """The camera (..., 9) whose picture is the mirror image, x negated: of centre and tangential distortion too."""
    return intrinsics * intrinsics.new_tensor([1.0, 1.0, -1.0, 1.0, 1.0, 1.0, 1.0, -1.0, 1.0])


def quaternion_conjugate(q: Tensor) -> Tensor:
    return q * q.new_tensor([1.0, -1.0, -1.0, -1.0])


def quaternion_rotate(q: Tensor, v: Tensor) -> Tensor:
    """Rotate vectors v (..., 3) by unit quaternions q (..., 4), w first; the leading dimensions broadcast."""
    w, u = q[..., :1], q[..., 1:]
    u, v = torch.broadcast_tensors(u, v)
    t = 2 * torch.linalg.cross(u, v)
    return v + w * t + torch.linalg.cross(u, t)


def pixels_to_screen(pixels: Tensor, width: int, height: int) -> Tensor:
    """Pixels (..., 2) to screen units."""
    return pixels * (2 / width) - pixels.new_tensor([1.0, height / width])


def screen_to_pixels(screen: Tensor, width: int, height: int) -> Tensor:
    """Screen units (..., 2) to pixels."""
    return (screen + screen.new_tensor([1.0, height / width])) * (width / 2)


def _distortion(xy: Tensor, k: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """Factor and offset of the radial and tangential lens model: distorted = xy * factor + offset."""
    r2 = (xy * xy).sum(-1, keepdim=True)
    radial = 1 + r2 * (k[..., 0:1] + r2 * (k[..., 1:2] + r2 * k[..., 2:3]))
    return radial + (p * xy).sum(-1, keepdim=True), p * r2


def away_from_zero(divisor: Tensor, least: float) -> Tensor:
    """The divisor, `least` where it is nearer to zero than that: neither quotient nor gradient is infinite or NaN."""
    return torch.where(divisor.abs() < least, least, divisor)


def project(points: Tensor, intrinsics: Tensor) -> Tensor:
    """Camera-frame points (..., J, 3) to screen units (..., J, 2), with lens distortion.

    intrinsics: (9,) or (..., 9), broadcast over the joints. Rays wider than 45 degrees are clamped, as in the
    published code, so that a pose behind the camera stays finite. A depth within a micrometre of the camera's centre
    counts as a micrometre in front of it, so the centre itself lies on the optical axis.
    """
    f, c, k, p = _split(intrinsics, points)
    xy = (points[..., :2] / away_from_zero(points[..., 2:], NEAREST)).clamp(-1, 1)
    factor, offset = _distortion(xy, k, p)
    return f * (xy * factor + offset) + c


def _split(intrinsics: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    intrinsics = intrinsics.to(points)
    if intrinsics.dim() > 1:
        intrinsics = intrinsics.unsqueeze(-2)  # (..., 1, 9), broadcast over joints
    return intrinsics[..., 0:2], intrinsics[..., 2:4], intrinsics[..., 4:7], intrinsics[..., 7:9]


def undistort(screen: Tensor, intrinsics: Tensor, iterations: int = 12) -> Tensor:
    """Screen units (..., J, 2) to the ideal image plane x/z, y/z (..., J, 2), undoing the lens by fixed-point steps."""
    f, c, k, p = _split(intrinsics, screen)
    distorted = (screen - c) / f
    xy = distorted
    for _ in range(iterations):
        factor, offset = _distortion(xy, k, p)
        xy = ((distorted - offset) / factor.clamp_min(0.2)).clamp(-1.5, 1.5)
    return xy


def fit_root(poses: Tensor, rays: Tensor, weights: Tensor | None = None) -> Tensor:
    """Place root-relative poses so that they project onto given rays: least squares in closed form.

    poses (..., J, 3) metres; rays (..., J, 2), the ideal image plane (`undistort`); weights (..., J), confidence of
    each joint, at least 0; where all are 0 the joints count alike. Returns roots (..., 1, 3), camera frame, metres.

    For the root t, each joint asks x + t_x = u (z + t_z) and y + t_y = v (z + t_z): linear in t. Depths stay between
    0.5 and 50 metres: a person whose rays are all the same looks endlessly far away and stands at the far end.
    """
    w = torch.ones_like(rays[..., 0]) if weights is None else weights
    w = torch.where(w.sum(-1, keepdim=True) > 0, w, 1.0)
    w = w / w.sum(-1, keepdim=True)
    residual = rays * poses[..., 2:] - poses[..., :2]  # (..., J, 2), what t_xy - ray * t_z must equal
    w = w.unsqueeze(-1)
    mean_ray, mean_residual = (w * rays).sum(-2), (w * residual).sum(-2)  # (..., 2)
    centred = rays - mean_ray.unsqueeze(-2)
    # With t_xy eliminated, depth is a regression of the residual on the rays' spread.
    covariance = (w * centred * (residual - mean_residual.unsqueeze(-2))).sum((-2, -1))
    spread = (w * centred * centred).sum((-2, -1))
    depth = torch.where(spread < LEAST_SPREAD, FURTHEST_ROOT, -covariance / away_from_zero(spread, LEAST_SPREAD))
    depth = depth.clamp(NEAREST_ROOT, FURTHEST_ROOT).unsqueeze(-1)
    return torch.cat([mean_residual + mean_ray * depth, depth], -1).unsqueeze(-2)


def triangulate(points: Tensor, projections: Tensor, weights: Tensor | None = None, unit_rows: bool = True) -> Tensor:
    """Linear triangulation (Hartley and Zisserman, 12.2) in float64.

    points (..., V, J, 2), one row a view; projections (..., V, 3, 4); weights (..., V, J), confidence of each view.
    unit_rows scales each equation to unit length; without it they stand as they are (the published two-view code),
    which weighs views by depth and differs by millimetres on noisy points. Where all views of a joint weigh nothing
    they count alike.
    Returns (..., J, 3) in the frame that the projections map from, finite for finite input: rays that are parallel
    meet as far away as a homogeneous coordinate of 1e-12 says. A joint with a NaN or an infinity in any view, or in
    its cameras, is NaN and leaves the others alone.
    """
    points, projections = points.double(), projections.double()
    rows = points.unsqueeze(-1) * projections[..., None, 2:3, :] - projections[..., None, :2, :]  # (..., V, J, 2, 4)
    if unit_rows:
        rows = rows / away_from_zero(rows.norm(dim=-1, keepdim=True), SMALLEST)
    if weights is not None:
        weights = torch.where(weights.sum(-2, keepdim=True) > 0, weights, 1.0)
        rows = rows * weights.double()[..., None, None]
    system = rows.movedim(-4, -3).flatten(-3, -2)  # (..., J, 2V, 4)
    finite = torch.isfinite(system).all(-1).all(-1)[..., None]  # (..., J, 1)
    system = torch.where(finite.unsqueeze(-1), system, 0.0)  # LAPACK gives up on NaN, and with it on the whole batch
    solution = torch.linalg.svd(system, full_matrices=False).Vh[..., -1, :]
    return torch.where(finite, solution[..., :3] / away_from_zero(solution[..., 3:], SMALLEST), torch.nan)
