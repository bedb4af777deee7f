"""A checkpoint for other programs: one denoising step as ONNX, or weights as safetensors with a JSON card.

    python -m common.export checkpoint/model/last.bin --onnx denoiser.onnx
    python -m common.export checkpoint/model/last.bin --safetensors model.safetensors

docs/onnx.md shows the sampler around the exported step in NumPy.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import logging
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from common.diffusion.lifter import Diffusion, DiffusionLifter
from common.diffusion.velocity import read_pose
from common.door import guarded
from common.engine.card_check import check_content
from common.errors import UserError
from common.files.reading import load_safetensors, safetensors_card, understanding
from common.files.writing import save_json, try_writing, whole_file
from common.models.condition import PLAIN_CAMERA, as_batch

TOLERANCE = 1e-4  # of onnxruntime's answer against PyTorch's, metres
NEEDS = ("onnx", "onnxruntime", "onnxscript")


class DenoisingStep(nn.Module):
    """x_0 = step(x_2d, x_t, t) with the condition of one action held fixed, and with intrinsics where the network reads
    them.

    x_2d (B, F, J, 2), screen units; x_t (B, H, F, J, 3), in the network's unit; t (B,), integers; intrinsics (B, 9),
    screen units.
    """

    reading: Tensor | None

    def __init__(self, denoiser: nn.Module, action: str | None = None, reading: Tensor | None = None):
        """reading: the diffusion's, where the network says velocities."""
        super().__init__()
        self.denoiser = denoiser.eval()
        self.register_buffer("reading", None if reading is None else reading.float())
        self.held = _condition(denoiser, action)

    @property
    def reads_camera(self) -> bool:
        return hasattr(self.held, "intrinsics")

    def forward(self, x_2d: Tensor, x_t: Tensor, t: Tensor, intrinsics: Tensor | None = None) -> Tensor:
        condition = self.held
        if self.reads_camera:
            condition = dataclasses.replace(condition, intrinsics=intrinsics)
        if condition is not None and hasattr(condition, "index"):  # every window has the one action
            condition = dataclasses.replace(condition, index=torch.zeros_like(t))
        if self.reading is None:
            return self.denoiser(x_2d, x_t, t, condition)
        return read_pose(self.denoiser, self.reading, x_2d, x_t, t, condition)


def _condition(denoiser: nn.Module, action: str | None):
    """What the denoiser makes of one window of an action; None is the neutral prompt."""
    actions = list(getattr(denoiser, "actions", []))
    if action is not None and action not in actions:
        raise UserError(f"--action {action}: the network knows {', '.join(actions) or 'no actions'}")
    row = torch.tensor([-1 if action is None else actions.index(action)])
    with torch.no_grad():
        return denoiser.condition(as_batch(row, actions))


def export_onnx(
    denoiser: nn.Module,
    path: Path | str,
    frames: int,
    joints: int,
    *,
    noisy_frames: int | None = None,
    action: str | None = None,
    reading: Tensor | None = None,
    metadata: dict | None = None,
) -> float:
    """Write one denoising step as ONNX, batch and hypotheses dynamic; returns the largest difference found, metres.

    noisy_frames: frames of x_t where they differ from those of x_2d (networks that answer for the middle frame);
    reading: `Diffusion.reading`, so that a network of velocities is exported as a step that gives x_0, too;
    metadata goes into the file as JSON under 'lifter'. The file is compared with PyTorch by onnxruntime at several
    sizes. Raises UserError where the extra packages are missing, RuntimeError where the answers differ.
    """
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"--onnx needs {', '.join(missing)}: pip install {' '.join(missing)}")
    import onnx

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    step = DenoisingStep(denoiser.cpu().float(), action, reading).eval()
    names = ["x_2d", "x_t", "t", "intrinsics"][: 4 if step.reads_camera else 3]
    example = _inputs(2, 3, frames, noisy_frames or frames, joints)[: len(names)]
    batch, hypotheses = torch.export.Dim("batch", min=1, max=65536), torch.export.Dim("hypotheses", min=1, max=65536)
    shapes = {"x_2d": {0: batch}, "x_t": {0: batch, 1: hypotheses}, "t": {0: batch}, "intrinsics": {0: batch}}
    shapes = {name: shapes[name] for name in names}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter warns of its own future
        program = torch.onnx.export(
            step, example, dynamo=True, dynamic_shapes=shapes, opset_version=18, verbose=False,
            input_names=names, output_names=["x_0"],
        )  # fmt: skip
    model = program.model_proto
    entry = model.metadata_props.add()
    entry.key, entry.value = "lifter", json.dumps(metadata or {})
    with whole_file(path) as temporary:
        onnx.save(model, str(temporary))
        difference = _compare(step, temporary, frames, noisy_frames or frames, joints)
        if not difference <= TOLERANCE:
            raise RuntimeError(f"onnxruntime's answer differs from PyTorch's by {difference:.2g} m")
    return difference


