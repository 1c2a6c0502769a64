"""What became of connections, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from whodunnet.model.text import clean
from whodunnet.report.connection_counts import TICK_SECONDS, Closings, Counts, EndName, Outcome
from whodunnet.report.quantity import count, duration

_FAILED = {
    "refused": "refused",
    "rejected": "rejected (by ICMP, as a firewall does)",
    "timed-out": "timed out",
    "broken": "failed by another error, such as host unreachable",
    "given-up": "given up by the client",
    "not-sent": "not sent (no free port)",
}
_LOST = {"timed-out": "timed out", "broken": "ended by another error"}
_TIMELESS = frozenset({"refused", "rejected", "not-sent"})
"""Of which it says nothing how long they were tried."""


def sentences(counts: Counts) -> Iterator[str]:
    """What failed first, then who closed."""
    failed = [_failed(one) for one in counts.failed_connects]
    if failed:
        yield f"connects: {', '.join(failed)}"
    if counts.syn_retransmitted:
        yield f"{count(counts.syn_retransmitted, 'SYN')} sent again"
    farewell = counts.closed_by_server.cluster is not None and counts.closed_by_server.cluster.farewell
    for reset in counts.resets:
        yield _reset(reset, farewell=farewell)
    for one in counts.lost:
        yield f"{one.connections:,} {_LOST.get(one.ending, one.ending)} in {clean(one.state)}{_quiet(one)}"
    if counts.closed_by_server.connections:
        yield closed(counts.closed_by_server, "server")
    if counts.closed_by_client.connections:
        yield closed(counts.closed_by_client, "client")
    if counts.late_resets:
        yield f"{_late(counts)} after the other side had closed, which is usually harmless"


def brief(counts: Counts, *, of_server: bool) -> Iterator[str]:
    """The same of one of several, in a few words. of_server: with how long it keeps what is idle, if that is known."""
    if counts.opened:
        yield f"{counts.opened:,} opened"
    elif counts.ended or not counts.troubles:
        yield f"{counts.ended:,} ended"
    yield from (_failed(one) for one in counts.failed_connects)
    if counts.syn_retransmitted:
        yield f"{count(counts.syn_retransmitted, 'SYN')} sent again"
    if counts.reset:
        yield f"{counts.reset:,} reset"
    yield from (f"{one.connections:,} {_LOST.get(one.ending, one.ending)}" for one in counts.lost)
    if of_server and counts.closed_by_server.cluster is not None:
        yield closed(counts.closed_by_server, "server")


def closed(closings: Closings, side: EndName) -> str:
    """ "closed by the server after 5.0 s idle, 412 of 430"."""
    cluster, total = closings.cluster, closings.connections
    if cluster is not None:
        said = ", with a farewell (TLS)" if cluster.farewell else ""
        share = f"all {total:,}" if cluster.connections == total else f"{cluster.connections:,} of {total:,}"
        return f"closed by the {side} after {idle_text(cluster.seconds)} idle{said}, {share}"
    parts = [f"{closings.at_once:,} at once"] if closings.at_once else []
    if closings.idle_p50_seconds is not None:
        idle = total - closings.at_once - closings.untimed
        parts.append(f"{idle:,} idle for some time (median {idle_text(closings.idle_p50_seconds)})")
    parts += [f"{closings.untimed:,} of which the time was not kept"] if closings.untimed else []
    return f"closed by the {side}: {', '.join(parts)}"


def _failed(one: Outcome) -> str:
    tried = ""
    if one.p50_seconds is not None and one.ending not in _TIMELESS:
        tried = " at once" if one.p50_seconds < TICK_SECONDS else f" after {idle_text(one.p50_seconds)}"
    return f"{one.connections:,} {_FAILED.get(one.ending, one.ending)}{tried}"


def _reset(reset: Outcome, *, farewell: bool) -> str:
    begin = f"{reset.connections:,} reset by the {reset.sender}"
    if (reset.seen_by, reset.ending, reset.state) == ("client", "reset-received", "close-wait"):
        quiet = f" after {idle_text(reset.p50_seconds)} idle" if reset.p50_seconds is not None else ""
        answer = ", or answered its farewell (TLS)" if farewell else ""
        return f"{begin}: the client sent on a connection that the server had closed (close-wait){quiet}{answer}"
    if (reset.seen_by, reset.ending) == ("server", "late-data"):
        return f"{begin}: data came on connections that it had closed"
    why = ", with unread data or on purpose" if reset.ending == "reset-sent" else ""
    return f"{begin} in {clean(reset.state)}{why}{_quiet(reset)}"


def _late(counts: Counts) -> str:
    parts = [f"{one.connections:,} reset by the {one.sender} ({_place(one)})" for one in counts.late_resets]
    return ", ".join(parts)


def _place(reset: Outcome) -> str:
    if reset.ending == "late-data":
        return "data for a closed connection"
    return f"{clean(reset.state)} at the {reset.seen_by}"


def _quiet(one: Outcome) -> str:
    return f", quiet for {idle_text(one.p50_seconds)} before" if one.p50_seconds is not None else ""


def idle_text(seconds: float) -> str:
    """ "0.054 ms", "210 ms", "5.0 s", "12 min"."""
    if seconds < 0.95:
        milliseconds = seconds * 1000
        return f"{milliseconds:.2g} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else duration(seconds)
