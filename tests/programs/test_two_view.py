"""The program as people type it: the published lines on synthetic files, settings, resume, checkpoints, errors."""

import json
import pickle
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from common.binocular import setup, work
from common.binocular.run import Run, choose_place
from common.engine.checkpoint import fill
from common.errors import UserError
from common.files.reading import load_torch
from common.models.two_view import GraphDenoiser
from common.programs import two_view as program
from common.settings import two_view_files as options
from tests.stereo_files import SMALL, settings
from tests.tiny import CPU

CONFIGS = sorted(p.name for p in options.CONFIGS.glob("*_diffpose_uvxyz_*.yml"))


def run(folder, stereo, kind, *words, config=None):
    """Start the program; returns the exit code and the newest run folder."""
    config = config or f"{kind}_2view_diffpose_uvxyz_rsb152.yml"
    line = ["--config", config, *settings(stereo, kind), "--exp", str(folder), "--doc", "t", "--ni", "--device", "cpu"]
    before = set(folder.glob("*"))
    code = program.main([*line, *map(str, words)])
    made = sorted(set(folder.glob("*")) - before)
    return code, made[-1] if made else None


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A checkpoint in the published shape: a list of five, data-parallel names, a profiler's counters."""
    torch.manual_seed(3)
    network = GraphDenoiser(hid_dim=16, num_layer=1, action_emd=True)
    with torch.no_grad():
        network.gconv_output.weight.mul_(0.05)
    state = {f"module.{k}": v for k, v in network.state_dict().items()}
    state |= {"module.total_ops": torch.zeros(1), "module.gconv_layers.0.total_params": torch.zeros(1)}
    ema = {k: v.clone() for k, v in network.named_parameters()}
    folder = tmp_path_factory.mktemp("published") / "checkpoint"
    folder.mkdir()
    torch.save([state, {}, 7, 100, ema], folder / "ckpt_mhad_rsb152.pth")
    return folder / "ckpt_mhad_rsb152.pth"


@pytest.mark.parametrize("kind", ["mhad", "h36m"])
def test_published_lines(stereo, published, tmp_path, kind, capsys, monkeypatch):
    monkeypatch.chdir(published.parents[1])  # the published name is under checkpoints/, the file in checkpoint/
    weights = ["--batch_size", "1024", "--model_diff_path", "checkpoints/ckpt_mhad_rsb152.pth"]
    code, folder = run(tmp_path, stereo, kind, "--train", *weights, "--epochs", 1)
    assert code == 0 and ":" not in folder.name
    out = capsys.readouterr().out
    assert "TRUE action label" in out and "as in the checkpoint" in out
    assert yaml.safe_load((folder / "config.yml").read_text())["training"]["batch_size"] == 1024
    content = load_torch(folder / "ckpt_last.pth")
    assert content["card"]["settings"]["model.depth_axis"] == "world_z"  # published weights stay published
    assert content["card"]["settings"]["data.legacy_skew"] is True

    code, folder = run(tmp_path / "eval", stereo, kind, *weights, "--test_timesteps", 1)
    assert code == 0
    there, n = folder / "-001", 33 * 2 * (2 if kind == "mhad" else 1)
    shapes = {"keypoints_2d_ori": (n, 2, 17, 2), "index": (n,)}
    shapes |= {f"keypoints_3d_{name}": (n, 17, 3) for name in ("dualdiff", "tri", "gt")}
    arrays = {name: np.load(there / f"{name}.npy") for name in shapes}
    assert {name: a.shape for name, a in arrays.items()} == shapes
    with (there / "results.pkl").open("rb") as stream:
        results = pickle.load(stream)
    assert results["keypoints_2d_iters_1"].shape[1:] == (17, 4) and results["keypoints_2d_gt"].shape == (n, 2, 17, 2)
    metric = json.loads((there / "metric.json").read_text())
    error = 1000 * np.linalg.norm(arrays["keypoints_3d_dualdiff"] - arrays["keypoints_3d_gt"], axis=-1)
    assert abs(metric["per_pose_error"]["Average"]["Average"] - error.mean()) < 1e-2
    rooted = [a - a[:, 6:7] for a in (arrays["keypoints_3d_dualdiff"], arrays["keypoints_3d_gt"])]
    relative = 1000 * np.linalg.norm(rooted[0] - rooted[1], axis=-1).mean()
    assert abs(metric["per_pose_error_relative"]["Average"]["Average"] - relative) < 1e-2
    first = "S08" if kind == "mhad" else "S9"
    mask = [i for i in range(n) if results["indexes"][i] % 66 < 33]
    assert abs(metric["per_pose_error"][first]["Average"] - error[mask].mean()) < 1e-2
    assert metric["per_pose_error"]["S01" if kind == "mhad" else "S1"]["Average"] is None
    if kind == "mhad":
        assert np.allclose(metric["per_joint_error"]["Average"], error.mean(0), atol=1e-2)
        assert metric["per_error_occ"] == {"Average": [None]}
        assert abs(metric["per_error_notocc"]["Average"][0] - error.mean()) < 1e-2
    report = json.loads((there / "report.json").read_text())
    assert set(report["columns"]) == {"raw", "debiased", "model"} and report["columns"]["model"]["reads"] == ["action"]
    names = {"all", "without damaged"} if kind == "h36m" else {"all"}
    assert set(report["results"]["overall"]) == names
    assert report["detector_statistics"]["leaked"] is None and report["weights"] == "EMA"
    raw = report["results"]["overall"]["all"]["errors"]
    assert raw["debiased"]["absolute"] < raw["raw"]["absolute"]  # the detector is 3 px off, and the people agree
    assert "triangulation, raw" in capsys.readouterr().out


