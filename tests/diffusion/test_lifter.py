from types import SimpleNamespace

import pytest
import torch

from common.diffusion.lifter import Diffusion, DiffusionLifter
from common.diffusion.noise import window_noise
from common.geometry.skeleton import H36M_17
from common.models import build


@pytest.fixture
def published(vectors):
    v = vectors("d3dp_parity.npz")
    denoiser = build("mixste", frames=9, joints=17, channels=32, depth=3)
    denoiser.load_state_dict({key[3:]: value for key, value in v.items() if key.startswith("sd/")})
    return v, DiffusionLifter(denoiser, H36M_17).eval()


def test_reverse_process_matches_the_vectors(published):
    """Three steps with flip, recorded noise: the noisy pose before each step and every estimate."""
    v, lifter = published
    batch = SimpleNamespace(keypoints_2d=v["in/wrap_x_2d"])
    torch.testing.assert_close(lifter.flip(v["in/wrap_x_2d"]), v["in/wrap_x_2d_flip"])
    with torch.no_grad():
        steps = list(lifter.reverse(batch, lambda k: v[f"in/wrap_noise_{k}"], 3))
    for k, (x_t, x_0) in enumerate(steps):
        torch.testing.assert_close(x_t, v[f"out/wrap_xt_before_step_{k}"], atol=1e-5, rtol=0)
        torch.testing.assert_close(x_0, v["out/wrap_preds_bKHFJC"][:, k], atol=1e-5, rtol=0)
        abar = lifter.diffusion.abar[v["in/wrap_times"][k]]
        eps = (x_t - abar.sqrt() * x_0) / (1 - abar).sqrt()
        torch.testing.assert_close(eps.float(), v[f"out/wrap_eps_step_{k}"], atol=1e-5, rtol=0)


def test_training_step_matches_the_vectors(published):
    """Loss, prediction, the published gradient (of L^2 / 2) and one AdamW step."""
    v, lifter = published
    batch = SimpleNamespace(
        keypoints_2d=v["train/in/x_2d"], positions_3d=v["train/in/x0"], mask=torch.ones(v["train/in/x0"].shape[:2])
    )
    loss = lifter.training_loss(batch, v["train/in/t"], v["train/in/noise"]) / batch.mask.sum()
    torch.testing.assert_close(loss.detach(), v["train/out/loss"], atol=1e-5, rtol=0)
    (loss * loss.detach()).backward()
    optimizer = torch.optim.AdamW(lifter.parameters(), lr=6e-5, weight_decay=0.1)
    for name, parameter in lifter.denoiser.named_parameters():
        torch.testing.assert_close(parameter.grad, v[f"train/grad_L_times_dL/{name}"], atol=1e-5, rtol=1e-4)
    optimizer.step()
    for name, parameter in lifter.denoiser.named_parameters():
        torch.testing.assert_close(parameter.detach(), v[f"train/after_adamw/{name}"], atol=1e-5, rtol=0)


def test_prediction_of_the_training_vectors(published):
    from common.diffusion.ddim import network_input, q_sample

    v, lifter = published
    seen = network_input(q_sample(v["train/in/x0"], v["train/in/t"], v["train/in/noise"], lifter.diffusion.abar))
    predicted = lifter.denoiser(v["train/in/x_2d"], seen[:, None], v["train/in/t"])[:, 0]
    torch.testing.assert_close(predicted, v["train/out/pred"], atol=1e-5, rtol=0)


def test_masked_frames_do_not_count(published):
    v, lifter = published
    mask = torch.ones(2, 9)
    mask[:, 5:] = 0
    base = SimpleNamespace(keypoints_2d=v["train/in/x_2d"], positions_3d=v["train/in/x0"], mask=mask)
    base.positions_3d = x_0 = v["train/in/x0"]
    loss = lifter.training_loss(base, torch.tensor([0, 0]), torch.zeros(2, 9, 17, 3))
    with torch.no_grad():
        predicted = lifter.denoiser(v["train/in/x_2d"], x_0[:, None].clamp(-1.1, 1.1), torch.tensor([0, 0]))[:, 0]
        expected = torch.linalg.vector_norm(predicted - x_0, dim=-1).mean(-1)[:, :5].sum()
    torch.testing.assert_close(loss, expected, atol=1e-2, rtol=1e-3)


def sampled(lifter, v, hypotheses=4, chunk=None, flip=True, noise=None):
    batch = SimpleNamespace(keypoints_2d=v["in/wrap_x_2d"])
    noise = noise or (lambda h: window_noise(7, ["a", "b"], h, (9, 17, 3)))
    with torch.no_grad():
        return lifter.sample(batch, hypotheses, 3, noise, flip=flip, chunk=chunk)


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_chunks_of_hypotheses_change_nothing(published, chunk):
    v, lifter = published
    torch.testing.assert_close(sampled(lifter, v, chunk=chunk), sampled(lifter, v), atol=1e-5, rtol=0)


