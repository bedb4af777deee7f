"""Small valid files of every format that a program here reads, and the reader that each belongs to."""

from __future__ import annotations

import importlib.util
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DATA = Path(__file__).parents[2] / "data"


@dataclass(frozen=True)
class Format:
    """`make(folder)` writes the files; `target` is the one to be damaged; `read(folder)` is what a program does."""

    make: Callable[[Path], None]
    target: str
    read: Callable[[Path], object]


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _program(name: str):
    """A module of data/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, DATA / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _json(name: str, content: object) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(json.dumps(content))


def _keypoints(folder: Path, name: str) -> None:
    from common.wild.keypoints import read_keypoints
    from common.wild.tracking import track

    track(read_keypoints(folder / name, layout="coco" if "two" in name else None))


def _kp(name: str, make: Callable[[Path], None], target: str | None = None) -> Format:
    return Format(make, target or name, lambda folder: _keypoints(folder, name))


_POINTS = (_rng().uniform(100, 900, (4, 17, 3)) * [1, 1, 1e-3]).round(2)  # pixels and confidence
_PERSON = [float(x) for x in _POINTS[0].ravel()]


def _openpose(folder: Path) -> None:
    (folder / "f").mkdir()
    for n in range(3):
        content = {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": [1.5] * 75}]}
        (folder / "f" / f"video_{n:012}_keypoints.json").write_text(json.dumps(content))


def _videopose(folder: Path) -> None:
    meta = {"layout_name": "coco", "num_joints": 17, "video_metadata": {"a": {"w": 1000, "h": 800, "fps": 25}}}
    np.savez_compressed(folder / "v.npz", positions_2d={"a": {"b": [_POINTS[..., :2]]}}, metadata=meta)


def _detectron(folder: Path) -> None:
    boxes = np.empty(3, object)
    keypoints = np.empty(3, object)
    for n in range(3):
        boxes[n] = [[], np.ones((1, 5), np.float32)]
        keypoints[n] = [[], np.ones((1, 4, 17), np.float32)]
    np.savez_compressed(folder / "d.npz", boxes=boxes, keypoints=keypoints, metadata={"w": 100, "h": 90, "fps": 25.0})


KEYPOINTS = {
    "kp_npy:x_coco.npy": _kp("x_coco.npy", lambda f: np.save(f / "x_coco.npy", _POINTS)),
    "kp_npy:two_h36m.npy": _kp("two_h36m.npy", lambda f: np.save(f / "two_h36m.npy", np.stack([_POINTS, _POINTS]))),
    "kp_npz:array_coco.npz": _kp("array_coco.npz", lambda f: np.savez(f / "array_coco.npz", keypoints=_POINTS)),
    "kp_npz:v.npz": _kp("v.npz", _videopose),
    "kp_npz:d.npz": _kp("d.npz", _detectron),
    "kp_json:coco.json": _kp(
        "coco.json",
        _json(
            "coco.json",
            {
                "images": [
                    {"id": 1, "file_name": "a_0001.jpg", "width": 640, "height": 480},
                    {"id": 2, "file_name": "a_2.jpg"},
                ],
                "categories": [{"id": 1, "keypoints": [f"j{n}" for n in range(17)]}],
                "annotations": [
                    {"image_id": 1, "keypoints": _PERSON, "track_id": 3},
                    {"image_id": 2, "keypoints": _PERSON},
                ],
            },
        ),
    ),
    "kp_json:alphapose.json": _kp(
        "alphapose.json",
        _json(
            "alphapose.json",
            [
                {"image_id": f"{n}.jpg", "category_id": 1, "keypoints": _PERSON, "score": 2.1, "idx": [[[1.0]]]}
                for n in range(3)
            ],
        ),
    ),
    "kp_json:mmpose.json": _kp(
        "mmpose.json",
        _json(
            "mmpose.json",
            {
                "meta_info": {"dataset_name": "coco", "keypoint_id2name": {str(n): f"j{n}" for n in range(17)}},
                "instance_info": [
                    {
                        "frame_id": n,
                        "instances": [
                            {"keypoints": _POINTS[0, :, :2].tolist(), "keypoint_scores": [0.9] * 17, "track_id": 1}
                        ],
                    }
                    for n in range(3)
                ],
            },
        ),
    ),
    "openpose_folder:video_000000000002_keypoints.json": _kp("f", _openpose, "f/video_000000000002_keypoints.json"),
}


def _h36m(folder: Path) -> None:
    from common.geometry.skeleton import H36M_17

    rng = _rng()
    world = (rng.uniform(-0.5, 0.5, (6, 17, 3)) + [0, 0, 1]).astype(np.float32)
    pixels = [rng.uniform(100, 900, (6, 17, 2)).astype(np.float32) for _ in range(4)]
    meta = {"num_joints": 17, "keypoints_symmetry": [list(H36M_17.left), list(H36M_17.right)]}
    np.savez_compressed(folder / "data_3d_h36m.npz", positions_3d={"S1": {"Walking": world}})
    np.savez_compressed(folder / "data_2d_h36m_gt.npz", positions_2d={"S1": {"Walking": pixels}}, metadata=meta)


def _read_h36m(folder: Path) -> None:
    from common.datasets.h36m import load_h36m
    from common.programs.doctor import data_sets

    data_sets(folder)
    load_h36m(folder, "gt", "S1")


def _humaneva(folder: Path) -> None:
    rng = _rng()
    world = rng.uniform(-0.5, 0.5, (6, 15, 3)).astype(np.float32)
    pixels = [rng.uniform(100, 400, (6, 15, 2)).astype(np.float32) for _ in range(3)]
    np.savez(folder / "data_3d_humaneva15.npz", positions_3d={"Train/S1": {"Walking 1 chunk0": world}})
    np.savez(folder / "data_2d_humaneva15_gt.npz", positions_2d={"Train/S1": {"Walking 1 chunk0": pixels}}, metadata={})


def _read_humaneva(folder: Path) -> None:
    from common.datasets.humaneva import load_humaneva

    load_humaneva(folder, "gt", "Train/S1")


def _threedhp(folder: Path) -> None:
    rng = _rng()

    def arrays(**more):
        poses = (rng.uniform(-700, 700, (5, 17, 3)) + [0, 0, 3000]).astype(np.float32)
        return {"data_2d": rng.uniform(200, 1800, (5, 17, 2)).astype(np.float32), "data_3d": poses, **more}

    train = {"S1 Seq1": [{"0": arrays(), "4": arrays()}, 25]}
    test = {"TS1": arrays(valid=np.ones(5))}
    cameras = {"S1 Seq1": {"0": np.array([1497.0, 1497.0, 1024.0, 1024.0])}}
    np.savez_compressed(folder / "data_train_3dhp_ori.npz", data=train, labels="annot3", cameras=cameras)
    np.savez_compressed(folder / "data_test_3dhp_ori.npz", data=test, labels="annot3")


def _read_threedhp(folder: Path) -> None:
    from common.datasets.threedhp import load_threedhp

    load_threedhp(folder, "train")
    load_threedhp(folder, "test")


def _custom(folder: Path) -> None:
    from common.geometry.skeleton import H36M_17 as S

    rng = _rng()
    camera = {
        "id": "a",
        "res_w": 1000,
        "res_h": 800,
        "focal_length": (900.0, 900.0),
        "center": (500.0, 400.0),
        "orientation": (1.0, 0.0, 0.0, 0.0),
        "translation": (0.0, 0.0, -4.0),
    }
    world = rng.uniform(-0.5, 0.5, (6, 17, 3)).astype(np.float32)
    np.savez(
        folder / "data_3d_custom_x.npz",
        positions_3d={"S1": {"Walk": world}},
        cameras={"*": [camera]},
        fps=25.0,
        joints=np.array(S.joints),
        parents=np.array(S.parents),
        left=np.array(S.left),
        right=np.array(S.right),
    )
    pixels = [(900 * world[..., :2] / (world[..., 2:] + 4) + [500, 400]).astype(np.float32)]
    np.savez(folder / "data_2d_custom_x.npz", positions_2d={"S1": {"Walk": pixels}}, metadata={"layout_name": "h36m"})


def _read_custom(folder: Path) -> None:
    from common.datasets.custom import load_custom

    load_custom(folder, "x")


def _mhad(folder: Path) -> None:
    _calibration(folder)
    count = 4
    np.savez(
        folder / "poses.npz",
        keypoints=_rng().uniform(-400, 400, (count, 17, 3)),
        subject=np.array(["S01"] * count),
        action=np.array(["A01"] * count),
        repetition=np.array(["R01"] * count),
        frame=np.arange(count),
    )


def _calibration(folder: Path) -> None:
    camera = {"K": [[600, 0, 320], [0, 600, 240], [0, 0, 1]], "R": np.eye(3).tolist(), "width": 640, "height": 480}
    cameras = {"1": camera | {"t": [0, 0, 3000]}, "3": camera | {"t": [-300, 0, 3000]}}
    (folder / "cameras.json").write_text(json.dumps(cameras))


def _read_mhad(folder: Path) -> None:
    _program("prepare_stereo").mhad_labels(folder / "poses.npz", folder / "cameras.json", [("1", "3")], True)


def _stereo(kind: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        from tests import stereo_files

        rng = _rng()
        stereo_files.write(folder / f"{kind}_labels.npy", kind, 1, rng)
        stereo_files.detect(folder / f"{kind}_labels.npy", None, folder / "r.pkl", rng)
        np.save(folder / "g.npy", np.ones((2, 17, 4)))
        (folder / "g.json").write_text('{"subjects": ["S1"], "frames": 3}')

    return make


def _read_stereo(kind: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from common.binocular.noise import leak, load_noise
        from common.datasets.stereo import load_split

        data = load_split(folder / f"{kind}_labels.npy", subjects=None, detections_path=folder / "r.pkl")
        leak(load_noise(folder / "g.npy"), data)

    return read


DATA_SETS = {
    "h36m:data_3d_h36m.npz": Format(_h36m, "data_3d_h36m.npz", _read_h36m),
    "h36m:data_2d_h36m_gt.npz": Format(_h36m, "data_2d_h36m_gt.npz", _read_h36m),
    "humaneva:data_3d_humaneva15.npz": Format(_humaneva, "data_3d_humaneva15.npz", _read_humaneva),
    "humaneva:data_2d_humaneva15_gt.npz": Format(_humaneva, "data_2d_humaneva15_gt.npz", _read_humaneva),
    "threedhp:data_train_3dhp_ori.npz": Format(_threedhp, "data_train_3dhp_ori.npz", _read_threedhp),
    "threedhp:data_test_3dhp_ori.npz": Format(_threedhp, "data_test_3dhp_ori.npz", _read_threedhp),
    "custom:data_3d_custom_x.npz": Format(_custom, "data_3d_custom_x.npz", _read_custom),
    "custom:data_2d_custom_x.npz": Format(_custom, "data_2d_custom_x.npz", _read_custom),
    "mhad_poses:poses.npz": Format(_mhad, "poses.npz", _read_mhad),
    "calib:cameras.json": Format(_mhad, "cameras.json", _read_mhad),
    "labels:h36m_labels.npy": Format(_stereo("h36m"), "h36m_labels.npy", _read_stereo("h36m")),
    "labels:mhad_labels.npy": Format(_stereo("mhad"), "mhad_labels.npy", _read_stereo("mhad")),
    "detections:r.pkl": Format(_stereo("h36m"), "r.pkl", _read_stereo("h36m")),
    "statistics:g.npy": Format(_stereo("h36m"), "g.npy", _read_stereo("h36m")),
    "statistics:g.json": Format(_stereo("h36m"), "g.json", _read_stereo("h36m")),
}


def _pickled(folder: Path) -> None:
    (folder / "p.pkl").write_bytes(pickle.dumps({"a": np.eye(3), "b": [1, 2.5, "c", (np.float32(3), None)]}, 2))


def _read_pickled(folder: Path) -> None:
    from common.files.reading import load_pickle

    with (folder / "p.pkl").open("rb") as stream:
        load_pickle(stream, folder / "p.pkl")


DATA_SETS["pickle:p.pkl"] = Format(_pickled, "p.pkl", _read_pickled)
