"""whodunnet connections beside real servers and clients: who is at which end, and what became of each connection."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema  # type: ignore[import-untyped]
import pytest

from netns.command import WHODUNNET, ask, nobody_with
from netns.ends import uvicorn
from netns.namespace import wait_until
from netns.nat import nft
from netns.watched import SERVER, SILENT, OwnNet, process
from whodunnet.report.schema import schema_of

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")]

SERVICE, PORT, NOBODY_LISTENS = "10.96.0.1", 8000, 9
IDLE_SECONDS, TOLERANCE = 5.0, 0.2
KEPT, LATE, REFUSED, GIVEN_UP, TIMED_OUT, THROUGH_SERVICE, CALLED = 11, 4, 5, 3, 2, 7, 3
RULES = f"""
table ip nat {{
    chain prerouting {{
        type nat hook prerouting priority -100; ip daddr {SERVICE} tcp dport 80 dnat to {SERVER}:{PORT};
    }}
}}
"""
ORDERS = """
import http.client, select, socket, subprocess, sys, threading, time
from pathlib import Path
server, silent, service = sys.argv[1:4]
kept, late, refused, given_up, timed_out, through, called = map(int, sys.argv[4:])
Path("/proc/sys/net/ipv4/tcp_syn_retries").write_text("1")
def ask(client):
    client.request("GET", "/")
    assert client.getresponse().read() == b"ok"
def tried(address, seconds=None):
    with socket.socket() as connecting:
        connecting.settimeout(seconds)
        try:
            connecting.connect(address)
        except OSError:
            return
    raise AssertionError(f"{address} answers")
threads = [threading.Thread(target=tried, args=((silent, 10),)) for _ in range(timed_out)]
threads += [threading.Thread(target=tried, args=((silent, 9), 0.4)) for _ in range(given_up)]
for thread in threads:
    thread.start()
calls = f"import socket; s = socket.socket(); s.settimeout(2); s.connect_ex(('{silent}', 11))"
scripts = [subprocess.Popen([sys.executable, "-c", calls]) for _ in range(called)]
for _ in range(refused):
    tried((server, 9))
clients = [http.client.HTTPConnection(server, 8000) for _ in range(kept)]
for client in clients:
    ask(client)
for _ in range(through):
    client = http.client.HTTPConnection(service, 80)
    ask(client)
    client.close()
for client in clients:
    assert select.select([client.sock], [], [], 30)[0]
for client in clients[:late]:
    try:
        ask(client)
    except (http.client.RemoteDisconnected, ConnectionError):
        continue
    raise AssertionError("the server has not closed")
for ends in (*(thread.join for thread in threads), *(script.wait for script in scripts)):
    ends()
