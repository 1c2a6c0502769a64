"""Incident 5 from a pod on the node's network, over IPv6: the caller has the node's address, and Node closes first.

Node's server closes what was idle for 5 s, or, in later releases, 6 s. The caller's pool (http.client) does not look
before it asks again. On the same address a program of the node itself has the same pauses and looks first (requests):
it has no trouble, and is not the pod.
"""

from __future__ import annotations

from dataclasses import replace

from lab.case import Expected, Named
from lab.containers import PodCgroup
from lab.keepalive import CLIENT_ROLES, WatchedCase, mismatch
from lab.look import Sight
from lab.node import Node
from lab.pools import stopwatch, told, went, with_http_client, with_requests
from lab.servers import node_http
from lab.who import Who

PORT, CONNECTIONS, IDLE = 8000, 20, (6.2, 7.5)


class KeepaliveNodeFromHostNetworkIpv6(WatchedCase):
    kind = "fault"
    rules_unread = True
    window_seconds = 8
    server_waits = (5.0, 6.0)

    def start(self) -> None:
        self.node = Node(self.stage, "server")
        (self.server_pod,) = self.node.pods
        self.server = node_http(self.stage, self.server_pod, PORT)
        host, self.address = self.node.host, self.server_pod.address6
        self.watch = self.stage.play(host, "stopwatch", stopwatch, self.address, PORT, 5)
        url = f"http://[{self.address}]:{PORT}/small"
        self.careful = self.stage.play(host, "node-agent", with_requests, url, 5, IDLE)
        self.pod = PodCgroup(self.stage)
        self.client = self.stage.play(host, "orders", with_http_client, [self.address], PORT, CONNECTIONS, IDLE)
        self.pod.add(self.client.pid)

    def look(self) -> Sight:
        sight = self.measured(self.failing(self.client, self.node.host.netns))
        careful = bool(told(self.careful, "answered")) and not told(self.careful, "failed")
        return Sight(sight.there and careful, f"{sight.seen}; {went(self.careful)}")

    def expected(self) -> Expected:
        meant = mismatch(self.client, self.server, (self.address, PORT), self.watch, self.careful)
        in_its_pod = Who(self.client.comm, self.client.who().pids, pod=self.pod.uid)
        return replace(meant, others=(*meant.others, Named(in_its_pod, CLIENT_ROLES)))
