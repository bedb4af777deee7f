"""Command lines as people type them, and what a wrong one gets."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from common.engine import checkpoint
from common.programs.main import main
from common.settings.flags import make_parser
from common.settings.lifting import FLAGS
from tests.tiny import command, flags, h36m_folder

ROOT = Path(__file__).parents[2]


def call(capsys, arguments, preset="h36m"):
    """(exit code, stderr) of the program in this process."""
    code = main(preset, None, shlex.split(arguments) if isinstance(arguments, str) else arguments)
    return code, capsys.readouterr().err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a trained checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    command(folder, "--no-eval")
    return folder


@pytest.fixture
def random_prompts(tmp_path, monkeypatch):
    """Prompt features of a tiny random tower where the program looks for CLIP's, allowed for this test alone."""
    from common.models.prompts import main as write_prompts

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ALLOW_RANDOM_PROMPTS", "1")
    cache = tmp_path / "home" / ".cache" / "clip"
    cache.mkdir(parents=True)
    for layout in ("graphdiffu_h36m", "graphdiffu_3dhp"):
        out = cache / f"prompts_{layout}.safetensors"
        actions = "Walking,Directions,Greeting,Photo,Purchases,SittingDown,Waiting,Phoning,Posing,Discussion"
        line = ["--random", "--layout", layout, "--actions", *actions.split(","), "--out", str(out)]
        assert write_prompts(line) == 0
    return cache


@pytest.mark.parametrize(
    "model",
    [
        "graphdiffu --text learned --eval-text both",
        "graphdiffu --text learned --as-published -b 20",
        "finepose --text none",
        "ktpformer",
        "grap2eq --text learned",
        "grap2eq_lite",
        "diff3dhpe --repeat_n 2",
        "diff3dhpe_s2f --with_time_emb False",
    ],
)
def test_every_model_trains_resumes_and_evaluates(tmp_path, capsys, model):
    one = flags(tmp_path, f"--model {model} --debug -e 1")
    assert call(capsys, one)[0] == 0
    two = flags(tmp_path, f"--model {model} --debug -e 2 --resume last.bin -num_proposals 2 -sampling_timesteps 2")
    code, err = call(capsys, two)
    assert code == 0, err
    assert (tmp_path / "report.json").is_file()


def test_without_clip_the_default_model_says_what_to_do(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))

    def no_network(*arguments, **keywords):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    typed = [a if a != "mixste" else "graphdiffu" for a in flags(tmp_path / "c")]
    for more, why in (([], "cannot be fetched (no network)"), (["--offline"], "--offline: not fetched")):
        code, err = call(capsys, [*typed, *more])
        line = err.strip().splitlines()[-1]
        assert code == 2 and why in line
        for part in ("ViT-B-32.pt", "https://", "--text learned", "--prompts", "--clip-weights"):
            assert part in line


def test_random_prompts_are_refused_outside_tests(tmp_path, capsys, random_prompts, monkeypatch):
    monkeypatch.delenv("ALLOW_RANDOM_PROMPTS")
    typed = [a if a != "mixste" else "graphdiffu" for a in flags(tmp_path / "c")]
    code, err = call(capsys, typed)
    assert code == 2 and "random" in err.strip().splitlines()[-1]


def test_the_published_variant_of_diff3dhpe_is_stored_with_the_weights(tmp_path, capsys):
    """It stands for the published step and for two separate runs of the body and the mirrored one."""
    from common.diffusion.diff3dhpe import ddim_step_published

    for more, apart in (("--variant published", True), ("", False)):
        folder = tmp_path / str(apart)
        assert call(capsys, flags(folder, f"--model diff3dhpe --debug -e 1 --no-eval {more}"))[0] == 0
        content = checkpoint.load(folder / "last.bin")
        assert content["card"]["variant"] == ("published" if apart else "default")
        diffusion = checkpoint.make_lifter(content["card"], content["weights"]).diffusion
        assert diffusion.mirror_apart is apart and (diffusion.step is ddim_step_published) is apart


def test_training_starts_from_the_weights_of_a_file(trained, tmp_path, capsys):
    """With a learning rate of zero they come out again."""
    line = [*flags(tmp_path, "--no-eval -e 1 --debug --pretrained_model"), str(trained / "last.bin"), "-lr", "0"]
    assert call(capsys, line)[0] == 0
    before, after = (checkpoint.load(folder / "last.bin")["weights"] for folder in (trained, tmp_path))
    assert all(torch.equal(before[name], after[name]) for name in before)
    code, err = call(capsys, [*line, "-dep", "2"])
    assert code == 2 and "missing" in err.strip().splitlines()[-1]


def test_batch_of_four_frames_is_one_window(tmp_path, capsys):
    assert call(capsys, [*flags(tmp_path, "--no-eval --debug -e 1"), "-b", "4"])[0] == 0


