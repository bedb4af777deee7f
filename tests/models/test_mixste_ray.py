"""MixSTE along the root's ray: what a camera's place, turn and zoom do to its answer, and what they do not."""

import math

import pytest
import torch

from common.datasets.windows import Batch
from common.diffusion.lifter import DiffusionLifter
from common.diffusion.noise import window_noise
from common.errors import UserError
from common.geometry.camera import mirrored_intrinsics, project
from common.geometry.skeleton import H36M_17
from common.models import build, mixste_ray
from common.models.mixste_ray import along_root, onto_axis, turned

FRAMES = 5
LENS = torch.tensor([2.1, 2.2, 0.05, -0.03, -0.2, 0.1, 0.0, 0.003, -0.002])


def network():
    torch.manual_seed(0)
    model = build("mixste_ray", frames=FRAMES, joints=17, channels=32, depth=2, heads=4, drop_path=0.0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return model.eval()


def people(root=(0.4, 0.2, 4.0)) -> torch.Tensor:
    """(2, F, 17, 3), camera frame, metres."""
    g = torch.Generator().manual_seed(1)
    return torch.tensor(root) + 0.3 * torch.randn(2, FRAMES, 17, 3, generator=g)


def batch_of(keypoints, intrinsics) -> Batch:
    mask = torch.ones(2, FRAMES, dtype=torch.bool)
    zeros = torch.zeros(2, FRAMES, 17, 3)
    return Batch(keypoints, zeros, mask, zeros[:, :, :1], intrinsics, torch.tensor([-1, -1]), (), torch.arange(2))


def answer(model, keypoints, intrinsics, x_t):
    with torch.no_grad():
        return model(keypoints, x_t, torch.tensor([900, 100]), model.condition(batch_of(keypoints, intrinsics)))


def test_the_root_lies_on_the_axis_and_the_person_has_one_size():
    points = people()
    seen, rotation, about = along_root(project(points, LENS), LENS.expand(2, 9), H36M_17.root)
    assert seen[:, :, 0].mean(1).abs().max() < 0.05  # a mean of frames whose own depths differ
    spread = (seen - seen.mean(-2, keepdim=True)).square().sum(-1).mean((1, 2))
    torch.testing.assert_close(spread, torch.ones(2))
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(2, 3, 3), atol=1e-6, rtol=0)
    nearer = along_root(project(points * 0.5, LENS), LENS.expand(2, 9), H36M_17.root)[2]
    torch.testing.assert_close(nearer, about)  # half the person at half the distance is the same picture
    torch.testing.assert_close(onto_axis(torch.tensor([[0.3, -0.2, 1]])) @ torch.tensor([0.3, -0.2, 1]) / 1.13**0.5,
                               torch.tensor([[0.0, 0.0, 1.0]]), atol=1e-6, rtol=0)  # fmt: skip


def test_zoom_changes_nothing():
    model, points, x_t = network(), people(), torch.randn(2, 2, FRAMES, 17, 3)
    wide, tele = LENS.clone(), LENS.clone()
    tele[:2] *= 1.7
    first, second = (answer(model, project(points, c), c.expand(2, 9), x_t) for c in (wide, tele))
    torch.testing.assert_close(first, second, atol=1e-4, rtol=0)


def test_a_turned_camera_turns_the_pose():
    model, x_t = network(), torch.randn(2, 2, FRAMES, 17, 3)
    points = people((0.4, 0.0, 4.0))
    points[:, :, 0, 1] = 0  # the root on the horizon: the turn then brings no roll and no other elevation
    cos, sin = math.cos(0.3), math.sin(0.3)
    turn = torch.tensor([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
    camera = torch.tensor([2.0, 2.0, 0, 0, 0, 0, 0, 0, 0]).expand(2, 9)
    straight = answer(model, project(points, camera[0]), camera, x_t)
    turned = answer(model, project(points @ turn.T, camera[0]), camera, x_t @ turn.T)
    torch.testing.assert_close(turned, straight @ turn.T, atol=2e-4, rtol=0)
    unturned = answer(model, project(points @ turn.T, camera[0]), camera, x_t)
    assert (unturned - straight @ turn.T).abs().max() > 1e-2


def test_a_mirrored_camera_sees_the_mirror_image():
    mirror = torch.tensor([-1.0, 1.0, 1.0])
    points = people()
    seen = project(points * mirror, mirrored_intrinsics(LENS))
    torch.testing.assert_close(seen, project(points, LENS) * mirror[:2])


def test_flipped_windows_with_a_lens_give_the_flipped_pose():
    lifter = DiffusionLifter(network(), H36M_17)
    keypoints = project(people(), LENS)

    def sampled(keypoints, intrinsics, flipped):
        def source(hypotheses):
            noise = window_noise(0, ["a", "b"], hypotheses, (FRAMES, 17, 3))
            return (lambda k: lifter.flip(noise(k))) if flipped else noise

        with torch.no_grad():
            return lifter.sample(batch_of(keypoints, intrinsics.expand(2, 9)), 2, 2, source)

    straight = sampled(keypoints, LENS, flipped=False)
    mirrored = sampled(lifter.flip(keypoints), mirrored_intrinsics(LENS), flipped=True)
    torch.testing.assert_close(lifter.flip(mirrored), straight, atol=2e-5, rtol=0)


def test_without_intrinsics_it_says_so():
    with pytest.raises(UserError, match="intrinsics"):
        network().condition(batch_of(torch.zeros(2, FRAMES, 17, 2), None))


def test_the_view_is_computed_once_for_all_hypotheses_and_steps(monkeypatch):
    """Bit for bit what the network computes that works it out at every call."""
    lifter = DiffusionLifter(network(), H36M_17).eval()
    batch = batch_of(0.3 * torch.randn(2, FRAMES, 17, 2), LENS.expand(2, -1))
    noise = lambda h: window_noise(1, ["a", "b"], h, (FRAMES, 17, 3))  # noqa: E731
    calls = []

    def counted(*arguments):
        calls.append(1)
        return along_root(*arguments)

    monkeypatch.setattr(mixste_ray, "along_root", counted)
    with torch.no_grad():
        once = lifter.sample(batch, 3, 4, noise, chunk=1)
        assert len(calls) == 1
        monkeypatch.setattr(mixste_ray.MixSTERay, "prepared", lambda self, x_2d, condition: condition)
        each = lifter.sample(batch, 3, 4, noise, chunk=1)
    assert len(calls) == 13 and torch.equal(once, each)


def test_turns_keep_their_precision_in_bf16():
    """Under autocast a body of half a metre comes back to a micrometre, where bf16 would move it by a millimetre."""
    rotation = onto_axis(torch.tensor([[0.3, -0.2, 1.0]]))[:, None]
    x = 0.5 * torch.randn(1, 4, 17, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        back = turned(turned(x, rotation), rotation.mT)
        assert float((x @ rotation[0, 0].mT - turned(x, rotation)).abs().max()) > 5e-4
    torch.testing.assert_close(back, x, atol=1e-6, rtol=0)
    torch.testing.assert_close(turned(x, rotation), x @ rotation[0, 0].mT, atol=1e-6, rtol=0)
