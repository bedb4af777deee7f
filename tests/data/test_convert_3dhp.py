"""The converter on a tree in the official layout, written here from the reference's tables.

Nothing is taken from the converter to write it, and every joint and camera has its own values.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from common.datasets.threedhp import load_threedhp
from common.programs.doctor import check_file
from common.programs.installation import PROBLEM

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "data" / "convert_3dhp.py"

# MPI-INF-3DHP's 17 of 28 joints, cameras 0 1 2 4 5 6 7 8 of 14, and 50 frames a second in these (scoring reference 6).
PICKS = [7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6]
CAMERAS = ["0", "1", "2", "4", "5", "6", "7", "8"]
FIFTY = {"S1 Seq2", "S3 Seq1", "S3 Seq2", "S5 Seq1", "S5 Seq2"}
TEST_FRAMES = {"TS1": 6, "TS2": 3, "TS3": 4, "TS4": 2, "TS5": 3, "TS6": 5}


def frames_of(subject, sequence):
    return 2 + subject + 3 * sequence


def focal(subject, sequence, camera):
    """(fx, fy, cx, cy), different for every camera of every sequence."""
    number = 100 * subject + 20 * sequence + camera
    return 1400 + number / 10, 1390 + number / 10, 1000 + camera, 1020 + subject


def poses_of(subject, sequence, camera):
    """(F, 28, 3) mm: the number in x's digits names subject, sequence, camera, joint and frame."""
    frames = frames_of(subject, sequence)
    f, j = np.meshgrid(np.arange(frames), np.arange(28), indexing="ij")
    x = (subject * 10 + sequence) + 30 * j + camera * 7 + f * 0.25
    y = 20 * j - 5 * camera + f * 0.5
    z = 3000 + 10 * j + 100 * camera + subject
    return np.stack([x, y, z], -1).astype(float)


def pixels_of(poses, numbers):
    fx, fy, cx, cy = numbers
    return np.stack([poses[..., 0] / poses[..., 2] * fx + cx, poses[..., 1] / poses[..., 2] * fy + cy], -1)


def cell(arrays):
    out = np.empty((len(arrays), 1), object)
    for i, array in enumerate(arrays):
        out[i, 0] = array
    return out


def write_training(root):
    for subject in range(1, 9):
        for sequence in (1, 2):
            folder = root / f"S{subject}" / f"Seq{sequence}"
            folder.mkdir(parents=True)
            poses = [poses_of(subject, sequence, camera) for camera in range(14)]
            pixels = [pixels_of(p, focal(subject, sequence, c)) for c, p in enumerate(poses)]
            content = {
                "annot2": cell([p.reshape(len(p), 56) for p in pixels]),
                "annot3": cell([p.reshape(len(p), 84) for p in poses]),
                "univ_annot3": cell([(p * 0.5).reshape(len(p), 84) for p in poses]),
                "cameras": np.arange(14)[None],
                "frames": np.arange(len(poses[0]))[:, None],
            }
            scipy.io.savemat(folder / "annot.mat", content)
            lines = ["Skeletool Camera Calibration File V1.0"]
            for camera in range(14):
                fx, fy, cx, cy = focal(subject, sequence, camera)
                lines += [
                    f"name          {camera}",
                    "  sensor      10 10",
                    "  size        2048 2048",
                    "  animated    0",
                    f"  intrinsic   {fx} 0 {cx} 0 0 {fy} {cy} 0 0 0 1 0 0 0 0 1 ",
                    "  extrinsic   1 0 0 5 0 1 0 6 0 0 1 7 0 0 0 1 ",
                    "  radial      0",
                ]
            (folder / "camera.calibration").write_text("\n".join(lines) + "\n")


def official_arrays(name):
    """MATLAB's order: 3 x 17 x 1 x F and so on."""
    frames, number = TEST_FRAMES[name], int(name[2])
    poses = np.zeros((3, 17, 1, frames))
    poses += np.array([100.0, 40, 2000])[:, None, None, None] * number
    poses += 11 * np.arange(17)[:, None, None] + np.arange(frames) + np.arange(3)[:, None, None, None]
    pixels = 50 + 30 * np.arange(17)[None, :, None, None] + np.arange(frames) + 7 * np.arange(2)[:, None, None, None]
    return {
        "annot2": pixels * 1.0,
        "annot3": poses,
        "univ_annot3": poses * 0.5,
        "valid_frame": (np.arange(frames) % 2)[None] * 1.0,
        "activity_annotation": np.ones((1, frames)),
    }


