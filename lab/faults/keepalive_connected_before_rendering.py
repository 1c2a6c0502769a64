"""A program connects first, then renders its report for four seconds, then sends it: nginx has closed after three.

Nothing was ever asked on such a connection, so it is no kept-alive one, and nginx keeps those for an hour: what counts
for the first request is another setting (client_header_timeout, here 3 s). Beside it are others with the same pauses
between two requests to the same port, none of which ever fails. Whoever looks up keepalive_timeout finds nothing wrong.
"""

from __future__ import annotations

import asyncio
import time
from http.client import HTTPConnection, HTTPException
from threading import Thread

from lab.actor import rest
from lab.case import Expected
from lab.keepalive import ENOUGH, WatchedCase, mismatch
from lab.look import Sight
from lab.pools import ask, say, told, turns, went, with_http_client
from lab.servers import NGINX, documents, up
from lab.stage import Player

PORT, CONNECTIONS, IDLE = 80, 20, (3.3, 4.5)
PATIENT, HASTY = "send_timeout 1h;", "send_timeout 1h; client_header_timeout 3s;"


def report(address: str) -> None:
    for begin_after, seconds in turns(CONNECTIONS, IDLE):
        Thread(target=report_in_turn, args=(address, begin_after, seconds)).start()
    rest()


def report_in_turn(address: str, begin_after: float, seconds: float) -> None:
    time.sleep(begin_after)
    while True:
        connection = HTTPConnection(address, PORT, timeout=10)
        connection.connect()
        time.sleep(seconds)  # the report is rendered
        try:
            ask(connection)
            say("answered", seconds)
        except (HTTPException, OSError) as error:
            say("failed", seconds, f"{type(error).__name__}: {error}")
            ask(connection)
        connection.close()


def measure(address: str) -> None:
    """From the connect until the end, over and over, without a word."""

    async def wait() -> None:
        while True:
            reader, writer = await asyncio.open_connection(address, PORT)
            begin = time.monotonic()
            await reader.read()
            say("closed", time.monotonic() - begin)
            writer.close()

    async def watch() -> None:
        await asyncio.gather(*(wait() for _ in range(3)))

    asyncio.run(watch())


class KeepaliveConnectedBeforeRendering(WatchedCase):
    kind = "fault"
    rules_unread = True
    server_waits = (3.0, 3.0)
    window_seconds = 8

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = self.serve()
        address = self.server_pod.address
        self.watch = self.stage.play(self.client_pod, "stopwatch", measure, address)
        self.client = self.stage.play(self.client_pod, "reports", report, address)
        self.other = self.stage.play(self.client_pod, "invoices", with_http_client, [address], PORT, 5, IDLE)

    def serve(self) -> Player:
        directory = documents(self.stage, "nginx-hasty")
        text = NGINX.format(directory=directory, port=PORT, keep_alive="1h", files=16_000)
        assert PATIENT in text
        (directory / "nginx.conf").write_text(text.replace(PATIENT, HASTY))
        command = ["nginx", "-e", "stderr", "-p", str(directory), "-c", str(directory / "nginx.conf")]
        return up(self.stage, self.server_pod, self.stage.run(self.server_pod, "nginx", *command), PORT)

    def look(self) -> Sight:
        sight = self.measured(self.failing(self.client, self.client_pod.netns))
        never_fails = len(told(self.other, "answered")) >= ENOUGH // 2 and not told(self.other, "failed")
        return Sight(sight.there and never_fails, f"{sight.seen}; {went(self.other)}")

    def expected(self) -> Expected:
        return mismatch(self.client, self.server, (self.server_pod.address, PORT), self.watch, self.other)
