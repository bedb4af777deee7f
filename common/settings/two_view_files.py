"""Files and command lines of the two-view program: YAML keys to settings.

A value comes from the key's default, then from the file (and the file it names as `base`), then from what is typed.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Mapping
from pathlib import Path

from common.errors import UserError
from common.files.limits import require
from common.files.texts import read_yaml
from common.settings.two_view import KEYS

LARGEST = 1_000_000  # of any number in a settings file
LONGEST = 4096  # characters
CONFIGS = Path(__file__).parents[2] / "configs"

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
    except (TypeError, ValueError, KeyError, OverflowError):
        raise UserError(f"{source}: {name} is {str(value)[:80]!r}, expected {key.type.__name__}") from None
    if key.type in (int, float) and not abs(converted) <= LARGEST:  # also NaN
        raise UserError(f"{source}: {name} is {str(value)[:80]}, expected a number up to {LARGEST}")
    if key.type is str and len(converted) > LONGEST:
        raise UserError(f"{source}: {name} is a text of {len(converted)} characters")
    if key.choices and converted not in key.choices:
        raise UserError(f"{source}: {name} is {value!r}, expected one of {', '.join(map(str, key.choices))}")
    if name.endswith(("include_cameras", "groups")) and not all(isinstance(item, int) for item in converted):
        raise UserError(f"{source}: {name} is {str(value)[:80]}, expected numbers from 0")
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
        if fnmatch.fnmatch(name.removeprefix("./").removeprefix("configs/"), pattern):
            return CONFIGS / file
    near = difflib.get_close_matches(Path(name).name, [p.name for p in CONFIGS.glob("*.yml")], 1)
    raise UserError(
        f"--config {name}: no such file, here or under configs/" + (f"; did you mean {near[0]}?" if near else "")
    )


def read_config(path: Path, depth: int = 0) -> dict[str, object]:
    """The keys that a file sets, its `base` first. Unknown keys are errors."""
    tree = read_yaml(path)
    base = tree.pop("base", None)
    settings = {}
    if base is not None:
        if depth > 4 or not isinstance(base, str):
            raise UserError(f"{path}: base {str(base)[:80]}: no name of a file, or files that name each other")
        settings = read_config(require(path.parent / base), depth + 1)
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
