"""`python -m fuzz [--seconds N] [--target NAME ...]`, or `--replay FILE --target NAME`; `--list` has the names."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NoReturn

from fuzz.run import Outcome, fuzz
from fuzz.targets import all_targets
from fuzz.workspace import KEPT

SECONDS: Final = 600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """1 if a decoder failed."""
    parser = argparse.ArgumentParser(prog="fuzz", description="decoders under a coverage-guided fuzzer")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for the whole run (default: %(default)g)")
    parser.add_argument("--target", action="append", help="only this one; may be given several times")
    parser.add_argument("--kept", type=Path, default=KEPT, help="where corpus and crashes are (default: build/fuzz)")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run the target once on these bytes")
    parser.add_argument("--list", action="store_true", help="print the names of all targets")
    options = parser.parse_args(arguments)
    targets = {target.name: target for target in all_targets()}
    if unknown := [name for name in options.target or () if name not in targets]:
        parser.error(f"there is no target {', '.join(unknown)}: see --list")
    if options.list:
        print(*targets, sep="\n")
        return 0
    if options.replay is not None:
        if len(options.target or ()) != 1:
            parser.error("--replay needs one --target")
        return replay(options.target[0], options.replay)
    if find_spec("atheris") is None:
        parser.error("atheris is missing: pip install -r fuzz/requirements.lock (for Linux on x86-64)")
    chosen = [targets[name] for name in dict.fromkeys(options.target or targets)]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    return int(show(fuzz(chosen, options.seconds, options.kept.resolve())))


def replay(name: str, path: Path) -> int:
    """With the whole traceback, if it fails."""
    taken = {target.name: target for target in all_targets()}[name].try_bytes(path.read_bytes())
    print(f"{name} {'takes' if taken else 'refuses'} {path} as it says that it does")
    return 0


def show(outcomes: Iterable[Outcome]) -> bool:
    """A line for each target as soon as it is done. Whether one failed."""
    print(f"{'target':32}{'runs':>12}{'new entries':>13}{'coverage':>10}{'crashes':>9}", flush=True)
    shown = []
    for o in outcomes:
        shown.append(o)
        print(f"{o.name:32}{o.runs:>12,}{o.new_entries:>13,}{o.coverage:>10,}{len(o.crashes):>9}", flush=True)
    runs, new, found = (
        sum(each) for each in zip(*((o.runs, o.new_entries, len(o.crashes)) for o in shown), strict=True)
    )
    print(f"{f'{len(shown)} targets':32}{runs:>12,}{new:>13,}{'':10}{found:>9}")
    for o in (o for o in shown if o.failed):
        print(f"\n{o.name} failed:\n{o.said}")
        for path in o.crashes:
            print(f"  input:  {path}\n  replay: {sys.executable} -m fuzz --replay {path} --target {o.name}")
    return any(o.failed for o in shown)


def _end(number: int, _: object) -> NoReturn:
    """So that the child is ended too."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
