"""Both scripts end to end on tiny synthetic data: flags, files, the table, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from common.datasets.synthetic.h36m import write_h36m
from common.datasets.synthetic.threedhp import write_threedhp
from common.engine import checkpoint
from common.programs import adaptation as program

TINY = ["-f", "9", "-cs", "16", "-dep", "1", "-gpu", "-1", "--nolog", "--source-epochs", "1", "-e", "1", "-b", "90",
        "--refiner-channels", "16", "--refiner-depth", "1", "--source-batch-size", "900", "--debug"]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Both synthetic data sets in one folder."""
    folder = tmp_path_factory.mktemp("data")
    write_h36m(folder, seconds=0.3, progress=False)
    write_threedhp(folder, folder / "3dhp_test", seconds=0.4, progress=False)
    return folder


def call(preset, data, folder, *flags):
    arguments = ["--data-root", str(data), "--annotations", str(data / "3dhp_test"), "-c", str(folder), *TINY, *flags]
    return program.main(preset, argv=arguments)


def report(folder) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_h36m_to_3dhp_as_published(data, tmp_path, capsys):
    """The two quoted commands, tiny: a source is trained, adapted, scored before and after; then scored again."""
    flags = ["-k", "cpn_ft_h36m_dbb", "-num_proposals", "3", "-timestep", "1000"]
    assert call("h36m_3dhp_transfer", data, tmp_path, *flags) == 0
    for name in ("best_epoch.bin", "last.bin", "training_log.txt", "report.json", "model_h36m/h36m_best_epoch.bin"):
        assert (tmp_path / name).is_file(), name
    first = report(tmp_path)
    assert first["hypotheses"] == 3 and first["target"]["labels"] == "annot3" and first["target"]["split"] == "train"
    assert set(first["after"]["columns"]["P_Agg"]["action_wise"]) == {"mpjpe", "p_mpjpe", "pck", "auc"}
    assert first["before"]["columns"]["P_Agg"] != first["after"]["columns"]["P_Agg"]
    flags = ["-num_proposals", "2", "-sampling_timesteps", "2", "--evaluate", "best_epoch.bin"]
    assert call("h36m_3dhp_transfer", data, tmp_path, *flags) == 0
    second = report(tmp_path)
    assert (second["hypotheses"], second["steps"]) == (2, 2) and len(second["after"]["steps"]) == 2
    assert "before     after" in capsys.readouterr().out


def test_exports_of_a_whole_evaluation(data, tmp_path):
    """Without --debug every sequence is there, before and after, and the scores are written."""
    assert call("h36m_3dhp_transfer", data, tmp_path) == 0
    arguments = ["--data-root", str(data), "--annotations", str(data / "3dhp_test"), "-c", str(tmp_path), "-gpu", "-1"]
    assert program.main("h36m_3dhp_transfer", argv=[*arguments, "--evaluate", "last.bin", "-b", "64"]) == 0
    for folder in (tmp_path, tmp_path / "source_only"):
        names = {p.name for p in folder.glob("inference_data_*.mat")}
        assert {
            f"inference_data_{c}.mat" for c in ("P_Agg", "R_Agg", "S_Agg", "J_Agg", "J_Agg_fit", "P_Best", "J_Best")
        } == names
    scores = json.loads((tmp_path / "3dhp_scores_annot3.json").read_text(encoding="utf-8"))
    ours = report(tmp_path)["after"]["columns"]["P_Agg"]["action_wise"]
    theirs = scores["modes"]["P_Agg"]["t1"]["mean_over_sequences"]
    assert ours["mpjpe"] == pytest.approx(theirs["mpjpe"], abs=0.01)
    assert ours["pck"] == pytest.approx(theirs["pck"], abs=0.01)


def test_h36m_to_h36m(data, tmp_path):
    """S1 to others; no take is in both the adapted and the scored clips; resuming goes on."""
    flags = ["-ste", "S5,S6", "--teacher", "ema", "--select", "test"]
    assert call("h36m_transfer", data, tmp_path, *flags) == 0
    out = report(tmp_path)
    assert out["target"] == {"dataset": "h36m", "subjects": "S5,S6", "split": "train", "labels": None, "clips": 80}
    assert (tmp_path / "model_h36m_S1" / "h36m_best_epoch.bin").is_file()
    assert out["card"]["adaptation"]["teacher"] == "ema" and out["card"]["epoch"] == 1
    assert call("h36m_transfer", data, tmp_path, *flags, "-r", "last.bin", "-e", "2", "--no-eval") == 0
    content = checkpoint.load(tmp_path / "last.bin")
    assert [row["epoch"] for row in content["history"]] == [1, 2] and content["history"][1]["valid_mm"] > 0
    assert len((tmp_path / "training_log.txt").read_text(encoding="utf-8").splitlines()) == 2


