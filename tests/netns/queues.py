"""A network namespace of its own with one real program in it, and what is sent to it, for tests of full queues.

Run as `unshare --net python queues.py ROLE ...`; it prints its pid when it is ready, obeys single words on standard
input, answers each with a line, and ends with it.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time

ADDRESS, PORT = "10.9.0.1", 8080
UDP_PORT = 5353


def furnish() -> None:
    """A device that swallows what is sent to anybody in its network, so that nobody there answers."""
    for command in (
        "link set lo up",
        "link add silent type veth peer name nobody",
        "link set silent arp off",
        f"addr add {ADDRESS}/16 dev silent",
        "link set nobody up",
        "link set silent up",
    ):
        subprocess.run(["ip", *command.split()], check=True)


def listen(backlog: int, pause: float | None) -> None:
    """pause: between two accepts; None: accept nothing."""
    listener = socket.create_server(("", PORT), backlog=backlog)
    held = []

    def take() -> None:
        while True:
            held.append(listener.accept()[0])
            time.sleep(pause or 0)

    if pause is not None:
        threading.Thread(target=take, daemon=True).start()
    obey({"call": call, "one": lambda: call(1), "flood": flood})


def call(count: int = 40, kept: list[socket.socket] = []) -> None:  # noqa: B006
    """So many connects at once, which are held."""
    for _ in range(count):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex((ADDRESS, PORT))
        kept.append(one)


def flood(count: int = 400) -> None:
    """SYNs of as many senders, none of whom is there to answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for n in range(count):
            raw.sendto(syn(f"10.9.{1 + n // 250}.{1 + n % 250}", 20_000 + n), (ADDRESS, 0))


def syn(sender: str, port: int) -> bytes:
    """An IPv4 packet with a TCP segment that asks for a connection. The kernel fills in the sum of its header."""
    source, destination = socket.inet_aton(sender), socket.inet_aton(ADDRESS)
    segment = struct.pack("!HHIIBBHHH", port, PORT, port, 0, 5 << 4, 0x02, 64_240, 0, 0)
    pseudo = source + destination + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(segment))
    words = struct.unpack(f"!{len(pseudo + segment) // 2}H", pseudo + segment)
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    segment = segment[:16] + struct.pack("!H", ~total & 0xFFFF) + segment[18:]
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, socket.IPPROTO_TCP, 0)
    return header + source + destination + segment


def receive(port: int, room: int, reads: bool) -> None:
    """A UDP socket with so many bytes of room, which is read or not."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    receiver.bind((ADDRESS, port))

    def read() -> None:
        while True:
            receiver.recv(2000)

    if reads:
        threading.Thread(target=read, daemon=True).start()

    def send(count: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for n in range(count):
                sender.sendto(b"x" * 500, (ADDRESS, port))
                if reads and n % 10 == 0:
                    time.sleep(0.002)

    obey({"send": lambda: send(200), "few": lambda: send(2)})


def obey(orders: dict[str, object]) -> None:
    import os

    print(os.getpid(), flush=True)
    for line in sys.stdin:
        order = orders[line.strip()]
        assert callable(order)
        order()
        print("done", flush=True)


if __name__ == "__main__":
    furnish()
    role, *words = sys.argv[1:]
    if role == "listen":
        listen(int(words[0]), None if words[1] == "never" else float(words[1]))
    else:
        receive(int(words[0]), int(words[1]), words[2] == "reads")
