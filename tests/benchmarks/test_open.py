"""The table of all models: runs, resumes, picture; what is not comparable has no interval."""

import json

import matplotlib.image
import pytest

from benchmarks import open as table_of_all
from common.models import REGISTRY
from tests.tiny import h36m_folder

TINY = table_of_all.Size("-f 5 -cs 16 -dep 1", 5, 2)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(table_of_all.SIZES, "small", TINY)
    monkeypatch.setattr(table_of_all, "SAMPLED", "-num_proposals 2 -sampling_timesteps 2")


def test_the_table_its_picture_and_its_file(small, tmp_path, capsys):
    page, file = tmp_path / "docs" / "open.md", tmp_path / "open.json"
    line = [
        str(h36m_folder()),
        "-o",
        str(tmp_path / "runs"),
        "-a",
        "Walking",
        "--json",
        str(file),
        "--write",
        str(page),
    ]
    line += ["--models", "mixste,graphdiffu,mixste_ray,diff3dhpe_s2f", "--seeds", "1", "2"]
    assert table_of_all.main(line) == 0
    text = page.read_text(encoding="utf-8")
    rows = {row.split(" | ")[0].strip("| "): row for row in text.splitlines() if row.startswith("| ")}
    assert {"mixste", "graphdiffu (default)", "mixste_ray", "diff3dhpe_s2f (default)"} <= set(rows)
    assert " to " in rows["graphdiffu (default)"] and " to " not in rows["diff3dhpe_s2f (default)"]  # H=K=1
    assert (
        "diff3dhpe_s2f H=1, K=1" in text and "`dual_diffusion` (two views" in text and "`ktpformer` (not run)" in text
    )
    picture = matplotlib.image.imread(page.parent / table_of_all.PICTURE)
    assert picture.shape[0] > 300 and picture[..., :3].std() > 0.05
    result = json.loads(file.read_text(encoding="utf-8"))
    assert len(result["runs"]) == 8 and all(r["trained_steps"] == 2 and r["mpjve"] > 0 for r in result["runs"])
    capsys.readouterr()
    assert table_of_all.main(line) == 0
    assert capsys.readouterr().err.count("finished before") == 8
    assert table_of_all.main(["--from", str(file)]) == 0


def test_every_model_of_the_registry_is_in_it_or_named(small):
    args = table_of_all.make_parser("").parse_args(["x"])
    assert args.models == list(REGISTRY)
    assert table_of_all.flags_of("diff3dhpe_s2f").endswith(table_of_all.SINGLE)
    assert "--text learned" in table_of_all.flags_of("grap2eq")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["x", "--models", "nothing"], "--models nothing: unknown"),
        ([], "folder of the data is missing"),
        (["--from", "nothing.json"], "not a readable JSON file"),
    ],
)
def test_wrong_lines(line, said, capsys):
    assert table_of_all.main(line) == 2
    assert said in capsys.readouterr().err
