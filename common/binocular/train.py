"""Training: noise the true 2D poses, lift, denoise, compare in 3D and in 2D."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from common.binocular.noise import DetectorNoise
from common.datasets.stereo import StereoData
from common.diffusion.noise import seed_of
from common.diffusion.two_view import Process, antithetic_times, lift, losses, schedule
from common.engine.devices import Place, autocast
from common.engine.trainer import Recipe, Trainer
from common.models.two_view import GraphDenoiser
from common.settings.two_view import Optimiser, TwoViewSettings


def make_optimiser(network: nn.Module, optim: Optimiser) -> torch.optim.Optimizer:
    """The optimiser of the settings; no weight decay."""
    parameters, lr = network.parameters(), optim.lr
    if optim.optimizer == "Adam":
        return torch.optim.Adam(parameters, lr, eps=optim.eps, amsgrad=optim.amsgrad)
    if optim.optimizer == "RMSProp":
        return torch.optim.RMSprop(parameters, lr)
    return torch.optim.SGD(parameters, lr, momentum=0.9)


def learning_rate(epoch: int, optim: Optimiser) -> float:
    """The rate of an epoch, counted from 0: multiplied by lr_gamma after every `decay` epochs, epoch `decay` still
    running at the old rate (published)."""
    return optim.lr * optim.lr_gamma ** max((epoch - 1) // optim.decay, 0)


def optimiser_step(network: nn.Module, optimiser: torch.optim.Optimizer, grad_clip: float) -> Tensor:
    """Clip the gradient's norm and step; returns the norm before clipping."""
    norm = nn.utils.clip_grad_norm_(network.parameters(), grad_clip)
    optimiser.step()
    return norm


@torch.no_grad()
def ema_update(ema: dict[str, Tensor], network: nn.Module, rate: float) -> None:
    """Move the running mean of each parameter: ema = rate * ema + (1 - rate) * parameter."""
    for name, parameter in network.named_parameters():
        ema[name].lerp_(parameter, 1 - rate)


def ema_network(network: GraphDenoiser, ema: dict[str, Tensor] | None) -> GraphDenoiser:
    """A copy of the network with its running mean; the network itself where none is kept."""
    if ema is None:
        return network
    averaged = copy.deepcopy(network)
    averaged.load_state_dict(ema)
    return averaged


def make_process(settings: TwoViewSettings) -> Process:
    """The forward process of the settings."""
    d = settings.diffusion
    return Process.of(schedule(d.beta_schedule, d.num_diffusion_timesteps, d.beta_start, d.beta_end), d.forward)


def hold_out(data: StereoData) -> tuple[StereoData, StereoData]:
    """Every tenth (person, action) apart: the training frames, and those that choose the best epoch."""
    clip = data.subject * len(data.actions) + data.action
    _, number = clip.unique(return_inverse=True)
    held = number % 10 == 9 if number.max() >= 9 else number == number.max()
    return data.take(~held), data.take(held)


class StereoTrainer(Trainer):
    """Trains the two-view network on the true 2D poses of frames, and keeps a running mean of its weights."""

    advice = "train with loss_type 3dand2d or a smaller --lr"

    def __init__(
        self,
        settings: TwoViewSettings,
        network: GraphDenoiser,
        data: StereoData,
        noise: DetectorNoise,
        place: Place,
        *,
        seed: int,
        amp: bool = False,
    ):
        self.settings, self.network = settings, network.to(place.device)
        training, device = settings.training, place.device
        recipe = Recipe(
            epochs=training.n_epochs,
            batch=training.batch_size,
            learning_rate=settings.optim.lr,
            seed=seed,
            amp=amp,
        )
        super().__init__(recipe, make_optimiser(self.network, settings.optim), place)
        self.ema = {name: p.detach().clone() for name, p in network.named_parameters()} if settings.model.ema else None
        self.process = make_process(settings)
        self.views = data.views(settings.model.depth_axis).map(lambda f: f.to(device))
        self.pose = data.keypoints_3d.to(device, torch.float32)  # (N, J, 3)
        self.points = data.keypoints_2d.to(device, torch.float32)  # (N, V, J, 2)
        self.sigma = noise.std.to(device, torch.float32)  # (V, J, 2)

    def modules(self) -> Iterable[nn.Module]:
        return (self.network,)

    def weights(self) -> dict[str, dict[str, Tensor] | None]:
        """The network's, and their running mean where one is kept."""
        out = {"weights": self.network.state_dict(), "ema": self.ema}
        return {k: v and {name: value.detach().cpu().clone() for name, value in v.items()} for k, v in out.items()}

    def restore(self, content: dict) -> None:
        super().restore(content)
        if self.ema is not None and content["ema"] is not None:
            self.ema = {name: value.to(self.place.device).clone() for name, value in content["ema"].items()}

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """The frames in this epoch's order, at this epoch's learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(epoch - 1, self.settings.optim)
        generator = torch.Generator().manual_seed(seed_of(self.recipe.seed, "order", epoch))
        return torch.randperm(len(self.pose), generator=generator).split(self.recipe.batch)

    def step(self, rows: Tensor, epoch: int, step: int) -> Tensor:
        """One optimiser step; returns (loss sum, frames)."""
        seed = seed_of(self.recipe.seed, "step", epoch, step)
        torch.manual_seed(seed)  # dropout
        with autocast(self.place.device, self.recipe.amp):
            loss = self.loss(rows, torch.Generator().manual_seed(seed))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimiser_step(self.network, self.optimizer, self.settings.optim.grad_clip)
        if self.ema is not None:
            ema_update(self.ema, self.network, self.settings.model.ema_rate)
        return torch.stack([loss.detach().float() * len(rows), loss.new_tensor(float(len(rows)))])

    def summary(self, sums: Tensor, steps: int) -> dict[str, float]:
        total, frames = sums.tolist()
        return {"loss": total / max(frames, 1)}

    def end(self, epoch: int) -> None:
        """Nothing: `batches` sets the rate of an epoch."""

    def loss(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """The loss of some frames at random times."""
        device, settings = self.place.device, self.settings
        t = antithetic_times(len(index), len(self.process), generator)
        noise = torch.randn(len(index), *self.points.shape[1:], generator=generator).to(device) * self.sigma
        index = index.to(device)
        clean, views = self.points[index], self.views.map(lambda f: f[index])
        noisy = self.process.sample(clean, t, noise)
        pose = lift(
            self.network,
            noisy,
            t.to(device, torch.float32),
            views,
            depth_norm_by_bw=settings.model.depth_norm_by_bw,
            root_relative=settings.data.root_relative,
        )
        parts = losses(pose.float(), self.pose[index], clean, views.projections)
        return sum(part for name, part in parts.items() if name in settings.training.loss_type)  # type: ignore[return-value]
