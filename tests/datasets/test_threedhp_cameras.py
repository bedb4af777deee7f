"""The 3DHP test cameras against the calibration's figures and by reprojection."""

import numpy as np
import pytest
import torch

from common.datasets.threedhp_cameras import pixel_intrinsics, threedhp_camera
from common.datasets.threedhp_layout import SKELETON, TEST_FRAMES, TEST_SIZES, TRAIN_CAMERAS, TRAIN_SEQUENCES
from common.errors import UserError
from common.geometry.camera import pixels_to_screen, project

# Least-squares fits of annot3 onto annot2 (scoring reference, section 6): fx, fy, cx, cy.
FITS = {"TS5": (1683.37, 1672.03, 939.94, 560.19), "TS6": (1683.90, 1672.66, 939.85, 560.11)}


def test_published_intrinsics_are_those_of_the_published_code():
    for name in ("TS1", "TS2", "TS3", "TS4"):
        assert pixel_intrinsics(name, published=True) == pytest.approx(
            (1500.1722, 1500.1722, 1017.3873, 1043.032), 1e-6
        )
    for name in ("TS5", "TS6"):
        assert pixel_intrinsics(name, published=True) == pytest.approx(
            (1683.9834, 1683.9834, 939.85754, 560.14075), 1e-6
        )


def test_correction_is_the_pixel_aspect_of_ts5_and_ts6():
    for name in ("TS5", "TS6"):
        fx, fy, cx, cy = pixel_intrinsics(name)
        assert fy == pytest.approx(1672.594, abs=1e-3) and fy == fx * 0.993236423
        assert (fx, fx, cx, cy) == pixel_intrinsics(name, published=True)
    for name in ("TS1", "TS2", "TS3", "TS4"):
        assert pixel_intrinsics(name) == pixel_intrinsics(name, published=True)


def people(rng, frames=200):
    """People 1.7 m tall, 3.1 to 5.7 m away and across TS6's valid range of the image: (frames, 17, 3) metres."""
    depth = rng.uniform(3.1, 5.7, (frames, 1))
    centre = np.stack([rng.uniform(-0.45, 0.1, (frames, 1)) * depth, 0 * depth, depth], -1)
    return centre + rng.uniform([-0.4, -0.85, -0.3], [0.4, 0.85, 0.3], (frames, 17, 3))


@pytest.mark.parametrize("name", FITS)
def test_reprojection_onto_fitted_cameras(name):
    """What the fitted camera sees is met to 0.35 px by the corrected camera, missed by over 1 px by the published."""
    points = people(np.random.default_rng(0))
    fx, fy, cx, cy = FITS[name]
    seen = points[..., :2] / points[..., 2:] * [fx, fy] + [cx, cy]
    error = {}
    for published in (False, True):
        pixels = threedhp_camera(name, published).project(torch.from_numpy(points)).numpy()
        error[published] = np.linalg.norm(pixels - seen, axis=-1).mean()
    assert error[False] < 0.35 and error[True] > 1.0


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("name", TEST_FRAMES)
def test_common_projection_equals_the_pixel_formula(name, published):
    points = people(np.random.default_rng(1))
    camera = threedhp_camera(name, published)
    assert (camera.width, camera.height) == TEST_SIZES[name]
    fx, fy, cx, cy = pixel_intrinsics(name, published)
    pixels = points[..., :2] / points[..., 2:] * [fx, fy] + [cx, cy]
    torch.testing.assert_close(camera.project(torch.from_numpy(points)), torch.from_numpy(pixels))
    screen = project(torch.from_numpy(points), torch.tensor(camera.intrinsics, dtype=torch.float64))
    expected = pixels_to_screen(torch.from_numpy(pixels), camera.width, camera.height)
    torch.testing.assert_close(screen, expected)


def test_layout_facts():
    assert sum(frames for frames, _ in TRAIN_SEQUENCES.values()) == 131592
    fast = {name for name, (_, fps) in TRAIN_SEQUENCES.items() if fps == 50}
    assert fast == {"S1 Seq2", "S3 Seq1", "S3 Seq2", "S5 Seq1", "S5 Seq2"}
    assert len(TRAIN_SEQUENCES) == 16 and len(TRAIN_CAMERAS) == 8 and SKELETON.root == 14
    assert SKELETON.left == (5, 6, 7, 11, 12, 13) and SKELETON.right == (2, 3, 4, 8, 9, 10)


def test_unknown_sequence():
    with pytest.raises(UserError, match="TS7"):
        threedhp_camera("TS7")
