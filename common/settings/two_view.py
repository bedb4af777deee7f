"""Settings of the two-view programs: every key, its default and its meaning; YAML files; command-line flags.

A value comes from the key's default, then from the file (and the file it names as `base`), then from what is typed.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.files.reading import read_yaml

CONFIGS = Path(__file__).parents[2] / "configs"


@dataclass(frozen=True)
class Key:
    """A setting: its default, its type (None in a value always means 'not given') and, if few, its choices."""

    default: object
    type: type
    help: str
    choices: tuple = ()


def _split(side: str) -> dict[str, Key]:
    return {
        f"dataset.{side}.labels_path": Key(None, str, "label file"),
        f"dataset.{side}.pred_2d_results_path": Key(None, str, "2D estimates of these frames"),
        f"dataset.{side}.pred_2d_error_dis_path": Key(None, str, "detector statistics (common.binocular.noise)"),
        f"dataset.{side}.subjects": Key(None, list, "people, instead of the published split"),
        f"dataset.{side}.groups": Key(None, list, "camera rigs to keep (MHAD)"),
    }


KEYS: dict[str, Key] = {
    "note": Key(None, str, "a line that the program says at its start"),
    "data.dataset": Key("h36m_2view", str, "data set", ("h36m_2view", "h36m_3view", "h36m_4view", "mhad_2view")),
    "data.root_relative": Key(True, bool, "the network sees poses relative to their triangulated root"),
    "data.legacy_skew": Key(None, bool, "leave a camera's skew unscaled by the resize; default: as model.variant"),
    "data.weighted": Key(False, bool, "weigh the triangulation by the detections' confidence"),
    "data.downsample": Key(1, int, "use every n-th frame"),
    "dataset.image_shape": Key(384, int, "side of the resized crop, pixels"),
    "dataset.num_views": Key(2, int, "cameras"),
    "dataset.include_cameras": Key(None, list, "which cameras, by position; default: the first"),
    **_split("train"),
    **_split("val"),
    "model.hid_dim": Key(96, int, "width of the network"),
    "model.num_layer": Key(5, int, "layers"),
    "model.n_head": Key(4, int, "attention heads"),
    "model.dropout": Key(0.25, float, "dropout of the sublayers"),
    "model.action_emd": Key(False, bool, "feed the true action label to the network"),
    "model.depth_emd": Key(True, bool, "feed the root's depth to the network"),
    "model.depth_norm_by_bw": Key(False, bool, "scale depth by baseline / 400 mm before the network"),
    "model.variant": Key("default", str, "what is computed", ("default", "published")),
    "model.depth_axis": Key(None, str, "what depth is; default: as model.variant", ("camera", "world_z")),
    "model.ema": Key(True, bool, "keep a running mean of the weights, and evaluate it"),
    "model.ema_rate": Key(0.999, float, "how much of the running mean stays at each step"),
    "diffusion.beta_schedule": Key("linear", str, "noise schedule", ("linear", "quad", "const", "jsd", "sigmoid")),
    "diffusion.beta_start": Key(1e-4, float, "first beta"),
    "diffusion.beta_end": Key(1e-3, float, "last beta"),
    "diffusion.num_diffusion_timesteps": Key(76, int, "T, steps of the noise schedule"),
    "diffusion.forward": Key("published", str, "whether poses shrink as noise grows", ("published", "unshrunk")),
    "training.batch_size": Key(1024, int, "frames of a step"),
    "training.n_epochs": Key(80, int, "passes over the data"),
    "training.loss_type": Key("3dand2d", str, "which errors are minimised", ("2d", "3d", "3dand2d")),
    "training.select": Key("last", str, "what also picks a best epoch", ("last", "held", "test")),
    "optim.optimizer": Key("Adam", str, "optimiser", ("Adam", "RMSProp", "SGD")),
    "optim.lr": Key(1e-3, float, "learning rate"),
    "optim.lr_gamma": Key(0.9, float, "factor of the learning rate every `decay` epochs"),
    "optim.decay": Key(60, int, "epochs between factors"),
    "optim.eps": Key(1e-8, float, "Adam's epsilon"),
    "optim.amsgrad": Key(False, bool, "Adam's amsgrad"),
    "optim.grad_clip": Key(1.0, float, "largest norm of the gradient"),
    "testing.batch_size": Key(256, int, "frames evaluated at a time"),
    "testing.test_times": Key(1, int, "hypotheses"),
    "testing.test_timesteps": Key(1, int, "sampler steps"),
    "testing.test_num_diffusion_timesteps": Key(24, int, "N, of whose times the sampler visits some; at most T"),
    "testing.skip_type": Key("uniform", str, "which times", ("uniform", "quad", "end")),
    "testing.eta": Key(None, float, "noise of the sampler; default: the mean deviation of the detector"),
    "testing.hypothesis_agg": Key("mean", str, "from hypotheses to one", ("mean", "pose_reproj", "joint_reproj")),
    "testing.debias": Key("file", str, "subtract the detector's mean error", ("none", "file")),
    "testing.protocol": Key("default", str, "how results are scored", ("default", "published")),
}
# Keys of published files that nothing ever read; they are accepted and named in one line.
INERT = re.compile(
    r"data\.dataset_path\w*|data\.num_joints|dataset\.heatmap_shape|model\.(emd_dim|resamp_with_conv|var_type)"
    r"|model\.(n_pts|coords_dim)|(data|dataset|dataset\.(train|val)|training|testing)\.(num_workers|shuffle)"
    r"|dataset\.(train|val)\.(mhad_root|h36m_root|pred_results_path|rectificated|baseline_width|crop|subset)"
)
# Of these, what describes the one network there is. Another value asks for a network that no published program builds.
FIXED = {"data.num_joints": 17, "model.n_pts": 17, "model.coords_dim": [3, 3]}
# Published files that ask for such a network, by the end of their name.
UNBUILT = {"_only2d": "one that denoises 2D poses", "_2viewkpt_cond": "one with the 2D poses as a condition"}
# What the trained weights depend on: stored with them.
TRAINED = [k for k in KEYS if k.startswith(("model.", "diffusion.")) or k in ("data.root_relative", "data.legacy_skew")]
# Of these, what another start may change: how to train on, or which process to sample.
LOOSE = [k for k in TRAINED if k.startswith("diffusion.")] + ["model.dropout", "model.ema", "model.ema_rate"]


# Published files that are known by what they set and by the two ends of their name; the middle may be another.
SAME = {
    "mhad_2view_*_bigdepth.yml": "mhad_2view_diffpose_uvxyz_resnet152_bigdepth.yml",
    "mhad_2view_*_smalldepth.yml": "mhad_2view_diffpose_uvxyz_resnet152_smalldepth.yml",
    "mhad_2view_*_simu.yml": "mhad_2view_diffpose_uvxyz_resnet152_simu.yml",
    "human36m_*_cpn.yml": "human36m_diffpose_uvxyz_cpn.yml",
    "human36m_*_gt.yml": "human36m_diffpose_uvxyz_gt.yml",
}


def check(name: str, value: object, source: str) -> object:
    """A value of a key, converted to its type; raises UserError for an unknown key or a value that does not fit."""
    if name not in KEYS:
        near = difflib.get_close_matches(name, KEYS, 1, 0.5)
        raise UserError(f"{source}: unknown key {name}" + (f"; did you mean {near[0]}?" if near else ""))
    key = KEYS[name]
    if value is None:
        return None
    try:
        converted = _convert(value, key.type)
    except (TypeError, ValueError, KeyError):
        raise UserError(f"{source}: {name} is {value!r}, expected {key.type.__name__}") from None
    if key.choices and converted not in key.choices:
        raise UserError(f"{source}: {name} is {value!r}, expected one of {', '.join(map(str, key.choices))}")
    if name in _POSITIVE and converted < 1:
        raise UserError(f"{source}: {name} is {value!r}, expected at least 1")
    return converted


_POSITIVE = {k for k, v in KEYS.items() if v.type is int}


def _convert(value, kind: type):
    if kind is bool:
        if isinstance(value, str):
            return {"true": True, "false": False}[value.lower()]
        if not isinstance(value, bool):
            raise TypeError
        return value
    if kind is list:
        items = value.split(",") if isinstance(value, str) else list(value)
        return [int(i) if str(i).isdigit() else str(i) for i in items]
    if kind is int:
        if isinstance(value, list) and len(set(value)) == 1:  # image_shape: [384, 384]
            value = value[0]
        if isinstance(value, bool) or float(value) != int(float(value)):
            raise ValueError
        return int(float(value))
    if isinstance(value, (bool, dict, list)):
        raise TypeError
    return kind(value)  # float also reads '1e-5', which YAML takes for a word


def flatten(tree: Mapping, prefix: str = "") -> dict[str, object]:
    """{'a': {'b': 1}} to {'a.b': 1}."""
    out: dict[str, object] = {}
    for name, value in tree.items():
        out |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return out


def nested(settings: Mapping[str, object]) -> dict:
    """{'a.b': 1} to {'a': {'b': 1}}."""
    tree: dict = {}
    for name, value in settings.items():
        *path, last = name.split(".")
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        branch[last] = value
    return tree


def find_config(name: str) -> Path:
    """A settings file: an absolute path, a name under configs/, or a path from here; for some names one of `SAME`."""
    for ending, network in UNBUILT.items():
        if Path(name).stem.endswith(ending):
            raise UserError(f"--config {name}: asks for a network ({network}) that no published program builds")
    for candidate in (Path(name), CONFIGS / name) if Path(name).is_absolute() else (CONFIGS / name, Path(name)):
        if candidate.is_file():
            return candidate
    for pattern, file in SAME.items():
        if fnmatch.fnmatch(name, pattern):
            return CONFIGS / file
    near = difflib.get_close_matches(name, [p.name for p in CONFIGS.glob("*.yml")], 1)
    raise UserError(
        f"--config {name}: no such file, here or under configs/" + (f"; did you mean {near[0]}?" if near else "")
    )


def read_config(path: Path, depth: int = 0) -> dict[str, object]:
    """The keys that a file sets, its `base` first. Unknown keys are errors."""
    tree = read_yaml(path)
    base = tree.pop("base", None)
    settings = {}
    if base is not None:
        if depth > 4 or not isinstance(base, str) or not (path.parent / base).is_file():
            raise UserError(f"{path}: base {base}: no such file")
        settings = read_config(path.parent / base, depth + 1)
    return settings | flatten(tree)


def resolve(file: Mapping[str, object], typed: Mapping[str, object], source: str) -> tuple[dict, list[str]]:
    """All settings, and the keys of the file that nothing reads."""
    inert = [k for k in file if INERT.fullmatch(k)]
    for k in inert:
        if file[k] is not None and file[k] != FIXED.get(k, file[k]):
            raise UserError(f"{source}: {k} {file[k]}: a network that no published program builds; ours has {FIXED[k]}")
    settings = {name: key.default for name, key in KEYS.items()}
    settings |= {k: check(k, v, source) for k, v in file.items() if k not in inert}
    settings |= {k: check(k, v, "command line") for k, v in typed.items() if v is not None}
    if settings["dataset.val.pred_2d_error_dis_path"] is None:
        settings["dataset.val.pred_2d_error_dis_path"] = settings["dataset.train.pred_2d_error_dis_path"]
    for name, key in KEYS.items():  # an empty value in a file means the default
        if settings[name] is None:
            settings[name] = key.default
    return settings, inert


def from_file_names(settings: dict, file: Mapping[str, object]) -> tuple[dict, list[str]]:
    """What the published program read off the names of files: (settings with it, a line for each thing)."""
    settings, lines = dict(settings), []
    for side in ("train", "val"):
        key, name = f"dataset.{side}.groups", Path(settings[f"dataset.{side}.pred_2d_results_path"] or "").name
        if settings["data.dataset"].startswith("mhad") and settings[key] is None and re.search("adafuse|epi", name):
            settings[key] = [1]
            lines.append(f"{key}: [1], as the published program reads the name {name}.")
        poses = str(file.get(f"dataset.{side}.pred_results_path"))
        if re.search("big|small", Path(poses).name):
            lines.append(
                f"{poses}: the published program chose the rows of its depth; here dataset.{side} has all rows."
            )
    return settings, lines
