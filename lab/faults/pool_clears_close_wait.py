"""CLOSE_WAIT that goes away by itself: a pool of requests clears it when it needs the connections again.

The server closes after one idle second; the pool does not notice until its next rush, every fifteen seconds. Up to
forty sockets are in CLOSE_WAIT meanwhile, never more, and no request fails.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.look import Sight, connections
from lab.servers import uvicorn

POOL = 40


def rush(url: str, pause_seconds: float) -> None:
    import requests

    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=POOL))
    with ThreadPoolExecutor(POOL) as threads:
        for _ in every(pause_seconds, times=1000):
            list(threads.map(session.get, [url] * POOL))
    rest()


class PoolClearsCloseWait(Case):
    kind = "look-alike"
    pause_seconds = 15
    window_seconds = 10
    age_seconds = 33  # diagnosed from before a rush to after it

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = uvicorn(self.stage, self.server_pod, 8000, keep_alive_seconds=1, answer_after_seconds=1)
        url = f"http://{self.server_pod.address}:8000/"
        self.client = self.stage.play(self.client_pod, "pool", rush, url, self.pause_seconds)

    def look(self) -> Sight:
        waiting = connections(self.client_pod.netns).where("CLOSE-WAIT", peer_port=8000)
        return Sight(len(waiting) == POOL, f"{waiting} in CLOSE-WAIT")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.client.who()))
