"""Which programs on this node have sent the resets of a case."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from whodunnet.model.connection_names import NO_PID, End, Names
from whodunnet.model.connections import ConnectionGroup
from whodunnet.model.snapshot import Recording
from whodunnet.model.workload import Process, Workloads
from whodunnet.rules.remedies import GONE
from whodunnet.rules.reset_cases import ResetCase

Sender = tuple[End, int]


def senders_of(case: ResetCase, recording: Recording) -> list[Sender]:
    """Programs that reset, most first: workers of one are one, also those that are gone."""
    names, found = Names(recording), dict[tuple[object, ...], list[ConnectionGroup]]()
    for g in case.sent:
        end = names.server_of((g,), (g.server,), None)
        found.setdefault((_container(end), g.comm, g.netns), []).append(g)
    senders = [(_program(names, groups), sum(g.connections for g in groups)) for groups in found.values()]
    return sorted(senders, key=lambda item: (-item[1], item[0].netns or 0))


def _program(names: Names, groups: Sequence[ConnectionGroup]) -> End:
    """Of several processes whoever listens for them, if that is the same program: they may be gone. Else no pid."""
    server, comm, pids = groups[0].server, groups[0].comm, {g.owner_pid for g in groups}
    first = names.server_of(groups[:1], (server,), None)
    if len(pids) == 1 or first.workload is None:
        return first
    every = names.server_of(groups, (server,), None)
    parent = every.workload.process if every.workload is not None else None
    if parent is not None and parent.comm == comm and parent.pid not in pids and _container(every) == _container(first):
        return every
    return replace(first, workload=replace(first.workload, process=Process(pid=NO_PID, comm=comm)))


def _container(end: End) -> str | None:
    container = end.workload.container if end.workload is not None else None
    return container.id if container is not None else None


def gone_of(case: ResetCase, recording: Recording) -> int:
    """Processes that sent resets and of which there was no more than the name when they were looked for."""
    now = (recording.last(Workloads) or Workloads()).by_pid
    pids = {g.owner_pid for g in case.sent if g.owner_pid is not None}
    known = [p for pid in pids if pid in now and (p := now[pid].process) is not None]
    return len(pids) - sum(p.started is not None and p.state not in GONE for p in known)
