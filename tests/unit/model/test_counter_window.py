"""Rises of counters: of namespaces that stay, and not of another that has the same number by now."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from whodunnet.model.counter_window import CounterWindow, counter_window
from whodunnet.model.counters import Counters
from whodunnet.model.sample import Failure, Moment
from whodunnet.model.snapshot import AnySample, Node, Recording, Snapshot

KNOWN = ("Udp.InErrors", "Udp.RcvbufErrors", "Tcp.CurrEstab", "Ip.Forwarding")
VALUES = st.dictionaries(st.sampled_from(KNOWN), st.integers(1, 9), max_size=4)


def reading(*namespaces: dict[str, int], unread: int = 0) -> Counters:
    return Counters(known=KNOWN, by_netns=dict(enumerate(namespaces)), netns_unread=unread)


def over(*samples: AnySample) -> CounterWindow | None:
    snapshots = tuple(
        Snapshot(at=Moment(datetime(2026, 3, 1, tzinfo=UTC), float(i)), samples={"counters": sample})
        for i, sample in enumerate(samples)
    )
    return counter_window(Recording(node=Node(hostname="n", kernel="k", boot_id="b"), snapshots=snapshots))


def window(*samples: AnySample) -> CounterWindow:
    found = over(*samples)
    assert found is not None
    return found


def test_one_reading_is_no_window() -> None:
    assert over(reading({})) is None
    assert over(reading({}), Failure(code="unreadable", reason="no")) is None


def test_a_rise_is_from_the_first_to_the_newest() -> None:
    found = window(reading({"Udp.InErrors": 3}), reading({"Udp.InErrors": 4}), reading({"Udp.InErrors": 9}))
    assert (found.rise("Udp.InErrors"), found.seconds) == ({0: 6}, 2)


def test_what_was_at_zero_is_left_out_of_a_sample_and_rises_all_the_same() -> None:
    assert window(reading({}), reading({"Udp.InErrors": 2})).rise("Udp.InErrors") == {0: 2}


def test_what_did_not_rise_rose_by_zero_and_what_the_kernel_lacks_by_nothing() -> None:
    found = window(reading({}), reading({}))
    assert (found.rise("Udp.InErrors"), found.rise("Udp6.InErrors")) == ({0: 0}, {})


def test_several_counters_are_summed() -> None:
    found = window(reading({}), reading({"Udp.InErrors": 2, "Udp.RcvbufErrors": 1}))
    assert found.rise("Udp.InErrors", "Udp.RcvbufErrors", "Udp6.InErrors") == {0: 3}


def test_a_namespace_that_is_new_or_made_anew_has_no_rise() -> None:
    found = window(reading({"Udp.InErrors": 9}), reading({"Udp.InErrors": 2}, {"Udp.InErrors": 5}, unread=1))
    assert (found.rise("Udp.InErrors"), found.missing, found.unread) == ({}, 2, 1)


def test_a_namespace_made_anew_between_two_readings_has_none_even_if_its_counters_are_higher_by_now() -> None:
    found = window(reading({"Udp.InErrors": 2}), reading({}), reading({"Udp.InErrors": 9}))
    assert found.rise("Udp.InErrors") == {}


def test_a_gauge_may_fall_and_has_no_rise() -> None:
    found = window(reading({"Tcp.CurrEstab": 9}), reading({"Tcp.CurrEstab": 2}))
    assert (found.rise("Tcp.CurrEstab"), found.now("Tcp.CurrEstab"), found.missing) == ({0: 0}, {0: 2}, 0)


@given(st.lists(st.lists(VALUES, max_size=3), min_size=2, max_size=4))
def test_a_rise_is_never_negative_and_of_namespaces_in_both_only(readings: list[list[dict[str, int]]]) -> None:
    found = window(*(reading(*each) for each in readings))
    assert set(found.rises) <= set(range(min(len(readings[0]), len(readings[-1]))))
    assert all(value > 0 for rises in found.rises.values() for value in rises.values())
    assert len(found.rises) + found.missing == len(readings[-1])
