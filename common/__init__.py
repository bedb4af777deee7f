"""The rooms of the software. A program whose packages are not installed ends in one line (common/errors.py)."""

import sys

from common.errors import unusable_package

__version__ = "1.0.0"

if sys.excepthook is sys.__excepthook__:  # nobody else's is replaced
    sys.excepthook = unusable_package
