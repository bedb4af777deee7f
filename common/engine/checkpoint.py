"""Checkpoints: written whole or not at all, ours read by their card, published ones by their names and shapes."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from common.diffusion.lifter import DiffusionLifter
from common.diffusion.velocity import trained_for
from common.engine.card_check import check_content
from common.engine.log import say
from common.errors import UserError
from common.files.reading import load_torch, understanding
from common.files.writing import whole_file
from common.geometry.skeleton import SKELETONS, skeleton_of
from common.models import REGISTRY, build

VERSION = 2  # 2: GraphDiffu's variant 'default' is another network; before, it was what is now 'paper'

# Names that published files carry beside the network and that nothing reads.
_PREFIX = re.compile(r"^(module\.|pose_estimator\.|model\.)+")
_SCHEDULE = re.compile(
    r"^(betas|alphas_cumprod(_prev)?|sqrt_(one_minus_)?alphas_cumprod|sqrt_recip_alphas|log_one_minus_alphas_cumprod"
    r"|sqrt_recip(m1)?_alphas_cumprod|posterior_(variance|log_variance_clipped|mean_coef[12])|p2_loss_weight)$"
)
_PROFILER = re.compile(r"(^|\.)total_(ops|params)$")

# Where published files keep the weights.
_WEIGHT_KEYS = ("model_pos", "model_diffusion", "state_dict")

# Other names of a file, tried when it is absent. The last was chosen by a target error, which nothing here does.
_ALIASES = {
    "best_epoch.bin": "best_epoch_1_1.bin",
    "best_epoch_1_1.bin": "best_epoch.bin",
    "best_epoch_20_10.bin": "best_epoch_1_1.bin",
}
# The folder that GraphDiffu's evaluation lines name: that of its training lines, and the settings of the training.
_LONG_NAME = re.compile(r"(?P<short>.+?)(_heads=(?P<heads>\d+))?_lrd(?P<lrd>\d*\.?\d+)_s(?P<s>\d+)_f(?P<f>\d+)")


def save(path: Path, content: dict) -> None:
    """Write a checkpoint, whole or not at all."""
    with whole_file(path) as temporary:
        torch.save(content, temporary)


def find(folder: Path, name: str) -> Path:
    """The checkpoint `name` in `folder`, or as a path of its own.

    A folder NAME_heads=H_lrdL_sS_fF without one stands for NAME, where that holds one of these settings: as far as the
    file says them. A missing checkpoint is a UserError that lists those there, or the folders that hold some.
    """
    path = _named(folder, name) or (Path(name) if Path(name).is_file() else None)
    if path:
        if name == "best_epoch_20_10.bin" != path.name:
            say(f"{name}: no checkpoint is chosen by a target error here; taking {path}")
        return path
    problem = ""
    if long := _LONG_NAME.fullmatch(folder.name):
        short = folder.with_name(long["short"])
        if path := _named(short, name):
            problem = _differs(load(path)["card"], long)
            if not problem:
                say(f"{folder}: no {name} there; taking {path}, which has these settings as far as the file says")
                return path
            problem = f"; {path} has {problem}"
    there = sorted(p.name for p in folder.glob("*.bin")) if folder.is_dir() else []
    if there:
        raise UserError(f"{folder / name}: no such checkpoint; there are {', '.join(there)}{problem}")
    raise UserError(f"{folder / name}: no such checkpoint{problem}; {_folders_with_checkpoints(folder)}")


def _named(folder: Path, name: str) -> Path | None:
    """The file in the folder under its name, or another of its names."""
    return next((p for p in (folder / name, folder / _ALIASES.get(name, name)) if p.is_file()), None)


def _differs(card: dict, long: re.Match) -> str:
    """What of a checkpoint is not as a folder's long name says; empty where all is, as far as the card knows."""
    recipe, frames = card.get("recipe", {}), card["frames"]
    stored = {"-f": frames, "heads": card["sizes"].get("gat_heads", 1)}
    if "stride" in recipe:
        stored["-s"] = recipe["stride"] or frames
    if "lr_decay" in recipe:
        stored["-lrd"] = recipe["lr_decay"]
    asked = {"-f": int(long["f"]), "-s": int(long["s"]), "-lrd": float(long["lrd"]), "heads": int(long["heads"] or 1)}
    return " and ".join(f"{flag} {value}, not {asked[flag]}" for flag, value in stored.items() if value != asked[flag])


def _folders_with_checkpoints(folder: Path) -> str:
    """Which folders beside this one, and below it, hold checkpoints."""
    around = [*folder.glob("*/*.bin"), *folder.parent.glob("*.bin"), *folder.parent.glob("*/*.bin")]
    folders = sorted({str(path.parent) for path in around})
    shown = ", ".join(folders[:10]) + (f" and {len(folders) - 10} more" if len(folders) > 10 else "")
    return f"checkpoints are in {shown}" if folders else "the folder holds no checkpoint, nor do those beside it"


