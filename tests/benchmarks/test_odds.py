"""benchmarks.aggregate, wild_card and temperature on made motion: they end in figures, resume, write what they say."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import aggregate, open_motion, temperature, wild_card
from common.datasets.synthetic.h36m import write_h36m
from common.engine import checkpoint
from common.engine.devices import Place
from common.errors import UserError
from common.geometry.skeleton import H36M_17
from common.scoring.hypotheses import Evidence
from common.settings.wild import InputSettings, WildSettings
from common.wild.lifting import open_model
from common.wild.skeletons import stature
from tests.programs.test_wild import make_checkpoint
from tests.tiny import command, flags


@pytest.fixture(scope="module")
def motion(tmp_path_factory):
    folder = tmp_path_factory.mktemp("motion")
    write_h36m(folder, seconds=1.6, progress=False)
    return folder


def test_candidates_are_scored_and_a_second_run_takes_what_is_there(motion, tmp_path, monkeypatch, capsys):
    make_checkpoint(tmp_path / "model" / "m.bin", "mixste", frames=27)
    everything = dict.fromkeys(("judged", "chosen", "focal"), 200)
    monkeypatch.setattr(aggregate, "EVERY", dict.fromkeys(("h36m", "random"), everything))
    monkeypatch.setattr(aggregate, "STEPS", 1)
    monkeypatch.setattr(aggregate, "FOCAL", (0.75, 0.9, 1.1, 1.25)[:1])
    monkeypatch.setattr(aggregate, "bootstrap", lambda ours, base, column: (0.5, 0.25, 0.75))
    monkeypatch.setattr(aggregate, "tables", lambda content: [("made", [["", "mm"], ["S_Agg", 1.0]])])
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- aggregate -->\nold\n<!-- end aggregate -->\nb\n")
    line = [str(motion), "-c", str(tmp_path / "model" / "m.bin"), "--json", str(tmp_path / "r.json")]
    assert aggregate.main([*line, "--write", str(page)]) == 0
    parts = json.loads((tmp_path / "r.json").read_text())["parts"]
    assert {"judged h36m 1", "judged random 0.75", "chosen h36m 1", "averaged judged random 1"} <= set(parts)
    part = parts["chosen random 1"]
    assert set(part["sums"]["20"]) == set(aggregate.ROWS) | set(aggregate.CANDIDATES)
    assert aggregate.mean(part, 10, "P_Agg", "mpjpe") > aggregate.mean(part, 10, "P_Agg", "p_mpjpe") > 0
    assert "old" not in page.read_text() and "| S_Agg | 1.00 |" in page.read_text()
    monkeypatch.setattr(aggregate, "measure", lambda *_: 1 / 0)
    assert aggregate.main(line) == 0


def test_the_table_by_take_is_the_mean_over_the_frames_of_its_cameras():
    frames = {"S9/Walk/1": 10, "S9/Walk/2": 30, "S9/Sit/1": 5}
    sums = {name: {"mpjpe": {key: n * at for key, n in frames.items()}} for name, at in (("P_Agg", 50), ("S_Agg", 40))}
    sums |= {"as tall": sums["P_Agg"], "RPEA": {"mpjpe": {"S9/Walk/1": 10 * 80, "S9/Walk/2": 30 * 40, "S9/Sit/1": 5}}}
    part = {"frames": frames, "sums": {str(aggregate.COUNTS[0]): sums}}
    ((title, rows),) = aggregate.by_take({"judged h36m 1": part, "judged random 1": part})
    assert "by take" in title and rows[0][1] == "Human3.6M's cameras: P_Agg"
    assert rows[1:] == [["S9/Walk", *[50, 40, 50, 50] * 2], ["S9/Sit", *[50, 40, 50, 1] * 2]]
    assert aggregate.by_take({"judged h36m 1": part}) == []


def test_rpea_takes_the_best_few_and_the_geometric_median_is_one():
    errors = torch.tensor([0.03, 0.01, 0.02, 0.5]).view(4, 1, 1)
    shares = aggregate.best_few(errors, 2, 0.005)[:, 0, 0]
    assert shares[[0, 3]].tolist() == [0, 0]
    assert float(shares[1] / shares[2]) == pytest.approx(np.exp(0.01 / 0.005), rel=1e-4)
    points = torch.zeros(5, 1, 1, 3)
    points[:, 0, 0, 0] = torch.tensor([0.0, 0.0, 0.0, 0.0, 100.0])  # most lie on one place: the median is there
    found = aggregate.geometric_median(points, Evidence(torch.zeros(1, 1, 2)))
    assert float(found.abs().max()) < 0.01


def test_refinement_goes_to_the_2d_and_a_windows_root_is_the_true_one():
    """Exact 2D of a body that walks off evenly: its root is found, and a pose that is off sideways comes back."""
    rng = torch.Generator().manual_seed(0)
    true = 0.4 * torch.randn(1, 6, 17, 3, generator=rng)
    true -= true[..., :1, :].clone()
    roots = torch.tensor([0.3, -0.2, 4.0]) + torch.linspace(0, 1, 6)[:, None, None] * torch.tensor([0.5, 0.0, 0.8])
    placed = true + roots
    rays = placed[..., :2] / placed[..., 2:]
    torch.testing.assert_close(aggregate.window_roots(true, rays), roots[None], atol=1e-3, rtol=0)
    intrinsics = torch.tensor([1.0, 1.0, 0, 0, 0, 0, 0, 0, 0]).expand(1, 9)
    evidence = Evidence(rays, intrinsics, roots[None], skeleton=H36M_17)
    wrong = true.clone()
    wrong[..., 5, 0] += 0.1
    found = aggregate.refined(wrong[None].expand(1, 3, 6, 17, 3), evidence)
    before, after = ((x - true)[..., 5, 0].abs().mean() for x in (wrong, found))
    assert after < before * (1 - aggregate.REFINED) ** aggregate.REFINEMENTS * 1.05


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A checkpoint whose card names its training performers."""
    path = tmp_path / "model" / "m.bin"
    make_checkpoint(path, "mixste", frames=9)
    content = checkpoint.load(path)
    checkpoint.save(path, content | {"card": content["card"] | {"subjects": "S1,S5", "fps": 25.0}})
    monkeypatch.setattr(wild_card, "LEAST_FRAMES", 20)
    return path


