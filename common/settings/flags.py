"""Flags as fields of frozen dataclasses: a setting's name, its default, its spellings and its help stand in one place.

A class of settings lists its fields with `flag(...)`. `parse` reads a command line into plain values: a program's
preset first, then the settings file of `--config`, then what is typed. `build` makes the dataclasses of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal

from common.errors import UserError, visible


@dataclass(frozen=True)
class Flag:
    """How a setting is typed. A name without a dash is an argument without a name; type None is a switch."""

    names: tuple[str, ...]
    help: str
    default: object = None
    type: Callable | None = str
    choices: tuple[str, ...] | None = None
    repeat: bool = False  # may be given several times; the value is a list, None without any
    group: str = ""
    destination: str = ""  # the field


def flag(*names: str, help: str, default=None, type: Callable | None = str, choices=None, repeat: bool = False):
    """A field of a settings class that can be typed."""
    return field(default=default, metadata={"flag": Flag(names, help, default, type, choices, repeat)})


def switch(*names: str, help: str):
    """A field that is False until its flag is typed."""
    return flag(*names, help=help, default=False, type=None)


def flags_of(*classes: type) -> tuple[Flag, ...]:
    """The flags of some settings classes; a class's docstring names their group in the help."""
    rows = []
    for cls in classes:
        group = (cls.__doc__ or "").split(".")[0].split(":")[0].strip().lower()
        for f in fields(cls):
            if "flag" in f.metadata:
                row = f.metadata["flag"]
                rows.append(Flag(row.names, row.help, row.default, row.type, row.choices, row.repeat, group, f.name))
    return tuple(rows)


def replaced(base: Sequence[Flag], own: Sequence[Flag]) -> tuple[Flag, ...]:
    """A program's flags: its own, and those of a common table that share no name with them."""
    names = {name for row in own for name in row.names}
    return (*(row for row in base if not names.intersection(row.names)), *own)


def build(cls: type, values: Mapping[str, Any]):
    """An instance of a settings class from values by field; what is not there keeps its default."""
    return cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})


def defaults_of(cls: type) -> dict[str, Any]:
    """The defaults of a settings class, by field."""
    return {f.name: f.default for f in fields(cls) if f.default is not MISSING}


# Types of values. argparse turns their ValueError and ArgumentTypeError into one line.


def yes_no(text: str) -> bool:
    """True, yes, 1 and the like."""
    if text.lower() in ("true", "yes", "1", "on"):
        return True
    if text.lower() in ("false", "no", "0", "off"):
        return False
    raise argparse.ArgumentTypeError(f"expected True or False, not {text}")


def yes_no_own(text: str) -> bool | Literal["own"]:
    """True, False or 'own'."""
    try:
        return "own" if text.lower() == "own" else yes_no(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"expected True, False or own, not {text}") from None


def names(text: str | Iterable[str]) -> tuple[str, ...]:
    """A comma list: 'S1, S5' as ('S1', 'S5'). Blanks are trimmed; an empty or a repeated entry is an error.

    Names are as clips have them: `visible`.
    """
    parts = tuple(visible(part.strip()) for part in text.split(",")) if isinstance(text, str) else tuple(text)
    if "" in parts:
        raise argparse.ArgumentTypeError(f"{text!r} has an empty entry")
    if repeated := [part for n, part in enumerate(parts) if part in parts[:n]]:
        raise argparse.ArgumentTypeError(f"{text!r} names {repeated[0]} twice")
    return parts


