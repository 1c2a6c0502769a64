"""A program keeps a session for each access token, to use it again, and its tokens are new each time: three a second.

All that it asks goes through a HAProxy, which bundles it: onwards there are a few connections, so that the server sees
nothing of it and has no part in it. HAProxy keeps what its clients keep (an hour, as it was told), and of all its
connections the program's are most. Each answer was read to its end. A shop that comes by the same way has twenty
connections, asks on each of them again and again, and has no more after an hour.
"""

from __future__ import annotations

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.load import keep_busy
from lab.look import Sight, connections
from lab.servers import haproxy, nginx

FRONT, SHOP = 8080, 20
AT_LEAST = 60


def bill(url: str) -> None:
    import requests

    sessions: dict[str, requests.Session] = {}
    for number in every(0.3, times=400):
        token = f"lab-{number}"  # it has the time of its issue in it, so that none comes twice
        session = sessions.setdefault(token, requests.Session())
        session.get(url, headers={"X-Token": token}, timeout=20).raise_for_status()
        print("billed", flush=True)
    rest()


class SessionsKeptByTokenBehindHaproxy(Case):
    kind = "fault"
    rules_unread = True
    window_seconds = 30
    age_seconds = 20

    def start(self) -> None:
        self.client_pod, shop, self.proxy_pod, server = self.stage.pods("billing", "shop", "proxy", "server")
        self.server = nginx(self.stage, server)
        self.proxy = haproxy(self.stage, self.proxy_pod, FRONT, f"{server.address}:80", mode="http")
        at = self.proxy_pod.address
        self.shop = self.stage.play(shop, "shop", keep_busy, at, FRONT, SHOP, 2.0)
        self.client = self.stage.play(self.client_pod, "billing", bill, f"http://{at}:{FRONT}/small")

    def look(self) -> Sight:
        held = connections(self.client_pod.netns).where("ESTAB", peer_port=FRONT)
        onwards = connections(self.proxy_pod.netns).where("ESTAB", peer_port=80)
        billed = self.client.log.read_text().count("billed")
        there = len(held) >= AT_LEAST and not held.unread and billed >= len(held) - 2
        there = there and len(onwards) <= len(held) / 2
        return Sight(there, f"{held} to HAProxy, {billed} billed; {onwards} from HAProxy to the server")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            severities=("info", "warning"),  # of a minute
            culprits=(self.client.who(),),
            innocent=(self.proxy.who(), self.server.who(), self.shop.who()),
            bystanders=(self.shop.who(), self.server.who()),
            endpoint=(self.proxy_pod.address, FRONT),
        )
