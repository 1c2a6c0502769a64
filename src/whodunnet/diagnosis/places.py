"""Whether a cause and its consequence are in one place: at an address, a listener, of an owner, in a namespace."""

from __future__ import annotations

from msgspec import UNSET

from whodunnet.model.finding import Finding, Party, known
from whodunnet.model.workload import Process


def at_one_address(cause: Finding, consequence: Finding) -> bool:
    silent = {p.endpoint for p in cause.parties if p.role in ("peer", "culprit", "holder")} - {UNSET}
    return any(p.endpoint in silent for p in of_role(consequence, "peer"))


def of_one_owner(cause: Finding, consequence: Finding) -> bool:
    return any(same_owner(mine, theirs) for mine in of_role(cause, "culprit") for theirs in behind(consequence))


def of_one_listener(cause: Finding, consequence: Finding) -> bool:
    there = [p for p in consequence.parties if p.role in ("culprit", "holder", "peer", "victim")]
    mine = [*behind(cause), *of_role(cause, "victim")]
    return any(_is_same_port(one, other) for one in mine for other in there)


def from_one_place(cause: Finding, consequence: Finding) -> bool:
    asked = {p.endpoint for p in of_role(cause, "peer")} & {p.endpoint for p in of_role(consequence, "peer")} - {UNSET}
    return bool(asked) and any(
        same_owner(mine, theirs) or (known(mine.netns) is not None and mine.netns == theirs.netns)
        for mine in of_role(cause, "victim")
        for theirs in of_role(consequence, "victim")
    )


def in_one_namespace(cause: Finding, consequence: Finding) -> bool:
    return bool(_namespaces(cause) & _namespaces(consequence))


def is_between(cause: Finding, consequence: Finding) -> bool:
    clients = {netns for p in of_role(consequence, "victim") if (netns := known(p.netns)) is not None}
    return not clients & _namespaces(cause)


def all_of_its_namespace(cause: Finding, consequence: Finding) -> bool:
    """Whether all who suffer are in the namespace of the cause, or all that they ask are."""
    there, clients = _namespaces(cause), {p.netns for p in of_role(consequence, "victim")}
    servers = {p.netns for p in consequence.parties if p.role != "victim"}
    return any(ends and ends <= there for ends in (clients, servers))


def through_one_device(cause: Finding, consequence: Finding) -> bool:
    """A pod's device, of a namespace that is an end of it; or one of the node, unless both ends are on this node."""
    ends = [p for p in consequence.parties if known(p.netns) is not None]
    if _namespaces(cause):
        return in_one_namespace(cause, consequence)
    return not any(p.role == "peer" for p in ends)


def behind(f: Finding) -> list[Party]:
    """Whose it is: also of a halted process, which has caused nothing."""
    return [p for p in f.parties if p.role in ("culprit", "holder", "reader")]


def same_owner(one: Party, other: Party) -> bool:
    """By pod, else container, else process: the first that the one is known by."""
    for mine, theirs in ((one.pod, other.pod), (one.container, other.container)):
        if known(mine) is not None:
            return mine == theirs
    return same_process(one, other)


def same_process(one: Party, other: Party) -> bool:
    process, other_process = known(one.process), known(other.process)
    return process is not None and other_process is not None and _identity(process) == _identity(other_process)


def _identity(process: Process) -> tuple[object, ...]:
    """Not its limit, which some rules leave out, nor its state, which changes."""
    return process.pid, process.comm, process.started


def of_role(f: Finding, role: str) -> list[Party]:
    return [p for p in f.parties if p.role == role]


def _is_same_port(one: Party, other: Party) -> bool:
    """Of one owner; where nobody knows whose it is, of one namespace, or at one address."""
    a, b = known(one.endpoint), known(other.endpoint)
    if a is None or b is None or a.port is None or a.port != b.port:
        return False
    same_netns = known(one.netns) is not None and one.netns == other.netns
    return same_owner(one, other) or same_netns or (a == b and not _is_any(a.address))


def _is_any(address: str | None) -> bool:
    """Whether a listener takes connections to every address of its namespace."""
    return address is None or not address.strip("0.:")


def _namespaces(f: Finding) -> set[int]:
    return {netns for p in f.parties if (netns := known(p.netns)) is not None}
