"""Shared by all tests: the reference vectors, and one thread, so that results do not depend on the machine's cores."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.adapting import clips, settings, source_content, source_lifter, target_clips  # noqa: F401 (fixtures)
from tests.people import walk  # noqa: F401
from tests.stereo_files import stereo  # noqa: F401

VECTORS = Path(__file__).parent / "vectors"
torch.set_num_threads(1)


@pytest.fixture
def vectors():
    """Open a reference file of tests/vectors as a dict of torch tensors."""

    def load(name: str) -> dict[str, torch.Tensor]:
        with np.load(VECTORS / name, allow_pickle=False) as archive:
            return {key: torch.from_numpy(archive[key]) for key in archive.files if archive[key].dtype.kind in "fiub"}

    return load
