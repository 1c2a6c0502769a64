"""Every invoice ends with 503 from a HAProxy, whose origin waits for a child, which waits for its origin.

For each invoice a gunicorn starts a renderer, waits until it has ended, and only then reads what it wrote. That went
well for years, as a pipe takes 64 kB. Today somebody asked for a longer one: the renderer waits for room in the pipe,
the one worker waits for the renderer, and nobody accepts any more. HAProxy tries to connect for three seconds and says
503, which is its word for somebody else's trouble: the shop, which it serves by the same process, is answered as ever.
"""

from __future__ import annotations

from lab.case import QUEUE_RULES, Expected, Named
from lab.connects import ANSWERED, ConnectCase, call, calls, named
from lab.look import Sight, connections, wait_until
from lab.node import Node
from lab.servers import configured_haproxy, nginx, up
from lab.stage import Player, Pod

PORT, BACKLOG, SHOP_PORT, INVOICE_PORT = 8000, 4, 8080, 8081
APPLICATION = """
import subprocess

def answer(environment, start):
    size = environment["QUERY_STRING"] or "200"
    renderer = subprocess.Popen(["head", "-c", size, "/dev/zero"], stdout=subprocess.PIPE)
    renderer.wait()
    start("200 OK", [("Content-Length", size)])
    return [renderer.stdout.read()]
"""
HAPROXY = """
global
    maxconn 500
defaults
    mode http
    retries 0
    timeout connect 3s
    timeout client 1h
    timeout server 1h
listen shop
    bind :8080
    server nginx {shop}:80
listen invoices
    bind :8081
    server gunicorn {invoices}:8000
"""


class AcceptQueueBehindHaproxyWaitsForChild(ConnectCase):
    kind = "fault"
    rules_unread = True
    rules = QUEUE_RULES
    age_seconds = 4

    def start(self) -> None:
        self.node = Node(self.stage, "client", "office", "proxy", "shop", "invoices")
        client, office, proxy, shop, self.invoices_pod = self.node.pods
        self.shop = nginx(self.stage, shop)
        self.server = self.serve(self.invoices_pod)
        text = HAPROXY.format(shop=shop.address, invoices=self.invoices_pod.address)
        self.proxy = configured_haproxy(self.stage, proxy, SHOP_PORT, text)
        self.browser = self.stage.play(client, "browser", call, [(proxy.address, SHOP_PORT)], 5, 10)
        self.client = self.stage.play(client, "billing", call, [(proxy.address, INVOICE_PORT)], 5, 10)
        wait_until(lambda: len(calls(self.client).where(ANSWERED)) >= 10, 20, self.stage.logs)
        long_one = f"http://{proxy.address}:{INVOICE_PORT}/?200000"
        self.office = self.stage.run(office, "curl", "curl", "--silent", "--output", "/dev/null", long_one)

    def serve(self, pod: Pod) -> Player:
        """One worker, and no limit for how long it may take."""
        (self.stage.directory / "application.py").write_text(APPLICATION)
        bound = ("--bind", f"{pod.address}:{PORT}", "--backlog", str(BACKLOG), "--timeout", "0")
        command = ("gunicorn", *bound, "--chdir", str(self.stage.directory), "application:answer")
        return up(self.stage, pod, self.stage.run(pod, "gunicorn", *command), PORT)

    def look(self) -> Sight:
        """Of the gunicorn there are master, worker and renderer."""
        (listener,) = connections(self.invoices_pod.netns).where("LISTEN", local_port=PORT)
        made, others = calls(self.client), calls(self.browser)
        failed, processes = len(made) - len(made.where(ANSWERED)), len(self.server.who().pids)
        stuck = listener.unread > listener.unsent == BACKLOG and processes >= 3
        of_late = {one.outcome for one in made[-15:]}
        there = stuck and failed >= 15 and ANSWERED not in of_late and others.share(ANSWERED) == 1
        seen = f"{listener.unread} in a queue of {listener.unsent}, {processes} processes of the server"
        return Sight(there, f"{seen}; invoices: {made}; shop: {others}")

    def expected(self) -> Expected:
        shop = (self.shop.who(), self.browser.who())
        return Expected(
            rule="accept-queue",
            also=("connect-timeout", "socket-leak"),
            tolerated=(self.server.who(),),
            innocent=(self.proxy.who(), self.client.who(), self.office.who(), *shop),
            bystanders=shop,
            others=(Named(self.server.who(), ("culprit",)), named(self.proxy)),
        )
