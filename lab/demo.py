"""`python -m lab.demo`, which is `whodunnet lab`: lists the cases, and makes one real before somebody's eyes.

Exit status: 0 whodunnet was right, 1 wrong, 2 there was nothing to judge.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from typing import Any

from lab.case import Case
from lab.catalogue import find
from lab.keep import keep
from lab.listing import as_json, as_text
from lab.look import NotThereError
from lab.needs import MissingNeedsError, check, how_to_get
from lab.run import ToolError, command_line, default_command, diagnose, made_real, terminated
from lab.score import Score, score_of_all
from lab.stolen import without_thefts

RIGHT, WRONG, NOT_SCORED = 0, 1, 2


class RefusedError(Exception):
    """Nothing was started; the text is a sentence."""


def main() -> int:
    options = arguments()
    os.environ.pop("PYTHONHOME", None)  # the bundle's, of no use to a gunicorn of the machine
    signal.signal(signal.SIGTERM, terminated)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, terminated)
    try:
        if options.verb == "list":
            print(as_json() if options.format == "json" else as_text())
            return RIGHT
        return run(options.name, options.allow_global, options.keep)
    except (RefusedError, MissingNeedsError) as error:
        return stop(str(error))
    except (ToolError, NotThereError) as error:
        return stop(f"not scored: {error}")
    except subprocess.CalledProcessError as error:
        return stop(
            f"not scored: {shlex.join(error.cmd)} ended with {error.returncode}: {(error.stderr or '').strip()}"
        )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return NOT_SCORED
    except OSError as error:
        return stop(f"not scored: {error.filename or 'output'}: {error.strerror}")
    except (KeyboardInterrupt, SystemExit):
        return stop("interrupted; what the lab had made is gone again")
    except Exception as error:  # Python's own exit status would be 1, which means a wrong diagnosis
        if os.environ.get("WHODUNNET_TRACEBACK") == "1":
            raise
        return stop(f"not scored: {type(error).__name__}: {error}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lab.demo", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list").add_argument("--format", choices=("text", "json"), default="text")
    run = verbs.add_parser("run")
    run.add_argument("name")
    run.add_argument("--keep", action="store_true")
    run.add_argument("--allow-global", action="store_true")
    return parser.parse_args()


def stop(text: str) -> int:
    sys.stdout.flush()
    print(f"whodunnet: {text}", file=sys.stderr)
    return NOT_SCORED


def run(name: str, allow_global: bool, to_keep: bool) -> int:
    """Raises RefusedError, MissingNeedsError; and after clean-up whatever went wrong."""
    case = allowed(name, allow_global)
    command = default_command()
    show(f"{case.name} ({case.kind})\n\n{case.story}\n")
    begin = time.monotonic()
    with made_real(case, lambda seen: show(waiting(case, seen))):
        asked = time.monotonic()
        show(f"whodunnet diagnose --for {case.window_seconds}s ...\n")
        diagnosis = diagnose(case, command)
        named = time.monotonic()
        case.stage.check_undisturbed()
        result = score_of_all(case.expected(), without_thefts(diagnosis, case.stolen_seconds), case.rules)
        render(diagnosis, command)
        show(f"\n{judged(case, result)}\n{times(named - begin, named - asked)}")
        if to_keep:
            keep(case, command_line(case, ["whodunnet"])[:-2])
    show("Everything the lab had made is gone again.")
    return RIGHT if result.right else WRONG


def allowed(name: str, allow_global: bool) -> Case:
    """Raises RefusedError, MissingNeedsError."""
    try:
        kind = find(name)
    except ModuleNotFoundError as error:
        module = (error.name or "").lstrip("_")
        raise MissingNeedsError(f"{name} needs {how_to_get([module])}") from None
    case = kind()
    if case.changes_global and not allow_global:
        raise RefusedError(
            f"{name} changes the whole machine for a while, so it runs only with --allow-global; what it changes is "
            "restored, also after Ctrl-C or TERM"
        )
    check(name, kind)
    if os.geteuid() != 0:
        raise RefusedError(f"the lab makes network namespaces, which needs root: sudo whodunnet lab run {name}")
    refused = subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True, text=True)
    if refused.returncode:
        raise RefusedError(f"the lab needs network namespaces, and here root may make none: {refused.stderr.strip()}")
    return case


def show(text: str) -> None:
    print(text, flush=True)


def waiting(case: Case, seen: str) -> str:
    older = f"\nIt gets {case.age_seconds} s old before whodunnet looks.\n" if case.age_seconds else "\n"
    return f"Made real, and seen by other means than whodunnet's: {seen}{older}"


def render(diagnosis: dict[str, Any], command: list[str]) -> None:
    """The same diagnosis as `diagnose` prints it for a person. Raises ToolError."""
    done = subprocess.run([*command, "lab", "show"], check=False, input=json.dumps(diagnosis), text=True)
    if done.returncode:
        raise ToolError(f"{shlex.join(command)} lab show ended with {done.returncode}")


def judged(case: Case, result: Score) -> str:
    """Whom it had to name, and whether it did."""
    expected = case.expected()
    wanted = [f"{who} as culprit" for who in expected.culprits]
    wanted += [f"{named.who} as {' or '.join(named.roles)}" for named in expected.others]
    of = f"by {expected.rule}" if expected.rule else "and no finding of warning or above"
    asked = f"To be named: {', '.join(wanted) or 'nobody'}, {of}."
    return "\n".join([asked, "The diagnosis is right." if result.right else f"The diagnosis is wrong:\n{result}"])


def times(since_begin: float, since_asked: float) -> str:
    return f"It came {since_begin:.1f} s after the lab had begun, {since_asked:.1f} s after whodunnet was asked."


if __name__ == "__main__":
    sys.exit(main())
