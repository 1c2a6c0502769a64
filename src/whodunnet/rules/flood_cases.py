"""Whose wasteful entries make up the excess of the table, and how sure that is. Busy entries accuse nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Final

import msgspec

from whodunnet.model.finding import Confidence
from whodunnet.model.workload import Workload
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.flood_kinds import WASTEFUL, Kind
from whodunnet.rules.flood_openers import Opener, Openers

TURNOVER_SHARE: Final = 0.01
"""Of short entries that come and go, at least this share is young; a burst that is over has none."""
SHORT: Final[frozenset[Kind]] = frozenset({"churn", "dns"})
"""Kinds whose entries may have no socket any more."""
ALIKE: Final = 0.5
"""Of the pods of a workload those count that have at least this share of what the first has."""


class Flood(msgspec.Struct, frozen=True, kw_only=True):
    """The fewest openers that make up the excess, and their equals, most first; `culprits`: that can be named.

    charge: wasteful entries they answer for together. needed: how many that had to be more than. of_one_workload:
    they are pods of one workload, and count as one. unseen: why somebody else may be the one, in words.
    """

    shape: Kind
    openers: tuple[Opener, ...]
    culprits: tuple[Opener, ...]
    charge: float
    needed: float
    of_one_workload: bool
    confidence: Confidence
    unseen: str | None = None


def flood_of(now: Openers, before: Openers | None, growing: bool, calm: float, entry: Entry) -> Flood | None:
    """None where nobody makes up the excess. calm: entries at which the table would be no concern.

    growing: the table fills up, and the excess is its growth, more than half of which has to be explained.
    """
    amounts = {key: opener.charge for key, opener in now.by_key.items()}
    needed = now.total - calm
    if growing and before is not None:
        amounts = {key: max(n - _charge(before, key) - _nobodys(now, before, key), 0.0) for key, n in amounts.items()}
        needed = (now.total - before.total) / 2
    if needed <= 0:
        return None
    excused = frozenset(key for key, opener in now.by_key.items() if opener.excuse is not None)
    chosen = _fewest(amounts, needed, excused, entry)
    pods = _of_one_workload([now.by_key[key] for key in chosen])
    if not chosen:
        chosen, pods = _pods_of_one_workload(now, amounts, needed), True
    if not chosen:
        return None
    openers = tuple(now.by_key[key] for key in chosen)
    culprits = tuple(opener for opener in openers if opener.excuse is None)
    confidence = _confidence(culprits or openers, pods, now, before, entry)
    seen = sum(max(amounts[key] - now.by_key[key].inferred, 0) for key in chosen)
    return Flood(
        shape=max(WASTEFUL, key=lambda kind: sum(opener.kinds[kind] for opener in culprits or openers)),
        openers=openers,
        culprits=culprits,
        charge=sum(amounts[key] for key in chosen),
        needed=needed,
        of_one_workload=pods,
        confidence="likely" if confidence == "proven" and seen <= needed else confidence,
    )


def _charge(openers: Openers, key: str) -> float:
    opener = openers.by_key.get(key)
    return opener.charge if opener is not None else 0.0


def _nobodys(now: Openers, before: Openers, key: str) -> int:
    """Entries without a socket that were nobody's before, and may have been its own: they have not grown."""
    opener, earlier = now.by_key[key], before.by_key.get(key)
    given = opener.inferred - (earlier.inferred if earlier is not None else 0)
    to = {flow.destination for flow in opener.flows if flow.kind in SHORT}
    shared = [before.by_key.get(f"{kind} {opener.owner.netns}") for kind in ("node", "netns")]
    flows = [(flow, n) for one in shared if one is not None for flow, n in one.flows.items()]
    return min(max(given, 0), sum(n for flow, n in flows if flow.kind in SHORT and flow.destination in to))


def _fewest(amounts: Mapping[str, float], needed: float, excused: Set[str], entry: Entry) -> list[str]:
    """Keys of as few as possible, each with a share worth naming, and of those that have about as much as the last of
    them; nobody where equals would have to be left out."""
    least = entry.limit("min_opener_share") * sum(amounts.values())
    ranked = sorted((key for key, n in amounts.items() if n > 0 and n >= least), key=lambda key: -amounts[key])
    most = int(entry.limit("named_openers"))
    for n in range(1, min(most, len(ranked)) + 1):
        if sum(amounts[key] for key in ranked[:n]) > needed:
            last = amounts[ranked[n - 1]]
            chosen = [key for key in ranked if amounts[key] >= last]
            if excused.isdisjoint(chosen):  # the equal of one that cannot be named is not named in its place
                chosen = [key for key in ranked if amounts[key] >= entry.limit("equal_share") * last]
            return chosen if len(chosen) <= most else []
    return []


