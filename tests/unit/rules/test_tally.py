from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, AcceptQueue, Endpoint
from whodunnet.model.workload import Workload, Workloads, owner_key
from whodunnet.rules.identity import endpoint_text, short_name
from whodunnet.rules.tally import Candidate, candidates, shape_of

from .nodes import (
    KINDS,
    NETNS,
    PEER,
    ages,
    group,
    history,
    in_container,
    leak,
    listener,
    named,
    owners,
    process,
    recording,
)

LEAKS = [kind for kind in KINDS if kind not in ("serving", "send-queue-full")]


def only(found: list[Candidate]) -> Candidate:
    (one,) = found
    return one


@pytest.mark.parametrize("kind", LEAKS)
def test_each_kind_of_socket_has_its_shape(kind: str) -> None:
    assert shape_of(group(kind, 1)) == kind


@pytest.mark.parametrize(
    "other",
    [
        {"state": "listen", "role": "listener", "symptom": "none"},
        {"protocol": "udp"},
        {"protocol": "unix", "holding": "accept-queue"},
        {"holding": "kernel"},
        {"holding": "no-descriptor"},
        {"symptom": "window-closed"},
        {"symptom": "none", "state": "fin-wait-2"},
        {"symptom": "none", "role": "accepted"},
    ],
    ids=str,
)
def test_what_its_holder_cannot_have_leaked_has_no_shape(other: dict[str, str]) -> None:
    assert shape_of(replace(group("response-never-read", 1), **other)) is None


def test_a_container_sums_its_processes() -> None:
    node = recording(
        [[group("response-never-read", 30, pid=7, memory=300), group("response-never-read", 20, pid=8, memory=100)]],
        workloads=owners(in_container("web", 7, 8)),
    )
    found = only(candidates(node))
    assert (found.last.sockets, found.last.memory_bytes, found.last.pids) == (50, 400, {7: 30, 8: 20})


def test_of_several_processes_the_one_with_most_sockets_is_shown() -> None:
    node = recording(
        [[group("response-never-read", 20, pid=7), group("response-never-read", 30, pid=8)]],
        workloads=owners(in_container("web", 7, 8)),
    )
    workload = only(candidates(node)).workload
    assert workload is not None
    assert workload.process == process(8)


def test_two_processes_without_container_are_two_candidates() -> None:
    groups = [group("response-never-read", 30, pid=7), group("response-never-read", 20, pid=8)]
    assert sorted(c.last.sockets for c in candidates(recording([groups], workloads=named(7, 8)))) == [20, 30]


def test_the_same_program_of_one_service_is_one_candidate_and_two_programs_are_two() -> None:
    groups = [group("response-never-read", 10, pid=pid) for pid in (7, 8, 9)]
    workloads = Workloads(
        by_pid={
            pid: Workload(process=process(pid, exe=exe), unit="web.service")
            for pid, exe in ((7, "/bin/a"), (8, "/bin/a"), (9, "/bin/b"))
        }
    )
    assert sorted(c.last.sockets for c in candidates(recording([groups], workloads=workloads))) == [10, 20]


def test_processes_of_one_login_session_are_not_one_owner() -> None:
    workloads = {pid: Workload(process=process(pid), unit="session-1.scope") for pid in (7, 8)}
    assert owner_key(7, workloads[7]) != owner_key(8, workloads[8])


def test_a_pid_that_was_used_again_is_another_owner() -> None:
    before, after = Workload(process=process(7)), Workload(process=process(7, started=None))
    assert owner_key(7, before) != owner_key(7, after)


def test_a_candidate_that_came_later_has_an_empty_past() -> None:
    node = recording([[], [], [group("response-never-read", 5)]])
    assert only(candidates(node)).counts == [0, 0, 5]


def test_a_candidate_that_is_gone_at_the_end_is_none() -> None:
    assert candidates(recording([[group("response-never-read", 5)], []])) == []


def test_growth_and_loss_are_counted_from_moment_to_moment() -> None:
    found = only(candidates(leak("held-open", [10, 40, 30, 35])))
    assert (found.growth, found.loss) == (25, 10)


def test_idle_connections_are_told_apart_by_their_far_end() -> None:
    other = Endpoint("203.0.113.10", 443)
    node = recording([[group("held-open", 3), group("held-open", 4, endpoint=other)]])
    assert sorted(c.last.sockets for c in candidates(node)) == [3, 4]


def test_unread_connections_are_summed_over_their_far_ends() -> None:
    other = Endpoint("203.0.113.10", 443)
    node = recording([[group("response-never-read", 3), group("response-never-read", 4, endpoint=other)]])
    assert only(candidates(node)).last.endpoints == {PEER: 3, other: 4}


def test_connections_in_an_accept_queue_belong_to_the_listener() -> None:
    found = only(candidates(leak("accept-not-called", [9])))
    assert found.workload is not None
    assert found.workload.process == process(7)
    assert found.last.pids == {7: 9}


def test_a_port_that_two_owners_share_belongs_to_nobody() -> None:
    node = leak("accept-not-called", [9], accept_queues=(listener(7), listener(8)), workloads=named(7, 8))
    found = only(candidates(node))
    assert (found.workload, found.last.pids) == (None, {})


