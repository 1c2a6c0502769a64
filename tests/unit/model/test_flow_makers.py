"""model.flow_makers: entries without a socket are given to who made the connects, where several share an address."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from whodunnet.model.connections import ConnectionGroup, Connections
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.flow_makers import MADE_LEAST, makers_of
from whodunnet.model.flow_owners import FlowOwner, FlowOwners
from whodunnet.model.snapshot import AnySample, Node, Recording, Snapshot
from whodunnet.model.sockets import Endpoint, Sockets
from whodunnet.model.workload import Container, Process, Workload, Workloads

from .endings import ended, moment
from .test_flow_owners import ADDRESSES, ENDPOINTS, NODE, OTHER, SERVICE, WORKLOADS, A, B, flow, held, reading

SHARED = f"node {NODE}"
SECONDS = 10.0
KEEPS = held(11, 10)
SEEN = (reading(KEEPS, held(12, 1)), reading(KEEPS, held(12, 2)))
"""A keeps ten connections, B comes and goes."""
NONE = (reading(), reading())
MOVING = (reading(held(11, 1)), reading(held(11, 2)))
"""Nobody but A is seen, and its connections come and go."""


def made(pid: int | None, connects: int, to: Endpoint = SERVICE, **fields: Any) -> ConnectionGroup:
    """Connects of a process from the node's address."""
    comm = {11: "a", 12: "b", 13: "b"}.get(pid or 0, "")
    defaults = {"netns": NODE, "ending": "opened", "server": to, "client": "10.0.0.1", "owner_pid": pid, "comm": comm}
    return ended(connects, **{**defaults, **fields})


def watched(
    *groups: ConnectionGroup,
    before: tuple[ConnectionGroup, ...] = (),
    workloads: Workloads = WORKLOADS,
    first: dict[str, Any] | None = None,
    dropped: int = 0,
    columns: dict[str, int] | None = None,
    tables: tuple[int, int] = (NODE, NODE),
    **last: Any,
) -> Recording:
    """Two samples of connects. dropped: packets meanwhile; columns: other counters of them. tables: whose was read."""
    fields = {"watched_seconds": SECONDS, **last}
    risen = {"drop": dropped, **(columns or {})}
    full = [
        Conntrack(loaded=True, netns=tables[n], statistics={name: 70 + n * by for name, by in risen.items()})
        for n in range(2)
    ]
    samples: list[AnySample] = [
        Connections(groups=before, watched_seconds=0.0, **(first or {})),
        Connections(groups=groups, **fields),
    ]
    return Recording(
        node=Node(hostname="n", kernel="6", boot_id="b", virtual_machine=False),
        snapshots=tuple(
            Snapshot(
                at=moment(n * SECONDS), samples={"connections": sample, "workloads": workloads, "conntrack": full[n]}
            )
            for n, sample in enumerate(samples)
        ),
    )


def split(
    recording: Recording,
    *groups: FlowGroup,
    sockets: tuple[Sockets, ...] = SEEN,
    workloads: Workloads = WORKLOADS,
    timeouts: dict[str, int] | None = None,
) -> list[tuple[FlowOwner, int]]:
    """Owners of the first group."""
    table = Conntrack(loaded=True, netns=NODE, groups=groups or (CLOSED,), timeouts=timeouts or {})
    recording = replace(recording, snapshots=tuple(with_sockets(recording.snapshots, sockets)))
    owners = FlowOwners(table, ADDRESSES, sockets, workloads, makers=makers_of(recording))
    return owners.split(table.groups[0])


def with_sockets(snapshots: Sequence[Snapshot], sockets: Sequence[Sockets]) -> Iterator[Snapshot]:
    """The newest reading in the last snapshot, and so on back."""
    for n, snapshot in enumerate(snapshots, len(sockets) - len(snapshots)):
        found = {"sockets": sockets[n]} if n >= 0 else {}
        yield replace(snapshot, samples={**snapshot.samples, **found})


CLOSED = flow(entries=100, state="time-wait")


def opener(recording: Recording, *groups: FlowGroup, **how: Any) -> str:
    ((owner, n),) = split(recording, *groups, **how)
    assert n == (groups or (CLOSED,))[0].entries
    assert owner.inferred is (owner.key != SHARED)
    return owner.key


def test_what_nobodys_socket_tells_is_of_who_made_the_connects() -> None:
    assert opener(watched(made(12, 500))) == B
    assert opener(watched(made(11, 10), made(12, 300), made(13, 300))) == B


def test_two_who_both_make_connects_are_not_told_apart() -> None:
    assert opener(watched(made(11, 400), made(12, 600))) == SHARED


@pytest.mark.parametrize(("share", "who"), [(94, SHARED), (95, B)])
def test_it_takes_nearly_all_connects(share: int, who: str) -> None:
    assert opener(watched(made(11, 100 - share), made(12, share))) == who


@pytest.mark.parametrize(("connects", "who"), [(MADE_LEAST - 1, SHARED), (MADE_LEAST, B)])
def test_a_few_connects_are_no_habit(connects: int, who: str) -> None:
    assert opener(watched(made(12, connects))) == who


