"""Who only passes on what others open, and who cannot be the one for another reason."""

from __future__ import annotations

from collections import Counter
from typing import Final

from whodunnet.model.workload import Workload
from whodunnet.rules.flood_kinds import DNS_PORT
from whodunnet.rules.flood_openers import Opener, Openers

PASSED_ON_MAX: Final = 4
"""Relays in a row that are followed."""


def charge_senders(openers: Openers, relay_share: float) -> dict[str, Counter[str]]:
    """Charge what relays opened to those they opened it for; the senders of each relay, by key.

    A relay is sent nearly as many wasteful entries as it opens (relay_share), less what it sends back.
    """
    relays = _relays(openers, relay_share)
    for _ in range(PASSED_ON_MAX):
        moved: dict[str, float] = {}
        for key in relays:
            moved[key], openers.by_key[key].charge = openers.by_key[key].charge, 0.0
        for key, charge in moved.items():
            for sender, n in relays[key].items():
                openers.by_key[sender].charge += charge * n / relays[key].total()
        if not any(moved.values()):
            break
    return relays


def _relays(openers: Openers, relay_share: float) -> dict[str, Counter[str]]:
    found = {}
    for key, sent in openers.inbound.items():
        opener = openers.by_key.get(key)
        back = {sender: openers.inbound.get(sender, Counter())[key] for sender in sent}
        net = Counter({s: n - back[s] for s, n in sent.items() if s != key and n > back[s]})
        if opener is not None and opener.wasteful and net.total() >= relay_share * opener.wasteful:
            found[key] = net
    return found


def excuse(openers: Openers, relay_share: float) -> None:
    """Say of each opener why it is not the one although the entries are its own, if so, and what is not known of it."""
    for opener in openers.by_key.values():
        opener.excuse = _excuse(opener, openers, relay_share)
        if opener.owner.kind == "netns" and opener.excuse is None:
            opener.doubt = _programs(opener, openers)


def _excuse(opener: Opener, openers: Openers, relay_share: float) -> str | None:
    owner, reading = opener.owner, openers.reading
    if owner.kind == "netns" and owner.via is not None:
        return "its network namespace translates the addresses of others, and no socket tells for whom these are"
    if owner.kind == "ambiguous":
        return "several network namespaces of this node have its address"
    if owner.kind == "unread":
        return "addresses were not read, so that nobody knows whose it is"
    if owner.kind == "workload" and not _has_a_name(owner.workload):
        return "nothing is known of it but its network namespace"
    if owner.kind == "node" or (owner.kind == "netns" and reading.table.netns is None):
        return "several programs share its address, and no socket tells these entries apart"
    if owner.kind == "netns" and owner.address is None:
        return "as many are of each of its addresses, and no socket tells of which program"
    if owner.kind == "netns" and any(openers.owners.namespace_of(a) != owner.netns for a in _addresses(opener)):
        return "another network namespace of this node has its address too"
    if owner.kind == "netns" and openers.sent[owner.netns or 0] >= relay_share * opener.wasteful:
        return "about as many lead into that namespace, so somebody in it may only pass them on"
    if 2 * opener.older > opener.wasteful:
        return "most of these entries were quiet before it was started: somebody before it may have had the address"
    if owner.kind == "remote" and owner.address in reading.seen_local:
        return "the address was on this node within this window, and is gone"
    if opener.kind == "dns" and openers.owners.listens(owner, DNS_PORT):
        return "it answers name queries itself, so it asks for others, whose own queries may not be tracked"
    return None


def _addresses(opener: Opener) -> list[str]:
    """By which it is named, or all it has if that is none of them."""
    return [opener.owner.address] if opener.owner.address is not None else list(opener.sources)


def _programs(opener: Opener, openers: Openers) -> str:
    """What is known of whoever is in the namespace of an opener that has its address alone."""
    owner = opener.owner
    seen = owner.candidates or any(w.netns == owner.netns for w in openers.reading.workloads.by_pid.values())
    if seen or openers.owners.open_sockets(owner) is None:
        return "programs of that namespace, not told apart"
    return "a namespace without a process in sight"


def _has_a_name(workload: Workload | None) -> bool:
    return workload is not None and any((workload.process, workload.container, workload.pod, workload.unit))
