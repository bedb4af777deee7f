"""The program behind main_diffpose_2view_frame.py: flags, settings, and the three things it does."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from common.binocular import checkpoint
from common.binocular import rescore as rescoring
from common.binocular.demo import run_demo
from common.binocular.run import Run, choose_device, fix_seeds, talker
from common.binocular.setup import load_side
from common.binocular.work import evaluate_run, simulate_run, train_run
from common.errors import UserError
from common.files.reading import parse_yaml
from common.files.writing import save_yaml
from common.settings import two_view as options

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


def parser(description: str) -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--config", help="settings, a file under configs/ or a path")
    p.add_argument("--doc", help="name of the run")
    p.add_argument("--exp", default="exp", help="folder of runs (default: exp)")
    p.add_argument("--train", action="store_true", help="train; without it, evaluate")
    p.add_argument("--simu", action="store_true", help="show the 3D error that the forward process makes")
    p.add_argument("--demo", action="store_true", help="synthetic data: make, train, evaluate, draw")
    p.add_argument("--rescore", metavar="FOLDER", help="score the arrays of an evaluation again; --config: its labels")
    p.add_argument("--model_diff_path", help="checkpoint, ours or a published one")
    p.add_argument("--resume", help="go on training from a checkpoint of ours (ckpt_last.pth, or its folder)")
    p.add_argument("--seed", type=int, help="default: 19960903; the demo: 0")
    p.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    p.add_argument("--actions", default="*", help="actions to evaluate, separated by commas; * is all")
    p.add_argument("--figures", type=int, default=0, help="draw this many evaluated frames")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any key of the settings")
    p.add_argument("--verbose", default="info", help="info, or warning for less")
    p.add_argument("--ni", action="store_true", help="write into an existing run folder without asking")
    for name, (key, *_) in SHORTHANDS.items():
        p.add_argument(f"--{name}", metavar="VALUE", help=f"{options.KEYS[key].help} ({key})")
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
    typed, resumed = typed_settings(arguments), None
    if arguments.resume:
        path = Path(arguments.resume)
        path = checkpoint.find(path / "ckpt_last.pth" if path.is_dir() else path)
        resumed = checkpoint.load(path)
        if "optimizer" not in resumed:
            raise UserError(f"{path}: a published checkpoint cannot be resumed; start from it with --model_diff_path")
        file, source, folder = resumed["card"]["all_settings"], str(path), path.parent
    else:
        if not arguments.config or not arguments.doc:
            raise UserError("--config and --doc are needed (or --demo, or --resume)")
        path = options.find_config(arguments.config)
        file, source = options.read_config(path), str(path)
        folder = None
    settings, inert = options.resolve(file, typed, source)
    settings, notes = options.from_file_names(settings, file)
    if arguments.config and not arguments.resume and path.name != Path(arguments.config).name:
        notes.append(f"--config {arguments.config}: no such file; {path.name} has these settings.")
    folder = folder or run_folder(arguments.exp, arguments.doc, arguments.ni)
    say = talker(folder, arguments.verbose)
    if inert:
        say(f"{source}: nothing reads {', '.join(inert)}.")
    for note in (settings["note"], *notes):
        if note:
            say(f"Note: {note}")
    for name in ("sequence", "model_pose_path"):
        if getattr(arguments, name):
            say(f"--{name} has no effect, as in the published program.")
    seed = arguments.seed if arguments.seed is not None else resumed["card"]["seed"] if resumed else 19960903
    save_yaml(folder / "config.yml", options.nested(settings))
    fix_seeds(seed)
    return Run(
        settings=settings,
        typed=typed,
        folder=folder,
        device=choose_device(arguments.device, say),
        seed=seed,
        say=say,
        actions=arguments.actions,
        figures=arguments.figures,
        weights=arguments.model_diff_path,
        resume=resumed,
    )


def rescore(arguments: argparse.Namespace) -> None:
    """Print the entries of metric.json of a folder of outputs, ours or published; nothing is written."""
    outputs, data = rescoring.read_outputs(arguments.rescore), None
    if arguments.config:
        path = options.find_config(arguments.config)
        settings, _ = options.resolve(options.read_config(path), typed_settings(arguments), str(path))
        settings["data.legacy_skew"] = False  # the 3D labels do not depend on it
        data = rescoring.with_labels(outputs, load_side(settings, "val", detections=False), str(path))
    entries = rescoring.rescore(outputs, data)
    print(rescoring.printable(entries, outputs, rescoring.stored_metric(arguments.rescore)))


def main(arguments: Sequence[str] | None = None, description: str = "Binocular 3D human pose") -> int:
    """Run the program; 0, or 2 with one line on stderr for what the user can mend."""
    try:
        parsed = parser(description).parse_args(arguments)
        if parsed.demo:
            run_demo(typed_settings(parsed), parsed.seed or 0, parsed.device, talker(None, parsed.verbose))
            return 0
        if parsed.rescore:
            rescore(parsed)
            return 0
        if parsed.train and parsed.simu:
            raise UserError("--train and --simu exclude each other")
        run = prepare(parsed)
        work = train_run if parsed.train or parsed.resume else simulate_run if parsed.simu else evaluate_run
        work(run)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
