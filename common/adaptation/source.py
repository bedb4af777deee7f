"""The source lifter: found below the checkpoint folder, or trained first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from common.engine import checkpoint
from common.engine.devices import Place
from common.engine.log import say
from common.engine.training import BEST, train
from common.errors import UserError
from common.settings.adaptation import AdaptationSettings
from common.settings.lifting import DataSettings, Settings

NAME = "h36m_best_epoch.bin"  # as the published program looks for it, in model_h36m


def source_path(settings: Settings) -> Path:
    """Where the source lifter lies by default: `model_h36m/h36m_best_epoch.bin`, for other subjects `model_h36m_S1`."""
    people = settings.data.subjects_train
    subjects = "" if people == DataSettings().subjects_train else "_" + "_".join(people)
    return Path(settings.run.checkpoint) / f"model_h36m{subjects}" / NAME


def find_source(settings: Settings, own: AdaptationSettings, place: Place) -> Path:
    """The source lifter's file: --source, else the one by default, else a new one, trained and put there."""
    if own.source:
        return checkpoint.find(Path(settings.run.checkpoint), own.source)
    path = source_path(settings)
    if not path.is_file():
        _train(settings, own, place, path)
    return path


def _train(settings: Settings, own: AdaptationSettings, place: Place, path: Path) -> None:
    """Train into a folder of its own; the file takes its name when training is complete, an interrupted one goes on."""
    folder = path.parent / "training"
    last = folder / "last.bin"
    done = len(checkpoint.load(last).get("history", [])) if last.is_file() else 0
    people = ", ".join(settings.data.subjects_train)
    say(f"No source lifter in {path}: {'going on with' if done else 'training'} one on {people} first.")
    if done < own.source_epochs:
        training = settings.changed(
            checkpoint=str(folder),
            resume=last.name if done else "",
            epochs=own.source_epochs,
            batch_size=own.source_batch_size,
            learning_rate=own.source_learning_rate,
            lr_decay=own.source_lr_decay,
            no_eval=True,
            nolog=True,
            protocol="default",
            variant="default",
        )
        train(replace(training, given=frozenset()), place)
    best = checkpoint.load(checkpoint.find(folder, BEST))
    checkpoint.save(path, {"card": best["card"], "weights": best["weights"]})


def check_source(content: dict, settings: Settings, target: str, notice) -> None:
    """A source lifter must not have seen the target's labels, and should have seen the same kind of 2D."""
    card = content["card"]
    if "adaptation" in card:
        raise UserError("--source: this checkpoint is adapted already; name a source lifter's")
    if card.get("model") != "mixste":
        raise UserError(f"--source: holds {card.get('model')}; adaptation is made for mixste")
    seen = set((card.get("subjects") or "").split(",")) - {""}
    both = seen & set(settings.data.subjects_test)
    if card.get("dataset") == target == "h36m" and both:
        raise UserError(f"the source lifter was trained on {', '.join(sorted(both))}, which are in the target")
    if not seen:
        notice("The source lifter is a published file: which subjects it was trained on is not known here.")
    if card.get("keypoints") and card["keypoints"] != settings.data.keypoints:
        notice(f"Warning: the source lifter was trained on 2D from {card['keypoints']}, not {settings.data.keypoints}.")
