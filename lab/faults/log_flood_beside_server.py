"""The same kernel line over and over, and journals that burn the CPUs writing it to disk; a shop has to wait for them.

In incident 4 that was the loud decoy. Here it is the fault itself: each tenant's journal (systemd-journald, four for
each CPU) gets the line as fast as it can write it. A server beside them, which needs less than half a CPU, waits for
one for longer than it runs. The journals are to be named; whoever floods them has less of the CPUs, and is the reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from lab.case import CPU_RULES, Case, Expected, Kind
from lab.cpu_hogs import CPUS, ask_now_and_then, busy, times
from lab.cpu_quota import PORT, serve
from lab.look import Sight, wait_until
from lab.servers import up
from lab.stage import Player, Pod, session
from lab.who import Who

JOURNALS = 4 * CPUS
JOURNALD = "/usr/lib/systemd/systemd-journald"
CONFIGURATION = """
[Journal]
Storage=volatile
RuntimeMaxUse=32M
RateLimitIntervalSec=0
RateLimitBurst=0
ReadKMsg=no
Audit=no
ForwardToWall=no
"""
OWN_RUN = 'mount --bind "$0" /run && exec "$@"'
LINE = "TCP: out of memory -- consider tuning tcp_mem"
FLOOD = 'for place in "$@"; do yes "$0" | logger --tag kernel --socket "$place" & done; wait'
LOG_SOCKET = Path("systemd/journal/dev-log")


class LogFloodBesideServer(Case):
    """nice: of the journals, of who floods them, and of their sessions (sched(7), autogroup); None: left alone."""

    kind: ClassVar[Kind] = "fault"
    rules_unread = True
    rules = CPU_RULES
    age_seconds = 3
    nice: ClassVar[int | None] = None
    work_seconds: ClassVar[float] = 0.02
    per_second: ClassVar[float] = 20

    def start(self) -> None:
        tenants, shop, client = self.stage.pods("tenants", "shop", "client")
        self.server = self.stage.play(shop, "shop", serve, self.work_seconds)
        up(self.stage, shop, self.server, PORT)
        self.client = self.stage.play(client, "browser", ask_now_and_then, shop.address, self.per_second)
        self.busy_before = busy()
        places = [self.stage.directory / f"run-{number}" for number in range(JOURNALS)]
        self.journals = [self.keep_journal(tenants, place) for place in places]
        sockets = [place / LOG_SOCKET for place in places]
        wait_until(lambda: all(socket.exists() for socket in sockets), 20, self.stage.logs)
        polite = ("nice", "-n", str(self.nice or 0))
        self.flood = self.stage.run(tenants, "sh", *polite, "sh", "-c", FLOOD, LINE, *map(str, sockets))
        for player in (*self.journals, self.flood):
            group = Path(f"/proc/{player.pid}/autogroup")
            if self.nice is not None and group.exists():
                group.write_text(str(self.nice))

    def keep_journal(self, pod: Pod, place: Path) -> Player:
        """A journal with a /run of its own, which is a directory on the disk."""
        (place / "systemd/journald.conf.d").mkdir(parents=True)
        (place / "systemd/journald.conf.d/lab.conf").write_text(CONFIGURATION)
        own_run = ("unshare", "--mount", "--propagation", "private", "sh", "-c", OWN_RUN, str(place))
        polite = ("nice", "-n", str(self.nice or 0))
        return self.stage.run(pod, "systemd-journal", *own_run, *polite, JOURNALD)

    def look(self) -> Sight:
        (ran, waited), (journals, flood) = times(self.server.pid), self.shares()
        seen = f"journals have {journals:.0%} of what CPUs did, the flood {flood:.0%}"
        seen += f"; the server ran {ran:.2f} s and waited {waited:.2f} s"
        return Sight(self.hurt(ran, waited) and journals > 0.4 and journals > flood, seen)

    def hurt(self, ran: float, waited: float) -> bool:
        return ran > 0.1 and waited > ran

    def shares(self) -> tuple[float, float]:
        """Of what all CPUs did since: of the journals, and of those who write to them."""
        did = max(busy() - self.busy_before, 0.01)
        written = sum(times(journal.pid)[0] for journal in self.journals)
        return written / did, sum(times(pid)[0] for pid in session(self.flood.pid)) / did

    def expected(self) -> Expected:
        journals = Who("systemd-journal", frozenset(journal.pid for journal in self.journals))
        return Expected(
            rule="cpu-pressure",
            severities=("warning", "critical"),
            culprits=(journals,),
            tolerated=(self.flood.who(),),
            innocent=(self.server.who(), self.client.who()),
        )
