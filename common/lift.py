"""Lifting from Python, the code behind main_wild.py: docs/api.md.

    from common.lift import Lifter

    lifter = Lifter.open()                                              # the shipped checkpoint
    people = lifter(keypoints, size=(1920, 1080), fps=30)               # (F, 17, 2 or 3), pixels
    people[0].joints                                                    # (F, 17, 3), metres
    people.save("out")                                                  # poses.npz, BVH, GLB, TRC, viewer

Options are main_wild.py's flags by their long names, `no_floor=True` for --no-floor, with the same ranges. What a user
can mend raises `UserError` with the line that the program prints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.engine import devices
from common.engine.cards import trained_on
from common.engine.devices import Place
from common.engine.log import say as to_stderr
from common.engine.opening import Opened, named, pairs
from common.errors import UserError
from common.files.limits import understanding
from common.files.poses import Person
from common.files.writing import writable
from common.geometry.skeleton import Skeleton
from common.settings.wild import CALL, DEFAULT, FOLDER, SAVE, OutputSettings, WildSettings, settings_of
from common.wild.heights import heights_said
from common.wild.inputs import Source, read_source, source_of_array
from common.wild.lifting import open_model
from common.wild.odds import odds_said
from common.wild.outputs import grounded, of_earlier_runs, write_about, write_model, write_videos
from common.wild.people import camera_of, lift_people
from common.wild.tracking import Track, track

ROOT = Path(__file__).parents[1]
OUTPUTS = ("poses", "bvh", "glb", "trc", "viewer")
ARRAY = "keypoints"  # what messages and titles call an array

Say = Callable[[str], None]


@dataclass(frozen=True)
class Lifter:
    """A checkpoint ready to lift. `say` gets the notes of a run: who is left out, which limbs are guesses."""

    model: Opened
    place: Place
    gpu: str = "-1"
    say: Say = to_stderr

    @classmethod
    def open(
        cls, path: Path | str | None = None, *, gpu: str = "-1", unit: float | None = None, say: Say = to_stderr
    ) -> Lifter:
        """Open a checkpoint of ours or a published one, by default the one that is shipped.

        gpu: '0' is the first GPU, '-1' the CPU, 'mps' Apple's; unit: metres of one network unit, for a published
        Diff3DHPE file, which does not say it. Raises UserError where the file cannot serve.
        """
        place = devices.join(gpu, say if gpu != "-1" else lambda line: None, keep=False)
        return open_all([ROOT / FOLDER / DEFAULT if path is None else Path(path)], place, gpu=gpu, unit=unit, say=say)[
            0
        ]

    @property
    def trained_on(self) -> str:
        """One line: the network, and the data that it learned from."""
        return trained_on(self.model.card)

    def __call__(
        self,
        keypoints: object,
        *,
        size: tuple[int, int],
        fps: float,
        focal: float | None = None,
        layout: str = "coco",
        **options,
    ) -> People:
        """Lift 2D joints (F, J, 2 or 3), or (F, N, J, 2 or 3) of N people: pixels and, if there is one, a confidence.

        NaN and (0, 0) are joints that were not found. size: width and height of the image, pixels; fps: frames a
        second; focal: in pixels, where it is known; layout: coco, h36m, halpe, body_25.
        """
        settings = self._settings(ARRAY, size=size, fps=fps, focal=focal, layout=layout, **options)
        with understanding(ARRAY, "array of keypoints"):
            array = np.asarray(keypoints)
        if array.ndim not in (3, 4) or array.shape[-1] not in (2, 3):
            raise UserError(f"{ARRAY}: expected (frames, joints, 2 or 3) or (frames, people, joints, 2 or 3), "
                            f"got {array.shape}")  # fmt: skip
        return self.lift(source_of_array(array.swapaxes(0, 1) if array.ndim == 4 else array, settings.input), settings)

    def video(self, path: Path | str, **options) -> People:
        """Lift the people of a video, a picture, a folder of pictures, or a keypoint file of another program."""
        settings = self._settings(str(path), **options)
        if not Path(path).exists():
            raise UserError(f"{path}: no such file")
        return self.lift(read_source(settings.input), settings)

    def _settings(self, source: str, **options) -> WildSettings:
        return settings_of(source, CALL, {**options, "gpu": self.gpu})

    def check(self, settings: WildSettings) -> None:
        """Raises UserError where the settings ask for what this checkpoint cannot do."""
        steps, schedule = settings.sampling.sampling_timesteps, len(self.model.lifter.diffusion.abar)
        if steps > schedule:
            raise UserError(f"-sampling_timesteps {steps} exceeds the {schedule} of {self.model.name}'s schedule")

    def lift(self, source: Source, settings: WildSettings, tracks: Sequence[Track] | None = None) -> People:
        """Lift what was read; `tracks` are its people, where they are known."""
        self.check(settings)
        tracks = people_in(source, self.say) if tracks is None else tracks
        camera = camera_of(settings.lifting, source.size)
        layout = source.detections.layout
        people = lift_people(self.model, tracks, layout, source.fps, camera, settings, self.place, self.say)
        return People(people, self.model, source, settings)


def open_all(
    paths: Sequence[Path], place: Place, *, gpu: str = "-1", unit: float | None = None, say: Say = to_stderr
) -> list[Lifter]:
    """A lifter for each checkpoint, under names that tell them apart."""
    return [Lifter(model, place, gpu, say) for model in named([open_model(path, place, unit) for path in paths])]


def checkpoints(folders: Sequence[str] | None, files: Sequence[str] | None) -> list[Path]:
    """The files of every -c with its --evaluate, by default the checkpoint that is shipped."""
    if folders and not files:
        raise UserError("-c names a folder; say also which file of it: --evaluate FILE")
    return pairs(folders or [str(ROOT / FOLDER)], files or [DEFAULT])


def people_in(source: Source, say: Say) -> list[Track]:
    """Who is there, those seen longest first; says it."""
    tracks = track(source.detections, source.fps, say=say)
    say(f"{len(source.detections.frames)} frames at {source.fps:g} a second, {len(tracks)} people: "
        + ", ".join(f"{t.id} ({int(t.seen.sum())} frames)" for t in tracks))  # fmt: skip
    return tracks


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LiftedPerson:
    """One person over F frames: J joints in metres, in the camera's frame (x right, y down, z forward).

    NaN in frames in which the person was away for more than a second.
    """

    id: int  # stays with the person
    first: int  # frame of the recording at which the arrays begin
    joints: np.ndarray  # (F, J, 3), the result
    raw: np.ndarray  # (F, J, 3), before it was smoothed and made one body
    hypotheses: np.ndarray  # (H, F, J, 3), likewise
    spread: np.ndarray  # (F, J), how far the hypotheses lie apart
    radius: np.ndarray | None  # (F, J), holds it nine times of ten, seen from the root; NaN: a guess; None: unknown
    root: np.ndarray  # (F, 3), the skeleton's root
    height: float | None  # metres: how tall somebody with these legs and this trunk is; None: neither was seen
    on_ground: np.ndarray  # (F, J, 3), x right, y ahead, z up from the floor; of a level camera where none was found
    keypoints: np.ndarray  # (F, J, 2), the 2D in pixels, gaps filled
    mask: np.ndarray  # (F, J), False where a 2D joint was not seen
    known: np.ndarray  # (F, J), False where it was unseen for so long that its place is a guess


def _person(arrays: Person, skeleton: Skeleton) -> LiftedPerson:
    joints = arrays["positions"]
    return LiftedPerson(
        id=arrays["id"],
        first=arrays["first"],
        joints=joints,
        raw=arrays["positions_raw"],
        hypotheses=arrays["hypotheses"],
        spread=arrays["spread"],
        radius=arrays.get("radius"),
        root=joints[:, skeleton.root],
        height=arrays["height"],
        on_ground=grounded(arrays, joints),
        keypoints=arrays["keypoints_2d"],
        mask=arrays["mask"],
        known=arrays["known"],
    )


@dataclass(frozen=True, eq=False, repr=False)
class People(Sequence):
    """What one checkpoint made of a recording: a sequence of `LiftedPerson`, those seen longest first."""

    arrays: list[Person]  # as poses.npz holds them: common/files/poses.py
    model: Opened
    source: Source
    settings: WildSettings

    units = "m"

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, number):
        if isinstance(number, slice):
            return [_person(arrays, self.skeleton) for arrays in self.arrays[number]]
        return _person(self.arrays[number], self.skeleton)

    @property
    def skeleton(self) -> Skeleton:
        return self.model.skeleton

    @property
    def names(self) -> tuple[str, ...]:
        """Of the J joints."""
        return self.skeleton.joints

    @property
    def fps(self) -> float:
        return self.source.fps

    def save(self, folder: Path | str, outputs: str | Sequence[str] = OUTPUTS, **options) -> list[Path]:
        """Write main_wild.py's files, any of poses, bvh, glb, trc, viewer, video, and say what they are in about.txt.

        More options: embed_video, bvh_unit. Returns the paths.
        """
        output = settings_of(self.settings.input.input, SAVE, {"outputs": outputs, **options}).output
        return save(writable(Path(folder)), [self], output)


def save(folder: Path, lifted: Sequence[People], output: OutputSettings, already: Sequence[Path] = ()) -> list[Path]:
    """All files of a recording; with several models each has a folder of its own below. `already`: those written."""
    one = lifted[0]
    settings, source, models = one.settings, one.source, [people.model for people in lifted]
    lifting, sampling = settings.lifting, settings.sampling
    camera, title = camera_of(lifting, source.size), Path(settings.input.input).name
    facts = {
        "focal_pixels": round(camera.intrinsics[0] * camera.width / 2, 1),
        "focal": "given" if lifting.focal else "assumed",
        "aggregate": "mean" if lifting.stream else lifting.aggregate,
        "hypotheses": sampling.hypotheses,
        "steps": sampling.sampling_timesteps,
        "sampler": sampling.sampler,
        "image": f"{source.size[0]}x{source.size[1]}",
        "fps": source.fps,
    }
    written = [*already]
    for people in lifted:
        own = folder / people.model.name if len(models) > 1 else folder
        said = {"height": heights_said(people.model, people.arrays, settings)}
        if line := odds_said(people.model, people.arrays, settings):
            said["odds"] = line
        written += write_model(own, people.model, people.arrays, source, output, title, facts | said)
        facts |= {f"{key} by {people.model.name}" if len(models) > 1 else key: line for key, line in said.items()}
    if "video" in output.outputs:
        written += write_videos(folder, models, [people.arrays for people in lifted], source, camera)
    written.append(write_about(folder, models, written, title, facts))
    if old := of_earlier_runs(folder, written):
        to_stderr(f"note: of an earlier run, and no part of this one: {', '.join(path.name for path in old)}")
    return written
