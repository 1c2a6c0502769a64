"""A gateway of Node passes downloads on by pipe(), and forgets those whose user has gone: two a second.

pipe() ends what it writes to, and not what it reads from: when a browser closes the page in the middle of a film, Node
only pauses the answer of the origin, and nobody ever takes it up again (pipeline() would have closed it). The browser
is gone, so there is no slow user who could explain that the gateway does not read; nginx behind it sits on the rest of
each film. A shop that comes through the same gateway has all its answers.
"""

from __future__ import annotations

import socket

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.host import short_of_tcp_memory
from lab.load import ask_anew
from lab.look import Sight, connections, descriptors, never_read
from lab.servers import nginx, up

PORT, FILMS = 8080, 70
ASK = b"GET /large HTTP/1.1\r\nHost: lab\r\n\r\n"
SCRIPT = """
const http = require('http');
const [port, origin] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true });
http.createServer((request, response) => {
  http.get(origin + request.url, { agent }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  }).on('error', () => response.destroy());
}).listen(+port);
"""


def browse(address: str) -> None:
    for _ in every(0.5, times=FILMS):
        with socket.create_connection((address, PORT)) as connection:
            connection.sendall(ASK)
            if connection.recv(65_536):  # the film has begun, and is not what was looked for
                print("seen", flush=True)
    rest()


class AbortedDownloadsPipedByNode(Case):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        browser_pod, shop_pod, *others = self.stage.pods("browser", "shop", "gateway", "films")
        self.gateway_pod, self.server_pod = others
        self.server = nginx(self.stage, self.server_pod)
        script = self.stage.directory / "gateway.js"
        script.write_text(SCRIPT)
        command = ("node", str(script), str(PORT), f"http://{self.server_pod.address}")
        self.gateway = up(self.stage, self.gateway_pod, self.stage.run(self.gateway_pod, "node", *command), PORT)
        at = self.gateway_pod.address
        self.browser = self.stage.play(browser_pod, "browser", browse, at)
        self.shop = self.stage.play(shop_pod, "shop", ask_anew, at, PORT, 5)

    def look(self) -> Sight:
        """The gateway does not read from the origin, and has hardly anybody in front for whom it would."""
        sight = never_read(self.gateway_pod.netns, self.server_pod.netns, 80, at_least=30)
        in_front = connections(self.gateway_pod.netns).where("ESTAB", local_port=PORT)
        films, own = self.browser.log.read_text().count("seen"), descriptors(self.browser.who().pids, "socket:")
        there = sight.there and len(in_front) < 10 and films >= 30 and own < 5
        return Sight(there, f"{sight.seen}; {in_front} in front; {films} films begun, the browser has {own} sockets")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            also=("tcp-memory",) if short_of_tcp_memory() else (),
            shapes=("response-never-read",),
            culprits=(self.gateway.who(),),
            elsewhere=(("resets", self.browser.who()),),  # who closes in the middle of a film resets
            innocent=(self.server.who(), self.browser.who(), self.shop.who()),
            bystanders=(self.shop.who(),),
            endpoint=(self.server_pod.address, 80),
        )
