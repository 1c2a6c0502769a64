"""The decoder of ctnetlink dumps, on made and broken records, and the groups that they are counted in."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError
from whodunnet.kernel.netlink.conntrack_groups import DNAT, SNAT, Entry, FlowTable, state_name, tcp_short, timeouts_of
from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, Endpoint

from .conntrack_records import (
    NEW,
    NEWER_ORDER,
    OLDER_ORDER,
    SEQUENCE,
    TIMEOUTS,
    Flow,
    as_counted,
    attribute,
    counted,
    done,
    flows,
    message,
    packed,
    tree,
    unpacked,
)
from .conntrack_tables import PLAIN, entries_in, numbers, only, table_of


@given(st.lists(flows(), max_size=30), st.sampled_from([NEWER_ORDER, OLDER_ORDER]))
def test_two_decoders_agree_on_valid_records(found: list[Flow], order: Sequence[int]) -> None:
    bodies = [packed(flow, order) for flow in found]
    assert [unpacked(body) for body in bodies] == found
    table = table_of(*bodies)
    assert (table.malformed, table.records) == (0, len(found))
    assert as_counted(table.groups(), numbers) == counted(found)


@given(flows(), st.permutations(NEWER_ORDER))
def test_the_order_of_attributes_does_not_matter(flow: Flow, order: list[int]) -> None:
    assert only(packed(flow, order)) == only(packed(flow))


@given(flows())
def test_a_tuple_in_an_unusual_order_is_read_by_the_general_way(flow: Flow) -> None:
    parts = []
    for kind, payload in tree(packed(flow)[4:]):
        turned = (
            b"".join(attribute(inner | 0x8000, nest) for inner, nest in reversed(tree(payload))) if kind < 3 else b""
        )
        parts.append(attribute(kind, turned or payload))
    assert only(packed(flow)[:4] + b"".join(parts)) == only(packed(flow))


def test_attributes_that_nobody_asked_for_are_passed_over() -> None:
    counters = attribute(9 | 0x8000, attribute(1, bytes(8)) + attribute(2, bytes(8)))
    extra = [counters, attribute(20 | 0x8000, attribute(1, bytes(8))), attribute(22, bytes(16)), attribute(19, b"x")]
    master = attribute(14 | 0x8000, packed(PLAIN)[4:])
    for some in permutations([*extra, master], 3):
        assert only(packed(PLAIN, extra=some)) == only(packed(PLAIN))


def test_a_zone_of_one_direction_is_that_of_the_original_tuple() -> None:
    body = packed(PLAIN)
    parts = [(kind, payload + attribute(3, b"\0\x09") if kind == 1 else payload) for kind, payload in tree(body[4:])]
    changed = body[:4] + b"".join(attribute(kind, payload) for kind, payload in parts)
    assert only(changed).zone == 9


@pytest.mark.parametrize("bit", [14, 15], ids=["software", "hardware"])
def test_an_offloaded_entry_has_neither_state_nor_idle_time(bit: int) -> None:
    group = only(packed(PLAIN._replace(status=0xE | 1 << bit, state=None, remaining=None)))
    assert (group.offloaded, group.state, group.ages, group.idle_unknown) == (True, "none", (), 1)


@pytest.mark.parametrize("size", [3, 5, 16])
def test_an_address_of_another_size_is_malformed(size: int) -> None:
    addresses = attribute(1, bytes(size)) + attribute(2, bytes(4))
    original = attribute(1 | 0x8000, addresses) + attribute(2 | 0x8000, attribute(1, b"\6"))
    body = packed(PLAIN, [kind for kind in NEWER_ORDER if kind != 1], [attribute(1 | 0x8000, original)])
    assert (table_of(body).malformed, unpacked(body)) == (1, None)


@pytest.mark.parametrize(
    ("changes", "idle"),
    [
        ({"remaining": 432000}, 0),
        ({"remaining": 431999}, 0),
        ({"remaining": 431000}, 999),
        ({"remaining": 301}, 431698),
        ({"remaining": 300}, None),
        ({"remaining": 432001}, None),
        ({"state": 7, "remaining": 20}, 99),
        ({"state": 5, "remaining": 300}, None),
        ({"state": 9, "remaining": 3}, None),
        ({"protocol": 17, "state": None, "status": 8, "remaining": 10}, 19),
        ({"protocol": 17, "state": None, "status": 0xE, "remaining": 10}, 109),
        ({"protocol": 253, "state": None, "remaining": 10}, 589),
    ],
)
def test_idle_time_is_what_is_gone_of_the_timeout_that_was_given(changes: dict[str, int], idle: int | None) -> None:
    group = only(packed(PLAIN._replace(**changes)))  # type: ignore[arg-type]
    if idle is None:
        assert (group.ages, group.idle_unknown, group.idle_seconds) == ((), 1, 0)
        return
    assert (group.idle_seconds, group.idle_unknown) == (idle, 0)
    for seconds in AGE_BOUNDS_SECONDS:
        assert group.idle_for(seconds) == (idle >= seconds)


def test_without_timeouts_no_idle_time_is_known() -> None:
    table = FlowTable({}, SEQUENCE)
    table.add_datagram(message(packed(PLAIN)) + done())
    assert [group.idle_unknown for group in table.groups()] == [1]


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_any_record_is_either_counted_in_a_group_or_malformed(bodies: list[bytes]) -> None:
    table = table_of(*bodies)
    assert entries_in(table) == table.records == len(bodies)


@given(flows(), st.data())
def test_a_changed_record_is_either_counted_in_a_group_or_malformed(flow: Flow, data: st.DataObject) -> None:
    body = bytearray(packed(flow))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    table = table_of(bytes(body))
    assert entries_in(table) == 1


@given(flows(), st.data())
def test_a_cut_record_is_malformed_or_lacks_its_last_attributes(flow: Flow, data: st.DataObject) -> None:
    body = packed(flow)
    size = data.draw(st.integers(0, len(body) - 1))
    table = table_of(body[:size])
    whole = unpacked(body[:size])
    assert table.malformed == (whole is None)
    assert entries_in(table) == 1


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_record_without_a_tuple_or_a_status_is_malformed(missing: int) -> None:
    table = table_of(packed(PLAIN, [kind for kind in NEWER_ORDER if kind != missing]), packed(PLAIN))
    assert (table.malformed, table.records, [g.entries for g in table.groups()]) == (1, 2, [1])


@given(st.binary(max_size=300))
def test_any_datagram_is_taken_or_refused(data: bytes) -> None:
    table = FlowTable(TIMEOUTS, SEQUENCE)
    with suppress(MalformedError):
        table.add_datagram(data)
    assert entries_in(table) == table.records


@pytest.mark.parametrize("data", [b"\0", bytes(16), message(b"abcd")[:-1], message(packed(PLAIN)) + b"\1\0\0"])
def test_a_message_that_points_outside_ends_it(data: bytes) -> None:
    with pytest.raises(MalformedError, match="does not fit"):
        FlowTable(TIMEOUTS, SEQUENCE).add_datagram(data)


def test_answers_to_another_request_and_of_another_kind_are_not_taken() -> None:
    table = FlowTable(TIMEOUTS, SEQUENCE)
    other = message(packed(PLAIN), sequence=SEQUENCE + 1) + message(packed(PLAIN), kind=NEW + 1)
    assert not table.add_datagram(other)
    assert not table.add_datagram(message(bytes(4), kind=3, sequence=SEQUENCE + 1))
    assert table.records == 0


def test_what_the_kernel_marks_as_inconsistent_is_counted() -> None:
    table = FlowTable(TIMEOUTS, SEQUENCE)
    table.add_datagram(message(packed(PLAIN), flags=0x12) + message(packed(PLAIN)))
    assert (table.interrupted, table.records) == (1, 2)


def many(count: int) -> Iterator[Entry]:
    for n in range(count):
        yield Entry(
            source=struct.pack(">I", 0x0A000000 + n % 50), destination=struct.pack(">I", 0x0B000000 + n // 10),
            answered_by=struct.pack(">I", n), source_as=b"\5\6\7\x08", destination_port=n % 65536,
            answered_port=n % 999, protocol=6, state=3, flags=DNAT | SNAT, zone=0, remaining_seconds=None,
        )  # fmt: skip


def test_what_has_no_room_is_summed_more_coarsely_and_nothing_is_lost() -> None:
    table = FlowTable(TIMEOUTS)
    for entry in many(60_000):
        table.add(entry)
    groups = table.groups()
    by_level = Counter(2 if g.destination is None else int(g.merged) for g in groups)
    assert by_level[0] == 16384
    assert by_level[1] == 4096
    assert 0 < by_level[2] <= 50
    assert sum(g.entries for g in groups) + table.other_entries == table.records == 60_000
    merged = next(g for g in groups if g.merged and g.destination is not None)
    assert (merged.destination.port, merged.answered_by) == (None, Endpoint(None, None))
    assert {g.source_as for g in groups} == {"5.6.7.8"}


def test_what_has_no_room_anywhere_is_counted() -> None:
    table = FlowTable(TIMEOUTS)
    for n in range(40_000):
        table.add(next(many(1))._replace(source=struct.pack(">I", n), destination=struct.pack(">I", n)))
    assert len(table.groups()) == 16384 + 2 * 4096
    assert table.other_entries == 40_000 - 16384 - 2 * 4096


@given(st.integers(0, 2**64 - 1), st.lists(flows(), max_size=20))
def test_groups_and_their_order_do_not_depend_on_the_seed(seed: int, found: list[Flow]) -> None:
    table = FlowTable(TIMEOUTS, SEQUENCE, seed)
    table.add_datagram(b"".join(message(packed(flow)) for flow in reversed(found)) + done())
    assert table.groups() == table_of(*map(packed, found)).groups()


def test_each_member_of_an_entry_comes_back() -> None:
    table = FlowTable(TIMEOUTS)
    entry = Entry(b"\1\2\3\4", b"\5\6\7\x08", b"\x09\x0a\x0b\x0c", b"\x0d\x0e\x0f\x10", 443, 8443, 132, 4, 31, 77, 200)
    table.add(entry)
    assert table.groups() == [
        FlowGroup(
            family=4, protocol="sctp", source="1.2.3.4", destination=Endpoint("5.6.7.8", 443),
            answered_by=Endpoint("9.10.11.12", 8443), source_as="13.14.15.16", state="established", replied=True,
            assured=True, offloaded=True, zone=77, entries=1, idle_seconds=9, ages=(0, 0, 0, 1, *[0] * 8),
        )
    ]  # fmt: skip


def test_a_state_that_is_new_to_us_is_its_number() -> None:
    assert [state_name(6, number) for number in (0, 3, 9, 10)] == ["none", "established", "syn-sent2", "10"]
    assert only(packed(PLAIN._replace(state=200))).state == "200"


def test_timeouts_by_protocol_and_state() -> None:
    assert timeouts_of(6, TIMEOUTS)[:4] == (0, 120, 0, 432000)
    assert [timeouts_of(number, TIMEOUTS)[:2] for number in (17, 136, 1, 47, 50)] == [
        (30, 120), (30, 120), (30, 30), (30, 180), (600, 600),
    ]  # fmt: skip
    assert {len(timeouts_of(number, TIMEOUTS)) for number in range(256)} == {16}
    assert (tcp_short(TIMEOUTS), tcp_short({})) == (300, 0)
