"""`python -m common.doctor`: what is there, what is missing, where to get it (common/programs/doctor.py)."""

import sys

from common.programs.doctor import main

if __name__ == "__main__":
    sys.exit(main())
