"""Ends connections in every way that needs no lost packet, and reads what the collector saw. In a virtual machine.

`python -m inside.connections '{"reused": 3, ...}'`: how many of each kind (KINDS); one JSON document with the sample.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress

import msgspec

from whodunnet.collectors.connections import ConnectionsCollector
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support

from .facts import CLOSE, CLOSE_WAIT, FIN_WAIT2, state, wait_until

Pair = tuple[socket.socket, socket.socket]
KINDS = ("reused", "raced", "linger", "refused", "client_first", "open_before", "dropped", "waiting")
DROPPED, SWALLOWED = "127.0.0.9", "127.0.0.10"
DROPS = f"type filter hook output priority 0; ip daddr {{ {DROPPED}, {SWALLOWED} }} drop;"
GIVEN_UP_SECONDS = 5.0
"""SYNs are repeated after 1 s and 3 s, or after each of four seconds."""
WAITED_SECONDS = (1.5, 2.0, 1.0)
"""Until each reading while they go on, each half a second away from any repeat."""
IDLE_SECONDS = 1.25
ACKNOWLEDGED_SECONDS = 0.5  # the FIN, which may take 0.2 s; then the closed end is a minisocket
RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER


def pairs(listener: socket.socket, count: int) -> list[Pair]:
    """(client, server), each with a request and a response."""
    made = [(socket.create_connection(listener.getsockname()), listener.accept()[0]) for _ in range(count)]
    for client, server in made:
        for sender, reader in ((client, server), (server, client)):
            sender.sendall(b"x")
            assert reader.recv(1) == b"x"
    return made


def reuse(made: list[Pair], after_seconds: float) -> None:
    """The server closes idle connections, and the client uses them as if nothing had happened."""
    time.sleep(IDLE_SECONDS)
    for _, server in made:
        server.close()
    for client, _ in made:
        wait_until(lambda client=client: state(client) == CLOSE_WAIT)  # type: ignore[misc]
    time.sleep(after_seconds)
    for client, _ in made:
        client.sendall(b"again")
        wait_until(lambda client=client: state(client) == CLOSE)  # type: ignore[misc]
        client.close()


def close_client_first(made: list[Pair]) -> None:
    for client, server in made:
        client.shutdown(socket.SHUT_WR)
        wait_until(lambda client=client: state(client) == FIN_WAIT2)  # type: ignore[misc]
        server.close()
        client.close()


def linger(made: list[Pair]) -> None:
    for client, server in made:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        server.close()
        wait_until(lambda client=client: state(client) == CLOSE)  # type: ignore[misc]
        client.close()


def be_refused(count: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    for _ in range(count):
        with suppress(ConnectionRefusedError):
            socket.create_connection(address)


def be_dropped(count: int) -> None:
    """By this node itself, which is an error where the kernel sends, and then it does not tell of it."""
    subprocess.run(["nft", f"table ip t {{ chain c {{ {DROPS} }}; }}"], check=True)
    asking = ask(DROPPED, count)
    time.sleep(GIVEN_UP_SECONDS)
    for one in asking:
        one.close()


def ask(address: str, count: int) -> list[socket.socket]:
    """Connects that are under way."""
    asking = [socket.socket() for _ in range(count)]
    for one in asking:
        one.setblocking(False)
        one.connect_ex((address, 9))
    return asking


def read_while_waiting(collector: ConnectionsCollector, count: int) -> list[int]:
    """SYNs that were sent again, by each reading while the connects go on; the last after they are given up."""
    asking, found = ask(SWALLOWED, count), []
    for seconds in WAITED_SECONDS:
        time.sleep(seconds)
        found.append(swallowed(collector))
    for one in asking:
        one.close()
    return [*found, swallowed(collector)]


def swallowed(collector: ConnectionsCollector) -> int:
    groups = [g for g in collector.collect().groups if str(g.server.address) == SWALLOWED]
    return sum(g.connections for g in groups if g.ending == "syn-retransmitted")


def main(counts: dict[str, int]) -> None:
    support = read_support(Roots())
    collector = ConnectionsCollector(Roots(), support)
    with socket.create_server(("127.0.0.1", 0)) as old, socket.create_server(("127.0.0.1", 0)) as listener:
        before = pairs(old, counts["open_before"])
        collector.start()
        close_client_first(before)
        reuse(pairs(listener, counts["reused"]), ACKNOWLEDGED_SECONDS)
        reuse(pairs(listener, counts["raced"]), 0)
        linger(pairs(listener, counts["linger"]))
        close_client_first(pairs(listener, counts["client_first"]))
        be_refused(counts["refused"])
        be_dropped(counts["dropped"])
        waited = read_while_waiting(collector, counts["waiting"])
        ports = {"old": old.getsockname()[1], "new": listener.getsockname()[1]}
    sample = msgspec.to_builtins(collector.collect())
    assert collector._ends is not None
    under_way = sum(map(abs, collector._ends._watch.under_way))
    collector.close()
    print(json.dumps({"pid": os.getpid(), "ports": ports, "waited": waited, "under_way": under_way, "sample": sample}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
