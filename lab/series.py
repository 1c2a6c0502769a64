"""`python -m lab.series NAME...`: case after case on this kernel, one line of JSON for each (lab.outcome.Outcome).

Exit status: 0, whatever became of the cases; 128 + the signal that ended it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from lab.case import Case
from lab.catalogue import find, names
from lab.look import NotThereError
from lab.outcome import TEXT_MOST, Machine, Outcome, no_answer, not_scored, scored, whom_to_name
from lab.run import ToolError, default_command, diagnose, made_real, terminated

CANNOT = (NotThereError, OSError, LookupError, ImportError, subprocess.SubprocessError)
"""What says that a case could not be made real here."""
ASKING = "asking "
"""The line before whodunnet is started, with how many it has to name: if nothing comes after it, that is its fault."""


def one(case: Case, command: list[str], machine: Machine, commit: str) -> Outcome:
    """Make it real, ask whodunnet as a user would, hold its answer against what is expected."""
    outcome = None
    try:
        with made_real(case):
            outcome = asked(case, command, machine, commit)
    except CANNOT as error:
        if outcome is None:
            return not_scored(case, said(error), machine=machine, commit=commit, at=now())
        return msgspec.structs.replace(outcome, why=f"scored, and then: {said(error)}"[:TEXT_MOST])
    return outcome


def asked(case: Case, command: list[str], machine: Machine, commit: str) -> Outcome:
    """The case is there from here on: if there is no answer, that is whodunnet's own fault. Raises NotThereError."""
    print(f"{ASKING}{case.name} {whom_to_name(case.expected())}", flush=True)
    begin = time.monotonic()
    try:
        diagnosis = diagnose(case, command)
    except ToolError as error:
        return unanswered(case, said(error), machine, commit)
    seconds = time.monotonic() - begin
    case.stage.check_undisturbed()
    expected = case.expected()
    try:
        return scored(case, expected, diagnosis, seconds, machine=machine, commit=commit, at=now())
    except (LookupError, TypeError, AttributeError) as error:
        return unanswered(case, f"a diagnosis that lacks something: {error!r}", machine, commit)


def unanswered(case: Case, why: str, machine: Machine, commit: str) -> Outcome:
    return no_answer(case, why, whom_to_name(case.expected()), machine=machine, commit=commit, at=now())


def said(error: Exception) -> str:
    """With what a program that failed printed."""
    printed = getattr(error, "stderr", None) or ""
    return f"{error} {printed if isinstance(printed, str) else printed.decode(errors='replace')}".strip()


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def series(wanted: Sequence[str], command: list[str], machine: Machine, commit: str) -> Iterator[Outcome]:
    for name in wanted:
        yield one(find(name)(), command, machine, commit)


def preempt_words() -> str:
    return " ".join(word for word in Path("/proc/cmdline").read_text().split() if word.startswith("preempt="))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.series", description=__doc__)
    parser.add_argument("names", nargs="+", choices=names(), metavar="NAME")
    parser.add_argument("--command", type=shlex.split, default=default_command(), help="how to call whodunnet")
    parser.add_argument("--machine", default="host", help="what this kernel is called on the score board")
    parser.add_argument("--commit", default="unknown", help="what is being tried")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, terminated)
    machine = Machine(
        name=options.machine, kernel=os.uname().release, cpus=os.cpu_count() or 0, preempt=preempt_words()
    )
    for outcome in series(options.names, options.command, machine, options.commit):
        print(msgspec.json.encode(outcome).decode(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
