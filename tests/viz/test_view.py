import numpy as np
import pytest
import torch

from common.datasets.h36m_cameras import h36m_cameras
from common.geometry.camera import Camera
from common.viz.view import floor_heights, view_from

CAMERAS = h36m_cameras("S9")


def test_without_rotation_the_camera_is_level():
    view = view_from(None, elevation=0.0)
    points = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])  # right, down, forward
    np.testing.assert_allclose(view.project(points), [[1, 0, 0], [0, -1, 0], [0, 0, 1]], atol=1e-12)
    np.testing.assert_allclose(view.height(points), [0, -1, 0], atol=1e-12)


def test_an_unknown_rotation_counts_as_level():
    unknown = view_from(Camera("wild", 640, 480, None))
    np.testing.assert_array_equal(unknown.plane, view_from(None).plane)


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda c: c.name)
def test_upright_and_from_the_cameras_own_side(camera):
    view = view_from(camera)
    # Up is the world's z: two world points one above the other.
    world = torch.tensor([[0.3, -0.2, 0.0], [0.3, -0.2, 1.0]], dtype=torch.float64)
    foot, head = camera.world_to_camera(world).numpy()
    np.testing.assert_allclose(view.height(head - foot), 1.0, atol=1e-6)
    np.testing.assert_allclose(view.project(head - foot), [0, np.cos(np.pi / 12), -np.sin(np.pi / 12)], atol=1e-6)
    assert view.plane[0, 0] > 0.99  # the picture's right is the camera's right, but for its small roll
    own = view_from(camera, elevation=None)
    np.testing.assert_allclose(own.project(np.array([0, 0, 1.0])), [0, 0, 1], atol=1e-6)  # along its own axis


@pytest.mark.parametrize("camera", [None, CAMERAS[1]])
@pytest.mark.parametrize("turn", [0.0, 35.0, 90.0])
def test_views_are_rotations(camera, turn):
    view = view_from(camera, turn=turn)
    np.testing.assert_allclose(view.plane @ view.plane.T, np.eye(3), atol=1e-6)
    axes = np.concatenate([view.ground, view.vertical[None]])
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-6)


def test_a_quarter_turn_shows_depth():
    view = view_from(None, elevation=0.0, turn=90)
    np.testing.assert_allclose(view.project(np.array([0, 0, 1.0])), [1, 0, 0], atol=1e-12)


def test_floor_lies_under_the_lowest_joint():
    poses = np.zeros((20, 3, 3))
    poses[:, 2, 1] = np.linspace(0.8, 1.0, 20)  # down, in the camera frame
    np.testing.assert_allclose(floor_heights(view_from(None), poses), -poses[:, 2, 1])
    smooth = floor_heights(view_from(None), poses, smooth=5)
    np.testing.assert_allclose(smooth[2:-2], -poses[2:-2, 2, 1])  # a straight line stays one
    assert len(floor_heights(view_from(None), poses[:2], smooth=50)) == 2
