from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.model.connections import (
    CONNECT_CLASSES,
    IDLE_CLASSES,
    ConnectionGroup,
    Connections,
    Span,
    connect_bounds,
    idle_bounds,
)
from whodunnet.model.sockets import Endpoint


def group(**fields: object) -> ConnectionGroup:
    defaults = {
        "netns": 1, "role": "initiated", "ending": "closed-by-peer", "state": "established",
        "server": Endpoint("10.0.0.1", 80), "client": "10.0.0.2", "connections": 1,
    }  # fmt: skip
    return msgspec.convert(defaults | fields, ConnectionGroup)


@pytest.mark.parametrize(("bounds", "classes"), [(idle_bounds, IDLE_CLASSES), (connect_bounds, CONNECT_CLASSES)])
def test_classes_follow_each_other_without_gap_or_overlap(bounds: object, classes: int) -> None:
    assert callable(bounds)
    found = [bounds(number) for number in range(classes)]
    assert found[0][0] == 0.0
    assert found[-1][1] is None
    for (since, until), (following, _) in pairwise(found):
        assert since < until == following


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, (0.0, 0.1)), (50, (5.0, 5.1)), (100, (10.0, 10.2)), (150, (20.0, 20.5)), (230, (60.0, 61.0))],
)
def test_idle_classes_are_narrow_where_timeouts_are(number: int, expected: tuple[float, float]) -> None:
    assert idle_bounds(number) == expected


def test_a_quantile_is_the_mean_of_its_class() -> None:
    found = group(spans=(Span(4.9, 5.0, 1, 4.95), Span(5.0, 5.1, 8, 40.16), Span(9.0, 9.1, 1, 9.0)))
    assert [found.quantile(share) for share in (0.0, 0.1, 0.5, 0.9, 1.0)] == [4.95, 4.95, 5.02, 5.02, 9.0]


def test_without_times_there_is_no_quantile() -> None:
    assert group().quantile(0.5) is None


@given(st.lists(st.tuples(st.integers(0, IDLE_CLASSES - 1), st.integers(1, 9)), min_size=1, unique_by=lambda x: x[0]))
def test_a_quantile_stays_within_what_was_measured(made: list[tuple[int, int]]) -> None:
    spans = tuple(Span(*idle_bounds(number), n, n * idle_bounds(number)[0]) for number, n in sorted(made))
    middle = group(spans=spans).quantile(0.5)
    assert middle is not None
    assert spans[0].mean <= middle <= spans[-1].mean


def test_a_sample_survives_its_journey() -> None:
    sample = Connections(
        groups=(group(spans=(Span(8100.0, None, 1, 9000.0),)),), watched_seconds=1.0, other={"opened": 2}
    )
    assert msgspec.json.decode(msgspec.json.encode(sample), type=Connections) == sample
