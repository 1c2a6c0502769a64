"""port-exhaustion and time-wait-overflow on a real kernel: ranges that are used up, and what only looks like it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netns.porter import ADDRESS
from netns.program import Program
from whodunnet.collectors.snapshots import SnapshotTaker
from whodunnet.diagnosis.engine import diagnose
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import node, read_support
from whodunnet.model.diagnosis import Diagnosis
from whodunnet.model.finding import Cleared, Finding, Party
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Process
from whodunnet.rules.catalogue import needed_collectors

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")]

SCRIPT = Path(__file__).with_name("porter.py")
RULES = ("port-exhaustion", "time-wait-overflow", "connect-refused", "settings")
FIRST, PORTS = 40_000, 30
NARROW = f"sysctl -qw net.ipv4.ip_local_port_range='{FIRST} {FIRST + PORTS - 1}'"
SERVER = Endpoint(ADDRESS, 8080)


class Porter(Program):
    """A program of porter.py in a network namespace of its own."""

    def do(self, order: str) -> int:
        return int(self.answer(order))

    def end(self) -> None:
        self.process.communicate(timeout=10)


class Look:
    """Readings of all that the rules need."""

    def __init__(self, bpf: bool) -> None:
        self.bpf = bpf
        self.support = read_support(Roots())
        self.taker = SnapshotTaker(Roots(), self.support, needed_collectors(RULES), bpf=bpf)
        self.snapshots: list[Snapshot] = []

    def take(self) -> None:
        self.snapshots.append(self.taker.take())

    def diagnosis(self) -> Diagnosis:
        return diagnose(Recording(node=node(self.support), snapshots=tuple(self.snapshots)), RULES)

    def about(self, rule: str, porter: Porter) -> list[Finding]:
        """Findings about this program's namespace: other tests may have theirs."""
        return [
            f
            for f in self.diagnosis().findings
            if f.rule == rule and any(porter.netns == p.netns or pid_of(p) == porter.pid for p in f.parties)
        ]


def pid_of(party: Party) -> int | None:
    return party.process.pid if isinstance(party.process, Process) else None


def named(found: Finding, role: str) -> list[int | None]:
    return [pid_of(p) for p in found.parties if p.role == role]


@pytest.fixture(params=[True, False], ids=["bpf", "sock_diag"])
def look(request: pytest.FixtureRequest) -> Iterator[Look]:
    made = Look(request.param)
    with made.taker:
        yield made


@pytest.fixture
def play() -> Iterator[Callable[..., Porter]]:
    with ExitStack() as stack:

        def make(before: str = NARROW) -> Porter:
            porter = Porter(SCRIPT, before=before)
            stack.callback(porter.end)
            return porter

        yield make


def test_ports_that_open_connections_have_are_told_with_their_owner(look: Look, play: Callable[..., Porter]) -> None:
    client = play()
    look.take()
    assert client.do(f"hold {PORTS} 8080") == PORTS
    for _ in range(3):
        assert client.do("hold 20 8080") == 0
        look.take()
        time.sleep(0.1)
    (found,) = look.about("port-exhaustion", client)
    assert found.shape == "open"
    assert named(found, "holder") == [client.pid]
    assert [p.endpoint for p in found.parties if p.role == "peer"] == [SERVER]
    taken = next(e for e in found.evidence if e.statement.startswith("Ports taken"))
    shown = client.asked("ss", "-Htan", "state", "established", "dst", f"{ADDRESS}:8080")
    assert (taken.value, taken.limit) == (len(shown.splitlines()), PORTS) == (PORTS, PORTS)
    if look.bpf:
        assert (found.confidence, found.severity) == ("proven", "warning")
        assert found.evidence[0].value == 60
        assert named(found, "victim") == [client.pid]
        (refused,) = look.about("connect-refused", client)
        assert refused.shape == "no-free-port"
        assert refused.caused_by == (found.id,)
    else:
        assert (found.confidence, found.severity) == ("likely", "warning")


def test_ports_in_time_wait_are_told_with_who_closes_first(look: Look, play: Callable[..., Porter]) -> None:
    client = play()
    look.take()
    assert client.do("churn 40 8080") == PORTS
    look.take()
    look.take()
    (found,) = look.about("port-exhaustion", client)
    assert found.shape == "time-wait"
    waiting = next(e for e in found.evidence if "TIME_WAIT" in e.statement)
    shown = client.asked("ss", "-Htan", "state", "time-wait", "dst", f"{ADDRESS}:8080")
    assert waiting.value == len(shown.splitlines()) == PORTS
    if look.bpf:
        assert found.confidence == "proven"
        assert found.evidence[0].value == 40 - PORTS
        assert named(found, "holder") == [client.pid]
        (holder,) = (p for p in found.parties if p.role == "holder")
        assert f"closed {PORTS} of {PORTS} connections first" in str(holder.effect)


