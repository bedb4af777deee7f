"""The ladder of benchmarks.recipe: its candidates, what a step of each costs, its rungs, who climbs."""

from __future__ import annotations

import re
import shlex
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tqdm import tqdm

from benchmarks.compare import run
from benchmarks.paired import bootstrap, spread
from common.datasets import data_set_of, load_clips
from common.datasets.windows import Windows
from common.engine import checkpoint
from common.engine.cards import new_card
from common.engine.devices import Place
from common.engine.recipe import lifter_recipe, with_recipe
from common.engine.trainer import LifterTrainer
from common.models import entry
from common.models.blocks import choose_attention
from common.programs.main import read_settings
from common.settings.lifting import Settings
from common.settings.recipe import PUBLISHED

BUDGET = 1580.0  # seconds of two quiet cores: published D3DP's 2,820 steps of 0.56 s
STEP = 0.405  # seconds a step of today's recipe takes there: docs/benchmark.md, mixste, small
WHERE = "-k cpn_ft_h36m_dbb -f 27 -cs 64 -dep 4 -gpu -1 --select last --nolog -cf 1000000 --p2"
CHOOSING, FINAL = ("S1,S5,S7", "S6,S8"), ("S1,S5,S6,S7,S8", "S9,S11")  # training and test subjects
TODAY, LIFTER = "today", "lifter"
# What won, on the lifter's recipe: with it, what untyped flags mean.
CHOSEN = {"schedule": "stable", "learning_rate": 2e-3, "average": 0.0, "vary": ("turn",)}


@dataclass(frozen=True)
class Candidate:
    """A recipe: fields that differ from the base's, and flags of the main program beside it."""

    name: str
    base: Mapping[str, object]
    changes: Mapping[str, object] = field(default_factory=dict)
    flags: str = "--model mixste"

    @property
    def recipe(self) -> dict[str, object]:
        return {**self.base, **self.changes}

    def argv(self) -> list[str]:
        """The whole recipe as typed flags: what a flag's default is does not matter."""
        values = self.recipe
        unused = "warm_up" if values["schedule"] == "exponential" else "lr_decay"
        out = shlex.split(self.flags)
        for name in sorted(set(values) - {unused}):
            value = values[name]
            out += [f"--{name.replace('_', '-')}", ",".join(value) if isinstance(value, tuple) else str(value)]
        return out


COSINE = {"schedule": "cosine", "warm_up": 300, "lr_decay": None, "learning_rate": 1e-3}
LIFTERS = (
    PUBLISHED
    | COSINE
    | {  # what the shipped lifter learned by
        "batch_size": 216,
        "average": 0.999,
        "times": "noise",
        "weight_decay": 0.05,
        "drop_path": 0.0,
    }
)
ALONE: dict[str, dict] = {  # each alone, on today's recipe
    "rate 1e-3": {"learning_rate": 1e-3, "lr_decay": 0.9},
    "cosine": COSINE,
    "stable": COSINE | {"schedule": "stable"},
    "cosine, 8 windows": COSINE | {"batch_size": 216},
    "average": {"average": 0.999},
    "towards noise": {"times": "noise"},
    "weight decay": {"weight_decay": 0.05},
    "no drop path": {"drop_path": 0.0},
}
MORE: dict[str, dict] = {  # and each on all of it together
    "turn": {"vary": ("turn",)},
    "body": {"vary": ("body",)},
    "body, turn": {"vary": ("body", "turn")},
    "body, turn, speed": {"vary": ("body", "turn", "speed")},
    "body, turn, speed, hidden, noise": {"vary": ("body", "turn", "speed", "hidden", "noise")},
    "camera": {"vary": ("camera",)},
    "16 windows": {"batch_size": 432},
    "stable": {"schedule": "stable"},
    "rate 2e-3": {"learning_rate": 2e-3},
    "rate 4e-3": {"learning_rate": 4e-3},
    "uniform": {"times": "uniform"},
    "logit-normal": {"times": "logit-normal"},
    "by signal": {"loss_weight": "signal"},
    "velocity": {"velocity_loss": 1.0},
    "bones": {"bone_loss": 0.5},
    "drop path": {"drop_path": 0.1},
    "no average": {"average": 0.0},
}
CANDIDATES = {
    c.name: c
    for c in (
        Candidate(TODAY, PUBLISHED),
        Candidate(LIFTER, LIFTERS),
        *(Candidate(f"today + {name}", PUBLISHED, changes) for name, changes in ALONE.items()),
        *(Candidate(f"lifter + {name}", LIFTERS, changes) for name, changes in MORE.items()),
    )
}


@dataclass(frozen=True)
class Rung:
    """A stage: its share of the budget, its seeds, its training and test subjects."""

    name: str
    share: float
    seeds: tuple[int, ...]
    subjects: tuple[str, str]


