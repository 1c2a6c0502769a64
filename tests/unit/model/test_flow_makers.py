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


def by_owner(recording: Recording, *groups: FlowGroup, **how: Any) -> dict[str, int]:
    """Entries of the first group."""
    return {owner.key: n for owner, n in split(recording, *groups, **how)}


@pytest.mark.parametrize(("connects", "own"), [(249, 0), (250, 2_000), (499, 3_992), (500, 4_000), (900, 4_000)])
def test_as_many_are_its_own_as_its_pace_leaves_and_the_rest_stays_shared(connects: int, own: int) -> None:
    """Of 6,000 entries that stay for two minutes 500 go within ten seconds. Who left fewer than half is not the one."""
    groups = flow(entries=4_000, state="time-wait"), flow(entries=2_000, state="fin-wait", answered_by=ENDPOINTS[0])
    assert by_owner(watched(made(12, connects)), *groups) == parts(own, 4_000)


def parts(own: int, of: int) -> dict[str, int]:
    return {key: n for key, n in ((B, own), (SHARED, of - own)) if n}


def test_the_pace_is_that_of_the_time_in_which_connects_were_watched() -> None:
    group = flow(entries=6_000, state="time-wait")
    assert by_owner(watched(made(12, 250), watched_seconds=5.0), group) == {B: 6_000}


AGED = (50, 50, 150, 250, 1_500)
"""Of the window of ten seconds, and from before it, when another left some too."""


def test_of_older_entries_as_many_are_its_own_as_its_pace_left_then() -> None:
    group = flow(entries=2_000, state="time-wait", ages=AGED)
    assert by_owner(watched(made(12, 500)), group) == parts(500 + 20 * 50, 2_000)


@pytest.mark.parametrize(("before", "own"), [(2_000, 3_000), (3_000, 3_000), (5_000, 3_000), (5_001, 0), (11_000, 0)])
def test_what_another_left_who_stopped_before_the_window_is_not_its_own(before: int, own: int) -> None:
    group = flow(entries=1_000 + before, state="time-wait", ages=(100, 100, 300, 500, before))
    assert by_owner(watched(made(12, 1_000)), group) == parts(own, 1_000 + before)


def test_of_ages_in_the_window_no_more_are_its_own_than_it_opened() -> None:
    group = flow(entries=1_000, state="time-wait", ages=(1_000,))
    assert by_owner(watched(made(12, 600)), group) == parts(600, 1_000)
    assert by_owner(watched(made(12, 1_000)), group) == parts(1_000, 1_000)


def test_what_is_of_the_window_is_its_own_however_uneven_it_came() -> None:
    """In ten minutes 12,000, all of them in the last one: entries stay for two."""
    recording = watched(made(12, 12_000), watched_seconds=600.0)
    group = flow(entries=12_000, state="time-wait", ages=(200, 200, 600, 1_000, 4_000, 6_000))
    assert by_owner(recording, group) == {B: 12_000}


def test_groups_of_one_destination_share_what_was_opened() -> None:
    groups = [flow(entries=400, state="time-wait", ages=(400,), answered_by=e) for e in (ENDPOINTS[0], ENDPOINTS[1])]
    assert by_owner(watched(made(12, 400)), *groups) == {B: 200, SHARED: 200}


def test_what_was_opened_within_the_window_is_given_once() -> None:
    """490 in 4.9 seconds: of entries no older than five as many, and ten of the tenth of a second before."""
    group = flow(entries=790, state="time-wait", ages=(250, 250, 290))
    assert by_owner(watched(made(12, 490), watched_seconds=4.9), group) == parts(500, 790)


def test_of_an_age_that_the_window_ends_in_no_more_are_its_own_than_its_pace_leaves() -> None:
    group = flow(entries=600, state="time-wait", ages=(100, 100, 400))
    assert by_owner(watched(made(12, 490), watched_seconds=4.9), group) == parts(500, 600)


def test_a_group_with_more_ages_than_entries_gives_no_more_than_it_has() -> None:
    group = flow(entries=10, state="time-wait", ages=(600,))
    assert by_owner(watched(made(12, 600)), group) == parts(10, 10)


def test_entries_of_unknown_age_are_given_by_pace() -> None:
    group = flow(entries=6_100, state="time-wait", ages=(100,))
    assert by_owner(watched(made(12, 250)), group) == {B: 100 + 3_000, SHARED: 3_000}


@pytest.mark.parametrize(("tries", "own"), [(199, 0), (200, 3_000), (450, 6_000), (900, 6_000)])
def test_in_a_full_table_connects_are_tried_again(tries: int, own: int) -> None:
    group = flow(entries=6_000, state="time-wait")
    groups = (made(12, 50), made(12, tries, ending="syn-retransmitted"))
    assert by_owner(watched(*groups, dropped=900), group) == parts(own, 6_000)


