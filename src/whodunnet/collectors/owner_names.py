"""Names who owns sockets and connections, and who held a CPU: by /proc, else as found before, else as BPF met them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import msgspec

from whodunnet.collectors.workloads import WorkloadsCollector
from whodunnet.kernel.bpf.socket_walk import Owner
from whodunnet.model.connections import ConnectionGroup, Connections
from whodunnet.model.cpu_pressure import Consumer
from whodunnet.model.descriptors import DescriptorUse, RefusedFiles
from whodunnet.model.sockets import SocketGroup, Sockets
from whodunnet.model.stalls import Stall, Task
from whodunnet.model.workload import Process, Workload, Workloads

Identity = tuple[int, float]
"""A process for as long as it lives: its pid, and when it started in seconds since boot."""

NAMED_OWNERS = 2048
"""Owners of sockets, and as many of connections and of stalls, looked up in /proc at each snapshot, largest first.

The others keep the name the kernel gave.
"""

REMEMBERED_OWNERS = 4 * NAMED_OWNERS
"""Owners whose names are remembered from snapshot to snapshot, those met last: a recorder runs for days."""

NO_NETNS = 0
"""Of an owner: it is not known in which one it is, or was."""


def name_owners(
    workloads: WorkloadsCollector,
    sample: Sockets | None,
    owners: Mapping[int, Owner],
    named: dict[Identity, Workload],
    *,
    connections: Connections | None = None,
    stalls: Iterable[Stall] = (),
    consumers: Iterable[Consumer | DescriptorUse | RefusedFiles] = (),
    netns: Iterable[int] = (),
    shared_netns: Iterable[int] = (),
) -> Workloads:
    """Who owns the sockets and connections of one snapshot, as far as it has any, who was met in its stalls or uses its
    CPUs, and who lives in some namespaces.

    netns, shared_netns: as for WorkloadsCollector.attribute. owners: as the BPF walk met them. named: what earlier
    snapshots found, filled here: whoever is gone since, or cannot be looked up this time, keeps what is known of it, so
    that its history does not break.
    """
    groups = sample.groups if sample else ()
    ends = connections.groups if connections else ()
    unowned = [g for g in groups if g.owner_pid is None]
    of_sockets = largest_owners(groups)
    tasks = longest_seen(stalls)
    held = holders_met(tasks, NAMED_OWNERS, apart_from=of_sockets)
    using = _newest(consumers, apart_from=frozenset(of_sockets))
    met = {**using, **held, **most_connected(ends, NAMED_OWNERS, apart_from=of_sockets), **owners}
    found = workloads.attribute(
        [*of_sockets[:NAMED_OWNERS], *(pid for pid in met if pid not in owners)],
        started={pid: owner.started_seconds for pid, owner in met.items()},
        netns={g.netns for g in unowned if g.netns is not None}.union(netns, (g.netns for g in ends)),
        cgroup_ids={g.cgroup_id for g in unowned if g.cgroup_id is not None}.union(
            task.cgroup_id for task in tasks[:NAMED_OWNERS] if task.cgroup_id is not None and not task.kernel_thread
        ),
        shared_netns=shared_netns,
    )
    return msgspec.structs.replace(found, by_pid=with_history(found.by_pid, met, named))


def _newest(
    consumers: Iterable[Consumer | DescriptorUse | RefusedFiles], apart_from: Collection[int]
) -> dict[int, Owner]:
    """By pid; of one that was given twice the newer process: who was refused a file may be gone."""
    ordered = sorted(consumers, key=lambda c: c.started_seconds)
    return {c.pid: Owner(c.comm, c.started_seconds, NO_NETNS) for c in ordered if c.pid not in apart_from}


def with_history(
    found: Mapping[int, Workload], met: Mapping[int, Owner], named: dict[Identity, Workload]
) -> dict[int, Workload]:
    """Everybody who was met, by what was found now, else before, else by name only; see name_owners."""
    by_pid = dict(found)
    for pid, owner in met.items():
        identity = (pid, owner.started_seconds)
        by_name = Workload(process=Process(pid=pid, comm=owner.comm), netns=owner.netns or None)
        known = by_pid.get(pid) or named.get(identity) or by_name
        by_pid[pid] = known if known.netns is not None else msgspec.structs.replace(known, netns=by_name.netns)
        if pid in found:
            named.pop(identity, None)
            named[identity] = by_pid[pid]
    for identity in list(named)[:-REMEMBERED_OWNERS]:
        del named[identity]
    return by_pid


def most_connected(ends: Iterable[ConnectionGroup], at_most: int, apart_from: Collection[int]) -> dict[int, Owner]:
    """Owners of connections as BPF met them, those with most first; of a pid that was given twice the newer process.

    apart_from: pids that have sockets now, and are named by them.
    """
    connections: Counter[Identity] = Counter()
    owners: dict[Identity, Owner] = {}
    left_out = frozenset(apart_from)
    for g in ends:
        if g.owner_pid is not None and g.owner_pid not in left_out:
            identity = (g.owner_pid, g.process_started_seconds)
            connections[identity] += g.connections
            known = owners.setdefault(identity, Owner(g.comm, g.process_started_seconds, g.netns))
            if known.netns != g.netns:
                owners[identity] = known._replace(netns=NO_NETNS)
    newest: dict[int, float] = {}
    for pid, started in connections:
        newest[pid] = max(started, newest.get(pid, started))
    most = sorted(newest.items(), key=lambda identity: (-connections[identity], identity))
    return {identity[0]: owners[identity] for identity in most[:at_most]}


def longest_seen(stalls: Iterable[Stall]) -> list[Task]:
    """Tasks that were met in stalls, those that had the CPU for longest first."""
    seconds: Counter[Task] = Counter()
    for stall in stalls:
        for holder in (stall.end, *stall.holders):
            if holder.task.duty is None:
                seconds[holder.task] += round(holder.seconds * 1e6)
    return [task for task, _ in seconds.most_common()]


def holders_met(tasks: Iterable[Task], at_most: int, apart_from: Collection[int]) -> dict[int, Owner]:
    """Their processes as BPF met them; of a pid that was given twice the newer one. apart_from: pids named already."""
    left_out = frozenset(apart_from)
    found: dict[int, Owner] = {}
    for task in tasks:
        if task.pid is None or task.pid in left_out or (task.pid not in found and len(found) >= at_most):
            continue
        known = found.get(task.pid)
        if known is None or known.started_seconds < task.process_started_seconds:
            found[task.pid] = Owner(task.comm, task.process_started_seconds, NO_NETNS)
    return found


def largest_owners(groups: tuple[SocketGroup, ...]) -> list[int]:
    """pids by memory, then by number of sockets, largest first."""
    sums: dict[int, tuple[int, int]] = {}
    for g in groups:
        if g.owner_pid is not None:
            memory, sockets = sums.get(g.owner_pid, (0, 0))
            sums[g.owner_pid] = (memory + g.memory_bytes, sockets + g.sockets)
    return sorted(sums, key=lambda pid: sums[pid], reverse=True)
