"""Data of one's own: any skeleton, any number of cameras, and errors that say what to mend."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from common.datasets.checks import select_subjects
from common.datasets.custom import (
    camera_row,
    load_custom,
    load_skeleton,
    read_cameras,
    write_custom_2d,
    write_custom_3d,
)
from common.datasets.windows import Windows
from common.errors import UserError
from common.geometry.camera import project
from common.geometry.skeleton import COCO_17, H36M_17, Skeleton, describe, joint_map, skeleton_of
from tests.fuzz.formats import _custom

ARM = Skeleton("arm", ("Hip", "Chest", "LHand", "RHand", "Top"), (-1, 0, 1, 1, 1), (2,), (3,), 0)
FRONT = {
    "id": "front", "res_w": 1280, "res_h": 720, "focal_length": (1100.0, 1110.0), "center": (650.0, 350.0),
    "radial_distortion": (-0.1, 0.02, 0.0), "tangential_distortion": (0.001, -0.002),
    "orientation": (2**-0.5, -(2**-0.5), 0.0, 0.0), "translation": (0.2, -4.0, 1.0),
}  # fmt: skip
SIDE = FRONT | {"id": "side", "orientation": (0.5, -0.5, -0.5, 0.5), "translation": (4.0, 0.0, 1.0)}


def motion(frames, joints, seed=0):
    rng = np.random.default_rng(seed)
    path = np.cumsum(rng.normal(0, 0.01, (frames, 1, 3)), 0)
    return (path + rng.uniform(-0.5, 0.5, (1, joints, 3)) + [0, 0, 1]).astype(np.float32)


def seen_by(camera, world):
    """Pixels (T, J, 2) by OpenCV's textbook model, written apart from the project's camera."""
    w, x, y, z = camera["orientation"]
    to_world = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    points = (world - np.array(camera["translation"])) @ to_world
    return points, points[..., :2] / points[..., 2:] * camera["focal_length"] + camera["center"]


def make(root, skeleton=ARM, layout="mine", cameras=(FRONT, SIDE), change_3d=None, change_2d=None, joints_2d=None):
    world = {"Ann": {"Wave 1": motion(40, len(skeleton))}, "Bob": {"Wave 1": motion(30, len(skeleton), 1)}}
    two = {
        s: {a: [seen_by(c, w)[1].astype(np.float32) for c in cameras] for a, w in actions.items()}
        for s, actions in world.items()
    }
    if joints_2d:
        rng = np.random.default_rng(2)
        two = {
            s: {a: [rng.uniform(10, 700, (len(v), joints_2d, 2)).astype(np.float32) for v in views]}
            for s, actions in two.items()
            for a, views in actions.items()
        }
    for change, target in ((change_3d, world), (change_2d, two)):
        if change:
            change(target)
    meta = {"layout_name": layout, "num_joints": joints_2d or len(skeleton), "keypoints_symmetry": [[2], [3]]}
    np.savez_compressed(root / "data_2d_custom_mine.npz", positions_2d=two, metadata=meta)
    write_custom_3d(root / "data_3d_custom_mine.npz", world, {"*": list(cameras)}, 30, skeleton)
    return world, two


def test_clips_and_skeleton(tmp_path):
    world, two = make(tmp_path)
    clips, skeleton = load_custom(tmp_path, "mine")
    assert [c.key for c in clips] == [f"{s}/Wave 1/{c}" for s in ("Ann", "Bob") for c in ("front", "side")]
    assert (skeleton.joints, skeleton.parents, skeleton.root) == (ARM.joints, ARM.parents, 0)
    assert skeleton.mirror == [0, 1, 3, 2, 4] and skeleton_of(describe(skeleton)) == skeleton
    clip = clips[1]
    assert clip.fps == 30 and clip.valid.all() and len(clip) == 40
    points, _ = seen_by(SIDE, world["Ann"]["Wave 1"])
    np.testing.assert_allclose(clip.positions_3d, points, atol=1e-5)
    pixels = two["Ann"]["Wave 1"][1]
    np.testing.assert_allclose(clip.keypoints_2d, pixels * 2 / 1280 - [1, 720 / 1280], atol=1e-5)
    ideal = torch.tensor(clip.camera.intrinsics)
    ideal[4:] = 0  # the 2D was made without a lens
    np.testing.assert_allclose(project(torch.from_numpy(clip.positions_3d), ideal), clip.keypoints_2d, atol=1e-4)


def test_another_skeleton_goes_through_windows_and_a_network(tmp_path):
    from common.models import build

    make(tmp_path)
    clips, skeleton = load_custom(tmp_path, "mine", ["Ann"])
    windows = Windows(clips, skeleton, 9)
    batch = windows.batch([0, 1, 2])
    network = build("mixste", frames=9, joints=len(skeleton), channels=16, depth=1)
    out = network(batch.keypoints_2d, torch.zeros(3, 2, 9, 5, 3), torch.zeros(3, dtype=torch.long))
    assert out.shape == (3, 2, 9, 5, 3)


def test_missing_annotations_are_invalid_frames(tmp_path):
    def gap(world):
        world["Ann"]["Wave 1"][5:8, 2] = np.nan

    make(tmp_path, change_3d=gap)
    clips, _ = load_custom(tmp_path, "mine")
    assert np.flatnonzero(~clips[0].valid).tolist() == [5, 6, 7] and np.isfinite(clips[0].positions_3d).all()


def test_a_known_tree_keeps_its_name_and_coco_is_mapped(tmp_path):
    _, two = make(tmp_path, H36M_17, "coco", joints_2d=17)
    clips, skeleton = load_custom(tmp_path, "mine")
    assert skeleton is H36M_17 and describe(skeleton) == "h36m_17"
    expected = joint_map(COCO_17, H36M_17) @ two["Ann"]["Wave 1"][0] * 2 / 1280 - [1, 720 / 1280]
    np.testing.assert_allclose(clips[0].keypoints_2d, expected, atol=1e-5)


def drop(world):
    del world["Ann"]["Wave 1"]


def millimetres(world):
    world["Ann"]["Wave 1"] *= 1000


def normalised(two):
    two["Ann"]["Wave 1"][0] /= 1000


def short(two):
    two["Ann"]["Wave 1"][0] = two["Ann"]["Wave 1"][0][:10]


def one_camera(two):
    two["Ann"]["Wave 1"].pop()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"change_2d": drop}, "Ann Wave 1: not in this file"),
        ({"change_3d": millimetres}, "millimetres"),
        ({"change_2d": normalised}, "pixels belong"),
        ({"change_2d": short}, "10 frames of 2D for 40"),
        ({"change_2d": one_camera}, "1 cameras"),
        ({"joints_2d": 7}, "expected \\(frames, 5 joints, 2\\)"),
        ({"cameras": (FRONT | {"focal_length": (1.1, 1.1)},)}, "not in pixels"),
        ({"cameras": (FRONT | {"orientation": (1, 1, 0, 0)},)}, "unit quaternion"),
        ({"cameras": (FRONT | {"center": (1,)},)}, "center must be 2 numbers"),
    ],
)
def test_what_does_not_fit(tmp_path, options, line):
    make(tmp_path, **options)
    with pytest.raises(UserError, match=line) as caught:
        load_custom(tmp_path, "mine")
    assert "\n" not in str(caught.value)


def test_missing_files_members_and_subjects(tmp_path):
    with pytest.raises(UserError, match="no such file.*custom_data.md"):
        load_custom(tmp_path, "mine")
    make(tmp_path)
    with pytest.raises(UserError, match="custom data in .*: mine"):
        load_custom(tmp_path, "yours")
    with pytest.raises(UserError, match="no subject Eve"):
        load_custom(tmp_path, "mine", ["Eve"])
    np.savez(tmp_path / "data_3d_custom_mine.npz", positions_3d=np.zeros(3))
    with pytest.raises(UserError, match="lacks cameras, fps, joints"):
        load_custom(tmp_path, "mine")


@pytest.mark.parametrize(
    ("parents", "left", "right", "line"),
    [
        ((-1, 0, 1), (2,), (3,), "name 5 joints"),
        ((-1, -1, 1, 1, 1), (2,), (3,), "exactly one root"),
        ((-1, 2, 3, 1, 0), (2,), (3,), "circle"),
        ((-1, 0, 1, 1, 1), (2,), (), "one length"),
        ((-1, 0, 1, 1, 1), (2,), (9,), "one length"),
    ],
)
def test_wrong_skeletons(tmp_path, parents, left, right, line):
    make(tmp_path)
    wrong = Skeleton("wrong", ARM.joints, parents, left, right, 0)
    world = {"Ann": {"Wave 1": motion(40, 5)}}
    write_custom_3d(tmp_path / "data_3d_custom_mine.npz", world, {"*": [FRONT, SIDE]}, 30, wrong)
    with pytest.raises(UserError, match=line):
        load_custom(tmp_path, "mine")


def test_the_example_of_the_document_runs(tmp_path, monkeypatch):
    page = Path(__file__).parents[2] / "docs" / "custom_data.md"
    code = re.search(r"```python\n(.*?)```", page.read_text("utf-8"), re.S).group(1)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(page), "exec"), {})
    pixels = np.random.default_rng(0).uniform(9, 700, (100, 4, 2)).astype(np.float32)
    np.savez(tmp_path / "data_2d_custom_mine.npz", positions_2d={"Ann": {"Waving": [pixels]}}, metadata={})
    clips, skeleton = load_custom(tmp_path, "mine")
    assert len(clips) == 1 and skeleton.joints[0] == "Shoulder" and (clips[0].positions_3d[..., 2] > 2).all()


def test_cameras_may_differ_between_actions(tmp_path):
    world, two = make(tmp_path)
    two["Ann"]["Wave 1"].pop(0)  # seen by the side camera alone
    np.savez_compressed(tmp_path / "data_2d_custom_mine.npz", positions_2d=two, metadata={})
    cameras = {"Ann": {"Wave 1": [SIDE]}, "Bob": {"*": [FRONT, SIDE]}}
    write_custom_3d(tmp_path / "data_3d_custom_mine.npz", world, cameras, 30, ARM)
    clips, _ = load_custom(tmp_path, "mine")
    assert [c.key for c in clips] == ["Ann/Wave 1/side", "Bob/Wave 1/front", "Bob/Wave 1/side"]
    np.testing.assert_allclose(clips[0].positions_3d, seen_by(SIDE, world["Ann"]["Wave 1"])[0], atol=1e-5)
    write_custom_3d(tmp_path / "data_3d_custom_mine.npz", world, {"*": {"Jump": [FRONT]}}, 30, ARM)
    with pytest.raises(UserError, match="no cameras for Ann Wave 1"):
        load_custom(tmp_path, "mine")


def test_one_3d_file_has_several_sources_of_2d(tmp_path):
    world, two = make(tmp_path)
    write_custom_2d(tmp_path / "data_2d_custom_mine_my_eyes.npz", two, ARM, "own", about={"performers": [1]})
    clips, _ = load_custom(tmp_path, "mine_my_eyes")
    assert len(clips) == 4
    (tmp_path / "data_3d_custom_mine.npz").unlink()
    with pytest.raises(UserError, match="data_3d_custom_mine_my_eyes.npz: no such file"):
        load_custom(tmp_path, "mine_my_eyes")


def test_the_skeleton_alone(tmp_path):
    make(tmp_path)
    assert load_skeleton(tmp_path, "mine") == load_custom(tmp_path, "mine")[1]
    np.savez(tmp_path / "data_3d_custom_mine.npz", joints=["a"])
    with pytest.raises(UserError, match="lacks parents, left, right"):
        load_skeleton(tmp_path, "mine")


def test_subjects_by_their_beginning(tmp_path):
    assert select_subjects(["train/1", "test/2", "train/3"], ["train/*", "test/2"], "x") == [
        "train/1",
        "train/3",
        "test/2",
    ]
    with pytest.raises(UserError, match=r"no subject val/\*; it has train/1"):
        select_subjects(["train/1"], "val/*", "x")
    make(tmp_path)
    assert {c.subject for c in load_custom(tmp_path, "mine", "B*")[0]} == {"Bob"}


def test_a_camera_of_its_matrices(tmp_path):
    """A world point through rotation, translation and K by hand, against the clip that the loader makes."""
    turn = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # world to camera: x = -Y, y = -Z, z = X
    shift = np.array([0.3, 1.0, 4.0])
    matrix = np.array([[900.0, 0, 600], [0, 910, 420], [0, 0, 1]])
    world = motion(20, len(ARM))
    seen = world @ turn.T + shift
    pixels = (seen @ matrix.T)[..., :2] / seen[..., 2:]
    row = camera_row("c", (1200, 800), matrix, turn, shift)
    write_custom_3d(tmp_path / "data_3d_custom_m.npz", {"A": {"B": world}}, {"*": [row]}, 25, ARM)
    write_custom_2d(tmp_path / "data_2d_custom_m.npz", {"A": {"B": [pixels]}}, ARM, "own")
    (clip,) = load_custom(tmp_path, "m")[0]
    np.testing.assert_allclose(clip.positions_3d, seen, atol=1e-5)
    projected = clip.camera.project(torch.from_numpy(clip.positions_3d)).numpy()
    np.testing.assert_allclose(projected, pixels, atol=2e-3)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"focal_length": (1e30, 1e30)}, "focal_length holds 1e\\+30"),
        ({"focal_length": (np.nan, 900.0)}, "focal_length must be 2 numbers"),
        ({"center": (1e30, 0.0)}, "center holds"),
        ({"radial_distortion": (1e30, 0, 0)}, "radial_distortion holds"),
        ({"translation": (1e30, 0, 0)}, "translation holds"),
        ({"res_w": 0}, "an image of 0 x"),
        ({"res_w": 1, "res_h": 1}, "far outside the 1 x 1 picture"),
    ],
)
def test_cameras_that_cannot_be_are_refused(tmp_path, change, told):
    _custom(tmp_path)
    with np.load(tmp_path / "data_3d_custom_x.npz", allow_pickle=True) as archive:
        members = {name: archive[name] for name in archive.files}
    members["cameras"].item()["*"][0].update(change)
    np.savez(tmp_path / "data_3d_custom_x.npz", **members)
    with pytest.raises(UserError, match=told):
        load_custom(tmp_path, "x")


def test_two_cameras_of_one_name_are_refused():
    """Their clips would have one key: one of them would be lost in the report."""
    row = camera_row("a", (1000, 800), np.diag([900.0, 900, 1]) + np.eye(3, k=2) * 500, np.eye(3), np.zeros(3))
    with pytest.raises(UserError, match="two cameras of subject S1 have the id a"):
        read_cameras({"*": [row, row]}, "S1", "Walk", "x.npz")


def behind(world):
    world["Ann"]["Wave 1"] *= np.float32([1, -1, 1])
    world["Ann"]["Wave 1"] -= np.float32([0, 9, 0])


def aside(world):
    world["Ann"]["Wave 1"] += np.float32([1.5, 0, 0])


@pytest.mark.parametrize(("change", "line"), [(behind, "behind the camera"), (aside, "pixels from the 2D")])
def test_3d_that_is_not_where_its_2d_is(tmp_path, change, line):
    """As of a quaternion of the wrong direction, or a camera's place in another unit."""
    make(tmp_path, change_3d=change)
    with pytest.raises(UserError, match=f"Ann Wave 1 .*{line}.*orientation"):
        load_custom(tmp_path, "mine")
