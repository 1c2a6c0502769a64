"""A Service whose only endpoint was on a node that died: addresses are translated as ever, and nobody answers."""

from __future__ import annotations

from lab.faults.service_without_endpoints import SERVICE, ServiceWithoutEndpoints
from lab.node import BLACK_HOLE


class ServiceWithDeadEndpoint(ServiceWithoutEndpoints):
    def prepare(self) -> None:
        self.node.service(SERVICE, 80, (BLACK_HOLE, 8080))
