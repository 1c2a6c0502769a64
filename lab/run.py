"""`python -m lab.run NAME`: make a case real, let whodunnet diagnose it, say how right that was, and clean up.

Exit status: 0 right, 1 wrong, 2 not scored.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from lab.case import Case
from lab.catalogue import find, names
from lab.look import NotThereError
from lab.needs import MissingNeedsError, check
from lab.score import Score, score_of_all
from lab.stage import undisturbed
from lab.stolen import stolen_seconds, without_thefts

STDERR_MOST = 400
ANSWERS_WITHIN_SECONDS = 60
"""After the window."""


class ToolError(Exception):
    """whodunnet did not answer with a diagnosis."""


def default_command() -> list[str]:
    """$WHODUNNET, or the whodunnet beside this Python, or the one on the path."""
    if given := os.environ.get("WHODUNNET"):
        return shlex.split(given)
    beside = Path(sys.executable).with_name("whodunnet")
    return [str(beside) if beside.exists() else shutil.which("whodunnet") or "whodunnet"]


def command_line(case: Case, command: list[str]) -> list[str]:
    """whodunnet, started where the case wants it, and asked as a user asks: of all rules."""
    enter = ["nsenter", f"--net={case.enter}"] if case.enter else []
    return [*enter, *command, "diagnose", "--for", f"{case.window_seconds}s", "--format", "json"]


def diagnose(case: Case, command: list[str]) -> dict[str, Any]:
    """What it says in JSON. Raises ToolError."""
    line, stolen = command_line(case, command), stolen_seconds()
    seconds = case.window_seconds + ANSWERS_WITHIN_SECONDS
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{shlex.join(line)}: no diagnosis: {error}") from None
    try:
        diagnosis: dict[str, Any] = json.loads(done.stdout)
        if not {"findings", "cleared"} <= {*diagnosis}:
            raise TypeError
        window = diagnosis["window"]
        case.window = by_our_clock(window["from"]), by_our_clock(window["to"])
    except (ValueError, TypeError, LookupError):
        said = done.stderr[-STDERR_MOST:]
        raise ToolError(f"{shlex.join(line)}: exit {done.returncode}, no diagnosis: {said}") from None
    case.stolen_seconds = stolen_seconds() - stolen
    return diagnosis


def by_our_clock(at: str) -> float:
    """What time.monotonic() said at that moment. Raises ValueError."""
    return datetime.fromisoformat(at).timestamp() - time.time() + time.monotonic()


@contextmanager
def made_real(case: Case, say: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """From here on the case is there and old enough; afterwards it is gone, also when a signal ends us."""
    try:
        begin = time.monotonic()
        case.start()
        seen = case.ready()
        say(f"ready after {time.monotonic() - begin:.1f} s: {seen}")
        time.sleep(case.age_seconds)  # not a guess: the age is part of the case
        case.stage.check_undisturbed()
        yield
    finally:
        with undisturbed():
            case.stop()


def run(case: Case, command: list[str], say: Callable[[str], None] = lambda _: None) -> tuple[dict[str, Any], Score]:
    with made_real(case, say):
        diagnosis = diagnose(case, command)
        case.stage.check_undisturbed()
        return diagnosis, score_of_all(case.expected(), without_thefts(diagnosis, case.stolen_seconds), case.rules)


def show(case: Case) -> None:
    """Only make it real, and look as long as the tool would."""
    with made_real(case, print):
        for seconds, when in ((0, "when the window begins"), (case.window_seconds, "when it ends")):
            time.sleep(seconds)
            print(f"{when}: {case.look()}")
        print(case.expected())


def terminated(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.run", description=__doc__)
    parser.add_argument("name", choices=names(), nargs="?", help="without it: list the cases")
    parser.add_argument("--command", type=shlex.split, default=default_command(), help="how to call whodunnet")
    parser.add_argument("--allow-global", action="store_true", help="allow a case that changes the whole machine")
    parser.add_argument("--no-tool", action="store_true", help="only make it real, look, and clean up")
    options = parser.parse_args()
    if options.name is None:
        for name in names():
            kind = find(name)
            print(f"{name:34} {kind.kind:10} {'changes the machine' if kind.changes_global else ''}")
        return 0
    case = find(options.name)()
    if case.changes_global and not options.allow_global:
        parser.error(f"{case.name} changes the whole machine: --allow-global")
    try:
        check(case.name, type(case))
    except MissingNeedsError as error:
        parser.error(str(error))
    signal.signal(signal.SIGTERM, terminated)
    print(f"{case.name} ({case.kind})\n{case.story}\n")
    try:
        if options.no_tool:
            show(case)
            return 0
        diagnosis, result = run(case, options.command, print)
    except (ToolError, NotThereError) as error:
        print(f"not scored: {error}", file=sys.stderr)
        return 2
    print(json.dumps(diagnosis, indent=2, ensure_ascii=False))
    print(result)
    return 0 if result.right else 1


if __name__ == "__main__":
    sys.exit(main())
