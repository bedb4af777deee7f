"""The program behind main_diffpose_2view_frame.py: flags, settings, and the three things it does."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.door import guarded
from common.errors import UserError
from common.files.texts import parse_yaml
from common.settings import two_view_files as options
from common.settings.flags import names
from common.settings.ranges import NATURAL, SEED
from common.settings.two_view import KEYS

if TYPE_CHECKING:
    from common.binocular.run import Run

# Flags that stand for a key of the settings.
SHORTHANDS = {
    "batch_size": ("training.batch_size", "testing.batch_size"),
    "epochs": ("training.n_epochs",),
    "lr": ("optim.lr",),
    "lr_gamma": ("optim.lr_gamma",),
    "decay": ("optim.decay",),
    "loss_type": ("training.loss_type",),
    "select": ("training.select",),
    "test_times": ("testing.test_times",),
    "test_timesteps": ("testing.test_timesteps",),
    "test_num_diffusion_timesteps": ("testing.test_num_diffusion_timesteps",),
    "skip_type": ("testing.skip_type",),
    "eta": ("testing.eta",),
    "debias": ("testing.debias",),
    "protocol": ("testing.protocol",),
    "variant": ("model.variant",),
    "dim_model": ("model.hid_dim",),
    "n_layer": ("model.num_layer",),
    "n_head": ("model.n_head",),
    "dropout": ("model.dropout",),
    "downsample": ("data.downsample",),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise UserError(message)


def parser(description: str) -> argparse.ArgumentParser:
    p = _Parser(description=description, allow_abbrev=False)
    p.add_argument("--config", help="settings, a file under configs/ or a path")
    p.add_argument("--doc", help="name of the run")
    p.add_argument("--exp", default="exp", help="folder of runs (default: exp)")
    p.add_argument("--train", action="store_true", help="train; without it, evaluate")
    p.add_argument("--simu", action="store_true", help="show the 3D error that the forward process makes")
    p.add_argument("--demo", action="store_true", help="synthetic data: make, train, evaluate, draw")
    p.add_argument("--rescore", metavar="FOLDER", help="score the arrays of an evaluation again; --config: its labels")
    p.add_argument("--model_diff_path", help="checkpoint, ours or a published one")
    p.add_argument("--resume", help="go on training from a checkpoint of ours (ckpt_last.pth, or its folder)")
    p.add_argument("--seed", type=SEED, help="default: 19960903; the demo: 0")
    p.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    p.add_argument("-gpu", "--gpu", help="number of the GPU; -1 is the CPU: the same as --device")
    p.add_argument("--amp", action="store_true", help="train under bf16 autocast")
    p.add_argument(
        "--actions", type=names, default=("*",), help="actions to evaluate, separated by commas (default: *)"
    )
    p.add_argument("--figures", type=NATURAL, default=0, help="draw this many evaluated frames (default: 0)")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any key of the settings")
    p.add_argument("--verbose", default="info", help="info, or warning for less (default: info)")
    p.add_argument("--ni", action="store_true", help="write into an existing run folder without asking")
    for name, (key, *_) in SHORTHANDS.items():
        p.add_argument(f"--{name}", metavar="VALUE", help=f"{KEYS[key].help} ({key}; default: {KEYS[key].default})")
    p.add_argument("--sequence", help=argparse.SUPPRESS)  # published flags that nothing ever read
    p.add_argument("--model_pose_path", help=argparse.SUPPRESS)
    return p


def typed_settings(arguments: argparse.Namespace) -> dict[str, object]:
    """What the command line sets, by key."""
    typed = {}
    for name, keys in SHORTHANDS.items():
        if (value := getattr(arguments, name)) is not None:
            typed |= dict.fromkeys(keys, value)
    for item in arguments.set:
        key, sign, value = item.partition("=")
        if not sign:
            raise UserError(f"--set {item}: expected KEY=VALUE")
        typed[key] = parse_yaml(value, f"--set {key}")
    return {key: options.check(key, value, "command line") for key, value in typed.items()}


def run_folder(exp: str, doc: str, overwrite: bool) -> Path:
    """exp/<doc>@DD.MM.YYYY-HH.MM.SS: the published name, without the colons that some file systems refuse."""
    if Path(doc).name != doc:
        raise UserError(f"--doc {doc}: a name, not a path")
    folder = Path(exp) / f"{doc}@{time.strftime('%d.%m.%Y-%H.%M.%S')}"
    if folder.exists() and not overwrite:
        raise UserError(f"{folder} exists; --ni writes into it")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def prepare(arguments: argparse.Namespace) -> Run:
    """Settings, folder and device of a run."""
    from common.binocular import checkpoint
    from common.binocular.run import Run, choose_place, talker
    from common.files.writing import save_yaml, writable

    typed, resumed = typed_settings(arguments), None
    if arguments.resume:
        path = Path(arguments.resume)
        path = checkpoint.find(path / "ckpt_last.pth" if path.is_dir() else path)
        resumed = checkpoint.resumable(path)
        file, source, folder = resumed["card"]["all_settings"], str(path), path.parent
    else:
        if not arguments.config or not arguments.doc:
            raise UserError("--config and --doc are needed (or --demo, or --resume)")
        path = options.find_config(arguments.config)
        file, source = options.read_config(path), str(path)
        folder = None
    values, inert = options.resolve(file, typed, source)
    values, notes = options.from_file_names(values, file)
    if arguments.config and not arguments.resume and path.name != Path(arguments.config).name:
        notes.append(f"--config {arguments.config}: no such file; {path.name} has these settings.")
    folder = writable(folder or run_folder(arguments.exp, arguments.doc, arguments.ni))
    say = talker(folder, arguments.verbose)
    if inert:
        say(f"{source}: nothing reads {', '.join(inert)}.")
    for note in (values["note"], *notes):
        if note:
            say(f"Note: {note}")
    for name in ("sequence", "model_pose_path"):
        if getattr(arguments, name):
            say(f"--{name} has no effect, as in the published program.")
    seed = arguments.seed if arguments.seed is not None else resumed["card"]["seed"] if resumed else 19960903
    save_yaml(folder / "config.yml", options.nested(values))
    return Run(
        values=values,
        typed=typed,
        folder=folder,
        place=choose_place(arguments.device or arguments.gpu, say),
        seed=seed,
        say=say,
        actions=arguments.actions,
        figures=arguments.figures,
        weights=arguments.model_diff_path,
        resume=resumed,
        amp=arguments.amp,
    )


def rescore(arguments: argparse.Namespace) -> None:
    """Print the entries of metric.json of a folder of outputs, ours or published; nothing is written."""
    from common.binocular import rescore as rescoring
    from common.binocular.setup import load_side
    from common.settings.two_view import TwoViewSettings

    outputs, data = rescoring.read_outputs(arguments.rescore), None
    if arguments.config:
        path = options.find_config(arguments.config)
        values, _ = options.resolve(options.read_config(path), typed_settings(arguments), str(path))
        values["data.legacy_skew"] = False  # the 3D labels do not depend on it
        data = rescoring.with_labels(outputs, load_side(TwoViewSettings.of(values), "val", detections=False), str(path))
    entries = rescoring.rescore(outputs, data)
    print(rescoring.printable(entries, outputs, rescoring.stored_metric(arguments.rescore)))


def main(arguments: Sequence[str] | None = None, description: str = "Binocular 3D human pose") -> int:
    """Run the program; 0, or 2 with one line on stderr for what the user can mend."""
    return guarded(_main, list(sys.argv[1:] if arguments is None else arguments), description)


def _main(argv: list[str], description: str) -> int:
    parsed = parser(description).parse_args(argv)
    if parsed.train and parsed.simu:
        raise UserError("--train and --simu exclude each other")
    if parsed.rescore:
        rescore(parsed)
        return 0
    if parsed.demo:
        from common.binocular.demo import run_demo
        from common.binocular.run import choose_place, talker

        say = talker(None, parsed.verbose)
        place = choose_place(parsed.device or parsed.gpu, say)
        run_demo(typed_settings(parsed), parsed.seed or 0, place, say, amp=parsed.amp)
        return 0
    run = prepare(parsed)
    from common.binocular.work import evaluate_run, simulate_run, train_run

    work = train_run if parsed.train or parsed.resume else simulate_run if parsed.simu else evaluate_run
    work(run)
    return 0
