"""HumanEva-I: the loader on files written here, its refusals, and the synthetic set in the same layout."""

import numpy as np
import pytest
import torch

from common.datasets.checks import select_actions
from common.datasets.clips import Clip
from common.datasets.h36m_cameras import h36m_cameras
from common.datasets.humaneva import TEST_SUBJECTS, TRAIN_SUBJECTS, h36m_as_humaneva, load_humaneva
from common.datasets.humaneva_cameras import humaneva_cameras
from common.datasets.synthetic.humaneva import FOCAL, SHORT, write_humaneva
from common.datasets.windows import Windows
from common.errors import UserError
from common.geometry.camera import quaternion_rotate
from common.geometry.skeleton import COCO_17, HUMANEVA_15

POSE = np.random.RandomState(0).uniform(-0.8, 0.8, (15, 3)).astype(np.float32)
CHUNK = "Walking 1 chunk0"


def write(folder, positions=None, keypoints=None, source="gt", joints=15):
    """Both files: one subject, one chunk of 10 frames, unless told otherwise."""
    if positions is None:
        positions = {"Train/S1": {CHUNK: np.tile(POSE, (10, 1, 1))}}
    if keypoints is None:
        pixels = np.random.RandomState(1).uniform(0, 480, (3, 10, joints, 2)).astype(np.float32)
        keypoints = {"Train/S1": {CHUNK: list(pixels)}}
    np.savez_compressed(folder / "data_3d_humaneva15.npz", positions_3d=positions)
    np.savez_compressed(
        folder / f"data_2d_humaneva15_{source}.npz", positions_2d=keypoints, metadata={"num_joints": joints}
    )
    return positions, keypoints


def test_clips(tmp_path):
    positions, keypoints = write(tmp_path)
    clips = load_humaneva(tmp_path, "gt", ["Train/S1"])
    assert [clip.camera.name for clip in clips] == ["C1", "C2", "C3"]
    for number, clip in enumerate(clips):
        assert (clip.subject, clip.action, clip.action_name, clip.fps) == ("Train/S1", CHUNK, "Walking", 60.0)
        assert clip.camera.intrinsics is None and (clip.camera.width, clip.camera.height) == (640, 480)
        assert clip.keypoints_2d.dtype == clip.positions_3d.dtype == np.float32 and clip.valid.all()
        pixels = (clip.keypoints_2d + [1, 480 / 640]) * 320
        np.testing.assert_allclose(pixels, keypoints["Train/S1"][CHUNK][number], atol=1e-3)
        # Back to the world by the definition: rotate, then shift to the camera's place.
        camera = clip.camera
        world = quaternion_rotate(torch.tensor(camera.rotation), torch.from_numpy(clip.positions_3d))
        world = world + torch.tensor(camera.translation)
        np.testing.assert_allclose(world, positions["Train/S1"][CHUNK], atol=1e-5)
        assert (clip.positions_3d[..., 2] > 1).all()  # before the camera
    windows = Windows(clips, HUMANEVA_15, 27)
    assert not windows.has_camera and len(windows) == 3 and windows.mask.sum() == 30  # padded, counted once


def test_both_splits_have_the_same_cameras():
    assert humaneva_cameras("Train/S2") == humaneva_cameras("Validate/S2") == humaneva_cameras("S2")
    assert humaneva_cameras("S1")[1].translation == pytest.approx((0.8448131, -3.8052092, 1.5049929))
    for subject in ("S1", "S2", "S3"):
        for camera in humaneva_cameras(subject):
            assert abs(np.linalg.norm(camera.rotation) - 1) < 1e-6
    with pytest.raises(UserError, match="S4"):
        humaneva_cameras("Train/S4")


def test_coco_detections_become_fifteen_joints(tmp_path):
    _, keypoints = write(tmp_path, source="detectron_pt_coco", joints=17)
    clip = load_humaneva(tmp_path, "detectron_pt_coco", ["Train/S1"])[0]
    coco = dict(zip(COCO_17.joints, np.moveaxis(keypoints["Train/S1"][CHUNK][0], 1, 0), strict=True))
    ours = (clip.keypoints_2d + [1, 480 / 640]) * 320
    expected = {joint: coco[joint] for joint in HUMANEVA_15.joints if joint[1:] in ("Elbow", "Wrist", "Ankle", "Hip")}
    expected |= {"Pelvis": (coco["LHip"] + coco["RHip"]) / 2, "Head": coco["Nose"]}
    expected["Thorax"] = (coco["LShoulder"] + coco["RShoulder"]) / 2
    for joint, pixels in expected.items():
        np.testing.assert_allclose(ours[:, HUMANEVA_15.index(joint)], pixels, atol=1e-3)


def test_extra_channels_and_frames_of_2d_are_cut(tmp_path):
    pixels = np.random.RandomState(1).uniform(0, 480, (3, 13, 15, 3)).astype(np.float32)
    write(tmp_path, keypoints={"Train/S1": {CHUNK: list(pixels)}})
    assert load_humaneva(tmp_path, "gt", ["Train/S1"])[0].keypoints_2d.shape == (10, 15, 2)


