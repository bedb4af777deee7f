import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from common.datasets.h36m import SKELETON, load_h36m
from common.datasets.windows import Windows
from common.diffusion.lifter import DiffusionLifter
from common.engine.evaluate import Sampling, evaluate, frame_errors, sample
from common.errors import UserError
from common.models import build
from common.scoring.hypotheses import AGGREGATIONS, Evidence
from common.scoring.metrics import METRICS, metrics_named
from tests.tiny import CPU, command, h36m_folder


@pytest.fixture(scope="module")
def lifter():
    torch.manual_seed(3)
    return DiffusionLifter(build("mixste", frames=5, channels=16, depth=1), SKELETON).eval()


@pytest.fixture(scope="module")
def clips():
    return load_h36m(h36m_folder(), "cpn_ft_h36m_dbb", ["S9"])[:6]


def errors_of(lifter, clips, **changes):
    sampling = Sampling(**({"hypotheses": 3, "steps": 2, "metrics": ("mpjpe", "p_mpjpe")} | changes))
    return evaluate(lifter, Windows(clips, SKELETON, 5), sampling, CPU)


def test_every_real_frame_counts_once(lifter, clips):
    errors = errors_of(lifter, clips)
    assert errors.frames.tolist() == [len(clip) for clip in clips]


@pytest.mark.parametrize("batch", [1, 3, 50])
def test_results_do_not_depend_on_the_batch_or_the_order(lifter, clips, batch):
    one, other = errors_of(lifter, clips), errors_of(lifter, clips[::-1], batch=batch)
    for protocol in one.sums:
        difference = (
            one.sums[protocol] / one.frames[:, None, None] - (other.sums[protocol] / other.frames[:, None, None])[::-1]
        )
        worst = dict(zip(one.columns, np.abs(difference).max((0, 1)), strict=True))
        for column, most in worst.items():  # rounding may tip which of two hypotheses that err alike is chosen
            assert most < (1e-2 if column in ("J_Agg_fit", "J_Agg", "P_Best", "J_Best") else 1e-3), column


@pytest.mark.parametrize("model", ["mixste", "mixste_ray", "diff3dhpe"])
def test_mirrored_hypotheses_are_those_of_mirrored_windows(clips, model):
    """Cameras and actions included; and a draw that goes on where another ended is the same."""
    torch.manual_seed(3)
    lifter = DiffusionLifter(build(model, frames=5, channels=16, depth=1), SKELETON).eval()
    windows = Windows(clips, SKELETON, 5)
    rows, sampling = torch.arange(4), Sampling(4, 2, flip="own", temperature=(1.0, 0.5))

    def drawn(flipped: bool, first: int = 0, **changes):
        batch = windows.batch(rows, flipped=torch.full((4,), flipped))
        return sample(lifter, windows, batch, replace(sampling, **changes), CPU, first=first)

    own, apart = drawn(False), [drawn(f, flip=False) for f in (False, True)]
    torch.testing.assert_close(own[:, :, ::2], apart[0][:, :, ::2], atol=1e-5, rtol=0)
    torch.testing.assert_close(own[:, :, 1::2], lifter.flip(apart[1])[:, :, 1::2], atol=1e-5, rtol=0)
    torch.testing.assert_close(drawn(False, 2, hypotheses=2), own[:, :, 2:], atol=1e-5, rtol=0)
    assert sampling.calls == replace(sampling, flip=False).calls == replace(sampling, flip=True).calls / 2


def test_poses_and_blind_columns_do_not_see_the_truth(lifter, clips):
    """With the test set's 3D replaced by NaN, hypotheses and truth-free columns are the same, bit for bit."""
    blind = [replace(clip, positions_3d=clip.positions_3d * np.nan) for clip in clips]
    seen: list[dict] = []
    for these in (clips, blind):
        kept: dict[str, list] = {}

        def observe(batch, poses, kept=kept):
            for name, values in poses.items():
                kept.setdefault(name, []).append(values)

        evaluate(lifter, Windows(these, SKELETON, 5), Sampling(3, 2), CPU, observe=observe)
        seen.append({name: torch.cat(values) for name, values in kept.items()})
    for name in ["hypotheses", *(n for n, a in AGGREGATIONS.items() if not a.reads)]:
        assert torch.equal(seen[0][name], seen[1][name]), name
        assert torch.isfinite(seen[1][name]).all()


