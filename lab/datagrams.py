"""Datagrams that arrived, as a pod's UDP counted them, and packets that no CPU had room for, as the machine counted."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.stage import Pod

SOFTNET = Path("/proc/net/softnet_stat")
DROPPED = 1  # the second column (softnet_seq_show in net/core/net-procfs.c)


@dataclass(frozen=True)
class Counters:
    """read: that came to a socket; unread ones count too. no_room: that found the socket's buffer full."""

    read: int
    no_room: int


def counters(pod: Pod) -> Counters:
    command = ["nsenter", f"--net={pod.netns}", "cat", "/proc/net/snmp"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    names, values = (line.split() for line in lines if line.startswith("Udp:"))
    by_name = dict(zip(names, values, strict=True))
    return Counters(int(by_name["InDatagrams"]), int(by_name["RcvbufErrors"]))


def softnet_drops() -> int:
    """Of all CPUs since the machine was started."""
    return sum(int(line.split()[DROPPED], 16) for line in SOFTNET.read_text().splitlines())
