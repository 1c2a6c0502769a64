"""The same with a balancer that opens a connection for each it accepts: half of all entries are its own.

haproxy in TCP mode, as linkerd was in incident 3. It opens as many connections as the client, because of the client.
"""

from __future__ import annotations

from lab.faults.churn_behind_balancer import ChurnBehindBalancer


class ChurnThroughBalancer(ChurnBehindBalancer):
    quick = True
    mode = "tcp"
