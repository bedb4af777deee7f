"""The ladder: what a candidate types, equal time by steps, who climbs, and a whole short one that resumes."""

import json

import pytest

from benchmarks import compare, ladder, recipe
from common.engine.recipe import lifter_recipe, with_recipe
from common.settings.recipe import DEFAULT, PUBLISHED, frames_of, rate_of
from tests.benchmarks.test_compare import made_up
from tests.tiny import CPU, h36m_folder

TINY = "-k cpn_ft_h36m_dbb -f 5 -cs 16 -dep 1 -gpu -1 --select last --nolog -cf 1000000 --p2 -a Walking"


@pytest.mark.parametrize("name", ladder.CANDIDATES)
def test_a_candidate_types_its_whole_recipe(name):
    candidate = ladder.CANDIDATES[name]
    settings = with_recipe(ladder.settings_of(candidate, h36m_folder(), ladder.CHOOSING)[0])
    for field, value in candidate.recipe.items():
        unused = "warm_up" if candidate.recipe["schedule"] == "exponential" else "lr_decay"
        assert field == unused or settings.value(field) == value, field
    made = lifter_recipe(settings, 27, squared=True)
    assert made.schedule == candidate.recipe["schedule"] and made.batch == candidate.recipe["batch_size"] // 27


def test_today_is_the_published_recipe_and_the_default_a_candidate():
    assert ladder.CANDIDATES["today"].recipe == PUBLISHED
    whole = DEFAULT | {"learning_rate": rate_of(64), "batch_size": frames_of(27)}
    assert ladder.CANDIDATES["lifter"].recipe | ladder.CHOSEN == whole


def test_equal_time_is_made_of_steps():
    assert ladder.steps_of(1580, 1, 1) == round(1580 / 0.405)
    assert ladder.steps_of(1580, 0.1, 0.5) == round(158 / 0.405 * 2)


def test_costs_are_ratios_to_today(monkeypatch):
    monkeypatch.setattr(ladder, "WHERE", TINY)
    found = ladder.measure([ladder.CANDIDATES["lifter"]], h36m_folder(), CPU, rounds=3)
    assert found["today"] == 1 and 0 < found["lifter"] < 1.5


def screened(**shifts) -> dict[str, list[dict]]:
    return {name: [made_up(name, seed=s, shift=shift) for s in (1, 2)] for name, shift in shifts.items()}


def test_what_helps_is_put_together_and_the_best_four_climb():
    runs = screened(today=9.0, lifter=0.0)
    runs |= screened(**{"lifter + turn": -2.0, "lifter + body": -1.0, "lifter + bones": -0.5, "lifter + velocity": 1.0})
    together = ladder.combined(runs)
    assert together.changes == {"vary": ("turn",), "bone_loss": 0.5}  # of one field the best
    assert [c.name for c in ladder.finalists(runs)] == ["combined", "lifter + turn", "lifter + body", "lifter + bones"]
    alone = screened(today=9.0, lifter=0.0, **{"lifter + turn": -2.0})
    assert [c.name for c in ladder.finalists(alone)] == ["lifter + turn", "lifter", "today"]  # the combination is turn


def test_a_short_ladder_resumes_and_writes_its_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ladder, "WHERE", TINY)
    out, page = tmp_path / "ladder", tmp_path / "recipe.md"
    costs = {"costs": {name: 1.0 for name in [*ladder.CANDIDATES, "combined"]}}
    (tmp_path / "costs.json").write_text(json.dumps(costs), encoding="utf-8")
    line = [str(h36m_folder()), "-o", str(out), "--budget", "6", "--only", "today; lifter", "--rungs", "screen,full"]
    line += ["--costs", str(tmp_path / "costs.json"), "--json", str(tmp_path / "recipe.json"), "--write", str(page)]
    monkeypatch.setattr(ladder, "mean_error", lambda runs: float(runs[0]["label"] == "today"))  # so the lifter climbs
    trained, train = [], compare.train

    def counted(settings, place):
        trained.append(settings.run.checkpoint)
        return train(settings, place)

    monkeypatch.setattr(compare, "train", counted)
    assert recipe.main(line) == 0
    assert len(trained) == len(set(trained)) == 8  # two recipes, two seeds, two rungs
    text = page.read_text(encoding="utf-8")
    assert "scored on S6,S8" in text and "scored on S9,S11" in text and "| today | 1 | 1, 2 |" in text
    assert recipe.main(line) == 0 and len(trained) == 8
    result = json.loads((tmp_path / "recipe.json").read_text(encoding="utf-8"))
    assert result["runs"]["full"]["lifter"][0]["trained_steps"] == ladder.steps_of(6, 1, 1) == 15
    assert recipe.main([*line[:-2], "--seeds", "1"]) == 0 and "| today | 1 | 1 |" in capsys.readouterr().out
    assert recipe.main([*line[:-2], "--budget", "60"]) == 2  # the folders hold runs of another length
    assert "holds a run with other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--only", "nothing"], "--only nothing: unknown"),
        (["--rungs", "fourth"], "--rungs fourth: unknown"),
        (["--rungs", "third"], "name both"),
        (["--rungs", "full,screen"], "in the order"),
        (["--budget", "0"], "--budget 0: must be above 0"),
        (["--seeds", "0"], "--seeds 0: must be 1 or more"),
    ],
)
def test_wrong_lines(more, said, capsys):
    assert recipe.main(["x", *more]) == 2
    assert said in capsys.readouterr().err
