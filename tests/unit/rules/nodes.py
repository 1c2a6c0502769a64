"""Nodes in a few words: sockets by kind, several moments, memory and owners make a Recording."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from whodunnet.model.finding import Answer, Cleared, Finding, Party
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import AnySample, Node, Recording, Snapshot
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, AcceptQueue, Endpoint, SocketGroup, Sockets, StuckSocket
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Container, Pod, Process, Workload, Workloads
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.rule import judge

PAGE = 4096
MIB = 2**20
BEGIN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FROM_BOOT = 5_000.0
NODE = Node(hostname="n1", kernel="6.1.0", boot_id="b00t", virtual_machine=True)
NETNS = 4_026_532_100
PEER = Endpoint("203.0.113.9", 443)
PORT = Endpoint(None, 8080)

LEAK = catalogue()["socket-leak"]
MEMORY = catalogue()["tcp-memory"]

KINDS: dict[str, dict[str, Any]] = {
    "response-never-read": {"role": "initiated", "symptom": "unread", "endpoint": PEER},
    "close-forgotten": {"state": "close-wait", "role": "initiated", "endpoint": PEER},
    "never-connected": {"state": "close", "role": "unconnected", "symptom": "never-connected"},
    "dead-not-closed": {"state": "close", "role": "unconnected", "symptom": "dead", "endpoint": PEER},
    "accept-not-called": {"role": "accepted", "holding": "accept-queue", "endpoint": PORT},
    "orphans": {"state": "fin-wait-1", "role": "accepted", "holding": "orphan", "endpoint": PORT},
    # Told by growth that goes on, or never a leak of its holder:
    "held-open": {"role": "initiated", "endpoint": PEER},
    "serving": {"role": "accepted", "endpoint": PORT},
    "send-queue-full": {"role": "accepted", "symptom": "window-closed", "endpoint": PORT},
}
LEAKS = ["response-never-read", "close-forgotten", "never-connected", "dead-not-closed", "accept-not-called", "orphans"]
UNOWNED = ("accept-not-called", "orphans")


def limit(name: str) -> int:
    """A threshold of socket-leak that is a whole number."""
    return int(LEAK.limit(name))


MIN = limit("min_sockets")
"""Fewer sockets are a leak only where they tie up much."""
ALONE = limit("min_without_growth")
"""As many are a leak although they do not grow."""


def ages(n: int, seconds: float) -> tuple[int, ...]:
    """All n sockets in the class that this age is in."""
    place = sum(bound <= seconds for bound in AGE_BOUNDS_SECONDS)
    return tuple(n if i == place else 0 for i in range(len(AGE_BOUNDS_SECONDS) + 1))


def group(
    kind: str,
    n: int,
    *,
    pid: int | None = 7,
    age: float | None = None,
    old: int | None = None,
    memory: int = 0,
    unchanged: int | None = None,
    unsent: int = 0,
    netns: int | None = NETNS,
    **other: Any,
) -> SocketGroup:
    """n sockets of a kind. age: of all of them, or of `old` of them while the others are new. memory: of all."""
    fields: dict[str, Any] = {"state": "established", "holding": "descriptor", **KINDS[kind], **other}
    counted = ages(n if old is None else old, age) if age is not None else ()
    if counted and old is not None:
        counted = (counted[0] + n - old, *counted[1:])
    return SocketGroup(
        owner_pid=None if kind in UNOWNED else pid,
        netns=netns,
        protocol="tcp",
        family=4,
        sockets=n,
        memory_bytes=memory,
        unchanged=unchanged,
        unsent_bytes=unsent,
        ages=counted,
        **fields,
    )


def history(kind: str, counts: Sequence[int], *, moved: int = 0, each: int = 0, **how: Any) -> list[list[SocketGroup]]:
    """A group at each moment. moved: how many did not stay unchanged between moments. each: bytes of a socket."""
    return [
        [
            group(
                kind, n, memory=n * each,
                unchanged=max(min(counts[i - 1], n) - moved, 0) if i else None, **how,
            )
        ]
        for i, n in enumerate(counts)
    ]  # fmt: skip


def recording(
    moments: Iterable[Sequence[SocketGroup]],
    *,
    seconds: float = 10.0,
    memory: TcpMemory | None = None,
    workloads: Workloads | None = None,
    also: Sequence[SocketGroup] = (),
    **sockets: Any,
) -> Recording:
    """seconds: from the first moment to the last. also: groups that are the same at every moment."""
    every = list(moments)
    step = seconds / max(len(every) - 1, 1)
    owners = workloads if workloads is not None else named(7)
    snapshots = []
    for i, groups in enumerate(every):
        found = Sockets(**{"method": "bpf", "groups": tuple(g for g in (*groups, *also) if g.sockets), **sockets})
        samples: dict[str, AnySample] = {"sockets": found, "workloads": owners}
        if memory is not None:
            samples["tcp_memory"] = memory
        snapshots.append(Snapshot(at=moment(i * step), samples=samples))
    return Recording(node=NODE, snapshots=tuple(snapshots))


def leak(kind: str, counts: Sequence[int], *, seconds: float = 10.0, **how: Any) -> Recording:
    """One owner with sockets of one kind, whose number is that of `counts` from moment to moment."""
    whole = {k: how.pop(k) for k in ("memory", "workloads", "also", "accept_queues", "method") if k in how}
    if kind == "accept-not-called":
        whole.setdefault("accept_queues", (listener(7),))
    return recording(history(kind, counts, **how), seconds=seconds, **whole)


def moment(seconds: float) -> Moment:
    return Moment(wall=BEGIN + timedelta(seconds=seconds), boot_seconds=FROM_BOOT + seconds)


def memory_of(used: int, **other: Any) -> TcpMemory:
    """Limits 7,500 10,000 15,000 pages; one CPU, so that an error of 256 pages is allowed for."""
    fields: dict[str, Any] = {
        "page_size_bytes": PAGE, "cpus": 1, "low_pages": 7_500, "pressure_pages": 10_000, "max_pages": 15_000,
        "used_pages": used, "under_pressure": False, "orphans": 0, "alloc_sockets": 0, "inuse_sockets": 0,
        "time_wait_sockets": 0, "max_orphans": 4_000,
    }  # fmt: skip
    return TcpMemory(**{**fields, **other})


def tcp_memories(*memories: TcpMemory, seconds: float = 10.0, **samples: AnySample) -> Recording:
    """A node of which only TCP memory is known, and what else is given, the same at each moment."""
    step = seconds / max(len(memories) - 1, 1)
    return Recording(
        node=NODE,
        snapshots=tuple(
            Snapshot(at=moment(i * step), samples={**samples, "tcp_memory": m}) for i, m in enumerate(memories)
        ),
    )


def process(pid: int, **other: Any) -> Process:
    return Process(**{"pid": pid, "comm": f"app{pid}", "started": BEGIN - timedelta(hours=1), **other})


def named(*pids: int, **other: Any) -> Workloads:
    """Each pid a process of no container."""
    return Workloads(by_pid={pid: Workload(process=process(pid, **other), netns=NETNS) for pid in pids})


def in_container(name: str, *pids: int, static: bool = False, **other: Any) -> dict[int, Workload]:
    """Processes of one container of the pod default/<name>."""
    container = Container(id=f"{name}-{'0' * 58}", name=name, runtime="containerd", cgroup=f"/kubepods/{name}",
                          image=f"registry.example/{name}:1", started=BEGIN - timedelta(hours=1))  # fmt: skip
    pod = Pod(namespace="default", name=name, uid=f"uid-{name}", static=static)
    return {pid: Workload(process=process(pid, **other), container=container, pod=pod, netns=NETNS) for pid in pids}


def owners(*tables: Mapping[int, Workload]) -> Workloads:
    return Workloads(by_pid={pid: w for table in tables for pid, w in table.items()})


def listener(pid: int | None, port: int = 8080, netns: int = NETNS) -> AcceptQueue:
    return AcceptQueue(owner_pid=pid, netns=netns, local=Endpoint("10.0.0.1", port), waiting=0, limit=128)


# --- Full send queues and their readers --------------------------------------------------------------------------


def held(pid: int | None, local: Endpoint, remote: Endpoint, **other: Any) -> StuckSocket:
    """A socket whose peer has closed its window. It came in through a port unless role says otherwise."""
    fields: dict[str, Any] = {
        "netns": NETNS, "symptom": "window-closed", "holding": "descriptor", "role": "accepted", "memory_bytes": 0,
        "unread_bytes": 0, "unsent_bytes": 50_000, "unchanged": True,
    }  # fmt: skip
    return StuckSocket(owner_pid=pid, local=local, remote=remote, **{**fields, **other})


def reading(pid: int | None, local: Endpoint, remote: Endpoint, **other: Any) -> StuckSocket:
    """A socket that is not read."""
    return held(pid, local, remote, **{"symptom": "unread", "role": "initiated", "unsent_bytes": 0, **other})


def client(n: int) -> Endpoint:
    return Endpoint("10.1.0.1", 40_000 + n)


def server(port: int = 8080, address: str = "10.1.0.2") -> Endpoint:
    return Endpoint(address, port)


def pairs(
    holder: int | None, reader: int, n: int, *, first: int = 0, port: int = 8080, memory: int = 0, **holding: Any
) -> list[StuckSocket]:
    """n connections, both ends on this node: `holder` accepted them, `reader` reads nothing. memory: of a holder's."""
    return [
        end
        for i in range(first, first + n)
        for end in (
            held(holder, server(port), client(i), memory_bytes=memory, **holding),
            reading(reader, client(i), server(port)),
        )
    ]


