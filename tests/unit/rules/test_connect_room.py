"""connect-timeout where the table of tracked connections of a namespace is full: whose connects that explains."""

from __future__ import annotations

from typing import Any

import pytest

from whodunnet.diagnosis.engine import diagnose
from whodunnet.model.connections import ConnectionGroup
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.finding import Finding
from whodunnet.model.sockets import Endpoint

from .connects import limit, named, node, opened, queue, rejected, silent, slow
from .flows import FULL_LINE, logged
from .nodes import finding, findings, parties
from .tracking import HOST, OTHER_NETNS, POD_NETNS, table

RULE = "connect-timeout"
OTHER = Endpoint("10.244.0.6", 9000)
FAR = Endpoint("198.51.100.7", 443)
SIZE = 10_000


def full(netns: int = POD_NETNS, entries: int = SIZE, **other: Any) -> Conntrack:
    return table(counts={HOST: 0, netns: entries}, max_entries=SIZE, **other)


def said(*groups: ConnectionGroup, of: Conntrack | None = None, **other: Any) -> Finding:
    return finding(node(*groups, samples={"conntrack": of or full()}, **other), RULE)


def shapes(*groups: ConnectionGroup) -> set[str | None]:
    return {f.shape for f in findings(node(*groups, samples={"conntrack": full()}), RULE)}


@pytest.mark.parametrize("netns", [POD_NETNS, OTHER_NETNS])
def test_all_that_begins_or_ends_where_there_is_no_room_is_dropped(netns: int) -> None:
    found = said(*silent(58), of=full(netns))
    assert (found.shape, found.confidence) == ("table-full", "likely")
    assert (named(found, "victim"), named(found, "culprit"), named(found, "holder")) == (["web"], [], [])
    assert "nothing speaks against it" in str(parties(found, "peer")[0].effect)
    assert not any("endpoint is dead" in line for line in found.explanation)
    assert not any("who is behind that address" in step.do for step in found.remedies)
    assert (SIZE, SIZE, ">=") in [(e.value, e.limit, e.comparison) for e in found.evidence]


@pytest.mark.parametrize("of", [full(entries=SIZE - 1), full(netns=4_026_532_999), full(netns=HOST)])
def test_a_table_with_room_or_of_others_is_no_reason(of: Conntrack) -> None:
    assert said(*silent(58), of=of).shape == "nobody-answers"


@pytest.mark.parametrize(
    ("netns", "entries", "beside", "shape"),
    [
        (POD_NETNS, SIZE // 2, True, "table-full"),
        (POD_NETNS, SIZE // 2, False, "nobody-answers"),
        (POD_NETNS, SIZE * 9 // 10, False, "table-full"),
        (4_026_532_999, SIZE // 2, True, "nobody-answers"),
    ],
)
def test_a_moment_without_room_counts_where_others_lost_theirs_too(
    netns: int, entries: int, beside: bool, shape: str
) -> None:
    """By the word of the kernel. A server that alone was asked may be dead all the time."""
    line = logged(5.0, text=FULL_LINE.replace("full", f"full in netns {netns}"))
    also = silent(40, to=FAR) if beside else []
    shot = node(*silent(58), *also, samples={"conntrack": full(entries=entries), "kernel_log": line})
    assert {f.shape for f in findings(shot, RULE)} == {shape}


def test_clients_of_two_namespaces_have_another_reason() -> None:
    elsewhere = silent(40, netns=4_026_532_300, client="10.244.0.9", owner_pid=99, comm="far", to=FAR)
    assert said(*silent(40, to=FAR), *elsewhere).shape == "nobody-answers"


def test_a_server_that_alone_is_silent_has_another_reason() -> None:
    assert said(*silent(58), opened(100, to=FAR)).shape == "nobody-answers"
    assert shapes(*silent(80), *silent(58, to=FAR), opened(20, to=OTHER)) == {"table-full"}
    assert shapes(*silent(80), *slow(58, to=FAR), opened(20, to=OTHER)) == {"table-full"}
    loopback = opened(900, to=Endpoint("127.0.0.1", 80))
    assert said(*silent(58), loopback).shape == "table-full"


def test_some_are_answered_where_an_entry_ends_now_and_then() -> None:
    assert said(*silent(30), opened(30)).shape == "table-full"


def test_many_addresses_have_this_one_reason() -> None:
    groups = [g for i in range(6) for g in silent(20, to=Endpoint(f"198.51.100.{i}", 443))]
    found = said(*groups)
    assert (found.shape, len(parties(found, "victim"))) == ("table-full", 1)
    assert "6 addresses" in found.title


def test_a_message_or_a_full_queue_is_the_nearer_reason() -> None:
    told = rejected(int(limit(RULE, "min_told")))
    assert said(*silent(58), told).shape == "rejected-too-seldom"
    assert said(*silent(58), listeners=[queue(6, 5)]).shape == "queue-full"


def test_it_stands_under_the_table() -> None:
    shot = node(*silent(58), samples={"conntrack": full()})
    found = {f.rule: f for f in diagnose(shot, [RULE, "conntrack-table"]).findings}
    assert found[RULE].caused_by == (found["conntrack-table"].id,) == (f"conntrack-table:{POD_NETNS}",)
