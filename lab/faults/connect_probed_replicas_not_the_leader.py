"""Three databases behind a HAProxy that asks each "are you the leader?": two say 503, as they should, all the time.

So its page shows two of three servers as down, for weeks, and each of its checks of them is a failed one. That is how
a balancer finds the leader: only who says 200 gets connections. The replicas are well and follow; every request goes
to the leader and is answered.
"""

from __future__ import annotations

import asyncio

from lab.case import Expected
from lab.connects import ANSWER, ANSWERED, ANY, ConnectCase, call, calls, counter
from lab.look import Sight
from lab.node import Node
from lab.servers import configured_haproxy, up
from lab.stage import Player, Pod

PORT, STATUS_PORT, FRONT_PORT = 5432, 8008, 5000
NOT_LEADER = b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
LEADER = b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"
HAPROXY = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout check 3s
listen leader
    bind :{port}
    option httpchk GET /leader
    http-check expect status 200
    default-server check inter 500ms fall 3 rise 1 on-marked-down shutdown-sessions
{servers}
"""


def database(leads: bool) -> None:
    """It answers who asks for data, and on another port whether it leads; each such question leaves a line."""

    async def data(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await give(ANSWER, reader, writer)

    async def status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await give(LEADER if leads else NOT_LEADER, reader, writer)
        print("leader" if leads else "replica", flush=True)

    async def go_on() -> None:
        async with await asyncio.start_server(status, ANY, STATUS_PORT), await asyncio.start_server(data, ANY, PORT):
            await asyncio.Event().wait()

    asyncio.run(go_on())


async def give(answer: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass  # whoever asked is gone
    finally:
        writer.close()


class ConnectProbedReplicasNotTheLeader(ConnectCase):
    kind = "look-alike"
    rules_unread = True
    age_seconds = 3

    def start(self) -> None:
        self.node = Node(self.stage, "client", "balancer", "one", "two", "three")
        client, self.balancer_pod, *pods = self.node.pods
        self.databases = []
        for number, pod in enumerate(pods):
            self.databases.append(player := self.stage.play(pod, "postgres", database, number == 1))
            up(self.stage, pod, player, PORT)
        self.balancer = self.balance(pods)
        self.client = self.stage.play(client, "orders", call, [(self.balancer_pod.address, FRONT_PORT)], 10, 5)

    def balance(self, pods: list[Pod]) -> Player:
        lines = (f"    server db{n} {pod.address}:{PORT} check port {STATUS_PORT}" for n, pod in enumerate(pods))
        text = HAPROXY.format(port=FRONT_PORT, servers="\n".join(lines))
        return configured_haproxy(self.stage, self.balancer_pod, FRONT_PORT, text)

    def look(self) -> Sight:
        """All checks are answered, two in three of them by no."""
        made, refused = calls(self.client), counter(self.balancer_pod.netns, "AttemptFails")
        checks = [one.log.read_text().count("\n") for one in self.databases]
        late = made[-30:]
        there = len(late) == 30 and all(one.outcome == ANSWERED for one in late) and min(checks) >= 10
        return Sight(there and not refused, f"{made}; {checks} checks answered; {refused} connects failed")

    def expected(self) -> Expected:
        parts = tuple(one.who() for one in (self.balancer, self.client, *self.databases))
        cleared = ("connect-refused", "connect-timeout")
        return Expected(rule=None, cleared=cleared, innocent=parts, bystanders=parts)
