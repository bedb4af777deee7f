"""Diff3DHPE against vectors computed by the published code (tiny network: 32 channels, depth 2, 5 frames).

The vector files are whole copies of the reference's.
"""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from common.datasets.clips import Clip
from common.datasets.windows import published_test_starts
from common.diffusion.ddim import (
    cosine_schedule,
    ddim_step,
    linear_schedule,
    logcosine_schedule,
    q_sample,
    reverse_process,
    sampling_times,
)
from common.diffusion.diff3dhpe import (
    ddim_step_published,
    diff3dhpe_diffusion,
    loss_weight,
    normalisation_scale,
)
from common.diffusion.lifter import DiffusionLifter
from common.engine.checkpoint import import_published
from common.errors import UserError
from common.geometry.camera import Camera, project
from common.geometry.skeleton import H36M_17
from common.models import REGISTRY, build
from common.models.blocks import sinusoid
from common.scoring import metrics
from common.scoring.hypotheses import average_repeats

FILES = {"diff3dhpe": "diff3dhpe_parity.npz", "diff3dhpe_s2f": "diff3dhpe_parity_s2f.npz"}
SIZES = {"frames": 5, "joints": 17, "channels": 32, "depth": 2}
CLOSE = {"rtol": 0, "atol": 2e-5}
RUNS = {  # tag: steps, eta, clamped
    "s1": (1, 0.0, True),
    "s5": (5, 0.0, True),
    "s9": (9, 0.0, True),
    "s5eta": (5, 0.7, True),
    "s5noclip": (5, 0.0, False),
}
PRESENT = {"diff3dhpe": ("s1", "s5", "s5noclip"), "diff3dhpe_s2f": tuple(RUNS)}


def state(v):
    return {key[3:]: value for key, value in v.items() if key.startswith("sd/")}


def network(name, v, fused=False):
    model = build(name, **SIZES)
    model.load_state_dict(state(v))
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused
    return model.eval()


@pytest.fixture(params=FILES)
def case(request, vectors):
    v = vectors(FILES[request.param])
    return request.param, v


@pytest.mark.parametrize("fused", [False, True])
def test_network_is_the_published_one(case, fused):
    name, v = case
    model = network(name, v, fused)
    x_2d, x_t, t = v["in/x2d"], v["in/y_t"].unsqueeze(1), v["in/t"].long()
    with torch.no_grad():
        torch.testing.assert_close(sinusoid(t, 32), v["out/sinus"], **CLOSE)
        torch.testing.assert_close(model.time_mlp(t), v["out/time_mlp"], **CLOSE)
        torch.testing.assert_close(model.embed(x_2d, x_t)[:, 0], v["out/fused"], **CLOSE)
        torch.testing.assert_close(model.STEblocks[0].attn(v["in/attn_x"]), v["out/attn_STE0"], **CLOSE)
        torch.testing.assert_close(model.features(x_2d, x_t, t)[:, 0], v["out/st_features"], **CLOSE)
        torch.testing.assert_close(model(x_2d, x_t, t)[:, 0], v["out/y0"], **CLOSE)


def sampler(name, v, tag, hypotheses=1):
    """All steps of a run as the lifter makes them, with the recorded noise."""
    steps, eta, clamped = RUNS[tag]
    diffusion = diff3dhpe_diffusion(
        unit=1.0, ddim_sampling_eta=eta, clip_denoised=clamped, ddim_coefficients="published"
    )
    lifter = DiffusionLifter(network(name, v), H36M_17, diffusion)
    batch = SimpleNamespace(keypoints_2d=v[f"in/sample_{tag}/x2d"])

    def noise(k):
        return v[f"in/sample_{tag}/noise_{k:02d}"].unsqueeze(1)

    return lifter, batch, noise, steps


@pytest.mark.parametrize("tag", RUNS)
def test_sampler_is_the_published_one(case, tag):
    name, v = case
    if tag not in PRESENT[name]:
        pytest.skip("the reference has no such run")
    lifter, batch, noise, steps = sampler(name, v, tag)
    times = [t for t, _ in sampling_times(1000, steps)] + [-1]
    assert times == v[f"in/sample_{tag}/times"].int().tolist()
    with torch.no_grad():
        trace = list(lifter.reverse(batch, noise, steps, flip=False))
    assert len(trace) == steps
    for k, (x_t, x_0) in enumerate(trace):
        torch.testing.assert_close(x_t[:, 0], v[f"out/sample_{tag}/xt_{k:02d}"], **CLOSE)
        torch.testing.assert_close(x_0[:, 0], v[f"out/sample_{tag}/x0hat_{k:02d}"], **CLOSE)
    torch.testing.assert_close(trace[-1][1][:, 0], v[f"out/sample_{tag}/pred"], **CLOSE)


