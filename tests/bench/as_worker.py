"""Runs a module as a worker runs its job: cycles are looked for seldom, and nothing is torn down after it."""

import gc
import os
import runpy
import sys

from stages.core.sandbox.worker import GARBAGE

if __name__ == "__main__":
    gc.set_threshold(GARBAGE)
    runpy.run_module(sys.argv[1], run_name="__main__")
    sys.stdout.flush()
    os._exit(0)
