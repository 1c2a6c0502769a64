"""By what a consequence is tied to its cause: one function for each tie of links.py, each with a reading or None."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import UNSET, structs

from whodunnet.diagnosis.links import Tie
from whodunnet.diagnosis.places import (
    all_of_its_namespace,
    at_one_address,
    behind,
    from_one_place,
    in_one_namespace,
    is_between,
    of_one_listener,
    of_one_owner,
    of_role,
    same_owner,
    same_process,
    through_one_device,
)
from whodunnet.model.finding import Evidence, Finding, known
from whodunnet.rules.cpu_findings import PRESSURE
from whodunnet.rules.identity import TCP_MEMORY, TRACKED
from whodunnet.rules.neighbour_findings import FULLS_SOURCE
from whodunnet.rules.softnet_drops import MEANWHILE
from whodunnet.rules.stall_evidence import LONG_BY, TOGETHER
from whodunnet.rules.table_evidence import DROPS_SOURCE
from whodunnet.rules.tcp_memory import ABORTS_SOURCE
from whodunnet.rules.zombie_cgroups import CHANGED, IN_USE

CAUSE_SHARE: Final = 0.5
"""A finding is put under a cause that ties up, or accounts for, at least this share of what the finding is about."""
ABOUT: Final = {"tcp-memory": TCP_MEMORY, "conntrack-table": TRACKED}
"""What a rule's finding is about: a share of something else explains nothing of it."""


def evidence_of(tie: Tie, cause: Finding, consequence: Finding) -> Evidence | None:
    """What ties them; its statement goes on with " by its cause". None if nothing does."""
    return _TIES[tie](cause, consequence)


def is_elsewhere(tie: Tie, cause: Finding, consequence: Finding) -> bool:
    """Whether the tie is a place (an address, a listener, a CPU), and the two are about others."""
    return tie in _PLACES and not _PLACES[tie](cause, consequence)


def largest_share(f: Finding, of: str | None = None) -> float:
    """Of a culprit or reader. of: only shares of this; one that does not say is of anything."""
    parties = [p for p in f.parties if p.role in ("culprit", "reader") and (of is None or p.share_of in (of, UNSET))]
    return max((p.share for p in parties if isinstance(p.share, float)), default=0.0)


def _whole_node(cause: Finding, _consequence: Finding) -> Evidence | None:
    if cause.confidence == "possible" or cause.severity != "critical":
        return None
    return structs.replace(cause.evidence[0], statement="On the whole node meanwhile,")


def _no_file_left(cause: Finding, consequence: Finding) -> Evidence | None:
    # Who is halted takes nothing, with or without a file for it.
    if of_role(consequence, "reader"):
        return None
    return _whole_node(cause, consequence)


def _on_this_node(cause: Finding, consequence: Finding) -> Evidence | None:
    if not any(known(p.netns) is not None for p in of_role(consequence, "peer")):
        return None
    return _whole_node(cause, consequence)


def _tied_up(cause: Finding, consequence: Finding) -> Evidence | None:
    share = largest_share(cause, ABOUT.get(consequence.rule))
    if cause.confidence == "possible" or share < CAUSE_SHARE:
        return None
    return Evidence(
        statement=f"Share of {ABOUT.get(consequence.rule, 'it')} that is tied up",
        value=round(share, 3),
        unit="share",
        limit=CAUSE_SHARE,
        comparison=">=",
        source="sockets collector",
        at=cause.last_seen,
        repeat="whodunnet sockets --by process",
    )


def _dropped(cause: Finding, _consequence: Finding) -> Evidence | None:
    """The first packets of new connections and of name queries; nobody need be to blame for that."""
    counted = _counted(cause, DROPS_SOURCE) or _counted(cause, FULLS_SOURCE)
    if counted is None or cause.severity != "critical":
        return None
    return structs.replace(counted, statement="Packets dropped meanwhile")


def _no_room_there(cause: Finding, consequence: Finding) -> Evidence | None:
    if cause.confidence == "possible" or cause.severity != "critical" or not all_of_its_namespace(cause, consequence):
        return None
    return structs.replace(cause.evidence[0], statement="In the network namespace that has no room for more entries,")