def test_more_hypotheses_keep_the_first(published):
    v, lifter = published
    torch.testing.assert_close(sampled(lifter, v, 2), sampled(lifter, v, 4)[:, :, :2], atol=1e-5, rtol=0)


def test_flipped_input_gives_the_flipped_pose(published):
    """With flip averaging, mirrored keypoints and mirrored noise give the mirrored pose."""
    v, lifter = published

    def mirrored(h):
        source = window_noise(7, ["a", "b"], h, (9, 17, 3))
        return lambda k: lifter.flip(source(k))

    straight = sampled(lifter, v)
    flipped = sampled(lifter, {**v, "in/wrap_x_2d": v["in/wrap_x_2d_flip"]}, noise=mirrored)
    torch.testing.assert_close(lifter.flip(flipped), straight, atol=1e-5, rtol=0)


@pytest.mark.parametrize("chunk", [1, 2, None])
def test_the_mirrored_body_has_hypotheses_of_its_own(published, chunk):
    """Every other hypothesis is that of the mirrored keypoints, turned back, with the noise of its number."""
    v, lifter = published
    alone = sampled(lifter, v, 5, flip=False)
    mirrored = lifter.flip(sampled(lifter, {**v, "in/wrap_x_2d": v["in/wrap_x_2d_flip"]}, 5, flip=False))
    own = sampled(lifter, v, 5, flip="own", chunk=chunk)
    torch.testing.assert_close(own[:, :, ::2], alone[:, :, ::2], atol=1e-5, rtol=0)
    torch.testing.assert_close(own[:, :, 1::2], mirrored[:, :, 1::2], atol=1e-5, rtol=0)
    assert float((alone - mirrored).abs().max()) > 0.01  # so that the test could tell them apart
    torch.testing.assert_close(sampled(lifter, v, 1, flip="own"), alone[:, :, :1], atol=1e-5, rtol=0)


def test_gradients_flow_through_the_sampler(published):
    v, lifter = published
    batch = SimpleNamespace(keypoints_2d=v["in/wrap_x_2d"])
    noise = lambda h: window_noise(7, ["a", "b"], h, (9, 17, 3))  # noqa: E731
    lifter.sample(batch, 2, 2, noise).square().sum().backward()
    assert float(lifter.denoiser.Spatial_patch_to_embedding.weight.grad.abs().sum()) > 0


def test_a_scaled_signal_comes_back_in_metres(published):
    """A denoiser that knows the truth gives it back whatever the signal's scale."""
    truth = 0.3 * torch.randn(1, 1, 3, 17, 3)
    denoiser = build("mixste", frames=3, joints=17, channels=16, depth=1)
    denoiser.forward = lambda x_2d, x_t, t, condition: truth
    lifter = DiffusionLifter(denoiser, H36M_17, Diffusion(scale=2.0))
    batch = SimpleNamespace(keypoints_2d=torch.zeros(1, 3, 17, 2))
    poses = lifter.sample(batch, 1, 2, lambda h: window_noise(0, ["a"], h, (3, 17, 3)), flip=False)
    torch.testing.assert_close(poses[:, -1], truth)


def test_units_scale_the_pose():
    """A lifter with unit 2 on poses of 2 m does what one with unit 1 does on poses of 1 m."""
    denoiser = build("mixste", frames=3, joints=17, channels=16, depth=1)
    batch = SimpleNamespace(keypoints_2d=torch.zeros(1, 3, 17, 2))
    noise = lambda h: window_noise(0, ["a"], h, (3, 17, 3))  # noqa: E731
    with torch.no_grad():
        one = DiffusionLifter(denoiser, H36M_17, Diffusion(unit=1.0)).sample(batch, 1, 2, noise)
        two = DiffusionLifter(denoiser, H36M_17, Diffusion(unit=2.0)).sample(batch, 1, 2, noise)
    torch.testing.assert_close(2 * one, two)


def test_every_output_of_the_vector_file_is_compared(vectors):
    """Where each out/ key of d3dp_parity.npz is compared; a new key must be named here."""
    places = {
        "tests/models/test_mixste.py": ("out/train_style", "out/eval_style", "out/time_mlp", "out/ste_", "out/tte_"),
        "tests/test_lifter.py": ("out/wrap_", "train/out/", "train/after_adamw/", "train/grad_L_times_dL/"),
        "tests/test_diffusion.py": ("out/q_",),
        "tests/test_hypotheses.py": ("jpma/out/reproj", "jpma/out/select", "jpma/out/P1_P_Agg", "jpma/out/P1_J_"),
        "tests/engine/test_evaluate.py": ("jpma/out/P1_P_Best", "jpma/out/P2_"),
        "tests/datasets/test_windows.py": ("windows/example/out/",),
    }
    known = tuple(prefix for prefixes in places.values() for prefix in prefixes)
    for key in vectors("d3dp_parity.npz"):
        if "out/" in key or key.startswith(("train/after", "train/grad")):
            assert key.startswith(known), f"{key} is compared nowhere"
