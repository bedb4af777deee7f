"""Training: noise the true 2D poses, lift, denoise, compare in 3D and in 2D."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from common.binocular import checkpoint
from common.binocular.noise import DetectorNoise
from common.datasets.stereo import StereoData
from common.diffusion.two_view import Process, antithetic_times, lift, losses, schedule
from common.errors import UserError
from common.models.two_view import GraphDenoiser


def make_optimiser(network: nn.Module, settings: dict) -> torch.optim.Optimizer:
    """The optimiser of the settings; no weight decay."""
    parameters, lr = network.parameters(), settings["optim.lr"]
    if settings["optim.optimizer"] == "Adam":
        return torch.optim.Adam(parameters, lr, eps=settings["optim.eps"], amsgrad=settings["optim.amsgrad"])
    if settings["optim.optimizer"] == "RMSProp":
        return torch.optim.RMSprop(parameters, lr)
    return torch.optim.SGD(parameters, lr, momentum=0.9)


def learning_rate(epoch: int, settings: dict) -> float:
    """The rate of an epoch, counted from 0: multiplied by lr_gamma after every `decay` epochs, epoch `decay` still
    running at the old rate (published)."""
    return settings["optim.lr"] * settings["optim.lr_gamma"] ** max((epoch - 1) // settings["optim.decay"], 0)


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


def make_process(settings: dict) -> Process:
    """The forward process of the settings."""
    d = {name.removeprefix("diffusion."): value for name, value in settings.items()}
    abar = schedule(d["beta_schedule"], d["num_diffusion_timesteps"], d["beta_start"], d["beta_end"])
    return Process.of(abar, d["forward"])


def hold_out(data: StereoData) -> tuple[StereoData, StereoData]:
    """Every tenth (person, action) apart: the training frames, and those that choose the best epoch."""
    clip = data.subject * len(data.actions) + data.action
    _, number = clip.unique(return_inverse=True)
    held = number % 10 == 9 if number.max() >= 9 else number == number.max()
    return data.take(~held), data.take(held)


class Trainer:
    """What training holds between epochs: network, EMA, optimiser, epoch, history. `state` is all of it."""

    def __init__(self, settings: dict, network: GraphDenoiser, data: StereoData, noise: DetectorNoise, device):
        self.settings, self.device = settings, device
        self.network = network.to(device)
        self.optimiser = make_optimiser(self.network, settings)
        self.ema = None
        if settings["model.ema"]:
            self.ema = {name: p.detach().clone() for name, p in self.network.named_parameters()}
        self.process = make_process(settings)
        self.epoch, self.history, self.best = 0, [], {}
        self.views = data.views(settings["model.depth_axis"]).map(lambda f: f.to(device))
        self.pose = data.keypoints_3d.to(device, torch.float32)  # (N, J, 3)
        self.points = data.keypoints_2d.to(device, torch.float32)  # (N, V, J, 2)
        self.sigma = noise.std.to(device, torch.float32)  # (V, J, 2)

    def loss(self, index: Tensor) -> Tensor:
        """The loss of some frames at random times; all random numbers come from PyTorch's CPU generator."""
        t = antithetic_times(len(index), len(self.process))
        noise = torch.randn(len(index), *self.points.shape[1:]).to(self.device) * self.sigma
        index = index.to(self.device)
        clean, views = self.points[index], self.views.map(lambda f: f[index])
        noisy = self.process.sample(clean, t, noise)
        pose = lift(
            self.network,
            noisy,
            t.to(self.device, torch.float32),
            views,
            self.settings["model.depth_norm_by_bw"],
            self.settings["data.root_relative"],
        )
        parts = losses(pose, self.pose[index], clean, views.projections)
        return sum(part for name, part in parts.items() if name in self.settings["training.loss_type"])

    def run_epoch(self, progress: bool = True) -> float:
        """One pass over the frames in random order; returns the mean loss."""
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.epoch, self.settings)
        batches = torch.randperm(len(self.pose)).split(self.settings["training.batch_size"])
        total = 0.0
        for index in tqdm(batches, desc=f"epoch {self.epoch}", leave=False, disable=not progress):
            loss = self.loss(index)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser_step(self.network, self.optimiser, self.settings["optim.grad_clip"])
            if self.ema is not None:
                ema_update(self.ema, self.network, self.settings["model.ema_rate"])
            total += float(loss.detach()) * len(index)
        mean = total / len(self.pose)
        if mean != mean or mean == float("inf"):
            raise UserError(f"epoch {self.epoch}: the loss is {mean}; train with loss_type 3dand2d or a smaller --lr")
        self.epoch += 1
        self.history.append({"epoch": self.epoch, "loss": mean})
        return mean

    def state(self, card: dict) -> dict:
        """Everything that a resumed run needs."""
        return {
            "card": card | {"epoch": self.epoch},
            "weights": self.network.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimiser.state_dict(),
            "rng": checkpoint.rng_state(),
            "history": self.history,
            "best": self.best,
        }

    def restore(self, content: dict) -> None:
        """Continue where a checkpoint stopped."""
        checkpoint.fill(self.network, content["weights"], "the resumed checkpoint")
        if self.ema is not None and content["ema"] is not None:
            self.ema = {name: value.to(self.device).clone() for name, value in content["ema"].items()}
        self.optimiser.load_state_dict(content["optimizer"])
        self.epoch, self.history, self.best = content["card"]["epoch"], content["history"], content["best"]
        checkpoint.restore_rng(content["rng"])


def train(
    trainer: Trainer,
    card: dict,
    folder: Path,
    say: Callable[[str], None],
    validate: Callable[[GraphDenoiser], dict[str, float]] | None = None,
    progress: bool = True,
) -> None:
    """Train to the last epoch. Writes `ckpt_last.pth` after every epoch, and, where `validate` returns errors
    {'absolute', 'relative'} in mm, `ckpt_best_mpjpe.pth` and `ckpt_best_mpjpe_re.pth`."""
    names = {"absolute": "ckpt_best_mpjpe.pth", "relative": "ckpt_best_mpjpe_re.pth"}
    epochs = trainer.settings["training.n_epochs"]
    while trainer.epoch < epochs:
        loss = trainer.run_epoch(progress)
        line, better = f"epoch {trainer.epoch}/{epochs}  loss {loss:.5f}", []
        if validate is not None:
            rng = checkpoint.rng_state()
            errors = validate(ema_network(trainer.network, trainer.ema))
            checkpoint.restore_rng(rng)
            trainer.history[-1] |= errors
            line += "".join(f"  {name} {error:.2f} mm" for name, error in errors.items())
            better = [name for name, error in errors.items() if error < trainer.best.get(name, float("inf"))]
            trainer.best |= {name: errors[name] for name in better}
        say(line)
        state = trainer.state(card)
        checkpoint.save(folder / "ckpt_last.pth", state)
        for name in better:
            checkpoint.save(folder / names[name], state)
