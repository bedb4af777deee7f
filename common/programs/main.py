"""The lifting program: flags in, training or evaluation or pictures out. Every main script is a preset of it."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from common.engine import checkpoint, devices
from common.engine.log import say
from common.errors import UserError
from common.models import REGISTRY
from common.settings.config_files import read_config
from common.settings.flags import parse
from common.settings.presets import DEMO, DEMO_OF, PRESETS


def main(preset: str, description: str | None = None, argv: Sequence[str] | None = None) -> int:
    """Run a preset on a command line; returns the exit code: 0, or 2 for what the user can mend."""
    return guarded(_main, preset, description, list(sys.argv[1:] if argv is None else argv))


def guarded(work, *arguments) -> int:
    """Call work; turn a UserError into one line on stderr and exit code 2."""
    try:
        return work(*arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; continue with --resume last.bin", file=sys.stderr)
        return 130
    finally:
        devices.leave()


def _main(preset: str, description: str | None, argv: list[str]) -> int:
    defaults = dict(PRESETS[preset])
    if "--demo" in argv:
        defaults |= DEMO | DEMO_OF[defaults.get("dataset", "h36m")]
    options = parse(argv, description, defaults, read_config)
    check(options)
    first = not devices.under_launcher()
    gpus = [] if options.gpu == "mps" or not first else devices.wanted_gpus(options.gpu, lambda line: None)
    if len(gpus) > 1:
        return devices.run_on(gpus, main, preset, description, argv)
    place = devices.join(options.gpu, say)
    if place.first:
        for line in options.notices:
            say(f"note: {line}")
    run(options, place)
    return 0


def check(options: Namespace) -> None:
    """Flags that cannot go together, and what --as-published stands for."""
    if options.evaluate and options.resume:
        raise UserError("--evaluate and --resume exclude each other: evaluate a file, or go on training from it")
    if options.demo and (options.evaluate or options.resume):
        raise UserError("--demo trains its own model; leave out --evaluate and --resume")
    for name in ("epochs", "batch_size", "hypotheses", "sampling_timesteps", "timesteps", "checkpoint_frequency"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(options, name)}: must be 1 or more")
    if options.stride is not None and options.stride < 1:
        raise UserError(f"-s {options.stride}: must be 1 or more")
    if options.sampling_timesteps > options.timesteps:
        raise UserError(f"-sampling_timesteps {options.sampling_timesteps} exceeds the schedule's {options.timesteps}")
    if options.lite_ver:
        options.model = options.given["model"] = "grap2eq_lite"
    if options.single_pass and (options.hypotheses, options.sampling_timesteps) != (1, 1):
        raise UserError("--single-pass has no noise: one hypothesis and one step are all there is")
    options.published_settings = []
    if options.as_published:
        settings = {"protocol": "published", "select": "test"}
        if options.model in REGISTRY and REGISTRY[options.model].variants:
            settings["variant"] = "published"
        for name, value in settings.items():
            if options.typed.get(name, value) != value:
                raise UserError(f"--as-published sets --{name} {value}; leave out --{name} {options.typed[name]}")
            setattr(options, name, value)
        options.published_settings = [f"--{name} {value}" for name, value in settings.items()]


def run(options: Namespace, place: devices.Place) -> dict | None:
    """Do what the flags ask for. Returns the report of an evaluation."""
    # Each where it is needed: training and evaluation run without h5py and Matplotlib.
    if options.demo:
        from common.programs.demo import demo

        return demo(options, place)
    if not options.evaluate:
        from common.programs.train import train

        return train(options, place)
    path = checkpoint.find(Path(options.checkpoint), options.evaluate)
    if options.viewer and place.first:
        from common.programs.page import view

        view(options, place, path)
    if options.render:
        from common.programs.render import render

        return render(options, place, path)
    from common.programs.evaluate import evaluate_checkpoint

    return evaluate_checkpoint(options, place, path)
