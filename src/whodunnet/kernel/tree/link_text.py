"""What `ip -s -d link`, `tc -s qdisc show` and `ip -o addr` print (ip/ipaddress.c, tc/tc_qdisc.c of iproute2)."""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

from whodunnet.model.bounds import INT64_MAX
from whodunnet.model.text import clean

DEVICES_MAX: Final = 4096
ADDRESSES_MAX: Final = 16_384
_DEVICE: Final = re.compile(r"(\d{1,10}): (\S{1,32}): <([A-Z0-9_,-]{0,255})> (.*)")
_QUEUE: Final = re.compile(r"\bqdisc (\S{1,32})")
_KIND: Final = re.compile(r"    ([a-z][a-z0-9_]{1,15})(?: |$)")
_COUNTED: Final = re.compile(r"    (RX|TX): +(.*)")
_ADDRESS: Final = re.compile(r"\d{1,10}: (\S{1,32}) +inet6? (\S{2,45})/(\d{1,3})(?: .*)?")
_ROOT: Final = re.compile(r"qdisc (\S{1,32}) [0-9a-f]{1,8}: dev (\S{1,32}) root(?: .*)?")
_SENT: Final = re.compile(r" Sent \d{1,20} bytes (\d{1,20}) pkt \(dropped (\d{1,20}), .*")
_NAMES: Final = {
    "RX": {"packets": "rx_packets", "errors": "rx_errors", "dropped": "rx_dropped", "missed": "rx_missed"},
    "TX": {"packets": "tx_packets", "errors": "tx_errors", "dropped": "tx_dropped"},
}
_KINDS: Final = frozenset({
    "veth", "bridge", "bond", "vlan", "vxlan", "dummy", "ifb", "tun", "tap", "macvlan", "ipvlan", "ipip", "gre", "sit",
    "wireguard", "team", "vrf", "geneve", "openvswitch", "ip6tnl", "vti", "macvtap", "ipvtap", "nlmon", "netkit",
})  # fmt: skip
"""Words that begin the line of details of a virtual device; hardware has no such word there."""


class PrintedLink(NamedTuple):
    """counters: by the names of model.links.LinkCounters, empty where none were printed."""

    number: int
    name: str
    kind: str | None
    up: bool
    carrier: bool
    loopback: bool
    queue: str | None
    counters: dict[str, int]


class PrintedQueue(NamedTuple):
    """The root queue of a device: packets that passed, and those it dropped with all queues below it."""

    kind: str
    packets: int
    drops: int


class PrintedAddress(NamedTuple):
    device: str
    address: str
    prefix_length: int


def parse_links(data: bytes) -> tuple[list[PrintedLink], int]:
    """Devices, and how many were left out: they are too many, or their counters are not understood."""
    blocks: list[list[str]] = []
    for line in data.decode(errors="replace").split("\n"):
        if _DEVICE.fullmatch(line):
            blocks.append([line])
        elif blocks and line.startswith(" "):
            blocks[-1].append(line)
    links = [_link(block) for block in blocks[:DEVICES_MAX]]
    found = [link for link in links if link is not None]
    return found, len(blocks) - len(found)


def parse_queues(data: bytes) -> dict[str, PrintedQueue]:
    """Root queues by the name of their device; what is of other form is passed over."""
    found: dict[str, PrintedQueue] = {}
    root: re.Match[str] | None = None
    for line in data.decode(errors="replace").split("\n"):
        sent = _SENT.fullmatch(line)
        if root is not None and sent is not None and len(found) < DEVICES_MAX:
            passed, dropped = (min(int(number), INT64_MAX) for number in sent.groups())
            found[clean(root[2])] = PrintedQueue(clean(root[1]), passed, dropped)
        root = _ROOT.fullmatch(line)
    return found


def parse_addresses(data: bytes) -> tuple[list[PrintedAddress], int]:
    """Addresses without those of loopback and IPv6's link-local ones, and how many were left out."""
    matches = (_ADDRESS.fullmatch(line) for line in data.decode(errors="replace").split("\n"))
    every = [found for match in matches if match is not None and (found := _address(match)) is not None]
    return every[:ADDRESSES_MAX], max(len(every) - ADDRESSES_MAX, 0)


def _link(block: list[str]) -> PrintedLink | None:
    head = _DEVICE.fullmatch(block[0])
    assert head is not None  # a block begins with one
    counters: dict[str, int] = {}
    for line, values in zip(block, [*block[1:], ""], strict=True):
        counted = _COUNTED.fullmatch(line)
        if counted is None:
            continue
        titles, numbers = counted[2].split(), values.split()
        if len(titles) != len(numbers) or not all(n.isascii() and n.isdigit() and len(n) <= 20 for n in numbers):
            return None
        names = _NAMES[counted[1]]
        pairs = zip(titles, numbers, strict=True)
        counters |= {names[title]: min(int(n), INT64_MAX) for title, n in pairs if title in names}
    flags, queue = head[3].split(","), _QUEUE.search(head[4])
    kinds = [match[1] for line in block[2:] if (match := _KIND.match(line)) and match[1] in _KINDS]
    return PrintedLink(
        number=int(head[1]), name=clean(head[2].partition("@")[0]), kind=kinds[0] if kinds else None,
        up="UP" in flags, carrier="NO-CARRIER" not in flags, loopback="LOOPBACK" in flags,
        queue=queue[1] if queue else None, counters=counters,
    )  # fmt: skip


def _address(match: re.Match[str]) -> PrintedAddress | None:
    try:
        found = ipaddress.ip_address(match[2])
    except ValueError:
        return None
    if found.is_loopback or (found.version == 6 and found.is_link_local) or int(match[3]) > found.max_prefixlen:
        return None
    return PrintedAddress(clean(match[1].partition("@")[0]), str(found), int(match[3]))
