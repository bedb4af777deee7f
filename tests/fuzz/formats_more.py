"""The rest of the formats: MATLAB's files, HDF5, settings, motion, video; `FORMATS` has them all."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.fuzz.formats import DATA_SETS, KEYPOINTS, Format, _json, _program, _rng
from tests.fuzz.formats_checkpoints import CHECKPOINTS
from tests.fuzz.formats_motion import MOTION


def _mat(name: str, **arrays) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import scipy.io

        stream = io.BytesIO()
        scipy.io.savemat(stream, arrays, do_compression=name.startswith("c"))
        (folder / name).write_bytes(stream.getvalue())

    return make


def _cells(*shapes: tuple[int, ...]) -> np.ndarray:
    cells = np.empty((len(shapes), 1), object)
    for n, shape in enumerate(shapes):
        cells[n, 0] = _rng().normal(size=shape)
    return cells


def _annot(folder: Path) -> None:
    rng = _rng()
    camera = "name {}\n  sensor 10 10\n  size 2048 2048\n  intrinsic 1500 0 1024 0 0 1500 1024 0 0 0 1 0 0 0 0 1\n"
    text = "Skeletool Camera Calibration File V1.0\n" + "".join(camera.format(n) for n in range(14))
    (folder / "camera.calibration").write_text(text)
    views = _cells(*[(3, 56)] * 14), _cells(*[(3, 84)] * 14)
    for pixels, poses in zip(views[0].ravel(), views[1].ravel(), strict=True):
        points = rng.uniform(-500, 500, (3, 28, 3)) + [0, 0, 3000]
        poses[:] = points.reshape(3, 84)
        pixels[:] = (points[..., :2] / points[..., 2:] * 1500 + 1024).reshape(3, 56)
    _mat("annot.mat", annot2=views[0], annot3=views[1], univ_annot3=views[1], cameras=np.arange(14.0))(folder)


def _read_annot(folder: Path) -> None:
    convert = _program("convert_3dhp")
    convert.read_calibration(folder / "camera.calibration")
    convert.read_training(folder, "S1 Seq1", True)


def _test_annotation(folder: Path) -> None:
    from common.scoring.annotations import write_annotation

    poses = _rng().normal(size=(4, 17, 3)) * 300
    write_annotation(folder, "TS1", poses[..., :2], {"annot3": poses, "univ_annot3": poses}, np.ones(4), np.ones(4))


def _read_annotation(folder: Path) -> None:
    from common.scoring.annotations import read_annotation

    read_annotation(folder, "TS1")
    _program("convert_3dhp").read_test(folder / "TS1" / "annot_data.mat", "TS1", True)


def _h5(name: str, **arrays) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import h5py

        with h5py.File(folder / name, "w") as file:
            for key, array in arrays.items():
                file.create_dataset(key, data=array, chunks=True, compression="gzip")
                file[key].attrs["MATLAB_class"] = np.bytes_("double")

    return make


def _with(program: str, function: str, name: str) -> Callable[[Path], None]:
    return lambda folder: getattr(_program(program), function)(folder / name)


def _read_predictions(folder: Path) -> None:
    from common.scoring.export import read_predictions

    read_predictions(folder / "inference_data_P_Agg.mat")


def _yaml(name: str) -> Callable[[Path], None]:
    text = "data:\n  dataset: h36m_2view\n  root_relative: true\nmodel:\n  hid_dim: 96\n  dropout: 0.25\n"
    text += "optim:\n  lr: 1e-4\ndataset:\n  image_shape: [384, 384]\n  include_cameras: [0, 1]\n"
    return lambda folder: (folder / name).write_text(text)


def _read_yaml(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from common.settings import two_view_files

        two_view_files.resolve(two_view_files.read_config(folder / name), {}, name)

    return read


def _read_config(folder: Path) -> None:
    from common.settings.config_files import read_config

    read_config(folder / "c.json")


def _poses(folder: Path) -> None:
    from common.files.poses import write_poses
    from common.geometry.skeleton import H36M_17

    people = [{"id": 1, "positions": _rng().normal(size=(4, 17, 3)), "mask": np.ones((4, 17), bool)}]
    write_poses(folder / "poses.npz", people, 25, H36M_17, card={"a": 1})


def _bvh(folder: Path) -> None:
    from common.files.bvh import write_bvh
    from common.geometry.skeleton import H36M_17

    write_bvh(folder / "a.bvh", _rng().normal(size=(3, 17, 3)) + [0, 0, 4], H36M_17, 25)


def _check(name: str) -> Callable[[Path], None]:
    """As the doctor does."""

    def read(folder: Path) -> None:
        from common.programs.what_file import tell

        tell(folder / name)

    return read


def _video(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        from common.files.video import write_video

        write_video(folder / name, iter(_rng().integers(0, 255, (5, 32, 48, 3), np.uint8)), 25)

    return make


def _read_video(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from itertools import islice

        from common.files.video import read_frames, video_info

        video_info(folder / name)
        for _ in islice(read_frames(folder / name), 50):
            pass

    return read


_TOML = """[cam_1]
name = "cam1"
size = [1000.0, 800.0]
matrix = [[900.0, 0.0, 500.0], [0.0, 900.0, 400.0], [0.0, 0.0, 1.0]]
distortions = [0.01, -0.02, 0.0, 0.0]
rotation = [0.1, 0.2, 0.3]
translation = [0.0, 0.1, 3.0]
fisheye = false
"""
_OPENCV = """%YAML:1.0
---
names:
  - "1"
