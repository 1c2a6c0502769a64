"""A balancer of TCP ends what was idle for 2.5 s by a reset to both sides, as those of clouds do ("TCP reset on idle").

It means well: a reset is a plain answer, where others forget a connection in silence. Each second some connections of
two pools are reset, and none of them was in use: requests and httpx look before they ask, and open others. A third
client, which does not look, never pauses for so long. nginx would wait for an hour; nothing that was asked is lost.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from lab.case import Expected
from lab.connects import ANY, reset_at_close
from lab.keepalive import ENOUGH, KeepaliveCase
from lab.look import Sight, tcp_counter
from lab.pools import with_http_client, with_httpx, with_requests
from lab.servers import nginx, up

PORT, IDLE_SECONDS = 8080, 2.5
POOLS, IDLE, SHORT = 10, (3.3, 4.3), (0.5, 1.0)


def balance(address: str) -> None:
    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, onwards = await asyncio.open_connection(address, 80)
        try:
            async with asyncio.timeout(IDLE_SECONDS) as limit, asyncio.TaskGroup() as both:
                both.create_task(copy(reader, onwards, limit))
                both.create_task(copy(back, writer, limit))
        except TimeoutError:
            for end in (writer, onwards):
                reset_at_close(end.get_extra_info("socket"))
        finally:
            for end in (writer, onwards):
                end.transport.abort()

    async def go_on() -> None:
        async with await asyncio.start_server(pass_on, ANY, PORT, backlog=100) as server:
            await server.serve_forever()

    asyncio.run(go_on())


async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, limit: asyncio.Timeout) -> None:
    """What comes puts off the end, in either direction."""
    with suppress(OSError):
        while data := await source.read(65_536):
            limit.reschedule(asyncio.get_running_loop().time() + IDLE_SECONDS)
            sink.write(data)
        sink.write_eof()


class ResetOfIdlePoolsByBalancer(KeepaliveCase):
    kind = "look-alike"
    rules_unread = True
    window_seconds = 8

    def start(self) -> None:
        self.client_pod, balancer_pod, server_pod = self.stage.pods("client", "balancer", "server")
        self.server = nginx(self.stage, server_pod)
        self.balancer = self.stage.play(balancer_pod, "balancer", balance, server_pod.address)
        up(self.stage, balancer_pod, self.balancer, PORT)
        address = balancer_pod.address
        url = f"http://{address}:{PORT}/small"
        self.clients = [
            self.stage.play(self.client_pod, "pool-requests", with_requests, url, POOLS, IDLE),
            self.stage.play(self.client_pod, "pool-httpx", with_httpx, url, POOLS, IDLE),
            self.stage.play(self.client_pod, "ticker", with_http_client, [address], PORT, 5, SHORT),
        ]

    def look(self) -> Sight:
        """The client's kernel counts each reset of an open connection; the programs have not noticed any."""
        sight, resets = self.answered(*self.clients), tcp_counter(self.client_pod.netns, "EstabResets")
        return Sight(sight.there and resets >= 2 * ENOUGH, f"{sight.seen}; {resets} resets")

    def expected(self) -> Expected:
        parts = tuple(one.who() for one in (self.server, self.balancer, *self.clients))
        return Expected(rule=None, cleared=("keepalive-mismatch",), innocent=parts, bystanders=parts)
