"""An nginx whose worker may have 64 connections (worker_connections), and a radio with more listeners than that.

Each listener stays for hours and takes a trickle of bytes. The kernel takes every further connection and nginx accepts
it, finds no room in its own table, and closes it at once: who asks is connected within a millisecond, and reset. No
queue is full, no descriptor lacks, the CPU is idle; only nginx's log says "worker_connections are not enough".
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from lab.case import QUEUE_RULES, Expected
from lab.connects import ANSWERED, ConnectCase, answerable, call, calls, counter, named
from lab.look import Sight, connections, wait_until
from lab.node import Node
from lab.servers import NGINX, documents, up
from lab.stage import Player, Pod

PORT, LIMIT, LISTENERS, AGAIN_SECONDS = 80, 64, 80, 4.0
FULL = LIMIT - 8
"""Some of its connections nginx needs for its listeners and to hear from its master."""

SHIPPED, SET = "worker_connections 15000;", f"worker_connections {LIMIT};"
RADIO = "location /radio {{ alias {directory}/large; limit_rate 300; }}"
TUNE_IN = b"GET /radio HTTP/1.1\r\nHost: lab\r\n\r\n"
NO_ROOM = "worker_connections are not enough"


def listen_to_radio(address: str) -> None:
    """Whoever finds no place tries again some seconds later."""

    async def stay(number: int) -> None:
        await asyncio.sleep(number / 20)
        while True:
            with suppress(OSError):  # no place
                await tune_in(address)
            await asyncio.sleep(AGAIN_SECONDS)

    async def all_of_them() -> None:
        await asyncio.gather(*(stay(number) for number in range(LISTENERS)))

    asyncio.run(all_of_them())


async def tune_in(address: str) -> None:
    reader, writer = await asyncio.open_connection(address, PORT)
    try:
        writer.write(TUNE_IN)
        while await reader.read(4096):
            pass
    finally:
        writer.close()


class ResetNginxConnectionsUsedUp(ConnectCase):
    kind = "fault"
    rules_unread = True
    rules = QUEUE_RULES

    def start(self) -> None:
        self.node = Node(self.stage, "radio", "client", "server")
        radio, client, self.server_pod = self.node.pods
        self.server = self.serve(self.server_pod)
        self.radio = self.stage.play(radio, "radio", listen_to_radio, self.server_pod.address)
        wait_until(lambda: self.held >= FULL, 20, self.stage.logs)
        self.client = self.stage.play(client, "checkout", call, [(self.server_pod.address, PORT)], 10, 2)

    def serve(self, pod: Pod) -> Player:
        directory = documents(self.stage, "nginx-radio")
        text = NGINX.format(directory=directory, port=PORT, keep_alive="1h", files=16_000)
        root = f"root {directory};"
        assert SHIPPED in text
        assert root in text
        text = text.replace(SHIPPED, SET).replace(root, f"{root} {RADIO.format(directory=directory)}")
        (directory / "nginx.conf").write_text(text)
        command = ["nginx", "-e", "stderr", "-p", str(directory), "-c", str(directory / "nginx.conf")]
        return up(self.stage, pod, self.stage.run(pod, "nginx", *command), PORT)

    @property
    def held(self) -> int:
        return len(connections(self.server_pod.netns).where("ESTAB", local_port=PORT))

    def look(self) -> Sight:
        made, sent = calls(self.client), counter(self.server_pod.netns, "OutRsts")
        full = self.server.log.read_text(errors="replace").count(NO_ROOM)
        dropped, held = counter(self.server_pod.netns, "ListenOverflows"), self.held
        there = len(made) >= 30 and made.share(ANSWERED) <= 0.1 and sent >= 20 and full >= 20 and held >= FULL
        seen = f"{made}; {held} connections held, {sent} resets sent, {full} times no room; {dropped} dropped"
        return Sight(there and not dropped, seen)

    def expected(self) -> Expected:
        """The listeners do what they are there for: who sends them away has lost his listeners."""
        return Expected(
            rule="resets",
            severities=("warning", "critical"),
            tolerated=(self.server.who(),),
            innocent=(self.client.who(), self.radio.who()),
            others=(named(self.client), answerable(self.server)),
            endpoint=(self.server_pod.address, PORT),
        )