def refused(tmp_path, source="gt", subjects="Train/S1"):
    with pytest.raises(UserError) as caught:
        load_humaneva(tmp_path, source, subjects)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_refusals(tmp_path):
    assert "data/README.MD" in refused(tmp_path) and "--demo" in refused(tmp_path)
    positions, keypoints = write(tmp_path)
    assert "2D sources" in refused(tmp_path, "cpn") and "gt" in refused(tmp_path, "cpn")
    assert "Train/S2" in refused(tmp_path, subjects="Train/S2")
    take, views = positions["Train/S1"][CHUNK], keypoints["Train/S1"][CHUNK]

    def with_3d(array):
        write(tmp_path, {"Train/S1": {CHUNK: array}}, keypoints)
        return refused(tmp_path)

    def with_2d(arrays, name=CHUNK):
        write(tmp_path, positions, {"Train/S1": {name: arrays}})
        return refused(tmp_path)

    assert "15 joints" in with_3d(np.zeros((10, 17, 3)))
    assert "millimetres" in with_3d(take * 1000)
    broken = take.copy()
    broken[3, 2] = np.nan
    assert "NaN" in with_3d(broken) and "Train/S1" in with_3d(broken)
    assert "frames of 2D" in with_2d([view[:9] for view in views])
    assert "pixels" in with_2d([view / 640 for view in views])
    assert "cameras" in with_2d(views[:2])
    assert CHUNK in with_2d(views, "Jog 1 chunk0")
    assert "15 joints" in with_2d([np.zeros((10, 17, 2))] * 3)
    write(tmp_path, positions, {"Train/S2": {}})
    assert "Train/S1" in refused(tmp_path)
    np.savez(tmp_path / "data_3d_humaneva15.npz", other=np.zeros(3))
    assert "layout" in refused(tmp_path)


def test_human36m_with_fifteen_joints():
    rng = np.random.RandomState(2)
    clip = Clip(
        "S1", "Walking 1", h36m_cameras("S1")[0], 50.0, rng.rand(4, 17, 2).astype(np.float32),
        rng.rand(4, 17, 3).astype(np.float32), np.ones(4, bool),
    )  # fmt: skip
    (mapped,) = h36m_as_humaneva([clip])
    published = [0, 8, 11, 12, 13, 14, 15, 16, 4, 5, 6, 1, 2, 3, 9]
    assert np.array_equal(mapped.positions_3d, clip.positions_3d[:, published])
    assert np.array_equal(mapped.keypoints_2d, clip.keypoints_2d[:, published])
    assert (mapped.camera, mapped.fps) == (clip.camera, 50.0)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("humaneva")
    write_humaneva(folder, seconds=1.0, progress=False)
    return folder


def test_synthetic_set_has_the_layout(synthetic):
    assert "SYNTHETIC" in (synthetic / "SYNTHETIC.txt").read_text(encoding="utf-8")
    for subjects in (TRAIN_SUBJECTS, TEST_SUBJECTS):
        exact, seen = (load_humaneva(synthetic, source, subjects) for source in ("gt", "detectron_pt_coco"))
        assert [clip.key for clip in exact] == [clip.key for clip in seen]
        assert {clip.subject for clip in exact} == set(subjects)
        notices = []
        wanted = select_actions(exact, ["Walk", "Jog"], notices.append)
        assert {clip.action_name for clip in wanted} == {"Walking", "Jog"} and len(notices) == 1
        assert min(map(len, exact)) == SHORT < 27 < max(map(len, exact))
        for a, b in zip(exact, seen, strict=True):
            # The made-up intrinsics: no lens, centre in the middle.
            x, y, z = np.moveaxis(a.positions_3d, -1, 0)
            np.testing.assert_allclose(a.keypoints_2d, FOCAL / 320 * np.stack([x / z, y / z], -1), atol=1e-4)
            assert np.abs(a.keypoints_2d[..., 0]).max() < 1 and np.abs(a.keypoints_2d[..., 1]).max() < 0.75
            noise = np.linalg.norm(a.keypoints_2d - b.keypoints_2d, axis=-1).mean() * 320
            assert 0.5 < noise < 12  # pixels


def test_synthetic_set_repeats_and_keeps_bones(synthetic, tmp_path):
    write_humaneva(tmp_path, seconds=1.0, progress=False)
    one, two = (load_humaneva(folder, "detectron_pt_coco", TRAIN_SUBJECTS) for folder in (synthetic, tmp_path))
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.keypoints_2d, b.keypoints_2d) and np.array_equal(a.positions_3d, b.positions_3d)
        thigh = a.positions_3d[:, HUMANEVA_15.index("LKnee")] - a.positions_3d[:, HUMANEVA_15.index("LHip")]
        assert np.ptp(np.linalg.norm(thigh, axis=-1)) < 1e-4
