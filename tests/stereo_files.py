"""A small synthetic set in both published formats: random poses before the demo's rigs, a noisy detector."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from common.binocular.demo import RIGS, make_rig
from common.binocular.noise import main as noise_main
from common.datasets import stereo_formats as formats
from common.datasets import stereo_labels as labels
from common.datasets.stereo import load_split
from common.geometry.stereo import crop_units_to_pixels

STANDING = np.array(
    [[0, -120, 90], [0, -120, 480], [0, -120, 930], [0, 120, 930], [0, 120, 480], [0, 120, 90], [0, 0, 930]]
    + [[0, 0, 1170], [0, 0, 1420], [0, 0, 1680], [0, -420, 950], [0, -320, 1170], [0, -170, 1400]]
    + [[0, 170, 1400], [0, 320, 1170], [0, 420, 950], [60, 0, 1560]],
    float,
)  # (17, 3), millimetres, the order of STEREO_17


def frames(data_set: formats.StereoFormat, each: int, rng: np.random.Generator) -> labels.Frames:
    """`each` frames of every person, actions in turn."""
    subject = np.repeat(np.arange(len(data_set.subjects)), each)
    action = np.arange(len(subject)) % len(data_set.actions)
    moved = (
        STANDING + rng.normal(size=(len(subject), 17, 3)) * 60 + rng.normal(size=(len(subject), 1, 3)) * [200, 200, 0]
    )
    return labels.Frames(moved, subject, action, np.arange(len(subject)))


def write(path: Path, kind: str, each: int, rng: np.random.Generator) -> None:
    known, tables, records = formats.DATA_SETS[kind], [], []
    motion = frames(known, each, rng)
    for group in range(2 if kind == "mhad" else 1):
        original = make_rig(*RIGS[group])
        rig, homographies = labels.prepare_rig(original, True)
        records.append(labels.camera_records(rig, homographies))
        tables.append(labels.build_table(kind, rig, original, motion, group=group))
    if kind == "h36m":
        records = records * len(known.subjects)
    formats.save_labels(path, formats.label_file(kind, np.stack(records), np.concatenate(tables), ["left", "right"]))


def detect(labels_path: Path, subjects, out: Path, rng, bias: float = 0.0, shuffle: bool = True) -> None:
    data = load_split(labels_path, subjects=subjects)
    pixels = crop_units_to_pixels(data.keypoints_2d, data.image_size).numpy()
    found = (pixels + bias + rng.normal(size=pixels.shape) * 2).astype(np.float32)
    order = rng.permutation(len(found)) if shuffle else np.arange(len(found))
    content = {"keypoints_2d_pred": found[order], "indexes": order, "keypoints_2d_gt": pixels[order]}
    with out.open("wb") as stream:
        pickle.dump(content, stream)


@pytest.fixture(scope="session")
def stereo(tmp_path_factory) -> Path:
    """A folder with {h36m,mhad}_labels.npy, _test.pkl, _train.pkl, _gauss.npy (of the training people)."""
    folder, rng = tmp_path_factory.mktemp("stereo"), np.random.default_rng(7)
    for kind, known in formats.DATA_SETS.items():
        path = folder / f"{kind}_labels.npy"
        write(path, kind, 33, rng)
        detect(path, known.test, folder / f"{kind}_test.pkl", rng, bias=3.0)
        detect(path, known.train, folder / f"{kind}_train.pkl", rng, bias=3.0)
        arguments = [
            "--detections",
            folder / f"{kind}_train.pkl",
            "--labels",
            path,
            "--out",
            folder / f"{kind}_gauss.npy",
        ]
        assert noise_main([str(a) for a in arguments]) == 0
    return folder


def settings(folder: Path, kind: str) -> list[str]:
    """Command-line settings that point a shipped configuration at the synthetic files."""
    paths = {
        "dataset.train.labels_path": f"{kind}_labels.npy",
        "dataset.train.pred_2d_results_path": f"{kind}_train.pkl",
        "dataset.train.pred_2d_error_dis_path": f"{kind}_gauss.npy",
        "dataset.val.labels_path": f"{kind}_labels.npy",
        "dataset.val.pred_2d_results_path": f"{kind}_test.pkl",
    }
    return [word for key, name in paths.items() for word in ("--set", f"{key}={folder / name}")]


SMALL = ["--dim_model", "16", "--n_layer", "1", "--lr", "1e-3"]


def to_views(flat):
    """Published layout (..., J, 2V), u and v of each view in turn, to (..., V, J, 2); `to_channels` turns back."""
    return flat.unflatten(-1, (-1, 2)).transpose(-3, -2)
