"""Words from data as names of files: whatever an action is called, its pictures stay in their folder."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

_LONGEST = 60  # characters, of up to four bytes
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # of Windows


def file_name(word: str) -> str:
    """A word as one part of a path: letters, digits and " ._-+=,()" stay, anything else becomes "_".

    A changed word gets six hex digits of its hash, so that two of them never meet.
    """
    clean = re.sub(r"[^\w .+=,()-]|\s(?<! )", "_", word, flags=re.UNICODE).strip()
    clean = clean.encode("utf-8", "replace").decode("utf-8").replace("?", "_")
    clean = re.sub(r"^\.+|\.+$", "_", clean)[:_LONGEST].strip()
    if clean == word and clean and not _RESERVED.fullmatch(clean):
        return clean
    digest = hashlib.sha256(word.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"{clean or '_'}-{digest}"


def inside(folder: Path, *words: str) -> Path:
    """A path below the folder with one part for each word, or several where a word has slashes ('Train/S1')."""
    return folder.joinpath(*(file_name(part) for word in words for part in word.split("/")))
