"""Turn a published checkpoint into this project's form: recognised by its parameters' names and shapes.

    python -m common.import_checkpoint h36m_best_epoch.bin -o checkpoint/d3dp/best_epoch.bin

D3DP, MixSTE, KTPFormer, FinePOSE, GraphDiffu, Grap2Eq, Diff3DHPE and Dual-Diffusion files are read. An ending
.safetensors writes that form, with a JSON card beside it (a Dual-Diffusion file's two sets of weights as weights.* and
ema.*). Every parameter must be there with its exact shape; nothing in the file is run.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from common.door import guarded
from common.engine import checkpoint
from common.errors import UserError
from common.files.reading import load_torch


def import_file(source: Path, target: Path, keypoints: str | None = None, labels: str | None = None) -> dict:
    """Read a checkpoint of any known kind and write it with a card; returns the card.

    keypoints and labels: the 2D source and the label set that the weights were trained on; published files do not
    say. Raises UserError for an unknown network, and where the target exists.
    """
    if target.exists():
        raise UserError(f"{target}: exists already; choose another name")
    if isinstance(load_torch(source), list | tuple):  # Dual-Diffusion's files are lists
        return _import_two_view(source, target)
    content = checkpoint.load(source)
    told = {"keypoints": keypoints, "labels": labels}
    card = content["card"] | {key: value for key, value in told.items() if value is not None}
    card["imported_from"] = {"file": source.name, "hash": checkpoint.file_hash(source)}
    checkpoint.make_lifter(card, content["weights"])  # they fit, or a UserError says what does not
    if target.suffix == ".safetensors":
        from common.programs.export import write_safetensors

        write_safetensors(target, content["weights"], card)
    else:
        checkpoint.save(target, {"card": card, "weights": content["weights"]})
    return card


def _import_two_view(source: Path, target: Path) -> dict:
    """A published Dual-Diffusion file [weights, optimiser, epoch, step, EMA] as the two-view program's form."""
    from common.binocular import checkpoint as two_view
    from common.settings.two_view import TwoViewSettings

    content = two_view.load(source)
    settings, sets = content["card"]["settings"], {n: content[n] for n in ("weights", "ema") if content[n] is not None}
    # The number of heads shows in no shape; the program takes it from its own settings.
    network = two_view.build(TwoViewSettings.of(settings).model)
    for weights in sets.values():
        checkpoint.fill(network, weights, source)
    imported = {"file": source.name, "hash": checkpoint.file_hash(source)}
    card = content["card"] | {"version": two_view.VERSION, "variant": "published", "imported_from": imported}
    if target.suffix == ".safetensors":
        from common.programs.export import write_safetensors

        write_safetensors(target, {f"{n}.{key}": v for n, weights in sets.items() for key, v in weights.items()}, card)
    else:
        checkpoint.save(target, {"card": card, "weights": content["weights"], "ema": content["ema"]})
    return card


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m common.import_checkpoint", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="published checkpoint")
    parser.add_argument("-o", "--output", type=Path, help="file to write (default: FILE with the ending .imported.bin)")
    parser.add_argument("-k", "--keypoints", help="2D source that it was trained on")
    parser.add_argument("--labels", help="label set that it was trained on (3DHP: annot3 or univ_annot3)")
    options = parser.parse_args(argv)
    return guarded(_run, options)


def _run(options: argparse.Namespace) -> None:
    target = options.output or options.file.with_suffix(".imported.bin")
    card = import_file(options.file, target, options.keypoints, options.labels)
    sizes = f"{card['frames']} frames, {card['joints']} joints" if "frames" in card else "two views, 17 joints"
    print(f"{target}: {card['model']}, {sizes} ({card['variant']} variant)")
