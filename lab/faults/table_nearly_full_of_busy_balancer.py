"""The same balancer on a node whose table is just large enough: worth a warning, and nobody's fault."""

from __future__ import annotations

from lab.case import Expected
from lab.faults.table_of_busy_balancer import TableOfBusyBalancer


class TableNearlyFullOfBusyBalancer(TableOfBusyBalancer):
    quick = False
    limit = 2840

    def expected(self) -> Expected:
        innocent = (self.balancer.who(), self.backend.who(), self.clients.who())
        return Expected(rule="conntrack-table", severities=("warning",), innocent=innocent)
