"""Incident 5 with a database: it says why before it closes what was idle, and the pool does not look ("gone away").

MySQL since 8.0.24 and PostgreSQL (idle_session_timeout) send an error before they close an idle connection. So the last
byte on the connection came at the moment of the close, and the client has unread data. The pool asks on it all the
same, is reset, and reads the old farewell where it waits for an answer. How long the database waits has to be told from
the last answer, not from the last byte.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

from lab.case import Expected
from lab.connects import ANY
from lab.keepalive import WatchedCase, mismatch
from lab.look import Sight
from lab.pools import say, spread
from lab.servers import up

PORT, WAIT_SECONDS, IDLE, CONNECTIONS = 3306, 3, (3.3, 4.5), 20
QUERY, ROW, FAREWELL = b"SELECT 1;\n", b"1 row\n", b"ERROR 4031: disconnected by the server because of inactivity\n"


def serve() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await asyncio.wait_for(reader.readline(), WAIT_SECONDS):
                writer.write(ROW)
        except TimeoutError:
            writer.write(FAREWELL)
        finally:
            writer.close()

    async def go_on() -> None:
        async with await asyncio.start_server(answer, ANY, PORT, backlog=100) as server:
            await server.serve_forever()

    asyncio.run(go_on())


def keep_pool(address: str) -> None:
    spread(CONNECTIONS, IDLE, lambda: [session(address)])


def session(address: str) -> Callable[[], None]:
    """A connection that is made anew when it has failed."""
    kept: list[socket.socket] = []

    def query() -> None:
        if not kept:
            kept.append(socket.create_connection((address, PORT), timeout=10))
        try:
            kept[0].sendall(QUERY)
            if (answer := kept[0].recv(4096)) != ROW:
                raise ConnectionError(answer.decode().strip() or "closed")
        except OSError:
            kept.pop().close()
            raise

    return query


def measure(address: str) -> None:
    """From the answer until the end, over and over."""
    while True:
        with socket.create_connection((address, PORT)) as connection:
            connection.sendall(QUERY)
            connection.recv(len(ROW))
            begin = time.monotonic()
            while connection.recv(4096):
                pass
            say("closed", time.monotonic() - begin)


class KeepaliveFarewell(WatchedCase):
    kind = "fault"
    rules_unread = True
    server_waits = (WAIT_SECONDS, WAIT_SECONDS)

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = self.stage.play(self.server_pod, "database", serve)
        up(self.stage, self.server_pod, self.server, PORT)
        self.watch = self.stage.play(self.client_pod, "stopwatch", measure, self.server_pod.address)
        self.client = self.stage.play(self.client_pod, "orders", keep_pool, self.server_pod.address)

    def look(self) -> Sight:
        return self.measured(self.failing(self.client, self.client_pod.netns))

    def expected(self) -> Expected:
        return mismatch(self.client, self.server, (self.server_pod.address, PORT), self.watch)
