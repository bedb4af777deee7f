"""Shared by all tests: the reference vectors, no network, and one thread, so that no result depends on the machine."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.adapting import clips, settings, source_content, source_lifter, target_clips  # noqa: F401 (fixtures)
from tests.network import Guard
from tests.people import walk  # noqa: F401
from tests.stereo_files import stereo  # noqa: F401

VECTORS = Path(__file__).parent / "vectors"
GUARD = Guard()
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_network():
    """A test fails that opens a connection, also where the program hides that it was refused."""
    GUARD.on = True
    yield GUARD
    GUARD.on = False
    seen, GUARD.seen = GUARD.seen, []
    assert not seen, seen


@pytest.fixture
def own_sockets(no_network):
    """For tests that talk to a server of their own on this machine."""
    no_network.on = False


@pytest.fixture
def vectors():
    """Open a reference file of tests/vectors as a dict of torch tensors."""

    def load(name: str) -> dict[str, torch.Tensor]:
        with np.load(VECTORS / name, allow_pickle=False) as archive:
            return {key: torch.from_numpy(archive[key]) for key in archive.files if archive[key].dtype.kind in "fiub"}

    return load