def test_repeats_are_the_mean_of_hypotheses(case):
    name, v = case
    lifter, batch, _, steps = sampler(name, v, "s5")
    tiled = v["in/sample_s5/rep3_noise_00"].unflatten(0, (3, 2)).transpose(0, 1)  # (B, R, F, J, 3)
    with torch.no_grad():
        poses = lifter.sample(batch, 3, steps, lambda hypotheses: lambda k: tiled, flip=False)  # (B, K, 3, F, J, 3)
    mean = average_repeats(poses, 3)
    assert mean.shape[:3] == (2, steps, 1)
    torch.testing.assert_close(mean[:, -1, 0], v["out/sample_s5/rep3_pred_mean"], **CLOSE)


def runs_of_both(lifter, x2d, draws, steps, apart):
    """Sampled in one batch, with the noise draws[k] of the body and draws[k + 100] of the mirrored one."""
    drawn = {}

    def noise(k):
        drawn[k] = drawn.get(k, -100) + 100
        return draws[k + drawn[k]]

    lifter.diffusion = replace(lifter.diffusion, mirror_apart=apart)
    with torch.no_grad():
        return list(lifter.reverse(SimpleNamespace(keypoints_2d=x2d), noise, steps))


@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_the_published_variant_averages_two_separate_runs(case, eta):
    """The mean of a run of the body and a run of the mirrored body, each with its own noise, mirrored back."""
    name, v = case
    x2d, steps = v["in/sample_s5/x2d"], 4
    diffusion = diff3dhpe_diffusion(unit=1.0, ddim_sampling_eta=eta, variant="published")
    lifter = DiffusionLifter(network(name, v), H36M_17, diffusion)
    shape = v["in/sample_s5/noise_00"].unsqueeze(1).shape
    g = torch.Generator().manual_seed(3)
    draws = {k + more: torch.randn(shape, generator=g) for k in range(steps) for more in (0, 100)}

    def alone(keypoints, more):
        batch = SimpleNamespace(keypoints_2d=keypoints)
        with torch.no_grad():
            return list(lifter.reverse(batch, lambda k: draws[k + more], steps, flip=False))

    straight, mirrored = alone(x2d, 0), alone(lifter.flip(x2d), 100)
    both = runs_of_both(lifter, x2d, draws, steps, apart=True)
    for k in range(steps):
        expected = (straight[k][1] + lifter.flip(mirrored[k][1])) / 2
        torch.testing.assert_close(both[k][1], expected, atol=1e-5, rtol=0)
    each_step = runs_of_both(lifter, x2d, draws, steps, apart=False)
    assert (each_step[-1][1] - both[-1][1]).abs().max() > 1e-3
    lifter.diffusion = replace(diffusion, mirror_apart=False)
    assert diff3dhpe_diffusion(unit=1.0).mirror_apart is False  # the default averages in every step


def test_separate_runs_known_answer():
    """One step of a network that answers with what it sees: the mean of one noise and of the other mirrored back."""

    class Echo(torch.nn.Module):
        def forward(self, x_2d, x_t, t, condition):
            return x_t

        def condition(self, batch):
            return None

    own, others = torch.zeros(1, 1, 2, 17, 3), torch.zeros(1, 1, 2, 17, 3)
    own[..., 4, 0], others[..., 1, 0] = 0.4, 0.2  # the left hip; the right one of the mirrored body
    lifter = DiffusionLifter(Echo(), H36M_17, diff3dhpe_diffusion(unit=2.0, variant="published"))
    draws = iter([own, others])
    batch = SimpleNamespace(keypoints_2d=torch.zeros(1, 2, 17, 2))
    poses = lifter.sample(batch, 1, 1, lambda hypotheses: lambda k: next(draws))  # (B, K, H, F, J, 3)
    expected = torch.zeros(2, 17, 3)
    expected[:, 4, 0] = 2.0 * (0.4 - 0.2) / 2  # mirrored back, the 0.2 is -0.2 of the left hip; in metres
    torch.testing.assert_close(poses[0, 0, 0], expected)


def test_the_variant_decides_the_step_unless_one_is_named():
    assert diff3dhpe_diffusion(variant="published").step is ddim_step_published
    assert diff3dhpe_diffusion(variant="published", ddim_coefficients="textbook").step is ddim_step
    assert diff3dhpe_diffusion().step is ddim_step and diff3dhpe_diffusion(ddim_coefficients="published").step


