"""The synthetic people: a body that stays one, and files in the Human3.6M layout."""

import numpy as np
import pytest

from common.datasets.actions import ACTIONS, synthetic_motion, synthetic_take
from common.datasets.h36m import load_h36m
from common.datasets.h36m_cameras import H36M_SUBJECTS, h36m_cameras
from common.datasets.synthetic.body import BODIES
from common.datasets.synthetic.h36m import capture_centre, project_all, write_h36m
from common.errors import UserError
from common.files.reading import load_archive
from common.geometry.skeleton import H36M_17, H36M_17_OF_32

# Joint speeds of real people, metres a second: mean over frames, joints (left and right averaged) of recordings of
# mocap.cs.cmu.edu at 50 frames a second. Walking: 28 clips whose trial is 'walk'; absolute, and relative to the hip.
WALKING = {"Hip": 0.97, "Knee": 0.98, "Foot": 1.04, "Thorax": 0.97, "Head": 0.97, "Elbow": 0.99, "Wrist": 1.02}
WALKING_RELATIVE = {"Knee": 0.54, "Foot": 1.10, "Thorax": 0.11, "Head": 0.13, "Elbow": 0.22, "Wrist": 0.43}
# Reaching and waving, relative to the hip, both arms: frames with the hip slower than 0.3 m/s of subject 86 trials 1
# and 9, 13 trial 29, 5 trials 2 and 12. The calmest of them (86 trial 9) and all of them together.
REACHING_RELATIVE = {"Elbow": (0.20, 0.53), "Wrist": (0.38, 0.78)}
REACHING_KINDS = ("Directions", "Greeting", "Purchases", "Discussion", "Photo", "Posing", "Waiting", "Phoning")


def takes(kind: str, count: int = 7, frames: int = 200) -> list:
    return [
        synthetic_take(body, kind, frames, np.random.default_rng([seed, 1]))
        for seed, body in zip(range(count), BODIES.values(), strict=False)
    ]


@pytest.fixture(scope="module")
def everyone() -> dict:
    return {kind: takes(kind) for kind in ACTIONS}


def joint(pose: np.ndarray, name: str) -> np.ndarray:
    return pose[:, H36M_17.index(name)]


def flexion(pose: np.ndarray, *names: str) -> np.ndarray:
    """Degrees by which the second of three joints is bent, 0 is straight."""
    a, b, c = (joint(pose, name) for name in names)
    cos = ((b - a) * (c - b)).sum(-1) / np.linalg.norm(b - a, axis=-1) / np.linalg.norm(c - b, axis=-1)
    return np.degrees(np.arccos(np.clip(cos, -1, 1)))


def speeds(poses: list[np.ndarray], part: str, relative: bool) -> float:
    names = [part] if part in H36M_17.joints else ["L" + part, "R" + part]
    places = [joint(p, name) - relative * joint(p, "Hip") for p in poses for name in names]
    return float(np.mean([np.linalg.norm(np.diff(x, axis=0), axis=-1).mean() * 50 for x in places]))


def test_at_least_eight_kinds_of_action():
    assert len(ACTIONS) >= 8 and len(BODIES) == 7


@pytest.mark.parametrize("kind", ACTIONS)
def test_bones_keep_their_length(everyone, kind):
    for take, body in zip(everyone[kind], BODIES.values(), strict=True):
        assert np.isfinite(take.joints).all()
        for child, parent in H36M_17.edges:
            length = np.linalg.norm(take.joints[:, child] - take.joints[:, parent], axis=-1)
            np.testing.assert_allclose(length, length[0], rtol=1e-5)
        thigh = np.linalg.norm(joint(take.joints, "LHip") - joint(take.joints, "LKnee"), axis=-1)
        np.testing.assert_allclose(thigh, body.thigh, rtol=1e-9)


@pytest.mark.parametrize("kind", ACTIONS)
def test_knees_bend_one_way(everyone, kind):
    for take in everyone[kind]:
        pose = take.joints
        across = joint(pose, "LHip") - joint(pose, "RHip")
        for side in "LR":
            bent = flexion(pose, f"{side}Hip", f"{side}Knee", f"{side}Foot")
            assert bent.min() > 5 and bent.max() < 152
            thigh = joint(pose, f"{side}Knee") - joint(pose, f"{side}Hip")
            shank = joint(pose, f"{side}Foot") - joint(pose, f"{side}Knee")
            assert ((np.cross(thigh, shank) * across).sum(-1) > 0).all()  # the shank folds backwards