@pytest.mark.parametrize("config", CONFIGS)
def test_shipped_settings(config):
    settings, inert = options.resolve(options.read_config(options.find_config(config)), {}, config)
    assert not inert  # every key does something
    kind, family = config.split("_")[0], config.removesuffix(".yml").split("uvxyz_")[1]
    if kind == "human36m":  # left over from DiffPose: its schedule
        assert settings["diffusion.num_diffusion_timesteps"] == 51 and "one view" in settings["note"]
        assert settings["testing.test_num_diffusion_timesteps"] == {"cpn": 24, "gt": 12}[family]
        return
    assert settings["data.dataset"] == "_".join(config.split("_")[:2])
    steps = 76 if (kind == "h36m" and family != "vit") or family == "adafuse" else 26
    assert settings["diffusion.num_diffusion_timesteps"] == steps
    assert settings["model.action_emd"] is False and settings["optim.lr"] in (1e-5, 2e-5)
    assert settings["training.loss_type"] == ("2d" if family == "rsb152" else "3dand2d")
    assert settings["dataset.val.pred_2d_error_dis_path"] == settings["dataset.train.pred_2d_error_dis_path"]
    assert settings["model.depth_emd"] is not family.endswith(("_s", "_l", "depth"))
    if family.endswith("depth"):
        assert settings["training.n_epochs"] == 20 and "not known here" in settings["note"]


def test_networks_that_no_published_program_builds_are_refused_by_name(tmp_path, capsys):
    for name in ("resnet50_only2d", "resnet50_2viewkpt_cond"):
        path = tmp_path / f"mhad_2view_diffpose_uvxyz_{name}.yml"
        path.write_text("model:\n  hid_dim: 96\n")
        for config in (path.name, path):
            assert program.main(["--config", str(config), "--doc", "x", "--exp", str(tmp_path / "exp")]) == 2
            error = capsys.readouterr().err
            assert name in error and "no published program builds" in error and error.count("\n") == 1
    (tmp_path / "own.yml").write_text("model:\n  coords_dim: [4, 4]\n")
    assert program.main(["--config", str(tmp_path / "own.yml"), "--doc", "x", "--exp", str(tmp_path / "exp")]) == 2
    assert "model.coords_dim [4, 4]" in capsys.readouterr().err
    assert program.main(["--config", "mhad_2view_diffpose_uvxyz_resnet152_bigdept.yml", "--doc", "x"]) == 2
    assert "did you mean mhad_2view_diffpose_uvxyz_resnet152_bigdepth.yml?" in capsys.readouterr().err


