"""data/convert_aspset.py, run as a program on a tree that these tests write from the layout's description.

It was not run on the official files. C3D is written byte by byte here, and nothing is imported from the converter.
"""

import json
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from common.datasets.custom import load_custom
from common.files.reading import load_archive
from tests.converting import refusal, run, seen
from tests.people import walker

PROGRAM = "convert_aspset.py"
FRAMES = 30
H17 = ["Hip", "RHip", "RKnee", "RFoot", "LHip", "LKnee", "LFoot", "Spine", "Thorax", "Nose", "Head"]
H17 += ["LShoulder", "LElbow", "LWrist", "RShoulder", "RElbow", "RWrist"]
LABELS = [
    f"{side}_{joint}" for side in ("right", "left") for joint in ("ankle", "knee", "hip", "wrist", "elbow", "shoulder")
]
LABELS += ["head_top", "head", "neck", "spine", "pelvis"]
CAMERAS = ("left", "mid", "right")
CLIPS = [("06f4", "0001", "train", "all"), ("06f4", "0002", "val", "all"), ("31c8", "0001", "train", "all")]
CLIPS += [("1e28", "0001", "test", "mid"), ("8a59", "0005", "test", "left")]


def recorded(number: int) -> np.ndarray:
    """The 17 joints of ASPset (T, 17, 3), millimetres: the left camera's frame, x right, y down, z forward."""
    walk = walker(FRAMES, 50.0, phase=number)
    at = {joint: walk[:, H17.index(joint)] for joint in H17}
    at |= {"neck": at["Thorax"] + [0, 0, 0.07], "head": at["Nose"], "pelvis": at["Hip"] + [0, 0, 0.1]}
    at |= {"head_top": at["Nose"] + [0, 0.02, 0.15], "spine": at["Spine"]}
    for label in LABELS[:12]:
        side, joint = label.split("_")
        at[label] = at[side[0].upper() + {"ankle": "Foot"}.get(joint, joint.capitalize())]
    world = np.stack([at[label] for label in LABELS], 1)
    return 1000 * (np.stack([world[..., 0], -world[..., 2], world[..., 1]], -1) + [0.4 * number, 1.5, 6.0])


