"""Low-rank adaptation (Hu et al. 2022): y = W x + b + scale * B (A x), with W and b frozen and A, B of rank r.

Names are the published ones: a layer `qkv` becomes `qkv.linear` (frozen), `qkv.lora_down` (A) and `qkv.lora_up` (B).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from common.errors import UserError
from common.settings.adaptation import TARGETS


class LoRALinear(nn.Module):
    """A frozen linear layer with a trainable low-rank addition that is zero at the start."""

    def __init__(self, linear: nn.Linear, rank: int = 4, scale: float = 1.0):
        super().__init__()
        if not 1 <= rank <= min(linear.in_features, linear.out_features):
            raise UserError(
                f"--lora-rank {rank}: a layer of {linear.in_features} x {linear.out_features} takes 1 to "
                f"{min(linear.in_features, linear.out_features)}"
            )
        self.linear, self.scale = linear.requires_grad_(False), scale
        factory = {"device": linear.weight.device, "dtype": linear.weight.dtype}
        self.lora_down = nn.Linear(linear.in_features, rank, bias=False, **factory)
        self.lora_up = nn.Linear(rank, linear.out_features, bias=False, **factory)
        nn.init.normal_(self.lora_down.weight, std=1 / rank)
        nn.init.zeros_(self.lora_up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.scale * self.lora_up(self.lora_down(x))

    def merged(self) -> nn.Linear:
        """One linear layer that computes the same."""
        out = nn.Linear(self.linear.in_features, self.linear.out_features, bias=self.linear.bias is not None)
        out = out.to(self.linear.weight)
        weight = self.linear.weight + self.scale * self.lora_up.weight @ self.lora_down.weight
        out.weight = nn.Parameter(weight.detach())
        if self.linear.bias is not None:
            out.bias = nn.Parameter(self.linear.bias.detach().clone())
        return out


def add_lora(model: nn.Module, rank: int = 4, scale: float = 1.0, targets: Sequence[str] = TARGETS) -> list[str]:
    """Freeze a network and adapt its linear layers whose names end in one of `targets`, in place.

    Returns the adapted layers' names. Raises UserError where a target names no layer.
    """
    model.requires_grad_(False)
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and any(_ends(name, target) for target in targets)
    ]
    for target in targets:
        if not any(_ends(name, target) for name, _ in found):
            raise UserError(f"--lora-targets {target}: the network has no linear layer of that name")
    for name, module in found:
        _replace(model, name, LoRALinear(module, rank, scale))
    return [name for name, _ in found]


def merge_lora(model: nn.Module) -> nn.Module:
    """Fold every low-rank addition into its layer, in place; the parameter names are the plain ones again."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LoRALinear):
            _replace(model, name, module.merged())
    return model


def base_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The frozen network's own weights, by their plain names, out of an adapted network's state."""
    plain = {name for name in state if ".lora_" not in name}
    adapted = {name.rsplit(".lora_", 1)[0] for name in state if ".lora_" in name}
    return {_plain_name(name, adapted): state[name] for name in state if name in plain}


def _plain_name(name: str, adapted: set[str]) -> str:
    layer, _, leaf = name.rpartition(".linear.")
    return f"{layer}.{leaf}" if layer in adapted else name


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith("." + target)


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)
