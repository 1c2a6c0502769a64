"""HTTP/2 in Node: a session of its own for each request, none ever closed, where one session would do for all.

Each answer is read to its end and the stream is closed, so the code looks clean. A stream is not the connection: the
session stays open, with nothing unread, and ten more come each second. The server is of Node too, and by the same
name; it keeps what its client keeps, as HTTP/2 asks of it.
"""

from __future__ import annotations

from lab.case import Case, Expected
from lab.look import Sight, connections, descriptors
from lab.servers import up

PORT = 8080
SERVER = """
require('http2').createServer((request, response) => response.end('ok')).listen(+process.argv[2]);
"""
CLIENT = """
const http2 = require('http2');
const kept = [];
setInterval(() => {
  const session = http2.connect(process.argv[2]);
  kept.push(session);
  session.on('error', (error) => console.log('failed', error.code));
  session.request({ ':path': '/small' }).resume().on('end', () => console.log('answered')).end();
}, 100);
"""


class Http2SessionsNeverClosed(Case):
    kind = "fault"
    rules_unread = True
    window_seconds = 30
    age_seconds = 20

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        server, client = (self.stage.directory / f"{name}.js" for name in ("server", "client"))
        server.write_text(SERVER)
        client.write_text(CLIENT)
        self.server = self.stage.run(self.server_pod, "node", "node", str(server), str(PORT))
        up(self.stage, self.server_pod, self.server, PORT)
        url = f"http://{self.server_pod.address}:{PORT}"
        self.client = self.stage.run(self.client_pod, "node", "node", str(client), url)

    def look(self) -> Sight:
        held = connections(self.client_pod.netns).where("ESTAB", peer_port=PORT)
        log = self.client.log.read_text()
        answered, failed = log.count("answered"), log.count("failed")
        there = len(held) >= 100 and not held.unread and answered >= len(held) - 5 and not failed
        sockets = descriptors(self.client.who().pids, "socket:")
        return Sight(there and sockets >= 100, f"{held} established, {answered} answered, {sockets} sockets open")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            severities=("info", "warning"),  # within half a minute a pool that fills up looks the same
            culprits=(self.client.who(),),
            innocent=(self.server.who(),),
            endpoint=(self.server_pod.address, PORT),
        )
