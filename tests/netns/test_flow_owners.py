"""Who opened real connections through real NAT, by the table of tracked connections."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from netns.mounted_namespace import Place, inside, run
from netns.namespace import wait_until
from whodunnet.collectors.snapshots import COLLECTORS, SnapshotTaker
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.addresses import Addresses
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.flow_owners import FlowOwner, FlowOwners
from whodunnet.model.snapshot import Snapshot
from whodunnet.model.sockets import Sockets
from whodunnet.model.workload import Workloads

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")]

ROOTS = Roots()
SERVICE, SERVER, OUTSIDE, STRANGER = "10.96.7.7", "10.92.0.2", "10.92.0.1", "10.92.0.77"
WEB, JOB, MIXED = "10.91.1.2", "10.91.2.2", "10.91.3.2"
RULES = f"""
table ip nat {{
    chain service {{ ip daddr {SERVICE} tcp dport 80 dnat to {SERVER}:8080; }}
    chain prerouting {{ type nat hook prerouting priority -100; jump service; }}
    chain output {{ type nat hook output priority -100; jump service; }}
    chain postrouting {{ type nat hook postrouting priority 100; oifname "world" masquerade; }}
}}
"""
SERVE = """
import socket, sys
listener, kept = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=64), []
print("ready", flush=True)
while True:
    kept.append(listener.accept())