@pytest.mark.parametrize(
    "other",
    [
        made(None, 10),
        made(None, 10, comm="b"),
        made(77, 10, comm="curl"),
        made(11, 10, client=None),
        made(12, 10, client=None),
        made(11, 10, ending="refused"),
        made(12, 10, ending="refused"),
    ],
)
def test_who_is_not_known_and_from_where_counts_as_another(other: ConnectionGroup) -> None:
    assert opener(watched(made(12, 100), other)) == SHARED


@pytest.mark.parametrize("lost", [{"other": {"opened": 10}}, {"untracked": 10}, {"missed": 10}])
def test_connects_that_were_lost_may_be_anybodys(lost: dict[str, Any]) -> None:
    assert opener(watched(made(12, 100), **lost)) == SHARED
    assert opener(watched(made(12, 1_000), **lost)) == B


@pytest.mark.parametrize(
    "elsewhere",
    [
        made(11, 500, to=ENDPOINTS[0]),
        made(11, 500, netns=OTHER),
        made(11, 500, client="10.0.0.2"),
        made(11, 500, role="accepted"),
        made(11, 500, ending="closed-here"),
    ],
)
def test_connects_from_and_to_elsewhere_and_endings_say_nothing(elsewhere: ConnectionGroup) -> None:
    """Who connects to the endpoint itself has entries of its own, which do not lead to the Service."""
    group = flow(entries=100, state="time-wait", answered_by=ENDPOINTS[0])
    assert opener(watched(elsewhere), group) == SHARED
    assert opener(watched(elsewhere, made(12, 500)), group) == B


def test_connects_from_before_the_window_do_not_count() -> None:
    assert opener(watched(made(11, 900), made(12, 500), before=(made(11, 900),))) == B
    assert opener(watched(made(12, 900), made(11, 500), before=(made(12, 900),))) == A
    assert opener(watched(made(12, 905), before=(made(12, 900),))) == SHARED


@pytest.mark.parametrize("how", [{"method": "counters"}, {"started_seconds": 7.0}, {"first": {"method": "counters"}}])
def test_without_bpf_or_by_two_runs_of_it_nothing_is_known(how: dict[str, Any]) -> None:
    assert opener(watched(made(12, 500), **how)) == SHARED


def test_one_sample_has_no_growth() -> None:
    found = watched(made(12, 500))
    assert makers_of(Recording(node=found.node, snapshots=found.snapshots[1:])) is None


def test_sockets_go_on_to_tell_whose_open_connections_are() -> None:
    found = {o.key: n for o, n in split(watched(made(12, 500)), flow(entries=20))}
    assert found == {A: 10, B: 2, SHARED: 8}


def test_other_protocols_are_not_known() -> None:
    assert opener(watched(made(12, 500)), flow(entries=100, state="closed", protocol="sctp"), sockets=()) == SHARED


def test_the_only_one_seen_is_not_named_if_another_makes_the_connects() -> None:
    assert opener(watched(made(12, 500)), sockets=MOVING) == SHARED
    assert opener(watched(made(11, 94), made(12, 6)), sockets=MOVING) == SHARED
    assert opener(watched(made(11, 94), made(77, 6, comm="curl")), sockets=MOVING) == SHARED


def test_the_only_one_seen_is_named_if_no_connect_contradicts() -> None:
    assert opener(watched(made(11, 9)), sockets=MOVING) == A
    assert opener(watched(made(11, 95), made(12, 5), missed=50), sockets=MOVING) == A
    assert opener(watched(made(12, 500), method="counters"), sockets=MOVING) == A


def test_who_made_the_connects_is_named_although_no_reading_met_its_sockets() -> None:
    ((owner, _),) = split(watched(made(12, 500)), sockets=(reading(KEEPS), reading(KEEPS)))
    assert (owner.key, owner.inferred) == (B, True)
    assert owner.workload in (WORKLOADS.by_pid[12], WORKLOADS.by_pid[13])


def test_a_process_is_not_taken_for_another_that_has_its_number_now() -> None:
    now = Process(pid=20, comm="later", started=moment(5.0).wall)
    known = Workloads(by_pid={20: Workload(process=now, netns=NODE)})
    before = made(20, 500, comm="earlier", process_started_seconds=0.5)
    same = made(20, 500, comm="later", process_started_seconds=5.2)
    assert opener(watched(before, workloads=known), sockets=NONE, workloads=known) == SHARED
    assert opener(watched(same, workloads=known), sockets=NONE, workloads=known).startswith("pid 20 ")


def test_who_is_known_by_a_number_only_is_not_named() -> None:
    bare = Workloads(by_pid={20: Workload(process=Process(pid=20, comm="x", exe="/x"), netns=NODE)})
    assert opener(watched(made(20, 500, comm="x"), workloads=bare), sockets=NONE, workloads=bare) == SHARED


def test_processes_of_one_container_make_its_connects_together() -> None:
    box = Container(id="cc", cgroup="/c")
    by_pid = {
        pid: Workload(process=Process(pid=pid, comm="w", started=moment(started).wall), container=box, netns=NODE)
        for pid, started in ((30, 1.0), (31, 5.0))
    }
    known = Workloads(by_pid=by_pid)
    groups = [made(pid, 60, comm="w", process_started_seconds=started) for pid, started in ((30, 1.0), (31, 5.0))]
    assert opener(watched(*groups, workloads=known), sockets=NONE, workloads=known) == f"container cc in {NODE}"
