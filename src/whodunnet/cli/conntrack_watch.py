"""whodunnet conntrack --watch: entries of the conntrack table as they come, change and go, by owner."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial

import click

from whodunnet.cli.conntrack import refused
from whodunnet.cli.ending import Ended, ending_signals, interruptible
from whodunnet.cli.output import Output
from whodunnet.cli.pace import LineLimit, Rest
from whodunnet.collectors.openers import Openers, unread_key
from whodunnet.errors import UnreadableError
from whodunnet.kernel import namespaces
from whodunnet.kernel.host import find_place
from whodunnet.kernel.netlink.conntrack_events import ConntrackEvents, Setting, read_setting
from whodunnet.kernel.procfs.conntrack import read_size
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.flow_event import FlowEvent
from whodunnet.model.text import clean
from whodunnet.report.console import make_console
from whodunnet.report.flow_events import (
    FlowLine,
    Lost,
    NotShown,
    OpenerCounts,
    WatchSummary,
    by_kind,
    render_head,
    render_json_line,
    render_line,
    render_summary,
)
from whodunnet.report.flow_filter import FlowFilter
from whodunnet.report.flow_subject import address_gaps, doubted, opener
from whodunnet.report.pod_names import PodNames

LINES_A_SECOND = {"text": 100, "json": 2000}
CPU_SHARE = 0.5
"""Of one CPU; beyond it we rest until the second is over, and the kernel counts what it has no room for."""
LOOK_SECONDS = 0.25
LAST_BATCHES = 32
"""More than our buffer has room for: what comes later than the end is not waited for."""


def watch(filters: tuple[str, ...], pods: PodNames | None, seconds: float | None, form: str) -> None:
    """Print changes until the time is over or a signal ends it, then a summary.

    seconds: None is without end. form: "text" or "json". Raises UsageError for a filter, click.ClickException where
    there is nothing to watch.
    """
    chosen = FlowFilter(filters)
    place = find_place()
    if place.container is not None and place.host is not None:
        namespaces.join_cgroups(place.roots)
    try:
        with subscribe(place.roots) as (events, setting, node), Openers(place.roots, node) as openers:
            watching = Watching(events, openers, chosen, pods or PodNames(), form)
            with ending_signals(), suppress(Ended):
                click.echo(preface(setting), err=True)  # from here on a signal ends it well
                for pod in chosen.strangers((*openers.pods, *(pods or ()))):
                    click.echo(f"No pod {clean(pod)} is known here now.", err=True)
                watching.run(seconds)
            summary = watching.finish()
    except UnreadableError as error:
        raise refused("tracked connections cannot be watched", error, place, read_support(place.roots)) from error
    if form == "json":
        click.echo(render_json_line(summary))
    else:
        render_summary(summary, make_console(), filters)


@contextmanager
def subscribe(roots: Roots) -> Iterator[tuple[ConntrackEvents, Setting, int]]:
    """Events of the node's network namespace, their setting, and its inode number. Raises UnreadableError."""
    place = namespaces.elsewhere(roots)
    begin = partial(_subscribe_here, roots)
    events, setting, node = begin() if place is None else namespaces.inside(place, None, begin)
    with events:
        yield events, setting, node


def _subscribe_here(roots: Roots) -> tuple[ConntrackEvents, Setting, int]:
    # Before anything else: to subscribe would load the module, and so change the node.
    if read_size(roots) is None:
        raise UnreadableError("this kernel tracks no connections (nf_conntrack is not loaded)", "unsupported")
    setting = read_setting(roots)
    if setting.value == 0:
        raise UnreadableError(f"the kernel tells of no changes: {setting.name} is 0", "unsupported")
    return ConntrackEvents(), setting, namespaces.own(roots)


def preface(setting: Setting) -> str:
    """What will be seen."""
    if setting.value == 1:
        return "Watching tracked connections; Ctrl-C ends it."
    why = f"{setting.name} is {setting.value}"
    return f"Watching connections that are tracked from now on, none of those before ({why}); Ctrl-C ends it."


