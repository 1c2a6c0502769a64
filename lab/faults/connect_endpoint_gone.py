"""A Service whose only endpoint was a pod of this node that is gone: the node asks the bridge who has its address.

Nobody has. After three seconds of asking the node gives up, and whoever connects reads EHOSTUNREACH.
"""

from __future__ import annotations

from dataclasses import replace

from lab.case import Expected
from lab.connects import calls
from lab.faults.connect_timeout_dead_service import SERVICE, ConnectTimeoutDeadService
from lab.look import Sight
from lab.stage import inside

GONE = "10.77.0.99"


class ConnectEndpointGone(ConnectTimeoutDeadService):
    quick = False
    wait_seconds = 10

    def prepare(self) -> None:
        inside(self.node.host, "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0")
        self.node.service(SERVICE, 80, (GONE, 80))

    def look(self) -> Sight:
        failed = calls(self.client)
        there = len(failed.where("EHOSTUNREACH")) >= 10
        return Sight(there, f"checkout: {failed}; browser: {calls(self.other)}")

    def expected(self) -> Expected:
        return replace(super().expected(), also=("connect-refused",))
