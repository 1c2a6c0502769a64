"""A process, or the whole machine, with as many files and sockets open as it may: the next open or accept fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from whodunnet.model.descriptors import Descriptors, DescriptorUse
from whodunnet.model.finding import Answer, Cleared, Evidence, NotChecked
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint, Sockets
from whodunnet.model.text import clean
from whodunnet.model.workload import Workloads, owner_key
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.descriptor_findings import RULE, Closed, Full, compose
from whodunnet.rules.node_files import FILE_NR, compose_node, counted_files

Key = tuple[int, float]


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """One finding for each owner with a process near its limit; one for the whole machine."""
    series = recording.series(Descriptors)
    assert series  # the collector is required
    cases = _cases(recording, series, entry)
    cases.sort(key=lambda case: (case.shape != "exhausted", -case.use.share, case.use.pid))
    found = [compose(case, len(series), entry) for case in cases[: int(entry.limit("listed_processes"))]]
    node = compose_node(recording, series, entry)
    if node is not None:
        found.insert(0, node)
    return found or [_nothing(series, entry)]


def _cases(recording: Recording, series: Sequence[tuple[Moment, Descriptors]], entry: Entry) -> list[Full]:
    """Processes that are near their limit in the newest reading; of one owner the one nearest to it.

    Who has more open than it may was given that limit afterwards, mostly by itself: a sandbox lets it open nothing new.
    """
    workloads = recording.last(Workloads) or Workloads()
    waiting = _waiting(recording)
    at, newest = series[-1]
    by_owner: dict[str, list[DescriptorUse]] = {}
    for use in newest.fullest:
        if use.share >= entry.limit("near_share") and (use.open <= use.limit or waiting.get(use.pid)):
            by_owner.setdefault(owner_key(use.pid, workloads.by_pid.get(use.pid)), []).append(use)
    found = []
    for uses in by_owner.values():
        use = max(uses, key=lambda one: (one.share, waiting.get(one.pid, 0), -one.pid))
        readings = _of_process(series, (use.pid, use.started_seconds))
        full = [one for one in readings if one.left < entry.limit("few_left")]
        found.append(
            Full(
                use=use, owner=workloads.by_pid.get(use.pid), at=at, readings=tuple(readings), full=len(full),
                others=len(uses) - 1, waiting=waiting.get(use.pid, 0), closed=_closed(recording, use),
            )
        )  # fmt: skip
    return found


def _of_process(series: Sequence[tuple[Moment, Descriptors]], key: Key) -> list[DescriptorUse]:
    """Its readings, oldest first."""
    return [use for _, sample in series for use in sample.fullest if (use.pid, use.started_seconds) == key]


def _waiting(recording: Recording) -> dict[int, int]:
    """Connections that wait for a process to accept them, in each reading of sockets; the fewest."""
    series = [sample for _, sample in recording.series(Sockets)]
    found: dict[int, int] = {}
    for number, sample in enumerate(series):
        here: dict[int, int] = {}
        for queue in sample.accept_queues:
            if queue.owner_pid is not None:
                here[queue.owner_pid] = here.get(queue.owner_pid, 0) + queue.waiting
        found = here if number == 0 else {pid: min(n, here[pid]) for pid, n in found.items() if pid in here}
    return found


def _closed(recording: Recording, use: DescriptorUse) -> Closed | None:
    """Its sockets in CLOSE_WAIT, where they are most of what it has open."""
    sockets = recording.last(Sockets)
    mine = [g for g in sockets.groups if (g.protocol, g.owner_pid) == ("tcp", use.pid)] if sockets is not None else []
    closed = Counter[Endpoint | None]()
    for g in mine:
        closed[g.endpoint] += g.sockets if g.state == "close-wait" else 0
    if 2 * closed.total() <= use.open:
        return None
    endpoint, there = max(closed.items(), key=lambda item: item[1])
    common = endpoint if 2 * there > closed.total() else None
    return Closed(closed.total(), sum(g.sockets for g in mine), common, there)


def _nothing(series: Sequence[tuple[Moment, Descriptors]], entry: Entry) -> Cleared | NotChecked:
    at, newest = series[-1]
    return _unseen(newest) or Cleared(rule=RULE, sensitivity=_reach(newest, entry), evidence=tuple(_maxima(at, newest)))


def _unseen(newest: Descriptors) -> NotChecked | None:
    """Not checked, if too few could be counted, or a full one may be among those left out."""
    right: str | None = "CAP_SYS_PTRACE"
    if newest.processes == 0:
        right = right if newest.denied else None
        reason = f"the descriptors of none of {newest.denied:,} processes could be counted"
    elif newest.denied > newest.processes:
        reason = (
            f"the descriptors of {newest.denied:,} processes could not be counted, of {newest.processes:,} they could"
        )
    elif newest.near_left_out and not _are_within(newest.fullest):
        right = None
        reason = f"{_processes(newest.near_left_out)} near their limit or above it found no room in the reading"
    else:
        return None
    code = "missing-capability" if right else "unreadable"
    return NotChecked(rule=RULE, code=code, missing_capability=right, reason=reason)


def _reach(newest: Descriptors, entry: Entry) -> str:
    above = len(newest.fullest) - len(_within(newest))
    left_out, uncounted = newest.near_left_out, newest.denied + newest.left_out
    node = "of the node's limit of open files as well" if newest.max_files else "the node's limit was not read"
    reach = f"{100 * entry.limit('near_share'):g} % of its limit, of any of {newest.processes:,} processes now; {node}"
    reach += f"; not of {_processes(above)} above a limit that was lowered afterwards" if above else ""
    reach += f"; {_processes(left_out)} less near to the limit found no room in the reading" if left_out else ""
    return reach + (f"; {uncounted:,} processes were not counted" if uncounted else "")


def _are_within(listed: Sequence[DescriptorUse]) -> bool:
    """Whether those left out are too, and have less of their limits open: who is above comes first (collector)."""
    return bool(listed) and all(use.open <= use.limit for use in listed)


def _within(newest: Descriptors) -> list[DescriptorUse]:
    """Those that have no more open than they may, the nearest first."""
    return [use for use in newest.fullest if use.open <= use.limit]


def _processes(n: int) -> str:
    return f"{n:,} process{'' if n == 1 else 'es'}"


def _maxima(at: Moment, newest: Descriptors) -> list[Evidence]:
    found = []
    if within := _within(newest):
        most = within[0]
        found.append(
            Evidence(
                statement=f"Descriptors of the process nearest to its limit, {clean(most.comm)} (pid {most.pid})",
                value=most.open, unit="descriptors", limit=most.limit, comparison="of", source="/proc/<pid>/fd",
                at=at.wall, boot_seconds=at.boot_seconds, repeat=f"ls /proc/{most.pid}/fd | wc -l",
            )
        )  # fmt: skip
    if newest.open_files is not None and newest.max_files is not None:
        found.append(counted_files(at, newest.open_files, newest.max_files, "of"))
    if not found:
        found.append(
            Evidence(
                statement="Processes with enough descriptors open to be looked at, and no more than they may", value=0,
                unit="processes", source="/proc/<pid>/fd", at=at.wall, boot_seconds=at.boot_seconds,
                repeat=f"cat {FILE_NR}",
            )
        )  # fmt: skip
    return found