@pytest.mark.parametrize("kind", ACTIONS)
def test_elbows_bend_one_way(everyone, kind):
    for take in everyone[kind]:
        pose = take.joints
        up = joint(pose, "Thorax") - joint(pose, "Spine")
        left = joint(pose, "LShoulder") - joint(pose, "RShoulder")
        front = np.cross(left, up)
        up, front = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (up, front))
        for side in "LR":
            assert flexion(pose, f"{side}Shoulder", f"{side}Elbow", f"{side}Wrist").min() > 5
            assert flexion(pose, f"{side}Shoulder", f"{side}Elbow", f"{side}Wrist").max() < 149
            upper = joint(pose, f"{side}Elbow") - joint(pose, f"{side}Shoulder")
            fore = joint(pose, f"{side}Wrist") - joint(pose, f"{side}Elbow")
            upper, fore = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (upper, fore))
            # Swing a hanging arm to the upper arm the shortest way; its front must be on the side the hand goes to,
            # give or take the quarter turn that the upper arm can make about itself.
            down = -up
            half = (down + upper) / np.linalg.norm(down + upper, axis=-1, keepdims=True)
            carried = front - 2 * (front * down).sum(-1, keepdims=True) * down
            carried = carried - 2 * (carried * half).sum(-1, keepdims=True) * half
            aside = fore - (fore * upper).sum(-1, keepdims=True) * upper
            aside = aside / np.linalg.norm(aside, axis=-1, keepdims=True)
            turn = np.degrees(np.arccos(np.clip((aside * carried).sum(-1), -1, 1)))
            assert turn.max() < 125  # the limit is 95; the shoulder line turns a little against the trunk


@pytest.mark.parametrize("kind", ACTIONS)
def test_trunk_and_head_stay_plausible(everyone, kind):
    for take in everyone[kind]:
        pose = take.joints
        assert flexion(pose, "Hip", "Spine", "Thorax").max() < 60
        assert flexion(pose, "Spine", "Thorax", "Nose").max() < 85
        assert (joint(pose, "Hip")[:, 2] > 0.25).all() and (pose[..., 2] > 0.0).all()
        assert (joint(pose, "Head")[:, 2] > joint(pose, "Hip")[:, 2] - 0.15).all()  # stooping at most


@pytest.mark.parametrize("kind", ACTIONS)
def test_planted_feet_stay(everyone, kind):
    for take, body in zip(everyone[kind], BODIES.values(), strict=True):
        assert take.planted.mean() > 0.4
        for side, name in enumerate(("LFoot", "RFoot")):
            foot = joint(take.joints, name)
            # Found from the ankle's height alone, so that a wrong label cannot hide a sliding foot.
            low = np.abs(foot[:, 2] - body.ankle) < 1e-6
            assert low[take.planted[:, side]].all()
            for run in np.split(np.arange(len(low)), np.flatnonzero(np.diff(low)) + 1):
                if low[run[0]]:
                    assert np.linalg.norm(foot[run] - foot[run[0]], axis=-1).max() < 0.02


def test_walks_as_fast_as_people(everyone):
    poses = [take.joints for take in everyone["Walking"]]
    for expected, relative in ((WALKING, False), (WALKING_RELATIVE, True)):
        for part, speed in expected.items():
            assert speed / 2 < speeds(poses, part, relative) < speed * 2, (part, relative)


def test_reaches_as_fast_as_people(everyone):
    for part, (calm, lively) in REACHING_RELATIVE.items():
        found = {kind: speeds([take.joints for take in everyone[kind]], part, True) for kind in REACHING_KINDS}
        assert all(calm / 2 < speed < lively * 2 for speed in found.values()), (part, found)
        assert calm < np.mean(list(found.values())) < lively, (part, found)


def test_arms_swing_against_the_legs(everyone):
    for take in everyone["Walking"]:
        pose = take.joints
        across = joint(pose, "LHip") - joint(pose, "RHip")
        front = np.stack([across[:, 1], -across[:, 0]], -1)
        apart = {
            part: ((joint(pose, f"L{part}") - joint(pose, f"R{part}"))[:, :2] * front).sum(-1)
            for part in ("Foot", "Wrist")
        }
        assert np.corrcoef(apart["Foot"], apart["Wrist"])[0, 1] < -0.5


def test_people_differ():
    ratios = np.array([[b.stature, b.leg / b.stature, b.upper_arm / b.stature] for b in BODIES.values()])
    assert len({tuple(row) for row in ratios.round(4)}) == len(BODIES)
    assert np.ptp(ratios[:, 0]) > 0.3
    assert (np.ptp(ratios[:, 1:], axis=0) / ratios[:, 1:].mean(0) > 0.05).all()


def test_every_heading_occurs():
    across = [
        joint(synthetic_motion("S6", kind, 50, np.random.default_rng(seed)), name)
        for kind in ACTIONS
        for seed in range(12)
        for name in ("LHip", "RHip")
    ]
    across = np.concatenate([a - b for a, b in zip(across[::2], across[1::2], strict=True)])
    headings = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
    assert (np.histogram(headings, 12, (-180, 180))[0] > 0.02 * len(headings)).all()


