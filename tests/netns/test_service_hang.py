"""service-hang on a real kernel: real connects that nobody answers, and what only looks like it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from msgspec.structs import replace

from netns.namespace import wait_until
from netns.nat import Net, nft, run
from whodunnet.collectors.snapshots import SnapshotTaker
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.finding import Answer, Cleared, Finding, Party
from whodunnet.model.snapshot import Node, Recording, Snapshot
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Process
from whodunnet.rules.catalogue import catalogue, needed_collectors
from whodunnet.rules.rule import judge

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")]

ROOTS = Roots()
CLIENT, SCANNER, ALIVE, DEAD = "10.1.0.2", "10.1.0.3", "10.2.0.2", "10.2.0.99"
SERVICE, EMPTY = "10.96.0.1", "10.96.0.2"
NFTABLES = f"""
table ip nat {{
    chain prerouting {{
        type nat hook prerouting priority -100;
        ip daddr {SERVICE} tcp dport 80 dnat to numgen inc mod 2 map {{ 0 : {ALIVE}, 1 : {DEAD} }};
    }}
}}
"""
TO_SERVICE = f"iptables -t nat -A PREROUTING -d {SERVICE} -p tcp --dport 80"
IPTABLES = (
    f"{TO_SERVICE} -m statistic --mode nth --every 2 --packet 0 -j DNAT --to-destination {ALIVE}",
    f"{TO_SERVICE} -j DNAT --to-destination {DEAD}",
)
CALLER = """
import socket, sys

made = []
for number, word in enumerate(sys.argv[2:]):
    kind, address, port = word.split(",")
    one = socket.socket(socket.AF_INET, getattr(socket, kind))
    one.bind((sys.argv[1], 0))
    one.setblocking(False)
    one.connect_ex((address, int(port)))
    if kind == "SOCK_DGRAM":
        one.send(b"<14>to whom it may concern")
    made.append(one)
print("called", flush=True)
sys.stdin.read()
"""


def by_nftables() -> None:
    nft(NFTABLES)
    leave_by_the_dead()


def by_iptables() -> None:
    for command in IPTABLES:
        run(command)
    leave_by_the_dead()


def leave_by_the_dead() -> None:
    """What has no route leaves for a gateway that forwards nothing, as a Service's address without a rule does."""
    run(f"ip route add default via {DEAD} dev south")


@pytest.fixture(params=[by_nftables, by_iptables], ids=lambda rules: rules.__name__)
def net(request: pytest.FixtureRequest) -> Iterator[Net]:
    with ExitStack() as kept:
        made = Net(kept, request.param)
        made.client(lambda: run(f"ip addr add {SCANNER}/24 dev client"))
        made.server(lambda: made.keep(socket.create_server((ALIVE, 80), backlog=128)))
        yield made


def call(net: Net, source: str, *targets: str) -> subprocess.Popen[str]:
    """A program in the client's namespace that waits for all of these: kind of socket, address, port."""
    command = [sys.executable, "-c", CALLER, source, *targets]
    started = net.client(lambda: subprocess.Popen(command, stdin=-1, stdout=-1, text=True))
    net.kept.callback(lambda: started.communicate(timeout=10))
    assert started.stdout
    assert started.stdout.readline() == "called\n"
    return started


def tcp(address: str, port: int, n: int = 1) -> list[str]:
    return [f"SOCK_STREAM,{address},{port}"] * n


def watch(net: Net, ready: Callable[[Conntrack], bool]) -> Recording:
    """The router from when it is so until it has lasted."""
    snapshots: list[Snapshot] = []
    least = catalogue()["service-hang"].limit("min_age")
    with SnapshotTaker(ROOTS, read_support(ROOTS), needed_collectors(["service-hang"])) as taker:

        def so() -> bool:
            snapshots[:] = [net.router(taker.take)]
            table = snapshots[0].samples["conntrack"]
            return isinstance(table, Conntrack) and ready(table)

        wait_until(so, "entries")
        wait_until(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) - snapshots[0].at.boot_seconds > least, "time")
        snapshots.append(net.router(taker.take))
    node = Node(hostname="router", kernel=os.uname().release, boot_id="b")
    return Recording(node=node, snapshots=tuple(snapshots))


