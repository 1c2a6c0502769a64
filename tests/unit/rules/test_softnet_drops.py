"""softnet-drops: what each CPU dropped between readings, and before them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from whodunnet.diagnosis.engine import diagnose
from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.snapshot import Recording
from whodunnet.model.softnet import WRAP, Softnet
from whodunnet.model.stalls import Stall
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.softnet_drops import MEANWHILE

from .nodes import FROM_BOOT, answers, finding, findings, parties
from .receiving import device, node, softnet, work
from .stalled import MONITOR, held, sample, stall

RULE = "softnet-drops"
ENTRY = catalogue()[RULE]
FEW, SHARE = int(ENTRY.limit("min_dropped")), ENTRY.limit("min_dropped_share")


def dropped(n: int, processed: int = 0, seconds: float = 2.0, **counted: int) -> Recording:
    """A CPU that drops n packets and takes `processed`, beside one that drops none."""
    before = softnet(work(processed=500, dropped=7), work(processed=9))
    after = softnet(work(processed=500 + processed, dropped=7 + n, **counted), work(processed=9))
    return node(before, after, seconds=seconds)


def test_drops_are_counted_on_their_cpu() -> None:
    found = finding(dropped(FEW), RULE)
    assert (found.shape, found.severity, found.claim, found.confidence) == ("queue-full", "warning", "drops", "proven")
    assert found.title.startswith(f"{FEW} received packets were dropped: the queue of CPU 0")
    assert (found.evidence[0].value, found.evidence[0].limit, found.evidence[0].comparison) == (FEW, FEW, ">=")
    assert "100 % of those that came to it" in found.evidence[0].statement
    assert [p.role for p in found.parties] == ["victim"]


def test_fewer_packets_than_the_floor_are_none() -> None:
    assert findings(dropped(FEW - 1), RULE) == []
    (answer,) = answers(dropped(FEW - 1), RULE)
    assert isinstance(answer, Cleared)
    assert [e.value for e in answer.evidence] == [FEW - 1]


def test_a_small_share_of_much_traffic_is_none() -> None:
    n = 4 * FEW
    enough = round(n / SHARE) - n
    assert len(findings(dropped(n, enough), RULE)) == 1
    assert findings(dropped(n, enough + 50), RULE) == []


def test_a_burst_is_seen_among_hours_of_traffic() -> None:
    quiet = [softnet(work(processed=10**8 * i), work()) for i in range(5)]
    after = [softnet(work(processed=10**8 * i + 100, dropped=FEW), work()) for i in range(4, 9)]
    found = finding(node(*quiet, *after, seconds=3600), RULE)
    assert found.evidence[-1].value == FEW
    assert found.since is not None
    assert (found.last_seen - found.since).total_seconds() == 400


def test_a_counter_that_begins_again_is_no_drop() -> None:
    before = softnet(work(processed=WRAP - 10, dropped=3))
    (answer,) = answers(node(before, softnet(work(processed=40, dropped=3))), RULE)
    assert isinstance(answer, Cleared)
    before = softnet(work(dropped=WRAP - 1))
    assert finding(node(before, softnet(work(dropped=FEW))), RULE).evidence[0].value == FEW + 1


def test_a_cpu_that_comes_has_dropped_nothing_yet_and_one_that_goes_is_kept() -> None:
    comes = node(softnet(work()), softnet(work(), work(dropped=5_000)))
    assert findings(comes, RULE) == []
    goes = node(softnet(work(), work()), softnet(work(), work(dropped=5_000)), softnet(work()))
    found = finding(goes, RULE)
    assert "CPU 1" in found.title
    assert found.evidence[0].value == 5_000


def test_several_cpus_are_one_finding_with_those_that_dropped_most_first() -> None:
    before = softnet(*[work() for _ in range(6)])
    found = finding(node(before, softnet(*[work(dropped=n * FEW) for n in (0, 1, 2, 5, 4, 3)])), RULE)
    assert "5 CPUs" in found.title
    of_cpus = [e.statement[:5] for e in found.evidence if e.statement.startswith("CPU ")]
    assert of_cpus == ["CPU 3", "CPU 4", "CPU 5"]


def test_wake_ups_by_other_cpus_say_that_packets_were_steered() -> None:
    assert finding(dropped(FEW, steered=1), RULE).shape == "steered"
    one_of_two = node(softnet(work(), work()), softnet(work(dropped=FEW, steered=4), work(dropped=FEW)))
    assert finding(one_of_two, RULE).shape == "queue-full"


def test_a_cpu_whose_queue_is_never_empty_is_not_woken_and_known_by_the_device() -> None:
    steering = {"eth0": device((0,), (1,), queues=((1,), (1,)))}

    def shape(cpu: int) -> str | None:
        drops = [work(dropped=FEW if n == cpu else 0) for n in range(2)]
        return finding(node(softnet(work(), work()), softnet(*drops, devices=steering)), RULE).shape

    assert (shape(1), shape(0)) == ("steered", "queue-full")


@pytest.mark.parametrize(("limited", "shape"), [(FEW // 2, "flow-limit"), (FEW // 2 - 1, "queue-full")])
def test_half_of_the_drops_have_to_be_those_of_large_flows(limited: int, shape: str) -> None:
    assert finding(dropped(FEW, flow_limited=limited), RULE).shape == shape


def test_a_kernel_without_the_columns_has_the_plain_shape() -> None:
    none = {"steered": None, "flow_limited": None}
    found = finding(node(softnet(work(**none)), softnet(work(dropped=FEW, **none))), RULE)
    assert found.shape == "queue-full"


def test_what_kept_the_cpu_from_its_queue_is_shown() -> None:
    counted = {"thread_wait_ns": 250_000_000, "total_ms": 1000, "softirq_ms": 100, "steal_ms": 400}
    found = finding(dropped(FEW, **counted), RULE)
    values = {e.statement.partition(": ")[2]: (e.value, e.unit) for e in found.evidence}
    assert values["its ksoftirqd was ready to run and something else ran"] == (250, "ms")
    assert values["was in softirqs, share of its time"] == (0.1, "share")
    assert values["was taken by the hypervisor, share of its time"] == (0.4, "share")


@pytest.mark.parametrize(("now", "then"), [(300, 1_000), (500, 1_000), (1_000, 2_000), (3_000, 6_000)])
def test_a_longer_queue_is_offered_last_to_a_steered_cpu_and_is_no_shorter_than_by_default(now: int, then: int) -> None:
    readings = softnet(work(), max_backlog=now), softnet(work(dropped=FEW), max_backlog=now)
    told = finding(node(*readings), RULE).remedies[1]
    assert told.command == f"sysctl -w net.core.netdev_max_backlog={then}"
    assert ("as by default" in told.do) is (now < 1_000)


def test_one_reading_shows_no_rise_but_that_there_never_was_a_drop() -> None:
    (answer,) = answers(node(softnet(work(dropped=4))), RULE)
    assert isinstance(answer, NotChecked)
    assert "4 packets" in answer.reason
    assert [type(a) for a in answers(node(softnet(work())), RULE)] == [Cleared]


def test_a_victim_is_the_node() -> None:
    assert [p.node for p in parties(finding(dropped(FEW), RULE), "victim")] == ["n1"]


def beside(node_: Recording, *stalls: Stall) -> Recording:
    """The same, with these stalls in the last reading."""
    first, *others, last = node_.snapshots
    seen = (replace(first, samples={**first.samples, "stalls": sample(seconds=0.0)}),)
    ends = (replace(last, samples={**last.samples, "stalls": sample(*stalls, seconds=3.0)}),)
    return replace(node_, snapshots=(*seen, *others, *ends))


@pytest.mark.parametrize(
    ("cpu", "ended", "held"),
    [(0, 1.0, 500), (0, 2.0, 500), (0, 2.1, 500), (0, 2.4, 0), (0, -0.1, 0), (1, 1.0, 0)],
)
def test_what_was_dropped_while_a_cpu_was_held_is_counted(cpu: int, ended: float, held: int) -> None:
    stalled = stall(wait=0.3, cpu=cpu, ended_boot_seconds=FROM_BOOT + ended)
    found = finding(beside(dropped(500), stalled), RULE)
    assert [(e.value, e.limit) for e in found.evidence if e.statement == MEANWHILE] == [(held, 500)]


@pytest.mark.parametrize(
    ("waits", "held"), [((0.3,), []), ((1.3,), [500]), ((0.7, 0.7), [500]), ((0.7, 0.7, 0.5), [500]), ((0.6, 0.6), [])]
)
def test_a_moment_of_waiting_between_readings_far_apart_says_nothing_of_the_drops(
    waits: tuple[float, ...], held: list[int]
) -> None:
    """Of 5 s a quarter."""
    stalls = [stall(wait=wait, cpu=0, ended_boot_seconds=FROM_BOOT + 1.5 + n) for n, wait in enumerate(waits)]
    found = finding(beside(dropped(500, seconds=5.0), *stalls), RULE)
    assert [e.value for e in found.evidence if e.statement == MEANWHILE] == held


def test_a_moment_in_which_two_things_wait_counts_once() -> None:
    stalls = [stall(wait=0.7, cpu=0, ended_boot_seconds=FROM_BOOT + at) for at in (1.5, 1.6)]
    found = finding(beside(dropped(500, seconds=5.0), *stalls), RULE)
    assert MEANWHILE not in [e.statement for e in found.evidence]


def test_who_held_a_cpu_for_a_moment_of_a_long_step_is_not_the_cause() -> None:
    node_ = beside(dropped(500, seconds=5.0), stall(held(MONITOR, 37), cpu=0))
    assert [len(f.caused_by) for f in diagnose(node_, ["rx-stall", RULE]).findings] == [0, 0]


def test_a_time_without_samples_is_no_time_that_packets_waited() -> None:
    gap = stall(kind="silent", wait=0.3, cpu=0, ended_boot_seconds=FROM_BOOT + 1.0)
    found = finding(beside(dropped(500), gap), RULE)
    assert [(e.value, e.limit) for e in found.evidence if e.statement == MEANWHILE] == [(0, 500)]


def test_where_stalls_were_not_looked_for_nothing_is_said_of_them() -> None:
    assert MEANWHILE not in [e.statement for e in finding(dropped(500), RULE).evidence]


def test_a_held_cpu_and_what_it_drops_are_one_case() -> None:
    node_ = beside(dropped(500), stall(held(MONITOR, 37), cpu=0))
    told = diagnose(node_, ["rx-stall", RULE]).findings
    assert [(f.rule, len(f.caused_by)) for f in told] == [("rx-stall", 0), (RULE, 1)]
    elsewhere = beside(dropped(500), stall(held(MONITOR, 37), cpu=1))
    assert [len(f.caused_by) for f in diagnose(elsewhere, ["rx-stall", RULE]).findings] == [0, 0]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 10**7)), min_size=1, max_size=6))
def test_the_sum_over_parts_is_the_sum_of_the_window(steps: list[tuple[int, int]]) -> None:
    drops = taken = 0
    readings: list[Softnet] = [softnet(work())]
    for more_drops, more_taken in steps:
        drops, taken = drops + more_drops, taken + more_taken
        readings.append(softnet(work(dropped=drops, processed=taken)))
    (answer,) = answers(node(*readings), RULE)
    assert not isinstance(answer, NotChecked)
    assert getattr(answer, "evidence")[0].value == drops  # noqa: B009 - of a finding or a clearing
