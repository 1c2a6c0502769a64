"""Recorded dumps of ctnetlink (fixtures/netlink/conntrack/about.md) against the texts that were recorded with them."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from whodunnet.kernel.netlink.conntrack_groups import FlowTable
from whodunnet.kernel.netlink.socket import split
from whodunnet.kernel.procfs.conntrack_entries import parse_entries
from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.sockets import Endpoint

from .conntrack_records import NEW, SEQUENCE, attribute, done, message, tree
from .conntrack_tables import numbers

RECORDED = Path(__file__).parents[3] / "fixtures/netlink/conntrack"
NAMES = ("nat", "everything-on")


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
