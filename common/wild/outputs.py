"""The files of main_wild.py: poses, BVH, viewer, video, and a page that says what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from common.engine.cards import trained_on
from common.engine.opening import Opened
from common.errors import visible
from common.files.bvh import write_bvh
from common.files.poses import Person, write_poses
from common.files.writing import save_text
from common.geometry.camera import Camera, pixels_to_screen
from common.settings.wild import OutputSettings
from common.viz.animation import animate_models
from common.viz.viewer import write_viewer
from common.wild.inputs import Source


def write_model(
    folder: Path, model: Opened, people: list[Person], source: Source, asked: OutputSettings, title: str, facts: dict
) -> list[Path]:
    """What one checkpoint made of the people: poses.npz, person_ID.bvh, viewer.html, as --outputs names them."""
    folder.mkdir(parents=True, exist_ok=True)
    written, note = [], trained_on(model.card)
    card = {key: value for key, value in model.card.items() if key != "mean_pose"} | {"summary": note, **facts}
    if "poses" in asked.outputs:
        write_poses(folder / "poses.npz", people, source.fps, model.skeleton, card=card)
        written.append(folder / "poses.npz")
    if "bvh" in asked.outputs:
        for person in people:
            path = folder / f"person_{person['id']}.bvh"
            write_bvh(path, person["positions"], model.skeleton, source.fps, unit=asked.bvh_unit)
            written.append(path)
    if "viewer" in asked.outputs:
        path = folder / "viewer.html"
        video, embed = source.video, asked.embed_video
        write_viewer(path, people, source.fps, model.skeleton, size=source.size, video=video, embed_video=embed,
                     title=title, note=note)  # fmt: skip
        written.append(path)
    return written


def write_videos(
    folder: Path,
    models: list[Opened],
    lifted: list[list[Person]],
    source: Source,
    camera: Camera,
    *,
    ending: str = ".mp4",
) -> list[Path]:
    """A video of each person: the input with its 2D, beside it what each checkpoint made of it, its name above."""
    caption = "; ".join(dict.fromkeys(trained_on(model.card) for model in models))
    written = []
    for rows in zip(*lifted, strict=True):  # one person, by every model
        person = rows[0]
        name = f"video{ending}" if len(lifted[0]) == 1 else f"video_{person['id']}{ending}"
        keypoints = torch.from_numpy(np.asarray(person["keypoints_2d"], np.float32))
        panels = []
        for model, row in zip(models, rows, strict=True):
            root = row["positions"][:, model.skeleton.root, None]  # (T, 1, 3)
            hypotheses = row.get("hypotheses")
            hypotheses = hypotheses - root if hypotheses is not None and len(hypotheses) > 1 else None
            panels.append((model.name, model.skeleton, row["positions"] - root, hypotheses))
        written.append(
            animate_models(
                folder / name,
                pixels_to_screen(keypoints, camera.width, camera.height).numpy(),
                panels,
                video=source.video,
                fps=source.fps,
                caption=caption,
                first=person.get("first", 0),
                roots=person["positions"][:, models[0].skeleton.root],
            )
        )
    return written


def write_about(folder: Path, models: list[Opened], written: list[Path], title: str, facts: dict) -> Path:
    """`about.txt`: what lies in the folder, how it was made, and on what the models were trained."""
    lines = [f"3D poses lifted from {title}.", ""]
    lines += [f"Model {model.name}: {trained_on(model.card)}; file hash {model.card['hash']}." for model in models]
    lines += ["Lifted poses are estimates: nobody measured them.", ""]
    lines += [f"{key}: {value}" for key, value in facts.items()] + [""]
    told = {
        ".npz": "joints in metres, camera frame (x right, y down, z forward), hypotheses and their spread; NumPy",
        ".bvh": "motion with its root, y up; Blender: File, Import, BVH",
        ".html": "the viewer: open it in a browser",
        ".mp4": "the input and the poses side by side",
        ".webm": "the input and the poses side by side",
        ".gif": "the input and the poses side by side",
        ".png": "the first frames with named joints: is left left?",
        ".jsonl": "the stream: one line a frame",
    }
    lines += [f"{path.relative_to(folder).as_posix()}: {told[path.suffix]}" for path in written]
    return save_text(folder / "about.txt", "\n".join(map(visible, lines)) + "\n")
