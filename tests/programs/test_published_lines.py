"""The lines of the published READMEs, typed in their order, training then inference.

Added are only what a machine without the data sets and a GPU needs: a folder `data` of synthetic files, prompt features
where CLIP's would be, and small sizes.
"""

import json
import os
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from common.datasets.synthetic.h36m import write_h36m
from common.datasets.synthetic.humaneva import write_humaneva
from common.datasets.synthetic.threedhp import write_threedhp
from common.engine import checkpoint
from common.files.video import write_video
from common.models.prompts import main as write_prompts
from common.models.two_view import GraphDenoiser

ROOT = Path(__file__).parents[2]
SIZES = "-cs 16 -dep 1"  # of a network
TRAIN = f"{SIZES} -e 1 --debug --no-eval"
DRAW = "-num_proposals 2 -sampling_timesteps 2 --debug"  # fewer hypotheses and steps
SHORT = "-f 9 -s 9"
SUBJECTS = "-str S1,S5,S6,S7,S8 -ste S9,S11"
WORDS = (
    "Walking Directions Greeting Photo Purchases SittingDown Waiting Phoning Posing Discussion "
    "Eating Sitting Smoking Jog"
)


def typed(line: str) -> int:
    """Type `python SCRIPT ...` in the current folder; returns the exit code."""
    python, script, *arguments = shlex.split(line)
    assert python == "python"
    before, sys.argv = sys.argv, [script, *arguments]
    try:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    except SystemExit as stop:
        return stop.code
    finally:
        sys.argv = before
    raise AssertionError(f"{script} did not exit")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """data/ of every data set, the annotations of 3DHP's test set, and prompt features of a random tower."""
    folder = tmp_path_factory.mktemp("published")
    data = folder / "data"
    write_h36m(data, seconds=0.3, progress=False)
    write_threedhp(data, folder / "3dhp_test", seconds=0.4, progress=False)
    write_humaneva(data, seconds=0.4, progress=False)
    with np.load(data / "data_2d_h36m_cpn_ft_h36m_dbb.npz", allow_pickle=True) as archive:
        coco = {
            s: {a: [np.concatenate([v, v[..., :1]], -1) for v in views] for a, views in actions.items()}
            for s, actions in archive["positions_2d"].item().items()
        }  # any 17 points, with a score, as a detector's file has them
        np.savez(data / "data_2d_h36m_detectron_pt_coco.npz", positions_2d=coco, metadata=archive["metadata"])
    os.environ["ALLOW_RANDOM_PROMPTS"] = "1"
    try:
        for layout in ("graphdiffu_h36m", "graphdiffu_3dhp", "finepose_h36m", "finepose_3dhp"):
            out = folder / "home" / ".cache" / "clip" / f"prompts_{layout}.safetensors"
            out.parent.mkdir(parents=True, exist_ok=True)
            assert write_prompts(["--random", "--layout", layout, "--actions", *WORDS.split(), "--out", str(out)]) == 0
    finally:
        del os.environ["ALLOW_RANDOM_PROMPTS"]
    return folder


@pytest.fixture
def here(files, tmp_path, monkeypatch):
    """An empty working folder that sees the data."""
    for name in ("data", "3dhp_test", "home"):
        (tmp_path / name).symlink_to(files / name)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ALLOW_RANDOM_PROMPTS", "1")
    return tmp_path


def test_graphdiffu(here, capsys):
    gt = f"python main_gt.py -d h36m -k gt {SUBJECTS}"
    cpn = f"python main.py -d h36m -k cpn_ft_h36m_dbb {SUBJECTS}"
    asked = "--evaluate best_epoch_1_1.bin --p2 -sampling_timesteps 10 -num_proposals 20 -b 4"
    long = "checkpoint/model_h36m_gt_heads=1_lrd0.998_"
    assert typed(f"{cpn} -c checkpoint/model_h36m_cpn -gpu 0 -lrd 0.998 --nolog -e 100 {TRAIN}") == 0
    assert typed(f"{gt} -c checkpoint/model_h36m_gt -gpu 0 --nolog -lrd 0.998 -e 100 {TRAIN}") == 0
    capsys.readouterr()
    assert typed(f"{gt} -c {long}s243_f243 -gpu 0 --nolog {asked} -s 243 -f 243 {DRAW}") == 0
    assert "taking checkpoint/model_h36m_gt/best_epoch_1_1.bin" in capsys.readouterr().err
    assert (here / f"{long}s243_f243" / "h36m_test_log_H2_K2.txt").is_file()
    assert typed(f"{cpn} -c checkpoint/model_h36m_cpn -gpu 0 --nolog {asked} {DRAW}") == 0

    # The README's one-frame line does not fit its training line; with one frame in both it does.
    single = f"{gt} -c {long}s1_f1 -gpu 0 --nolog {asked} -s 1 -f 1 {DRAW}"
    assert typed(single) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "has -f 243, not 1" in told and "checkpoints are in checkpoint/model_h36m_cpn, checkpoint/model_h36m" in told
    assert typed(f"{gt} -c checkpoint/model_h36m_gt -gpu 0 --nolog -lrd 0.998 -e 100 {TRAIN} -s 1 -f 1") == 0
    assert typed(single) == 0

    dhp = "python main_3dhp.py -d 3dhp -c checkpoint/mpi_1_lr7e-5_lrd0.995 -gpu 0,1 --nolog"
    assert typed(f"{dhp} -lrd 0.995 -lr 0.00007 -e 120 {TRAIN} {SHORT}") == 0
    capsys.readouterr()
    asked = "--evaluate best_epoch_1_1.bin -num_proposals 20 -sampling_timesteps 10 -b 4"
    assert typed(f"{dhp} {asked} {DRAW.removesuffix('--debug')}") == 0
    out = capsys.readouterr().out
    assert "python -m common.scoring.threedhp --predictions checkpoint/mpi_1_lr7e-5_lrd0.995" in out
    assert "mpii_test_predictions_ori_py('J_Agg', 'checkpoint/mpi_1_lr7e-5_lrd0.995', '3dhp_test')" in out


