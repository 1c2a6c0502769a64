"""What the machine under this one took of its CPUs meanwhile: to say so is right, whatever a case is about."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Json = Mapping[str, Any]
STATEMENT = "Time that the hypervisor took "
STEAL = 8
"""Where it stands in the first line of /proc/stat (proc_stat(5))."""
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
TOLERATED_SHARE = 0.1
"""What is summed of many readings and CPUs was rounded to a tick in each."""


def stolen_seconds(stat: Path = Path("/proc/stat")) -> float:
    """Of all CPUs, since boot."""
    return int(stat.read_text().split()[STEAL]) * TICK_SECONDS


def without_thefts(diagnosis: Json, seconds: float) -> dict[str, Any]:
    """A diagnosis without findings of what the hypervisor took, as far as it has. seconds: taken by our own reading.

    A rule that found nothing else counts as one that looked and found nothing.
    """
    others = [f for f in diagnosis["findings"] if not is_theft(f, seconds)]
    silent = {f["rule"] for f in diagnosis["findings"]} - {f["rule"] for f in others}
    cleared = [*diagnosis["cleared"], *({"rule": rule} for rule in sorted(silent))]
    return {**diagnosis, "findings": others, "cleared": cleared}


def is_theft(finding: Json, seconds: float) -> bool:
    """Whether it blames the hypervisor alone, for no more than was taken, if anything was."""
    if seconds <= 0 or (finding["rule"], finding.get("shape")) != ("rx-stall", "steal"):
        return False
    if any(party["role"] == "culprit" for party in finding["parties"]):
        return False
    told = [e["value"] for e in finding["evidence"] if e["statement"].startswith(STATEMENT)]
    return bool(told) and sum(told) <= seconds * (1 + TOLERATED_SHARE) + 2 * TICK_SECONDS
