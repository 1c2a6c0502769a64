"""The same flood where somebody has switched cookies off: the SYNs of real clients are dropped with the others."""

from __future__ import annotations

from lab.connects import GAVE_UP
from lab.faults.syn_flood import SynFlood


class SynFloodWithoutCookies(SynFlood):
    cookies = 0
    counted = "TCPReqQFullDrop"
    shape = "dropped"
    outcome = GAVE_UP
