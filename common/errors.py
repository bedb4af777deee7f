"""What a user can mend: the one exception for it, and the line for packages that cannot be imported."""

import re
import sys
from types import TracebackType

INSTALL = "pip install -r requirements.txt; python -m common.doctor lists what is missing"
OURS = ("common", "benchmarks", "data", "tests", "__main__")
DISTRIBUTIONS = {"PIL": "pillow", "yaml": "PyYAML", "cv2": "opencv-python", "open_clip": "open_clip_torch"}


# Control characters (colours, cursor, bells, line ends), halves of surrogate pairs (names that are no UTF-8), and marks
# that turn the direction of writing.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def visible(text: object) -> str:
    """Text in one line for a terminal, a log or a picture: what would act on them is spelled out, as \\x1b."""
    return _UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), str(text))


class UserError(Exception):
    """Wrong input, told in one line. The scripts print it on stderr and exit with code 2; the rest is a bug."""

    def __str__(self) -> str:
        return visible(super().__str__())


def why_unusable(error: BaseException) -> str | None:
    """One line where an exception says that a package of others is missing or broken, else None."""
    if isinstance(error, RuntimeError) and "operator torchvision::" in str(error):
        return "torch and torchvision do not fit each other: install both in one command"
    if not isinstance(error, ImportError) or not error.name:
        return None
    package = error.name.partition(".")[0]
    if package in OURS or package in sys.stdlib_module_names:
        return None
    name = DISTRIBUTIONS.get(package, package)
    if isinstance(error, ModuleNotFoundError) and error.name == package:
        return f"{name} is not installed"
    return f"{name} cannot be imported ({' '.join(str(error).split())})"


def unusable_package(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A `sys.excepthook`: exit code 2 and one line for a package that cannot be imported, a traceback for the rest."""
    told = why_unusable(error)
    if told is None:
        sys.__excepthook__(kind, error, trace)
        return
    print(f"error: {told}: {INSTALL}", file=sys.stderr)
    raise SystemExit(2)
