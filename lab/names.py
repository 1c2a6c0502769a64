"""Programs that look up names as the C library does it, each with a resolv.conf of its own, and a slow name server."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Callable
from threading import Thread
from typing import Any

from lab.actor import rest
from lab.connects import log
from lab.stage import Player, Pod, Stage

PORT = 53
FOUND, NOT_FOUND, NO_SERVER = "found", "not-found", "no-server"
RESOLVER = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
ANSWER_FLAGS = bytes.fromhex("8180")
"""An answer, recursion wanted and had, no error."""

HOST_ANSWER = bytes.fromhex("c00c 0001 0001 0000003c 0004 0a010203")
"""The name that was asked for has the address 10.1.2.3, for a minute."""


def resolving(
    stage: Stage, pod: Pod, comm: str, resolv_conf: str, function: Callable[..., None], *arguments: Any
) -> Player:
    """A function of a case with this resolv.conf, which nobody else sees."""
    path = stage.directory / f"resolv-{comm}.conf"
    path.write_text(resolv_conf)
    mounted = ("unshare", "--mount", "--propagation", "private", "sh", "-c", RESOLVER, str(path))
    return stage.play(pod, comm, function, *arguments, under=mounted)


def look_up_names(names: list[str], every_seconds: float) -> None:
    """Each name in a thread of its own, at this pace; log how each look-up ended, and after how long."""

    def go_on(name: str) -> None:
        while True:
            begin = time.monotonic()
            log(outcome(name), time.monotonic() - begin)
            time.sleep(max(0.0, begin + every_seconds - time.monotonic()))

    for name in names:
        Thread(target=go_on, args=(name,)).start()
    rest()


def outcome(name: str) -> str:
    try:
        socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return NO_SERVER if error.errno == socket.EAI_AGAIN else NOT_FOUND
    return FOUND


def waiting(pod: Pod, server: str) -> int:
    """UDP sockets of a pod which are connected to a name server, as ss sees them."""
    command = ["nsenter", f"--net={pod.netns}", "ss", "-Huan", "dst", f"{server}:{PORT}"]
    return len(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines())


def answer_late(seconds: float) -> None:
    """A name server that knows every name, and says so after a while."""

    async def go_on() -> None:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("", PORT))
        loop = asyncio.get_running_loop()

        def take() -> None:
            asked, asker = server.recvfrom(512)
            loop.call_later(seconds, server.sendto, answered(asked), asker)

        loop.add_reader(server, take)
        await asyncio.Event().wait()

    asyncio.run(go_on())


def answered(asked: bytes) -> bytes:
    """For a question of type A the one address, for another type nothing. Only the question comes back, no EDNS."""
    end = asked.index(b"\0", 12) + 5
    host = asked[end - 4 : end] == bytes.fromhex("00010001")
    counts = bytes((0, 1, 0, host, 0, 0, 0, 0))
    return asked[:2] + ANSWER_FLAGS + counts + asked[12:end] + (HOST_ANSWER if host else b"")
