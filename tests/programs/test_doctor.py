"""The doctor finds what is there, what is missing, and what is broken."""

import json

import numpy as np
import pytest
import torch

from common.geometry.skeleton import H36M_17
from common.models import build
from common.programs import doctor, installation


@pytest.fixture
def h36m(tmp_path):
    """A tiny Human3.6M folder: one subject, one take of 20 frames, four cameras."""
    rng = np.random.default_rng(0)
    world = (rng.uniform(-0.5, 0.5, (20, 17, 3)) + [0, 0, 1]).astype(np.float32)
    pixels = [rng.uniform(100, 900, (20, 17, 2)).astype(np.float32) for _ in range(4)]
    meta = {"num_joints": 17, "keypoints_symmetry": [list(H36M_17.left), list(H36M_17.right)]}
    np.savez(tmp_path / "data_3d_h36m.npz", positions_3d={"S1": {"Walking": world}})
    np.savez(tmp_path / "data_2d_h36m_gt.npz", positions_2d={"S1": {"Walking": pixels}}, metadata=meta)
    return tmp_path


def by_name(findings):
    return {finding.what: finding for finding in findings}


def test_installation_names_versions_and_what_is_missing(monkeypatch):
    found = by_name(doctor.installation())
    assert found["torch"].state == doctor.OK and torch.__version__.split("+")[0] in found["torch"].text
    assert "-gpu -1" in found["CPU"].text
    monkeypatch.setattr(installation, "_version", lambda name: None if name in ("rtmlib", "scipy") else "1.0")
    found = by_name(doctor.installation())
    assert found["rtmlib"].state == doctor.MISSING and "pip install rtmlib" in found["rtmlib"].text
    assert found["scipy"].state == doctor.PROBLEM


def test_data_that_is_there_and_data_that_is_not(h36m):
    found = by_name(doctor.data_sets(h36m))
    text = found["h36m gt"].text
    assert found["h36m gt"].state == doctor.OK
    for part in ("-d h36m -k gt", "S1", "4 cameras", "1000 x 1002", "80 frames", "17 joints", "50 fps", "metres"):
        assert part in text
    assert found["humaneva15"].state == doctor.MISSING and "humaneva.is.tue.mpg.de" in found["humaneva15"].text
    assert "3dhp-dataset" in found["3dhp train"].text and "custom_data.md" in found["custom"].text


def test_millimetres_are_a_problem(h36m, capsys):
    world = np.random.default_rng(0).uniform(-500, 500, (20, 17, 3)).astype(np.float32)
    np.savez(h36m / "data_3d_h36m.npz", positions_3d={"S1": {"Walking": world}})
    assert doctor.main(["--data-root", str(h36m)]) == 2
    out = capsys.readouterr().out
    assert "PROBLEM  h36m gt" in out and "millimetres" in out and "1 problem found." in out


def test_2d_without_3d_is_missing_not_broken(h36m, capsys):
    (h36m / "data_3d_h36m.npz").unlink()
    np.savez(h36m / "data_2d_custom_mine.npz", positions_2d={}, metadata={})
    assert doctor.main(["--data-root", str(h36m)]) == 0
    out = capsys.readouterr().out
    assert "2D is there: gt" in out and "no data_3d_custom_mine.npz" in out


def make_checkpoint(path, **changes):
    network = build("mixste", frames=9, joints=17, channels=16, depth=1)
    card = {
        "model": "mixste", "sizes": {"frames": 9, "joints": 17, "channels": 16, "depth": 1}, "variant": "default",
        "frames": 9, "joints": 17, "skeleton": "h36m_17", "keypoints": "cpn", "labels": None, "units": "m", "seed": 7,
        "epoch": 3, "version": 1, "fps": 50.0, "diffusion": {},
    } | changes  # fmt: skip
    torch.save({"card": card, "weights": network.state_dict()}, path)


def test_checkpoints(tmp_path, capsys):
    make_checkpoint(tmp_path / "last.bin")
    finding = doctor.check_file(tmp_path / "last.bin")
    assert finding.state == doctor.OK
    for part in ("mixste", "epoch 3", "9 frames", "17 joints (h36m_17)", "2D from cpn", "50 fps", "hash"):
        assert part in finding.text
    make_checkpoint(tmp_path / "wide.bin", sizes={"frames": 9, "joints": 17, "channels": 32, "depth": 1})
    assert doctor.check_file(tmp_path / "wide.bin").state == doctor.PROBLEM
    (tmp_path / "cut.bin").write_bytes((tmp_path / "last.bin").read_bytes()[:5000])
    (tmp_path / "note.txt").write_text("x")
    files = [str(tmp_path / name) for name in ("last.bin", "cut.bin", "none.bin", "note.txt")]
    assert doctor.main(files) == 2
    out = capsys.readouterr().out
    assert out.count("PROBLEM") == 3 and "3 problems found." in out and "Data in" not in out


def test_files_of_other_kinds(tmp_path, h36m):
    rows = [{"image_id": f"{t}.jpg", "keypoints": [1.0, 2.0, 0.9] * 26} for t in (0, 2)]
    (tmp_path / "alphapose.json").write_text(json.dumps(rows))
    text = doctor.check_file(tmp_path / "alphapose.json").text
    assert "3 frames (1 without anybody)" in text and "halpe_26" in text and "--fps" in text
    assert "4 clips, 80 frames, 17 joints" in doctor.check_file(h36m / "data_2d_h36m_gt.npz").text
    assert "--data-root" in doctor.check_file(h36m / "data_3d_h36m.npz").text
    from common.files.bvh import write_bvh
    from common.files.poses import write_poses

    poses = np.cumsum(np.random.default_rng(0).normal(size=(4, 17, 3)), 1)
    write_bvh(tmp_path / "a.bvh", poses, H36M_17, 25)
    assert "4 frames" in doctor.check_file(tmp_path / "a.bvh").text
    write_poses(tmp_path / "poses.npz", [{"id": 1, "positions": poses}], 25, H36M_17, {"model": "mixste"})
    assert "poses of 1 people (4 frames), 17 joints, 25 fps" in doctor.check_file(tmp_path / "poses.npz").text
    assert doctor.check_file(tmp_path).state == doctor.PROBLEM
