"""Does a run on a GPU go as on the CPU: resume, the command line, several processes, memory that runs out."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from benchmarks.gpu.memory import halved, planned
from benchmarks.gpu.numerics import SMALL, TINY, twins
from benchmarks.gpu.record import Record, Skip, within
from benchmarks.work import MODES, Size
from common.datasets.synthetic.h36m import write_h36m
from common.engine.devices import Place
from common.engine.trainer import LifterRecipe, LifterTrainer
from common.models import REGISTRY

ROOT = Path(__file__).parents[2]
STEPS = 2  # an epoch


def part(record: Record, device: torch.device, rehearse: bool) -> None:
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    size = TINY if rehearse else SMALL
    for name in REGISTRY:
        record.check(f"{name}: resume, to the bit", lambda name=name: resume(name, size, device), 5)
    record.check("hypotheses: a chunk planned from free memory", lambda: planned(device), 8)
    record.check("hypotheses: memory runs out, the chunk is halved", lambda: halved(device, rehearse), 8)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        write_h36m(data / "data", seconds=0.3, progress=False)
        record.check("-gpu 0: train and evaluate", lambda: command_line(data, record.left), 25)
        record.check("-gpu 0,1 against -gpu 0", lambda: two_cards(data, record.left), 25)
        record.check("one process under DistributedDataParallel against none", lambda: one_process(size, device), 10)
        more = ["--amp"] if rehearse else ["--amp", "--compile"]  # generating code takes a CPU too long
        record.check(f"-gpu 0 {' '.join(more)}: train and evaluate", lambda: quick(data, more, record.left), 40)


def resume(name: str, size: Size, device: torch.device) -> dict:
    """Two epochs in one go against one, a checkpoint, and one more: weights and optimiser, bit for bit.

    Where they differ, it is told whether two runs in one go differ too (a kernel that adds in no fixed order), and
    whether PyTorch's deterministic algorithms mend it; those then count.
    """

    def check() -> bool:
        return equal(epochs(name, size, device, None), epochs(name, size, device, 1))

    facts = {"as_programs_run": check()}
    facts["passed"] = facts["as_programs_run"]
    if not facts["passed"]:
        facts["repeats_itself"] = equal(epochs(name, size, device, None), epochs(name, size, device, None))
        try:
            with deterministic():
                facts["deterministic_algorithms"] = facts["passed"] = check()
        except RuntimeError as error:  # names the operation that has no deterministic kernel
            facts["deterministic_algorithms"] = str(error).splitlines()[0]
    return facts


def epochs(name: str, size: Size, device: torch.device, stop: int | None) -> dict:
    """The state after two short epochs; with `stop`, everything is made anew from a file after so many."""
    trainer = fresh(name, size, device)
    while trainer.epoch < 2:
        trainer.run_epoch(dict)
        if trainer.epoch == stop:
            file = io.BytesIO()
            torch.save(state(trainer), file)
            file.seek(0)
            content = torch.load(file, map_location="cpu", weights_only=True)
            trainer = fresh(name, size, device)
            trainer.lifter.denoiser.load_state_dict(content["weights"])
            trainer.restore(content)
    return state(trainer)


def fresh(name: str, size: Size, device: torch.device) -> LifterTrainer:
    _, bench = twins(name, size, device)
    recipe = LifterRecipe(epochs=2, batch=max(1, size.batch // 2), learning_rate=1e-3, limit=STEPS)
    return LifterTrainer(bench.lifter(MODES["fp32"], True), bench.windows, recipe, bench.place)


def state(trainer: LifterTrainer) -> dict:
    return {"weights": trainer.lifter.denoiser.state_dict(), **trainer.state()}


def equal(one: object, two: object) -> bool:
    """Whether two states are the same, bit for bit; how long an epoch took does not count."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        timing = ("seconds", "minutes")
        return one.keys() == two.keys() and all(equal(one[k], two[k]) for k in one if k not in timing)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(equal, one, two))
    return one == two


@contextmanager
def deterministic():
    """PyTorch's deterministic algorithms; cuBLAS needs CUBLAS_WORKSPACE_CONFIG too, which the parent sets."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def program(arguments: list[str], seconds: float) -> None:
    """Run main.py; a RuntimeError tells how it ended."""
    command = [sys.executable, str(ROOT / "main.py"), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=max(seconds, 1))
    if done.returncode:
        raise RuntimeError(f"main.py {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")


def flags(data: Path, folder: Path, gpu: str) -> list[str]:
    small = "--model mixste --nolog -f 5 -cs 16 -dep 1 -b 160 -e 1 -lr 1e-3 -str S1 -ste S9 -a Walking,Phoning"
    return [*small.split(), "--data-root", str(data / "data"), "-c", str(folder), "-gpu", gpu]


def mpjpe_of(folder: Path) -> float:
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return report["results"][-1]["protocol_1"]["frame_wise"]["P_Agg"]


def command_line(data: Path, seconds: float) -> dict:
    """Trained and evaluated with -gpu 0, then the same file evaluated on the CPU: MPJPE in mm."""
    folder = data / "run"
    program([*flags(data, folder, "0"), "-num_proposals", "2", "-sampling_timesteps", "2", "--no-amp"], seconds)
    there = mpjpe_of(folder)
    sampling = ["-num_proposals", "2", "-sampling_timesteps", "2", "--evaluate", "best_epoch_1_1.bin"]
    program([*flags(data, folder, "-1"), *sampling], seconds)
    here = mpjpe_of(folder)
    return within({"gpu_mm": there, "cpu_mm": here, "difference_mm": abs(here - there)}, difference_mm=0.01)


def quick(data: Path, more: list[str], seconds: float) -> dict:
    folder = data / "quick"
    program([*flags(data, folder, "0"), *more], seconds)
    return {"mm": mpjpe_of(folder), "passed": mpjpe_of(folder) < 1000}


def two_cards(data: Path, seconds: float) -> dict:
    """The weights after an epoch on two cards against one: gradients are summed in another order, nothing else."""
    if torch.cuda.device_count() < 2:
        raise Skip(f"needs two GPUs; there are {torch.cuda.device_count()}")
    weights = []
    for gpu in ("0", "0,1"):
        folder = data / f"cards{len(gpu)}"
        program([*flags(data, folder, gpu), "--no-eval"], seconds)
        weights.append(torch.load(folder / "last.bin", map_location="cpu", weights_only=True)["weights"])
    apart = max(float((weights[0][k].double() - weights[1][k].double()).abs().max()) for k in weights[0])
    return within({"largest_weight_difference": apart}, largest_weight_difference=1e-3)


def one_process(size: Size, device: torch.device) -> dict:
    """One process of NCCL (gloo in the rehearsal) under DistributedDataParallel against none, deterministic kernels."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    with tempfile.TemporaryDirectory() as folder, deterministic():
        dist.init_process_group(backend, init_method=f"file://{folder}/meet", rank=0, world_size=1)
        try:
            states = []
            for wrapped in (False, True):
                trainer = fresh("mixste", size, device)
                if wrapped:
                    ids = [device.index or 0] if device.type == "cuda" else None
                    trainer.objective = DistributedDataParallel(trainer.objective, device_ids=ids)
                trainer.run_epoch(dict)
                states.append(state(trainer))
            total = Place(device, 0, 2).sum(torch.ones(1, device=device))  # an all-reduce, as between processes
            dist.barrier()
        finally:
            dist.destroy_process_group()
    return {"backend": backend, "passed": equal(*states) and float(total) == 1.0}
