"""The readings behind a leak, each with the command by which a person can repeat it."""

from __future__ import annotations

from whodunnet.model.finding import Evidence
from whodunnet.model.text import shell_quote
from whodunnet.rules.identity import endpoint_text
from whodunnet.rules.leak_shapes import Signs
from whodunnet.rules.tally import Candidate
from whodunnet.rules.window import Window

SS_STATES = {
    "response-never-read": "connected",
    "close-forgotten": "close-wait",
    "close-handed-on": "close-wait",
    "accept-not-called": "connected",
    "orphans": "connected",
    "held-open": "established",
    "reader-stopped": "connected",
}


UNMOVED = {
    "never-connected": "The very same sockets as in the snapshot before",
    "dead-not-closed": "The very same sockets as in the snapshot before",
    "accept-not-called": "Still waiting since the snapshot before",
}


def evidence_of(c: Candidate, signs: Signs, window: Window, caused_bytes: int) -> tuple[Evidence, ...]:
    """Number, state, growth, memory and attribution."""
    source = f"sockets collector ({window.sockets.method})"
    repeat = _repeat(c, signs)
    readings = [
        Evidence(
            statement=sign.statement,
            value=sign.value,
            unit=sign.unit,
            limit=sign.of,
            comparison=None if sign.of is None else "of",
            source=source,
            at=window.at.wall,
            boot_seconds=window.at.boot_seconds,
            repeat=repeat,
        )
        for sign in signs.signs
    ]
    compared = c.series[-2][1].comparable if len(c.series) > 1 else 0
    if c.last.unchanged is not None and c.last.follows and compared:
        readings.append(_unchanged(c, compared, window, source))
    if caused_bytes:
        readings.append(_memory(c, window, caused_bytes, source))
    readings += _descriptors(c, window)
    readings.append(
        Evidence(
            statement=f"Share of all TCP {window.attributed_of} on this node whose owner is known",
            value=round(window.attributed, 3),
            unit="share",
            limit=0.8,
            comparison=">=" if window.attributed >= 0.8 else "<",
            source=f"{source} against /proc/net/sockstat",
            at=window.at.wall,
            boot_seconds=window.at.boot_seconds,
            repeat="whodunnet sockets --by process",
        )
    )
    return tuple(readings)


def _unchanged(c: Candidate, compared: int, window: Window, source: str) -> Evidence:
    """compared: how many of the snapshot before could be looked for."""
    return Evidence(
        statement=UNMOVED.get(c.shape, "Neither read nor acknowledged since the snapshot before"),
        value=c.last.unchanged,
        unit="sockets",
        limit=compared,
        comparison="of",
        source=source,
        at=window.at.wall,
        boot_seconds=window.at.boot_seconds,
        repeat=f"{_repeat(c, None)}  # twice",
    )


def _memory(c: Candidate, window: Window, caused_bytes: int, source: str) -> Evidence:
    page = window.sockets.page_size_bytes
    held = caused_bytes - c.last.memory_bytes
    where = f"; {held // page:,} pages of it in the send queues of its peers on this node" if held > 0 else ""
    return Evidence(
        statement=f"TCP memory tied up by it, of all TCP memory in use{where}",
        value=caused_bytes // page,
        unit="pages",
        limit=window.total_bytes // page,
        comparison="of",
        source=source,
        at=window.at.wall,
        boot_seconds=window.at.boot_seconds,
        repeat=f"{_repeat(c, None)}  # r + w + f of skmem, in bytes",
    )


def _descriptors(c: Candidate, window: Window) -> list[Evidence]:
    process = c.workload.process if c.workload else None
    if process is None or process.descriptor_limit is None or len(c.last.pids) != 1 or c.shape == "accept-not-called":
        return []
    return [
        Evidence(
            statement="Descriptors these sockets take, of those the process may open",
            value=c.last.sockets,
            unit="descriptors",
            limit=process.descriptor_limit,
            comparison="of",
            source=f"/proc/{process.pid}/limits",
            at=window.at.wall,
            boot_seconds=window.at.boot_seconds,
            repeat=f"grep 'open files' /proc/{process.pid}/limits; ls /proc/{process.pid}/fd | wc -l",
        )
    ]


def _repeat(c: Candidate, signs: Signs | None) -> str:
    """By hand: ss inside the namespace; descriptors where ss shows nothing."""
    pid = c.last.pids.most_common(1)[0][0] if c.last.pids else None
    if pid is None:
        return "whodunnet sockets --by process"
    if c.shape in ("never-connected", "dead-not-closed"):
        return f"ls -l /proc/{pid}/fd | grep -c socket:  # minus those that ss -tnp shows"
    enter = f"nsenter -t {pid} -n "
    state = SS_STATES[signs.shape if signs else c.shape]
    query = f"{enter}ss -tnmp state {state}"
    if len(c.last.endpoints) == 1:
        endpoint = next(iter(c.last.endpoints))
        side = "src" if endpoint.address is None else "dst"
        place = f":{endpoint.port}" if endpoint.address is None else endpoint_text(endpoint)
        query += f" {side} {shell_quote(place)}"
    return query
