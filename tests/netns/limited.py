"""A server in a network namespace of its own with a limit of descriptors, for tests of that limit.

Run as `unshare --net python limited.py LIMIT OPEN`: it opens so many pairs of sockets, then listens. It prints its pid
and its port. Asked "connect", it makes ten clients in a process of their own and waits until it can accept none.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import sys
import threading
import time

CLIENTS = """
import socket, sys
kept = [socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5) for _ in range(10)]
print("connected", flush=True)
sys.stdin.read()
"""


def serve(limit: int, opened: int) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    held = [end for _ in range(opened // 2) for end in socket.socketpair()]

    def take() -> None:
        while True:
            try:
                held.append(listener.accept()[0])
            except OSError:
                time.sleep(0.01)

    print(os.getpid(), flush=True)
    clients: subprocess.Popen[str] | None = None
    for _ in sys.stdin:
        clients = subprocess.Popen(
            [sys.executable, "-c", CLIENTS, str(listener.getsockname()[1])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        with contextlib.suppress(OSError):
            while True:  # as a program does that leaks: whatever is left goes too
                held.append(socket.socket())
        threading.Thread(target=take, daemon=True).start()
        assert clients.stdout is not None
        clients.stdout.readline()
        print("done", flush=True)
    if clients is not None:
        clients.kill()


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