def test_source_only(data, tmp_path):
    assert call("h36m_transfer", data, tmp_path, "-ste", "S5", "--source-only") == 0
    out = report(tmp_path)
    assert out["after"] is None and out["checkpoint"]["file"] == "h36m_best_epoch.bin"
    assert not (tmp_path / "best_epoch.bin").exists()


def test_as_published_says_what_it_reads(data, tmp_path, capsys):
    assert call("h36m_transfer", data, tmp_path, "-ste", "S5", "--as-published", "-num_proposals", "2") == 0
    told = capsys.readouterr().err
    for flag in ("--root gt", "--select test", "--target-split test"):
        assert flag in told
    out = report(tmp_path)
    assert out["as_published"] and out["card"]["adaptation"]["refiner"]["kind"] == "published"
    assert out["card"]["adaptation"]["protocol"] == "published"


def test_evaluation_scores_the_clips_that_the_card_says(data, tmp_path, capsys):
    """A lifter adapted on all takes is scored on all; one that a typed flag scores otherwise is told about."""
    assert call("h36m_transfer", data, tmp_path, "-ste", "S5", "--target-split", "test") == 0
    assert report(tmp_path)["target"]["clips"] == 80
    assert call("h36m_transfer", data, tmp_path, "-ste", "S5", "--evaluate", "last.bin") == 0
    assert report(tmp_path)["target"] | {"split": "test", "clips": 80} == report(tmp_path)["target"]
    capsys.readouterr()
    assert call("h36m_transfer", data, tmp_path, "-ste", "S5", "--evaluate", "last.bin", "--target-split", "train") == 0
    assert "adapted with --target-split test" in capsys.readouterr().err


def test_a_published_file_is_scored_in_its_own_joint_order(data, tmp_path, vectors):
    """The published layout, with its refiner, before and after; its denoiser takes 3DHP's joints."""
    v = vectors("posynda_parity.npz")
    state = {"module." + k.removeprefix("sd/"): x for k, x in v.items() if k.startswith("sd/pose_estimator.")}
    weight = {k.removeprefix("sd/weight."): x for k, x in v.items() if k.startswith("sd/weight.")}
    torch.save({"epoch": 3, "model_pos": state, "model_weight": weight}, tmp_path / "old.bin")
    arguments = ["--data-root", str(data), "--annotations", str(data / "3dhp_test"), "-c", str(tmp_path), "-gpu", "-1"]
    assert program.main("h36m_3dhp_transfer", argv=[*arguments, "--evaluate", "old.bin"]) == 0
    out = report(tmp_path)
    assert out["card"]["skeleton"] == "mpi_inf_3dhp_17"
    scores = json.loads((tmp_path / "3dhp_scores_annot3.json").read_text(encoding="utf-8"))
    theirs = scores["modes"]["P_Agg"]["t1"]["mean_over_sequences"]["mpjpe"]
    assert out["after"]["columns"]["P_Agg"]["action_wise"]["mpjpe"] == pytest.approx(theirs, abs=0.01)


