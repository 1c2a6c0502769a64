"""accept-queue, syn-queue and udp-buffers on a real kernel: real queues that are full, and what only looks like it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netns.namespace import wait_until
from netns.program import Program
from netns.queues import PORT
from whodunnet.collectors.snapshots import SnapshotTaker
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import node, read_support
from whodunnet.model.counters import Counters
from whodunnet.model.finding import Answer, Cleared, Finding
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.model.workload import Process
from whodunnet.rules.catalogue import needed_collectors
from whodunnet.rules.rule import judge

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")]

SCRIPT = Path(__file__).with_name("queues.py")
RULES = ("accept-queue", "syn-queue", "udp-buffers")


class Played(Program):
    """A program of queues.py in a network namespace of its own."""

    def do(self, order: str) -> None:
        assert self.answer(order) == "done\n"

    def counter(self, name: str) -> int:
        """As nstat shows it, without the first part of its name: a second source."""
        shown = self.asked("nstat", "-asz", name)
        return int(shown.split()[shown.split().index(name) + 1])

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


class Look:
    """Readings of all that the three rules need."""

    def __init__(self, bpf: bool) -> None:
        self.support = read_support(Roots())
        self.taker = SnapshotTaker(Roots(), self.support, needed_collectors(RULES), bpf=bpf)
        self.snapshots: list[Snapshot] = []

    def take(self) -> None:
        self.snapshots.append(self.taker.take())

    def answers(self, rule: str) -> list[Answer]:
        return list(judge(rule, Recording(node=node(self.support), snapshots=tuple(self.snapshots))))

    def about(self, rule: str, played: Played) -> list[Finding]:
        """Findings about this program's namespace: other tests may have theirs."""
        return [
            f
            for f in self.answers(rule)
            if isinstance(f, Finding)
            and any(played.netns == p.netns or pid_of(p.process) == played.pid for p in f.parties)
        ]


def pid_of(process: object) -> int | None:
    return process.pid if isinstance(process, Process) else None


@pytest.fixture(params=[True, False], ids=["bpf", "sock_diag"])
def look(request: pytest.FixtureRequest) -> Iterator[Look]:
    made = Look(request.param)
    with made.taker:
        yield made


@pytest.fixture
def play() -> Iterator[Callable[..., Played]]:
    with ExitStack() as stack:

        def make(*words: str, before: str = "true") -> Played:
            played = Played(SCRIPT, *words, before=before)
            stack.callback(played.end)
            return played

        yield make


def test_a_listener_that_accepts_nothing_is_named(look: Look, play: Callable[..., Played]) -> None:
    server = play("listen", "5", "never")
    look.take()
    server.do("call")
    wait_until(lambda: server.counter("TcpExtListenOverflows") >= 10, "ListenOverflows")
    look.take()
    server.do("call")
    look.take()
    server.do("one")
    look.take()
    look.snapshots.pop(0)
    (found,) = look.about("accept-queue", server)
    assert (found.shape, found.parties[0].role) == ("full", "holder"), "it may be slow, after so short a look"

    def stuck() -> bool:
        time.sleep(0.3)  # a reading is work, and seconds have to pass
        look.take()
        return look.about("accept-queue", server)[0].shape == "stuck"

    wait_until(stuck, "nothing accepted for as long as a slow server would take")
    (found,) = look.about("accept-queue", server)
    assert found.confidence == "proven"
    (culprit,) = found.parties
    assert (culprit.role, pid_of(culprit.process)) == ("culprit", server.pid)
    assert culprit.endpoint is not None
    assert culprit.endpoint.port == PORT  # type: ignore[union-attr]
    assert (found.evidence[0].value, found.evidence[0].limit) == (6, 5)
    assert not look.about("syn-queue", server)


def test_a_stopped_listener_is_stuck_and_said_to_be_stopped(look: Look, play: Callable[..., Played]) -> None:
    """Its callers are another process of the same namespace."""
    server = play("listen", "5", "0.001")
    look.take()
    os.kill(server.pid, signal.SIGSTOP)
    script = "import sys; sys.path.insert(0, sys.argv[1]); from netns.queues import call; call(); input()"
    callers = subprocess.Popen(
        ["nsenter", "-t", str(server.pid), "-n", sys.executable, "-c", script, str(SCRIPT.parents[1])],
        stdin=subprocess.PIPE,
    )
    try:
        wait_until(lambda: server.counter("TcpExtListenOverflows") >= 10, "ListenOverflows")
        look.take()
        (found,) = look.about("accept-queue", server)
    finally:
        callers.kill()
        callers.communicate()
        os.kill(server.pid, signal.SIGCONT)
    assert (found.shape, found.confidence) == ("stuck", "proven")
    assert "is stopped" in str(found.parties[0].effect)


def test_a_listener_that_accepts_too_slowly_is_told_from_one_that_does_not(
    look: Look, play: Callable[..., Played]
) -> None:
    server = play("listen", "5", "0.1")
    server.do("call")
    for _ in range(4):
        server.do("call")
        look.take()
        time.sleep(0.4)
    (found,) = look.about("accept-queue", server)
    assert found.shape == "slow"
    assert pid_of(found.parties[0].process) == server.pid


