"""What is counted of connections, and which resets are no trouble."""

from __future__ import annotations

from typing import Any

import pytest

from whodunnet.model.connection_pairs import Pair, pairs_of
from whodunnet.model.connections import ConnectionGroup
from whodunnet.model.sockets import Endpoint
from whodunnet.report.connection_counts import Counts, counts_of
from whodunnet.report.connection_words import sentences

from .connected import accepted, connecting, end, opened, recording


def pairs(*groups: ConnectionGroup) -> tuple[Pair, ...]:
    found = pairs_of(recording(groups))
    assert found is not None
    return found.pairs


def counts(*groups: ConnectionGroup) -> Counts:
    return counts_of(pairs(*groups))


def test_each_connection_is_counted_once_though_both_ends_were_seen() -> None:
    found = counts(opened(), end(462, "closed-by-peer", 5.0), accepted(462, "closed-here", 5.0))
    assert (found.opened, found.ended, found.closed_by_server.connections) == (462, 462, 462)


def test_of_a_server_whose_clients_are_elsewhere_nobody_knows_how_many_were_opened() -> None:
    found = counts(accepted(3, "closed-here", 5.0, client="10.9.9.9"))
    assert (found.opened, found.ended, found.closed_by_server.connections) == (None, 3, 3)
    assert found.connections == 3


def test_who_closed_is_told_from_either_end() -> None:
    ours = counts(end(3, "closed-here"), end(4, "closed-by-peer"))
    assert (ours.closed_by_client.connections, ours.closed_by_server.connections) == (3, 4)
    theirs = counts(accepted(3, "closed-here", client="10.9.9.9"), accepted(4, "closed-by-peer", client="10.9.9.9"))
    assert (theirs.closed_by_client.connections, theirs.closed_by_server.connections) == (4, 3)


def test_the_idle_timeout_of_either_side_is_found_with_how_many_keep_to_it() -> None:
    found = counts(end(412, "closed-by-peer", 5.0), end(18, "closed-by-peer", 0.1), end(9, "closed-here", 20.0))
    server, client = found.closed_by_server.cluster, found.closed_by_client.cluster
    assert server is not None
    assert client is not None
    assert (round(server.seconds, 6), server.connections, server.of) == (5.0, 412, 430)
    assert (round(client.seconds, 6), client.connections, client.of) == (20.0, 9, 9)
    assert found.closed_by_server.at_once == 18


def test_times_that_are_far_apart_are_no_timeout() -> None:
    found = counts(*(end(1, "closed-by-peer", float(n)) for n in (2, 9, 30, 80))).closed_by_server
    assert found.cluster is None
    assert found.idle_p50_seconds == pytest.approx(9.0)


def test_what_has_no_time_was_not_closed_at_once() -> None:
    found = counts(end(5, "closed-here", None, client=None)).closed_by_client
    assert (found.connections, found.at_once, found.untimed) == (5, 0, 5)


def test_two_servers_together_have_no_timeout_in_common() -> None:
    found = counts(end(9, "closed-by-peer", 5.0), end(9, "closed-by-peer", 5.0, server=Endpoint("10.7.0.1", 1)))
    assert found.closed_by_server.connections == 18
    assert found.closed_by_server.cluster is None


def test_closes_of_others_who_share_the_accepting_end_are_not_ascribed_to_a_client() -> None:
    """Through a Service it ends at the same endpoint, and from the same address."""
    service = Endpoint("10.96.0.1", 80)
    found = pairs(end(5, "closed-by-peer", 5.0), end(7, "closed-here", server=service), accepted(5, "closed-here", 5.0))
    (through,) = (pair for pair in found if pair.server == service)
    assert through.there
    assert counts_of([through]).closed_by_server.connections == 0


@pytest.mark.parametrize(
    ("group", "harms"),
    [
        (end(1, "reset-received", state="established"), True),
        (end(1, "reset-sent", state="established"), True),
        (end(1, "reset-received", 5.6, state="close-wait"), True),
        (end(1, "reset-sent", state="close-wait"), False),
        (end(1, "reset-received", state="last-ack"), False),
        (end(1, "late-data", None, state="close"), False),
        (accepted(1, "late-data", None, state="close", client="10.9.9.9"), True),
        (accepted(1, "reset-received", state="established", client="10.9.9.9"), True),
        (accepted(1, "reset-received", state="close-wait", client="10.9.9.9"), False),
        (accepted(1, "reset-sent", state="close-wait", client="10.9.9.9"), False),
    ],
)
def test_a_reset_counts_where_it_hit_what_was_in_use_or_used_again(group: ConnectionGroup, harms: bool) -> None:
    found = counts(group)
    assert (found.reset, len(found.resets), len(found.late_resets)) == (harms, harms, not harms)
    assert found.troubles == harms


@pytest.mark.parametrize(
    ("role", "ending", "sender"),
    [
        ("initiated", "reset-received", "server"), ("initiated", "reset-sent", "client"),
        ("accepted", "reset-received", "client"), ("accepted", "reset-sent", "server"),
        ("accepted", "late-data", "server"),
    ],
)  # fmt: skip
def test_a_reset_comes_from_the_side_that_sent_it(role: str, ending: str, sender: str) -> None:
    make: Any = end if role == "initiated" else accepted
    (reset,) = counts(make(1, ending, client="10.9.9.9")).resets
    assert reset.sender == sender


def test_every_failed_connect_is_counted_by_how_it_failed() -> None:
    endings = ("refused", "rejected", "timed-out", "broken", "given-up", "not-sent")
    found = counts(*(connecting(n, ending, float(n)) for n, ending in enumerate(endings, 1)))
    assert found.failed == sum(range(1, 7))
    assert {one.ending: one.connections for one in found.failed_connects} == dict(
        zip(endings, range(1, 7), strict=True)
    )
    assert (found.ended, found.lost, found.reset) == (0, (), 0)


def test_of_connects_whose_beginning_was_not_seen_nobody_knows_how_long_they_were_tried() -> None:
    (unseen,) = counts(connecting(4, "timed-out", 0.0)).failed_connects
    (seen,) = counts(connecting(4, "timed-out", 3.0)).failed_connects
    assert unseen.p50_seconds is None
    assert seen.p50_seconds == pytest.approx(3.0)


@pytest.mark.parametrize(("seconds", "said"), [(0.0, "at once"), (0.4, "after 400 ms")])
def test_a_connect_is_given_up_at_once_or_after_the_time_that_it_was_tried(seconds: float, said: str) -> None:
    assert f"connects: 4 given up by the client {said}" in sentences(counts(connecting(4, "given-up", seconds)))


def test_how_long_a_connect_was_tried_is_not_said_where_it_was_not_kept() -> None:
    assert "connects: 4 given up by the client" in sentences(counts(connecting(4, "given-up", None)))


def test_an_open_connection_that_times_out_is_no_failed_connect() -> None:
    found = counts(end(2, "timed-out", 900.0))
    assert (found.failed, found.ended, found.troubles) == (0, 2, 2)
    assert [one.connections for one in found.lost] == [2]


def test_connect_times_are_those_of_what_was_opened() -> None:
    found = counts(opened(), connecting(9, "given-up", 30.0))
    assert found.connect_p50_seconds == pytest.approx(0.00016)
    assert found.connect_p99_seconds == pytest.approx(1.02)


def test_a_syn_that_is_sent_again_is_trouble_but_no_failure() -> None:
    found = counts(opened(), connecting(5, "syn-retransmitted", 1.0))
    assert (found.failed, found.syn_retransmitted, found.troubles) == (0, 5, 5)
