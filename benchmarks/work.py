"""The work that benchmarks.speed times, for one model: each stage as it runs in training and evaluation, and plain."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import plain
from benchmarks.timing import Variant
from common.datasets.clips import Clip
from common.datasets.h36m_cameras import h36m_cameras
from common.datasets.windows import Windows
from common.diffusion.lifter import DiffusionLifter
from common.diffusion.noise import window_noise
from common.engine.chunks import remember
from common.engine.devices import Place, autocast
from common.engine.evaluate import Sampling, evidence_of, frame_errors, load_of, sample
from common.engine.trainer import LifterRecipe, LifterTrainer
from common.geometry.skeleton import H36M_17
from common.models import REGISTRY, build
from common.models.blocks import choose_attention
from common.scoring.hypotheses import AGGREGATIONS

# What a model is built with beside its sizes, where it asks: text learned with the network, so that no file is needed.
SETTINGS = {"skeleton": "h36m_17", "text": "learned", "actions": ["Eating", "Walking"]}
COLUMNS = ("P_Agg", "J_Agg", "P_Best", "J_Best")  # the published four
STAGES = ("forward", "training step", "sampling", "batch assembly", "metrics")


@dataclass(frozen=True)
class Size:
    """forward: `windows` windows at `hypotheses`; training: `batch` windows; sampling: one window, K = `steps`."""

    frames: int
    channels: int
    depth: int
    windows: int
    hypotheses: int
    batch: int
    samples: int  # H of sampling and metrics
    steps: int


SIZES = {
    "small": Size(frames=27, channels=64, depth=4, windows=37, hypotheses=1, batch=37, samples=5, steps=5),
    "paper": Size(frames=243, channels=512, depth=8, windows=1, hypotheses=2, batch=4, samples=2, steps=2),
    "tiny": Size(frames=5, channels=16, depth=2, windows=2, hypotheses=2, batch=3, samples=2, steps=2),
}


@dataclass(frozen=True)
class Mode:
    """How the project's own code is run: bf16 autocast, torch.compile, TF32 products."""

    name: str
    amp: bool = False
    compile: bool = False
    tf32: bool = False


MODES = {
    m.name: m
    for m in (
        Mode("fp32"),
        Mode("bf16", amp=True),
        Mode("compiled", compile=True),
        Mode("compiled bf16", amp=True, compile=True),
        Mode("TF32", tf32=True),
    )
}


def clips(count: int, frames: int) -> list[Clip]:
    """Made-up takes of bodies of random numbers; times do not depend on the values."""
    rng = np.random.default_rng(0)
    out = []
    for i in range(count):
        poses = rng.normal(0, 0.3, (frames, len(H36M_17), 3)).astype(np.float32) + np.float32([0, 0, 5])
        keypoints = (poses[..., :2] / poses[..., 2:]).astype(np.float32)
        camera, action = h36m_cameras("S1")[i % 4], SETTINGS["actions"][i % 2]
        out.append(Clip("S1", f"{action} {i}", camera, 50.0, keypoints, poses, np.ones(frames, bool)))
    return out


