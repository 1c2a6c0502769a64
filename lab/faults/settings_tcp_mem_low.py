"""Somebody has set the node's TCP memory to a third of what the kernel gives by itself; nothing is short of it yet.

It is put back whatever happens. That it is low is worth knowing, and nobody's fault.
"""

from __future__ import annotations

from pathlib import Path

from lab.case import SETTING_RULES, Case, Expected
from lab.host import TCP_MEM, read
from lab.look import Sight, sockstat
from lab.servers import nginx

PAGES_OF_FORMULA = 0.0937
"""Of the memory of the machine, the maximum by default (tcp_init_mem in net/ipv4/tcp.c)."""


def memory_pages() -> int:
    line = next(x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("MemTotal:"))
    return int(line.split()[1]) // 4


class SettingsTcpMemLow(Case):
    kind = "fault"
    rules = SETTING_RULES
    age_seconds = 0
    changes_global = True

    def start(self) -> None:
        (pod,) = self.stage.pods("server")
        self.server = nginx(self.stage, pod)
        self.maximum = round(memory_pages() * PAGES_OF_FORMULA / 3)
        self.stage.tcp_mem(self.maximum // 2, self.maximum * 2 // 3, self.maximum)

    def look(self) -> Sight:
        low, used = read(TCP_MEM), sockstat()["mem"]
        return Sight(int(low.split()[2]) == self.maximum and used < self.maximum / 4, f"tcp_mem {low}, {used} in use")

    def expected(self) -> Expected:
        return Expected(
            rule="settings",
            severities=("info",),
            shapes=("tcp-mem",),
            cleared=("tcp-memory", "socket-leak", "accept-queue"),
            innocent=(self.server.who(),),
            bystanders=(self.server.who(),),
        )
