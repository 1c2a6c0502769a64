"""Of which tree a published number is."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
BUILT = ("src", "bpf", "tools")


@cache
def commit(paths: Sequence[str] = BUILT) -> str:
    """The last one that changed these paths, as it was when first asked; "+" if files were changed since."""
    short = _git("log", "-1", "--format=%h", "--abbrev=10", "--", *paths)
    return f"{short or 'unknown'}{'+' if _git('status', '--porcelain', '--', *paths) else ''}"


def _git(*words: str) -> str:
    """Empty where this is no checkout."""
    return subprocess.run(["git", *words], cwd=ROOT, check=False, capture_output=True, text=True).stdout.strip()
