"""Two leaks of different age: one has long come to its end and only holds, the other began seconds ago and grows.

The old one made sixty requests within three seconds and has done nothing since. The young one makes five a second. Both
hold answers that they never read, and both have to be named.
"""

from __future__ import annotations

import time
from http.client import HTTPConnection

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.look import Sight, never_read
from lab.servers import nginx

OLD, YOUNG_SECONDS = 60, 40


def check_health(address: str, after_seconds: float, every_seconds: float, times: int) -> None:
    time.sleep(after_seconds)
    responses = []
    for _ in every(every_seconds, times):
        connection = HTTPConnection(address)
        connection.request("GET", "/large")
        responses.append(connection.getresponse())
    rest()


class LeakOldBesideYoung(Case):
    kind = "fault"
    rules_unread = True
    age_seconds = 3
    window_seconds = 10
    ready_within_seconds = 60

    def start(self) -> None:
        self.old_pod, self.young_pod, self.server_pod = self.stage.pods("old", "young", "server")
        self.server = nginx(self.stage, self.server_pod)
        at = self.server_pod.address
        self.old = self.stage.play(self.old_pod, "old-leak", check_health, at, 0, 0.05, OLD)
        self.young = self.stage.play(self.young_pod, "young-leak", check_health, at, YOUNG_SECONDS, 0.2, 200)

    def look(self) -> Sight:
        old = never_read(self.old_pod.netns, self.server_pod.netns, 80, at_least=OLD)
        young = never_read(self.young_pod.netns, self.server_pod.netns, 80, at_least=15)
        return Sight(old.there and young.there, f"old: {old.seen}; young: {young.seen}")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("response-never-read",),
            culprits=(self.old.who(), self.young.who()),
            innocent=(self.server.who(),),
            endpoint=(self.server_pod.address, 80),
        )