def test_d3dp(here):
    cpn, dhp = "python main.py -k cpn_ft_h36m_dbb", "python main_3dhp.py"
    wild = "python main_in_the_wild.py -k detectron_pt_coco"
    assert typed(f"{cpn} -c checkpoint/model_h36m -gpu 0 --nolog {TRAIN} {SHORT}") == 0
    assert typed(f"{dhp} -c checkpoint/model_3dhp -gpu 0 --nolog {TRAIN} {SHORT}") == 0
    assert typed(f"{wild} -c checkpoint/model_in_the_wild -gpu 0 --nolog {TRAIN} {SHORT}") == 0
    assert checkpoint.load(Path("checkpoint/model_in_the_wild/last.bin"))["card"]["model"] == "mixste"
    for name in ("h36m", "3dhp"):  # D3DP's README has them downloaded
        shutil.copy(f"checkpoint/model_{name}/best_epoch_1_1.bin", f"checkpoint/{name}_best_epoch.bin")
    asked = "-num_proposals 5 -sampling_timesteps 5"
    assert typed(f"{cpn} -c checkpoint -gpu 0 --nolog --evaluate h36m_best_epoch.bin {asked} -b 4 --debug") == 0
    assert typed(f"{dhp} -c checkpoint -gpu 0 --nolog --evaluate 3dhp_best_epoch.bin {asked} -b 4") == 0
    assert {p.name for p in Path("checkpoint").glob("*.mat")} >= {
        f"inference_data_{mode}.mat" for mode in ("P_Agg", "J_Agg", "P_Best", "J_Best")
    }
    draw = "python main_draw.py -k cpn_ft_h36m_dbb -b 2 -c checkpoint -gpu 0 --nolog --evaluate h36m_best_epoch.bin"
    draw += f" {asked} --render --viz-subject S11 --viz-action SittingDown --viz-camera 1"
    assert typed(f"{draw} --viz-limit 3 --viz-size 2") == 0
    assert (here / "checkpoint" / "render.mp4").stat().st_size > 1000


def test_grap2eq(here):
    asked = "--evaluate best_epoch_20_10.bin -num_proposals 20 -sampling_timesteps 10"
    for line, more in (
        ("python main_h36m.py -k cpn_ft_h36m_dbb -c checkpoint/h36m -gpu 0 --nolog", ""),
        ("python main_h36m.py -k gt -c checkpoint/h36m_gt -gpu 0 --nolog", "--save_lmin 21 --save_lmax 23"),
        ("python main_3dhp.py -c checkpoint/3dhp -gpu 0 --nolog", ""),
    ):
        assert typed(f"{line} {more} {TRAIN} {SHORT}") == 0
        p2 = "" if "3dhp" in line else "--p2"
        assert typed(f"{line} {asked} {p2} {DRAW}") == 0
    line = "python main_humaneva.py -k gt -c 'checkpoint/humaneva_gt' -a 'Walk,Jog' -gpu 0 --nolog"
    assert typed(f"{line} {TRAIN}") == 0
    assert typed(f"{line} {asked} --by-subject --p2 {DRAW}") == 0


RUN = "run_conditionalDiffusionDDIM3dhpeNormalDirectPredictVariableLoss"
NET = "ConditionalDiffusionMixSTES2SGRANDLinLift"


