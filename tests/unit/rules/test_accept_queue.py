"""accept-queue: stuck, slow, only small, or nobody seen; and what only looks like it."""

from __future__ import annotations

from time import process_time

import pytest
from msgspec.structs import replace

from whodunnet.model.finding import Cleared, Finding, NotChecked
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint, Sockets
from whodunnet.model.workload import Workload, Workloads
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.rule import judge

from .nodes import NETNS, at_each, finding, findings, in_container, moment, named, parties, pids
from .queued import PORT, counters, inside, node, queue, sockets

RULE = "accept-queue"
ENTRY = catalogue()[RULE]
FLOOR = int(ENTRY.limit("min_overflows"))
AGE = ENTRY.limit("stuck_age")


def filled(
    *waiting: int, overflows: int = FLOOR, limit: int = 5, taken: int = 0, age: float = 60, known: bool = True,
    workloads: Workloads | None = None, also: tuple[int, ...] = (), **queues: object,
) -> Recording:  # fmt: skip
    """One listener. waiting: at each moment. taken: of those that waited, how many were gone at the next moment.

    also: ports of other listeners, with room. What was taken makes room for others (PassiveOpens).
    """
    moments, admitted = [], 500
    for i, n in enumerate(waiting):
        unchanged = max(min(waiting[i - 1], n) - taken, 0) if i else None
        admitted += max(taken + n - waiting[i - 1], 0) if i else 0
        found = sockets(
            queue(n, limit, **queues), *(queue(0, 128, pid=8, port=port) for port in also),
            groups=[inside(n, unchanged=unchanged, age=age)] if n else [],
        )  # fmt: skip
        done = 1_000 + overflows * i // max(len(waiting) - 1, 1)
        counted = counters(TcpExt_ListenOverflows=done, Tcp_PassiveOpens=admitted)
        moments.append((counted if known else counters(netns=1), found))
    return node(moments, workloads=workloads)


def stretched(recording: Recording, seconds: float) -> Recording:
    """The same readings, from the first to the last in so many seconds."""
    step = seconds / (len(recording.snapshots) - 1)
    return replace(
        recording, snapshots=tuple(replace(s, at=moment(i * step)) for i, s in enumerate(recording.snapshots))
    )


def said(recording: Recording) -> list[tuple[str | None, str]]:
    return [(f.shape, f.confidence) for f in findings(recording, RULE)]


def cleared(recording: Recording) -> Cleared:
    (answer,) = judge(RULE, recording)
    assert isinstance(answer, Cleared)
    return answer


def test_a_full_queue_of_which_nothing_is_taken_is_stuck() -> None:
    found = finding(filled(6, 6, 6), RULE)
    assert (found.shape, found.confidence, found.severity) == ("stuck", "proven", "warning")
    assert (parties(found, "culprit")[0].endpoint, pids(found, "culprit")) == (queue().local, [7])
    assert found.title == f"app7 accepts nothing at 10.0.0.1:{PORT}: 6 wait in its queue for 5; " + (
        f"{FLOOR} packets of connects found no room in 3.0 s"
    )
    readings = [(e.value, e.limit) for e in found.evidence]
    assert readings == [(6, 5), (3, 3), (0, 12), (0, None), (6, 6), (FLOOR, None)]


@pytest.mark.parametrize(
    ("age", "overflows", "answer"),
    [
        (AGE, 0, [("stuck", "proven")]),
        (AGE - 1, FLOOR, [("full", "likely")]),
        (AGE - 1, FLOOR - 1, [("full", "possible")]),
    ],
)
def test_a_queue_that_filled_up_just_now_may_be_of_a_slow_server(
    age: float, overflows: int, answer: list[tuple[str, str]]
) -> None:
    assert said(filled(6, 6, 6, age=age, overflows=overflows)) == answer


def test_a_slow_server_that_took_nothing_in_a_short_window_is_not_stuck() -> None:
    """One of those who wait came a second ago: it got the place of somebody who was accepted then."""
    young = [inside(5, unchanged=5), inside(1, unchanged=1, age=1)]
    both = [sockets(queue(6), groups=young), sockets(queue(6), groups=young)]
    done = (counters(TcpExt_ListenOverflows=n, Tcp_PassiveOpens=7) for n in (0, FLOOR))
    assert said(node(list(zip(done, both, strict=True)))) == [("full", "likely")]