def test_source_with_the_targets_labels_is_refused(data, tmp_path, capsys):
    assert call("h36m_transfer", data, tmp_path, "-ste", "S5", "--no-eval") == 0
    path = tmp_path / "model_h36m_S1" / "h36m_best_epoch.bin"
    content = checkpoint.load(path)
    content["card"]["subjects"] = "S1,S5"
    checkpoint.save(tmp_path / "seen.bin", content)
    assert call("h36m_transfer", data, tmp_path, "-ste", "S5", "--source", "seen.bin") == 2
    assert "trained on S5" in capsys.readouterr().err
    assert call("h36m_transfer", data, tmp_path, "-ste", "S6", "--source", "best_epoch.bin") == 2
    assert "adapted already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-str", "S1,S5", "-ste", "S5"], "S5: in the source and in the target"),
        (["--model", "grap2eq"], "made for mixste"),
        (["--render"], "main.py has it"),
        (["--config", "x.json"], "no settings files"),
        (["-d", "3dhp"], "--target names"),
        (["--evaluate", "best_epoch.bin"], "no such checkpoint"),
        (["--evaluate", "a", "--source-only"], "--source-only"),
        (["-num_proposals", "0"], "must be 1 or more"),
        (["--as-published", "--root", "lsq"], "--as-published sets --root gt"),
        (["--source", "none.bin"], "no such checkpoint"),
        (["--target", "nowhere", "--source-only"], "unknown data set"),
        (["--ema-decay", "1.5"], "--ema-decay"),
    ],
)
def test_what_does_not_fit_is_one_line_and_code_2(data, tmp_path, capsys, flags, message):
    source = tmp_path / "model_h36m_S1" / "h36m_best_epoch.bin"
    card = {"model": "mixste", "sizes": {"frames": 9, "joints": 17, "channels": 16, "depth": 1}, "frames": 9,
            "joints": 17, "skeleton": "h36m_17", "keypoints": "gt", "version": 1, "subjects": "S1"}  # fmt: skip
    from common.models import build

    checkpoint.save(source, {"card": card, "weights": build("mixste", **card["sizes"]).state_dict()})
    assert call("h36m_transfer", data, tmp_path, *flags) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and message in errors[0]


def test_3dhp_without_intrinsics_is_told_how_to_mend_it(data, tmp_path, capsys):
    """D3DP's own training file lacks the cameras."""
    archive = dict(np.load(data / "data_train_3dhp_ori.npz", allow_pickle=True))
    del archive["cameras"]
    for path in data.glob("*.npz"):
        if path.name != "data_train_3dhp_ori.npz":
            (tmp_path / path.name).symlink_to(path)
    np.savez(tmp_path / "data_train_3dhp_ori.npz", **archive)
    assert call("h36m_3dhp_transfer", tmp_path, tmp_path / "out") == 2
    assert "convert_3dhp.py" in capsys.readouterr().err
    assert call("h36m_3dhp_transfer", tmp_path, tmp_path / "out", "--target-split", "test", "--no-eval") == 0


def test_interrupted_source_training_goes_on(data, tmp_path):
    """The source's file appears only when its training is complete."""
    from common.adaptation.source import find_source

    settings, own = _settings(data, tmp_path, "--source-epochs", "2")
    training = tmp_path / "model_h36m_S1" / "training"
    find_source(*_settings(data, tmp_path, "--source-epochs", "1"), _place())
    (tmp_path / "model_h36m_S1" / "h36m_best_epoch.bin").unlink()
    path = find_source(settings, own, _place())
    assert [row["epoch"] for row in checkpoint.load(training / "last.bin")["history"]] == [1, 2]
    assert path.is_file() and "optimizer" not in checkpoint.load(path)


def _place():
    from common.engine.devices import Place

    return Place(torch.device("cpu"))


def _settings(data, folder, *flags):
    from common.settings.adaptation import read_settings

    return read_settings("h36m_transfer", ["--data-root", str(data), "-c", str(folder), *TINY, *flags])[:2]


def test_flags_that_are_refused_or_set_exist():
    from common.settings.adaptation import DEMO, FLAGS, PRESETS, PUBLISHED, REFUSED

    known = {row.destination for row in FLAGS}
    for name in (*REFUSED, *PUBLISHED, *DEMO, *PRESETS["h36m_transfer"]):
        assert name in known, name


def test_names_of_the_settings_are_those_of_the_networks():
    from common.models.low_rank import add_lora
    from common.models.refiner import REFINERS
    from common.settings.adaptation import KINDS, TARGETS

    assert set(KINDS) == {*REFINERS, "none"} and add_lora.__defaults__[-1] == TARGETS


def test_scripts_are_thin_and_quote_their_commands():
    for name in ("h36m_transfer", "h36m_3dhp_transfer"):
        text = (Path(__file__).parents[2] / f"{name}.py").read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 30
        assert "-k cpn_ft_h36m_dbb -num_proposals 3 -timestep 1000 -c checkpoint/ -gpu 0 --nolog" in text
