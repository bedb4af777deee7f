"""main_wild.py from the 2D to its files: keypoints and videos, several people, several models, streaming, errors."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from common.engine import checkpoint
from common.engine.cards import trained_on
from common.files.bvh_reader import read_bvh
from common.files.poses import read_poses
from common.files.video import video_info, write_video
from common.geometry.ground import on_ground
from common.geometry.skeleton import H36M_17
from common.programs.wild import main
from common.settings.wild import DEFAULT, FOLDER, read_settings
from common.wild import inputs
from common.wild.lifting import camera_of
from common.wild.live import at_rate, clean_stream, follow
from common.wild.placing import place_roots
from common.wild.skeletons import stature
from tests.people import in_camera, pixels, walker

OPEN = Path(__file__).parents[2] / FOLDER / DEFAULT
FPS, SIZE = 25, (160, 120)


def make_checkpoint(path, model="mixste", seed=0, frames=9, **sizes):
    """An untrained network in our form."""
    torch.manual_seed(seed)
    sizes = {"frames": frames, "joints": 17, "channels": 16, "depth": 1, **sizes}
    card = {"model": model, "sizes": sizes, "variant": "default", "frames": frames, "joints": 17, "units": "m",
            "skeleton": "h36m_17", "keypoints": None, "labels": None, "seed": 0, "epoch": 0, "version": 1,
            "fps": 50.0, "diffusion": {}, "trained_on": "nothing"}  # fmt: skip
    if model == "diff3dhpe_s2f":
        card["diffusion"] = {"unit": 1.0}
    checkpoint.save(path, {"card": card, "weights": checkpoint.make_lifter(card).denoiser.state_dict()})
    return ["-c", str(path.parent), "--evaluate", path.name]


@pytest.fixture
def tiny(tmp_path):
    return make_checkpoint(tmp_path / "model" / "tiny.bin")


@pytest.fixture
def keypoints(tmp_path):
    """Two people in a .npy (2, T, 17, 3), Human3.6M order, 24 frames; a wrist of the first unseen for a while."""
    people = [in_camera(walker(24, FPS, place=(x, 0.0))) for x in (-0.8, 0.8)]
    points = np.stack([pixels(p, *SIZE, focal=120.0) for p in people])  # (2, T, 17, 2)
    confidence = np.ones((*points.shape[:3], 1))
    confidence[0, 8:12, 16] = 0.05
    path = tmp_path / "two.npy"
    np.save(path, np.concatenate([points, confidence], -1).astype(np.float32))
    return path


def run(arguments):
    return main("test", [str(argument) for argument in arguments])


FILE = ["--layout", "h36m", "--size", "160x120", "--fps", FPS, "-num_proposals", 2, "-sampling_timesteps", 1]


def test_keypoint_file_to_every_output(tmp_path, keypoints, tiny):
    out = tmp_path / "out"
    assert run([keypoints, *FILE, *tiny, "-o", out]) == 0
    people, fps, joints, card = read_poses(out / "poses.npz")
    assert [len(p["positions"]) for p in people] == [24, 24] and fps == FPS and joints == H36M_17.joints
    assert people[0]["hypotheses"].shape == (2, 24, 17, 3) and people[0]["spread"].max() > 0
    assert card["trained_on"] == "nothing" and card["focal"] == "assumed" and card["focal_pixels"] == 0.85 * 160
    assert sorted((~p["mask"]).sum() for p in people) == [0, 4]
    for person in people:
        assert np.isfinite(person["positions"]).all()
        motion = read_bvh(out / f"person_{person['id']}.bvh")
        columns = [motion.names.index(name) for name in H36M_17.joints]
        standing = on_ground(person["positions"], person["up"], person["floor"])  # z up
        y_up = standing[..., [0, 2, 1]] * [1, 1, -1]
        assert np.abs(motion.positions[:, columns] - y_up).max() < 1e-3  # of one skeleton: nothing is lost
        assert video_info(out / f"video_{person['id']}.mp4").fps == FPS
    assert "trained on nothing" in (out / "viewer.html").read_text("utf-8")
    assert "trained on nothing" in (out / "about.txt").read_text("utf-8")


RADIUS = {"share": 0.9, "floor": 0.02, "factors": [0.0, *[2.0] * 16], "hypotheses": 2, "steps": 1, "flip": "own",
          "sampler": "ddim", "aggregate": "S_Agg"}  # fmt: skip


def with_card(path, **entries):
    content = torch.load(path, weights_only=True)
    content["card"] |= entries
    torch.save(content, path)


def test_a_calibrated_spread_is_told_as_a_radius(tmp_path, keypoints, tiny, capsys):
    with_card(tmp_path / "model" / "tiny.bin", radius=RADIUS)
    flags = [keypoints, "--layout", "h36m", "--size", "160x120", "--fps", FPS, "--outputs", "poses,viewer", *tiny]
    assert run([*flags, "-num_proposals", 2, "-sampling_timesteps", 1, "-o", tmp_path / "out"]) == 0
    people, _, _, card = read_poses(tmp_path / "out" / "poses.npz")
    for person in people:
        expected = 2 * np.sqrt(2 * person["spread"] ** 2 + 0.02**2)  # of two hypotheses: their distance
        np.testing.assert_allclose(person["radius"][:, 1:], expected[:, 1:], rtol=1e-4)
        assert (person["radius"][:, 0] == 0).all()
    within = np.mean([1000 * person["radius"][:, 1:].mean() for person in people])
    assert (
        f"90% of the joints seen lie within {within:.0f} mm" in card["odds"] and card["odds"] in capsys.readouterr().err
    )
    assert '"radius":true' in (tmp_path / "out" / "viewer.html").read_text("utf-8")
    assert run([*flags, "-num_proposals", 2, "-sampling_timesteps", 2, "-o", tmp_path / "two"]) == 0
    assert "its radius was fitted with -sampling_timesteps 1, not 2" in capsys.readouterr().err
    assert "radius" not in read_poses(tmp_path / "two" / "poses.npz")[0][0]
    with_card(tmp_path / "model" / "tiny.bin", radius=RADIUS | {"factors": [1.0]})
    assert run([*flags, "-o", tmp_path / "bad"]) == 2
    assert "its radius is" in capsys.readouterr().err


def test_guesses_have_no_odds_and_weak_people_stop_nobody(tmp_path, keypoints, tiny, capsys):
    """Legs that were never seen have no radius; somebody of whom no joint counts is left out, the other is lifted."""
    with_card(tmp_path / "model" / "tiny.bin", radius=RADIUS)
    points = np.load(keypoints)
    legs = [H36M_17.index(s + j) for s in "LR" for j in ("Knee", "Foot")]
    points[0][:, legs, 2] = 0
    points[1, ..., 2] = 0.2
    np.save(keypoints, points)
    assert run([keypoints, *FILE, "--outputs", "poses,viewer", *tiny, "-o", tmp_path / "out"]) == 0
    (person,), *_ = read_poses(tmp_path / "out" / "poses.npz")
    assert (
        np.isnan(person["radius"][:, legs]).all()
        and np.isfinite(person["radius"][~np.isin(np.arange(17), legs)[None].repeat(24, 0)]).all()
    )
    told = capsys.readouterr().err
    assert "person 1: no joint is surer than 0.20, left out; --threshold" in told
    within = 1000 * np.nanmean(person["radius"][:, 1:])
    assert f"90% of the joints seen lie within {within:.0f} mm" in told
    points[0, ..., 2] = 0.2
    np.save(keypoints, points)
    assert run([keypoints, *FILE, *tiny, "-o", tmp_path / "none"]) == 2
    assert "--threshold says what counts" in capsys.readouterr().err.splitlines()[-1]


def test_each_model_has_its_own_heights_and_odds(tmp_path, keypoints, tiny):
    other = make_checkpoint(tmp_path / "other" / "sure.bin", seed=1)
    sampler = {key: RADIUS[key] for key in ("hypotheses", "steps", "flip", "sampler", "aggregate")}
    curve = {"lifted": [0.2, 5.0], "true": [0.25, 6.25], **sampler}
    with_card(tmp_path / "other" / "sure.bin", radius=RADIUS, heights=[curve])
    assert run([keypoints, *FILE, "--outputs", "poses", *tiny, *other, "-o", tmp_path / "out"]) == 0
    about = (tmp_path / "out" / "about.txt").read_text("utf-8")
    for name, odds in (("model", "what it means in errors is not known"), ("other", "90% of the joints seen")):
        people, _, _, card = read_poses(next((tmp_path / "out").glob(f"*{name}*")) / "poses.npz")
        assert all(f"person {p['id']} {p['height']:.2f} m (a guess" in card["height"] for p in people)
        assert odds in card["odds"] and f": {card['height']}" in about and f": {card['odds']}" in about
        assert ("guesses as lifted: the checkpoint does not say" in card["height"]) is (name == "model")


def test_files_of_an_earlier_run_are_told(tmp_path, keypoints, tiny, capsys):
    flags = [keypoints, *FILE, *tiny, "--outputs", "bvh", "-o", tmp_path / "out"]
    assert run(flags) == 0 and "earlier run" not in capsys.readouterr().err
    assert run([*flags, "--people", 1]) == 0
    assert "of an earlier run, and no part of this one: person_" in capsys.readouterr().err


def test_a_stream_that_fails_keeps_the_one_before(tmp_path, keypoints, tiny, capsys):
    flags = [keypoints, *FILE, *tiny, "--stream", "--outputs", "poses", "-o", tmp_path / "live"]
    assert run([*flags, "--delay", 2]) == 0
    before = (tmp_path / "live" / "stream.jsonl").read_text("utf-8")
    (person,), *_ = read_poses(tmp_path / "live" / "poses.npz")
    assert person["id"] == 0
    seconds = [json.loads(line)["seconds"] for line in before.splitlines()[1:]]
    np.testing.assert_allclose(np.diff(seconds), 1 / 50, atol=2e-4)
    assert seconds[0] == 0 and abs(seconds[-1] - 23 / FPS) < 0.03
    assert run([*flags, "--delay", 9]) == 2
    points = np.load(keypoints)
    points[..., 2] = 0.01
    np.save(keypoints, points)
    assert run([*flags, "--delay", 2]) == 2 and "nobody found" in capsys.readouterr().err
    assert (tmp_path / "live" / "stream.jsonl").read_text("utf-8") == before


def test_help_tells_the_programs_own_defaults(capsys):
    with pytest.raises(SystemExit):
        main("test", ["--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "hypotheses H (default: 10)" in words and "sampling steps K (default: 2)" in words


def test_people_are_as_tall_as_the_card_guesses(tmp_path, keypoints, tiny, capsys):
    """The card's curve of lifted and true heights sizes people, unless they are told or the sampler is another."""
    flags = [keypoints, *FILE, "--outputs", "poses", *tiny, "-sampling_timesteps", 1, "--no-feet"]

    def lifted(name, *more):
        assert run([*flags, "-o", tmp_path / name, *more]) == 0
        return read_poses(tmp_path / name / "poses.npz")[0]

    before = lifted("before", "-num_proposals", 2)
    sampler = {key: RADIUS[key] for key in ("hypotheses", "steps", "flip", "sampler", "aggregate")}
    curve = {"lifted": [0.2, 5.0], "true": [0.25, 6.25], **sampler}  # all grow by a quarter
    with_card(tmp_path / "model" / "tiny.bin", heights=[curve | {"steps": 9}, curve])
    capsys.readouterr()
    for old, new in zip(before, lifted("after", "-num_proposals", 2), strict=True):
        assert new["height"] == pytest.approx(1.25 * old["height"], rel=1e-4)
        for name in ("positions_raw", "hypotheses"):
            one, other = (x[name] - x[name][..., :1, :] for x in (new, old))
            np.testing.assert_allclose(one, 1.25 * other, rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(new["spread"], 1.25 * old["spread"], rtol=2e-3)
    for old, new in zip(before, lifted("other", "-num_proposals", 1), strict=True):
        assert new["height"] == pytest.approx(old["height"], rel=0.2)  # fitted with two hypotheses: not used
    assert "guesses as lifted: the checkpoint's heights were fitted with" in capsys.readouterr().err
    for old, new in zip(before, lifted("mean", "-num_proposals", 2, "--aggregate", "P_Agg"), strict=True):
        assert new["height"] == pytest.approx(1.25 * old["height"], rel=1e-4)  # that of the hypotheses
    for person in lifted("told", "-num_proposals", 2, "--height", "1.5"):
        assert person["height"] == pytest.approx(1.5)
    live = [keypoints, *FILE, *tiny, "--stream", "--delay", 2, "--outputs", "poses"]
    tall = []
    for name, part in (("live", {}), ("live, sized", {"hypotheses": 1, "flip": False})):
        with_card(tmp_path / "model" / "tiny.bin", heights=[curve | part])
        assert run([*live, "-o", tmp_path / name]) == 0
        (person,), *_ = read_poses(tmp_path / name / "poses.npz")
        line = (tmp_path / name / "stream.jsonl").read_text("utf-8").splitlines()[1]
        first = stature(np.array([[json.loads(line)["positions"]]]), H36M_17, np.ones((1, 17), bool))
        tall.append([person["height"], first])
    np.testing.assert_allclose(tall[1], 1.25 * np.array(tall[0]), rtol=1e-3)
    for bad in ({"true": [0.25]}, {"true": [2.0, 1.0]}, {"lifted": [1.0, 1.0]}, {"lifted": "x"}, {"steps": 0}):
        with_card(tmp_path / "model" / "tiny.bin", heights=[curve, curve | bad])
        assert run([*flags, "-o", tmp_path / "bad"]) == 2
        assert "its heights is" in capsys.readouterr().err


def test_two_models_and_a_given_camera(tmp_path, keypoints, tiny):
    other = make_checkpoint(tmp_path / "centre" / "s2f.bin", "diff3dhpe_s2f", 1)
    out = tmp_path / "out"
    flags = [*FILE, "--people", 1, "--limit", 12, "--focal", 120]
    assert run([keypoints, *flags, *tiny, *other, "-o", out]) == 0
    single = video_info(out / "video.mp4")
    assert single.width > 1000  # the input and two panels
    poses = [read_poses(out / name / "poses.npz") for name in ("mixste", "diff3dhpe_s2f")]
    for (person,), _, _, card in poses:
        assert person["positions"].shape == (12, 17, 3) and np.isfinite(person["positions"]).all()
        assert card["aggregate"] == "S_Agg" and card["focal"] == "given"
    assert np.abs(poses[0][0][0]["positions"] - poses[1][0][0]["positions"]).max() > 0.01


def test_a_file_without_its_unit_needs_the_flag(tmp_path, keypoints, capsys):
    """Published Diff3DHPE files do not store their unit of length: poses scale with --unit."""
    model = make_checkpoint(tmp_path / "centre" / "s2f.bin", "diff3dhpe_s2f", 1)
    content = torch.load(tmp_path / "centre" / "s2f.bin", weights_only=True)
    content["card"]["diffusion"]["unit"] = None
    torch.save(content, tmp_path / "centre" / "s2f.bin")
    flags = [*FILE, "--people", 1, "--limit", 6, "--outputs", "poses", "-num_proposals", 1, *model]
    assert run([keypoints, *flags, "-o", tmp_path / "none"]) == 2
    assert "--unit sets it" in capsys.readouterr().err
    relative = []
    for unit in (0.5, 1.0):
        assert run([keypoints, *flags, "--unit", unit, "-o", tmp_path / str(unit)]) == 0
        positions = read_poses(tmp_path / str(unit) / "poses.npz")[0][0]["positions_raw"]
        relative.append(positions - positions[:, :1])
    assert np.abs(relative[0]).max() > 0
    np.testing.assert_allclose(2 * relative[0], relative[1], atol=1e-5)


def test_video_with_a_fake_detector(tmp_path, keypoints, tiny, monkeypatch):
    """The detector reads the frame's number off the picture's brightness."""
    truth = np.load(keypoints)[0]
    video = tmp_path / "v.mp4"
    write_video(video, (np.full((*SIZE[::-1], 3), 8 * t + 4, np.uint8) for t in range(24)), FPS)

    def detector(image):
        return truth[[round((float(image.mean()) - 4) / 8)]]

    monkeypatch.setattr(inputs, "load_detector", lambda *_: (detector, H36M_17))
    flags = ["-num_proposals", 1, "-sampling_timesteps", 1, "--outputs", "poses", *tiny]
    assert run([video, *flags, "-o", tmp_path / "out"]) == 0
    (person,), fps, _, _ = read_poses(tmp_path / "out" / "poses.npz")
    seen = person["mask"]
    assert fps == FPS and np.abs(person["keypoints_2d"] - truth[..., :2])[seen].max() < 1e-3
    assert run([video, "--check", "-o", tmp_path / "out"]) == 0
    assert (tmp_path / "out" / "check.png").stat().st_size > 10_000
    assert run([video, *flags, "--stream", "--delay", 2, "-o", tmp_path / "live"]) == 0
    (live,), _, _, _ = read_poses(tmp_path / "live" / "poses.npz")
    assert live["positions"].shape == (24, 17, 3) and np.isfinite(live["positions"]).all()
    assert np.abs(live["positions"] - live["positions_raw"]).max() > 1e-3 and "floor" in live  # a body, too
    assert np.abs(live["keypoints_2d"] - truth[..., :2])[live["mask"]].max() < 1e-3
    lines = (tmp_path / "live" / "stream.jsonl").read_text("utf-8").splitlines()
    head, rows = json.loads(lines[0]), [json.loads(line) for line in lines[1:]]
    assert "trained on nothing" in head["model"] and [row["frame"] for row in rows] == list(range(47))


@pytest.mark.parametrize(
    "change, said",
    [
        ([], "--layout"),
        (["--layout", "h36m"], "--size"),
        (["--layout", "h36m", "--size", "160x120"], "--fps"),
        ([*FILE, "--size", "160"], "WIDTHxHEIGHT"),
        ([*FILE, "--camera-pitch", "99"], "80 or less"),
        ([*FILE, "--camera-pitch", "9", "--no-floor"], "--no-floor"),
        ([*FILE, "-num_proposals", "0"], "above 0"),
        ([*FILE, "--outputs", "poses,dance"], "dance"),
        ([*FILE, "-c", "nowhere"], "--evaluate"),
        ([*FILE, "-c", "nowhere", "--evaluate", "x.bin"], "no such checkpoint"),
        ([*FILE, "--stream", "--delay", "30"], "--delay 30"),
        ([*FILE, "--height", "tall"], "invalid float value: 'tall'"),
        ([*FILE, "--height", "180"], "3 or less"),
        ([*FILE, "--height", "1.8,1.7"], "0=1.82,3=1.2"),
        ([*FILE, "--height", "0=1.8,0=1.7"], "0=1.82,3=1.2"),
        ([*FILE, "--height", "0=1.8,7=1.7"], "there is no person 7, only 0, 1"),
        ([*FILE, "--stream", "--height", "1=1.8"], "there is no person 1, only 0"),
    ],
)
def test_errors_are_one_line(tmp_path, keypoints, tiny, capsys, change, said):
    model = [] if "-c" in change else tiny
    assert run([keypoints, *change, *model, "-o", tmp_path / "out"]) == 2
    err = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(err) == 1 and said in err[0]


def test_nothing_to_lift(tmp_path, capsys):
    assert run([]) == 2 and run([tmp_path / "none.mp4", "--check"]) == 2
    assert "required: input" in capsys.readouterr().err


def test_roots_are_found_again():
    """Exact poses and 2D: the place comes back; a shaking depth is calmed while a steady walk is kept."""
    camera = in_camera(walker(100)).astype(np.float32)
    intrinsics = camera_of((1280, 720), 1100.0).intrinsics
    screen = (pixels(camera) * 2 / 1280 - [1, 720 / 1280]).astype(np.float32)
    poses, seen = camera - camera[:, :1], np.ones((100, 17), np.float32)
    exact = place_roots(poses, screen, seen, intrinsics, 50.0, smoothing=0)
    assert np.abs(exact - camera[:, :1]).max() < 2e-3
    noisy = poses * (1 + np.random.default_rng(0).normal(0, 0.03, (100, 1, 1))).astype(np.float32)
    raw, calm = (place_roots(noisy, screen, seen, intrinsics, 50.0, smoothing=s) - camera[:, :1] for s in (0, 0.5))
    assert calm[..., 2].std() < 0.6 * raw[..., 2].std()
    steady = place_roots(poses, screen, seen, intrinsics, 50.0, smoothing=0.5)
    assert np.abs(steady - camera[:, :1]).max() < 0.02


def test_who_is_as_tall_as_told_stands_as_far_as_that(tmp_path, keypoints, tiny, capsys):
    """A height scales one person, hypotheses and place with it, and leaves the picture as it is; live, too."""
    plain = ["--no-smoothing", "--no-skeleton", "--no-floor", "--no-feet", "--outputs", "poses"]
    assert run([keypoints, *FILE, *tiny, *plain, "-o", tmp_path / "guess"]) == 0
    assert run([keypoints, *FILE, *tiny, *plain, "--height", "1=1.2", "-o", tmp_path / "told"]) == 0
    said = capsys.readouterr().err
    assert "person 1: 1.20 m tall, as told; lifted at" in said and "person 0: " not in said
    told, guess = (read_poses(tmp_path / name / "poses.npz")[3]["height"] for name in ("told", "guess"))
    assert ", person 1 1.20 m (told); guesses" in told and f"heights: {told}" in said
    guessed = " m (a guess, see --height)"
    assert told.count(guessed) == 1 and guess.count(guessed) == 2 and f"heights: {guess}" in said
    guess, told = (read_poses(tmp_path / name / "poses.npz")[0] for name in ("guess", "told"))
    for person in (*guess, *told):
        assert abs(person["height"] - stature(person["hypotheses"], H36M_17, person["known"])) < 1e-5
    np.testing.assert_array_equal(guess[0]["positions"], told[0]["positions"])
    guess, told = guess[1], told[1]
    size = stature(told["hypotheses"], H36M_17, told["known"])
    assert abs(size - 1.2) < 1e-5
    scale = 1.2 / stature(guess["hypotheses"], H36M_17, guess["known"])
    for name in ("positions", "hypotheses", "spread"):
        np.testing.assert_allclose(told[name], scale * guess[name], rtol=1e-4, atol=1e-5)
    assert run([keypoints, *FILE, *tiny, "--height", "1.2", "-o", tmp_path / "body", "--outputs", "poses"]) == 0
    for person in read_poses(tmp_path / "body" / "poses.npz")[0]:
        assert abs(stature(person["positions"][None], H36M_17, person["known"]) - 1.2) < 0.02
    live = [keypoints, *FILE, *tiny, "--stream", "--delay", 2, "--outputs", "poses"]
    assert run([*live, "--height", "1.5", "-o", tmp_path / "live"]) == 0
    (person,), *_ = read_poses(tmp_path / "live" / "poses.npz")
    assert abs(stature(person["positions"][None], H36M_17, person["known"]) - 1.5) < 0.02
    rows = (tmp_path / "live" / "stream.jsonl").read_text("utf-8").splitlines()[1:]
    poses = np.array([json.loads(row)["positions"] for row in rows])
    first = stature(poses[None, :1], H36M_17, np.ones((1, 17), bool))
    assert abs(first - 1.5) < 1e-3  # of the poses until then


def test_a_height_is_that_of_legs_and_trunk():
    """A standing body of known proportions; where no leg is known its trunk tells, and without both nothing."""
    height, pose = 1.8, np.zeros((17, 3))
    for side, x in (("L", 0.1), ("R", -0.1)):
        for joint, y in (("Hip", 0.53), ("Knee", 0.285), ("Foot", 0.039)):
            pose[H36M_17.index(side + joint)] = [x, y * height, 0]
    for joint, y in (("Hip", 0.53), ("Spine", 0.7), ("Thorax", 0.818)):
        pose[H36M_17.index(joint)] = [0, y * height, 0]
    poses, known = np.tile(pose, (2, 3, 1, 1)), np.ones((3, 17), bool)
    assert abs(stature(poses, H36M_17, known) - height) < 1e-6
    known[:, H36M_17.index("LKnee")] = False
    assert abs(stature(poses, H36M_17, known) - height) < 1e-6
    known[:, H36M_17.index("Thorax")] = False
    assert stature(poses, H36M_17, known) is None


def test_a_stream_holds_what_it_does_not_see():
    people = np.zeros((6, 1, 17, 3), np.float32)
    people[..., 2] = 0.9
    people[..., :2] = np.arange(6)[:, None, None, None] + np.random.default_rng(0).uniform(0, 90, (1, 1, 17, 2))
    people[3, 0, 16, 2] = 0.1
    frames = [np.zeros((0, 17, 3), np.float32), *people[:5], np.zeros((0, 17, 3), np.float32)]
    rows = np.stack(list(clean_stream(follow(frames), H36M_17, H36M_17, 0.3)))
    assert len(rows) == 6  # the frame before anybody is there is left out
    assert np.allclose(rows[3, 16, :2], people[2, 0, 16, :2]) and rows[3, 16, 2] == 0
    assert np.allclose(rows[5, :, :2], people[4, 0, :, :2]) and (rows[5, :, 2] == 0).all()


def test_rates_of_a_stream():
    ramp = [np.array([float(n)]) for n in range(10)]
    assert np.allclose(np.concatenate(list(at_rate(ramp, 25, 50))), np.arange(19) / 2)
    assert np.allclose(np.concatenate(list(at_rate(ramp, 60, 20))), [0, 3, 6, 9])
    assert np.allclose(np.concatenate(list(at_rate(ramp, 30, 30))), np.arange(10))


@pytest.mark.skipif(not OPEN.is_file(), reason="checkpoint/open is not there")
def test_shipped_checkpoint_lifts(tmp_path):
    """Small, weights only, told what it was trained on; far better than no network on a made walk."""
    assert OPEN.stat().st_size < 3_000_000
    content = checkpoint.load(OPEN)
    assert set(content) == {"card", "weights"} and "CMU" in trained_on(content["card"])
    truth = in_camera(walker(60, bend=1.0))
    points = pixels(truth)
    np.save(tmp_path / "walk.npy", np.concatenate([points, np.ones((60, 17, 1))], -1).astype(np.float32))
    flags = ["--layout", "h36m", "--size", "1280x720", "--fps", 50, "--focal", 1100, "--outputs", "poses"]
    model = ["-c", OPEN.parent, "--evaluate", OPEN.name]
    assert run([tmp_path / "walk.npy", *flags, *model, "-o", tmp_path / "out"]) == 0
    (person,), _, _, _ = read_poses(tmp_path / "out" / "poses.npz")
    ours, true = (x - x[:, :1] for x in (person["positions"], truth))
    error = np.linalg.norm(ours - true, axis=-1).mean()
    mean = np.array(content["card"]["mean_pose"])
    assert error < 0.6 * np.linalg.norm(mean - true, axis=-1).mean()


def test_who_is_mostly_unseen_is_left_out_and_every_step_has_a_flag(tmp_path, tiny, capsys):
    """A head and shoulders beside a whole person; an absence that makes a second BVH; legs that no frame shows."""
    people = [in_camera(walker(90, FPS, place=(x, 0.0))) for x in (-0.8, 0.8)]
    points = np.stack([pixels(p, *SIZE, focal=120.0) for p in people])
    confidence = np.ones((*points.shape[:3], 1))
    few = [H36M_17.index(j) for j in ("Thorax", "Nose", "Head", "LShoulder", "RShoulder")]
    confidence[1] = 0
    confidence[1][:, few] = 1
    confidence[0, 30:70] = 0
    confidence[0][:, [H36M_17.index(s + j) for s in "LR" for j in ("Knee", "Foot")]] = 0
    path = tmp_path / "two.npy"
    np.save(path, np.concatenate([points, confidence], -1).astype(np.float32))
    flags = [*FILE, *tiny, "--outputs", "poses,bvh,viewer,video"]
    assert run([path, *flags, "-o", tmp_path / "out"]) == 0
    told = capsys.readouterr().err
    assert "person 1: mostly unseen (29 % of the joints known), left out; --keep-all" in told.replace("29%", "29 %")
    assert told.count("person 0: legs never seen") == 1 and "away for 1.6 s" in told
    (person,), *_ = read_poses(tmp_path / "out" / "poses.npz")
    assert np.isnan(person["positions"][30:70]).all() and np.isfinite(person["positions"][:30]).all()
    assert not person["known"][30:70].any() and person["known"][0].sum() == 13
    for name, frames in (("person_0", 30), ("person_0_frame_70", 20)):
        motion = read_bvh(tmp_path / "out" / f"{name}.bvh")
        assert len(motion.positions) == frames and "LKnee" not in motion.names and "LWrist" in motion.names
    assert video_info(tmp_path / "out" / "video.mp4").fps == FPS
    off = ["--no-smoothing", "--no-skeleton", "--no-floor", "--no-feet", "--keep-all"]
    assert run([path, *FILE, *tiny, "--outputs", "poses", *off, "-o", tmp_path / "off"]) == 0
    both, *_ = read_poses(tmp_path / "off" / "poses.npz")
    assert len(both) == 2 and "floor" not in both[0]
    np.testing.assert_array_equal(both[0]["positions"], both[0]["positions_raw"])
    pitched = [*FILE, *tiny, "--outputs", "poses", "--camera-pitch", "20", "--people", "1", "-o", tmp_path / "pitched"]
    assert run([path, *pitched]) == 0
    (person,), *_ = read_poses(tmp_path / "pitched" / "poses.npz")
    np.testing.assert_allclose(person["up"], [0, -np.cos(np.radians(20)), -np.sin(np.radians(20))], atol=1e-6)


def test_a_stream_takes_few_steps_unless_told():

    def sampling(*typed):
        asked = read_settings(["x.npy", *typed])[0].sampling
        return asked.hypotheses, asked.sampling_timesteps, asked.test_time_augmentation

    assert sampling() == (10, 2, "own") and sampling("--stream") == (1, 1, False)
    assert sampling("--stream", "-num_proposals", "3", "--test-time-augmentation", "true") == (3, 1, True)


def test_nothing_is_tried_out_on_a_cpu(tmp_path, keypoints, tiny, monkeypatch):
    """To find the fastest number of hypotheses costs more than a short clip."""
    monkeypatch.setattr("common.engine.chunks._fastest", lambda *_: pytest.fail("tried out"))
    assert run([keypoints, *FILE, *tiny, "--limit", 6, "--outputs", "poses", "-o", tmp_path / "out"]) == 0


@pytest.mark.parametrize("shape", [(40,), (40, 2), (9, 2)])
def test_the_place_is_filtered_as_scipy_does(shape):
    from scipy.signal import savgol_filter

    from common.wild.placing import _smooth

    x = np.random.default_rng(0).normal(size=shape)
    for span in (5, 9):
        np.testing.assert_allclose(_smooth(x, span), savgol_filter(x, span, 2, axis=0, mode="interp"), atol=1e-12)
