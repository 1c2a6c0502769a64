"""Connections used again after the server has closed them for being idle: requests that fail only after a pause."""

from __future__ import annotations

from collections.abc import Sequence

from whodunnet.model.connection_pairs import Pairs
from whodunnet.model.connection_window import ConnectionWindow
from whodunnet.model.finding import Answer, Cleared, Evidence, NotChecked
from whodunnet.model.snapshot import Recording
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.connection_sight import ungrouped, watched
from whodunnet.rules.idle_timeouts import Place
from whodunnet.rules.keepalive_evidence import BY_PAIR, limit_evidence, reading
from whodunnet.rules.keepalive_findings import RULE, compose
from whodunnet.rules.keepalive_reuses import Client, clients_of, find_reuses, writes_after_close

COUNTERS = ("EstabResets", "TCPAbortOnData", "OutRsts")


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """Findings, surest first; else cleared with the idle timeout of every server that has one."""
    found = watched(recording, RULE, COUNTERS)
    if isinstance(found, NotChecked):
        return [found]
    reuses = find_reuses(found, entry)
    if not reuses:
        return [_nothing(found, clients_of(found, entry), entry)]
    most = int(entry.limit("listed_pairs"))
    return [compose(reuse, recording, found.window.at, entry, len(reuses) - most) for reuse in reuses[:most]]


def _nothing(pairs: Pairs, clients: Sequence[Client], entry: Entry) -> Answer:
    window, total = pairs.window, pairs.window.total
    lost = ungrouped(pairs) + total.missed
    every = sum(g.connections for g in total.groups) + sum(total.other.values()) + total.missed
    if lost > entry.limit("lost_share") * every:
        reason = f"{lost:,} of {every:,} beginnings and ends of connections found no room and were only counted"
        return NotChecked(rule=RULE, code="unreadable", reason=reason)
    sensitivity = (
        f"within {window.seconds:.1f} s writes of clients on this node to connections that their server had closed "
        "for being idle, if a reset answered them; who paused for longer than that made none"
    )
    if some := writes_after_close(clients):
        sensitivity += f"; {some:,} were answered so, too few or at times too different for a limit of the server"
    if lost:
        sensitivity += f"; {lost:,} of {every:,} ends were only counted"
    return Cleared(rule=RULE, sensitivity=sensitivity, evidence=tuple(_readings(window, clients, entry)))


def _readings(window: ConnectionWindow, clients: Sequence[Client], entry: Entry) -> list[Evidence]:
    """The writes that were reset, if any, and the limits of the servers that close most."""
    statement = "Writes to connections that the server had closed, answered by a reset"
    found = [reading(window.at, statement, writes_after_close(clients), "connections", BY_PAIR)]
    servers: dict[Place, Client] = {}
    for client in sorted(clients, key=lambda c: -c.closes.all):
        servers.setdefault(client.place if client.server_here else (client.server, None), client)
    limits = (limit_evidence(client, window.at) for client in servers.values())
    return found + [e for e in limits if e is not None][: int(entry.limit("listed_endpoints"))]
