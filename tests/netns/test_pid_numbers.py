"""Numbers of processes where ours are not those of the machine: a container's tool names nobody for what others did."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="pid namespaces need root")]

SCRIPT = Path(__file__).with_name("numbered.py")
OWN = ("unshare", "--pid", "--fork", "--mount-proc")
SIBLING = ("unshare", "--pid", "--fork")
MADE = 5
CONNECT = f"""
import socket, sys
with open("/proc/thread-self/comm", "w") as comm:
    comm.write(sys.argv[2])
connections = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range({MADE})]
"""


def connect(port: int, name: str, *enter: str) -> None:
    subprocess.run([*enter, sys.executable, "-c", CONNECT, str(port), name], check=True)


def test_who_has_no_number_here_is_not_given_that_of_another() -> None:
    """A sibling's first process has the same number as ours, and one outside has none as deep as ours at all."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=64) as listener,
        subprocess.Popen([*OWN, sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as watcher,
    ):
        assert watcher.stdout is not None
        number, own_port = json.loads(watcher.stdout.readline())
        port = listener.getsockname()[1]
        connect(port, "outside")
        connect(port, "sibling", *SIBLING)
        seen = json.loads(watcher.communicate(timeout=60)[0])
    assert number == 1
    assert {tuple(one) for one in seen if one[0] in (port, own_port)} == {
        (own_port, "initiated", number, "inside", 1),
        (port, "initiated", None, "outside", MADE),
        (port, "initiated", None, "sibling", MADE),
    }
