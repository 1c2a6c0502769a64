"""A server may use a fifth of a CPU and needs a whole one: eight clients wait for it, most of the time for nothing.

Each answer takes 20 ms of work. After one answer its quota is used up, and it stands still for 80 ms with requests in
its receive queues, while the CPUs are idle.
"""

from __future__ import annotations

from lab.case import Case, Expected, Named
from lab.cpu_quota import PORT, Quota, ask, serve
from lab.look import Sight, connections

CLIENTS = 8


class CpuThrottledServer(Case):
    kind = "fault"
    rules = ("cpu-throttled", "socket-leak", "tcp-memory")
    age_seconds = 3

    def start(self) -> None:
        client_pod, self.pod = self.stage.pods("client", "server")
        self.quota = Quota(self.stage, cpus=0.2)
        self.server = self.stage.play(self.pod, "reports", serve, 0.02)
        self.quota.take(self.server)
        self.stage.play(client_pod, "browser", ask, self.pod.address, CLIENTS)

    def look(self) -> Sight:
        waiting = connections(self.pod.netns).where("ESTAB", local_port=PORT)
        unread = sum(connection.unread > 0 for connection in waiting)  # a request is a few bytes
        seen = f"{unread} of {len(waiting)} connections unread, throttled {self.quota.throttled()} times"
        return Sight(unread >= CLIENTS // 2 and self.quota.throttled() > 0, seen)

    def expected(self) -> Expected:
        return Expected(
            rule="cpu-throttled",
            severities=("warning",),
            shapes=("data-waits",),
            innocent=(self.server.who(),),
            others=(Named(self.server.who(), ("victim",)),),
        )