def test_as_many_connections_to_three_endpoints_are_no_finding(look: Look, play: Callable[..., Porter]) -> None:
    client = play()
    look.take()
    for port in (8080, 8081, 8082):
        assert client.do(f"hold 10 {port}") == 10
    look.take()
    look.take()
    assert look.about("port-exhaustion", client) == []
    (cleared,) = (c for c in look.diagnosis().cleared if c.rule == "port-exhaustion")
    assert isinstance(cleared, Cleared)
    assert (cleared.evidence[0].value, cleared.evidence[0].limit) == (10, PORTS)


def test_ports_that_are_bound_before_each_connect_are_told_with_their_owner(
    look: Look, play: Callable[..., Porter]
) -> None:
    client = play()
    look.take()
    assert [client.do(f"bind 11 {port}") for port in (8080, 8081, 8082)] == [11, 11, 8]
    for _ in range(3):
        assert client.do("hold 20 8082") == 0
        look.take()
        time.sleep(0.1)
    (found,) = look.about("port-exhaustion", client)
    assert (found.shape, named(found, "holder")) == ("bound-first", [client.pid])
    taken = next(e for e in found.evidence if e.statement.startswith("Ports in use"))
    assert (taken.value, taken.limit) == (PORTS, PORTS)
    if look.bpf:
        assert found.confidence == "proven"
        (refused,) = look.about("connect-refused", client)
        assert refused.caused_by == (found.id,)


def test_time_wait_that_connects_may_use_again_is_no_finding(look: Look, play: Callable[..., Porter]) -> None:
    client = play(f"{NARROW} && sysctl -qw net.ipv4.tcp_tw_reuse=1")
    look.take()
    client.do(f"churn {PORTS} 8080")
    time.sleep(1.2)
    look.take()
    assert client.do("hold 20 8080") == 20
    look.take()
    assert look.about("port-exhaustion", client) == []


def test_ports_that_are_listened_on_are_no_connects(look: Look, play: Callable[..., Porter]) -> None:
    client = play()
    look.take()
    assert client.do(f"listen 20 {FIRST}") == 20
    assert client.do("hold 30 8080") == 10
    look.take()
    look.take()
    (found,) = look.about("port-exhaustion", client)
    assert found.shape == "bound"
    assert "taken, 20 of them bound" in found.title


def test_reserved_ports_are_taken_out_of_the_range(look: Look, play: Callable[..., Porter]) -> None:
    client = play(f"{NARROW} && sysctl -qw net.ipv4.ip_local_reserved_ports={FIRST}-{FIRST + 19}")
    look.take()
    assert client.do("hold 30 8080") == 10
    look.take()
    look.take()
    (found,) = look.about("port-exhaustion", client)
    taken = next(e for e in found.evidence if e.statement.startswith("Ports taken"))
    assert (taken.value, taken.limit) == (10, 10)


def test_time_wait_at_a_small_limit_is_told_with_who_closes_first(look: Look, play: Callable[..., Porter]) -> None:
    client = play("sysctl -qw net.ipv4.tcp_max_tw_buckets=5")
    look.take()
    assert client.do("churn 40 8080") == 40
    look.take()
    (found,) = look.about("time-wait-overflow", client)
    assert (found.shape, found.confidence) == ("small-limit", "proven")
    shown = client.asked("nstat", "-asz", "TcpExtTCPTimeWaitOverflow")
    assert found.evidence[0].value == int(shown.split()[-2]) == 35
    assert (found.evidence[1].value, found.evidence[1].limit) == (5, 5)
    assert named(found, "holder") == ([client.pid] if look.bpf else [])
    assert named(found, "culprit") == []


def test_as_many_closed_connections_below_the_limit_are_no_finding(look: Look, play: Callable[..., Porter]) -> None:
    client = play("true")
    look.take()
    assert client.do("churn 40 8080") == 40
    look.take()
    assert look.about("time-wait-overflow", client) == []


def test_a_small_range_is_a_setting_worth_knowing(look: Look, play: Callable[..., Porter]) -> None:
    client = play()
    look.take()
    found = look.about("settings", client)
    assert [(f.shape, f.severity) for f in found] == [("ports", "info")]
    assert found[0].evidence[0].value == PORTS


def test_what_the_kernel_sets_by_itself_is_no_setting_worth_knowing(look: Look, play: Callable[..., Porter]) -> None:
    client = play("true")
    look.take()
    assert look.about("settings", client) == []