# --- Answers -----------------------------------------------------------------------------------------------------


def answers(node: Recording, rule: str = "socket-leak") -> list[Answer]:
    return list(judge(rule, node))


def is_cleared(node: Recording, rule: str = "socket-leak") -> bool:
    return [type(a) for a in answers(node, rule)] == [Cleared]


def findings(node: Recording, rule: str = "socket-leak") -> list[Finding]:
    return [a for a in answers(node, rule) if isinstance(a, Finding)]


def finding(node: Recording, rule: str = "socket-leak") -> Finding:
    """The only one."""
    (found,) = findings(node, rule)
    return found


def said(node: Recording) -> list[tuple[str | None, str]]:
    """Shape and confidence of each finding of socket-leak."""
    return [(f.shape, f.confidence) for f in findings(node)]


def parties(found: Finding, role: str) -> list[Party]:
    return [p for p in found.parties if p.role == role]


def pids(found: Finding, role: str) -> list[int | None]:
    return [p.process.pid if isinstance(p.process, Process) else None for p in parties(found, role)]


def culprits(node: Recording) -> list[int | None]:
    """pids of every culprit of every finding."""
    return [pid for f in findings(node) for pid in pids(f, "culprit")]


def at_each(node: Recording, name: str, sample: AnySample) -> Recording:
    """The same node with a sample put in at each moment."""
    return replace(node, snapshots=tuple(replace(s, samples={**s.samples, name: sample}) for s in node.snapshots))
