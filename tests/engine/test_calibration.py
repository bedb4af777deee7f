import json
import re

import numpy as np
import pytest
import torch

from common.datasets.checks import scores_of
from common.datasets.h36m import load_h36m
from common.datasets.windows import Windows
from common.diffusion.lifter import DiffusionLifter
from common.diffusion.noise import tempered
from common.engine.calibration import draw, measure, report
from common.engine.evaluate import Sampling, sample
from common.errors import UserError
from common.geometry.skeleton import COCO_17, H36M_17
from common.models import build
from tests.tiny import CPU, command, h36m_folder

JOINTS = len(H36M_17)


class Known(torch.nn.Module):
    """A denoiser whose estimate is a Gaussian around the true pose, of a width that it is told."""

    def __init__(self, windows: Windows, width: float, mistake: float):
        super().__init__()
        self.width, self.windows = width, windows
        g = torch.Generator().manual_seed(5)
        self.offset = mistake * torch.randn(len(windows), windows.output, JOINTS, 3, generator=g)
        self.anything = torch.nn.Parameter(torch.zeros(1))

    def condition(self, batch):
        self.rows = batch.rows
        return None

    def forward(self, keypoints, x_t, t, condition):
        truth = self.windows.batch(self.rows).positions_3d + self.offset[self.rows]
        return truth.unsqueeze(1) + self.width * x_t


@pytest.fixture(scope="module")
def clips():
    return load_h36m(h36m_folder(), "cpn_ft_h36m_dbb", ["S9"])[:12]


@pytest.mark.parametrize(("width", "honest"), [(0.03, True), (0.015, False)])
def test_a_lifter_with_a_gaussian_posterior(clips, width, honest):
    """Noise of one step times 0.03 around a pose that is off by N(0, 0.03^2): an honest posterior."""
    windows = Windows(clips, H36M_17, 5)
    lifter = DiffusionLifter(Known(windows, width, 0.03), H36M_17)
    lifter.diffusion = type(lifter.diffusion)(limit=100.0)
    sampling = Sampling(1, 1, batch=3, flip=False)
    records = measure(lifter, windows, sampling, CPU, samples=60)
    found = report(records, [clip.action_name for clip in clips])
    assert len(records.rank) == sum(map(len, clips)) and records.rank.shape[1] == JOINTS - 1
    # The root's own noise is taken out (it is put to zero), that of each joint stays: N(0, 0.03^2) for both.
    assert (found["ece"] < 0.03) is honest
    assert (abs(found["covered"]["0.9"] - 0.9) < 0.04) is honest
    assert set(found["joints"]) == set(H36M_17.joints) - {"Hip"}
    assert set(found["actions"]) == {clip.action_name for clip in clips}
    tempered_up = measure(
        lifter, windows, Sampling(1, 1, batch=5, flip=False, temperature=(0.03 / width, 1)), CPU, samples=60
    )
    assert report(tempered_up, ["a"] * len(clips))["ece"] < 0.03  # the temperature mends the narrow one


def test_samples_are_those_of_one_large_draw_and_every_batch_gives_the_same(clips):
    torch.manual_seed(3)
    lifter = DiffusionLifter(build("mixste", frames=5, channels=16, depth=1), H36M_17).eval()
    windows = Windows(clips[:3], H36M_17, 5)
    sampling = Sampling(45, 2, batch=2)
    batch = windows.batch([0, 1])
    whole = sample(lifter, windows, batch, sampling, CPU)[:, -1]
    torch.testing.assert_close(draw(lifter, windows, batch, sampling, CPU), whole, atol=1e-6, rtol=0)
    one, other = (measure(lifter, windows, Sampling(1, 2, batch=b), CPU, samples=25) for b in (1, 4))
    np.testing.assert_allclose(one.error, other.error, atol=1e-6)
    np.testing.assert_allclose(one.energy, other.energy, atol=1e-6)


def test_confidence_of_the_2d_splits_the_figures(clips):
    from dataclasses import replace

    rng = np.random.default_rng(1)
    sure = [replace(c, confidence=rng.random((len(c), JOINTS)).astype(np.float32)) for c in clips]
    windows = Windows(sure, H36M_17, 5)
    lifter = DiffusionLifter(Known(windows, 0.03, 0.03), H36M_17)
    records = measure(lifter, windows, Sampling(1, 1, flip=False), CPU, samples=10)
    expected = np.concatenate([c.confidence[:, 1:] for c in sure])
    np.testing.assert_array_equal(np.sort(records.confidence, None), np.sort(expected, None))
    found = report(records, ["a"] * len(sure))["confidence"]
    assert list(found)[0] == "0 to 0.2" and sum(row["compared"] for row in found.values()) == records.rank.size


def test_scores_of_a_detector_are_kept():
    array = np.zeros((2, 17, 3), np.float32)
    array[..., 2] = np.arange(17) / 20
    assert scores_of(array[..., :2], H36M_17, H36M_17) is None
    np.testing.assert_allclose(scores_of(array, H36M_17, H36M_17)[0], np.arange(17) / 20)
    mapped = scores_of(array, COCO_17, H36M_17)
    hips = [COCO_17.index("LHip"), COCO_17.index("RHip")]
    np.testing.assert_allclose(mapped[0, H36M_17.index("Hip")], min(hips) / 20)


def test_temperature_scales_the_start_and_the_later_draws():
    noise = tempered(lambda k: torch.full((1,), k + 1.0), 3.0, 0.5)
    assert [float(noise(k)) for k in range(3)] == [3.0, 1.0, 1.5]


def test_calibration_from_the_command_line(tmp_path):
    command(tmp_path)
    found = command(tmp_path, "--evaluate last.bin --calibration --calibration-every 2 --temperature 1.5,1 --p2")
    on_disk = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["calibration"]
    assert on_disk["sampler"]["samples"] == 200 and on_disk["sampler"]["temperature"] == [1.5, 1.0]
    assert on_disk["sampler"]["steps"] == found["steps"] and on_disk["sampler"]["eta"] == 1
    assert 0 < on_disk["figures"]["ece"] <= 0.5 and on_disk["before"]["spread"] < on_disk["figures"]["spread"]
    page = (tmp_path / "calibration.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 3 and "200 samples" in page and "temperature 1.5" in page
    assert f"{on_disk['figures']['ece']:.3f}" in page and not re.search(r'(src|href)="http', page)


@pytest.mark.parametrize("line", ["--calibration", "--calibration --evaluate last.bin --render"])
def test_calibration_without_an_evaluation_is_refused(tmp_path, line):
    with pytest.raises(UserError, match="--calibration belongs to an evaluation"):
        command(tmp_path, line)


@pytest.mark.parametrize("flag", ["--calibration", "--temperature 1.5,1"])
def test_programs_that_measure_no_odds_refuse_the_flags(flag):
    from common.settings.adaptation import read_settings

    with pytest.raises(UserError, match=f"{flag.split()[0]}: not in this program; main.py has it"):
        read_settings("h36m_transfer", ["--evaluate", "last.bin", *flag.split()])
