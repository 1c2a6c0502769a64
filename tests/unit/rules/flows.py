"""Tables of tracked connections in a few words: entries by kind, several moments, pods and addresses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.finding import Answer, Cleared, Finding, Party
from whodunnet.model.kernel_log import KernelLog, LogLine
from whodunnet.model.snapshot import AnySample, Recording, Snapshot
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, AcceptQueue, Endpoint, SocketGroup, Sockets
from whodunnet.model.workload import Container, Pod, Workload, Workloads
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.rule import judge
from whodunnet.rules.table_window import LOG_KINDS

from .nodes import FROM_BOOT, NODE, ages, moment

RULE = "conntrack-table"
ENTRY = catalogue()[RULE]
HOST, CHILD = 4_026_531_840, 4_026_532_700
HOST_ADDRESS = "192.0.2.10"
CLIENT = "198.51.100.7"
SERVICE = Endpoint("10.96.0.20", 443)
FAR = Endpoint("203.0.113.9", 443)
SIZE = 10_000
TIMEOUTS = {
    "tcp_timeout_syn_sent": 120, "tcp_timeout_syn_recv": 60, "tcp_timeout_established": 432_000,
    "tcp_timeout_fin_wait": 120, "tcp_timeout_close_wait": 60, "tcp_timeout_last_ack": 30,
    "tcp_timeout_time_wait": 120, "tcp_timeout_close": 10, "udp_timeout": 30, "udp_timeout_stream": 120,
    "icmp_timeout": 30, "generic_timeout": 600,
}  # fmt: skip
FULL_LINE = "nf_conntrack: nf_conntrack: table full, dropping packet"


class PodAt:
    """A pod with a network namespace and an address of its own. number: tells pods apart; app: its workload."""

    def __init__(self, number: int, app: str = "web", *, name: str | None = None) -> None:
        self.netns = 4_026_532_500 + number
        self.address = f"10.244.0.{number}"
        container = Container(id=f"{number:02x}" * 32, name=app, runtime="containerd", cgroup=f"/kubepods/{number}",
                              image=f"registry.example/{app}:1")  # fmt: skip
        pod = Pod(namespace="shop", name=name or f"{app}-{number}", uid=f"uid-{number}")
        self.workload = Workload(container=container, pod=pod, netns=self.netns)


def over(n: int, seconds: int) -> tuple[int, ...]:
    """Ages of n entries that came evenly within so many seconds."""
    found, left, below = [], n, 0
    for bound in (*AGE_BOUNDS_SECONDS, 10**9):
        share = min(n * (min(bound, seconds) - below) // seconds, left) if bound > below and seconds > below else 0
        found.append(share)
        left -= share
        below = min(bound, seconds)
    place = sum(bound < seconds for bound in AGE_BOUNDS_SECONDS)
    found[place] += left
    return tuple(found)


def flow(source: str, to: Endpoint | None, n: int, **other: Any) -> FlowGroup:
    """n entries of TCP that was answered."""
    fields: dict[str, Any] = {"protocol": "tcp", "state": "established", "replied": True, "assured": True, **other}
    return FlowGroup(family=4, source=source, destination=to, entries=n, **fields)


def churn(source: str, to: Endpoint | None, n: int, **other: Any) -> FlowGroup:
    """Connections that are over, evenly in the last two minutes."""
    return flow(source, to, n, **{"state": "time-wait", "ages": over(n, 120), **other})


def idle(source: str, to: Endpoint | None, n: int, *, age: int = 300, **other: Any) -> FlowGroup:
    return flow(source, to, n, **{"ages": ages(n, age), **other})


def busy(source: str, to: Endpoint | None, n: int, **other: Any) -> FlowGroup:
    return flow(source, to, n, **{"ages": ages(n, 2), **other})


def unanswered(source: str, to: Endpoint | None, n: int, **other: Any) -> FlowGroup:
    fields = {"state": "syn-sent", "replied": False, "assured": False, "ages": over(n, 120)}
    return flow(source, to, n, **{**fields, **other})


def names(source: str, to: Endpoint | None, n: int, **other: Any) -> FlowGroup:
    """Name queries that were answered."""
    fields = {"protocol": "udp", "state": "none", "assured": False, "ages": over(n, 30)}
    return flow(source, to, n, **{**fields, **other})


def crowd(n: int, *, first: int = 1, to: Endpoint = SERVICE, each: int = 1) -> list[FlowGroup]:
    """Many remote clients that are busy."""
    return [busy(f"172.16.{i // 250}.{i % 250}", to, each) for i in range(first, first + n)]


def table(*groups: FlowGroup, size: int = SIZE, count: int | None = None, **other: Any) -> Conntrack:
    """A table with these entries; statistics without anything dropped."""
    fields: dict[str, Any] = {
        "netns": HOST, "buckets": max(size, 1), "timeouts": TIMEOUTS, "method": "ctnetlink",
        "statistics": {"drop": 0, "early_drop": 0, "insert_failed": 0, "chainlength": 0, "clashres": 0},
    }  # fmt: skip
    entries = sum(g.entries for g in groups) if count is None else count
    return Conntrack(loaded=True, count=entries, max_entries=size, groups=groups, **{**fields, **other})


def of(entries: int, **other: Any) -> Conntrack:
    """A table with so many busy entries of one client."""
    return table(busy(CLIENT, SERVICE, entries), **other)


def dropping(found: Conntrack, packets: int, column: str = "drop") -> Conntrack:
    """The same table with a counter at so many."""
    fields = {name: getattr(found, name) for name in found.__struct_fields__}
    return Conntrack(**{**fields, "statistics": {**found.statistics, column: packets}})


def addresses_of(*pods: PodAt, **other: Any) -> Addresses:
    by_netns = {
        p.netns: (DeviceAddress(address=p.address, prefix_length=24, device="eth0", kind="veth"),) for p in pods
    }
    host = (DeviceAddress(address=HOST_ADDRESS, prefix_length=24, device="eth0"),)
    return Addresses(by_netns={HOST: host, **by_netns}, **other)


def node(
    *tables: Conntrack,
    seconds: float = 10.0,
    pods: Sequence[PodAt] = (),
    addresses: Addresses | None = None,
    by_pid: Mapping[int, Workload] | None = None,
    sole: Mapping[int, Workload] | None = None,
    sockets: Sequence[SocketGroup] | None = None,
    queues: Sequence[AcceptQueue] = (),
    log: KernelLog | None = None,
) -> Recording:
    """A table at each moment, seconds from the first to the last, on a node with these pods."""
    step = seconds / max(len(tables) - 1, 1)
    always: dict[str, AnySample] = {
        "addresses": addresses if addresses is not None else addresses_of(*pods),
        "workloads": Workloads(
            by_pid=dict(by_pid or {}), by_netns={p.netns: p.workload for p in pods}, sole_by_netns=dict(sole or {})
        ),
    }
    if sockets is not None:
        always["sockets"] = Sockets(method="bpf", groups=tuple(sockets), accept_queues=tuple(queues))
    if log is not None:
        always["kernel_log"] = log
    return Recording(
        node=NODE,
        snapshots=tuple(
            Snapshot(at=moment(i * step), samples={"conntrack": found, **always}) for i, found in enumerate(tables)
        ),
    )


def twice(*groups: FlowGroup, dropped: int = 0, pods: Sequence[PodAt] = (), **how: Any) -> Recording:
    """The same entries at two moments, and so many packets dropped between them."""
    whole = {k: how.pop(k) for k in ("seconds", "addresses", "by_pid", "sole", "sockets", "queues", "log") if k in how}
    found = table(*groups, **how)
    return node(found, dropping(found, dropped), pods=pods, **whole)


def logged(*seconds: float, text: str = FULL_LINE) -> KernelLog:
    """Table-full lines, at seconds from the first moment."""
    lines = tuple(LogLine(LOG_KINDS["netns" in text], FROM_BOOT + at, text) for at in seconds)
    return KernelLog(
        source="/dev/kmsg", reaches_back_seconds=9_000.0, lines=lines, counts={LOG_KINDS["netns" in text]: len(lines)}
    )


def opened(pid: int, to: Endpoint, n: int, *, netns: int = HOST, **other: Any) -> SocketGroup:
    """Sockets of a process, connected to an endpoint."""
    return SocketGroup(
        owner_pid=pid, netns=netns, protocol="tcp", family=4, role="initiated", holding="descriptor", endpoint=to,
        sockets=n, **{"state": "established", **other},
    )  # fmt: skip


def listening(pid: int, port: int, *, netns: int = HOST) -> AcceptQueue:
    return AcceptQueue(owner_pid=pid, netns=netns, local=Endpoint("::", port), waiting=0, limit=128)


# --- Answers -----------------------------------------------------------------------------------------------------


def answer(found: Recording) -> Answer:
    """The only one."""
    (only,) = judge(RULE, found)
    return only


def only(found: Recording) -> Finding:
    finding = answer(found)
    assert isinstance(finding, Finding), finding
    return finding


def told(found: Recording) -> str:
    """Severity of the only finding, or the kind of another answer."""
    said = answer(found)
    return said.severity if isinstance(said, Finding) else type(said).__name__


def is_cleared(found: Recording) -> bool:
    return isinstance(answer(found), Cleared)


def name(p: Party) -> str:
    """Pod, process or address."""
    if isinstance(p.pod, Pod):
        return f"{p.pod.name}"
    if p.process:
        return p.process.comm
    return f"{p.endpoint.address}" if isinstance(p.endpoint, Endpoint) else "?"


def culprits(found: Recording) -> list[str]:
    return [name(p) for a in judge(RULE, found) if isinstance(a, Finding) for p in a.parties if p.role == "culprit"]


def in_role(found: Finding, role: str) -> list[str]:
    return [name(p) for p in found.parties if p.role == role]
