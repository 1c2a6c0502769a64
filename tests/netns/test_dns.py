"""dns on a real kernel: glibc asks a name server that takes packets and never answers, and real ones that do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netns.namespace import wait_until
from netns.nat import SERVER, SILENT, Net, nft, run
from whodunnet.collectors.snapshots import SnapshotTaker
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.finding import Answer, Cleared, Finding
from whodunnet.model.resolvers import Resolvers
from whodunnet.model.snapshot import Node, Recording, Snapshot
from whodunnet.model.sockets import Endpoint, Sockets
from whodunnet.model.workload import Process
from whodunnet.rules.catalogue import catalogue, needed_collectors
from whodunnet.rules.rule import judge

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces"),
    pytest.mark.skipif(not Path("/usr/sbin/dnsmasq").exists(), reason="needs dnsmasq (package dnsmasq-base)"),
    pytest.mark.skipif(not Path("/etc/resolv.conf").is_file(), reason="needs a resolv.conf to mount another one over"),
]

ROOTS = Roots()
RULE = "dns"
TRACKED = """
table ip watch {
    chain forward { type filter hook forward priority 0; ct state new accept; }
}
"""
THREADS = 5
ONCE = "options timeout:30\n"
"""A question that was just asked again, as after the usual 5 s, does not wait long enough to count as tracked."""
ASKER = f"""
import itertools, socket, sys, threading

def ask(me):
    for n in itertools.count():
        try:
            socket.getaddrinfo(f"name{{n}}.of{{me}}.test.", 80)
        except socket.gaierror:
            pass

for me in range({THREADS}):
    threading.Thread(target=ask, args=(me,), daemon=True).start()
