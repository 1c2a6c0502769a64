"""A packet filter with very many rules, each of which is tried on each packet, and who sends packets through it."""

from __future__ import annotations

import os
import socket
import subprocess
import time

from lab.actor import every
from lab.stage import Player, Pod, inside

PORT = 5004
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
"""asm-generic/socket.h; Python has no names for them."""
UNRECEIVED_BYTES = 8 << 20
"""More than a CPU keeps: a sender that waited for its packets to be received would lose none."""

NEVER_MATCHED = "  ip saddr 10.200.{}.{} udp dport {} counter drop\n"


def filter_slowly(place: Pod, hook: str, rules: int) -> None:
    """A chain as a policy controller writes it: a line for each pod and port it forbids, none of which is ours."""
    lines = "".join(NEVER_MATCHED.format(n // 250, n % 250 + 1, 1 + n % 5000) for n in range(rules))
    table = f"table ip forbidding {{\n chain forbidden {{ type filter hook {hook} priority 0;\n{lines} }}\n}}\n"
    command = ["nsenter", f"--net={place.netns}", "nft", "-f", "-"]
    subprocess.run(command, check=True, capture_output=True, input=table, text=True)


def send_bursts(address: str, packets: int, every_seconds: float, cpu: int) -> None:
    """So many small packets as fast as can be, then nothing until the next turn."""
    os.sched_setaffinity(0, {cpu})
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, UNRECEIVED_BYTES)
        for _ in every(every_seconds, times=1_000_000):
            begin = time.monotonic()
            for _ in range(packets):
                sender.sendto(b"x" * 100, (address, PORT))
            print(f"sent {packets} in {time.monotonic() - begin:.3f} s", flush=True)


def take(cpu: int, room_bytes: int = 0, address: str = "") -> None:
    """Read whatever comes. room_bytes: for what was not read yet, if more than is usual. address: "::" for IPv6."""
    os.sched_setaffinity(0, {cpu})
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as taker:
        if room_bytes:
            taker.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, room_bytes)
        taker.bind((address, PORT))
        while True:
            taker.recv(2000)


def unfilter(place: Pod) -> None:
    inside(place, "nft", "flush", "ruleset")


def sent(sender: Player) -> int:
    """Datagrams of all bursts that are over."""
    lines = sender.log.read_text(errors="replace").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("sent "))
