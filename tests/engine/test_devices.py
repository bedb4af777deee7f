import platform
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from common.diffusion.lifter import DiffusionLifter
from common.engine import devices
from common.errors import UserError
from common.geometry.skeleton import H36M_17
from common.models import build
from common.settings.lifting import RunSettings


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

    from common.engine.evaluate import Sampling, evidence_of, frame_errors
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
        rows=torch.arange(2),
    )
    clip = SimpleNamespace(fps=50.0)
    windows = SimpleNamespace(clips=[clip], clip_of=np.zeros(2, int), skeleton=H36M_17)
    with NoDoubles():
        loss = lifter.training_loss(batch, torch.tensor([1, 500]), torch.empty(2, 3, 17, 3, device=device))
        loss.backward()
        noise = lambda h: lambda k: torch.empty(2, len(h), 3, 17, 3, device=device)  # noqa: E731
        with torch.no_grad():
            poses = lifter.sample(batch, 2, 3, noise)
            evidence = evidence_of(batch, windows)
            columns = {name: a(poses, evidence) for name, a in AGGREGATIONS.items()}
            frame_errors(poses, columns, evidence, H36M_17, Sampling(2, 3, metrics=("mpjpe", "p_mpjpe")))


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


@pytest.fixture
def group():
    """A process group of this process alone, through which the calls of several go."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    devices.leave()
    assert not torch.distributed.is_initialized()


def test_a_place_among_several_sums_waits_and_leads(group):
    first = devices.Place(torch.device("cpu"), 0, 2)
    assert first.first and float(first.sum(torch.tensor(3.0))) == 3
    first.wait()
    assert first.lead(lambda: "done") == "done"

    def fails():
        raise UserError("no such folder")

    with pytest.raises(UserError, match="no such folder"):
        first.lead(fails)


def test_the_others_wait_for_the_first_and_end_with_it(monkeypatch):
    second = devices.Place(torch.device("cpu"), 1, 2)
    for errors, ends in ((0.0, False), (1.0, True)):
        monkeypatch.setattr(torch.distributed, "all_reduce", lambda value, errors=errors: value.add_(errors))
        if ends:
            with pytest.raises(SystemExit) as left:
                second.lead(lambda: pytest.fail("only the first process works"))
            assert left.value.code == 2
        else:
            assert second.lead(lambda: pytest.fail("only the first process works")) is None


def test_a_place_alone_needs_no_group():
    alone = devices.Place(torch.device("cpu"))
    assert alone.first and float(alone.sum(torch.tensor(2.0))) == 2 and alone.lead(lambda: 5) == 5
    alone.wait()
    devices.leave()


def launched(monkeypatch, gpus: int, **variables) -> list[int]:
    """Pretend that a launcher set the variables on a machine with GPUs; the numbers of the GPUs that are chosen."""
    chosen: list[int] = []
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: chosen.append(device.index))
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda backend: chosen.append(backend))
    return chosen


def test_a_launcher_of_several_processes_gives_each_its_gpu(monkeypatch):
    """Without -gpu (its default is 0), `torchrun --nproc-per-node 2` means two GPUs."""
    chosen = launched(monkeypatch, 4, RANK=1, WORLD_SIZE=2, LOCAL_RANK=1, LOCAL_WORLD_SIZE=2)
    place = devices.join("0", pytest.fail)
    assert (place.device, place.rank, place.world, place.first) == (torch.device("cuda", 1), 1, 2, False)
    assert chosen == [1, "nccl"]
    assert devices.under_launcher()
    assert devices.join("2,3", pytest.fail).device == torch.device("cuda", 3)


def test_more_processes_than_gpus_is_an_error(monkeypatch):
    launched(monkeypatch, 2, RANK=0, WORLD_SIZE=3, LOCAL_RANK=0, LOCAL_WORLD_SIZE=3)
    with pytest.raises(UserError, match="3 processes for 2"):
        devices.join("0,1", print)


def test_processes_on_the_cpu_join_by_gloo_and_only_the_first_speaks(monkeypatch):
    chosen = launched(monkeypatch, 0, RANK=1, WORLD_SIZE=2)
    assert devices.join("0", pytest.fail) == devices.Place(torch.device("cpu"), 1, 2)
    assert chosen == ["gloo"]
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    lines: list[str] = []
    assert devices.join("0", lines.append) == devices.Place(torch.device("cpu")) and len(lines) == 1
    assert not devices.under_launcher()


def test_one_process_a_gpu_and_the_worst_exit_code(monkeypatch):
    """`run_on` starts its processes with a launcher's variables; a child killed by a signal counts too."""
    started = []

    class Process:
        def __init__(self, target, args):
            self.target, self.args, self.exitcode = target, args, None

        def start(self):
            started.append(self.args)

        def join(self):
            self.exitcode = {0: 0, 1: -9, 2: None}[self.args[0]]

    from types import SimpleNamespace

    monkeypatch.setattr(torch.multiprocessing, "get_context", lambda kind: SimpleNamespace(Process=Process))
    assert devices.run_on([0, 1, 2], max, "a") == 9
    assert [args[:2] for args in started] == [(0, 3), (1, 3), (2, 3)]
    assert len({args[2] for args in started}) == 1 and started[0][3:] == (max, ("a",))


def test_a_started_process_finds_the_others(monkeypatch):
    import os

    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(SystemExit) as left:
        devices._start(1, 2, 4711, lambda code: code, (7,))
    assert left.value.code == 7
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    assert [os.environ[name] for name in names] == ["1", "1", "2", "2", "127.0.0.1", "4711"]


def test_autocast_only_where_asked_for():
    matrix = torch.ones(2, 2)
    for amp, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        with devices.autocast(torch.device("cpu"), amp):
            assert (matrix @ matrix).dtype == dtype


def test_a_c_library_without_the_call_is_left_alone(monkeypatch):
    def missing(name):
        raise OSError

    monkeypatch.setattr(devices.ctypes, "CDLL", missing)
    devices.keep_memory()


def test_evaluation_on_cuda_is_in_bf16_unless_told_otherwise():
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    for run, published, device, expected in (
        (RunSettings(), False, cuda, True),
        (RunSettings(), False, cpu, False),
        (RunSettings(), True, cuda, False),
        (RunSettings(no_amp=True), False, cuda, False),
        (RunSettings(amp=True), True, cpu, True),
    ):
        assert devices.amp_of(run, published, device) is expected


def test_a_compiler_that_is_missing_is_told_in_one_line(monkeypatch):
    def no_compiler(function):
        def call(x):
            raise RuntimeError("InvalidCxxCompiler: no C++ compiler found\nlong explanation")

        return call

    network = build("mixste", frames=3, channels=16, depth=1)
    monkeypatch.setattr(torch, "compile", no_compiler)
    with pytest.raises(
        UserError, match="--compile: PyTorch cannot compile here .*no C\\+\\+ compiler found\\); leave it out"
    ):
        devices.compile_network(network, torch.device("cpu"))
    assert network._compiled_call_impl is None
    monkeypatch.setattr(torch, "compile", lambda function: function)
    devices.compile_network(network, torch.device("cpu"))
    assert network._compiled_call_impl is not None


@pytest.mark.parametrize(("device", "wanted", "within"), [("cuda", True, "high"), ("cuda", False, "highest"),
                                                          ("cpu", True, "highest")])  # fmt: skip
def test_products_are_fast_within_a_training_on_cuda_alone(device, wanted, within):
    with pytest.raises(KeyError), devices.fast_products(torch.device(device), wanted):
        assert torch.get_float32_matmul_precision() == within
        raise KeyError
    assert torch.get_float32_matmul_precision() == "highest"
