"""A router that translates addresses between a client and a server, and conntrack(8) on it."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from contextlib import ExitStack

from netns.namespace import Namespace, set_sysctl

CLIENT, SERVER, SILENT, SERVICE, ROUTER = "10.1.0.2", "10.2.0.2", "10.2.0.99", "10.96.0.1", "10.2.0.1"
CLIENT6, SERVER6 = "fd00:1::2", "fd00:2::2"
SILENT_MAC = "02:00:00:00:00:99"


def nft_nat(server: str) -> str:
    """The Service is the server, and the client has the router's address there."""
    return f"""
table ip nat {{
    chain prerouting {{
        type nat hook prerouting priority -100; ip daddr {SERVICE} tcp dport 80 dnat to {server}:8080;
    }}
    chain postrouting {{ type nat hook postrouting priority 100; oifname "south" masquerade; }}
}}
"""


def iptables_nat(server: str) -> tuple[str, ...]:
    """The same, as commands."""
    return (
        f"iptables -t nat -A PREROUTING -d {SERVICE} -p tcp --dport 80 -j DNAT --to-destination {server}:8080",
        "iptables -t nat -A POSTROUTING -o south -j MASQUERADE",
    )


NFTABLES = f"""{nft_nat(SERVER)}
table ip6 watch {{
    chain forward {{ type filter hook forward priority 0; ct state new accept; }}
}}
"""
IPTABLES = (*iptables_nat(SERVER), "ip6tables -A FORWARD -m conntrack --ctstate NEW -j ACCEPT")


def mac_of(device: str) -> str:
    """In the namespace of the thread."""
    (link,) = json.loads(subprocess.run(("ip", "-j", "link", "show", device), check=True, capture_output=True).stdout)
    return str(link["address"])


class Net:
    """client -- router -- server; the router tracks and rewrites."""

    def __init__(self, kept: ExitStack, rules: Callable[[], None]) -> None:
        self.kept = kept
        self.router = kept.enter_context(
            Namespace("link add north type veth peer name client", "link add south type veth peer name server")
        )
        self.client = kept.enter_context(Namespace())
        self.server = kept.enter_context(Namespace())
        self._cable("client", self.client, "north", "10.1.0", "fd00:1:")
        self._cable("server", self.server, "south", "10.2.0", "fd00:2:")
        self.router(lambda: run(f"ip neigh add {SILENT} lladdr {SILENT_MAC} dev south nud permanent"))
        self.router(lambda: set_sysctl("ipv4/ip_forward", 1))
        self.router(lambda: set_sysctl("ipv6/conf/all/forwarding", 1))
        self.router(rules)

    def _cable(self, end: str, place: Namespace, here: str, net: str, net6: str) -> None:
        link = place(lambda: f"/proc/self/task/{threading.get_native_id()}/ns/net")
        descriptor = os.open(link, os.O_RDONLY)
        try:
            self.router(lambda: run(f"ip link set {end} netns /proc/{os.getpid()}/fd/{descriptor}"))
        finally:
            os.close(descriptor)
        for command in (
            f"addr add {net}.1/24 dev {here}",
            f"addr add {net6}:1/64 dev {here} nodad",
            f"link set {here} up",
        ):
            self.router(lambda command=command: run(f"ip {command}"))
        for command in (
            f"addr add {net}.2/24 dev {end}", f"addr add {net6}:2/64 dev {end} nodad", f"link set {end} up",
            f"route add default via {net}.1", f"-6 route add default via {net6}:1",
        ):  # fmt: skip
            place(lambda command=command: run(f"ip {command}"))
        # A busy machine may be late with the groups that are asked who has an address: here nobody need ask.
        known = f"ip -6 neigh replace {net6}:{{}} lladdr {{}} dev {{}} nud permanent"
        self.router(lambda: run(known.format(2, place(lambda: mac_of(end)), here)))
        place(lambda: run(known.format(1, self.router(lambda: mac_of(here)), end)))

    def keep(self, made: socket.socket) -> socket.socket:
        return self.kept.enter_context(made)

    def listen(self, address: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return self.server(lambda: self.keep(socket.create_server((address, port), family=family)))

    def connect(self, listener: socket.socket, to: tuple[str, int]) -> tuple[socket.socket, socket.socket]:
        client = self.client(lambda: self.keep(socket.create_connection(to, timeout=10)))
        return client, self.keep(listener.accept()[0])

    def everything(self) -> None:
        """Three kept and two closed through the Service, one nobody answers, UDP, ICMP, and IPv6."""
        service, six = self.listen(SERVER, 8080), self.listen(SERVER6, 8080)
        for _ in range(3):
            client, server = self.connect(service, (SERVICE, 80))
            client.sendall(b"x")
            assert server.recv(1) == b"x"
        for _ in range(2):
            client, server = self.connect(service, (SERVICE, 80))
            client.close()
            assert server.recv(1) == b""
            server.close()
        self.connect(six, (SERVER6, 8080))
        self.client(self._syn)
        self.client(lambda: self._datagrams(SILENT, 5))
        echo = self.server(lambda: self.keep(bound((SERVER, 53))))
        asking = self.client(lambda: self.keep(bound((CLIENT, 0))))
        asking.sendto(b"x", (SERVER, 53))
        _, back = echo.recvfrom(1)
        echo.sendto(b"y", back)
        assert asking.recv(1) == b"y"
        self.client(lambda: self._ping(socket.AF_INET, socket.IPPROTO_ICMP, SERVER, b"\x08"))
        self.client(lambda: self._ping(socket.AF_INET6, socket.IPPROTO_ICMPV6, SERVER6, b"\x80"))

    def _syn(self) -> None:
        connecting = self.keep(socket.socket())
        connecting.setblocking(False)
        connecting.connect_ex((SILENT, 9))

    def _datagrams(self, to: str, number: int) -> None:
        for _ in range(number):
            self.keep(bound((CLIENT, 0))).sendto(b"x", (to, 4000))

    def _ping(self, family: int, protocol: int, to: str, kind: bytes) -> None:
        packet = kind + bytes(3) + struct.pack(">HH", 77, 1)
        with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
            if family == socket.AF_INET:
                packet = packet[:2] + struct.pack(">H", 0xFFFF - (0x0800 + 77 + 1)) + packet[4:]
            raw.sendto(packet, (to, 0))
            assert select.select([raw], [], [], 10)[0]


def bound(address: tuple[str, int]) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(10)
    made.bind(address)
    return made


def run(command: str) -> str:
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout


def nft(*rules: str) -> None:
    for text in rules:
        subprocess.run(["nft", "-f", "-"], check=True, input=text, text=True)


def listed() -> str:
    return run("conntrack -L")
