"""Graphs, windows, metrics and cameras of the published Grap2Eq against its vectors."""

import re

import torch

from common.datasets.windows import published_chunk_starts
from common.geometry.camera import Camera, project
from common.geometry.skeleton import H36M_17, HUMANEVA_15, MPI_INF_3DHP_17
from common.models.graph_conv import published_graph, raw_published_graph, raw_temporal_graph, temporal_graph
from common.scoring.hypotheses import assemble, only_least
from common.scoring.metrics import joint_errors, mpjpe, mpjve, n_mpjpe, p_mpjpe, procrustes_align
from tests.models.grap2eq_recipe import compare, section


def test_graph_vectors(vectors):
    adj = section(vectors("grap2eq_misc.npz"), "adj/")
    layouts = {
        "h36m": (H36M_17, False),
        "mpi3dhp": (MPI_INF_3DHP_17, False),
        "humaneva_diff": (HUMANEVA_15, False),
        "humaneva_nondiff": (HUMANEVA_15, True),
    }
    ours = {}
    for name, (skeleton, single_pass) in layouts.items():
        ours[f"spatial/{name}"] = raw_published_graph(skeleton, single_pass).float()
        ours[f"spatial_norm/{name}"] = published_graph(skeleton, single_pass)
    for name, size in {
        "F243_a0125_b5": (243, 0.125, 5),
        "F27_a025_b1": (27, 0.25, 1),
        "F9_a0125_b5": (9, 0.125, 5),
    }.items():
        rows = 8 if size[0] == 243 else None
        ours[f"temporal/{name}"] = raw_temporal_graph(*size).float()[:rows]
        ours[f"temporal_norm/{name}"] = temporal_graph(*size)[:rows]
    assert set(ours) == set(adj)
    for name, value in adj.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-6)


def test_published_window_vectors(vectors):
    windows = section(vectors("grap2eq_misc.npz"), "windows/")
    assert len(windows) == 19
    for name, starts in windows.items():
        length, stride, frames = map(int, re.fullmatch(r"F(\d+)_s(\d+)_n(\d+)", name).groups())
        assert published_chunk_starts(frames, length, stride) == starts.tolist()


def test_metric_vectors(vectors):
    v = vectors("grap2eq_misc.npz")
    case = section(v, "metrics/")
    poses, target = case["in/pred_bthfjc"], case["in/target_bfjc"]  # (B, K, H, F, J, 3), (B, F, J, 3)
    nearest = only_least(joint_errors(case["in/reproj_bthfj2"], case["in/target2d_bfj2"][:, None, None]))
    valid = case["in/valid_bf1"][:, None]  # (B, 1, F, 1)

    def mean(errors):  # (B, K, F, J) to (K,)
        return errors.mean((0, 2, 3))

    ours = {}
    for prefix, seen in (("", poses), ("P2_", procrustes_align(poses, target[:, None, None]))):
        errors = joint_errors(seen, target[:, None, None])  # (B, K, H, F, J)
        ours[prefix + "J_Best"] = mean(errors.min(2).values)
        ours[prefix + "P_Best"] = errors.mean((0, 3, 4)).min(1).values  # the best hypothesis of the whole batch
        ours[prefix + "J_Agg"] = mean(joint_errors(assemble(seen, nearest), target[:, None]))
    average = joint_errors(poses.mean(2), target[:, None])
    ours["P_Agg"] = mean(average)
    ours["P2_P_Agg"] = p_mpjpe(poses.mean(2), target[:, None]).mean((0, 2))
    count = valid.sum() * 17
    masked = joint_errors(poses, target[:, None, None]) * valid.unsqueeze(1)
    ours["3dhp_P_Best"] = (masked.sum((0, 3, 4)) / count).min(1).values
    ours["3dhp_P_Agg"] = (average * valid).sum((0, 2, 3)) / count
    one = poses[:, 0, 0]
    ours |= {
        "mpjpe": mpjpe(one, target).mean(),
        "n_mpjpe": n_mpjpe(one, target).mean(),
        "p_mpjpe": p_mpjpe(one, target).mean(),
        "mpjve_train_axis1": mpjve(one, target).mean(),
        "mpjve_eval_flat": mpjve(one.flatten(0, 1), target.flatten(0, 1)).mean(),
    }
    compare(ours, v, "metrics/")


def test_camera_vectors(vectors):
    v = vectors("grap2eq_misc.npz")
    case = section(v, "camera/")
    intrinsics = tuple(case["in/intrinsic9"].tolist())
    numbers = (tuple(case["in/quat"].tolist()), tuple(case["in/trans_m"].tolist()))
    camera = Camera("54138969", 1000, 1002, intrinsics, *numbers)
    seen = camera.world_to_camera(case["in/world"])
    straight = torch.tensor(intrinsics[:4] + (0.0,) * 5)
    ours = {
        "cam": seen,
        "uv_norm": project(seen, case["in/intrinsic9"]),
        "uv_linear": project(seen, straight),
        "back_to_world": camera.camera_to_world(seen),
    }
    pixels = case["out/uv_pix"]
    torch.testing.assert_close(camera.project(seen), pixels, rtol=0, atol=2e-3)  # of 1000: float32's step is 6e-5
    compare(ours | {"uv_pix": pixels}, v, "camera/")
