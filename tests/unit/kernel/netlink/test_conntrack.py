"""The decoder of ctnetlink dumps, on recorded bytes (fixtures/netlink/conntrack/about.md), made and broken ones."""

from __future__ import annotations

import errno
import json
import random
import re
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.netlink import conntrack
from whodunnet.kernel.netlink.conntrack import ConntrackSocket, decode_statistics, dump_flows
from whodunnet.kernel.netlink.conntrack_groups import (
    DNAT,
    PROTOCOLS,
    SNAT,
    STATES,
    Entry,
    FlowTable,
    state_name,
    tcp_short,
    timeouts_of,
)
from whodunnet.kernel.netlink.socket import split
from whodunnet.kernel.procfs.conntrack_entries import parse_entries
from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, Endpoint

from .conntrack_records import (
    ERROR,
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

RECORDED = Path(__file__).parents[3] / "fixtures/netlink/conntrack"
NAMES = ("nat", "everything-on")
NUMBERS = {name: number for number, name in PROTOCOLS.items()}
PLAIN = Flow("10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.1", (5000, 80, 80), 6, 3, 0xE, 0, 431000)


def table_of(*bodies: bytes) -> FlowTable:
    table = FlowTable(TIMEOUTS, SEQUENCE)
    assert table.add_datagram(b"".join(map(message, bodies)) + done())
    return table


def only(*bodies: bytes) -> FlowGroup:
    table = table_of(*bodies)
    assert (table.malformed, table.other_entries) == (0, 0)
    (group,) = table.groups()
    return group


def numbers(group: FlowGroup) -> tuple[int, int]:
    protocol = NUMBERS[group.protocol] if group.protocol in NUMBERS else int(group.protocol)
    return protocol, STATES[protocol].index(group.state) if protocol in STATES else 0


def entries_in(table: FlowTable) -> int:
    return sum(group.entries for group in table.groups()) + table.other_entries + table.malformed


def recorded_bodies(name: str) -> list[bytes]:
    messages = split(memoryview((RECORDED / f"{name}.bin").read_bytes()))
    return [bytes(one.body) for one in messages if one.kind == NEW]


def recorded_groups(name: str, bodies: Sequence[bytes]) -> list[FlowGroup]:
    table = FlowTable(json.loads((RECORDED / f"{name}.timeouts.json").read_text()), SEQUENCE)
    table.add_datagram(b"".join(map(message, bodies)) + done())
    assert table.malformed == 0
    return table.groups()


@pytest.mark.parametrize("name", NAMES)
def test_recorded_bytes_are_what_conntrack_shows(name: str) -> None:
    lines = (RECORDED / f"{name}.conntrack.txt").read_text().splitlines()
    expected = Counter(line_of_tool(line) for line in lines)
    ours: Counter[tuple[str, ...]] = Counter()
    for g in recorded_groups(name, recorded_bodies(name)):
        assert g.destination is not None
        answers = g.answered_by or g.destination
        marks = ("" if g.replied else "[UNREPLIED]") + ("[ASSURED]" if g.assured else "")
        ours[
            str(numbers(g)[0]), g.source, str(g.destination.address), str(answers.address), g.source_as or g.source,
            str(g.destination.port or ""), str(answers.port or ""), g.state, marks, str(g.zone),
        ] += g.entries  # fmt: skip
    assert ours == expected


def line_of_tool(line: str) -> tuple[str, ...]:
    (source, destination), (answered_by, source_as) = re.findall(r"src=(\S+) dst=(\S+)", line)
    ports = [("0x" if key else "") + number for key, number in re.findall(r"(?:port=|key=(0x))(\w+)", line)]
    _, port, answered_port, _ = (str(int(number, 0) or "") for number in ports or ["0"] * 4)
    state = re.match(r"ipv\d +\d+ \w+ +\d+ \d+ ([A-Z_]+) ", line)
    zone = re.search(r"zone=(\d+)", line)
    return (
        line.split()[3], source, destination, answered_by, source_as, port, answered_port,
        state[1].lower().replace("_", "-") if state else "none", "".join(re.findall(r"\[\w+\]", line)),
        zone[1] if zone else "0",
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_recorded_bytes_and_recorded_text_give_the_same_groups(name: str) -> None:
    table = FlowTable(json.loads((RECORDED / f"{name}.timeouts.json").read_text()))
    entries, malformed = parse_entries((RECORDED / f"{name}.txt").read_bytes(), "text")
    for entry in entries:
        table.add(entry)
    assert malformed == 0
    assert table.groups() == recorded_groups(name, recorded_bodies(name))


@pytest.mark.parametrize("name", NAMES)
def test_recorded_bytes_in_any_order_of_attributes_give_the_same_groups(name: str) -> None:
    bodies, shuffle = recorded_bodies(name), random.Random(4)
    expected = recorded_groups(name, bodies)
    for _ in range(5):
        mixed = []
        for body in bodies:
            parts = [attribute(kind | 0x8000 * (kind in (1, 2, 4)), payload) for kind, payload in tree(body[4:])]
            shuffle.shuffle(parts)
            mixed.append(body[:4] + b"".join(parts))
        assert recorded_groups(name, mixed) == expected


def test_a_service_shows_what_was_asked_for_and_who_answered() -> None:
    groups = recorded_groups("nat", recorded_bodies("nat"))
    service = [g for g in groups if g.destination == Endpoint("10.96.0.1", 80)]
    assert [(g.state, g.entries) for g in service] == [("established", 3), ("time-wait", 2)]
    assert {(g.source, g.answered_by, g.source_as) for g in service} == {
        ("10.1.0.2", Endpoint("10.2.0.2", 8080), "10.2.0.1")
    }


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


def answering(answers: Sequence[bytes | int], monkeypatch: pytest.MonkeyPatch) -> list[ConntrackSocket]:
    """Sockets that receive these in turn, over all of them: bytes, or an errno. The sockets made are in the list."""
    left, made = list(answers), []

    def receive(_: ConntrackSocket) -> memoryview:
        answer = left.pop(0)
        if isinstance(answer, int):
            raise UnreadableError("netlink: no answer") from OSError(answer, "")
        return memoryview(answer)

    def request(self: ConntrackSocket, kind: int, body: bytes) -> None:
        assert (kind, body) == (0x101, bytes(4))
        self._sequence += 1
        made.append(self)

    monkeypatch.setattr(ConntrackSocket, "_receive", receive)
    monkeypatch.setattr(ConntrackSocket, "_request", request)
    return made


def first(body: bytes) -> bytes:
    return message(body, sequence=1)


END = message(bytes(4), kind=3, sequence=1)


def test_a_dump_is_one_unfiltered_request(monkeypatch: pytest.MonkeyPatch) -> None:
    made = answering([first(packed(PLAIN)), first(packed(PLAIN)) + END], monkeypatch)
    dump = dump_flows(TIMEOUTS)
    assert [g.entries for g in dump.table.groups()] == [2]
    assert (dump.overruns, len(made)) == (0, 1)


@pytest.mark.parametrize("lost", [errno.ENOBUFS, message(struct.pack("=i", -errno.ENOBUFS), kind=3, sequence=1)])
def test_an_overrun_begins_the_dump_again_once(lost: int | bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    answering([first(packed(PLAIN)), lost, first(packed(PLAIN)) + END], monkeypatch)
    dump = dump_flows(TIMEOUTS)
    assert ([g.entries for g in dump.table.groups()], dump.overruns) == ([1], 1)


def test_a_second_overrun_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    answering([errno.ENOBUFS, errno.ENOBUFS, END], monkeypatch)
    with pytest.raises(UnreadableError, match=r"lost a part .* 2 times \(ENOBUFS\)"):
        dump_flows(TIMEOUTS)


@pytest.mark.parametrize(
    ("number", "code", "capability"),
    [
        (errno.EPERM, "missing-capability", "CAP_NET_ADMIN"),
        (errno.EINVAL, "unsupported", None),
        (errno.ENOMEM, "unreadable", None),
    ],
)
def test_refusals_become_errors(
    number: int, code: str, capability: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering([message(struct.pack("=i", -number) + bytes(16), kind=ERROR, sequence=1)], monkeypatch)
    with pytest.raises(UnreadableError) as caught:
        dump_flows(TIMEOUTS)
    assert (caught.value.code, caught.value.missing_capability) == (code, capability)


def test_silence_is_no_overrun(monkeypatch: pytest.MonkeyPatch) -> None:
    answering([errno.EAGAIN, END], monkeypatch)
    with pytest.raises(UnreadableError, match="no answer"):
        dump_flows(TIMEOUTS)


def statistics(*values: tuple[int, int]) -> bytes:
    return bytes(4) + b"".join(attribute(kind, struct.pack(">I", value)) for kind, value in values)


def test_statistics_have_the_names_of_the_columns() -> None:
    assert dict(decode_statistics(statistics((10, 5), (9, 6), (11, 7), (99, 8)))) == {
        "drop": 5, "insert_failed": 6, "early_drop": 7,
    }  # fmt: skip


@given(st.binary(max_size=120))
def test_any_statistics_raise_nothing_else(data: bytes) -> None:
    try:
        found = dict(decode_statistics(data))
    except MalformedError:
        return
    assert set(found) <= set(conntrack._STATISTICS.values())
