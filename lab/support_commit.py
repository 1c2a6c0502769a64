"""Of which tree a published number is."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
BUILT = ("src", "bpf", "tools")


def commit() -> str:
    """The newest commit, and whether what is built from the tree has changed since."""
    named = ["git", "describe", "--always", "--exclude=*", "--abbrev=12"]
    name = subprocess.run(named, cwd=ROOT, check=False, capture_output=True, text=True).stdout.strip()
    dirty = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", *BUILT], cwd=ROOT, check=False)
    return name + (" with changes" if dirty.returncode else "")
