"""docs/quiet-hour.md, from what lab.quiet has counted."""

from __future__ import annotations

from math import exp, factorial

import msgspec

from lab.markdown import table
from lab.quiet_load import Tally

LOUD = ("warning", "critical")
HEAD = """# A quiet hour

Made by `python -m lab.quiet`, on {date}, with whodunnet {version} ({commit}); not written by hand.

A node with {cpus} CPUs and Linux {kernel} did its ordinary work for {minutes:.0f} minutes, and
`whodunnet diagnose --for {window}` looked all the time, with every rule: {diagnoses} diagnoses, one after the
other. Of {done:,} pieces of work {failed:,} failed. Each finding of warning or above counts as a false one.

**False findings: {loud}, which is {rate:.1f} in an hour; with 95 % certainty fewer than {most:.1f}.**

"""
WORK_HEAD = """
## What the node did

Its CPUs were busy for {busy:.0%} of the time; before the work began it was {before:.0%}, by whatever else ran there.

"""
WORK = {
    "build": "builds of the BPF programs and all Python files, with as many jobs as CPUs, at nice 19 (make, clang)",
    "download": "downloads from outside through NAT, of 20 MB and of 200 bytes (curl, nginx)",
    "web": "requests to nginx by a Service, on 20 connections that stay",
    "api": "requests to uvicorn by a Service, on 10 connections that stay",
    "names": "questions to dnsmasq, each from a socket of its own",
    "pods": "pods that came, asked five times and went (network namespaces with a veth, curl)",
}
COST_HEAD = """
## What it cost

"""
COST = """Of one CPU {share:.1%} while it looked, {each:.2f} s in each diagnosis; at most {peak:.0f} MiB of memory.
"""


class Found(msgspec.Struct, frozen=True):
    """Findings of one kind, and in how many diagnoses."""

    rule: str
    severity: str
    shape: str
    times: int


class Quiet(msgspec.Struct, frozen=True, kw_only=True):
    """One run. busy_share, busy_before_share: of the time of all CPUs, with the work and before it.

    tool_...: sums over the diagnoses, of memory the most.
    """

    date: str
    version: str
    commit: str
    kernel: str
    cpus: int
    seconds: float
    window: str
    outcomes: dict[str, int]
    found: list[Found]
    not_checked: dict[str, int]
    work: dict[str, Tally]
    busy_share: float
    busy_before_share: float
    tool_cpu_seconds: float
    tool_wall_seconds: float
    tool_peak_rss_bytes: int

    @property
    def diagnoses(self) -> int:
        return sum(self.outcomes.values())

    @property
    def loud(self) -> int:
        """Findings of warning or above."""
        return sum(one.times for one in self.found if one.severity in LOUD)

    @property
    def an_hour(self) -> float:
        return self.loud / self.seconds * 3600


def page(quiet: Quiet) -> str:
    """The whole page."""
    head = HEAD.format(
        date=quiet.date,
        version=quiet.version,
        commit=quiet.commit,
        cpus=quiet.cpus,
        kernel=quiet.kernel,
        minutes=quiet.seconds / 60,
        window=quiet.window,
        diagnoses=quiet.diagnoses,
        done=sum(tally.done + tally.failed for tally in quiet.work.values()),
        failed=sum(tally.failed for tally in quiet.work.values()),
        loud=quiet.loud,
        rate=quiet.an_hour,
        most=likely_most(quiet.loud) / quiet.seconds * 3600,
    )
    return head + findings(quiet) + did(quiet) + COST_HEAD + cost(quiet)


def likely_most(seen: int) -> float:
    """How many there are on average, at most, if so many were seen: with 95 % certainty (Poisson, one-sided)."""
    low, high = 0.0, 2.0 * seen + 10
    while high - low > 1e-6:
        mean = (low + high) / 2
        so_few = sum(exp(-mean) * mean**n / factorial(n) for n in range(seen + 1))
        low, high = (mean, high) if so_few > 0.05 else (low, mean)
    return high


def findings(quiet: Quiet) -> str:
    """Of every severity, and what could not be checked."""
    rows = [[f"[{f.rule}](rules/{f.rule}.md)", f.severity, f.shape or "-", str(f.times)] for f in quiet.found]
    gaps = "; ".join(f"{rule} in {times}" for rule, times in quiet.not_checked.items())
    said = table(["rule", "severity", "shape", "diagnoses"], rows) if rows else "There was no finding at all.\n"
    return f"{said}\nNot checked: {gaps or 'nothing, in no diagnosis'}.\n"


def did(quiet: Quiet) -> str:
    """How much of each kind of work was done, and that it did not suffer."""
    rows = [
        [
            text,
            f"{quiet.work[part].done:,}",
            f"{quiet.work[part].failed:,}",
            f"{quiet.work[part].longest_seconds:.2f} s",
        ]
        for part, text in WORK.items()
    ]
    head = WORK_HEAD.format(busy=quiet.busy_share, before=quiet.busy_before_share)
    return head + table(["work", "done", "failed", "the longest"], rows)


def cost(quiet: Quiet) -> str:
    return COST.format(
        share=quiet.tool_cpu_seconds / quiet.tool_wall_seconds,
        each=quiet.tool_cpu_seconds / quiet.diagnoses,
        peak=quiet.tool_peak_rss_bytes / (1 << 20),
    )
