"""Idle TLS 1.3 connections: each holds two session tickets which its client has not read, and need not.

The server sends the tickets after the handshake; a client that only waits for its turn to write never reads them. Some
hundred unread bytes on every connection, for hours, are normal.
"""

from __future__ import annotations

import asyncio
import socket
import ssl

from lab.actor import rest
from lab.case import Case, Expected
from lab.look import Sight, connections
from lab.servers import certificate, up

CONNECTIONS = 400


def serve(pem: str) -> None:
    async def idle(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def listen() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pem)
        server = await asyncio.start_server(idle, port=8443, ssl=context, backlog=1024)
        await server.serve_forever()

    asyncio.run(listen())


def connect(address: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    pool = [context.wrap_socket(socket.create_connection((address, 8443))) for _ in range(CONNECTIONS)]
    assert pool
    rest()


class IdleTlsTickets(Case):
    kind = "look-alike"
    age_seconds = 40

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        pem = certificate(self.stage.directory)
        self.server = self.stage.play(self.server_pod, "tls-server", serve, str(pem))
        up(self.stage, self.server_pod, self.server, 8443)
        self.client = self.stage.play(self.client_pod, "tls-pool", connect, self.server_pod.address)

    def look(self) -> Sight:
        held = connections(self.client_pod.netns).where("ESTAB", peer_port=8443)
        unread = [c.unread for c in held if c.unread]
        return Sight(
            len(unread) == CONNECTIONS,
            f"{held} established, {len(unread)} with unread data, at most {max(unread, default=0)} bytes",
        )

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.client.who(), self.server.who()))
