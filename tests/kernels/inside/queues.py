"""Half-open connections and a UDP socket that drops, as the walk and the kernel's own tables have them. In a machine.

`python -m inside.queues HALF_OPEN DATAGRAMS`: one JSON document.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from whodunnet.kernel.bpf.socket_walk import SocketWalk
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support

SMALL_BUFFER = 4096


def waiting_to_send(clients: int) -> tuple[socket.socket, list[socket.socket]]:
    """A listener that wants data before it accepts, and those that have none: requests are all there is of them."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4 * clients)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 600)
    return listener, [socket.create_connection(listener.getsockname()) for _ in range(clients)]


def flooded(datagrams: int) -> socket.socket:
    """A socket that has no room for most of what comes."""
    full = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    full.bind(("127.0.0.1", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(datagrams):
            sender.sendto(bytes(1000), full.getsockname())
    return full


def drops_by_inode() -> dict[int, int]:
    """The last column of /proc/net/udp (udp4_format_sock, net/ipv4/udp.c)."""
    rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return {int(row[9]): int(row[12]) for row in rows}


def half_open(port: int) -> int:
    command = ["ss", "-Htn", "state", "syn-recv", f"sport = {port}"]
    return len(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines())


def main(clients: int, datagrams: int) -> None:
    listener, _kept = waiting_to_send(clients)
    full, port = flooded(datagrams), listener.getsockname()[1]
    with closing(SocketWalk(read_support(Roots()))) as walk:
        before, found, after = half_open(port), walk.read(), half_open(port)
    (queue,) = (q for q in found.accept_queues if q.local.port == port)
    print(
        json.dumps(
            {
                "pid": os.getpid(),
                "ss": [before, after],
                "requests": queue.requests,
                "waiting": queue.waiting,
                "inode": os.fstat(full.fileno()).st_ino,
                "procfs": {inode: drops for inode, drops in drops_by_inode().items() if drops},
                "drops": [(d.owner_pid, d.inode, d.dropped) for d in found.dropping],
            }
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
