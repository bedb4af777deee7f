"""Does a GPU compute what the CPU computes: networks, losses, gradients, samples, attention kernels, bf16, compiled.

On the GPU TF32 is off here, for matrix products and convolutions.
"""

from __future__ import annotations

import math
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu.record import Record, difference, gradient_difference, within
from benchmarks.work import MODES, Bench, Size
from common.datasets.h36m import load_h36m
from common.datasets.synthetic.h36m import write_h36m
from common.datasets.windows import Windows
from common.diffusion.lifter import DiffusionLifter
from common.engine.devices import Place
from common.engine.evaluate import Sampling, evaluate, sample
from common.engine.trainer import LifterRecipe, LifterTrainer
from common.geometry.skeleton import H36M_17
from common.models import REGISTRY, build
from common.models.blocks import choose_attention

CPU = torch.device("cpu")
SMALL = Size(frames=27, channels=64, depth=4, windows=4, hypotheses=3, batch=4, samples=3, steps=3)
TINY = Size(frames=5, channels=16, depth=2, windows=2, hypotheses=2, batch=2, samples=2, steps=2)
KERNELS = ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION")
FUSED = {torch.float32: 1e-4, torch.bfloat16: 3e-2}  # largest error of a fused kernel, over the largest value


def part(record: Record, device: torch.device, rehearse: bool) -> None:
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    size = TINY if rehearse else SMALL
    for name in REGISTRY:
        record.check(f"{name}: CPU against {device.type}", lambda name=name: against_cpu(name, size, device), 5)
    for name in REGISTRY:
        record.check(f"{name}: samples, same noise", lambda name=name: samples(name, size, device), 5)
    for tokens in (5, 17) if rehearse else (17, 27, 81, 243):
        for channels in (8, 64):
            for dtype in FUSED:
                title = f"attention kernels: {tokens} tokens, {channels} a head, {str(dtype)[6:]}"
                shape = (16 if rehearse else 4131 // tokens, 8, tokens, channels)  # a window of 243 frames
                record.check(title, lambda shape=shape, dtype=dtype: kernels(shape, dtype, device))
    for name in REGISTRY:
        record.check(f"{name}: fused attention against plain", lambda name=name: fused(name, size, device), 3)
    record.check("bf16 against fp32: MPJPE of a small trained model", lambda: bf16(device, rehearse), 25)
    for name in ("mixste",) if rehearse else ("mixste", "graphdiffu"):
        record.check(f"{name}: compiled against eager", lambda name=name: compiled(name, size, device, rehearse), 40)


def twins(name: str, size: Size, device: torch.device) -> tuple[Bench, Bench]:
    """The same model on the CPU and on the device; weights that start at zero are moved, so that they count."""
    cpu, other = Bench(name, size, CPU), Bench(name, size, device)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in cpu.network.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=generator))
    other.network.load_state_dict(cpu.network.state_dict())
    return cpu, other


def run(bench: Bench, lifter: DiffusionLifter) -> tuple[Tensor, Tensor]:
    """The network's estimates at H hypotheses, and the loss of a batch, whose gradients are left in the parameters."""
    generator = torch.Generator().manual_seed(2)
    batch = bench.windows.batch(range(bench.size.windows))
    shape = batch.positions_3d.shape
    many = torch.randn(shape[0], bench.size.hypotheses, *shape[1:], generator=generator).to(bench.device)
    noise = torch.randn(shape, generator=generator).to(bench.device)
    t = torch.randint(1000, (shape[0],), generator=generator)
    lifter.eval()  # no stochastic depth: its draws are a device's own
    with torch.no_grad():
        network = lifter.denoiser
        out = network(batch.keypoints_2d, many, t.to(bench.device), network.condition(batch))
    lifter.zero_grad(set_to_none=True)
    loss = lifter.training_loss(batch, t, noise) / batch.mask.sum()
    loss.backward()
    return out, loss


def compare(one: tuple[Bench, DiffusionLifter], two: tuple[Bench, DiffusionLifter]) -> dict:
    (out, loss), (other_out, other_loss) = run(*one), run(*two)
    gradient, worst = gradient_difference(one[1], two[1])
    facts = {"forward": difference(out, other_out), "loss": difference(loss, other_loss)}
    return facts | {"gradient": gradient, "worst_parameter": worst}


def against_cpu(name: str, size: Size, device: torch.device) -> dict:
    cpu, other = twins(name, size, device)
    facts = compare((other, other.lifter(MODES["fp32"], False)), (cpu, cpu.lifter(MODES["fp32"], False)))
    return within(facts, forward=1e-4, loss=1e-4, gradient=1e-3)


