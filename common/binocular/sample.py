"""From 2D estimates of all views to 3D poses: the sampler around a trained network, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from common.diffusion import two_view as diffusion
from common.diffusion.noise import window_noise
from common.diffusion.two_view import Process, Views
from common.geometry.stereo import project, triangulate


@dataclass(frozen=True)
class Sampler:
    """How to sample. `grid` are the times, ascending; `eta` the noise level; `seed` fixes all draws."""

    process: Process
    grid: list[int]
    hypotheses: int = 1
    eta: float = 0.0
    seed: int = 0
    depth_norm_by_bw: bool = False
    root_relative: bool = True
    aggregation: str = "mean"


def aggregate(points: Tensor, detections: Tensor, kind: str) -> Tensor:
    """One 2D pose (B, V, J, 2) from hypotheses (B, H, V, J, 2): their mean, or those nearest to the detections, per
    pose or per joint."""
    if kind == "mean":
        return points.mean(1)
    distance = torch.linalg.vector_norm(points - detections.unsqueeze(1), dim=-1).sum(2)  # (B, H, J)
    if kind == "pose_reproj":
        distance = distance.sum(2, keepdim=True).expand_as(distance)
    best = distance.argmin(1)  # (B, J)
    index = best[:, None, None, :, None].expand(-1, 1, *points.shape[2:])
    return points.gather(1, index).squeeze(1)


@torch.no_grad()
def sample(network: nn.Module, detections: Tensor, views: Views, keys: list[str], sampler: Sampler) -> list[Tensor]:
    """The states of the 2D poses, first the detections: a list of (B, H, V, J, 2), len(grid) + 1 of them.

    detections (B, V, J, 2), crop units, without the detector's mean error; keys name the frames for the noise.
    """
    count = len(detections)
    states = [detections.unsqueeze(1)]

    def denoise(u: Tensor, t: int) -> Tensor:
        many = u.shape[1]
        folded = views if many == 1 else views.map(lambda f: f.repeat_interleave(many, 0))
        times = torch.full((count * many,), float(t), device=u.device)
        pose = diffusion.lift(
            network,
            u.flatten(0, 1),
            times,
            folded,
            depth_norm_by_bw=sampler.depth_norm_by_bw,
            root_relative=sampler.root_relative,
        )
        return project(pose, folded.projections.to(pose)).unflatten(0, (count, many))

    noise = window_noise(
        sampler.seed, keys, range(sampler.hypotheses), tuple(detections.shape[1:]), device=detections.device
    )
    eta = torch.full((count,), sampler.eta, dtype=torch.float64, device=detections.device)
    for _, u in diffusion.reverse(denoise, states[0], sampler.grid, sampler.process, eta, noise):
        states.append(u)
    return [u.expand(-1, sampler.hypotheses, -1, -1, -1) for u in states]


def predict(
    network: nn.Module,
    detections: Tensor,
    views: Views,
    rows: Tensor,
    sampler: Sampler,
    device: torch.device,
    *,
    batch_size: int = 256,
    progress: bool = True,
) -> tuple[Tensor, list[Tensor]]:
    """All frames: the 3D poses (N, J, 3), float64, world metres, and the states of the 2D poses, all on the CPU.

    detections (N, V, J, 2); rows (N,), what names each frame for the noise.
    """
    network.eval()
    poses, states = [], []
    for first in tqdm(range(0, len(detections), batch_size), desc="sampling", disable=not progress):
        part = slice(first, first + batch_size)
        batch = views.map(lambda f, part=part: f[part].to(device))
        points = detections[part].to(device, torch.float32)
        steps = sample(network, points, batch, [str(r) for r in rows[part].tolist()], sampler)
        final = aggregate(steps[-1], points, sampler.aggregation)
        poses.append(triangulate(final, batch.projections, batch.weights).cpu())
        states.append([s.cpu() for s in steps])
    return torch.cat(poses), [torch.cat(step) for step in zip(*states, strict=True)]