@pytest.mark.parametrize(("seconds", "shape"), [(AGE - 1, "full"), (AGE, "stuck")])
def test_who_accepted_nothing_for_as_long_as_was_watched_is_stuck_however_new_the_queue(
    seconds: float, shape: str
) -> None:
    found = finding(stretched(filled(6, 6, 6, age=0), seconds), RULE)
    assert found.shape == shape


def test_whoever_accepted_some_is_slow_though_none_of_those_that_wait_is_gone() -> None:
    """Those were not compared; what the kernel put into the queue of the only listener tells."""
    nothing_gone = [sockets(queue(6), groups=[inside(6, unchanged=n)]) for n in (None, 6, 6)]
    done = (counters(TcpExt_ListenOverflows=n, Tcp_PassiveOpens=n) for n in (0, 10, 20))
    found = finding(node(list(zip(done, nothing_gone, strict=True))), RULE)
    assert (found.shape, found.confidence) == ("slow", "proven")


def test_clients_that_give_up_with_a_reset_make_no_stuck_server_slow() -> None:
    """They vanish from the queue, which counts them all the same, and nobody takes their place."""
    both = [sockets(queue(6), groups=[inside(n, unchanged=n - 2)]) for n in (6, 4, 2)]
    done = (counters(TcpExt_ListenOverflows=n, Tcp_PassiveOpens=7) for n in (0, 10, 20))
    found = finding(stretched(node(list(zip(done, both, strict=True))), AGE), RULE)
    assert (found.shape, found.confidence) == ("stuck", "proven")


def test_a_queue_that_fills_up_meanwhile_and_of_which_nothing_is_taken_is_not_slow() -> None:
    assert said(filled(0, 3, 6, age=0)) == [("full", "likely")]


@pytest.mark.parametrize(("overflows", "answer"), [(0, []), (1, [("stuck", "proven")])])
def test_one_who_waits_in_a_queue_for_none_harms_nobody(overflows: int, answer: list[tuple[str, str]]) -> None:
    assert said(filled(1, 1, 1, limit=0, overflows=overflows)) == answer


def test_one_reading_of_two_is_too_few_to_be_slow() -> None:
    assert said(filled(6, 0)) == [("small", "likely")]


def test_listeners_of_ipv4_and_ipv6_at_one_port_have_a_queue_each() -> None:
    """As sshd and nginx listen: connections of one family are none of the other's queue."""
    four, six = queue(6), replace(queue(0), local=Endpoint("::", PORT))
    busy = [[inside(6, unchanged=n), replace(inside(3, unchanged=0), family=6)] for n in (None, 6, 6)]
    done = (counters(TcpExt_ListenOverflows=n, Tcp_PassiveOpens=9 * n) for n in (0, 10, 20))
    both = [sockets(four, six, groups=groups) for groups in busy]
    found = finding(node(list(zip(done, both, strict=True))), RULE)
    assert (found.shape, found.parties[0].endpoint) == ("stuck", four.local)
    assert not any("SO_REUSEPORT" in line for line in found.explanation)


def test_a_counter_that_this_kernel_has_not_clears_nobody() -> None:
    unknown = replace(counters(), known=())
    for readings in ([(unknown, sockets(queue(0)))], [(unknown, sockets(queue(0)))] * 2):
        (answer,) = judge(RULE, node(readings))
        assert isinstance(answer, NotChecked)


def test_where_no_namespace_could_be_compared_nobody_is_cleared() -> None:
    (answer,) = judge(RULE, node([(counters(netns=1), None), (counters(netns=2), None)]))
    assert isinstance(answer, NotChecked)
    assert "none of 1 network namespaces" in answer.reason


def test_a_queue_that_is_full_but_from_which_some_are_taken_is_slow() -> None:
    found = finding(filled(6, 6, 6, taken=1), RULE)
    assert (found.shape, found.confidence, pids(found, "culprit")) == ("slow", "proven", [7])


def test_a_queue_that_is_full_in_half_of_the_readings_is_slow_and_in_fewer_too_small() -> None:
    assert said(filled(6, 0, 6, 0)) == [("slow", "proven")]
    assert said(filled(6, 0, 0, 0)) == [("small", "likely")]


