"""Incident 1 in a real pod over IPv6: a task queue keeps the answers it refused, and the node is out of TCP memory.

A worker fetches what its tasks name (requests, stream=True). What is larger than it may be is refused: the task goes
among the failed ones with its exception, which has the response, which has the connection. Each task that failed so
keeps one open, half-fetched, and nginx sits on the rest. Small answers still come through, so that everything calls
this node healthy; a shop in another pod asks for nothing else. The node's limit is lowered for this, and put back.
"""

from __future__ import annotations

from lab.actor import every
from lab.case import Case, Expected, Named
from lab.containerd import Containerd
from lab.host import TCP_MEM, read
from lab.load import ask_anew
from lab.look import Sight, connections, never_read, sockstat, wait_until
from lab.node import Node
from lab.servers import nginx

TOO_LARGE = 60
"""Tasks that are refused; all that come later are small."""

ONE_IN, EVERY_SECONDS = 4, 0.05
MOST_BYTES = 1_000_000


class TooLargeError(Exception):
    def __init__(self, url: str, response: object) -> None:
        super().__init__(f"{url} is too large")
        self.response = response


def work(address: str) -> None:
    import requests

    failed = []
    for number in every(EVERY_SECONDS, times=1_000_000):
        large = number % ONE_IN == 0 and number < TOO_LARGE * ONE_IN
        try:
            fetch(f"http://[{address}]/{'large' if large else 'small'}")
        except (TooLargeError, requests.RequestException) as error:
            failed.append(error)  # for whoever looks into it one day


def fetch(url: str) -> bytes:
    import requests

    response = requests.get(url, stream=True, timeout=30)
    if int(response.headers["Content-Length"]) > MOST_BYTES:
        raise TooLargeError(url, response)
    return response.content


class TcpMemoryTaskQueueInContainerdPodIpv6(Case):
    kind = "fault"
    rules_unread = True
    changes_global = True

    def start(self) -> None:
        self.node = Node(self.stage, "server")
        (self.server_pod,) = self.node.pods
        self.server = nginx(self.stage, self.server_pod)
        self.containerd = Containerd(self.stage, self.node, ipv6=True)
        address = self.server_pod.address6
        self.shop = self.containerd.play("shop", "shop", ask_anew, address, 80, 5)
        self.worker = self.containerd.play("task-queue", "task-queue", work, address)
        wait_until(lambda: self.leak().there, 60, lambda: self.leak().seen)
        own = sum(connections(netns).pages for netns in (self.worker.netns, self.server_pod.netns))
        self.maximum = own * 3 // 4
        self.stage.tcp_mem(own // 4, own // 2, self.maximum)

    def leak(self) -> Sight:
        return never_read(self.worker.netns, self.server_pod.netns, 80, at_least=TOO_LARGE)

    def look(self) -> Sight:
        used, seen = sockstat()["mem"], f"{self.leak().seen}; the worker has {self.worker.address6}"
        there = used > self.maximum and bool(self.worker.address6)
        return Sight(there, f"mem {used} pages, tcp_mem {read(TCP_MEM)}; {seen}")

    def expected(self) -> Expected:
        return Expected(
            rule="tcp-memory",
            also=("socket-leak",),
            shapes=("response-never-read",),
            culprits=(self.worker.who(),),
            innocent=(self.server.who(), self.shop.who()),
            others=(Named(self.server.who(), ("holder", "victim")),),
            endpoint=(self.server_pod.address6, 80),
        )
