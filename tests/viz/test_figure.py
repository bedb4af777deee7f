"""What a figure shows is what it was given: poses are read back from the bones drawn in its SVG file."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.datasets.h36m_cameras import h36m_cameras
from common.errors import UserError
from common.geometry.skeleton import COCO_17, H36M_17, SKELETONS
from common.viz.draw import DARK, LIGHT, bone_sides, joint_sides
from common.viz.figure import error_mm, grid_figure, late_steps, pose_figure, pose_image, reverse_process_figure
from common.viz.layout import Page
from common.viz.panels import PosePanel, limits_of
from common.viz.svg import read_poses
from common.viz.view import view_from
from tests.viz.poses import STANDING, clip, random_body

CAMERA = h36m_cameras("S11")[2]


def assert_shows(drawn: np.ndarray, pose: np.ndarray, view, root: int = 0) -> None:
    """Equal up to where the root stands: a tenth of a millimetre."""
    expected = view.project(pose)[:, :2]
    np.testing.assert_allclose(drawn - drawn[root], expected - expected[root], atol=1e-4)


def texts(path: Path) -> list[str]:
    return [node.text for node in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda s: s.name)
@pytest.mark.parametrize("camera", [None, CAMERA], ids=["level", "camera"])
def test_pose_figure_shows_input_prediction_hypotheses_and_truth(tmp_path, skeleton, camera):
    truth = np.stack([random_body(skeleton, seed) for seed in range(3)])  # (3, J, 3)
    hypotheses = truth + np.random.default_rng(1).normal(0, 0.1, (2, *truth.shape))
    prediction = hypotheses.mean(0) + 0.03  # is neither the truth nor a mean that the figure could make itself
    keypoints = truth[..., :2] / 4 + 0.1
    path = tmp_path / "poses.svg"
    written = pose_figure(
        path, skeleton, keypoints, truth, prediction, hypotheses, [2, 0], camera=camera, caption="SYNTHETIC"
    )
    assert written == [path]
    poses, view, side = read_poses(path), view_from(camera), view_from(camera, turn=90)
    for n in (2, 0):
        np.testing.assert_allclose(poses[f"frame{n}-input-keypoints"], keypoints[n], atol=1e-4)
        assert_shows(poses[f"frame{n}-prediction-pose"], prediction[n], view)
        assert_shows(poses[f"frame{n}-truth-pose"], truth[n], view)
        assert_shows(poses[f"frame{n}-side-pose"], prediction[n], side)
        assert_shows(poses[f"frame{n}-side-truth"], truth[n], side)
        for h in range(2):
            assert_shows(poses[f"frame{n}-prediction-hypothesis{h}"], hypotheses[h, n], view)
    assert not any(name.startswith("frame1-") for name in poses)
    words = texts(path)
    assert "SYNTHETIC" in words and "frame 2" in words
    assert f"{error_mm(prediction[2], truth[2]):.1f} mm" in words


def test_feet_stand_on_the_floor(tmp_path):
    truth = STANDING[None]
    path = tmp_path / "poses.svg"
    pose_figure(path, H36M_17, truth[..., :2], truth, truth, truth[None], [0], camera=None)
    view, foot = view_from(None), H36M_17.index("RFoot")  # the lowest joint of this body
    drawn = read_poses(path)["frame0-truth-pose"][foot]
    level = truth[0, foot] * [1, 0, 1]
    np.testing.assert_allclose(drawn, view.project(level)[:2], atol=1e-4)


def test_reverse_process_shows_start_two_late_steps_and_end(tmp_path):
    states = np.random.default_rng(0).normal(0, 1, (3, 6, 17, 3))
    written = reverse_process_figure(
        tmp_path / "viz.svg", H36M_17, STANDING[:, :2], states, aggregate=STANDING, truth=clip(1)[0]
    )
    assert written == [tmp_path / "viz.svg", tmp_path / "viz.png"] and all(path.stat().st_size for path in written)
    poses, view = read_poses(written[0]), view_from(None)
    assert {name.split("-")[0] for name in poses} == {"input", "step1", "step4", "step5", "step6"}
    for step in (1, 4, 5, 6):
        for h in range(3):
            assert_shows(poses[f"step{step}-hypothesis{h}"], states[h, step - 1], view)
    assert_shows(poses["step6-pose"], STANDING, view)
    assert f"{error_mm(STANDING, clip(1)[0]):.1f} mm" in texts(written[0])


def test_one_hypothesis_is_drawn_in_full(tmp_path):
    states = np.random.default_rng(0).normal(0, 1, (1, 2, 17, 3))
    path, _ = reverse_process_figure(tmp_path / "viz", H36M_17, STANDING[:, :2], states, camera=CAMERA)
    poses = read_poses(path)
    assert_shows(poses["step1-pose"], states[0, 0], view_from(CAMERA))
    assert_shows(poses["step2-pose"], states[0, 1], view_from(CAMERA))


def test_late_steps():
    assert late_steps(9) == [0, 6, 7, 8]
    assert late_steps(2) == [0, 1]
    assert late_steps(1) == [0]


def test_grid_shows_every_prediction_over_its_truth(tmp_path):
    truth = clip(3, seed=1)
    predictions = truth + np.random.default_rng(2).normal(0, 0.05, (2, 3, 17, 3))
    cameras = [None, CAMERA, h36m_cameras("S9")[0]]
    written = grid_figure(tmp_path / "grid.pdf", H36M_17, ["MixSTE", "Other"], ["Walking", "Sitting", "Eating"],
                          predictions, truth, cameras=cameras, width_mm=120, caption="SYNTHETIC")  # fmt: skip
    assert [path.suffix for path in written] == [".pdf", ".svg", ".png"]
    assert written[0].read_bytes().startswith(b"%PDF")
    root = ElementTree.parse(written[1]).getroot()
    assert float(root.get("width").removesuffix("pt")) / 72 * 25.4 == pytest.approx(120, abs=0.01)
    poses, words = read_poses(written[1]), texts(written[1])
    for r in range(2):
        for c in range(3):
            assert_shows(poses[f"model{r}-action{c}-pose"], predictions[r, c], view_from(cameras[c]))
            assert_shows(poses[f"model{r}-action{c}-truth"], truth[c], view_from(cameras[c]))
            assert f"{error_mm(predictions[r, c], truth[c]):.1f} mm" in words
    assert {"MixSTE", "Other", "Walking", "Sitting", "Eating", "SYNTHETIC"} <= set(words)


def test_equal_figures_are_equal_files_and_broken_ones_leave_none(tmp_path):
    def draw(name):
        return grid_figure(tmp_path / name, H36M_17, ["a"], ["b"], STANDING[None, None], STANDING[None])

    for one, two in zip(draw("one"), draw("two"), strict=True):
        assert one.read_bytes() == two.read_bytes()
    with pytest.raises(UserError, match="figure's name ends in"):
        pose_figure(
            tmp_path / "poses.jpeg", H36M_17, STANDING[None, :, :2], *[STANDING[None]] * 2, STANDING[None, None], [0]
        )
    assert sorted(path.suffix for path in tmp_path.iterdir()) == sorted([".pdf", ".svg", ".png"] * 2)


def test_every_joint_is_drawn_in_the_colour_of_its_side():
    page = Page(3, 4, dpi=100)
    view = view_from(None)
    panel = PosePanel(page.panel(0, 0, 3, 4), H36M_17, view, limits_of(view, STANDING, np.array(-0.9)), "p")
    panel.show(STANDING, floor=-0.9)
    page.figure.canvas.draw()
    image = np.asarray(page.figure.canvas.buffer_rgba())[..., :3]
    scale = np.diff(panel.axes.transData.transform([[0, 0], [1, 1]]), axis=0)[0]
    assert scale[0] == pytest.approx(scale[1])  # a metre is as long across as it is upwards
    for joint in ("LWrist", "LFoot", "RElbow", "RFoot", "Head", "LKnee"):
        place = view.project(STANDING[H36M_17.index(joint)] + 0.9 * view.vertical)[:2]
        x, y = panel.axes.transData.transform(place)
        colour = {"L": "left", "R": "right", "H": "centre"}[joint[0]]
        expected = [int(LIGHT[colour][i : i + 2], 16) for i in (1, 3, 5)]
        np.testing.assert_allclose(image[int(len(image) - y), int(x)], expected, atol=3, err_msg=joint)


def test_sides_of_bones():
    assert [bone_sides(H36M_17)[b] for b in (0, 3, 6, 10, 13)] == ["right", "left", "centre", "left", "right"]
    assert set(joint_sides(COCO_17)) == {"left", "right", "centre"}


# What each kind of colour blindness sees, in linear RGB (Machado, Oliveira and Fernandes 2009, severity 1).
BLINDNESS = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def cielab(colour: str, matrix) -> np.ndarray:
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    seen = np.clip(np.array(matrix) @ linear, 0, 1)
    xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]] @ seen / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", BLINDNESS)
@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_sides_are_told_apart_by_everyone(kind, palette):
    left, right, centre = (cielab(palette[side], BLINDNESS[kind]) for side in ("left", "right", "centre"))
    # 10 is a difference seen at a glance; red and green of equal lightness fall below it for a deutan eye.
    assert min(np.linalg.norm(left - right), np.linalg.norm(left - centre), np.linalg.norm(right - centre)) > 25


def test_pose_image_is_a_picture():
    truth = clip(2)
    image = pose_image(H36M_17, truth[..., :2], truth, truth + 0.01, truth[None] + 0.02, [0, 1], camera=CAMERA, dpi=50)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert Image.fromarray(image).getbbox() is not None and image.std() > 10
