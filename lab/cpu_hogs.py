"""Programs that use all CPUs, a shop that wants a little of them, and how long it waits for that."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from lab.actor import connected, every
from lab.case import CPU_RULES, Case
from lab.cpu_quota import PORT, REQUEST, serve
from lab.look import wait_until
from lab.servers import up
from lab.stage import Player, session

HOGS = 4
"""For each CPU."""

CPUS = os.cpu_count() or 1


class HogCase(Case):
    """openssl measures how fast it computes, on all CPUs, beside a server and its client."""

    rules = CPU_RULES
    quick = False
    age_seconds = 3

    hog: Player
    server: Player
    client: Player

    def run_beside(self, nice: int, work_seconds: float, per_second: float) -> None:
        """nice: of the hogs, and of their session, without which it counts among themselves only (sched(7))."""
        batch, shop, client = self.stage.pods("batch", "shop", "client")
        self.server = self.stage.play(shop, "shop", serve, work_seconds)
        up(self.stage, shop, self.server, PORT)
        self.client = self.stage.play(client, "browser", ask_now_and_then, shop.address, per_second)
        measure = ("openssl", "speed", "-multi", str(HOGS * CPUS), "-seconds", "600", "-bytes", "16384", "sha256")
        self.busy_before = busy()
        self.hog = self.stage.run(batch, "openssl", "nice", "-n", str(nice), *measure)
        wait_until(lambda: len(session(self.hog.pid)) > HOGS * CPUS, 10, self.stage.logs)
        group = Path(f"/proc/{self.hog.pid}/autogroup")
        if group.exists():
            group.write_text(str(nice))

    def hogged(self) -> float:
        """The share of what CPUs did since, that was the hogs'."""
        return sum(times(pid)[0] for pid in session(self.hog.pid)) / max(busy() - self.busy_before, 0.01)


def ask_now_and_then(address: str, per_second: float) -> None:
    connection = connected(address, PORT)
    for _ in every(1 / per_second, times=1_000_000):
        connection.sendall(REQUEST)
        connection.recv(64)


def times(pid: int) -> tuple[float, float]:
    """Seconds that it ran, and that it was ready to run and something else ran, as the kernel counts them."""
    with suppress(FileNotFoundError, ProcessLookupError):
        ran, waited, _ = map(int, Path(f"/proc/{pid}/schedstat").read_text().split())
        return ran / 1e9, waited / 1e9
    return 0.0, 0.0


def busy() -> float:
    """Seconds of all CPUs that were not idle."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
