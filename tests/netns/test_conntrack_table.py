"""whodunnet conntrack on a router with real NAT: what it says of each owner is `conntrack -L` counted by hand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from netns.command import Answer, ask
from netns.namespace import Namespace, wait_until
from netns.nat import IPTABLES, NFTABLES, SILENT_MAC, Net, listed, nft, run
from whodunnet.report.schema import schema_of

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")]

CLIENT, SERVER, SILENT, SERVICE, ROUTER = "10.181.0.2", "10.182.0.2", "10.182.0.99", "10.96.0.1", "10.182.0.1"
KEPT, CLOSED, UNANSWERED, OWN = 7, 5, 3, 4
PROGRAM = """
import socket, sys
address, port, kept, closed, silent, unanswered = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5], int(sys.argv[6])
held = [socket.create_connection((address, port), timeout=10) for _ in range(kept)]
for _ in range(closed):
    with socket.create_connection((address, port), timeout=10) as made:
        made.shutdown(socket.SHUT_WR)
        assert made.recv(1) == b""
for _ in range(unanswered):
    held.append(socket.socket())
    held[-1].setblocking(False)
    held[-1].connect_ex((silent, 9))
print("ready", flush=True)
sys.stdin.read()
"""
"""A program that opens connections, closes some of them, and keeps the others until its standard input ends."""

SERVER_PROGRAM = """
import socket, sys, threading
def serve(made):
    with made:
        made.recv(1)
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=100)
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


class OwnNet(Net):
    """With addresses of its own: an address that another namespace of the machine has too is of nobody."""

    def _cable(self, end: str, place: Namespace, here: str, net: str, net6: str) -> None:
        super()._cable(end, place, here, own(net), net6.replace("fd00:", "fd18:"))


def own(text: str) -> str:
    return text.replace("10.1.0", "10.181.0").replace("10.2.0", "10.182.0")


def by_nftables() -> None:
    run(f"ip neigh add {SILENT} lladdr {SILENT_MAC} dev south nud permanent")
    nft(own(NFTABLES))


def by_iptables() -> None:
    run(f"ip neigh add {SILENT} lladdr {SILENT_MAC} dev south nud permanent")
    for command in IPTABLES:
        run(own(command))


