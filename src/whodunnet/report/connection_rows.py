"""Rows of the table of connections: a server endpoint, a client, or one of each, with what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from whodunnet.model.connection_pairs import Pair
from whodunnet.model.sockets import Endpoint
from whodunnet.report.connection_counts import Counts, counts_of
from whodunnet.report.connection_subject import (
    ConnectionSide,
    Sides,
    command_for,
    end_key,
    server_label,
    side_label,
)
from whodunnet.report.quantity import count
from whodunnet.rules.connect_others import place_of_pair

ConnectionView = Literal["endpoint", "workload", "pair"]
CONNECTION_VIEWS: tuple[ConnectionView, ...] = ("endpoint", "workload", "pair")
ConnectionSort = Literal["connections", "failed", "slow"]
CONNECTION_SORTS: tuple[ConnectionSort, ...] = ("connections", "failed", "slow")
OTHER_ENDS = 3
SERVERS = 3
ANSWERS = 3


class OtherEnd(msgspec.Struct, frozen=True, kw_only=True):
    """A client of an endpoint, or an endpoint that a client asked; the other one is that of the row."""

    label: str
    client: ConnectionSide | None
    server: Endpoint | None
    servers: tuple[ConnectionSide, ...]
    counts: Counts


class ConnectionRow(msgspec.Struct, frozen=True, kw_only=True):
    """client, server: None where the row is of many. netns: of a server at a loopback address.

    servers: who accepts there, as far as known, and how many there are; several share the endpoint, or networks the
    address. answered_by: where NAT leads to. other_ends: the largest, and how many there are.
    find_command: finds the name of a pod elsewhere.
    """

    label: str
    client: ConnectionSide | None
    server: Endpoint | None
    netns: int | None
    servers: tuple[ConnectionSide, ...]
    servers_total: int
    answered_by: tuple[Endpoint, ...]
    answered_by_total: int
    counts: Counts
    other_ends: tuple[OtherEnd, ...]
    other_ends_total: int
    find_command: str | None


class Book:
    """Pairs by row."""

    def __init__(self, pairs: Iterable[Pair], by: ConnectionView, sides: Sides, *, failed: bool) -> None:
        """failed: only rows of which something failed or was tried again."""
        self._by, self._sides = by, sides
        self._rows: dict[str, list[Pair]] = {}
        for pair in pairs:
            self._rows.setdefault(key_of(pair, by), []).append(pair)
        self._counts = {key: counts_of(row) for key, row in self._rows.items()}
        self.healthy = sum(not counts.troubles for counts in self._counts.values())
        if failed:
            self._rows = {key: row for key, row in self._rows.items() if self._counts[key].troubles}

    def ranked(self, sort: ConnectionSort) -> list[str]:
        """Keys of all rows, largest first, then by name."""

        def rank(key: str) -> tuple[float | str, ...]:
            counts = self._counts[key]
            last = (-counts.connections, key)
            match sort:
                case "failed":
                    return (-counts.troubles, *last)
                case "slow":
                    return (-(counts.connect_p99_seconds or 0.0), *last)
                case "connections":
                    return last

        return sorted(self._rows, key=rank)

    def row(self, key: str) -> ConnectionRow:
        """One row with everything that is known of it."""
        pairs = self._rows[key]
        client = None if self._by == "endpoint" else self._sides.client(pairs)
        place = None if self._by == "workload" else place_of_pair(pairs[0])
        servers = self._sides.servers(pairs) if place is not None else []
        answers = _answers(pairs) if place is not None else []
        others = self._others(pairs) if self._by != "pair" else {}
        ranked = sorted(others.values(), key=lambda found: (-_size(found), key_of(found[0], "pair")))
        alone = servers[0] if place is not None and len(servers) == 1 and not answers else None
        return ConnectionRow(
            label=_label(client, pairs if place is not None else (), servers),
            client=client,
            server=place[0] if place else None,
            netns=place[1] if place else None,
            servers=tuple(servers[:SERVERS]),
            servers_total=len(servers),
            answered_by=tuple(answers[:ANSWERS]),
            answered_by_total=len(answers),
            counts=self._counts[key],
            other_ends=tuple(self._other(found) for found in ranked[:OTHER_ENDS]),
            other_ends_total=len(ranked),
            find_command=command_for(client) or command_for(alone),
        )

    def rest(self, keys: Sequence[str]) -> ConnectionRow | None:
        """All these in one row; None if there are none."""
        if not keys:
            return None
        pairs = [pair for key in keys for pair in self._rows[key]]
        return ConnectionRow(
            label=count(len(keys), "other"),
            client=None,
            server=None,
            netns=None,
            servers=(),
            servers_total=0,
            answered_by=(),
            answered_by_total=0,
            counts=counts_of(pairs),
            other_ends=(),
            other_ends_total=0,
            find_command=None,
        )

    def _others(self, pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
        by: ConnectionView = "workload" if self._by == "endpoint" else "endpoint"
        found: dict[str, list[Pair]] = {}
        for pair in pairs:
            found.setdefault(key_of(pair, by), []).append(pair)
        return found

    def _other(self, pairs: Sequence[Pair]) -> OtherEnd:
        counts = counts_of(pairs)
        if self._by == "endpoint":
            client = self._sides.client(pairs)
            return OtherEnd(label=side_label(client), client=client, server=None, servers=(), counts=counts)
        server, servers = pairs[0].server, self._sides.servers(pairs)
        label = _label(None, pairs, servers)
        return OtherEnd(label=label, client=None, server=server, servers=tuple(servers[:SERVERS]), counts=counts)


def key_of(pair: Pair, by: ConnectionView) -> str:
    """Of the row that a pair counts in."""
    server, netns = place_of_pair(pair)
    match by:
        case "endpoint":
            return f"{server.address} {server.port} {netns}"
        case "workload":
            return end_key(pair.client)
        case "pair":
            return f"{end_key(pair.client)} to {server.address} {server.port} {netns}"


def _label(client: ConnectionSide | None, asked: Sequence[Pair], servers: Sequence[ConnectionSide]) -> str:
    """asked: pairs with one server, which is named; but where NAT leads to several, none of them is the server."""
    if not asked:
        return side_label(client) if client is not None else ""
    server, netns = place_of_pair(asked[0])
    shown = servers[:SERVERS] if len(_answers(asked)) < 2 else ()
    name = server_label(server, shown, netns, len(servers))
    return name if client is None else f"{side_label(client)} to {name}"


def _answers(pairs: Iterable[Pair]) -> list[Endpoint]:
    return list(dict.fromkeys(answer for pair in pairs for answer in pair.answered_by))


def _size(pairs: Sequence[Pair]) -> int:
    return sum(g.connections for pair in pairs for g in pair.seen)