def test_a_short_queue_is_no_fault_of_its_owner() -> None:
    found = finding(filled(0, 0, 0, limit=1), RULE)
    assert (found.shape, [p.role for p in found.parties]) == ("small", ["holder"])


@pytest.mark.parametrize(("overflows", "shapes"), [(FLOOR, ["small"]), (FLOOR - 1, [])])
def test_a_handful_of_overflows_is_a_burst(overflows: int, shapes: list[str]) -> None:
    assert [shape for shape, _ in said(filled(0, 6, 0, 0, overflows=overflows))] == shapes


def test_at_the_limit_there_is_still_room_for_one_more() -> None:
    assert said(filled(5, 5, 5, overflows=0)) == []


def test_an_overflow_before_the_window_is_cleared_with_the_number_of_the_window() -> None:
    answer = cleared(filled(0, 0, 0, overflows=3))
    assert [(e.value, e.limit) for e in answer.evidence] == [(3, None), (0, 5)]
    assert "of 3.0 s, in each of 1 namespaces" in answer.sensitivity


def test_a_burst_that_fits_is_cleared() -> None:
    answer = cleared(filled(0, 100, 0, overflows=0, limit=128))
    assert (answer.evidence[1].value, answer.evidence[1].limit) == (100, 128)


@pytest.mark.parametrize("state", ["stopped", "frozen"])
def test_a_halted_process_is_stuck_from_one_reading_on(state: str) -> None:
    found = finding(filled(6, workloads=named(7, state=state)), RULE)
    assert (found.shape, found.confidence) == ("stuck", "proven")
    assert str(found.parties[0].effect).startswith(f"is {state} and accepts nothing")
    assert (found.parties[0].role, pids(found, "reader")) == ("reader", [7])
    assert found.explanation[-1].startswith(f"Its process is {state}, and has caused nothing itself")


def test_one_of_several_processes_that_is_halted_leaves_the_queue_to_the_others() -> None:
    assert said(filled(6, workloads=named(7, state="stopped"), shared=True)) == [("full", "possible")]


@pytest.mark.parametrize(("worker", "told"), [("stopped", [8]), ("sleeping", [])])
def test_a_stopped_worker_is_said_beside_the_master_that_has_the_listener_too(worker: str, told: list[int]) -> None:
    inside_one = in_container("web", 7, 8)
    process = inside_one[8].process
    assert process is not None
    inside_one[8] = replace(inside_one[8], process=replace(process, state=worker))
    found = finding(filled(6, 6, 6, shared=True, workloads=Workloads(by_pid=inside_one)), RULE)
    assert (found.shape, pids(found, "culprit"), pids(found, "reader")) == ("stuck", [7], told)
    alone = finding(filled(6, 6, 6, workloads=Workloads(by_pid=inside_one)), RULE)
    assert pids(alone, "reader") == []


def test_a_halted_process_with_room_is_not_stuck() -> None:
    assert said(filled(0, 0, overflows=0, workloads=named(7, state="stopped"))) == []


@pytest.mark.parametrize(("waiting", "limit", "found"), [(6, 5, True), (5, 5, False), (2, 0, True), (1, 0, False)])
def test_one_reading_can_only_say_that_it_is_full(waiting: int, limit: int, found: bool) -> None:
    assert said(filled(waiting, limit=limit, overflows=0)) == [("full", "possible")] * found


def test_overflows_of_which_no_listener_is_seen_full_name_nobody() -> None:
    found = finding(filled(0, 0, 0, also=(9_090,)), RULE)
    assert (found.shape, found.confidence) == ("unseen", "likely")
    assert [(p.role, p.netns, p.process) for p in found.parties] == [("holder", NETNS, found.parties[0].process)]
    assert not pids(found, "holder")[0]


def test_the_only_pod_of_the_namespace_is_said_where_no_listener_was_seen_full() -> None:
    pod = in_container("web", 7)[7]
    alone = Workloads(by_netns={NETNS: Workload(container=pod.container, pod=pod.pod, netns=NETNS)})
    found = finding(filled(0, 0, 0, also=(9_090,), workloads=alone), RULE)
    assert found.title.startswith("A listener in default/web had no room")
    assert found.parties[0].pod == pod.pod


def test_with_other_listeners_the_number_may_be_theirs_too() -> None:
    found = finding(filled(6, 6, 6, taken=1, also=(9_090,)), RULE)
    assert (found.shape, found.confidence) == ("slow", "likely")
    assert "more listeners than this one" in found.explanation[-1]