def load(path: Path) -> dict:
    """Read a checkpoint, ours or a published one, as {'card', 'weights', 'optimizer', 'history', ...} on the CPU."""
    content = load_torch(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a checkpoint (it holds a {type(content).__name__})")
    if "card" in content and "weights" in content:
        with understanding(path, "checkpoint"):
            check_content(content, path)
        if content["card"].get("version", 0) > VERSION:
            raise UserError(f"{path}: written by a newer version of this program; update to read it")
        model = REGISTRY.get(content["card"]["model"])
        return content | {"card": model.older(content["card"]) | {"version": VERSION}} if model else content
    state = next((content[key] for key in _WEIGHT_KEYS if key in content), content)
    if not isinstance(state, dict) or not any(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path}: no network in this file; keys: {', '.join(map(str, list(content)[:8]))}")
    with understanding(path, "checkpoint"):
        name, sizes, weights = import_published(state, str(path))
    epoch = content.get("epoch")
    card = {
        "model": name,
        "sizes": sizes,
        "variant": "published" if REGISTRY[name].variants else "default",
        "frames": sizes["frames"],
        "joints": sizes["joints"],
        "skeleton": sizes.get("skeleton") or _skeleton_of(sizes["joints"]),
        "keypoints": None,
        "labels": None,
        "units": "m",
        "seed": None,
        "epoch": epoch if isinstance(epoch, int) else None,
        "version": VERSION,
        "diffusion": dict(REGISTRY[name].published_diffusion),
        "source": "published",
    }
    return {"card": card, "weights": weights}


def _skeleton_of(joints: int) -> str:
    return next((name for name, s in SKELETONS.items() if len(s) == joints), "h36m_17")


def import_published(state: dict[str, Tensor], source: str = "checkpoint") -> tuple[str, dict, dict[str, Tensor]]:
    """Recognise a published network and hand over exactly its parameters: (name, constructor sizes, weights).

    Every parameter of ours must be there with its exact shape, and every other name must be a known leftover;
    otherwise a UserError says which is not.
    """
    bare: dict[str, Tensor] = {}
    for key, value in state.items():
        if not isinstance(value, Tensor) or not isinstance(key, str):
            continue
        key = _PREFIX.sub("", key)
        if not (_SCHEDULE.match(key) or _PROFILER.search(key)):
            bare[key] = value
    shapes = {key: tuple(value.shape) for key, value in bare.items()}
    for name, model in REGISTRY.items():
        sizes = model.published_sizes(shapes)
        if sizes is None:
            continue
        weights = {model.rename(key): value for key, value in bare.items()}
        weights |= model.derive(weights, sizes)
        with torch.device("meta"):
            wanted = {key: tuple(v.shape) for key, v in build(name, **sizes).state_dict().items()}
        _match(weights, wanted, model.leftovers, f"{source} ({name})")
        return name, sizes, {key: weights[key] for key in wanted}
    raise UserError(f"{source}: no known network has these parameters ({', '.join(list(shapes)[:4])}, ...)")


def _match(weights: dict[str, Tensor], wanted: dict[str, tuple], leftovers: tuple[str, ...], source: object) -> None:
    missing = [key for key in wanted if key not in weights]
    if missing:
        raise UserError(f"{source}: {len(missing)} parameters are missing, the first is {missing[0]}")
    for key, shape in wanted.items():
        if tuple(weights[key].shape) != shape:
            raise UserError(f"{source}: {key} has shape {tuple(weights[key].shape)}, expected {shape}")
    known = re.compile("|".join(f"(?:{p})" for p in leftovers)) if leftovers else None
    unknown = [key for key in weights if key not in wanted and not (known and known.match(key))]
    if unknown:
        raise UserError(f"{source}: {len(unknown)} unknown parameters, the first is {unknown[0]}")


def fill(network: nn.Module, weights: dict[str, Tensor], source: object) -> None:
    """Load weights strictly: every parameter with its exact shape and nothing beside. Raises UserError."""
    wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    _match(weights, wanted, (), source)
    network.load_state_dict(weights)


def objective_of(card: dict) -> str:
    """What the network of a card was trained to say, a word of `common.diffusion.velocity`. Older cards: x_0."""
    return card.get("diffusion", {}).get("objective", "x0")


def same_objective(first: dict, card: dict, source: str) -> None:
    """Raise UserError where the weights of card `first`, in the file `source`, say something else than `card` asks."""
    if objective_of(first) != objective_of(card):
        raise UserError(f"{source}: trained with --objective {objective_of(first)}, this run has {objective_of(card)}")


def make_lifter(card: dict, weights: dict[str, Tensor] | None = None) -> DiffusionLifter:
    """The lifter that a card describes, with its weights if given."""
    model = REGISTRY.get(card["model"])
    if model is None:
        raise UserError(f"the checkpoint's model {card['model']} is unknown here; there are {', '.join(REGISTRY)}")
    with understanding(f"checkpoint ({card['model']})", "card"):
        if weights is not None:  # nothing is built that the weights do not fill
            with torch.device("meta"):
                wanted = {key: tuple(v.shape) for key, v in build(card["model"], **card["sizes"]).state_dict().items()}
            _match(weights, wanted, (), f"checkpoint ({card['model']})")
        denoiser = build(card["model"], **card["sizes"])
        if weights is not None:
            denoiser.load_state_dict(weights)
        options = dict(card.get("diffusion", {}))
        options.pop("objective", None)
        diffusion = trained_for(model.diffusion(**options), objective_of(card))
        return DiffusionLifter(denoiser, skeleton_of(card["skeleton"]), diffusion)


def load_model(path: Path | str) -> tuple[nn.Module, dict]:
    """The denoiser of a checkpoint, ours or published, in evaluation mode on the CPU, and its card."""
    content = load(Path(path))
    return make_lifter(content["card"], content["weights"]).denoiser.eval(), content["card"]


def file_hash(path: Path) -> str:
    """The first 16 hex digits of the file's SHA-256."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]
