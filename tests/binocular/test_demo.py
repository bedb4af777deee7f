"""The demo from end to end, made small; its detector and its people."""

import json

import numpy as np
import pytest
import torch

from common.binocular import demo
from common.binocular.noise import load_noise
from common.datasets import stereo_formats as formats
from common.datasets.stereo import load_split
from common.programs import two_view as program
from common.settings import two_view_files as options
from common.settings.two_view import TwoViewSettings


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The demo's files with one second of motion an action."""
    patch = pytest.MonkeyPatch()
    patch.chdir(tmp_path_factory.mktemp("demo"))
    patch.setattr(demo, "SECONDS", 1)
    words = ["--demo", "--epochs", "1", "--dim_model", "16", "--n_layer", "1", "--device", "cpu", "--seed", "4"]
    code = program.main(words)
    yield code, demo.DATA / "seed_4", demo.OUT / "seed_4"
    patch.undo()


def test_both_formats_and_pictures(small):
    code, data, out = small
    assert code == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["note"] == "SYNTHETIC"
    for kind, frames in (("mhad", 5 * 10 * 2 * 2), ("h36m", 5 * 10 * 2)):
        assert summary[kind]["frames"] == frames
        assert set(summary[kind]["errors"]) == {"raw", "debiased", "model"}
        assert len(list((out / kind / "-001").glob("frame_*.png"))) == 3
        report = json.loads((out / kind / "-001" / "report.json").read_text())
        assert report["note"] == "SYNTHETIC" and report["detector_statistics"]["leaked"] is None
        assert "without damaged" not in report["results"]["overall"]
    assert "SYNTHETIC" in (data / "README.txt").read_text() and "SYNTHETIC" in (out / "stdout.txt").read_text()


def test_detector_is_unbiased_and_independent(small):
    _, folder, _ = small
    data = load_split(
        folder / "mhad_labels.npy", subjects=formats.MHAD.test, detections_path=folder / "mhad_results.pkl"
    )
    error = ((data.detections - data.keypoints_2d) * demo.SIZE / 2).numpy() / demo.DEVIATION[:, None]
    count = len(error)
    assert np.abs(error.mean(0)).max() < 5 / count**0.5  # five standard errors
    assert np.abs(error.std(0) - 1).max() < 5 / (2 * count) ** 0.5
    correlation = np.corrcoef(error.reshape(count, -1).T)
    assert np.abs(correlation - np.eye(len(correlation))).max() < 6 / count**0.5
    noise = load_noise(folder / "calibration_gauss.npy")
    assert noise.source["subjects"] == ["calibration 0", "calibration 1"] and noise.source["note"] == "SYNTHETIC"
    assert torch.allclose(
        noise.std * demo.SIZE / 2, torch.from_numpy(demo.DEVIATION)[:, None].expand(2, 17, 2), rtol=0.3
    )


def test_the_sampler_starts_where_the_forward_process_ends():
    values, inert = options.resolve(options.read_config(options.find_config("demo_2view.yml")), {}, "")
    settings = TwoViewSettings.of(values)
    from common.binocular.setup import make_sampler
    from common.binocular.train import make_process

    process = make_process(settings)
    sampler = make_sampler(settings, None, 0)
    assert not inert and sampler.grid == [len(process) - 1]
    signal, share = process.at(sampler.grid[0])
    assert signal == 1 and 0.99 < share < 1


def test_cameras_see_the_people():
    for rig in demo.RIGS.values():
        made = demo.make_rig(*rig)
        pixels = made.project(np.array([[[0, 0, 900.0], [0, 0, 1800.0]]]))[0]
        assert np.allclose(pixels[:, 0], [320, 240])  # the middle of the room in the middle of the image
        assert (pixels[:, 1, 1] < 240).all()  # the head is above
        assert abs(np.linalg.norm(made.centres[0] - made.centres[1]) - rig[2]) < 1e-6
