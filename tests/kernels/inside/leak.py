"""A process that never reads its responses, and commands run while it leaks. Runs in a virtual machine.

`python -m inside.leak CONNECTIONS BYTES SECONDS COMMANDS`: so many connections with so many bytes each, on which
nothing has moved for that long. COMMANDS: {"name": ["command", ...]}. Prints the pids of reader and server and what
each command answered, as JSON.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .facts import idle_seconds, wait_until


def play(comm: str, act: Callable[[], object]) -> tuple[int, int]:
    """A child by that name: does something, says so, and stays until we end. Its pid, and where it says so."""
    (ready, tell), (alive, ours) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        Path("/proc/self/comm").write_text(comm)
        os.close(ours)
        kept = act()
        os.write(tell, b"x")
        os.read(alive, 1)  # until the parent is gone
        os._exit(0 if kept else 1)
    os.close(tell)
    os.close(alive)
    return pid, ready


def serve(listener: socket.socket, connections: int, response: bytes) -> list[socket.socket]:
    """Each response is in the send buffer as a whole, so that the server has nothing more to do."""
    accepted = [listener.accept()[0] for _ in range(connections)]
    for connection in accepted:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(response))
        connection.setblocking(False)
        assert connection.send(response) == len(response)
    return accepted


def request(listener: socket.socket, connections: int, seconds: float) -> list[socket.socket]:
    """Connects, and takes none of what comes."""
    address = listener.getsockname()
    listener.close()
    made = [socket.create_connection(address) for _ in range(connections)]
    wait_until(lambda: min(map(idle_seconds, made)) >= seconds and all(has_data(c) for c in made))
    return made


def has_data(connection: socket.socket) -> bool:
    return bool(connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))


def answer(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {"status": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


def main(connections: int, size: int, seconds: float, commands: dict[str, list[str]]) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=connections) as listener:
        server, served = play("server", lambda: serve(listener, connections, bytes(size)))
        reader, aged = play("foo-health", lambda: request(listener, connections, seconds))
    assert os.read(served, 1) == os.read(aged, 1) == b"x"
    print(
        json.dumps(
            {
                "reader": reader,
                "server": server,
                "answers": {name: answer(command) for name, command in commands.items()},
            }
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), json.loads(sys.argv[4]))
