"""The files of main_wild.py: poses, BVH, viewer, video, and a page that says what they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from common.engine.cards import trained_on
from common.engine.opening import Opened
from common.errors import visible
from common.files.bvh import write_bvh
from common.files.glb import write_glb
from common.files.poses import Person, held, write_poses
from common.files.trc import write_trc
from common.files.video import is_pictures
from common.files.writing import save_text
from common.geometry.camera import Camera, pixels_to_screen
from common.geometry.gaps import runs
from common.geometry.ground import ground_axes, on_ground
from common.geometry.skeleton import Skeleton, part_of
from common.settings.wild import OutputSettings
from common.viz.animation import animate_models
from common.viz.viewer import write_viewer
from common.wild.inputs import Source

LEVEL = (0.0, -1.0, 0.0)  # up, of a camera that is level
PLACED = ("positions", "hypotheses", "truth")


def write_model(
    folder: Path, model: Opened, people: list[Person], source: Source, asked: OutputSettings, title: str, facts: dict
) -> list[Path]:
    """What one checkpoint made of the people: poses.npz, person_ID.bvh, .glb and .trc, viewer.html, by --outputs."""
    folder.mkdir(parents=True, exist_ok=True)
    written, note = [], trained_on(model.card)
    card = {key: value for key, value in model.card.items() if key != "mean_pose"} | {"summary": note, **facts}
    if "poses" in asked.outputs:
        write_poses(folder / "poses.npz", people, source.fps, model.skeleton, card=card)
        written.append(folder / "poses.npz")
    for person in people:
        for name, first, skeleton, positions in stretches(person, model.skeleton):
            path = folder / name
            if "bvh" in asked.outputs:
                write_bvh(path.with_suffix(".bvh"), positions, skeleton, source.fps, frame="world", unit=asked.bvh_unit)
            if "glb" in asked.outputs:
                write_glb(
                    path.with_suffix(".glb"), positions, skeleton, source.fps, frame="world", first=first, name=name
                )
            if "trc" in asked.outputs:
                write_trc(path.with_suffix(".trc"), positions, skeleton, source.fps, frame="world", first=first)
            written += [path.with_suffix(f".{kind}") for kind in ("bvh", "glb", "trc") if kind in asked.outputs]
    if "viewer" in asked.outputs:
        path = folder / "viewer.html"
        video = None if source.video is None or is_pictures(source.video) else source.video  # pages play videos only
        embed = asked.embed_video
        shown = [person | {key: grounded(person, person[key]) for key in PLACED if person.get(key) is not None}
                 for person in people]  # fmt: skip
        floor = 0.0 if all("floor" in person for person in people) else None
        write_viewer(path, shown, source.fps, model.skeleton, frame="world", size=source.size, video=video,
                     embed_video=embed, title=title, note=note, floor=floor)  # fmt: skip
        written.append(path)
    return written


def of_earlier_runs(folder: Path, written: Sequence[Path]) -> list[Path]:
    """Files of people and videos that lie in the folder and were not written now."""
    there = [path for pattern in ("person_*", "video*.mp4") for path in sorted(folder.glob(pattern)) if path.is_file()]
    return [path for path in there if path not in written]


def grounded(person: Person, points: np.ndarray) -> np.ndarray:
    """Points (..., 3) of a person in the frame of the ground: x right, y ahead, z up; of a level camera where the
    ground is unknown."""
    return on_ground(points, person.get("up", LEVEL), person.get("floor", 0.0))


def stretches(person: Person, skeleton: Skeleton) -> list[tuple[str, int, Skeleton, np.ndarray]]:
    """A person for files without gaps and missing joints: (name, first frame, skeleton, positions (T, J, 3) on ground).

    One for each stretch of presence, named after its first frame but for the first one; joints that are guesses all
    through it are left out.
    """
    out = []
    for first, end in runs(np.isfinite(person["positions"]).all((1, 2))):
        known = person["known"][first:end].any(0) if "known" in person else np.ones(len(skeleton), bool)
        part, joints = part_of(skeleton, np.flatnonzero(known))
        start = person.get("first", 0) + first
        name = f"person_{person['id']}" + (f"_frame_{start}" if out else "")
        out.append((name, start, part, grounded(person, person["positions"][first:end, joints])))
    return out


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
        known = person.get("known", np.ones(np.shape(person["keypoints_2d"])[:2], bool))[
            ..., None
        ]  # guesses: not drawn
        keypoints = torch.from_numpy(np.where(known, person["keypoints_2d"], np.nan).astype(np.float32))
        panels, floors, up = [], [], person.get("up")
        for model, row in zip(models, rows, strict=True):
            root = row["positions"][:, model.skeleton.root, None]  # (T, 1, 3)
            hypotheses = row.get("hypotheses")
            hypotheses = hypotheses - root if hypotheses is not None and len(hypotheses) > 1 else None
            hypotheses = None if hypotheses is None else np.where(known, hypotheses, np.nan)
            panels.append((model.name, model.skeleton, np.where(known, row["positions"] - root, np.nan), hypotheses))
            if up is not None:
                floors.append(held(row["floor"] - root[:, 0] @ up))
        written.append(
            animate_models(
                folder / name,
                pixels_to_screen(keypoints, camera.width, camera.height).numpy(),
                panels,
                video=source.video,
                fps=source.fps,
                caption=caption,
                first=person.get("first", 0),
                roots=held(np.asarray(person["positions"])[:, models[0].skeleton.root]),
                camera=None if up is None else replace(camera, rotation=quaternion_of(ground_axes(up))),
                floors=floors or None,
            )
        )
    return written


def quaternion_of(axes: np.ndarray) -> tuple[float, ...]:
    """Camera to ground as (w, x, y, z), from the ground's axes in the camera's frame."""
    x, y, z, w = Rotation.from_matrix(axes).as_quat()
    return tuple(map(float, (w, x, y, z)))


def write_about(folder: Path, models: list[Opened], written: list[Path], title: str, facts: dict) -> Path:
    """`about.txt`: what lies in the folder, how it was made, and on what the models were trained."""
    lines = [f"3D poses lifted from {title}.", ""]
    lines += [f"Model {model.name}: {trained_on(model.card)}; file hash {model.card['hash']}." for model in models]
    lines += ["Lifted poses are estimates: nobody measured them.", ""]
    lines += [f"{key}: {value}" for key, value in facts.items()] + [""]
    told = {
        ".npz": "joints in metres, camera frame (x right, y down, z forward), and what is known of them; NumPy",
        ".bvh": "motion with its root, y up; Blender: File, Import, BVH",
        ".glb": "the moving skeleton, y up: Blender, Windows, browsers",
        ".trc": "the joints as markers, metres, y up: OpenSim, Pose2Sim",
        ".html": "the viewer: open it in a browser",
        ".mp4": "the input and the poses side by side",
        ".webm": "the input and the poses side by side",
        ".gif": "the input and the poses side by side",
        ".png": "the first frames with named joints: is left left?",
        ".jsonl": "the stream: one line a frame",
    }
    lines += [f"{path.relative_to(folder).as_posix()}: {told[path.suffix]}" for path in written]
    return save_text(folder / "about.txt", "\n".join(map(visible, lines)) + "\n")