def test_a_burst_beyond_a_short_queue_is_told_from_a_slow_server(look: Look, play: Callable[..., Played]) -> None:
    server = play("listen", "1", "0.002")
    look.take()
    overflows = server.counter("TcpExtListenOverflows")
    while server.counter("TcpExtListenOverflows") < overflows + 10:
        server.do("call")
    wait_until(lambda: waiting(server) == 0, "an empty queue")
    look.take()
    look.take()
    (found,) = look.about("accept-queue", server)
    assert (found.shape, found.parties[0].role) == ("small", "holder")
    assert pid_of(found.parties[0].process) == server.pid


def shown_by_ss(played: Played, *words: str) -> list[str]:
    command = ["nsenter", "-t", str(played.pid), "-n", "ss", "-Htn", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def waiting(server: Played) -> int:
    return int(shown_by_ss(server, "-l", f"sport = {PORT}")[1])


def asking(played: Played) -> list[str]:
    return shown_by_ss(played, "state", "syn-sent")


def test_a_burst_that_fits_and_an_overflow_before_the_window_are_no_findings(
    look: Look, play: Callable[..., Played]
) -> None:
    fits, past = play("listen", "200", "0.05"), play("listen", "5", "0.001")
    while past.counter("TcpExtListenOverflows") < 10:
        past.do("call")
    wait_until(lambda: waiting(past) == 0, "an empty queue")
    wait_until(lambda: not asking(past), "no connect that is sent again, after seconds")
    wait_until(lambda: waiting(past) == 0, "an empty queue")
    look.take()
    fits.do("call")
    look.take()
    look.take()
    assert look.about("accept-queue", fits) == look.about("accept-queue", past) == []
    counted = [
        sample.value(past.netns, "TcpExt.ListenOverflows") or 0
        for snapshot in look.snapshots
        for sample in snapshot.samples.values()
        if isinstance(sample, Counters)
    ]
    assert counted[0] >= 10
    assert counted[-1] - counted[0] < 10


def test_syns_that_nobody_completes_are_told_with_their_cookies(look: Look, play: Callable[..., Played]) -> None:
    server = play("listen", "16", "0.001", before="sysctl -qw net.ipv4.tcp_syncookies=1")
    look.take()
    server.do("flood")
    look.take()
    server.do("flood")
    look.take()
    (found,) = look.about("syn-queue", server)
    assert found.shape == "cookies"
    assert found.parties[0].role == "victim"
    assert pid_of(found.parties[0].process) == server.pid
    assert not [p for p in found.parties if p.role == "culprit"]
    assert found.evidence[0].value == server.counter("TcpExtTCPReqQFullDoCookies")
    assert not look.about("accept-queue", server)


def test_without_cookies_the_same_syns_are_dropped(look: Look, play: Callable[..., Played]) -> None:
    server = play("listen", "16", "0.001", before="sysctl -qw net.ipv4.tcp_syncookies=0")
    look.take()
    server.do("flood")
    look.take()
    (found,) = look.about("syn-queue", server)
    assert found.shape == "dropped"
    assert found.evidence[0].value == server.counter("TcpExtTCPReqQFullDrop")


def test_cookies_for_every_real_client_are_no_flood(look: Look, play: Callable[..., Played]) -> None:
    server = play("listen", "200", "0.001", before="sysctl -qw net.ipv4.tcp_syncookies=2")
    look.take()
    server.do("call")
    wait_until(lambda: server.counter("TcpExtSyncookiesRecv") >= 40, "SyncookiesRecv")
    look.take()
    assert server.counter("TcpExtTCPReqQFullDoCookies") >= 40
    assert look.about("syn-queue", server) == []


@pytest.mark.parametrize(("port", "kind"), [(5353, "datagrams"), (53, "questions for names (DNS)")])
def test_a_udp_receiver_that_does_not_read_is_named(
    look: Look, play: Callable[..., Played], port: int, kind: str
) -> None:
    receiver = play("receive", str(port), "2000", "sleeps")
    look.take()
    receiver.do("send")
    look.take()
    (found,) = look.about("udp-buffers", receiver)
    assert (found.shape, found.confidence) == ("receiver-slow", "proven")
    (culprit,) = found.parties
    assert (culprit.role, pid_of(culprit.process)) == ("culprit", receiver.pid)
    assert found.evidence[0].value == receiver.counter("UdpRcvbufErrors")
    assert kind in found.title


def test_a_socket_that_is_read_or_idle_or_was_full_before_is_no_finding(
    look: Look, play: Callable[..., Played]
) -> None:
    reader, idle, past = (
        play("receive", "5353", "200000", "reads"), play("receive", "5353", "2000", "sleeps"),
        play("receive", "5353", "2000", "sleeps"),
    )  # fmt: skip
    past.do("send")
    look.take()
    reader.do("send")
    idle.do("few")
    past.do("few")
    look.take()
    assert [look.about("udp-buffers", one) for one in (reader, idle, past)] == [[], [], []]
    assert past.counter("UdpRcvbufErrors") > 100


def test_a_quiet_node_is_cleared_by_all_three(look: Look) -> None:
    look.take()
    look.take()
    for rule in RULES:
        (answer,) = look.answers(rule)
        assert isinstance(answer, Cleared)
        assert answer.evidence[0].value == 0