def test_averaging_groups_neighbouring_hypotheses():
    poses = torch.arange(6.0).view(1, 1, 6, 1, 1, 1)
    assert average_repeats(poses, 2).flatten().tolist() == [0.5, 2.5, 4.5]


def test_loss_is_the_published_one(case):
    name, v = case
    x_2d, y_0, noise, t = (v[f"in/loss/{key}"] for key in ("x2d", "y0", "noise", "t"))
    batch = SimpleNamespace(keypoints_2d=x_2d, positions_3d=2.5 * y_0, mask=torch.ones(y_0.shape[:2]))
    torch.testing.assert_close(q_sample(y_0, t.long(), noise, cosine_schedule()), v["out/loss/y_t"], **CLOSE)
    for tag, clip_loss in (("loss_clip", True), ("loss_noclip", False)):
        diffusion = diff3dhpe_diffusion(unit=2.5, clip_loss=clip_loss)
        lifter = DiffusionLifter(network(name, v), H36M_17, diffusion)
        with torch.no_grad():
            loss = lifter.training_loss(batch, t.long(), noise) / batch.mask.sum()
            x_t = q_sample(y_0, t.long(), noise, diffusion.abar)
            x_0 = lifter.denoiser(x_2d, x_t.unsqueeze(1), t.long())[:, 0]
            weight = diffusion.weight(diffusion.abar[t.long()]).float()
        elementwise = weight.view(-1, 1, 1, 1) * (x_0 - y_0) ** 2
        # A squared error weighted by up to 81 grows with the size of the numbers: one part in 10^5.
        torch.testing.assert_close(elementwise, v[f"out/{tag}/elementwise"], rtol=1e-5, atol=2e-5)
        torch.testing.assert_close(loss, v[f"out/{tag}/mean"], rtol=1e-5, atol=2e-5)


def test_schedule_buffers(vectors):
    v = vectors(FILES["diff3dhpe"])
    a = cosine_schedule()
    before = torch.cat([torch.ones(1, dtype=torch.float64), a[:-1]])
    beta = 1 - a / before
    variance = beta * (1 - before) / (1 - a)
    expected = {
        "betas": beta,
        "alphas_cumprod": a,
        "alphas_cumprod_prev": before,
        "sqrt_recip_alphas": (1 - beta) ** -0.5,
        "sqrt_alphas_cumprod": a.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - a).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - a).log(),
        "sqrt_recip_alphas_cumprod": a**-0.5,
        "sqrt_recipm1_alphas_cumprod": (1 / a - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp_min(1e-20).log(),
        "posterior_mean_coef1": beta * before.sqrt() / (1 - a),
        "posterior_mean_coef2": (1 - before) * (1 - beta).sqrt() / (1 - a),
        "p2_loss_weight": torch.ones(1000, dtype=torch.float64),
    }
    stored = {key[11:]: value for key, value in v.items() if key.startswith("out/buffer/")}
    assert stored.keys() == expected.keys()
    for key, value in stored.items():
        torch.testing.assert_close(expected[key].float(), value, rtol=2e-6, atol=1e-9, msg=key)


def test_metrics_and_camera(vectors):
    v = vectors("diff3dhpe_parity_misc.npz")
    predicted, target = v["in/metric/pred"], v["in/metric/gt"]
    torch.testing.assert_close(metrics.mpjpe(predicted, target), v["out/metric/mpjpe_per_frame"][:, 0], **CLOSE)
    for name in ("mpjpe", "n_mpjpe", "p_mpjpe", "mpjve"):
        torch.testing.assert_close(getattr(metrics, name)(predicted, target).mean(), v[f"out/metric/{name}"], **CLOSE)

    quaternion, translation = v["in/cam/quat"].tolist(), v["in/cam/trans"].tolist()
    intrinsics = tuple(v["in/cam/intrinsic9"].tolist())
    camera = Camera("c", 1000, 1002, intrinsics, tuple(quaternion), tuple(translation))
    points = camera.world_to_camera(v["in/cam/world"])
    torch.testing.assert_close(points, v["out/cam/camera"], **CLOSE)
    torch.testing.assert_close(project(points, v["in/cam/intrinsic9"]), v["out/cam/proj_norm"], **CLOSE)
    torch.testing.assert_close(camera.project(points), v["out/cam/pixels"], rtol=0, atol=2e-3)  # pixels
    torch.testing.assert_close(camera.camera_to_world(points), v["out/cam/back_world"], **CLOSE)

    errors = metrics.joint_errors(v["in/pck/pred_mm"], v["in/pck/gt_mm"] - v["in/pck/gt_mm"][:, 14:15])
    torch.testing.assert_close(errors.mean(), v["out/pck/mpjpe17"], rtol=1e-5, atol=0)
    torch.testing.assert_close(metrics.pck(errors[:, :14]).mean(), v["out/pck/pck150"], rtol=1e-5, atol=0)
    torch.testing.assert_close(metrics.auc(errors[:, :14]).mean(), v["out/pck/auc"], rtol=1e-5, atol=0)
    curve = torch.stack([metrics.pck(errors[:, :14], 5.0 * k).mean() for k in range(31)])
    torch.testing.assert_close(curve / 100, v["out/pck/curve"], rtol=1e-5, atol=1e-6)  # kept as shares


