"""whodunnet conntrack --watch on a real kernel: real servers behind real NAT, conntrack(8) as the second source."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from netns.command import WHODUNNET, nobody_with
from netns.namespace import Namespace, set_sysctl, wait_until
from netns.test_conntrack import SERVICE, SILENT_MAC, Net, nft, run

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.conntrack import flows, insert, room_for
from whodunnet.collectors.openers import Openers
from whodunnet.kernel.netlink.conntrack_events import ConntrackEvents, read_setting
from whodunnet.kernel.roots import Roots
from whodunnet.model.flow_event import FlowEvent

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")]

ROOTS = Roots()
NORTH, SOUTH = (f"100.{64 + os.urandom(1)[0] % 32 + plus}.{os.urandom(1)[0]}" for plus in (0, 32))
"""Openers are looked for on the whole machine: addresses that no other test has at the same time."""
CLIENT, SERVER, SILENT = f"{NORTH}.2", f"{SOUTH}.2", f"{SOUTH}.99"
NFTABLES = f"""
table ip nat {{
    chain prerouting {{
        type nat hook prerouting priority -100; ip daddr {SERVICE} tcp dport 80 dnat to {SERVER}:8080;
    }}
    chain postrouting {{ type nat hook postrouting priority 100; oifname "south" masquerade; }}
}}
"""
IPTABLES = (
    f"iptables -t nat -A PREROUTING -d {SERVICE} -p tcp --dport 80 -j DNAT --to-destination {SERVER}:8080",
    "iptables -t nat -A POSTROUTING -o south -j MASQUERADE",
)
HTTP_SERVER = ("-m", "http.server", "8080", "--bind", SERVER)
GET = """
import sys, urllib.request
for line in sys.stdin:
    urllib.request.urlopen(line.strip(), timeout=10).read()
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


class OwnNet(Net):
    """client -- router -- server, with our own addresses."""

    def __init__(self, kept: ExitStack, rules: Callable[[], None]) -> None:
        super().__init__(kept, rules)
        self.router(lambda: run(f"ip neigh add {SILENT} lladdr {SILENT_MAC} dev south nud permanent"))

    def _cable(self, end: str, place: Namespace, here: str, net: str, net6: str) -> None:
        super()._cable(end, place, here, {"10.1.0": NORTH, "10.2.0": SOUTH}[net], net6)

    def datagram(self) -> None:
        """Of the client, to somebody who never answers."""
        self.client(lambda: self.keep(bound((CLIENT, 0))).sendto(b"x", (SILENT, 4000)))


def by_nftables() -> None:
    nft(NFTABLES)


def by_iptables() -> None:
    for command in IPTABLES:
        run(command)


def bound(address: tuple[str, int]) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(address)
    return made


@pytest.fixture
def kept() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=[by_nftables, by_iptables], ids=lambda rules: rules.__name__)
def net(request: pytest.FixtureRequest, kept: ExitStack) -> OwnNet:
    return OwnNet(kept, request.param)


@pytest.fixture
def plain_net(kept: ExitStack) -> OwnNet:
    return OwnNet(kept, by_nftables)