def samples(name: str, size: Size, device: torch.device) -> dict:
    """Largest distance of a joint, mm: the noise is drawn on the CPU for both."""
    poses = []
    for bench in twins(name, size, device):
        lifter, batch = bench.lifter(MODES["fp32"], False), bench.windows.batch(range(bench.size.windows))
        poses.append(sample(lifter, bench.windows, batch, Sampling(size.samples, size.steps), bench.place).cpu())
    return within({"largest_mm": 1000 * float((poses[0] - poses[1]).norm(dim=-1).max())}, largest_mm=0.05)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1) @ v


def kernels(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> dict:
    """Every fused kernel and plain products against plain products in float64: output and gradients."""
    generator = torch.Generator().manual_seed(3)
    inputs = [torch.randn(shape, generator=generator).to(device, dtype) for _ in range(4)]

    def all_of(function, dtype):
        q, k, v = (x.detach().to(dtype).requires_grad_() for x in inputs[:3])
        out = function(q, k, v)
        return [out, *torch.autograd.grad(out, (q, k, v), inputs[3].to(dtype))]

    truth = all_of(attend, torch.float64)
    errors = {"plain": max(map(difference, all_of(attend, dtype), truth))}
    absent = []
    for name in KERNELS:
        backend = getattr(SDPBackend, name)
        try:
            with warnings.catch_warnings(), sdpa_kernel(backend):
                warnings.simplefilter("ignore")  # PyTorch says at length why a kernel is not for this case
                got = all_of(torch.nn.functional.scaled_dot_product_attention, dtype)
        except RuntimeError as error:
            absent.append(f"{name}: {str(error).splitlines()[0]}")
            continue
        errors[name] = max(map(difference, got, truth))
    facts = {"errors": errors, "absent": absent, "limit": FUSED[dtype]}
    return facts | {"passed": all(e <= FUSED[dtype] for e in errors.values())}


def fused(name: str, size: Size, device: torch.device) -> dict:
    """The network with every attention fused against every one plain, fp32."""
    sides = []
    for flag in (True, False):
        _, bench = twins(name, size, device)
        lifter = bench.lifter(MODES["fp32"], False)
        for module in lifter.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = flag
        sides.append((bench, lifter))
    return within(compare(*sides), forward=1e-4, loss=1e-4, gradient=1e-3)


def trained(device: torch.device, rehearse: bool) -> tuple[DiffusionLifter, Windows, dict]:
    """A small MixSTE trained on SYNTHETIC motion for some seconds, held-out windows, and how it went."""
    frames, channels, depth, steps = (5, 32, 1, 60) if rehearse else (27, 64, 4, 500)
    with tempfile.TemporaryDirectory() as folder:
        write_h36m(Path(folder), seconds=0.2 if rehearse else 0.6, progress=False)
        train, test = (
            load_h36m(Path(folder), "cpn_ft_h36m_dbb", subjects) for subjects in (["S1", "S5", "S6"], ["S9"])
        )
    windows = Windows(train, H36M_17, frames, device=device)
    torch.manual_seed(0)
    sizes = {"frames": frames, "joints": 17, "channels": channels, "depth": depth}
    lifter = DiffusionLifter(build("mixste", **sizes), H36M_17).to(device)
    choose_attention(lifter, device, frames, 17)
    recipe = LifterRecipe(epochs=1000, batch=32, learning_rate=1e-3, max_steps=steps)
    trainer = LifterTrainer(lifter, windows, recipe, Place(device))
    while not trainer.spent():
        trainer.run_epoch(dict)
    facts = {"steps": trainer.steps_done, "train_mm": trainer.history[-1]["train_mm"], "training_s": trainer.seconds}
    return lifter, Windows(test[: 8 if rehearse else 40], H36M_17, frames, device=device), facts


def bf16(device: torch.device, rehearse: bool) -> dict:
    """P_Agg of a trained model sampled in fp32 and in bf16, mm."""
    lifter, windows, facts = trained(device, rehearse)
    sampling, everything = Sampling(3, 3, batch=64), np.ones(len(windows.clips), bool)
    for name, amp in (("fp32", False), ("bf16", True)):
        errors = evaluate(lifter, windows, replace(sampling, amp=amp), Place(device), title=name)
        facts[f"{name}_mm"] = float(errors.mean("protocol_1", everything)[-1, errors.columns.index("P_Agg")])
    facts["difference_mm"] = abs(facts["fp32_mm"] - facts["bf16_mm"])
    return within(facts, difference_mm=1.0 if rehearse else 0.1)  # in the rehearsal the model is hardly trained


def compiled(name: str, size: Size, device: torch.device, rehearse: bool) -> dict:
    """The compiled network against the eager one, fp32. The rehearsal traces and generates no code: that takes long."""
    torch.compiler.reset()  # no recompilation limit is reached over several models
    sides = []
    compiler = "eager" if rehearse else "inductor"
    for mode in ("compiled", "fp32"):
        _, bench = twins(name, size, device)
        bench.compiler = compiler
        sides.append((bench, bench.lifter(MODES[mode], False)))
    return within(compare(*sides) | {"compiler": compiler}, forward=1e-4, loss=1e-4, gradient=1e-3)
