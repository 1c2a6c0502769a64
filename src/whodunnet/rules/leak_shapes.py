"""When is it a leak? One test for each shape; each answers with the signs it saw, or None.

Limits are thresholds of catalogue.toml; "most" means half. One sign is `possible`, two are `likely`; `proven` is
decided where the owner's share is known (leak_cases.py).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import msgspec

from whodunnet.model.sockets import AGE_BOUNDS_SECONDS
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.identity import HALTED
from whodunnet.rules.leak_growth import OLD_SHARE, goes_on, goes_on_of_late, growth_of_old, late_growth, least_third
from whodunnet.rules.tally import Candidate, Tally
from whodunnet.rules.window import Window

KEPT_SHARE = 0.8
"""A pass over sockets ends later than its snapshot is dated, and ages are known by class only."""
COMPARED_SHARE = 0.5
"""Of the sockets of before, so many have to be looked for again: with fewer, most may have gone unseen."""
COMPARED_ENOUGH = 50
"""Of more sockets, so many tell which way most of them go, though not that not one of all did otherwise."""


class Sign(msgspec.Struct, frozen=True):
    """One thing that speaks for a leak, with its number; of: of how many, where not all could be looked at."""

    statement: str
    value: int | str
    unit: str = "sockets"
    of: int | None = None


class Signs(msgspec.Struct, kw_only=True):
    """What speaks for a leak.

    shape: may differ from the candidate's (a halted process leaks nothing). affected: sockets it is about.
    observed: the act itself was seen in this window: growth above churn, or age with an unchanged state.
    """

    shape: str
    affected: int
    signs: list[Sign]
    observed: bool
    strong: bool = False
    small: bool = False  # too few to hurt anybody yet


def grows(c: Candidate, entry: Entry) -> bool:
    """More at the end than at the beginning, by more than chance and churn."""
    return c.growth >= max(entry.limit("min_growth"), entry.limit("churn_ratio") * c.loss)


def stands_still(c: Candidate, entry: Entry) -> bool | None:
    """From each snapshot to the next, at least half of the sockets were neither read nor acknowledged.

    None where nobody can tell, as too few of them could be looked for.
    """
    pairs, share, most = _compared(c), entry.limit("unchanged_share"), COMPARED_ENOUGH
    if any((after.unchanged or 0) < share * before.comparable for before, after in pairs):
        return False
    if any(before.comparable >= min(COMPARED_SHARE * before.sockets, most) for before, _ in pairs if before.sockets):
        return True
    return False if pairs and not any(before.sockets for before, _ in pairs) else None


def _compared(c: Candidate) -> list[tuple[Tally, Tally]]:
    """Each snapshot that follows another, after that one."""
    return [(before, after) for before, after in pairwise(tally for _, tally in c.series) if after.follows]


def _followed(c: Candidate) -> tuple[float, int]:
    """How long, up to the end, every snapshot followed one of whose sockets enough could be looked for; the fewest."""
    begin, end, fewest = c.series[-1][0], c.series[-1][0], 0
    for (at, before), (_, after) in reversed(list(pairwise(c.series))):
        if not after.follows or before.comparable < max(COMPARED_SHARE * before.sockets, 1):
            break
        begin, fewest = at, min(fewest or before.comparable, before.comparable)
    return end.boot_seconds - begin.boot_seconds, fewest


def many(c: Candidate, entry: Entry, window: Window, caused_bytes: int) -> bool:
    """Enough sockets to matter, or few with much memory."""
    if c.last.sockets >= entry.limit("min_sockets"):
        return True
    if window.max_bytes is None or c.last.sockets < entry.limit("min_sockets_with_memory"):
        return False
    return caused_bytes >= entry.limit("min_memory_share") * window.max_bytes


def response_never_read(c: Candidate, entry: Entry, window: Window, caused_bytes: int) -> Signs | None:
    n = c.last.sockets
    enough = many(c, entry, window, caused_bytes)
    if not enough and n < entry.limit("min_unread"):
        return None
    if _halted(c):
        return _reader_stopped(c)
    still = stands_still(c, entry)
    if still is False:
        return None
    old = c.last.older_than(entry.limit("unread_age"))
    signs = [Sign("Connections that hold data which the application has not taken", n)]
    lasting = 2 * old >= n
    growing = grows(c, entry)
    if not lasting and not growing and _was_read(c, entry):
        return None
    if lasting:
        signs.append(Sign(f"On these nothing has moved for {entry.limit('unread_age'):.0f} s or more", old))
    if growing:
        signs.append(_growth(c))
    seen = bool(still) and (lasting or growing)
    return Signs(shape=c.shape, affected=n, signs=signs, observed=seen, strong=seen, small=not (enough or growing))


def close_forgotten(c: Candidate, entry: Entry, window: Window, _: int) -> Signs | None:
    old = c.last.older_than(entry.limit("close_wait_age"))
    if old < entry.limit("min_sockets"):
        return _close_missing_so_far(c, entry)
    stale = c.last.older_than(entry.limit("close_wait_stale")) >= entry.limit("min_without_growth")
    growing = grows(c, entry)
    signs = [Sign(f"Connections that the peer closed {entry.limit('close_wait_age'):.0f} s ago or earlier", old)]
    if growing:
        signs.append(_growth(c))
    elif not stale and old < entry.limit("min_without_growth"):
        return None
    seen = window.snapshots > 1 and (growing or stale)
    return Signs(shape=c.shape, affected=c.last.sockets, signs=signs, observed=seen, strong=seen)


def _close_missing_so_far(c: Candidate, entry: Entry) -> Signs | None:
    """Too young to tell from a server that drains; worth knowing where many grow and those of before are there yet."""
    n, followed = c.last.sockets, _kept(c)
    if followed is None or n < entry.limit("min_without_growth") or not grows(c, entry):
        return None
    seconds, before, kept = followed
    if kept < max(entry.limit("min_sockets"), KEPT_SHARE * before):
        return None
    age = entry.limit("close_wait_age")
    signs = [
        Sign(f"Connections that the peer closed; a server that drains looks the same for {age:.0f} s", n),
        Sign(f"Of the {before:,} of {seconds:.1f} s ago, not closed since", kept),
        _growth(c),
    ]
    return Signs(shape=c.shape, affected=n, signs=signs, observed=False)


def _kept(c: Candidate) -> tuple[float, int, int] | None:
    """Seconds back to a snapshot, its sockets, and how many are as old now; None where no age class begins there."""
    end = c.series[-1][0].boot_seconds
    for bound in reversed(AGE_BOUNDS_SECONDS):
        ago = min((s for at, _ in c.series if (s := end - at.boot_seconds) >= bound), default=None)
        if ago is not None and KEPT_SHARE * ago <= bound:
            before = next(tally.sockets for at, tally in c.series if end - at.boot_seconds == ago)
            return ago, before, min(c.last.older_than(bound), before)
    return None


def _was_read(c: Candidate, entry: Entry) -> bool:
    """Whether as many as half of those of before were seen to move since, in steps in which few of them do.

    That most are young says nothing: what comes makes a socket young again, and nobody has read it.
    """
    followed = _kept(c)
    if followed is None or c.last.older_than(entry.limit("unread_age")) >= entry.limit("min_unread"):
        return False
    since, moved = c.series[-1][0].boot_seconds - followed[0], 0
    for (at, before), (_, after) in pairwise(c.series):
        if at.boot_seconds < since:
            continue
        if not after.follows or after.unchanged is None or before.unmarked:
            return False
        moved += max(before.comparable - after.unchanged, 0)
    return 2 * moved >= followed[1] > 0


def without_peer(c: Candidate, entry: Entry, _: Window, __: int) -> Signs | None:
    """never-connected and dead-not-closed: the kernel keeps no time of them, so number and growth must tell."""
    n = c.last.sockets
    if n < entry.limit("min_sockets"):
        return None
    still = stands_still(c, entry)
    growing = grows(c, entry) and still is not False
    if not growing and n < entry.limit("min_without_growth"):
        return None
    signs = [Sign("Descriptors of sockets without a peer", n)]
    if growing:
        signs.append(_growth(c))
    seen = growing and bool(still)
    return Signs(shape=c.shape, affected=n, signs=signs, observed=seen, strong=seen)


def accept_not_called(c: Candidate, entry: Entry, _: Window, __: int) -> Signs | None:
    n = c.last.sockets
    old = c.last.older_than(entry.limit("accept_age"))
    if n < entry.limit("min_accept_queue") or 2 * old < n:
        return None
    if _halted(c):
        return _reader_stopped(c)
    if not all((after.unchanged or 0) >= before.comparable for before, after in _compared(c)):
        return None
    signs = [Sign(f"Connections that wait for accept(); {old:,} for {entry.limit('accept_age'):.0f} s or more", n)]
    followed, fewest = _followed(c)
    seen = followed > 0
    if seen:
        signs.append(
            Sign(f"Of those that waited {followed:.1f} s ago, accepted since, as far as compared", 0, of=fewest)
        )
    return Signs(shape=c.shape, affected=n, signs=signs, observed=seen, strong=seen)


def orphans(c: Candidate, entry: Entry, window: Window, _: int) -> Signs | None:
    old = c.last.older_than(entry.limit("unread_age"))
    if old < entry.limit("min_sockets") or not c.last.unsent_bytes:
        return None
    limit = window.memory.max_orphans if window.memory else None
    signs = [Sign(f"Closed connections whose data is not taken for {entry.limit('unread_age'):.0f} s or more", old)]
    crowded = limit is not None and c.last.sockets >= entry.limit("orphan_share") * limit
    heavy = window.max_bytes is not None and c.last.memory_bytes >= entry.limit("min_memory_share") * window.max_bytes
    if crowded:
        signs.append(Sign(f"The kernel acts on orphans from a quarter of its limit of {limit:,} on", c.last.sockets))
    strong = window.snapshots > 1 and (crowded or heavy)
    return Signs(shape=c.shape, affected=c.last.sockets, signs=signs, observed=False, strong=strong)


def held_open(c: Candidate, entry: Entry, window: Window, _: int) -> Signs | None:
    """Established and nothing unread looks like any idle pool; only growth that does not stop tells them apart."""
    steady, third, of_old = goes_on(c), least_third(c), growth_of_old(c, window)
    if not grows_idle(c, entry) or not (steady or goes_on_of_late(c, entry, window)):
        return None
    even, old = third is not None and third[1], of_old >= OLD_SHARE * c.growth
    lasts = steady and window.seconds >= entry.limit("held_open_window") and even and old
    gone = "none of them went away" if not c.loss else f"at least {c.loss:,} went away meanwhile"
    signs = [Sign(f"Idle connections; {gone}", c.last.sockets), _growth(c)]
    if not steady:
        signs.append(Sign("Growth in the second half of the window; a longer one shows what lasts", late_growth(c)))
    elif third is None:
        signs.append(Sign("Readings, which do not show each third of the window", len(c.series), "readings"))
    elif not even:
        signs.append(Sign("Growth in the third of the window with least; a longer one shows what lasts", third[0]))
    if not old:
        signs.append(Sign("Growth that is of processes known to have begun before the window", of_old, of=c.growth))
    return Signs(shape=c.shape, affected=c.last.sockets, signs=signs, observed=lasts, strong=lasts)


def grows_idle(c: Candidate, entry: Entry) -> bool:
    """More idle connections than a pool has, and more than before."""
    n, old = c.last.sockets, c.last.older_than(entry.limit("idle_age"))
    return c.shape == "held-open" and n >= entry.limit("min_without_growth") and grows(c, entry) and 2 * old >= n


Test = Callable[[Candidate, Entry, Window, int], Signs | None]
TESTS: dict[str, Test] = {
    "response-never-read": response_never_read,
    "close-forgotten": close_forgotten,
    "never-connected": without_peer,
    "dead-not-closed": without_peer,
    "accept-not-called": accept_not_called,
    "orphans": orphans,
    "held-open": held_open,
}


def _halted(c: Candidate) -> bool:
    return c.state in HALTED


def _reader_stopped(c: Candidate) -> Signs:
    signs = [Sign("State of the process", c.state, ""), Sign("Connections that wait for it", c.last.sockets)]
    return Signs(shape="reader-stopped", affected=c.last.sockets, signs=signs, observed=False)


def _growth(c: Candidate) -> Sign:
    seconds = c.series[-1][0].boot_seconds - c.series[0][0].boot_seconds
    return Sign(f"Growth of their number, from {c.counts[0]:,} to {c.counts[-1]:,}, in {seconds:.1f} s", c.growth)
