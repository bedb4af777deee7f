"""data/convert_cmu.py, run as a program on a small database that these tests write from the formats' description.

Where the recorded database is at hand beside the project, its two formats are compared as well.
"""

import gzip
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from common.datasets.about import tell_about
from common.datasets.custom import load_custom
from common.datasets.h36m import load_h36m
from common.errors import UserError
from common.files.reading import load_archive
from common.geometry.skeleton import H36M_17, H36M_17_OF_32
from tests.converting import DATA, refusal, run, seen
from tests.data import acclaim

PROGRAM = "convert_cmu.py"
CALIBRATION = json.loads((DATA.parent / "common/datasets/h36m_cameras.json").read_text(encoding="utf-8"))
RECORDED = DATA.parents[1] / "shared" / "data" / "cmu_raw"
EDGES = [(1, 0), (2, 1), (3, 2), (4, 0), (5, 4), (6, 5), (7, 0), (8, 7), (9, 8), (10, 9), (11, 8), (12, 11), (13, 12)]
EDGES += [(14, 8), (15, 14), (16, 15)]
FRAMES = 301  # at 120 Hz: 126 at 50
TIMES = np.arange(126) / 50
INDEX = "Subject #5\n\n05_01\twalk on uneven terrain\n07_02\t\t(run)/jog, then stop\n"


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """Performer 1 in both formats, 5 as BVH alone, 7 (a test performer) official: in folders, a .zip and a .tar.gz."""
    root = tmp_path_factory.mktemp("cmu") / "raw"
    acclaim.write(root / "subjects/01/01.asf", acclaim.asf())
    acclaim.write(root / "subjects/01/01_01.amc", acclaim.amc(1, FRAMES))
    acclaim.write(root / "bvh/01/01_01.bvh", acclaim.bvh(1, FRAMES))
    with zipfile.ZipFile(root / "cmuconvert-mb2-01-09.zip", "w") as archive:
        archive.writestr("05/05_01.bvh", acclaim.bvh(2, FRAMES))
        archive.writestr("cmu-mocap-index-text.txt", INDEX)
    acclaim.write(root / "tmp/subjects/07/07.asf", acclaim.asf())
    acclaim.write(root / "tmp/subjects/07/07_02.amc", acclaim.amc(3, FRAMES))
    with tarfile.open(root / "allasfamc.tar.gz", "w:gz") as archive:  # the motion before its skeleton
        for name in ("subjects/07/07_02.amc", "subjects/07/07.asf"):
            archive.add(root / "tmp" / name, name)
            (root / "tmp" / name).unlink()
    return root


@pytest.fixture(scope="module")
def converted(tree):
    result = run(PROGRAM, "--root", tree, "--out", tree.parent / "out")
    assert result.returncode == 0, result.stderr
    return result, tree.parent / "out"


def held(joints: np.ndarray) -> np.ndarray:
    """Joints (T, 17, 3) with every bone at its mean length, from the hip outwards."""
    out = joints.copy()
    for child, parent in EDGES:
        bone = joints[:, child] - joints[:, parent]
        length = np.linalg.norm(bone, axis=-1, keepdims=True)
        out[:, child] = out[:, parent] + bone / length * length.mean()
    return out


