"""Connects of a window that failed, in cases: how many of how many, whether it lasts, and who is concerned."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
from msgspec.structs import replace

from whodunnet.model.connection_pairs import Pair, Pairs
from whodunnet.model.connection_window import ConnectionWindow
from whodunnet.model.flow_owners import is_loopback
from whodunnet.model.sockets import Endpoint
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.connect_others import Failed, Others, by_place, client_of_pair
from whodunnet.rules.connect_tries import Tries, judged_as, tries_of_pair
from whodunnet.rules.connection_parts import Course, Parts, added

ALL = 0.98
"""From this share on all fail: a connect that was answered just before the window began may be among them."""
NO_CHANCE = 4
"""Connects of one client: if all of so many fail, and those of others do not, that is no chance."""
OWN_END = (
    "The cause is most likely at its own end: a policy for what it may reach, its route, address translation on its "
    "way out, or a list of addresses that is out of date."
)
NOT_KNOWN_WHOSE_END = (
    "Nobody knows at which end the cause is, as most of them answer nobody else either, or nobody else asks. They may "
    "all be down (a machine that is gone, all pods of one Deployment); a policy or route that concerns all of them "
    "looks the same from here. Where several clients fail so, it is not at the end of one of them."
)


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What is said in one finding: all who fail at one endpoint, or one client that fails at many.

    tries: of those who fail, most first. endpoint: None for many. others: clients of the same endpoint whose connects
    are answered, each with how many. per_second: failures. parts: failures in each part of the window. lasting: whether
    readings are enough to say that it goes on. at_own_end: of a client that fails at many, whether the cause is most
    likely there.
    """

    tries: tuple[Tries, ...]
    endpoint: Endpoint | None
    failed: int
    made: int
    per_second: float
    parts: tuple[int, ...]
    lasting: bool = False
    others: tuple[tuple[Pair, int], ...] = ()
    at_own_end: bool = False

    @property
    def share(self) -> float:
        return self.failed / max(self.made, 1)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Those that fail, most first."""
        return tuple(dict.fromkeys(t.pair.server for t in self.tries))

    @property
    def netns(self) -> int | None:
        """Where it is, of an address that every namespace has."""
        pair = self.tries[0].pair
        return pair.client.netns if is_loopback(pair.server.address or "") else None

    @property
    def whose_end(self) -> tuple[str, ...]:
        """Words for a client that fails at many."""
        if self.endpoint is not None:
            return ()
        return (OWN_END,) if self.at_own_end else (NOT_KNOWN_WHOSE_END,)

    def sum(self, count: Failed) -> int:
        return sum(map(count, self.tries))


def find_cases(pairs: Pairs, tries: Sequence[Tries], failed: Failed, anew: Failed, entry: Entry) -> list[Case]:
    """Cases above the rate and the share, most failures first.

    anew: connects that showed first in that part of the window that they fail: what began once does not last.

    A client that fails at many addresses is one case, and its failures belong to no other.
    """
    course, others, found = Course(pairs.window, entry), Others(pairs, tries, failed), []
    for endpoint, those in _groups(tries, failed, entry):
        case = _case(pairs, those, endpoint, failed)
        enough = case.failed >= entry.limit("min_failed") and case.per_second >= entry.limit("min_rate")
        if not enough or case.share < entry.limit("min_share"):
            continue
        lasting = course.lasting(partial(_by_part, those, anew))
        if lasting is not None:
            found.append(_among(replace(case, parts=lasting.parts, lasting=lasting.sure), others))
    return sorted(found, key=lambda c: (-c.failed, c.endpoint is None, c.tries[0].pair.server.port or 0))


def _groups(tries: Sequence[Tries], failed: Failed, entry: Entry) -> list[tuple[Endpoint | None, list[Tries]]]:
    """Who is judged together: clients that fail at many addresses, each alone; else all that fail at one endpoint."""
    share = entry.limit("min_share")
    many = _many([t for t in tries if failed(t) and failed(t) >= share * t.made], failed, entry)
    told = {id(t) for those in many for t in those}
    groups: list[tuple[Endpoint | None, list[Tries]]] = [(None, those) for those in many]
    for those in by_place(t for t in tries if id(t) not in told).values():
        groups += [(those[0].pair.server, bad)] if (bad := _failing(those, failed, entry)) else []
    return groups


def answered_until(case: Case, window: ConnectionWindow, boot_seconds: float) -> int:
    """Connects of those who fail that were answered within the window, until the snapshot of then."""
    steps = Parts(window.until(boot_seconds))
    return sum(step.count("opened") for t in case.tries for step in steps.of(t.pair))


def _by_part(those: Sequence[Tries], anew: Failed, parts: Parts) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """In each part, connects that fail, and these with those that were answered at once."""
    rows = [[judged_as(t, tries_of_pair(part)) for part in parts.of(t.pair)] for t in those]
    fresh = added([list(map(anew, row)) for row in rows])
    return fresh, added([fresh, added([[t.opened - t.slow for t in row] for row in rows])])


def _failing(those: Sequence[Tries], failed: Failed, entry: Entry) -> list[Tries]:
    """Who makes too few connects to tell the share from chance is judged together with all others who do."""
    least, share = entry.limit("min_failed"), entry.limit("min_share")

    def sure(t: Tries) -> bool:
        every = t.made >= NO_CHANCE and failed(t) >= ALL * t.made
        return every or failed(t) >= max(least, share * t.made)

    few = [t for t in those if t.made and not sure(t) and failed(t) < least and share * t.made < least]
    together = sum(map(failed, few))
    found = [t for t in those if sure(t)]
    return found + few if together and together >= share * sum(t.made for t in few) else found


def _many(failing: Sequence[Tries], failed: Failed, entry: Entry) -> list[list[Tries]]:
    """Those of clients with many such addresses, each of them tried again."""
    by_client: dict[tuple[str, int | None], list[Tries]] = {}
    for t in failing:
        if t.made >= entry.limit("min_again") and failed(t) >= entry.limit("many_share") * t.made:
            by_client.setdefault(client_of_pair(t.pair), []).append(t)
    most = entry.limit("many_addresses")
    return [those for those in by_client.values() if len({t.pair.server.address for t in those}) >= most]


def _case(pairs: Pairs, those: Sequence[Tries], endpoint: Endpoint | None, failed: Failed) -> Case:
    seconds = pairs.window.total.watched_seconds or pairs.window.seconds
    n = sum(map(failed, those))
    return Case(
        tries=tuple(sorted(those, key=lambda t: _most_first(t, failed(t)))),
        endpoint=endpoint,
        failed=n,
        made=sum(t.made for t in those),
        per_second=n / seconds if seconds > 0 else 0.0,
        parts=(),
    )


def _among(case: Case, others: Others) -> Case:
    if case.endpoint is None:
        return replace(case, at_own_end=others.is_at_own_end(case.tries))
    return replace(case, others=others.served(case.tries))


def _most_first(t: Tries, n: int) -> tuple[int, int, int, int]:
    """Among equals by numbers, which stay the same in a redacted recording."""
    process = t.pair.client.workload.process if t.pair.client.workload else None
    return -n, t.pair.client.netns or 0, process.pid if process else 0, t.pair.server.port or 0
