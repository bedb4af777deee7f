"""benchmarks.wild on a made recording whose answer is known: matching by the picture, figures, results that stay."""

import json

import numpy as np
import pytest
import torch

from benchmarks import wild, wild_known
from benchmarks.wild import Results
from benchmarks.wild_real import average, matched, measure_camera, truth_accuracy
from common.errors import UserError
from common.files.writing import save_text
from common.geometry.camera import Camera
from common.geometry.skeleton import BODY_25B, COCO_17, H36M_17, H36M_17_OF_32
from common.wild.lifting import camera_of
from tests.people import in_camera, walker
from tests.programs.test_wild import make_checkpoint

JOINTS = ("LHip", "RHip", "LKnee", "RKnee", "LAnkle", "RAnkle", "LShoulder", "RShoulder", "LElbow", "RElbow", "LWrist",
          "RWrist")  # fmt: skip
COLUMNS = [H36M_17.index(j.replace("Ankle", "Foot")) for j in JOINTS]
CAMERA = camera_of((640, 480), 600.0)


@pytest.fixture
def pair():
    """Two people before a camera, (2, T, 17, 3)."""
    return np.stack([in_camera(walker(20, 25, place=(x, 0.0))) for x in (-0.8, 0.8)]).astype(np.float64)


def lifted(pair, first=0):
    pixels = CAMERA.project(torch.from_numpy(pair)).numpy()
    return [
        {"first": first, "positions": p[first:], "keypoints_2d": q[first:]} for p, q in zip(pair, pixels, strict=True)
    ]


def test_people_are_matched_by_the_picture_and_a_perfect_lift_errs_by_nothing(pair):
    people = lifted(pair, 3)[::-1]  # the other order, and three frames late
    found = matched(people, pair[:, :, COLUMNS], CAMERA, COLUMNS, "positions")
    assert np.isnan(found[:, :3]).all()
    np.testing.assert_allclose(found[:, 3:], pair[:, 3:, COLUMNS])
    row = measure_camera(found, pair[:, :, COLUMNS], JOINTS)
    assert row["mpjpe"] < 1e-6 and row["poses"] == 34 and row["known"] == 40 and abs(row["lean"]) < 1e-6
    assert row["jitter"] == pytest.approx(row["jitter_truth"], rel=0.2) and row["bones"] < 1e-6


def test_an_exchange_of_identities_gives_no_pose_to_somebody_else(pair):
    people = lifted(pair)
    for key in ("positions", "keypoints_2d"):
        a, b = people[0][key].copy(), people[1][key].copy()
        people[0][key][10:], people[1][key][10:] = b[10:], a[10:]
    found = matched(people, pair[:, :, COLUMNS], CAMERA, COLUMNS, "positions")
    np.testing.assert_allclose(found, pair[:, :, COLUMNS])


def test_figures_of_a_known_error(pair):
    truth = pair[:1, :, COLUMNS]
    wrong = truth.copy()
    wrong[..., 2] += 0.5  # farther away: nothing of the root's place counts
    wrong[:, :, JOINTS.index("LWrist"), 0] += 0.12
    row = measure_camera(wrong, truth, JOINTS)
    assert row["mpjpe"] == pytest.approx(10.0, abs=1e-6)  # 120 mm of one joint in twelve
    missing = measure_camera(np.full_like(truth, np.nan), truth, JOINTS)
    both = average([row, missing])
    assert both["mpjpe"] == pytest.approx(10.0, abs=1e-6) and both["lifted"] == 0.5


def write_recording(folder, people, jitter=0.0):
    """Four cameras round two people, as OpenPose's folders and a calibration; truth as the benchmark reads it."""
    rng = np.random.default_rng(0)
    centre = people.mean((0, 1, 2))
    lines, truth = [], []
    for n, heading in enumerate(np.radians([0, 80, 170, 260])):
        turn = np.array([[np.cos(heading), 0, -np.sin(heading)], [0, 1, 0], [np.sin(heading), 0, np.cos(heading)]])
        shift = np.array([0, 0, 5.0]) - turn @ centre
        seen = people @ turn.T + shift
        truth.append(seen[:, :, COLUMNS])
        pixels = CAMERA.project(torch.from_numpy(seen)).numpy()
        pixels += jitter * rng.standard_normal(pixels.shape)
        vector = [0.0, float(-heading), 0.0]
        lines += [f"[cam_{n}]", f'name = "cam_{n}"', "size = [640.0, 480.0]", "distortions = [0.0, 0.0, 0.0, 0.0]",
                  "matrix = [[600.0, 0.0, 320.0], [0.0, 600.0, 240.0], [0.0, 0.0, 1.0]]",
                  f"rotation = {vector}", f"translation = {shift.tolist()}", "fisheye = false"]  # fmt: skip
        place = folder / "pose" / f"cam{n}_json"
        place.mkdir(parents=True)
        for frame in range(people.shape[1]):
            rows = []
            for person in range(len(people)):
                joints = np.zeros((25, 3))
                for name, column in zip(JOINTS, COLUMNS, strict=True):
                    joints[BODY_25B.index(name)] = *pixels[person, frame, column], 0.9
                joints[COCO_17.index("Nose")] = *pixels[person, frame, H36M_17.index("Nose")], 0.9
                rows.append({"pose_keypoints_2d": joints.ravel().tolist()})
            save_text(place / f"cam{n}_{frame:012d}_keypoints.json", json.dumps({"people": rows}))
    save_text(folder / "Calib.toml", "\n".join(lines))
    np.savez(folder / "truth.npz", truth=np.array(truth), joints=np.array(JOINTS), fps=60.0)


