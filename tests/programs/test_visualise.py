"""The figure and animation programs: what they draw as a reconstruction is the network's answer."""

import json
import re
import shlex
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.datasets.h36m import load_h36m
from common.datasets.h36m_cameras import h36m_cameras
from common.engine.clips import lift_clip, picture_of
from common.engine.devices import Place
from common.engine.evaluate import Sampling
from common.engine.opening import Opened
from common.files.video import video_info, write_video
from common.models import REGISTRY, build
from common.models.registry import Entry
from common.programs import main as cli
from common.programs import pictures, render
from common.programs.trace import forward_states, trace_frame
from common.programs.visualise import main
from common.viz.svg import read_poses
from common.viz.view import view_from
from tests.models.test_all import lifter_of, perturbed
from tests.programs.drawing import Known, known_answer, save_known, write_data

REPOSITORY = Path(__file__).parents[2]
CPU = Place(torch.device("cpu"))
CAMERA = h36m_cameras("S9")[1]
ACTIONS = {"Photo 1": 30, "Walking": 24}
CHOICE = ["-sviz", "S9", "-cam", "1", "--test-time-augmentation", "False", "-gpu", "-1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), ACTIONS)


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setitem(REGISTRY, "known", Entry(build=Known))


def clip_of(data: Path, action: str):
    clips = [c for c in load_h36m(data, "cpn_ft_h36m_dbb", ["S9"]) if c.action == action]
    return clips[1]


def truth_of(clip, frame: int) -> np.ndarray:
    return clip.positions_3d[frame] - clip.positions_3d[frame, 0]


def assert_shows(drawn: np.ndarray, pose: np.ndarray) -> None:
    """Equal up to where the root stands: a tenth of a millimetre."""
    expected = view_from(CAMERA).project(pose)[:, :2]
    np.testing.assert_allclose(drawn - drawn[0], expected - expected[0], atol=1e-4)


def texts(path: Path) -> list[str]:
    return [node.text for node in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]


def error(pose: np.ndarray, truth: np.ndarray) -> str:
    return f"{1000 * np.linalg.norm(pose - truth, axis=-1).mean():.1f} mm"


def frames_in(path: Path) -> int:
    with Image.open(path) as gif:
        return gif.n_frames


@pytest.mark.parametrize(("flags", "frame"), [([], 0), (["--viz-frame", "17"], 17)])
def test_figure_draws_the_prediction_and_not_the_truth(tmp_path, data, known, flags, frame):
    folder = save_known(tmp_path / "model", turn=0.7)
    command = ["-c", str(folder), "--evaluate", "best_epoch.bin", "--data-root", str(data), "-a", "Photo 1"]
    assert main("figure", None, [*command, *CHOICE, "--sampling_timesteps", "4", *flags]) == 0
    there = folder / "9f" / "S9" / "Photo 1" / "1"
    names = ["viz", "2D_keypoints_viz", *(f"reverse_diffusion_{p}_viz" for p in ("start", "middle2", "middle", "end"))]
    assert sorted(p.name for p in there.iterdir()) == sorted(f"{n}.{e}" for n in names for e in ("svg", "png"))

    clip = clip_of(data, "Photo 1")
    answer = known_answer(0.7, clip.keypoints_2d[frame])
    poses = read_poses(there / "viz.svg")
    assert_shows(poses["step4-pose"], answer)
    np.testing.assert_allclose(poses["input-keypoints"], clip.keypoints_2d[frame], atol=1e-4)
    assert error(answer, truth_of(clip, frame)) in texts(there / "viz.svg")
    assert np.abs(answer - truth_of(clip, frame)).max() > 0.3
    assert_shows(read_poses(there / "reverse_diffusion_end_viz.svg")["state-pose"], answer)
    keypoints = read_poses(there / "2D_keypoints_viz.svg")["input-keypoints"]
    np.testing.assert_allclose(keypoints, clip.keypoints_2d[frame], atol=1e-4)
    # The parts are the panels of the whole: after the first step, the third last, the second last.
    for part, step in (("start", 1), ("middle2", 2), ("middle", 3)):
        alone = read_poses(there / f"reverse_diffusion_{part}_viz.svg")["state-pose"]
        whole = poses[f"step{step}-pose"]
        np.testing.assert_allclose(alone - alone[0], whole - whole[0], atol=2e-4)
    assert np.abs(poses["step1-pose"] - poses["step4-pose"]).max() > 0.1  # noise, not the answer


def test_several_hypotheses_windows_and_a_named_file(tmp_path, data, known, capsys):
    folder = save_known(tmp_path / "model")
    output = tmp_path / "out" / "mine.svg"
    command = ["-c", str(folder), "--evaluate", "best_epoch.bin", "--data-root", str(data), "-a", "Photo 1", "-b", "2"]
    command += ["-num_proposals", "2", "--sampling_timesteps", "2", "--viz-output", str(output)]
    assert main("figure", None, [*command, *CHOICE, "--viz-bitrate", "30000", "--workers", "4"]) == 0
    told = capsys.readouterr().err
    assert "--viz-bitrate" in told and "--workers" in told
    assert {"mine.svg", "mine.png", "mine_window2.svg"} <= {p.name for p in output.parent.iterdir()}
    clip = clip_of(data, "Photo 1")
    for file, frame in (("mine.svg", 0), ("mine_window2.svg", 9)):
        poses = read_poses(output.parent / file)
        for name in ("step2-pose", "step2-hypothesis0", "step2-hypothesis1"):
            assert_shows(poses[name], known_answer(0.0, clip.keypoints_2d[frame]))
        assert "step1-pose" not in poses and "step1-hypothesis1" in poses


def test_render_draws_the_evaluations_poses_in_step(tmp_path, data, known, monkeypatch):
    """main.py --render: the same drawing code, the frames and the video of the same moments."""
    folder = save_known(tmp_path / "model", turn=0.7)
    seen = {}
    monkeypatch.setattr(render, "animate", lambda *arguments, **options: seen.update(options, arguments=arguments))
    command = ["--evaluate", "best_epoch.bin", "-c", str(folder), "--data-root", str(data), "-ste", "S9", "--render"]
    command += ["--viz-action", "Photo 1", "--viz-camera", "1", "--viz-skip", "3", "--viz-limit", "4"]
    command += ["--viz-downsample", "2", "--viz-export", str(tmp_path / "poses.npy"), *CHOICE[4:]]
    assert cli.main("h36m", None, command) == 0
    assert (seen["skip"], seen["downsample"], seen["fps"]) == (3, 2, 50.0)
    clip, prediction, exported = clip_of(data, "Photo 1"), seen["arguments"][4], np.load(tmp_path / "poses.npy")
    assert len(prediction) == 11 and len(exported) == 8
    for frame in range(3, 11, 2):
        answer = known_answer(0.7, clip.keypoints_2d[frame])
        np.testing.assert_allclose(prediction[frame], answer, atol=1e-5)
        np.testing.assert_allclose(exported[frame - 3], answer, atol=1e-5)


def test_grid_of_models_and_actions(tmp_path, data, known):
    turns = (0.7, -0.4)
    folders = [save_known(tmp_path / name, turn) for name, turn in zip("ab", turns, strict=True)]
    command = ["-c", str(folders[0]), "-c", str(folders[1]), "--evaluate", "best_epoch.bin", "--data-root", str(data)]
    command += ["-a", "Walking,Photo", *CHOICE]
    assert main("figure", None, [*command, "--viz-frame", "11", "--width-mm", "120"]) == 0
    there = folders[0] / "9f" / "S9" / "grid" / "1"
    assert sorted(p.name for p in there.iterdir()) == ["viz.pdf", "viz.png", "viz.svg"]
    poses, words = read_poses(there / "viz.svg"), texts(there / "viz.svg")
    for c, action in enumerate(("Walking", "Photo 1")):  # as asked for, not as in the file
        clip = clip_of(data, action)
        assert_shows(poses[f"model0-action{c}-truth"], truth_of(clip, 11))
        for r, turn in enumerate(turns):
            answer = known_answer(turn, clip.keypoints_2d[11])
            assert_shows(poses[f"model{r}-action{c}-pose"], answer)
            assert error(answer, truth_of(clip, 11)) in words
    assert {"a", "b", "Photo 1", "Walking"} <= set(words)
    root = ElementTree.parse(there / "viz.svg").getroot()
    assert float(root.get("width").removesuffix("pt")) == pytest.approx(120 / 25.4 * 72, abs=0.1)

    assert main("animation", None, [*command, "--viz-limit", "3", "--width-mm", "60"]) == 0
    assert frames_in(there / "viz.gif") == 3


def test_one_model_and_several_actions_need_a_frame_for_a_grid(tmp_path, data, known):
    folder = save_known(tmp_path / "model", 0.3)
    command = ["-c", str(folder), "--evaluate", "best_epoch.bin", "--data-root", str(data), "-a", "Photo 1,Walking"]
    assert main("figure", None, [*command, *CHOICE, "--viz-frame", "2"]) == 0
    assert "model0-action1-pose" in read_poses(folder / "9f" / "S9" / "grid" / "1" / "viz.svg")
    output = tmp_path / "out.svg"
    assert main("figure", None, [*command, *CHOICE, "--viz-output", str(output)]) == 0
    for action in ACTIONS:
        poses = read_poses(tmp_path / f"out_S9_{action}_1.svg")
        assert_shows(poses["step1-pose"], known_answer(0.3, clip_of(data, action).keypoints_2d[0]))


def test_animations_draw_the_prediction(tmp_path, data, known, monkeypatch):
    monkeypatch.setenv("PATH", "")  # no ffmpeg there
    folder = save_known(tmp_path / "model", turn=0.7)
    seen = {}

    def spy(*arguments, **options):
        seen["prediction"], seen["truth"] = arguments[4], arguments[3]
        seen["frames"] = tuple(options[name] for name in ("skip", "limit", "downsample"))
        return pictures_animate(*arguments, **options)

    pictures_animate = pictures.animate
    monkeypatch.setattr(pictures, "animate", spy)
    video = write_video(tmp_path / "in.mp4", (np.full((40, 40, 3), s, np.uint8) for s in range(0, 240, 8)), 50)
    command = ["-c", str(folder), "--evaluate", "best_epoch.bin", "--data-root", str(data), "-a", "Photo 1", "-b", "2"]
    command += ["--viz-skip", "2", "--viz-limit", "6", "--viz-downsample", "2", "--viz-size", "1.2"]
    command += ["--sampling_timesteps", "3", "--viz-video", str(video), "--viz-output", str(tmp_path / "v.gif")]
    assert main("animation", None, [*command, *CHOICE]) == 0
    assert [frames_in(tmp_path / f"{name}v.gif") for name in ("", "diffusion_", "reverse_diffusion_")] == [6, 40, 3]
    clip = clip_of(data, "Photo 1")
    assert seen["frames"] == (2, None, 2) and len(seen["prediction"]) == 14
    for frame in range(2, 14, 2):
        np.testing.assert_allclose(seen["prediction"][frame], known_answer(0.7, clip.keypoints_2d[frame]), atol=1e-5)
        np.testing.assert_allclose(seen["truth"][frame], truth_of(clip, frame), atol=1e-5)


def test_published_command_lines(tmp_path, monkeypatch, capsys):
    """The published flags, file names and folders, on the CPU, with a network of the published layout but small."""
    write_data(tmp_path / "data", {"Photo 1": 90})
    config = "configs/h36m_cpn_s2s_ConditionalDiffusionMixSTES2SGRANDLinLift.json"
    content = json.loads((REPOSITORY / config).read_text(encoding="utf-8"))
    content["params"] |= {"transformer_depth": 1, "embed_dim": 16}
    (tmp_path / "configs").mkdir()
    (tmp_path / config).write_text(json.dumps(content), encoding="utf-8")
    folder = tmp_path / "checkpoint/h36m/ConditionalDiffusionMixSTES2SGRANDLinLift/cpn/f81"
    folder.mkdir(parents=True)
    file = "ConditionalDiffusionMixSTES2SGRANDLinLift_l2_lr4e-4_useTembed_T_h36m_cpn_81f.bin"
    network = build("diff3dhpe", frames=81, joints=17, channels=16, depth=1)
    state = {f"module.model.{name}": value for name, value in network.state_dict().items()}
    torch.save({"model_diffusion": state | {"module.betas": torch.zeros(1000)}, "epoch": 3}, folder / file)
    write_video(tmp_path / "S9.mp4", (np.full((50, 50, 3), s, np.uint8) for s in range(90)), 50)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    line = (
        '--gpu_id 0 -sviz S9 -a "Photo 1" -cam 1 -s 81 -f 81 -b 1 --sampling_timesteps 9 '
        "-c checkpoint/h36m/ConditionalDiffusionMixSTES2SGRANDLinLift/cpn/f81/ "
        f"--evaluate {file} --config {config} --viz-video S9.mp4"
    )
    assert main("figure", None, shlex.split(line)) == 0
    there = folder / "81f" / "S9" / "Photo 1" / "1"
    assert {"2D_keypoints_viz.svg", "reverse_diffusion_end_viz.svg"} <= {p.name for p in there.iterdir()}
    assert "step9-pose" in read_poses(there / "viz.svg")
    # --viz-size 1: this test is about the flags, not about large pictures
    assert main("animation", None, shlex.split(f"{line} --viz-output viz.mp4 --viz-size 1")) == 0
    for name in ("viz.mp4", "diffusion_viz.mp4", "reverse_diffusion_viz.mp4"):  # a bare name: below -c
        assert (there / name).stat().st_size > 1000
    assert video_info(there / "viz.mp4").fps == 50 and video_info(there / "diffusion_viz.mp4").fps == 2
    assert main("figure", None, shlex.split(f"{line} --viz-output own.svg")) == 0
    assert (there / "own.svg").is_file() and (there / "reverse_diffusion_end_own.svg").is_file()
    assert not list(tmp_path.glob("*viz*")) and not list(tmp_path.glob("*own*"))
    assert main("figure", None, shlex.split(f"{line} --viz-output ./here.svg")) == 0
    assert (tmp_path / "here.svg").is_file()
    assert main("figure", None, shlex.split(f"{line} --viz-output ./there.mp4")) == 0
    assert (tmp_path / "there.svg").is_file() and not (tmp_path / "there.mp4").exists()
    assert "pictures are drawn, there.svg" in capsys.readouterr().err


@pytest.mark.parametrize("changes", [{}, {"flip": "own", "temperature": (0.5, 2.0)}], ids=["plain", "own, tempered"])
@pytest.mark.parametrize("name", [n for n in REGISTRY if n != "known"])
def test_a_trace_ends_where_the_lifted_clip_is(data, name, changes):
    lifter = lifter_of(name, perturbed(name))
    clip, opened = clip_of(data, "Walking"), Opened(lifter, {"model": name, "frames": 9}, Path("x.bin"))
    sampling = Sampling(hypotheses=2, steps=3, **changes)
    lifted = lift_clip(opened, clip, sampling, CPU, frames=[13])
    trace = trace_frame(opened, clip, sampling, CPU, 13)
    assert trace.states.shape == trace.estimates.shape == (2, 3, 17, 3) and trace.aggregates.shape == (3, 17, 3)
    np.testing.assert_allclose(trace.aggregates[-1], lifted.aggregate[13], atol=1e-5)
    np.testing.assert_allclose(trace.states[:, -1], lifted.hypotheses[:, 13], atol=1e-5)
    assert np.isnan(lifted.aggregate[23]).all()  # was not asked for
    whole = lift_clip(opened, clip, sampling, CPU)
    np.testing.assert_allclose(whole.aggregate[13], lifted.aggregate[13], atol=1e-5)


def test_forward_process_goes_from_the_pose_to_noise():
    lifter = lifter_of("diff3dhpe", perturbed("diff3dhpe"))
    pose = known_answer(0.0, np.zeros((17, 2)))
    states, times = forward_states(lifter, pose, seed=1)
    assert times == list(range(0, 1000, 25)) and states.shape == (40, 17, 3)
    assert np.abs(states[0] - pose).max() < 0.05
    share = [np.corrcoef(state.ravel(), pose.ravel())[0, 1] for state in states]
    assert share[4] > 0.8 and abs(np.mean(share[-3:])) < 0.3


def test_noise_on_the_input_is_drawn_and_seeded(tmp_path, data, known):
    drawn = []
    for flags in ([], ["--extra_noise_std", "0.05"], ["--extra_noise_std", "0.05"], ["--joint_drop", "1"]):
        folder = save_known(tmp_path / str(len(drawn)))
        command = ["-c", str(folder), "--evaluate", "best_epoch.bin", "--data-root", str(data), "-a", "Walking"]
        assert main("figure", None, [*command, *CHOICE, *flags]) == 0
        drawn.append(read_poses(folder / "9f" / "S9" / "Walking" / "1" / "2D_keypoints_viz.svg")["input-keypoints"])
    assert 0.02 < np.std(drawn[1] - drawn[0]) < 0.1
    np.testing.assert_array_equal(drawn[1], drawn[2])
    np.testing.assert_allclose(drawn[3], 0, atol=1e-6)


def test_picture_for_training_leaves_training_alone(data):
    lifter = lifter_of("mixste", perturbed("mixste")).train()
    before = torch.get_rng_state()
    image = picture_of(
        Opened(lifter, {"model": "mixste", "frames": 9}, Path("x.bin")), clip_of(data, "Walking"), Sampling(2, 2), CPU
    )
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and min(image.shape[:2]) > 300
    assert lifter.training and lifter.denoiser.training and torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-cam", "4"], "-cam 4: S9 Photo 1 has cameras 0 to 3"),
        (["-cam", "one"], "expected numbers such as 0 or 0,2, not one"),
        (["-a", "Dancing"], "no such action"),
        (["--viz-frame", "30"], "--viz-frame 30: S9 Photo 1 has frames 0 to 29"),
        (["--viz-output", "a.doc"], "--viz-output a.doc: the name must end in"),
        (["--evaluate", "x.bin", "--evaluate", "y.bin", "-c", "there"], "2 times -c, but 3 times --evaluate"),
        (["-b", "0"], "-b 0: must be 1 or more"),
        (["-f", "81"], "contradicts the checkpoint"),
    ],
)
def test_what_a_user_can_mend_is_one_line(tmp_path, data, known, capsys, flags, message):
    folder = save_known(tmp_path / "model")
    command = ["-c", str(folder), "--evaluate", "best_epoch.bin", "--data-root", str(data), "-sviz", "S9"]
    assert main("figure", None, [*command, "-a", "Photo 1", "-gpu", "-1", *flags]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ") and re.search(re.escape(message), last)
    if flags[0] == "--viz-frame":  # before anything is drawn
        drawn = tmp_path / "a.gif"
        assert (
            main("animation", None, [*command, "-a", "Photo 1", "-gpu", "-1", *flags, "--viz-output", str(drawn)]) == 2
        )
        assert not drawn.exists()
    assert main("figure", None, ["-gpu", "-1"]) == 2
    shutil.rmtree(folder)
