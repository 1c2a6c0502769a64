"""A proxy that lets each user have 64 kB a second (proxy_limit_rate): it leaves its origin waiting, by design.

A mirror is fetched through nginx, so that a release day does not take all of the uplink. The users are quick and read
whatever comes, so nothing is queued towards them; nginx could write on, and does not read. What shows is what a proxy
shows that has forgotten its downloads: unread data on each connection onwards, and full send queues at the origin. But
all of it moves, and each file arrives whole.
"""

from __future__ import annotations

import asyncio

from lab.case import Case, Expected
from lab.faults.leak_to_own_sidecar_ipv6 import nginx_before
from lab.host import short_of_tcp_memory
from lab.look import Sight, connections
from lab.servers import nginx

PORT, DOWNLOADS, PIECE = 8080, 24, 250_000
ASK = b"GET /large HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n"


def download(address: str) -> None:
    async def download_in_turn(begin_after: float) -> None:
        await asyncio.sleep(begin_after)
        while True:
            reader, writer = await asyncio.open_connection(address, PORT)
            writer.write(ASK)
            taken = 0
            while some := await reader.read(65_536):
                taken += len(some)
                if taken // PIECE > (taken - len(some)) // PIECE:
                    print("piece", flush=True)
            writer.close()

    async def go_on() -> None:
        await asyncio.gather(*(download_in_turn(0.2 * number) for number in range(DOWNLOADS)))

    asyncio.run(go_on())


class DownloadsThrottledByProxy(Case):
    kind = "look-alike"
    rules_unread = True
    window_seconds = 10
    ready_within_seconds = 90

    def start(self) -> None:
        self.user_pod, self.proxy_pod, self.origin_pod = self.stage.pods("users", "proxy", "origin")
        self.origin = nginx(self.stage, self.origin_pod)
        onwards = f"proxy_pass http://{self.origin_pod.address}; proxy_limit_rate 64k;"
        self.proxy = nginx_before(self.stage, self.proxy_pod, PORT, onwards)
        self.users = self.stage.play(self.user_pod, "users", download, self.proxy_pod.address)
        self.acked = 0

    def look(self) -> Sight:
        """Users have read some of each file, and nothing waits for them; behind the proxy nearly all is full."""
        unread = connections(self.proxy_pod.netns).where("ESTAB", peer_port=80).unread
        served = connections(self.origin_pod.netns).where("ESTAB", local_port=80)
        waiting = connections(self.user_pod.netns).where("ESTAB", peer_port=PORT).unread
        before, self.acked = self.acked, sum(c.acked for c in served)
        pieces = self.users.log.read_text().count("piece")
        full = min(len(unread), len(served.unsent)) >= DOWNLOADS - 6 and len(waiting) <= 6
        behind = f"proxy: {unread} unread, origin: {served.unsent} with full send queues"
        moved = f"{self.acked - before} bytes acked since; {pieces} pieces read, {len(waiting)} users have some unread"
        return Sight(full and pieces >= 2 * DOWNLOADS and self.acked > before, f"{behind}; {moved}")

    def expected(self) -> Expected:
        also = ("tcp-memory",) if short_of_tcp_memory() else ()
        players = (self.proxy, self.origin, self.users)
        return Expected(
            rule=None, also=also, cleared=("socket-leak",), innocent=tuple(player.who() for player in players)
        )