def test_diff3dhpe(here):
    """The six lines of Experiments.sh, then the two that draw."""
    sizes = "--embed_dim 16 --transformer_depth 1 --batch-size-eval 2"
    for script, data, kind, frames, ending in (
        (RUN, "h36m", "cpn", 81, "T_h36m_cpn_81f"),
        (RUN, "h36m", "gt", 243, "T_h36m_gt_243f"),
        (f"{RUN}_3dhp", "3dhp", "gt", 27, "F_3dhp_gt_27f"),
    ):
        keypoints = {"cpn": "cpn_ft_h36m_dbb", "gt": "gt"}[kind]
        folder = f"checkpoint/{data}/{NET}/{kind}/f{frames}/"
        common = (
            f"python {script}.py --config configs/{data}_{kind}_s2s_{NET}.json --gpu_id 0,1,2,3 --workers 4 "
            f"-k {keypoints} --with_time_emb {ending[0] == 'T'} --beta_schedule cosine --ddim_sampling_eta 0 "
            f"--clip_loss True -s {frames} -f {frames} -c {folder} --batch-size-eval 256"
        )
        train = "-lr 4e-4 --lr-decay 0.99 -b 64 -e 200 --patience 999 --max_time 61 --sampling_timesteps 5"
        assert typed(f"{common} {train} --timesteps 1000 {sizes} -b 1 -e 1 --debug --no-eval") == 0
        name = f"{NET}_l2_lr4e-4_useTembed_{ending}.bin"
        shutil.copy(f"{folder}/best_epoch_1_1.bin", f"{folder}/{name}")
        assert typed(f"{common} --sampling_timesteps 9 --evaluate {name} {sizes} --sampling_timesteps 2 --debug") == 0
    write_video("S9.mp4", (np.full((50, 50, 3), s, np.uint8) for s in range(20)), 50)
    folder = f"checkpoint/h36m/{NET}/cpn/f81/"
    draw = (
        '--gpu_id 0 -sviz S9 -a "Photo 1" -cam 1 -s 81 -f 81 -b 1 --sampling_timesteps 9 '
        f"-c {folder} --evaluate {NET}_l2_lr4e-4_useTembed_T_h36m_cpn_81f.bin "
        f"--config configs/h36m_cpn_s2s_{NET}.json --embed_dim 16 --transformer_depth 1 --sampling_timesteps 3"
    )
    assert typed(f"python visualization_fig.py {draw}") == 0
    there = here / folder / "81f" / "S9" / "Photo 1" / "1"
    assert (there / "viz.svg").is_file()
    assert typed(f"python visualization_ani.py {draw} --viz-video S9.mp4 --viz-output viz.mp4 --viz-size 1") == 0
    assert (there / "viz.mp4").stat().st_size > 1000


def test_batches_of_diff3dhpe_count_windows(here):
    from common.programs.diff3dhpe import in_frames

    assert in_frames(["-b", "64", "-f", "81"])[-2:] == ["-b", str(64 * 81)]
    config = str(ROOT / "configs" / f"3dhp_gt_s2s_{NET}.json")
    assert in_frames(["--config", config, "-b", "64"])[-2:] == ["-b", str(64 * 27)]
    for unchanged in (["-b", "4", "--evaluate", "x.bin"], ["-f", "81"], ["-b", "many"], ["-b", "4", "--config", "no"]):
        assert in_frames(unchanged) == unchanged


def test_dual_diffusion(here, stereo, capsys):
    """Fine-tuning from a published checkpoint, then its evaluation, with the published names of all files."""
    shutil.copytree(here / "data", here / "own")
    (here / "data").unlink()
    (here / "own").rename(here / "data")
    for name, there in (
        ("mhad_labels.npy", "mhad-stereo-m-labels-GTbboxes.npy"),
        ("mhad_test.pkl", "mhad_results_RSB152.pkl"),
        ("mhad_gauss.npy", "mhad_2d_gauss_RSB152.npy"),
    ):
        shutil.copy(stereo / name, here / "data" / there)
    torch.manual_seed(0)
    network = GraphDenoiser(hid_dim=16, num_layer=1, action_emd=True)
    with torch.no_grad():
        network.gconv_output.weight.mul_(0.05)
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    (here / "checkpoints").mkdir()
    torch.save([state, {}, 7, 100, {}], here / "checkpoints" / "ckpt_mhad_rsb152.pth")
    line = (
        "python main_diffpose_2view_frame.py {} --config mhad_2view_diffpose_uvxyz_rsb152.yml --batch_size 1024 "
        "--model_diff_path checkpoints/ckpt_mhad_rsb152.pth --doc t_mhad --exp exp --ni"
    )
    assert typed(line.format("--train") + " --epochs 1 --device cpu") == 0
    assert typed(line.format("") + " --test_timesteps 1 --device cpu") == 0
    (metric,) = (here / "exp").glob("*/-001/metric.json")
    assert json.loads(metric.read_text())["per_pose_error"]["S08"]["Average"] > 0
    assert typed(f"python main_diffpose_2view_frame.py --rescore {metric.parent}") == 0
    assert "the same" in capsys.readouterr().out


def test_posynda(here):
    small = f"{TRAIN} -f 9 -b 90 --source-epochs 1 --source-batch-size 900 --refiner-channels 16 --refiner-depth 1"
    line = "python {} -k cpn_ft_h36m_dbb -num_proposals 3 -timestep 1000 -c checkpoint/ -gpu 0 --nolog"
    for script in ("h36m_3dhp_transfer.py", "h36m_transfer.py"):
        assert typed(f"{line.format(script)} {small}") == 0
        assert typed(f"python {script} -c checkpoint -gpu 0 --nolog --evaluate best_epoch.bin --debug") == 0
    assert (here / "checkpoint" / "best_epoch.bin").is_file()
