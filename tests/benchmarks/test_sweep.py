"""The sweep measures what an evaluation measures, shares noise between numbers of hypotheses, and can go on."""

import json

import pytest

from benchmarks import sweep
from benchmarks.sweep import How
from tests.tiny import command, flags

LITTLE = [*(How("ddim", k, True) for k in (10, 2)), *(How(s, 2, False) for s in ("euler", "dpm++"))]
LITTLE += [How("ddim", 2, "own")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    command(folder, "--no-eval")
    return folder


@pytest.fixture
def little(monkeypatch):
    monkeypatch.setattr(sweep, "WAYS", LITTLE)
    monkeypatch.setattr(sweep, "CALIBRATED", (LITTLE[0], LITTLE[2]))
    monkeypatch.setattr(sweep, "SAMPLES", 20)


def run(folder, *more) -> dict:
    arguments = [*flags(folder), "--evaluate", "last.bin", "--json", str(folder / "sweep.json"), *more]
    assert sweep.main(arguments) == 0
    return json.loads((folder / "sweep.json").read_text("utf-8"))


def test_it_agrees_with_an_evaluation_and_goes_on(folder, little, monkeypatch, capsys):
    picture = folder / "sweep.png"
    page = folder / "page.md"
    content = run(folder, "--every", "1", "--odds-every", "8", "--picture", str(picture), "--write", str(page))
    points = content["x0"]["points"]
    for hypotheses in (2, 5):
        more = f"--evaluate last.bin --p2 -num_proposals {hypotheses} -sampling_timesteps 2"
        last = command(folder, more)["results"][-1]
        point = points["ddim K=2 flip"][str(hypotheses)]
        assert point["mm"] == pytest.approx(last["protocol_1"]["frame_wise"]["P_Agg"], abs=1e-3)
        assert point["p_mm"] == pytest.approx(last["protocol_2"]["frame_wise"]["P_Agg"], abs=1e-3)
        last = command(folder, f"{more} --test-time-augmentation own")["results"][-1]
        own = points["ddim K=2 own"][str(hypotheses)]
        assert own["mm"] == pytest.approx(last["protocol_1"]["frame_wise"]["P_Agg"], abs=1e-3) != point["mm"]
    assert points["dpm++ K=2"] == points["euler K=2"]  # the same by definition: measured once
    assert all(0 <= value <= 0.5 for value in content["x0"]["ece"].values()) and len(content["x0"]["ece"]) == 2
    assert picture.stat().st_size > 10_000
    out = capsys.readouterr().out
    assert "| `ddim` | 20 | 10 | yes | 400 |" in out and "+0.00 (+0.00 to +0.00)" in out
    both = " | ".join(f"{points['euler K=2'][str(h)]['mm']:.1f}" for h in sweep.HYPOTHESES)
    line = f"| `euler`, `dpm++` | 2 | no | 2 | {both} | {content['x0']['ece']['euler K=2']:.3f} |"
    assert line in out and line in page.read_text("utf-8")
    picture.unlink()
    shown = ["--json", str(folder / "sweep.json"), "--show", "--picture", str(picture)]
    assert sweep.main(shown) == 0 and line in capsys.readouterr().out and picture.stat().st_size > 10_000
    assert sweep.main([*shown, "-c", "there"]) == 2 and "--show" in capsys.readouterr().err
    monkeypatch.setattr(sweep.Bench, "errors", None)  # nothing is left to measure
    monkeypatch.setattr(sweep.Bench, "calibration", None)
    assert run(folder, "--every", "1", "--odds-every", "8") == content
    assert sweep.main([*flags(folder), "--evaluate", "last.bin", "--json", str(folder / "sweep.json")]) == 2
    assert "x0 has another windows, odds_windows, frames; give another --label" in capsys.readouterr().err
    again = [*flags(folder), "--evaluate", "last.bin", "--json", str(folder / "sweep.json"), "--every", "1"]
    assert sweep.main([*again, "--odds-every", "8", "--seed", "9", "--temperature", "0.9,1"]) == 2
    assert "x0 has another seed, temperature" in capsys.readouterr().err
    assert sweep.main([*again, "--odds-every", "8", "-num_proposals", "3"]) == 2
    assert "--hypotheses: the sweep itself says this" in capsys.readouterr().err


def test_calls_and_what_is_the_same():
    assert How("ddim", 10, True).calls(20) == 400 and How("heun", 3, False).calls(2) == 10
    assert {how.same for how in sweep.WAYS if how.steps == 1} == {How("ddim", 1, flip) for flip in sweep.FLIPS}
    assert How("dpm++", 2, True).same == How("euler", 2, True) and How("dpm++", 3, True).same == How("dpm++", 3, True)
    assert len(sweep.WAYS) == 43 and sweep.REFERENCE in sweep.WAYS and len(sweep.CALIBRATED) == 6


def test_the_frontier_is_what_nothing_cheaper_beats():
    rows = [{"mm": mm} for mm in (5.0, 6.0, 4.0, 4.0, 3.5)]
    assert [row["frontier"] for row in sweep._with_frontier(rows)] == [True, False, True, False, True]
