"""`python -m lab.board`: cases × kernels, one case at a time on each kernel, and the score board that comes of it.

Every cell that is run is kept in docs/scoreboard.json as soon as it is there, and docs/scoreboard.md is written from
that: a run that is broken off goes on where it was with `--missing`. Exit status: 0 all right, 1 a case is wrong, 2 one
was not scored.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock, Timer
from types import FrameType

import msgspec

from lab import kernel_packages, machine
from lab.board_text import page, row
from lab.case import Case
from lab.catalogue import find, names
from lab.commit import commit
from lab.kernel_packages import Kernel
from lab.outcome import Machine, Outcome, merged, no_answer, not_scored
from lab.run import default_command
from lab.series import ASKING, now
from lab.stage import ROOT

HOST = "host"
MACHINES = (HOST, *kernel_packages.PACKAGES)
JSON = ROOT / "docs/scoreboard.json"
PAGE = ROOT / "docs/scoreboard.md"
TRIED = ("src", "bpf", "tools", "lab", ":!lab/*.toml")
COMPILED = ("lab", "src")
PATIENCE = 4.0
"""Under emulation a program takes so much longer to come up."""
AT_ONCE = 8
"""Cases for one start of a virtual machine: a kernel that dies takes no more of them with it."""
SECONDS_EACH = 240.0
END_SECONDS = 60.0
BOOT_SECONDS = 120.0
MEMORY_MIB = 4096
MOUNTED = 'mkdir -p /run/netns && mount -t tmpfs none /run/netns && ip link set lo up && exec "$@"'
BED = ("unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", MOUNTED, "sh")
"""A network and a mount namespace of their own, as `make test` has them."""
Keep = Callable[[Outcome], None]
ENDING = Event()
"""Somebody wants us to end: what a virtual machine says from now on is no result."""


class Board:
    """What is known, on disk after each case."""

    def __init__(self, path: Path | None) -> None:
        """path: of the JSON; None: nothing is kept, only shown."""
        self.path = path
        self.lock = Lock()
        self.now: list[Outcome] = []
        self.outcomes = read(path) if path else []

    def keep(self, outcome: Outcome) -> None:
        with self.lock:
            print(row(outcome), flush=True)
            self.now.append(outcome)
            self.outcomes = merged(self.outcomes, [outcome])
            if self.path:
                write(self.path, self.outcomes)


def read(path: Path) -> list[Outcome]:
    return msgspec.json.decode(path.read_bytes(), type=list[Outcome]) if path.exists() else []


def write(path: Path, outcomes: Sequence[Outcome]) -> None:
    """JSON of a line each, and the page beside it."""
    lines = ",\n".join(msgspec.json.encode(outcome).decode() for outcome in outcomes)
    for file, text in ((path, f"[\n{lines}\n]\n"), (path.with_suffix(".md"), page(outcomes))):
        new = file.with_name(f".{file.name}.new")
        new.write_text(text)
        new.replace(file)


def on_host(wanted: Sequence[str], command: list[str], keep: Keep) -> None:
    """Case after case; a series that ends early takes one case with it, and the others go on in the next."""
    here, left = Machine(name=HOST, kernel=os.uname().release, cpus=os.cpu_count() or 0), list(wanted)
    while left:
        lines: list[str] = []
        with subprocess.Popen(
            [*BED, *series_command(HOST, left, command)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                for outcome in outcomes_of(read_into(lines, process)):
                    keep(outcome)
                    left.remove(outcome.case)
            except BaseException:
                give_up(process)
                raise
        if left:
            keep(ended(find(left.pop(0))(), lines, f"the series ended with {process.returncode}", here))


def read_into(lines: list[str], process: subprocess.Popen[str]) -> Iterator[str]:
    """What comes, which is kept as well. A series of which nothing comes for too long is ended."""
    assert process.stdout is not None
    while True:
        patience = Timer(SECONDS_EACH, give_up, (process,))
        patience.start()
        line = process.stdout.readline()
        patience.cancel()
        if not line:
            return
        lines.append(line.rstrip("\n"))
        yield line


def give_up(process: subprocess.Popen[str]) -> None:
    """It takes its case down; if that does not end either, the guard of the case does it."""
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def on_kernel(kernel: Kernel, wanted: Sequence[str], command: list[str], keep: Keep) -> None:
    """Some cases for each boot. Of the one at which a machine ends it is told, and the others go on in the next.

    One at which the emulator itself failed is tried once more, last of all.
    """
    left, again = list(wanted), list[str]()
    while left and not ENDING.is_set():
        some = left[:AT_ONCE]
        stdout, why = boot(kernel, some, command)
        lines = stdout.split("\n")
        done = list(outcomes_of(lines))
        for outcome in done:
            keep(outcome)
        left = left[len(done) :]
        if len(done) < len(some) and not ENDING.is_set():
            here = Machine(name=kernel.release, kernel=kernel.version, cpus=machine.CPUS, preempt=kernel.arguments)
            case = left.pop(0)
            keep(ended(find(case)(), lines, why, here))
            if machine.emulator_failed(why) and case not in again:
                again.append(case)
                left.append(case)


def ended(case: Case, lines: Sequence[str], why: str, here: Machine) -> Outcome:
    """Of the case at which a series or its machine ended: while whodunnet looked, or before it was asked."""
    place = {"machine": here, "commit": commit(TRIED), "at": now()}
    if machine.emulator_failed(why):
        return not_scored(case, f"the emulator failed: {why}", **place)
    for line in lines:
        if line.startswith(f"{ASKING}{case.name} "):
            return no_answer(case, why, int(line.rpartition(" ")[2]), **place)
    return not_scored(case, why, **place)


def boot(kernel: Kernel, wanted: Sequence[str], command: list[str]) -> tuple[str, str]:
    """What the series printed, and why it did not come to its end, if it did not."""
    words = ["env", f"WHODUNNET_LAB_PATIENCE={PATIENCE:g}", *series_command(kernel.release, wanted, command)]
    try:
        limit = BOOT_SECONDS + SECONDS_EACH * len(wanted)
        done = machine.run(
            kernel, words, ROOT, limit_seconds=limit, kernel_arguments=kernel.arguments, memory_mib=MEMORY_MIB
        )
    except machine.MachineError as error:
        return error.stdout, str(error)
    return done.stdout, f"the series ended with {done.status}: {done.stderr}" if done.status else ""


def series_command(name: str, wanted: Sequence[str], command: list[str]) -> list[str]:
    words = [sys.executable, "-m", "lab.series", "--machine", name, "--commit", commit(TRIED)]
    return [*words, "--command", shlex.join(command), *wanted]


def outcomes_of(lines: Iterator[str] | Sequence[str]) -> Iterator[Outcome]:
    for line in lines:
        if line.startswith("{"):
            try:
                yield msgspec.json.decode(line, type=Outcome)
            except msgspec.DecodeError:  # the machine ended while it was written
                return


def to_run(name: str, asked: Sequence[str], board: Board, which: str) -> list[str]:
    """which: "all", or only those "missing" from the board (or not scored, or not of all rules), those and what is
    "older" than the commit that is tried, or what is "wrong" on it."""
    here = [outcome for outcome in board.outcomes if outcome.machine.name == name]
    if which == "older":
        new = {o.case for o in here if o.commit == commit(TRIED) and o.result != "not-scored"}
        return [case for case in asked if case not in new]
    results = {o.case: o.result for o in here if o.beside is not None or o.result != "right"}
    if which == "missing":
        return [case for case in asked if results.get(case, "not-scored") == "not-scored"]
    return [case for case in asked if which == "all" or results.get(case) == "wrong"]


def run(machines: Sequence[str], asked: Sequence[str], options: argparse.Namespace, board: Board) -> None:
    """This kernel first, alone; then the virtual machines, one after the other unless asked otherwise."""
    kernels = [kernel_packages.kernel(name) for name in machines if name != HOST]
    for package in COMPILED if kernels else ():  # a virtual machine cannot keep what it compiles
        compileall.compile_dir(ROOT / package, quiet=2)
    if HOST in machines and (wanted := to_run(HOST, asked, board, options.which)):
        on_host(wanted, options.command, board.keep)
    with ThreadPoolExecutor(max_workers=len(kernels) or 1 if options.together else 1) as pool:
        turns = [
            pool.submit(on_kernel, kernel, wanted, options.bundle, board.keep)
            for kernel in kernels
            if (wanted := to_run(kernel.release, asked, board, options.which))
        ]
        for turn in turns:
            turn.result()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.board", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="CASE", help="without any: all")
    parser.add_argument("--machines", default=",".join(MACHINES), help=f"some of {','.join(MACHINES)}")
    parser.add_argument("--quick", action="store_true", help="only those that `make test` has, shown and not kept")
    parser.add_argument("--missing", dest="which", action="store_const", const="missing", default="all")
    parser.add_argument("--wrong", dest="which", action="store_const", const="wrong", help="what was wrong, again")
    parser.add_argument("--older", dest="which", action="store_const", const="older", help="those of other commits too")
    parser.add_argument("--together", action="store_true", help="virtual machines side by side")
    parser.add_argument("--command", type=shlex.split, default=default_command(), help="how to call whodunnet here")
    parser.add_argument("--bundle", type=shlex.split, default=bundle(), help="and in virtual machines")
    parser.add_argument("--page", action="store_true", help="only write the page anew, from what is known")
    options = parser.parse_args()
    if os.geteuid() != 0 and not options.page:
        parser.error("network namespaces and virtual machines need root")
    board = Board(None if options.quick else JSON)
    if board.path and not options.page and commit(TRIED).endswith("+"):
        parser.error("there are changes that are not committed, and the board says of which commit each result is")
    if options.page:
        write(JSON, board.outcomes)
        return 0
    asked = options.names or [name for name in names() if find(name).quick or not options.quick]
    machines = [HOST] if options.quick else options.machines.split(",")
    if unknown := {*machines} - {*MACHINES} | {*options.names} - {*names()}:
        parser.error(f"no machine or case is called {', '.join(sorted(unknown))}: see whodunnet lab list")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    try:
        run(machines, asked, options, board)
    except (kernel_packages.NoKernelError, OSError, subprocess.SubprocessError) as error:
        parser.error(str(error))
    results = {outcome.result for outcome in board.now}
    return 2 if "not-scored" in results else int("wrong" in results)


def end(number: int, _frame: FrameType | None) -> None:
    """What is known is on disk. Machines end at once, a case of this kernel is taken down first."""
    ENDING.set()
    machine.end_all()
    raise SystemExit(128 + number)


def bundle() -> list[str]:
    """What `make bundle` built, else whodunnet of this tree."""
    built = sorted(path for path in (ROOT / "dist").glob("whodunnet-*") if os.access(path, os.X_OK) and path.is_file())
    return [str(built[-1])] if built else default_command()


if __name__ == "__main__":
    sys.exit(main())
