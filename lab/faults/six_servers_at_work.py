"""An ordinary node at an ordinary hour: nginx, HAProxy, Apache, gunicorn, Uvicorn and Node at work, and all is well.

Each closes what was idle when it wants to: gunicorn after two seconds, Apache, Uvicorn and Node after five, nginx and
HAProxy after an hour. Some callers open a connection for each request and leave TIME_WAIT, others keep a pool; one pool
pauses for longer than its server waits, has connections in CLOSE_WAIT for a second, and looks before it asks again.
The HAProxy has most sockets, as proxies do. Every request is answered.
"""

from __future__ import annotations

from lab.case import LIMIT_RULES, Expected
from lab.connects import ANSWERED, ConnectCase, call, calls, counter
from lab.keepalive import ENOUGH
from lab.load import keep_busy
from lab.look import Sight, connections
from lab.node import Node
from lab.pools import told, went, with_requests
from lab.servers import apache, gunicorn, haproxy, nginx, node_http, uvicorn

EDGE_PORT, JOBS_PORT, API_PORT, LIVE_PORT = 8080, 8000, 8001, 3000
BROWSERS = 60


class SixServersAtWork(ConnectCase):
    kind = "look-alike"
    rules_unread = True
    rules = LIMIT_RULES
    window_seconds = 8

    def start(self) -> None:
        self.node = Node(self.stage, "edge", "web", "wiki", "jobs", "api", "live", "clients")
        self.edge, web, wiki, jobs, api, live, clients = self.node.pods
        self.servers = (
            nginx(self.stage, web),
            apache(self.stage, wiki),
            gunicorn(self.stage, jobs, JOBS_PORT, answer_after_seconds=0.02),
            uvicorn(self.stage, api, API_PORT, keep_alive_seconds=5),
            node_http(self.stage, live, LIVE_PORT),
            haproxy(self.stage, self.edge, EDGE_PORT, f"{web.address}:80", mode="http"),
        )
        anew = [(self.edge.address, EDGE_PORT), (wiki.address, 80), (jobs.address, JOBS_PORT)]
        orders, scores = f"http://{api.address}:{API_PORT}/", f"http://{live.address}:{LIVE_PORT}/"
        self.cron = self.stage.play(clients, "cron", call, anew, 15, 5)
        self.browsers = self.stage.play(clients, "browsers", keep_busy, self.edge.address, EDGE_PORT, BROWSERS, 2)
        self.orders = self.stage.play(clients, "orders", with_requests, orders, 8, (5.8, 6.6))
        self.scores = self.stage.play(clients, "scores", with_requests, scores, 8, (1.0, 3.0))
        self.acked = 0

    def look(self) -> Sight:
        """All that was asked was answered, nobody was dropped, and the browsers had answers since the look before."""
        made, pools = calls(self.cron), (self.orders, self.scores)
        busy = connections(self.edge.netns).where("ESTAB", local_port=EDGE_PORT)
        acked = sum(one.acked for one in busy)
        moved, self.acked = acked - self.acked, acked
        answered = all(len(told(pool, "answered")) >= ENOUGH and not told(pool, "failed") for pool in pools)
        dropped = sum(counter(pod.netns, "ListenOverflows") for pod in self.node.pods)
        there = answered and len(made) >= 60 and made.share(ANSWERED) == 1 and len(busy) >= BROWSERS
        seen = f"cron: {made}; {'; '.join(map(went, pools))}; {busy} of browsers; {dropped} dropped"
        return Sight(there and moved > 0 and not dropped, seen)

    def expected(self) -> Expected:
        players = (*self.servers, self.cron, self.browsers, self.orders, self.scores)
        parts = tuple(one.who() for one in players)
        return Expected(rule=None, cleared=("keepalive-mismatch", "resets"), innocent=parts, bystanders=parts)
