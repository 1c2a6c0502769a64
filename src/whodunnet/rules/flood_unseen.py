"""Whether somebody tries to open far more than those who are named: what is dropped leaves no entry."""

from __future__ import annotations

from msgspec.structs import replace

from whodunnet.rules.flood_cases import Flood
from whodunnet.rules.flood_kinds import WASTEFUL, YOUNG_SECONDS
from whodunnet.rules.flood_openers import Opener, Openers
from whodunnet.rules.flood_texts import label_all
from whodunnet.rules.table_window import TableWindow


def doubted(flood: Flood, now: Openers, window: TableWindow, ratio: float) -> Flood:
    """The same flood; not more than possible where far more is dropped (ratio) than those named try to open.

    Who keeps idle connections fills the table without opening any, so that drops are only what others suffer.
    """
    if not flood.culprits or not window.seconds or flood.shape == "idle-established":
        return flood
    drops = window.risen("drop") / window.seconds
    opened = sum(map(_opened, flood.culprits))
    waiting = sum(now.owners.opening_sockets(opener.owner) or 0 for opener in flood.culprits)
    if drops <= ratio * max(opened + waiting, 1):
        return flood
    who = label_all(flood.culprits, flood.of_one_workload)
    unseen = (
        f"{drops:,.0f} packets a second are dropped, while of {who} {opened:,.1f} entries a second are new and "
        f"{waiting:,} sockets were seen that wait for an answer: somebody else may try to open far more. A packet that "
        "is dropped leaves no entry, so its sender cannot be seen here."
    )
    return replace(flood, confidence="possible", unseen=unseen)


def _opened(opener: Opener) -> float:
    """Wasteful entries a second, as far as the youngest tell."""
    return sum(opener.young[kind] for kind in WASTEFUL) / YOUNG_SECONDS
