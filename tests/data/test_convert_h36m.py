"""data/convert_h36m.py, run as a program on trees that this test writes from the layouts' descriptions.

It was not run on the official files: they may not be passed on. Nothing is imported from the converter.
"""

import contextlib
import io
import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import scipy.io

from common.datasets.h36m import load_h36m
from common.files.reading import load_archive

PROGRAM = Path(__file__).parents[2] / "data" / "convert_h36m.py"
CALIBRATION = PROGRAM.parents[1] / "common" / "datasets" / "h36m_cameras.json"
SUBJECTS = ["S1", "S5", "S6", "S7", "S8", "S9", "S11"]
# As the official files are called; the field calls two of them otherwise.
ACTIONS = (
    *("Directions", "Discussion", "Eating", "Greeting", "Phoning", "TakingPhoto", "Posing", "Purchases"),
    *("Sitting", "SittingDown", "Smoking", "Waiting", "WalkingDog", "WalkTogether", "Walking"),
)
FRAMES = 6
USED = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]


def poses(seed: int, per_second: float = 50) -> np.ndarray:
    """(6, 32, 3) mm: every number its own, near the middle of the room, the hip walking at 1 m/s."""
    rng = np.random.RandomState(seed)
    shape = rng.uniform(-400, 400, (FRAMES, 32, 3)) + [0, 0, 900]
    shape[:, 0] = [0, 0, 900]
    walk = np.arange(FRAMES)[:, None, None] * np.array([1000 / per_second, 0, 0])
    return shape + walk + np.array([200, 300, 0])


def names(subject: str) -> list[str]:
    """Two takes of each action, numbered as untidily as the official ones."""
    seconds = {"Eating": " 2", "Sitting": " 1"}
    return [a + t for a in ACTIONS for t in ("", seconds.get(a, " 1"))]


def write_mat(path: Path, data: np.ndarray) -> None:
    cell = np.empty((1, 1), object)
    cell[0, 0] = data.reshape(len(data), -1)
    scipy.io.savemat(path.with_name(path.name + ".cdf.mat"), {"data": cell})


def write_h5(path: Path, data: np.ndarray) -> None:
    with h5py.File(path.with_name(path.name + ".h5"), "w") as file:
        file["3D_positions"] = data.reshape(len(data), 96).T


def write_cdf(path: Path, data: np.ndarray) -> None:
    from cdflib.cdfwrite import CDF

    file = CDF(path.with_name(path.name + ".cdf"), cdf_spec={}, delete=True)
    flat = data.reshape(1, len(data), 96).astype(np.float32)
    about = {"Variable": "Pose", "Data_Type": 44, "Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": [len(data), 96]}
    file.write_var(about, var_data=flat)
    file.close()


LAYOUTS = {
    "mat": ("MyPoseFeatures/D3_Positions", write_mat),
    "h5": ("MyPoses/3D_positions", write_h5),
    "cdf": ("MyPoseFeatures/D3_Positions", write_cdf),
}


def write_tree(root: Path, layout: str, skip=(), **how) -> dict[tuple[str, str], np.ndarray]:
    """A whole download in one layout; returns what it holds, mm."""
    folder, write = LAYOUTS[layout]
    stored = {}
    for s, subject in enumerate(SUBJECTS):
        place = root / subject / folder
        place.mkdir(parents=True)
        for a, name in enumerate(names(subject)):
            if (subject, name) not in skip:
                stored[subject, name] = poses(100 * s + a, **how)
                write(place / name, stored[subject, name])
    return stored


