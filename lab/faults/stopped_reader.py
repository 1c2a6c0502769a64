"""A reader that somebody stopped (SIGSTOP, a debugger): the queues towards it are full, and no program is to blame.

Until it was stopped it read thirty downloads, a little at a time. Its state has to be said; nginx, which holds the
memory, is innocent.
"""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

from lab.actor import rest
from lab.case import Case, Expected, Named
from lab.look import Sight, connections, never_read, wait_until
from lab.servers import nginx
from lab.stage import Pod, status

DOWNLOADS = 30


def download(address: str) -> None:
    def read_slowly(_: int) -> None:
        connection = HTTPConnection(address)
        connection.request("GET", "/large")
        response = connection.getresponse()
        while response.read(10_000):
            time.sleep(0.1)
        rest()

    with ThreadPoolExecutor(DOWNLOADS) as threads:
        list(threads.map(read_slowly, range(DOWNLOADS)))


def was_reading(server: Pod) -> bool:
    """Every download is further than an unread receive buffer would let it come."""
    served = connections(server.netns).where("ESTAB", local_port=80)
    return len(served) == DOWNLOADS and min(c.acked for c in served) > 300_000


class StoppedReader(Case):
    kind = "look-alike"
    quick = True

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.client = self.stage.play(self.client_pod, "downloader", download, self.server_pod.address)
        wait_until(lambda: was_reading(self.server_pod), 20, self.stage.logs)
        os.kill(self.client.pid, signal.SIGSTOP)

    def look(self) -> Sight:
        full = never_read(self.client_pod.netns, self.server_pod.netns, 80, at_least=DOWNLOADS)
        state = status(self.client.pid)
        return Sight(full.there and state == "T", f"{full.seen}, reader in state {state}")

    def expected(self) -> Expected:
        return Expected(
            rule=None,
            also=("socket-leak",),
            innocent=(self.server.who(), self.client.who()),
            others=(Named(self.client.who(state="stopped"), ("reader",)),),
        )
