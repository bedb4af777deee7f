"""notebooks/quickstart.ipynb: its cells run, one after the other, and what it shows is small."""

import json

import numpy as np

from tests.docs.pages import ROOT

PATH = ROOT / "notebooks" / "quickstart.ipynb"


def test_the_notebook(tmp_path, monkeypatch, capsys):
    matplotlib = __import__("matplotlib")
    before = matplotlib.get_backend()
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    cells = json.loads(PATH.read_text(encoding="utf-8"))["cells"]
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"quickstart.ipynb, cell {number + 1}", "exec"), names)
    matplotlib.pyplot.close(names["figure"])
    matplotlib.use(before)
    out = capsys.readouterr().out
    assert "Greeting (100, 17, 2) 50 frames a second" in out and "(100, 17, 3) (10, 100, 17, 3) m" in out
    assert "poses.npz" in out and "person_0.bvh" in out and "protocol_2 {'P_Agg'" in out
    poses, truth = (x - x[:, :1] for x in (names["person"].joints, names["clip"].positions_3d))
    assert np.linalg.norm(poses - truth, axis=-1).mean() < 0.2


def test_the_notebook_is_small_and_shows_what_it_gives():
    assert PATH.stat().st_size < 100_000
    cells = json.loads(PATH.read_text(encoding="utf-8"))["cells"]
    kinds = {key for cell in cells for output in cell.get("outputs", ()) for key in output.get("data", ())}
    assert "image/png" in kinds and not any(o["output_type"] == "error" for c in cells for o in c.get("outputs", ()))
