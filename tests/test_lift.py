"""common/lift.py and common/train.py: what Python calls, equal to what the programs write; one line for bad input."""

import numpy as np
import pytest

from common.errors import UserError
from common.files.bvh_reader import read_bvh
from common.lift import OUTPUTS, Lifter
from common.programs.wild import main
from common.train import evaluate, train
from tests import tiny
from tests.people import in_camera, pixels, walker

SIZE, FPS = (640, 480), 25


@pytest.fixture(scope="module")
def lifter():
    return Lifter.open(say=lambda line: None)


@pytest.fixture(scope="module")
def two():
    """2D (F, N, 17, 3) of two people in Human3.6M's joints, one of whom the detector loses for two frames."""
    people = [pixels(in_camera(walker(20, FPS, place=(x, 0.0), bend=1)), *SIZE, focal=500.0) for x in (-0.8, 0.8)]
    points = np.stack(people, 1)
    points = np.concatenate([points, np.full((*points.shape[:-1], 1), 0.9)], -1).astype(np.float32)
    points[8:10, 1] = 0
    return points


ASKED = {"hypotheses": 2, "sampling_timesteps": 1, "focal": 500.0, "seed": 3}
TYPED = ["-num_proposals", "2", "-sampling_timesteps", "1", "--focal", "500", "--seed", "3"]


def members(path):
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def test_the_call_is_the_program_bit_for_bit(tmp_path, lifter, two):
    np.save(tmp_path / "keypoints.npy", two.swapaxes(0, 1))
    file = [str(tmp_path / "keypoints.npy"), "--layout", "h36m", "--size", "640x480", "--fps", "25"]
    assert (
        main(
            "test", [*file, *TYPED, "--height", "0=1.8,1=1.2", "--outputs", "poses,bvh", "-o", str(tmp_path / "typed")]
        )
        == 0
    )
    asked = ASKED | {"height": {0: 1.8, 1: 1.2}}
    lifter(two, size=SIZE, fps=FPS, layout="h36m", **asked).save(tmp_path / "called", "poses,bvh")
    read = lifter.video(tmp_path / "keypoints.npy", layout="h36m", size=SIZE, fps=FPS, **asked)
    read.save(tmp_path / "read", ["poses", "bvh"])
    typed = members(tmp_path / "typed" / "poses.npz")
    for folder in ("called", "read"):
        called = members(tmp_path / folder / "poses.npz")
        assert typed.keys() == called.keys() and len(typed) > 20
        for name, array in typed.items():
            np.testing.assert_array_equal(array, called[name], err_msg=name, strict=True)
        for name in ("person_0.bvh", "person_1.bvh"):
            assert (tmp_path / folder / name).read_bytes() == (tmp_path / "typed" / name).read_bytes()


def test_what_comes_back(tmp_path, lifter, two):
    people = lifter(two, size=SIZE, fps=FPS, layout="h36m", **ASKED)
    assert len(people) == 2 and people.units == "m" and people.names == people.skeleton.joints and people.fps == FPS
    assert sorted(person.id for person in people) == [0, 1] and [p.id for p in people[1:]] == [people[1].id]
    person = next(person for person in people if person.id == 1)
    assert person.joints.shape == person.raw.shape == (20, 17, 3) and person.hypotheses.shape == (2, 20, 17, 3)
    assert person.spread.shape == person.mask.shape == person.known.shape == (20, 17)
    np.testing.assert_array_equal(person.root, person.joints[:, 0])
    assert person.radius is None  # one step: what spreads mean was measured for two
    (sure,) = lifter(two[:, 0], size=SIZE, fps=FPS, layout="h36m", limit=10)
    assert sure.radius.shape == (10, 17) and 0.01 < np.delete(sure.radius, people.skeleton.root, 1).mean() < 0.5
    assert not person.mask[8:10].any() and person.mask.sum() == 18 * 17 and person.known.all()
    assert 3 < person.root[:, 2].mean() < 7 and person.root[:, 0].mean() > 0.4  # five metres away, at the right
    feet = person.on_ground[:, [people.names.index("LFoot"), people.names.index("RFoot")], 2]
    head = person.on_ground[:, people.names.index("Head"), 2]
    assert np.abs(feet.min()) < 0.1 and 1.2 < head.mean() < 2.0
    written = people.save(tmp_path / "out", bvh_unit="cm")
    names = {path.name for path in written}
    assert {"poses.npz", "viewer.html", "about.txt"} < names and {f"person_1.{kind}" for kind in OUTPUTS[1:4]} < names
    assert "video.mp4" not in names and all(path.is_file() for path in written)
    assert np.abs(read_bvh(tmp_path / "out" / "person_1.bvh").positions).max() > 50


