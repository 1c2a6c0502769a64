"""A small real leak in a network namespace of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LEAKED = 61
"""More than the 50 that the rule asks for."""
LEAKER = """
import socket, sys
with open("/proc/self/comm", "w") as comm:
    comm.write("leaker")
listener = socket.create_server(("127.0.0.1", 0), backlog=600)
pairs = [(socket.create_connection(listener.getsockname()), listener.accept()[0]) for _ in range(int(sys.argv[1]))]
for client, _ in pairs:
    client.sendall(bytes(20_011))
print(flush=True)
sys.stdin.read()
"""


@contextmanager
def leaking() -> Iterator[int]:
    """Connections whose data is never read; the pid that holds them."""
    enter = ("unshare", "--net", "sh", "-ec", 'ip link set lo up; exec "$@"', "sh")
    command = [*enter, sys.executable, "-c", LEAKER, str(LEAKED)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process.pid
        finally:
            process.kill()