def test_a_published_d3dp_file_is_evaluated_by_its_own_line(tmp_path, capsys):
    """No model flag: the file's names and shapes say what it holds."""
    from common.models import build

    torch.manual_seed(0)
    state = build("mixste", frames=9, channels=16, depth=1).state_dict()
    content = {
        "epoch": 3,
        "random_state": np.random.RandomState(0),
        "model_pos": {f"module.pose_estimator.{name}": value for name, value in state.items()},
    }
    torch.save(content, tmp_path / "h36m_best_epoch.bin")
    line = f"-k cpn_ft_h36m_dbb -c {tmp_path} -gpu 0 --nolog --evaluate h36m_best_epoch.bin"
    line += f" -num_proposals 5 -sampling_timesteps 5 -b 4 --debug --data-root {h36m_folder()}"
    code, err = call(capsys, line)
    assert code == 0, err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--evaluate best_epoch_1_1.bin --resume last.bin", "exclude each other"),
        ("--evaluate nothing.bin", "best_epoch_1_1.bin"),
        ("--evaluate best_epoch_1_1.bin -f 9", "contradicts the checkpoint"),
        ("--evaluate best_epoch_1_1.bin -cs 32", "contradicts the checkpoint"),
        ("--evaluate best_epoch_1_1.bin -dep 2", "contradicts the checkpoint"),
        ("--evaluate best_epoch_1_1.bin -timestep 50", "contradicts the checkpoint"),
        ("--resume last.bin -e 1", "epochs already"),
        ("-str S1,S77", "no subject S77"),
        ("-ste S77", "no subject S77"),
        ("-a Swimming", "no such action"),
        ("-k nothing", "2D sources"),
        ("--model nothing", "mixste"),
        ("-e 0", "must be 1 or more"),
        ("-cs 12", "multiple of 8"),
        ("-sampling_timesteps 2000", "exceeds"),
        ("--subset 0", "--subset"),
        ("-gpu x", "-gpu x"),
        ("--nonsense", "nonsense"),
        ("-e many", "invalid int"),
        ("--demo --evaluate a.bin", "--demo"),
    ],
)
def test_wrong_input_gets_one_line_and_code_2(trained, capsys, more, message):
    typed = [a for a in flags(trained, more)]
    if "--evaluate" in more or "--resume" in more:  # sizes come from the file, unless the case types one
        typed = ["-gpu", "-1", "--nolog", "--data-root", str(h36m_folder()), "-c", str(trained), "-ste", "S9"]
        typed += shlex.split(more)
    before = (trained / "last.bin").read_bytes()
    code, err = call(capsys, typed)
    last = err.strip().splitlines()[-1]
    assert code == 2 and last.startswith("error: ") and message in last, err
    assert "Traceback" not in err and (trained / "last.bin").read_bytes() == before


def test_another_2d_source_is_a_warning(trained, capsys):
    line = f"-gpu -1 --nolog --data-root {h36m_folder()} -c {trained} -k gt -ste S9 -a Walking --evaluate last.bin"
    code, err = call(capsys, line)
    assert code == 0 and "trained on 2D from cpn_ft_h36m_dbb" in err


def test_ignored_published_flags_are_told(trained, capsys):
    line = f"-gpu -1 --nolog --data-root {h36m_folder()} -c {trained} -ste S9 -a Walking --evaluate last.bin"
    code, err = call(capsys, line + " --save_lmin 41.1 --coverlr -lambda_ 0.5")
    assert code == 0 and err.count("note: ") == 3


def test_render_draws_a_clip(trained, capsys, tmp_path):
    line = f"-gpu -1 --nolog --data-root {h36m_folder()} -c {trained} --evaluate last.bin --render --viz-subject S11"
    line += f" --viz-action Walking --viz-camera 0 --viz-limit 4 --viz-size 2 --viz-output {tmp_path / 'out.gif'}"
    line += f" --viz-export {tmp_path / 'poses.npy'}"
    code, err = call(capsys, line)
    assert code == 0, err
    assert (tmp_path / "out.gif").stat().st_size > 1000 and np.load(tmp_path / "poses.npy").shape == (4, 17, 3)
    code, err = call(capsys, line.replace("--viz-camera 0", "--viz-camera 7"))
    assert code == 2 and "cameras 0 to 3" in err


def test_training_writes_a_tensorboard_log_unless_told_not_to(tmp_path, capsys):
    typed = [a for a in flags(tmp_path, f"--no-eval -e 1 --debug -l {tmp_path / 'log'}") if a != "--nolog"]
    assert call(capsys, typed)[0] == 0
    assert list((tmp_path / "log").rglob("events.out.tfevents.*"))