def write_test(folder):
    for name in TEST_FRAMES:
        (folder / name).mkdir(parents=True)
        with h5py.File(folder / name / "annot_data.mat", "w", userblock_size=512) as file:
            for key, array in official_arrays(name).items():
                file[key] = array.T


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("official")
    write_training(root)
    write_test(root)
    return root


@pytest.fixture(scope="module")
def convert():
    spec = importlib.util.spec_from_file_location("convert_3dhp", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def converted(tree, tmp_path_factory):
    """Run as people run it, from the repository's root."""
    out = tmp_path_factory.mktemp("data")
    command = [sys.executable, "data/convert_3dhp.py", "--root", str(tree), "--out", str(out), "--any-length"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "16/16" in done.stderr and "6/6" in done.stderr  # progress bars
    return out


@pytest.mark.parametrize(("ending", "scale"), [("_ori", 1.0), ("", 0.5)])
def test_training_file_in_the_published_layout(converted, ending, scale):
    with np.load(converted / f"data_train_3dhp{ending}.npz", allow_pickle=True) as archive:
        data = archive["data"].item()
        assert str(archive["labels"]) == ("annot3" if ending else "univ_annot3")
    assert list(data) == [f"S{s} Seq{q}" for s in range(1, 9) for q in (1, 2)]
    for name, (views, fps) in data.items():
        subject, sequence = int(name[1]), int(name[-1])
        assert fps == (50 if name in FIFTY else 25)
        assert list(views) == CAMERAS
        for camera, view in views.items():
            poses = poses_of(subject, sequence, int(camera))
            pixels = pixels_of(poses, focal(subject, sequence, int(camera)))
            np.testing.assert_allclose(view["data_3d"], scale * poses[:, PICKS], rtol=1e-6)
            np.testing.assert_allclose(view["data_2d"], pixels[:, PICKS], rtol=1e-6)


@pytest.mark.parametrize(("ending", "key"), [("_ori", "annot3"), ("", "univ_annot3")])
def test_test_file_in_the_published_layout(converted, ending, key):
    with np.load(converted / f"data_test_3dhp{ending}.npz", allow_pickle=True) as archive:
        data = archive["data"].item()
        assert str(archive["labels"]) == key
    assert list(data) == list(TEST_FRAMES)
    for name, arrays in data.items():
        expected = official_arrays(name)
        np.testing.assert_array_equal(arrays["data_2d"], expected["annot2"][:, :, 0].transpose(2, 1, 0))
        np.testing.assert_array_equal(arrays["data_3d"], expected[key][:, :, 0].transpose(2, 1, 0))
        np.testing.assert_array_equal(arrays["valid"], expected["valid_frame"][0])
        assert arrays["valid"].ndim == 1


def test_loader_reads_what_the_converter_writes(converted):
    clips, labels = load_threedhp(converted, "train")
    assert labels == "annot3" and len(clips) == 16 * 8
    for clip in clips:
        points = clip.positions_3d
        fx, fy, cx, cy = clip.camera.intrinsics[:4]
        screen = points[..., :2] / points[..., 2:] * [fx, fy] + [cx, cy]
        np.testing.assert_allclose(screen, clip.keypoints_2d, atol=1e-5)  # the right camera's own intrinsics
    assert {clip.camera.intrinsics[0] for clip in clips if clip.key == "S3/Seq2/6"} == {focal(3, 2, 6)[0] / 1024}
    tests, _ = load_threedhp(converted, "test", labels="univ_annot3")
    assert [len(clip) for clip in tests] == list(TEST_FRAMES.values())


def test_archive_folder_of_the_test_set(convert, tmp_path):
    write_test(tmp_path / "mpi_inf_3dhp_test_set")
    assert convert.main(["--root", str(tmp_path), "--out", str(tmp_path), "--only", "test", "--any-length"]) == 0
    assert sorted(p.name for p in tmp_path.glob("*.npz")) == ["data_test_3dhp.npz", "data_test_3dhp_ori.npz"]


def line(convert, capsys, *flags):
    """The one line of a refusal, after what is left of a progress bar."""
    assert convert.main(list(map(str, flags))) == 2
    return capsys.readouterr().err.split("\r")[-1].splitlines()[-1]


def test_another_length_is_refused(convert, tree, tmp_path, capsys):
    told = line(convert, capsys, "--root", tree, "--out", tmp_path, "--only", "train")
    assert "6 frames, the published set has 6416" in told and "--any-length" in told
    assert not list(tmp_path.iterdir())
    told = line(convert, capsys, "--root", tree, "--out", tmp_path, "--only", "test")
    assert "TS1" in told and "the published set has 6151" in told


def change(folder, **members):
    content = {k: v for k, v in scipy.io.loadmat(folder / "annot.mat").items() if not k.startswith("__")}
    content.update(members)
    scipy.io.savemat(folder / "annot.mat", {k: v for k, v in content.items() if v is not None})


def no_file(folder):
    (folder / "annot.mat").unlink()


def no_univ(folder):
    change(folder, univ_annot3=None)


def seventeen_joints(folder):
    change(folder, annot3=cell([np.zeros((6, 51))] * 14))


def frames_differ(folder):
    cells = scipy.io.loadmat(folder / "annot.mat")["annot2"]
    cells[5, 0] = cells[5, 0][:-1]
    change(folder, annot2=cells)


def few_cameras(folder):
    change(folder, cameras=np.array([[0, 1, 2, 3]]))


def nan(folder):
    cells = scipy.io.loadmat(folder / "annot.mat")["annot3"]
    cells[4, 0][0] = np.nan
    change(folder, annot3=cells)


def no_calibration(folder):
    (folder / "camera.calibration").unlink()


def other_calibration(folder):
    path = folder / "camera.calibration"
    path.write_text(path.read_text().replace("intrinsic   14", "intrinsic   24"))


def other_size(folder):
    path = folder / "camera.calibration"
    path.write_text(path.read_text().replace("2048 2048", "1024 1024"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_file, "annot.mat: no such file"),
        (no_univ, "no variable univ_annot3"),
        (seventeen_joints, "expected (F, 84)"),
        (frames_differ, "camera 5"),
        (few_cameras, "no camera 4; it has 0, 1, 2, 3"),
        (nan, "NaN"),
        (no_calibration, "camera.calibration: no such file"),
        (other_calibration, "misses annot2"),
        (other_size, "expected 2048 x 2048"),
    ],
)
def test_damaged_downloads_are_refused_in_one_line(convert, tmp_path, capsys, damage, message):
    write_training(tmp_path)
    damage(tmp_path / "S1" / "Seq1")
    out = tmp_path / "out"
    assert message in line(convert, capsys, "--root", tmp_path, "--out", out, "--only", "train", "--any-length")
    assert not out.exists()
    if damage not in (no_file, no_calibration, other_calibration, other_size):  # the doctor reads the file alone
        finding = check_file(tmp_path / "S1" / "Seq1" / "annot.mat")
        assert finding.state == PROBLEM and message in finding.text


def test_cameras_are_found_by_their_number(convert, tmp_path):
    """A file that lists its cameras in another order is read by the list, not by position."""
    write_training(tmp_path)
    folder = tmp_path / "S1" / "Seq1"
    content = scipy.io.loadmat(folder / "annot.mat")
    order = np.arange(14)[::-1]
    change(folder, cameras=order[None], **{k: content[k][order] for k in ("annot2", "annot3", "univ_annot3")})
    views, _ = convert.read_training(folder, "S1 Seq1", any_length=True)
    np.testing.assert_allclose(views["annot3"]["2"]["data_3d"], poses_of(1, 1, 2)[:, PICKS], rtol=1e-6)


def test_no_folder(convert, tmp_path, capsys):
    assert "no such folder" in line(convert, capsys, "--root", tmp_path / "none")
    assert "no TS1" in line(convert, capsys, "--root", tmp_path)
