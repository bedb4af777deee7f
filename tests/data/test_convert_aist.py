"""data/convert_aist.py, run as a program on a tree that these tests write from the layout's description.

It was not run on the official files. Nothing is imported from the converter.
"""

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from common.datasets.custom import load_custom
from common.files.reading import load_archive
from tests.converting import refusal, run
from tests.people import walker

PROGRAM = "convert_aist.py"
FRAMES = 40
SEQUENCES = {
    "gBR_sBM_cAll_d04_mBR0_ch01": "train",  # its view c05 is known to be bad
    "gPO_sFM_cAll_d10_mPO1_ch02": "train",
    "gLO_sBM_cAll_d13_mLO2_ch03": "val",
    "gHO_sBM_cAll_d20_mHO0_ch04": "test",
    "gJS_sBM_cAll_d20_mJS0_ch05": "test",  # on the list of those to be ignored
}
H17 = ["Hip", "RHip", "RKnee", "RFoot", "LHip", "LKnee", "LFoot", "Spine", "Thorax", "Nose", "Head"]
H17 += ["LShoulder", "LElbow", "LWrist", "RShoulder", "RElbow", "RWrist"]
COCO = ["Nose", "LEye", "REye", "LEar", "REar", "LShoulder", "RShoulder", "LElbow", "RElbow", "LWrist", "RWrist"]
COCO += ["LHip", "RHip", "LKnee", "RKnee", "LFoot", "RFoot"]


def dance(number: int) -> np.ndarray:
    """COCO's 17 joints (T, 17, 3), centimetres, y up."""
    walk = walker(FRAMES, 60.0, phase=number, place=(0.3 * number, 0.1))
    points = {joint: walk[:, H17.index(joint)] for joint in H17}
    side = points["LShoulder"] - points["RShoulder"]
    side /= np.linalg.norm(side, axis=-1, keepdims=True)
    for sign, letter in ((1, "L"), (-1, "R")):
        points[f"{letter}Eye"] = points["Nose"] + 0.03 * sign * side + [0, 0, 0.05]
        points[f"{letter}Ear"] = points["Nose"] + 0.07 * sign * side + [0, 0.08, 0.03]
    world = np.stack([points[joint] for joint in COCO], 1)
    return 100 * np.stack([world[..., 0], world[..., 2], -world[..., 1]], -1)


def camera(number: int) -> dict:
    """Nine cameras on a circle of 5 m; world to camera, cm, y up; a lens with k1."""
    angle = 2 * np.pi * number / 9
    centre = np.array([500 * np.sin(angle), 130.0, 500 * np.cos(angle)])
    forward = np.array([0, 90, 0]) - centre
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 1, 0])
    right /= np.linalg.norm(right)
    turn = np.stack([right, np.cross(forward, right), forward])
    return {
        "name": f"c{number + 1:02}",
        "size": [1920, 1080],
        "matrix": [[1500.0 + number, 0, 960], [0, 1490.0, 540], [0, 0, 1]],
        "rotation": Rotation.from_matrix(turn).as_rotvec().tolist(),
        "translation": (-turn @ centre).tolist(),
        "distortions": [-0.1, 0.0, 0.0, 0.0, 0.0],
    }


def pixels(row: dict, points: np.ndarray) -> np.ndarray:
    """OpenCV's model."""
    seen = points @ Rotation.from_rotvec(row["rotation"]).as_matrix().T + row["translation"]
    xy = seen[..., :2] / seen[..., 2:]
    r2 = (xy**2).sum(-1, keepdims=True)
    k1, k2, _, _, k3 = row["distortions"]
    bent = xy * (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3)
    return bent * [row["matrix"][0][0], row["matrix"][1][1]] + [row["matrix"][0][2], row["matrix"][1][2]]


def detections(points: np.ndarray, seed: int) -> np.ndarray:
    """(9, T, 17, 3): pixels with an error, and scores; in one view nothing is found for a while."""
    rng = np.random.RandomState(seed)
    found = np.stack([pixels(camera(n), points) + rng.normal(0, 2, points.shape[:2] + (2,)) for n in range(9)])
    found = np.concatenate([found, rng.uniform(0.5, 1, found.shape[:3] + (1,))], -1).astype(np.float32)
    found[3, 10:15, 9] = np.nan
    return found


def put(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(content, protocol=3))
    else:
        path.write_text(json.dumps(content) if path.suffix == ".json" else content, encoding="utf-8")


