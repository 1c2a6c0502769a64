"""`python -m lab.quiet --minutes 60`: `whodunnet diagnose` in a loop on a node that is busy and healthy.

Every finding of warning or above is a false one if nobody suffers; each is kept whole in build/quiet-findings.jsonl.
Writes docs/quiet-hour.json and its page. Needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from lab.commit import commit
from lab.look import NotThereError, wait_until
from lab.quiet_load import PARTS, start, tallies
from lab.quiet_page import LOUD, Found, Quiet, page
from lab.run import ToolError, default_command, terminated
from lab.stage import ROOT, Stage, undisturbed
from whodunnet import __version__

WINDOW = "5s"
BEFORE_SECONDS = 3
READY_SECONDS = 120
FINDINGS = ROOT / "build/quiet-findings.jsonl"
DOCUMENT = ROOT / "docs/quiet-hour.json"
PAGE = ROOT / "docs/quiet-hour.md"
Diagnosis = dict[str, Any]


class Loop:
    """Diagnoses one after the other, and what they said."""

    def __init__(self, stage: Stage, command: list[str], busy_before: float) -> None:
        """busy_before: share of the CPUs that others took before the load."""
        self._busy_before = busy_before
        self._stage, self._command = stage, [*command, "diagnose", "--for", WINDOW, "--format", "json"]
        self._outcomes: Counter[str] = Counter()
        self._found: Counter[tuple[str, str, str]] = Counter()
        self._not_checked: Counter[str] = Counter()
        self._cpu_seconds = self._wall_seconds = 0.0
        self._peak_rss_bytes = 0

    def run(self, seconds: float) -> Quiet:
        """For so long. Raises ToolError, and NotThereError if a part of the load is gone."""
        begin, busy = time.monotonic(), cpu_times()
        commit()  # of what is asked from now on
        while time.monotonic() < begin + seconds:
            self._add(self._diagnose())
            self._stage.check_alive()
        return self._sum_up(time.monotonic() - begin, busy_share(busy, cpu_times()))

    def _diagnose(self) -> Diagnosis:
        done = subprocess.run(self._command, capture_output=True, text=True, timeout=120, check=False)
        try:
            diagnosis: Diagnosis = json.loads(done.stdout)
        except json.JSONDecodeError:
            raise ToolError(f"exit {done.returncode}, no JSON: {done.stderr[-2000:]}") from None
        if done.stderr:
            raise ToolError(f"exit {done.returncode}: {done.stderr[-2000:]}")
        return diagnosis

    def _add(self, diagnosis: Diagnosis) -> None:
        self._outcomes[diagnosis["outcome"]] += 1
        self._not_checked.update(gap["rule"] for gap in diagnosis["not_checked"])
        cost = diagnosis["cost"]
        self._cpu_seconds += cost["cpu_seconds"]
        self._wall_seconds += cost["wall_seconds"]
        self._peak_rss_bytes = max(self._peak_rss_bytes, cost["peak_rss_bytes"])
        for finding in diagnosis["findings"]:
            self._found[finding["rule"], finding["severity"], finding["shape"] or ""] += 1
            if finding["severity"] in LOUD:
                self._keep(diagnosis["window"], finding)

    def _keep(self, window: dict[str, Any], finding: dict[str, Any]) -> None:
        """The whole finding, with what went on meanwhile."""
        load = msgspec.to_builtins(tallies(self._stage.directory))
        line = {"window": window, "load_average": os.getloadavg(), "work": load, "finding": finding}
        print(f"{window['from']} {finding['severity']} {finding['rule']}: {finding['summary']}", flush=True)
        with FINDINGS.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _sum_up(self, seconds: float, busy: float) -> Quiet:
        return Quiet(
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            version=__version__,
            commit=commit(),
            kernel=os.uname().release,
            cpus=os.cpu_count() or 0,
            seconds=round(seconds, 1),
            window=WINDOW,
            outcomes=dict(sorted(self._outcomes.items())),
            found=[Found(*what, times) for what, times in sorted(self._found.items())],
            not_checked=dict(sorted(self._not_checked.items())),
            work=tallies(self._stage.directory),
            busy_share=round(busy, 3),
            busy_before_share=round(self._busy_before, 3),
            tool_cpu_seconds=round(self._cpu_seconds, 3),
            tool_wall_seconds=round(self._wall_seconds, 3),
            tool_peak_rss_bytes=self._peak_rss_bytes,
        )


def cpu_times() -> list[int]:
    """The first line of /proc/stat, of all CPUs together."""
    return [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]


def busy_share(before: list[int], after: list[int]) -> float:
    """Of the time of all CPUs, what was not idle (idle and iowait are the fourth and fifth)."""
    spent = [later - earlier for earlier, later in zip(before, after, strict=True)]
    return 1 - (spent[3] + spent[4]) / max(sum(spent), 1)


def idle(stage: Stage) -> list[str]:
    """Parts that have done nothing so far."""
    stage.check_alive()
    found = tallies(stage.directory)
    return [part for part in PARTS if part not in found or not found[part].done]


def quiet(seconds: float, command: list[str]) -> Quiet:
    """Set up, wait until each part has done something, look for so long, and clean up."""
    before = cpu_times()
    time.sleep(BEFORE_SECONDS)  # not a guess: it is the time that is looked at
    busy_before = busy_share(before, cpu_times())
    stage = Stage()
    try:
        start(stage)
        wait_until(lambda: not idle(stage), READY_SECONDS, lambda: f"nothing done: {idle(stage)}\n{stage.logs()}")
        return Loop(stage, command, busy_before).run(seconds)
    finally:
        with undisturbed():
            stage.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.quiet", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--render", action="store_true", help="only write the page, from what is beside it")
    options = parser.parse_args()
    if options.render:
        PAGE.write_text(page(msgspec.json.decode(DOCUMENT.read_bytes(), type=Quiet)))
        return 0
    signal.signal(signal.SIGTERM, terminated)
    FINDINGS.parent.mkdir(exist_ok=True)
    FINDINGS.unlink(missing_ok=True)
    try:
        found = quiet(options.minutes * 60, default_command())
    except (ToolError, NotThereError) as error:
        print(f"not published: {error}", file=sys.stderr)
        return 2
    DOCUMENT.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    PAGE.write_text(page(found))
    print(PAGE.read_text())
    return 1 if found.loud else 0


if __name__ == "__main__":
    sys.exit(main())
