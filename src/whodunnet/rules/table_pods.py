"""Which pods of this node take part in most of the entries, and whether they are of one workload."""

from __future__ import annotations

from typing import Final

import msgspec

from whodunnet.model.workload import Workload
from whodunnet.rules.flood_cases import workload_key
from whodunnet.rules.flood_openers import Openers

RANKED: Final = 5
"""Among so many pods with most entries a workload has to be there twice."""
MOST: Final = 0.5
"""Its pods have to take part in at least this share of all entries."""

ANTI_AFFINITY: Final = (
    "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: "
    "kubernetes.io/hostname, labelSelector: {matchLabels: {KEY: VALUE}}}]}}"
)
"""To be pasted into the pod template; its labels are not to be seen from the node."""


class Meeting(msgspec.Struct, frozen=True, kw_only=True):
    """Pods of one workload that meet on this node, largest first, each with the entries it takes part in.

    ranked: among how many pods with most entries they are.
    """

    pods: tuple[tuple[Workload, int], ...]
    ranked: int

    @property
    def entries(self) -> int:
        return sum(n for _, n in self.pods)


def meeting_of(openers: Openers) -> Meeting | None:
    """None unless several of the pods with most entries are of one workload, which takes part in most of them."""
    entries = dict(openers.taken)
    for opener in openers.by_key.values():
        workload = opener.owner.workload
        if workload is not None and workload.pod is not None and workload.netns is not None:
            entries[workload.netns] = workload, entries.get(workload.netns, (workload, 0))[1] + opener.entries
    ranked = sorted((pod for pod in entries.values() if pod[0].pod is not None), key=lambda pod: -pod[1])[:RANKED]
    groups: dict[tuple[str, ...], list[tuple[Workload, int]]] = {}
    for workload, n in ranked:
        key = workload_key(workload)
        if key is not None and n:
            groups.setdefault(key, []).append((workload, n))
    for pods in groups.values():
        if len(pods) > 1 and sum(n for _, n in pods) >= MOST * openers.total:
            return Meeting(pods=tuple(pods), ranked=len(ranked))
    return None