@contextmanager
def process(place: Namespace, *arguments: str, stdin: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """A program that lives in a namespace until the block ends."""
    made = place(
        lambda: subprocess.Popen(arguments, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    )
    try:
        yield made
    finally:
        made.kill()
        made.communicate()


class Watched:
    """A watch that runs, and what it said."""

    def __init__(self, made: subprocess.Popen[str]) -> None:
        self._made = made
        assert made.stderr is not None
        self.preface = made.stderr.readline()

    def send(self, number: signal.Signals) -> None:
        self._made.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGINT) -> list[dict[str, Any]]:
        """Its lines after a signal; the last one is the summary. It ends well, and says nothing else."""
        self._made.send_signal(number)
        out, err = self._made.communicate(timeout=30)
        assert (self._made.returncode, err) == (0, "")
        lines = [json.loads(line) for line in out.splitlines()]
        assert [line["line"] for line in lines].index("summary") == len(lines) - 1
        return lines


@contextmanager
def watching(place: Namespace, *filters: str) -> Iterator[Watched]:
    with process(place, str(WHODUNNET), "conntrack", "--watch", "--format", "json", *filters) as made:
        watched = Watched(made)
        assert watched.preface.startswith("Watching"), watched.preface + made.communicate()[1]
        yield watched


@contextmanager
def second_source(place: Namespace) -> Iterator[Callable[[], list[str]]]:
    """conntrack -E: its lines so far."""
    with process(place, "conntrack", "-E", "-o", "id", "--buffer-size", "1048576") as made:
        listening = Path(f"/proc/{made.pid}/net/netlink")
        wait_until(lambda: len(re.findall(r" 12 +\d+ +0*7 ", listening.read_text())) == 2, "both to listen")

        def lines() -> list[str]:
            made.send_signal(signal.SIGINT)
            return made.communicate(timeout=10)[0].splitlines()

        yield lines


def wait_for_entries(place: Namespace, number: int) -> None:
    """Until so many entries are left; reading the text throws out what has expired (ct_seq_show)."""

    def left() -> int:
        return len(Path("/proc/thread-self/net/nf_conntrack").read_text().splitlines())

    wait_until(lambda: place(left) == number, f"{number} entries")


def wait_for_closing(closer: Namespace) -> None:
    """Until who closed has the acknowledgement, which came through the router."""
    wait_until(lambda: "FIN-WAIT-2" in closer(lambda: run("ss -Htn")), "the closing", seconds=60)


def changes(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["line"] == "event"]


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
            client.stdin.write(f"http://{SERVICE}/\n")
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_every_ending_signal_ends_it_with_a_summary(plain_net: OwnNet, number: signal.Signals) -> None:
    with watching(plain_net.router) as watched:
        assert watched.end(number)[-1]["events"] == {"new": 0, "changed": 0, "gone": 0}


def in_namespace(place: Namespace, *arguments: str, rights: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    command = [*rights, str(WHODUNNET), "conntrack", "--watch", *arguments]
    return place(lambda: subprocess.run(command, check=False, capture_output=True, text=True, timeout=60))


def test_it_ends_by_itself_after_its_time(plain_net: OwnNet) -> None:
    begin = time.monotonic()
    done = in_namespace(plain_net.router, "--for", "1s")
    assert time.monotonic() - begin >= 1
    assert done.returncode == 0
    assert done.stdout.startswith("time (UTC)")
    assert re.search(r"Watched +1 s, 0 changes", done.stdout)


def test_without_the_right_it_says_which(plain_net: OwnNet) -> None:
    done = in_namespace(plain_net.router, "--for", "1s", rights=nobody_with())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("whodunnet: tracked connections cannot be watched: ")
    assert "CAP_NET_ADMIN" in done.stderr
    assert "Traceback" not in done.stderr


def test_where_events_are_off_it_says_so_and_leaves_them_off(plain_net: OwnNet) -> None:
    place = plain_net.router
    place(lambda: set_sysctl("netfilter/nf_conntrack_events", 0))
    done = in_namespace(place, "--for", "1s")
    assert done.returncode == 2
    assert "net.netfilter.nf_conntrack_events is 0" in done.stderr
    assert place(lambda: read_setting(ROOTS)).value == 0


def test_a_wrong_filter_is_refused_before_anything_else(plain_net: OwnNet) -> None:
    done = in_namespace(plain_net.router, "prot=tcp")
    assert (done.returncode, done.stdout) == (2, "")
    assert "possible are, for example: address=10.2.0.0/16, port=53" in done.stderr


def test_a_flood_has_a_bounded_number_of_lines_and_all_of_it_is_counted(plain_net: OwnNet) -> None:
    place, entries = plain_net.router, 3000
    with room_for(entries), process(place, str(WHODUNNET), "conntrack", "--watch") as made:
        assert made.stderr is not None
        made.stderr.readline()
        begin = time.monotonic()
        place(lambda: insert(flows(entries)))
        time.sleep(2.5)
        made.send_signal(signal.SIGTERM)
        out, _ = made.communicate(timeout=30)
        seconds = time.monotonic() - begin
    shown = len(re.findall(r"^\S+  new ", out, re.MULTILINE))
    hidden = sum(int(n.replace(",", "")) for n in re.findall(r"… ([\d,]+) more", out))
    assert 100 <= shown <= 100 * (seconds + 1)
    assert shown + hidden == entries
    assert re.search(rf"Watched .* {entries:,} changes: {entries:,} new, 0 changed, 0 gone", out)
    assert re.search(rf"Not shown +{hidden:,} changes", out)


def test_what_the_kernel_has_no_room_for_is_counted_to_the_message_and_the_watch_goes_on() -> None:
    entries = 500

    def overrun() -> tuple[list[FlowEvent], int, int | None, list[FlowEvent], int | None]:
        with ConntrackEvents(buffer_bytes=1) as events:  # the kernel gives 2,304 bytes, which is two messages
            insert(flows(entries))
            taken, overruns, lost = events.take(), events.overruns, events.lost
            run("conntrack -D -p tcp --orig-src " + (taken[0].source.address or ""))
            assert events.wait(10)
            return taken, overruns, lost, events.take(), events.lost

    with Namespace() as place, room_for(entries):
        taken, overruns, lost, later, lost_later = place(overrun)
    assert overruns == 1
    assert lost is not None
    assert lost_later is not None
    assert 0 < len(taken) < 10
    assert len(taken) + lost == entries
    assert {event.kind for event in taken} == {"new"}
    assert {event.kind for event in later} == {"gone"}


def test_a_watch_that_cannot_keep_up_says_what_it_lost(plain_net: OwnNet) -> None:
    entries, place = 20_000, plain_net.router
    with room_for(entries), watching(place, "port=9") as watched:
        watched.send(signal.SIGSTOP)
        place(lambda: insert(flows(entries)))
        watched.send(signal.SIGCONT)
        lines = watched.end()
    lost = [line for line in lines if line["line"] == "lost"]
    assert len(lost) == 1
    assert lost[0]["overruns"] == lines[-1]["overruns"] == 1
    assert lost[0]["messages"] == lines[-1]["lost"] > 0
    assert lines[-1]["filtered_out"] + lines[-1]["lost"] == entries


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
