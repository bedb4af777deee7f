"""Body sizes: who is how large, from 2D and the source lifter alone; adapted output keeps the size it is given."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.adaptation.adapt import AdaptationRecipe, Adapter
from common.adaptation.lifter import make_adapted, without_additions
from common.adaptation.losses import Observed, fitted_root, target_loss
from common.adaptation.sizes import (
    body_size,
    estimated_sizes,
    held_sizes,
    of_windows,
    rows_of_people,
    same_cameras,
    scaled,
    true_sizes,
)
from common.datasets.windows import Windows
from common.diffusion.lifter import DiffusionLifter, d3dp_diffusion
from common.engine.devices import Place
from common.engine.evaluate import Sampling
from common.errors import UserError
from common.geometry.camera import project
from common.geometry.skeleton import H36M_17
from common.models import build
from tests.adapting import SETTINGS, SIZES, SOURCE_CAMERA, TARGET_CAMERA, make_clips

PLACE = Place(torch.device("cpu"))
SAMPLING = Sampling(2, 1, 16)


def seen_by(clips, camera, scale=1.0, away=0.0, subject=None):
    """The same motion by a body `scale` times as large, `away` metres farther, before a camera."""
    out = []
    for clip in clips:
        root = clip.positions_3d[:, :1]
        points = (scale * (clip.positions_3d - root) + root + [0, 0, away]).astype(np.float32)
        screen = project(torch.from_numpy(points), torch.tensor(camera.intrinsics)).numpy()
        out.append(
            replace(clip, camera=camera, positions_3d=points, keypoints_2d=screen, subject=subject or clip.subject)
        )
    return out


@pytest.fixture(scope="module")
def trained():
    """(content, clips) of a small lifter that has learned three clips of one person."""
    torch.manual_seed(0)
    clips = make_clips(SOURCE_CAMERA, 1, count=3, frames=27)
    windows = Windows(clips, H36M_17, 9)
    denoiser = build("mixste", **SIZES)
    lifter = DiffusionLifter(denoiser, H36M_17, d3dp_diffusion())
    optimizer = torch.optim.Adam(denoiser.parameters(), 3e-3)
    batch = windows.batch(range(len(windows)))
    for _ in range(200):
        t, noise = torch.randint(1000, (len(windows),)), torch.randn(batch.positions_3d.shape)
        loss = lifter.training_loss(batch, t, noise) / batch.mask.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    card = {"model": "mixste", "sizes": SIZES, "frames": 9, "joints": 17, "skeleton": H36M_17.name,
            "diffusion": {"timesteps": 1000, "scale": 1.0}, "variant": "default", "units": "m"}  # fmt: skip
    return {"card": card, "weights": denoiser.state_dict()}, clips


def adapter_of(content, source, target, size="person"):
    torch.manual_seed(0)
    recipe = AdaptationRecipe(epochs=10, batch=5, hypotheses=2, learning_rate=3e-3, smoothing=9, size=size, seed=1)
    lifter = make_adapted(content, SETTINGS)
    return Adapter(lifter, Windows(source, H36M_17, 9), Windows(target, H36M_17, 9), recipe, PLACE)


def output_size(lifter, windows):
    return float(np.mean(list(estimated_sizes(lifter.eval(), windows, SAMPLING, PLACE).values())))


def sizes_before_and_after(adapter):
    """Size of what the source lifter says of the target, and of what the adapted one says, metres."""
    before = output_size(without_additions(adapter.lifter), adapter.target)
    for _ in range(adapter.recipe.epochs):
        adapter.run_epoch(dict)
    return before, output_size(adapter.lifter, adapter.target)


def test_size_of_a_body_is_the_sum_of_its_bones():
    pose = torch.zeros(17, 3)
    for joint, parent in H36M_17.edges:  # parents come first
        pose[joint] = pose[parent] + torch.tensor([0.0, 0.3, 0.4])
    assert float(body_size(pose, H36M_17)) == pytest.approx(16 * 0.5)
    assert body_size(torch.stack([pose, 2 * pose])[:, None], H36M_17).tolist() == [[8.0], [16.0]]


def test_held_sizes_of_known_estimates():
    """Before the source's cameras the estimate, times truth / estimate there; before others as large as the source on
    average, and as different as estimated."""
    source, truth = {"S1": 3.0, "S5": 3.4}, {"S1": 3.6, "S5": 4.4}  # 1.25 times too small
    same = held_sizes({"S6": 4.0, "S7": 3.2}, source, truth, same=True)
    assert same == pytest.approx({"S6": 5.0, "S7": 4.0})
    other = held_sizes({"S6": 2.2, "S7": 1.8}, source, truth, same=False)
    assert other == pytest.approx({"S6": 4.4, "S7": 3.6})  # 4.0 on average, as the truth


def test_people_are_told_apart_and_empty_windows_left_out():
    clips = make_clips(SOURCE_CAMERA, 1, count=2, frames=18) + make_clips(SOURCE_CAMERA, 2, 1, 18, subject="S5")
    clips[0] = replace(clips[0], valid=np.zeros(18, bool))
    windows = Windows(clips, H36M_17, 9)
    assert {s: r.tolist() for s, r in rows_of_people(windows).items()} == {"S1": [2, 3], "S5": [4, 5]}
    many = Windows(make_clips(SOURCE_CAMERA, 1, count=1, frames=9 * 200), H36M_17, 9)
    rows = rows_of_people(many)["S1"]
    assert 32 < len(rows) <= 64 and (rows.diff() == rows[1]).all()
    with pytest.raises(UserError, match="no valid frame"):
        rows_of_people(Windows(clips[:1], H36M_17, 9))
    assert of_windows({"S1": 3.0, "S5": 4.0}, windows).tolist() == [3.0] * 4 + [4.0] * 2
    assert of_windows({"S5": 4.0}, windows).tolist() == [4.0] * 6


def test_cameras_are_the_same_where_their_intrinsics_are():
    a, b = (Windows(make_clips(c, 1), H36M_17, 9) for c in (SOURCE_CAMERA, TARGET_CAMERA))
    both = Windows(make_clips(SOURCE_CAMERA, 1) + make_clips(TARGET_CAMERA, 1), H36M_17, 9)
    assert same_cameras(a, a) and same_cameras(both, a) and same_cameras(both, b)
    assert not same_cameras(a, b) and not same_cameras(a, both)


def test_a_larger_person_farther_away_has_the_same_image():
    batch = Windows(make_clips(SOURCE_CAMERA, 1), H36M_17, 9).batch([0, 1])
    larger = scaled(batch, torch.tensor([1.0, 1.3]))
    for b in (batch, larger):
        seen = project(b.positions_3d + b.root, b.intrinsics[:, None])
        torch.testing.assert_close(seen, batch.keypoints_2d, atol=1e-5, rtol=1e-5)
    growth = body_size(larger.positions_3d, H36M_17) / body_size(batch.positions_3d, H36M_17)
    torch.testing.assert_close(growth, torch.tensor([1.0, 1.3])[:, None].expand(2, 9))


def test_the_targets_2d_does_not_feel_size():
    """With the fitted root the reprojection of a pose and of one 1.4 times as large are equal: no gradient to size."""
    batch = Windows(make_clips(TARGET_CAMERA, 2), H36M_17, 9).batch([0, 1])
    view = Observed(batch.keypoints_2d, batch.intrinsics, torch.full((2,), 2048.0), batch.mask)
    poses = batch.positions_3d[:, None, None] + 0.05 * torch.randn(2, 1, 3, 9, 17, 3)
    poses = (poses - poses[..., :1, :]).double()
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    view = Observed(*(x.double() if x.is_floating_point() else x for x in vars(view).values()))
    losses = [
        target_loss(k * poses, fitted_root(k * poses, view), view, weights=(1.0, 0.0)).total for k in (scale, 1.4)
    ]
    torch.testing.assert_close(losses[0], losses[1])
    (gradient,) = torch.autograd.grad(losses[0], scale)
    assert float(losses[0].detach()) > 1 and abs(float(gradient)) < 1e-6


def test_without_additions_is_the_source_lifter(trained):
    content, clips = trained
    adapter = adapter_of(content, clips, seen_by(clips, TARGET_CAMERA))
    before = estimated_sizes(without_additions(adapter.lifter), adapter.target, SAMPLING, PLACE)
    adapter.run_epoch(dict)
    assert estimated_sizes(without_additions(adapter.lifter), adapter.target, SAMPLING, PLACE) == before
    assert estimated_sizes(adapter.lifter.eval(), adapter.target, SAMPLING, PLACE) != before


def test_estimates_do_not_read_labels(trained):
    content, clips = trained
    blank = [replace(c, positions_3d=np.full_like(c.positions_3d, np.nan)) for c in clips]
    lifter = without_additions(make_adapted(content, SETTINGS))
    told, untold = (estimated_sizes(lifter, Windows(c, H36M_17, 9), SAMPLING, PLACE) for c in (clips, blank))
    assert told == untold and np.isfinite(list(told.values())).all()


def test_a_larger_person_before_the_same_camera_keeps_the_estimated_size(trained):
    """The known answer: only the person's size differs, and the source lifter sees that. With placed poses of the
    source's size, everybody shrinks to it."""
    content, clips = trained
    target = seen_by(clips, SOURCE_CAMERA, scale=1.2, subject="S5")
    before, held = sizes_before_and_after(adapter_of(content, clips, target))
    assert held == pytest.approx(before, rel=0.08)
    _, drifted = sizes_before_and_after(adapter_of(content, clips, target, size="source"))
    assert drifted < 0.93 * held and drifted < 0.9 * before


def test_the_same_person_before_another_camera_keeps_the_sources_size(trained):
    """The known answer: only focal length and distance differ, the image is half as large and so is the source
    lifter's pose. The person has the source's size, and the adapted lifter finds it."""
    content, clips = trained
    adapter = adapter_of(content, clips, seen_by(clips, TARGET_CAMERA, away=1.0))
    truth = true_sizes(adapter.source)
    for of in adapter.sizes:
        assert of.tolist() == pytest.approx([truth["S1"]] * len(of))
    wanted = output_size(without_additions(adapter.lifter), adapter.source)
    before, held = sizes_before_and_after(adapter)
    assert before < 0.8 * wanted
    assert held == pytest.approx(wanted, rel=0.1)


def test_the_published_way_and_size_source_leave_poses_as_they_are(trained):
    content, clips = trained
    assert adapter_of(content, clips, clips, size="source").sizes is None
    lifter = make_adapted(content, SETTINGS)
    windows = Windows(clips, H36M_17, 9)
    assert (
        Adapter(
            lifter, windows, windows, AdaptationRecipe(epochs=1, batch=2, published=True, hypotheses=1), PLACE
        ).sizes
        is None
    )