def test_in_a_full_table_hardly_any_entry_is_of_the_window() -> None:
    """It was filled fast; now there is room for a few only."""
    group = flow(entries=6_000, state="time-wait", ages=(10, 10, 20, 10, 5_950))
    groups = (made(12, 50), made(12, 450, ending="syn-retransmitted"))
    assert by_owner(watched(*groups, dropped=900), group) == {B: 6_000}
    assert by_owner(watched(*groups), group) == {SHARED: 6_000}


def test_what_was_sent_again_counts_as_often_as_packets_were_dropped() -> None:
    """The server of twelve connections does not answer at once; the entries are of somebody else."""
    group = flow(entries=6_000, state="time-wait")
    groups = (made(12, 12), made(12, 600, ending="syn-retransmitted"))
    assert by_owner(watched(*groups), group) == {SHARED: 6_000}
    assert by_owner(watched(*groups, dropped=13), group) == {SHARED: 6_000}
    assert by_owner(watched(*groups, dropped=300), group) == parts(3_744, 6_000)


def test_drops_of_another_table_do_not_count() -> None:
    group = flow(entries=6_000, state="time-wait")
    groups = (made(12, 12), made(12, 600, ending="syn-retransmitted"))
    assert by_owner(watched(*groups, dropped=900, tables=(OTHER, NODE)), group) == {SHARED: 6_000}


def test_another_that_tries_again_may_have_left_entries_too() -> None:
    assert opener(watched(made(12, 500), made(11, 27, ending="syn-retransmitted"))) == SHARED


LOST = {"insert_failed": 9, "chaintoolong": 0, "clashres": 0}
"""As many packets lost a race for their entry as were dropped."""


@pytest.mark.parametrize(
    ("columns", "who"),
    [
        (LOST, SHARED),
        (LOST | {"chaintoolong": 9}, A),
        ({"insert_failed": 9}, A),
        (LOST | {"insert_failed": 8}, SHARED),
        (LOST | {"insert_failed": 4}, A),
    ],
)
def test_packets_that_lost_a_race_do_not_tell_of_a_full_table(columns: dict[str, int], who: str) -> None:
    """Where it is not known how many they are, as on old kernels, none of them is taken for one."""
    assert opener(watched(made(11, 1), dropped=9, columns=columns), sockets=MOVING) == who


@pytest.mark.parametrize(("drops", "who"), [(0, SHARED), (1, SHARED), (246, SHARED), (247, A), (9_000, A)])
def test_a_few_drops_do_not_give_everything_to_the_only_one_seen(drops: int, who: str) -> None:
    """6,000 entries stay for two minutes: with 250 connects in ten seconds there would be half as many."""
    group = flow(entries=6_000, state="time-wait")
    assert opener(watched(made(11, 3), dropped=drops), group, sockets=MOVING) == who


@pytest.mark.parametrize(
    ("opened", "again", "drops", "who"),
    [(0, 10, 10, A), (4, 6, 10, SHARED), (9, 1, 1, SHARED), (0, 10, 9, SHARED), (20, 0, 10, SHARED)],
)
def test_where_there_is_no_room_the_only_one_seen_that_goes_on_trying_left_them(
    opened: int, again: int, drops: int, who: str
) -> None:
    """Each try waits for its time-out: far fewer than the entries there are."""
    tries = (made(11, n, ending=ending) for n, ending in ((opened, "opened"), (again, "syn-retransmitted")) if n)
    group = flow(entries=6_000, state="time-wait")
    assert opener(watched(*tries, dropped=drops), group, sockets=MOVING) == who


def test_a_counter_that_falls_tells_of_no_drops() -> None:
    tried = made(11, 3, ending="syn-retransmitted")
    assert by_owner(watched(tried, dropped=-60), sockets=MOVING) == {SHARED: 100}
    own = made(12, 500), made(12, 900, ending="syn-retransmitted")
    assert by_owner(watched(*own, dropped=-60), flow(entries=6_000, state="time-wait")) == {B: 6_000}


KEPT = flow(entries=600, state="time-wait", ages=(100, 100, 200, 200))
"""All of the window."""


def test_who_keeps_what_it_opens_has_left_no_entry_behind() -> None:
    """Another closed as many old ones."""
    moved = reading(held(11, 600), held(12, 0)), reading(held(11, 0), held(12, 600))
    assert by_owner(watched(made(12, 600)), KEPT, sockets=moved) == {SHARED: 600}


@pytest.mark.parametrize(
    ("now", "own"), [(200, 600), (209, 600), (210, 590), (300, 500), (500, 300), (501, 0), (2_000, 0)]
)
def test_of_those_it_opened_only_as_many_are_over_as_it_has_no_sockets_of(now: int, own: int) -> None:
    """It had a pool of 200 before."""
    seen = reading(held(11, 10), held(12, 200)), reading(held(11, 10), held(12, now))
    assert by_owner(watched(made(12, 600)), KEPT, sockets=seen) == parts(own, 600)


def test_sockets_that_nobody_has_answered_yet_are_none_that_it_keeps() -> None:
    seen = reading(held(11, 10)), reading(held(11, 10), held(12, 300, state="syn-sent"))
    assert by_owner(watched(made(12, 600)), KEPT, sockets=seen) == {B: 600}