def write_tree(root: Path) -> None:
    for number, name in enumerate(SEQUENCES):
        points = dance(number)
        raw = points + np.nan
        put(root / "keypoints3d" / f"{name}.pkl", {"keypoints3d": raw, "keypoints3d_optim": points})
        two = {
            "keypoints2d": detections(points, number),
            "det_scores": np.ones((9, FRAMES)),
            "timestamps": np.arange(40),
        }
        put(root / "keypoints2d" / f"{name}.pkl", two)
        put(root / "motions" / f"{name}.pkl", {"smpl_poses": np.zeros((FRAMES, 72))})
    put(root / "cameras" / "setting1.json", [camera(n) for n in range(9)])
    put(root / "cameras" / "mapping.txt", "".join(f"{name} setting1\n" for name in SEQUENCES))
    for split in ("train", "val", "test"):
        names = "".join(f"{name}\n" for name, part in SEQUENCES.items() if part == split)
        put(root / "splits" / f"pose_{split}.txt", names)
        put(root / "splits" / f"crossmodal_{split}.txt", f"{list(SEQUENCES)[('train', 'val', 'test').index(split)]}\n")
    put(root / "ignore_list.txt", "gJS_sBM_cAll_d20_mJS0_ch05 \n")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("aist")
    write_tree(folder / "raw" / "aist_plusplus_final")
    result = run(PROGRAM, "--root", folder / "raw", "--out", folder / "out")
    assert result.returncode == 0, result.stderr
    return result, folder / "out"


def test_official_splits_and_names(converted):
    positions = load_archive(converted[1] / "data_3d_custom_aist.npz")["positions_3d"]
    assert {key: list(actions) for key, actions in positions.items()} == {
        "train/d04": ["Break sBM mBR0 ch01"],
        "train/d10": ["Pop sFM mPO1 ch02"],
        "val/d13": ["Lock sBM mLO2 ch03"],
        "test/d20": ["House sBM mHO0 ch04"],
    }
    assert "1 ignored" in converted[0].stdout and "c05: known to be bad" in converted[0].stdout
    assert [len(load_custom(converted[1], "aist", f"{s}/*")[0]) for s in ("train", "val", "test")] == [17, 9, 9]


def test_joints_are_metres_z_up_by_the_rule(converted):
    world = load_archive(converted[1] / "data_3d_custom_aist.npz")["positions_3d"]["train/d10"]["Pop sFM mPO1 ch02"]
    coco = dance(1) / 100
    coco = np.stack([coco[..., 0], -coco[..., 2], coco[..., 1]], -1)
    at = {joint: coco[:, COCO.index(joint)] for joint in COCO}
    hip, thorax = (at["LHip"] + at["RHip"]) / 2, (at["LShoulder"] + at["RShoulder"]) / 2
    expected = at | {"Hip": hip, "Thorax": thorax, "Spine": (hip + thorax) / 2, "Head": (at["LEye"] + at["REye"]) / 2}
    np.testing.assert_allclose(world, np.stack([expected[joint] for joint in H17], 1), atol=1e-5)
    assert world.dtype == np.float32 and 0.8 < world[:, 0, 2].mean() < 1.1


def test_detections_stay_as_they_are_and_the_3d_projects_onto_them(converted):
    two = load_archive(converted[1] / "data_2d_custom_aist.npz")
    assert two["metadata"]["layout_name"] == "coco"
    views = two["positions_2d"]["train/d10"]["Pop sFM mPO1 ch02"]
    np.testing.assert_array_equal(np.array(views), detections(dance(1), 1)[..., :2])
    clips, skeleton = load_custom(converted[1], "aist", "train/d10")
    assert skeleton.name == "h36m_17" and {clip.fps for clip in clips} == {60.0}
    import torch

    for number, clip in enumerate(clips):
        assert clip.camera.name == f"c{number + 1:02}"
        assert np.flatnonzero(~clip.valid).tolist() == ([10, 11, 12, 13, 14] if number == 3 else [])
        projected = clip.camera.project(torch.from_numpy(clip.positions_3d)).numpy()
        found = (clip.keypoints_2d + [1, 1080 / 1920]) * 960
        errors = np.linalg.norm(projected - found, axis=-1)[clip.valid]
        assert 0.5 < np.median(errors) < 4  # the detections' own error


def test_the_pinhole_and_its_lens_are_kept(converted):
    """The world points of the files through the stored camera, against OpenCV's model of the original."""
    data = load_archive(converted[1] / "data_3d_custom_aist.npz")
    from tests.converting import seen

    coco = dance(1) / 100
    coco = np.stack([coco[..., 0], -coco[..., 2], coco[..., 1]], -1)
    for number, row in enumerate(data["cameras"]["train/d10"]["Pop sFM mPO1 ch02"]):
        np.testing.assert_allclose(seen(row, coco), pixels(camera(number), dance(1)), atol=1e-6)


