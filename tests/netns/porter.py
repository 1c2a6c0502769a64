"""A client and, in a process of its own, a server in one network namespace with few local ports, for tests of ports.

Run as `unshare --net python porter.py`; it prints its pid when it is ready, obeys lines on standard input ("hold 27
8080"), answers each with what came of it, and ends with it.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import subprocess
import sys

ADDRESS = "10.9.0.1"
PORTS = (8080, 8081, 8082)
KEPT: list[socket.socket] = []


def serve() -> None:
    """Accepts everything, and closes what its client has closed."""
    listeners = [socket.create_server((ADDRESS, port), backlog=500) for port in PORTS]
    held: list[socket.socket] = []
    print("listens", flush=True)
    while True:
        for ready in select.select([*listeners, *held], [], [])[0]:
            if ready in listeners:
                held.append(ready.accept()[0])
            else:
                held.remove(ready)
                ready.close()


def connect(port: int, bound: bool = False) -> socket.socket | None:
    """None where no local port is free. bound: to its own address, before."""
    one = socket.socket()
    try:
        if bound:
            one.bind((ADDRESS, 0))
        one.connect((ADDRESS, port))
    except OSError as error:
        one.close()
        if error.errno not in (errno.EADDRNOTAVAIL, errno.EADDRINUSE):
            raise
        return None
    return one


def hold(count: int, port: int) -> int:
    """Connections that are kept; how many."""
    made = [one for _ in range(count) if (one := connect(port)) is not None]
    KEPT.extend(made)
    return len(made)


def bind(count: int, port: int) -> int:
    """As hold, each bound before."""
    made = [one for _ in range(count) if (one := connect(port, bound=True)) is not None]
    KEPT.extend(made)
    return len(made)


def churn(count: int, port: int) -> int:
    """Connections that are closed by this end first; how many."""
    closed = 0
    for _ in range(count):
        one = connect(port)
        if one is not None:
            one.shutdown(socket.SHUT_WR)
            one.recv(1)
            one.close()
            closed += 1
    return closed


def listen(count: int, port: int) -> int:
    """Listeners from this port on."""
    KEPT.extend(socket.create_server((ADDRESS, port + n)) for n in range(count))
    return count


def main() -> None:
    for command in ("link set lo up", f"addr add {ADDRESS}/32 dev lo"):
        subprocess.run(["ip", *command.split()], check=True)
    server = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdout.readline() == "listens\n"
    print(os.getpid(), flush=True)
    try:
        for line in sys.stdin:
            order, *words = line.split()
            print({"hold": hold, "bind": bind, "churn": churn, "listen": listen}[order](*map(int, words)), flush=True)
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main()
