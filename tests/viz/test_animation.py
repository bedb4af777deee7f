from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from common.datasets.h36m_cameras import h36m_cameras
from common.errors import UserError
from common.files.video import read_frames, video_info, write_video
from common.geometry.skeleton import COCO_17, H36M_17
from common.viz.animation import animate, animate_forward, animate_grid, animate_reverse
from common.viz.draw import LIGHT
from common.viz.view import view_from
from tests.viz.poses import STANDING, clip

CAMERA = h36m_cameras("S11")[2]


def mask(image: np.ndarray, side: str) -> np.ndarray:
    colour = np.array([int(LIGHT[side][i : i + 2], 16) for i in (1, 3, 5)])
    return np.abs(image.astype(int) - colour).sum(-1) < 60


def shape_of(image: np.ndarray, side: str) -> float:
    """Width over height of what is drawn in a side's colour."""
    rows, columns = np.nonzero(mask(image, side))
    return np.ptp(columns) / np.ptp(rows)


def expected_shape(pose: np.ndarray, joints: list[str]) -> float:
    points = view_from(CAMERA).project(pose[[H36M_17.index(joint) for joint in joints]])
    return np.ptp(points[:, 0]) / np.ptp(points[:, 1])


def test_what_is_drawn_as_a_reconstruction_is_the_prediction(tmp_path):
    truth = np.stack([STANDING] * 3)
    prediction = truth.copy()
    prediction[..., H36M_17.index("LWrist"), :] = [0.9, 0.1, 0]  # not the truth, nor near it
    path = animate(tmp_path / "a.gif", H36M_17, truth[..., :2], truth, prediction, camera=CAMERA, fps=10)
    with Image.open(path) as gif:
        image = np.asarray(gif.convert("RGB"))
    image = image[int(0.12 * len(image)) : int(0.9 * len(image))]  # without the legend
    third = image.shape[1] // 3
    joints = [joint for joint in H36M_17.joints if joint.startswith("L")] + ["Thorax", "Hip"]
    right, middle = image[:, 2 * third :], image[:, third : 2 * third]
    assert shape_of(right, "left") == pytest.approx(expected_shape(prediction[0], joints), rel=0.04)
    assert shape_of(middle, "left") == pytest.approx(expected_shape(STANDING, joints), rel=0.04)
    assert expected_shape(prediction[0], joints) > 1.2 * expected_shape(STANDING, joints)


def count(path: Path) -> int:
    if path.suffix == ".gif":
        with Image.open(path) as gif:
            return gif.n_frames
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_skip_limit_downsample_and_rate(tmp_path, ending):
    poses = clip(20)
    path = animate(
        tmp_path / f"a{ending}", H36M_17, poses[..., :2], poses, poses + 0.01, hypotheses=poses[None].repeat(3, 0),
        fps=20, size=1.3, skip=4, limit=6, downsample=2, caption="SYNTHETIC", roots=poses[:, 3],
    )  # fmt: skip
    assert count(path) == 6
    if ending == ".mp4":
        info = video_info(path)
        assert info.fps == 10 and info.width % 2 == 0 and info.height % 2 == 0
    else:
        with Image.open(path) as gif:
            assert gif.info["duration"] == 100 and gif.info["loop"] == 0
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_frames_of_the_video_are_shown_in_step(tmp_path):
    shades = [20, 60, 100, 140, 180, 220]
    video = write_video(tmp_path / "in.mp4", (np.full((90, 160, 3), s, np.uint8) for s in shades), 10)
    poses = clip(6)
    keypoints = poses[..., :2] * 0  # in the middle, out of the way of the corner
    path = animate(
        tmp_path / "out.mp4", H36M_17, keypoints, None, poses, video=video, fps=10, size=1.5, skip=1, downsample=2
    )
    seen = []
    for frame in read_frames(path):
        height = len(frame)
        seen.append(int(frame[height // 2, 20].mean()))
    np.testing.assert_allclose(seen, shades[1::2], atol=4)


def test_black_without_a_video_and_another_input_skeleton(tmp_path):
    poses = clip(2)
    path = animate(tmp_path / "a.mp4", H36M_17, poses[..., :2], None, poses, size=1.5, input_skeleton=COCO_17)
    frame = next(read_frames(path))
    assert frame[len(frame) // 2, 20].max() < 12


def test_both_diffusion_processes(tmp_path):
    states = np.random.default_rng(0).normal(0, 1, (3, 4, 17, 3))
    path = animate_forward(tmp_path / "f.mp4", H36M_17, STANDING, states[0], [0, 25, 50, 75], camera=CAMERA, size=1.5)
    assert count(path) == 4 and video_info(path).fps == 2
    path = animate_reverse(tmp_path / "r.gif", H36M_17, states, states, truth=STANDING, camera=CAMERA, size=1.5)
    assert count(path) == 4
    assert count(animate_reverse(tmp_path / "one.mp4", H36M_17, states[:1], states[:1], size=1.5)) == 4


def test_grid_moves(tmp_path):
    truth = np.stack([clip(5, seed) for seed in range(3)])
    predictions = np.stack([truth + 0.05, truth - 0.05])
    path = animate_grid(
        tmp_path / "g.mp4", H36M_17, ["a", "b"], ["x", "y", "z"], predictions, truth, cameras=CAMERA, width=3
    )
    frames = list(read_frames(path))
    assert len(frames) == 5 and abs(frames[0].astype(int) - frames[4]).max() > 100


def test_wrong_requests_are_told_before_any_work(tmp_path):
    poses = clip(3)
    with pytest.raises(UserError, match=r"ends in \.mp4, \.webm or \.gif"):
        animate(tmp_path / "a.avi", H36M_17, poses[..., :2], poses, poses)
    with pytest.raises(UserError, match="no frames to draw"):
        animate(tmp_path / "a.gif", H36M_17, poses[..., :2], poses, poses, skip=3)
    with pytest.raises(UserError, match="no such file"):
        animate(tmp_path / "a.gif", H36M_17, poses[..., :2], poses, poses, video=tmp_path / "none.mp4")
    assert not list(tmp_path.iterdir())
