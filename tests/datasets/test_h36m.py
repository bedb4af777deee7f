import numpy as np
import pytest
import torch

from common.datasets.checks import select_actions
from common.datasets.h36m import load_h36m
from common.errors import UserError
from common.files.reading import load_archive
from common.geometry.camera import project
from common.geometry.skeleton import H36M_17_OF_32
from tests.tiny import h36m_folder


def test_clips_hold_what_the_files_hold():
    clips = load_h36m(h36m_folder(), "gt", ["S9", "S11"])
    raw = load_archive(h36m_folder() / "data_3d_h36m.npz")["positions_3d"]
    assert len(clips) == 4 * (len(raw["S9"]) + len(raw["S11"]))
    clip = clips[5]
    world = raw[clip.subject][clip.action][:, H36M_17_OF_32]
    back = clip.camera.camera_to_world(torch.from_numpy(clip.positions_3d)).numpy()
    np.testing.assert_allclose(back, world, atol=1e-4)
    screen = project(torch.from_numpy(clip.positions_3d), torch.tensor(clip.camera.intrinsics))
    np.testing.assert_allclose(clip.keypoints_2d, screen.numpy(), atol=1e-4)
    assert clip.fps == 50 and clip.valid.all() and clip.keypoints_2d.dtype == np.float32


def written(tmp_path, change):
    """A copy of the small data set after change(positions, detections)."""
    positions = load_archive(h36m_folder() / "data_3d_h36m.npz")["positions_3d"]
    archive = load_archive(h36m_folder() / "data_2d_h36m_gt.npz")
    change(positions, archive["positions_2d"])
    np.savez(tmp_path / "data_3d_h36m.npz", positions_3d=positions)
    np.savez(tmp_path / "data_2d_h36m_gt.npz", **archive)
    return tmp_path


def test_extra_frames_of_2d_are_cut(tmp_path):
    def longer(positions, detections):
        detections["S9"]["Walking"] = [np.concatenate([d, d[-2:]]) for d in detections["S9"]["Walking"]]

    clips = load_h36m(written(tmp_path, longer), "gt", ["S9"])
    assert all(len(c.keypoints_2d) == len(c.positions_3d) for c in clips)


def test_scores_beside_keypoints_are_left_out(tmp_path):
    def scored(positions, detections):
        for action, views in detections["S9"].items():
            detections["S9"][action] = [np.concatenate([d, d[..., :1]], -1) for d in views]

    assert load_h36m(written(tmp_path, scored), "gt", ["S9"])[0].keypoints_2d.shape[-1] == 2


def _walk(positions):
    return positions["S9"]["Walking"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, d: d["S9"].update({"Walking": [v[:-1] for v in d["S9"]["Walking"]]}), "frames of 2D for"),
        (lambda p, d: p["S9"].update({"Walking": _walk(p) * 1000}), "millimetres"),
        (lambda p, d: p["S9"].update({"Walking": _walk(p)[:, :20]}), "joints"),
        (lambda p, d: p["S9"].update({"Walking": _walk(p) * np.nan}), "NaN"),
        (lambda p, d: d["S9"].update({"Walking": [v * np.inf for v in d["S9"]["Walking"]]}), "NaN or infinite"),
        (lambda p, d: d["S9"].update({"Walking": [v / 1000 for v in d["S9"]["Walking"]]}), "pixels"),
        (lambda p, d: d["S9"].update({"Walking": d["S9"]["Walking"][:3]}), "3 cameras"),
        (lambda p, d: d["S9"].pop("Walking"), "no action Walking"),
        (lambda p, d: d.pop("S9"), "no subject S9"),
        (lambda p, d: p.pop("S9"), "no subject S9"),
    ],
)
def test_wrong_files_get_one_clear_line(tmp_path, change, message):
    with pytest.raises(UserError, match=message) as caught:
        load_h36m(written(tmp_path, change), "gt", ["S9"])
    assert "\n" not in str(caught.value)


def test_missing_files_say_where_to_get_them(tmp_path):
    with pytest.raises(UserError, match="--demo"):
        load_h36m(tmp_path, "gt", ["S9"])
    with pytest.raises(UserError, match="cpn_ft_h36m_dbb"):
        load_h36m(h36m_folder(), "nothing", ["S9"])


def test_actions_by_name_first_word_and_prefix():
    clips = load_h36m(h36m_folder(), "gt", ["S9"])
    notices: list[str] = []
    chosen = lambda text: {c.action for c in select_actions(clips, text.split(","), notices.append)}  # noqa: E731
    assert chosen("Walking 1") == {"Walking 1"}
    assert chosen("Photo") == {"Photo"}  # a full name comes first
    assert chosen("*") == {c.action for c in clips} and not notices
    assert chosen("Disc") == {"Discussion", "Discussion 1"} and "prefix" in notices[0]
    with pytest.raises(UserError, match="no such action"):
        chosen("Swimming")
    without_full_name = [c for c in clips if c.action != "Photo"]
    assert {c.action for c in select_actions(without_full_name, ["Photo"])} == {"Photo 1"}
    published = {c.action for c in select_actions(clips, ["P"], published=True)}
    assert published == {c.action for c in clips if c.action.startswith("P")}
