"""The one table of flags. Published spellings work; each flag also has a long name, one help line, one default.

A program's defaults come from its preset (`common.settings.presets`), then from `--config`, then from what is typed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from common.errors import UserError


@dataclass(frozen=True)
class Flag:
    names: tuple[str, ...]
    help: str
    default: object = None
    type: Callable | None = str  # None: a switch
    choices: tuple[str, ...] | None = None
    dest: str = ""
    group: str = "data"
    repeat: bool = False  # may be given several times; the value is a list, None without any

    @property
    def destination(self) -> str:
        long = next((n for n in self.names if n.startswith("--")), self.names[0])
        return self.dest or long.lstrip("-").replace("-", "_")


def yes_no(text: str) -> bool:
    """True, yes, 1 and the like."""
    if text.lower() in ("true", "yes", "1", "on"):
        return True
    if text.lower() in ("false", "no", "0", "off"):
        return False
    raise argparse.ArgumentTypeError(f"expected True or False, not {text}")


def in_group(group: str, *rows: Flag) -> tuple[Flag, ...]:
    return tuple(replace(row, group=group) for row in rows)


FLAGS: tuple[Flag, ...] = (
    *in_group(
        "data",
        Flag(("-d", "--dataset"), "data set: h36m, 3dhp, humaneva15, custom", "h36m"),
        Flag(("-k", "--keypoints"), "2D source, the NAME in data_2d_*_NAME.npz", "cpn_ft_h36m_dbb"),
        Flag(("--data-root",), "folder of the data files", "data"),
        Flag(("-str", "--subjects-train"), "training subjects, separated by commas", "S1,S5,S6,S7,S8"),
        Flag(("-ste", "--subjects-test"), "test subjects, separated by commas", "S9,S11"),
        Flag(("-a", "--actions"), "actions to use, separated by commas; * is all", "*"),
        Flag(("-f", "-frame", "--number-of-frames"), "frames of a window", 243, int),
        Flag(("-s", "--stride"), "frames from one training window to the next (default: the window)", None, int),
        Flag(("--subset",), "share of the training clips to use", 1.0, float),
        Flag(("--downsample",), "use every n-th frame", 1, int),
        Flag(
            ("--labels",),
            "MPI-INF-3DHP's label set (default: the one found, annot3 first)",
            None,
            str,
            ("annot3", "univ_annot3"),
        ),
        Flag(("-h36mpre", "--h36m-pretrain"), "HumanEva: train on Human3.6M mapped to its 15 joints", False, None),
        Flag(("-no-da", "--no-data-augmentation"), "train without mirrored copies", False, None),
    ),
    *in_group(
        "model",
        Flag(("--model",), "denoiser; the names are in the README", "mixste"),
        Flag(("-cs", "--embed_dim", "--channels"), "width of the network", 512, int, dest="channels"),
        Flag(("-dep", "--transformer_depth", "--depth"), "pairs of spatial and temporal blocks", 8, int, dest="depth"),
        Flag(("--variant",), "what network and sampler compute", "default", str, ("default", "published")),
        Flag(
            ("--text",),
            "text condition: CLIP prompts, a learned row an action, or none",
            "clip",
            str,
            ("clip", "learned", "none"),
        ),
        Flag(
            ("--prompts",), "file of prompt features (python -m common.models.prompts); CLIP is then not needed", None
        ),
        Flag(("--clip-weights",), "file of CLIP ViT-B/32 weights", None),
        Flag(("--learn-prompts",), "train the prompts through the frozen CLIP tower", False, None),
        Flag(("-tem-alpha", "--tem-alpha"), "Grap2Eq: steepness of the temporal graph", 0.125, float),
        Flag(("-tem-beta", "--tem-beta"), "Grap2Eq: reach of the temporal graph, frames", 5.0, float),
        Flag(("-lite", "--lite-ver"), "Grap2Eq without text: the same as --model grap2eq_lite", False, None),
        Flag(("--single-pass",), "Grap2Eq: one pass without noise and time", False, None),
    ),
    *in_group(
        "diffusion",
        Flag(("-timestep", "--timesteps"), "steps of the noise schedule", 1000, int),
        Flag(("-scale", "--scale"), "scale of the signal before noise is added", 1.0, float),
        Flag(("-num_proposals", "--hypotheses"), "hypotheses H in evaluation", 1, int),
        Flag(("-sampling_timesteps", "--sampling-timesteps", "--sampling_timesteps"), "DDIM steps K", 1, int),
        Flag(("--repeat_n",), "draw so many times the hypotheses and take means (Diff3DHPE)", 1, int),
        Flag(("--test-time-augmentation",), "average in the mirrored body", True, yes_no),
        Flag(
            ("--with_time_emb", "--time-emb"),
            "Diff3DHPE: the network sees the diffusion step",
            True,
            yes_no,
            dest="time_emb",
        ),
        Flag(("--beta_schedule",), "Diff3DHPE: noise schedule", "cosine", str, ("cosine", "linear", "logcosine")),
        Flag(("--ddim_sampling_eta",), "Diff3DHPE: noise added in sampling", 0.0, float),
        Flag(
            ("--ddim-coefficients",),
            "Diff3DHPE: sampling step (default: as --variant; textbook)",
            None,
            str,
            ("textbook", "published"),
        ),
        Flag(("--clip_denoised",), "Diff3DHPE: clamp each estimate to the unit", True, yes_no),
        Flag(("--clip_loss",), "Diff3DHPE: cap the loss weight at 3", True, yes_no),
        Flag(("--unit",), "Diff3DHPE: metres of one network unit (default: from the training data)", None, float),
    ),
    *in_group(
        "training",
        Flag(("-c", "--checkpoint"), "folder for checkpoints and results", "checkpoint/model"),
        Flag(("-r", "--resume"), "continue from this file of the checkpoint folder", ""),
        Flag(("--pretrained_model", "--pretrained-model"), "start training from the weights of this file", ""),
        Flag(("-e", "--epochs"), "epochs", 100, int),
        Flag(("--max-steps",), "end training after so many steps", None, int),
        Flag(("--max-seconds",), "end training after so many seconds of training steps", None, float),
        Flag(("-b", "--batch-size"), "frames a training step (at least one window); windows in evaluation", 1024, int),
        Flag(("--batch-size-eval",), "windows at a time in evaluation (default: -b there)", None, int),
        Flag(("--patience",), "stop after so many epochs without a better one", None, int),
        Flag(("--max_time", "--max-time"), "stop after so many hours", None, float),
        Flag(("-lr", "--learning-rate"), "learning rate of AdamW", 6e-5, float),
        Flag(("-lrd", "--lr-decay"), "factor on the learning rate after each epoch", 0.993, float),
        Flag(("-cf", "--checkpoint-frequency"), "keep epoch_N.bin every so many epochs", 20, int),
        Flag(
            ("--select",),
            "best epoch by: held-out training clips, none, test set",
            "held",
            str,
            ("held", "last", "test"),
        ),
        Flag(("--seed",), "seed of weights, order and noise", 1, int),
        Flag(("--export-training-curves",), "draw the loss curves into the checkpoint folder", False, None),
        Flag(("--debug",), "two steps an epoch and two batches an evaluation: is everything in place?", False, None),
    ),
    *in_group(
        "evaluation",
        Flag(("--evaluate",), "evaluate this file of the checkpoint folder", ""),
        Flag(("--annotations",), "folder of MPI-INF-3DHP's TS*/annot_data.mat", "3dhp_test"),
        Flag(
            ("--eval-text",),
            "what text models are told of a test clip (default: neutral)",
            None,
            str,
            ("action", "neutral", "both"),
        ),
        Flag(("--p2",), "also protocol 2, after Procrustes alignment", False, None),
        Flag(("--by-subject",), "also a table for each test subject", False, None),
        Flag(("--no-eval", "--no_eval"), "train without the evaluation at the end", False, None),
        Flag(("--protocol",), "how data are cut, weighted and scored", "default", str, ("default", "published")),
        Flag(("--as-published",), "--protocol published, --select test and --variant published together", False, None),
    ),
    *in_group(
        "pictures",
        Flag(("--render",), "draw one clip's reconstruction as a video", False, None),
        Flag(("--viewer",), "with --evaluate: also show one clip in a page to turn and play, viewer.html", False, None),
        Flag(("--viz-subject",), "subject to draw", ""),
        Flag(("--viz-action",), "action to draw, with its take", ""),
        Flag(("--viz-camera",), "number of the camera", 0, int),
        Flag(("--viz-video",), "input video to show beside it", ""),
        Flag(("--viz-output",), "file to write: .mp4, .webm or .gif (default: render.mp4 beside the checkpoint)", ""),
        Flag(("--viz-export",), "also write the poses (T, J, 3) as .npy", ""),
        Flag(("--viz-skip",), "frames to leave out at the start", 0, int),
        Flag(("--viz-limit",), "frames to draw at most; -1 is all", -1, int),
        Flag(("--viz-downsample",), "draw every n-th frame", 1, int),
        Flag(("--viz-size",), "height of a panel, inches", 5, int),
        Flag(("--viz-bitrate",), "video bit rate, kbit/s", 3000, int),
        Flag(("--viz-no-ground-truth",), "leave the true pose out", False, None),
    ),
    *in_group(
        "devices",
        Flag(("-gpu", "--gpu_id", "--gpu"), "GPUs, as 0 or 0,1; -1 is the CPU; mps", "0", dest="gpu"),
        Flag(("--amp",), "bf16 autocast", False, None),
        Flag(("--compile",), "compile the network with torch.compile", False, None),
        Flag(("-l", "--log"), "folder of TensorBoard logs", "log/default"),
        Flag(("--nolog",), "no TensorBoard log", False, None),
        Flag(("--demo",), "synthetic data, a small model, results in checkpoint/demo: no data needed", False, None),
        Flag(("--config",), "file of settings (JSON); what is typed wins", ""),
    ),
)

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


def _table(extra: Sequence[Flag], base: Sequence[Flag] = FLAGS) -> list[Flag]:
    """The flags with a program's own, which replace those of the same name."""
    names = {name for flag in extra for name in flag.names}
    return [*(flag for flag in base if not names.intersection(flag.names)), *extra]


