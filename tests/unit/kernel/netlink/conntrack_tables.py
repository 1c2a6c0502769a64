"""Records of conntrack entries in a table: what its groups are, and whether each is counted."""

from __future__ import annotations

from whodunnet.kernel.netlink.conntrack_groups import PROTOCOLS, STATES, FlowTable
from whodunnet.model.conntrack import FlowGroup

from .conntrack_records import SEQUENCE, TIMEOUTS, Flow, done, message

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
