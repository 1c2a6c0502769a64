"""Who is at both ends of connections whose segments are repeated, for the rules retransmits and path-mtu."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from whodunnet.model.addresses import Addresses
from whodunnet.model.connection_names import Names
from whodunnet.model.connection_places import Places
from whodunnet.model.connections import Connections
from whodunnet.model.finding import Evidence, Party
from whodunnet.model.repeat_window import RepeatWindow
from whodunnet.model.retransmissions import Destination
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint, SocketGroup
from whodunnet.model.text import clean, shell_quote
from whodunnet.model.workload import Workload, Workloads, owner_key
from whodunnet.rules.identity import endpoint_text, party

SOURCE = "retransmissions collector"
UNOWNED = "has the connections; their processes are not known"
REPEAT = "ss -tin dst {address}  # retrans, backoff, pmtu; in network namespace {netns}, twice"


class Owner(NamedTuple):
    """Who has connections there. repeated, again: segments by them, as in Destination; None: not known if any."""

    workload: Workload
    repeated: int | None = None
    again: int | None = None


class Ends(msgspec.Struct, frozen=True, kw_only=True):
    """owners: who has the connections on this node, most repeats first. netns: where the far end is, if it is on this
    node; local: whether it is, None: not known."""

    owners: tuple[Owner, ...]
    netns: int | None
    local: bool | None


def ends_of(those: Sequence[Destination], recording: Recording) -> Ends:
    """Of all connections to these destinations, which are one address of one namespace."""
    places = Places([sample for _, sample in recording.series(Addresses)])
    address = those[0].remote
    owners = _met(those, recording) or _others(those, recording)
    return Ends(owners=owners, netns=places.of(address), local=places.is_local(address))


def parties_of(
    those: Sequence[Destination], ends: Ends, most: int, effect: Callable[[Owner], str], peer: str
) -> tuple[Party, ...]:
    """The owners, else their network namespace, and the far end. most: owners that are listed."""
    mine = [party("victim", owner.workload, effect=effect(owner)) for owner in ends.owners[:most]]
    if not mine:
        mine = [Party(role="victim", netns=those[0].netns, effect=UNOWNED)]
    there = UNSET if ends.netns is None else ends.netns
    more = ", which is on this node" if ends.local else ""
    return (*mine, *(Party(role="peer", endpoint=e, netns=there, effect=f"{peer}{more}") for e in endpoints(those)))


def endpoints(those: Sequence[Destination]) -> list[Endpoint]:
    return sorted({d.endpoint for d in those}, key=lambda e: (e.address or "", e.port or 0))


def endpoint_words(d: Destination) -> str:
    """Where to; of a client also what it is a client of."""
    to = endpoint_text(d.endpoint)
    return f"{to} (client of port {d.port})" if d.accepted else to


def device_words(d: Destination) -> str:
    return f"device {clean(d.device, 32)}" if d.device else "a device that is not known"


def reading(
    window: RepeatWindow, statement: str, value: float | str | None, unit: str, d: Destination | None = None, *,
    limit: float | None = None, comparison: str | None = None, repeat: str | None = None,
) -> Evidence:  # fmt: skip
    """A reading at the end of the window."""
    of = REPEAT.format(address=shell_quote(d.remote), netns=d.netns) if d else "nstat -asz TcpRetransSegs TcpOutSegs"
    return Evidence(
        statement=statement,
        value=value,
        unit=unit,
        limit=limit,
        comparison=comparison,
        source=SOURCE,
        at=window.end.wall,
        boot_seconds=window.end.boot_seconds,
        repeat=repeat or of,
    )


def _met(those: Sequence[Destination], recording: Recording) -> tuple[Owner, ...]:
    """Whose connections repeated something and were open afterwards."""
    by_pid = (recording.last(Workloads) or Workloads()).by_pid
    found: dict[str, Owner] = {}
    for met in (owner for d in those for owner in d.owners):
        workload = by_pid.get(met.pid)
        if workload is not None:
            key = owner_key(met.pid, workload)
            known = found.get(key, Owner(workload, 0, 0))
            found[key] = Owner(
                known.workload, (known.repeated or 0) + met.repeated, (known.again or 0) + met.again_full
            )
    return tuple(owner for _, owner in sorted(found.items(), key=lambda item: (-(item[1].repeated or 0), item[0])))


def _others(those: Sequence[Destination], recording: Recording) -> tuple[Owner, ...]:
    """Where all have closed: who has open connections there, or had such as ended within the window."""
    found: Counter[str] = Counter()
    who: dict[str, Workload] = {}
    for key, workload, n in (*_open(those, recording), *_ended(those, recording)):
        found[key] += n
        who.setdefault(key, workload)
    return tuple(Owner(who[key]) for key in sorted(who, key=lambda key: (-found[key], key)))


def _open(those: Sequence[Destination], recording: Recording) -> Iterator[tuple[str, Workload, int]]:
    for _, sockets, workloads in recording.owned_sockets()[-1:]:
        by_pid = (workloads or Workloads()).by_pid
        for g in sockets.groups:
            workload = by_pid.get(g.owner_pid) if g.owner_pid is not None else None
            if workload is not None and g.owner_pid is not None and any(_goes_to(g, d) for d in those):
                yield owner_key(g.owner_pid, workload), workload, g.sockets


def _goes_to(g: SocketGroup, d: Destination) -> bool:
    """Of an accepting end the sockets collector keeps the port alone, so that its other clients count as well."""
    if g.protocol != "tcp" or g.netns != d.netns or g.endpoint is None:
        return False
    if d.accepted:
        return g.role == "accepted" and g.endpoint.port == d.port
    return g.role == "initiated" and g.endpoint == d.endpoint


def _ended(those: Sequence[Destination], recording: Recording) -> Iterator[tuple[str, Workload, int]]:
    """Who is gone by now, or has closed: without a number, for these may be counted as open sockets too."""
    newest = recording.last(Connections)
    if newest is None or not newest.groups:
        return
    names = Names(recording)
    for d in those:
        role, server = ("accepted", None) if d.accepted else ("initiated", d.endpoint)
        for g in newest.groups:
            if g.netns != d.netns or g.role != role or g.server.port != d.port or g.owner_pid is None:
                continue
            if g.client != d.remote if d.accepted else g.server != server:
                continue
            end = names.server_of([g], (), None) if d.accepted else names.client_of(g)
            if end.workload is not None:
                yield end.key, end.workload, 0
