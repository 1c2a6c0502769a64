"""Who is whom at two moments, and by how much each of them changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.model.snapshot import Node
from whodunnet.model.sockets import SocketGroup, Sockets
from whodunnet.model.workload import Workload, Workloads
from whodunnet.report.comparison import Comparison, Taken, compare
from whodunnet.report.owner import BYS, By
from whodunnet.report.owner_changes import OwnerChange

from .pairs import (
    DAY,
    NODE,
    NOON,
    REBOOTED,
    a_day,
    by_pid,
    container,
    of_groups,
    pod,
    process,
    taken,
    two_nodes,
)
from .populations import PAGE, WORKLOADS, group, population

Pids = dict[int, Workload]


def holding(pid: int, sockets: int = 1, pages: int = 0, **rest: Any) -> SocketGroup:
    return group(sockets, pages, owner_pid=pid, **rest)


def changes(comparison: Comparison) -> dict[str, tuple[str, int]]:
    """Owner -> what happened and by how many sockets."""
    assert comparison.owners is not None
    return {row.label: (row.change, row.difference.sockets) for row in comparison.owners.rows}


def owners_of(
    before: Sequence[Workload], after: Sequence[Workload], node: Node = NODE, by: By = "container"
) -> Sequence[OwnerChange]:
    """The changes if each process has a socket before and three after."""

    def side(seconds: float, on: Node, there: Sequence[Workload], sockets: int) -> Taken:
        groups = [holding(w.process.pid, sockets) for w in there if w.process]
        return taken(seconds, node=on, workloads=by_pid(*there), sockets=of_groups(*groups))

    owners = compare(side(0.0, NODE, before, 1), side(DAY, node, after, 3), by=by).owners
    assert owners is not None
    return owners.rows


def kinds(rows: Sequence[OwnerChange]) -> list[str]:
    return sorted(row.change for row in rows)


def test_who_grew_who_is_new_and_who_is_gone_come_by_their_change_of_memory() -> None:
    comparison = compare(*a_day())
    assert changes(comparison) == {
        "payments/foo-7d9f: foo (933d66190a2b)": ("grew", 4764),
        "nightly.service": ("gone", -40),
        "envoy.service": ("new", 25),
    }
    assert comparison.owners is not None
    grown, gone, new = comparison.owners.rows
    assert (grown.difference.memory_bytes, grown.difference.states) == (4764 * 751 * PAGE, {"established": 4764})
    assert (gone.after, new.before) == (None, None)
    assert comparison.owners.unchanged == 10
    assert comparison.seconds == DAY


@pytest.mark.parametrize("by", BYS)
@pytest.mark.parametrize("top", [1, 2, 100])
@pytest.mark.parametrize("pair", [a_day, two_nodes])
def test_no_socket_and_no_byte_of_the_difference_is_lost_in_any_view(by: By, top: int, pair: Any) -> None:
    before, after = pair()
    owners = compare(before, after, by=by, top=top).owners
    assert owners is not None
    rows = [*owners.rows, *([owners.rest] if owners.rest else [])]
    then, now = (x[1].samples["sockets"] for x in (before, after))
    assert isinstance(then, Sockets)
    assert isinstance(now, Sockets)
    assert len(owners.rows) <= top
    assert sum(row.difference.sockets for row in rows) == now.tcp_sockets - then.tcp_sockets
    assert sum(row.difference.memory_bytes for row in rows) == now.tcp_memory_bytes - then.tcp_memory_bytes


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(0, 9)), max_size=8),
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(0, 9)), max_size=8),
    st.sampled_from(BYS),
    st.booleans(),
)
def test_the_way_back_is_the_same_with_the_signs_turned(
    then: list[tuple[int, int, int]], now: list[tuple[int, int, int]], by: By, rebooted: bool
) -> None:
    everybody = by_pid(*(process(n) for n in range(1, 5)))  # pid 5 cannot be read
    sides = [
        taken(node=node, workloads=everybody, sockets=of_groups(*(holding(*one) for one in groups)))
        for node, groups in ((NODE, then), (REBOOTED if rebooted else NODE, now))
    ]
    there, back = (compare(x, y, by=by).owners for x, y in (sides, reversed(sides)))
    assert there is not None
    assert back is not None
    assert there.unchanged == back.unchanged
    turned = {"new": "gone", "gone": "new", "grew": "shrank", "shrank": "grew", "changed": "changed"}
    forth = [(r.change, r.difference.memory_bytes, r.difference.sockets) for r in there.rows]
    assert sorted(forth) == sorted(
        (turned[r.change], -r.difference.memory_bytes, -r.difference.sockets) for r in back.rows
    )


@given(st.sampled_from(BYS))
def test_a_snapshot_differs_from_itself_in_nothing(by: By) -> None:
    one, _ = a_day()
    comparison = compare(one, one, by=by)
    assert comparison.owners is not None
    assert comparison.totals is not None
    assert (comparison.owners.rows, comparison.owners.rest, comparison.settings) == ((), None, ())
    assert not any(total.difference for total in comparison.totals)


def test_a_container_that_was_restarted_is_one_owner_and_said_to_be_restarted() -> None:
    then, now = process(1, container=container("a"), pod=pod()), process(2, container=container("b"), pod=pod())
    (row,) = owners_of([then], [now])
    assert (row.change, row.restarted) == ("grew", True)


def test_a_container_that_goes_on_is_not_said_to_be_restarted() -> None:
    then = process(1, container=container("a"), pod=pod())
    (row,) = owners_of([then], [then])
    assert row.restarted is False


def test_a_container_that_still_runs_beside_its_successor_is_not_yet_restarted() -> None:
    old, new = (process(n, container=container(c), pod=pod()) for n, c in ((1, "a"), (2, "b")))
    (row,) = owners_of([old], [old, new])
    assert (row.difference.sockets, row.restarted) == (5, False)


def test_of_a_unit_nothing_could_tell_a_restart() -> None:
    (row,) = owners_of([process(1, unit="ssh.service")], [process(2, unit="ssh.service")])
    assert (row.change, row.restarted) == ("grew", None)


def test_a_pod_of_another_name_is_another_owner_unless_images_are_compared() -> None:
    then = process(1, container=container("a", image="foo:1"), pod=pod("foo-x1", "u1"))
    now = process(2, container=container("b", image="foo:1"), pod=pod("foo-x2", "u2"))
    assert kinds(owners_of([then], [now])) == ["gone", "new"]
    assert kinds(owners_of([then], [now], by="pod")) == ["gone", "new"]
    assert kinds(owners_of([then], [now], by="image")) == ["grew"]


def test_a_container_named_at_one_moment_only_is_recognised_by_its_id() -> None:
    unnamed = process(1, container=container("a", name=None), pod=pod(None))
    named = process(1, container=container("a"), pod=pod())
    assert kinds(owners_of([unnamed], [named])) == ["grew"]
    assert kinds(owners_of([named], [unnamed])) == ["grew"]
    assert kinds(owners_of([named], [unnamed], by="pod")) == ["grew"]


def test_a_container_without_a_name_is_its_id_within_a_boot_and_its_image_beyond_it() -> None:
    then, now = (process(1, container=container(c, name=None, image="foo:1")) for c in "ab")
    assert kinds(owners_of([then], [now])) == ["gone", "new"]
    assert kinds(owners_of([then], [now], REBOOTED)) == ["grew"]


def test_containers_of_two_runtimes_or_pods_are_two_however_they_are_called() -> None:
    docker, podman = process(1, container=container("a")), process(1, container=container("b", runtime="podman"))
    assert kinds(owners_of([docker], [podman])) == ["gone", "new"]
    one, other = (process(1, container=container(c), pod=pod(f"foo-{c}", c)) for c in "ab")
    assert kinds(owners_of([one], [other])) == ["gone", "new"]


def test_a_pid_that_was_used_again_is_another_process() -> None:
    later = NOON + timedelta(hours=5)
    assert kinds(owners_of([process(1)], [process(1, started=later)], by="process")) == ["gone", "new"]
    assert kinds(owners_of([process(1)], [process(1)], by="process")) == ["grew"]
    assert kinds(owners_of([process(1, started=None)], [process(1, "other", None)], by="process")) == ["gone", "new"]


@pytest.mark.parametrize("shift", [timedelta(seconds=1), timedelta(hours=3)])
def test_a_process_is_the_same_when_the_clock_was_set(shift: timedelta) -> None:
    """A start is computed from the time of boot, which moves with the clock."""
    before = taken(workloads=by_pid(process(1)), sockets=of_groups(holding(1)))
    node, after = taken(DAY, workloads=by_pid(process(1, started=NOON + shift)), sockets=of_groups(holding(1, 3)))
    at = msgspec.structs.replace(after.at, wall=after.at.wall + shift)
    comparison = compare(before, (node, msgspec.structs.replace(after, at=at)), by="process")
    assert changes(comparison) == {"app (pid 1)": ("grew", 2)}
    assert bool([n for n in comparison.notes if "clock was set" in n]) == (shift > timedelta(minutes=1))
    assert comparison.seconds == DAY


def test_a_process_that_changed_its_state_is_the_same_process() -> None:
    stopped = process(1)
    assert stopped.process is not None
    stopped = msgspec.structs.replace(stopped, process=msgspec.structs.replace(stopped.process, state="stopped"))
    assert kinds(owners_of([process(1)], [stopped], by="process")) == ["grew"]


def test_beyond_a_boot_processes_are_their_name_and_place_together() -> None:
    inside = {"container": container("a"), "pod": pod()}
    before = [process(1, "nginx", **inside), process(2, "nginx", **inside), process(3, "nginx")]
    after = [process(8, "nginx", **inside), process(9, "nginx", **inside), process(1, "nginx")]
    rows = owners_of(before, after, REBOOTED, by="process")
    assert {row.label: row.difference.sockets for row in rows} == {
        "nginx (2 processes) in payments/foo-0: foo (aaaaaaaaaaaa)": 4,
        "nginx (pid 1)": 2,
    }


def test_processes_that_nobody_could_read_are_matched_by_pid_within_a_boot_only() -> None:
    before = taken(workloads=Workloads(), sockets=of_groups(holding(1), holding(2)))
    after = taken(DAY, workloads=Workloads(), sockets=of_groups(holding(2, 3), holding(3)))
    assert sorted(changes(compare(before, after)).values()) == [("gone", -1), ("grew", 2), ("new", 1)]
    rebooted = REBOOTED, after[1]
    assert changes(compare(before, rebooted)) == {"processes that vanished or could not be read": ("grew", 2)}


def test_a_namespace_with_a_process_is_compared_too() -> None:
    """Nobody writes that, but a recording of a stranger may."""
    snapshot = taken(sockets=of_groups(group(1, 1)), workloads=Workloads(by_netns={1: process(7)}))
    assert compare(snapshot, snapshot).owners is not None


def test_a_namespace_number_that_was_given_to_another_pod_is_another_namespace() -> None:
    orphans = {"holding": "orphan", "netns": 12, "state": "fin-wait-1"}
    one, other = (Workload(container=container(c, name=c), pod=pod(c, c)) for c in "ab")
    before = taken(workloads=Workloads(by_netns={12: one}), sockets=of_groups(group(1, **orphans)))
    for inhabitant, expected in ((other, ["gone", "new"]), (one, ["grew"]), (None, ["grew"])):
        workloads = Workloads(by_netns={12: inhabitant} if inhabitant else {})
        after = taken(DAY, workloads=workloads, sockets=of_groups(group(3, **orphans)))
        for by in ("container", "netns"):
            owners = compare(before, after, by=by).owners  # type: ignore[arg-type]
            assert owners is not None
            assert kinds(owners.rows) == expected


def test_without_workloads_only_the_views_that_need_none_compare() -> None:
    before, after = (taken(at, sockets=population()) for at in (0.0, DAY))
    assert {by: compare(before, after, by=by).owners is not None for by in BYS} == {
        "container": False, "pod": False, "image": False, "process": False,
        "endpoint": True, "netns": True, "state": True,
    }  # fmt: skip


def test_the_process_that_holds_most_need_not_have_changed_most() -> None:
    sides: list[Taken] = [
        taken(at, workloads=WORKLOADS, sockets=of_groups(holding(100, 5_000, 9_000), holding(301, n, n)))
        for at, n in ((0.0, 1), (DAY, 50))
    ]
    assert changes(compare(sides[0], sides[1])) == {"nc (pid 301)": ("grew", 49)}
