"""The two halves of a pair, joined where there is no doubt, and what rose between readings."""

from __future__ import annotations

from whodunnet.model.link_window import link_window
from whodunnet.model.links import LinkCounters, Links

from ..rules.nodes import moment


def half(number: int, peer: int | None, kind: str | None = "veth", **other: int) -> LinkCounters:
    return LinkCounters(number=number, peer=peer, kind=kind, **other)


NODE, POD, INNER = 1, 2, 3
PAIR = {NODE: {"veth9": half(9, 2)}, POD: {"eth0": half(2, 9)}}


def test_halves_that_name_each_other_are_joined() -> None:
    links = Links.of(PAIR)
    assert links.other_end(NODE, "veth9") == (POD, "eth0")
    assert links.other_end(POD, "eth0") == (NODE, "veth9")


def test_both_may_be_in_one_namespace() -> None:
    links = Links.of({NODE: {"a": half(5, 6), "b": half(6, 5)}})
    assert links.other_end(NODE, "a") == (NODE, "b")


def test_a_third_half_with_the_same_numbers_leaves_all_alone() -> None:
    links = Links.of({**PAIR, INNER: {"eth0": half(2, 9)}})
    assert [links.other_end(netns, name) for netns, name in ((NODE, "veth9"), (POD, "eth0"))] == [None, None]


def test_where_something_was_not_read_another_half_may_be_there() -> None:
    assert Links.of(PAIR, netns_unread=1).other_end(NODE, "veth9") is None
    assert Links.of(PAIR, left_out=1).other_end(NODE, "veth9") is None


def test_a_vlan_names_the_device_it_is_on_and_has_no_other_half() -> None:
    links = Links.of({NODE: {"eth0.5": half(9, 2, kind="vlan")}, POD: {"eth0": half(2, 9)}})
    assert links.other_end(NODE, "eth0.5") is None
    assert links.other_end(NODE, "gone") is None


def test_a_rise_is_of_one_device_from_reading_to_reading() -> None:
    series = [
        (moment(0), Links.of({NODE: {"eth0": half(1, None, None, rx_missed=10)}})),
        (moment(1), Links.of({NODE: {"eth0": half(1, None, None, rx_missed=3)}})),  # reset by its driver
        (moment(2), Links.of({NODE: {"eth0": half(1, None, None, rx_missed=8), "eth1": half(7, None, None)}})),
    ]
    window = link_window(series)
    assert window is not None
    (found,) = window.devices
    assert (found.rx_missed, found.seconds, window.fresh) == (5, 2.0, 1)
    assert link_window(series[:1]) is None
