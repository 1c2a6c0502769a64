"""How many tracked connections have a named opener, and why the others have none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from whodunnet.model.flow_owners import FlowOwner
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Sockets
from whodunnet.report.flow_sums import Reading
from whodunnet.report.pod_names import PodNames

Reason = Literal["remote", "node", "netns", "ambiguous", "unread", "other", "malformed"]


class Unnamed(msgspec.Struct, frozen=True, kw_only=True):
    """Entries without a named opener, with one reason."""

    reason: Reason
    entries: int
    why: str


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """Entries of the table that was read, by what is known of their openers; these numbers add up to `entries`.

    named: on this node. inferred: of these, by the only one whose connections came and went there. by_pods: elsewhere,
    and named by --pods. not_seen: sentences about what was not read and therefore may be wrongly without a name.
    """

    entries: int
    named: int
    inferred: int
    by_pods: int
    unnamed: tuple[Unnamed, ...]
    not_seen: tuple[str, ...]


def attribution_of(recording: Recording, reading: Reading, pods: PodNames) -> Attribution:
    """Every entry once."""
    sums: Counter[str] = Counter()
    addresses: set[str] = set()
    for group, owner, entries in reading.parts:
        kind = _kind(owner, pods)
        sums[kind] += entries
        sums["inferred"] += entries if owner.inferred else 0
        if kind == "remote":
            addresses.add(group.source)
    sample = reading.conntrack
    sums["other"], sums["malformed"] = sample.other_entries, sample.malformed
    whys = _whys(recording, len(addresses), reading.gaps)
    return Attribution(
        entries=sample.entries_read,
        named=sums["workload"],
        inferred=sums["inferred"],
        by_pods=sums["pods"],
        unnamed=tuple(Unnamed(reason=r, entries=sums[r], why=why) for r, why in whys.items() if sums[r]),
        not_seen=tuple(_not_seen(recording, reading.gaps)),
    )


def _kind(owner: FlowOwner, pods: PodNames) -> str:
    elsewhere = owner.kind in ("remote", "ambiguous", "unread")
    return "pods" if elsewhere and owner.address is not None and pods.of(owner.address) else owner.kind


def _whys(recording: Recording, addresses: int, gaps: Sequence[str]) -> dict[Reason, str]:
    failure = recording.failure("addresses")
    window = "" if len(recording.series(Sockets)) > 1 else "; a window (--for 10s) tells more of them"
    from_where = f"{addresses:,} {'address' if addresses == 1 else 'addresses'}"
    outside = f"opened from outside of this node, by {from_where}"
    not_found = f"from {from_where} not found here; {'; '.join(gaps)}"
    return {
        "remote": f"{not_found if gaps else outside}; --pods names those of pods",
        "node": f"from the node's own addresses, and no socket tells by which process or host-network pod{window}",
        "netns": f"from a network namespace with several programs, and no socket tells by which{window}",
        "ambiguous": "from an address that several network namespaces have",
        "unread": f"addresses of this node were not read: {failure.reason if failure else 'no reason is known'}",
        "other": "fitted in no group, for the collector's table is bounded",
        "malformed": "could not be decoded",
    }


def _not_seen(recording: Recording, gaps: Sequence[str]) -> Iterator[str]:
    failure, sockets = recording.failure("sockets"), recording.last(Sockets)
    if failure is not None:
        yield f"sockets, so nobody knows what is really open: {reason_of(failure)}"
    elif sockets is not None and sockets.fallback_reason:
        yield f"sockets of some namespaces, perhaps: {sockets.fallback_reason}"
    for gap in gaps:
        yield f"{gap}; whoever has those appears as not found here"


def reason_of(failure: Failure) -> str:
    """Why something could not be read, with the capability that would have allowed it."""
    needed = failure.missing_capability
    return failure.reason if needed is None or needed in failure.reason else f"{failure.reason} (needs {needed})"
