"""Settings files of Diff3DHPE (`--config FILE.json`): the published keys to our flags."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from common.errors import UserError
from common.files.texts import read_json

MODELS = {
    "ConditionalDiffusionMixSTES2SGRANDLinLift": "diff3dhpe",
    "ConditionalDiffusionMixSTES2FGRANDLinLift": "diff3dhpe_s2f",
}


def _same(value):
    return value


def _model(name: str) -> str:
    return MODELS.get(name, name)


# Key: the type in the file, the flag's destination, and how the value changes.
KEYS: dict[str, tuple[type, str, Callable]] = {
    "seed": (int, "seed", _same),
    "dataset": (str, "dataset", _same),
    "keypoints": (str, "keypoints", _same),
    "model": (str, "model", _model),
    "subjects_train": (str, "subjects_train", _same),
    "subjects_test": (str, "subjects_test", _same),
    "actions": (str, "actions", _same),
    "epochs": (int, "epochs", _same),
    "batch_size_eval": (int, "batch_size_eval", _same),
    "learning_rate": (float, "learning_rate", _same),
    "lr_decay": (float, "lr_decay", _same),
    "patience": (int, "patience", _same),
    "max_time": (float, "max_time", _same),
    "stride": (int, "stride", _same),
    "number_of_frames": (int, "number_of_frames", _same),
    "beta_schedule": (str, "beta_schedule", _same),
    "timesteps": (int, "timesteps", _same),
    "sampling_timesteps": (int, "sampling_timesteps", _same),
    "data_augmentation": (bool, "no_data_augmentation", lambda on: not on),
    "test_time_augmentation": (bool, "test_time_augmentation", _same),
    "transformer_depth": (int, "depth", _same),
    "embed_dim": (int, "channels", _same),
    "with_time_emb": (bool, "time_emb", _same),
    "clip_denoised": (bool, "clip_denoised", _same),
    "clip_loss": (bool, "clip_loss", _same),
    "ddim_sampling_eta": (float, "ddim_sampling_eta", _same),
    "ddim_coefficients": (str, "ddim_coefficients", _same),
}
# Keys that take part in another flag's value: windows a step become frames, and all frames out is a model's property.
JOINT_KEYS: dict[str, type] = {"batch_size": int, "out_all": bool}


def read_config(path: Path | str) -> dict[str, object]:
    """Flag values, by destination, of a settings file: a JSON object `params` of the published keys.

    `batch_size` counts windows there and becomes frames. An unknown key, a wrong type or a contradiction is a
    UserError that names it.
    """
    params = _read_params(Path(path))
    for key, value in params.items():
        wanted = JOINT_KEYS.get(key) or (KEYS[key][0] if key in KEYS else None)
        if wanted is None:
            raise UserError(f"{path}: unknown key {key}")
        if not _is(value, wanted):
            raise UserError(f"{path}: {key} must be {_WORDS[wanted]}, not {json.dumps(value)}")
    flags = {KEYS[key][1]: KEYS[key][2](value) for key, value in params.items() if key in KEYS}
    if "batch_size" in params:
        if "number_of_frames" not in params:
            raise UserError(f"{path}: batch_size counts windows, so the file must say number_of_frames")
        flags["batch_size"] = params["batch_size"] * params["number_of_frames"]
    if "out_all" in params:
        flags["model"] = _model_with_output(flags.get("model"), params["out_all"], path)
    return flags


def _read_params(path: Path) -> dict:
    content = read_json(path, "settings file")
    if not isinstance(content, dict) or set(content) != {"params"} or not isinstance(content["params"], dict):
        raise UserError(f"{path}: a settings file is one JSON object with one key, params, that holds the settings")
    return content["params"]


def _model_with_output(model: str | None, all_frames: bool, path: Path | str) -> str:
    """The model that gives all frames or the middle one; a name that says otherwise is an error."""
    wanted = "diff3dhpe" if all_frames else "diff3dhpe_s2f"
    if model is not None and (model == "diff3dhpe_s2f") == all_frames:
        raise UserError(f"{path}: out_all is {json.dumps(all_frames)}, but model {model} says otherwise")
    return model or wanted


_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def _is(value: object, wanted: type) -> bool:
    if wanted is bool or isinstance(value, bool):
        return wanted is bool and isinstance(value, bool)
    return isinstance(value, (int, float) if wanted is float else wanted)
