import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.model.stalls import DELAY_CLASSES, CpuDelays, DelaySpan, delay_since, delay_spans


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