def test_every_flag_has_a_long_name_a_help_line_and_one_default():
    names = [name for flag in FLAGS for name in flag.names]
    assert len(names) == len(set(names))
    for flag in FLAGS:
        assert any(name.startswith("--") for name in flag.names), flag.names
        assert flag.help and "\n" not in flag.help
    assert len({flag.destination for flag in FLAGS}) == len(FLAGS)
    assert "--hypotheses" in make_parser(None, FLAGS, {}).format_help()


@pytest.mark.parametrize("script", ["main.py", "main_gt.py", "main_3dhp.py"])
def test_scripts_explain_themselves(script):
    done = subprocess.run([sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"python {script}" in done.stdout


def test_a_damaged_checkpoint_is_told(trained, capsys, tmp_path):
    (tmp_path / "cut.bin").write_bytes((trained / "last.bin").read_bytes()[:1000])
    code, err = call(capsys, f"-gpu -1 --nolog --data-root {h36m_folder()} -c {tmp_path} --evaluate cut.bin")
    assert code == 2 and "cut.bin: cut off" in err
    assert checkpoint.load(trained / "last.bin")["card"]["model"] == "mixste"


def test_single_pass_trains_with_its_own_loss_and_refuses_hypotheses(tmp_path, capsys):
    line = "--model grap2eq_lite --single-pass --debug -e 1"
    assert call(capsys, flags(tmp_path, line))[0] == 0
    code, err = call(capsys, flags(tmp_path, line + " -num_proposals 5"))
    assert code == 2 and "--single-pass" in err


@pytest.fixture(scope="module")
def humaneva_folder(tmp_path_factory):
    from common.datasets.synthetic.humaneva import write_humaneva

    folder = tmp_path_factory.mktemp("humaneva")
    write_humaneva(folder, seconds=0.6, progress=False)
    return folder


def test_humaneva_lines_train_and_evaluate(tmp_path, capsys, humaneva_folder):
    line = f"-k gt -c {tmp_path} -a Walk,Jog -gpu 0 --nolog --text learned --data-root {humaneva_folder} --debug"
    code, err = call(capsys, line + " -cs 16 -dep 1 -e 1", "humaneva")
    assert code == 0, err
    evaluate = line + " --evaluate best_epoch_1_1.bin --by-subject -num_proposals 20 -sampling_timesteps 10 --p2"
    code, err = call(capsys, evaluate, "humaneva")
    assert code == 0, err
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert set(report["columns"]) == {"P_Agg", "R_Agg", "S_Agg", "J_Agg_fit", "J_Agg", "P_Best", "J_Best"}
    assert "intrinsics fitted from the ground-truth 2D" in err
    fitted = report["intrinsics"]
    assert fitted["how"] == "fitted from the ground-truth 2D and 3D" and set(fitted["people"]) == {"S1", "S2", "S3"}
    assert all(len(cameras) == 3 and cameras[0]["residual_px"] < 5 for cameras in fitted["people"].values())
    assert "Validate/S1" in report["subjects_results"]


def test_grap2eq_on_human36m_mapped_to_fifteen_joints(tmp_path, capsys):
    line = f"-h36mpre -k gt -c {tmp_path} -gpu 0 --nolog --model grap2eq_lite --data-root {h36m_folder()} --debug"
    code, err = call(capsys, line + " -cs 16 -dep 1 -e 1 -f 9 -s 3", "humaneva")
    assert code == 0, err
    assert checkpoint.load(tmp_path / "last.bin")["card"]["skeleton"] == "humaneva_15"


def test_3dhp_lines_train_export_and_score(tmp_path, capsys, random_prompts):
    from common.datasets.synthetic.threedhp import write_threedhp

    write_threedhp(tmp_path / "data", tmp_path / "annotations", seconds=0.8, progress=False)
    where = f" --data-root {tmp_path / 'data'} --annotations {tmp_path / 'annotations'} -f 9"
    line = f"-d 3dhp -c {tmp_path / 'c'} -gpu 0,1 --nolog -lrd 0.995 -lr 0.00007 -e 120" + where
    code, err = call(capsys, line + " -cs 16 -dep 1 -e 1 --debug --no-eval", "3dhp")
    assert code == 0, err
    line = f"-d 3dhp -c {tmp_path / 'c'} -gpu 0,1 --nolog --evaluate best_epoch_1_1.bin -num_proposals 20" + where
    assert main("3dhp", None, shlex.split(line + " -sampling_timesteps 2 -b 4")) == 0
    printed = capsys.readouterr().out
    assert "annot3" in printed and "PCK" in printed
    for column in ("P_Agg", "P_Best", "J_Agg", "J_Best", "J_Agg_fit", "R_Agg"):
        assert (tmp_path / "c" / f"inference_data_{column}.mat").is_file()
    assert (tmp_path / "c" / "mpii_3dhp_evaluation_sequencewise_ori_J_Agg_t2.csv").is_file()
    report = json.loads((tmp_path / "c" / "report.json").read_text(encoding="utf-8"))
    assert report["labels"] == "annot3"


def test_exported_3dhp_poses_are_the_scored_ones(tmp_path):
    """MPJPE of the exported P_Agg over valid frames equals the report's, also for a clip shorter than the window."""
    import h5py
    from scipy.io import loadmat

    from common.datasets.synthetic.threedhp import write_threedhp
    from common.programs.main import read_settings, run
    from tests.tiny import CPU

    write_threedhp(tmp_path / "data", tmp_path / "ts", seconds=0.8, progress=False)
    line = f"--model mixste -gpu -1 --nolog -f 9 -cs 16 -dep 1 -e 1 -c {tmp_path / 'c'} --data-root {tmp_path / 'data'}"
    line += f" --annotations {tmp_path / 'ts'} -num_proposals 2"
    report = run(read_settings("3dhp", shlex.split(line))[0], CPU)
    poses = loadmat(tmp_path / "c" / "inference_data_P_Agg.mat")
    for name in ("TS1", "TS5"):
        with h5py.File(tmp_path / "ts" / name / "annot_data.mat") as file:
            annotated = np.array(file["annot3"]).squeeze()  # (F, 17, 3)
            valid = np.array(file["valid_frame"]).squeeze().astype(bool)
        truth = annotated - annotated[:, 14:15]
        predicted = poses[name][..., -1].transpose(2, 1, 0) if poses[name].ndim == 4 else poses[name].transpose(2, 1, 0)
        assert len(predicted) == len(truth) and not predicted[:, 14].any()
        error = np.linalg.norm(predicted - truth, axis=-1).mean(-1)[valid].mean()
        assert report["results"][-1]["protocol_1"]["actions"][name]["P_Agg"] == pytest.approx(error, rel=1e-3)


def test_data_of_ones_own_with_another_layout_trains(tmp_path, capsys):
    from common.datasets.custom import write_custom_3d
    from common.geometry.skeleton import Skeleton

    rng = np.random.default_rng(0)
    skeleton = Skeleton("stick", ("Hip", "LFoot", "RFoot", "Head"), (-1, 0, 0, 0), (1,), (2,), 0)
    rest = np.array([[0, 0, 1.0], [0.1, 0, 0], [-0.1, 0, 0], [0, 0, 1.7]])
    world = {s: {"Walk": (rest + 0.05 * rng.normal(size=(30, 4, 3))).astype("f4")} for s in ("A", "B")}
    camera = {"id": "c", "res_w": 1000, "res_h": 800, "focal_length": [1100, 1100], "center": [500, 400]}
    camera |= {"orientation": [0.5, -0.5, 0.5, -0.5], "translation": [-4.0, 0.0, 1.0]}
    pixels = {s: {"Walk": [(500 + 80 * rng.normal(size=(30, 4, 2))).astype("f4")]} for s in world}
    write_custom_3d(tmp_path / "data_3d_custom_own.npz", world, {"*": [camera]}, 25.0, skeleton)
    metadata = {"layout_name": "stick", "num_joints": 4, "keypoints_symmetry": [[1], [2]]}
    np.savez(tmp_path / "data_2d_custom_own.npz", positions_2d=pixels, metadata=metadata)
    line = (
        f"-d custom -k own --data-root {tmp_path} -c {tmp_path / 'c'} -gpu -1 --nolog --model mixste -f 9 -cs 16 -dep 1"
    )
    code, err = call(capsys, line + " -str A -ste B -e 1")
    assert code == 0, err
    code, err = call(capsys, line + " -str A -ste B --evaluate last.bin")
    assert code == 0, err
    code, err = call(capsys, line + " -e 1")
    assert code == 2 and "-str" in err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("--metrics xyz", "--metrics xyz: unknown"),
        ("--max-steps 0", "must be 1 or more"),
        ("--max-seconds 0", "must be above 0"),
        ("--evaluate ''", "--evaluate: an empty text"),
        ("-r ''", "--resume: an empty text"),
    ],
)
def test_a_wrong_line_is_told_before_the_work(tmp_path, capsys, more, told):
    code, err = call(capsys, [*flags(tmp_path / "c"), *shlex.split(more)])
    assert code == 2 and told in err.strip().splitlines()[-1] and not (tmp_path / "c").exists()


def test_the_places_of_pictures_are_tried_first(trained, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    line = [*flags(trained), "--evaluate", "last.bin", "--render"]
    for more in (
        ["--viz-output", tmp_path / "file" / "o.gif"],
        ["--viz-output", tmp_path / "o.gif", "--viz-export", tmp_path],
    ):
        code, err = call(capsys, [*line, *map(str, more)])
        assert code == 2 and "cannot" in err.strip().splitlines()[-1]
        assert "lifting" not in err and not (tmp_path / "o.gif").exists()
