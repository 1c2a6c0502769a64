"""An address has moved from a pod that has a second network, and a client still sends there. It is no router for that.

Its forwarding is off and has always been: two networks alone do not say that it is meant to pass packets on.
"""

from __future__ import annotations

from lab.case import Expected
from lab.faults.forwarding_off_address_moved import ForwardingOffAddressMoved
from lab.losses import second_network
from lab.stage import Pod


class ForwardingOffPodOfTwoNetworks(ForwardingOffAddressMoved):
    def start(self) -> None:
        super().start()
        beyond = Pod(f"{self.stage.label}-beyond", "", "")
        self.stage.namespace(beyond.namespace)
        second_network(beyond, self.old)

    def expected(self) -> Expected:
        return Expected(
            rule=None,
            cleared=("rp-filter", "nic-drops", "time-wait-overflow"),
            beside=("connect-timeout",),
            innocent=(self.client.who(), self.other.who(), *(server.who() for server in self.servers)),
        )
