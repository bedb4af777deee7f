"""The settings of the lifting programs: what to learn from, with which network, how to train, evaluate and draw.

`Settings` holds one dataclass a subject. A command line is read into it once, at the door (common/programs/main.py);
from Python it is built as any dataclass: `Settings(data=DataSettings(data_root="data"))`. Defaults stand here alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from common.errors import UserError
from common.settings.flags import Parsed, build, defaults_of, flag, flags_of, names, switch, yes_no, yes_no_own
from common.settings.ranges import (
    COUNT,
    DECAY,
    DEPTH,
    FINITE,
    FRAMES,
    NATURAL,
    POSITIVE,
    RATE,
    SEED,
    SHARE,
    STEPS,
    UNIT,
    WEIGHT,
    WHOLE,
    WIDTH,
    two_factors,
    whole,
)
from common.settings.recipe import RecipeSettings

EVERYTHING = ("*",)  # of a comma list: all that there is
OBJECTIVES = ("x0", "velocity")  # those of common.diffusion.velocity
SAMPLERS = ("ddim", "dpm++", "heun", "euler")  # those of common.diffusion.samplers


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Data."""

    dataset: str = flag("-d", "--dataset", help="data set: h36m, 3dhp, humaneva15, custom", default="h36m")
    keypoints: str = flag(
        "-k", "--keypoints", help="2D source, the NAME in data_2d_*_NAME.npz", default="cpn_ft_h36m_dbb"
    )
    data_root: str = flag("--data-root", help="folder of the data files", default="data")
    subjects_train: tuple[str, ...] = flag(
        "-str",
        "--subjects-train",
        help="training subjects, separated by commas",
        default=("S1", "S5", "S6", "S7", "S8"),
        type=names,
    )
    subjects_test: tuple[str, ...] = flag(
        "-ste", "--subjects-test", help="test subjects, separated by commas", default=("S9", "S11"), type=names
    )
    actions: tuple[str, ...] = flag(
        "-a", "--actions", help="actions to use, separated by commas; * is all", default=EVERYTHING, type=names
    )
    subset: float = flag("--subset", help="share of the training clips to use", default=1.0, type=FINITE)
    downsample: int = flag("--downsample", help="use every n-th frame", default=1, type=NATURAL)
    labels: str | None = flag(
        "--labels",
        help="MPI-INF-3DHP's label set (default: the one found, annot3 first)",
        choices=("annot3", "univ_annot3"),
    )
    h36m_pretrain: bool = switch(
        "-h36mpre", "--h36m-pretrain", help="HumanEva: train on Human3.6M mapped to its 15 joints"
    )
    protocol: str = flag(
        "--protocol", help="how data are cut, weighted and scored", default="default", choices=("default", "published")
    )

    @property
    def published(self) -> bool:
        return self.protocol == "published"


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Model: the network and its diffusion. A checkpoint's card holds them; flags may not contradict it."""

    model: str = flag("--model", help="denoiser; the names are in the README", default="mixste")
    number_of_frames: int = flag(
        "-f", "-frame", "--number-of-frames", help="frames of a window", default=243, type=FRAMES
    )
    channels: int = flag("-cs", "--embed_dim", "--channels", help="width of the network", default=512, type=WIDTH)
    depth: int = flag(
        "-dep",
        "--transformer_depth",
        "--depth",
        help="pairs of spatial and temporal blocks",
        default=8,
        type=DEPTH,
    )
    variant: str = flag(
        "--variant",
        help="what network and sampler compute",
        default="default",
        choices=("default", "paper", "published"),
    )
    text: str = flag(
        "--text",
        help="text condition: CLIP prompts, a learned row an action, or none",
        default="clip",
        choices=("clip", "learned", "none"),
    )
    prompts: str | None = flag(
        "--prompts", help="file of prompt features (python -m common.models.prompts); CLIP is then not needed"
    )
    clip_weights: str | None = flag("--clip-weights", help="file of CLIP ViT-B/32 weights")
    learn_prompts: bool = switch("--learn-prompts", help="train the prompts through the frozen CLIP tower")
    tem_alpha: float = flag(
        "-tem-alpha", "--tem-alpha", help="Grap2Eq: steepness of the temporal graph", default=0.125, type=FINITE
    )
    tem_beta: float = flag(
        "-tem-beta", "--tem-beta", help="Grap2Eq: reach of the temporal graph, frames", default=5.0, type=FINITE
    )
    single_pass: bool = switch("--single-pass", help="Grap2Eq: one pass without noise and time")
    timesteps: int = flag("-timestep", "--timesteps", help="steps of the noise schedule", default=1000, type=STEPS)
    scale: float = flag(
        "-scale", "--scale", help="scale of the signal before noise is added", default=1.0, type=POSITIVE
    )
    time_emb: bool = flag(
        "--with_time_emb",
        "--time-emb",
        help="Diff3DHPE: the network sees the diffusion step",
        default=True,
        type=yes_no,
    )
    beta_schedule: str = flag(
        "--beta_schedule",
        help="Diff3DHPE: noise schedule",
        default="cosine",
        choices=("cosine", "linear", "logcosine"),
    )
    ddim_sampling_eta: float = flag(
        "--ddim_sampling_eta", help="Diff3DHPE: noise added in sampling", default=0.0, type=SHARE
    )
    ddim_coefficients: str | None = flag(
        "--ddim-coefficients",
        help="Diff3DHPE: sampling step (default: as --variant; textbook)",
        choices=("textbook", "published"),
    )
    clip_denoised: bool = flag(
        "--clip_denoised", help="Diff3DHPE: clamp each estimate to the unit", default=True, type=yes_no
    )
    clip_loss: bool = flag("--clip_loss", help="Diff3DHPE: cap the loss weight at 3", default=True, type=yes_no)
    objective: str = flag(
        "--objective",
        help="what the network is trained to say: the pose x_0, or the velocity of straight paths (flow matching)",
        default="x0",
        choices=OBJECTIVES,
    )
    unit: float | None = flag(
        "--unit",
        help="Diff3DHPE: metres of one network unit (default: from the training data)",
        type=UNIT,
    )


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Training."""

    resume: str = flag("-r", "--resume", help="continue from this file of the checkpoint folder", default="")
    pretrained_model: str = flag(
        "--pretrained_model", "--pretrained-model", help="start training from the weights of this file", default=""
    )
    epochs: int = flag("-e", "--epochs", help="epochs", default=100, type=NATURAL)
    max_steps: int | None = flag("--max-steps", help="end training after so many steps", type=COUNT)
    max_seconds: float | None = flag(
        "--max-seconds", help="end training after so many seconds of training steps", type=POSITIVE
    )
    stride: int | None = flag(
        "-s", "--stride", help="frames from one training window to the next (default: the window)", type=NATURAL
    )
    batch_size: int | None = flag(
        "-b",
        "--batch-size",
        help="frames a training step, at least one window (default: by the recipe, 8 windows); windows in evaluation",
        type=NATURAL,
    )
    learning_rate: float | None = flag(
        "-lr", "--learning-rate", help="learning rate of AdamW (default: by the recipe)", type=RATE
    )
    lr_decay: float | None = flag(
        "-lrd",
        "--lr-decay",
        help="factor on the learning rate after each epoch; the rest is then as published (default: by the recipe)",
        type=DECAY,
    )
    no_data_augmentation: bool = switch("-no-da", "--no-data-augmentation", help="train without mirrored copies")
    select: str = flag(
        "--select",
        help="best epoch by: held-out training clips, none, test set",
        default="held",
        choices=("held", "last", "test"),
    )
    patience: int | None = flag("--patience", help="stop after so many epochs without a better one", type=NATURAL)
    max_time: float | None = flag("--max_time", "--max-time", help="stop after so many hours", type=WEIGHT)
    checkpoint_frequency: int = flag(
        "-cf", "--checkpoint-frequency", help="keep epoch_N.bin every so many epochs", default=20, type=NATURAL
    )
    export_training_curves: bool = switch(
        "--export-training-curves", help="draw the loss curves into the checkpoint folder"
    )
    no_eval: bool = switch("--no-eval", "--no_eval", help="train without the evaluation at the end")
    log: str = flag("-l", "--log", help="folder of TensorBoard logs", default="log/default")
    nolog: bool = switch("--nolog", help="no TensorBoard log")


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """Evaluation: how to sample and what to score."""

    hypotheses: int = flag("-num_proposals", "--hypotheses", help="hypotheses H", default=1, type=STEPS)
    sampling_timesteps: int = flag(
        "-sampling_timesteps",
        "--sampling-timesteps",
        "--sampling_timesteps",
        help="sampling steps K",
        default=1,
        type=STEPS,
    )
    sampler: str = flag(
        "--sampler",
        help="how the steps go: stochastic DDIM, DPM-Solver++(2M), Heun (two calls a step), Euler",
        default="ddim",
        choices=SAMPLERS,
    )
    repeat_n: int = flag(
        "--repeat_n", help="draw so many times the hypotheses and take means (Diff3DHPE)", default=1, type=COUNT
    )
    test_time_augmentation: bool | Literal["own"] = flag(
        "--test-time-augmentation",
        help="True: every step averages in the mirrored body; own: every other hypothesis is of the mirrored body",
        default=True,
        type=yes_no_own,
    )
    batch_size_eval: int | None = flag(
        "--batch-size-eval", help="windows at a time in evaluation (default: -b with --evaluate, else 4)", type=COUNT
    )
    metrics: tuple[str, ...] = flag(
        "--metrics",
        help="more metrics, a comma list of p_mpjpe, n_mpjpe, mpjve, acceleration, pck, auc, bone_length, symmetry",
        default=(),
        type=names,
    )
    p2: bool = switch("--p2", help="also protocol 2, after Procrustes alignment")
    by_subject: bool = switch("--by-subject", help="also a table for each test subject")
    eval_text: str | None = flag(
        "--eval-text",
        help="what text models are told of a test clip (default: neutral; published protocol: action)",
        choices=("action", "neutral", "both"),
    )
    calibration: bool = switch(
        "--calibration",
        help="with --evaluate: also how honest the spread of 200 hypotheses is; report.json, calibration.html",
    )
    calibration_every: int = flag(
        "--calibration-every", help="--calibration looks at every n-th window", default=1, type=COUNT
    )
    temperature: tuple[float, float] = flag(
        "--temperature",
        help="factors of the noise that sampling starts from and of its later noise, as 1.2,1",
        default=(1.0, 1.0),
        type=two_factors,
    )
    annotations: str = flag("--annotations", help="folder of MPI-INF-3DHP's TS*/annot_data.mat", default="3dhp_test")


@dataclass(frozen=True, kw_only=True)
class DrawingSettings:
    """Pictures."""

    viz_subject: str = flag("--viz-subject", help="subject to draw (default: the first)", default="")
    viz_action: str = flag("--viz-action", help="action to draw, with its take (default: the first)", default="")
    viz_camera: int = flag("--viz-camera", help="number of the camera", default=0, type=NATURAL)
    viz_video: str = flag("--viz-video", help="input video to show beside it", default="")
    viz_output: str = flag(
        "--viz-output",
        help="file to write: .mp4, .webm or .gif (default: render.mp4 beside the checkpoint)",
        default="",
    )
    viz_export: str = flag("--viz-export", help="also write the poses (T, J, 3) as .npy", default="")
    viz_skip: int = flag("--viz-skip", help="frames to leave out at the start", default=0, type=WHOLE)
    viz_limit: int = flag("--viz-limit", help="frames to draw at most; -1 is all", default=-1, type=WHOLE)
    viz_downsample: int = flag("--viz-downsample", help="draw every n-th frame", default=1, type=WHOLE)
    viz_size: int = flag("--viz-size", help="height of a panel, inches", default=5, type=whole(1, 100))
    viz_bitrate: int = flag("--viz-bitrate", help="video bit rate, kbit/s", default=3000, type=NATURAL)
    viz_no_ground_truth: bool = switch("--viz-no-ground-truth", help="leave the true pose out")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Run: where, on what, from which seed."""

    checkpoint: str = flag("-c", "--checkpoint", help="folder for checkpoints and results", default="checkpoint/model")
    seed: int = flag("--seed", help="seed of weights, order and noise", default=1, type=SEED)
    gpu: str = flag("-gpu", "--gpu_id", "--gpu", help="GPUs, as 0 or 0,1; -1 is the CPU; mps", default="0")
    offline: bool = switch("--offline", help="fetch nothing from the network (CLIP's weights)")
    amp: bool = switch("--amp", help="bf16 autocast, in training too (default: in evaluation on a CUDA GPU)")
    no_amp: bool = switch("--no-amp", help="fp32 everywhere, also in evaluation on a CUDA GPU")
    compile: bool = switch("--compile", help="compile the network with torch.compile; needs a C++ compiler")
    debug: bool = switch("--debug", help="two steps an epoch and two batches an evaluation: is everything in place?")


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """Task: what the program is asked to do."""

    evaluate: str = flag("--evaluate", help="evaluate this file of the checkpoint folder", default="")
    render: bool = switch("--render", help="draw one clip's reconstruction as a video")
    viewer: bool = switch(
        "--viewer", help="with --evaluate: also show one clip in a page to turn and play, viewer.html"
    )
    demo: bool = switch("--demo", help="synthetic data, a small model, results in checkpoint/demo: no data needed")
    detector: str = flag(
        "--detector",
        help="2D of --demo: fitted to a real detector, or the old guess",
        default="fitted",
        choices=("fitted", "old"),
    )
    config: str = flag("--config", help="file of settings (JSON); what is typed wins", default="")
    as_published: bool = switch(
        "--as-published", help="--protocol published, --select test and --variant published together"
    )
    lite_ver: bool = switch("-lite", "--lite-ver", help="Grap2Eq without text: the same as --model grap2eq_lite")