SCREEN, THIRD = Rung("screen", 1 / 10, (1, 2), CHOOSING), Rung("third", 1 / 3, (1, 2, 3), CHOOSING)
FULL, TENTH = Rung("full", 1.0, (1, 2), FINAL), Rung("tenth", 1 / 10, (1, 2), FINAL)
RUNGS = {rung.name: rung for rung in (SCREEN, THIRD, FULL, TENTH)}
FINALISTS = 4


def settings_of(candidate: Candidate, data: Path, subjects: tuple[str, str], more: Sequence[str] = ()) -> tuple:
    """The main program's settings of a candidate, and the command line that they come from."""
    where = [*shlex.split(WHERE), "--data-root", str(data), "-str", subjects[0], "-ste", subjects[1]]
    argv = [*where, *candidate.argv(), *more]
    return read_settings("h36m", argv)[0].changed(epochs=1_000_000), argv  # the budget ends the run


def make_trainer(settings: Settings, place: Place) -> LifterTrainer:
    """The trainer of settings, as `engine.training` makes it, without a folder: for its steps to be timed."""
    settings = with_recipe(settings)
    clips = load_clips(settings.data, "train", lambda line: None)
    card, source = new_card(settings, clips), data_set_of(settings.data)
    model, lifter = entry(card["model"]), checkpoint.make_lifter(card).to(place.device)
    choose_attention(lifter, place.device, card["frames"], card["joints"])
    cut = partial(Windows, skeleton=source.skeleton, length=card["frames"], device=place.device)
    windows = cut(clips, action_names=source.action_names(clips), centre_only=model.centre_only)
    recipe = lifter_recipe(settings, card["frames"], squared=model.squared_gradient)
    return LifterTrainer(lifter.train(), windows, recipe, place, loss=model.loss(card["sizes"], False))


def measure(candidates: Sequence[Candidate], data: Path, place: Place, rounds: int = 7) -> dict[str, float]:
    """What a step of each costs, as a share of today's: medians of ratios within a round, all in turn."""
    names = [TODAY, *(c.name for c in candidates if c.name != TODAY)]
    known = {**{c.name: c for c in candidates}, TODAY: CANDIDATES[TODAY]}
    trainers = {n: make_trainer(settings_of(known[n], data, CHOOSING)[0], place) for n in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for k in tqdm(range(rounds + 1), desc="cost of a step", leave=False):
        for name, trainer in trainers.items():
            rows = trainer.batches(1)[k % len(trainer.batches(1))]
            start = time.perf_counter()
            trainer.step(rows, 1, k)
            if k:  # the first warms up
                times[name].append(time.perf_counter() - start)
    return {n: statistics.median(t / b for t, b in zip(times[n], times[TODAY], strict=True)) for n in names}


def steps_of(budget: float, share: float, cost: float) -> int:
    """Steps that a share of the budget pays for, where a step costs `cost` of today's."""
    return max(1, round(budget * share / (STEP * cost)))


def climb(
    candidate: Candidate, rung: Rung, budget: float, cost: float, data: Path, out: Path, place: Place
) -> list[dict]:
    """The candidate's runs on a rung, one a seed; finished ones are taken as they are."""
    runs = []
    for seed in rung.seeds:
        steps = steps_of(budget, rung.share, cost)
        folder = out / rung.name / f"{re.sub('[^a-z0-9-]+', '_', candidate.name)}_seed{seed}"
        more = ["--seed", str(seed), "--max-steps", str(steps), "-c", str(folder)]
        settings, argv = settings_of(candidate, data, rung.subjects, more)
        runs.append(slim(run(candidate.name, settings, argv, place)))
    return runs


def slim(run: dict) -> dict:
    """The run with the one column that is judged, its clips' errors to a thousandth of a millimetre."""
    clips = {key: {"frames": row["frames"], "P_Agg": round(row["P_Agg"], 3)} for key, row in run["clips"].items()}
    averages = {p: {k: {"P_Agg": v["P_Agg"]} for k, v in kinds.items()} for p, kinds in run["averages"].items()}
    return run | {"clips": clips, "averages": averages}


def mean_error(runs: Sequence[dict]) -> float:
    return spread(runs, "P_Agg")[0]


def combined(screened: Mapping[str, Sequence[dict]]) -> Candidate:
    """The lifter's recipe with every change that alone helps it: those whose interval lies below zero. Of changes to
    one field the best counts."""
    changes: dict[str, object] = {}
    helped = []
    for name, runs in screened.items():
        if name.startswith("lifter + "):
            gain, _, high = bootstrap(runs, screened[LIFTER], "P_Agg")
            helped += [(gain, name)] if high < 0 else []
    for _, name in sorted(helped, reverse=True):  # the best last: it wins its field
        changes |= CANDIDATES[name].changes
    return Candidate("combined", LIFTERS, changes)


def finalists(screened: Mapping[str, Sequence[dict]]) -> list[Candidate]:
    """The combination and the best others, four in all."""
    best = sorted(screened, key=lambda name: mean_error(screened[name]))
    together = combined(screened)
    same = [c for c in CANDIDATES.values() if c.recipe == together.recipe]
    return [*([] if same else [together]), *(CANDIDATES[name] for name in best)][:FINALISTS]
