"""Every row of the registry goes through these. A new denoiser needs no line here unless its call is special."""

import pytest
import torch

from common.datasets.windows import Batch
from common.diffusion.lifter import DiffusionLifter
from common.diffusion.noise import window_noise
from common.errors import UserError
from common.geometry.skeleton import H36M_17
from common.models import REGISTRY, build
from common.models.condition import PLAIN_CAMERA

FRAMES, CHANNELS, DEPTH = 9, 32, 2
EXTRA = {"skeleton": "h36m_17", "text": "learned", "actions": ["Eating", "Walking"]}


def sizes(name: str, **changes) -> dict:
    options = {key: value for key, value in EXTRA.items() if key in REGISTRY[name].options}
    return {"frames": FRAMES, "joints": 17, "channels": CHANNELS, "depth": DEPTH, **options, **changes}


def perturbed(name: str, **changes) -> torch.nn.Module:
    """A model with every parameter off its initial value, so that no zero hides an error."""
    torch.manual_seed(0)
    model = build(name, **sizes(name, **changes))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return model.eval()


def frames_out(name: str, frames: int = FRAMES) -> int:
    return 1 if REGISTRY[name].centre_only else frames


def batch_of(name: str, frames: int = FRAMES, windows: int = 2) -> Batch:
    g = torch.Generator().manual_seed(1)
    out = frames_out(name, frames)
    poses = 0.3 * torch.randn(windows, out, 17, 3, generator=g)
    return Batch(
        torch.randn(windows, frames, 17, 2, generator=g) * 0.3,
        poses - poses[:, :, :1],
        torch.ones(windows, out, dtype=torch.bool),
        torch.zeros(windows, out, 1, 3),
        torch.tensor(PLAIN_CAMERA).expand(windows, -1),
        torch.arange(windows) % 2,
        ("Eating", "Walking"),
        torch.arange(windows),
    )


def lifter_of(name: str, model: torch.nn.Module) -> DiffusionLifter:
    settings = {"unit": 1.0} if "unit" in REGISTRY[name].diffusion_options else {}
    return DiffusionLifter(model, H36M_17, REGISTRY[name].diffusion(**settings))


@pytest.mark.parametrize("name", REGISTRY)
def test_sampling_has_its_shape_at_any_size(name):
    for frames in (1, FRAMES):
        model = perturbed(name, frames=frames)
        batch = batch_of(name, frames)
        noise = lambda h: window_noise(0, ["a", "b"], h, (frames_out(name, frames), 17, 3))  # noqa: B023, E731
        with torch.no_grad():
            poses = lifter_of(name, model).sample(batch, 3, 2, noise)
        assert poses.shape[:3] == (2, 2, 3) and poses.shape[4:] == (17, 3)
        assert torch.isfinite(poses).all()


@pytest.mark.parametrize("name", REGISTRY)
def test_flipped_input_gives_the_flipped_pose(name):
    model, batch = perturbed(name), batch_of(name)
    lifter = lifter_of(name, model)
    source = lambda h: window_noise(0, ["a", "b"], h, (frames_out(name), 17, 3))  # noqa: E731
    flipped_source = lambda h: lambda k, s=source(h): lifter.flip(s(k))  # noqa: E731
    flipped = Batch(**{**vars(batch), "keypoints_2d": lifter.flip(batch.keypoints_2d)})
    with torch.no_grad():
        straight = lifter.sample(batch, 2, 2, source)
        mirrored = lifter.sample(flipped, 2, 2, flipped_source)
    torch.testing.assert_close(lifter.flip(mirrored), straight, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", REGISTRY)
def test_every_parameter_receives_a_gradient(name):
    model = perturbed(name).train()
    batch = batch_of(name)
    batch = Batch(**{**vars(batch), "action": torch.tensor([0, 1])})
    everyone = Batch(**{**vars(batch), "action": torch.tensor([-1, 0])})
    lifter = lifter_of(name, model)
    for one in (batch, everyone):
        lifter.training_loss(one, torch.tensor([100, 700]), torch.randn(2, frames_out(name), 17, 3)).backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not silent


@pytest.mark.parametrize("name", REGISTRY)
def test_saved_weights_load_back(name):
    model, other = perturbed(name), build(name, **sizes(name))
    other.load_state_dict(model.state_dict())
    batch, t = batch_of(name), torch.tensor([10, 900])
    x_t = torch.randn(2, 2, frames_out(name), 17, 3)
    with torch.no_grad():
        torch.testing.assert_close(
            other.eval()(batch.keypoints_2d, x_t, t, other.condition(batch)),
            model(batch.keypoints_2d, x_t, t, model.condition(batch)),
        )


@pytest.mark.parametrize("name", REGISTRY)
def test_hypotheses_do_not_see_each_other(name):
    model, batch = perturbed(name), batch_of(name)
    noise = lambda h: window_noise(0, ["a", "b"], h, (frames_out(name), 17, 3))  # noqa: E731
    lifter = lifter_of(name, model)
    with torch.no_grad():
        together = lifter.sample(batch, 3, 2, noise)
        alone = lifter.sample(batch, 3, 2, noise, chunk=1)
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", REGISTRY)
def test_a_model_is_deterministic_in_evaluation(name):
    model, batch = perturbed(name), batch_of(name)
    x_t, t = torch.randn(2, 1, frames_out(name), 17, 3), torch.tensor([10, 900])
    with torch.no_grad():
        once, twice = (model(batch.keypoints_2d, x_t, t, model.condition(batch)) for _ in range(2))
    assert torch.equal(once, twice)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(UserError, match="mixste"):
        build("nothing")
