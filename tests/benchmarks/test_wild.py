"""benchmarks.wild on a made recording whose answer is known: matching by the picture, figures, results that stay."""

import json

import numpy as np
import pytest
import torch

from benchmarks.wild import Results
from benchmarks.wild_real import average, matched, measure_camera, truth_accuracy
from common.errors import UserError
from common.files.writing import save_text
from common.geometry.skeleton import BODY_25B, COCO_17, H36M_17
from common.wild.lifting import camera_of
from tests.people import in_camera, walker

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
