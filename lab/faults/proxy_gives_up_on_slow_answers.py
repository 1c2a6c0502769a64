"""Closed without an answer after two seconds of silence, each time, and yet not incident 5: the request was under way.

A report takes Uvicorn three seconds, and a HAProxy before it (TCP mode, `timeout server 2s`) ends any silence of two.
The client reads what one reads who asked on a dead connection ("closed connection without response"), but it asks on a
new one each time and never pauses: no pool of any program has to be changed. Who asks Uvicorn itself is answered.
"""

from __future__ import annotations

import time
from http.client import HTTPConnection
from threading import Thread

from lab.actor import rest
from lab.case import CONNECTION_RULES, Case, Expected
from lab.connects import ANSWERED, CLOSED, calls, log
from lab.look import Sight
from lab.servers import HAPROXY, configured_haproxy, uvicorn

PORT, PROXY_PORT, WAIT, REPORT_SECONDS = 8000, 8080, "2s", 3.0


def order_reports(address: str, port: int) -> None:
    def order_in_turn() -> None:
        while True:
            begin, outcome = time.monotonic(), ANSWERED
            connection = HTTPConnection(address, port, timeout=10)
            try:
                connection.request("GET", "/report")
                connection.getresponse().read()
            except OSError:
                outcome = CLOSED
            finally:
                connection.close()
            log(outcome, time.monotonic() - begin)

    for _ in range(8):
        Thread(target=order_in_turn).start()
    rest()


class ProxyGivesUpOnSlowAnswers(Case):
    kind = "look-alike"
    rules_unread = True
    rules = CONNECTION_RULES
    window_seconds = 8
    age_seconds = 4

    def start(self) -> None:
        client, beside, proxy, server = self.stage.pods("client", "beside", "proxy", "server")
        self.server = uvicorn(self.stage, server, PORT, 60, REPORT_SECONDS)
        plain = HAPROXY.format(port=PROXY_PORT, upstream=f"{server.address}:{PORT}", mode="tcp", keep_alive="1h")
        hasty = plain.replace("client 1h", f"client {WAIT}").replace("server 1h", f"server {WAIT}")
        self.proxy = configured_haproxy(self.stage, proxy, PROXY_PORT, hasty)
        self.client = self.stage.play(client, "dashboard", order_reports, proxy.address, PROXY_PORT)
        self.other = self.stage.play(beside, "cron-report", order_reports, server.address, PORT)

    def look(self) -> Sight:
        made, others = calls(self.client), calls(self.other)
        cut = made.where(CLOSED, at_least_seconds=1.9)
        there = len(cut) == len(made) >= 16 <= len(others) and others.share(ANSWERED) == 1
        return Sight(there, f"{made}; beside: {others}")

    def expected(self) -> Expected:
        """That the proxy cuts connections is true, and may be said."""
        return Expected(
            rule=None,
            also=("resets",),
            severities=("info", "warning", "critical"),
            cleared=("keepalive-mismatch",),
            tolerated=(self.proxy.who(),),
            innocent=(self.server.who(), self.client.who(), self.other.who()),
            bystanders=(self.other.who(),),
        )
