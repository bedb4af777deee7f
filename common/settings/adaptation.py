"""The settings that adaptation adds to those of lifting, and the presets of its two scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from common.errors import UserError
from common.settings.flags import Parsed, build, flag, flags_of, names, parse, replaced, switch
from common.settings.lifting import FLAGS as LIFTING
from common.settings.lifting import Settings, flag_name, settle
from common.settings.ranges import COUNT, DECAY, DEPTH, FINITE, FRAMES, NATURAL, RATE, SHARE, WEIGHT, WIDTH
from common.settings.recipe import RecipeSettings

# Layers that get a low-rank addition, and kinds of refiner; common/models/low_rank.py and refiner.py have them.
TARGETS = ("attn.qkv", "attn.proj")
KINDS = ("joint", "published", "none")


@dataclass(frozen=True, kw_only=True)
class AdaptationSettings:
    """Adaptation."""

    source: str = flag(
        "--source", help="file of the source lifter (default: found below -c, else trained first)", default=""
    )
    source_only: bool = switch("--source-only", help="no adaptation: score the source lifter on the target")
    source_epochs: int = flag(
        "--source-epochs", help="epochs of a source lifter that is trained first", default=100, type=COUNT
    )
    source_batch_size: int = flag("--source-batch-size", help="frames a step of its training", default=1024, type=COUNT)
    source_learning_rate: float = flag(
        "--source-learning-rate", help="learning rate of its training", default=6e-5, type=RATE
    )
    source_lr_decay: float = flag(
        "--source-lr-decay", help="factor on that rate after each epoch", default=0.993, type=DECAY
    )
    target: str = flag("--target", help="target data set: 3dhp, h36m or another with the same joints", default="3dhp")
    target_split: str = flag(
        "--target-split",
        help="adapt on the training clips, or on those scored",
        default="train",
        choices=("train", "test"),
    )
    root: str = flag(
        "--root",
        help="target's root: fitted to the 2D, or the true one (a label)",
        default="lsq",
        choices=("lsq", "gt"),
    )
    teacher: str = flag(
        "--teacher",
        help="pseudo labels from the model itself, or from its moving average",
        default="none",
        choices=("none", "ema"),
    )
    ema_decay: float = flag("--ema-decay", help="decay of that average, a step", default=0.999, type=SHARE)
    select: str = flag(
        "--select",
        help="best epoch by: 2D reprojection, none, target labels",
        default="reprojection",
        choices=("reprojection", "last", "test"),
    )
    lora_rank: int = flag("--lora-rank", help="rank of the low-rank additions", default=4, type=FRAMES)
    lora_scale: float = flag("--lora-scale", help="scale of the low-rank additions", default=1.0, type=FINITE)
    lora_targets: tuple[str, ...] = flag(
        "--lora-targets",
        help="layers that get one, by the end of their names, separated by commas",
        default=TARGETS,
        type=names,
    )
    refiner: str = flag(
        "--refiner", help="network behind the sampler (default: joint)", default="", choices=("", *KINDS)
    )
    refiner_channels: int = flag("--refiner-channels", help="width of the refiner", default=512, type=WIDTH)
    refiner_depth: int = flag("--refiner-depth", help="layers of the refiner", default=8, type=DEPTH)
    weight_target_2d: float = flag(
        "--weight-target-2d", help="weight of the target's reprojection, pixels", default=0.5, type=WEIGHT
    )
    weight_target_3d: float = flag(
        "--weight-target-3d", help="weight of the distance to the pseudo label, mm", default=1.0, type=WEIGHT
    )
    weight_source_2d: float = flag(
        "--weight-source-2d", help="weight of the source's reprojection, pixels", default=0.1, type=WEIGHT
    )
    weight_source_3d: float = flag(
        "--weight-source-3d", help="weight of the distance to the source's truth, mm", default=1.0, type=WEIGHT
    )
    placement_smoothing: int = flag(
        "--placement-smoothing", help="frames over which a placed root is averaged", default=51, type=NATURAL
    )
    size: str = flag(
        "--size",
        help="placed poses: size of the target's person as the source lifter sees it, or their own",
        default="person",
        choices=("person", "source"),
    )
    placement_exact_2d: bool = switch(
        "--placement-exact-2d", help="placed poses get exact 2D, without the errors of the source's detector"
    )

    @property
    def network(self) -> dict:
        """What makes the adapted network: stored in the card."""
        refiner: dict[str, object] = {"kind": self.refiner}
        if self.refiner != "none":
            refiner |= {"joints": 17, "channels": self.refiner_channels, "depth": self.refiner_depth, "heads": 8}
        return {
            "rank": self.lora_rank,
            "scale": self.lora_scale,
            "targets": list(self.lora_targets),
            "refiner": refiner,
        }


_COMMON: dict[str, object] = {
    "checkpoint": "checkpoint",
    "epochs": 40,
    "batch_size": 486,  # 2 windows of 243 frames
    "learning_rate": 1e-4,
    "lr_decay": 0.993,
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
    "select": "last",
    "refiner_channels": 64,
    "refiner_depth": 2,
    "placement_smoothing": 9,
    "nolog": True,
}
# The demo's source has one take of each of these, where the target is 3DHP.
DEMO_ACTIONS = ("Walking", "Directions", "Greeting", "Phoning", "Waiting")

# Flags of the common table that mean nothing here; a typed one is refused rather than passed over.
REFUSED = (
    *("render", "viewer", "compile", "by_subject", "export_training_curves", "patience", "max_time", "repeat_n"),
    *("max_steps", "max_seconds", "pretrained_model", "objective"),
    *("calibration", "calibration_every", "temperature"),
    *(row.destination for row in flags_of(RecipeSettings)),
)
# What --as-published stands for.
PUBLISHED = {"protocol": "published", "variant": "published", "select": "test", "root": "gt", "target_split": "test"}
PUBLISHED |= {"sampler": "ddim"}

OWN = flags_of(AdaptationSettings)
FLAGS = replaced(LIFTING, OWN)


def read_settings(
    preset: str, argv: Sequence[str], description: str | None = None
) -> tuple[Settings, AdaptationSettings, tuple[str, ...]]:
    """(lifting's settings, adaptation's own, lines to say) of a command line. Raises UserError."""
    defaults = PRESETS[preset] | (DEMO if "--demo" in argv else {})
    parsed = parse(argv, description, FLAGS, defaults, config=_no_settings_file)
    for name in REFUSED:
        if name in parsed.typed:
            raise UserError(f"{flag_name(name)}: not in this program; main.py has it")
    values, said = dict(parsed.values), ()
    if values["as_published"]:
        for name, value in PUBLISHED.items():
            if parsed.typed.get(name, value) != value:
                word = name.replace("_", "-")
                raise UserError(f"--as-published sets --{word} {value}; leave out --{word} {parsed.typed[name]}")
        values |= PUBLISHED | {"as_published": False}
        said = tuple(f"--{name.replace('_', '-')} {value}" for name, value in PUBLISHED.items())
    if values["demo"]:
        values |= {name: value for name, value in demo_values(preset, values).items() if name not in parsed.typed}
    values["refiner"] = values["refiner"] or ("published" if values["variant"] == "published" else "joint")
    own_fields = {f.name for f in fields(AdaptationSettings)}
    settings = settle(replace(parsed, values=values), {}, own_fields)
    settings, own = replace(settings, published_settings=said), build(AdaptationSettings, values)
    check(settings, own, parsed)
    return settings, own, parsed.notices


def demo_values(preset: str, values: dict) -> dict[str, object]:
    """Folders, people and actions of the demo."""
    place = f"demo_{preset}/seed_{values['seed']}"
    out: dict[str, object] = {"data_root": f"data/{place}", "checkpoint": f"checkpoint/{place}"}
    out |= {"annotations": f"data/{place}/3dhp_test"}
    return out | ({"actions": DEMO_ACTIONS} if values["target"] == "3dhp" else {"subjects_test": ("S6", "S7")})


def _no_settings_file(path: str) -> dict:
    raise UserError(f"--config {path}: this program has no settings files; type the flags")


def check(settings: Settings, own: AdaptationSettings, parsed: Parsed) -> None:
    """Flags that cannot go together, and numbers out of range."""
    task, resume = settings.task, settings.training.resume
    if settings.data.dataset != "h36m":
        raise UserError("-d: the source is Human3.6M; --target names the other data set")
    if settings.model.model != "mixste":
        raise UserError(f"--model {settings.model.model}: adaptation is made for mixste")
    if (task.evaluate or own.source_only) and resume:
        raise UserError("--resume goes on adapting; leave out --evaluate and --source-only")
    if task.demo and (task.evaluate or resume or own.source_only):
        raise UserError("--demo trains and adapts its own model; leave out --evaluate, --resume and --source-only")
    if task.evaluate and own.source_only:
        raise UserError("--source-only scores the source lifter; --evaluate names another file")
    for name in ("source_epochs", "source_batch_size", "lora_rank", "refiner_channels", "refiner_depth"):
        if getattr(own, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(own, name)}: must be 1 or more")
    if not 0 <= own.ema_decay < 1:
        raise UserError(f"--ema-decay {own.ema_decay}: must be 0 or more and below 1")
    if own.target == "h36m":
        both = sorted(set(settings.data.subjects_train) & set(settings.data.subjects_test))
        if both:
            raise UserError(f"{', '.join(both)}: in the source and in the target; -str and -ste must differ")