def numbers(text: str | Iterable[int]) -> tuple[int, ...]:
    """A comma list of whole numbers."""
    try:
        return tuple(int(part) for part in names(text)) if isinstance(text, str) else tuple(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers such as 0 or 0,2, not {text}") from None


# Flags of published scripts that did nothing there, or do nothing here: accepted with a notice. True: takes a value.
ACCEPTED: dict[str, tuple[bool, str]] = {
    "-mloss": (True, "the best epoch starts from the first one"),
    "--min_loss": (True, "the best epoch starts from the first one"),
    "--save_lmin": (True, "no checkpoint is chosen by a target error"),
    "--save_lmax": (True, "no checkpoint is chosen by a target error"),
    "--save_emin": (True, "no checkpoint is chosen by a target error"),
    "--save_lmin_gt": (True, "no checkpoint is chosen by a target error"),
    "--save_lmax_gt": (True, "no checkpoint is chosen by a target error"),
    "--coverlr": (False, "a resumed run keeps its learning rate"),
    "-drop": (True, "the published networks have no dropout"),
    "--dropout": (True, "the published networks have no dropout"),
    "-sun": (True, "there is no semi-supervised training"),
    "--subjects-unlabeled": (True, "there is no semi-supervised training"),
    "-lambda_": (True, "the published program never read it"),
    "-in-chans": (True, "the input is always 2D"),
    "--workers": (True, "windows are gathered on the device"),
    "--warmup": (True, "the published program never read it"),
    "--dense": (False, "the published program never read it"),
    "--disable-optimizations": (False, "the published program never read it"),
    "--linear-projection": (False, "the published program never read it"),
    "--no-bone-length": (False, "the published program never read it"),
    "--no-proj": (False, "the published program never read it"),
    "--compare": (False, "the published program never read it"),
    **{
        name: (True, "the published program never read it")
        for name in (
            *("-alpha", "-beta", "-lcs", "-depth", "-ldg", "--ft", "--ftpath", "--ftchk", "--postrf", "--ftpostrf"),
            *("--cond_pose_mask_prob", "--cond_part_mask_prob", "--cond_joint_mask_prob", "--input-npz"),
        )
    },
    "-e_gt": (True, "-e says the epochs in every program"),
    "--data-augmentation": (True, "on; -no-da turns it off"),
    **{
        f"--{part}_{kind}": (True, "the 2D input of training and evaluation is used as it is")
        for part in ("train", "train_val", "test")
        for kind in ("extra_noise_std", "joint_drop")
    },
    "--out_all": (True, "the model's name says it: diff3dhpe or diff3dhpe_s2f"),
    "--loss_type": (True, "the published program never read it"),
}


# Of these, what only one value can be said of.
ONLY = {"--data-augmentation": ("true",)} | {
    name: ("0", "0.0") for name in ACCEPTED if name.endswith(("extra_noise_std", "joint_drop"))
}


class _Notice(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        if values and str(values).lower() not in ONLY.get(option_string, (str(values).lower(),)):
            parser.error(f"{option_string} {values}: not here; {ACCEPTED[option_string][1]}")
        namespace.notices = [*getattr(namespace, "notices", []), f"{option_string}: {ACCEPTED[option_string][1]}"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise UserError(message)


def make_parser(
    description: str | None, flags: Sequence[Flag], defaults: Mapping[str, Any], *, typed_only: bool = False
) -> argparse.ArgumentParser:
    """The parser of a program; `defaults` override those of the flags. `typed_only` leaves out what is not typed."""
    parser = _Parser(description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    groups: dict[str, argparse._ArgumentGroup] = {}
    for row in flags:
        if row.group not in groups:
            groups[row.group] = parser.add_argument_group(row.group)
        group, value = groups[row.group], defaults.get(row.destination, row.default)
        default = argparse.SUPPRESS if typed_only else value
        if not row.names[0].startswith("-"):
            group.add_argument(row.destination, help=row.help, type=row.type)
            continue
        common: dict[str, Any] = {"dest": row.destination, "help": row.help + _shown(row, value), "default": default}
        if row.type is None:
            group.add_argument(*row.names, action="store_true", **common)
            continue
        group.add_argument(
            *row.names,
            type=row.type,
            action="append" if row.repeat else "store",
            choices=row.choices,
            metavar=None if row.choices else row.type.__name__.upper(),
            **common,
        )
    known = {name for row in flags for name in row.names}
    for name, (takes_value, _) in ACCEPTED.items():
        if name not in known:
            parser.add_argument(
                name,
                help=argparse.SUPPRESS,
                action=_Notice,
                dest="notices",
                default=argparse.SUPPRESS,
                nargs="?" if takes_value else 0,
            )
    return parser


def _shown(row: Flag, value: object) -> str:
    """The default as the help shows it; a help line that tells a default of its own stands as it is."""
    if "default" in row.help:
        return ""
    if row.type is None:
        return f" (default: {'on' if value else 'off'})"
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f" (default: {'none' if value in (None, '', ()) else text})".replace("%", "%%")


@dataclass(frozen=True)
class Parsed:
    """What a command line says: every value by field, what of it was typed, what was typed or stands in the settings
    file, and lines to say about flags that do nothing."""

    values: dict[str, Any]
    typed: dict[str, Any]
    given: dict[str, Any]
    notices: tuple[str, ...] = ()


def parse(
    argv: Sequence[str],
    description: str | None,
    flags: Sequence[Flag],
    defaults: Mapping[str, Any],
    *,
    config: Callable[[str], dict[str, Any]] | None = None,
) -> Parsed:
    """Read a command line. config(path) reads a settings file into values, which stand between preset and typed."""
    typed = vars(make_parser(description, flags, defaults, typed_only=True).parse_args(argv))  # shows --help, too
    notices = tuple(typed.pop("notices", ()))
    for row in flags:
        empty = typed.get(row.destination) in ("", [""])
        if empty and row.type is str and "" not in (row.choices or ()):  # often a shell variable that is not set
            raise UserError(f"{row.names[-1]}: an empty text; leave the flag out")
    path = typed.get("config") or defaults.get("config")
    settings = config(path) if config and path else {}
    known = {row.destination for row in flags}
    for name in {**defaults, **settings}:
        if name not in known:
            raise UserError(f"unknown setting {name}")
    for row in flags:  # a settings file keeps to the ranges of what is typed
        value = settings.get(row.destination)
        if row.type is not None and isinstance(value, int | float) and not isinstance(value, bool):
            try:
                row.type(repr(value))
            except (argparse.ArgumentTypeError, ValueError) as error:
                raise UserError(f"{path}: {row.destination}: {error}") from None
    values = vars(make_parser(description, flags, {**defaults, **settings}).parse_args(argv))
    values.pop("notices", None)
    given = {**{name: values[name] for name in settings}, **typed}
    return Parsed(values, typed, given, notices)


def words(flags: Iterable[Flag], values: Mapping[str, Any]) -> list[str]:
    """Values by field as they are typed, so that calls from Python keep to the ranges and lines of the command line.

    None, and False for a switch, leave a flag out; a tuple is a comma list, a dictionary one of KEY=VALUE. Raises
    UserError for an unknown field.
    """
    rows = {row.destination: row for row in flags}
    out = []
    for name, value in values.items():
        if name not in rows:
            raise UserError(f"{name}: no such option; there are {', '.join(sorted(rows))}")
        row, long = rows[name], rows[name].names[-1]
        if value is None or (row.type is None and not value):
            continue
        for one in value if row.repeat and not isinstance(value, str) else (value,):
            parts = [f"{key}={part}" for key, part in one.items()] if isinstance(one, dict) else one
            text = ",".join(map(str, parts)) if isinstance(parts, tuple | list) else str(parts)
            out.append(long if row.type is None else f"{long}={text}")
    return out
