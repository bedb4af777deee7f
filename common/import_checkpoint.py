"""`python -m common.import_checkpoint`: a published checkpoint in this project's form (common/programs)."""

import sys

from common.programs.import_checkpoint import main

if __name__ == "__main__":
    sys.exit(main())
