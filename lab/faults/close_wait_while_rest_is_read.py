"""Forty sockets in CLOSE_WAIT with unread data for most of their life: the server has sent all, and each is being read.

Who speaks a text aloud fetches it, fifty kilobytes, and reads it at the pace of the voice. The server has long sent
everything and closed, as servers do that say the end of an answer by the end of the connection. The player cannot close
before it has read to the end; then it does, and fetches the next text. Each is heard to its last byte.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from threading import Thread

from lab.actor import connected, rest
from lab.case import CONNECTION_RULES, Case, Expected
from lab.connects import ANY
from lab.host import short_of_tcp_memory
from lab.look import Sight, connections
from lab.servers import up

PORT, PLAYERS, TEXT, PIECE, PIECE_SECONDS = 8080, 40, 50_000, 2_000, 1.0
SECONDS = TEXT / PIECE * PIECE_SECONDS


def tell() -> None:
    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await reader.readline()
            writer.write(bytes(TEXT))
            await writer.drain()
        writer.close()

    async def go_on() -> None:
        async with await asyncio.start_server(send, ANY, PORT, backlog=100) as server:
            await server.serve_forever()

    asyncio.run(go_on())


def play_all(address: str) -> None:
    for number in range(PLAYERS):
        Thread(target=play_in_turn, args=(address, SECONDS * number / PLAYERS)).start()
    rest()


def play_in_turn(address: str, begin_after: float) -> None:
    time.sleep(begin_after)
    while True:
        with connected(address, PORT) as text:
            text.sendall(b"text\n")
            length = 0
            while piece := text.recv(PIECE, socket.MSG_WAITALL):
                length += len(piece)
                time.sleep(PIECE_SECONDS)  # to speak it
        print("heard" if length == TEXT else f"cut after {length}", flush=True)


class CloseWaitWhileRestIsRead(Case):
    kind = "look-alike"
    rules_unread = True
    rules = CONNECTION_RULES
    window_seconds = 15
    ready_within_seconds = 90

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("players", "texts")
        self.server = self.stage.play(self.server_pod, "texts", tell)
        up(self.stage, self.server_pod, self.server, PORT)
        self.client = self.stage.play(self.client_pod, "players", play_all, self.server_pod.address)

    def look(self) -> Sight:
        waiting = connections(self.client_pod.netns).where("CLOSE-WAIT", peer_port=PORT)
        log = self.client.log.read_text()
        heard, cut = log.count("heard"), log.count("cut")
        there = PLAYERS - 8 <= len(waiting) <= PLAYERS and len(waiting.unread) >= PLAYERS / 3
        seen = f"{waiting} of the players' in CLOSE-WAIT, {len(waiting.unread)} of them unread"
        return Sight(there and heard >= PLAYERS / 2 and not cut, f"{seen}; {heard} heard, {cut} cut")

    def expected(self) -> Expected:
        parts = (self.client.who(), self.server.who())
        also = ("tcp-memory",) if short_of_tcp_memory() else ()
        return Expected(rule=None, also=also, innocent=parts, bystanders=parts)
