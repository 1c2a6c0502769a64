"""A firewall rejects by ICMP, and the kernel lets it do so once a second for each client (icmp_ratelimit as shipped).

Of ten connects a second one reads that it was refused; the others get no answer.
"""

from __future__ import annotations

from dataclasses import replace

from lab.case import Expected
from lab.connects import GAVE_UP, calls
from lab.faults.connect_rejected import ConnectRejected
from lab.look import Sight


class ConnectRejectedTooSeldom(ConnectRejected):
    icmp_ratelimit = 1000
    wait_seconds = 2

    def look(self) -> Sight:
        failed = calls(self.client)
        there = failed.where(GAVE_UP) and failed.where(self.error)
        return Sight(bool(there), f"checkout: {failed}; browser: {calls(self.other)}")

    def expected(self) -> Expected:
        return replace(super().expected(), rule="connect-timeout", also=("connect-refused",))