def placed(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Distances, metres, after taking away where on the floor the take was put."""
    moved = (found - expected)[:, 0, :2].mean(0)
    assert np.ptp((found - expected)[:, 0, :2], axis=0).max() < 2e-3  # one shift for all frames
    return np.linalg.norm(found - expected - [*moved, 0], axis=-1)


@pytest.mark.parametrize(
    ("subject", "action", "seed", "most"),
    [("S5", "Motion 01_01", 1, 1e-4), ("S1", "Walk 05_01", 2, 5e-3), ("S11", "Run 07_02", 3, 1e-4)],
)
def test_joints_are_where_the_formula_has_them(converted, subject, action, seed, most):
    """50 Hz, metres, z up; 5 mm where the thorax had to be guessed, which is only above it."""
    positions = load_archive(converted[1] / "data_3d_h36m.npz")["positions_3d"]
    used = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
    assert list(positions[subject]) == [action]
    found = positions[subject][action]
    assert found.shape == (126, 32, 3) and found.dtype == np.float32
    free = acclaim.joints(seed, TIMES)
    errors = placed(found[:, used], held(free))
    assert errors.max() < most and errors[:, :8].max() < 1e-4
    assert placed(free, held(free)).max() < 0.015  # what constant bones cost, in the neck above all
    assert 0.7 < found[:, 0, 2].mean() < 1.2  # the hip's height: z is up


def test_every_subject_is_there_so_that_the_published_commands_run(converted):
    positions = load_archive(converted[1] / "data_3d_h36m.npz")["positions_3d"]
    assert list(positions) == ["S1", "S5", "S6", "S7", "S8", "S9", "S11"]
    assert {subject for subject in positions if positions[subject]} == {"S1", "S5", "S11"}
    clips = load_h36m(converted[1], "gt", ["S1", "S5", "S6", "S7", "S8"])
    assert len(clips) == 8 and {clip.fps for clip in clips} == {50.0}


def test_bones_keep_their_length(converted):
    for clip in load_h36m(converted[1], "gt", ["S1", "S5", "S11"]):
        lengths = np.stack(
            [np.linalg.norm(clip.positions_3d[:, a] - clip.positions_3d[:, b], axis=-1) for a, b in EDGES]
        )
        assert np.ptp(lengths, axis=1).max() < 1e-5


def test_the_four_cameras_see_everything_and_agree_with_another_formula(converted):
    archive = load_archive(converted[1] / "data_2d_h36m_gt.npz")
    positions = load_archive(converted[1] / "data_3d_h36m.npz")["positions_3d"]
    used = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
    assert [list(side) for side in archive["metadata"]["keypoints_symmetry"]] == [
        [4, 5, 6, 11, 12, 13],
        [1, 2, 3, 14, 15, 16],
    ]
    for subject in ("S1", "S5", "S11"):
        for action, world in positions[subject].items():
            for number, pixels in enumerate(archive["positions_2d"][subject][action]):
                camera = CALIBRATION["intrinsics"][number] | CALIBRATION["extrinsics"][subject][number]
                camera |= {"translation": np.array(camera["translation"]) / 1000}
                np.testing.assert_allclose(pixels, seen(camera, world[:, used]), atol=2e-3)
                assert pixels.min() >= 0 and (pixels < [camera["res_w"], camera["res_h"]]).all()


def test_the_made_detector_errs_by_pixels(converted):
    exact = load_archive(converted[1] / "data_2d_h36m_gt.npz")["positions_2d"]["S5"]["Motion 01_01"]
    made = load_archive(converted[1] / "data_2d_h36m_cpn_ft_h36m_dbb.npz")["positions_2d"]["S5"]["Motion 01_01"]
    errors = np.linalg.norm(np.array(made) - np.array(exact), axis=-1)
    assert 0.5 < np.median(errors) < 30


def test_the_two_formats_are_compared_and_the_performers_named(converted):
    result, out = converted
    lines = result.stdout.splitlines()
    (wrist,) = [line.split() for line in lines if line.strip().startswith("LWrist")]
    (knee,) = [line.split() for line in lines if line.strip().startswith("LKnee")]
    assert "1 takes compared that are in both formats" in result.stdout
    assert float(wrist[1]) < 0.1 and 0.5 < float(wrist[2]) < 5 and float(knee[2]) < 0.1  # mm
    told = (out / "CMU.txt").read_text(encoding="utf-8")
    for words in ("NSF EIA-0196217", "S5: 126 frames; performers (frames) 1 (126)", "test: 126 frames of 1 performers"):
        assert words in told and words in result.stdout
    about = load_archive(out / "data_3d_h36m.npz", ("about",))["about"]
    assert about["frames"] == {"S5": {1: 126}, "S1": {5: 126}, "S11": {7: 126}}
    assert "takes" in result.stderr and "cameras" in result.stderr  # progress bars


def test_whoever_loads_the_files_is_told_what_stands_behind_them(converted, tmp_path):
    told = []
    tell_about(converted[1] / "data_3d_h36m.npz", ["S1", "S5"], told.append)
    (line,) = told
    assert "CMU motion capture, not Human3.6M" in line and "252 frames of performers (frames) 1 (126), 5 (126)" in line
    np.savez(tmp_path / "data_3d_h36m.npz", positions_3d=np.zeros(3))
    tell_about(tmp_path / "data_3d_h36m.npz", ["S1"], told.append)
    assert len(told) == 1
    with pytest.raises(UserError, match="no action of S9"):  # no test performer but number 7
        load_h36m(converted[1], "gt", "S9")


def test_the_same_input_gives_the_same_bytes(tree, converted, tmp_path):
    """Also by another process, and with the archives unpacked."""
    other = tmp_path / "raw"
    for name in ("subjects/01/01.asf", "subjects/01/01_01.amc", "bvh/01/01_01.bvh"):
        acclaim.write(other / name, (tree / name).read_bytes().decode())
    with zipfile.ZipFile(tree / "cmuconvert-mb2-01-09.zip") as archive:
        archive.extractall(other / "x")
    with tarfile.open(tree / "allasfamc.tar.gz") as archive:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.4 has it
        archive.extractall(other / "a", **safely)
    command = [sys.executable, str(DATA / PROGRAM), "--root", str(other), "--out", str(tmp_path / "out")]
    subprocess.run(command, check=True, capture_output=True, timeout=300, cwd=tmp_path)
    names = sorted(path.name for path in converted[1].iterdir())
    assert names == ["CMU.txt", "data_2d_h36m_cpn_ft_h36m_dbb.npz", "data_2d_h36m_gt.npz", "data_3d_h36m.npz"]
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (converted[1] / name).read_bytes(), name


def test_random_cameras_write_custom_files(tree, tmp_path):
    result = run(PROGRAM, "--root", tree, "--out", tmp_path, "--cameras", "random", 3, "--detector", "old")
    assert result.returncode == 0, result.stderr
    clips, skeleton = load_custom(tmp_path, "cmu_gt", "train/*")
    assert skeleton.name == "h36m_17" and [c.subject for c in clips] == ["train/01"] * 3 + ["train/05"] * 3
    assert [c.subject for c in load_custom(tmp_path, "cmu", "test/*")[0]] == ["test/07"] * 3
    data, exact = (load_archive(tmp_path / f"data_{name}.npz") for name in ("3d_custom_cmu", "2d_custom_cmu_gt"))
    world = data["positions_3d"]["train/01"]["Motion 01_01"]
    assert placed(world, held(acclaim.joints(1, TIMES))).max() < 1e-4
    rows = data["cameras"]["train/01"]["Motion 01_01"]
    for row, pixels in zip(rows, exact["positions_2d"]["train/01"]["Motion 01_01"], strict=True):
        np.testing.assert_allclose(pixels, seen(row, world), atol=5e-3)
    assert len({row["focal_length"] for row in rows}) == 3


def test_a_long_walk_is_cut_where_the_cameras_lose_it(tmp_path):
    """Whoever walks ten metres is seen piece by piece; a piece starts where the last ended."""
    lines = acclaim.amc(4, 721).replace("\r\n", "\n").split("\n")
    roots = [n for n, line in enumerate(lines) if line.startswith("root ")]
    for frame, n in enumerate(roots):  # 10 m in 6 s, along x
        lines[n] = f"root {frame * 10 / 0.056444 / 720:.6f} 17 3 0 90 0"
    acclaim.write(tmp_path / "raw/02/02.asf", acclaim.asf())
    acclaim.write(tmp_path / "raw/02/02_01.amc", "\n".join(lines))
    result = run(PROGRAM, "--root", tmp_path / "raw", "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    takes = load_archive(tmp_path / "out" / "data_3d_h36m.npz")["positions_3d"]["S9"]
    names = [f"Motion 02_01 chunk{n}" for n in range(len(takes))]
    assert list(takes) == names and len(takes) >= 3
    assert sum(map(len, takes.values())) > 301 - 25 and min(map(len, takes.values())) >= 25
    for action in names:
        path = takes[action][:, 0, :2]
        assert np.linalg.norm(path[-1] - path[0]) == pytest.approx((len(path) - 1) / 50 * 10 / 6, rel=0.02)
    assert "nothing to train on" in result.stdout


def converted_archive(folder: Path, **meta) -> Path:
    rng = np.random.RandomState(0)
    still = acclaim.joints(9, np.zeros(1)) + [-1, -1.7, 0]
    still[:, H36M_17.index("Thorax")] -= [0, 0, 0.04]  # a bone's end
    clips = {f"S{n}/0{k}_jump_high": np.repeat(still, 60, 0) + rng.uniform(0, 0.001) for n, k in ((1, 9), (29, 2))}
    np.savez(folder / "more.npz", **{key: clip.astype(np.float32) for key, clip in clips.items()})
    parents = [-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15]
    about = {"fps": 50, "units": "m", "up": "z", "parents": parents} | meta
    (folder / "more_meta.json").write_text(json.dumps(about), encoding="utf-8")
    return folder / "more.npz"


def test_more_adds_performers_that_were_not_read(tree, tmp_path):
    result = run(PROGRAM, "--root", tree, "--out", tmp_path / "out", "--more", converted_archive(tmp_path))
    assert result.returncode == 0, result.stderr
    positions = load_archive(tmp_path / "out" / "data_3d_h36m.npz")["positions_3d"]
    assert list(positions["S5"]) == ["Motion 01_01"]  # performer 1 was read: not added
    assert list(positions["S11"]) == ["Run 07_02", "Jump 29_02"]
    added = positions["S11"]["Jump 29_02"][:, H36M_17_OF_32]
    thorax, *shoulders = (added[:, H36M_17.index(j)] for j in ("Thorax", "LShoulder", "RShoulder"))
    assert np.allclose(thorax, np.mean(shoulders, 0), atol=1e-5)
    path = converted_archive(tmp_path, fps=120)
    assert "120" in refusal(PROGRAM, tree, tmp_path / "no", "--more", path)
    path.with_name("more_meta.json").unlink()
    assert "more_meta.json: no such file" in refusal(PROGRAM, tree, tmp_path / "no", "--more", path)


def test_takes_at_60_hz_and_takes_left_out(tree, tmp_path):
    result = run(PROGRAM, "--root", tree, "--out", tmp_path, "--at-60", "01_01,5", "--leave-out", "7")
    assert result.returncode == 0, result.stderr
    positions = load_archive(tmp_path / "data_3d_h36m.npz")["positions_3d"]
    assert len(positions["S5"]["Motion 01_01"]) == 251 and len(positions["S1"]["Walk 05_01"]) == 251
    assert not positions["S11"]


def test_a_bvh_without_t_pose_keeps_its_frames_and_says_its_rate(tmp_path):
    text = acclaim.bvh(1, FRAMES, t_pose=False).replace(".0083333", ".0166667")
    acclaim.write(tmp_path / "raw/1_01.bvh", text)
    assert run(PROGRAM, "--root", tmp_path / "raw", "--out", tmp_path / "out").returncode == 0
    found = load_archive(tmp_path / "out" / "data_3d_h36m.npz")["positions_3d"]["S5"]["Motion 01_01"]
    half = acclaim.joints(1, np.arange(251) / 100)  # half as fast: the frames are 60 Hz's
    used = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
    assert len(found) == 251 and placed(found[:, used], held(half))[:, :8].max() < 1e-4


def test_human36m_itself_is_not_written_over(tree, tmp_path):
    np.savez(tmp_path / "data_3d_h36m.npz", positions_3d=np.zeros(3))
    before = (tmp_path / "data_3d_h36m.npz").read_bytes()
    result = run(PROGRAM, "--root", tree, "--out", tmp_path)
    assert result.returncode == 2 and "not made by this converter" in result.stderr
    assert (tmp_path / "data_3d_h36m.npz").read_bytes() == before


def change(old: str, new: str, count: int = 1):
    return lambda text: text.replace(old, new, count)


AMC, ASF, BVH = "subjects/01/01_01.amc", "subjects/01/01.asf", "bvh/01/01_01.bvh"


@pytest.mark.parametrize(
    ("name", "edit", "words"),
    [
        (AMC, lambda text: text[: len(text) // 2], "frame 151"),
        (AMC, change("\r\nltibia", "\r\nltibiae"), "'ltibiae"),
        (AMC, change(":DEGREES", ":RADIANS"), "in degrees"),
        (AMC, change("\r\n17\r\n", "\r\n18\r\n"), "comes frame 18"),
        (AMC, lambda text: text.split("\r\n1\r\n")[0], "frame 0"),
        (AMC, lambda text: re.sub(r"\nltibia \S+", "\nltibia nan", text, count=1), "ltibia has values"),
        (AMC, change("\r\nltibia ", "\r\nltibia e"), "could not convert"),
        (AMC, lambda text: "#\r\n:FULLY-SPECIFIED\r\n:DEGREES\r\n1\r\nroot 1 2 3\r\n", "does not fit the skeleton"),
        (ASF, change("length 0.45", "length 45"), "no joints of a person in metres"),
        (ASF, change("length 2.06 ", "length 3.06 "), "not one performer"),
        (ASF, change(":hierarchy", ":hierarchie"), "no :hierarchy"),
        (ASF, change("dof rx ry rz", "dof rx ry l"), "lfemur"),
        (ASF, change("axis XYZ", "axis ZYX"), "a root of another form"),
        (ASF, change("name lclavicle", "name lcollar"), "lclavicle"),
        (ASF, lambda text: "nothing", "not an Acclaim skeleton"),
        (BVH, change("LeftUpLeg", "LeftHip"), "3ds Max"),
        (BVH, change(".0083333", ".0100000"), "100.00 frames a second"),
        (BVH, lambda text: re.sub(r"\S+\n$", "nan\n", text), "NaN"),
        (BVH, lambda text: text[:-5000], "not a readable BVH"),
        (BVH, change("Frames: 302", "Frames: 301"), "not a readable BVH"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, name, edit, words):
    texts = {ASF: acclaim.asf(), AMC: acclaim.amc(1, FRAMES), BVH: acclaim.bvh(1, FRAMES)}
    changed = edit(texts[name])
    assert changed != texts[name]
    for path, text in (texts | {name: changed}).items():
        acclaim.write(tmp_path / "raw" / path, text)
    line = refusal(PROGRAM, tmp_path / "raw", tmp_path / "out")
    assert words in line and Path(name).stem in line


def test_wrong_folders_and_flags(tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    assert refusal(PROGRAM, raw, out) == f"error: {raw}: no such folder"
    raw.mkdir()
    assert "no NN_TT.amc and no NN_TT.bvh" in refusal(PROGRAM, raw, out)
    (raw / "all.zip").write_bytes(b"PK is not enough")
    assert "all.zip: cut off" in refusal(PROGRAM, raw, out)
    (raw / "all.zip").unlink()
    (raw / "all.tar.gz").write_bytes(gzip.compress(b"this is no tar archive"))
    assert "all.tar.gz: not a readable tar archive" in refusal(PROGRAM, raw, out)
    (raw / "all.tar.gz").write_bytes(b"<html>sign in</html>")
    assert "a web page" in refusal(PROGRAM, raw, out)
    (raw / "all.tar.gz").unlink()
    acclaim.write(raw / "08_01.amc", acclaim.amc(1, 3))
    assert "no skeleton 08.asf" in refusal(PROGRAM, raw, out)
    assert "N from 1 to 100" in refusal(PROGRAM, raw, out, "--cameras", "random", "0")
    assert "random N" in refusal(PROGRAM, raw, out, "--cameras", "fisheye")
    assert run(PROGRAM, "--root", raw, "--out", out, "--at-60", "sixty").returncode == 2


def test_formats_of_other_lengths_are_told_and_not_compared(tmp_path):
    for path, text in ((ASF, acclaim.asf()), (AMC, acclaim.amc(1, 80)), (BVH, acclaim.bvh(1, 79))):
        acclaim.write(tmp_path / "raw" / path, text)
    result = run(PROGRAM, "--root", tmp_path / "raw", "--out", tmp_path / "out")
    assert result.returncode == 0 and "compared that are in both" not in result.stdout
    assert "01_01: 80 frames in the .amc, 79 in the .bvh without its T-pose; not compared" in result.stdout


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded files are not here")
def test_recorded_files_agree(tmp_path):
    """A take of the database itself in both formats: 1 mm below the thorax, 5 mm above."""
    with tarfile.open(RECORDED / "asfamc_01_03.tar.gz") as archive:
        for name in ("subjects/03/03.asf", "subjects/03/03_02.amc"):
            acclaim.write(tmp_path / "raw" / name, archive.extractfile(name).read().decode())
    with tarfile.open(RECORDED / "bvh_03.tar.gz") as archive:
        acclaim.write(tmp_path / "raw/03/03_02.bvh", archive.extractfile("03/03_02.bvh").read().decode())
    result = run(PROGRAM, "--root", tmp_path / "raw", "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith("  ")][1:18]
    assert max(float(row[1]) for row in rows) < 0.01 and max(float(row[2]) for row in rows) < 5
    assert max(float(row[2]) for row in rows[:8]) < 0.01 and "more than expected" not in result.stdout
