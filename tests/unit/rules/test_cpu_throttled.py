"""cpu-throttled: a quota that is used up is a finding only where something waits meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from whodunnet.model.cpu_quota import CpuQuotas, QuotaUser
from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import SocketGroup
from whodunnet.model.workload import Workloads
from whodunnet.rules.rule import judge

from .nodes import answers, finding, findings, group, in_container
from .queued import udp
from .quotas import ENTRY, FULL, RULE, SHOP, requests, throttled, used, watched

SHARE, FEW = ENTRY.limit("min_throttled_share"), int(ENTRY.limit("min_throttled"))
AGAIN = (10, 8), (10, 8)


def cleared(node: Recording) -> Cleared:
    (answer,) = answers(node, RULE)
    assert isinstance(answer, Cleared)
    return answer


def test_requests_that_wait_while_a_quota_is_used_up_again_and_again() -> None:
    node = throttled(*AGAIN, workloads=Workloads(by_pid=in_container("shop", 7)))
    found = finding(node, RULE)
    assert (found.severity, found.claim, found.confidence, found.shape) == ("warning", "delays", "proven", "data-waits")
    assert found.title == (
        "default/shop (app7) has a quota of 0.2 CPUs and used it up in 80 % of its periods: "
        "what it received waits to be read"
    )
    told = [(e.value, e.unit) for e in found.evidence]
    assert told == [(16, "periods"), (1.12, "seconds"), (20.0, "ms"), (500, "bytes")]
    assert (found.evidence[0].comparison, found.evidence[0].limit) == ("of", 20)
    assert [(p.role, p.pod.name if p.pod else None) for p in found.parties] == [("victim", "shop")]
    assert found.evidence[0].repeat == "cat /sys/fs/cgroup/pods/shop/cpu.stat  # twice"
    assert (found.since, found.last_seen) == (node.snapshots[0].at.wall, node.snapshots[2].at.wall)


ENOUGH = int(ENTRY.limit("min_dropped"))


def losing(*dropped: int, cut: bool = False, **other: Any) -> Recording:
    """Datagrams that a socket has dropped so far, at each moment; nothing of TCP waits."""
    return watched([used(*AGAIN)], dropping=[[udp(n, **other)] for n in dropped], cut=cut)


def test_datagrams_that_are_dropped_while_a_quota_is_used_up() -> None:
    found = finding(losing(1_000, 1_000 + ENOUGH, 1_000 + 3 * ENOUGH), RULE)
    assert (found.shape, found.confidence) == ("datagrams-dropped", "proven")
    assert [p.role for p in found.parties] == ["victim"]
    assert (found.evidence[-1].value, found.evidence[-1].unit) == (3 * ENOUGH, "datagrams")


@pytest.mark.parametrize(
    "node",
    [
        losing(1_000, 1_000 + ENOUGH - 1, 1_000 + 2 * (ENOUGH - 1)),
        losing(1_000, 1_500, 2_000, unread=1_999),  # never half full: a filter, or a wrong checksum
        losing(1_000, 1_500, 2_000, shared=True),
        losing(1_000, 1_500, 2_000, pid=8),
        losing(1_000, 1_500, 2_000, cut=True),
    ],
)
def test_what_was_dropped_for_another_reason_or_by_others_says_nothing(node: Recording) -> None:
    assert findings(node, RULE) == []


def shared(shipper: int, *, comm: str = "log-shipper", app: int = 100, parent: int = 1) -> Recording:
    """A program beside app7 under the same quota, and the ms that the two use between the readings."""
    cgroups = [
        replace(c, users=(QuotaUser(pid=7, comm="app7", cpu_ms=900 + n * app), QuotaUser(
            pid=8, parent=parent, comm=comm, started_seconds=5.0, cpu_ms=n * shipper
        )))
        for n, c in enumerate(used(*AGAIN))
    ]  # fmt: skip
    return watched([cgroups], [[requests()]] * 3, workloads=Workloads(by_pid=in_container("shop", 7)))


@pytest.mark.parametrize(("shipper", "told"), [(101, True), (99, False)])
def test_who_uses_most_of_a_shared_quota_is_told_of_and_is_no_culprit(shipper: int, told: bool) -> None:
    found = finding(shared(shipper), RULE)
    assert [(p.role, p.process.comm if p.process else None, p.pod.name if p.pod else None) for p in found.parties] == [
        ("victim", "app7", "shop"), *([("holder", "log-shipper", "shop")] if told else [])
    ]  # fmt: skip
    assert ("Share of log-shipper (pid 8)" in str([e.statement for e in found.evidence])) is told


def test_another_worker_of_the_same_program_is_nobody_else() -> None:
    assert [p.role for p in finding(shared(900, comm="app7"), RULE).parties] == ["victim"]


def test_a_parent_or_child_of_who_waits_is_no_other_program() -> None:
    assert [p.role for p in finding(shared(900, parent=7), RULE).parties] == ["victim"]


def test_where_more_was_used_than_by_those_in_the_cgroup_it_has_to_be_most_of_that() -> None:
    """In 16 periods 20 ms each."""
    assert [p.role for p in finding(shared(79, app=36), RULE).parties] == ["victim"]
    assert [p.role for p in finding(shared(80, app=36), RULE).parties] == ["victim", "holder"]


def test_a_step_at_whose_begin_the_processes_were_not_read_is_not_held_against_them() -> None:
    node = shared(120, app=60)
    first, *others = node.snapshots
    quotas = first.samples["cpu_quota"]
    assert isinstance(quotas, CpuQuotas)
    unread = replace(quotas, cgroups=(replace(quotas.cgroups[0], users=()),))
    shots = (replace(first, samples={**first.samples, "cpu_quota": unread}), *others)
    assert [p.role for p in finding(replace(node, snapshots=shots), RULE).parties] == ["victim", "holder"]


def test_where_the_quota_is_not_known_nobody_is_told_of() -> None:
    node = shared(900)
    shots = []
    for shot in node.snapshots:
        quotas = shot.samples["cpu_quota"]
        assert isinstance(quotas, CpuQuotas)
        unknown = replace(quotas, cgroups=(replace(quotas.cgroups[0], quota_us=None),))
        shots.append(replace(shot, samples={**shot.samples, "cpu_quota": unknown}))
    assert [p.role for p in finding(replace(node, snapshots=tuple(shots)), RULE).parties] == ["victim"]


def test_steps_that_lose_datagrams_say_nothing_of_what_waits() -> None:
    """One of three; in the others the accept queue is full."""
    steps = ((10, 8), (10, 8), (10, 8))
    node = watched([used(*steps)], queues=[FULL], dropping=[[udp(n)] for n in (1_000, 1_000, 1_000, 1_500)])
    assert finding(node, RULE).shape == "accept-queue-full"


def test_a_number_that_fell_is_of_another_socket() -> None:
    assert findings(losing(5_000, 1_000, 1_000), RULE) == []


def test_what_was_used_before_the_readings_says_nothing() -> None:
    assert [p.role for p in finding(shared(0, app=1), RULE).parties] == ["victim"]


def test_nobody_is_called_the_culprit_of_a_limit() -> None:
    assert {p.role for p in finding(throttled(*AGAIN), RULE).parties} == {"victim"}


def test_a_quota_that_is_used_up_while_nothing_waits_is_cleared_with_the_number() -> None:
    answer = cleared(throttled(*AGAIN, unread=()))
    assert [(e.value, e.unit) for e in answer.evidence] == [(1, "cgroups"), (16, "periods")]
    assert answer.evidence[1].statement == (
        "Periods of /pods/shop in which its quota was used up, of 20 in 2.0 s"
    )  # fmt: skip
    assert "used up in 25 % of its periods" in answer.sensitivity


def test_something_has_to_wait_at_both_ends_of_a_step() -> None:
    once = [[requests()], [], [requests()]]
    assert findings(watched([used(*AGAIN)], once), RULE) == []
    assert len(findings(watched([used(*AGAIN)], [[requests()], [requests()], []]), RULE)) == 1


@pytest.mark.parametrize(("throttled_periods", "is_found"), [(round(SHARE * 40), True), (round(SHARE * 40) - 1, False)])
def test_a_quota_has_to_be_used_up_often(throttled_periods: int, is_found: bool) -> None:
    assert bool(findings(throttled((40, throttled_periods)), RULE)) is is_found


@pytest.mark.parametrize(("periods", "is_found"), [(FEW, True), (FEW - 1, False)])
def test_a_few_periods_are_a_burst(periods: int, is_found: bool) -> None:
    assert bool(findings(throttled((periods, periods)), RULE)) is is_found


@pytest.mark.parametrize(("apart", "is_found"), [(60.0, True), (61.0, True), (61.1, False)])
def test_readings_that_are_far_apart_say_nothing_of_what_was_between(apart: float, is_found: bool) -> None:
    assert bool(findings(throttled((100, 90), apart=apart), RULE)) is is_found


def test_what_only_shows_between_readings_far_apart_is_not_checked() -> None:
    (answer,) = answers(throttled((100, 100), (100, 90), apart=120.0), RULE)
    assert isinstance(answer, NotChecked)
    assert "readings are 120 s apart: /pods/shop used up its quota in 100 % of its periods" in answer.reason


@pytest.mark.parametrize("how", [{"unread": ()}, {"steps": (100, 1)}, {"steps": (FEW - 1, FEW - 1)}])
def test_what_is_cleared_says_that_long_steps_are_not_judged(how: dict[str, Any]) -> None:
    periods = how.pop("steps", (100, 90))
    assert "steps longer than 60 s are not judged" in cleared(throttled(periods, apart=120.0, **how)).sensitivity
    assert "not judged" not in cleared(throttled((100, 1))).sensitivity


@pytest.mark.parametrize(
    ("steps", "confidence"),
    [
        ([(10, 8)], "likely"),
        ([(10, 5), (10, 5)], "proven"),
        ([(10, 4), (10, 5)], "likely"),
        ([(10, 8), (10, 1)], "likely"),
    ],
)
def test_it_is_proven_by_three_readings_and_most_periods(steps: list[tuple[int, int]], confidence: str) -> None:
    assert finding(throttled(*steps), RULE).confidence == confidence


@pytest.mark.parametrize(
    ("group_of", "is_found"),
    [
        (requests(), True),
        (requests(unread_bytes=0), False),
        (requests(pid=8), False),
        (requests(role="initiated"), False),  # session tickets, which a client never reads
        (requests(state="close-wait"), False),
        (requests(age=9.0), True),
        (requests(age=11.0), False),
        (requests(age=11.0, old=4), True),
        (group("response-never-read", 3, unread_bytes=60_000), True),
        (group("response-never-read", 3, unread_bytes=60_000, unchanged=2), True),
        (group("response-never-read", 3, unread_bytes=60_000, unchanged=3), False),
        (requests(holding="orphan"), False),
    ],
)
def test_what_counts_as_waiting(group_of: SocketGroup, is_found: bool) -> None:
    assert bool(findings(throttled(*AGAIN, unread=[group_of]), RULE)) is is_found


@pytest.mark.parametrize(("waiting", "is_found"), [(129, True), (128, False)])
def test_an_accept_queue_is_full_when_it_holds_more_than_its_limit(waiting: int, is_found: bool) -> None:
    node = throttled(*AGAIN, unread=(), queues=[replace(FULL, waiting=waiting)])
    found = findings(node, RULE)
    assert bool(found) is is_found
    if found:
        assert (found[0].shape, found[0].reason) == ("accept-queue-full", "CpuQuotaFillsAcceptQueue")
        assert [(e.value, e.limit, e.comparison) for e in found[0].evidence[-1:]] == [(129, 128, ">")]


def test_of_a_pod_and_its_container_the_container_is_told() -> None:
    pod = replace(SHOP, path="/pods", pids=(7,))
    for outer in (pod, replace(pod, pids=(7, 9))):
        node = watched([used(*AGAIN), used(*AGAIN, of=outer)], [[requests()]] * 3)
        assert [f.evidence[0].repeat for f in findings(node, RULE)] == [
            "cat /sys/fs/cgroup/pods/shop/cpu.stat  # twice"
        ]


def test_a_pod_whose_containers_have_no_quota_of_their_own() -> None:
    pod = replace(SHOP, path="/pods", pids=(7, 9))
    idle = used((10, 0), (10, 0))
    (found,) = findings(watched([idle, used(*AGAIN, of=pod)], [[requests()]] * 3), RULE)
    assert "of /pods in which" in found.evidence[0].statement


def test_the_most_throttled_come_first_and_the_others_are_counted() -> None:
    many = [used((10, 5 + n), (10, 5 + n), of=replace(SHOP, path=f"/c{n}", pids=(n,))) for n in range(1, 5)]
    found = findings(watched(many, [[requests(pid=n) for n in range(1, 5)]] * 3), RULE)
    assert ["/c4" in found[0].evidence[0].statement, len(found)] == [True, int(ENTRY.limit("listed_cases"))]
    assert found[0].explanation[-1] == "1 more cgroups are like this, and not listed."
    assert len({f.id for f in found}) == len(found)


def test_a_cgroup_that_was_made_anew_begins_again() -> None:
    series = used(*AGAIN)
    anew = [series[0], replace(series[1], periods=3, throttled=2), replace(series[1], periods=4, throttled=3)]
    assert findings(watched([anew], [[requests()]] * 3), RULE) == []


def test_a_quota_without_a_number_is_called_a_quota() -> None:
    unknown = replace(SHOP, quota_us=None, period_us=None)
    found = finding(watched([used(*AGAIN, of=unknown)], [[requests()]] * 3), RULE)
    assert "has a quota and used it up" in found.title
    assert [e.unit for e in found.evidence] == ["periods", "seconds", "bytes"]


@pytest.mark.parametrize(
    ("version", "place"),
    [("v1", "/sys/fs/cgroup/cpu/pods/shop/cpu.cfs_quota_us"), ("v2", "/sys/fs/cgroup/pods/shop/cpu.max")],
)
def test_the_remedy_shows_the_limit_where_it_is(version: str, place: str) -> None:
    found = finding(throttled(*AGAIN, version=version), RULE)
    assert [r.action for r in found.remedies] == ["capture", "resize", "fix-application"]
    assert found.remedies[1].command == f"cat {place}  # as it is"


def test_a_hostile_path_is_quoted() -> None:
    hostile = replace(SHOP, path="/$(id)")
    found = finding(watched([used(*AGAIN, of=hostile)], [[requests()]] * 3), RULE)
    assert found.evidence[0].repeat == "cat '/sys/fs/cgroup/$(id)/cpu.stat'  # twice"


def test_no_quota_anywhere_is_cleared_by_how_many_were_looked_at() -> None:
    answer = cleared(throttled(*AGAIN, cgroups=()))
    assert [(e.value, e.statement) for e in answer.evidence] == [
        (0, "Cgroups that ran under a quota, of 4 above the owners of sockets"),
    ]


def test_what_was_not_looked_at_is_said() -> None:
    answer = cleared(throttled(*AGAIN, unread=(), left_out=3, unplaced=2))
    assert (answer.evidence[-1].value, answer.evidence[-1].unit) == (5, "of them")


@pytest.mark.parametrize(("before", "kind"), [(0, Cleared), (4, NotChecked)])
def test_one_reading_shows_no_rise_but_that_none_was_ever_used_up(before: int, kind: type) -> None:
    (answer,) = answers(watched([[replace(SHOP, throttled=before)]], [[requests()]]), RULE)
    assert isinstance(answer, kind)


@pytest.mark.parametrize("missing", ["cpu_quota", "sockets"])
def test_without_either_sample_it_is_not_checked(missing: str) -> None:
    node = throttled(*AGAIN)
    lost: dict[str, Any] = {missing: Failure(code="missing-file", reason="no file system of cgroups")}
    snapshots = tuple(replace(s, samples={**s.samples, **lost}) for s in node.snapshots)
    (answer,) = judge(RULE, replace(node, snapshots=snapshots))
    assert isinstance(answer, NotChecked)
    assert answer.code == "missing-file"


def test_samples_that_never_came_together_are_not_checked() -> None:
    node = throttled((10, 8))
    apart = tuple(
        replace(s, samples={k: v for k, v in s.samples.items() if k != drop})
        for s, drop in zip(node.snapshots, ("sockets", "cpu_quota"), strict=True)
    )
    (answer,) = answers(replace(node, snapshots=apart), RULE)
    assert isinstance(answer, NotChecked)
