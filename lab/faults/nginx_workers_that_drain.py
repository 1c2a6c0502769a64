"""An nginx that is reloaded every twelve seconds, as by the controller of an ingress: its old workers drain.

A reload starts a worker and tells the one before to finish. It listens no more, gets nobody new, and keeps whom it has
until the last one leaves: sixty users with websockets, who stay for half a minute or more. So there are always some
processes with connections and without a listener, and one whose connections become more each second; those whose time
is over end, and no more are open after an hour than after a minute.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

from lab.case import Case, Expected
from lab.faults.leak_to_own_sidecar_ipv6 import nginx_before
from lab.faults.websockets_through_nginx_ipv6 import PORT, UPGRADE, serve
from lab.look import Sight, connections
from lab.servers import up

USERS, RELOAD_SECONDS = 60, 12
STAY_SECONDS = 25.0, 50.0


def reload(master: int) -> None:
    while True:
        time.sleep(RELOAD_SECONDS)  # until an endpoint has changed again
        os.kill(master, signal.SIGHUP)
        print("reloaded", flush=True)


def watch(address: str) -> None:
    import aiohttp

    async def user(session: aiohttp.ClientSession, number: int) -> None:
        await asyncio.sleep(number / 20)
        while True:
            with suppress(aiohttp.ClientError):
                async with session.ws_connect(f"http://{address}/scores") as websocket:
                    end = time.monotonic() + random.uniform(*STAY_SECONDS)
                    while time.monotonic() < end:
                        await websocket.send_str("score?")
                        await websocket.receive_str()
                        await asyncio.sleep(3)
                print("left", flush=True)
            await asyncio.sleep(0.2)

    async def all_of_them() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(user(session, number) for number in range(USERS)))

    asyncio.run(all_of_them())


class NginxWorkersThatDrain(Case):
    kind = "look-alike"
    rules_unread = True
    window_seconds = 20
    ready_within_seconds = 90

    def start(self) -> None:
        user_pod, self.proxy_pod, server_pod = self.stage.pods("users", "proxy", "server")
        self.server = self.stage.play(server_pod, "scores", serve)
        up(self.stage, server_pod, self.server, PORT)
        passing = f"proxy_pass http://{server_pod.address}:{PORT}; {UPGRADE}"
        self.proxy = nginx_before(self.stage, self.proxy_pod, 80, passing)
        self.users = self.stage.play(user_pod, "users", watch, self.proxy_pod.address)
        self.controller = self.stage.play(self.proxy_pod, "controller", reload, self.proxy.pid)

    def draining(self) -> int:
        """Old workers, by the title that nginx gives them."""
        count = 0
        for pid in self.proxy.who().pids:
            with suppress(OSError):  # it has just ended
                count += b"shutting down" in Path(f"/proc/{pid}/cmdline").read_bytes()
        return count

    def look(self) -> Sight:
        seen, left = connections(self.proxy_pod.netns), self.users.log.read_text().count("left")
        held, onwards, old = seen.where("ESTAB", local_port=80), seen.where("ESTAB", peer_port=PORT), self.draining()
        few = len(seen.where("CLOSE-WAIT")) < 5 and not seen.unread
        there = USERS - 10 <= len(held) <= USERS + 5 and len(onwards) <= USERS + 5 and old >= 2 and left >= 5 and few
        return Sight(there, f"nginx: {held} in, {onwards} onwards, {old} workers drain; {left} users have left")

    def expected(self) -> Expected:
        players = (self.proxy, self.server, self.users, self.controller)
        return Expected(rule=None, innocent=tuple(player.who() for player in players))
