"""`python -m common.export`: a checkpoint's denoiser for other runtimes (common/programs/export.py)."""

import sys

from common.programs.export import main

if __name__ == "__main__":
    sys.exit(main())
