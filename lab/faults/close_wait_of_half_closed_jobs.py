"""Sixty sockets in CLOSE_WAIT for half a minute each, and all of them at work: their clients have closed one half only.

Who has sent all of a job says so by closing its half (shutdown, as `nc -N` and rsh do), and reads the result on the
other. The server is in CLOSE_WAIT from then on, and sends for half a minute what it renders. As one job ends another
comes, each result is complete, and the program closes each socket when it should.
"""

from __future__ import annotations

import asyncio

from lab.case import CONNECTION_RULES, Case, Expected
from lab.connects import ANSWERED, ANY, CLOSED, calls, log
from lab.look import Sight, connections
from lab.servers import up

PORT, JOBS, JOB_SECONDS = 9100, 60, 30
JOB, PIECE, PIECE_SECONDS = 20_000, 1_000, 0.5
PIECES = round(JOB_SECONDS / PIECE_SECONDS)


def render() -> None:
    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        for _ in range(PIECES):
            writer.write(bytes(PIECE))
            await asyncio.sleep(PIECE_SECONDS)
        writer.close()

    async def go_on() -> None:
        async with await asyncio.start_server(work, ANY, PORT, backlog=100) as server:
            await server.serve_forever()

    asyncio.run(go_on())


def order(address: str) -> None:
    async def order_in_turn(begin_after: float) -> None:
        await asyncio.sleep(begin_after)
        while True:
            reader, writer = await asyncio.open_connection(address, PORT)
            writer.write(bytes(JOB))
            writer.write_eof()
            result = await reader.read()
            log(ANSWERED if len(result) == PIECES * PIECE else CLOSED, 0)
            writer.close()

    async def go_on() -> None:
        await asyncio.gather(*(order_in_turn(JOB_SECONDS * number / JOBS) for number in range(JOBS)))

    asyncio.run(go_on())


class CloseWaitOfHalfClosedJobs(Case):
    kind = "look-alike"
    rules_unread = True
    rules = CONNECTION_RULES
    window_seconds = 10
    ready_within_seconds = 90

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = self.stage.play(self.server_pod, "renderer", render)
        up(self.stage, self.server_pod, self.server, PORT)
        self.client = self.stage.play(self.client_pod, "studio", order, self.server_pod.address)

    def look(self) -> Sight:
        half = connections(self.server_pod.netns).where("CLOSE-WAIT", local_port=PORT)
        waiting, made = connections(self.client_pod.netns).where("FIN-WAIT-2", peer_port=PORT), calls(self.client)
        there = JOBS - 5 <= len(half) <= JOBS and len(made) >= 10 and made.share(ANSWERED) == 1
        return Sight(there, f"server: {half} in CLOSE-WAIT, client: {len(waiting)} in FIN-WAIT-2; {made}")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.client.who()))