def test_takes_repeat_with_their_seed_only():
    first, again, other = (synthetic_motion("S7", "Walking 1", 60, np.random.default_rng(s)) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_unknown_names_are_told():
    with pytest.raises(UserError, match="Flying"):
        synthetic_motion("S1", "Flying", 10, np.random.default_rng(0))
    with pytest.raises(UserError, match="S2"):
        synthetic_motion("S2", "Walking", 10, np.random.default_rng(0))
    with pytest.raises(UserError, match="S3"):
        h36m_cameras("S3")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "demo"
    write_h36m(folder, seed=5, seconds=0.6, progress=False)
    return folder


def test_files_have_the_layout(written):
    world = load_archive(written / "data_3d_h36m.npz")["positions_3d"]
    assert "SYNTHETIC" in (written / "SYNTHETIC.txt").read_text(encoding="utf-8")
    assert tuple(world) == H36M_SUBJECTS
    for name in ("gt", "cpn_ft_h36m_dbb"):
        archive = load_archive(written / f"data_2d_h36m_{name}.npz")
        metadata = archive["metadata"]
        symmetry = [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]]
        assert metadata == {"layout_name": "h36m", "num_joints": 17, "keypoints_symmetry": symmetry}
        for subject, actions in world.items():
            assert set(actions) == {kind + take for kind in ACTIONS for take in ("", " 1")}
            for action, positions in actions.items():
                assert positions.shape == (30, 32, 3) and positions.dtype == np.float32
                assert len(archive["positions_2d"][subject][action]) == 4
                for pixels in archive["positions_2d"][subject][action]:
                    assert pixels.shape == (30, 17, 2) and pixels.dtype == np.float32
    # An unused joint holds its nearest used ancestor: 4 and 5 the foot, 16 the thorax, 20 and 21 the wrist.
    recorded = world["S1"]["Walking"]
    for copy, source in ((4, 3), (5, 3), (16, 12), (20, 19), (21, 19), (31, 27), (11, 0)):
        np.testing.assert_array_equal(recorded[:, copy], recorded[:, source])


def test_2d_is_the_projection(written):
    world = load_archive(written / "data_3d_h36m.npz")["positions_3d"]
    exact = load_archive(written / "data_2d_h36m_gt.npz")["positions_2d"]
    detected = load_archive(written / "data_2d_h36m_cpn_ft_h36m_dbb.npz")["positions_2d"]
    errors = []
    for subject, actions in world.items():
        for action, recorded in actions.items():
            seen = project_all(recorded[:, H36M_17_OF_32], h36m_cameras(subject))
            for pixels, stored, noisy in zip(seen, exact[subject][action], detected[subject][action], strict=True):
                np.testing.assert_allclose(stored, pixels, atol=1e-3)
                errors.append(np.linalg.norm(noisy - pixels, axis=-1))
    errors = np.concatenate(errors)  # (T, 17)
    assert 2 < np.median(errors) < 6
    middle = {part: np.median(errors[:, H36M_17.index(part)]) for part in ("Thorax", "LWrist", "RFoot")}
    assert middle["LWrist"] > 1.5 * middle["Thorax"] and middle["RFoot"] > 1.4 * middle["Thorax"]
    assert 0.001 < (errors > 25).mean() < 0.03  # outliers and swaps are rare, and there


def test_people_stay_in_the_pictures(written):
    inside = []
    for clip in load_h36m(written, "gt", list(H36M_SUBJECTS)):
        height = clip.camera.height / clip.camera.width
        inside.append((np.abs(clip.keypoints_2d) < [1, height]).all(-1))
    assert np.concatenate(inside).mean() > 0.98
    assert np.abs(capture_centre(h36m_cameras("S1"))).max() < 1


def test_the_mean_pose_is_a_poor_guess(written):
    clips = load_h36m(written, "gt", list(H36M_SUBJECTS))
    poses = {s: [c.positions_3d - c.positions_3d[:, :1] for c in clips if c.subject == s] for s in H36M_SUBJECTS}
    mean = np.concatenate([p for s in H36M_SUBJECTS[:5] for p in poses[s]]).mean(0)
    error = np.linalg.norm(np.concatenate(poses["S9"] + poses["S11"]) - mean, axis=-1).mean()
    assert error > 0.15  # metres; the default data set gives 0.20


def test_the_same_seed_writes_the_same_data(written, tmp_path):
    write_h36m(tmp_path / "again", seed=5, seconds=0.6, progress=False)
    write_h36m(tmp_path / "other", seed=6, seconds=0.6, progress=False)
    for name in ("data_2d_h36m_gt", "data_2d_h36m_cpn_ft_h36m_dbb"):
        read = [
            np.stack(load_archive(folder / f"{name}.npz")["positions_2d"]["S9"]["Greeting 1"])
            for folder in (written, tmp_path / "again", tmp_path / "other")
        ]
        np.testing.assert_array_equal(read[0], read[1])
        assert np.abs(read[0] - read[2]).max() > 5
