"""The conntrack collector on a real kernel: flows through real NAT, as conntrack(8) shows them, and a full table."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from bench.conntrack import OWNERS, TIME_WAIT, Entry, flows, insert, room_for
from netns.command import nobody_with
from netns.namespace import Namespace, set_sysctl, wait_until
from netns.nat import CLIENT, IPTABLES, NFTABLES, ROUTER, SERVER, SERVICE, Net, listed, nft, run
from whodunnet.collectors.conntrack import ConntrackCollector, read_here
from whodunnet.kernel import namespaces
from whodunnet.kernel.netlink.conntrack import dump_flows, read_statistics
from whodunnet.kernel.netlink.conntrack_groups import FlowTable
from whodunnet.kernel.procfs import conntrack as procfs
from whodunnet.kernel.procfs.conntrack_entries import read_entries
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.sockets import Endpoint

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")]

ROOTS = Roots()
EVERYTHING_ON = """
table inet more {
    chain zones { type filter hook prerouting priority -300; udp dport 53 ct zone set 7; udp sport 53 ct zone set 7; }
    chain marks { type filter hook forward priority 0; ct mark set 5; ct label set 3; }
}
"""


class Shown(NamedTuple):
    """What a group is made of, as conntrack(8) shows it."""

    protocol: str
    source: str
    destination: str
    port: str
    answered_by: str
    answered_port: str
    source_as: str
    state: str
    replied: bool
    assured: bool
    zone: str


def by_nftables() -> None:
    nft(NFTABLES)


def by_iptables() -> None:
    for command in IPTABLES:
        run(command)


def with_everything_on() -> None:
    nft(NFTABLES, EVERYTHING_ON)
    set_sysctl("netfilter/nf_conntrack_acct", 1)
    set_sysctl("netfilter/nf_conntrack_timestamp", 1)


@pytest.fixture(params=[by_nftables, by_iptables, with_everything_on], ids=lambda rules: rules.__name__)
def net(request: pytest.FixtureRequest) -> Iterator[Net]:
    with ExitStack() as kept:
        yield Net(kept, request.param)


def at_rest(net: Net, read: Callable[[], list[FlowGroup]]) -> tuple[list[FlowGroup], str]:
    """A reading between two outputs of conntrack(8) that differ in nothing but time."""
    found: list[tuple[list[FlowGroup], str]] = []

    def same() -> bool:
        before, ours, after = listed(), read(), listed()
        found.append((ours, after))
        return shown_by_tool(before) == shown_by_tool(after)

    wait_until(lambda: net.router(same), "a table at rest")
    return found[-1]


def shown_by_tool(text: str) -> Counter[Shown]:
    """`conntrack -L`, counted by hand."""
    return Counter(shown_line(line) for line in text.splitlines())


def shown_line(line: str) -> Shown:
    source, source_as = re.findall(r"src=(\S+)", line)[0], re.findall(r"dst=(\S+)", line)[1]
    destination, answered_by = re.findall(r"dst=(\S+)", line)[0], re.findall(r"src=(\S+)", line)[1]
    ports, answered = re.findall(r"dport=(\d+)", line) or [""], re.findall(r"sport=(\d+)", line) or ["", ""]
    state = re.match(r"tcp +6 +\d+ ([A-Z_]+) ", line)
    zone = re.search(r"zone=(\d+)", line)
    return Shown(
        line.split()[0], source, destination, ports[0], answered_by, answered[1], source_as,
        state[1].lower().replace("_", "-") if state else "none", "[UNREPLIED]" not in line, "[ASSURED]" in line,
        zone[1] if zone else "0",
    )  # fmt: skip


def shown_by_us(groups: list[FlowGroup]) -> Counter[Shown]:
    total: Counter[Shown] = Counter()
    for g in groups:
        assert g.destination is not None
        answers = g.answered_by or g.destination
        total[
            Shown(
                g.protocol, g.source, g.destination.address or "", str(g.destination.port or ""), answers.address or "",
                str(answers.port or ""), g.source_as or g.source, g.state, g.replied, g.assured, str(g.zone),
            )
        ] += g.entries  # fmt: skip
    return total


def by_ctnetlink() -> list[FlowGroup]:
    dump = dump_flows(procfs.read_timeouts(ROOTS))
    assert (dump.table.malformed, dump.table.other_entries, dump.overruns) == (0, 0, 0)
    return dump.table.groups()


def by_text() -> list[FlowGroup]:
    entries, malformed = read_entries(ROOTS, "thread-self")
    assert malformed == 0
    table = FlowTable(procfs.read_timeouts(ROOTS))
    for entry in entries:
        table.add(entry)
    return table.groups()


def test_groups_are_those_of_conntrack_counted_by_hand(net: Net) -> None:
    net.everything()
    for read in (by_ctnetlink, by_text):
        groups, text = at_rest(net, read)
        assert shown_by_us(groups) == shown_by_tool(text)
        assert sum(g.entries for g in groups) == 3 + 2 + 1 + 1 + 5 + 1 + 1 + 1
    service = {g.state: g for g in groups if g.destination == Endpoint(SERVICE, 80)}
    assert {state: g.entries for state, g in service.items()} == {"established": 3, "time-wait": 2}
    assert {(g.source, g.answered_by, g.source_as) for g in service.values()} == {
        (CLIENT, Endpoint(SERVER, 8080), ROUTER)
    }
    assert [(g.replied, g.entries) for g in groups if g.state == "syn-sent"] == [(False, 1)]


def test_both_ways_to_read_give_the_same_groups_with_the_same_idle_times(net: Net) -> None:
    net.everything()

    def both() -> tuple[list[FlowGroup], list[FlowGroup], list[FlowGroup]]:
        return by_ctnetlink(), by_text(), by_ctnetlink()

    def same() -> bool:
        first, text, second = net.router(both)
        return first == text == second

    wait_until(same, "three readings in the same second")


def test_idle_time_is_known_of_every_entry_here_and_grows(net: Net) -> None:
    net.everything()
    begin = time.monotonic()
    groups = net.router(by_ctnetlink)
    assert all(g.idle_unknown == 0 for g in groups)
    assert sum(g.idle_for(60) for g in groups) == 0

    def grown() -> bool:
        return all(g.idle_for(2) == g.entries for g in net.router(by_ctnetlink) if g.protocol != "tcp")

    wait_until(grown, "two seconds of silence")
    assert time.monotonic() - begin >= 2


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with Namespace() as made:
        yield made


def collect() -> Conntrack:
    return ConntrackCollector(ROOTS, read_support(ROOTS)).collect()


def here() -> Conntrack:
    return read_here(ROOTS, 0)


def test_numbers_are_those_of_the_files(net: Net) -> None:
    net.everything()
    sample = net.router(collect)
    inum = net.router.number
    read = partial_sysctl(net.router)
    assert (sample.loaded, sample.netns, sample.method, sample.dump_failure) == (True, inum, "procfs", None)
    assert sample.count == read("count") == sample.entries_read == sample.counts[inum]
    assert (sample.max_entries, sample.buckets) == (read("max"), read("buckets"))
    assert sample.timeouts["tcp_timeout_established"] == read("tcp_timeout_established")
    ours, theirs = net.router(read_statistics), net.router(lambda: run("conntrack -S"))
    columns = {"clashres": "clash_resolve", "chainlength": "chaintoolong", "icmp_error": "error"}
    assert ours["insert_failed"] == 0
    for name, value in ours.items():
        shown = re.findall(rf"\b{columns.get(name, name)}=(\d+)", theirs)
        assert value == sum(map(int, shown)) == sample.statistics[name]


def partial_sysctl(place: Namespace) -> Callable[[str], int]:
    return lambda name: place(lambda: int(Path(f"/proc/sys/net/netfilter/nf_conntrack_{name}").read_text()))


def test_timeouts_in_force_are_used(namespace: Namespace) -> None:
    def idle() -> list[int]:
        set_sysctl("netfilter/nf_conntrack_tcp_timeout_established", 4000)
        insert(iter([Entry(bytes((10, 1, 0, 1)), bytes((10, 2, 0, 1)), 1000, timeout=3600)]))
        return [g.idle_seconds for g in here().groups]

    (seconds,) = namespace(idle)
    assert 399 <= seconds <= 402


def test_what_may_be_a_short_timeout_has_no_idle_time(namespace: Namespace) -> None:
    def groups() -> tuple[FlowGroup, ...]:
        insert(iter([Entry(bytes((10, 1, 0, 1)), bytes((10, 2, 0, 1)), 1000, timeout=290)]))
        insert(iter([Entry(bytes((10, 1, 0, 1)), bytes((10, 2, 0, 2)), 1000, timeout=100, state=TIME_WAIT)]))
        return here().groups

    assert {g.state: g.idle_unknown for g in namespace(groups)} == {"established": 1, "time-wait": 0}


@pytest.mark.parametrize(("entries", "method"), [(100, "procfs"), (12_000, "ctnetlink"), (40_000, "ctnetlink")])
def test_a_table_is_read_whole_however_many_are_in_it(namespace: Namespace, entries: int, method: str) -> None:
    with room_for(entries):
        namespace(lambda: insert(flows(entries)))
        sample = namespace(here)
    assert (sample.count, sample.entries_read, sample.malformed, sample.other_entries) == (entries, entries, 0, 0)
    assert sample.method == method
    by_source = Counter[str]()
    for g in sample.groups:
        by_source[g.source] += g.entries
    assert set(by_source.values()) == ({entries // OWNERS} if entries >= OWNERS else {1})


@pytest.mark.parametrize("entries", [1_000, 5_000, 200_000])
def test_no_stay_in_the_kernel_takes_a_millisecond(namespace: Namespace, entries: int) -> None:
    """CPU time of one call holds all of its time with softirqs off; the least of five, as others work here too."""
    with room_for(entries):
        namespace(lambda: insert(flows(entries)))
        samples = [namespace(here) for _ in range(5)]
    assert all((s.entries_read, s.method) == (entries, "ctnetlink") for s in samples)
    assert min(s.longest_receive_seconds for s in samples) < 0.001


@pytest.fixture
def mount() -> Iterator[Path]:
    """A namespace without any process."""
    name = f"whodunnet-{uuid.uuid4().hex[:8]}"
    run(f"ip netns add {name}")
    yield Path("/run/netns", name)
    run(f"ip netns del {name}")


def test_few_entries_among_many_of_others_are_not_dumped_by_ctnetlink(namespace: Namespace, mount: Path) -> None:
    with room_for(100_000):
        namespaces.inside(mount, None, lambda: insert(flows(100_000)))
        namespace(lambda: insert(flows(500)))
        sample = namespace(collect)
    assert (sample.counts[namespace.number], sample.counts[mount.stat().st_ino]) == (500, 100_000)
    assert (sample.method, sample.entries_read) == ("procfs", 500)


COLLECT = """
import msgspec
from whodunnet.collectors.conntrack import ConntrackCollector
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
sample = ConntrackCollector(Roots(), read_support(Roots())).collect()
print(msgspec.json.encode(sample).decode())
"""


@pytest.mark.parametrize(("entries", "capability"), [(100, "CAP_DAC_READ_SEARCH"), (5000, "CAP_NET_ADMIN")])
def test_without_rights_the_size_is_known_and_the_reason_why_nothing_else(
    namespace: Namespace, entries: int, capability: str
) -> None:
    def as_nobody() -> str:
        insert(flows(entries))
        command = [*nobody_with(), sys.executable, "-c", COLLECT]
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout

    sample = json.loads(namespace(as_nobody))
    assert sample["count"] == entries
    assert sample["max_entries"] > 0
    assert sample["statistics"]["drop"] == 0
    assert sample["dump_failure"]["code"] == "missing-capability"
    assert sample["dump_failure"]["missing_capability"] == capability


def test_a_namespace_that_only_a_mount_keeps_is_counted(namespace: Namespace, mount: Path) -> None:
    namespaces.inside(mount, None, lambda: insert(flows(40)))
    assert namespace(collect).counts[mount.stat().st_ino] == 40


def test_an_empty_table_costs_little(namespace: Namespace) -> None:
    """5 ms on a machine that does nothing else; ten times that here, for whatever else runs."""

    def least() -> float:
        taken = []
        for _ in range(5):
            begin = time.perf_counter()
            sample = collect()
            taken.append(time.perf_counter() - begin)
            assert (sample.count, sample.groups, sample.method) == (0, (), None)
        return min(taken)

    assert namespace(least) < 0.05
