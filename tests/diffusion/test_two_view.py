"""The reverse process and one training step against recorded runs of the published code."""

import pytest
import torch

from common.binocular.train import ema_update, optimiser_step
from common.diffusion import two_view as diffusion
from common.errors import UserError
from common.geometry.stereo import project, to_channels, triangulate
from common.models.two_view import GraphDenoiser
from tests.stereo_files import to_views


def tiny(recorded, dropout=0.25):
    network = GraphDenoiser(hid_dim=16, num_layer=2, n_head=4, dropout=dropout, action_emd=True, depth_emd=True).eval()
    network.load_state_dict({k.removeprefix("sd/"): v for k, v in recorded.items() if k.startswith("sd/")})
    return network


def world_z(recorded):
    count = len(recorded["in/P"])
    axis = torch.tensor([0.0, 0.0, 1.0]).expand(count, 3)
    return diffusion.Views(
        recorded["in/P"], axis, torch.zeros(count), recorded["in/baseline_mm"][:, 0], recorded["in/action"]
    )


@pytest.mark.parametrize(
    ("name", "total", "steps", "kind", "normalised"),
    [
        ("h36m_k1", 24, 1, "uniform", False),
        ("h36m_k2", 24, 2, "uniform", False),
        ("mhad_k2", 25, 2, "uniform", True),
        ("quad_k4", 24, 4, "quad", True),
    ],
)
def test_reverse(vectors, name, total, steps, kind, normalised):
    v = vectors("dualdiff_parity_reverse.npz")
    network, views, betas = tiny(v), world_z(v), v[f"in/{name}/betas"]
    grid = diffusion.time_grid(total, steps, kind)
    assert grid == v[f"in/{name}/seq"].int().tolist()
    exact = diffusion.schedule("linear", len(betas), 1e-4, 1e-3)
    assert torch.allclose(1 - exact[1:] / exact[:-1], betas[1:].double(), atol=1e-9)
    # The recording used float32 shares; dividing by sqrt(1 - abar) shows their rounding in between, not at the end.
    rounded = (1 - betas).cumprod(0)

    def denoise(u, t):
        pose = diffusion.lift(
            network, u.flatten(0, 1), torch.full((len(u),), float(t)), views, depth_norm_by_bw=normalised
        )
        return project(pose, views.projections).unsqueeze(1)

    noise = to_views(v[f"in/{name}/noise"])  # (K, B, V, J, 2)
    eta = v["in/eta"].flatten()
    assert torch.allclose(v["in/noise_scale"].mean((1, 2)), eta)  # eta is the mean of the detector's deviation
    start = to_views(v["in/x_T"]).unsqueeze(1)
    with torch.no_grad():
        states, accurate = (
            list(diffusion.reverse(denoise, start, grid, process, eta, lambda k: noise[k].unsqueeze(1)))
            for process in (diffusion.Process.of(rounded), diffusion.Process.of(exact))
        )
    assert torch.equal(v[f"out/{name}/xs"][0], v["in/x_T"])
    for k, (clean, u) in enumerate(states):
        assert (to_channels(clean[:, 0]) - v[f"out/{name}/x0"][k]).abs().max() < 1e-5
        assert (to_channels(u[:, 0]) - v[f"out/{name}/xs"][k + 1]).abs().max() < 1e-5
    for run in (states, accurate):
        final = triangulate(run[-1][1][:, 0], views.projections)
        assert (final - v[f"out/{name}/X"]).abs().max() < 1e-5


def test_one_training_step(vectors):
    v = vectors("dualdiff_parity_train.npz")
    network, views = tiny(v, dropout=0.0), world_z(v)
    clean, noise = to_views(v["in/u0"]), to_views(v["in/e"] * v["in/noise_scale"])
    process = diffusion.Process.of(diffusion.schedule("linear", 26, 1e-4, 1e-3))
    t = v["in/t"].long()
    noisy = process.sample(clean, t, noise)
    assert (to_channels(noisy) - v["out/x_t"]).abs().max() < 1e-6
    assert (triangulate(noisy, views.projections) - v["out/x3d_t"]).abs().max() < 1e-5

    seen = {}
    network.register_forward_hook(lambda m, i, o: seen.update(x=i[0], y=o))
    pose = diffusion.lift(network, noisy, v["in/t"], views, depth_norm_by_bw=True)
    assert (seen["x"] - v["out/net_in"]).abs().max() < 1e-5
    assert (seen["y"] - v["out/net_out"]).abs().max() < 1e-5
    parts = diffusion.losses(pose, v["in/X"], clean, views.projections)
    assert torch.allclose(parts["2d"], v["out/loss2d"], rtol=1e-5)
    assert torch.allclose(parts["3d"], v["out/loss3d"], rtol=1e-5)
    reprojected = to_channels(project(pose, views.projections))
    assert (pose - v["out/x3d_0"]).abs().max() < 1e-5
    assert (reprojected - v["out/x2d_0"]).abs().max() < 1e-5

    (parts["2d"] + parts["3d"]).backward()
    for name, parameter in network.named_parameters():
        expected = v[f"out/grad/{name}"]  # before clipping; key biases are zero up to rounding: compared absolutely
        assert (parameter.grad - expected).abs().max() <= 1e-5 * expected.abs().max() + 1e-7, name

    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, eps=1e-8)
    ema = {name: p.detach().clone() for name, p in network.named_parameters()}
    norm = optimiser_step(network, optimiser, grad_clip=1.0)
    assert torch.allclose(norm, v["out/gradnorm"], rtol=1e-5)
    ema_update(ema, network, 0.999)
    for name, parameter in network.named_parameters():
        # Adam's first step is lr * sign(g): where g is zero up to rounding its direction is undetermined.
        sure = v[f"out/grad/{name}"].abs() > 1e-6
        difference = (parameter.detach() - v[f"out/sd_after/{name}"]).abs()
        assert (difference * sure).max() < 1e-5, name
        assert difference.max() <= 2.1e-3, name
        difference = (ema[name] - v[f"out/ema_after/{name}"]).abs()
        assert (difference * sure).max() < 1e-6, name
        assert difference.max() <= 2.1e-6, name