def test_other_split_cameras_and_zips(tmp_path):
    write_tree(tmp_path / "tree")
    (tmp_path / "raw").mkdir()
    for folder in ("keypoints3d", "keypoints2d", "cameras", "splits", "motions"):
        with zipfile.ZipFile(tmp_path / "raw" / f"{folder}.zip", "w") as archive:
            for path in sorted((tmp_path / "tree" / folder).iterdir()):
                archive.write(path, f"{folder}/{path.name}")
    arguments = ["--split", "crossmodal", "--cameras", "c02,c05", "--leave-out", "gPO_sFM_cAll_d10_mPO1_ch02"]
    result = run(PROGRAM, "--root", tmp_path / "raw", "--out", tmp_path / "out", *arguments)
    assert result.returncode == 0, result.stderr
    assert "no ignore_list.txt" in result.stdout
    clips = load_custom(tmp_path / "out", "aist")[0]
    assert [(clip.subject, clip.camera.name) for clip in clips] == [
        ("train/d04", "c02"),
        ("test/d13", "c02"),
        ("test/d13", "c05"),
    ]


def test_a_view_that_does_not_fit_is_left_out(tmp_path):
    write_tree(tmp_path / "raw")
    name = "gHO_sBM_cAll_d20_mHO0_ch04"
    two = detections(dance(3), 3)
    two[6] = two[6][::-1] + 80
    two[7] = np.nan
    put(tmp_path / "raw/keypoints2d" / f"{name}.pkl", {"keypoints2d": two})
    result = run(PROGRAM, "--root", tmp_path / "raw", "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert f"{name} c07: the 3D is" in result.stdout and f"{name} c08: no frame with all joints" in result.stdout
    assert len(load_custom(tmp_path / "out", "aist", "test/d20")[0]) == 7


NAME = "gPO_sFM_cAll_d10_mPO1_ch02"


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        (f"keypoints3d/{NAME}.pkl", {"keypoints3d_optim": dance(1)[:, :13]}, "(40, 13, 3), expected"),
        (f"keypoints3d/{NAME}.pkl", {"keypoints3d": dance(1)}, "keypoints3d_optim"),
        (f"keypoints3d/{NAME}.pkl", {"keypoints3d_optim": 10 * dance(1)}, "no joints of a person in metres"),
        (f"keypoints2d/{NAME}.pkl", {"keypoints2d": np.zeros((9, 39, 17, 3))}, "39 frames of 2D, 40 of 3D"),
        (f"keypoints2d/{NAME}.pkl", {"keypoints2d": np.zeros((9, 40, 133, 3))}, "(9, 40, 133, 3), expected"),
        (f"keypoints2d/{NAME}.pkl", {"keypoints2d": np.ones((9, 40, 17, 3))}, "no view's detections"),
        (f"keypoints2d/{NAME}.pkl", {"keypoints2d": Path("x")}, "pathlib"),
        ("cameras/setting1.json", [camera(n) for n in range(8)], "8 cameras"),
        ("cameras/setting1.json", [camera(n) | {"rotation": [1, 2]} for n in range(9)], "setting1.json"),
        ("cameras/setting1.json", [camera(n) | {"distortions": [0, 0, 0.1, 0, 0]} for n in range(9)], "tangential"),
        ("cameras/mapping.txt", "one two three\n", "a sequence and a setting"),
        ("cameras/mapping.txt", f"{NAME} setting9\n", "no known setting"),
        ("splits/pose_val.txt", "not_a_sequence\n", "no name of a sequence"),
        ("splits/pose_val.txt", "gLO_sBM_cAll_d14_mLO2_ch03\n", "--part takes what is there"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, path, content, words):
    write_tree(tmp_path / "raw")
    put(tmp_path / "raw" / path, content)
    assert words in refusal(PROGRAM, tmp_path / "raw", tmp_path / "out")


def test_what_is_missing_is_told(tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    assert refusal(PROGRAM, raw, out) == f"error: {raw}: no such folder"
    write_tree(raw)
    assert "c01, c02" in refusal(PROGRAM, raw, out, "--cameras", "c10")
    (raw / "splits" / "pose_test.txt").unlink()
    assert "no splits/pose_test.txt" in refusal(PROGRAM, raw, out)
    (raw / "keypoints2d" / f"{NAME}.pkl").write_bytes(b"\x80\x03not a pickle")
    put(raw / "splits" / "pose_test.txt", "\n")
    assert f"{NAME}.pkl" in refusal(PROGRAM, raw, out)
    (raw / "cameras" / "mapping.txt").unlink()
    assert "no cameras/mapping.txt" in refusal(PROGRAM, raw, out)
