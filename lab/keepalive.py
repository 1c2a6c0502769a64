"""A case about kept-alive connections: who closes them first, and whether anybody asks on them after that."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from statistics import median
from typing import ClassVar

from lab.case import CONNECTION_RULES, Case, Expected, Named, Role
from lab.look import Sight, tcp_counter
from lab.pools import Range, stopwatch, told, went, with_http_client
from lab.stage import Player

ENOUGH = 10
"""Requests after a pause that failed (or, in a look-alike, did not) before a case counts as there."""

TOLERANCE = 0.2
"""How far, in seconds, a measured wait may be from the true one."""

CLIENT_ROLES: tuple[Role, ...] = ("culprit", "holder", "victim", "peer")
SERVER_ROLES: tuple[Role, ...] = ("holder", "victim", "peer")
"""To close what is idle is a server's right, and to wait longer only moves the limit: it is never the culprit."""


class KeepaliveCase(Case):
    """rules: a window has to be long enough for each pause to end in it about once."""

    rules = CONNECTION_RULES
    window_seconds = 6
    age_seconds = 0

    def failing(self, client: Player, netns: Path) -> Sight:
        """Requests after a pause fail, and the kernel of the client's pod has counted resets of connections."""
        failed, resets = told(client, "failed"), tcp_counter(netns, "EstabResets")
        return Sight(min(len(failed), resets) >= ENOUGH, f"{went(client)}; {resets} resets")

    def answered(self, *clients: Player) -> Sight:
        """Requests are made after the pauses, and none fails."""
        enough = all(len(told(client, "answered")) >= ENOUGH for client in clients)
        failed = any(told(client, "failed") for client in clients)
        return Sight(enough and not failed, "; ".join(went(client) for client in clients))


class WatchedCase(KeepaliveCase):
    """server_waits: how long the server is known to wait for the next request; its releases may differ.

    watch: the stopwatch which says how long it does.
    """

    server_waits: ClassVar[Range]
    watch: Player

    def measured(self, sight: Sight) -> Sight:
        """The same, if the server waits as long as it should."""
        least, most = self.server_waits
        if len(closed := told(self.watch, "closed")) < 3:
            return Sight(False, f"{sight.seen}; the server still waits")
        right = least - TOLERANCE <= (middle := median(closed)) <= most + TOLERANCE
        times = f"{min(closed):.3f} to {max(closed):.3f} s, median {middle:.3f} of {len(closed)}"
        return Sight(sight.there and right, f"{sight.seen}; the server waits {times}")


class PairCase(WatchedCase):
    """One client and one server. Whether that is a fault is a matter of who waits longer.

    idle: the client's pauses. connections: that it has.
    """

    port: ClassVar[int] = 8000
    idle: ClassVar[Range] = (5.2, 6.5)
    connections: ClassVar[int] = 20

    @abstractmethod
    def serve(self) -> Player:
        """Start the server in its pod, on the case's port."""

    def call(self) -> Player:
        """Start the client in its pod."""
        arguments = ([self.address], self.port, self.connections, self.idle)
        return self.stage.play(self.client_pod, "orders", with_http_client, *arguments)

    @property
    def address(self) -> str:
        """Of the server, as its clients know it."""
        return self.server_pod.address

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}/small"

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = self.serve()
        self.watch = self.stage.play(self.client_pod, "stopwatch", stopwatch, self.address, self.port, 5)
        self.client = self.call()

    def look(self) -> Sight:
        if self.kind == "fault":
            return self.measured(self.failing(self.client, self.client_pod.netns))
        return self.measured(self.answered(self.client))

    def expected(self) -> Expected:
        if self.kind == "fault":
            return mismatch(self.client, self.server, (self.address, self.port), self.watch)
        return Expected(rule=None, innocent=(self.server.who(), self.client.who(), self.watch.who()))


def mismatch(client: Player, server: Player, endpoint: tuple[str, int], watch: Player, *uninvolved: Player) -> Expected:
    """Both sides are named, with how long the server waits. If one is to blame it is the client, who does not look."""
    waits = median(told(watch, "closed"))
    bystanders = tuple(one.who() for one in (watch, *uninvolved))
    return Expected(
        rule="keepalive-mismatch",
        also=("resets",),
        severities=("warning",),
        tolerated=(client.who(),),
        innocent=(server.who(), *bystanders),
        bystanders=bystanders,
        others=(Named(client.who(), CLIENT_ROLES), Named(server.who(), SERVER_ROLES)),
        endpoint=endpoint,
        seconds=(waits - TOLERANCE, waits + TOLERANCE),
    )
