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

from lab.case import Case, Expected
from lab.catalogue import find
from lab.keep import keep
from lab.listing import UNDECIDABLE, as_json, as_text
from lab.look import NotThereError
from lab.needs import MissingNeedsError, check, how_to_get
from lab.run import ToolError, command_line, default_command, diagnose, made_real, terminated
from lab.score import Score, score_of_all
from lab.stolen import without_thefts
from lab.who import Who

RIGHT, WRONG, NOT_SCORED = 0, 1, 2
NOT_LOUD = ("info", "warning")
"""Severities of what may be said of a look-alike, unless its case says otherwise."""


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
    show(introduced(case))
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


def introduced(case: Case) -> str:
    """What is known beforehand."""
    story = f"{case.name} ({case.kind})\n\n{case.story}\n"
    return f"{story}\n{UNDECIDABLE.capitalize()}.\n" if case.undecidable else story


def waiting(case: Case, seen: str) -> str:
    older = f"\nIt gets {case.age_seconds} s old before whodunnet looks.\n" if case.age_seconds else "\n"
    return f"Made real, and seen by other means than whodunnet's: {seen}{older}"


def render(diagnosis: dict[str, Any], command: list[str]) -> None:
    """The same diagnosis as `diagnose` prints it for a person. Raises ToolError."""
    done = subprocess.run([*command, "lab", "show"], check=False, input=json.dumps(diagnosis), text=True)
    if done.returncode:
        raise ToolError(f"{shlex.join(command)} lab show ended with {done.returncode}")


def judged(case: Case, result: Score) -> str:
    """Whom it had to name, what else it may say, and whether it did so."""
    lines = wanted(case.expected())
    lines += [f"{UNDECIDABLE.capitalize()}."] if case.undecidable else []
    return "\n".join([*lines, "The diagnosis is right." if result.right else f"The diagnosis is wrong:\n{result}"])


def wanted(expected: Expected) -> list[str]:
    """Who has to be named and who may be, and which rules have to speak or may. Of all else only a complaint tells."""
    names = [f"{known(who)} as culprit" for who in expected.culprits]
    names += [f"{known(named.who)} as {' or '.join(named.roles)}" for named in expected.others]
    lines = [f"To be named: {', '.join(names) or 'nobody'}{findings(expected, bool(names))}."]
    if tolerated := may_be_called(expected):
        lines.append(f"May be called culprit, and need not: {', '.join(tolerated)}.")
    if expected.cleared:
        lines.append(f"To be cleared: {', '.join(expected.cleared)}.")
    return lines


def known(who: Who) -> str:
    return f"{who} ({who.state})" if who.state else str(who)


def findings(expected: Expected, anybody: bool) -> str:
    """By which rules it is to be found, or may be. anybody: there are some to be named."""
    if expected.rule is None:
        return f", and no finding of warning or above{excepted(expected)}"
    by = f", by {' or '.join((expected.rule, *expected.also))}" if anybody else ""
    if anybody and not expected.also:
        return by
    too = f", and {' and '.join(expected.also)} may have one" if expected.also else ""
    return f"{by}; {expected.rule} has to have a finding{too}"


def excepted(expected: Expected) -> str:
    """Rules that may have a finding although none is wanted."""
    severities = " or ".join(expected.severities or NOT_LOUD)
    allowed = [f"by {rule} ({severities})" for rule in expected.also] + [f"by {rule}" for rule in expected.beside]
    return f", except {' and '.join(allowed)}" if allowed else ""


def may_be_called(expected: Expected) -> list[str]:
    """Culprits that are not asked for, without those of whom it is said already that they may be."""
    told = [named.who for named in expected.others if "culprit" in named.roles]
    by_any = [known(who) for who in expected.tolerated if who not in told]
    return by_any + [f"{known(who)} by {rule}" for rule, who in expected.elsewhere]


def times(since_begin: float, since_asked: float) -> str:
    return f"It came {since_begin:.1f} s after the lab had begun, {since_asked:.1f} s after whodunnet was asked."


if __name__ == "__main__":
    sys.exit(main())
