"""Two pods send each other two gigabits a second each way, and each CPU receives one way.

Both CPUs are busy with packets, and none of them waits for long. Without that limit packets would wait in queues behind
others, which is no stall either, but would not be told from one by pings.
"""

from __future__ import annotations

import socket

from lab.arrivals import StallCase, steer, used
from lab.case import Expected
from lab.look import Sight, connections
from lab.servers import up

PORT = 5201
BLOCK = 64 * 1024
SO_MAX_PACING_RATE = 47  # asm-generic/socket.h
BYTES_PER_SECOND = 250_000_000


def take_stream() -> None:
    with socket.create_server(("", PORT)) as listener, listener.accept()[0] as connection:
        into = bytearray(BLOCK)
        while connection.recv_into(into):
            pass


def send_stream(address: str) -> None:
    with socket.create_connection((address, PORT)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, BYTES_PER_SECOND)
        while True:
            connection.sendall(bytes(BLOCK))


class StallBusyEvenMachine(StallCase):
    kind = "look-alike"

    def start(self) -> None:
        one, other = self.pods = self.stage.pods("one", "other")
        self.ping_all_the_time(one, other)
        steer(one, "eth0", self.sender)
        self.takers = [self.stage.play(pod, "iperf-server", take_stream) for pod in (one, other)]
        for pod, taker in zip((one, other), self.takers, strict=True):
            up(self.stage, pod, taker, PORT)
        self.senders = [
            self.stage.play(pod, "iperf", send_stream, peer.address) for pod, peer in ((one, other), (other, one))
        ]

    def look(self) -> Sight:
        sent = [sum(c.acked for c in connections(pod.netns).where(peer_port=PORT)) for pod in self.pods]
        seen = f"{[f'{n / 1e9:.1f} GB' for n in sent]} sent; {used(self.senders[0].pid)}"
        return self.in_time(min(sent) > 1e8, seen)

    def expected(self) -> Expected:
        return self.nothing_stalled(*self.takers, *self.senders)
