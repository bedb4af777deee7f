"""The source lifter: found below the checkpoint folder, or trained first."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from common.engine import checkpoint
from common.engine.devices import Place
from common.engine.log import say
from common.errors import UserError
from common.programs.train import BEST, train

NAME = "h36m_best_epoch.bin"  # as the published program looks for it, in model_h36m
ALL = "S1,S5,S6,S7,S8"


def source_path(options: Namespace) -> Path:
    """Where the source lifter lies by default: `model_h36m/h36m_best_epoch.bin`, for other subjects `model_h36m_S1`."""
    subjects = "" if options.subjects_train == ALL else "_" + options.subjects_train.replace(",", "_")
    return Path(options.checkpoint) / f"model_h36m{subjects}" / NAME


def find_source(options: Namespace, place: Place) -> Path:
    """The source lifter's file: --source, else the one by default, else a new one, trained and put there."""
    if options.source:
        return checkpoint.find(Path(options.checkpoint), options.source)
    path = source_path(options)
    if not path.is_file():
        _train(options, place, path)
    return path


def _train(options: Namespace, place: Place, path: Path) -> None:
    """Train into a folder of its own; the file takes its name when training is complete, an interrupted one goes on."""
    own = Namespace(**vars(options))
    own.checkpoint, own.epochs = str(path.parent / "training"), options.source_epochs
    own.batch_size, own.learning_rate = options.source_batch_size, options.source_learning_rate
    own.lr_decay, own.select, own.no_eval, own.nolog = options.source_lr_decay, "held", True, True
    own.protocol, own.variant = "default", "default"
    last = Path(own.checkpoint) / "last.bin"
    done = len(checkpoint.load(last).get("history", [])) if last.is_file() else 0
    say(f"No source lifter in {path}: {'going on with' if done else 'training'} one on {options.subjects_train} first.")
    if done < own.epochs:
        own.resume = last.name if done else ""
        train(own, place)
    best = checkpoint.load(checkpoint.find(Path(own.checkpoint), BEST))
    checkpoint.save(path, {"card": best["card"], "weights": best["weights"]})


def check_source(content: dict, options: Namespace, notice) -> None:
    """A source lifter must not have seen the target's labels, and should have seen the same kind of 2D."""
    card = content["card"]
    if "adaptation" in card:
        raise UserError("--source: this checkpoint is adapted already; name a source lifter's")
    if card.get("model") != "mixste":
        raise UserError(f"--source: holds {card.get('model')}; adaptation is made for mixste")
    seen = set((card.get("subjects") or "").split(",")) - {""}
    both = seen & set(options.subjects_test.split(","))
    if card.get("dataset") == options.target == "h36m" and both:
        raise UserError(f"the source lifter was trained on {', '.join(sorted(both))}, which are in the target")
    if not seen:
        notice("The source lifter is a published file: which subjects it was trained on is not known here.")
    if card.get("keypoints") and card["keypoints"] != options.keypoints:
        notice(f"Warning: the source lifter was trained on 2D from {card['keypoints']}, not {options.keypoints}.")
