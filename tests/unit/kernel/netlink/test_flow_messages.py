"""Decoding messages about entries that come, change and go, against conntrack(8) and a second decoder."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError
from whodunnet.kernel.netlink.conntrack_groups import PROTOCOLS, STATES, state_name
from whodunnet.kernel.netlink.flow_messages import decode_event
from whodunnet.kernel.netlink.socket import Message, split
from whodunnet.model.flow_event import FlowEvent
from whodunnet.model.sockets import Endpoint

from ..damage import damaged
from .conntrack_records import ORIGINAL, Flow, attribute, flows, message, packed

RECORDED = Path(__file__).parents[3] / "fixtures/netlink/conntrack_events"
NEW, DELETE, CREATE = 0x100, 0x102, 0x600
KINDS = {"NEW": "new", "UPDATE": "changed", "DESTROY": "gone"}
NUMBERS = {name: number for number, name in PROTOCOLS.items()}


def decoded(data: bytes) -> list[FlowEvent]:
    return [event for message in split(memoryview(data)) if (event := decode_event(message)) is not None]


def of_line(line: str) -> FlowEvent:
    """One line of `conntrack -E -o extended,id`, by hand."""
    kind, family, number, remaining, state = re.match(
        r" *\[(\w+)\] ipv(\d) +\d+ \w+ +(\d+) (\d+) (?:([A-Z_]+) )?", line
    ).groups()  # type: ignore[union-attr]
    addresses, ports = re.findall(r"(?:src|dst)=(\S+)", line), [int(p) for p in re.findall(r"[sd]port=(\d+)", line)]
    ends = [Endpoint(a, p) for a, p in zip(addresses, ports or [None] * 4, strict=True)]
    packets, moved = (re.findall(rf"{what}=(\d+)", line) for what in ("packets", "bytes"))
    zone = re.search(r"zone=(\d+)", line)
    return FlowEvent(
        kind=KINDS[kind],
        family=int(family),
        protocol=PROTOCOLS[int(number)],
        source=ends[0],
        destination=ends[1],
        answered_by=ends[2],
        source_as=ends[3],
        state=state.lower().replace("_", "-") if state else "none",
        replied="[UNREPLIED]" not in line,
        assured="[ASSURED]" in line,
        zone=int(zone[1]) if zone else 0,
        entry=int(re.findall(r" id=(\d+)", line)[-1]),
        remaining_seconds=int(remaining),
        packets=sum(map(int, packets)) if packets else None,
        bytes=sum(map(int, moved)) if moved else None,
    )


@pytest.mark.parametrize("case", ["nat", "everything-on"])
def test_recorded_datagrams_say_what_conntrack_printed_of_them(case: str) -> None:
    events = decoded((RECORDED / f"{case}.bin").read_bytes())
    assert events == [of_line(line) for line in (RECORDED / f"{case}.conntrack.txt").read_text().splitlines()]
    assert {event.kind for event in events} == {"new", "changed", "gone"}
    assert {event.protocol for event in events} == {"tcp", "udp", "icmp", "icmpv6"}


@given(flows(), st.sampled_from([(NEW, CREATE, "new"), (NEW, 0, "changed"), (DELETE, 0, "gone")]))
def test_any_entry_is_told_as_it_was_packed(flow: Flow, how: tuple[int, int, str]) -> None:
    kind, flags, word = how
    (event,) = decoded(message(packed(flow), kind, flags))
    asks, asked, answers = flow.ports or (None, None, None)
    offloaded = bool(flow.status >> 14 & 3)
    named = PROTOCOLS.get(flow.protocol) or str(flow.protocol)
    state = "none" if flow.protocol not in STATES else None
    assert event == FlowEvent(
        kind=word,  # type: ignore[arg-type]
        family=6 if ":" in flow.source else 4,
        protocol=named,
        source=Endpoint(flow.source, asks),
        destination=Endpoint(flow.destination, asked),
        answered_by=Endpoint(flow.answered_by, answers),
        source_as=Endpoint(flow.source_as, asks),
        state=state if flow.state is None else state_name(flow.protocol, flow.state),
        replied=bool(flow.status & 2),
        assured=bool(flow.status & 4),
        offloaded=offloaded,
        zone=flow.zone,
        entry=0,
        remaining_seconds=flow.remaining,
    )


GOOD = packed(Flow("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.1", (4000, 80, 8080), 6, 3, 14, 7, 100))


@given(damaged(GOOD), st.sampled_from([NEW, DELETE]))
def test_damaged_messages_are_malformed_or_an_event(body: bytes, kind: int) -> None:
    try:
        event = decode_event(Message(kind, 0, 0, memoryview(body)))
    except MalformedError:
        return
    assert event is None or event.family in (4, 6)


def test_every_message_that_is_cut_short_is_malformed_or_lacks_only_what_may_be_missing() -> None:
    whole = decode_event(Message(NEW, 0, 0, memoryview(GOOD)))
    assert whole is not None
    for length in range(len(GOOD)):
        try:
            event = decode_event(Message(NEW, 0, 0, memoryview(GOOD[:length])))
        except MalformedError:
            continue
        assert event is not None
        assert event.ends == whole.ends


@pytest.mark.parametrize(
    "body",
    [
        b"\2\0\0",
        b"\2\0\0\0",
        b"\2\0\0\0" + attribute(ORIGINAL, b""),
        b"\12" + GOOD[1:],
        b"\2\0\0\0" + struct.pack("=HH", 3, 1),
        b"\2\0\0\0" + struct.pack("=HH", 400, 1),
    ],
    ids=["short", "empty", "no addresses", "IPv4 addresses in IPv6", "length below 4", "length beyond the end"],
)
def test_what_cannot_be_an_entry_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_event(Message(NEW, 0, 0, memoryview(body)))


def test_messages_about_something_else_are_no_event() -> None:
    assert decode_event(Message(0x200, 0, 0, memoryview(b""))) is None
    assert decode_event(Message(NEW, 0, 0, memoryview(b"\7\0\0\0"))) is None


def test_what_the_last_of_two_equal_attributes_says_counts() -> None:
    (event,) = decoded(message(GOOD + attribute(7, struct.pack(">I", 5))))
    assert event.remaining_seconds == 5


def test_counters_beyond_any_kernel_stay_within_a_sample() -> None:
    counters = attribute(9, attribute(2, b"\xff" * 8)) + attribute(10, attribute(2, b"\xff" * 8))
    (event,) = decoded(message(GOOD + counters, DELETE))
    assert (event.bytes, event.packets) == (2**63 - 1, None)
