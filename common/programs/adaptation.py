"""The adaptation program: a source lifter found or trained, adapted to an unlabelled target, scored on both sides."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from common.door import guarded
from common.errors import UserError
from common.settings.adaptation import AdaptationSettings, read_settings
from common.settings.lifting import Settings

if TYPE_CHECKING:
    from common.engine.devices import Place


def main(preset: str, description: str | None = None, argv: Sequence[str] | None = None) -> int:
    """Run a preset on a command line; returns the exit code: 0, or 2 for what the user can mend."""
    argv = list(sys.argv[1:] if argv is None else argv)
    return guarded(_main, preset, description, argv, advice="continue with --resume last.bin once an epoch is done")


def _main(preset: str, description: str | None, argv: list[str]) -> int:
    settings, own, notices = read_settings(preset, argv, description)
    from common.engine import devices
    from common.engine.log import say

    if devices.under_launcher():
        raise UserError("adaptation runs in one process, on one GPU; start it without a launcher")
    gpu, *others = settings.run.gpu.split(",")
    if others:
        say("Adaptation uses one GPU: the first of -gpu.")
        settings = replace(settings, run=replace(settings.run, gpu=gpu))
    place = devices.join(gpu, say)
    for line in notices:
        say(f"note: {line}")
    run(settings, own, place)
    return 0


def run(settings: Settings, own: AdaptationSettings, place: Place) -> dict | None:
    """Do what the settings ask for. Returns the report of an evaluation, or None with --no-eval."""
    from common.adaptation import results
    from common.adaptation.demo import demo
    from common.adaptation.source import find_source
    from common.adaptation.work import adapt, check_target
    from common.engine import checkpoint

    if settings.task.demo:
        return demo(settings, own, place)
    if settings.task.evaluate:
        path = checkpoint.find(Path(settings.run.checkpoint), settings.task.evaluate)
        return results.evaluate_file(settings, own, place, path)
    if not own.source_only:
        check_target(settings, own)
    source = find_source(settings, own, place)
    if own.source_only:
        return results.evaluate_file(settings, own, place, source)
    best = adapt(settings, own, place, source)
    return None if settings.training.no_eval else results.evaluate_file(settings, own, place, best)