def test_a_port_that_two_processes_of_a_container_share_belongs_to_it() -> None:
    workloads = owners(in_container("web", 7, 8))
    node = leak("accept-not-called", [9], accept_queues=(listener(7), listener(8)), workloads=workloads)
    found = only(candidates(node))
    assert found.workload is not None
    assert found.workload.container is not None


def waits(pid: int | None, waiting: int, **other: Any) -> AcceptQueue:
    """One of several listeners at one port (SO_REUSEPORT), with its own queue."""
    return replace(listener(pid), waiting=waiting, **other)


def held_by(*queues: AcceptQueue, workloads: Workloads | None = None) -> dict[int, int]:
    """By pid, of connections that wait at the port of these, whose they are."""
    n = sum(q.waiting for q in queues)
    found = only(candidates(leak("accept-not-called", [n], accept_queues=queues, workloads=workloads or named(7, 8))))
    return dict(found.last.pids)


def test_of_several_listeners_whose_own_queue_holds_what_waits_has_it() -> None:
    assert held_by(waits(7, 0), waits(8, 9), waits(9, 0)) == {8: 9}
    assert held_by(waits(None, 0), waits(8, 9)) == {8: 9}
    assert held_by(waits(1, 0, shared=True), waits(8, 9)) == {8: 9}


@pytest.mark.parametrize(
    "queues",
    [
        [waits(7, 9), waits(8, 9)],
        [waits(7, 0), waits(None, 9)],
        [waits(7, 0), waits(8, 0)],
        [waits(7, 0), waits(1, 9, shared=True)],
    ],
    ids=["two", "not known whose", "none", "of init"],
)
def test_where_nobody_knows_in_whose_queue_it_waits_it_is_nobodys(queues: list[AcceptQueue]) -> None:
    node = leak("accept-not-called", [9], accept_queues=tuple(queues), workloads=named(7, 8))
    assert only(candidates(node)).last.pids == {}


@pytest.mark.parametrize(("passing", "found"), [(2, {8: 11}), (3, {})])
def test_what_passes_through_the_queues_of_others_does_not_hide_whose_stands(
    passing: int, found: dict[int, int]
) -> None:
    assert held_by(waits(7, passing), waits(8, 9)) == found


def test_of_processes_of_a_container_with_a_queue_each_the_one_with_the_full_one_is_shown() -> None:
    assert held_by(waits(7, 0), waits(8, 9), workloads=owners(in_container("web", 7, 8))) == {8: 9}


def test_the_same_port_in_another_namespace_has_its_own_listener() -> None:
    node = leak("accept-not-called", [9], accept_queues=(listener(8, netns=NETNS + 1), listener(7)))
    assert only(candidates(node)).last.pids == {7: 9}


def test_a_socket_without_process_belongs_to_its_cgroup_before_its_namespace() -> None:
    by_cgroup, by_netns = Workload(unit="a.service"), Workload(unit="b.service")
    workloads = Workloads(by_cgroup_id={77: by_cgroup}, by_netns={NETNS: by_netns})
    for cgroup_id, owner in ((77, by_cgroup), (78, by_netns), (None, by_netns)):
        node = recording([[group("orphans", 9, cgroup_id=cgroup_id)]], workloads=workloads)
        assert only(candidates(node)).workload == owner


@pytest.mark.parametrize("bound", AGE_BOUNDS_SECONDS)
def test_an_age_counts_from_its_bound_on(bound: int) -> None:
    below = only(candidates(recording([[group("held-open", 3, age=bound - 0.5)]]))).last
    at = only(candidates(recording([[group("held-open", 3, age=bound)]]))).last
    assert (below.older_than(bound), at.older_than(bound)) == (0, 3)
    assert at.oldest_seconds() == bound
    assert group("held-open", 3, age=bound).older_than(bound) == 3


def test_ages_of_several_groups_are_added() -> None:
    node = recording([[group("response-never-read", 3, pid=pid, age=20) for pid in (7, 8)]],
                     workloads=owners(in_container("web", 7, 8)))  # fmt: skip
    assert only(candidates(node)).last.ages == list(ages(6, 20))


def test_sockets_without_a_known_age_are_not_old() -> None:
    found = only(candidates(leak("never-connected", [9]))).last
    assert (found.older_than(1), found.oldest_seconds()) == (0, 0)


def test_names_are_as_a_person_says_them() -> None:
    web = in_container("web", 7)[7]
    assert short_name(web) == "default/web (app7)"
    assert short_name(replace(web, pod=None)) == "web (app7)"
    assert short_name(replace(web, pod=None, container=None, unit="web.service")) == "web.service (app7)"
    assert short_name(replace(web, pod=None, container=None, unit="session-1.scope")) == "app7"
    assert (short_name(None, 7), short_name(None)) == ("pid 7", "An unknown owner")


def test_a_name_cannot_bring_control_characters_into_a_title() -> None:
    hostile = Workload(process=process(7, comm="a\x1b[31m\u202eb\n"))
    assert short_name(hostile).isprintable()


def test_endpoints_are_written_as_people_write_them() -> None:
    texts = [endpoint_text(Endpoint(a, p)) for a, p in (("::1", 80), ("::1", None), ("10.0.0.1", 80), (None, 80))]
    assert texts == ["[::1]:80", "[::1]", "10.0.0.1:80", "port 80"]


def test_history_of_the_tests_is_unchanged_by_default() -> None:
    assert [g.unchanged for (g,) in history("response-never-read", [3, 5, 4])] == [None, 3, 4]
