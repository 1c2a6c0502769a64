"""whodunnet conntrack --watch on a real kernel: real servers behind real NAT, conntrack(8) as the second source."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from netns.namespace import Namespace, set_sysctl, wait_until
from netns.nat import SERVICE, run
from netns.watched import (
    CLIENT,
    SERVER,
    SILENT,
    OwnNet,
    by_iptables,
    by_nftables,
    changes,
    process,
    second_source,
    wait_for_entries,
    watching,
)
from whodunnet.collectors.openers import Openers
from whodunnet.kernel.netlink.conntrack_events import ConntrackEvents
from whodunnet.kernel.roots import Roots
from whodunnet.model.flow_event import FlowEvent

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")]

ROOTS = Roots()
HTTP_SERVER = ("-m", "http.server", "8080", "--bind", SERVER)
GET = """
import socket, sys
for line in sys.stdin:
    with socket.create_connection((line.strip(), 80), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        while connection.recv(4096):  # until the server has closed: of two FINs at once the kernel tells one change
            pass
    print("done", flush=True)
"""
KEEP_ALIVE_SERVER = """
import socket, sys, time
with socket.create_server((sys.argv[1], 8080)) as listener:
    print("ready", flush=True)
    connection, _ = listener.accept()
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
    begin = time.monotonic()
    time.sleep(float(sys.argv[2]))
    connection.shutdown(socket.SHUT_WR)
    print(time.monotonic() - begin, flush=True)
    connection.recv(1)
"""
KEEP_ALIVE_CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], 80)) as connection:
    connection.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    connection.recv(4096)
    print("answered", flush=True)
    sys.stdin.read()
"""
STATES_OF_AN_EXCHANGE = [
    ("new", "syn-sent"), ("changed", "syn-recv"), ("changed", "established"), ("changed", "fin-wait"),
]  # fmt: skip


@pytest.fixture(params=[by_nftables, by_iptables], ids=lambda rules: rules.__name__)
def net(request: pytest.FixtureRequest, kept: ExitStack) -> OwnNet:
    return OwnNet(kept, request.param)


@pytest.fixture
def plain_net(kept: ExitStack) -> OwnNet:
    return OwnNet(kept, by_nftables)


def wait_for_closing(closer: Namespace) -> None:
    """Until who closed has the acknowledgement, which came through the router."""
    wait_until(lambda: "FIN-WAIT-2" in closer(lambda: run("ss -Htn")), "the closing", seconds=60)


def as_printed(line: dict[str, Any]) -> tuple[object, ...]:
    """What conntrack(8) shows of the same change."""
    e = line["event"]
    asked, reply = (e["source"], e["destination"]), (e["answered_by"], e["source_as"])
    ports = [end["port"] for end in (*asked, *reply)]
    addresses = [end["address"] for end in (*asked, *reply)]
    return e["entry"], e["kind"], e["protocol"], e["state"], e["remaining_seconds"], addresses, ports


def of_line(line: str) -> tuple[object, ...]:
    kind = {"NEW": "new", "UPDATE": "changed", "DESTROY": "gone"}[re.findall(r"\[(\w+)\]", line)[0]]
    found = re.match(r" *\[\w+\] (\w+) +\d+ (?:(\d+) )?(?:([A-Z_]+) )?", line)
    assert found is not None
    protocol, remaining, state = found.groups()  # of an entry that expired there is no time left to tell
    ports = [int(port) for port in re.findall(r"[sd]port=(\d+)", line)] or [None] * 4
    return (
        int(re.findall(r" id=(\d+)", line)[-1]), kind, protocol, state.lower().replace("_", "-") if state else "none",
        int(remaining) if remaining else None, re.findall(r"(?:src|dst)=(\S+)", line), ports,
    )  # fmt: skip


def test_a_real_exchange_through_nat_is_seen_in_order_exactly_once_and_by_its_owner(net: OwnNet) -> None:
    net.router(lambda: set_sysctl("netfilter/nf_conntrack_acct", 1))
    net.router(lambda: set_sysctl("netfilter/nf_conntrack_tcp_timeout_time_wait", 1))
    with (
        process(net.server, sys.executable, *HTTP_SERVER) as server,
        process(net.client, sys.executable, "-c", GET) as client,
        watching(net.router) as watched,
        second_source(net.router) as printed,
    ):
        wait_until(lambda: listens(net.server), "the server")
        assert client.stdin is not None
        assert client.stdout is not None
        for _ in range(3):
            client.stdin.write(f"{SERVICE}\n")
            client.stdin.flush()
            assert client.stdout.readline() == "done\n"
        wait_for_entries(net.router, 0)
        theirs, lines = printed(), watched.end()
    events, summary = changes(lines), lines[-1]
    assert [as_printed(line) for line in events] == [of_line(line) for line in theirs]
    by_entry: dict[int, list[tuple[str, str]]] = {}
    for line in events:
        by_entry.setdefault(line["event"]["entry"], []).append((line["event"]["kind"], line["event"]["state"]))
    assert len(by_entry) == 3
    for story in by_entry.values():
        assert story[:4] == STATES_OF_AN_EXCHANGE
        assert story[-2:] == [("changed", "time-wait"), ("gone", "time-wait")]
        assert len(set(story)) == len(story)
    first = events[0]
    assert first["event"]["source"]["address"] == CLIENT
    assert first["event"]["destination"] == {"address": SERVICE, "port": 80}
    assert first["event"]["answered_by"] == {"address": SERVER, "port": 8080}
    assert {line["opener"]["workload"]["process"]["pid"] for line in events} == {client.pid}
    assert {line["answerer"]["process"]["pid"] for line in events} == {server.pid}
    assert all(line["event"]["bytes"] > 300 for line in events if line["event"]["kind"] == "gone")
    assert summary["events"] == {"new": 3, "changed": len(events) - 6, "gone": 3}
    assert [row["events"] for row in summary["openers"]] == [summary["events"]]
    assert (summary["overruns"], summary["lost"], summary["malformed"], summary["not_shown"]) == (0, 0, 0, 0)


def listens(place: Namespace) -> bool:
    return place(lambda: ":8080" in run("ss -Htln"))


def test_connections_from_before_are_not_seen_and_that_is_said(plain_net: OwnNet) -> None:
    listener = plain_net.listen(SERVER, 8080)
    before = plain_net.connect(listener, (SERVICE, 80))
    with watching(plain_net.router) as watched:
        for end in before:
            end.close()
        plain_net.router(lambda: run("conntrack -D"))
        plain_net.connect(listener, (SERVICE, 80))
        wait_for_entries(plain_net.router, 1)
        events = changes(watched.end())
    assert "none of those before (net.netfilter.nf_conntrack_events is 2)" in watched.preface
    assert {line["event"]["source"]["port"] for line in events}.isdisjoint({before[0]})
    assert Counter(line["event"]["kind"] for line in events)["gone"] == 0
    assert Counter(line["event"]["kind"] for line in events)["new"] == 1


def test_where_events_are_always_on_connections_from_before_are_seen(plain_net: OwnNet) -> None:
    plain_net.router(lambda: set_sysctl("netfilter/nf_conntrack_events", 1))
    before = plain_net.connect(plain_net.listen(SERVER, 8080), (SERVICE, 80))
    with watching(plain_net.router) as watched:
        before[0].shutdown(socket.SHUT_WR)
        wait_for_closing(plain_net.client)
        events = changes(watched.end())
    assert watched.preface == "Watching tracked connections; Ctrl-C ends it.\n"
    assert [line["event"]["state"] for line in events] == ["fin-wait", "close-wait"]


@pytest.mark.parametrize("kept_by", ["client", "server"])
def test_idle_time_of_a_keep_alive_connection_is_what_the_server_measured(plain_net: OwnNet, kept_by: str) -> None:
    """Only one end has a process, so that its namespace can be found: the socket of either end tells it."""
    seconds = 2.0
    server, client = (KEEP_ALIVE_SERVER, SERVER, str(seconds)), (KEEP_ALIVE_CLIENT, SERVICE)
    place = plain_net.client if kept_by == "client" else plain_net.server
    with (
        process(place, "sleep", "1000"),  # so that the namespace is found before the first connection
        watching(plain_net.router, "state=fin-wait", "state=close-wait") as watched,
        ExitStack() as stack,
    ):
        if kept_by == "client":
            listener = plain_net.listen(SERVER, 8080)
            made = stack.enter_context(process(plain_net.client, sys.executable, "-c", *client))
            accepted = plain_net.keep(listener.accept()[0])
            accepted.recv(4096)
            accepted.sendall(b"answer")
            begin = time.monotonic()
            assert made.stdout is not None
            assert made.stdout.readline() == "answered\n"
            time.sleep(seconds)
            accepted.shutdown(1)
            measured = time.monotonic() - begin
        else:
            made = stack.enter_context(process(plain_net.server, sys.executable, "-c", *server))
            assert made.stdout is not None
            assert made.stdout.readline() == "ready\n"
            asking = plain_net.client(lambda: plain_net.keep(socket.create_connection((SERVICE, 80), timeout=10)))
            asking.sendall(b"x")
            assert asking.recv(4096).startswith(b"HTTP/1.1 200")
            measured = float(made.stdout.readline())
        wait_for_closing(plain_net.server)
        events = changes(watched.end())
    assert [line["event"]["state"] for line in events] == ["fin-wait", "close-wait"]
    for line in events:
        assert line["idle_seconds"] == pytest.approx(measured, abs=0.3)


def test_without_a_socket_on_this_node_idle_time_is_unknown(plain_net: OwnNet) -> None:
    """Neither namespace has a process by which it could be found: these are other machines."""
    listener = plain_net.listen(SERVER, 8080)
    with watching(plain_net.router) as watched:
        client, _ = plain_net.connect(listener, (SERVICE, 80))
        client.shutdown(1)
        wait_for_closing(plain_net.client)
        events = changes(watched.end())
    assert [line["idle_seconds"] for line in events] == [None] * len(events)
    assert events[-1]["event"]["state"] == "close-wait"
    assert events[-1]["opener"] in ({"kind": "remote", "address": CLIENT}, {"kind": "unread", "address": CLIENT})


def test_filters_choose_and_the_rest_is_counted(plain_net: OwnNet) -> None:
    listener = plain_net.listen(SERVER, 8080)
    with watching(plain_net.router, f"address={SILENT}", "protocol=udp", "state=unreplied") as watched:
        for _ in range(5):
            plain_net.datagram()
            plain_net.connect(listener, (SERVICE, 80))
        wait_for_entries(plain_net.router, 10)
        lines = watched.end()
    assert [line["event"]["protocol"] for line in changes(lines)] == ["udp"] * 5
    assert lines[-1]["events"] == {"new": 5, "changed": 0, "gone": 0}
    assert lines[-1]["filtered_out"] == 5 * 3


def test_an_opener_that_comes_during_the_watch_is_looked_up_within_a_second_and_not_before_it_is_known(
    plain_net: OwnNet,
) -> None:
    def own_entry() -> FlowEvent:
        with ConntrackEvents() as events:
            plain_net.datagram()
            assert events.wait(10)
            return events.take()[0]

    event = plain_net.router(own_entry)
    clock = [1000.0]
    with plain_net.router(lambda: Openers(ROOTS, plain_net.router.number, lambda: clock[0], lambda: 0.0)) as openers:
        assert openers.of(event).kind == "unread"
        with process(plain_net.client, "sleep", "60") as made:
            wait_until(lambda: Path(f"/proc/{made.pid}/comm").read_text() == "sleep\n", "sleep")
            clock[0] += 0.9
            assert openers.of(event).kind == "unread"
            clock[0] += 0.2
            found = openers.of(event)
            assert found.workload is not None
            assert found.workload.process is not None
            assert found.workload.process.pid == made.pid
        readings = openers.readings
        for _ in range(50):
            openers.of(event)
        assert openers.readings == readings == 2