def unreplied(table: Conntrack) -> int:
    return sum(g.entries for g in table.groups if not g.replied)


def judged(recording: Recording) -> list[Answer]:
    return list(judge("service-hang", recording))


def by_shape(answers: list[Answer]) -> dict[str | None, Finding]:
    return {a.shape: a for a in answers if isinstance(a, Finding)}


def ends(found: Finding) -> list[Endpoint]:
    return [p.endpoint for p in found.parties if p.role == "peer" and isinstance(p.endpoint, Endpoint)]


def victim(found: Finding) -> Party:
    (party,) = (p for p in found.parties if p.role == "victim")
    return party


def test_a_dead_endpoint_a_service_without_endpoints_and_a_black_hole_are_told_apart(net: Net) -> None:
    caller = call(net, CLIENT, *tcp(SERVICE, 80, 20), *tcp(SERVICE, 81, 5), *tcp(EMPTY, 80, 4))
    answers = judged(watch(net, lambda table: unreplied(table) >= 10 + 5 + 4))
    found = by_shape(answers)
    assert set(found) == {"dead-endpoint", "no-endpoints", "black-hole"}
    assert len(answers) == 3
    for finding in found.values():
        assert (finding.severity, finding.confidence) == ("warning", "proven"), finding.evidence
        assert isinstance(who := victim(finding).process, Process)
        assert who.pid == caller.pid
    assert ends(found["dead-endpoint"]) == [Endpoint(DEAD, 80), Endpoint(SERVICE, 80)]
    assert ends(found["no-endpoints"]) == [Endpoint(SERVICE, 81)]
    assert ends(found["black-hole"]) == [Endpoint(EMPTY, 80)]
    assert "in the range of this node's Services (10.96.0.0/16)" in found["black-hole"].title
    assert [f.evidence[0].value for f in found.values()] == [10, 5, 4]
    assert all(f"{n} connects wait" in f.title for n, f in zip([10, 5, 4], found.values(), strict=True))


def test_who_still_waits_is_told_by_sockets_from_who_gave_up_and_without_them_it_is_not_cleared(net: Net) -> None:
    """A repeated SYN does not renew its entry; who gave up leaves one as well."""
    gone = call(net, CLIENT, *tcp(DEAD, 443, 5))
    call(net, CLIENT, *tcp(DEAD, 443, 4), *tcp(ALIVE, 80, 1))
    gone.communicate(timeout=10)
    node = watch(net, lambda table: unreplied(table) >= 9)
    (found,) = judged(node)
    assert isinstance(found, Finding), found
    assert (found.confidence, found.evidence[0].value) == ("proven", 9)
    assert ": 4 connects wait" in found.title
    without = [replace(s, samples={k: v for k, v in s.samples.items() if k != "sockets"}) for s in node.snapshots]
    (found,) = judged(replace(node, snapshots=tuple(without)))
    assert isinstance(found, Finding), found
    assert ": 9 connects are without an answer" in found.title


def test_refusals_datagrams_by_design_and_a_scan_are_no_hang(net: Net) -> None:
    call(net, CLIENT, *tcp(ALIVE, 9999, 30), *[f"SOCK_DGRAM,{DEAD},514"] * 30)
    call(net, SCANNER, *[target for i in range(100, 140) for target in tcp(f"10.2.0.{i}", 22, 3)])

    (answer,) = judged(watch(net, lambda table: unreplied(table) >= 30 + 120))
    assert isinstance(answer, Cleared), answer
    assert "1 sources that try many addresses" in answer.sensitivity
    assert answer.evidence[0].value == 120, "a refused connect leaves no entry, and datagrams do not count"


def test_what_a_filter_of_the_server_drops_looks_the_same(net: Net) -> None:
    net.server(lambda: nft("table ip f { chain i { type filter hook input priority 0; tcp dport 443 drop; }\n}"))
    call(net, CLIENT, *tcp(ALIVE, 443, 3), *tcp(ALIVE, 80, 1))
    found = by_shape(judged(watch(net, lambda table: unreplied(table) >= 3)))
    assert {shape: ends(f) for shape, f in found.items()} == {"black-hole": [Endpoint(ALIVE, 443)]}


