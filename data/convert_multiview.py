"""Make a data set of one's own from several calibrated cameras: 2D keypoints in, `-d custom` files and a page out.

    python data/convert_multiview.py --root DIR [--calibration FILE] [--fps NUMBER] [-o data]

DIR holds a folder or file of 2D keypoints for each camera (every format that main_wild.py reads), or several such
folders, one a take. People are matched across cameras by reprojection, false detections dropped, joints triangulated.
docs/multiview.md says how, and what the page shows.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.door import guarded  # noqa: E402
from common.programs.multiview import convert, parser  # noqa: E402


def main(argv: list[str] | None = None) -> int:
    return guarded(convert, parser(__doc__).parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
