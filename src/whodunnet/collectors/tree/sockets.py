"""Sockets, their owners and the ports they take, as ss printed them for a tree."""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from whodunnet.attribution.cgroups import find_owner
from whodunnet.collectors.ports import USES_LIMIT
from whodunnet.collectors.sockets_diag_groups import Grouping, Positions
from whodunnet.collectors.tree.counted import settings_of
from whodunnet.collectors.tree.place import COMMANDS, OWN, Place
from whodunnet.errors import UnreadableError
from whodunnet.kernel.netlink.sock_diag_messages import InetSocket
from whodunnet.kernel.procfs.descriptors import SocketHolders
from whodunnet.kernel.tree import ps_text
from whodunnet.kernel.tree.ss_text import LIMIT_BYTES, SsText, confirmed, parse_inodes, parse_ss
from whodunnet.kernel.tree.sysctls import Sysctls
from whodunnet.model.ports import NamespacePorts, Ports, PortUse
from whodunnet.model.sockets import Endpoint, Sockets, in_order
from whodunnet.model.text import clean
from whodunnet.model.workload import Container, Pod, Process, Workload, Workloads

PRINTED: Final = f"{COMMANDS}/ss_-peaonmi"
TABLE_LIMIT_BYTES: Final = 64 << 20
NAMED_MAX: Final = 16_384
BY_TEXT: Final = "ss printed them when the tree was made, and a tree has no other"
_NOT_SEEN: Final = (
    "TCP sockets that are neither listening, connected nor bound, and those closed by a reset or a time-out whose "
    "descriptor is still open",
    "network namespaces in which ss was not run",
    "unix sockets: their names may be made to look like other sockets, and are not read",
)
_OPEN: Final = frozenset({"established", "syn-sent", "syn-recv", "close-wait"})


