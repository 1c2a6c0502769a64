"""Three hundred gRPC streams, each on a connection of its own: one message when it begins, and silence for hours.

That is how health watches and subscriptions look. Nobody has unread data, and there is not one more from minute to
minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from lab.case import Case, Expected
from lab.look import Sight, connections
from lab.servers import up

STREAMS = 300
PORT = 50051
METHOD = "lab.Health", "Watch"


def serve() -> None:
    import grpc  # type: ignore[import-untyped]

    async def watch(_request: bytes, _context: object) -> AsyncIterator[bytes]:
        yield b"serving"
        await asyncio.Event().wait()

    async def go_on() -> None:
        service, method = METHOD
        handler = grpc.unary_stream_rpc_method_handler(watch)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        server.add_insecure_port(f"0.0.0.0:{PORT}")
        await server.start()
        await server.wait_for_termination()

    asyncio.run(go_on())


def watch_all(address: str) -> None:
    """With a pool of its own each channel has a connection of its own."""
    import grpc

    async def watch() -> None:
        channel = grpc.aio.insecure_channel(f"{address}:{PORT}", options=[("grpc.use_local_subchannel_pool", 1)])
        stream = channel.unary_stream("/{}/{}".format(*METHOD))(b"")
        while await stream.read():
            print("serving", flush=True)

    async def go_on() -> None:
        await asyncio.gather(*(watch() for _ in range(STREAMS)))

    asyncio.run(go_on())


class IdleGrpcStreams(Case):
    kind = "look-alike"
    rules_unread = True
    window_seconds = 20

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("clients", "server")
        self.server = self.stage.play(self.server_pod, "health-server", serve)
        up(self.stage, self.server_pod, self.server, PORT)
        self.clients = self.stage.play(self.client_pod, "watchers", watch_all, self.server_pod.address)

    def look(self) -> Sight:
        held = connections(self.server_pod.netns).where("ESTAB", local_port=PORT)
        told = self.clients.log.read_text().count("serving")
        there = len(held) == told == STREAMS and not held.unread
        return Sight(there, f"{held} established, {len(held.unread)} with unread data; {told} streams have begun")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.clients.who()))
