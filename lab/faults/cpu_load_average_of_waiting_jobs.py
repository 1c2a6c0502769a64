"""A load average of many times the number of CPUs, and the CPUs are idle: jobs wait for a disk that does not answer.

Linux counts who waits uninterruptibly (state D) into the load, and a network disk that hangs leaves every job of a
backup so. None of them runs, and none wants to. A shop beside them gets a CPU whenever it wants one: whoever takes the
load for a shortage of CPU time evicts the wrong pods.

Here the disk is a FIFO that nobody writes to: a child opens it before it runs its program, and its parent waits for
that in the same state (vfork(2)). It takes a machine with nothing else to do.
"""

from __future__ import annotations

import os
from pathlib import Path

from lab.actor import rest
from lab.case import CPU_RULES, Case, Expected
from lab.connects import calls
from lab.cpu_hogs import CPUS, times
from lab.cpu_quota import PORT, serve
from lab.faults.cpu_throttled_while_starting import ask_and_log
from lab.look import Sight
from lab.servers import up
from lab.stage import session, status

JOBS = 8 * CPUS
WORK_SECONDS, PER_SECOND = 0.004, 20


def wait_for_disk(jobs: int) -> None:
    """In the directory of the case, where no other has this name."""
    os.mkfifo("disk")
    opening = [(os.POSIX_SPAWN_OPEN, 0, "disk", os.O_RDONLY, 0)]
    for _ in range(jobs):
        if os.fork() == 0:
            os.posix_spawn("/bin/true", ["true"], {}, file_actions=opening)
            os._exit(1)
    rest()


class CpuLoadAverageOfWaitingJobs(Case):
    kind = "look-alike"
    rules = CPU_RULES
    rules_unread = True
    age_seconds = 10

    def start(self) -> None:
        backup, shop, client = self.stage.pods("backup", "shop", "client")
        self.server = self.stage.play(shop, "shop", serve, WORK_SECONDS)
        up(self.stage, shop, self.server, PORT)
        self.client = self.stage.play(client, "browser", ask_and_log, shop.address, PER_SECOND)
        self.jobs = self.stage.play(backup, "backup", wait_for_disk, JOBS)

    def look(self) -> Sight:
        waiting = sum(status(pid) == "D" for pid in session(self.jobs.pid))
        ran, waited = times(self.server.pid)
        made = calls(self.client)
        seen = f"{waiting} jobs in state D, load {Path('/proc/loadavg').read_text().split()[0]}"
        seen += f"; the shop ran {ran:.2f} s and waited {waited:.2f} s; {made}"
        return Sight(waiting == JOBS and len(made) >= 60 and ran > 0.2 and waited < ran / 2, seen)

    def expected(self) -> Expected:
        parts = (self.jobs.who(), self.server.who(), self.client.who())
        return Expected(rule=None, cleared=("cpu-pressure",), innocent=parts, bystanders=parts)
