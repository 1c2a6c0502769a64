"""whodunnet stalls: received packets that wait for a CPU, as it happens, and who held it meanwhile."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress

import click

from whodunnet.cli.conntrack import refused
from whodunnet.cli.duration import Duration
from whodunnet.cli.ending import Ended, ending_signals, interruptible
from whodunnet.cli.output import Output
from whodunnet.collectors.owner_names import Identity, name_owners
from whodunnet.collectors.snapshots import now
from whodunnet.collectors.stalls import StallsCollector
from whodunnet.collectors.workloads import WorkloadsCollector
from whodunnet.errors import UnreadableError, UsageError
from whodunnet.kernel import namespaces
from whodunnet.kernel.cpus import read_online
from whodunnet.kernel.host import find_place
from whodunnet.kernel.receive_queues import read_receiving_devices
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support, node, read_support
from whodunnet.model.snapshot import AnySample, Node, Recording, Snapshot
from whodunnet.model.softnet import ReceivingDevice
from whodunnet.model.stall_window import StallWindow, stall_window, sum_delays
from whodunnet.model.stalls import CpuDelays, Stalls
from whodunnet.model.workload import Workload
from whodunnet.report.console import make_console
from whodunnet.report.stall_text import render_head, render_line, render_summary
from whodunnet.report.stalls import (
    Causes,
    NotShown,
    StallLine,
    StallSummary,
    line_of,
    render_json_line,
    summary_of,
)
from whodunnet.rules.stall_cases import judge_all

LEAST_SECONDS = 0.001
"""Shorter ones are too many to tell each, and too short for a sample."""
LOOK_SECONDS = 1.0
GATHER_SECONDS = 0.1
"""So long we wait for more once a stall has ended: names are looked up once for all."""


@click.command()
@click.option("--for", "seconds", type=Duration(), help="How long to watch; without it until Ctrl-C.")
@click.option("--threshold", type=Duration(), default="10ms", show_default=True, help="Shorter waits are only counted.")
@click.option("--cpu", type=click.IntRange(0, 8191), help="Show this CPU only.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(seconds: float | None, threshold: float, cpu: int | None, form: str) -> None:
    """Show each time that received packets wait for a CPU, and who holds it meanwhile.

    For each: how long they waited, which task held the CPU, in which system call and functions, and how long it was
    seen there. At the end how long packets waited on each CPU, and who caused how much of it. Whoever was only
    interrupted is not named, nor anybody where it was the hypervisor. Ctrl-C ends it.
    """
    if threshold < LEAST_SECONDS:
        raise UsageError(f"--threshold has to be {LEAST_SECONDS * 1000:g}ms at least: shorter waits are only counted")
    place = find_place()
    _look_for(cpu, place.roots)
    if place.container is not None and place.host is not None:
        namespaces.join_cgroups(place.roots)
    support = read_support(place.roots)
    watching = Watching(place.roots, support, threshold, cpu, form)
    try:
        with ending_signals():
            with suppress(Ended):
                watching.start()
                watching.run(seconds)
            summary = watching.finish()
    except UnreadableError as error:
        raise refused("stalls of received packets cannot be watched", error, place, support) from error
    finally:
        watching.close()
    if form == "json":
        click.echo(render_json_line(summary))
    else:
        render_summary(summary, make_console())


class Watching:
    """One watch: takes stalls, names who held the CPU, writes them."""

    def __init__(self, roots: Roots, support: Support, threshold: float, cpu: int | None, form: str) -> None:
        self._collector = StallsCollector(roots, support, threshold_seconds=threshold)
        self._workloads, self._named = WorkloadsCollector(roots), dict[Identity, Workload]()
        self._node: Node = node(support)
        self._virtual = self._node.virtual_machine is not False
        self._cpu, self._form, self._output = cpu, form, Output()
        self._causes = Causes(self._virtual)
        self._devices = _devices(roots)
        self._before: Snapshot | None = None
        self._cpus: tuple[CpuDelays, ...] = ()
        self._left_out = 0

    def start(self) -> None:
        """Attach. Raises UnreadableError where that is refused."""
        self._take()
        click.echo("Watching how long received packets wait; Ctrl-C ends it.", err=True)
        if self._form == "text":
            self._output.write(render_head() + "\n")

    def run(self, seconds: float | None) -> None:
        """Until the time is over. Raises Ended when a signal comes."""
        end = None if seconds is None else time.monotonic() + seconds
        while (left := LOOK_SECONDS if end is None else end - time.monotonic()) > 0:
            with interruptible():
                if self._collector.wait(min(left, LOOK_SECONDS)):
                    time.sleep(min(left, GATHER_SECONDS))
            self._show(self._take())

    def finish(self) -> StallSummary:
        """What had come by the end, and all of it."""
        with suppress(Ended):
            self._show(self._take())
        sample = self._last()
        return summary_of(now().wall, sample, self._causes, self._cpus, self._left_out, self._devices)

    def close(self) -> None:
        self._collector.close()

    def _last(self) -> Stalls:
        assert self._before is not None
        sample = self._before.samples["stalls"]
        assert isinstance(sample, Stalls)
        return sample

    def _take(self) -> StallWindow | None:
        """What came since the last time; None the first time."""
        sample, at = self._collector.collect(), now()
        samples: dict[str, AnySample] = {"stalls": sample}
        if sample.stalls:
            with suppress(UnreadableError):  # /proc cannot be listed: the names that BPF met stay
                samples["workloads"] = name_owners(self._workloads, None, {}, self._named, stalls=sample.stalls)
        before, self._before = self._before, Snapshot(at=at, samples=samples)
        if before is None:
            return None
        return stall_window(Recording(node=self._node, snapshots=(before, self._before)))

    def _show(self, window: StallWindow | None) -> None:
        if window is None:
            return
        self._cpus = sum_delays(cpu for cpu in (*self._cpus, *window.cpus) if self._cpu in (None, cpu.cpu))
        self._left_out += window.left_out
        lines: list[StallLine | NotShown] = []
        for judged in judge_all(window):
            if self._cpu in (None, judged.stall.cpu):
                self._causes.add(judged)
                lines.append(line_of(judged, self._virtual, self._devices))
        if window.lost or window.suppressed or window.left_out:
            lines.append(
                NotShown(
                    at=now().wall, lost=window.lost, suppressed=window.suppressed, left_out=window.left_out
                )
            )  # fmt: skip
        render = render_line if self._form == "text" else render_json_line
        self._output.write("".join(render(line) + "\n" for line in lines))


def _look_for(cpu: int | None, roots: Roots) -> None:
    """Raises UsageError where that CPU is not online: nothing would ever be seen of it."""
    with suppress(UnreadableError):  # sysfs is not in sight
        online = read_online(roots)
        if cpu is not None and cpu not in online:
            raise UsageError(f"--cpu {cpu}: no such CPU is online here; there are {len(online)}, up to {online[-1]}")


def _devices(roots: Roots) -> Mapping[str, ReceivingDevice]:
    """Which devices there are, and where each sends its packets, at the beginning; none where sysfs does not say."""
    with suppress(UnreadableError):
        return read_receiving_devices(roots).by_name
    return {}
