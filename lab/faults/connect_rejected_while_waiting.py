"""A firewall rejects as before, and the client waits inside connect(): each needs a second until it reads the error.

The answer comes from this very node, while the call still has the socket locked; the kernel notes it, and tells the
caller only when the next SYN is answered so too. A caller that does not block is told at once.
"""

from __future__ import annotations

import socket
import time
from threading import Thread

from lab.actor import rest
from lab.connects import ANSWERED, log, name_of
from lab.faults.connect_rejected import ConnectRejected
from lab.stage import Player, Pod

THREADS = 10


def connect_and_wait(address: str, port: int) -> None:
    """As many a second as there are threads, at most."""

    def in_turn() -> None:
        while True:
            begin = time.monotonic()
            try:
                with socket.create_connection((address, port)):
                    log(ANSWERED, time.monotonic() - begin)
            except OSError as error:
                log(name_of(error), time.monotonic() - begin)
            time.sleep(max(0.0, begin + 1 - time.monotonic()))

    for _ in range(THREADS):
        Thread(target=in_turn).start()
    rest()


class ConnectRejectedWhileWaiting(ConnectRejected):
    def caller(self, pod: Pod, address: str) -> Player:
        return self.stage.play(pod, "checkout", connect_and_wait, address, 80)
