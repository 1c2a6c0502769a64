"""One target in a process of its own, which libFuzzer never gives back: python -m fuzz.child NAME DIRECTORY SECONDS."""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Final

INPUT_SECONDS: Final = 10
"""For one input of a few thousand bytes; what takes longer is a defect."""
MEMORY_MB: Final = 1024
"""For a process that begins with 60 to 150."""


def main(name: str, directory: Path, ends_at: float) -> None:
    """Never returns. ends_at: CLOCK_MONOTONIC. directory: as in fuzz.workspace."""
    atheris = import_module("atheris")  # it has no types, and is not there for every Python
    with atheris.instrument_imports(include=["whodunnet"]):
        from fuzz.targets import find_target

        target = find_target(name)
    longest = max((len(seed) for seed in target.kept_seeds()), default=0)
    options = {
        "max_total_time": max(1, round(ends_at - time.monotonic())),
        "max_len": max(target.max_bytes, longest),
        "timeout": INPUT_SECONDS,
        "rss_limit_mb": MEMORY_MB,
        "artifact_prefix": f"{directory / 'crashes'}{os.sep}",
        "dict": directory / "words",
        "print_final_stats": 1,
        "verbosity": 1,
    }
    words = [f"-{option}={value}" for option, value in options.items()]
    atheris.Setup([name, *words, str(directory / "corpus"), str(directory / "seeds")], target.try_bytes)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