class Watching:
    """One watch: takes changes, names them, writes them."""

    def __init__(
        self, events: ConntrackEvents, openers: Openers, chosen: FlowFilter, pods: PodNames, form: str
    ) -> None:
        self._events, self._openers, self._chosen, self._pods, self._form = events, openers, chosen, pods, form
        self._begin = time.monotonic()
        self._seen: Counter[str] = Counter()
        self._by_opener = OpenerCounts()
        self._filtered_out = self._not_shown = self._overruns_told = 0
        self._limit, self._rest, self._output = LineLimit(LINES_A_SECOND[form]), Rest(CPU_SHARE), Output()

    def run(self, seconds: float | None) -> None:
        """Until the time is over. Raises Ended when a signal comes."""
        end = None if seconds is None else self._begin + seconds
        if self._form == "text":
            self._output.write(render_head() + "\n")
        while (left := LOOK_SECONDS if end is None else end - time.monotonic()) > 0:
            with interruptible():
                ready = self._events.wait(min(left, LOOK_SECONDS))
            self._show([*self._missing(), *(self._lines() if ready else ())])
            self._openers.refresh()
            if rest := self._rest.seconds():
                with interruptible():
                    time.sleep(rest)

    def finish(self) -> WatchSummary:
        """What had come by the end, the last lines, and all of it."""
        for _ in range(LAST_BATCHES):
            if not self._events.wait(0):
                break
            self._show(self._lines())
        self._show(self._missing(at_end=True))
        return WatchSummary(
            at=now(),
            seconds=time.monotonic() - self._begin,
            events=by_kind(self._seen),
            filtered_out=self._filtered_out,
            not_shown=self._not_shown,
            overruns=self._events.overruns,
            lost=self._events.lost,
            malformed=self._events.malformed,
            unasked=self._openers.unasked,
            names_failure=self._openers.failure,
            not_read=address_gaps(self._openers.addresses),
            openers=self._by_opener.rows(),
            other_events=self._by_opener.other_events,
        )

    def _lines(self) -> Iterator[FlowLine]:
        """Changes that match and have room."""
        at = now()
        for event in self._events.take():
            line = self._line(event, at) if self._chosen.matches(event) else None
            if line is None:
                self._filtered_out += 1
            elif self._limit.has_room(event.kind):
                yield line

    def _line(self, event: FlowEvent, at: datetime) -> FlowLine | None:
        """With names, and counted; None if a pod is asked for and it is another one."""
        owner, answerer = self._openers.of(event), self._openers.answerer(event)
        subject = doubted(opener(owner, self._pods), address_gaps(self._openers.addresses))
        named = self._pods.of(event.answered_by.address or "")
        at_ends = (*subject.pods, *named, *(w.pod for w in (owner.workload, answerer) if w and w.pod))
        if not self._chosen.matches_pods(at_ends):
            return None
        self._seen[event.kind] += 1
        self._by_opener.add(owner.key, subject, event.kind, unread_key(event.source.address or ""))
        return FlowLine(
            at=at,
            event=event,
            opener=subject,
            answerer=answerer,
            answerer_pods=named,
            idle_seconds=self._openers.idle(event),
        )

    def _missing(self, *, at_end: bool = False) -> Iterator[NotShown | Lost]:
        """What the reader should know to be missing, and was not told of."""
        hidden = self._limit.hidden(at_end=at_end)
        if hidden:
            self._not_shown += hidden.total()
            yield NotShown(at=now(), events=by_kind(hidden))
        if self._events.overruns > self._overruns_told:
            self._overruns_told = self._events.overruns
            yield Lost(at=now(), overruns=self._events.overruns, messages=self._events.lost)

    def _show(self, lines: Iterable[FlowLine | NotShown | Lost]) -> None:
        render = render_line if self._form == "text" else render_json_line
        text = "".join(render(line) + "\n" for line in lines)
        self._output.write(text)


def now() -> datetime:
    return datetime.now(UTC)