def test_of_sockets_seen_once_nobody_knows_since_when_they_are_open() -> None:
    assert by_owner(watched(made(12, 600)), KEPT, sockets=(reading(held(11, 10), held(12, 400)),)) == {SHARED: 600}


def test_the_only_one_seen_has_left_no_entry_of_those_it_keeps() -> None:
    kept = reading(held(11, 1)), reading(held(11, 601))
    assert by_owner(watched(made(11, 600)), KEPT, sockets=kept) == {SHARED: 600}


@pytest.mark.parametrize("seconds", [0.0, 5e-324, 1e-320, 1e-9])
def test_connects_that_were_hardly_watched_tell_nothing(seconds: float) -> None:
    for stay in (1, 120):
        how = {"timeouts": {"tcp_timeout_time_wait": stay}}
        assert by_owner(watched(made(12, 600), watched_seconds=seconds), KEPT, **how) == {SHARED: 600}


def test_connects_from_an_address_that_is_not_known_account_for_nothing() -> None:
    assert by_owner(watched(made(11, 8, client=None)), sockets=MOVING) == {SHARED: 100}


def test_entries_that_stay_for_longer_need_fewer_connects() -> None:
    group = flow(entries=6_000, state="time-wait")
    for seconds, own in ((240, 6_000), (120, 3_000), (60, None)):
        found = by_owner(watched(made(12, 250)), group, timeouts={"tcp_timeout_time_wait": seconds})
        assert found.get(B) == own


def test_the_only_one_seen_is_not_named_if_another_makes_the_connects() -> None:
    assert opener(watched(made(12, 500)), sockets=MOVING) == SHARED
    assert opener(watched(made(11, 94), made(12, 6)), sockets=MOVING) == SHARED
    assert opener(watched(made(11, 94), made(77, 6, comm="curl")), sockets=MOVING) == SHARED


def test_the_only_one_seen_is_named_if_no_connect_contradicts() -> None:
    assert opener(watched(made(11, 9)), sockets=MOVING) == A
    assert opener(watched(made(11, 95), made(12, 5), missed=50), sockets=MOVING) == A
    assert opener(watched(made(12, 500), method="counters"), sockets=MOVING) == A


@pytest.mark.parametrize(("connects", "own"), [(0, 0), (4, 0), (5, 60), (8, 96)])
def test_the_only_one_seen_has_left_no_more_than_its_connects_account_for(connects: int, own: int) -> None:
    found = by_owner(watched(*([made(11, connects)] if connects else [])), sockets=MOVING)
    assert found == ({A: own} if own else {}) | {SHARED: 100 - own}


def test_in_a_full_table_the_only_one_seen_may_have_nothing_left_to_open() -> None:
    tried = made(11, 3, ending="syn-retransmitted")
    assert by_owner(watched(tried, dropped=9), sockets=MOVING) == {A: 100}
    assert by_owner(watched(tried), sockets=MOVING) == {SHARED: 100}


def test_refused_connects_of_the_only_one_seen_leave_entries_too() -> None:
    refused = made(11, 8, ending="refused")
    assert by_owner(watched(made(11, 1), refused), sockets=MOVING) == {A: 100}


def test_who_made_the_connects_is_named_although_no_reading_met_its_sockets() -> None:
    ((owner, _),) = split(watched(made(12, 500)), sockets=(reading(KEEPS), reading(KEEPS)))
    assert (owner.key, owner.inferred) == (B, True)
    assert owner.workload in (WORKLOADS.by_pid[12], WORKLOADS.by_pid[13])


def test_a_process_is_not_taken_for_another_that_has_its_number_now() -> None:
    now = Process(pid=20, comm="later", started=moment(5.0).wall)
    known = Workloads(by_pid={20: Workload(process=now, netns=NODE)})
    before = made(20, 500, comm="earlier", process_started_seconds=0.5)
    same = made(20, 500, comm="later", process_started_seconds=5.2)
    assert opener(watched(before, workloads=known), sockets=(), workloads=known) == SHARED
    assert opener(watched(same, workloads=known), sockets=(), workloads=known).startswith("pid 20 ")


def test_who_is_known_by_a_number_only_is_not_named() -> None:
    bare = Workloads(by_pid={20: Workload(process=Process(pid=20, comm="x", exe="/x"), netns=NODE)})
    assert opener(watched(made(20, 500, comm="x"), workloads=bare), sockets=(), workloads=bare) == SHARED


def test_processes_of_one_container_make_its_connects_together() -> None:
    box = Container(id="cc", cgroup="/c")
    by_pid = {
        pid: Workload(process=Process(pid=pid, comm="w", started=moment(started).wall), container=box, netns=NODE)
        for pid, started in ((30, 1.0), (31, 5.0))
    }
    known = Workloads(by_pid=by_pid)
    groups = [made(pid, 60, comm="w", process_started_seconds=started) for pid, started in ((30, 1.0), (31, 5.0))]
    assert opener(watched(*groups, workloads=known), sockets=(), workloads=known) == f"container cc in {NODE}"
