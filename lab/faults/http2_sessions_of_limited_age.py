"""Thirty sessions of HTTP/2 with several requests on each at once, and no session gets older than some seconds.

The server says goodbye (GOAWAY) to each in its turn, so that its clients spread anew over its replicas, as servers of
gRPC do (max_connection_age). The client opens the next one at once, and the old one lives until what is under way on it
has been answered. So connections come all the time from one program, for some seconds there are two where one was, and
each is closed by the server; there are as many after an hour as after a minute, and every request is answered.
"""

from __future__ import annotations

from lab.case import CONNECTION_RULES, Case, Expected
from lab.connects import counter
from lab.look import Sight, connections
from lab.servers import up

PORT, SESSIONS = 8080, 30
SERVER = """
const server = require('http2').createServer((request, response) => {
  setTimeout(() => response.end('ok'), 1500);
});
server.on('session', (session) => {
  session.on('error', () => {});
  const goodbye = setTimeout(() => session.close(), 5000 + 3000 * Math.random());
  session.on('close', () => clearTimeout(goodbye));
});
server.listen(+process.argv[2]);
"""
CLIENT = """
const http2 = require('http2');
const [url, sessions] = process.argv.slice(2);

function keepOne() {
  const session = http2.connect(url);
  let replaced = false;
  const replace = () => {
    if (replaced) return;
    replaced = true;
    clearInterval(asking);
    keepOne();
  };
  const ask = () => {
    if (replaced || session.closed || session.destroyed) return;
    let status = 0;
    const request = session.request({ ':path': '/small' });
    request.on('response', (head) => { status = head[':status']; });
    request.on('error', (error) => console.log('failed', error.code));
    request.on('end', () => { if (status === 200) console.log('answered'); });
    request.resume().end();
  };
  const asking = setInterval(ask, 700);
  session.on('error', (error) => console.log('failed', error.code));
  session.on('goaway', replace);
  session.on('close', replace);
  ask();
}

for (let number = 0; number < +sessions; number++) setTimeout(keepOne, 200 * number);
"""


class Http2SessionsOfLimitedAge(Case):
    kind = "look-alike"
    rules_unread = True
    rules = CONNECTION_RULES
    window_seconds = 20

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        server, client = (self.stage.directory / f"{name}.js" for name in ("server", "client"))
        server.write_text(SERVER)
        client.write_text(CLIENT)
        self.server = self.stage.run(self.server_pod, "node", "node", str(server), str(PORT))
        up(self.stage, self.server_pod, self.server, PORT)
        url = f"http://{self.server_pod.address}:{PORT}"
        self.client = self.stage.run(self.client_pod, "node", "node", str(client), url, str(SESSIONS))

    def look(self) -> Sight:
        """Each has been replaced a few times, and hardly a request met a goodbye on its way."""
        held = connections(self.client_pod.netns).where("ESTAB", peer_port=PORT)
        opened, log = counter(self.client_pod.netns, "ActiveOpens"), self.client.log.read_text()
        answered, failed = log.count("answered"), log.count("failed")
        there = SESSIONS - 5 <= len(held) <= 2 * SESSIONS and opened >= 3 * SESSIONS
        well = answered >= 2 * opened and failed <= answered / 20
        return Sight(there and well, f"{held} established of {opened} opened; {answered} answered, {failed} failed")

    def expected(self) -> Expected:
        parts = (self.client.who(), self.server.who())
        return Expected(rule=None, cleared=("socket-leak",), innocent=parts, bystanders=parts)
