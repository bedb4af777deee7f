"""The loop: what changes in a step, what it reads, resuming, teachers, the published protocol."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.adaptation.adapt import AdaptationRecipe, Adapter, mean_reprojection, pixel_numbers
from common.adaptation.data import unlabelled
from common.adaptation.lifter import contents, load_adapted, make_adapted
from common.datasets.windows import Windows
from common.engine.devices import Place
from common.engine.evaluate import Sampling
from common.errors import UserError
from common.geometry.skeleton import H36M_17

PLACE = Place(torch.device("cpu"))
SETTINGS = {
    "rank": 2,
    "scale": 1.0,
    "targets": ["attn.qkv", "attn.proj"],
    "refiner": {"kind": "joint", "joints": 17, "channels": 16, "depth": 1, "heads": 8},
}
RECIPE = AdaptationRecipe(epochs=2, batch=4, hypotheses=2, steps=1, learning_rate=1e-3, smoothing=5, seed=3)


def make_adapter(content, clips, recipe=RECIPE, settings=SETTINGS, target=None, keep_root=False) -> Adapter:
    torch.manual_seed(recipe.seed)
    lifter = make_adapted(content, settings)
    source = Windows(clips["source"], H36M_17, 9)
    target = Windows(unlabelled(target or clips["target"], H36M_17, keep_root), H36M_17, 9)
    return Adapter(lifter, source, target, recipe, PLACE)


def weights(adapter: Adapter) -> dict:
    return {name: p.detach().clone() for name, p in adapter.lifter.state_dict().items()}


def measured(adapter: Adapter) -> dict:
    return {
        "reprojection_px": mean_reprojection(adapter.lifter, adapter.target, Sampling(2, 1, 8), PLACE),
        "valid_mm": None,
    }


def run(adapter: Adapter, epochs: int = 1) -> Adapter:
    for _ in range(epochs):
        adapter.run_epoch(lambda: measured(adapter))
    return adapter


@pytest.mark.parametrize("kind", ["joint", "published", "none"])
def test_only_the_additions_and_the_refiner_change(source_content, clips, kind):
    refiner = {"kind": kind} if kind == "none" else {**SETTINGS["refiner"], "kind": kind}
    adapter = make_adapter(source_content, clips, settings=SETTINGS | {"refiner": refiner})
    before = weights(adapter)
    run(adapter)
    changed = {name for name, value in weights(adapter).items() if not torch.equal(value, before[name])}
    free = {name for name in before if ".lora_" in name or name.startswith("refiner.")}
    assert changed <= free
    assert {name for name in free if ".lora_" in name} <= changed
    assert bool({name for name in changed if name.startswith("refiner.")}) == (kind != "none")


def test_a_fresh_adapted_lifter_computes_what_the_source_computes(source_content, source_lifter, clips):
    adapted = make_adapted(source_content, SETTINGS).eval()
    batch = Windows(clips["target"], H36M_17, 9).batch([0, 1])
    noise = torch.randn(2, 3, 9, 17, 3)
    with torch.no_grad():
        ours = adapted.sample(batch, 3, 1, lambda hypotheses: lambda k: noise)
        theirs = source_lifter.sample(batch, 3, 1, lambda hypotheses: lambda k: noise)
    torch.testing.assert_close(ours[..., 1:, :], theirs[..., 1:, :], atol=1e-6, rtol=0)
    assert ours[..., 0, :].abs().max() == 0


@pytest.mark.parametrize("teacher", ["none", "ema"])
def test_targets_truth_is_not_read(source_content, clips, teacher):
    """With NaN for the target's 3D the adapted weights and the selection's measure are the same, bit for bit."""
    blank = [replace(c, positions_3d=np.full_like(c.positions_3d, np.nan)) for c in clips["target"]]
    recipe = replace(RECIPE, teacher=teacher)
    told = run(make_adapter(source_content, clips, recipe))
    untold = run(make_adapter(source_content, clips, recipe, target=blank))
    assert all(torch.equal(a, b) for a, b in zip(told.sizes, untold.sizes, strict=True))
    for name, value in weights(told).items():
        assert torch.equal(value, weights(untold)[name]), name
    assert told.history[0]["reprojection_px"] == untold.history[0]["reprojection_px"]
    assert all(np.isfinite(v) for v in untold.history[0].values() if v is not None)


def test_the_true_root_is_a_label(source_content, clips):
    """--root gt with NaN labels fails loudly; with labels it differs from the fitted root."""
    recipe = replace(RECIPE, root="gt")
    told = run(make_adapter(source_content, clips, recipe, keep_root=True))
    fitted = run(make_adapter(source_content, clips))
    assert told.history[0]["target_px"] != fitted.history[0]["target_px"]
    blank = [replace(c, positions_3d=np.full_like(c.positions_3d, np.nan)) for c in clips["target"]]
    with pytest.raises(UserError, match="diverged"):
        run(make_adapter(source_content, clips, recipe, target=blank, keep_root=True))


@pytest.mark.parametrize("teacher", ["none", "ema"])
def test_resuming_repeats_a_whole_run_bit_for_bit(source_content, clips, teacher):
    recipe = replace(RECIPE, teacher=teacher, ema_decay=0.9)
    whole = run(make_adapter(source_content, clips, recipe), 2)
    first = run(make_adapter(source_content, clips, recipe), 1)
    card = source_content["card"] | {"adaptation": SETTINGS}
    stored = {"card": card, **contents(first.lifter), **first.state()}
    second = make_adapter(source_content, clips, recipe)
    second.lifter = load_adapted(stored)
    second = Adapter(second.lifter, second.source, second.target, recipe, PLACE)
    second.restore(stored)
    run(second, 1)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(second)[name]), name
    assert [r["target_mm"] for r in whole.history] == [r["target_mm"] for r in second.history]


def test_teacher_is_a_moving_average(source_content, clips):
    still = run(make_adapter(source_content, clips, replace(RECIPE, teacher="ema", ema_decay=1.0)))
    fast = run(make_adapter(source_content, clips, replace(RECIPE, teacher="ema", ema_decay=0.0)))
    fresh = dict(make_adapter(source_content, clips, RECIPE).lifter.named_parameters())
    student, taught = fast.lifter.adapted(), dict(fast.teacher.named_parameters())
    assert all(torch.equal(student[name], taught[name]) for name in student)
    assert all(torch.equal(fresh[name], p) for name, p in still.teacher.named_parameters() if name in student)
    none = run(make_adapter(source_content, clips))
    assert any(not torch.equal(none.lifter.adapted()[n], p) for n, p in still.lifter.adapted().items())


def test_a_checkpoint_without_a_teacher_does_not_resume_one(source_content, clips):
    adapter = make_adapter(source_content, clips, replace(RECIPE, teacher="ema"))
    content = adapter.state()
    del content["teacher"]
    with pytest.raises(UserError, match="no teacher"):
        adapter.restore(content)


def test_placed_source_lies_in_the_targets_image(source_content, clips):
    """Placed keypoints cover the target's range of the image; the source's own do not."""
    adapter = make_adapter(source_content, clips)
    rows = torch.arange(4)
    source, target = adapter.source.batch(rows), adapter.target.batch(rows)
    placed = adapter._place(source, target, rows, (1, 0))
    torch.testing.assert_close(placed.intrinsics, target.intrinsics)

    def size(keypoints):
        return (keypoints.amax(-2) - keypoints.amin(-2)).mean((1, 2))

    assert ((size(placed.keypoints_2d) / size(target.keypoints_2d) - 1).abs() < 0.35).all()
    assert (size(source.keypoints_2d) / size(target.keypoints_2d)).mean() > 1.3


def test_published_protocol_places_frame_by_frame_in_pixels(source_content, clips):
    adapter = run(make_adapter(source_content, clips, replace(RECIPE, published=True)))
    assert all(np.isfinite(v) for v in adapter.history[0].values() if v is not None)
    rows = torch.arange(2)
    source, target = adapter.source.batch(rows), adapter.target.batch(rows)
    placed = adapter._place(source, target, rows, (1, 0))
    assert float(placed.root[..., 2].min()) > 500  # half the image's width too deep, as published
    assert float(placed.keypoints_2d.abs().max()) < 2  # and still in screen units
    assert float(placed.root[..., 2].diff(dim=1).abs().max()) > 50  # frames at random


def test_pixel_numbers_match_the_published_ones(vectors):
    from common.datasets.threedhp_cameras import threedhp_camera

    v = vectors("posynda_parity.npz")
    for name, key in (("TS1", "out/cam_ts1to4_px"), ("TS5", "out/cam_ts5to6_px")):
        camera = threedhp_camera(name, published=True)
        sizes = (torch.tensor(camera.width), torch.tensor(camera.height))
        torch.testing.assert_close(pixel_numbers(torch.tensor(camera.intrinsics), *sizes), v[key], rtol=1e-5, atol=1e-2)


def test_every_target_window_is_met_once_an_epoch(source_content, clips):
    adapter = make_adapter(source_content, clips)
    assert sorted(adapter._order("target", 1, 9, 9).tolist()) == list(range(9))
    longer = adapter._order("source", 1, 4, 10)
    assert sorted(longer[:4].tolist()) == sorted(longer[4:8].tolist()) == [0, 1, 2, 3] and len(longer) == 10
    assert adapter._order("target", 1, 9, 9).tolist() != adapter._order("target", 2, 9, 9).tolist()


def test_reprojection_is_in_pixels(source_content, clips, monkeypatch):
    """True poses reproject onto the 2D; a lifter that answers with them measures nothing."""
    adapter = make_adapter(source_content, clips)
    truth = Windows(clips["target"], H36M_17, 9)

    def true_poses(batch, hypotheses, *arguments, **keywords):
        return truth.batch(batch.rows).positions_3d[:, None, None].expand(-1, 1, len(hypotheses), -1, -1, -1).clone()

    monkeypatch.setattr(adapter.lifter, "sample", true_poses)
    assert mean_reprojection(adapter.lifter, adapter.target, Sampling(2, 1, 8), PLACE) < 0.5
