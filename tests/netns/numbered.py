"""The connections collector in a pid namespace of its own: who made the connections that it saw, by its numbers.

Run as `unshare --pid --fork --mount-proc python numbered.py`: it connects to itself, prints its number and the port
when it watches, and at the end of standard input what it saw, as JSON: port of the server, role, number of the owner,
its name, connections.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import closing
from pathlib import Path

from whodunnet.collectors.connections import ConnectionsCollector
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support


def main() -> None:
    Path("/proc/self/comm").write_text("inside")
    with closing(ConnectionsCollector(Roots(), read_support(Roots()))) as collector:
        collector.start()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            socket.create_connection(listener.getsockname()).close()
            print(json.dumps([os.getpid(), listener.getsockname()[1]]), flush=True)
            sys.stdin.read()
            groups = collector.collect().groups
    print(
        json.dumps(
            [(g.server.port, g.role, g.owner_pid, g.comm, g.connections) for g in groups if g.ending == "opened"]
        )
    )


if __name__ == "__main__":
    main()
