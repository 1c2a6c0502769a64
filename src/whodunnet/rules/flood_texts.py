"""How openers and what they lead to are called, and what each of them does, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from whodunnet.model.flow_owners import FlowOwner
from whodunnet.model.sockets import Endpoint
from whodunnet.model.text import clean
from whodunnet.rules.flood_kinds import YOUNG_SECONDS
from whodunnet.rules.flood_openers import Opener
from whodunnet.rules.identity import endpoint_text, short_name


def label(owner: FlowOwner) -> str:
    """A short name, or the address."""
    if owner.workload is not None:
        return short_name(owner.workload)
    if owner.kind == "node":
        return "the node itself"
    if owner.kind == "netns":
        return f"network namespace {owner.netns}"
    return clean(owner.address or "an unknown address", 60)


def label_all(openers: Sequence[Opener], of_one_workload: bool) -> str:
    """One name, several, or the first of many pods of one workload."""
    names = [label(opener.owner) for opener in openers]
    if of_one_workload and len(names) > 1:
        return f"{len(names)} pods of one workload ({names[0]} and others)"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def place(destination: Endpoint | None) -> str:
    """An address with its port, cleaned."""
    return clean(endpoint_text(destination), 60) if destination is not None else "many destinations"


def peer_text(opener: Opener) -> str:
    """Where most of it leads, with a word about the rest."""
    flow = opener.main
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
    return texts[opener.kind]


def reuse(opener: Opener) -> str | None:
    """How few connections would do, of short ones: those that are open at one time."""
    flow = opener.main
    if opener.kind != "churn" or flow is None or flow.protocol != "tcp" or not opener.rate:
        return None
    at_once = max(opener.in_use[flow.destination], 1)
    return (
        f"It opens {opener.rate:,.1f} a second (those of the last {YOUNG_SECONDS} s), and has {at_once:,} open at one "
        "time: kept open and used again, that many entries would do."
    )


def shared(opener: Opener) -> str | None:
    """Why it is not accused, and who it may be."""
    if opener.excuse is None:
        return None
    names = [short_name(workload) for workload in opener.owner.candidates[:3]]
    maybe = f"; it may be {', '.join(dict.fromkeys(names))}" if names else ""
    return f"{opener.wasteful:,} entries of {label(opener.owner)} are nobody's for sure: {opener.excuse}{maybe}."


def half_open(states: Counter[str]) -> str | None:
    """A flood of half-open connections is not a table that is too small."""
    n = states["syn-recv"]
    if 2 * n < states.total() or not n:
        return None
    return (
        f"{n:,} entries wait for the last packet of the handshake (syn-recv). A SYN flood looks like this, and its "
        "source addresses are invented."
    )