def _dropped_by_provider(cause: Finding, consequence: Finding) -> Evidence | None:
    return _enough(cause.evidence[0], consequence, "Packets that the provider dropped meanwhile, counted")


def _aborted(cause: Finding, consequence: Finding) -> Evidence | None:
    counted = _counted(cause, ABORTS_SOURCE)
    if counted is None or cause.severity != "critical":
        return None
    return _enough(counted, consequence, "Connections that the kernel gave up for lack of memory meanwhile, counted")


def _same_address(cause: Finding, consequence: Finding) -> Evidence | None:
    if cause.confidence == "possible" or not at_one_address(cause, consequence):
        return None
    return structs.replace(cause.evidence[0], statement="At the same address,")


def _same_queue(cause: Finding, consequence: Finding) -> Evidence | None:
    if cause.confidence == "possible" or not of_one_owner(cause, consequence):
        return None
    return structs.replace(cause.evidence[0], statement="In its accept queue,")


def _same_listener(cause: Finding, consequence: Finding) -> Evidence | None:
    if cause.confidence == "possible" or not of_one_listener(cause, consequence):
        return None
    return structs.replace(cause.evidence[0], statement="At the same listener,")


def _same_connections(cause: Finding, consequence: Finding) -> Evidence | None:
    reached = {p.endpoint for p in of_role(consequence, "peer")}
    if cause.confidence == "possible" or not any(p.endpoint in reached for p in of_role(cause, "peer")):
        return None
    for entries in of_role(consequence, "culprit"):
        for sockets in of_role(cause, "culprit"):
            n, of = known(sockets.sockets), known(entries.entries)
            if n is not None and of is not None and n >= CAUSE_SHARE * of and same_owner(entries, sockets):
                return Evidence(
                    statement="Open sockets that have these entries, kept",
                    value=min(n, of),
                    unit="sockets",
                    limit=of,
                    comparison="of",
                    source="sockets collector against conntrack collector",
                    at=cause.last_seen,
                    repeat="whodunnet conntrack --by workload",
                )
    return None


def _while_held(cause: Finding, consequence: Finding) -> Evidence | None:
    """Packets that a CPU dropped in readings within which it was held: most of all that it dropped."""
    if cause.confidence == "possible" or not _most_while_held(cause, consequence):
        return None
    meanwhile = _stated(consequence, MEANWHILE)
    return meanwhile and structs.replace(
        meanwhile, statement="Dropped on the same CPU while packets were held up there"
    )


def _most_while_held(cause: Finding, consequence: Finding) -> bool:
    meanwhile = _stated(consequence, MEANWHILE)
    if meanwhile is None or not isinstance(meanwhile.value, int) or meanwhile.limit is None:
        return False
    return meanwhile.value >= CAUSE_SHARE * meanwhile.limit and bool(_cpus(cause) & _cpus(consequence))


def _walked(cause: Finding, consequence: Finding) -> Evidence | None:
    """Samples of a stall in a walk over every memory cgroup, or in sums of what changes where that is deleted ones."""
    for way, statement in LONG_BY.items():
        seen = _stated(consequence, statement)
        if seen is None or not isinstance(seen.value, int) or seen.value < CAUSE_SHARE * (seen.limit or 0):
            continue
        changed = _stated(cause, CHANGED)
        if way == "walk" or (changed is not None and changed.comparison == ">="):
            return structs.replace(seen, statement="In functions that go through all that is kept")
        return _too_long(cause, consequence)
    return None


def _too_long(cause: Finding, consequence: Finding) -> Evidence | None:
    """Sums that take longer than cgroups in use explain: deleted ones change too while others use what is theirs."""
    in_use, together = _stated(cause, IN_USE), _stated(consequence, TOGETHER)
    times = next((e.value for e in consequence.evidence if e.unit == "stalls"), None)
    if in_use is None or not isinstance(in_use.value, float) or not isinstance(times, int) or not times:
        return None
    if together is None or not isinstance(together.value, int | float):
        return None
    each = round(together.value / times, 6)
    if each <= in_use.value:
        return None
    text = "Each on average, longer than sums of the cgroups in use take; the rest is made"
    return structs.replace(together, statement=text, value=each, limit=in_use.value, comparison=">")


