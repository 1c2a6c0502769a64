"""A healthy server with twenty thousand connections: each asks something every half minute, and reads the answer.

It is an nginx of two workers with a listener each, as a shop has it on a good day. They hold ten thousand sockets each,
which is more than all other programs of the machine together; nobody has unread data, and no connection is forgotten.
"""

from __future__ import annotations

from lab.case import LIMIT_RULES, Case, Expected
from lab.load import keep_busy
from lab.look import Sight, connections
from lab.servers import NGINX, documents, up
from lab.stage import Player, Pod, Stage

CLIENTS, EACH = 2, 10_000
CONNECTIONS = CLIENTS * EACH
EVERY_SECONDS = 30
FILES = 19_000
"""That a worker may have open; more than 20,000 the lab itself may not have everywhere."""


def nginx_of_two_workers(stage: Stage, pod: Pod, port: int) -> Player:
    """The kernel spreads connections evenly over its workers (reuseport)."""
    directory = documents(stage, "shop")
    text = NGINX.format(directory=directory, port=port, keep_alive="1h", files=FILES)
    for one, two in (
        ("worker_processes 1", "worker_processes 2"),
        ("worker_connections 15000", f"worker_connections {FILES}"),
        ("backlog=4096", "backlog=4096 reuseport"),
    ):
        assert one in text
        text = text.replace(one, two)
    (directory / "nginx.conf").write_text(text)
    command = ["nginx", "-e", "stderr", "-p", str(directory), "-c", str(directory / "nginx.conf")]
    return up(stage, pod, stage.run(pod, "nginx", *command), port)


class BusyServerOfTwentyThousand(Case):
    kind = "look-alike"
    rules_unread = True
    rules = LIMIT_RULES
    window_seconds = 10
    ready_within_seconds = 90

    def start(self) -> None:
        *client_pods, self.server_pod = self.stage.pods("clients1", "clients2", "server")
        self.server = nginx_of_two_workers(self.stage, self.server_pod, 80)
        arguments = (self.server_pod.address, 80, EACH, EVERY_SECONDS)
        self.clients = [self.stage.play(pod, "browsers", keep_busy, *arguments) for pod in client_pods]

    def look(self) -> Sight:
        served = connections(self.server_pod.netns).where("ESTAB", local_port=80)
        waiting = sum(one.unread > 0 for one in served)
        seen = f"{served} established, {len(served.unread)} with unread data, {waiting} with a request that waits"
        return Sight(len(served) == CONNECTIONS and not served.unread and waiting < 100, seen)

    def expected(self) -> Expected:
        parts = (self.server.who(), *(client.who() for client in self.clients))
        return Expected(rule=None, innocent=parts, bystanders=parts)
