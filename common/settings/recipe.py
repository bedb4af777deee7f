"""How a lifter learns: flags, what stands where none is typed, and the published recipe. docs/recipe.md tells why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.errors import UserError
from common.settings.flags import flag, names
from common.settings.ranges import NATURAL, WEIGHT, real

SCHEDULES = ("cosine", "stable", "exponential")
TIMES = ("uniform", "logit-normal", "noise")
VARIATIONS = ("body", "turn", "speed", "hidden", "noise", "camera")
NOTHING = ("none",)  # of --vary


@dataclass(frozen=True, kw_only=True)
class RecipeSettings:
    """Recipe: docs/recipe.md; as published where -lrd or --protocol published is typed."""

    schedule: str | None = flag(
        "--schedule", help="learning rate over the run (default: by the recipe, stable)", choices=SCHEDULES
    )
    warm_up: int | None = flag(
        "--warm-up", help="steps in which the rate rises, at most a tenth of all (default: by the recipe)", type=NATURAL
    )
    weight_decay: float | None = flag(
        "--weight-decay", help="weight decay of AdamW (default: by the recipe)", type=WEIGHT
    )
    average: float | None = flag(
        "--average",
        help="decay of the moving average of the weights that is kept; 0 is none (default: by the recipe)",
        type=real(0.0, 0.999999),
    )
    times: str | None = flag(
        "--times", help="how diffusion steps are drawn in training (default: by the recipe)", choices=TIMES
    )
    loss_weight: str | None = flag(
        "--loss-weight",
        help="weight of a diffusion step in the loss: all alike, or by its signal (default: by the recipe)",
        choices=("even", "signal"),
    )
    velocity_loss: float | None = flag(
        "--velocity-loss", help="weight of the velocities' error in the loss (default: by the recipe)", type=WEIGHT
    )
    bone_loss: float | None = flag(
        "--bone-loss", help="weight of the bone lengths' error in the loss (default: by the recipe)", type=WEIGHT
    )
    vary: tuple[str, ...] | None = flag(
        "--vary",
        help=f"make training data anew for every epoch, comma list of {', '.join(VARIATIONS)}; none "
        "(default: by the recipe)",
        type=names,
    )
    drop_path: float | None = flag(
        "--drop-path", help="stochastic depth of the last block (default: by the recipe)", type=real(0.0, 0.9)
    )


# What the published programs do.
PUBLISHED: dict[str, Any] = {
    "learning_rate": 6e-5,
    "lr_decay": 0.993,
    "batch_size": 1024,
    "schedule": "exponential",
    "warm_up": 0,
    "weight_decay": 0.1,
    "average": 0.0,
    "times": "uniform",
    "loss_weight": "even",
    "velocity_loss": 0.0,
    "bone_loss": 0.0,
    "vary": NOTHING,
    "drop_path": 0.1,
}
# What untyped flags mean. learning_rate and batch_size are rules: `rate_of` and `frames_of`.
DEFAULT: dict[str, Any] = PUBLISHED | {
    "lr_decay": None,
    "schedule": "stable",
    "warm_up": 300,
    "weight_decay": 0.05,
    "times": "noise",
    "vary": ("turn",),
    "drop_path": 0.0,
}
WINDOWS, LONGEST = 8, 1024  # windows a step, and the most frames that they may have: as many as published
RATE_AT, CHANNELS = 2e-3, 64  # the greatest learning rate, at so many channels
FIELDS = tuple(PUBLISHED)


def rate_of(channels: int) -> float:
    """The greatest learning rate: 2e-3 up to 64 channels, falling with the width beyond, as Adam's step on a matrix
    should (Yang et al. 2021, Tensor Programs V)."""
    return RATE_AT * min(1.0, CHANNELS / channels)


def frames_of(length: int) -> int:
    """Frames a step: eight windows, or as many as fit into 1024 frames; at least one."""
    return length * max(1, min(WINDOWS, LONGEST // length))


def filled(given: Mapping[str, Any], *, published: bool, channels: int, length: int) -> dict[str, Any]:
    """The whole recipe, by field, from the parts that are given (not None).

    published: what is not given is as published; so it is too where lr_decay is given. Raises UserError where parts
    contradict each other.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if published or "lr_decay" in given:
        whole = PUBLISHED | given
    else:
        whole = DEFAULT | {"learning_rate": rate_of(channels), "batch_size": frames_of(length)} | given
    if whole["schedule"] == "exponential":
        whole["lr_decay"] = whole["lr_decay"] or PUBLISHED["lr_decay"]
        if given.get("warm_up"):
            raise UserError("--warm-up: goes with --schedule cosine or stable")
        whole["warm_up"] = 0
    elif "lr_decay" in given:
        raise UserError(f"--lr-decay: goes with --schedule exponential, not {whole['schedule']}")
    else:
        whole["lr_decay"] = None
    unknown = [name for name in whole["vary"] if name not in VARIATIONS]
    if unknown and whole["vary"] != NOTHING:
        raise UserError(f"--vary {unknown[0]}: unknown; there are {', '.join(VARIATIONS)}, or none")
    return whole
