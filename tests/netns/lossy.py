"""One host and two servers, each by a cable of its own, with filters that lose what comes to a server."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
import time
from contextlib import ExitStack, suppress
from functools import partial

from netns.namespace import Namespace, ip

PORT, UNREAD_PORT = 8080, 8081
NET = f"10.{70 + os.getpid() % 20}"
ONE, TWO = f"{NET}.1.2", f"{NET}.2.2"
LOSS = "tcp flags & syn == 0 numgen random mod 100 < {percent} drop"
"""Of segments that come in, SYNs excepted."""
HOLE = "meta length > 1400 drop"
"""As a tunnel with too small an MTU, of which no message tells."""
NOTHING = "drop"


class Lines:
    """The host with a cable to each server, both of which read all that comes to one port, and nothing of the other."""

    def __init__(self) -> None:
        self.kept = ExitStack()
        self.host, one, two = (self.kept.enter_context(Namespace()) for _ in range(3))
        self.servers = {ONE: one, TWO: two}
        for number, (address, server) in enumerate(self.servers.items(), 1):
            self._cable(f"line{number}", server, f"{NET}.{number}.1", address)
            self._serve(server)

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self.kept.close()

    @staticmethod
    def forget(client: socket.socket) -> None:
        """Close it without what is left to send: the kernel would go on with that, in the readings of the next test."""
        with suppress(OSError):  # closed by the test
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

    def filter(self, address: str, rule: str, hook: str = "prerouting") -> None:
        """From now on, at that server, in place of any filter before."""
        table = f"table inet lossy {{\nchain c {{ type filter hook {hook} priority -300; {rule}; }}\n}}\n"
        text = f"add table inet lossy\ndelete table inet lossy\n{table}"
        self.servers[address](lambda: subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True))

    def connect(self, address: str, port: int = PORT) -> socket.socket:
        client = self.host(lambda: socket.create_connection((address, port), timeout=30))
        self.kept.callback(self.forget, client)
        return client

    def send(self, address: str, messages: int, size: int, pause: float = 0.0, port: int = PORT) -> threading.Thread:
        """On a connection of its own, which stays open."""
        client = self.connect(address, port)

        def run() -> None:
            with suppress(OSError):
                for _ in range(messages):
                    client.sendall(b"x" * size)
                    time.sleep(pause)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def counter(self, name: str) -> int:
        """Of the host, as nstat shows it."""
        shown = self.host(
            lambda: subprocess.run(["nstat", "-asz", name], check=True, capture_output=True, text=True).stdout
        )
        return int(shown.split()[shown.split().index(name) + 1])

    def _cable(self, device: str, server: Namespace, here: str, there: str) -> None:
        """Without segments larger than a packet, of which a filter would drop many at once."""
        self.host(lambda: ip(f"link add {device} gso_max_segs 1 type veth peer name {device}p gso_max_segs 1"))
        place = f"/proc/{os.getpid()}/task/{server(threading.get_native_id)}/ns/net"
        self.host(lambda: ip(f"link set {device}p netns {place}"))
        for end, name, address in ((self.host, device, here), (server, f"{device}p", there)):
            end(partial(ip, f"addr add {address}/24 dev {name}"))
            end(partial(ip, f"link set {name} up"))

    def _serve(self, server: Namespace) -> None:
        for port, reads in ((PORT, True), (UNREAD_PORT, False)):
            listener = self.kept.enter_context(server(partial(socket.create_server, ("", port))))
            threading.Thread(target=self._accept, args=(listener, reads), daemon=True).start()

    def _accept(self, listener: socket.socket, reads: bool) -> None:
        with suppress(OSError):
            while True:
                accepted = self.kept.enter_context(listener.accept()[0])
                if reads:
                    threading.Thread(target=_drain, args=(accepted,), daemon=True).start()


def _drain(accepted: socket.socket) -> None:
    with suppress(OSError):
        while accepted.recv(65536):
            pass
