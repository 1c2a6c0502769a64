import pytest

from whodunnet.collectors import connections
from whodunnet.collectors.connections import Sums
from whodunnet.kernel.bpf.connection_ends import End, EndTotal
from whodunnet.model.connections import Span
from whodunnet.model.sockets import Endpoint


def end(client: str | None = "10.0.0.2") -> End:
    server = Endpoint("10.0.0.1", 80)
    return End(1, "initiated", "closed-by-peer", "established", server, client, 7, "client", 1.0, False)


def test_the_same_class_is_added_up() -> None:
    sums = Sums()
    for connections_, seconds in ((2, 10.0), (3, 15.1)):
        sums.add(EndTotal(end(), 50, connections_, seconds))
    (group,) = sums.groups([])
    assert (group.connections, group.spans) == (5, (Span(5.0, 5.1, 5, 25.1),))


def test_classes_stand_in_rising_order() -> None:
    sums = Sums()
    for number in (99, 0, 50):
        sums.add(EndTotal(end(), number, 1, number / 10))
    (group,) = sums.groups([])
    assert [span.since for span in group.spans] == [0.0, 5.0, 9.9]


def test_what_the_program_merged_is_shown_without_client() -> None:
    sums = Sums()
    sums.add(EndTotal(end(), 50, 1, 5.0))
    found = {g.client: g.connections for g in sums.groups([EndTotal(end(None), None, 4, 20.0)])}
    assert found == {"10.0.0.2": 1, None: 4}


def test_nothing_is_lost_where_groups_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "GROUPS_LIMIT", 3)
    sums = Sums()
    for n in range(10):
        sums.add(EndTotal(end(f"10.0.1.{n}"), 50, 1, 5.0))
    found = {g.client: g.connections for g in sums.groups([])}
    assert found == {"10.0.1.0": 1, "10.0.1.1": 1, "10.0.1.2": 1, None: 7}


def test_what_finds_no_merged_group_is_counted_as_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "GROUPS_LIMIT", 0)
    sums = Sums()
    sums.add(EndTotal(end(), 50, 4, 20.0))
    assert sums.groups([]) == ()
    assert sums.other == {"closed-by-peer": 4}


def test_classes_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SPANS_LIMIT", 2)
    sums = Sums()
    for number in (1, 2, 3, 1):
        sums.add(EndTotal(end(), number, 1, 0.0))
    found = {g.client: (g.connections, len(g.spans)) for g in sums.groups([])}
    assert found == {"10.0.0.2": (3, 2), None: (1, 0)}
