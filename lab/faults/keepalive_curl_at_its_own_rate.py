"""A poller of curl that asks every five seconds (--rate 12/m) of a gunicorn that closes after two, and nothing fails.

One curl makes all requests of a device, and keeps its connection in between, as one would wish. Each time it finds
that the server has closed meanwhile, drops its own half, in CLOSE_WAIT for some two seconds, and connects anew.
All connections are ended by the server after the same idle time, and not one request is made on a closed one.
"""

from __future__ import annotations

from collections import Counter

from lab.case import Expected
from lab.connects import counter
from lab.keepalive import KeepaliveCase
from lab.look import Sight
from lab.servers import gunicorn
from lab.stage import Player

PORT, POLLERS, ENOUGH_EACH = 8000, 8, 3
RATE = "12/m"
"""Gunicorn closes up to a second late: there has to be time for that."""

WRITTEN = "%{stderr}%{http_code} %{num_connects}\n"
"""To where nothing is buffered: the status, and how many connections had to be opened for it."""

GOOD = "200 1"


class KeepaliveCurlAtItsOwnRate(KeepaliveCase):
    kind = "look-alike"
    rules_unread = True
    window_seconds = 12

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = gunicorn(self.stage, self.server_pod, PORT)
        self.pollers = [self.poll(number) for number in range(POLLERS)]

    def poll(self, number: int) -> Player:
        url = f"http://{self.server_pod.address}:{PORT}/device/{number}/[1-1000000]"
        command = ("curl", "--silent", "--rate", RATE, "--output", "/dev/null", "--write-out", WRITTEN, url)
        return self.stage.run(self.client_pod, "curl", *command)

    def made(self, poller: Player) -> Counter[str]:
        lines = poller.log.read_text(errors="replace").splitlines(keepends=True)
        return Counter(line.strip() for line in lines if line.endswith("\n"))

    def look(self) -> Sight:
        """Each request was answered, and for each a connection was opened."""
        made = [self.made(poller) for poller in self.pollers]
        whole, resets = sum(made, Counter()), counter(self.client_pod.netns, "EstabResets")
        enough = all(one[GOOD] >= ENOUGH_EACH for one in made)
        there = enough and whole[GOOD] >= 0.9 * whole.total() and not resets
        return Sight(there, f"status and connections opened: {dict(whole)}; {resets} resets")

    def expected(self) -> Expected:
        parts = (self.server.who(), *(poller.who() for poller in self.pollers))
        return Expected(rule=None, cleared=("keepalive-mismatch", "resets"), innocent=parts, bystanders=parts)