def test_the_radius_lands_in_the_card_and_holds_nine_of_ten(motion, trained, monkeypatch):
    weights = {k: v.clone() for k, v in checkpoint.load(trained)["weights"].items()}
    line = [str(motion), "-c", str(trained), "--pieces", "4", "--heights", "4"]
    monkeypatch.setattr(wild_card, "LEAST_FRAMES", 60)
    assert wild_card.main(line) == 2  # its takes are too short
    monkeypatch.setattr(wild_card, "LEAST_FRAMES", 20)
    assert wild_card.main(line) == 0
    after = checkpoint.load(trained)
    assert all(torch.equal(after["weights"][k], weights[k]) for k in weights)
    found = after["card"]["radius"]
    assert (found["hypotheses"], found["steps"], found["aggregate"], found["pieces"]) == (10, 2, "S_Agg", 4)
    assert found["flip"] == "own"
    model, place = open_model(trained, Place(torch.device("cpu"))), Place(torch.device("cpu"))
    within = []
    settings = WildSettings(input=InputSettings(input=""))
    for clip in wild_card.pieces_of(motion, ("S1", "S5"), 4, wild_card.SEEDS["radius"]):
        person = wild_card.lifted(model, clip, settings, place)
        error = wild_card.error_of(person, clip.positions_3d, 0)
        within.append((error <= person["radius"] + 1e-6)[:, 1:])
    assert np.concatenate(within).mean() == pytest.approx(0.9, abs=0.01)
    assert open_motion.FPS == 25.0


def test_heights_land_in_the_card(motion, trained):
    """Fitted as lifted, whatever the card said before; people then come out as tall as they are, in the mean."""
    place, line = Place(torch.device("cpu")), [str(motion), "-c", str(trained), "--pieces", "2", "--heights", "8"]
    assert wild_card.main(line) == 0
    found, stream = checkpoint.load(trained)["card"]["heights"]
    assert (stream["hypotheses"], stream["steps"], stream["flip"], stream["pieces"]) == (1, 1, False, 8)
    assert (found["hypotheses"], found["steps"], found["flip"], found["pieces"]) == (2, 2, "own", 8)
    assert wild_card.main(line) == 0 and checkpoint.load(trained)["card"]["heights"] == [found, stream]
    model, ratios = open_model(trained, place), []
    settings = WildSettings(input=InputSettings(input=""), body=wild_card.NO_BODY)
    settings = replace(settings, sampling=replace(settings.sampling, hypotheses=2))
    for clip in wild_card.pieces_of(motion, ("S1", "S5"), 8, wild_card.SEEDS["heights"]):
        true = stature(clip.positions_3d[None], model.skeleton, np.ones(clip.positions_3d.shape[:2], bool))
        ratios.append(true / wild_card.lifted(model, clip, settings, place)["height"])
    assert np.log(ratios).mean() == pytest.approx(0, abs=0.01)
    with pytest.raises(UserError, match="no height"):
        wild_card.fit_heights(model, [], place, wild_card.SAMPLERS[0])


def test_temperatures_are_fitted_on_training_performers(tmp_path, monkeypatch, capsys):
    command(tmp_path)
    monkeypatch.setattr(temperature, "FIRST", (1.0, 2.0))
    monkeypatch.setattr(temperature, "LATER", (0.0, 1.0))
    monkeypatch.setattr(temperature, "SAMPLES", 4)
    more = "--evaluate last.bin -sampling_timesteps 2 --calibration-every 4"
    capsys.readouterr()
    assert temperature.main(flags(tmp_path, more)) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 4 and "of S1, S5" in lines[-1]
    scores = {line.split(" energy")[0].replace(" ", ""): float(line.split("score")[1].split()[0]) for line in lines[:3]}
    assert lines[-1].split("--temperature ")[1] == min(scores, key=scores.get)