def test_published_scores_match_the_vectors(vectors):
    """The published columns, given the same predictions: P_Best per batch, protocol 2 aligns before assembling."""
    v = vectors("d3dp_parity.npz")
    poses = v["jpma/in/pred_bKHFJC"]
    target, root = v["jpma/in/gt_bFJC"], v["jpma/in/traj_bF1C"]
    evidence = Evidence(
        v["jpma/in/input2d_bFJ2"][:, None], v["jpma/in/intrinsic9"].expand(2, 1, 9), root[:, None], target[:, None]
    )
    columns = {name: a(poses, evidence) for name, a in AGGREGATIONS.items()}
    scored = frame_errors(
        poses, columns, evidence, SKELETON, Sampling(4, 3, metrics=("mpjpe", "p_mpjpe"), published=True)
    )
    for protocol, short in (("mpjpe", "P1"), ("p_mpjpe", "P2")):
        means = scored[protocol].mean((0, 3))  # (K, columns)
        for column in ("J_Best", "P_Best", "P_Agg", "J_Agg"):
            published = v[f"jpma/out/{short}_{column}"]
            torch.testing.assert_close(means[:, list(columns).index(column)], published, atol=1e-5, rtol=0)


def test_published_protocol_on_clips_of_no_round_length(lifter, clips):
    cut = [
        replace(c, keypoints_2d=c.keypoints_2d[:n], positions_3d=c.positions_3d[:n], valid=c.valid[:n])
        for c, n in zip(clips, (3, 5, 12), strict=False)
    ]
    errors = evaluate(lifter, Windows(cut, SKELETON, 5, published_test=True), Sampling(published=True), CPU)
    assert errors.frames.tolist() == [5, 5, 15]


