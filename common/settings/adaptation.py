"""The flags that adaptation adds to the common table, and the presets of its two scripts."""

from __future__ import annotations

from argparse import Namespace

from common.errors import UserError
from common.models.low_rank import TARGETS
from common.models.refiner import KINDS
from common.settings.flags import Flag

GROUP = "adaptation"
SELECT = ("reprojection", "last", "test")


def _row(name: str, help: str, default: object = None, kind=str, choices=None) -> Flag:
    return Flag((name,), help, default, kind, choices, group=GROUP)


FLAGS: tuple[Flag, ...] = (
    _row("--source", "file of the source lifter (default: found below -c, else trained first)", ""),
    _row("--source-only", "no adaptation: score the source lifter on the target", False, None),
    _row("--source-epochs", "epochs of a source lifter that is trained first", 100, int),
    _row("--source-batch-size", "frames a step of its training", 1024, int),
    _row("--source-learning-rate", "learning rate of its training", 6e-5, float),
    _row("--source-lr-decay", "factor on that rate after each epoch", 0.993, float),
    _row("--target", "target data set: 3dhp, h36m or another with the same joints", "3dhp"),
    _row("--target-split", "adapt on the training clips, or on those scored", "train", str, ("train", "test")),
    _row("--root", "target's root: fitted to the 2D, or the true one (a label)", "lsq", str, ("lsq", "gt")),
    _row("--teacher", "pseudo labels from the model itself, or from its moving average", "none", str, ("none", "ema")),
    _row("--ema-decay", "decay of that average, a step", 0.999, float),
    _row("--select", "best epoch by: 2D reprojection, none, target labels", SELECT[0], str, SELECT),
    _row("--lora-rank", "rank of the low-rank additions", 4, int),
    _row("--lora-scale", "scale of the low-rank additions", 1.0, float),
    _row("--lora-targets", "layers that get one, by the end of their names, separated by commas", ",".join(TARGETS)),
    _row("--refiner", "network behind the sampler (default: joint)", "", str, ("", *KINDS)),
    _row("--refiner-channels", "width of the refiner", 512, int),
    _row("--refiner-depth", "layers of the refiner", 8, int),
    _row("--weight-target-2d", "weight of the target's reprojection, pixels", 0.5, float),
    _row("--weight-target-3d", "weight of the distance to the pseudo label, mm", 1.0, float),
    _row("--weight-source-2d", "weight of the source's reprojection, pixels", 0.1, float),
    _row("--weight-source-3d", "weight of the distance to the source's truth, mm", 1.0, float),
    _row("--placement-smoothing", "frames over which a placed root is averaged", 51, int),
    _row("--placement-exact-2d", "placed poses get exact 2D, without the errors of the source's detector", False, None),
)  # fmt: skip

_COMMON: dict[str, object] = {
    "checkpoint": "checkpoint",
    "epochs": 40,
    "batch_size": 486,  # 2 windows of 243 frames
    "learning_rate": 1e-4,
    "hypotheses": 1,
    "sampling_timesteps": 1,
    "p2": True,
}
PRESETS: dict[str, dict[str, object]] = {
    "h36m_transfer": _COMMON | {"target": "h36m", "subjects_train": "S1", "subjects_test": "S5,S6,S7,S8"},
    "h36m_3dhp_transfer": _COMMON | {"target": "3dhp", "subjects_train": "S1,S5,S6,S7,S8", "subjects_test": "*"},
}
# What --demo changes: small enough for a CPU, the same program.
DEMO: dict[str, object] = {
    "keypoints": "gt",
    "number_of_frames": 9,
    "channels": 64,
    "depth": 3,
    "source_epochs": 12,
    "source_batch_size": 288,
    "source_learning_rate": 1e-3,
    "source_lr_decay": 0.85,
    "epochs": 2,
    "batch_size": 144,
    "learning_rate": 1e-3,
    "hypotheses": 3,
    "sampling_timesteps": 1,
    "select": "last",
    "refiner_channels": 64,
    "refiner_depth": 2,
    "placement_smoothing": 9,
    "nolog": True,
}

# Flags of the common table that mean nothing here; a typed one is refused rather than passed over.
REFUSED = (
    *("render", "compile", "by_subject", "export_training_curves", "patience", "max_time", "repeat_n"),
    "pretrained_model",
)
# What --as-published stands for.
PUBLISHED = {"protocol": "published", "variant": "published", "select": "test", "root": "gt", "target_split": "test"}


def no_settings_file(path: str) -> dict:
    raise UserError(f"--config {path}: this program has no settings files; type the flags")


def check(options: Namespace) -> None:
    """Flags that cannot go together, numbers out of range, and what --as-published stands for."""
    for name in REFUSED:
        if name in options.typed:
            raise UserError(f"--{name.replace('_', '-')}: not in this program; main.py has it")
    if options.dataset != "h36m" and "dataset" in options.typed:
        raise UserError("-d: the source is Human3.6M; --target names the other data set")
    if options.model != "mixste":
        raise UserError(f"--model {options.model}: adaptation is made for mixste")
    if (options.evaluate or options.source_only) and options.resume:
        raise UserError("--resume goes on adapting; leave out --evaluate and --source-only")
    if options.demo and (options.evaluate or options.resume or options.source_only):
        raise UserError("--demo trains and adapts its own model; leave out --evaluate, --resume and --source-only")
    if options.evaluate and options.source_only:
        raise UserError("--source-only scores the source lifter; --evaluate names another file")
    positive = ("epochs", "batch_size", "hypotheses", "sampling_timesteps", "timesteps", "checkpoint_frequency",
                "source_epochs", "source_batch_size", "lora_rank", "refiner_channels", "refiner_depth")  # fmt: skip
    for name in positive:
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(options, name)}: must be 1 or more")
    if options.sampling_timesteps > options.timesteps:
        raise UserError(f"-sampling_timesteps {options.sampling_timesteps} exceeds the schedule's {options.timesteps}")
    if not 0 <= options.ema_decay < 1:
        raise UserError(f"--ema-decay {options.ema_decay}: must be 0 or more and below 1")
    options.published_settings = []
    if options.as_published:
        for name, value in PUBLISHED.items():
            if options.typed.get(name, value) != value:
                flag = name.replace("_", "-")
                raise UserError(f"--as-published sets --{flag} {value}; leave out --{flag} {options.typed[name]}")
            setattr(options, name, value)
        options.published_settings = [f"--{name.replace('_', '-')} {value}" for name, value in PUBLISHED.items()]
    options.refiner = options.refiner or ("published" if options.variant == "published" else "joint")
    if options.target == "h36m":
        both = set(options.subjects_train.split(",")) & set(options.subjects_test.split(","))
        if both:
            raise UserError(f"{', '.join(sorted(both))}: in the source and in the target; -str and -ste must differ")


def settings_of(options: Namespace) -> dict:
    """What of the flags makes the adapted network: stored in the card."""
    refiner: dict[str, object] = {"kind": options.refiner}
    if options.refiner != "none":
        refiner |= {"joints": 17, "channels": options.refiner_channels, "depth": options.refiner_depth, "heads": 8}
    targets = [t.strip() for t in options.lora_targets.split(",") if t.strip()]
    return {"rank": options.lora_rank, "scale": options.lora_scale, "targets": targets, "refiner": refiner}