def test_of_several_listeners_of_a_port_one_of_which_nothing_is_taken_is_stuck() -> None:
    both = [sockets(queue(6), queue(0, pid=8), groups=[inside(6, unchanged=n)]) for n in (None, 6, 6)]
    done = (counters(TcpExt_ListenOverflows=n) for n in (0, FLOOR, 2 * FLOOR))
    found = finding(node(list(zip(done, both, strict=True))), RULE)
    assert (found.shape, pids(found, "culprit")) == ("stuck", [7])
    assert any("SO_REUSEPORT" in line for line in found.explanation)


def test_of_several_listeners_of_a_port_nobody_knows_whose_connection_is_gone() -> None:
    both = [sockets(queue(6), queue(0, pid=8), groups=[inside(6, unchanged=n)]) for n in (None, 5, 5)]
    done = (counters(TcpExt_ListenOverflows=n, Tcp_PassiveOpens=n) for n in (0, FLOOR, 2 * FLOOR))
    found = finding(node(list(zip(done, both, strict=True))), RULE)
    assert (found.shape, found.confidence, pids(found, "culprit")) == ("slow", "likely", [7])


def test_a_queue_that_init_handed_on_is_nobodys() -> None:
    found = finding(filled(6, 6, 6, pid=1, shared=True), RULE)
    assert (found.parties[0].process, found.parties[0].netns) == (found.parties[0].container, NETNS)
    assert found.title.startswith(f"A listener in network namespace {NETNS} accepts nothing")


def test_where_counters_were_not_read_a_queue_must_be_full_all_the_time() -> None:
    assert said(filled(6, 6, 6, taken=1, known=False)) == [("slow", "likely")]
    assert said(filled(6, 0, 6, taken=1, known=False)) == []


def test_one_reading_with_overflows_of_any_time_is_not_checked() -> None:
    (answer,) = judge(RULE, filled(0))
    assert isinstance(answer, NotChecked)
    assert "1,000 packets" in answer.reason


def test_one_reading_without_any_overflow_is_cleared() -> None:
    answer = cleared(node([(counters(), sockets(queue(0)))]))
    assert answer.evidence[0].value == 0


def test_without_sockets_the_counters_answer_alone() -> None:
    quiet = node([(counters(), None), (counters(), None)])
    assert "queues themselves were not read" in cleared(quiet).sensitivity
    loud = node([(counters(), None), (counters(TcpExt_ListenOverflows=FLOOR), None)])
    assert said(loud) == [("unseen", "likely")]


def test_without_counters_it_is_not_checked() -> None:
    failed = at_each(filled(6, 6), "counters", Failure(code="unreadable", reason="no"))
    (answer,) = judge(RULE, failed)
    assert isinstance(answer, NotChecked)


def test_readings_that_do_not_follow_each_other_tell_nothing_of_what_was_taken() -> None:
    recording = filled(6, 6, 6, overflows=FLOOR)
    thinned = [s.samples["sockets"] for s in recording.snapshots]
    moments = [
        (counters(TcpExt_ListenOverflows=FLOOR * i, Tcp_PassiveOpens=i), replace(sample, follows=False))
        for i, sample in enumerate(thinned)
        if isinstance(sample, Sockets)
    ]
    assert said(node(moments)) == [("slow", "proven")]


def test_more_than_are_listed_are_left_out() -> None:
    many = [
        sockets(*(queue(6, pid=7, port=p) for p in range(1, 8)), groups=[inside(6, port=p) for p in range(1, 8)])
    ] * 2
    found = findings(node(list(zip((counters(), counters(TcpExt_ListenOverflows=99)), many, strict=True))), RULE)
    assert len(found) == ENTRY.limit("listed_listeners")
    assert all(isinstance(f, Finding) for f in found)


def test_a_node_with_as_many_listeners_and_groups_as_there_may_be_is_judged_in_a_moment() -> None:
    ports = range(1, 4_001)
    groups = [inside(1, port=port, unchanged=1) for port in ports] * 4
    full = sockets(*(queue(0, 128, port=port) for port in ports), groups=groups)
    quiet = node([(counters(), full)] * 2)
    began = process_time()
    assert isinstance(cleared(quiet), Cleared)
    assert process_time() - began < 5
