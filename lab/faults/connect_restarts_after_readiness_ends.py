"""A rolling restart as in the book: each replica says it is not ready, waits until nobody comes, ends, and comes back.

The HAProxy before them checks each twice a second (GET /ready). While a replica is away its checks are refused, for two
seconds, and one server after the other is down, all day; but no user is ever sent to one that is, and
every request is answered.
"""

from __future__ import annotations

import asyncio
import os
import time
from itertools import chain, repeat

from lab.case import Expected
from lab.connects import ANSWER, ANSWERED, ANY, ConnectCase, call, calls, counter
from lab.look import Sight
from lab.node import Node
from lab.servers import configured_haproxy, up
from lab.stage import Player, Pod

PORT, FRONT_PORT = 8080, 80
READY_SECONDS, DRAIN_SECONDS, AWAY_SECONDS = 11.0, 5.0, 2.0
FIRST_READY_SECONDS = (5.0, 11.0, 17.0)
"""A third of a turn between them: before one goes, the one before it is nearly back, and the third is up."""

NOT_READY = b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
HAPROXY = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout check 3s
listen front
    bind :{port}
    balance roundrobin
    option httpchk GET /ready
    option redispatch
    default-server check inter 500ms fall 2 rise 2
{servers}
"""


def replica(first_ready_seconds: float) -> None:
    for ready_seconds in chain([first_ready_seconds], repeat(READY_SECONDS)):
        if not (child := os.fork()):
            asyncio.run(live(ready_seconds))
        os.waitpid(child, 0)
        print("ended", flush=True)
        time.sleep(AWAY_SECONDS)  # a program needs that long to start


async def live(ready_seconds: float) -> None:
    until = time.monotonic() + ready_seconds

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await reader.readuntil(b"\r\n\r\n")
            refused = asked.startswith(b"GET /ready") and time.monotonic() > until
            writer.write(NOT_READY if refused else ANSWER)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # whoever asked is gone
        finally:
            writer.close()

    async with await asyncio.start_server(answer, ANY, PORT):
        await asyncio.sleep(ready_seconds + DRAIN_SECONDS)
        os._exit(0)


class ConnectRestartsAfterReadinessEnds(ConnectCase):
    kind = "look-alike"
    rules_unread = True
    window_seconds = 10

    def start(self) -> None:
        self.node = Node(self.stage, "client", "balancer", "one", "two", "three")
        client, self.balancer_pod, *pods = self.node.pods
        self.servers = []
        for pod, seconds in zip(pods, FIRST_READY_SECONDS, strict=True):
            self.servers.append(server := self.stage.play(pod, "orders", replica, seconds))
            up(self.stage, pod, server, PORT)
        self.balancer = self.balance(pods)
        self.client = self.stage.play(client, "checkout", call, [(self.balancer_pod.address, FRONT_PORT)], 15, 5)

    def balance(self, pods: list[Pod]) -> Player:
        lines = (f"    server orders{n} {pod.address}:{PORT}" for n, pod in enumerate(pods))
        text = HAPROXY.format(port=FRONT_PORT, servers="\n".join(lines))
        return configured_haproxy(self.stage, self.balancer_pod, FRONT_PORT, text)

    def look(self) -> Sight:
        made, refused = calls(self.client), counter(self.balancer_pod.netns, "AttemptFails")
        ended = sum(server.log.read_text().count("ended") for server in self.servers)
        there = len(made) >= 100 and made.share(ANSWERED) >= 0.99 and ended >= 2 and refused >= 2
        return Sight(there, f"{made}; {ended} replicas have ended; {refused} checks were refused")

    def expected(self) -> Expected:
        parts = tuple(one.who() for one in (self.balancer, self.client, *self.servers))
        return Expected(rule=None, innocent=parts, bystanders=parts)
