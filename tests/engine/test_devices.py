import platform
import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from common.diffusion.lifter import DiffusionLifter
from common.engine import devices
from common.errors import UserError
from common.geometry.skeleton import H36M_17
from common.models import build


class NoDoubles(TorchDispatchMode):
    """Fails on any float64 tensor on the meta device, which stands in for one that has no float64 (MPS)."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (list, tuple)) else [out]:
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "meta":
                assert tensor.dtype != torch.float64, f"{function} made a float64 tensor on the device"
        return out


def test_no_float64_tensor_reaches_the_device():
    """Training loss, sampling, aggregation and both protocols on a device without float64."""
    from types import SimpleNamespace

    from common.engine.evaluate import Sampling, evidence_of, score
    from common.scoring.hypotheses import AGGREGATIONS

    device = torch.device("meta")
    lifter = DiffusionLifter(build("mixste", frames=3, channels=16, depth=1), H36M_17).to(device)
    batch = SimpleNamespace(
        keypoints_2d=torch.empty(2, 3, 17, 2, device=device),
        target_2d=torch.empty(2, 3, 17, 2, device=device),
        positions_3d=torch.empty(2, 3, 17, 3, device=device),
        root=torch.empty(2, 3, 1, 3, device=device),
        intrinsics=torch.empty(2, 9, device=device),
        mask=torch.ones(2, 3, dtype=torch.bool, device=device),
    )
    with NoDoubles():
        loss = lifter.training_loss(batch, torch.tensor([1, 500]), torch.empty(2, 3, 17, 3, device=device))
        loss.backward()
        noise = lambda h: lambda k: torch.empty(2, len(h), 3, 17, 3, device=device)  # noqa: E731
        with torch.no_grad():
            poses = lifter.sample(batch, 2, 3, noise)
            evidence = evidence_of(batch)
            columns = {name: a(poses, evidence) for name, a in AGGREGATIONS.items()}
            score(poses, columns, evidence, Sampling(2, 3, protocol_2=True))


def test_the_guard_can_fail():
    with pytest.raises(AssertionError, match="float64"), NoDoubles():
        torch.zeros(3, device="meta").double()


def test_gpus_that_are_not_there_are_told_in_one_line(monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.wanted_gpus("0,1", lines.append) == [0, 1] and not lines
    assert devices.wanted_gpus("1,5", lines.append) == [1] and len(lines) == 1
    assert devices.wanted_gpus("-1", lines.append) == [] and "CPU" in lines[-1]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.wanted_gpus("0", lines.append) == [] and "CPU" in lines[-1]
    with pytest.raises(UserError):
        devices.wanted_gpus("a", lines.append)


def test_mps_that_is_not_there_is_an_error():
    if torch.backends.mps.is_available():
        pytest.skip("this machine has MPS")
    with pytest.raises(UserError, match="mps"):
        devices.join("mps", print)


FAULTS = """
import resource, torch
from common.engine.devices import keep_memory
torch.set_num_threads(1)
if {keep}:
    keep_memory()
def work():
    torch.ones(16, 1024, 1024)  # 64 MB: more than glibc ever keeps by itself
for _ in range(4):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the call")
def test_freed_memory_is_kept():
    """Work that is repeated meets few new pages once its memory is there; without the call it meets them every time."""

    def faults(keep):
        done = subprocess.run([sys.executable, "-c", FAULTS.format(keep=keep)], capture_output=True, text=True)
        return int(done.stdout)

    assert faults(True) < 0.2 * faults(False)