def _no_cpu(cause: Finding, _consequence: Finding) -> Evidence | None:
    """Who has to wait for a CPU reads late, whoever it is."""
    if cause.confidence == "possible" or cause.severity == "info":
        return None
    first = cause.evidence[0]
    what = "tasks waited for a CPU" if first.source == PRESSURE else "CPUs were busy, and tasks waited for one,"
    return structs.replace(first, statement=f"On the whole node {what} meanwhile,")


def _used_up(cause: Finding, consequence: Finding) -> Evidence | None:
    """Of the victim of a quota, which is behind a queue, or is the victim of its socket too: then the same process."""
    mine, theirs = of_role(cause, "victim"), of_role(consequence, "victim")
    behind_it = any(same_owner(one, other) for one in mine for other in behind(consequence))
    if not behind_it and not any(same_process(one, other) for one in mine for other in theirs):
        return None
    return structs.replace(cause.evidence[0], statement="Periods in which its quota of CPU time was used up,")


def _same_ports(cause: Finding, consequence: Finding) -> Evidence | None:
    """Both count the same connects: from one namespace, or of one owner, to one endpoint."""
    counted = cause.evidence[0]
    if cause.confidence == "possible" or counted.unit != "connects" or not from_one_place(cause, consequence):
        return None
    return _enough(counted, consequence, "Connects to the same endpoint that found no free port, counted")


def _dropped_there(cause: Finding, consequence: Finding) -> Evidence | None:
    if not in_one_namespace(cause, consequence):
        return None
    return _enough(cause.evidence[0], consequence, "Packets dropped in that network namespace meanwhile, counted")


def _dropped_on_the_way(cause: Finding, consequence: Finding) -> Evidence | None:
    """What a namespace sends itself it need not forward."""
    if not is_between(cause, consequence):
        return None
    return _enough(cause.evidence[0], consequence, "Packets for others dropped on the way meanwhile, counted")


def _same_device(cause: Finding, consequence: Finding) -> Evidence | None:
    if not through_one_device(cause, consequence):
        return None
    return _enough(cause.evidence[0], consequence, "Packets lost by a device on their way meanwhile, counted")


def _enough(counted: Evidence, consequence: Finding, statement: str) -> Evidence | None:
    """The reading of a cause, against what the first reading of the consequence counts."""
    n, of = counted.value, consequence.evidence[0].value
    if not isinstance(n, int) or not isinstance(of, int) or n < CAUSE_SHARE * of:
        return None
    return structs.replace(counted, statement=statement, limit=of, comparison="against")


def _stated(f: Finding, statement: str) -> Evidence | None:
    return next((e for e in f.evidence if e.statement == statement), None)


def _counted(f: Finding, source: str) -> Evidence | None:
    return next((e for e in f.evidence if e.source == source), None)


def _cpus(f: Finding) -> set[int]:
    """The CPUs whose packets suffer."""
    return {cpu for p in of_role(f, "victim") for cpu in known(p.cpus) or ()}


_TIES: Final[Mapping[Tie, Callable[[Finding, Finding], Evidence | None]]] = {
    "whole-node": _whole_node,
    "no-file-left": _no_file_left,
    "on-this-node": _on_this_node,
    "share-of-it": _tied_up,
    "packets-dropped": _dropped,
    "no-room-there": _no_room_there,
    "provider-dropped": _dropped_by_provider,
    "memory-aborts": _aborted,
    "same-address": _same_address,
    "same-queue": _same_queue,
    "same-listener": _same_listener,
    "same-connections": _same_connections,
    "while-held": _while_held,
    "walked": _walked,
    "quota-used-up": _used_up,
    "same-ports": _same_ports,
    "no-cpu": _no_cpu,
    "dropped-there": _dropped_there,
    "dropped-on-the-way": _dropped_on_the_way,
    "same-device": _same_device,
}
_PLACES: Final[Mapping[Tie, Callable[[Finding, Finding], bool]]] = {
    "same-address": at_one_address,
    "same-listener": of_one_listener,
    "same-queue": of_one_owner,
    "while-held": _most_while_held,
    "same-ports": from_one_place,
    "no-room-there": all_of_its_namespace,
    "dropped-there": in_one_namespace,
    "same-device": through_one_device,
    "dropped-on-the-way": is_between,
    "walked": lambda cause, consequence: _walked(cause, consequence) is not None,
}
