"""Label files, 2D estimates and detector statistics in the published formats."""

import pickle

import numpy as np
import pytest
import torch

from common.binocular.noise import DetectorNoise, leak, load_noise, measure, save_noise
from common.binocular.noise import main as noise_main
from common.datasets import stereo_formats as formats
from common.datasets.stereo import action_name, load_detections, load_labels, load_split
from common.errors import UserError
from common.geometry.stereo import triangulate


@pytest.mark.parametrize("kind", ["h36m", "mhad"])
def test_reading(stereo, kind):
    known = formats.DATA_SETS[kind]
    path = stereo / f"{kind}_labels.npy"
    before = load_labels(path)["table"]["keypoints"].copy()
    data = load_split(path, subjects=known.test, detections_path=stereo / f"{kind}_test.pkl")
    rigs = 2 if kind == "mhad" else 1
    assert len(data) == 33 * 2 * rigs and data.kind == kind and data.dropped == 0
    assert {data.subjects[s] for s in data.subject.tolist()} == set(known.test)
    assert data.group.unique().tolist() == list(range(rigs))
    again = load_split(path, subjects=known.test, detections_path=stereo / f"{kind}_test.pkl")
    assert torch.equal(data.keypoints_3d, again.keypoints_3d)  # nothing is changed in place
    assert np.array_equal(load_labels(path)["table"]["keypoints"], before)
    assert 0.5 < float(data.keypoints_3d[:, 6, 2].mean()) < 1.5  # metres
    # The true 2D poses triangulate to the labels, and both views share rows.
    points = data.keypoints_2d
    assert points.abs().max() <= 1
    assert (triangulate(points, data.projections) - data.keypoints_3d).abs().max() < 1e-6
    assert (points[:, 0, :, 1] - points[:, 1, :, 1]).abs().max() < 1e-5
    # Estimates come back in the order of their indexes: they are the truth plus 3 px and 2 px of noise.
    error = (data.detections - points) * 192
    assert abs(float(error.mean()) - 3) < 0.1 and abs(float(error.std()) - 2) < 0.1
    views = data.views("camera")
    assert torch.allclose(views.baseline[data.group == 0], torch.tensor(1000.0).double(), atol=1e-2)
    assert torch.allclose(views.action[:, 0] * 11, data.action.double())
    depth = (data.keypoints_3d[:, 6] * views.axis).sum(-1) + views.offset
    assert float(depth.min()) > 2 and float(depth.max()) < 5


def edited(stereo, tmp_path, change, kind="mhad"):
    labels = load_labels(stereo / f"{kind}_labels.npy")
    change(labels)
    formats.save_labels(tmp_path / "labels.npy", labels)
    return tmp_path / "labels.npy"


def test_rows_without_both_views_are_dropped_with_a_count(stereo, tmp_path):
    def hide(labels):
        rows = np.flatnonzero(labels["table"]["subject_idx"] == labels["subject_names"].index("S08"))
        labels["table"]["bbox_by_camera_tlbr"][rows[:5], 1] = 0

    path = edited(stereo, tmp_path, hide)
    whole = load_split(stereo / "mhad_labels.npy", subjects=formats.MHAD.test, detections_path=stereo / "mhad_test.pkl")
    data = load_split(
        path, subjects=formats.MHAD.test, detections_path=stereo / "mhad_test.pkl"
    )  # estimates of all rows
    assert data.dropped == 5 and len(data) == len(whole) - 5
    kept = torch.isin(whole.row, data.row)
    assert torch.equal(whole.detections[kept], data.detections)


def test_groups_and_people(stereo):
    data = load_split(stereo / "mhad_labels.npy", subjects=("S03",), groups=[1])
    assert len(data) == 33 and set(data.group.tolist()) == {1}
    with pytest.raises(UserError, match="no subject S99"):
        load_split(stereo / "mhad_labels.npy", subjects=("S99",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("indexes"), "keypoints_2d_pred"),
        (lambda d: d.update(keypoints_2d_pred=d["keypoints_2d_pred"][:, :, :5]), "shape"),
        (lambda d: d.update({k: d[k][:-1] for k in ("keypoints_2d_pred", "indexes")}), "frames, but the labels have"),
        (lambda d: d.update(keypoints_2d_pred=d["keypoints_2d_pred"][:, :1]), "1 views"),
        (lambda d: d.update(indexes=np.zeros_like(d["indexes"])), "twice"),
    ],
)
def test_estimates_that_do_not_fit(stereo, tmp_path, change, message):
    with (stereo / "mhad_test.pkl").open("rb") as stream:
        content = pickle.load(stream)
    change(content)
    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=message):
        load_split(stereo / "mhad_labels.npy", subjects=formats.MHAD.test, detections_path=path)


