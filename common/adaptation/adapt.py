"""The adaptation loop: a step on the unlabelled target, a step on placed source windows, in turn (PoSynDA, section 3).

Every draw is a function of (seed, epoch, step), so that a resumed run repeats a whole one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from common.adaptation.lifter import RefinedLifter, contents, without_additions
from common.adaptation.losses import (
    Loss,
    Observed,
    best_joints,
    fitted_root,
    masked_mean,
    reprojection_errors,
    source_loss,
    target_loss,
)
from common.adaptation.placement import Placed, place_poses, place_published, residual_of_detector
from common.adaptation.sizes import estimated_sizes, held_sizes, of_windows, same_cameras, scaled, true_sizes
from common.datasets.windows import Batch, Windows
from common.diffusion.noise import seed_of
from common.engine.devices import Place, autocast
from common.engine.evaluate import Sampling, sample
from common.engine.trainer import Recipe, Trainer
from common.errors import UserError
from common.geometry.camera import project


@dataclass(frozen=True, kw_only=True)
class AdaptationRecipe(Recipe):
    """How to adapt. `published` means as the published code has it: placement, pseudo label, gradient of L^2 / 2."""

    hypotheses: int = 3
    steps: int = 1  # of DDIM, trained through
    learning_rate: float = 1e-4
    lr_decay: float = 0.993
    target_weights: tuple[float, float] = (0.5, 1.0)  # 2D (pixels), 3D (mm)
    source_weights: tuple[float, float] = (0.1, 1.0)
    root: str = "lsq"  # of the target: fitted, or 'gt'
    teacher: str = "none"  # or 'ema'
    ema_decay: float = 0.999
    smoothing: int = 51  # frames
    size: str = "person"  # of placed poses: held for each person of the target, or 'source'
    detector_residual: bool = True
    published: bool = False


class Adapter(Trainer):
    """Adapts a lifter; holds its teacher. `target` windows carry no labels (`data.unlabelled`)."""

    recipe: AdaptationRecipe

    MEANS = ("target_px", "target_mm", "source_px", "source_mm")

    def __init__(self, lifter: RefinedLifter, source: Windows, target: Windows, recipe: AdaptationRecipe, place: Place):
        super().__init__(recipe, torch.optim.Adam(lifter.adapted().values(), lr=recipe.learning_rate), place)
        self.lifter, self.source, self.target = lifter, source, target
        self.teacher = copy.deepcopy(lifter).eval().requires_grad_(False) if recipe.teacher == "ema" else None
        self.widths, self.heights = (
            torch.tensor([getattr(target.clips[c].camera, side) for c in target.clip_of], device=place.device)
            for side in ("width", "height")
        )
        self.sizes = self._sizes()

    def _sizes(self) -> tuple[Tensor, Tensor] | None:
        """Sizes of the people in the windows of source and target (W,); None where placed poses keep their own."""
        recipe, source, target = self.recipe, self.source, self.target
        if recipe.published or recipe.size == "source":
            return None
        sampling = Sampling(recipe.hypotheses, recipe.steps, recipe.batch, recipe.seed, amp=recipe.amp)
        frozen = without_additions(self.lifter)
        truth = true_sizes(source)
        ours, theirs = (estimated_sizes(frozen, w, sampling, self.place) for w in (source, target))
        held = held_sizes(theirs, ours, truth, same_cameras(source, target))
        return of_windows(truth, source), of_windows(held, target)

    def modules(self) -> Iterable[nn.Module]:
        return (self.lifter,)

    def weights(self) -> dict[str, dict[str, Tensor]]:
        return contents(self.lifter)

    def state(self) -> dict:
        out = super().state()
        if self.teacher is not None:
            kept, names = dict(self.teacher.named_parameters()), self.lifter.adapted()
            out["teacher"] = {name: kept[name].cpu().clone() for name in names}
        return out

    def restore(self, content: dict) -> None:
        super().restore(content)
        if self.teacher is not None:
            if "teacher" not in content:
                raise UserError("--teacher ema: the checkpoint holds no teacher; it was adapted without one")
            parameters = dict(self.teacher.named_parameters())
            for name, value in content["teacher"].items():
                parameters[name].data.copy_(value)

    def batches(self, epoch: int) -> Sequence[tuple[Tensor, Tensor]]:
        """One pass over the target's windows: (target rows, source rows) of each step."""
        target = self._order("target", epoch, len(self.target), len(self.target))
        source = self._order("source", epoch, len(self.source), len(self.target))
        return list(zip(target.split(self.recipe.batch), source.split(self.recipe.batch), strict=True))

    def step(self, rows: tuple[Tensor, Tensor], epoch: int, step: int) -> Tensor:
        """A step on the target, then one on the placed source; returns the four terms MEANS."""
        target_rows, source_rows = rows
        first = self._update(self._target_loss(target_rows, (epoch, step)))
        second = self._update(self._source_loss(source_rows, target_rows, (epoch, step)))
        return torch.cat([first, second])

    def summary(self, sums: Tensor, steps: int) -> dict[str, float]:
        return dict(zip(self.MEANS, (sums / max(steps, 1)).tolist(), strict=True))

    def _order(self, domain: str, epoch: int, count: int, wanted: int) -> Tensor:
        """`wanted` rows of a domain in random order, all of them before any again."""
        generator = torch.Generator().manual_seed(seed_of(self.recipe.seed, "order", domain, epoch))
        rounds = -(-wanted // count)
        return torch.cat([torch.randperm(count, generator=generator) for _ in range(rounds)])[:wanted]

    def _sample(self, lifter: RefinedLifter, batch: Batch, *key: object) -> Tensor:
        """Hypotheses (B, K, H, F, J, 3), with gradients."""
        seed = seed_of(self.recipe.seed, *key)
        generator = torch.Generator().manual_seed(seed)
        shape = (self.target.output, len(self.target.skeleton), 3)

        def noise(hypotheses: range):
            size = (len(batch.rows), len(hypotheses), *shape)
            return lambda k: torch.randn(size, generator=generator).to(self.place.device)

        torch.manual_seed(seed)  # stochastic depth and dropout
        with autocast(self.place.device, self.recipe.amp):
            return lifter.sample(batch, self.recipe.hypotheses, self.recipe.steps, noise).float()

    def _view(self, batch: Batch, rows: Tensor) -> Observed:
        width = self.widths[rows.to(self.place.device)].float()
        return Observed(batch.keypoints_2d, batch.intrinsics, width, batch.mask)

    def _target_loss(self, rows: Tensor, at: tuple[int, int]) -> Loss:
        recipe, batch = self.recipe, self.target.batch(rows)
        view = self._view(batch, rows)
        poses = self._sample(self.lifter, batch, "target", *at)
        label = None
        if self.teacher is not None:
            with torch.no_grad():
                taught = self._sample(self.teacher, batch, "teacher", *at)
                label = best_joints(taught, reprojection_errors(taught, self._root(taught, batch, view), view))
        root = self._root(poses, batch, view)
        return target_loss(
            poses, root, view, weights=recipe.target_weights, pseudo_label=label, attached=recipe.published
        )

    def _root(self, poses: Tensor, batch: Batch, view: Observed) -> Tensor:
        return batch.root[:, None, None] if self.recipe.root == "gt" else fitted_root(poses, view)

    def _source_loss(self, rows: Tensor, target_rows: Tensor, at: tuple[int, int]) -> Loss:
        batch, target = self.source.batch(rows), self.target.batch(target_rows)
        if self.sizes is not None:
            ours, theirs = (of[r.to(of.device)] for of, r in zip(self.sizes, (rows, target_rows), strict=True))
            batch = scaled(batch, theirs / ours)
        placed = self._place(batch, target, target_rows, at)
        batch = replace(batch, keypoints_2d=placed.keypoints_2d, root=placed.root, intrinsics=placed.intrinsics)
        poses = self._sample(self.lifter, batch, "source", *at)
        root, view = placed.root[:, None, None], self._view(batch, target_rows)
        return source_loss(poses, root, batch.positions_3d, view, weights=self.recipe.source_weights)

    def _place(self, source: Batch, target: Batch, target_rows: Tensor, at: tuple[int, int]) -> Placed:
        recipe, root = self.recipe, self.target.skeleton.root
        if recipe.published:
            return self._place_published(source, target, target_rows, at)
        placed = place_poses(
            source.positions_3d, target.keypoints_2d, target.intrinsics, root=root, smoothing=recipe.smoothing
        )
        if not recipe.detector_residual or source.intrinsics is None:
            return placed
        exact = project(source.positions_3d + source.root, source.intrinsics[:, None])
        residual = residual_of_detector(source.keypoints_2d, exact, placed.keypoints_2d)
        return replace(placed, keypoints_2d=placed.keypoints_2d + residual)

    def _place_published(self, source: Batch, target: Batch, target_rows: Tensor, at: tuple[int, int]) -> Placed:
        generator = torch.Generator().manual_seed(seed_of(self.recipe.seed, "placement", *at))
        root = self.target.skeleton.root
        roots, keypoints, cameras = [], [], []
        for b, row in enumerate(target_rows.tolist()):
            camera = pixel_numbers(target.intrinsics[b], self.widths[row], self.heights[row])
            order = torch.randperm(target.keypoints_2d.shape[1], generator=generator).to(self.place.device)
            poses, seen = place_published(source.positions_3d[b], target.keypoints_2d[b], camera, order, root=root)
            roots, keypoints, cameras = [*roots, poses[:, root : root + 1]], [*keypoints, seen], [*cameras, camera]
        return Placed(torch.stack(roots), torch.stack(keypoints), torch.stack(cameras))

    def _update(self, loss: Loss) -> Tensor:
        """An optimiser step; returns the 2D and the 3D term (2,)."""
        total = loss.total * loss.total.detach() if self.recipe.published else loss.total
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.optimizer.step()
        if self.teacher is not None:
            with torch.no_grad():
                taught = dict(self.teacher.named_parameters())
                for name, parameter in self.lifter.adapted().items():
                    taught[name].lerp_(parameter, 1 - self.recipe.ema_decay)
        return torch.stack([loss.pixels.detach(), loss.millimetres.detach()])


def pixel_numbers(intrinsics: Tensor, width: Tensor, height: Tensor) -> Tensor:
    """Screen-unit intrinsics (9,) as the published code holds them: fx, fy, cx, cy in pixels, no lens."""
    half = width / 2
    centre = (intrinsics[2:4] + torch.stack([torch.ones_like(half), height / width])) * half
    return torch.cat([intrinsics[:2] * half, centre, intrinsics.new_zeros(5)])


@torch.no_grad()
def mean_reprojection(
    lifter: RefinedLifter, windows: Windows, sampling: Sampling, place: Place, *, limit: int | None = None
) -> float:
    """How far, in pixels, the mean pose at its fitted root lies from the 2D: the label-free measure of an epoch."""
    lifter.eval()
    total, frames = 0.0, 0
    width = torch.tensor([windows.clips[c].camera.width for c in windows.clip_of], dtype=torch.float32)
    for rows in torch.arange(len(windows)).split(sampling.batch)[:limit]:
        batch = windows.batch(rows)
        poses = sample(lifter, windows, batch, sampling, place)[:, -1:].mean(2, keepdim=True)  # (B, 1, 1, F, J, 3)
        view = Observed(batch.keypoints_2d, batch.intrinsics, width[rows].to(place.device), batch.mask)
        errors = reprojection_errors(poses, fitted_root(poses, view), view)
        count = int(batch.mask.sum())
        total, frames = total + float(masked_mean(errors, batch.mask)) * count, frames + count
    return total / max(frames, 1)
