"""A dashboard subscribes anew for each page that somebody looks at, takes the first message, and never unsubscribes.

The broker sends two kilobytes a second to each that has subscribed, as it is asked to. So what lies unread grows in
each of the dashboard's sockets, a little at a time, and there are two more of them each second. Its pages come at once,
the archive has every message, and it is the broker whose send queues will be full and whose memory will grow.
"""

from __future__ import annotations

import asyncio
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lab.case import Case, Expected
from lab.connects import ANSWER, ANSWERED, ANY, call, calls
from lab.host import short_of_tcp_memory
from lab.look import Sight, connections
from lab.servers import up

PORT, FRONT, MESSAGE = 6379, 8080, bytes(2000)
SUBSCRIBE = b"SUBSCRIBE prices\r\n"
AT_LEAST = 25


def publish() -> None:
    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        while not writer.is_closing():
            writer.write(MESSAGE)
            await asyncio.sleep(1)

    async def go_on() -> None:
        async with await asyncio.start_server(tell, ANY, PORT, backlog=100) as server:
            await server.serve_forever()

    asyncio.run(go_on())


def subscribed(broker: str) -> socket.socket:
    connection = socket.create_connection((broker, PORT))
    connection.sendall(SUBSCRIBE)
    return connection


def show(broker: str) -> None:
    seen = []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(prices := subscribed(broker))
            prices.recv(len(MESSAGE), socket.MSG_WAITALL)
            self.wfile.write(ANSWER)

    ThreadingHTTPServer(("", FRONT), Page).serve_forever()


def archive(broker: str) -> None:
    prices = subscribed(broker)
    while prices.recv(len(MESSAGE), socket.MSG_WAITALL):
        print("kept", flush=True)


class SubscriptionsForgottenByDashboard(Case):
    kind = "fault"
    rules_unread = True
    window_seconds = 15

    def start(self) -> None:
        users, self.pod, self.archive_pod, broker = self.stage.pods("users", "dashboard", "archive", "broker")
        self.address = broker.address
        self.broker = self.stage.play(broker, "broker", publish)
        up(self.stage, broker, self.broker, PORT)
        self.archive = self.stage.play(self.archive_pod, "archive", archive, broker.address)
        self.dashboard = self.stage.play(self.pod, "dashboard", show, broker.address)
        up(self.stage, self.pod, self.dashboard, FRONT)
        self.users = self.stage.play(users, "users", call, [(self.pod.address, FRONT)], 2, 5)

    def look(self) -> Sight:
        held, kept = connections(self.pod.netns).where("ESTAB", peer_port=PORT), self.archive.log.read_text()
        made, other = calls(self.users), connections(self.archive_pod.netns).where("ESTAB", peer_port=PORT)
        there = len(held.unread) >= AT_LEAST and made.share(ANSWERED) > 0.9
        well = kept.count("kept") >= 5 and len(other) == 1 and not other.unread
        seen = f"dashboard: {held}, {len(held.unread)} of them unread; archive: {len(other.unread)} of {len(other)}"
        return Sight(there and well, f"{seen}; pages: {made}")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            also=("tcp-memory",) if short_of_tcp_memory() else (),
            severities=("info", "warning"),  # of a minute, and of little memory as yet
            culprits=(self.dashboard.who(),),
            innocent=(self.broker.who(), self.archive.who(), self.users.who()),
            bystanders=(self.archive.who(), self.users.who()),
            endpoint=(self.address, PORT),
        )