print("done", flush=True)
sys.stdin.read()
"""


class Seen(NamedTuple):
    """What the command said of this net, and who was in it."""

    document: dict[str, Any]
    error: str
    client: int
    server: int

    def row(self, address: str, port: int) -> dict[str, Any]:
        """Of one server endpoint."""
        wanted = {"address": address, "port": port}
        (row,) = (row for row in self.document["rows"] if row["server"] == wanted)
        return dict(row)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """One window over everything that can become of a connection here, ended by Ctrl-C."""
    with ExitStack() as kept:
        net = OwnNet(kept, lambda: nft(RULES))
        directory = tmp_path_factory.mktemp("server")
        server = net.server(lambda: kept.enter_context(uvicorn(directory, PORT, "--host", "0.0.0.0")))
        command = [str(WHODUNNET), "connections", "--for", "100s", "--top", "1000", "--format", "json"]
        watching = kept.enter_context(process(net.router, *command))
        wait_until(lambda: waits_between_snapshots(watching.pid), "the first snapshot")
        numbers = (KEPT, LATE, REFUSED, GIVEN_UP, TIMED_OUT, THROUGH_SERVICE, CALLED)
        orders = [sys.executable, "-c", ORDERS, SERVER, SILENT, SERVICE, *map(str, numbers)]
        client = kept.enter_context(process(net.client, *orders))
        assert client.stdout is not None
        assert client.stdout.readline() == "done\n", client.communicate()[1]
        watching.send_signal(signal.SIGINT)
        out, error = watching.communicate(timeout=30)
        assert watching.returncode == 0, error
        document = json.loads(out)
        jsonschema.validate(document, schema_of("connections"))
        yield Seen(document, error, client.pid, server.pid)


def waits_between_snapshots(pid: int) -> bool:
    """Its programs are loaded, and it lets signals in."""
    blocked = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigBlk"))
    loaded = "prog_id:" in "".join(text_of(about) for about in Path(f"/proc/{pid}/fdinfo").iterdir())
    lets_in = not int(blocked.split()[1], 16) & 1 << (signal.SIGINT - 1)
    return lets_in and loaded


def text_of(path: Path) -> str:
    """Nothing where it has gone since it was listed."""
    with suppress(FileNotFoundError):
        return path.read_text()
    return ""


def pid_of(side: dict[str, Any]) -> int | None:
    found = (side["workload"] or {}).get("process")
    return None if found is None else int(found["pid"])


def outcomes(found: list[dict[str, Any]]) -> dict[tuple[str, str], int]:
    return {(one["ending"], one["state"]): one["connections"] for one in found}


def test_the_idle_time_at_which_the_server_closes_is_found_with_how_many_keep_to_it(seen: Seen) -> None:
    closed = seen.row(SERVER, PORT)["counts"]["closed_by_server"]
    assert closed["connections"] == KEPT
    assert (closed["cluster"]["connections"], closed["cluster"]["of"]) == (KEPT, KEPT)
    assert abs(closed["cluster"]["seconds"] - IDLE_SECONDS) <= TOLERANCE


def test_both_ends_are_named(seen: Seen) -> None:
    row = seen.row(SERVER, PORT)
    assert [pid_of(side) for side in row["servers"]] == [seen.server]
    assert [pid_of(other["client"]) for other in row["other_ends"]] == [seen.client]
    assert (row["counts"]["opened"], row["counts"]["failed"]) == (KEPT, 0)


def test_requests_on_connections_that_the_server_had_closed_are_told_by_their_resets(seen: Seen) -> None:
    counts = seen.row(SERVER, PORT)["counts"]
    assert counts["reset"] == LATE
    assert outcomes(counts["resets"]) == {("reset-received", "close-wait"): LATE}
    assert abs(counts["resets"][0]["p50_seconds"] - IDLE_SECONDS) <= TOLERANCE


def test_a_service_is_shown_as_what_was_asked_for_and_where_it_leads_to(seen: Seen) -> None:
    row = seen.row(SERVICE, 80)
    assert row["answered_by"] == [{"address": SERVER, "port": PORT}]
    assert [pid_of(side) for side in row["servers"]] == [seen.server]
    assert row["counts"]["opened"] == THROUGH_SERVICE
    assert row["counts"]["closed_by_client"]["connections"] == THROUGH_SERVICE
    assert row["counts"]["closed_by_server"]["connections"] == 0
    assert 0 < row["counts"]["connect_p50_seconds"] <= row["counts"]["connect_p99_seconds"] < 1


def test_a_refused_connect_is_told_from_one_that_nobody_answered(seen: Seen) -> None:
    refused, given_up, timed_out = (
        seen.row(SERVER, NOBODY_LISTENS)["counts"], seen.row(SILENT, 9)["counts"], seen.row(SILENT, 10)["counts"],
    )  # fmt: skip
    assert outcomes(refused["failed_connects"]) == {("refused", "syn-sent"): REFUSED}
    assert outcomes(given_up["failed_connects"]) == {("given-up", "syn-sent"): GIVEN_UP}
    assert outcomes(timed_out["failed_connects"]) == {("timed-out", "syn-sent"): TIMED_OUT}
    assert abs(given_up["failed_connects"][0]["p50_seconds"] - 0.4) <= TOLERANCE
    assert timed_out["failed_connects"][0]["p50_seconds"] >= 2.5
    assert refused["syn_retransmitted"] == 0
    assert timed_out["syn_retransmitted"] >= TIMED_OUT
    assert (refused["opened"], refused["ended"]) == (0, 0)


def test_a_program_that_a_script_calls_again_and_again_is_one_client(seen: Seen) -> None:
    (other,) = seen.row(SILENT, 11)["other_ends"]
    assert other["client"]["processes"] == CALLED
    assert outcomes(other["counts"]["failed_connects"]) == {("given-up", "syn-sent"): CALLED}


def test_who_was_refused_is_named_and_nobody_is_said_to_listen_there(seen: Seen) -> None:
    row = seen.row(SERVER, NOBODY_LISTENS)
    assert [pid_of(other["client"]) for other in row["other_ends"]] == [seen.client]
    assert not [side for side in row["servers"] if not side["by_address"]]


def test_ctrl_c_ended_the_window_early_and_said_nothing(seen: Seen) -> None:
    assert seen.error == ""
    assert IDLE_SECONDS < seen.document["seconds"] < 60


@pytest.mark.parametrize(
    ("arguments", "rights", "said"),
    [
        (("--no-bpf",), (), "BPF was switched off"),
        ((), nobody_with(), "without CAP_BPF"),
    ],
)
def test_without_bpf_it_says_what_it_cannot_see(arguments: tuple[str, ...], rights: tuple[str, ...], said: str) -> None:
    answer = ask("connections", "--for", "300ms", *arguments, rights=rights, environment=[("COLUMNS", "200")])
    assert answer.status == 2
    assert "Seen by      the kernel's counters alone: " in answer.out
    assert said in answer.out
    assert "Not seen     who connected to whom" in answer.out
