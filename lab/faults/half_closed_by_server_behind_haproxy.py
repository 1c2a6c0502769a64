"""A server keeps its half of each connection open for ever, and the HAProxy before it has two sockets more for each.

Trackers report where they are: they connect, are told that it was noted, and close. HAProxy (TCP mode) hands the end
on, as it should, and waits for the server's: towards the tracker it is in CLOSE_WAIT, towards the server in FIN_WAIT2.
The server is of asyncio, where the end of what comes does not close what goes; its writers are in a list, in case there
is an order for a tracker, and nobody takes them out. By numbers, and by its CLOSE_WAIT, HAProxy is the one to suspect,
and its restart would help until tomorrow.
"""

from __future__ import annotations

import asyncio
import socket

from lab.actor import every
from lab.case import Case, Expected
from lab.connects import ANY
from lab.look import Sight, connections, descriptors
from lab.servers import haproxy, up

PORT, FRONT = 9200, 9100
AT_LEAST = 50


def note() -> None:
    trackers: list[asyncio.StreamWriter] = []

    async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        trackers.append(writer)
        while await reader.readline():
            writer.write(b"noted\n")

    async def go_on() -> None:
        async with await asyncio.start_server(follow, ANY, PORT, backlog=100) as server:
            await server.serve_forever()

    asyncio.run(go_on())


def report(address: str) -> None:
    for _ in every(0.4, times=100_000):
        with socket.create_connection((address, FRONT)) as connection:
            connection.sendall(b"53.55 9.99\n")
            if connection.recv(100) == b"noted\n":
                print("noted", flush=True)


class HalfClosedByServerBehindHaproxy(Case):
    kind = "fault"
    rules_unread = True
    age_seconds = 20
    window_seconds = 20

    def start(self) -> None:
        tracker_pod, self.proxy_pod, self.server_pod = self.stage.pods("trackers", "proxy", "server")
        self.server = self.stage.play(self.server_pod, "positions", note)
        up(self.stage, self.server_pod, self.server, PORT)
        self.proxy = haproxy(self.stage, self.proxy_pod, FRONT, f"{self.server_pod.address}:{PORT}")
        self.trackers = self.stage.play(tracker_pod, "trackers", report, self.proxy_pod.address)

    def look(self) -> Sight:
        kept = connections(self.server_pod.netns).where("CLOSE-WAIT", local_port=PORT)
        seen = connections(self.proxy_pod.netns)
        front, back = seen.where("CLOSE-WAIT", local_port=FRONT), seen.where("FIN-WAIT-2", peer_port=PORT)
        noted, own = self.trackers.log.read_text().count("noted"), descriptors(self.trackers.who().pids, "socket:")
        there = min(len(kept), len(front), len(back)) >= AT_LEAST and noted >= AT_LEAST and own < 5
        haproxy_has = f"haproxy: {front} in CLOSE-WAIT, {back} in FIN-WAIT-2"
        return Sight(there, f"server: {kept} in CLOSE-WAIT; {haproxy_has}; {noted} noted; trackers have {own} sockets")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            severities=("info", "warning"),  # of a minute
            culprits=(self.server.who(),),
            innocent=(self.proxy.who(), self.trackers.who()),
        )
