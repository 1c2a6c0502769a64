"""A made-up node whose kernel tracks connections: two namespaces, what procfs says of them, and a kernel that dumps."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from whodunnet.collectors import conntrack
from whodunnet.collectors.conntrack import ConntrackCollector
from whodunnet.kernel.netlink.conntrack import FlowDump
from whodunnet.kernel.netlink.conntrack_groups import Entry, FlowTable
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support, read_support
from whodunnet.model.conntrack import Conntrack

TEXT = (Path(__file__).parents[2] / "fixtures/netlink/conntrack/nat.txt").read_text()
OWN, OTHER = 4026531840, 4026532999
HEADER = "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop\n"
ENTRY = Entry(b"\1\2\3\4", b"\5\6\7\x08", bytes(4), bytes(4), 80, 0, 6, 3, 3, 0, 431000)


def statistics(entries: int, drop: int = 0) -> str:
    row = " ".join(f"{number:08x}" for number in (entries, *range(1, 10), drop, 11))
    return HEADER + row + "\n" + row + "\n"


def process(proc: Path, name: str, netns: int, entries: int | None) -> None:
    """A process with its namespace, and what it sees of the table."""
    (proc / name / "ns").mkdir(parents=True)
    (proc / name / "ns/net").symlink_to(f"net:[{netns}]")
    if entries is not None:
        (proc / name / "net/stat").mkdir(parents=True)
        (proc / name / "net/stat/nf_conntrack").write_text(statistics(entries, drop=7))
        (proc / name / "net/nf_conntrack").write_text(TEXT)


def two_namespaces(proc: Path) -> Roots:
    """15 entries in ours, which is also that of the first process, 400 in the other."""
    process(proc, "1", OWN, 15)
    process(proc, "22", OTHER, 400)
    for name in ("self", "thread-self"):
        (proc / name).symlink_to("1")
    (proc / "1/mountinfo").write_text("")
    files = {"count": 15, "max": 1000, "buckets": 256, "tcp_timeout_established": 432000, "udp_timeout": 30}
    directory = proc / "sys/net/netfilter"
    directory.mkdir(parents=True)
    for name, value in files.items():
        (directory / f"nf_conntrack_{name}").write_text(f"{value}\n")
    return Roots(proc=proc)


def write(roots: Roots, name: str, value: object) -> None:
    (roots.proc / f"sys/net/netfilter/nf_conntrack_{name}").write_text(f"{value}\n")


@cache
def support() -> Support:
    return read_support(Roots())


def collect(roots: Roots) -> Conntrack:
    return ConntrackCollector(roots, support()).collect()


def dumping(monkeypatch: pytest.MonkeyPatch, entries: int = 3) -> list[dict[str, int]]:
    """A kernel that dumps so many equal entries; the timeouts it was asked with, each time."""
    asked: list[dict[str, int]] = []

    def dump(timeouts: dict[str, int]) -> FlowDump:
        asked.append(timeouts)
        table = FlowTable(timeouts)
        for _ in range(entries):
            table.add(ENTRY)
        return FlowDump(table, 1, 0.25, 0.0003)

    monkeypatch.setattr(conntrack.ctnetlink, "dump_flows", dump)
    return asked
