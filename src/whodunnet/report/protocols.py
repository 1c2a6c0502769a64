"""Names of protocols for people; samples keep the numbers of those that the kernel tracks without knowing them."""

from __future__ import annotations

from whodunnet.model.text import clean

NAMES = {
    "2": "igmp", "4": "ipip", "41": "ipv6", "50": "esp", "51": "ah", "89": "ospf", "112": "vrrp",
}  # fmt: skip
"""By number: https://www.iana.org/assignments/protocol-numbers; "ipip" and "vrrp" as /etc/protocols has them."""


def protocol_name(protocol: str) -> str:
    """ "udp", "igmp", "protocol 99"; cleaned."""
    if protocol in NAMES:
        return NAMES[protocol]
    return f"protocol {protocol}" if protocol.isdecimal() else clean(protocol)
