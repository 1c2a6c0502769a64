"""Who is at an end of connections, in words: a workload of this node, or an address and the pod behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from whodunnet.model.connection_names import End
from whodunnet.model.connection_pairs import Pair
from whodunnet.model.connections import ConnectionGroup
from whodunnet.model.sockets import Endpoint
from whodunnet.model.text import clean
from whodunnet.model.workload import Pod, Workload
from whodunnet.report.flow_subject import netns_label
from whodunnet.report.identity import endpoint_name, pod_name
from whodunnet.report.owner import workload_label
from whodunnet.report.pod_names import PodNames, find_command, may_be_pod

BOOT_TIME_STEP = timedelta(seconds=1)
"""When a process started is up to so much too early: it is counted from the boot, which is known to the second (btime
in fs/proc/stat.c)."""


class ConnectionSide(msgspec.Struct, frozen=True, kw_only=True):
    """workload: None where nobody knows, or it is not on this node. here: whether it is on this node, None: not known.

    processes: how many have been met, 0 if none was. pods: by --pods, whoever has the address.
    perhaps_here: not found here, but not all addresses of this node were read. by_address: nobody was seen to accept or
    to listen; the workload is whoever has the address.
    """

    workload: Workload | None = None
    here: bool | None = None
    address: str | None = None
    netns: int | None = None
    processes: int = 0
    pods: tuple[Pod, ...] = ()
    perhaps_here: bool = False
    by_address: bool = False


class Sides:
    """Makes them, with names of pods elsewhere. doubtful: not all addresses of this node were read."""

    def __init__(self, pods: PodNames, *, doubtful: bool) -> None:
        self._pods, self._doubtful = pods, doubtful

    def client(self, pairs: Sequence[Pair]) -> ConnectionSide:
        """The connecting end that these have in common."""
        addresses = {pair.client.address for pair in pairs}
        end = replace(pairs[0].client, address=pairs[0].client.address if len(addresses) == 1 else None)
        return self._side(end, (g for pair in pairs for g in pair.here))

    def servers(self, pairs: Sequence[Pair]) -> list[ConnectionSide]:
        """Whoever accepts for these: one, unless programs share the endpoint, or networks the address."""
        named: dict[str, list[Pair]] = {}
        for pair in pairs:
            if pair.server_end.workload is not None:
                named.setdefault(end_key(pair.server_end), []).append(pair)
        if named:
            return [self._server(of) for of in named.values()]
        known = [pair.server_end for pair in pairs if pair.server_end.address is not None]
        return [self._side(known[0], ())] if known else []

    def _server(self, pairs: Sequence[Pair]) -> ConnectionSide:
        met = [g for pair in pairs for g in pair.there]
        side = self._side(pairs[0].server_end, met)
        home = not met and pairs[0].server_end.key == f"netns {side.netns}"
        return replace(side, by_address=True) if home else side

    def _side(self, end: End, groups: Iterable[ConnectionGroup]) -> ConnectionSide:
        workload = end.workload
        if workload is not None and (workload.container or workload.pod):
            workload = replace(workload, process=None, unit=None)
        met = {(g.owner_pid, g.process_started_seconds) for g in groups if g.owner_pid is not None}
        elsewhere = end.address is not None and end.local is not True
        return ConnectionSide(
            workload=workload,
            here=end.local,
            address=end.address,
            netns=end.netns,
            processes=len(met),
            pods=self._pods.of(end.address) if end.address is not None and elsewhere else (),
            perhaps_here=self._doubtful and end.local is False,
        )


def end_key(end: End) -> str:
    """The same for a container, whether its processes were met or only its address is known."""
    container = end.workload.container if end.workload is not None else None
    return f"container {container.id}" if container is not None else end.key


def scripts_as_one(pairs: Iterable[Pair], since: datetime) -> Iterator[Pair]:
    """The same, with one client for all processes of a name that began since then: a script that calls curl.

    Those of them that were gone before anybody looked are one already (Names), with the same key.
    """
    since -= BOOT_TIME_STEP
    for pair in pairs:
        client = pair.client
        process = client.workload.process if client.workload is not None else None
        if process is not None and process.started and process.started >= since and client.key.startswith("pid "):
            client = replace(client, key=f"program {process.comm} in {client.netns}")
        yield replace(pair, client=client)


def side_label(side: ConnectionSide) -> str:
    """Plain words, cleaned."""
    if side.workload is not None:
        return _workload(side.workload, side.processes)
    if side.address is None:
        return netns_label(side.netns) if side.netns is not None else "clients that were not kept"
    named = " or ".join(map(pod_name, side.pods))
    address = f"{named} ({clean(side.address)})" if named else clean(side.address)
    return address + _whereabouts(side)


def server_label(endpoint: Endpoint, sides: Sequence[ConnectionSide], netns: int | None, total: int) -> str:
    """An endpoint with who accepts there. netns: of a loopback address, of which each namespace has its own.

    total: how many accept there; sides has the first of them.
    """
    name = endpoint_name(endpoint)
    named = [_accepting(side) for side in sides if side.workload is not None]
    if named:
        more = f" and {total - len(named):,} more" if total > len(named) else ""
        return f"{name} ({', '.join(named)}{more})"
    if netns is not None:
        return f"{name} in {netns_label(netns)}"
    if len(sides) == 1:
        pods = " or ".join(map(pod_name, sides[0].pods))
        return (f"{name} ({pods})" if pods else name) + _whereabouts(sides[0])
    return name


def _accepting(side: ConnectionSide) -> str:
    return f"address of {side_label(side)}" if side.by_address else side_label(side)


def command_for(side: ConnectionSide | None) -> str | None:
    """What finds the name of a pod elsewhere, where there may be one behind an address."""
    if side is None or side.address is None or side.workload is not None or side.pods or side.here is not False:
        return None
    return find_command(side.address) if may_be_pod(side.address) else None


def _workload(workload: Workload, processes: int) -> str:
    process = workload.process
    if process is None or processes < 2:
        return workload_label(workload)
    place = f" in {clean(workload.unit)}" if workload.unit else ""
    return f"{clean(process.comm) or 'process'} ({processes:,} processes){place}"


def _whereabouts(side: ConnectionSide) -> str:
    if side.perhaps_here:
        return ", not found here"
    if side.here is False:
        return ", not on this node"
    return f" in {netns_label(side.netns)}" if side.netns is not None else ""