def test_evaluation_windows_of_the_published_code(vectors):
    """Rows are [start, end, first scored column, end, scored frames]: ours start there and cover the same frames."""
    v = vectors("diff3dhpe_parity_misc.npz")
    for frames, length in ((200, 81), (162, 81), (81, 81), (1000, 243), (100, 27)):
        rows = v[f"out/chunks/n{frames}_L{length}"].int().tolist()
        assert published_test_starts(frames, length) == [row[0] for row in rows]
        assert sum(row[4] for row in rows) == frames


def test_every_reference_output_is_compared(vectors):
    not_compared = {
        # A clip shorter than the window: the published code repeats frame 0 in front and scores the copies; here
        # the copies stand behind (as in D3DP) and count in nothing, so the start differs on purpose.
        "out/chunks/n60_L81",
    }
    compared = {
        "diff3dhpe_parity_misc.npz": (
            "out/metric/(mpjpe|n_mpjpe|p_mpjpe|mpjve|mpjpe_per_frame)",
            "out/cam/(camera|proj_norm|pixels|back_world)",
            "out/chunks/n(200|162|81)_L81",
            "out/chunks/n1000_L243",
            "out/chunks/n100_L27",
            "out/pck/(pck150|auc|mpjpe17|curve)",
        )
    }
    for name, file in FILES.items():
        tags = "|".join(PRESENT[name])
        compared[file] = (
            "out/(y0|time_mlp|sinus|fused|attn_STE0|st_features)",
            rf"out/sample_({tags})/(xt_\d\d|x0hat_\d\d|pred)",
            "out/sample_s5/rep3_pred_mean",
            "out/loss/y_t",
            "out/loss_(clip|noclip)/(elementwise|mean)",
            r"out/buffer/\w+",
        )

    for file, patterns in compared.items():
        for key in vectors(file):
            if key.startswith("out/") and key not in not_compared:
                assert any(re.fullmatch(pattern, key) for pattern in patterns), (file, key)


# ---- diffusion values


def test_published_step_is_the_textbook_step_with_the_wrong_coefficient():
    g = torch.Generator().manual_seed(0)
    x_t, x_0, noise = (torch.randn(2, 1, 3, 17, 3, generator=g, dtype=torch.float64) for _ in range(3))
    a, b, eta = 0.3, 0.7, 0.4
    sigma = eta * ((1 - a / b) * (1 - b) / (1 - a)) ** 0.5
    expected = b**0.5 * x_0 + (1 - b - sigma**2) ** 0.5 * (x_t - a * x_0) / (1 - a) ** 0.5 + sigma * noise
    torch.testing.assert_close(ddim_step_published(x_t, x_0, a, b, eta, noise), expected)
    assert not torch.allclose(ddim_step(x_t, x_0, a, b, eta, noise), expected)


@pytest.mark.parametrize(("steps", "gain"), [(3, 1.17), (5, 1.39), (9, 1.83), (20, 3.06)])
def test_surplus_signal_of_the_published_step(steps, gain):
    """With a perfect denoiser and no noise, x_t should be sqrt(abar_t) x_0."""
    abar, x_0 = cosine_schedule(), torch.ones(1, dtype=torch.float64)
    peaks = {}
    for step in (ddim_step, ddim_step_published):
        trace = reverse_process(lambda x, t: x_0, lambda k: abar[-1:].sqrt(), abar, steps, eta=0.0, step=step)
        times = [t for t, _ in sampling_times(1000, steps)]
        peaks[step] = max(float(x_t / abar[t].sqrt()) for (x_t, _), t in zip(trace, times, strict=True))
    assert peaks[ddim_step] == pytest.approx(1.0)
    assert peaks[ddim_step_published] == pytest.approx(gain, abs=0.006)


