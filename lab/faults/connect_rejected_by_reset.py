"""A firewall rejects by a reset in the server's name: as if nothing listened on that port, and yet somebody does."""

from __future__ import annotations

from lab.faults.connect_rejected import ConnectRejected


class ConnectRejectedByReset(ConnectRejected):
    reject = "reject with tcp reset"
