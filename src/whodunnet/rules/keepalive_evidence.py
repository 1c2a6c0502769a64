"""The readings behind a mismatch: the server's limit, how late it was, and what a new connection costs."""

from __future__ import annotations

from whodunnet.model.connections import Span
from whodunnet.model.finding import Evidence
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, SocketGroup
from whodunnet.model.text import shell_quote
from whodunnet.model.workload import Workloads, owner_key
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.identity import endpoint_text
from whodunnet.rules.idle_timeouts import middle, sum_of
from whodunnet.rules.keepalive_reuses import ON_THE_WAY, TOO_LATE, UNSEEN, Client, Reuse
from whodunnet.rules.keepalive_words import peer_text

SOURCE = "connections collector"
BY_ENDPOINT = "whodunnet connections --by endpoint --for 60s"
BY_PAIR = "whodunnet connections --by pair --failed --for 60s"


def evidence_of(reuse: Reuse, recording: Recording, at: Moment, entry: Entry) -> list[Evidence]:
    client = reuse.client
    closes = limit_evidence(client, at)
    found = [closes] if closes is not None else []
    if reuse.shape == UNSEEN:
        statement = "Resets to data that came after the server had closed (one connection may have several)"
        return [*found, _counted(at, statement, reuse.failed, entry.limit("min_forgotten"), "resets")]
    if reuse.idle:
        found += _idle_times(reuse, at, entry)
    if reuse.crossed:
        statement = "Written to while the server's close was on its way, and reset"
        found.append(reading(at, statement, reuse.crossed, "connections", BY_PAIR))
    kept = longest_kept(client, recording)
    if kept is not None:
        statement = "Idle time of its connections there that are still open, at least (snapshots show no more)"
        found.append(
            reading(at, statement, kept, "seconds", "whodunnet sockets --by endpoint", source="sockets collector")
        )
    cost = connect_seconds(client)
    if cost is not None:
        statement = f"A new connection to it takes (the median of {sum_of(_opened(client)):,})"
        found.append(reading(at, statement, round(cost, 6), "seconds", BY_PAIR))
    return found


def limit_evidence(client: Client, at: Moment) -> Evidence | None:
    """For how long the server keeps what is idle, and how that is known; None where its closes have no such time."""
    limit = client.limit
    if limit is None:
        return None
    between = f"between {limit.least:.2f} and {limit.most:.2f} s"
    of = f"the median of {limit.closes:,} of its {limit.of:,} closes"
    statement = f"Idle time after which {peer_text(client)} closes: {of}, {between}"
    return reading(at, statement, round(limit.seconds, 2), "seconds", BY_ENDPOINT)


def _idle_times(reuse: Reuse, at: Moment, entry: Entry) -> list[Evidence]:
    limit, idle = reuse.client.limit, reuse.idle
    command = f"ss -tno state close-wait dst {shell_quote(endpoint_text(reuse.client.server))}  # in its namespace"
    statement, floor = "Written to after the server had closed, and reset", entry.limit("min_failures")
    if reuse.asked:
        statement = "Asked on after the server had closed, with its farewell unread, and reset"
    if reuse.shape == ON_THE_WAY:
        statement, command = "Reset though the server had not closed", BY_PAIR
    if reuse.shape != TOO_LATE:
        floor = entry.limit("min_forgotten")
    span = f"idle before for {idle[0].mean:.2f} to {idle[-1].mean:.2f} s, median {middle(idle):.2f} s"
    found = [_counted(at, f"{statement}; {span}", sum_of(idle), floor, "connections", command)]
    longest, known = idle[-1].mean, limit.seconds if limit is not None and reuse.shape == TOO_LATE else None
    comparison = None if known is None else ">" if longest > known else "at"
    found.append(
        reading(
            at, "Longest idle time before such a write", round(longest, 2), "seconds", BY_PAIR,
            limit=None if known is None else round(known, 2), comparison=comparison,
        )
    )  # fmt: skip
    if known is not None:
        found.append(reading(at, "It exceeds the limit by", round(max(longest - known, 0.0), 2), "seconds", BY_PAIR))
    return found


def _counted(at: Moment, statement: str, value: int, floor: float, unit: str, command: str = BY_PAIR) -> Evidence:
    return reading(
        at, statement, value, unit, command, limit=int(floor), comparison=">=" if value >= floor else "<",
    )  # fmt: skip


def connect_seconds(client: Client) -> float | None:
    """What a new connection costs it, without what TLS adds; None where none was seen."""
    opened = _opened(client)
    return middle(opened) if opened else None


def _opened(client: Client) -> tuple[Span, ...]:
    return client.here("opened")


def longest_kept(client: Client, recording: Recording) -> int | None:
    """For how long one of its open connections there was idle at least, in any snapshot, in seconds; None: not seen."""
    found = 0
    for _, sockets, workloads in recording.owned_sockets():
        found = max([found, *(_idle_at_least(g) for g in sockets.groups if _is_of(g, client, workloads))])
    return found or None


def _is_of(g: SocketGroup, client: Client, workloads: Workloads | None) -> bool:
    if (g.role, g.state, g.endpoint) != ("initiated", "established", client.server) or g.owner_pid is None:
        return False
    owner = workloads.by_pid.get(g.owner_pid) if workloads is not None else None
    return owner_key(g.owner_pid, owner) == client.end.key


def _idle_at_least(g: SocketGroup) -> int:
    """The lower bound of the oldest class that has any."""
    classes = [i for i, n in enumerate(g.ages) if n]
    return AGE_BOUNDS_SECONDS[classes[-1] - 1] if classes and classes[-1] else 0


def reading(
    at: Moment, statement: str, value: float, unit: str, repeat: str, *, limit: float | None = None,
    comparison: str | None = None, source: str = SOURCE,
) -> Evidence:  # fmt: skip
    return Evidence(
        statement=statement, value=value, unit=unit, limit=limit, comparison=comparison, source=source, at=at.wall,
        boot_seconds=at.boot_seconds, repeat=repeat,
    )  # fmt: skip