def test_loss_weight():
    a = cosine_schedule()
    capped, free = loss_weight(a), loss_weight(a, float("inf"))
    for t, weight in ((0, 156.6), (10, 38.2), (100, 6.76), (199, 3.82), (266, 2.992), (399, 2.09), (999, 1.0)):
        assert float(free[t]) == pytest.approx(weight, rel=2e-3)
    assert (capped == 3).nonzero().max() == 265
    assert float(capped.mean()) == pytest.approx(1.93, abs=0.005)
    assert float(free.mean()) == pytest.approx(3.83, abs=0.005)


def test_schedules():
    for schedule in (cosine_schedule, linear_schedule, logcosine_schedule):
        a = schedule(1000)
        assert a.dtype == torch.float64 and a.shape == (1000,)
        assert ((a > 0) & (a < 1)).all() and (a.diff() < 0).all()
    # The published definition: k of the cosine curve replaced by logspace(0, 2, T + 1) / 0.1.
    k = np.logspace(0, 2, 1001) / 0.1
    curve = np.cos((k / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    expected = np.cumprod(1 - np.clip(1 - curve[1:] / curve[:-1], 0, 0.999))
    np.testing.assert_allclose(logcosine_schedule(1000), expected, rtol=1e-10)


def test_unknown_names_are_told():
    with pytest.raises(UserError, match="logcosine"):
        diff3dhpe_diffusion(beta_schedule="quadratic")
    with pytest.raises(UserError, match="textbook"):
        diff3dhpe_diffusion(ddim_coefficients="wrong")


def clip(subject, poses):
    frames = len(poses)
    camera = Camera("54138969", 1000, 1002, None)
    keypoints = np.zeros((frames, 17, 2), np.float32)
    return Clip(subject, "Walking 1", camera, 50.0, keypoints, poses.astype(np.float32), np.ones(frames, bool))


def scale(*clips):
    return normalisation_scale((c.positions_3d[c.valid] for c in clips), root=0)


def test_normalisation_scale():
    poses = np.zeros((4, 17, 3))
    poses += [1.0, 2.0, 5.0]  # the root's place does not matter
    poses[2, 9] += [0.1, -0.9, 0.3]
    training, test = clip("S1", poses), clip("S9", 2 * poses)
    assert scale(training) == pytest.approx(0.9)
    assert scale(training, test) == pytest.approx(1.8)
    training.valid[2], training.positions_3d[2] = False, np.nan  # an invalid frame may hold anything
    assert scale(training, test) == pytest.approx(1.8)
    training.valid[:] = False
    for nothing in ((), (training,)):
        with pytest.raises(UserError, match="scale"):
            scale(*nothing)
    # A scale that nobody set shows: nothing drawn from it is a number.
    assert np.isnan(diff3dhpe_diffusion().unit)


@pytest.mark.parametrize("name", FILES)
def test_unit_scales_what_comes_out(name, vectors):
    """The clamp acts in network units: twice the unit, twice the pose."""
    v = vectors(FILES[name])
    poses = []
    for unit in (1.0, 2.0):
        diffusion = diff3dhpe_diffusion(unit=unit)
        lifter = DiffusionLifter(network(name, v), H36M_17, diffusion)
        batch = SimpleNamespace(keypoints_2d=v["in/sample_s5/x2d"])
        with torch.no_grad():
            noise = v["in/sample_s5/noise_00"].unsqueeze(1)
            poses.append(lifter.sample(batch, 1, 2, lambda hypotheses, n=noise: lambda k: n))
    torch.testing.assert_close(poses[1], 2 * poses[0])
    assert poses[1].abs().max() <= 2.0


# ---- the network of the middle frame, training, import


def test_gradient_reaches_every_parameter():
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    for name, frames in (("diff3dhpe", 5), ("diff3dhpe_s2f", 1)):
        model = build(name, **SIZES, drop_path=0.0)
        assert REGISTRY[name].centre_only == (frames == 1)
        lifter = DiffusionLifter(model, H36M_17, diff3dhpe_diffusion(unit=1.3))
        batch = SimpleNamespace(
            keypoints_2d=torch.randn(3, 5, 17, 2, generator=g),
            positions_3d=torch.randn(3, frames, 17, 3, generator=g),
            mask=torch.ones(3, frames),
        )
        noise = torch.randn(3, frames, 17, 3, generator=g)
        lifter.training_loss(batch, torch.tensor([3, 500, 999]), noise).backward()
        for key, parameter in model.named_parameters():
            if key == "weighted_mean.bias":  # adds one number to all channels; the head's LayerNorm takes it out again
                continue
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, key


def test_middle_frame_network_takes_several_hypotheses():
    model = build("diff3dhpe_s2f", **SIZES).eval()
    x_2d, x_t, t = torch.randn(2, 5, 17, 2), torch.randn(2, 3, 1, 17, 3), torch.tensor([1, 900])
    with torch.no_grad():
        together = model(x_2d, x_t, t)
        alone = torch.stack([model(x_2d, x_t[:, h : h + 1], t)[:, 0] for h in range(3)], 1)
    assert together.shape == (2, 3, 1, 17, 3)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "frames", "time_emb", "tensors", "parameters"),
    [
        ("diff3dhpe", 81, True, 240, 43_674_115),
        ("diff3dhpe", 243, True, 240, 43_757_059),
        ("diff3dhpe", 27, False, 204, 33_674_755),
        ("diff3dhpe", 27, True, 240, 43_646_467),
        ("diff3dhpe_s2f", 81, True, 242, 43_674_197),
        ("diff3dhpe_s2f", 243, True, 242, 43_757_303),
        ("diff3dhpe_s2f", 27, True, 242, 43_646_495),
        ("diff3dhpe_s2f", 27, False, 206, 33_674_783),
    ],
)
def test_published_sizes(name, frames, time_emb, tensors, parameters):
    sizes = {"frames": frames, "joints": 17, "channels": 512, "depth": 8, "time_emb": time_emb}
    with torch.device("meta"):
        weights = build(name, **sizes).state_dict()
    assert (len(weights), sum(w.numel() for w in weights.values())) == (tensors, parameters)
    shapes = {key: tuple(w.shape) for key, w in weights.items()}
    assert [(row, m.published_sizes(shapes)) for row, m in REGISTRY.items() if m.published_sizes(shapes)] == [
        (name, sizes)
    ]


