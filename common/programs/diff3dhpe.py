"""The program behind Diff3DHPE's published scripts: the lifting program, with -b as they count it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from common.errors import UserError
from common.programs import main as lifting
from common.settings.config_files import read_config


def main(preset: str, description: str | None = None, argv: Sequence[str] | None = None) -> int:
    """Run a preset on a command line; returns the exit code."""
    return lifting.main(preset, description, in_frames(sys.argv[1:] if argv is None else argv))


def in_frames(argv: Sequence[str]) -> list[str]:
    """The command line with a typed -b, which counts windows there, in frames, as the lifting program counts a training
    step; in evaluation both count windows. A line without -b, or that does not parse, stays as it is."""
    argv = list(argv)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("-b", "--batch-size", type=int)
    parser.add_argument("-f", "-frame", "--number-of-frames", type=int)
    parser.add_argument("--config")
    parser.add_argument("--evaluate")
    try:
        typed, _ = parser.parse_known_args(argv)
        settings = read_config(typed.config) if typed.config else {}
    except (argparse.ArgumentError, UserError):
        return argv  # the lifting program says what is wrong with it
    if typed.batch_size is None or typed.evaluate:
        return argv
    frames = typed.number_of_frames or settings.get("number_of_frames")
    return [*argv, "-b", str(typed.batch_size * (frames or 243))]
