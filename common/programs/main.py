"""The lifting program: flags in, training or evaluation or pictures out. Every main script is a preset of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.door import guarded
from common.settings.config_files import read_config
from common.settings.flags import parse
from common.settings.lifting import FLAGS, Settings, settle
from common.settings.presets import DEMO, DEMO_OF, PRESETS, PUBLISHED_RECIPES

if TYPE_CHECKING:
    from common.engine.devices import Place


def main(preset: str, description: str | None = None, argv: Sequence[str] | None = None) -> int:
    """Run a preset on a command line; returns the exit code: 0, or 2 for what the user can mend."""
    argv = list(sys.argv[1:] if argv is None else argv)
    training = not any(word == "--evaluate" or word.startswith("--evaluate=") for word in argv)
    advice = "continue with --resume last.bin once an epoch is done" if training else ""
    return guarded(_main, preset, description, argv, advice=advice)


def read_settings(preset: str, argv: Sequence[str], description: str | None = None) -> tuple[Settings, tuple[str, ...]]:
    """The settings of a command line, and what to say about flags that do nothing. Raises UserError."""
    defaults = dict(PRESETS[preset])
    if "--demo" in argv:
        defaults |= DEMO | DEMO_OF[dataset_of(argv, defaults)]
    parsed = parse(argv, description, FLAGS, defaults, config=read_config)
    from common.models import REGISTRY  # PyTorch: not needed for --help

    variants = {name: row.variants for name, row in REGISTRY.items()}
    settings = settle(parsed, variants, published_values=PUBLISHED_RECIPES.get(preset))
    return settings, parsed.notices


def dataset_of(argv: Sequence[str], defaults: dict[str, object]) -> str:
    """The data set of a command line, typed or of its preset: --demo depends on it."""
    parsed = parse(argv, None, FLAGS, defaults, config=read_config)
    name = str(parsed.values["dataset"])
    return name if name in DEMO_OF else "h36m"


def _main(preset: str, description: str | None, argv: list[str]) -> int:
    settings, notices = read_settings(preset, argv, description)
    from common.engine import devices
    from common.engine.log import say

    first, gpu = not devices.under_launcher(), settings.run.gpu
    gpus = [] if gpu == "mps" or not first else devices.wanted_gpus(gpu, lambda line: None)
    if len(gpus) > 1:
        return devices.run_on(gpus, main, preset, description, argv)
    place = devices.join(gpu, say)
    if place.first:
        for line in notices:
            say(f"note: {line}")
    run(settings, place)
    return 0


def run(settings: Settings, place: Place) -> dict | None:
    """Do what the settings ask for. Returns the report of an evaluation."""
    # Each where it is needed: training and evaluation run without h5py and Matplotlib.
    task = settings.task
    if task.demo:
        from common.programs.demo import demo

        return demo(settings, place)
    if not task.evaluate:
        from common.engine.training import train

        return train(settings, place)
    from common.engine import checkpoint

    path = checkpoint.find(Path(settings.run.checkpoint), task.evaluate)
    if task.viewer and place.first:
        from common.programs.page import view

        view(settings, place, path)
    if task.render:
        from common.programs.render import render

        render(settings, place, path)
        return None
    from common.engine.evaluation import evaluate_checkpoint

    return evaluate_checkpoint(settings, place, path)
