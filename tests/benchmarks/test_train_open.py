"""The open lifter's training: it resumes to the bit, refuses another run's folder, and ends in a scored card."""

from functools import partial

import numpy as np
import pytest
import torch

from benchmarks import open_motion, train_open
from common.datasets.synthetic.h36m import write_h36m
from common.engine import checkpoint

SMALL = ("-cs", "16", "-dep", "1", "--heads", "2", "--batch", "4")


@pytest.fixture(scope="module")
def motion(tmp_path_factory):
    folder = tmp_path_factory.mktemp("motion")
    write_h36m(folder, seconds=0.4, progress=False)
    (folder / "data_2d_h36m_cpn_ft_h36m_dbb.npz").unlink()
    return folder


def run(motion, folder, *more):
    return train_open.main([str(motion), "-o", str(folder), *SMALL, *more])


def test_a_run_that_stopped_goes_on_to_the_bit(motion, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_open, "SAVED", 0.0)  # after every epoch
    assert run(motion, tmp_path / "whole", "--steps", "40") == 0
    save, calls = checkpoint.save, []

    def save_then_stop(path, content):
        save(path, content)
        calls.append(path.name)
        if calls.count("training.bin") == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", save_then_stop)
    stopped = False
    try:
        stopped = run(motion, tmp_path / "cut", "--steps", "40") != 0
    except KeyboardInterrupt:
        stopped = True
    assert stopped
    monkeypatch.setattr(checkpoint, "save", save)
    assert run(motion, tmp_path / "cut", "--steps", "40") == 0
    assert "going on after epoch 1" in capsys.readouterr().out
    whole, cut = (checkpoint.load(tmp_path / n / train_open.name_of(27)) for n in ("whole", "cut"))
    assert all(torch.equal(whole["weights"][k], cut["weights"][k]) for k in whole["weights"])
    card = whole["card"]
    assert card["recipe"]["steps"] == 40 and card["model"] == "mixste_ray"
    assert card["errors_mm"]["random cameras"]["protocol_1"]["P_Agg"] > 0
    assert run(motion, tmp_path / "cut", "--steps", "40", "--seed", "2") == 2  # another run's folder
    assert "another seed" in capsys.readouterr().err


def test_data_drawn_ahead_are_the_same(motion):
    draw = partial(open_motion.training_views, open_motion.load_takes(motion, ("S1",)), 1, 14)
    ahead = open_motion.Ahead(draw, 2)
    for epoch in (1, 2, 5):
        for one, other in zip(ahead(epoch), open_motion.Ahead(draw, 0)(epoch), strict=True):
            assert np.array_equal(one.keypoints_2d, other.keypoints_2d)
            assert np.array_equal(one.positions_3d, other.positions_3d)
    ahead.close()


def test_a_held_subject_is_not_trained_on(motion, tmp_path):
    assert run(motion, tmp_path, "--steps", "2", "--hold", "S8") == 0
    card = checkpoint.load(tmp_path / train_open.name_of(27))["card"]
    assert card["subjects"] == "S1,S5,S6,S7"


def test_a_velocity_companion(motion, tmp_path, capsys):
    assert run(motion, tmp_path, "--steps", "2", "--hold", "S8", "--objective", "velocity") == 0
    assert checkpoint.load(tmp_path / train_open.name_of(27))["card"]["diffusion"]["objective"] == "velocity"
    assert run(motion, tmp_path, "--steps", "4", "--hold", "S8") == 2
    assert "trained with --objective velocity, this run has x0" in capsys.readouterr().err
    started = ["--start", str(tmp_path / train_open.name_of(27))]
    assert run(motion, tmp_path / "other", "--steps", "2", "--hold", "S8", *started) == 2
    assert "trained with --objective velocity" in capsys.readouterr().err


def test_longer_windows_begin_with_a_shorter_network(motion, tmp_path):
    """What tells frames apart is stretched in time: a ramp stays a ramp, its ends stay; all else is as it was."""
    ramp = torch.arange(27.0)[None, :, None] * torch.tensor([1.0, -2.0])
    longer = train_open.stretched({"Temporal_pos_embed": ramp, "other": ramp}, 81)
    expected = torch.linspace(0, 26, 81)[None, :, None] * torch.tensor([1.0, -2.0])
    assert torch.allclose(longer["Temporal_pos_embed"], expected, atol=1e-5) and longer["other"] is ramp
    assert run(motion, tmp_path, "--steps", "2", "--hold", "S8") == 0
    first = tmp_path / train_open.name_of(27)
    started = ["--frames", "41", "--start", str(first), "-lr", "1e-9"]
    assert run(motion, tmp_path / "longer", "--steps", "1", "--hold", "S8", *started) == 0
    short, long = (checkpoint.load(path) for path in (first, tmp_path / "longer" / train_open.name_of(41)))
    assert long["card"]["frames"] == 41 and long["card"]["started_from"]["steps"] == 2
    wanted = train_open.stretched(short["weights"], 41)
    for name, value in long["weights"].items():
        assert torch.allclose(value.float(), wanted[name].float(), atol=2e-3)


def test_a_view_depends_on_its_own_name_alone(motion):
    """More cameras, more takes and another order leave the views that were there as they were."""
    takes = open_motion.load_takes(motion, ("S9", "S11"))
    few = {(clip.key, clip.camera.name): clip for clip in open_motion.views(takes[:3], 7, 1)}
    many = {(clip.key, clip.camera.name): clip for clip in open_motion.views(takes[::-1], 7, 3)}
    assert few.keys() < many.keys()
    for key, clip in few.items():
        np.testing.assert_array_equal(clip.keypoints_2d, many[key].keypoints_2d)
    other = open_motion.views(takes[:1], 8, 1)[0]
    assert abs(other.keypoints_2d - open_motion.views(takes[:1], 7, 1)[0].keypoints_2d).max() > 0.01