def run(root: Path, out: Path, *more: str) -> SimpleNamespace:
    """The program as typed, in this process: a process of its own each time would take minutes."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
        pytest.raises(SystemExit) as end,
    ):
        patch.setattr(sys, "argv", [str(PROGRAM), "--root", str(root), "--out", str(out), *more])
        runpy.run_path(str(PROGRAM), run_name="__main__")
    return SimpleNamespace(returncode=end.value.code, stdout=stdout.getvalue(), stderr=stderr.getvalue())


def refusal(root: Path, out: Path) -> str:
    result = run(root, out)
    assert result.returncode == 2, result.stderr
    assert not list(out.glob("*.npz*"))
    return result.stderr.strip().splitlines()[-1]


def seen(subject: str, camera: int, world: np.ndarray) -> np.ndarray:
    """Pixels (T, J, 2) of world points in metres: rotation matrix, pinhole, Brown's lens, in NumPy and in pixels."""
    calibration = json.loads(CALIBRATION.read_text(encoding="utf-8"))
    inner, outer = calibration["intrinsics"][camera], calibration["extrinsics"][subject][camera]
    w, x, y, z = outer["orientation"]
    to_world = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    points = (world - np.array(outer["translation"]) / 1000) @ to_world  # rows times R is R^T times columns
    u, v = points[..., 0] / points[..., 2], points[..., 1] / points[..., 2]
    k1, k2, k3 = inner["radial_distortion"]
    p1, p2 = inner["tangential_distortion"]
    r2 = u * u + v * v
    factor = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + p1 * u + p2 * v
    bent = np.stack([u * factor + p1 * r2, v * factor + p2 * r2], -1)
    return bent * np.array(inner["focal_length"]) + np.array(inner["center"])


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The tree with MATLAB files through the program: (stored, result, output folder)."""
    folder = tmp_path_factory.mktemp("h36m")
    stored = write_tree(folder / "raw", "mat")
    return stored, run(folder / "raw", folder / "out"), folder / "out"


def field_name(name: str) -> str:
    return name.replace("TakingPhoto", "Photo").replace("WalkingDog", "WalkDog")


def test_poses_are_stored_in_metres_under_the_fields_names(converted):
    stored, result, out = converted
    assert result.returncode == 0, result.stderr
    positions = load_archive(out / "data_3d_h36m.npz")["positions_3d"]
    assert list(positions) == SUBJECTS
    for (subject, name), poses_mm in stored.items():
        if (subject, name) == ("S11", "Directions"):
            continue
        array = positions[subject][field_name(name)]
        assert array.dtype == np.float32 and array.shape == (FRAMES, 32, 3)
        np.testing.assert_allclose(array, poses_mm / 1000, atol=1e-6)
    assert {len(takes) for takes in positions.values()} == {30, 29}


def test_the_damaged_take_is_left_out(converted):
    _, result, out = converted
    takes = load_archive(out / "data_3d_h36m.npz")["positions_3d"]["S11"]
    assert "Directions" not in takes and "Directions 1" in takes
    assert "S11 Directions" in result.stdout


def test_projections_agree_with_another_formula(converted):
    stored, _, out = converted
    archive = load_archive(out / "data_2d_h36m_gt.npz")
    metadata = archive["metadata"]
    assert metadata["num_joints"] == 17
    assert [list(side) for side in metadata["keypoints_symmetry"]] == [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]]
    for subject in SUBJECTS:
        views = archive["positions_2d"][subject]["Photo 1"]
        assert len(views) == 4
        for camera, pixels in enumerate(views):
            assert pixels.dtype == np.float32 and pixels.shape == (FRAMES, 17, 2)
            expected = seen(subject, camera, stored[subject, "TakingPhoto 1"][:, USED] / 1000)
            np.testing.assert_allclose(pixels, expected, atol=2e-3)


def test_the_loader_reads_the_files(converted):
    _, _, out = converted
    clips = load_h36m(out, "gt", ["S9", "S11"])
    assert len(clips) == (30 + 29) * 4 and {c.fps for c in clips} == {50.0}


def test_it_says_which_files_it_cannot_make(converted):
    _, result, _ = converted
    for word in ("cpn_ft_h36m_dbb", "detectron_pt_coco", "VideoPose3D", "389,938"):
        assert word in result.stdout
    assert "takes" in result.stderr  # the progress bar


def test_hdf5_gives_the_same(converted, tmp_path):
    _, _, out = converted
    write_tree(tmp_path / "raw", "h5", skip=[("S11", "Directions")])
    assert run(tmp_path / "raw", tmp_path / "out").returncode == 0
    for name in ("data_3d_h36m.npz", "data_2d_h36m_gt.npz"):
        first, second = load_archive(out / name), load_archive(tmp_path / "out" / name)
        key = "positions_3d" if "3d" in name else "positions_2d"
        for subject in SUBJECTS:
            for action, array in first[key][subject].items():
                np.testing.assert_array_equal(np.asarray(array), np.asarray(second[key][subject][action]))


def test_cdf_gives_the_same(converted, tmp_path):
    pytest.importorskip("cdflib")
    stored, _, _ = converted
    write_tree(tmp_path / "raw", "cdf")
    result = run(tmp_path / "raw", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    positions = load_archive(tmp_path / "out" / "data_3d_h36m.npz")["positions_3d"]
    np.testing.assert_allclose(positions["S6"]["WalkDog"], stored["S6", "WalkingDog"] / 1000, atol=1e-6)


def test_cdf_without_its_package_says_how_to_get_it(tmp_path, monkeypatch):
    write_tree(tmp_path / "raw", "mat")
    for path in (tmp_path / "raw").rglob("*.cdf.mat"):
        path.rename(path.with_suffix(""))
    monkeypatch.setitem(sys.modules, "cdflib", None)
    assert "pip install cdflib" in refusal(tmp_path / "raw", tmp_path / "out")


def broken(tmp_path: Path, subject: str, name: str, content: np.ndarray | None) -> str:
    write_tree(tmp_path / "raw", "mat", skip=[(subject, name)])
    if content is not None:
        write_mat(tmp_path / "raw" / subject / LAYOUTS["mat"][0] / name, content)
    return refusal(tmp_path / "raw", tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("Eating 2", None, "1 takes of Eating"),
        ("Jogging", poses(0), "unknown action 'Jogging'"),
        ("Waiting", poses(0) / 1000, "millimetres"),
        ("Waiting", poses(0)[:, :17], "expected (frames, 96)"),
        ("Waiting", np.full((3, 32, 3), np.nan), "NaN"),
        ("Waiting", poses(0) + 20_000, "no world positions"),
    ],
    ids=["missing take", "unknown action", "metres", "17 joints", "NaN", "far away"],
)
def test_what_is_wrong_is_refused(tmp_path, name, content, words):
    line = broken(tmp_path, "S7", name, content)
    assert words in line and "S7" in line


def test_another_frame_rate_is_refused_unless_asked_for(tmp_path):
    write_tree(tmp_path / "raw", "mat", per_second=10)
    line = refusal(tmp_path / "raw", tmp_path / "out")
    assert "5.00 m/s" in line and "--any-rate" in line
    assert run(tmp_path / "raw", tmp_path / "out", "--any-rate").returncode == 0


def test_a_missing_subject_and_the_wrong_archive_are_told(tmp_path):
    (tmp_path / "raw" / "S1" / "MyPoseFeatures" / "D3_Positions_mono").mkdir(parents=True)
    assert "D3_Positions_mono is in a camera's frame" in refusal(tmp_path / "raw", tmp_path / "out")
    assert "no folder S1" in refusal(tmp_path, tmp_path / "out")


def test_it_starts_from_any_folder(tmp_path):
    command = [sys.executable, str(PROGRAM), "--root", str(tmp_path / "none")]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2 and result.stderr.strip() == f"error: {tmp_path / 'none'}: no such folder"
