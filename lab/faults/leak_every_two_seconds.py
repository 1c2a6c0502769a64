"""A slow leak: a connection every two seconds, whose large answer is never read (incident 4 at the pace of a probe).

After half a minute there are a dozen, beside a browser's six hundred that are in use. It has been there for a few turns
only; hours later it would be the node's end.
"""

from __future__ import annotations

from http.client import HTTPConnection

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.load import keep_busy
from lab.look import Sight, connections, never_read
from lab.servers import nginx

BROWSERS = 600


def probe(address: str) -> None:
    responses = []
    for _ in every(2.0, times=10_000):
        connection = HTTPConnection(address)
        connection.request("GET", "/large")
        responses.append(connection.getresponse())
    rest()


class LeakEveryTwoSeconds(Case):
    kind = "fault"
    rules_unread = True
    window_seconds = 20

    def start(self) -> None:
        self.probe_pod, self.browser_pod, self.server_pod = self.stage.pods("probe", "browser", "server")
        self.server = nginx(self.stage, self.server_pod)
        at = self.server_pod.address
        self.browser = self.stage.play(self.browser_pod, "browsers", keep_busy, at, 80, BROWSERS, 5)
        self.probe = self.stage.play(self.probe_pod, "slow-probe", probe, at)

    def look(self) -> Sight:
        leak = never_read(self.probe_pod.netns, self.server_pod.netns, 80, at_least=12)
        busy = connections(self.browser_pod.netns).where("ESTAB", peer_port=80)
        return Sight(leak.there and len(busy) == BROWSERS, f"{leak.seen}; browser: {busy}")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("response-never-read",),
            culprits=(self.probe.who(),),
            innocent=(self.server.who(), self.browser.who()),
            endpoint=(self.server_pod.address, 80),
        )
