"""A firewall takes one answer in three for invalid and rejects it by a reset in the client's name.

Only the server gets that. The client, whose request was acknowledged, waits for an answer until it gives up.
"""

from __future__ import annotations

from lab.connects import GAVE_UP
from lab.faults.reset_by_filter import ResetByFilter


class ResetByFilterOfAnswers(ResetByFilter):
    rejected = "ip saddr {server} ip daddr {client} tcp sport 80"
    error = GAVE_UP
