"""Shared by all tests: the reference vectors, and one thread, so that results do not depend on the machine's cores."""

from pathlib import Path

import numpy as np
import pytest
import torch

VECTORS = Path(__file__).parent / "vectors"
torch.set_num_threads(1)


@pytest.fixture
def vectors():
    """Open a reference file of tests/vectors as a dict of torch tensors."""

    def load(name: str) -> dict[str, torch.Tensor]:
        with np.load(VECTORS / name, allow_pickle=False) as archive:
            return {key: torch.from_numpy(archive[key]) for key in archive.files if archive[key].dtype.kind in "fiub"}

    return load