@pytest.mark.parametrize("jitter", [0.0, 3.0])
def test_accuracy_of_the_truth(tmp_path, pair, jitter):
    write_recording(tmp_path, pair[:, :6], jitter)
    told = truth_accuracy(tmp_path)
    assert told["halves_seen"] > 0.95
    if jitter:  # 3 pixels at 600 of focal length and 5 m are 25 mm a coordinate and view
        assert 5 < told["halves"] < 60 and 2 < told["reprojection"] < 6
    else:
        assert told["halves"] < 0.5 and told["reprojection"] < 0.05


def test_figures_against_motion_capture():
    """A perfect pose has none, a shifted foot slides, a level camera's vertical is off by its pitch."""
    half = 0.5**0.5
    camera = Camera("level", 640, 480, (1.9, 1.9, *[0.0] * 7), (half, -half, 0.0, 0.0))
    assert np.allclose(wild_known.up_of_world(camera), [0, -1, 0])
    truth = in_camera(walker(100)).astype(np.float64)
    contact = wild_known.true_contact(camera, truth)
    speed = np.linalg.norm(np.gradient(truth[:, wild_known.FEET], axis=0), axis=-1) * wild_known.FPS
    assert contact.any() and speed[contact].max() < wild_known.STILL
    up = np.array([0.0, -1.0, 0.0])
    perfect = wild_known.figures(truth, truth, np.ones((100, 2), bool), up)
    assert perfect["mpjpe"] == perfect["root"] == 0 and perfect["bones"] < 1e-9
    drifting = truth + np.arange(100)[:, None, None] * [0.002, 0.05, 0.0]  # along the floor, and up
    still = np.repeat(truth[:1], 100, 0)
    moved = wild_known.figures(still + (drifting - truth), still, np.ones((100, 2), bool), up)
    assert moved["sliding"] == pytest.approx(2.0) and moved["mpjpe"] == pytest.approx(0, abs=1e-9)
    assert wild_known.angle(up, np.array([0, -1.0, 1.0])) == pytest.approx(45)


def test_a_run_over_everything_writes_its_page(tmp_path, pair):
    """An untrained network: parts, tables and page; the second run takes them from the file."""
    make_checkpoint(tmp_path / "model" / "tiny.bin")
    write_recording(tmp_path / "studio", pair[:, :12])
    takes = {s: {"Walk": np.zeros((100, 32, 3), np.float32)} for s in ("S9", "S11")}
    for subject in takes.values():
        subject["Walk"][:, list(H36M_17_OF_32)] = walker(100)
    np.savez(tmp_path / "data_3d_h36m.npz", positions_3d=np.array(takes, dtype=object))
    page = tmp_path / "page.md"
    page.write_text("before <!-- wild --> stale <!-- end wild --> after", encoding="utf-8")
    command = [str(tmp_path), "--real", str(tmp_path / "studio"), "-c", str(tmp_path / "model" / "tiny.bin"),
               "--json", str(tmp_path / "r.json"), "--limit", "1", "--write", str(page)]  # fmt: skip
    assert wild.main(command) == 0
    text = page.read_text("utf-8")
    assert "stale" not in text and text.startswith("before") and text.endswith("after")
    assert "final, `--height` told" in text and "the same with `--height`" in text
    assert "MediaPipe" in text and "sliding" in text and "R_Agg 1.25" in text and "final, person 1" in text
    content = json.loads((tmp_path / "r.json").read_text("utf-8"))
    final = content["parts"]["known 1"]["positions"]
    assert final["bones"] < 0.01 and 0 <= final["vertical"] < 90
    live = content["parts"]["live 1"]
    assert "--stream" in text and live["ms"] > 0 and min(live["whole"] + live["live"]) > 0
    assert content["parts"]["truth studio"]["rule"] < 1e-3
    assert wild.main(command) == 0 and page.read_text("utf-8") == text
    assert wild.main(["-c", str(tmp_path / "model" / "tiny.bin")]) == 2


def test_results_stay_and_belong_to_their_checkpoint(tmp_path):
    path, calls = tmp_path / "r.json", []

    def work():
        calls.append(1)
        return {"mm": 1.0}

    for _ in range(2):
        assert Results(path, {"checkpoint": "a"}).part("real", work) == {"mm": 1.0}
    assert len(calls) == 1
    Results(path, {"checkpoint": "b"}).part("real", work)
    assert len(calls) == 2
    path.write_text("[]")
    with pytest.raises(UserError, match="no"):
        Results(path, {"checkpoint": "b"})