def c3d(points: np.ndarray, labels=LABELS, rate=50.0, units="mm", skeleton="aspset_17j", order="<") -> bytes:
    """A C3D file: header, parameters POINT:*, then floats, by the format's description."""

    def parameter(name: str, kind: int, shape: list[int], data: bytes) -> bytes:
        body = struct.pack("bB", kind, len(shape)) + bytes(shape) + data + b"\0"
        return struct.pack("2b", len(name), 1) + name.encode() + struct.pack(f"{order}H", len(body) + 2) + body

    def text(values: list[str]) -> tuple[list[int], bytes]:
        width = max(map(len, values))
        return [width, len(values)], b"".join(value.ljust(width).encode() for value in values)

    body = struct.pack("2b", 5, -1) + b"POINT" + struct.pack(f"{order}H", 3) + b"\0"
    body += parameter("LABELS", -1, *text(labels))
    body += parameter("UNITS", -1, [len(units)], units.encode()) + parameter(
        "RATE", 4, [], struct.pack(f"{order}f", rate)
    )
    if skeleton:
        body += parameter("SKEL", -1, *text([skeleton]))
    blocks = -(-(4 + len(body)) // 512)
    body = bytes([1, 0x50, blocks, 84 if order == "<" else 86]) + body
    frames, count, _ = points.shape
    header = bytes([2, 0x50]) + struct.pack(f"{order}5HfHHf", count, 0, 1, frames, 0, -1.0, 2 + blocks, 0, rate)
    table = np.concatenate([np.nan_to_num(points), np.where(np.isnan(points[..., :1]), -1, 0)], -1)
    return header.ljust(512, b"\0") + body.ljust(512 * blocks, b"\0") + table.astype(f"{order}f4").tobytes()


def matrices(name: str) -> tuple[np.ndarray, np.ndarray]:
    """K (3, 4), pixels, and E (4, 4), world to camera, mm: the left camera's is the identity."""
    inner = np.array([[2800.0, 0, 1920, 0], [0, 2790, 1080, 0], [0, 0, 1, 0]])
    angle = {"left": 0.0, "mid": 0.4, "right": 0.9}[name]
    c, s = np.cos(angle), np.sin(angle)
    outer = np.eye(4)
    outer[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    middle = np.array([0, 0, 6000.0])  # the cameras stand on a circle about it
    outer[:3, 3] = middle - outer[:3, :3] @ middle
    return inner, outer


def pixels(name: str, points: np.ndarray) -> np.ndarray:
    inner, outer = matrices(name)
    seen = points @ outer[:3, :3].T + outer[:3, 3]
    return (seen @ inner[:, :3].T)[..., :2] / seen[..., 2:]


def write_tree(root: Path) -> None:
    for number, (subject, clip, split, _) in enumerate(CLIPS):
        part = root / ("test" if split == "test" else "trainval")
        (part / "joints_3d" / subject).mkdir(parents=True, exist_ok=True)
        (part / "joints_3d" / subject / f"{subject}-{clip}.c3d").write_bytes(c3d(recorded(number)))
        (part / "cameras" / subject).mkdir(parents=True, exist_ok=True)
        for name in CAMERAS:
            inner, outer = (matrix.ravel().tolist() for matrix in matrices(name))
            content = {"intrinsic_matrix": inner, "extrinsic_matrix": outer}
            (part / "cameras" / subject / f"{subject}-{name}.json").write_text(json.dumps(content), encoding="utf-8")
    (root / "splits.csv").write_text("".join(f"{','.join(row)}\n" for row in CLIPS), encoding="utf-8")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("aspset")
    write_tree(folder / "raw" / "ASPset-510")
    result = run(PROGRAM, "--root", folder / "raw", "--out", folder / "out")
    assert result.returncode == 0, result.stderr
    return result, folder / "out"


def z_up(points: np.ndarray) -> np.ndarray:
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1) / 1000


def human36m(points: np.ndarray) -> np.ndarray:
    """The rule in words: hips' and shoulders' middles, half way from neck to head, head and two fifths to its top."""
    at = {label: points[:, n] for n, label in enumerate(LABELS)}
    rows = {
        joint: at[f"{'left' if joint[0] == 'L' else 'right'}_{joint[1:].lower()}"]
        for joint in H17
        if joint[0] in "LR" and "Foot" not in joint
    }
    rows |= {"RFoot": at["right_ankle"], "LFoot": at["left_ankle"], "Spine": at["spine"]}
    rows |= {"Hip": (at["left_hip"] + at["right_hip"]) / 2, "Thorax": (at["left_shoulder"] + at["right_shoulder"]) / 2}
    rows |= {"Nose": (at["head"] + at["neck"]) / 2, "Head": at["head"] + 0.4 * (at["head_top"] - at["head"])}
    return np.stack([rows[joint] for joint in H17], 1)


def test_official_splits_and_cameras(converted):
    result, out = converted
    clips, skeleton = load_custom(out, "aspset")
    assert skeleton.name == "h36m_17" and {clip.fps for clip in clips} == {50.0}
    names = [(clip.subject, clip.action, clip.camera.name) for clip in clips]
    every = [(s, f"Clip {c}", n) for s, c in (("train/06f4", "0001"), ("train/31c8", "0001")) for n in CAMERAS]
    assert [name for name in names if name[0].startswith("train")] == every
    assert [name for name in names if name[0].startswith("test")] == [
        ("test/1e28", "Clip 0001", "mid"),
        ("test/8a59", "Clip 0005", "left"),
    ]
    assert len(load_custom(out, "aspset_gt", "val/*")[0]) == 3
    assert "train       2      2      6       60" in result.stdout


def test_joints_are_metres_z_up_by_the_rule(converted):
    positions = load_archive(converted[1] / "data_3d_custom_aspset.npz")["positions_3d"]
    for number, (subject, clip, split, _) in enumerate(CLIPS):
        world = positions[f"{split}/{subject}"][f"Clip {clip}"]
        np.testing.assert_allclose(world, z_up(human36m(recorded(number))), atol=1e-5)


def test_exact_keypoints_and_cameras_agree_with_the_files_matrices(converted):
    data = load_archive(converted[1] / "data_3d_custom_aspset.npz")
    exact = load_archive(converted[1] / "data_2d_custom_aspset_gt.npz")["positions_2d"]
    made = load_archive(converted[1] / "data_2d_custom_aspset.npz")["positions_2d"]
    rows, world = data["cameras"]["train/31c8"]["Clip 0001"], data["positions_3d"]["train/31c8"]["Clip 0001"]
    for n, name in enumerate(CAMERAS):
        expected = pixels(name, human36m(recorded(2)))
        np.testing.assert_allclose(exact["train/31c8"]["Clip 0001"][n], expected, atol=2e-3)
        np.testing.assert_allclose(seen(rows[n], world), expected, atol=5e-3)
        assert (rows[n]["res_w"], rows[n]["res_h"]) == (3840, 2160)
        errors = np.linalg.norm(made["train/31c8"]["Clip 0001"][n] - expected, axis=-1)
        assert 0.5 < np.median(errors) < 60


def test_archives_headings_gaps_and_other_orders(tmp_path):
    """As downloaded: .tar.gz with ASPset-510/ inside; a row of headings; a missing point; other orders of joints."""
    tree, raw = tmp_path / "ASPset-510", tmp_path / "raw"
    write_tree(tree)
    splits = tree / "splits.csv"
    splits.write_text("subject_id,clip_id,split,camera_id\n" + splits.read_text(encoding="utf-8"), encoding="utf-8")
    points = recorded(0)
    points[7, LABELS.index("left_knee")] = np.nan
    turned = c3d(points[:, ::-1], LABELS[::-1], order=">")
    (tree / "trainval/joints_3d/06f4/06f4-0001.c3d").write_bytes(turned)
    unnamed = c3d(recorded(1), [f"p{n}" for n in range(17)])
    (tree / "trainval/joints_3d/06f4/06f4-0002.c3d").write_bytes(unnamed)
    raw.mkdir()
    for part in ("trainval", "test"):
        for kind in ("cameras", "joints_3d"):
            with tarfile.open(raw / f"aspset510_v1_{part}-{kind}.tar.gz", "w:gz") as archive:
                archive.add(tree / part / kind, f"ASPset-510/{part}/{kind}")
    with tarfile.open(raw / "aspset510_v1_common-splits.tar.gz", "w:gz") as archive:
        archive.add(splits, "ASPset-510/splits.csv")
    (raw / "aspset510_v1_trainval-videos.tar.gz").write_bytes(b"not looked at")
    result = run(PROGRAM, "--root", raw, "--out", tmp_path / "out", "--detector", "old")
    assert result.returncode == 0, result.stderr
    positions = load_archive(tmp_path / "out" / "data_3d_custom_aspset.npz")["positions_3d"]
    for clip, number in (("train/06f4", 0), ("val/06f4", 1)):
        (world,) = positions[clip].values()
        expected = z_up(human36m(points if number == 0 else recorded(1)))
        np.testing.assert_allclose(world, expected, atol=1e-5)  # NaN where the point is missing
    clip = load_custom(tmp_path / "out", "aspset", "train/06f4")[0][0]
    assert np.flatnonzero(~clip.valid).tolist() == [7]


def test_without_the_test_joints_the_rest_is_written(tmp_path):
    write_tree(tmp_path / "raw")
    for path in (tmp_path / "raw/test/joints_3d").rglob("*.c3d"):
        path.unlink()
    result = run(PROGRAM, "--root", tmp_path / "raw", "--out", tmp_path / "out")
    assert result.returncode == 0 and "not there: 2 clips" in result.stdout and "(test)" in result.stdout
    (tmp_path / "raw/trainval/joints_3d/31c8/31c8-0001.c3d").unlink()
    assert "31c8-0001.c3d" in refusal(PROGRAM, tmp_path / "raw", tmp_path / "no")
    assert run(PROGRAM, "--root", tmp_path / "raw", "--out", tmp_path / "out", "--part").returncode == 0


CLIP, CAMERA = "trainval/joints_3d/31c8/31c8-0001.c3d", "trainval/cameras/31c8/31c8-mid.json"


def camera(inner=None, outer=None) -> bytes:
    own = matrices("mid")
    values = [(own[n] if m is None else np.array(m)).ravel().tolist() for n, m in enumerate((inner, outer))]
    return json.dumps(dict(zip(("intrinsic_matrix", "extrinsic_matrix"), values, strict=True))).encode()


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        (CLIP, b"nothing", "not a C3D file"),
        (CLIP, c3d(recorded(0))[:3000], "cut off"),
        (CLIP, c3d(recorded(0))[:515] + b"\x55" + c3d(recorded(0))[516:], "not known here"),
        (CLIP, c3d(recorded(0), rate=60.0), "60 Hz"),
        (CLIP, c3d(recorded(0), units="m"), "in 'm'"),
        (CLIP, c3d(recorded(0) / 1000), "no joints of a person in metres"),
        (CLIP, c3d(recorded(0)[:, :16], LABELS[:16]), "16 points"),
        (CLIP, c3d(recorded(0), skeleton="other_17"), "skeleton other_17"),
        (CLIP, c3d(recorded(0), [f"p{n}" for n in range(17)], skeleton=""), "skeleton unnamed"),
        (CLIP, c3d(recorded(0) * np.linspace(0.4, 1.6, FRAMES)[:, None, None]), "not one person's joints"),
        (CAMERA, b"{", "31c8-mid.json"),
        (CAMERA, b'{"intrinsic_matrix": [1, 2]}', "31c8-mid.json"),
        (CAMERA, camera(outer=2 * np.eye(4)), "no rotation"),
        (CAMERA, camera(inner=matrices("mid")[0] / 3840), "not in pixels"),
        (CAMERA, camera(inner=matrices("mid")[0] + 200 * np.eye(3, 4, 1)), "no plain camera"),
        ("splits.csv", b"a,b\n", "expected subject, clip, split and camera"),
        ("splits.csv", b"31c8,0001,train,top\n", "'31c8,0001,train,top'"),
        ("splits.csv", b"31c8,0009,train,all\n", "31c8-0009.c3d"),
        ("splits.csv", b"\n", "no rows"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, path, content, words):
    write_tree(tmp_path / "raw")
    (tmp_path / "raw" / path).write_bytes(content)
    assert words in refusal(PROGRAM, tmp_path / "raw", tmp_path / "out")


def test_what_is_missing_is_told(tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    assert refusal(PROGRAM, raw, out) == f"error: {raw}: no such folder"
    raw.mkdir()
    assert "no splits.csv" in refusal(PROGRAM, raw, out)
    write_tree(raw)
    (raw / CAMERA).unlink()
    assert "no cameras/31c8/31c8-mid.json" in refusal(PROGRAM, raw, out)
