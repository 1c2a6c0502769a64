"""The same names as often, through the same Service, and each question from one socket waits for the answer before.

The second question finds the entry of the first, so nothing races, whatever the pace.
"""

from __future__ import annotations

from contextlib import suppress
from typing import ClassVar

from lab.actor import every
from lab.case import Expected, Kind
from lab.faults.dns_race import ENOUGH, DnsRace, asker_of
from lab.load import AAAA, A, question


def ask_in_turn(address: str, per_second: int) -> None:
    for _ in every(1 / per_second, times=1_000_000):
        with asker_of(address) as asker, suppress(OSError):
            for kind in (A, AAAA):
                asker.send(question(kind))
                asker.recv(512)


class DnsNamesInTurn(DnsRace):
    kind: ClassVar[Kind] = "look-alike"
    ask: ClassVar = staticmethod(ask_in_turn)

    def there(self, races: int, names: int) -> bool:
        return races == 0 and names >= 10 * ENOUGH

    def expected(self) -> Expected:
        return Expected(
            rule=None,
            cleared=("dns-race", "conntrack-table"),
            innocent=(self.client.who(), *(server.who() for server in self.servers)),
        )
