"""Addresses of real namespaces as ip(8) shows them, and who opened real connections through real NAT."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from netns.namespace import wait_until
from whodunnet.collectors import addresses
from whodunnet.collectors.addresses import AddressesCollector
from whodunnet.collectors.snapshots import COLLECTORS, SnapshotTaker
from whodunnet.kernel import namespaces
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.addresses import Addresses, DeviceAddress
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
READ = """
import sys
from whodunnet.collectors.addresses import AddressesCollector
from whodunnet.kernel.roots import Roots
reading = AddressesCollector(Roots()).collect()
print(*(a.address for a in reading.by_netns.get(int(sys.argv[1]), ())))
"""


def run(command: str, text: str | None = None) -> str:
    return subprocess.run(command.split(), check=True, capture_output=True, text=True, input=text).stdout


class Place:
    """A namespace that a mount keeps, as CNI makes them."""

    def __init__(self, kept: ExitStack, *commands: str) -> None:
        self.name = f"whodunnet-{uuid.uuid4().hex[:8]}"
        run(f"ip netns add {self.name}")
        kept.callback(run, f"ip netns del {self.name}")
        self.path = Path("/run/netns", self.name)
        self.number = self.path.stat().st_ino
        self._kept = kept
        self.ip("link set lo up", *commands)

    def ip(self, *commands: str) -> None:
        for command in commands:
            run(f"ip -n {self.name} {command}")

    def start(self, program: str, *arguments: object, by: str = sys.executable) -> int:
        """A process in it, once it says that it is ready; its pid."""
        argv = ["ip", "netns", "exec", self.name, by, "-c", program, *map(str, arguments)]
        process = self._kept.enter_context(
            subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        self._kept.callback(process.kill)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process.pid


@pytest.fixture
def kept() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def inside(place: Place, call: Callable[[], Any]) -> Any:
    return namespaces.inside(place.path, place.number, call)


def collect() -> Addresses:
    return AddressesCollector(ROOTS).collect()


def by_ip(place: Place) -> set[tuple[str, int, str, str | None, bool]]:
    """What `ip addr` shows, without what every namespace has."""
    shown = json.loads(run(f"ip -n {place.name} -d -j addr"))
    return {
        (a["local"], a["prefixlen"], link["ifname"], link.get("linkinfo", {}).get("info_kind"), "UP" in link["flags"])
        for link in shown
        for a in link.get("addr_info", ())
        if not is_everywhere(a["local"])
    }


def is_everywhere(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return parsed.is_loopback or (parsed.version == 6 and parsed.is_link_local)


def as_shown(addresses: Sequence[DeviceAddress]) -> set[tuple[str, int, str, str | None, bool]]:
    return {(a.address, a.prefix_length, a.device, a.kind, a.up) for a in addresses}


def test_addresses_are_those_that_ip_shows(kept: ExitStack) -> None:
    other = Place(kept)
    place = Place(
        kept,
        "link add plain type bridge", "link add br7 type bridge", "link add down0 type ifb",
        f"link add eth0 type veth peer name there netns {other.name}", "link set plain up", "link set br7 up",
        "link set eth0 up", "addr add 10.7.0.1/24 dev plain", "addr add 10.7.0.2/24 dev plain",
        "addr add 10.7.1.1 peer 10.7.1.2/32 dev eth0", "addr add fd07::1/64 dev br7 nodad",
        "addr add fd07::5 peer fd07::6/128 dev eth0 nodad", "addr add 10.7.3.1/8 dev down0",
        "addr add 192.0.2.9/32 dev lo", "addr add 169.254.20.10/32 dev plain",
    )  # fmt: skip
    other.ip("addr add 10.8.0.1/24 dev there", "link set there up")
    for reading in (collect(), inside(other, collect)):
        assert {a.address for a in reading.by_netns[place.number]} >= {"10.7.1.1", "fd07::5", "192.0.2.9"}
        assert as_shown(reading.by_netns[place.number]) == by_ip(place)
        assert as_shown(reading.by_netns[other.number]) == by_ip(other)
        assert (reading.left_out, reading.netns_unread) == (0, 0)


def test_a_device_may_be_called_anything(kept: ExitStack) -> None:
    name = "a\x1b[31m\xe9"
    place = Place(kept)
    subprocess.run(["ip", "-n", place.name, "link", "add", name, "type", "bridge"], check=True)
    subprocess.run(["ip", "-n", place.name, "addr", "add", "10.7.0.1/24", "dev", name], check=True)
    (found,) = collect().by_netns[place.number]
    assert (found.device, found.kind) == ("a\N{REPLACEMENT CHARACTER}[31m\xe9", "bridge")


def test_a_namespace_that_only_a_process_keeps_is_read(kept: ExitStack) -> None:
    script = "ip link set lo up; ip addr add 192.0.2.7/32 dev lo; echo ready; read _"
    holder = kept.enter_context(
        subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"ready\n"
    number = Path(f"/proc/{holder.pid}/ns/net").stat().st_ino
    assert [a.address for a in collect().by_netns[number]] == ["192.0.2.7"]


def test_a_namespace_whose_mount_is_hidden_is_read_as_the_first_process_sees_it(kept: ExitStack) -> None:
    """pid 1 of a pid namespace still sees what a tmpfs hides from us, as in a container with a /run of its own."""
    place = Place(kept, "addr add 192.0.2.77/32 dev lo")
    hide = f"mount -t tmpfs none /run/netns; exec {sys.executable} -c '{READ}' {place.number}"
    first = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c"]
    found = subprocess.run(
        [*first, 'unshare --mount sh -c "$0"; true', hide], check=True, capture_output=True, text=True
    )
    assert found.stdout.split() == ["192.0.2.77"], found.stderr


def test_more_addresses_than_are_kept_are_counted_and_the_others_kept(
    kept: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel answers in several parts, of which only the first ones are read."""
    place = Place(kept)
    many = "".join(f"addr add 10.7.{n >> 8}.{n & 255}/32 dev lo\n" for n in range(1000))
    run(f"ip -n {place.name} -batch -", many)
    monkeypatch.setattr(addresses, "ADDRESSES_PER_NETNS", 5)
    reading = collect()
    assert [a.device for a in reading.by_netns[place.number]] == ["lo"] * 5
    assert reading.left_out >= 1


def test_namespaces_that_come_and_go_meanwhile_do_no_harm(kept: ExitStack) -> None:
    lasting = Place(kept, "link add plain type bridge", "addr add 10.7.0.1/24 dev plain")
    name = f"whodunnet-{uuid.uuid4().hex[:8]}"
    script = f"while :; do ip netns add {name} && ip -n {name} link set lo up; ip netns del {name}; echo; done"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as changing:
        assert changing.stdout is not None
        for _ in range(30):
            changing.stdout.readline()
            assert [a.address for a in collect().by_netns[lasting.number]] == ["10.7.0.1"]
        os.killpg(changing.pid, 9)
    subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)


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
