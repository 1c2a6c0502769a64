import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.model.stalls import (
    DELAY_CLASSES,
    HOLDERS_MAX,
    CpuDelays,
    DelaySpan,
    Holder,
    Stack,
    Stall,
    Task,
    delay_since,
    delay_spans,
)

TASK = Task(pid=7, tid=8, comm="app7", thread="scrape", process_started_seconds=1.0)


def held(samples: int, *functions: str | None) -> Holder:
    stacks = (Stack(functions=functions),) if functions else ()
    return Holder(task=TASK, mode="kernel", samples=samples, seconds=0.0, stacks=stacks)


@pytest.mark.parametrize(
    ("holders", "samples", "between"),
    [
        ((), 0, 0),
        ((), 41, 41),
        ((held(1),), 41, 40),
        ((held(4), held(3)), 7, 0),
        ((held(4),), 3, 0),
        ((held(1),) * (HOLDERS_MAX - 1), 20, 20 - (HOLDERS_MAX - 1)),
        ((held(1),) * HOLDERS_MAX, 20, 0),  # there may have been more
    ],
)
def test_looks_at_no_holder_fell_between_softirqs(holders: tuple[Holder, ...], samples: int, between: int) -> None:
    stall = Stall(ended_boot_seconds=9.0, cpu=0, kind="late", wait_seconds=0.1, end=held(1), holders=holders,
                  samples=samples)  # fmt: skip
    assert stall.between == between
    assert stall.met == sum(holder.samples for holder in holders)


@pytest.mark.parametrize(
    ("functions", "between"),
    [
        (("handle_softirqs", "irq_exit_rcu"), True),
        (("__do_softirq.llvm.12",), True),
        (("irq_exit_rcu", "handle_softirqs"), False),
        ((None, "handle_softirqs"), False),
        ((), False),
    ],
)
def test_who_is_met_in_the_loop_over_softirqs_and_no_deeper_is_between_them(
    functions: tuple[str | None, ...], between: bool
) -> None:
    assert held(1, *functions).is_between is between


def test_classes_follow_each_other_without_a_gap() -> None:
    bounds = [delay_since(n) for n in range(DELAY_CLASSES)]
    assert bounds == sorted(set(bounds))
    assert bounds[0] == 0
    assert (bounds[1], bounds[32], bounds[33], bounds[34]) == (2048e-9, 65536e-9, 98304e-9, 131072e-9)


@given(st.lists(st.integers(0, 2**63), min_size=DELAY_CLASSES, max_size=DELAY_CLASSES))
def test_spans_are_those_classes_that_have_any(counts: list[int]) -> None:
    spans = delay_spans(counts)
    assert sum(span.count for span in spans) == sum(counts)
    assert all(span.count and (span.until is None or span.since < span.until) for span in spans)


def test_a_quantile_is_the_upper_bound_of_its_class() -> None:
    cpu = CpuDelays(cpu=0, delays=(DelaySpan(0.0, 1.0, 98), DelaySpan(1.0, 2.0, 1), DelaySpan(4.0, None, 1)))
    assert [cpu.quantile(share) for share in (0.5, 0.98, 0.99, 1.0)] == [1.0, 1.0, 2.0, 4.0]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_without_delays_there_is_no_quantile(share: float) -> None:
    assert CpuDelays(cpu=0).quantile(share) is None