def test_a_published_name_with_another_middle_is_told(stereo, tmp_path):
    name = "mhad_2view_diffpose_uvxyz_resnet50_simu.yml"
    code, folder = run(tmp_path, stereo, "mhad", "--simu", config=name)
    assert code == 0
    assert f"{name}: no such file; mhad_2view_diffpose_uvxyz_resnet152_simu.yml" in (folder / "stdout.txt").read_text()
    for typed in ("human36m_diffpose_xyz_gt.yml", "configs/human36m_diffpose_xyz_gt.yml"):
        assert options.find_config(typed).name == "human36m_diffpose_uvxyz_gt.yml"
    assert options.find_config("mhad_2view_diffpose_uvxyz_rsb152_simu.yml").name.endswith("rsb152_simu.yml")


# As the published files have them; none of it does anything in the published program.
DEAD = """
data: {dataset: h36m_2view, dataset_path: a, dataset_path_train_2d: b, num_joints: 17, num_workers: 32}
dataset:
  heatmap_shape: 96
  train: {h36m_root: a, pred_results_path: data/small.pkl, rectificated: true, crop: true, subset: null}
  val: {mhad_root: a, baseline_width: m, shuffle: false, num_workers: 1}
model: {coords_dim: [3, 3], emd_dim: 96, n_pts: 17, resamp_with_conv: true, var_type: fixedsmall}
training: {shuffle: true, num_workers: 32}
testing: {shuffle: false, num_workers: 32}
"""


def test_dead_keys_are_named_in_one_line_and_unknown_ones_refused(stereo, tmp_path, capsys):
    path = tmp_path / "own.yml"
    path.write_text(DEAD)
    code, folder = run(tmp_path / "exp", stereo, "h36m", "--simu", config=str(path))
    assert code == 0
    lines = (folder / "stdout.txt").read_text().splitlines()
    told = [line for line in lines if "nothing reads" in line]
    dead = set(options.flatten(yaml.safe_load(DEAD))) - {"data.dataset"}
    assert len(told) == 1 and set(told[0].split("nothing reads ")[1].rstrip(".").split(", ")) == dead
    assert any("small.pkl: the published program chose the rows of its depth" in line for line in lines)
    path.write_text(DEAD.replace("shuffle: true", "shufle: true"))
    code, _ = run(tmp_path / "exp", stereo, "h36m", "--simu", config=str(path))
    assert code == 2 and "unknown key training.shufle" in capsys.readouterr().err


def test_settings_saved_by_the_published_program(stereo, tmp_path, capsys):
    """An argparse.Namespace in Namespaces, dumped: its plain keys are read."""
    tree = {"data": Namespace(dataset="h36m_2view", num_joints=17), "model": Namespace(hid_dim=16, coords_dim=[3, 3])}
    tree["optim"] = Namespace(lr=2e-05, eps=1e-8, optimizer="Adam")
    tree["dataset"] = Namespace(image_shape=(384, 384), num_views=2)
    path = tmp_path / "config.yml"
    path.write_text(yaml.dump(Namespace(**tree), default_flow_style=False))
    assert path.read_text().startswith("!!python/object:argparse.Namespace")
    read = options.read_config(path)
    assert read["model.hid_dim"] == 16 and read["model.coords_dim"] == [3, 3] and read["optim.lr"] == 2e-05
    code, folder = run(tmp_path / "exp", stereo, "h36m", "--simu", config=str(path))
    assert code == 0 and yaml.safe_load((folder / "config.yml").read_text())["model"]["hid_dim"] == 16


def test_any_other_python_object_in_settings_is_refused(tmp_path, capsys):
    trace = tmp_path / "trace"
    for text in (
        f"data: !!python/object/apply:os.system ['touch {trace}']",
        "a: !!python/name:os.system",
        "a: !!python/object:collections.OrderedDict {}",
        "a: !!python/tuple [1, 2]",
        "a: !!python/object:argparse.Namespace [1]",
        "a: &x {b: *x}",
        "base: 5",
    ):
        path = tmp_path / "config.yml"
        path.write_text(text)
        assert program.main(["--config", str(path), "--doc", "x", "--exp", str(tmp_path / "exp")]) == 2, text
        error = capsys.readouterr().err
        assert str(path) in error and error.count("\n") == 1
    assert not trace.exists() and not (tmp_path / "exp").exists()


def test_what_the_published_program_read_off_file_names():
    path = {"dataset.val.pred_2d_results_path": "data/mhad_results_adafuse.pkl", "data.dataset": "mhad_2view"}
    settings, _ = options.resolve(path, {}, "own.yml")
    found, lines = options.from_file_names(settings, path)
    assert found["dataset.val.groups"] == [1] and found["dataset.train.groups"] is None and len(lines) == 1
    path["data.dataset"] = "h36m_2view"
    assert options.from_file_names(options.resolve(path, {}, "")[0], path)[1] == []


