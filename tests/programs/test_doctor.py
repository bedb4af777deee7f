"""The doctor finds what is there, what is missing, and what is broken."""

import json

import numpy as np
import pytest
import torch

from common.datasets.custom import write_custom_2d, write_custom_3d
from common.datasets.h36m import write_h36m_files
from common.datasets.synthetic.humaneva import write_humaneva
from common.datasets.synthetic.threedhp import write_threedhp
from common.files.reading import load_archive
from common.geometry.skeleton import H36M_17
from common.models import build
from common.programs import doctor, installation
from tests.data import acclaim
from tests.data.test_convert_aspset import c3d


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
    write_poses(tmp_path / "poses.npz", [{"id": 1, "positions": poses}], 25, H36M_17, card={"model": "mixste"})
    assert "poses of 1 people (4 frames), 17 joints, 25 fps" in doctor.check_file(tmp_path / "poses.npz").text
    assert doctor.check_file(tmp_path).state == doctor.PROBLEM


def test_a_file_of_a_data_set_is_read_without_its_2d(tmp_path, h36m):
    """Each kind by its loader's own reading; damage that its program would refuse is a problem here, too."""
    write_threedhp(tmp_path / "3dhp", tmp_path / "3dhp_test", seconds=0.2, progress=False)
    write_humaneva(tmp_path, seconds=0.2, progress=False)
    world = np.random.default_rng(0).uniform(-0.5, 0.5, (5, 17, 3)) + [0, 0, 1]
    positions = {"A": {"Walk": world.astype(np.float32)}}
    camera = {"id": "a", "res_w": 1000, "res_h": 1000, "focal_length": (900, 900), "center": (500, 500)}
    custom = write_custom_3d(tmp_path / "data_3d_custom_x.npz", positions, {"*": [camera]}, 50, H36M_17)
    whole = {
        h36m / "data_3d_h36m.npz": "Human3.6M's layout, 1 takes, 20 frames",
        tmp_path / "data_3d_humaneva15.npz": "HumanEva's layout",
        tmp_path / "3dhp" / "data_train_3dhp_ori.npz": "MPI-INF-3DHP train, labels annot3",
        tmp_path / "3dhp" / "data_test_3dhp.npz": "MPI-INF-3DHP test, labels univ_annot3",
        custom: "5 frames",
    }
    for path, part in whole.items():
        finding = doctor.check_file(path)
        assert finding.state == doctor.OK and part in finding.text and "--data-root" in finding.text

    def damaged(path, **changes):
        np.savez(path, **{**load_archive(path), **changes})
        return doctor.check_file(path)

    words = {"S1": {"Walking": np.array([["no"]])}}
    train = tmp_path / "3dhp" / "data_train_3dhp_ori.npz"
    told = [
        (damaged(h36m / "data_3d_h36m.npz", positions_3d=words), "no numbers"),
        (damaged(tmp_path / "data_3d_humaneva15.npz", positions_3d=words), "no numbers"),
        (damaged(train, cameras={"S1 Seq1": {"0": (1.0, 2.0)}}), "not fx, fy, cx, cy"),
        (damaged(train, cameras=1e308), "no dictionary of sequences"),
        (damaged(custom, cameras={"B": [camera]}), "no cameras for subject A"),
    ]
    for finding, part in told:
        assert finding.state == doctor.PROBLEM and part in finding.text


def test_data_sets_without_a_form(tmp_path):
    """Those that are missing with their pages, those that are there from the folders that the converters write."""
    found = by_name(doctor.data_sets(tmp_path))
    for name, page in (("cmu", "mocap.cs.cmu.edu"), ("aspset", "archive.org"), ("aist", "aistplusplus_dataset")):
        assert found[name].state == doctor.MISSING
        assert page in found[name].text and f"convert_{name}.py" in found[name].text
    rng = np.random.default_rng(0)
    world = {"S9": {"Walk 02_01": (rng.uniform(-0.5, 0.5, (20, 17, 3)) + [0, 0, 1]).astype(np.float32)}, "S1": {}}
    views = {"S9": {"Walk 02_01": [rng.uniform(100, 900, (20, 17, 2)).astype(np.float32)] * 4}, "S1": {}}
    about = {"data": "CMU motion capture, not Human3.6M", "frames": {"S9": {2: 20}}}
    write_h36m_files(tmp_path / "cmu", world, {"gt": views}, about=about)
    camera = {"id": "a", "res_w": 1000, "res_h": 1000, "focal_length": (900, 900), "center": (500, 500)}
    pixels = {"test/1e28": {"Clip 1": views["S9"]["Walk 02_01"][:1]}}
    positions = {"test/1e28": {"Clip 1": world["S9"]["Walk 02_01"] + np.array([0, 0, 3], np.float32)}}
    write_custom_2d(tmp_path / "aspset" / "data_2d_custom_aspset_gt.npz", pixels, H36M_17, "h36m")
    write_custom_3d(
        tmp_path / "aspset" / "data_3d_custom_aspset.npz",
        positions,
        {"*": [camera]},
        50,
        H36M_17,
        about={"data": "ASP"},
    )
    found = by_name(doctor.data_sets(tmp_path))
    text = found["cmu: h36m gt"].text
    assert "not Human3.6M" in text and "20 frames of performers (frames) 2 (20)" in text and "S9" in text
    text = found["aspset: custom aspset_gt"].text
    assert "-d custom -k aspset_gt" in text and "; ASP" in text
    assert "aspset" not in found and found["aist"].state == doctor.MISSING


def test_recorded_motion_files(tmp_path):
    acclaim.write(tmp_path / "01.asf", acclaim.asf())
    (tmp_path / "a.c3d").write_bytes(c3d(np.zeros((5, 17, 3))))
    (tmp_path / "b.c3d").write_bytes(b"no")
    assert "30 bones, 0.056444 m a unit" in doctor.check_file(tmp_path / "01.asf").text
    assert "5 frames, 17 points, 50 Hz, unit mm" in doctor.check_file(tmp_path / "a.c3d").text
    assert doctor.check_file(tmp_path / "b.c3d").state == doctor.PROBLEM


def test_what_a_program_would_refuse_is_a_problem(tmp_path):
    """A calibration, poses and motion that are readable files of another content; a name that cannot be."""
    h5py = pytest.importorskip("h5py")
    (tmp_path / "camera.calibration").write_text("name 0\n  intrinsic 1 2 x\n")
    with h5py.File(tmp_path / "Walking.h5", "w") as file:
        file["3D_positions"] = np.zeros((1, 1, 0))
    words = np.array(["R01"] * 2)
    np.savez(tmp_path / "poses.npz", keypoints=words, subject=words, action=words, frame=np.arange(2))
    told = {
        "camera.calibration": "not a readable calibration",
        "Walking.h5": "expected (96, frames)",
        "poses.npz": "keypoints of shape (2,)",
        "n" * 5000: "no usable name",
    }
    for name, part in told.items():
        finding = doctor.check_file(tmp_path / name)
        assert finding.state == doctor.PROBLEM and part in finding.text
