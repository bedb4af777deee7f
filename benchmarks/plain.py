"""The plain variant of everything that benchmarks.speed times: straight from the equations, nothing made fast.

Naive attention, a forward pass of its own for the flipped body, a Python loop over samples for the diffusion targets,
NumPy windows, NumPy metrics with one SVD a pose. It computes what the fast code computes (tests/benchmarks) and is the
baseline of the ratios. Equations: MixSTE (Zhang et al. 2022) and D3DP (Shan et al. 2023).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from common.diffusion.lifter import Diffusion
from common.models.blocks import Attention


class NaiveAttention(nn.Module):
    """softmax(q k^T / sqrt(d)) v per head, with the parameters of an attention layer: (rows, N, C) to the same."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.qkv, self.proj, self.heads = layer.qkv, layer.proj, layer.num_heads

    def forward(self, x: Tensor) -> Tensor:
        rows, tokens, channels = x.shape
        qkv = self.qkv(x).reshape(rows, tokens, 3, self.heads, channels // self.heads)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))  # each (rows, heads, N, C / heads)
        scores = q @ k.transpose(-2, -1) / math.sqrt(channels // self.heads)
        mixed = scores.softmax(-1) @ v
        return self.proj(mixed.transpose(1, 2).reshape(rows, tokens, channels))


class PlainMixSTE(nn.Module):
    """MixSTE as D3DP's denoiser, with the published names: `load_state_dict` takes the fast network's weights.

    Hypotheses and windows are folded, and the keypoints repeated for each hypothesis.
    """

    def __init__(self, fast: nn.Module):
        super().__init__()
        for name, child in copy.deepcopy(fast).named_children():
            setattr(self, name, child)
        for name in ("Spatial_pos_embed", "Temporal_pos_embed"):
            setattr(self, name, nn.Parameter(getattr(fast, name).detach().clone()))
        for block in [*self.STEblocks, *self.TTEblocks]:
            block.attn = NaiveAttention(block.attn)

    def condition(self, batch) -> None:
        return None

    def code(self, t: Tensor) -> Tensor:
        """Sines and cosines of t, Linear, GELU, Linear: (B,) to (B, C)."""
        first, last = self.time_mlp[1], self.time_mlp[3]
        half = first.in_features // 2
        rates = torch.tensor([math.exp(-k * math.log(10000) / (half - 1)) for k in range(half)], device=t.device)
        angles = t.float()[:, None] * rates[None]
        return last(nn.functional.gelu(first(torch.cat([torch.sin(angles), torch.cos(angles)], 1))))

    @staticmethod
    def block(layer: nn.Module, x: Tensor) -> Tensor:
        x = x + layer.drop_path1(layer.attn(layer.norm1(x)))
        hidden = nn.functional.gelu(layer.mlp.fc1(layer.norm2(x)))
        return x + layer.drop_path2(layer.mlp.fc2(hidden))

    def forward(self, x_2d: Tensor, x_t: Tensor, t: Tensor, condition=None) -> Tensor:
        b, h, f, j, _ = x_t.shape
        repeated = x_2d.unsqueeze(1).repeat(1, h, 1, 1, 1)
        x = self.Spatial_patch_to_embedding(torch.cat([repeated, x_t], -1))  # (B, H, F, J, C)
        c = x.shape[-1]
        x = x.reshape(b * h * f, j, c) + self.Spatial_pos_embed
        code = self.code(t).repeat_interleave(h * f, 0)  # (BHF, C)
        x = x + code.unsqueeze(1).repeat(1, j, 1)
        for i in range(len(self.STEblocks)):
            x = self.Spatial_norm(self.block(self.STEblocks[i], x))
            x = x.reshape(b * h, f, j, c).permute(0, 2, 1, 3).reshape(b * h * j, f, c)
            if i == 0:
                x = x + self.Temporal_pos_embed
            x = self.Temporal_norm(self.block(self.TTEblocks[i], x))
            x = x.reshape(b * h, j, f, c).permute(0, 2, 1, 3).reshape(b * h * f, j, c)
        return self.head(x.reshape(b, h, f, j, c))


def plain_denoiser(name: str, fast: nn.Module) -> nn.Module:
    """The plain network with the fast one's weights.

    MixSTE is written out above. The other networks are the project's own, with naive attention where a layer is the
    common one and the unfused kernel where it is special: their plain variant is plain in everything around them.
    """
    if name == "mixste":
        return PlainMixSTE(fast)
    network = copy.deepcopy(fast)
    for module in list(network.modules()):
        for child_name, child in list(module.named_children()):
            if hasattr(child, "fused_attn"):
                child.fused_attn = False
                if type(child) is Attention:
                    setattr(module, child_name, NaiveAttention(child))
    return network


def window(clip, start: int, length: int, answered: slice, flip: bool, skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (F, J, 2) and root-relative poses of one window, edges repeated, mirrored where asked for."""
    frames = np.clip(np.arange(start, start + length), 0, len(clip) - 1)
    keypoints, poses = clip.keypoints_2d[frames].copy(), clip.positions_3d[frames][answered].copy()
    poses -= poses[:, skeleton.root : skeleton.root + 1]
    if flip:
        left, right = list(skeleton.left), list(skeleton.right)
        for array in (keypoints, poses):
            array[..., 0] *= -1
            array[:, left + right] = array[:, right + left]
    return keypoints, poses


def batch(windows, rows: list[int], flipped: list[bool], device) -> tuple[Tensor, Tensor]:
    """Windows gathered one by one in NumPy, stacked, then sent to the device: (B, F, J, 2), (B, F, J, 3)."""
    parts = []
    for row, flip in zip(rows, flipped, strict=True):
        clip, start = windows.clips[windows.clip_of[row]], int(windows.start_of[row])
        parts.append(window(clip, start, windows.length, windows.answered, flip, windows.skeleton))
    keypoints, poses = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*parts, strict=True))
    return keypoints.to(device), poses.to(device)


def targets(poses: Tensor, diffusion: Diffusion) -> tuple[Tensor, Tensor, list[int]]:
    """Noisy poses (B, F, J, 3), clean ones in the network's unit, and t, one sample at a time."""
    noisy, clean, times = [], [], []
    for pose in poses:
        t = int(torch.randint(len(diffusion.abar), (1,)))
        share, x_0 = float(diffusion.abar[t]), pose / diffusion.unit
        noise = torch.randn(x_0.shape).to(x_0.device)
        x_t = math.sqrt(share) * (diffusion.scale * x_0) + math.sqrt(1 - share) * noise
        if diffusion.clamp_input:
            x_t = (
                torch.clamp(x_t, -diffusion.limit * diffusion.scale, diffusion.limit * diffusion.scale)
                / diffusion.scale
            )
        noisy.append(x_t)
        clean.append(x_0)
        times.append(t)
    return torch.stack(noisy), torch.stack(clean), times


def training_loss(denoiser: nn.Module, condition, keypoints: Tensor, poses: Tensor, diffusion: Diffusion) -> Tensor:
    """Mean distance of joints in metres, or the weighted squared error where the diffusion has a weight."""
    x_t, x_0, times = targets(poses, diffusion)
    t = torch.tensor(times, device=x_t.device)
    predicted = denoiser(keypoints, x_t.unsqueeze(1), t, condition).squeeze(1)
    if diffusion.weight is None:
        return torch.norm(predicted - x_0, dim=-1).mean() * diffusion.unit
    weights = diffusion.weight(diffusion.abar[times]).to(x_0)
    return torch.stack([w * ((p - x) ** 2).mean() for w, p, x in zip(weights, predicted, x_0, strict=True)]).mean()


def flip(x: Tensor, skeleton) -> Tensor:
    x = x.clone()
    left, right = list(skeleton.left), list(skeleton.right)
    x[..., 0] *= -1
    x[..., left + right, :] = x[..., right + left, :]
    return x


def sample(
    denoiser: nn.Module,
    condition,
    keypoints: Tensor,
    noise: Callable[[int], Tensor],
    steps: int,
    diffusion: Diffusion,
    skeleton,
) -> Tensor:
    """Estimates of every step (B, K, H, F, J, 3), metres; the flipped body has its own forward pass."""
    times = [int(x) for x in torch.linspace(-1, len(diffusion.abar) - 1, steps + 1, dtype=torch.float64)][::-1]
    limit, mirrored = diffusion.limit * diffusion.scale, flip(keypoints, skeleton)
    of_mirrored = condition.mirrored() if condition is not None else None
    img, estimates = noise(0), []
    for k, (t, following) in enumerate(zip(times[:-1], times[1:], strict=True)):
        z = torch.clamp(img, -limit, limit) / diffusion.scale if diffusion.clamp_input else img
        at = torch.full((len(z),), t, device=z.device)
        straight = denoiser(keypoints, z, at, condition)
        turned = flip(denoiser(mirrored, flip(z, skeleton), at, of_mirrored), skeleton)
        x_0 = torch.clamp(diffusion.scale * (straight + turned).float() / 2, -limit, limit)
        estimates.append(x_0 * diffusion.unit)
        if following >= 0:
            fresh = noise(k + 1) if diffusion.eta > 0 else None
            now, then = float(diffusion.abar[t]), float(diffusion.abar[following])
            img = diffusion.step(img, x_0, now, then, diffusion.eta, fresh)
    return torch.stack(estimates, 1)


def procrustes_error(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Joint errors (J,) after one pose (J, 3) was aligned to another by similarity."""
    mean_x, mean_y = target.mean(0), predicted.mean(0)
    x, y = target - mean_x, predicted - mean_y
    norm_x, norm_y = np.linalg.norm(x), np.linalg.norm(y)
    u, s, vt = np.linalg.svd((x / norm_x).T @ (y / norm_y))
    if np.linalg.det(u @ vt) < 0:
        vt[-1] *= -1
        s[-1] *= -1
    aligned = s.sum() * norm_x / norm_y * y @ (u @ vt).T + mean_x
    return np.linalg.norm(aligned - target, axis=-1)


def metrics(poses: np.ndarray, target: np.ndarray, chosen: np.ndarray) -> dict[str, dict[str, float]]:
    """Means over all frames and steps in the poses' unit: poses (B, K, H, F, J, 3), target (B, F, J, 3).

    `chosen` (B, K, F, J) is the hypothesis that J_Agg takes for each joint. Protocol 2 aligns one pose at a time.
    """
    truth = target[:, None]  # (B, 1, F, J, 3)
    errors = np.linalg.norm(poses - truth[:, :, None], axis=-1)  # (B, K, H, F, J)
    best = errors.mean(-1).argmin(2)[:, :, None, :, None, None]
    columns = {
        "P_Agg": poses.mean(2),
        "J_Agg": np.take_along_axis(poses, chosen[:, :, None, :, :, None], 2)[:, :, 0],
        "P_Best": np.take_along_axis(poses, best, 2)[:, :, 0],
        "J_Best": np.take_along_axis(poses, errors.argmin(2)[:, :, None, :, :, None], 2)[:, :, 0],
    }
    first = {name: float(np.linalg.norm(pose - truth, axis=-1).mean()) for name, pose in columns.items()}
    repeated = np.broadcast_to(truth, columns["P_Agg"].shape).reshape(-1, *target.shape[-2:])
    second = {}
    for name, pose in columns.items():
        pairs = zip(pose.reshape(-1, *target.shape[-2:]), repeated, strict=True)
        second[name] = float(np.mean([procrustes_error(p, x) for p, x in pairs]))
    each = [
        min(procrustes_error(poses[b, k, h, f], target[b, f]).mean() for h in range(poses.shape[2]))
        for b in range(poses.shape[0])
        for k in range(poses.shape[1])
        for f in range(poses.shape[3])
    ]
    second["P_Best"] = float(np.mean(each))
    return {"mpjpe": first, "p_mpjpe": second}