PARTS = {
    "data": DataSettings,
    "model": ModelSettings,
    "training": TrainingSettings,
    "recipe": RecipeSettings,
    "evaluation": EvaluationSettings,
    "drawing": DrawingSettings,
    "run": RunSettings,
    "task": TaskSettings,
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All of it. `given` names the fields that a user set, by flag or settings file, `typed` those set by flag: a
    checkpoint may not contradict what is given. `published_settings` are the flags that --as-published stands for."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    recipe: RecipeSettings = RecipeSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    drawing: DrawingSettings = DrawingSettings()
    run: RunSettings = RunSettings()
    task: TaskSettings = TaskSettings()
    given: frozenset[str] = frozenset()
    typed: frozenset[str] = frozenset()
    published_settings: tuple[str, ...] = field(default=())

    @property
    def published(self) -> bool:
        """Whether data are cut, weighted and scored as published."""
        return self.data.published

    def value(self, name: str):
        """A setting by its field's name, whichever part holds it."""
        return getattr(getattr(self, part_of(name)), name)

    def changed(self, **values) -> Settings:
        """The same with other values, by field, whichever part holds them: `settings.changed(epochs=3)`."""
        parts: dict[str, dict] = {}
        for name, value in values.items():
            parts.setdefault(part_of(name), {})[name] = value
        return replace(self, **{part: replace(getattr(self, part), **new) for part, new in parts.items()})


# What was published knows no other.
PUBLISHED_SAMPLING = {"sampler": "ddim", "objective": "x0", "temperature": (1.0, 1.0)}

_PART_OF = {f.name: part for part, cls in PARTS.items() for f in fields(cls)}
FLAGS = flags_of(*PARTS.values())


def part_of(name: str) -> str:
    """The part of `Settings` that has a field."""
    return _PART_OF[name]


def settle(
    parsed: Parsed,
    variants: Mapping[str, Collection[str]],
    own: Collection[str] = (),
    published_values: Mapping[str, object] | None = None,
) -> Settings:
    """The settings of a command line: what flags imply about each other is filled in, contradictions are refused.

    variants: of each model, its variants (the registry tells). own: fields that mean something
    else in the program that asks; they keep their defaults here. published_values: what the published program of this
    preset sets, by field: they stand where its protocol is asked for, or -lrd, and nothing else is set.
    """
    values = {name: value for cls in PARTS.values() for name, value in defaults_of(cls).items()}
    values |= {name: value for name, value in parsed.values.items() if name not in own}
    given = set(parsed.given) - set(own)
    if values["lite_ver"]:
        values["model"] = "grap2eq_lite"
        given.add("model")
    if values["evaluate"] and "batch_size" in parsed.typed and not values["batch_size_eval"]:
        values["batch_size_eval"] = values["batch_size"]
    if values["h36m_pretrain"] and values["dataset"] == "humaneva15":
        for name in ("subjects_train", "subjects_test"):
            if name not in parsed.typed:
                values[name] = getattr(DataSettings(), name)
    if values["dataset"] == "custom":
        for name in ("subjects_train", "subjects_test"):
            if name not in given:
                values[name] = ()
    published = {}
    if values["as_published"]:
        published = {"protocol": "published", "select": "test"}
        published |= {"variant": "published"} if "published" in variants.get(values["model"], ()) else {}
        for name, value in (published | PUBLISHED_SAMPLING).items():
            if parsed.typed.get(name, value) != value:
                raise UserError(f"--as-published sets {_typed(name, value)}; leave out {_typed(name, values[name])}")
        if values["test_time_augmentation"] == "own":
            raise UserError("--as-published knows no --test-time-augmentation own: every step averages both bodies")
        values |= published | PUBLISHED_SAMPLING
    if values["protocol"] == "published" or values["lr_decay"] is not None:
        values |= {name: value for name, value in (published_values or {}).items() if values[name] is None}
    people = DataSettings().subjects_train
    if values["dataset"] == "humaneva15" and not values["h36m_pretrain"] and values["subjects_train"] == people:
        raise UserError("-d humaneva15: main_humaneva.py has its people and windows; here type -str and -ste")
    parts = {part: build(cls, values) for part, cls in PARTS.items()}
    said = tuple(f"--{name} {value}" for name, value in published.items())
    settings = Settings(**parts, given=frozenset(given), typed=frozenset(parsed.typed), published_settings=said)
    check(settings)
    return settings


def _typed(name: str, value: object) -> str:
    """'--temperature 1,1': a flag as it is typed."""
    return f"{flag_name(name)} {','.join(f'{v:g}' for v in value) if isinstance(value, tuple) else value}"


def check(settings: Settings) -> None:
    """Refuse values out of range and flags that cannot go together."""
    task, training, sampling = settings.task, settings.training, settings.evaluation
    if task.evaluate and training.resume:
        raise UserError("--evaluate and --resume exclude each other: evaluate a file, or go on training from it")
    if task.demo and (task.evaluate or training.resume):
        raise UserError("--demo trains its own model; leave out --evaluate and --resume")
    at_least_one(settings, "epochs", "batch_size", "hypotheses", "sampling_timesteps", "timesteps", "repeat_n")
    at_least_one(settings, "checkpoint_frequency", "downsample", "stride", "batch_size_eval")
    if not 0 < settings.data.subset <= 1:
        raise UserError(f"--subset {settings.data.subset}: expected a share above 0 and up to 1")
    if sampling.sampling_timesteps > settings.model.timesteps:
        raise UserError(
            f"-sampling_timesteps {sampling.sampling_timesteps} exceeds the schedule's {settings.model.timesteps}"
        )
    if settings.run.amp and settings.run.no_amp:
        raise UserError("--amp and --no-amp exclude each other")
    if settings.model.single_pass and settings.model.objective != "x0":
        raise UserError("--single-pass has no noise, so there is no velocity; leave out --objective")
    if sampling.temperature[1] != 1 and (sampling.sampler != "ddim" or sampling.sampling_timesteps == 1):
        raise UserError(
            f"{_typed('temperature', sampling.temperature)}: the second factor is of DDIM's later noise, and there is "
            f"none here; {_typed('temperature', (sampling.temperature[0], 1.0))} leaves it alone"
        )
    if sampling.sampler != "ddim" and "ddim_sampling_eta" in settings.given:
        raise UserError(f"--ddim_sampling_eta is DDIM's noise; --sampler {sampling.sampler} adds none")
    if sampling.calibration and (not task.evaluate or task.render):
        raise UserError("--calibration belongs to an evaluation: give it with --evaluate FILE and without --render")
    if sampling.calibration and settings.model.single_pass:
        raise UserError("--calibration: --single-pass has one answer and no odds")
    if settings.model.single_pass and (sampling.hypotheses, sampling.sampling_timesteps) != (1, 1):
        raise UserError("--single-pass has no noise: one hypothesis and one step are all there is")


def at_least_one(settings, *which: str) -> None:
    """Refuse a count below 1; settings that may be absent pass as None."""
    for name in which:
        value = settings.value(name)
        if value is not None and value < 1:
            raise UserError(f"{flag_name(name)} {value}: must be 1 or more")


def flag_name(destination: str) -> str:
    """The flag that a message names for a field: its long spelling."""
    row = next(row for row in FLAGS if row.destination == destination)
    return next((name for name in row.names if name.startswith("--")), row.names[0])
