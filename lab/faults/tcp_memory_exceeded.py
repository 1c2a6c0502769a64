"""Incident 1 in full: a leak has used up tcp_mem, and every transfer on the node suffers.

The node's limit is small (it is lowered for this, and put back whatever happens); a health check that reads no
response pushes the memory in use above the maximum. The client is to be named, not the server that holds the pages.
"""

from __future__ import annotations

from lab.case import Case, Expected
from lab.faults.two_leaks import check_health
from lab.host import TCP_MEM, read
from lab.look import Sight, connections, never_read, sockstat, wait_until
from lab.servers import nginx


class TcpMemoryExceeded(Case):
    kind = "fault"
    quick = True
    changes_global = True

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.client = self.stage.play(self.client_pod, "foo-health", check_health, self.server_pod.address, 60)
        wait_until(lambda: self.leak().there, 30, lambda: self.leak().seen)
        own = sum(connections(pod.netns).pages for pod in (self.client_pod, self.server_pod))
        self.maximum = own * 3 // 4
        self.stage.tcp_mem(own // 4, own // 2, self.maximum)

    def leak(self) -> Sight:
        return never_read(self.client_pod.netns, self.server_pod.netns, 80, at_least=60)

    def look(self) -> Sight:
        used = sockstat()["mem"]
        return Sight(used > self.maximum, f"mem {used} pages, tcp_mem {read(TCP_MEM)}; {self.leak().seen}")

    def expected(self) -> Expected:
        return Expected(
            rule="tcp-memory",
            also=("socket-leak",),
            shapes=("response-never-read",),
            culprits=(self.client.who(),),
            innocent=(self.server.who(),),
        )
