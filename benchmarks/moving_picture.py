"""The moving picture of the README: a held-out recording, lifted by the shipped checkpoint, in the viewer.

    python -m benchmarks.moving_picture DATA_FOLDER [--first 200] [--count 400] [-o docs/images/lifted.gif]

DATA_FOLDER has the CMU recordings in the Human3.6M layout (docs/cmu.md). The clip is one of S9, whose performers the
checkpoint never saw. Its 2D is the file's, made by the fitted detector; the camera's focal length is given. The motion
capture, in black, is moved to the lifted hip, so that the pose shows and not the place. Needs Playwright and Chromium.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from common.datasets.h36m import load_h36m
from common.door import guarded
from common.engine.log import say
from common.errors import UserError
from common.lift import Lifter

PAGE = Path(__file__).parents[1] / "docs" / "images" / "lifted.gif"
WIDTH, HEIGHT, SHOWN = 760, 470, 392  # pixels: of the page, and how much of its height is kept
COLOURS = 40
STEP = 5  # recorded frames a frame of the picture: 10 a second
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
NOTE = "2D (right), lifted to 3D (left); black: motion capture, moved to the lifted hip"


def main(argv: list[str] | None = None) -> int:
    return guarded(_main, argv)


def _main(argv: list[str] | None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with data_3d_h36m.npz and its 2D")
    parser.add_argument("--first", type=int, default=200, help="first frame of the clip")
    parser.add_argument("--count", type=int, default=400, help="frames")
    parser.add_argument("-o", "--output", type=Path, default=PAGE)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        lift(args.data, args.first, args.count, Path(folder))
        pictures = photograph(Path(folder) / "viewer.html", args.count)
    write_gif(args.output, pictures)
    say(f"{args.output}: {len(pictures)} frames, {args.output.stat().st_size / 1e6:.2f} MB")


def lift(data: Path, first: int, count: int, folder: Path) -> None:
    """Lift the clip with the most frames of S9 and write its viewer page with the truth."""
    clip = max(load_h36m(data, "cpn_ft_h36m_dbb", ("S9",)), key=lambda clip: len(clip.valid))
    width, height = clip.camera.width, clip.camera.height
    frames = slice(first, first + count)
    pixels = (clip.keypoints_2d[frames] + [1, height / width]) * width / 2
    people = Lifter.open()(
        pixels,
        size=(width, height),
        fps=clip.fps,
        focal=clip.camera.intrinsics[0] * width / 2,
        layout="h36m",
    )
    person = people.arrays[0]
    root = people.skeleton.root
    truth = clip.positions_3d[frames]
    person["truth"] = truth - truth[:, root, None] + person["positions"][:, root, None]
    error = 1000 * np.linalg.norm(person["truth"] - person["positions"], axis=-1).mean()
    where = f"{clip.subject} {clip.action}, camera {clip.camera.name}, frames {first} to {first + count}"
    say(f"{where}: {error:.1f} mm MPJPE")
    people.save(folder, "viewer")


def photograph(page: Path, count: int) -> list[Image.Image]:
    """Frames of the viewer page, in colours."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        raise UserError("Chromium is not installed")
    shots = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        tab = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}).new_page()
        tab.goto(page.resolve().as_uri())
        tab.wait_for_function("window.viewer !== undefined")
        tab.evaluate("text => { document.getElementById('title').textContent = 'Heian Shodan';"
                     "document.getElementById('note').textContent = text; }", NOTE)  # fmt: skip
        box = tab.locator("#scene").bounding_box()
        tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        for _ in range(2):
            tab.mouse.wheel(0, -100)
        tab.mouse.move(1, 1)
        for frame in range(0, count, STEP):
            tab.evaluate(f"viewer.seek({frame})")
            tab.wait_for_timeout(80)  # until it is drawn
            shot = tab.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": SHOWN})
            shots.append(Image.open(io.BytesIO(shot)).convert("RGB"))
        browser.close()
    return shots


def write_gif(path: Path, pictures: list[Image.Image]) -> None:
    """A GIF with one palette, so that only what moves is stored anew."""
    palette = pictures[len(pictures) // 2].quantize(COLOURS, dither=Image.Dither.NONE)
    first, *rest = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures)
    path.parent.mkdir(parents=True, exist_ok=True)
    first.save(path, save_all=True, append_images=rest, duration=20 * STEP, loop=0, optimize=True)


if __name__ == "__main__":
    raise SystemExit(main())
