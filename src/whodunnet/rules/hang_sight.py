"""Who still waits for an address: by sockets, since the entry of who gave up stays for minutes."""

from __future__ import annotations

from collections import Counter

import msgspec

from whodunnet.model.addresses import Addresses
from whodunnet.model.flow_owners import FlowOwner, FlowOwners
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Sockets
from whodunnet.rules.openers import HERE
from whodunnet.rules.silent_targets import CONNECTING, Silence, Silences, Target


class Waiters(msgspec.Struct, frozen=True):
    """Sockets that wait for one target, and whose they are as far as anybody has them open, most first."""

    sockets: int
    owners: list[tuple[FlowOwner, int]]


def sees_all(recording: Recording) -> bool:
    """Whether the sockets of this node are all known, and whose the addresses of its namespaces are."""
    sockets, addresses = recording.last(Sockets), recording.last(Addresses)
    if sockets is None or sockets.netns_unread or sockets.other_sockets or not sockets.all_processes:
        return False
    if sockets.method != "bpf" and sockets.missing_capability is not None:
        return False
    return addresses is not None and not addresses.netns_unread and not addresses.left_out


def are_here(who: list[tuple[FlowOwner, int]]) -> bool:
    """Whether all openers are on this node, where their sockets are looked for."""
    return all(owner.kind in HERE for owner, _ in who)


def waiters(recording: Recording, owners: FlowOwners, silence: Silence, silences: Silences) -> Waiters | None:
    """None where sockets do not tell: none waits now, or they may wait for another endpoint of the Service."""
    target = silence.target
    if target.protocol != "tcp" or not silence.connecting or _shares(target, silences):
        return None
    found: Counter[FlowOwner] = Counter()
    sample = recording.last(Sockets)
    for g in sample.groups if sample is not None else ():
        owner = owners.holder(g) if g.state in CONNECTING and g.endpoint == target.asked else None
        if owner is not None:
            found[owner] += g.sockets
    return Waiters(silence.connecting, sorted(found.items(), key=lambda item: (-item[1], item[0].netns or 0)))


def _shares(target: Target, silences: Silences) -> bool:
    """Whether sockets that wait for what was asked may be waiting for somebody else who is silent."""
    return sum((s.target.protocol, s.target.asked) == (target.protocol, target.asked) for s in silences.silent) > 1
