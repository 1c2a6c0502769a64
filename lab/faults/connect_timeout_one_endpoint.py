"""A Service of two endpoints, one of them dead: about half of all connects get no answer, the others one at once."""

from __future__ import annotations

from lab.faults.connect_timeout_dead_service import SERVICE, ConnectTimeoutDeadService
from lab.node import BLACK_HOLE


class ConnectTimeoutOneEndpoint(ConnectTimeoutDeadService):
    quick = False

    def prepare(self) -> None:
        self.node.service(SERVICE, 80, (self.node.pods[1].address, 80), (BLACK_HOLE, 80))

    def failing(self, share: float) -> bool:
        return 0.2 < share < 0.8
