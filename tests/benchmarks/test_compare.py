"""The comparison: equal budgets, refusals, intervals, tables from committed files."""

import copy
import json

import numpy as np
import pytest

from benchmarks import compare, paired
from common.errors import UserError
from tests.tiny import h36m_folder

TINY = [
    *("-gpu", "-1", "--nolog", "-f", "5", "-cs", "16", "-dep", "1", "-b", "160", "-lr", "1e-3"),
    *("-str", "S1,S5", "-ste", "S9", "-a", "Walking,Phoning", "--select", "last"),
]


def made_up(label="a", seed=0, shift=0.0, **changes) -> dict:
    """A run over 6 takes seen by 2 cameras."""
    rng = np.random.default_rng(7)
    clips = {
        f"S9/Walking {take}/{camera}": {
            "frames": 50 + 10 * take,
            "P_Agg": float(rng.normal(50, 5)) + shift,
            "R_Agg": 1.0,
        }
        for take in range(6)
        for camera in "AB"
    }
    means = {"action_wise": {"P_Agg": 50 + shift}, "frame_wise": {"P_Agg": 51 + shift}}
    run = {"label": label, "model": label, "seed": seed, "window": 27, "eval_text": None, "parameters": 1000}
    run |= {key: 1 for key in paired.CONDITIONS if key != "window"}
    return run | {"averages": {"protocol_1": means}, "clips": clips} | changes


def test_the_same_number_of_steps_for_every_model_and_seed(tmp_path, capsys):
    page, file = tmp_path / "page.md", tmp_path / "results" / "tiny.json"
    page.write_text("before\n<!-- compare tiny -->\nold\n<!-- end compare tiny -->\nafter\n", encoding="utf-8")
    arguments = ["--models", "mixste", "graphdiffu:text=none", "--seeds", "0", "1", "--budget", "steps", "7"]
    arguments += [*TINY, "--data-root", str(h36m_folder()), "-c", str(tmp_path / "runs")]
    assert compare.main([*arguments, "--json", str(file), "--write", str(page)]) == 0
    result = json.loads(file.read_text(encoding="utf-8"))
    assert [(r["label"], r["seed"], r["trained_steps"]) for r in result["runs"]] == [
        (label, seed, 7) for label in ("mixste", "graphdiffu:text=none") for seed in (0, 1)
    ]
    assert result["runs"][0]["averages"] != result["runs"][1]["averages"]  # the seeds differ
    assert result["budget"] == {"steps": 7} and result["commit"]
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- compare tiny -->\n") and text.endswith("<!-- end compare tiny -->\nafter\n")
    assert "old" not in text and "| mixste |" in text and "budget 7 steps" in text and "0, 1" in text

    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.bin")}
    assert compare.main([*arguments, "--json", str(file)]) == 0  # the finished runs are taken as they are
    assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.bin")}
    assert json.loads(file.read_text(encoding="utf-8"))["runs"] == result["runs"]
    assert compare.main([*arguments, "-lr", "1e-2"]) == 2
    assert "holds a run with other settings" in capsys.readouterr().err

    reports = [str(tmp_path / "runs" / name) for name in ("mixste_seed0", "mixste_seed1")]
    assert compare.main(["--reports", *reports]) == 0
    assert "| mixste_seed1 |" in capsys.readouterr().out
    again = tmp_path / "again" / "other.md"
    assert compare.main(["--from", str(file), "--write", str(again), "--column", "R_Agg"]) == 0
    assert "R_Agg MPJPE" in again.read_text(encoding="utf-8")


@pytest.mark.parametrize("key", paired.CONDITIONS)
def test_runs_that_were_scored_otherwise_are_refused(key):
    with pytest.raises(UserError, match="not comparable"):
        paired.check_comparable([made_up(), made_up("b", **{key: 2})])


def test_runs_of_other_samplers_are_refused_and_older_ones_are_ddim():
    with pytest.raises(UserError, match="--sampler is ddim in a and heun in b"):
        paired.check_comparable([made_up(), made_up("b", sampler="heun")])
    paired.check_comparable([made_up(), made_up("b", sampler="ddim")])


def test_other_clips_and_other_frames_are_refused():
    other = copy.deepcopy(made_up("b"))
    other["clips"]["S9/Walking 0/A"]["frames"] += 1
    with pytest.raises(UserError, match="other frames of S9/Walking 0/A"):
        paired.check_comparable([made_up(), other])
    del other["clips"]["S9/Walking 0/A"]
    with pytest.raises(UserError, match="only one of a and b has the clip"):
        paired.check_comparable([made_up(), other])
    paired.check_comparable([made_up(), made_up("b")])


