"""rp-filter and forwarding-off on a real kernel: packets that a setting drops, and settings that drop nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from whodunnet.collectors.snapshots import SnapshotTaker
from whodunnet.diagnosis.engine import diagnose
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import node, read_support
from whodunnet.model.diagnosis import Diagnosis
from whodunnet.model.finding import Finding
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.rules.catalogue import needed_collectors

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")]

RULES = ("rp-filter", "forwarding-off")
SENT = 200
SEND = """
import socket, sys
sender, to, count = sys.argv[1:]
with socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.bind((sender, 0))
    for _ in range(int(count)):
        one.sendto(b"x", (to, 9))
"""


class Place:
    """A network namespace that lives as long as a process in it."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up; echo ready; exec sleep 600"], stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"
        self.pid = self.process.pid
        self.netns = Path(f"/proc/{self.pid}/ns/net").stat().st_ino

    def run(self, *words: str) -> str:
        command = ["nsenter", "-t", str(self.pid), "-n", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def ip(self, *commands: str) -> None:
        for command in commands:
            self.run("ip", *command.split())

    def set(self, *settings: str) -> None:
        self.run("sysctl", "-qw", *settings)

    def join(self, device: str, other: Place, theirs: str) -> None:
        """A cable between two."""
        self.ip(f"link add {device} type veth peer name {theirs} netns {other.pid}", f"link set {device} up")
        other.ip(f"link set {theirs} up")

    def send(self, sender: str, to: str, count: int = SENT) -> None:
        self.run(sys.executable, "-c", SEND, sender, to, str(count))

    def counter(self, name: str) -> int:
        """As nstat shows it: a second source."""
        return int(self.run("nstat", "-asz", name).split()[-2])

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


class Look:
    """Readings of all that the rules need."""

    def __init__(self) -> None:
        self.support = read_support(Roots())
        self.taker = SnapshotTaker(Roots(), self.support, needed_collectors(RULES), addresses=True)
        self.snapshots: list[Snapshot] = []

    def take(self) -> None:
        self.snapshots.append(self.taker.take())

    def diagnosis(self) -> Diagnosis:
        return diagnose(Recording(node=node(self.support), snapshots=tuple(self.snapshots)), RULES)

    def about(self, rule: str, place: Place) -> list[Finding]:
        """Findings about this namespace: other tests may have theirs."""
        found = [f for f in self.diagnosis().findings if f.rule == rule]
        return [f for f in found if any(place.netns == p.netns for p in f.parties)]


@pytest.fixture
def look() -> Iterator[Look]:
    made = Look()
    with made.taker:
        yield made


@pytest.fixture
def place() -> Iterator[Callable[[], Place]]:
    with ExitStack() as stack:

        def make() -> Place:
            made = Place()
            stack.callback(made.end)
            return made

        yield make


def two_ways(place: Callable[[], Place]) -> tuple[Place, Place]:
    """A receiver with two cables to a sender, which sends from the address of the second by the first.

    The sender knows the receiver: one that is strict does not even tell such an address who it is.
    """
    receiver, sender = place(), place()
    receiver.join("in0", sender, "out0")
    receiver.join("in1", sender, "out1")
    receiver.ip("addr add 10.1.0.1/24 dev in0", "addr add 10.2.0.1/24 dev in1")
    sender.ip("addr add 10.1.0.2/24 dev out0", "addr add 10.2.0.2/24 dev out1")
    receiver.set("net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.in0.rp_filter=0", "net.ipv4.conf.in1.rp_filter=0")
    (shown,) = json.loads(receiver.run("ip", "-j", "link", "show", "dev", "in0"))
    sender.ip(f"neigh add 10.1.0.1 lladdr {shown['address']} dev out0 nud permanent")
    return receiver, sender


def test_a_strict_check_is_told_with_its_device(look: Look, place: Callable[[], Place]) -> None:
    receiver, sender = two_ways(place)
    receiver.set("net.ipv4.conf.in0.rp_filter=1")
    look.take()
    sender.send("10.2.0.2", "10.1.0.1")
    look.take()
    (found,) = look.about("rp-filter", receiver)
    assert (found.shape, found.confidence) == ("strict", "proven")
    assert found.evidence[0].value == receiver.counter("TcpExtIPReversePathFilter") == SENT
    assert "rp_filter=1 at in0)" in found.title
    assert [p.role for p in found.parties] == ["victim"]
    assert look.about("forwarding-off", receiver) == []


def test_a_loose_check_drops_only_what_there_is_no_way_back_to(look: Look, place: Callable[[], Place]) -> None:
    receiver, sender = two_ways(place)
    receiver.set("net.ipv4.conf.all.rp_filter=2")
    sender.ip("addr add 10.77.0.2/32 dev lo")
    look.take()
    sender.send("10.2.0.2", "10.1.0.1")
    look.take()
    assert receiver.counter("UdpNoPorts") == SENT
    assert look.about("rp-filter", receiver) == []
    sender.send("10.77.0.2", "10.1.0.1")
    look.take()
    (found,) = look.about("rp-filter", receiver)
    assert (found.shape, found.evidence[0].value) == ("loose", SENT)


def test_a_strict_check_that_drops_next_to_nothing_is_no_finding(look: Look, place: Callable[[], Place]) -> None:
    receiver, sender = two_ways(place)
    receiver.set("net.ipv4.conf.in0.rp_filter=1")
    sender.send("10.2.0.2", "10.1.0.1")
    look.take()
    sender.send("10.2.0.2", "10.1.0.1", 3)
    sender.send("10.1.0.2", "10.1.0.1")
    look.take()
    assert receiver.counter("TcpExtIPReversePathFilter") == SENT + 3
    assert look.about("rp-filter", receiver) == []


def between(place: Callable[[], Place]) -> tuple[Place, Place, Place]:
    """A router with a namespace on each side."""
    router, left, right = place(), place(), place()
    router.join("left0", left, "eth0")
    router.join("right0", right, "eth0")
    router.ip("addr add 10.1.0.1/24 dev left0", "addr add 10.2.0.1/24 dev right0")
    router.ip("addr add fd01::1/64 dev left0 nodad", "addr add fd02::1/64 dev right0 nodad")
    for one, n in ((left, 1), (right, 2)):
        one.ip(f"addr add 10.{n}.0.2/24 dev eth0", f"route add default via 10.{n}.0.1")
        one.ip(f"addr add fd0{n}::2/64 dev eth0 nodad", f"route add default via fd0{n}::1")
    router.set("net.ipv4.conf.all.rp_filter=0", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")
    return router, left, right


def test_one_program_between_two_networks_that_never_forwarded_may_be_meant_to(
    look: Look, place: Callable[[], Place]
) -> None:
    router, left, right = between(place)
    look.take()
    left.send("10.1.0.2", "10.2.0.2")
    look.take()
    (found,) = look.about("forwarding-off", router)
    assert (found.shape, found.confidence, found.severity) == ("off", "possible", "info")
    assert found.evidence[0].value == router.counter("IpInAddrErrors") == SENT
    assert "net.ipv4.ip_forward is 0" in found.title
    assert look.about("forwarding-off", left) == look.about("forwarding-off", right) == []


def test_one_that_has_forwarded_before_is_proven_to_be_meant_to(look: Look, place: Callable[[], Place]) -> None:
    router, left, right = between(place)
    router.set("net.ipv4.ip_forward=1")
    left.send("10.1.0.2", "10.2.0.2")
    assert right.counter("UdpNoPorts") == SENT
    router.set("net.ipv4.ip_forward=0")
    look.take()
    left.send("10.1.0.2", "10.2.0.2")
    look.take()
    (found,) = look.about("forwarding-off", router)
    assert (found.shape, found.confidence, found.severity) == ("off", "proven", "warning")


def test_a_device_that_does_not_forward_is_told(look: Look, place: Callable[[], Place]) -> None:
    router, left, _ = between(place)
    router.set("net.ipv4.ip_forward=1", "net.ipv4.conf.left0.forwarding=0")
    look.take()
    left.send("10.1.0.2", "10.2.0.2")
    look.take()
    (found,) = look.about("forwarding-off", router)
    assert found.shape == "device-off"
    assert "forwarding is off at left0" in found.title


def test_a_router_that_does_not_forward_ipv6_is_told(look: Look, place: Callable[[], Place]) -> None:
    router, left, _ = between(place)
    router.set("net.ipv4.ip_forward=1")
    look.take()
    left.send("fd01::2", "fd02::2")
    look.take()
    (found,) = look.about("forwarding-off", router)
    assert found.shape == "off-ipv6"
    assert found.evidence[0].value == router.counter("Ip6InAddrErrors")


def test_a_router_that_forwards_is_no_finding(look: Look, place: Callable[[], Place]) -> None:
    router, left, right = between(place)
    router.set("net.ipv4.ip_forward=1")
    look.take()
    left.send("10.1.0.2", "10.2.0.2")
    look.take()
    assert right.counter("UdpNoPorts") == SENT
    assert look.about("forwarding-off", router) == []


def test_a_host_that_ignores_what_is_not_for_it_is_no_finding(look: Look, place: Callable[[], Place]) -> None:
    host, sender = place(), place()
    host.join("eth0", sender, "eth0")
    host.ip("addr add 10.1.0.1/24 dev eth0")
    host.set("net.ipv4.ip_forward=0", "net.ipv4.conf.all.rp_filter=0")
    sender.ip("addr add 10.1.0.2/24 dev eth0", "route add default via 10.1.0.1")
    look.take()
    sender.send("10.1.0.2", "10.2.0.2")
    look.take()
    assert host.counter("IpInAddrErrors") == SENT
    assert look.about("forwarding-off", host) == []
