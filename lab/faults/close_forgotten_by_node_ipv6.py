"""A server of Node that never ends its side (allowHalfOpen), probed over IPv6: two sockets more in CLOSE_WAIT a second.

The probe connects, says ping, reads pong and closes, as it should. Node hears the end and, as its author has asked for
half-open connections and forgot to call end(), keeps its side open for ever. All was answered and nobody complains.
"""

from __future__ import annotations

import socket

from lab.actor import every
from lab.case import Case, Expected
from lab.look import Sight, connections, descriptors
from lab.servers import up

PORT = 7000
SCRIPT = """
require('net').createServer({ allowHalfOpen: true }, (socket) => {
  socket.on('data', () => socket.write('pong'));
  socket.on('error', () => {});
}).listen(+process.argv[2], '::');
"""


def probe(address: str) -> None:
    for _ in every(0.5, times=100_000):
        with socket.create_connection((address, PORT)) as connection:
            connection.sendall(b"ping")
            if connection.recv(100) == b"pong":
                print("answered", flush=True)


class CloseForgottenByNodeIpv6(Case):
    kind = "fault"
    rules_unread = True
    window_seconds = 30

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        script = self.stage.directory / "echo.js"
        script.write_text(SCRIPT)
        self.server = self.stage.run(self.server_pod, "node", "node", str(script), str(PORT))
        up(self.stage, self.server_pod, self.server, PORT)
        self.client = self.stage.play(self.client_pod, "probe", probe, self.server_pod.address6)

    def look(self) -> Sight:
        waiting = connections(self.server_pod.netns).where("CLOSE-WAIT", local_port=PORT)
        answered = self.client.log.read_text().count("answered")
        own = descriptors(self.client.who().pids, "socket:")
        there = len(waiting) >= 30 and answered >= len(waiting) and own <= 1
        return Sight(there, f"{waiting} in CLOSE-WAIT at the server; {answered} answered; the probe holds {own}")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("close-forgotten",),
            culprits=(self.server.who(),),
            innocent=(self.client.who(),),
        )