def test_published_protocol_counts_padding_and_overlap(lifter, clips):
    errors = evaluate(lifter, Windows(clips, SKELETON, 5, published_test=True), Sampling(published=True), CPU)
    for clip, frames in zip(clips, errors.frames, strict=True):
        assert frames == 5 * -(-len(clip) // 5)


def test_more_hypotheses_do_not_change_the_first(lifter, clips):
    """P_Agg of one hypothesis equals hypothesis 0 of many: noise belongs to (seed, clip, window, hypothesis)."""
    first: list[torch.Tensor] = []
    for count in (1, 3):
        kept = []
        windows = Windows(clips[:1], SKELETON, 5)
        evaluate(
            lifter,
            windows,
            Sampling(count, 2),
            CPU,
            observe=lambda b, p, kept=kept: kept.append(p["hypotheses"][:, :, 0]),
        )
        first.append(torch.cat(kept))
    torch.testing.assert_close(*first, atol=1e-5, rtol=0)


def test_report_of_a_run(tmp_path):
    report = command(tmp_path, "-num_proposals 2 -sampling_timesteps 2 --p2 --by-subject")
    on_disk = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert on_disk["results"] == report["results"] and len(on_disk["results"]) == 2
    assert on_disk["columns"]["R_Agg"] == {"reads": []} and on_disk["columns"]["J_Agg"] == {"reads": ["root"]}
    assert on_disk["columns"]["J_Best"] == {"reads": ["pose"], "oracle": True}
    for key in ("card", "protocol", "hypotheses", "steps", "seed", "frames", "cost", "checkpoint", "keypoints"):
        assert key in on_disk
    assert on_disk["cost"]["parameters"] > 0 and on_disk["cost"]["flop_per_window"] > 0
    last = on_disk["results"][-1]["protocol_1"]
    actions = last["actions"]
    assert set(actions) == {"Walking", "Phoning"}
    assert last["action_wise"]["P_Agg"] == pytest.approx(np.mean([a["P_Agg"] for a in actions.values()]))
    clips = on_disk["clips"].values()
    frame_wise = sum(c["P_Agg"] * c["frames"] for c in clips) / sum(c["frames"] for c in clips)
    assert last["frame_wise"]["P_Agg"] == pytest.approx(frame_wise)
    assert last["action_wise"]["J_Best"] <= last["action_wise"]["P_Best"] <= last["action_wise"]["P_Agg"] * 1.2
    assert on_disk["subjects_results"]["S9"] == on_disk["results"]
    log = (tmp_path / "h36m_test_log_H2_K2.txt").read_text(encoding="utf-8")
    assert "step 1 Protocol #1   (MPJPE) action-wise average J_Agg" in log and "Protocol #2" in log


def test_a_report_says_how_it_was_sampled_and_debug_bounds_all_of_it(tmp_path):
    model = "--model graphdiffu --text learned"
    command(tmp_path, f"{model} --no-eval")
    how = "--test-time-augmentation own --repeat_n 2 -num_proposals 2 --batch-size-eval 1"
    line = f"{model} --evaluate last.bin {how} --debug"
    report = command(tmp_path, f"{line} --eval-text both --calibration")
    assert report["test_time_augmentation"] == "own" and report["repeat_n"] == 2
    looked, windows = report["calibration"]["sampler"]["windows"].split(" of ")
    assert looked == "2" and int(windows) > 2

    def frames(results):
        return sum(clip["frames"] for clip in results.values())

    whole = command(tmp_path, line.replace("--debug", ""))
    assert report["frames"] == frames(report["clips"]) < whole["frames"]
    with_action = report["results_with_action"][-1]["protocol_1"]["actions"]
    assert with_action.keys() == report["results"][-1]["protocol_1"]["actions"].keys()  # of the same two windows


def test_noise_that_a_sampler_does_not_have_is_refused(tmp_path):
    command(tmp_path, "--no-eval")
    with pytest.raises(UserError, match="--ddim_sampling_eta: the sampling of mixste has no such setting"):
        command(tmp_path, "--evaluate last.bin --ddim_sampling_eta 0.5")


def test_mean_pose_row_by_hand(tmp_path):
    report = command(tmp_path)
    train = load_h36m(h36m_folder(), "gt", ["S1", "S5"])
    test = load_h36m(h36m_folder(), "gt", ["S9"])
    from common.datasets.checks import select_actions

    train = select_actions(train, ["Walking", "Phoning"])
    relative = [c.positions_3d - c.positions_3d[:, :1] for c in train]
    mean = np.concatenate(relative).mean(0)
    by_action = {}
    for clip in select_actions(test, ["Walking", "Phoning"]):
        poses = clip.positions_3d - clip.positions_3d[:, :1]
        by_action.setdefault(clip.action_name, []).append(np.linalg.norm(poses - mean, axis=-1).mean(-1))
    expected = 1000 * np.mean([np.concatenate(v).mean() for v in by_action.values()])
    assert report["mean_pose"]["protocol_1"]["action_wise"] == pytest.approx(expected, rel=1e-4)


class Wrong:
    """Stands for a lifter that answers the truth plus a known error of each clip's frames, every hypothesis alike."""

    denoiser = None

    def __init__(self, windows, errors):
        self.windows, self.errors = windows, errors

    def eval(self):
        return self

    def sample(self, batch, hypotheses, steps, noise, *, flip, chunk, sampler):
        poses = batch.positions_3d[:, None, None].repeat(1, steps, len(hypotheses), 1, 1, 1)
        for b, row in enumerate(batch.rows.tolist()):
            clip = self.windows.clip_of[row]
            frames = self.windows.frames_of(row).clip(0, len(self.windows.clips[clip]) - 1)
            poses[b] += torch.from_numpy(self.errors[clip][frames]).float()
        return poses


@pytest.mark.parametrize("count, centre_only", [(1, False), (4, False), (50, True)])
def test_every_metric_over_whole_clips_by_hand(clips, count, centre_only):
    """Expected values are taken from the whole clips in float64, in textbook form: window borders cannot show."""
    rng = np.random.default_rng(5)
    valid = np.ones(len(clips[1]), bool)
    valid[7] = False
    clips = [
        clips[0],
        replace(clips[1], valid=valid),
        replace(
            clips[2],
            positions_3d=clips[2].positions_3d[:2],
            keypoints_2d=clips[2].keypoints_2d[:2],
            valid=clips[2].valid[:2],
        ),
    ]
    windows = Windows(clips, SKELETON, 5, centre_only=centre_only)
    errors = [0.1 * rng.standard_normal((len(clip), 17, 3)) for clip in clips]
    for e in errors:
        e[:, 0] = 0
    found = evaluate(Wrong(windows, errors), windows, Sampling(2, 2, count, metrics=tuple(METRICS)), CPU)
    column = found.columns.index("P_Agg")
    left, right = SKELETON.left, SKELETON.right
    pairs = dict(zip(left, right, strict=True))
    for c, clip in enumerate(clips):
        truth = (clip.positions_3d - clip.positions_3d[:, :1]).astype(np.float64)
        poses, keep = truth + errors[c], clip.valid

        def length(x, j):
            return np.linalg.norm(x[:, j] - x[:, SKELETON.parents[j]], axis=-1)

        bones = [j for j, p in enumerate(SKELETON.parents) if p >= 0]
        distance = 1000 * np.linalg.norm(poses - truth, axis=-1)
        scale = (truth * poses).sum((1, 2)) / (poses**2).sum((1, 2))
        steps, bends = errors[c][1:] - errors[c][:-1], errors[c][2:] - 2 * errors[c][1:-1] + errors[c][:-2]
        expected = {
            "protocol_1": distance.mean(1)[keep],
            "n_mpjpe": 1000 * np.linalg.norm(scale[:, None, None] * poses - truth, axis=-1).mean(1)[keep],
            "mpjve": 1000 * np.linalg.norm(steps, axis=-1).mean(1)[keep[1:] & keep[:-1]],
            "acceleration": 1000 * np.linalg.norm(bends, axis=-1).mean(1)[keep[2:] & keep[1:-1] & keep[:-2]],
            "pck": 100 * (distance[:, 1:] < 150).mean(1)[keep],
            "auc": 100 * np.mean([(distance[:, 1:] < t).mean(1) for t in range(0, 151, 5)], 0)[keep],
            "bone_length": 1000 * np.mean([abs(length(poses, j) - length(truth, j)) for j in bones], 0)[keep],
            "symmetry": 1000 * np.mean([abs(length(poses, a) - length(poses, b)) for a, b in pairs.items()], 0)[keep],
        }
        for key, values in expected.items():
            assert found.counts[key][c] == len(values), key
            assert found.sums[key][c, -1, column] == pytest.approx(values.sum(), rel=2e-4, abs=1e-2), key
    assert np.isnan(found.mean("acceleration", np.array([False, False, True]))).all()


def test_metrics_reach_report_table_and_log(tmp_path, capsys):
    report = command(tmp_path, f"-num_proposals 2 -sampling_timesteps 2 --metrics {','.join(METRICS)}")
    shown = capsys.readouterr().out
    plain = command(tmp_path / "plain", "-num_proposals 2 -sampling_timesteps 2 --p2")
    last = report["results"][-1]
    assert set(last) == {"step"} | {m.key for m in METRICS.values()}
    assert report["units"]["acceleration"] == "mm/frame^2" and set(plain["units"]) == {"protocol_1", "protocol_2"}
    for protocol in ("protocol_1", "protocol_2"):
        for column, value in plain["results"][-1][protocol]["action_wise"].items():
            assert last[protocol]["action_wise"][column] == pytest.approx(value, rel=1e-5)
    log = (tmp_path / "h36m_test_log_H2_K2.txt").read_text(encoding="utf-8")
    for metric in METRICS.values():
        assert f"{metric.title}, {metric.unit}" in shown and f"step 1 {metric.average_title} action-wise" in log


def test_an_unknown_metric_is_told_before_the_work(tmp_path):
    with pytest.raises(UserError, match="--metrics mpjp: unknown; there are mpjpe, p_mpjpe"):
        command(tmp_path, "--metrics pck,mpjp")
    assert list(metrics_named(("pck",))) == ["mpjpe", "pck"]