K_1: !!opencv-matrix
  rows: 3
  cols: 3
  dt: d
  data: [900.0, 0.0, 500.0, 0.0, 900.0, 400.0, 0.0, 0.0, 1.0]
dist_1: !!opencv-matrix
  rows: 1
  cols: 5
  dt: d
  data: [0.0, 0.0, 0.0, 0.0, 0.0]
R_1: !!opencv-matrix
  rows: 3
  cols: 1
  dt: d
  data: [0.1, 0.2, 0.3]
T_1: !!opencv-matrix
  rows: 3
  cols: 1
  dt: d
  data: [0.1, 0.2, 3.0]
"""


def _opencv(folder: Path) -> None:
    for name in ("intri.yml", "extri.yml"):
        (folder / name).write_text(_OPENCV)


def _read_cameras(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from common.files.calibration import read_calibration, to_camera

        for camera in read_calibration(folder / name):
            to_camera(camera, (1000, 800))

    return read


_CONFIG = {
    "params": {
        "seed": 1,
        "dataset": "h36m",
        "epochs": 10,
        "batch_size": 4,
        "number_of_frames": 27,
        "learning_rate": 1e-4,
        "out_all": True,
        "beta_schedule": "cosine",
    }
}
_PREDICTED = {f"TS{n}": np.zeros((3, 17, 4, 2)) for n in (1, 2)}

FORMATS: dict[str, Format] = (
    KEYPOINTS
    | DATA_SETS
    | CHECKPOINTS
    | MOTION
    | {
        "mat_predictions:inference_data_P_Agg.mat": Format(
            _mat("inference_data_P_Agg.mat", **_PREDICTED), "inference_data_P_Agg.mat", _read_predictions
        ),
        "mat_h36m:Walking.cdf.mat": Format(
            _mat("Walking.cdf.mat", data=_cells((3, 96))),
            "Walking.cdf.mat",
            _with("convert_h36m", "read_mat", "Walking.cdf.mat"),
        ),
        "mat_h36m:c.cdf.mat": Format(
            _mat("c.cdf.mat", data=_cells((3, 96)), s={"a": 1.5, "b": "text"}),
            "c.cdf.mat",
            _with("convert_h36m", "read_mat", "c.cdf.mat"),
        ),
        "mat_humaneva:h.mat": Format(
            _mat("h.mat", j=300 * _rng().normal(size=(4, 15, 3)), k=300 * _rng().normal(size=(4, 3, 15, 2))),
            "h.mat",
            _with("convert_humaneva", "poses_of", "h.mat"),
        ),
        "mat_3dhp_train:annot.mat": Format(_annot, "annot.mat", _read_annot),
        "calib3dhp:camera.calibration": Format(_annot, "camera.calibration", _read_annot),
        "annot:annot_data.mat": Format(_test_annotation, "TS1/annot_data.mat", _read_annotation),
        "h5_h36m:Walking.h5": Format(
            _h5("Walking.h5", **{"3D_positions": _rng().normal(size=(96, 3))}),
            "Walking.h5",
            _with("convert_h36m", "read_h5", "Walking.h5"),
        ),
        "h5_humaneva:h.mat": Format(
            _h5("h.mat", j=300 * _rng().normal(size=(3, 15, 4)), k=300 * _rng().normal(size=(2, 15, 3, 4))),
            "h.mat",
            _with("convert_humaneva", "poses_of", "h.mat"),
        ),
        "yaml:demo_2view.yml": Format(_yaml("demo_2view.yml"), "demo_2view.yml", _read_yaml("demo_2view.yml")),
        "yaml:dual_diffusion_mhad.yml": Format(
            _yaml("dual_diffusion_mhad.yml"), "dual_diffusion_mhad.yml", _read_yaml("dual_diffusion_mhad.yml")
        ),
        "config:c.json": Format(_json("c.json", _CONFIG), "c.json", _read_config),
        "poses:poses.npz": Format(_poses, "poses.npz", _check("poses.npz")),
        "bvh:a.bvh": Format(_bvh, "a.bvh", _check("a.bvh")),
        "calib_toml:c.toml": Format(lambda f: (f / "c.toml").write_text(_TOML), "c.toml", _read_cameras("c.toml")),
        "calib_opencv:intri.yml": Format(_opencv, "intri.yml", _read_cameras("intri.yml")),
        "video:a.webm": Format(_video("a.webm"), "a.webm", _read_video("a.webm")),
        "video:a.mp4": Format(_video("a.mp4"), "a.mp4", _read_video("a.mp4")),
        "video:a.gif": Format(_video("a.gif"), "a.gif", _read_video("a.gif")),
    }
)
