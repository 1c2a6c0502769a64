"""Neither end closes: a firewall between them forgets a connection that was idle for four seconds, and tells nobody.

The next request belongs to no connection that it knows. It throws the first of them away, so that the client's kernel
sends again, and then answers with a reset in the server's name. Both ends would have waited for an hour.
"""

from __future__ import annotations

import subprocess

from lab.case import Expected, Named
from lab.keepalive import CLIENT_ROLES, ENOUGH, KeepaliveCase
from lab.look import Sight, connections, tcp_counter
from lab.node import Node
from lab.pools import with_http_client
from lab.servers import nginx
from lab.stage import inside
from lab.table import entries

SERVER = "203.0.113.80"
FORGETFUL = ("net.netfilter.nf_conntrack_tcp_timeout_established=4", "net.netfilter.nf_conntrack_tcp_loose=0")
RULES = """
table inet lab {
    set forgotten { type inet_service; flags dynamic, timeout; timeout 3s; size 4096; }
    chain strict {
        type filter hook forward priority filter;
        iifname cni0 meta l4proto tcp ct state invalid jump stale
    }
    chain stale {
        tcp sport @forgotten reject with tcp reset
        add @forgotten { tcp sport }
        drop
    }
}
"""


class KeepaliveMiddlebox(KeepaliveCase):
    kind = "fault"

    def start(self) -> None:
        self.node = Node(self.stage, "client")
        (self.client_pod,) = self.node.pods
        inside(self.node.host, "sysctl", "-qw", *FORGETFUL)
        command = ["nsenter", f"--net={self.node.host.netns}", "nft", "-f", "-"]
        subprocess.run(command, check=True, capture_output=True, input=RULES, text=True)
        self.server = nginx(self.stage, self.node.outside)
        self.client = self.stage.play(self.client_pod, "orders", with_http_client, [SERVER], 80, 20, (4.5, 5.8))

    def look(self) -> Sight:
        """Requests fail, each after a retransmission; and the table has not all connections that are established."""
        netns = self.client_pod.netns
        failing, again = self.failing(self.client, netns), tcp_counter(netns, "RetransSegs")
        kept = connections(netns).where("ESTAB", peer_port=80)
        known = entries(self.node.host.netns).where("ESTABLISHED", source=self.client_pod.address)
        seen = f"{failing.seen}, {again} retransmissions; of {len(kept)} connections the table has {len(known)}"
        return Sight(failing.there and again >= ENOUGH, seen)

    def expected(self) -> Expected:
        return Expected(
            rule="keepalive-mismatch",
            also=("resets",),
            severities=("warning",),
            tolerated=(self.client.who(),),
            innocent=(self.server.who(),),
            others=(Named(self.client.who(), CLIENT_ROLES),),
            endpoint=(SERVER, 80),
        )
