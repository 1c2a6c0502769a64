"""Snapshots between which others were left out: what is unchanged since a snapshot that is not there proves nothing."""

from __future__ import annotations

from collections.abc import Collection

from msgspec.structs import replace

from whodunnet.model.finding import Evidence
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Sockets

from .flows import CLIENT, SERVICE, churn, crowd, dropping, node, only, table
from .nodes import finding, leak, limit


def without_predecessors(node: Recording, positions: Collection[int]) -> Recording:
    """The same node, with snapshots left out before these positions."""
    return replace(
        node,
        snapshots=tuple(
            replace(s, samples={
                name: replace(sample, follows=False) if isinstance(sample, Sockets) and n in positions else sample
                for name, sample in s.samples.items()
            })
            for n, s in enumerate(node.snapshots)
        ),
    )  # fmt: skip


def stated(node: Recording, words: str) -> list[Evidence]:
    return [e for e in finding(node).evidence if words in e.statement]


def test_a_leak_is_proven_by_the_pairs_that_are_left() -> None:
    grown = leak("response-never-read", [50, 100, 150, 200], each=40_000, age=60)
    part = without_predecessors(grown, {2})
    assert finding(grown).confidence == finding(part).confidence == "proven"
    assert stated(part, "since the snapshot before")


def test_sockets_that_moved_while_nobody_looked_do_not_count_as_still() -> None:
    """The number that did not move is larger than the one there was at the snapshot before: others were left out."""
    grown = leak("never-connected", [30, 300], each=40_000)
    part = without_predecessors(grown, {1})
    assert finding(grown).confidence == "proven"
    assert finding(part).confidence == "possible"


def test_nothing_is_said_of_a_snapshot_that_is_not_there() -> None:
    part = without_predecessors(leak("response-never-read", [50, 100, 150], each=40_000, age=60), {2})
    assert not stated(part, "since the snapshot before")


def test_a_queue_that_may_have_been_served_meanwhile_is_only_vouched_for_since() -> None:
    full = leak("accept-not-called", [90, 90, 90, 90], age=60, seconds=30)
    assert stated(full, "waited 30.0 s ago")
    assert stated(without_predecessors(full, {1}), "waited 20.0 s ago")
    assert stated(without_predecessors(full, {2}), "waited 10.0 s ago")
    assert finding(without_predecessors(full, {1, 2, 3})).confidence == "possible"
    assert not stated(without_predecessors(full, {3}), "waited")


def test_with_no_pair_left_a_leak_is_possible_and_never_cleared() -> None:
    part = without_predecessors(leak("response-never-read", [50, 100, 150], each=40_000, age=60), {1, 2})
    assert (finding(part).shape, finding(part).confidence) == ("response-never-read", "possible")


def test_growth_of_which_nothing_more_is_known_is_possible_and_never_cleared() -> None:
    grown = leak("never-connected", [limit("min_sockets"), 2 * limit("min_sockets")])
    assert 2 * limit("min_sockets") < limit("min_without_growth")
    assert finding(grown).confidence == "proven"
    assert finding(without_predecessors(grown, {1})).confidence == "possible"


def test_a_full_table_is_judged_alike_with_readings_left_out() -> None:
    """Counters are sums, and entries of two readings are enough."""
    tables = [table(*crowd(100, each=44), churn(CLIENT, SERVICE, 5_300)) for _ in range(5)]
    dropped = [dropping(found, 30 * n) for n, found in enumerate(tables)]
    whole = only(node(*dropped, seconds=40))
    part = only(node(dropped[0], dropped[4], seconds=40))
    assert (whole.severity, whole.confidence, whole.parties) == (part.severity, part.confidence, part.parties)
    assert [e.value for e in whole.evidence] == [e.value for e in part.evidence]
    assert [e.value for e in whole.evidence if "drop (" in e.statement] == [120]
