"""The exported predictions `inference_data_MODE.mat` that the 3DHP scorers read: MAT v5, one array a test sequence."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files.reading import load_mat
from common.files.writing import save_mat
from common.geometry.skeleton import MPI_INF_3DHP_17

SKELETON = MPI_INF_3DHP_17
PREFIX = "inference_data"
SCRIPT = Path(__file__).parents[2] / "3dhp_test" / "test_util" / "mpii_test_predictions_ori_py.m"


def prediction_path(folder: Path, mode: str) -> Path:
    """`inference_data_MODE.mat`; an empty mode is P-STMO's `inference_data.mat`."""
    return Path(folder) / (f"{PREFIX}_{mode}.mat" if mode else f"{PREFIX}.mat")


def exported_modes(folder: Path) -> list[str]:
    """The modes that a folder holds an export of."""
    return sorted(path.stem.removeprefix(PREFIX + "_") for path in Path(folder).glob(f"{PREFIX}_*.mat"))


def write_predictions(folder: Path, mode: str, sequences: dict[str, np.ndarray]) -> Path:
    """Write `inference_data_{mode}.mat` and return its path.

    `sequences` maps TS1 ... TS6 to (3, 17, F, K): xyz, joint, every frame of the video, sampling step; millimetres,
    camera axes, relative to the pelvis, which is exactly zero. Raises ValueError for another shape or root.
    """
    out = {}
    for name, poses in sequences.items():
        poses = np.asarray(poses, np.float64)  # (3, 17, F, K)
        if poses.ndim != 4 or poses.shape[:2] != (3, len(SKELETON)):
            raise ValueError(f"{name}: expected (3, {len(SKELETON)}, F, K), found {poses.shape}")
        if np.any(poses[:, SKELETON.root] != 0):
            raise ValueError(f"{name}: the pelvis is not zero")
        out[name] = poses
    path = prediction_path(folder, mode)
    save_mat(path, out)
    return path


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """Read an export: {TS1: (3, 17, F, K), ...} double. A single step's dropped last axis is put back.

    Raises UserError for a missing file, for one that is no MAT v5 file, and for an array of another shape.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; `--evaluate` writes it")
    content = load_mat(path)
    out = {}
    for name, poses in content.items():
        if not name.startswith("TS"):
            continue
        if not isinstance(poses, np.ndarray) or poses.dtype.kind not in "fiu":
            raise UserError(f"{path}: {name} holds no numbers")
        while 2 <= poses.ndim < 4:
            poses = poses[..., None]
        if poses.ndim != 4 or poses.shape[:2] != (3, len(SKELETON)):
            raise UserError(f"{path}: {name} has shape {poses.shape}, expected (3, {len(SKELETON)}, frames, steps)")
        out[name] = poses.astype(np.float64)
    if not out:
        raise UserError(f"{path}: no variables TS1 ... TS6; not an export of predictions")
    return out


def scoring_lines(folder: Path, annotations: Path, labels: str = "annot3", mode: str = "J_Agg") -> dict[str, str]:
    """The lines to type, here and now, that score a folder of exports: {'Python': ..., 'Octave': ...}."""
    python = [
        "python",
        "-m",
        "common.scoring.threedhp",
        "--predictions",
        str(folder),
        "--annotations",
        str(annotations),
    ]
    octave = [mode, str(folder), str(annotations)]
    if labels != "annot3":
        python += ["--labels", labels]
        octave += ["", labels]
    words = ", ".join("'" + word.replace("'", "''") + "'" for word in octave)
    where = os.path.relpath(SCRIPT.parent) if Path.cwd() in SCRIPT.parents else SCRIPT.parent
    call = f"addpath('{str(where).replace(chr(39), chr(39) * 2)}'); {SCRIPT.stem}({words})"
    quoted = shlex.quote(call) if set(call) & set('"$`\\!') else f'"{call}"'
    return {"Python": shlex.join(python), "Octave": f"octave --no-gui --quiet --eval {quoted}"}