def test_a_pickle_that_runs_something_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return print, ("run",)

    path = tmp_path / "trap.pkl"
    path.write_bytes(pickle.dumps({"keypoints_2d_pred": Trap(), "indexes": 0}))
    with pytest.raises(UserError, match="refused"):
        load_detections(path)
    np.save(tmp_path / "trap.npy", np.array(Trap(), dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="refused"):
        load_labels(tmp_path / "trap.npy")


def test_labels_that_are_not_complete(stereo, tmp_path):
    with pytest.raises(UserError, match="cameras"):
        load_split(edited(stereo, tmp_path, lambda d: d.pop("cameras")))

    def without_group(labels):
        table = labels["table"]
        labels["table"] = table[[n for n in table.dtype.names if n != "group_idx"]].copy()

    with pytest.raises(UserError, match="group_idx"):
        load_split(edited(stereo, tmp_path, without_group))
    with pytest.raises(UserError, match="3 views"):
        load_split(stereo / "mhad_labels.npy", views=3)


def test_weighted_triangulation_reads_confidence(stereo, tmp_path):
    with (stereo / "mhad_test.pkl").open("rb") as stream:
        content = pickle.load(stream)
    content["confidence"] = np.random.default_rng(0).random(content["keypoints_2d_pred"].shape[:3])
    path = tmp_path / "confident.pkl"
    path.write_bytes(pickle.dumps(content))
    data = load_split(stereo / "mhad_labels.npy", subjects=formats.MHAD.test, detections_path=path)
    assert data.views("camera", weighted=True).weights.shape == (len(data), 2, 17)
    plain = load_split(stereo / "mhad_labels.npy", subjects=formats.MHAD.test, detections_path=stereo / "mhad_test.pkl")
    with pytest.raises(UserError, match="confidence"):
        plain.views("camera", weighted=True)


def test_statistics(stereo):
    data = load_split(
        stereo / "mhad_labels.npy", subjects=formats.MHAD.train, detections_path=stereo / "mhad_train.pkl"
    )
    noise, error = load_noise(stereo / "mhad_gauss.npy"), data.detections - data.keypoints_2d
    assert np.load(stereo / "mhad_gauss.npy").dtype == np.float64
    assert torch.allclose(noise.mean, error.mean(0)) and torch.allclose(noise.std, error.std(0, correction=0))
    assert noise.source["subjects"] == sorted(formats.MHAD.train) and noise.source["frames"] == len(data)
    assert abs(noise.eta * 192 - 2) < 0.05


def test_a_leak_is_seen(stereo, tmp_path):
    test = load_split(stereo / "mhad_labels.npy", subjects=formats.MHAD.test, detections_path=stereo / "mhad_test.pkl")
    assert leak(load_noise(stereo / "mhad_gauss.npy"), test) is None
    own = measure(test)
    assert "S08, S11" in leak(own, test)
    save_noise(tmp_path / "published.npy", DetectorNoise(own.mean, own.std))
    (tmp_path / "published.json").unlink()  # a published file says nothing about its source
    assert "equal" in leak(load_noise(tmp_path / "published.npy"), test)


def test_damaged_sequences(stereo):
    data = load_split(stereo / "h36m_labels.npy", subjects=formats.H36M.test, detections_path=stereo / "h36m_test.pkl")
    names = {
        (data.subjects[s], data.actions[a])
        for s, a in zip(data.subject[data.damaged], data.action[data.damaged], strict=True)
    }
    assert names == formats.DAMAGED
    assert measure(data).source["left_out_damaged"] == int(data.damaged.sum()) > 0
    assert action_name("Greeting-2") == "Greeting" and action_name("A03") == "A03"


def test_noise_program_says_what_is_wrong(stereo, tmp_path, capsys):
    arguments = ["--detections", str(stereo / "mhad_test.pkl"), "--labels", str(stereo / "mhad_labels.npy")]
    out = tmp_path / "x.npy"
    assert noise_main([*arguments, "--out", str(out)]) == 2  # these are the test people's
    assert "frames, but the labels have" in capsys.readouterr().err
    assert noise_main([*arguments, "--split", "test", "--out", str(out)]) == 0
    assert "Do not evaluate S08, S11" in capsys.readouterr().out and out.is_file()
    with pytest.raises(UserError, match="shape"):
        load_noise(out, views=4)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("t", None, "stand in one place"),
        ("K", 0.0, "focal length is not above 0"),
        ("K", np.nan, "NaN or infinite"),
        ("R", 0.0, "R is no rotation"),
    ],
)
def test_rigs_that_tell_no_depth_are_refused(stereo, tmp_path, field, value, told):
    labels = np.load(stereo / "h36m_labels.npy", allow_pickle=True).item()
    if value is None:
        labels["cameras"][:, 1] = labels["cameras"][:, 0]
    else:
        labels["cameras"][field] = value
    np.save(tmp_path / "labels.npy", labels)
    with pytest.raises(UserError, match=told):
        load_split(tmp_path / "labels.npy")
