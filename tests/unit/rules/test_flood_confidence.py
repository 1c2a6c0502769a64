"""How sure it is who fills the table, also where far more is tried than is let in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from msgspec.structs import replace

from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.finding import Finding
from whodunnet.model.sockets import SocketGroup

from .floods import CROWD, POD, filled_by
from .flows import FAR, SERVICE, PodAt, busy, churn, idle, in_role, node, only, opened, table, twice
from .nodes import BEGIN, ages


def test_one_reading_is_possible() -> None:
    assert only(node(table(*CROWD, churn(POD.address, SERVICE, 5_300)), pods=[POD])).confidence == "possible"


def test_a_burst_that_is_over_is_likely_at_most() -> None:
    assert filled_by(churn(POD.address, SERVICE, 5_300, ages=ages(5_300, 70))).confidence == "likely"


def test_idle_entries_that_were_mostly_gone_later_are_likely_at_most() -> None:
    tables = [table(*CROWD, idle(POD.address, SERVICE, n)) for n in (5_300, 100)]
    assert only(node(*tables, pods=[POD])).confidence == "likely"


def test_what_came_within_the_window_is_seen() -> None:
    before, after = table(*CROWD), table(*CROWD, churn(POD.address, SERVICE, 5_300, ages=ages(5_300, 20)))
    assert only(node(before, after, pods=[POD])).confidence == "proven"


@pytest.mark.parametrize(("others", "sure"), [(4_000, "likely"), (3_999, "proven")])
def test_less_than_half_of_the_waste_is_likely(others: int, sure: str) -> None:
    groups = [
        churn(p.address, SERVICE, n)
        for p, n in zip([PodAt(n, f"a{n}") for n in range(3, 7)], _quarters(others), strict=True)
    ]
    pods = [POD, *(PodAt(n, f"a{n}") for n in range(3, 7))]
    found = only(twice(*CROWD[:40], churn(POD.address, SERVICE, 3_999), *groups, pods=pods))
    assert (in_role(found, "culprit"), found.confidence) == (["web-1"], sure)


def _quarters(n: int) -> list[int]:
    return [n // 4 + (n % 4 > i) for i in range(4)]


def test_with_a_fifth_unowned_it_is_likely() -> None:
    unowned = busy("10.77.0.1", SERVICE, 2_100)
    twin = [PodAt(8), PodAt(9)]
    for p in twin:
        p.address = "10.77.0.1"
    found = only(twice(*CROWD[:52], unowned, churn(POD.address, SERVICE, 5_300), pods=[POD, *twin]))
    assert (in_role(found, "culprit"), found.confidence) == (["web-1"], "likely")


def test_entries_that_were_not_read_lower_the_share_that_is_known() -> None:
    found = only(twice(*CROWD[:20], churn(POD.address, SERVICE, 5_300), pods=[POD], count=9_800))
    assert found.confidence == "likely"


# --- Who tries and is dropped ------------------------------------------------------------------------------------


def beside(drops: int, group: FlowGroup, sockets: Sequence[SocketGroup] = ()) -> Finding:
    """The finding where so many packets were dropped within ten seconds."""
    return only(twice(*CROWD, group, pods=[POD], dropped=drops, sockets=[opened(9, FAR, 1), *sockets]))


CHURN = churn(POD.address, SERVICE, 5_300)
"""440 of the last ten seconds."""


@pytest.mark.parametrize(("drops", "sure"), [(4_400, "proven"), (4_500, "possible")])
def test_where_far_more_is_dropped_than_the_one_named_opens_somebody_else_may_be_the_one(drops: int, sure: str) -> None:
    found = beside(drops, CHURN)
    assert (in_role(found, "culprit"), found.confidence) == (["web-1"], sure)
    assert ("somebody else may try to open far more" in " ".join(found.explanation)) is (sure == "possible")


@pytest.mark.parametrize(("waiting", "sure"), [(455, "possible"), (456, "proven")])
def test_whoever_is_seen_to_wait_for_an_answer_is_dropped_itself(waiting: int, sure: str) -> None:
    """5,000 a second; 44 entries a second are new."""
    sockets = [opened(7, SERVICE, waiting, netns=POD.netns, state="syn-sent")]
    assert beside(50_000, CHURN, sockets).confidence == sure
    established = [opened(7, SERVICE, waiting, netns=POD.netns)]
    assert beside(50_000, CHURN, established).confidence == "possible"


def test_few_drops_say_nothing_of_a_burst_that_is_over() -> None:
    assert beside(100, replace(CHURN, ages=ages(5_300, 70))).confidence == "likely"
    assert beside(101, replace(CHURN, ages=ages(5_300, 70))).confidence == "possible"


def test_whoever_keeps_idle_connections_need_not_open_any() -> None:
    sockets = [opened(7, SERVICE, 5_300, netns=POD.netns)]
    found = beside(50_000, idle(POD.address, SERVICE, 5_300), sockets)
    assert (found.confidence, found.shape) == ("proven", "idle-established")


@pytest.mark.parametrize(("open_ones", "sure"), [(2_649, "likely"), (2_650, "proven")])
def test_idle_entries_without_sockets_may_be_of_somebody_before(open_ones: int, sure: str) -> None:
    sockets = [opened(7, SERVICE, open_ones, netns=POD.netns)]
    assert filled_by(idle(POD.address, SERVICE, 5_300), sockets=sockets).confidence == sure


@pytest.mark.parametrize(("minutes", "named"), [(20, ["web-1"]), (2, [])])
def test_entries_that_were_quiet_before_it_was_started_are_not_held_against_it(minutes: int, named: list[str]) -> None:
    late = PodAt(1)
    container = replace(late.workload.container, started=BEGIN - timedelta(minutes=minutes))
    late.workload = replace(late.workload, container=container)
    found = only(twice(*CROWD, idle(late.address, SERVICE, 5_300, age=900), pods=[late]))
    assert in_role(found, "culprit") == named
