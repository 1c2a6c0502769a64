"""How openers and what they lead to are called, and what each of them does, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from whodunnet.model.flow_owners import FlowOwner
from whodunnet.model.sockets import Endpoint
from whodunnet.model.text import clean
from whodunnet.model.workload import Workload
from whodunnet.rules.flood_kinds import YOUNG_SECONDS
from whodunnet.rules.flood_openers import Opener
from whodunnet.rules.identity import endpoint_text, short_name


def label(owner: FlowOwner) -> str:
    """A short name, or the address."""
    if owner.workload is not None:
        return short_name(owner.workload)
    if owner.kind == "node":
        return "the node itself"
    if owner.address is None and owner.netns is not None:
        return f"network namespace {owner.netns}"
    return clean(owner.address or "an unknown address", 60)


def exact_label(owner: FlowOwner) -> str:
    """The same, with what tells it from another one of that name."""
    workload = owner.workload
    if workload is not None and workload.process is not None and _is_program(workload):
        return f"{label(owner)} (pid {workload.process.pid})"
    return f"{label(owner)} (network namespace {owner.netns})" if owner.kind == "netns" else label(owner)


def label_all(openers: Sequence[Opener], of_one_workload: bool) -> str:
    """One name, several, or the first of many pods of one workload."""
    names = Counter(label(opener.owner) for opener in openers)
    if of_one_workload and len(openers) > 1:
        return f"{len(openers)} pods of one workload ({next(iter(names))} and others)"
    programs = {label(opener.owner) for opener in openers if _is_program(opener.owner.workload)}
    parts = [_times(one, n, one in programs) for one, n in names.items()]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _times(one: str, n: int, program: bool) -> str:
    """A name that n of them have."""
    if n == 1:
        return one
    return f"{n} {one} processes" if program else f"{n} owners called {one}"


def _is_program(workload: Workload | None) -> bool:
    """Whether its name is that of a process alone."""
    return workload is not None and workload.process is not None and not (workload.container or workload.pod)


def verbs(openers: Sequence[Opener]) -> dict[str, str]:
    """Of a title, by number."""
    return {"fills": "fill", "has": "have"} if len(openers) > 1 else {"fills": "fills", "has": "has"}


def place(destination: Endpoint | None) -> str:
    """An address with its port, cleaned."""
    return clean(endpoint_text(destination), 60) if destination is not None else "many destinations"


def peer_text(openers: Sequence[Opener]) -> str:
    """Where most of it leads, with a word about the rest."""
    opener, flow = openers[0], openers[0].main
    if any(other.main is None or flow is None or other.main.destination != flow.destination for other in openers[1:]):
        return " to several destinations"
    if flow is None or flow.destination is None:
        return " to many destinations"
    rest = opener.destinations - 1
    if 2 * opener.to(flow.destination) < opener.kinds[opener.kind]:
        return f" to {opener.destinations:,} destinations or more"
    return f" to {place(flow.destination)}" + (f" and {rest:,} more" if rest else "")


def effect(opener: Opener) -> str:
    """What it does, without a name: the parties say that."""
    n = opener.kinds[opener.kind]
    many = f"{n:,} {'entry' if n == 1 else 'entries'}"
    rate = f", {opener.rate:,.0f} new ones a second" if opener.rate >= 1 else ""
    texts = {
        "churn": f"opens short connections{rate}; each leaves an entry behind: {many}",
        "idle-established": f"keeps connections that it does not use: {many}",
        "unreplied": f"opens what nobody answers{rate}: {many}",
        "dns": f"asks for names{rate}: {many}",
    }
    return f"{texts[opener.kind]} ({opener.doubt})" if opener.doubt is not None else texts[opener.kind]


def reuse(opener: Opener) -> str | None:
    """How few connections would do, of short ones: those that are open at one time."""
    flow = opener.main
    if opener.kind != "churn" or flow is None or flow.protocol != "tcp" or not opener.rate:
        return None
    at_once = max(opener.in_use[flow.destination], 1)
    return (
        f"{exact_label(opener.owner)} opens {opener.rate:,.1f} a second (those of the last {YOUNG_SECONDS} s), and has "
        f"{at_once:,} open at one time: kept open and used again, that many entries would do."
    )


def shared(opener: Opener) -> str | None:
    """Why it is not accused, and who it may be."""
    if opener.excuse is None:
        return None
    names = [short_name(workload) for workload in opener.owner.candidates[:3]]
    maybe = f"; it may be {', '.join(dict.fromkeys(names))}" if names else ""
    return f"{opener.wasteful:,} entries of {exact_label(opener.owner)} are nobody's for sure: {opener.excuse}{maybe}."


def translated(opener: Opener) -> str | None:
    """How entries with the address of one namespace are those of another one."""
    via, addresses = opener.owner.via, [clean(address, 60) for address in opener.sources]
    if via is None or opener.excuse is not None:
        return None
    return (
        f"These entries have {addresses[0] if len(addresses) == 1 else 'addresses'} of network namespace {via}, which "
        f"opened none of them: its own table shows whose address it translated, that of {exact_label(opener.owner)}, "
        "whose sockets lead there."
    )


def half_open(states: Counter[str]) -> str | None:
    """A flood of half-open connections is not a table that is too small."""
    n = states["syn-recv"]
    if 2 * n < states.total() or not n:
        return None
    return (
        f"{n:,} entries wait for the last packet of the handshake (syn-recv). A SYN flood looks like this, and its "
        "source addresses are invented."
    )
