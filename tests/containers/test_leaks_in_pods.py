"""Leaks inside real pods, judged through the command."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .node import wait_until
from .pods import MakePod, RunningPod

pytestmark = [pytest.mark.root, pytest.mark.containers]

WHODUNNET = Path(sys.executable).parent / "whodunnet"
CONNECTIONS = 60
SERVER = """
import http.server, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", str(1 << 26)); self.end_headers()
        try:
            for _ in range(1024): self.wfile.write(bytes(65536))
        except OSError: pass
    def log_message(self, *args): pass
socketserver.ThreadingTCPServer.daemon_threads = True
socketserver.ThreadingTCPServer.request_queue_size = 128
socketserver.ThreadingTCPServer(("", 8080), Handler).serve_forever()
"""
HEALTH_CHECK = """
import http.client, sys, time
kept = []
while True:
    c = http.client.HTTPConnection(sys.argv[1], 8080); c.request("GET", "/"); kept.append((c, c.getresponse()))
    time.sleep(0.1)
"""


FORGETS = """
import socket, time
kept = []
while True: kept += [socket.socket() for _ in range(60 if not kept else 1)]; time.sleep(0.05)
"""


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def python(code: str, *arguments: str) -> list[str]:
    return ["/usr/bin/python3", "-c", code, *arguments]


def sockets_of(pod: RunningPod, state: str) -> int:
    pid = next(iter(pod.pids.values()))
    found = subprocess.run(
        ["nsenter", "-t", str(pid), "-n", "ss", "-Htn", "state", state], capture_output=True, text=True, check=True
    )
    return len(found.stdout.splitlines())


def diagnose(*options: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [str(WHODUNNET), "diagnose", "--only", "socket-leak", "--format", "json", *options],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    diagnosis: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, diagnosis


def parties(diagnosis: dict[str, Any], role: str) -> list[dict[str, Any]]:
    return [p for f in diagnosis["findings"] for p in f["parties"] if p["role"] == role]


@pytest.mark.parametrize("style", ["cgroupfs", "systemd"])
def test_a_health_check_in_a_pod_is_named_and_its_server_only_holds(pod: MakePod, style: Any) -> None:
    server = pod("api", ns="shop", containers={"web": python(SERVER)}, cgroup_style=style)
    wait_until(lambda: sockets_of(server, "listening") == 1, "the server listens")
    leaking = {"foo": python(HEALTH_CHECK, server.ip), "side": ["/busybox", "sleep", "9999"]}
    client = pod("foo-7d9f", ns="payments", containers=leaking, cgroup_style=style)
    wait_until(lambda: sockets_of(client, "established") >= CONNECTIONS, "sixty connections are there")
    status, diagnosis = diagnose("--for", "5s")
    assert status == 1
    (culprit,) = parties(diagnosis, "culprit")
    assert culprit["pod"]["namespace"] == "payments"
    assert culprit["pod"]["name"] == "foo-7d9f"
    assert culprit["pod"]["uid"] == client.uid
    assert culprit["container"]["name"] == "foo"
    assert culprit["container"]["id"] == client.containers["foo"]
    assert culprit["process"]["pid"] == client.pids["foo"]
    assert culprit["sockets"] >= CONNECTIONS
    (finding,) = diagnosis["findings"]
    assert finding["shape"] == "response-never-read"
    assert [p["pod"]["name"] for p in parties(diagnosis, "holder")] == ["api"]
    commands = [r["command"] for r in finding["remedies"] if r["action"] == "restart-workload"]
    assert commands == ["kubectl delete pod --namespace=payments -- foo-7d9f"]
    assert finding["remedies"][0]["action"] == "capture"


def test_a_leak_in_a_pod_on_the_node_s_own_network_is_named(pod: MakePod) -> None:
    leaking = pod("agent-x", ns="kube-system", containers={"agent": python(FORGETS)}, host_network=True)
    wait_until(lambda: descriptors(leaking.pids["agent"]) >= 60, "the first sixty sockets are there")
    status, diagnosis = diagnose("--for", "4s")
    assert status == 1
    (culprit,) = parties(diagnosis, "culprit")
    assert (culprit["pod"]["name"], culprit["process"]["pid"]) == ("agent-x", leaking.pids["agent"])
    assert diagnosis["findings"][0]["shape"] == "never-connected"


def test_commands_for_a_pod_are_single_shell_words(pod: MakePod) -> None:
    leaking = pod("plain", ns="odd", containers={"a": python(FORGETS)})
    wait_until(lambda: descriptors(leaking.pids["a"]) >= 60, "the first sixty sockets are there")
    _, diagnosis = diagnose("--for", "4s")
    commands = [r["command"] for f in diagnosis["findings"] for r in f["remedies"] if r["action"] == "restart-workload"]
    assert [shlex.split(command) for command in commands] == [
        ["kubectl", "delete", "pod", "--namespace=odd", "--", "plain"]
    ]
