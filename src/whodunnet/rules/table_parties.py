"""Everybody whom a finding about the table concerns: who opens, who only has or takes entries, where they lead."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET
from msgspec.structs import replace

from whodunnet.model.finding import ASKED_SERVICE, Party, PartyRole
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Workload
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.flood_cases import Flood
from whodunnet.rules.flood_openers import Opener, Openers
from whodunnet.rules.flood_texts import effect
from whodunnet.rules.identity import TRACKED, party
from whodunnet.rules.table_pods import Meeting
from whodunnet.rules.table_state import State
from whodunnet.rules.table_window import TableWindow

PEERS_LISTED = 3
NEW_FAIL = "new connections and name queries fail or time out; connections that exist go on"
NEW_WILL_FAIL = "once the table is full, new connections and name queries fail"


def parties_of(
    window: TableWindow, now: Openers | None, flood: Flood | None, meeting: Meeting | None, state: State, entry: Entry
) -> Iterator[Party]:
    """Culprits first, most first; without any those who have most, as holders."""
    if now is not None:
        listed = int(entry.limit("listed_holders"))
        if flood is not None:
            yield from _of_flood(flood, now, listed)
        else:
            largest = sorted(now.by_key.values(), key=lambda o: -o.entries)[:listed]
            yield from (_party("holder", o, o.entries, now, None) for o in largest if o.entries)
        yield from _takers(flood, now, meeting, listed)
        yield from _peers(flood, now)
    yield victim(window, NEW_FAIL if state.severity == "critical" else NEW_WILL_FAIL)


def victim(window: TableWindow, suffers: str) -> Party:
    """The whole node."""
    return Party(role="victim", node=window.node, effect=suffers)


def _of_flood(flood: Flood, now: Openers, listed: int) -> Iterator[Party]:
    for opener in flood.culprits:
        yield _party("culprit", opener, opener.wasteful, now, effect(opener))
    for opener in flood.openers:
        if opener.excuse is not None:
            yield _party("holder", opener, opener.wasteful, now, opener.excuse)
    named = {opener.owner.key for opener in flood.openers}
    busy = sorted((o for key, o in now.by_key.items() if key not in named), key=lambda o: -o.entries)
    least = min(opener.charge for opener in flood.openers)
    for opener in busy[:listed]:
        if opener.entries >= least:
            yield _party("holder", opener, opener.entries, now, "has many as well, of connections in use")


def _takers(flood: Flood | None, now: Openers, meeting: Meeting | None, listed: int) -> Iterator[Party]:
    """Pods and containers of this node that many entries lead to, and pods of one workload that meet here."""
    openers = {o.owner.netns for o in flood.openers} if flood is not None else set()
    least = flood.needed / 2 if flood is not None else now.total / 2
    found: dict[int | None, tuple[Workload, int, str]] = {
        pod.netns: (pod, n, PART) for pod, n in (meeting.pods if meeting is not None else ())
    }
    for netns, (workload, n) in sorted(now.taken.items(), key=lambda taker: -taker[1][1])[:listed]:
        if netns in found or n >= least:
            found[netns] = workload, found[netns][1] if netns in found else n, TAKES
    for place, (workload, n, does) in found.items():
        if place not in openers:
            yield party("holder", workload, share=min(n / now.total, 1.0), share_of=TRACKED, entries=n, effect=does)


TAKES = "takes connections of others"
PART = "is of a workload that meets on this node"


def _peers(flood: Flood | None, now: Openers) -> Iterator[Party]:
    """What was asked for, and who answered where that is somebody else and not a pod here, which is a party anyway."""
    if flood is None:
        return
    found: dict[Endpoint, bool] = {}
    for opener in flood.openers:
        flow = opener.main
        same = [
            f for f in opener.flows if flow is not None and (f.kind, f.destination) == (flow.kind, flow.destination)
        ]
        asked = flow.destination if flow is not None else None
        others = [f.answered_by for f in same if f.answered_by is not None and f.answered_by != asked]
        for endpoint in (asked, *others):
            if endpoint is None or endpoint.address is None:
                continue
            if endpoint == asked or now.owners.answerer(endpoint.address) is None:
                found[endpoint] = found.get(endpoint, False) or (endpoint == asked and bool(others))
    for endpoint in list(found)[:PEERS_LISTED]:
        yield Party(role="peer", endpoint=endpoint, effect=ASKED_SERVICE if found[endpoint] else UNSET)


def _party(role: PartyRole, opener: Opener, entries: int, now: Openers, does: str | None) -> Party:
    """A workload, a namespace whose programs are not told apart, or an address."""
    share, owner = min(entries / now.total, 1.0), opener.owner
    if owner.workload is not None or owner.netns is not None:
        workload = owner.workload or Workload(netns=owner.netns)
        found = party(role, workload, share=share, share_of=TRACKED, entries=entries, effect=does)
        return (
            replace(found, endpoint=Endpoint(owner.address, None)) if owner.kind == "netns" and owner.address else found
        )
    return Party(
        role=role,
        share=round(share, 4),
        share_of=TRACKED,
        endpoint=Endpoint(owner.address, None),
        entries=entries,
        effect=does if does is not None else UNSET,
    )
