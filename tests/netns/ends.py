"""Real servers and clients for the connections collector, and what it said of one namespace."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from netns.namespace import Namespace, wait_until
from netns.scene import Pair, tcp_info
from whodunnet.collectors.connections import ConnectionsCollector
from whodunnet.model.connections import ConnectionGroup, Connections

APPLICATION = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""
NGINX = """
daemon off; master_process off; error_log stderr; pid {directory}/pid;
events {{ worker_connections 256; }}
http {{
  access_log off; keepalive_timeout {seconds}s;
  client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
  uwsgi_temp_path {directory}; scgi_temp_path {directory};
  server {{ listen 127.0.0.1:{port} {tls}; location / {{ return 200 "ok"; }} }}
}}
"""
TLS = "ssl; ssl_certificate {directory}/cert; ssl_certificate_key {directory}/key"

CLOSE, CLOSE_WAIT = 7, 8
TOLERANCE = 0.2
"""Seconds that a measured time may be off."""


class Found(NamedTuple):
    """What the collector has of one namespace."""

    groups: list[ConnectionGroup]
    whole: Connections

    def counts(self, port: int) -> dict[tuple[str, str, str], int]:
        """Connections by role, ending and state, of one server's port."""
        found: Counter[tuple[str, str, str]] = Counter()
        for g in self.groups:
            if g.server.port == port:
                found[g.role, g.ending, g.state] += g.connections
        return dict(found)

    def one(self, role: str, ending: str, **wanted: object) -> ConnectionGroup:
        """The only group with this role, this ending and these values."""
        (group,) = (
            g for g in self.groups
            if (g.role, g.ending) == (role, ending) and all(getattr(g, key) == value for key, value in wanted.items())
        )  # fmt: skip
        return group


def look(collector: ConnectionsCollector, namespace: Namespace) -> Found:
    """Everything so far; nothing may have been lost."""
    sample = collector.collect()
    assert (sample.other, sample.untracked, sample.missed) == ({}, 0, 0)
    return Found([g for g in sample.groups if g.netns == namespace.number], sample)


def in_state(one: socket.socket, number: int) -> bool:
    return tcp_info(one)[0] == number


def median(group: ConnectionGroup) -> float:
    middle = group.quantile(0.5)
    assert middle is not None
    return middle


@contextmanager
def running(*command: str, port: int, **rest: object) -> Iterator[subprocess.Popen[bytes]]:
    """A server in the namespace of the calling thread, once it answers."""
    with subprocess.Popen(  # type: ignore[call-overload]
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **rest
    ) as server:
        try:
            wait_until(lambda: listens(port), f"{command[0]} on port {port}")
            yield server
        finally:
            server.terminate()


@contextmanager
def uvicorn(directory: Path, port: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    (directory / "application.py").write_text(APPLICATION)
    command = (sys.executable, "-m", "uvicorn", "application:app", "--port", str(port), *options)
    with running(*command, port=port, cwd=directory) as server:
        yield server


@contextmanager
def nginx(directory: Path, port: int, seconds: int, tls: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    if tls:
        make_certificate(directory)
    text = NGINX.format(
        directory=directory, port=port, seconds=seconds, tls=TLS.format(directory=directory) if tls else ""
    )
    (directory / "nginx.conf").write_text(text)
    with running("nginx", "-e", "stderr", "-c", str(directory / "nginx.conf"), port=port) as server:
        yield server


def make_certificate(directory: Path) -> None:
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {directory}/key -out {directory}/cert -subj /CN=test"
    subprocess.run(command.split(), check=True, capture_output=True)


def listens(port: int) -> bool:
    """Whether somebody listens there, without connecting: that would be a connection too."""
    rows = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
    return any(row.split()[1].endswith(f":{port:04X}") and row.split()[3] == "0A" for row in rows)


def ask(client: http.client.HTTPConnection) -> None:
    client.request("GET", "/")
    assert client.getresponse().read() == b"ok"


def fails_to_ask(client: http.client.HTTPConnection) -> bool:
    """True where the request failed for want of a connection."""
    try:
        ask(client)
    except (http.client.RemoteDisconnected, ConnectionError):
        return True
    return False


def socket_of(client: http.client.HTTPConnection) -> socket.socket:
    assert client.sock is not None
    return client.sock


def exchange(pair: Pair) -> None:
    """A request and its response."""
    for sender, reader in (pair, pair[::-1]):
        sender.sendall(b"x")
        assert reader.recv(1) == b"x"


def close_in_turn(first: socket.socket, second: socket.socket) -> None:
    """The second closes when it has seen the end of the first."""
    first.shutdown(socket.SHUT_WR)
    assert second.recv(1) == b""
    second.close()
    assert first.recv(1) == b""
    first.close()


def tried(address: tuple[str, int], seconds: float | None = None) -> str:
    """The name of the exception that a connect ends with."""
    with socket.socket() as client:
        client.settimeout(seconds)
        try:
            client.connect(address)
        except OSError as error:
            return type(error).__name__ if error.errno is None else f"{type(error).__name__} {error.errno}"
    return "connected"