"""
CONNECT = """
import socket, sys
kept = [socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10) for _ in range(int(sys.argv[3]))]
print("ready", flush=True)
sys.stdin.read()
"""
SEND = """
import socket, sys
source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
source.bind((sys.argv[1], 0))
source.sendto(b"x", (sys.argv[2], int(sys.argv[3])))
"""


class Net:
    """A node with three pods, a Service behind NAT, processes of its own, and a world beyond it."""

    def __init__(self, kept: ExitStack) -> None:
        self.kept = kept
        self.node, self.world = Place(kept), Place(kept)
        self._cable(self.world, "world", "10.92.0")
        self.web, self.job, self.mixed = (self._pod(f"10.91.{n}") for n in (1, 2, 3))
        run(f"ip netns exec {self.node.name} sysctl -qw net.ipv4.ip_forward=1")
        run(f"ip netns exec {self.node.name} nft -f -", RULES)
        self.world.start(SERVE, SERVER, 8080)

    def _cable(self, place: Place, end: str, net: str) -> None:
        self.node.ip(
            f"link add {end} type veth peer name eth0 netns {place.name}", f"addr add {net}.1/24 dev {end}",
            f"link set {end} up",
        )  # fmt: skip
        place.ip(f"addr add {net}.2/24 dev eth0", "link set eth0 up", f"route add default via {net}.1")

    def _pod(self, net: str) -> Place:
        made = Place(self.kept)
        self._cable(made, f"v{made.number}", net)
        return made

    def load(self) -> dict[str, int]:
        """Connections of everybody; pids by name."""
        pids = {
            "web": self.web.start(CONNECT, SERVICE, 80, 5),
            "job": self.job.start(CONNECT, SERVICE, 80, 3),
            "mixed": self.mixed.start(CONNECT, SERVICE, 80, 4),
            "few": self.node.start(CONNECT, SERVER, 8080, 2),
            "many": self.node.start(CONNECT, SERVER, 8080, 6),
            "other": self.mixed.start("echo ready; read _", by="/bin/sh"),
        }
        self.world.ip(f"addr add {STRANGER}/24 dev eth0")
        for _ in range(2):
            run_in(self.world, SEND, STRANGER, OUTSIDE, 4000)
        self.world.ip(f"addr del {STRANGER}/24 dev eth0")
        return pids

    def snapshot(self, wanted: Sequence[str] = COLLECTORS) -> tuple[Snapshot, dict[str, Any]]:
        """One of the node, and what it cost."""

        def take() -> tuple[Snapshot, dict[str, Any]]:
            with SnapshotTaker(ROOTS, read_support(ROOTS), wanted) as taker:
                return taker.take(), taker.costs

        taken: tuple[Snapshot, dict[str, Any]] = inside(self.node, take)
        return taken

    def by_hand(self) -> Counter[str]:
        """`conntrack -L`, entries by source."""
        text = run(f"ip netns exec {self.node.name} conntrack -L")
        return Counter(re.findall(r"src=(\S+)", line)[0] for line in text.splitlines())


def run_in(place: Place, program: str, *arguments: object) -> None:
    argv = ["ip", "netns", "exec", place.name, sys.executable, "-c", program, *map(str, arguments)]
    subprocess.run(argv, check=True)


@pytest.fixture
def net(kept: ExitStack) -> Net:
    return Net(kept)


def opened(snapshot: Snapshot) -> dict[str, tuple[FlowOwner, int]]:
    """Owners by key, with their entries."""
    samples = snapshot.samples
    table, places, workloads = samples["conntrack"], samples["addresses"], samples["workloads"]
    sockets = samples.get("sockets")
    assert isinstance(table, Conntrack)
    assert isinstance(places, Addresses)
    assert isinstance(workloads, Workloads)
    owners = FlowOwners(table, places, [sockets] if isinstance(sockets, Sockets) else [], workloads)
    found: dict[str, tuple[FlowOwner, int]] = {}
    for group in table.groups:
        for owner, n in owners.split(group):
            found[owner.key] = owner, n + found.get(owner.key, (owner, 0))[1]
    return found


def at_rest(net: Net, wanted: Sequence[str] = COLLECTORS) -> tuple[Snapshot, dict[str, Any], Counter[str]]:
    """A snapshot between two outputs of conntrack(8) that agree."""
    found: list[Any] = []

    def same() -> bool:
        before, (snapshot, costs), after = net.by_hand(), net.snapshot(wanted), net.by_hand()
        found[:] = [snapshot, costs, after]
        table = snapshot.samples["conntrack"]
        return before == after and isinstance(table, Conntrack) and table.dump_failure is None

    wait_until(same, "a table at rest, with few enough entries of others to be read")
    return found[0], found[1], found[2]


def test_each_entry_has_its_opener_and_the_numbers_are_those_of_conntrack(net: Net) -> None:
    pids = net.load()
    snapshot, costs, by_hand = at_rest(net)
    assert by_hand == {WEB: 5, JOB: 3, MIXED: 4, OUTSIDE: 8, STRANGER: 2}
    found = opened(snapshot)
    workloads = snapshot.samples["workloads"]
    assert isinstance(workloads, Workloads)
    by_pid = {w.process.pid: n for o, n in found.values() if (w := o.workload) is not None and w.process is not None}
    assert by_pid == {pids["web"]: 5, pids["job"]: 3, pids["mixed"]: 4, pids["few"]: 2, pids["many"]: 6}
    assert found[f"remote {STRANGER}"][1] == 2
    assert sum(n for _, n in found.values()) == by_hand.total() == 22
    assert {net.web.number, net.job.number} <= workloads.sole_by_netns.keys()
    assert not {net.node.number, net.mixed.number} & workloads.sole_by_netns.keys()
    assert costs["conntrack"].attributed_share == 1.0
    assert (costs["conntrack"].lost, costs["conntrack"].truncated) == (0, False)


def test_without_sockets_what_shares_an_address_stays_together(net: Net) -> None:
    net.load()
    snapshot, costs, _ = at_rest(net, ("conntrack",))
    assert list(snapshot.samples) == ["conntrack", "addresses", "workloads"]
    found = {key: (owner.kind, n) for key, (owner, n) in opened(snapshot).items()}
    assert found == {
        f"netns {net.web.number}": ("workload", 5), f"netns {net.job.number}": ("workload", 3),
        f"netns {net.mixed.number}": ("netns", 4), f"node {net.node.number}": ("node", 8),
        f"remote {STRANGER}": ("remote", 2),
    }  # fmt: skip
    assert costs["conntrack"].attributed_share == round(10 / 22, 4)


def test_an_address_in_two_namespaces_is_ambiguous_until_sockets_tell(net: Net) -> None:
    net.load()
    twin = Place(net.kept, "link add plain type bridge", f"addr add {WEB}/24 dev plain")
    found = opened(at_rest(net, ("conntrack",))[0])
    assert (found[f"ambiguous {WEB}"][1], f"netns {net.web.number}" in found) == (5, False)
    found = opened(at_rest(net)[0])
    assert found[f"netns {net.web.number}"][1] == 5
    assert not any(key in found for key in (f"ambiguous {WEB}", f"netns {twin.number}"))


def test_a_pod_that_is_gone_leaves_its_entries_to_an_address(net: Net) -> None:
    with ExitStack() as short:
        brief = Place(short)
        net._cable(brief, "brief", "10.91.9")
        run_in(brief, SEND, "10.91.9.2", SERVER, 4000)
    wait_until(lambda: net.by_hand()["10.91.9.2"] == 1, "its entry is still there")
    assert opened(at_rest(net)[0])["remote 10.91.9.2"][1] == 1


def test_an_empty_table_brings_neither_addresses_nor_workloads(kept: ExitStack) -> None:
    place = Place(kept)

    def take() -> Snapshot:
        with SnapshotTaker(ROOTS, read_support(ROOTS), ("conntrack",)) as taker:
            return taker.take()

    assert list(inside(place, take).samples) == ["conntrack"]