FILTERS = {
    "filter": lambda: nft("table ip f { chain f { type filter hook forward priority 0; tcp dport 443 drop; }\n}"),
    "before-tracking": lambda: nft("table ip f { chain f { type filter hook prerouting priority -400; "
                                   "tcp dport 443 drop; }\n}"),
    "route": lambda: run("ip rule add iif north dport 443 ipproto tcp blackhole"),
}  # fmt: skip


@pytest.mark.parametrize("drops", FILTERS)
def test_what_this_node_drops_leaves_no_entry_and_shows_by_its_sockets(net: Net, drops: str) -> None:
    net.router(FILTERS[drops])
    caller = call(net, CLIENT, *tcp(ALIVE, 443, 9), *tcp(DEAD, 443, 2), *tcp(ALIVE, 80, 1))
    (found,) = judged(watch(net, lambda table: any(g.replied for g in table.groups)))
    assert isinstance(found, Finding), found
    assert (found.shape, found.severity, found.confidence) == ("dropped-here", "warning", "likely")
    assert ends(found) == [Endpoint(ALIVE, 443)]
    assert isinstance(who := victim(found).process, Process)
    assert who.pid == caller.pid
    assert [e.value for e in found.evidence[:2]] == [9, 0]


def test_what_the_callers_own_namespace_drops_shows_too(net: Net) -> None:
    net.client(lambda: nft("table ip f { chain f { type filter hook output priority 0; tcp dport 443 drop; }\n}"))
    call(net, CLIENT, *tcp(ALIVE, 443, 9), *tcp(ALIVE, 80, 1))
    assert set(by_shape(judged(watch(net, lambda table: any(g.replied for g in table.groups))))) == {"dropped-here"}


def test_what_is_kept_out_of_tracking_is_not_said_to_be_dropped_here_for_sure(net: Net) -> None:
    net.router(lambda: nft("table ip f { chain f { type filter hook prerouting priority -300; tcp dport 443 notrack; "
                           "tcp sport 443 notrack; }\n}"))  # fmt: skip
    net.server(lambda: net.keep(socket.create_server(("10.2.0.2", 443))))
    call(net, CLIENT, *tcp(DEAD, 443, 9), *tcp(ALIVE, 443, 1), *tcp(ALIVE, 80, 1))
    answers = judged(watch(net, lambda table: any(g.replied for g in table.groups)))
    assert [(f.shape, f.severity) for f in answers if isinstance(f, Finding)] == [("dropped-here", "info")]


def test_neighbours_that_a_namespace_reaches_by_itself_are_not_said_to_be_dropped_here(net: Net) -> None:
    """Nothing of them passes the router, whatever else of that namespace does."""
    net.client(lambda: run("ip link add own type veth peer name far"))
    net.client(lambda: (run("ip link set far up"), run("ip link set own up")))
    net.client(lambda: run("ip route add 10.9.0.0/24 dev own"))
    net.client(lambda: run("ip neigh add 10.9.0.9 lladdr 02:00:00:00:00:09 dev own nud permanent"))
    call(net, CLIENT, *tcp("10.9.0.9", 80, 9), *tcp(ALIVE, 80, 1))
    answers = judged(watch(net, lambda table: any(g.replied for g in table.groups)))
    assert [(f.shape, f.severity) for f in answers if isinstance(f, Finding)] == [("dropped-here", "info")]


def test_a_server_that_starts_meanwhile_ends_it(net: Net) -> None:
    net.server(lambda: nft("table ip f { chain i { type filter hook input priority 0; tcp dport 8443 drop; }\n}"))
    net.server(lambda: net.keep(socket.create_server((ALIVE, 8443))))
    call(net, CLIENT, *tcp(ALIVE, 8443, 3))

    def ready(table: Conntrack) -> bool:
        if unreplied(table) < 3:
            return False
        net.server(lambda: run("nft delete table ip f"))
        return True

    (answer,) = judged(watch(net, ready))
    assert isinstance(answer, Cleared)