print("asking", flush=True)
sys.stdin.read()
"""
STAYS = "import sys; print('here', flush=True); sys.stdin.read()"


@pytest.fixture
def net() -> Iterator[Net]:
    with ExitStack() as kept:
        yield Net(kept, lambda: nft(TRACKED))


def asker(net: Net, folder: Path, *servers: str, options: str = "") -> subprocess.Popen[str]:
    """Threads that look up names on and on, in a mount namespace with a resolv.conf of its own."""
    conf = folder / "resolv.conf"
    conf.write_text("".join(f"nameserver {server}\n" for server in servers) + options)
    shell = 'mount --bind "$1" /etc/resolv.conf && exec "$2" -c "$3"'
    command = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        shell,
        "sh",
        str(conf),
        sys.executable,
        ASKER,
    ]
    return started(net, net.client(lambda: subprocess.Popen(command, stdin=-1, stdout=-1, text=True)))


def started(net: Net, program: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """Ended with the test."""
    net.kept.callback(lambda: program.communicate(timeout=10))
    assert program.stdout
    assert program.stdout.readline()
    return program


def name_server(net: Net) -> subprocess.Popen[bytes]:
    """dnsmasq, which says of every name that there is none."""
    command = [
        "dnsmasq", "--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--bind-interfaces",
        f"--listen-address={SERVER}", "--except-interface=lo", "--local=/test/", "--pid-file=", "--user=root",
    ]  # fmt: skip
    made = net.server(lambda: subprocess.Popen(command, stderr=subprocess.DEVNULL))

    def end() -> None:
        made.send_signal(signal.SIGCONT)
        made.terminate()
        made.wait(10)

    net.kept.callback(end)
    wait_until(lambda: f"{SERVER}:53" in net.server(lambda: run("ss -lunH")), "the name server")
    return made


def window(
    net: Net, seconds: float = 3.0, *, apart: float = 1.0, tracking: bool = True, active: bool = False, bpf: bool = True
) -> Recording:
    """The router, a reading a second once questions have had time to wait."""
    wanted = {*needed_collectors([RULE])} - (set() if tracking else {"conntrack"})
    time.sleep(catalogue()[RULE].limit("wait") + 0.3)
    snapshots: list[Snapshot] = []
    with SnapshotTaker(ROOTS, read_support(ROOTS), wanted, active=active, bpf=bpf) as taker:
        for n in range(round(seconds / apart) + 1):
            time.sleep(apart if n else 0.0)
            snapshots.append(net.router(taker.take))
    return Recording(node=Node(hostname="router", kernel=os.uname().release, boot_id="b"), snapshots=tuple(snapshots))


def about(recording: Recording, address: str) -> list[Finding]:
    """Other programs of the machine may ask other name servers meanwhile."""
    found: list[Answer] = list(judge(RULE, recording))
    return [f for f in found if isinstance(f, Finding) and Endpoint(address, 53) in {p.endpoint for p in f.parties}]


def test_a_name_server_that_never_answers_is_named_and_who_waits_for_it(net: Net, tmp_path: Path) -> None:
    program = asker(net, tmp_path, SILENT, options=ONCE)
    recording = window(net)
    (found,) = about(recording, SILENT)
    print(found.title, [(e.statement, e.value) for e in found.evidence])
    assert (found.shape, found.severity, found.confidence) == ("silent", "warning", "proven")
    (victim,) = (p for p in found.parties if p.role == "victim")
    assert isinstance(victim.process, Process)
    assert victim.process.pid == program.pid
    values = {e.statement.partition(" that")[0]: e.value for e in found.evidence}
    assert values["Sockets"] >= THREADS  # type: ignore[operator]
    resolvers = recording.last(Resolvers)
    assert resolvers is not None
    assert [f.servers for f in resolvers.files if f.netns == net.client.number] == [(SILENT,)]


def test_who_gives_up_between_two_readings_is_counted(net: Net, tmp_path: Path) -> None:
    asker(net, tmp_path, SILENT, options="options timeout:1 attempts:2\n")
    (found,) = about(window(net, 2.5, apart=2.5, tracking=False), SILENT)
    assert (found.shape, found.severity, found.confidence) == ("silent", "warning", "likely")
    values = {e.statement: e.value for e in found.evidence}
    assert values["Sockets that were connected to it until given up, while nothing came"] == THREADS


def test_without_bpf_sockets_are_found_by_sock_diag(net: Net, tmp_path: Path) -> None:
    asker(net, tmp_path, SILENT, options=ONCE)
    (found,) = about(window(net, bpf=False), SILENT)
    assert (found.shape, found.confidence) == ("silent", "proven")


def test_our_own_queries_are_answered_by_the_one_and_not_by_the_other(net: Net, tmp_path: Path) -> None:
    name_server(net)
    asker(net, tmp_path, SILENT, SERVER)
    recording = window(net, active=True)
    resolvers = recording.last(Resolvers)
    assert resolvers is not None
    outcomes = {x.server: (x.outcome, x.sent) for x in resolvers.lookups if x.netns == net.client.number}
    assert outcomes == {SILENT: ("waiting", 2), SERVER: ("answered", 1)}
    (found,) = about(recording, SILENT)
    assert (found.shape, found.confidence) == ("silent", "proven")
    assert about(recording, SERVER) == []


def test_names_that_do_not_exist_are_answers(net: Net, tmp_path: Path) -> None:
    name_server(net)
    asker(net, tmp_path, SERVER)
    recording = window(net)
    assert about(recording, SERVER) == []
    table = recording.last(Conntrack)
    assert table is not None
    answered = [g for g in table.groups if g.destination == Endpoint(SERVER, 53) and g.replied]
    assert sum(g.entries for g in answered) > 20


def test_a_silent_second_server_that_nobody_needs_is_none(net: Net, tmp_path: Path) -> None:
    name_server(net)
    asker(net, tmp_path, SERVER, SILENT)
    recording = window(net)
    assert about(recording, SILENT) == []
    (answer,) = (a for a in judge(RULE, recording) if isinstance(a, Cleared | Finding))
    assert isinstance(answer, Cleared)


def test_a_stopped_name_server_on_this_node_is_named_as_stopped(net: Net, tmp_path: Path) -> None:
    server = name_server(net)
    asker(net, tmp_path, SERVER)
    server.send_signal(signal.SIGSTOP)
    recording = window(net)
    (found,) = about(recording, SERVER)
    assert (found.shape, found.severity) == ("silent", "warning")
    (peer,) = (p for p in found.parties if p.role == "peer")
    assert isinstance(peer.process, Process)
    assert (peer.process.pid, peer.effect) == (server.pid, "does not answer: it is stopped")


def test_an_address_where_nobody_listens_is_told_by_closed_ports(net: Net, tmp_path: Path) -> None:
    command = [sys.executable, "-c", STAYS]
    started(net, net.server(lambda: subprocess.Popen(command, stdin=-1, stdout=-1, text=True)))
    asker(net, tmp_path, SERVER)
    (found,) = about(window(net), SERVER)
    print(found.title, [(e.statement, e.value) for e in found.evidence])
    assert (found.shape, found.severity) == ("nobody-listens", "warning")
    assert [p.netns for p in found.parties if p.role == "peer"] == [net.server.number]


def test_sockets_that_ask_are_those_that_ss_shows(net: Net, tmp_path: Path) -> None:
    asker(net, tmp_path, SILENT)
    with SnapshotTaker(ROOTS, read_support(ROOTS), {"sockets"}) as taker:

        def same() -> bool:
            """Between two equal outputs of ss."""
            before = shown(net)
            sockets = net.router(taker.take).samples["sockets"]
            assert isinstance(sockets, Sockets)
            ours = {s.local.port for s in sockets.names or () if s.netns == net.client.number}
            return len(before) >= THREADS and ours == before == shown(net)

        wait_until(same, "a reading at rest")


def shown(net: Net) -> set[int]:
    """Local ports of UDP sockets connected to port 53."""
    rows = net.client(lambda: run("ss -unH dport = 53")).splitlines()
    return {int(row.split()[2].rpartition(":")[2]) for row in rows}
