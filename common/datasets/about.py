"""What a converted data file says of itself: its member `about`, written by the converters of open data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from common.files.reading import load_archive, understanding


def tell_about(path: Path, subjects: Sequence[str], notice: Callable[[str], None]) -> None:
    """Say what stands behind a file's subjects: {'data': its name, 'frames': {subject: {performer: frames}}}."""
    if line := about(path, subjects):
        notice(line)


def about(path: Path, subjects: Sequence[str]) -> str:
    """That line; empty where the file does not say."""
    told = load_archive(path, ("about",)).get("about")
    if not isinstance(told, dict) or "data" not in told:
        return ""
    line = f"{path.name}: {told['data']}"
    with understanding(path, "description of its data"):
        frames: dict[int, int] = {}
        for subject in subjects:
            for performer, count in told.get("frames", {}).get(subject, {}).items():
                frames[int(performer)] = frames.get(int(performer), 0) + int(count)
        if frames:
            performers = ", ".join(f"{performer} ({count})" for performer, count in sorted(frames.items()))
            line += f"; {', '.join(subjects)}: {sum(frames.values())} frames of performers (frames) {performers}"
    return line
