"""The sampler that is asked for, and whether what a checkpoint's card holds was fitted with it."""

from __future__ import annotations

from common.engine.evaluate import Sampling
from common.settings.wild import WildSettings

WINDOWS = 16  # at a time
TYPED = {  # what must be as it was, and how it is typed; more hypotheses do no harm
    "steps": "-sampling_timesteps",
    "flip": "--test-time-augmentation",
    "sampler": "--sampler",
    "aggregate": "--aggregate",
}


def sampling_of(settings: WildSettings) -> Sampling:
    asked = settings.sampling
    return Sampling(asked.hypotheses, asked.sampling_timesteps, WINDOWS, settings.lifting.seed, neutral=True,
                    flip=asked.test_time_augmentation, sampler=asked.sampler)  # fmt: skip


def sampler_of(settings: WildSettings) -> dict:
    """What a card says of the sampler that something was fitted with."""
    asked = sampling_of(settings)
    sampler = {"hypotheses": asked.hypotheses, "steps": asked.steps, "flip": asked.flip, "sampler": asked.sampler}
    return sampler | {"aggregate": settings.lifting.aggregate}


def why_not(fitted: dict, settings: WildSettings) -> str | None:
    """Why something of a card is not true of the sampler that is asked for; None where it is."""
    asked = sampler_of(settings)
    if asked["hypotheses"] < fitted["hypotheses"]:
        return f"fitted with {fitted['hypotheses']} hypotheses"
    for name, typed in TYPED.items():
        if asked[name] != fitted[name]:
            return f"fitted with {typed} {fitted[name]}, not {asked[name]}"
    return None