def test_a_step_of_every_schedule():
    for kind in ("linear", "quad", "const", "jsd", "sigmoid"):
        abar = diffusion.schedule(kind, 26, 1e-4, 1e-3)
        assert abar.shape == (26,) and abar.dtype == torch.float64
        assert (abar.diff() < 0).all() and 0 <= abar[-1] < abar[0] < 1
    assert abs(float(diffusion.schedule("linear", 26, 1e-4, 1e-3)[-1]) - 0.98580) < 5e-6
    assert abs(float(diffusion.schedule("linear", 76, 1e-4, 1e-3)[-1]) - 0.95905) < 5e-6
    with pytest.raises(UserError, match="cosine"):
        diffusion.schedule("cosine", 26, 1e-4, 1e-3)


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.1, 1.5, float("nan")])
@pytest.mark.parametrize("place", ["beta_start", "beta_end"])
def test_a_schedule_that_would_divide_by_zero_is_refused(place, beta):
    betas = {"first": 1e-4, "last": 1e-3} | {"first" if place == "beta_start" else "last": beta}
    with pytest.raises(UserError, match=f"diffusion.{place} is"):
        diffusion.schedule("linear", 10, **betas)


def test_grids():
    assert diffusion.time_grid(24, 1, "uniform") == [0]
    assert diffusion.time_grid(25, 2, "uniform") == [0, 12, 24]  # three steps: 2 does not divide 25
    assert diffusion.time_grid(25, 1, "end") == [24]
    assert diffusion.time_grid(25, 5, "end") == [4, 9, 14, 19, 24]
    for steps in (0, 26):
        with pytest.raises(UserError, match="between 1 and 25"):
            diffusion.time_grid(25, steps, "uniform")


def test_antithetic_times():
    t = diffusion.antithetic_times(7, 26, torch.Generator().manual_seed(0))
    assert t.shape == (7,) and t.min() >= 0 and t.max() <= 25
    assert torch.equal(t[4:], 25 - t[:3])


def test_hypotheses_part_only_where_noise_is_drawn():
    abar = diffusion.schedule("linear", 26, 1e-4, 1e-3)
    start, calls = torch.randn(3, 1, 2, 17, 2), []

    def denoise(u, t):
        calls.append(u.shape[1])
        return u * 0.9

    def noise(k):
        return torch.randn(3, 5, 2, 17, 2, generator=torch.Generator().manual_seed(k))

    process, eta = diffusion.Process.of(abar), torch.full((3,), 0.02)
    *_, (_, one) = diffusion.reverse(denoise, start, [0], process, eta, noise)
    assert one.shape[1] == 1 and calls == [1]
    *_, (_, many) = diffusion.reverse(denoise, start, [0, 12, 24], process, eta, noise)
    assert many.shape[1] == 5 and calls[1:] == [1, 5, 5]
    assert (many[:, 0] - many[:, 1]).abs().max() > 0


def test_unshrunk_process_keeps_the_signal_and_reverses_exactly():
    process = diffusion.Process.of(diffusion.schedule("linear", 50, 1e-4, 0.2), "unshrunk")
    clean, noise = torch.randn(4, 2, 17, 2), 0.02 * torch.randn(4, 2, 17, 2)
    t = torch.full((4,), 49)
    noisy = process.sample(clean, t, noise)
    assert torch.allclose(noisy, clean + float(process.noise[49]) * noise)
    # A denoiser that knows the answer leads back to it over any grid, because e stays the same noise.
    *_, (_, u) = diffusion.reverse(
        lambda u, t: clean.unsqueeze(1), noisy.unsqueeze(1), [9, 29, 49], process, torch.zeros(4), lambda k: None
    )
    assert torch.allclose(u[:, 0], clean)
    states = [
        u
        for _, u in diffusion.reverse(
            lambda u, t: clean.unsqueeze(1), noisy.unsqueeze(1), [9, 49], process, torch.zeros(4), lambda k: None
        )
    ]
    assert torch.allclose(states[0][:, 0], process.sample(clean, torch.full((4,), 9), noise), atol=1e-6)
