"""A firewall rejects by ICMP "administratively prohibited", as firewalld does: the client reads EHOSTUNREACH."""

from __future__ import annotations

from lab.faults.connect_rejected import ConnectRejected


class ConnectRejectedAsProhibited(ConnectRejected):
    reject = "reject with icmp admin-prohibited"
    error = "EHOSTUNREACH"