def test_two_reports_of_different_settings_stop_the_command(tmp_path, capsys):
    for name, steps in (("a", 1), ("b", 5)):
        (tmp_path / name).mkdir()
        report = {key: 1 for key in paired.CONDITIONS} | {"steps": steps, "frames": 110, "clips": made_up()["clips"]}
        report |= {"card": {"model": name, "frames": 27}, "cost": {"parameters": 1}, "checkpoint": {"sha256": "0"}}
        report["results"] = [{"step": 0, "protocol_1": made_up()["averages"]["protocol_1"]}]
        (tmp_path / name / "report.json").write_text(json.dumps(report), encoding="utf-8")
    assert compare.main(["--reports", str(tmp_path / "a"), str(tmp_path / "b" / "report.json")]) == 2
    assert "sampling steps K is 1 in a and 5 in b" in capsys.readouterr().err


def test_a_constant_difference_has_an_interval_of_no_width():
    difference, low, high = paired.bootstrap([made_up("b", shift=-2.0)], [made_up()], "P_Agg")
    assert difference == pytest.approx(-2) and low == pytest.approx(-2) and high == pytest.approx(-2)


def test_the_interval_is_the_paired_one():
    """Against a bootstrap written out: takes drawn with both their cameras, frames as weights, seeds averaged."""
    rng = np.random.default_rng(3)
    ours, theirs = [made_up("b", 0), made_up("b", 1)], [made_up("a", 0), made_up("a", 1)]
    for run in ours:
        for row in run["clips"].values():
            row["P_Agg"] += float(rng.normal(-1, 2))
    difference, low, high = paired.bootstrap(ours, theirs, "P_Agg", resamples=4000)
    takes = {}
    for key, row in theirs[0]["clips"].items():
        gap = np.mean([r["clips"][key]["P_Agg"] for r in ours]) - np.mean([r["clips"][key]["P_Agg"] for r in theirs])
        takes.setdefault(key.split("/")[1], []).append((row["frames"], gap))
    means = []
    for _ in range(4000):
        drawn = [pair for take in rng.choice(list(takes), len(takes)) for pair in takes[take]]
        means.append(np.average([gap for _, gap in drawn], weights=[frames for frames, _ in drawn]))
    frames, gaps = zip(*[pair for pairs in takes.values() for pair in pairs], strict=True)
    assert difference == pytest.approx(np.average(gaps, weights=frames))
    np.testing.assert_allclose([low, high], np.quantile(means, [0.025, 0.975]), atol=0.12)
    assert low < difference < high


def test_mean_and_spread_over_seeds():
    runs = [made_up(seed=0), made_up(seed=1, shift=2.0)]
    assert paired.spread(runs, "P_Agg") == pytest.approx((51, np.sqrt(2)))
    assert paired.spread(runs[:1], "P_Agg") == (50, None)


def test_a_model_takes_flags_after_a_colon():
    flags = compare.model_flags("graphdiffu:variant=published,learn-prompts,channels=64")
    assert flags == ["--model", "graphdiffu", "--variant", "published", "--learn-prompts", "--channels", "64"]
    for label in ("mixste:nothing=1", "mixste:variant", "mixste:p2=1"):
        with pytest.raises(UserError, match="--models mixste"):
            compare.model_flags(label)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--models", "mixste"], "--budget"),
        (["--models", "mixste", "--budget", "steps", "1.5"], "--budget steps 1.5"),
        (["--models", "mixste", "--budget", "hours", "1"], "--budget hours"),
        (["--models", "mixste", "mixste", "--budget", "steps", "1"], "each once"),
        (["--models", "mixste", "--budget", "steps", "1", "--evaluate", "x"], "--evaluate"),
        (["--models", "mixste", "--budget", "steps", "1", "--no-such-flag"], "no-such-flag"),
        (["--reports", "a"], "two or more"),
        (["--reports", "a", "b", "-f", "5"], "go with --models only"),
        (["--from", "nothing.json"], "not a readable JSON file"),
    ],
)
def test_wrong_command_lines_are_told_in_one_line(arguments, words, capsys):
    assert compare.main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert words in error and "\n" not in error


def test_a_page_without_markers_is_left_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("text\n", encoding="utf-8")
    with pytest.raises(UserError, match="<!-- compare x -->"):
        compare.write_between_markers(page, "compare x", "table")
    assert page.read_text(encoding="utf-8") == "text\n"


def test_the_commit_is_read_from_the_checkout(tmp_path):
    assert compare.commit_of(tmp_path) == "unknown"
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n", encoding="utf-8")
    (git / "packed-refs").write_text("# pack-refs\n" + "b" * 40 + " refs/heads/main\n", encoding="utf-8")
    assert compare.commit_of(tmp_path) == "b" * 10
    (git / "refs" / "heads" / "main").write_text("c" * 40 + "\n", encoding="utf-8")
    assert compare.commit_of(tmp_path) == "c" * 10
    (git / "HEAD").write_text("d" * 40 + "\n", encoding="utf-8")
    assert compare.commit_of(tmp_path) == "d" * 10
