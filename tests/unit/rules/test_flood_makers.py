"""A table that one of several programs with the node's address fills with connections that are over."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from whodunnet.model.connections import ConnectionGroup, Connections
from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.finding import Finding
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint, SocketGroup, Sockets
from whodunnet.model.workload import Workload

from .endings import STARTED, initiated
from .floods import CROWD
from .flows import (
    FAR,
    HOST,
    HOST_ADDRESS,
    SERVICE,
    busy,
    churn,
    dropping,
    idle,
    in_role,
    node,
    only,
    opened,
    table,
    twice,
)
from .nodes import ages, process

KEEPER, BALANCER = 70, 71
BY_PID = {
    pid: Workload(process=process(pid, comm=comm), netns=HOST)
    for pid, comm in ((KEEPER, "agent"), (BALANCER, "balancer"))
}


def connects(by_keeper: int, by_balancer: int) -> tuple[ConnectionGroup, ...]:
    return tuple(
        initiated("opened", n, to=FAR, netns=HOST, client=HOST_ADDRESS, owner_pid=pid, comm=comm,
                  process_started_seconds=STARTED)
        for pid, comm, n in ((KEEPER, "agent", by_keeper), (BALANCER, "balancer", by_balancer))
        if n
    )  # fmt: skip


def found(by_keeper: int, by_balancer: int, *, method: str = "bpf", **how: Any) -> Finding:
    """Both were seen with sockets to the same destination; connects within the window."""
    groups = connects(by_keeper, by_balancer)
    sockets = [opened(KEEPER, FAR, 10), opened(BALANCER, FAR, 2)]
    bare = twice(*CROWD, churn(HOST_ADDRESS, FAR, 5_300, **how), dropped=9, by_pid=BY_PID, sockets=sockets)
    last = len(bare.snapshots) - 1
    watched = [
        Connections(method=method, groups=groups if n == last else (), watched_seconds=10.0 * n)  # type: ignore[arg-type]
        for n in range(last + 1)
    ]
    return only(_with(bare, watched))


def _with(bare: Recording, watched: list[Connections]) -> Recording:
    both = zip(bare.snapshots, watched, strict=True)
    return replace(bare, snapshots=tuple(replace(s, samples={**s.samples, "connections": w}) for s, w in both))


def test_who_makes_the_connects_fills_the_table_and_is_no_more_than_possible() -> None:
    finding = found(0, 400)
    assert (in_role(finding, "culprit"), finding.confidence, finding.claim) == (["balancer"], "possible", "floods")


@pytest.mark.parametrize(
    ("by_keeper", "by_balancer", "method"),
    [(160, 240, "bpf"), (0, 0, "bpf"), (0, 9, "bpf"), (0, 150, "bpf"), (0, 400, "counters")],
)
def test_else_nobody_is_named(by_keeper: int, by_balancer: int, method: str) -> None:
    finding = found(by_keeper, by_balancer, method=method)
    assert not in_role(finding, "culprit")


def test_who_has_made_connects_for_a_while_only_is_not_named_for_what_another_left_before() -> None:
    """All of them are a minute old; at its pace it would have left less than half of them then."""
    finding = found(0, 400, ages=ages(5_300, 60))
    assert not in_role(finding, "culprit")


def test_who_connects_after_the_table_was_fullest_has_not_filled_it() -> None:
    """All of the agent's came within the first of ten minutes; the balancer's begin in the third."""
    full = table(*CROWD, churn(HOST_ADDRESS, FAR, 5_300, ages=(500, 500, 1_300, 2_000, 1_000)))
    calm = table(*CROWD, churn(HOST_ADDRESS, FAR, 1_000, ages=(100, 100, 300, 500)))
    sockets = [opened(KEEPER, FAR, 10), opened(BALANCER, FAR, 2)]
    bare = node(calm, full, *[calm] * 9, seconds=600, by_pid=BY_PID, sockets=sockets)
    watched = [
        Connections(groups=connects(5_300 if n else 0, 15_000 * max(n - 2, 0)), watched_seconds=60.0 * n)
        for n in range(11)
    ]
    assert in_role(only(_with(bare, watched)), "culprit") == ["agent"]


@pytest.mark.parametrize(("entries", "dropped", "columns"), [(4_600, 1, {"insert_failed": 1}), (5_600, 1, {})])
def test_a_single_drop_does_not_give_all_entries_to_the_only_one_seen(
    entries: int, dropped: int, columns: dict[str, int]
) -> None:
    before = table(*CROWD, churn(HOST_ADDRESS, FAR, entries))
    after = dropping(before, dropped)
    for column, n in columns.items():
        after = dropping(after, n, column)
    first, second = node(before, after, by_pid=BY_PID, sockets=[opened(KEEPER, FAR, 1)]).snapshots
    second = replace(second, samples={**second.samples, "sockets": having(opened(KEEPER, FAR, 2))})
    bare = replace(twice(), snapshots=(first, second))
    watched = [Connections(groups=connects(3 * n, 0), watched_seconds=10.0 * n) for n in range(2)]
    assert not in_role(only(_with(bare, watched)), "culprit")


def having(*groups: SocketGroup) -> Sockets:
    return Sockets(method="bpf", groups=groups)


POOL = Endpoint("203.0.113.50", 443)
"""Where the balancer keeps idle connections."""


def beside(kept: FlowGroup, left: int) -> Finding:
    """What sockets of the balancer are seen for, and entries that it alone made the connects of."""
    own = replace(opened(BALANCER, POOL, kept.entries), protocol=kept.protocol)
    sockets = [own, opened(BALANCER, FAR, 1), opened(KEEPER, FAR, 10)]
    bare = twice(*CROWD, kept, churn(HOST_ADDRESS, FAR, left), by_pid=BY_PID, sockets=sockets)
    watched = [Connections(groups=connects(0, n * left // 12), watched_seconds=10.0 * n) for n in range(2)]
    return only(_with(bare, watched))


@pytest.mark.parametrize(
    ("kept", "left", "shape", "sure"),
    [
        (2_400, 2_400, "churn", "possible"),
        (2_401, 2_399, "idle-established", "likely"),
        (3_200, 1_600, "idle-established", "likely"),
        (3_201, 1_599, "idle-established", "proven"),
        (5_200, 0, "idle-established", "proven"),
    ],
)
def test_what_it_is_seen_to_have_has_to_make_up_the_excess(kept: int, left: int, shape: str, sure: str) -> None:
    """The excess is of 3,200 entries; whose the rest are is inferred."""
    finding = beside(idle(HOST_ADDRESS, POOL, kept), left)
    assert (in_role(finding, "culprit"), finding.shape, finding.confidence) == (["balancer"], shape, sure)


@pytest.mark.parametrize(("kept", "left", "sure"), [(2_401, 2_399, "likely"), (2_400, 2_400, "possible")])
def test_where_half_of_its_short_ones_are_inferred_it_is_no_more_than_possible(kept: int, left: int, sure: str) -> None:
    datagrams = churn(HOST_ADDRESS, POOL, kept, protocol="udp", state="none", assured=False)
    assert beside(datagrams, left).confidence == sure


def test_what_another_closes_is_not_of_who_opens_and_keeps_as_much() -> None:
    """The agent closes 2,600; the balancer opens 1,300 and keeps them."""
    pool = opened(BALANCER, POOL, 2_600)
    groups = idle(HOST_ADDRESS, POOL, 2_600), churn(HOST_ADDRESS, FAR, 2_600, ages=(300, 300, 700, 1_300))
    bare = twice(*CROWD, *groups, by_pid=BY_PID, sockets=[pool, opened(BALANCER, FAR, 1_300)])
    first, second = bare.snapshots
    first = replace(first, samples={**first.samples, "sockets": having(pool, opened(KEEPER, FAR, 2_600))})
    watched = [Connections(groups=connects(0, 1_300 * n), watched_seconds=10.0 * n) for n in range(2)]
    finding = only(_with(replace(bare, snapshots=(first, second)), watched))
    assert (in_role(finding, "culprit"), finding.shape, finding.confidence) == (
        ["balancer"],
        "idle-established",
        "likely",
    )
    assert finding.title.startswith("balancer has 2,600 idle connections")


THREE = tuple[int, int, int]


def filling(*, agent: int, closed: THREE, pool: THREE = (0, 0, 0), a_minute: int = 1_350, also: int = 0) -> Finding:
    """Two minutes in which 2,000 busy entries come. The balancer makes connects all the time, the agent at first.

    closed: entries at each reading; also: those to another destination. pool: idle connections of the balancer.
    """
    crowds = [[busy(f"172.16.0.{i}", FAR, each) for i in range(100)] for each in (25, 35, 45)]
    tables = [
        table(*c, churn(HOST_ADDRESS, FAR, n), idle(HOST_ADDRESS, POOL, kept), churn(HOST_ADDRESS, SERVICE, also))
        for c, n, kept in zip(crowds, closed, pool, strict=True)
    ]
    bare = node(*tables, seconds=120, by_pid=BY_PID)
    both = opened(KEEPER, FAR, 10), opened(BALANCER, FAR, 2)
    held = [having(*both, *([opened(BALANCER, POOL, n)] if n else [])) for n in pool]
    sockets = [replace(s, samples={**s.samples, "sockets": h}) for s, h in zip(bare.snapshots, held, strict=True)]
    watched = [
        Connections(groups=connects(agent if n else 0, a_minute * n), watched_seconds=60.0 * n) for n in range(3)
    ]  # fmt: skip
    found = only(_with(replace(bare, snapshots=tuple(sockets)), watched))
    assert found.reason == "ConntrackTableFilling"
    return found


def test_what_was_nobodys_before_and_is_now_given_to_one_has_not_grown() -> None:
    """Of the first minute's connects it made 93 %, of both 96 %."""
    assert not in_role(filling(agent=100, closed=(2_700, 2_700, 2_700)), "culprit")


@pytest.mark.parametrize("agent", [0, 100])
def test_what_came_meanwhile_has_grown(agent: int) -> None:
    assert in_role(filling(agent=agent, closed=(300, 1_400, 2_700)), "culprit") == ["balancer"]


def test_what_is_nobodys_elsewhere_or_at_both_readings_hides_no_growth() -> None:
    assert in_role(filling(agent=0, closed=(300, 1_400, 2_700), also=800), "culprit") == ["balancer"]
    half = filling(agent=0, closed=(1_400, 1_400, 1_400), a_minute=400, pool=(100, 1_100, 2_300))
    assert (in_role(half, "culprit"), half.shape) == (["balancer"], "idle-established")