def test_an_array_may_be_of_one_person_without_confidence_and_from_torch(lifter, two):
    torch = pytest.importorskip("torch")
    options = {"size": SIZE, "fps": FPS, "layout": "h36m", **ASKED}
    (one,) = lifter(two[:, 0, :, :2], **options)
    (same,) = lifter(torch.from_numpy(two[:, :1, :, :2]), **options)
    np.testing.assert_array_equal(one.joints, same.joints)
    (short,) = lifter(two[:, 0], **options, limit=12, no_floor=True, no_smoothing=True, test_time_augmentation=False)
    assert len(short.joints) == 12


REFUSED = [
    ({"fps": -3}, ["--fps", "-3"]),
    ({"layout": "hand"}, ["--layout", "hand"]),
    ({"layout": "halpe"}, ["--layout", "halpe"]),
    ({"hypotheses": 0}, ["--hypotheses", "0"]),
    ({"hypotheses": "many"}, ["--hypotheses", "many"]),
    ({"sampling_timesteps": 5000}, ["-sampling_timesteps", "5000"]),
    ({"focal": 1}, ["--focal", "1"]),
    ({"aggregate": "J_Best"}, ["--aggregate", "J_Best"]),
    ({"camera_pitch": 10, "no_floor": True}, ["--camera-pitch", "10", "--no-floor"]),
    ({"height": {9: 1.8}}, ["--height", "9=1.8"]),
    ({"height": 180}, ["--height", "180"]),
    ({"people": 0}, ["--people", "0"]),
    ({"threshold": 0.95}, ["--threshold", "0.95"]),
]


@pytest.mark.parametrize(("asked", "typed"), REFUSED, ids=[" ".join(typed) for _, typed in REFUSED])
def test_bad_input_has_the_programs_line(tmp_path, lifter, two, capsys, asked, typed):
    np.save(tmp_path / "keypoints.npy", two.swapaxes(0, 1))
    file = [str(tmp_path / "keypoints.npy"), "--size", "640x480", "--fps", "25", "--layout", "h36m", "-o"]
    capsys.readouterr()
    assert main("test", [*file, str(tmp_path / "out"), *typed]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    with pytest.raises(UserError) as refused:
        lifter(two, **({"size": SIZE, "fps": FPS, "layout": "h36m"} | asked))
    assert line == f"error: {refused.value}".replace("error: keypoints:", f"error: {tmp_path / 'keypoints.npy'}:")


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.zeros((5, 17)), "got (5, 17)"),
        (np.zeros((5, 17, 2)), "nobody in 5 frames"),
        (np.full((5, 17, 2), np.nan), "nobody in 5 frames"),
        (np.zeros((0, 17, 2)), "nobody in 0 frames"),
        (np.full((5, 16, 2), 7.0), "16 joints"),
        ([[1, 2], [3]], "not a readable array"),
        (None, "got ()"),
        (np.full((5, 17, 3), "a"), "not of numbers"),
        (np.linspace(0, 900, 20 * 17 * 3).reshape(20, 17, 3), "a depth"),
    ],
)
def test_an_array_that_is_none_of_keypoints(lifter, array, told):
    with pytest.raises(UserError, match="^keypoints: ") as refused:
        lifter(array, size=SIZE, fps=FPS)
    assert told in str(refused.value)


def test_options_and_files_that_are_not_there(tmp_path, lifter, two):
    for wrong in ({"no_flor": True}, {"stream": True}, {"output": "x"}):
        with pytest.raises(UserError, match="no such option; there are aggregate"):
            lifter(two, size=SIZE, fps=FPS, **wrong)
    with pytest.raises(UserError, match="no such file"):
        lifter.video(tmp_path / "none.mp4")
    with pytest.raises(UserError, match=r"none\.bin"):
        Lifter.open(tmp_path / "none.bin")
    with pytest.raises(UserError, match="poses, bvh, glb"):
        lifter(two, size=SIZE, fps=FPS, layout="h36m", limit=10, **ASKED).save(tmp_path, "fbx")


def test_training_and_evaluation(tmp_path):
    options = {"data_root": tiny.h36m_folder(), "checkpoint": tmp_path, "gpu": -1, "actions": ["Walking", "Phoning"],
               "subjects_test": "S9"}  # fmt: skip
    sizes = {"model": "mixste", "number_of_frames": 5, "channels": 16, "depth": 1}
    trained = train(**options, **sizes, batch_size=160, epochs=1, nolog=True, subjects_train=("S1", "S5"))
    assert trained["hypotheses"] == 1 and trained["card"]["model"] == "mixste"
    report = evaluate(**options, hypotheses=2, p2=True)
    assert report["hypotheses"] == 2 and report["results"][0]["protocol_2"]["action_wise"]["P_Agg"] > 0
    assert report == evaluate("best_epoch_1_1.bin", **options, hypotheses=2, p2=True) | {"cost": report["cost"]}
    typed = tiny.settings_of(tmp_path)
    assert typed.data.keypoints == "cpn_ft_h36m_dbb"
    with pytest.raises(UserError, match="argument -e/--epochs: invalid int value: 'x'"):
        train(**options, epochs="x")
    with pytest.raises(UserError, match="epoch: no such option"):
        train(**options, epoch=3)