def test_precedence_and_errors(tmp_path, capsys):
    path = tmp_path / "own.yml"
    path.write_text("optim:\n  lr: 1e-5\nmodel:\n  resamp_with_conv: true\n")
    file = options.read_config(path)
    settings, inert = options.resolve(file, {"optim.lr_gamma": 0.5}, "own.yml")
    assert settings["optim.lr"] == 1e-5 and settings["optim.lr_gamma"] == 0.5 and inert == ["model.resamp_with_conv"]
    for text, message in [
        ("optim:\n  learning_rate: 1", "unknown key optim.learning_rate"),
        ("optim:\n  lr: fast", "expected float"),
        ("model:\n  ema: 1", "expected bool"),
        ("testing:\n  debias: maybe", "none, file"),
        ("training:\n  n_epochs: 0", "at least 1"),
        ("- 1", "keys and values"),
        ("a: [", "not a readable YAML"),
        ("base: gone.yml", "no such file"),
    ]:
        path.write_text(text)
        assert program.main(["--config", str(path), "--doc", "x", "--exp", str(tmp_path / "exp")]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert not (tmp_path / "exp").exists()
    assert program.main(["--config", "gone.yml", "--doc", "x"]) == 2
    assert program.main(["--train"]) == 2
    assert program.main(["--no-such-flag"]) == 2


def test_a_typed_flag_wins(stereo, tmp_path):
    code, folder = run(
        tmp_path,
        stereo,
        "mhad",
        "--train",
        *SMALL,
        "--loss_type",
        "3dand2d",
        "--epochs",
        1,
        "--decay",
        9,
        "--set",
        "optim.eps=1e-7",
    )
    assert code == 0
    written = yaml.safe_load((folder / "config.yml").read_text())
    assert written["optim"]["decay"] == 9 and written["optim"]["eps"] == 1e-7 and written["model"]["hid_dim"] == 16
    content = load_torch(folder / "ckpt_last.pth")
    assert content["optimizer"]["param_groups"][0]["lr"] == 1e-3
    assert content["optimizer"]["param_groups"][0]["eps"] == 1e-7
    assert content["weights"]["gconv_input.bias"].shape[-1] == 16
    # What the weights fix cannot be typed away; the rest can.
    words = ["--train", "--model_diff_path", folder / "ckpt_last.pth", "--dropout", 0, "--epochs", 1]
    code, tuned = run(tmp_path / "tuned", stereo, "mhad", *words)
    assert code == 0
    assert load_torch(tuned / "ckpt_last.pth")["card"]["settings"]["model.dropout"] == 0
    code, _ = run(tmp_path / "e", stereo, "mhad", "--model_diff_path", folder / "ckpt_last.pth", "--dim_model", 32)
    assert code == 2


def train_words(epochs):
    return ["--train", *SMALL, "--epochs", epochs, "--batch_size", 128, "--loss_type", "3dand2d", "--seed", 5]


def test_resume_restores_everything(stereo, tmp_path):
    code, whole = run(tmp_path / "a", stereo, "h36m", *train_words(3))
    assert code == 0
    code, part = run(tmp_path / "b", stereo, "h36m", *train_words(2))
    assert code == 0
    assert program.main(["--resume", str(part), "--epochs", "3", "--device", "cpu"]) == 0
    a, b = load_torch(whole / "ckpt_last.pth"), load_torch(part / "ckpt_last.pth")
    assert a["card"]["epoch"] == b["card"]["epoch"] == 3
    assert [row["loss"] for row in a["history"]] == [row["loss"] for row in b["history"]]
    for part_name in ("weights", "ema"):
        assert all(torch.equal(a[part_name][k], b[part_name][k]) for k in a[part_name])
    for x, y in zip(a["optimizer"]["state"].values(), b["optimizer"]["state"].values(), strict=True):
        assert all(torch.equal(x[k], y[k]) for k in x)
    assert not list(whole.glob(".*.part"))


def test_a_file_of_an_earlier_version_is_not_resumed(stereo, tmp_path, capsys):
    """Its random draws were others; the same file is evaluated."""
    code, folder = run(tmp_path, stereo, "mhad", *train_words(1))
    content = load_torch(folder / "ckpt_last.pth")
    content["card"]["version"] = 1
    torch.save(content, folder / "ckpt_last.pth")
    assert program.main(["--resume", str(folder), "--epochs", "2", "--device", "cpu"]) == 2
    assert "earlier version" in capsys.readouterr().err.strip().splitlines()[-1]
    code, _ = run(tmp_path / "e", stereo, "mhad", "--model_diff_path", folder / "ckpt_last.pth")
    assert code == 0


def test_selection_on_held_out_training_clips(stereo, tmp_path, capsys):
    code, folder = run(tmp_path, stereo, "mhad", *train_words(2), "--select", "held")
    assert code == 0 and (folder / "ckpt_best_mpjpe.pth").is_file() and (folder / "ckpt_best_mpjpe_re.pth").is_file()
    content = load_torch(folder / "ckpt_best_mpjpe.pth")
    assert content["card"]["selected_on"] == "held"
    assert content["history"][-1]["absolute_mm"] == min(row["absolute_mm"] for row in content["history"])
    assert "TEST" not in capsys.readouterr().out


@pytest.fixture(scope="module")
def trained(stereo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    code, made = run(folder, stereo, "h36m", *train_words(2))
    assert code == 0
    return made / "ckpt_last.pth"


def evaluated(tmp_path, stereo, trained, *words):
    code, folder = run(tmp_path, stereo, "h36m", "--model_diff_path", trained, *words)
    assert code == 0
    with (folder / "-001" / "results.pkl").open("rb") as stream:
        return json.loads((folder / "-001" / "report.json").read_text()), pickle.load(stream)


def test_hypotheses_and_steps(stereo, tmp_path, trained):
    words = ["--test_times", 4, "--test_timesteps", 4]
    report, results = evaluated(tmp_path / "a", stereo, trained, *words, "--seed", 1)
    assert report["hypotheses"] == 4 and report["times"] == [0, 6, 12, 18] and report["steps"] == 4
    last = results["keypoints_2d_iters_4"].reshape(66, 4, 17, 4)
    assert np.ptp(last, axis=1).max() > 1e-6  # the hypotheses differ
    _, again = evaluated(tmp_path / "b", stereo, trained, *words, "--seed", 1, "--batch_size", 7)
    assert np.abs(again["keypoints_3d"] - results["keypoints_3d"]).max() < 1e-5  # whatever the batch
    _, other = evaluated(tmp_path / "c", stereo, trained, *words, "--seed", 2)
    assert np.abs(other["keypoints_3d"] - results["keypoints_3d"]).max() > 1e-6
    _, quiet = evaluated(tmp_path / "d", stereo, trained, *words, "--eta", 0)
    assert np.ptp(quiet["keypoints_2d_iters_4"].reshape(66, 4, 17, 4), axis=1).max() == 0
    for kind in ("pose_reproj", "joint_reproj"):
        _, picked = evaluated(
            tmp_path / kind, stereo, trained, *words, "--seed", 1, "--set", f"testing.hypothesis_agg={kind}"
        )
        assert np.abs(picked["keypoints_3d"] - results["keypoints_3d"]).max() > 1e-7
    code, _ = run(tmp_path / "e", stereo, "h36m", "--model_diff_path", trained, "--test_timesteps", 25)
    assert code == 2


def test_ema_weights_are_evaluated(stereo, tmp_path, trained):
    content = load_torch(trained)
    content["weights"], spoiled = {k: torch.zeros_like(v) for k, v in content["weights"].items()}, tmp_path / "x.pth"
    torch.save(content, spoiled)
    good, _ = evaluated(tmp_path / "a", stereo, trained)
    same, _ = evaluated(tmp_path / "b", stereo, spoiled)
    assert same["results"]["overall"] == good["results"]["overall"] and good["weights"] == "EMA"
    raw, _ = evaluated(tmp_path / "c", stereo, spoiled, "--protocol", "published")
    assert raw["results"]["overall"] != good["results"]["overall"] and raw["weights"] == "raw"


def test_leaked_statistics_are_refused(stereo, tmp_path, trained, capsys):
    from common.binocular.noise import main as noise_main

    leaked = tmp_path / "leaked.npy"
    files = ["--detections", str(stereo / "h36m_test.pkl"), "--labels", str(stereo / "h36m_labels.npy")]
    assert noise_main([*files, "--split", "test", "--out", str(leaked)]) == 0
    words = ["--set", f"dataset.val.pred_2d_error_dis_path={leaked}"]
    code, _ = run(tmp_path / "a", stereo, "h36m", "--model_diff_path", trained, *words)
    assert code == 2 and "who are evaluated" in capsys.readouterr().err
    report, _ = evaluated(tmp_path / "b", stereo, trained, *words, "--protocol", "published")
    assert "S11" in report["detector_statistics"]["leaked"]


def test_debias_actions_figures(stereo, tmp_path, trained):
    report, results = evaluated(tmp_path / "a", stereo, trained, "--debias", "none", "--figures", 2)
    off = (results["keypoints_2d_original"] - results["keypoints_2d_gt"]).mean() * 192
    assert abs(off - 3) < 0.2 and len(list((tmp_path / "a").glob("*/-001/frame_*.png"))) == 2
    _, debiased = evaluated(tmp_path / "b", stereo, trained)
    assert abs((debiased["keypoints_2d_original"] - debiased["keypoints_2d_gt"]).mean() * 192) < 0.2
    assert set(report["results"]["overall"]["all"]["errors"]) == {"raw", "debiased", "model"}
    some, _ = evaluated(tmp_path / "c", stereo, trained, "--actions", "Waiting,Posing-1")
    assert set(some["results"]["actions"]) == {"Waiting", "Posing"}
    code, _ = run(tmp_path / "d", stereo, "h36m", "--model_diff_path", trained, "--actions", "Flying")
    assert code == 2


def test_simulation(stereo, tmp_path, capsys):
    code, folder = run(tmp_path, stereo, "mhad", "--simu")
    rows = json.loads((folder / "simulation.json").read_text())
    assert code == 0 and rows[0]["name"] == "detector, raw" and rows[-1]["name"].endswith("t = 25")
    forward = [row["absolute"] for row in rows[2:]]
    assert forward == sorted(forward)


def test_files_that_are_no_checkpoint(tmp_path, stereo, capsys):
    for name, content in (("a.pth", {"x": torch.zeros(2)}), ("b.pth", [{"y": torch.zeros(2)}, {}, 1, 2, {}])):
        torch.save(content, tmp_path / name)
        code, _ = run(tmp_path / "e", stereo, "mhad", "--model_diff_path", tmp_path / name)
        assert code == 2 and name in capsys.readouterr().err
    (tmp_path / "c.pth").write_bytes(b"nothing")
    for path in (tmp_path / "c.pth", "checkpoints/gone.pth"):
        code, _ = run(tmp_path / "e", stereo, "mhad", "--model_diff_path", path)
        assert code == 2
    network = GraphDenoiser(hid_dim=16, num_layer=1)
    state = network.state_dict()
    with pytest.raises(UserError, match="missing"):
        fill(network, {k: v for k, v in list(state.items())[1:]}, "f")
    with pytest.raises(UserError, match="1 unknown parameters, the first is extra"):
        fill(network, state | {"extra": torch.zeros(1)}, "f")
    with pytest.raises(UserError, match="shape"):
        fill(network, state | {"gconv_input.bias": torch.zeros(1)}, "f")


def test_a_failure_inside_is_not_hidden(stereo, tmp_path, monkeypatch):
    def broken(run):
        raise ValueError("a bug")

    monkeypatch.setattr(work, "evaluate_run", broken)
    with pytest.raises(ValueError, match="a bug"):
        run(tmp_path, stereo, "mhad", "--model_diff_path", "x")


def test_no_gpu_is_said_in_one_line(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    lines = []
    assert choose_place(None, lines.append).device.type == "cpu" and len(lines) == 1
    with pytest.raises(UserError, match="--device nowhere"):
        choose_place("nowhere", lines.append)


def test_variant_decides_depth_axis_and_skew():
    for variant, axis in (("published", "world_z"), ("default", "camera")):
        values, _ = options.resolve({}, {"model.variant": variant}, "")
        run = Run(values=values, typed={}, folder=Path(), place=CPU, seed=0, say=lambda line: None)
        settled = setup.settle(run, None)
        assert settled.model.depth_axis == axis and settled.data.legacy_skew is (variant == "published")