class Bench:
    """One model at one size: `variants(stage, modes)` lists the plain variant and the project's own."""

    def __init__(self, name: str, size: Size, device: torch.device, compiler: str = "inductor"):
        self.name, self.size, self.device, self.place, self.compiler = name, size, device, Place(device), compiler
        row = REGISTRY[name]
        sizes = {"frames": size.frames, "joints": len(H36M_17), "channels": size.channels, "depth": size.depth}
        torch.manual_seed(0)
        self.network = build(name, **sizes, **{k: v for k, v in SETTINGS.items() if k in row.options}).to(device)
        self.diffusion = row.diffusion(**({"unit": 1.0} if "unit" in row.diffusion_options else {}))
        count = max(size.windows, size.batch)
        names = SETTINGS["actions"]
        self.windows = Windows(
            clips(count, size.frames),
            H36M_17,
            size.frames,
            stride=size.frames,
            device=device,
            action_names=names,
            centre_only=row.centre_only,
        )
        self.plain = plain.plain_denoiser(name, self.network)
        self.compiled: dict[str, nn.Module] = {}

    def lifter(self, mode: Mode, training: bool) -> DiffusionLifter:
        """The network for a mode; a compiled one is compiled once for each phase."""
        key = f"{mode.compile} {mode.amp} {training}"
        if key not in self.compiled:
            network = copy.deepcopy(self.network)
            choose_attention(network, self.device, self.size.frames, len(H36M_17), amp=mode.amp)
            if mode.compile:
                network.compile(backend=self.compiler)
            self.compiled[key] = network
        return DiffusionLifter(self.compiled[key], H36M_17, self.diffusion).to(self.device).train(training)

    def variants(self, stage: str, modes: list[Mode]) -> list[Variant]:
        """The plain variant first; bf16 shares are of the bf16 rate."""
        make_plain, make_ours = getattr(self, f"_plain_{_slug(stage)}"), getattr(self, f"_{_slug(stage)}")
        out = [Variant("plain fp32", make_plain())]
        if stage in ("batch assembly", "metrics"):
            return [*out, Variant("fp32", make_ours(MODES["fp32"]))]
        for mode in modes:
            dtype = torch.bfloat16 if mode.amp else torch.float32
            out.append(Variant(mode.name, make_ours(mode), dtype, mode.tf32))
            if mode.tf32:
                out.append(Variant(f"plain {mode.name}", make_plain(), dtype, True))
        return out

    def flop(self, stage: str) -> float:
        """FLOP of a stage (two a multiply-add), counted while the plain variant runs; 0 where none are products."""
        if stage in ("batch assembly", "metrics"):
            return 0.0
        with FlopCounterMode(display=False) as counter:
            getattr(self, f"_plain_{_slug(stage)}")()()
        return float(counter.get_total_flops())

    def _inputs(self) -> tuple:
        batch = self.windows.batch(range(self.size.windows))
        noise = torch.randn(self.size.windows, self.size.hypotheses, *batch.positions_3d.shape[1:]).to(self.device)
        return batch, noise, torch.full((self.size.windows,), 500, device=self.device)

    def _forward(self, mode: Mode) -> Callable[[], Tensor]:
        (batch, x_t, t), network = self._inputs(), self.lifter(mode, False).denoiser

        @torch.no_grad()
        def work():
            with autocast(self.device, mode.amp):
                return network(batch.keypoints_2d, x_t, t, network.condition(batch))

        return work

    def _plain_forward(self) -> Callable[[], Tensor]:
        batch, x_t, t = self._inputs()
        network = self.plain.eval()

        @torch.no_grad()
        def work():
            return network(batch.keypoints_2d, x_t, t, network.condition(batch))

        return work

    def _training_step(self, mode: Mode) -> Callable[[], object]:
        recipe = LifterRecipe(epochs=1, batch=self.size.batch, amp=mode.amp)
        trainer = LifterTrainer(self.lifter(mode, True), self.windows, recipe, self.place)
        rows = torch.arange(self.size.batch)
        return lambda: trainer.step(rows, 1, 0)

    def _plain_training_step(self) -> Callable[[], object]:
        network = copy.deepcopy(self.plain).train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=6e-5, weight_decay=0.1)
        rows, told = list(range(self.size.batch)), self.windows.batch(range(self.size.batch))
        flipped = [bool(row % 2) for row in rows]

        def work():
            keypoints, poses = plain.batch(self.windows, rows, flipped, self.device)
            loss = plain.training_loss(network, network.condition(told), keypoints, poses, self.diffusion)
            optimizer.zero_grad()
            loss.backward(loss.detach())
            optimizer.step()
            return loss

        return work

    def _sampling(self, mode: Mode) -> Callable[[], Tensor]:
        lifter, batch = self.lifter(mode, False), self.windows.batch([0])
        how = Sampling(self.size.samples, self.size.steps, 1, amp=mode.amp)
        remember(lifter, load_of(batch, how), self.size.samples)  # all at once, as the plain variant
        return lambda: sample(lifter, self.windows, batch, how, self.place)

    def _plain_sampling(self) -> Callable[[], Tensor]:
        batch, network = self.windows.batch([0]), self.plain.eval()
        shape = (self.windows.output, len(H36M_17), 3)

        @torch.no_grad()
        def work():
            noise = window_noise(1, [self.windows.key(0)], range(self.size.samples), shape, device=self.device)
            condition = network.condition(batch)
            args = (noise, self.size.steps, self.diffusion, H36M_17)
            poses = plain.sample(network, condition, batch.keypoints_2d, *args)
            poses[..., H36M_17.root, :] = 0
            return poses

        return work

    def _batch_assembly(self, mode: Mode) -> Callable[[], object]:
        rows = torch.arange(self.size.batch)
        return lambda: self.windows.batch(rows, flipped=rows % 2 == 1)

    def _plain_batch_assembly(self) -> Callable[[], object]:
        rows = list(range(self.size.batch))
        return lambda: plain.batch(self.windows, rows, [bool(row % 2) for row in rows], self.device)

    def _scored(self) -> tuple[Tensor, object, Sampling]:
        batch = self.windows.batch([0])
        shape = (1, self.size.steps, self.size.samples, *batch.positions_3d.shape[1:])
        noise = 0.05 * torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(self.device)
        poses = batch.positions_3d[:, None, None] + noise
        return poses, batch, Sampling(self.size.samples, self.size.steps, 1, metrics=("mpjpe", "p_mpjpe"))

    def _metrics(self, mode: Mode) -> Callable[[], dict[str, Tensor]]:
        poses, batch, how = self._scored()

        def work():
            evidence = evidence_of(batch, self.windows)
            columns = {name: AGGREGATIONS[name](poses, evidence) for name in COLUMNS}
            return frame_errors(poses, columns, evidence, H36M_17, how)

        return work

    def _plain_metrics(self) -> Callable[[], dict]:
        poses, batch, _ = self._scored()
        intrinsics = batch.intrinsics[:, None, None, None]

        def work():
            placed, seen = (poses + batch.root[:, None, None]).cpu(), batch.target_2d[:, None, None].cpu()
            screen = _project(placed.numpy(), intrinsics.cpu().numpy())
            chosen = np.linalg.norm(screen - seen.numpy(), axis=-1).argmin(2)
            return plain.metrics(poses.cpu().numpy(), batch.positions_3d.cpu().numpy(), chosen)

        return work


def _project(points: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Camera-frame points (..., J, 3) to screen units, lens included, as VideoPose3D projects; intrinsics (..., 9)."""
    f, c, k, p = np.split(intrinsics[..., None, :], [2, 4, 7], -1)
    xy = np.clip(points[..., :2] / points[..., 2:], -1, 1)
    r2 = (xy**2).sum(-1, keepdims=True)
    radial = 1 + (k * np.concatenate([r2, r2**2, r2**3], -1)).sum(-1, keepdims=True)
    tangential = (p * xy).sum(-1, keepdims=True)
    return f * (xy * (radial + tangential) + p * r2) + c


def _slug(stage: str) -> str:
    return stage.replace(" ", "_")