def make_parser(
    description: str | None,
    defaults: Mapping[str, object],
    typed_only: bool = False,
    extra: Sequence[Flag] = (),
    base: Sequence[Flag] = FLAGS,
) -> _Parser:
    """The parser of a program; `defaults` override the table's. `typed_only` leaves out what is not typed.

    A flag whose name has no dash is an argument without a name.
    """
    parser = _Parser(description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    groups = {}
    for flag in _table(extra, base):
        group = groups.setdefault(flag.group, parser.add_argument_group(flag.group))
        default = argparse.SUPPRESS if typed_only else defaults.get(flag.destination, flag.default)
        if not flag.names[0].startswith("-"):
            group.add_argument(flag.destination, help=flag.help, type=flag.type)
        elif flag.type is None:
            group.add_argument(*flag.names, dest=flag.destination, help=flag.help, action="store_true", default=default)
        else:
            shown = "" if default in (None, "", argparse.SUPPRESS) else f" (default: {default})"
            group.add_argument(
                *flag.names,
                dest=flag.destination,
                help=flag.help + shown,
                type=flag.type,
                action="append" if flag.repeat else "store",
                choices=flag.choices,
                default=default,
                metavar=None if flag.choices else flag.type.__name__.upper(),
            )
    known = {name for flag in _table(extra, base) for name in flag.names}
    for name, (takes_value, _) in ACCEPTED.items():
        if name in known:
            continue
        nargs = {"nargs": "?"} if takes_value else {"nargs": 0}
        parser.add_argument(
            name, help=argparse.SUPPRESS, action=_Notice, dest="notices", default=argparse.SUPPRESS, **nargs
        )
    return parser


def parse(
    argv: Sequence[str],
    description: str | None,
    defaults: Mapping[str, object],
    config=None,
    extra: Sequence[Flag] = (),
    base: Sequence[Flag] = FLAGS,
) -> argparse.Namespace:
    """Flags of a command line as a namespace; `typed` holds what was typed, `given` that and the
    settings file's values, `notices` what to say about them.

    config(path) reads a settings file into flag values, which stand between the preset and what is typed. extra: a
    program's own flags, which replace those of the table that share a name; base: the part of the table that it takes.
    """
    typed = vars(make_parser(description, {}, typed_only=True, extra=extra, base=base).parse_args(argv))
    notices = typed.pop("notices", [])
    settings = config(typed["config"]) if typed.get("config") else {}
    known = {flag.destination for flag in _table(extra, base)}
    for name in {**defaults, **settings}:
        if name not in known:
            raise UserError(f"unknown setting {name}")
    options = make_parser(description, {**defaults, **settings}, extra=extra, base=base).parse_args(argv)
    options.typed, options.given, options.notices = typed, {**settings, **typed}, notices
    return options