SCHEDULE_BUFFERS = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_recip_alphas",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "p2_loss_weight",
)


def published_file(weights, wrapped):
    """A published file's names: the network under `model.`, 14 schedules, and what a FLOP counter leaves."""
    file = {name: torch.zeros(1000) for name in SCHEDULE_BUFFERS} | {
        f"model.{key}": value for key, value in weights.items()
    }
    modules = {key.rsplit(".", 1)[0] for key in weights if "." in key}
    for module in ["model"] + [f"model.{m}" for m in modules]:
        file |= {f"{module}.total_{what}": torch.zeros(1, dtype=torch.float64) for what in ("ops", "params")}
    return {f"module.{key}": value for key, value in file.items()} if wrapped else file


@pytest.mark.parametrize("time_emb", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_published_checkpoint_is_imported(name, wrapped, time_emb):
    model = build(name, **SIZES, time_emb=time_emb)
    weights = {key: torch.randn_like(w) for key, w in model.state_dict().items()}
    found, sizes, imported = import_published(published_file(weights, wrapped))
    assert (found, sizes) == (name, SIZES | {"time_emb": time_emb})
    model.load_state_dict(imported)
    for key, value in model.state_dict().items():
        assert torch.equal(value, weights[key]), key


@pytest.mark.parametrize(
    "damage", ["time_mlp.1.weight", "STEblocks.1.time_mlp.1.bias", "Spatial_pos_embed", "TTEblocks.0.attn.qkv.weight"]
)
def test_damaged_checkpoint_is_refused(damage):
    """A missing parameter, also of the time code alone, an added one and one of another shape are errors."""
    weights = build("diff3dhpe", **SIZES).state_dict()
    with pytest.raises(UserError):
        import_published(published_file({k: w for k, w in weights.items() if k != damage}, True))
    with pytest.raises(UserError):
        import_published(published_file(weights | {damage + "x": torch.zeros(2)}, True))
    with pytest.raises(UserError):
        import_published(published_file(weights | {damage: weights[damage].unsqueeze(-1)}, True))


def test_time_code_of_file_and_network_must_agree():
    timed, untimed = (build("diff3dhpe", **SIZES, time_emb=on) for on in (True, False))
    for one, other in ((timed, untimed), (untimed, timed)):
        with pytest.raises(RuntimeError, match="time_mlp"):
            one.load_state_dict(other.state_dict())
