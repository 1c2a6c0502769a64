"""Large uploads on a slow path: send buffers are full for minutes, and everything moves.

Six uploads share 8 Mbit/s; the server reads at once whatever arrives. Full send queues here mean a slow link, not a
peer that does not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPConnection

from lab.case import Case, Expected
from lab.look import Sight, connections
from lab.servers import up

UPLOADS = 6


def store() -> None:
    from aiohttp import web

    async def put(request: web.Request) -> web.Response:
        async for _ in request.content.iter_any():
            pass
        return web.Response()

    application = web.Application()
    application.add_routes([web.put("/backup", put)])
    web.run_app(application, port=9000, print=None)


def upload(address: str) -> None:
    def backup() -> Iterator[bytes]:
        for _ in range(100_000):
            yield bytes(64_000)

    connection = HTTPConnection(address, 9000)
    connection.request("PUT", "/backup", body=backup(), encode_chunked=True)
    connection.getresponse().read()


class SlowUpload(Case):
    kind = "look-alike"
    window_seconds = 10
    age_seconds = 15

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = self.stage.play(self.server_pod, "store", store)
        up(self.stage, self.server_pod, self.server, 9000)
        self.stage.slow(self.client_pod, "8mbit")
        self.uploads = [
            self.stage.play(self.client_pod, f"backup-{n}", upload, self.server_pod.address) for n in range(UPLOADS)
        ]
        self.acked = 0

    def look(self) -> Sight:
        full = connections(self.client_pod.netns).where("ESTAB", peer_port=9000).unsent
        before, self.acked = self.acked, sum(c.acked for c in full)
        return Sight(
            len(full) == UPLOADS and before > 1_000_000 and self.acked > before,
            f"{full} with unsent data ({sum(c.unsent for c in full)} bytes), {self.acked - before} bytes acked since",
        )

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), *(player.who() for player in self.uploads)))
