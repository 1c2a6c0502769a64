"""A table that one of several programs with the node's address fills with connections that are over."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from whodunnet.model.connections import Connections
from whodunnet.model.finding import Finding
from whodunnet.model.snapshot import Recording
from whodunnet.model.workload import Workload

from .endings import STARTED, initiated
from .floods import CROWD
from .flows import FAR, HOST, HOST_ADDRESS, churn, in_role, only, opened, twice
from .nodes import ages, process

KEEPER, BALANCER = 70, 71
BY_PID = {
    pid: Workload(process=process(pid, comm=comm), netns=HOST)
    for pid, comm in ((KEEPER, "agent"), (BALANCER, "balancer"))
}


def found(by_keeper: int, by_balancer: int, *, method: str = "bpf", **how: Any) -> Finding:
    """Both were seen with sockets to the same destination; connects within the window."""
    groups = tuple(
        initiated("opened", n, to=FAR, netns=HOST, client=HOST_ADDRESS, owner_pid=pid, comm=comm,
                  process_started_seconds=STARTED)
        for pid, comm, n in ((KEEPER, "agent", by_keeper), (BALANCER, "balancer", by_balancer))
        if n
    )  # fmt: skip
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
