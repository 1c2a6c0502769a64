"""dns-race on a real kernel: two questions at once from one port, through a Service with two real name servers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netns.namespace import Namespace, wait_until
from netns.nat import Net, nft, run
from whodunnet.collectors.snapshots import SnapshotTaker
from whodunnet.kernel.procfs.conntrack import read_statistics
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.finding import Cleared, Finding
from whodunnet.model.snapshot import Node, Recording, Snapshot
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Process
from whodunnet.rules.catalogue import needed_collectors
from whodunnet.rules.rule import judge

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces"),
    pytest.mark.skipif(not Path("/usr/sbin/dnsmasq").exists(), reason="needs dnsmasq (package dnsmasq-base)"),
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two packets at once need two CPUs"),
]

ROOTS = Roots()
NAMES = "10.96.0.10"
SERVERS = ("10.2.0.2", "10.2.0.3")
RULES = f"""
table ip nat {{
    chain prerouting {{
        type nat hook prerouting priority -100;
        ip daddr {NAMES} udp dport 53 dnat to numgen inc mod 2 map {{ 0 : {SERVERS[0]}, 1 : {SERVERS[1]} }};
    }}
}}
"""
ROUNDS, SOCKETS = 30, 500
RESOLVER = f"""
import mmap, os, socket, struct, sys

def question(kind):
    return struct.pack(">HHHHHH", kind, 0x100, 1, 0, 0, 0) + b"\\x04race\\x04test\\x00" + struct.pack(">HH", kind, 1)

def ask(made, turns, me, other, cpu, kind):
    os.sched_setaffinity(0, {{cpu}})
    for number, one in enumerate(made, 1):
        turns[me] = number
        while turns[other] < number:
            pass
        one.send(question(kind))

at_once = sys.argv[1] == "at-once"
made = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range({SOCKETS})]
for one in made:
    one.connect(("{NAMES}", 53))
    one.settimeout(2)
turns = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("I")
cpus = sorted(os.sched_getaffinity(0))[:2]
if at_once:
    child = os.fork()
    if child == 0:
        ask(made, turns, 1, 0, cpus[1], 28)
        os._exit(0)
    ask(made, turns, 0, 1, cpus[0], 1)
    os.waitpid(child, 0)
else:
    for one in made:
        one.send(question(1))
        one.recv(512)
        one.send(question(28))
print("asked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def net() -> Iterator[Net]:
    """Two name servers behind one address."""
    with ExitStack() as kept:
        made = Net(kept, lambda: nft(RULES))
        made.server(lambda: run(f"ip addr add {SERVERS[1]}/24 dev server"))
        for server in SERVERS:
            kept.enter_context(name_server(made.server, server))
        yield made


class name_server:  # noqa: N801 - a context manager
    """dnsmasq that knows one name, at one address."""

    def __init__(self, place: Namespace, address: str) -> None:
        command = [
            "dnsmasq", "--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--bind-interfaces",
            f"--listen-address={address}", "--except-interface=lo", "--address=/race.test/192.0.2.1",
            "--address=/race.test/2001:db8::1", "--pid-file=", "--user=root",
        ]  # fmt: skip
        self._process = place(lambda: subprocess.Popen(command, stderr=subprocess.DEVNULL))
        wait_until(lambda: f"{address}:53" in place(lambda: run("ss -lunH")), "the name server")

    def __enter__(self) -> name_server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)


def resolver(net: Net, how: str) -> subprocess.Popen[str]:
    """A program in the client's namespace that has asked, and waits with its sockets open."""
    command = [sys.executable, "-c", RESOLVER, how]
    started = net.client(lambda: subprocess.Popen(command, stdin=-1, stdout=-1, text=True))
    assert started.stdout
    assert started.stdout.readline() == "asked\n"
    return started


def end(program: subprocess.Popen[str]) -> None:
    program.communicate(timeout=10)


def risen(net: Net, before: dict[str, int]) -> dict[str, int]:
    after = net.router(lambda: read_statistics(ROOTS, "thread-self"))
    return {name: after[name] - before.get(name, 0) for name in after}


def window(net: Net, how: str, enough: int) -> tuple[Recording, dict[str, int]]:
    """Readings of the router before and after names were asked for, again and again until enough races were counted."""
    wanted = needed_collectors(["dns-race"])
    before = net.router(lambda: read_statistics(ROOTS, "thread-self"))
    snapshots: list[Snapshot] = []
    with SnapshotTaker(ROOTS, read_support(ROOTS), wanted) as taker:
        snapshots.append(net.router(taker.take))
        for _ in range(ROUNDS):
            program = resolver(net, how)
            try:
                rises = risen(net, before)
                if rises["insert_failed"] + rises.get("clashres", 0) >= enough:
                    snapshots.append(net.router(taker.take))
                    break
            finally:
                end(program)
    node = Node(hostname="router", kernel=os.uname().release, boot_id="b")
    return Recording(node=node, snapshots=tuple(snapshots)), rises


def test_two_questions_at_once_race_and_the_counters_say_whether_one_was_lost(net: Net) -> None:
    recording, rises = window(net, "at-once", 3)
    print(rises)
    assert len(recording.snapshots) == 2, f"no race in {ROUNDS * SOCKETS} pairs of questions: {rises}"
    (found,) = judge("dns-race", recording)
    assert isinstance(found, Finding)
    lost = min(rises["insert_failed"], rises["drop"])
    expected = ("packet-lost", "warning") if lost >= 3 else ("solved-by-kernel", "info")
    assert (found.shape, found.severity) == expected
    assert found.evidence[0].value == lost
    assert [p.endpoint for p in found.parties if p.role == "peer"] == [Endpoint(NAMES, 53)]
    (victim,) = (p for p in found.parties if p.role == "victim")
    assert isinstance(victim.process, Process)
    assert victim.process.comm.startswith("python")


def test_one_question_after_the_other_does_not_race(net: Net) -> None:
    recording, rises = window(net, "in-turn", 0)
    assert (rises["insert_failed"], rises.get("clashres", 0)) == (0, 0)
    (answer,) = judge("dns-race", recording)
    assert isinstance(answer, Cleared)
