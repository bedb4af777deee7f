"""The adaptation program: a source lifter found or trained, adapted to an unlabelled target, scored on both sides."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from common.adaptation import results
from common.adaptation.demo import demo
from common.adaptation.source import find_source
from common.adaptation.work import adapt
from common.engine import checkpoint, devices
from common.engine.devices import Place
from common.engine.log import say
from common.errors import UserError
from common.programs.main import guarded
from common.settings.adaptation import DEMO, FLAGS, PRESETS, check, no_settings_file
from common.settings.flags import parse


def main(preset: str, description: str | None = None, argv: Sequence[str] | None = None) -> int:
    """Run a preset on a command line; returns the exit code: 0, or 2 for what the user can mend."""
    return guarded(_main, preset, description, list(sys.argv[1:] if argv is None else argv))


def _main(preset: str, description: str | None, argv: list[str]) -> int:
    defaults = PRESETS[preset] | (DEMO if "--demo" in argv else {})
    options = parse(argv, description, defaults, no_settings_file, FLAGS)
    options.program = preset
    check(options)
    if devices.under_launcher():
        raise UserError("adaptation runs in one process, on one GPU; start it without a launcher")
    if "," in options.gpu:
        say("Adaptation uses one GPU: the first of -gpu.")
        options.gpu = options.gpu.split(",")[0]
    place = devices.join(options.gpu, say)
    for line in options.notices:
        say(f"note: {line}")
    run(options, place)
    return 0


def run(options: Namespace, place: Place) -> dict | None:
    """Do what the flags ask for. Returns the report of an evaluation, or None with --no-eval."""
    if options.demo:
        return demo(options, place)
    if options.evaluate:
        path = checkpoint.find(Path(options.checkpoint), options.evaluate)
        return results.evaluate_file(options, place, path)
    source = find_source(options, place)
    if options.source_only:
        return results.evaluate_file(options, place, source)
    best = adapt(options, place, source)
    return None if options.no_eval else results.evaluate_file(options, place, best)
