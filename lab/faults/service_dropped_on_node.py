"""A Service that has endpoints, but none on this node, and whose traffic must not leave it: kube-proxy drops it.

That is what internalTrafficPolicy Local means. Dropped packets leave no entry in the table: only sockets show it.
"""

from __future__ import annotations

from dataclasses import replace

from lab.case import Expected
from lab.faults.service_without_endpoints import SERVICE, ServiceWithoutEndpoints
from lab.stage import inside


class ServiceDroppedOnNode(ServiceWithoutEndpoints):
    def prepare(self) -> None:
        inside(self.node.host, "nft", "add chain inet lab filter { type filter hook forward priority filter; }")
        inside(self.node.host, "nft", f"add rule inet lab filter ip daddr {SERVICE} tcp dport 80 drop")

    def expected(self) -> Expected:
        return replace(super().expected(), severities=("info", "warning"))  # by sockets alone it is not sure