class TreeSockets(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that comes from the same texts."""

    sockets: Sockets
    ports: Ports
    workloads: Workloads


def read_sockets(place: Place) -> TreeSockets:
    """Raises UnreadableError if ss was not run in the machine's own namespace."""
    texts = {OWN: _own(place)}
    for named in place.named:
        try:
            path, data = place.tree.first(*named.printed("ss_-peaonmi"), limit=LIMIT_BYTES)
            texts[named.number] = parse_ss(data, path)
        except UnreadableError:
            continue
    return TreeSockets(sockets=_sockets(place, texts), ports=_ports(place, texts), workloads=_workloads(place, texts))


def _own(place: Place) -> SsText:
    path, data = place.tree.first(PRINTED, limit=LIMIT_BYTES)
    found = parse_ss(data, path)
    inodes: set[int] = set()
    try:
        for name in ("tcp", "udp"):
            inodes |= parse_inodes(place.tree.first(*place.net(name), limit=TABLE_LIMIT_BYTES)[1])
    except UnreadableError:
        return found
    for name in ("tcp6", "udp6"):
        try:
            inodes |= parse_inodes(place.tree.first(*place.net(name), limit=TABLE_LIMIT_BYTES)[1])
        except UnreadableError:
            continue  # a kernel without IPv6
    return confirmed(found, inodes)


def _sockets(place: Place, texts: dict[int, SsText]) -> Sockets:
    grouping = Grouping(_holders(texts), Positions())
    time_wait = requests = 0
    for netns, text in texts.items():
        ports = frozenset(
            one.socket.local_port
            for one in text.sockets
            if isinstance(one.socket, InetSocket) and one.socket.state == "listen"
        )
        for one in text.sockets:
            if not isinstance(one.socket, InetSocket):
                grouping.add(netns, "udp", one.socket, frozenset())
            elif one.socket.memory is not None:
                grouping.add(netns, "tcp", one.socket, ports)
            elif one.socket.state == "syn-recv":
                requests += 1
            else:
                time_wait += 1
    grouping.settle(SocketHolders(), 0.0)
    return in_order(
        Sockets(
            method="sock_diag",
            groups=grouping.groups(),
            stuck=tuple(grouping.stuck),
            stuck_total=grouping.stuck_total,
            accept_queues=tuple(grouping.queues),
            listeners_cut=bool(grouping.queues_left_out),
            dropping=tuple(grouping.dropping),
            dropping_cut=grouping.dropping_cut,
            names=tuple(grouping.names),
            names_cut=grouping.names_cut,
            time_wait=time_wait,
            request_sockets=requests,
            other_sockets=grouping.other.sockets,
            other_memory_bytes=grouping.other.memory_bytes,
            lost=grouping.lost + sum(text.malformed + text.left_out for text in texts.values()),
            netns_unread=place.unread(len(texts)),
            all_processes=all(text.named or not text.sockets for text in texts.values()),
            page_size_bytes=place.machine.page_size_bytes or 4096,
            not_seen=_NOT_SEEN,
            fallback_reason=BY_TEXT,
        )
    )


def _holders(texts: dict[int, SsText]) -> SocketHolders:
    """Not known to be complete: ss may not have been allowed to see every process."""
    holders = SocketHolders()
    for text in texts.values():
        for one in text.sockets:
            for holder in one.holders:
                holders.add(one.socket.inode, holder.pid)
    return holders


def _workloads(place: Place, texts: dict[int, SsText]) -> Workloads:
    """Names of all owners as ss has them; container, pod and unit where ps has the same process."""
    try:
        printed = ps_text.parse_ps(place.tree.read(ps_text.PRINTED, ps_text.LIMIT_BYTES))
    except UnreadableError:
        printed = {}
    found: dict[int, Workload] = {}
    for netns, text in texts.items():
        for one in text.sockets:
            for holder in one.holders:
                if holder.pid not in found and len(found) < NAMED_MAX:
                    found[holder.pid] = _workload(holder.pid, holder.comm, netns, printed.get(holder.pid))
    return Workloads(by_pid=dict(sorted(found.items())))


def _workload(pid: int, comm: str, netns: int, printed: ps_text.PrintedProcess | None) -> Workload:
    process = Process(pid=pid, comm=comm)
    if printed is None or printed.comm != comm:
        return Workload(process=process, netns=netns)
    owner = find_owner(printed.cgroups)
    pod = Pod(uid=owner.pod_uid) if owner.pod_uid else None
    if owner.container is None:
        return Workload(process=process, netns=netns, pod=pod, unit=owner.unit)
    container = Container(id=owner.container, runtime=owner.runtime, cgroup=clean(owner.path, 4096))
    return Workload(process=process, netns=netns, container=container, pod=pod)


def _ports(place: Place, texts: dict[int, SsText]) -> Ports:
    found: dict[int, NamespacePorts] = {}
    names = {named.number: named for named in place.named}
    for netns, text in texts.items():
        sysctls = place.sysctls
        if netns != OWN:
            sysctls = Sysctls(place.tree, names[netns].printed("sysctl_-a"), files=False)
        between = settings_of(sysctls).values.get("net.ipv4.ip_local_port_range", ())
        found[netns] = _use(text, between)
    return Ports(by_netns=found, netns_unread=place.unread(len(found)))


def _use(text: SsText, between: tuple[int, ...]) -> NamespacePorts:
    tcp = [one.socket for one in text.sockets if isinstance(one.socket, InetSocket)]
    waiting = sum(_place(found) == "time_wait" for found in tcp)
    whole = NamespacePorts(sockets=len(tcp) - waiting, time_wait=waiting)
    if len(between) != 2:
        return msgspec.structs.replace(whole, unread="the tree does not say which ports there are")
    sums: Counter[tuple[str, Endpoint, str]] = Counter()
    bound: set[int] = set()
    for found in tcp:
        if not between[0] <= found.local_port <= between[1]:
            continue
        if found.state in ("listen", "close"):
            bound.add(found.local_port)
        else:
            sums[found.local_address, Endpoint(found.remote_address, found.remote_port), _place(found)] += 1
    ends = {(source, destination) for source, destination, _ in sums}
    uses = [
        PortUse(
            source=source, destination=destination,
            **{place: sums[source, destination, place] for place in ("open", "closing", "time_wait")},
        )
        for source, destination in ends
    ]  # fmt: skip
    uses.sort(key=lambda use: (-use.ports, use.source, use.destination.address or "", use.destination.port or 0))
    return msgspec.structs.replace(whole, uses=tuple(uses[:USES_LIMIT]), bound=len(bound))


def _place(found: InetSocket) -> str:
    if found.memory is None and found.state != "syn-recv":
        return "time_wait"
    return "open" if found.state in _OPEN else "closing"