class Load:
    """A client and the router's own program with connections to a server."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self._start(net.server, SERVER_PROGRAM, SERVER, "8080")
        self.client = self._start(net.client, PROGRAM, SERVICE, "80", str(KEPT), str(CLOSED), SILENT, str(UNANSWERED))
        self.own = self._start(net.router, PROGRAM, SERVER, "8080", str(OWN), "0", SILENT, "0")

    def _start(self, place: Namespace, program: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, *arguments]
        pipe = subprocess.PIPE
        started = place(lambda: subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))
        self.net.kept.callback(end, started)
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        return started

    def at_rest(self, *arguments: str) -> tuple[dict[str, Any], list[str]]:
        """What whodunnet says between two outputs of conntrack(8) that differ in nothing but time."""
        found: list[tuple[Answer, str]] = []

        def same() -> bool:
            before, answer, after = listed(), ask("conntrack", "--format", "json", *arguments), listed()
            found.append((answer, after))
            return timeless(before) == timeless(after)

        wait_until(lambda: self.net.router(same), "a table at rest")
        answer, text = found[-1]
        assert (answer.status, answer.err) == (0, "")
        jsonschema.validate(answer.document, schema_of("conntrack"))
        return answer.document, text.splitlines()


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=30)


def timeless(text: str) -> list[str]:
    return sorted(re.sub(r"^(\w+ +\d+ )\d+ ", r"\1", line) for line in text.splitlines())


def by_source(lines: list[str]) -> dict[str, Counter[str]]:
    """`conntrack -L` counted by hand: entries by state of each address that opened them, and how many are unreplied."""
    found: dict[str, Counter[str]] = {}
    for line in lines:
        state = re.search(r"\b([A-Z_]+) src=", line)
        counts = found.setdefault(re.findall(r"src=(\S+)", line)[0], Counter())
        counts[state[1].lower().replace("_", "-") if state else line.split()[0]] += 1
        counts["[UNREPLIED]"] += "[UNREPLIED]" in line
    return found


@pytest.fixture(params=[by_nftables, by_iptables], ids=lambda rules: rules.__name__)
def load(request: pytest.FixtureRequest) -> Iterator[Load]:
    with ExitStack() as kept:
        yield Load(OwnNet(kept, request.param))


def row_of(document: dict[str, Any], pid: int) -> dict[str, Any]:
    """The row of a process, or of the namespace in which it is alone."""
    (row,) = (
        row
        for row in document["rows"]
        if ((row["subject"].get("workload") or {}).get("process") or {}).get("pid") == pid
    )
    return dict(row)


def test_numbers_of_each_owner_are_those_of_conntrack_counted_by_hand(load: Load) -> None:
    document, lines = load.at_rest()
    by_hand = by_source(lines)
    client, own = row_of(document, load.client.pid), row_of(document, load.own.pid)
    assert client["states"] | {"[UNREPLIED]": client["unreplied"]} == by_hand[CLIENT]
    assert own["states"] | {"[UNREPLIED]": own["unreplied"]} == by_hand[ROUTER]
    assert client["states"] == {"established": KEPT, "time-wait": CLOSED, "syn-sent": UNANSWERED}
    assert own["states"] == {"established": OWN}
    assert client["entries"] + own["entries"] == len(lines) == document["fill"]["entries"]
    assert document["attribution"]["named"] == len(lines)
    assert document["attribution"]["unnamed"] == []


def test_what_is_really_open_is_counted_beside_what_is_tracked(load: Load) -> None:
    document, _ = load.at_rest()
    client = row_of(document, load.client.pid)
    assert client["open_sockets"] == KEPT
    assert client["entries_per_socket"] == round((KEPT + CLOSED + UNANSWERED) / KEPT, 2)
    service = next(to for to in client["destinations"] if to["endpoint"]["address"] == SERVICE)
    assert (service["entries"], service["open_sockets"]) == (KEPT + CLOSED, KEPT)


def test_a_service_is_shown_as_what_was_asked_for_and_who_answers(load: Load) -> None:
    document, _ = load.at_rest("--by", "destination")
    rows = {(row["subject"]["destination"]["address"], row["subject"]["destination"]["port"]): row
            for row in document["rows"]}  # fmt: skip
    (answer,) = rows[SERVICE, 80]["answers"]
    assert answer["endpoint"] == {"address": SERVER, "port": 8080}
    assert (answer["entries"], answer["replied"]) == (KEPT + CLOSED, KEPT + CLOSED)
    assert (rows[SERVER, 8080]["entries"], rows[SERVER, 8080]["answers"]) == (OWN, [])
    assert (rows[SILENT, 9]["entries"], rows[SILENT, 9]["unreplied"]) == (UNANSWERED, UNANSWERED)


@pytest.mark.parametrize("by", ["pod", "source", "destination", "state", "protocol"])
def test_no_entry_is_lost_or_counted_twice_in_any_view(load: Load, by: str) -> None:
    document, lines = load.at_rest("--by", by, "--top", "2")
    rows = [*document["rows"], *([document["rest"]] if document["rest"] else [])]
    assert sum(row["entries"] for row in rows) == len(lines)


def test_the_view_by_state_is_the_count_of_the_tool(load: Load) -> None:
    document, lines = load.at_rest("--by", "state")
    by_hand = Counter(state for counts in by_source(lines).values() for state in counts.elements())
    ours = {row["subject"]["state"]: row["entries"] for row in document["rows"]}
    assert ours == {state: number for state, number in by_hand.items() if state != "[UNREPLIED]"}


def test_every_namespace_is_counted_and_the_one_that_was_read_is_among_them(load: Load) -> None:
    document, lines = load.at_rest("--by", "netns")
    by_netns = {row["subject"]["netns"]: row["entries"] for row in document["rows"]}
    assert by_netns[load.net.router.number] == len(lines)
    tracked = load.net.client(lambda: int(Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text()))
    assert by_netns[load.net.client.number] == tracked


def test_whoever_is_not_on_this_node_is_an_address_with_the_command_that_finds_it_and_a_name_by_pods(
    load: Load, tmp_path: Path
) -> None:
    """The address goes away from the client's namespace, as if it were on another node."""
    far = "10.183.7.9"
    load.net.router(lambda: subprocess.run(["ip", "route", "add", far, "via", CLIENT], check=True))
    load.net.client(lambda: subprocess.run(["ip", "addr", "add", f"{far}/32", "dev", "client"], check=True))
    program = "import socket; s = socket.create_connection(('%s', 80), 10, source_address=('%s', 0)); s.close()"
    command = [sys.executable, "-c", program % (SERVICE, far)]
    load.net.client(lambda: subprocess.run(command, check=True))
    load.net.client(lambda: subprocess.run(["ip", "addr", "del", f"{far}/32", "dev", "client"], check=True))
    document, _ = load.at_rest()
    (row,) = (row for row in document["rows"] if row["subject"].get("address") == far)
    assert row["subject"]["kind"] == "remote"
    assert row["find_command"] == f"kubectl get pods -A -o wide --field-selector=status.podIP={far}"
    assert [(part["reason"], part["entries"]) for part in document["attribution"]["unnamed"]] == [("remote", 1)]
    pods = tmp_path / "pods.json"
    pods.write_text(json.dumps({"kind": "List", "items": [pod("shop", "web-0", far)]}))
    named, _ = load.at_rest("--pods", str(pods))
    assert [row["label"] for row in named["rows"] if row["entries"] == 1] == [f"shop/web-0 ({far}), not on this node"]
    assert named["attribution"]["by_pods"] == 1


def pod(namespace: str, name: str, address: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": "6f3c"},
        "spec": {"nodeName": "n2"},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    }


def test_without_bpf_the_numbers_are_the_same(load: Load) -> None:
    document, _ = load.at_rest("--no-bpf")
    client = row_of(document, load.client.pid)
    assert client["states"] == {"established": KEPT, "time-wait": CLOSED, "syn-sent": UNANSWERED}
    assert client["open_sockets"] == KEPT


def test_the_text_has_the_table_and_its_fill(load: Load) -> None:
    answer = load.net.router(lambda: ask("conntrack", "--for", "1s", environment=[("COLUMNS", "100")]))
    assert (answer.status, answer.err) == (0, "")
    total = KEPT + CLOSED + UNANSWERED + OWN
    assert re.match(rf"Table +{total} of [\d,]+ entries \(", answer.out)
    assert re.search(rf"^ +{KEPT + CLOSED + UNANSWERED} +{UNANSWERED} +{KEPT} ", answer.out, re.MULTILINE)
    service = rf"- {KEPT + CLOSED} to {SERVICE}:80 tcp, {KEPT} open, answered by {SERVER}:8080 \(python"
    assert re.search(service, " ".join(answer.out.split()))
