"""docs/api.md: its blocks run, one after the other."""

import numpy as np
import pytest

from common.geometry.skeleton import COCO_17, H36M_17
from tests import tiny
from tests.docs.pages import run_blocks
from tests.people import in_camera, pixels, walker


def coco(frames: int) -> np.ndarray:
    """(F, 17, 2): the walking figure in COCO's joints, pixels of 1920 x 1080."""
    names = {"Ankle": "Foot", "Eye": "Nose", "Ear": "Nose"}
    joints = []
    for name in COCO_17.joints:
        side = name[0] if name != "Nose" else ""
        kind = name.removeprefix(side)
        known = f"{side}{names.get(kind, kind)}"
        joints.append(H36M_17.index(known if known in H36M_17.joints else names.get(kind, kind)))
    return pixels(in_camera(walker(frames, 30.0, bend=1)), 1920, 1080, 1632.0)[:, joints]


def test_the_page(tmp_path, monkeypatch, capsys):
    np.save(tmp_path / "keypoints.npy", coco(15))
    (tmp_path / "data").symlink_to(tiny.h36m_folder())
    monkeypatch.chdir(tmp_path)
    names = run_blocks("docs/api.md")
    out = capsys.readouterr().out
    assert "(15, 17, 3) m ('Hip', 'RHip'" in out and out.count("mm apart") == 2
    assert "argument --fps: 0: must be 0.01 or more" in out
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"poses.npz", "viewer.html", "person_0.glb"}
    assert (tmp_path / "checkpoint" / "mine" / "report.json").is_file()
    assert names["report"]["hypotheses"] == 5
    head = names["people"][0].on_ground[:, H36M_17.index("Head"), 2]
    assert head.mean() == pytest.approx(1.6, abs=0.4)
