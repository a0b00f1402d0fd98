"""`python -m tests.attacks COUNT SEED [JOBS] [every]`: mutants of the real models, and the figures; `every` tries all options of passes on each."""

import sys
import time

from .campaign import campaign
from .exercise import EVERY, PART

if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:] if argument != EVERY]
    started = time.monotonic()
    figures = campaign(*(numbers or [5000, 1]), effort=EVERY if EVERY in sys.argv else PART)
    print(figures)
    print(f"{time.monotonic() - started:.0f} s")
    sys.exit(bool(figures.problems or figures.disagreements))
