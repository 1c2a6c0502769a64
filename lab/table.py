"""What conntrack and /proc/net/stat say about the connection table of a node, and a case which is about that table."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lab.case import TABLE_RULES, Case, Expected
from lab.look import Sight
from lab.node import Firewall, Node
from lab.servers import nginx
from lab.stage import Player, Pod
from lab.who import Who

STATISTICS = "/proc/net/stat/nf_conntrack"


@dataclass(frozen=True)
class Entry:
    """One line of `conntrack -L`: who asked for what. state: "-" for protocols without."""

    protocol: str
    state: str
    source: str
    destination: str
    port: int
    replied: bool


class Entries(tuple[Entry, ...]):
    """The entries of one namespace."""

    def where(
        self,
        *states: str,
        source: str | None = None,
        destination: str | None = None,
        port: int | None = None,
        replied: bool | None = None,
    ) -> Entries:
        return Entries(
            e
            for e in self
            if (not states or e.state in states)
            and source in (None, e.source)
            and destination in (None, e.destination)
            and port in (None, e.port)
            and replied in (None, e.replied)
        )

    def __str__(self) -> str:
        """How many, and of which states."""
        states = Counter(f"{e.state}{'' if e.replied else ' unreplied'}" for e in self)
        return f"{len(self)} entries ({', '.join(f'{n} {state}' for state, n in states.most_common(4))})"


def entries(netns: Path) -> Entries:
    found = []
    for family in ("ipv4", "ipv6"):
        command = ["nsenter", f"--net={netns}", "conntrack", "-L", "-f", family]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        found += [parse_entry(line) for line in lines]
    return Entries(found)


def parse_entry(line: str) -> Entry:
    words = line.split()
    asked = dict(re.findall(r"(\w+)=(\S+)", line)[::-1])  # the first of each name is the original direction's
    return Entry(
        protocol=words[0],
        state=words[3] if words[0] in ("tcp", "sctp", "dccp") else "-",
        source=asked["src"],
        destination=asked["dst"],
        port=int(asked.get("dport", 0)),
        replied="[UNREPLIED]" not in line,
    )


def parse_statistics(text: str) -> Counter[str]:
    """Sums over CPUs; `entries` is the same number on each line, and is left out."""
    names, *rows = (line.split() for line in text.splitlines())
    total: Counter[str] = Counter()
    for row in rows:
        for name, value in zip(names, row, strict=True):
            total[name] += int(value, 16)
    del total["entries"]
    return total


def parse_counted(text: str) -> Counter[str]:
    """`conntrack -S`, summed over CPUs."""
    total: Counter[str] = Counter()
    for name, value in re.findall(r"(\w+)=(\d+)", text):
        total[name] += int(value)
    del total["cpu"]
    return total


class Table:
    """The table of one namespace, as it can be seen from inside of it."""

    def __init__(self, netns: Path) -> None:
        self.netns = netns

    @property
    def count(self) -> int:
        return int(self._say("conntrack", "-C"))

    @property
    def statistics(self) -> Counter[str]:
        return parse_statistics(self._say("cat", STATISTICS))

    @property
    def counted(self) -> Counter[str]:
        """The statistics by another way: ctnetlink, with its own names (clash_resolve is clashres in the file)."""
        return parse_counted(self._say("conntrack", "-S"))

    @property
    def entries(self) -> Entries:
        return entries(self.netns)

    def overflows(self, limit: int) -> bool:
        """Nearly as many entries as there is room for, and packets have been dropped."""
        return self.count >= 0.9 * limit and self.statistics["drop"] > 0

    def __str__(self) -> str:
        counters = self.statistics
        wanted = {
            name: counters[name] for name in ("drop", "early_drop", "insert_failed", "clashres") if counters[name]
        }
        return f"count {self.count}, {wanted or 'no drops'}"

    def _say(self, *command: str) -> str:
        line = ["nsenter", f"--net={self.netns}", *command]
        return subprocess.run(line, check=True, capture_output=True, text=True).stdout


class TableCase(Case):
    """A case with a node, whose table whodunnet judges from inside of it."""

    rules: ClassVar[tuple[str, ...]] = TABLE_RULES
    age_seconds: ClassVar[int] = 0
    changes_global: ClassVar[bool] = True

    node: Node
    server: Player

    @property
    def enter(self) -> Path | None:
        return self.node.host.netns

    @property
    def table(self) -> Table:
        return Table(self.node.host.netns)

    def furnish(self, limit: int, *pods: str, firewall: Firewall = "nftables") -> tuple[Pod, ...]:
        """A node with these pods, room for so many entries in its table, and nginx on another machine."""
        self.node = Node(self.stage, *pods, firewall=firewall)
        self.stage.conntrack_max(limit)
        self.server = nginx(self.stage, self.node.outside)
        return self.node.pods

    def look_by_pod(self, limit: int) -> Sight:
        """Does it overflow, and how many entries has each pod opened?"""
        entries = self.table.entries
        shares = [len(entries.where(source=pod.address)) for pod in self.node.pods]
        return Sight(self.table.overflows(limit), f"{self.table}; by pod: {shares}")


def full_of_churn(
    culprits: tuple[Who, ...], innocent: tuple[Who, ...], endpoint: tuple[str, int] | None = None
) -> Expected:
    """These fill the table with short connections, and packets are dropped."""
    return Expected(
        rule="conntrack-table",
        severities=("critical",),
        shapes=("churn",),
        culprits=culprits,
        innocent=innocent,
        endpoint=endpoint,
    )