def _inputs(batch: int, hypotheses: int, frames: int, noisy: int, joints: int) -> tuple[Tensor, ...]:
    """x_2d, x_t, t and intrinsics, drawn at random."""
    g = torch.Generator().manual_seed(batch * 100 + hypotheses)
    x_2d = torch.rand(batch, frames, joints, 2, generator=g) * 2 - 1
    x_t = torch.randn(batch, hypotheses, noisy, joints, 3, generator=g)
    t = torch.randint(0, 1000, (batch,), generator=g)
    spread = torch.tensor([0.3, 0.3, 0.05, 0.05, 0.05, 0.03, 0.0, 0.001, 0.001])
    return x_2d, x_t, t, torch.tensor(PLAIN_CAMERA) + spread * torch.randn(batch, 9, generator=g)


def _compare(step: nn.Module, path: Path, frames: int, noisy: int, joints: int) -> float:
    """The largest difference between onnxruntime and PyTorch over batches and hypotheses that were not the example."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch, hypotheses in ((1, 1), (2, 3), (3, 1), (1, 4)):
        inputs = _inputs(batch, hypotheses, frames, noisy, joints)[: 4 if step.reads_camera else 3]
        with torch.no_grad():
            expected = step(*inputs).numpy()
        names = [i.name for i in session.get_inputs()]
        named = dict(zip(names, (x.numpy() for x in inputs), strict=True))
        worst = max(worst, float(np.abs(session.run(None, named)[0] - expected).max()))
    return worst


def lifter_metadata(lifter: DiffusionLifter, card: dict) -> dict:
    """What a sampler around the exported step must know, as plain numbers."""
    d: Diffusion = lifter.diffusion
    return {
        "abar": d.abar.tolist(),
        "eta": d.eta,
        "scale": d.scale,
        "unit": None if math.isnan(d.unit) else d.unit,  # published Diff3DHPE files do not say theirs
        "limit": d.limit,
        "clamp_input": d.clamp_input,
        "mirror": lifter.skeleton.mirror,
        "joints": list(lifter.skeleton.joints),
        "root": lifter.skeleton.root,
        "step": d.step.__name__,
        "mirror_apart": d.mirror_apart,
        "card": card_of(card),
    }


def card_of(card: dict) -> dict:
    """A checkpoint's card as plain JSON."""
    return json.loads(json.dumps(card, default=str))


def write_safetensors(path: Path | str, weights: dict[str, Tensor], card: dict) -> Path:
    """Write weights as safetensors, and the card with their hash beside them as JSON. Returns the card's path."""
    if importlib.util.find_spec("safetensors") is None:
        raise UserError("--safetensors needs safetensors: pip install safetensors")
    from safetensors.torch import save_file

    from common.engine.checkpoint import file_hash

    path = Path(path)
    with whole_file(path) as temporary:
        plain = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
        save_file(plain, str(temporary), metadata={"card": json.dumps(card_of(card))})
    beside = path.with_suffix(".json")
    content = card_of(card) | {"weights": path.name, "hash": file_hash(path)}
    return save_json(beside, content)


def read_safetensors(path: Path | str) -> dict:
    """Read what `write_safetensors` wrote as a checkpoint's content: {'card', 'weights'}."""
    weights, metadata = load_safetensors(path, "checkpoint in safetensors form")
    if "card" not in metadata:
        raise UserError(f"{path}: not a checkpoint in safetensors form; `python -m common.export` writes such")
    content = {"card": safetensors_card(path, metadata, "card"), "weights": weights}
    if content["card"].get("model") != "dual_diffusion":  # that program has cards of its own
        with understanding(path, "checkpoint"):
            check_content(content, path)
    return content


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m common.export", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="checkpoint file, ours or a published one")
    parser.add_argument("--onnx", type=Path, help="write one denoising step as ONNX")
    parser.add_argument("--safetensors", type=Path, help="write the weights, and a JSON card beside them")
    parser.add_argument("--action", help="the action that the exported step is told (default: none)")
    return guarded(_run, parser.parse_args(argv))


def _run(options: argparse.Namespace) -> None:
    from common.engine import checkpoint
    from common.models import REGISTRY

    if not options.onnx and not options.safetensors:
        raise UserError("nothing to do: give --onnx FILE, --safetensors FILE, or both")
    if options.action and not options.onnx:
        raise UserError("--action says what the step of --onnx is told; there is none without it")
    for target in filter(None, (options.onnx, options.safetensors)):
        if target.resolve() == options.checkpoint.resolve():
            raise UserError(f"{target}: the checkpoint itself; choose another name")
        try_writing(target.parent, target.name)
    content = checkpoint.load(options.checkpoint)
    card, weights = content["card"], content["weights"]
    if options.onnx:
        lifter = checkpoint.make_lifter(card, weights)
        noisy = 1 if REGISTRY[card["model"]].centre_only else None
        difference = export_onnx(
            lifter.denoiser, options.onnx, card["frames"], card["joints"],
            noisy_frames=noisy, action=options.action, reading=lifter.diffusion.reading,
            metadata=lifter_metadata(lifter, card),
        )  # fmt: skip
        print(f"{options.onnx}: within {difference:.1e} of PyTorch")
    if options.safetensors:
        beside = write_safetensors(options.safetensors, weights, card)
        print(f"{options.safetensors}: {len(weights)} tensors, card in {beside}")