def _pods_of_one_workload(now: Openers, amounts: Mapping[str, float], needed: float) -> list[str]:
    """Keys of the pods of the one workload that makes up the excess, those that do alike."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for key, opener in now.by_key.items():
        alike = workload_key(opener.owner.workload)
        if alike is not None and amounts[key] > 0:
            groups.setdefault(alike, []).append(key)
    for keys in groups.values():
        most = max(amounts[key] for key in keys)
        alike_keys = [key for key in keys if amounts[key] >= ALIKE * most]
        together = sum(amounts[key] for key in alike_keys)
        if len(alike_keys) > 1 and together > needed and 2 * together > sum(amounts.values()):
            return sorted(alike_keys, key=lambda key: -amounts[key])
    return []


def workload_key(workload: Workload | None) -> tuple[str, ...] | None:
    """The same for all pods of one workload: namespace, container and image; None where that cannot be told.

    Not by the pod's name: that of a redacted recording says nothing of its controller.
    """
    if workload is None or workload.pod is None or workload.container is None:
        return None
    parts = (workload.pod.namespace, workload.container.name, workload.container.image)
    return tuple(part for part in parts if part) if all(parts) else None


def _of_one_workload(openers: Sequence[Opener]) -> bool:
    keys = {workload_key(opener.owner.workload) for opener in openers}
    return len(openers) > 1 and len(keys) == 1 and None not in keys


def _confidence(
    named: Sequence[Opener], of_one_workload: bool, now: Openers, before: Openers | None, entry: Entry
) -> Confidence:
    """The test that docs/rules/conntrack-table.md states. One reading alone is never more than possible."""
    if before is None:
        return "possible"
    least = min(_sureness(opener, now, before) for opener in named)
    own = [opener.wasteful - opener.older for opener in named]
    share = (sum(own) if of_one_workload else min(own)) / max(now.wasteful, 1)
    if least == 2 and share >= entry.limit("proven_share") and now.attributed >= entry.limit("proven_attributed"):
        return "proven"
    return "likely" if least else "possible"


def _sureness(opener: Opener, now: Openers, before: Openers) -> int:
    """2: seen at it in both readings. 1: a second sign. 0: only the number, or it may be somebody else."""
    earlier = before.by_key.get(opener.owner.key)
    addresses = now.reading.addresses
    if now.reading.stale:
        return 0
    if opener.owner.kind == "remote" and (addresses is None or addresses.netns_unread or addresses.left_out):
        return 0
    if _by_exclusion(opener):
        return 0
    if not _seen(opener, earlier, now, before):
        return 1 if earlier is not None and earlier.kinds[opener.kind] else 0
    if opener.kind == "idle-established" and _left_over(opener, now):
        return 1
    unsure = opener.inferred
    if opener.owner.kind == "remote":  # a source that may be invented, or that may be gone
        unsure += opener.unproven + opener.kinds["idle-established"]
    return 1 if opener.doubt is not None or 2 * unsure > opener.wasteful else 2


def _by_exclusion(opener: Opener) -> bool:
    """Whether most of its entries have no socket any more, or half of its main kind."""
    of_kind = min(opener.inferred, opener.kinds[opener.kind]) if opener.kind in SHORT else 0
    return 2 * opener.inferred > opener.wasteful or 2 * of_kind >= max(opener.kinds[opener.kind], 1)


def _left_over(opener: Opener, now: Openers) -> bool:
    """Whether most of its idle entries have no socket any more."""
    opened = now.owners.opened_sockets(opener.owner)
    return opened is not None and 2 * opened < opener.kinds["idle-established"]


def _seen(opener: Opener, earlier: Opener | None, now: Openers, before: Openers) -> bool:
    """Growth, turnover, or entries that were idle in both readings."""
    had = earlier.kinds[opener.kind] if earlier is not None else 0
    has = opener.kinds[opener.kind]
    if now.reading.at.boot_seconds > before.reading.at.boot_seconds and 2 * had <= has:
        return True
    if earlier is None:
        return False
    if opener.kind == "idle-established":
        return 2 * had >= has
    return all(o.young[opener.kind] >= max(TURNOVER_SHARE * o.kinds[opener.kind], 1) for o in (opener, earlier))
