"""A Service of two endpoints, one of them dead: every second connection hangs, the others are answered."""

from __future__ import annotations

from lab.faults.service_without_endpoints import SERVICE, ServiceWithoutEndpoints
from lab.node import BLACK_HOLE


class ServiceWithOneDeadEndpoint(ServiceWithoutEndpoints):
    hanging = 15

    def prepare(self) -> None:
        self.node.service(SERVICE, 80, (self.server_pod.address, 80), (BLACK_HOLE, 80))
